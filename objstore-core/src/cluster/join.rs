//! Finding the other nodes: through the addresses that were given, through the members that are
//! remembered, and through what those know.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use objstore_client::types::{PeerInfo, PeerState};
use objstore_client::wire::private::routes;
use objstore_client::{Body, Error, ErrorKind};

use super::address;
use super::hello::Met;
use crate::journal::NodeId;
use crate::node::Inner;

/// How long a start may take to look for others.
const FIRST_LOOK: Duration = Duration::from_secs(1);
/// How long a name may take to be resolved.
const RESOLVE: Duration = Duration::from_secs(5);
/// Pauses between two looks of a node that is alone, and of one that is not.
const ALONE_FIRST: Duration = Duration::from_millis(250);
const ALONE_MAX: Duration = Duration::from_secs(5);
const TOGETHER: Duration = Duration::from_secs(10);
/// Nodes greeted at a time, and in one look.
const AT_ONCE: usize = 16;
const IN_A_LOOK: usize = 256;
/// Nodes that are asked whom they know, in one look: each knows nearly all.
const LISTS: usize = 3;
/// The longest list of members that is read, in bytes.
const LIST_MAX: usize = 1 << 20;

pub(super) async fn run(node: &Weak<Inner>) {
    let mut pause = ALONE_FIRST;
    let mut found = BTreeMap::new();
    loop {
        let Some(inner) = node.upgrade() else { return };
        if inner.cluster.membership.get().is_none_or(|membership| membership.has_left()) {
            return;
        }
        let mut live = inner.cluster.peers.watch();
        let is_alone = live.borrow_and_update().is_empty();
        let is_settled = !is_alone && inner.cluster.has_list.load(Ordering::Acquire);
        let wait = inner.jittered(if is_settled { TOGETHER } else { pause });
        pause = if is_settled { ALONE_FIRST } else { (pause * 2).min(ALONE_MAX) };
        drop(inner);
        // One that has lost the others looks for them at once.
        let _ =
            tokio::time::timeout(wait, live.wait_for(|live| live.is_empty() && !is_alone)).await;
        let Some(inner) = node.upgrade() else { return };
        inner.look(&mut found).await;
        inner.cluster.has_looked.store(true, Ordering::Release);
        inner.log_that_it_is_alone();
        inner.note_members().await;
    }
}

impl Inner {
    /// The look for others that a start waits for, within bounds.
    ///
    /// # Errors
    /// Another process with the id of this node lives.
    pub(super) async fn look_around(&self) -> Result<(), Error> {
        let mut found = BTreeMap::new();
        let looked = tokio::time::timeout(FIRST_LOOK, self.look(&mut found)).await;
        if let Some(error) = self.cluster.refused.borrow().clone() {
            return Err(error);
        }
        // Where somebody is still being waited for, `run` says when that is over.
        if looked.is_ok() {
            self.cluster.has_looked.store(true, Ordering::Release);
        }
        self.cluster.members.seen(
            self.node_id,
            &self.cluster.addr().unwrap_or_default(),
            self.env.clock.wall_nanos(),
        );
        self.note_members().await;
        Ok(())
    }

    /// Says that none of the members answers, where there are some.
    fn log_that_it_is_alone(&self) {
        let members = self.counted().len();
        if members > 0 && self.cluster.peers.live().is_empty() {
            let what = format!(
                "none of {members} remembered nodes answers: what was put or deleted there since is not known here until one does; an id that is unknown here is answered 503 for half a minute after the start, then 404 (objstore forget gives a node up)"
            );
            self.cluster.log_once("the other nodes", what);
        }
    }

    /// Half to one and a half of a time, so that nodes that start together do not go in step.
    fn jittered(&self, time: Duration) -> Duration {
        let random = u32::try_from(self.env.entropy.random() & 0xffff).unwrap_or(0);
        time / 2 + time * random / 0x1_0000
    }

