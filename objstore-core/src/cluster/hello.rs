//! Two nodes tell each other who they are, and find out whether they belong together.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use foca::State;
use futures_util::StreamExt;
use http::Response;
use objstore_client::wire::private::{Hello, PROTOCOL, Refused, routes};
use objstore_client::{Body, Error, ErrorKind};

use super::membership::Life;
use super::peers::{Peer, post};
use crate::http::{Caller, private_json};
use crate::journal::NodeId;
use crate::node::Inner;

/// The longest description of a node that is read, in bytes.
const HELLO_MAX: usize = 64 * 1024;
/// How long a node may take to say who it is.
const TIMEOUT: Duration = Duration::from_secs(2);
/// How long an earlier life of a node may take to prove that it lives, before a later one counts.
const TWIN_TIMEOUT: Duration = Duration::from_millis(700);
/// Members are asked again after this long: what they say of their disk grows old.
const AGAIN: Duration = Duration::from_secs(60);
/// Members asked at a time.
const AT_ONCE: usize = 16;
/// How far in the future a generation may lie, in milliseconds: beyond it is not believed.
const GENERATION_AHEAD: u64 = 366 * 24 * 3600 * 1000;

/// Who answers at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Met {
    /// This very node.
    Itself,
    Node(NodeId),
}

/// Greets members that have not said who they are, and from time to time all of them.
pub(super) async fn run(node: &Weak<Inner>) {
    let mut all = false;
    loop {
        let Some(inner) = node.upgrade() else { return };
        all |= inner.cluster.has_changed.swap(false, Ordering::AcqRel);
        let live = inner.cluster.peers.live();
        let unknown = live.iter().filter(|peer| all || inner.is_stranger(peer.id));
        futures_util::stream::iter(unknown)
            .for_each_concurrent(AT_ONCE, async |peer| {
                if let Err(error) = inner.greet(&peer.addr).await {
                    tracing::debug!(node = %peer.id, %error, "a member does not say who it is");
                }
            })
            .await;
        if all {
            inner.ask_whom_one_knows(&live).await;
        }
        let members = &inner.cluster.members;
        let (now, after) = (inner.env.clock.wall_nanos(), inner.settings.cluster.forget_after_ms);
        let is_live = |id| inner.cluster.peers.get(id).is_some() || id == inner.node_id;
        for id in members.expire(is_live, now, Duration::from_millis(after)) {
            tracing::warn!(node = %id, "given up: it has not been heard of for too long");
        }
        for peer in live.iter() {
            members.seen(peer.id, &peer.addr, now);
        }
        inner.note_members().await;
        let strangers = Arc::clone(&inner.cluster.strangers);
        drop((live, inner));
        all = tokio::time::timeout(AGAIN, strangers.notified()).await.is_err();
    }
}

impl Inner {
    /// One of the others is asked whom it knows: it may have heard that a member was given up.
    async fn ask_whom_one_knows(&self, live: &[Peer]) {
        let count = live.len().max(1);
        let chosen = usize::try_from(self.env.entropy.random() & 0xffff).unwrap_or(0) % count;
        if let Some(peer) = live.get(chosen) {
            self.members_known_to(peer.id, &peer.addr).await;
        }
    }

    fn is_stranger(&self, id: NodeId) -> bool {
        let said = self.cluster.members.get(id).and_then(|member| member.said);
        let known = self.cluster.membership.get().and_then(|membership| membership.known(id));
        match (said, known) {
            (Some(said), Some(known)) => said.boot != known.id().boot,
            _ => true,
        }
    }

    /// Who this node is.
    pub(crate) fn hello(&self) -> Hello {
        let me = self.cluster.membership.get().map(|membership| membership.me());
        let mut hello = Hello::default();
        hello.protocol = PROTOCOL;
        hello.tag.clone_from(&self.settings.cluster.tag);
        hello.node = self.node_id.to_string();
        hello.boot = self.cluster.boot;
        hello.remote = self.remote.identity();
        hello.remote_is_private = !self.remote.is_elsewhere();
        if let Some(me) = me {
            (hello.addr, hello.generation) = (me.addr, me.generation);
        }
        hello.public_addr = self.cluster.public_addr();
        hello.version = env!("CARGO_PKG_VERSION").to_owned();
        hello.disk_stats = self.usage.disk();
        hello.now = self.env.clock.wall_nanos();
        hello
    }

