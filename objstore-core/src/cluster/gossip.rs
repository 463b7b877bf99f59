//! Carries the packets of the membership protocol. What is to go back to a node goes with the
//! answer to what it sent, which halves the requests.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use objstore_client::wire::private::routes;
use objstore_client::{Body, Error, ErrorKind};
use tokio::task::JoinSet;

use super::membership::{Envelope, Life, Word};
use super::peers::post;
use crate::http::{Caller, FRAME_MAX};
use crate::journal::NodeId;
use crate::node::Inner;

/// Packets under way at a time; more wait.
const SENDING: usize = 64;
/// A packet that has not arrived by then is as good as lost.
const TIMEOUT: Duration = Duration::from_millis(1500);
/// How long a node that leaves waits for the others to hear of it.
const FAREWELL: Duration = Duration::from_secs(1);

pub(super) async fn run(node: &Weak<Inner>) {
    let membership = node.upgrade().and_then(|inner| inner.cluster.membership.get().cloned());
    let Some(membership) = membership else { return };
    let mut sending = JoinSet::new();
    loop {
        let next = membership.tick();
        let Some(inner) = node.upgrade() else { return };
        inner.cluster.refresh(inner.env.clock.wall_nanos());
        while sending.len() < SENDING
            && let Some((to, packet)) = membership.next_outgoing()
        {
            let inner = Arc::clone(&inner);
            sending.spawn(async move { inner.gossip(&to, packet).await });
        }
        drop(inner);
        let due = async {
            match next {
                Some(next) => tokio::time::sleep_until(next).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = membership.work.notified() => {}
            () = due => {}
            Some(_) = sending.join_next() => {}
        }
    }
}

impl Inner {
    /// Sends a packet, and takes what comes back. A packet that is lost is not missed.
    async fn gossip(&self, to: &Life, packet: Bytes) {
        let Some(membership) = self.cluster.membership.get() else { return };
        let id = NodeId::from_u128(to.node);
        let words = membership.doubt(id).into_iter().collect();
        match tokio::time::timeout(TIMEOUT, self.exchange(to, words, vec![packet.to_vec()])).await {
            Ok(Ok(answer)) => {
                self.hear(id, to.boot, answer);
            }
            // It does not know this life of ours.
            Ok(Err(error)) if error.kind() == ErrorKind::PreconditionFailed => {
                if let Err(error) = self.greet(&to.addr).await {
                    tracing::debug!(node = %id, %error, "a node that wants to know who this is was not told");
                }
            }
            Ok(Err(error)) => {
                tracing::debug!(node = %id, %error, "a packet of the membership protocol was lost");
            }
            Err(_) => {
                tracing::debug!(node = %id, "a packet of the membership protocol took too long");
            }
        }
    }

    async fn exchange(
        &self,
        to: &Life,
        words: Vec<Word>,
        packets: Vec<Vec<u8>>,
    ) -> Result<Envelope, Error> {
        let envelope = Envelope { now: self.env.clock.wall_nanos(), words, packets };
        let request = post(routes::GOSSIP, encode(&envelope))?;
        let peers = &self.cluster.peers;
        let answer = peers.call_at(&to.addr, Some(NodeId::from_u128(to.node)), request).await?;
        decode(&answer.into_body().collect(FRAME_MAX).await?)
    }

    /// Takes what a life of a node sent.
    fn hear(&self, from: NodeId, boot: u32, envelope: Envelope) {
        let Some(membership) = self.cluster.membership.get() else { return };
        let clock = &self.env.clock;
        let now = clock.wall_nanos();
        self.cluster.members.told(from, envelope.now, now, clock.monotonic());
        membership.receive(from, boot, envelope);
        self.cluster.refresh(now);
    }

    /// `POST /private/v1/gossip`.
    pub(crate) fn answer_gossip(
        &self,
        caller: Caller,
        frame: &[u8],
    ) -> Result<Response<Body>, Error> {
        let membership = self.cluster.membership.get().filter(|membership| !membership.has_left());
        let Some(membership) = membership else { return Err(self.stopping()) };
        if !self.cluster.has_met(caller.node, caller.boot) {
            let why = "this node does not know you; say hello first";
            return Err(Error::new(ErrorKind::PreconditionFailed, why));
        }
        self.hear(caller.node, caller.boot, decode(frame)?);
        let answer = Envelope {
            now: self.env.clock.wall_nanos(),
            words: membership.doubt(caller.node).into_iter().collect(),
            packets: membership.outgoing_to(caller.node),
        };
        Ok(Response::new(encode(&answer).into()))
    }

    /// Tells the others that this node goes, so that they need not find out.
    pub(crate) async fn leave_cluster(&self) {
        let Some(membership) = self.cluster.membership.get() else { return };
        let live = membership.live();
        let Some(word) = membership.leave() else { return };
        let tell = live.iter().map(|peer| {
            let to = Life {
                node: peer.id.to_u128(),
                generation: 0,
                boot: 0,
                addr: peer.addr.to_string(),
            };
            let word = word.clone();
            async move { self.exchange(&to, vec![word], Vec::new()).await.is_ok() }
        });
        let told = futures_util::future::join_all(tell);
        if tokio::time::timeout(FAREWELL, told).await.is_err() {
            tracing::info!("not every node has heard that this one leaves; they will find out");
        }
        self.cluster.peers.set(Vec::new());
    }
}

fn encode(envelope: &Envelope) -> Vec<u8> {
    // Numbers, texts and bytes, all of which serialise.
    postcard::to_stdvec(envelope).unwrap_or_default()
}

fn decode(bytes: &[u8]) -> Result<Envelope, Error> {
    postcard::from_bytes(bytes).map_err(|e| {
        Error::new(ErrorKind::InvalidRequest, "not what the membership protocol sends")
            .with_source(e)
    })
}