    /// Greets whoever may be there, and whoever those know. `found` says who was met where.
    async fn look(&self, found: &mut BTreeMap<String, NodeId>) {
        let mut itself: BTreeSet<String> = self.cluster.addr().into_iter().collect();
        let mut greeted = itself.clone();
        greeted.extend(self.cluster.peers.live().iter().map(|peer| peer.addr.to_string()));
        let is_live = |id: &NodeId| self.cluster.peers.get(*id).is_some();
        greeted.extend(found.iter().filter(|(_, id)| is_live(id)).map(|(addr, _)| addr.clone()));
        let seeds = self.resolve_seeds().await;
        let mut next: BTreeSet<String> = seeds.iter().cloned().collect();
        next.extend(self.absent());
        // Nobody has told yet who else there is: the answer of the first who was met got lost.
        if !self.cluster.has_list.load(Ordering::Acquire) {
            for peer in self.cluster.peers.live().iter().take(LISTS) {
                next.extend(self.members_known_to(peer.id, &peer.addr).await);
            }
        }
        let mut lists = 0;
        let mut refused = None;
        while !next.is_empty() && greeted.len() < IN_A_LOOK {
            let now: Vec<String> = next.iter().filter(|a| !greeted.contains(*a)).cloned().collect();
            greeted.append(&mut next);
            let greetings = now.into_iter().map(async |addr| (self.greet(&addr).await, addr));
            let mut answers = futures_util::stream::iter(greetings).buffer_unordered(AT_ONCE);
            while let Some((answer, addr)) = answers.next().await {
                match answer {
                    Ok(Met::Itself) => {
                        itself.insert(addr);
                    }
                    Ok(Met::Node(id)) => {
                        found.insert(addr.clone(), id);
                        if lists < LISTS {
                            lists += 1;
                            next.extend(self.members_known_to(id, &addr).await);
                        }
                    }
                    Err(error) if error.kind() == ErrorKind::Forbidden => {
                        let why = error.to_string();
                        self.cluster.log_refusal(&addr, &why);
                        refused = Some(format!("{addr}: {why}"));
                    }
                    Err(error) if seeds.contains(&addr) => {
                        let what = format!(
                            "a node to find the cluster through cannot be asked: {error}; it is tried again"
                        );
                        self.cluster.log_once(&addr, what);
                    }
                    Err(error) => tracing::debug!(%addr, %error, "a member does not answer"),
                }
            }
        }
        let is_alone = self.cluster.peers.live().is_empty();
        *super::lock(&self.cluster.unwelcome) = refused.filter(|_| is_alone);
        let is_itself = |addr: &String| itself.contains(addr);
        if !seeds.is_empty() && seeds.iter().all(is_itself) {
            let what = "this is the address of this node itself; give that of another (nodes)";
            self.cluster.log_once(&seeds.join(", "), what.to_owned());
        }
        found.retain(|addr, _| greeted.contains(addr));
    }

    /// The addresses that the names in the settings stand for right now.
    async fn resolve_seeds(&self) -> Vec<String> {
        let mut addresses = Vec::new();
        for seed in address::seeds(&self.settings.cluster) {
            let resolved = self.cluster.peers.network().resolve(&seed);
            match tokio::time::timeout(RESOLVE, resolved).await {
                Ok(Ok(found)) if found.is_empty() => {
                    let what = "this name stands for no address at the moment";
                    self.cluster.log_once(&seed, what.to_owned());
                }
                Ok(Ok(found)) => addresses.extend(found.iter().map(ToString::to_string)),
                Ok(Err(error)) => {
                    self.cluster.log_once(&seed, format!("this name cannot be resolved ({error})"));
                }
                Err(_) => {
                    self.cluster.log_once(&seed, "this name takes too long to resolve".to_owned());
                }
            }
        }
        addresses
    }

    /// Where the members are that do not live as far as is known, and where this node itself was
    /// before: should a process with its id live, that is where.
    fn absent(&self) -> Vec<String> {
        let members = self.cluster.members.all().into_iter();
        members
            .filter(|(id, member)| {
                member.forgotten.is_none() && self.cluster.peers.get(*id).is_none()
            })
            .map(|(_, member)| member.addr)
            .collect()
    }

    /// Learns whom a member knows; where those are that live.
    pub(super) async fn members_known_to(&self, id: NodeId, addr: &str) -> Vec<String> {
        let list = match self.list_of(id, addr).await {
            Ok(list) => list,
            Err(error) => {
                tracing::debug!(node = %id, %error, "a member does not tell whom it knows");
                return Vec::new();
            }
        };
        self.cluster.has_list.store(true, Ordering::Release);
        let mut live = Vec::new();
        for info in list {
            let Some(id) = info.node_id.parse::<NodeId>().ok().filter(|id| *id != self.node_id)
            else {
                continue;
            };
            let is_forgotten = info.state == PeerState::Forgotten;
            // Also of those that live: they may be out of reach from here, and who tells of them gone
            // when they are not any more.
            self.cluster.members.heard_of(id, &info.private_addr, info.last_seen, is_forgotten);
            if matches!(info.state, PeerState::Alive | PeerState::Suspect) {
                live.push(info.private_addr);
            }
        }
        live
    }

    async fn list_of(&self, id: NodeId, addr: &str) -> Result<Vec<PeerInfo>, Error> {
        let request = http::Request::get(routes::NODES)
            .body(Body::default())
            .map_err(|e| Error::new(ErrorKind::Internal, "not a private path").with_source(e))?;
        let asked = async {
            let answer = self.cluster.peers.call_at(addr, Some(id), request).await?;
            answer.into_body().collect(LIST_MAX).await
        };
        let list = tokio::time::timeout(FIRST_LOOK, asked)
            .await
            .map_err(|_| Error::new(ErrorKind::Transport, "no answer from the node"))??;
        serde_json::from_slice(&list).map_err(|e| {
            Error::new(ErrorKind::Transport, "what answers there is no node").with_source(e)
        })
    }
}