    /// Tells the node at an address who we are, and learns who it is. From then on both count each
    /// other as members.
    ///
    /// # Errors
    /// Nobody answers there, or somebody who is not of this cluster.
    pub(super) async fn greet(&self, addr: &str) -> Result<Met, Error> {
        let Some(membership) = self.cluster.membership.get() else { return Err(self.stopping()) };
        let mut hello = self.hello();
        for _ in 0..3 {
            let answer = tokio::time::timeout(TIMEOUT, self.ask_who(addr, None, &hello)).await;
            let answer = answer.map_err(|_| no_answer())??;
            let Some(id) = answer.node.parse::<NodeId>().ok() else { return Err(no_node()) };
            if id == self.node_id && answer.boot == self.cluster.boot {
                return Ok(Met::Itself);
            }
            if let Some(Refused { twin, why, .. }) = answer.refused {
                if twin {
                    return Err(self.be_refused(why));
                }
                return Err(Error::new(ErrorKind::Forbidden, format!("refused there: {why}")));
            }
            if let Some(why) = self.objection(&answer) {
                self.cluster.log_refusal(&who(&answer), &why);
                return Err(Error::new(ErrorKind::Forbidden, why));
            }
            // A life that has ended for one side goes on as another.
            let renew_above = self.believable(answer.renew_above);
            membership.renew_above(renew_above);
            let ended = self.meet(id, &answer);
            if ended.is_none() && renew_above < hello.generation {
                return Ok(Met::Node(id));
            }
            hello = self.hello();
            hello.renew_above = ended.unwrap_or(0);
        }
        Err(Error::new(ErrorKind::Unavailable, "this node and the other take each other for gone"))
    }

    async fn ask_who(&self, addr: &str, to: Option<NodeId>, hello: &Hello) -> Result<Hello, Error> {
        let body = serde_json::to_vec(hello).unwrap_or_default();
        let answer = self.cluster.peers.call_at(addr, to, post(routes::HELLO, body)?).await;
        let answer = answer.map_err(|error| match error.kind() {
            ErrorKind::NoSuchRoute => Error::new(
                ErrorKind::Transport,
                "what answers there is not a node's private address, which has port 11999 unless it was given another",
            )
            .with_source(error),
            _ => error,
        })?;
        let frame = answer.into_body().collect(HELLO_MAX).await?;
        serde_json::from_slice(&frame).map_err(|e| no_node().with_source(e))
    }

    /// `POST /private/v1/hello`.
    pub(crate) async fn answer_hello(
        &self,
        caller: Caller,
        frame: Bytes,
    ) -> Result<Response<Body>, Error> {
        let hello: Hello = serde_json::from_slice(&frame).map_err(|e| {
            Error::new(ErrorKind::InvalidRequest, "this is not how a node introduces itself")
                .with_source(e)
        })?;
        if (hello.node.as_str(), hello.boot) != (&caller.node.to_string(), caller.boot) {
            return Err(Error::new(ErrorKind::Forbidden, "a node speaks for itself only"));
        }
        let membership = self.cluster.membership.get().filter(|membership| !membership.has_left());
        let Some(membership) = membership else { return Err(self.stopping()) };
        let is_itself = caller.node == self.node_id && caller.boot == self.cluster.boot;
        let mut refused = None;
        if !is_itself {
            refused = self.twin_of(caller.node, &hello).await;
            if refused.is_none()
                && let Some(why) = self.objection(&hello)
            {
                let mut refusal = Refused::default();
                refusal.why = why;
                refused = Some(refusal);
            }
        }
        let mut ended = None;
        if let Some(Refused { why, .. }) = &refused {
            self.cluster.log_refusal(&who(&hello), why);
        } else if !is_itself {
            membership.renew_above(self.believable(hello.renew_above));
            ended = self.meet(caller.node, &hello);
        }
        let mut answer = self.hello();
        (answer.refused, answer.renew_above) = (refused, ended.unwrap_or(0));
        Ok(private_json(&answer))
    }

