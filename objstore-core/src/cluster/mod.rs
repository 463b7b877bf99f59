//! The cluster: who the other nodes are, and what they and this node tell each other.
//!
//! [`Peers`] says who can be asked right now and asks; everything else stands on it.

mod bodies;
mod cold;
mod hello;
mod join;
mod locate;
mod owner;
mod peers;
mod tcp;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError, Weak};

use objstore_client::Error;
use objstore_client::types::{PeerInfo, PeerState};

pub(crate) use cold::FromOwner;
pub(crate) use locate::{Exchange, Locator};
pub(crate) use peers::Peers;
pub(crate) use tcp::TcpNetwork;

use crate::env::{Listening, Network};
use crate::http::PrivateService;
use crate::journal::NodeId;
use crate::node::Inner;
use crate::settings::ClusterSettings;

/// This node's part in the cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) peers: Peers,
    /// Drawn at the start: tells two processes with one node id apart.
    pub(crate) boot: u32,
    listening: Mutex<Option<Box<dyn Listening>>>,
    /// Where others reach this node, once it listens.
    advertised: Mutex<String>,
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
            listening: Mutex::default(),
            advertised: Mutex::default(),
            public_addr: Mutex::default(),
        }
    }

    /// Opens the private listener, if there is to be one.
    pub(crate) async fn listen(
        &self,
        node: Weak<Inner>,
        settings: &ClusterSettings,
    ) -> Result<(), Error> {
        let Some(address) = &settings.private_addr else { return Ok(()) };
        let network = self.peers.network();
        let listening = network.listen(address, PrivateService::new(node)).await?;
        let at = listening.local_addr().to_string();
        *lock(&self.advertised) = settings.advertise_addr.clone().unwrap_or(at);
        *lock(&self.listening) = Some(listening);
        Ok(())
    }

    /// Where the private API is reached, as others are told; none when this node has no part in a
    /// cluster.
    pub(crate) fn addr(&self) -> Option<String> {
        let addr = lock(&self.advertised);
        (!addr.is_empty()).then(|| addr.clone())
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
        drop(lock(&self.listening).take());
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
    join::run(&node).await;
}
