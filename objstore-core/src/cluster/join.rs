//! Finding the other nodes.

use std::sync::Weak;

use objstore_client::wire::private::{Hello, routes};
use objstore_client::{Error, ErrorKind};

use super::Cluster;
use super::peers::{Peer, post};
use crate::journal::NodeId;
use crate::node::Inner;

/// The longest description of a node that is read, in bytes.
const HELLO_MAX: usize = 64 * 1024;

pub(super) async fn run(node: &Weak<Inner>) {
    let Some(inner) = node.upgrade() else { return };
    for seed in &inner.settings.cluster.nodes {
        if let Err(error) = inner.greet(seed).await {
            tracing::warn!(%seed, %error, "could not join");
        }
    }
}

impl Inner {
    /// Tells the node at an address who we are, and learns who it is.
    pub(super) async fn greet(&self, addr: &str) -> Result<Hello, Error> {
        let body = serde_json::to_vec(&self.hello()).unwrap_or_default();
        let answer = self.cluster.peers.call_at(addr, None, post(routes::HELLO, body)?).await?;
        let frame = answer.into_body().collect(HELLO_MAX).await?;
        let hello: Hello = serde_json::from_slice(&frame).map_err(|e| {
            Error::new(ErrorKind::Transport, "what answers there is no node").with_source(e)
        })?;
        self.cluster.met(&hello);
        Ok(hello)
    }
}

impl Cluster {
    /// A node has said who it is.
    pub(super) fn met(&self, hello: &Hello) {
        let Some(id) = NodeId::parse(&hello.node) else { return };
        let mut peers = self.peers.live().to_vec();
        peers.retain(|peer| peer.id != id);
        peers.push(Peer { id, addr: hello.addr.as_str().into() });
        self.peers.set(peers);
    }
}