    /// A generation that one could have come by; 0 for another.
    fn believable(&self, generation: u64) -> u64 {
        let now = self.env.clock.wall_nanos() / 1_000_000;
        if generation < now.saturating_add(GENERATION_AHEAD) { generation } else { 0 }
    }

    /// A node has said who it is, and belongs here. Where that life of it is known to have ended:
    /// the generation above which it may go on.
    fn meet(&self, id: NodeId, hello: &Hello) -> Option<u64> {
        let membership = self.cluster.membership.get()?;
        let life = Life {
            node: id.to_u128(),
            generation: hello.generation,
            boot: hello.boot,
            addr: hello.addr.clone(),
        };
        let is_met = membership.meet(&life);
        let clock = &self.env.clock;
        let now = clock.wall_nanos();
        if is_met {
            self.cluster.members.said(id, hello, now, clock.monotonic());
        }
        self.cluster.refresh(now);
        if is_met {
            return None;
        }
        Some(membership.known(id).map_or(0, |known| known.id().generation))
    }

    /// Why a node does not belong here.
    fn objection(&self, hello: &Hello) -> Option<String> {
        let ours = self.remote.identity();
        let is_private = !self.remote.is_elsewhere();
        if hello.addr.is_empty() {
            return Some("it does not say where it is reached".to_owned());
        }
        if hello.remote_is_private && is_private {
            if !self.cluster.has_warned_of_directories.swap(true, Ordering::AcqRel) {
                match hello.remote == ours {
                    true => tracing::warn!(
                        "these nodes have one directory for a bucket: conditions of changes by key hold within each node, not between them"
                    ),
                    false => tracing::warn!(
                        "the remotes of these nodes are directories of their own: what has level 1 or 2 lies in the directory of one node only"
                    ),
                }
            }
            return None;
        }
        (hello.remote != ours || hello.remote_is_private != is_private).then(|| {
            format!(
                "the node at {} stands before {}, the one at {} before {ours}; nodes of one cluster stand before the same bucket",
                hello.addr,
                hello.remote,
                self.cluster.addr().unwrap_or_default(),
            )
        })
    }

    /// Whether another process with the id of a node lives.
    async fn twin_of(&self, id: NodeId, hello: &Hello) -> Option<Refused> {
        let twin_at = if id == self.node_id {
            self.cluster.addr().unwrap_or_default()
        } else {
            let known = self.cluster.membership.get()?.known(id)?;
            let life = known.id();
            if life.boot == hello.boot || life.addr == hello.addr {
                return None;
            }
            let me = self.hello();
            let asked = self.ask_who(&life.addr, Some(id), &me);
            match tokio::time::timeout(TWIN_TIMEOUT, asked).await {
                Ok(Ok(answer)) if answer.node == hello.node && answer.boot == life.boot => {
                    life.addr.clone()
                }
                // One that has ended refuses connections. One that is silent may be stopped, or out
                // of reach, until the cluster has given it up.
                Err(_) if known.state() != State::Down => {
                    let mut refused = Refused::default();
                    refused.why = format!(
                        "node {id} was at {} and has not been given up yet; the process at {} with the same id is let in when it is",
                        life.addr, hello.addr
                    );
                    return Some(refused);
                }
                _ => return None,
            }
        };
        let mut refused = Refused::default();
        refused.twin = true;
        refused.why = format!(
            "node {id} runs at {twin_at}, so the process at {} with the same id is refused; if its state directory is a copy, start it with --new-node-id",
            hello.addr
        );
        Some(refused)
    }
}

fn who(hello: &Hello) -> String {
    format!("{} at {}", hello.node, hello.addr)
}

fn no_node() -> Error {
    Error::new(ErrorKind::Transport, "what answers there is no node")
}

fn no_answer() -> Error {
    Error::new(ErrorKind::Transport, "no answer from the node")
}
