//! Giving a member up that will not come back.

use std::time::Duration;

use bytes::Bytes;
use http::Response;
use objstore_client::wire::private::{Forget, routes};
use objstore_client::{Body, Error, ErrorKind};

use super::peers::post;
use crate::http::private_json;
use crate::journal::NodeId;
use crate::node::{Inner, Node};

/// How long the others may take to hear of it; who does not learns it when nodes list their members.
const TIMEOUT: Duration = Duration::from_secs(2);

impl Node {
    /// Gives up a member that is gone for good: it no longer counts when it is decided which
    /// tombstones may be collected, and is no longer looked for. The other live nodes are told. Is
    /// it back one day, it is a member again, after it has taken on what the cluster knows.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`]: there is no such member. [`ErrorKind::InvalidRequest`]: it lives,
    /// or is this node itself.
    ///
    /// # Cancellation
    /// Once polled it may have been given up here, and the others not told.
    pub async fn forget(&self, id: NodeId) -> Result<(), Error> {
        let inner = &self.inner;
        inner.check_running()?;
        if id == inner.node_id || inner.cluster.peers.get(id).is_some() {
            let why = "this node lives; stop it first, then forget it";
            return Err(Error::new(ErrorKind::InvalidRequest, why));
        }
        if inner.cluster.members.get(id).is_none() {
            let why = "no member of this cluster has this id; see the peers in the stats";
            return Err(Error::new(ErrorKind::NotFound, why));
        }
        let at = inner.env.clock.wall_nanos();
        inner.give_up(id, at).await;
        let mut forget = Forget::default();
        (forget.node, forget.at) = (id.to_string(), at);
        let body = Bytes::from(serde_json::to_vec(&forget).unwrap_or_default());
        let live = inner.cluster.peers.live();
        let tell = live.iter().map(async |peer| {
            let request = post(routes::FORGET, body.clone())?;
            inner.cluster.peers.call(peer, request).await.map(drop)
        });
        let told = futures_util::future::join_all(tell);
        // Who did not hear it learns it when nodes tell each other whom they know.
        let _: Result<Vec<Result<(), Error>>, _> = tokio::time::timeout(TIMEOUT, told).await;
        Ok(())
    }
}

impl Inner {
    /// `POST /private/v1/forget`.
    pub(crate) async fn answer_forget(&self, frame: Bytes) -> Result<Response<Body>, Error> {
        let forget: Option<Forget> = serde_json::from_slice(&frame).ok();
        let named =
            forget.and_then(|forget| Some((forget.node.parse::<NodeId>().ok()?, forget.at)));
        let Some((id, at)) = named else {
            return Err(Error::new(ErrorKind::InvalidRequest, "this names no member"));
        };
        // A clock that is ahead must not have it given up for the future too.
        let at = at.min(self.env.clock.wall_nanos());
        if id != self.node_id && self.cluster.peers.get(id).is_none() {
            self.give_up(id, at).await;
        }
        Ok(private_json(&()))
    }

    async fn give_up(&self, id: NodeId, at: u64) {
        if self.cluster.members.forget(id, at) {
            tracing::warn!(node = %id, "given up: it no longer counts as a member");
            self.note_members().await;
        }
    }
}
