//! The cluster: who the other nodes are, and what they and this node tell each other.
//!
//! [`Peers`] says who can be asked right now and asks; everything else stands on it.

mod authority;
mod bodies;
mod budget;
mod counts;
mod hello;
mod join;
mod key;
mod locate;
mod messages;
mod owner;
mod peers;
mod tcp;
#[cfg(test)]
mod tests;
mod trust;

use std::sync::{Arc, Mutex, PoisonError, Weak};

use objstore_client::Error;
use objstore_client::types::{PeerInfo, PeerState};

pub use key::ClusterKey;
pub(crate) use locate::{Exchange, Locator};
pub use messages::{Message, Received, Subscription};
pub(crate) use peers::Peers;
pub(crate) use tcp::TcpNetwork;
pub(crate) use trust::Trust;

use crate::env::{Listening, Network};
use crate::http::PrivateService;
use crate::journal::NodeId;
use crate::node::Inner;
use crate::settings::ClusterSettings;
use budget::Budget;
use messages::Messages;

/// This node's part in the cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) peers: Peers,
    /// Drawn at the start: tells two processes with one node id apart.
    pub(crate) boot: u32,
    messages: Messages,
    pub(crate) budget: Budget,
    /// For other nodes, and for operators.
    listening: Mutex<Vec<Box<dyn Listening>>>,
    /// Where others reach this node, once it listens.
    advertised: Mutex<String>,
    /// Where operators reach it, if they do.
    debug: Mutex<Option<std::net::SocketAddr>>,
    /// Where clients reach it; empty until it serves.
    public_addr: Mutex<String>,
}

impl Cluster {
    pub(crate) fn new(
        network: Arc<dyn Network>,
        me: NodeId,
        boot: u32,
        settings: &ClusterSettings,
    ) -> Self {
        Self {
            peers: Peers::new(network, me, settings.tag.clone()),
            boot,
            messages: Messages::new(),
            budget: Budget::default(),
            listening: Mutex::default(),
            advertised: Mutex::default(),
            debug: Mutex::default(),
            public_addr: Mutex::default(),
        }
    }

    /// Opens the private listener, if there is to be one.
    pub(crate) async fn listen(
        &self,
        node: Weak<Inner>,
        settings: &ClusterSettings,
    ) -> Result<(), Error> {
        if let Some(address) = &settings.debug_addr {
            let debug = tcp::debug(address, PrivateService::new(Weak::clone(&node))).await?;
            *lock(&self.debug) = Some(debug.local_addr());
            lock(&self.listening).push(Box::new(debug));
        }
        let Some(address) = &settings.private_addr else { return Ok(()) };
        let network = self.peers.network();
        let listening = network.listen(address, PrivateService::new(node)).await?;
        let at = listening.local_addr().to_string();
        *lock(&self.advertised) = settings.advertise_addr.clone().unwrap_or(at);
        lock(&self.listening).push(listening);
        Ok(())
    }

    /// Where the private API is reached, as others are told; none when this node has no part in a
    /// cluster.
    pub(crate) fn addr(&self) -> Option<String> {
        let addr = lock(&self.advertised);
        (!addr.is_empty()).then(|| addr.clone())
    }

    /// Where the private API is served to operators, if it is.
    pub(crate) fn debug_addr(&self) -> Option<std::net::SocketAddr> {
        *lock(&self.debug)
    }

    pub(crate) fn public_addr(&self) -> String {
        lock(&self.public_addr).clone()
    }

    /// Clients reach this node here.
    pub(crate) fn serves(&self, addr: std::net::SocketAddr) {
        *lock(&self.public_addr) = addr.to_string();
    }

    /// Nobody is answered any more.
    pub(crate) fn stop(&self) {
        drop(std::mem::take(&mut *lock(&self.listening)));
        self.messages.stop();
    }

    /// What is known of the other nodes.
    pub(crate) fn infos(&self) -> Vec<PeerInfo> {
        let live = self.peers.live();
        live.iter()
            .map(|peer| {
                let mut info = PeerInfo::default();
                info.node_id = peer.id.to_string();
                info.private_addr = peer.addr.to_string();
                info.state = PeerState::Alive;
                info
            })
            .collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Works until the node is gone; dropping the future stops what is under way.
pub(crate) async fn run(node: Weak<Inner>) {
    tokio::join!(join::run(&node), trust::run(&node));
}
