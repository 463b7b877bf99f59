//! The cluster: who the other nodes are, and what they and this node tell each other.
//!
//! [`Peers`] says who can be asked right now and asks; everything else stands on it.

mod absent;
mod address;
mod agreements;
mod announce;
mod authority;
mod bodies;
mod budget;
mod chores;
mod cold;
mod compare;
mod counts;
mod digesting;
mod drain;
mod forget;
mod frames;
mod gossip;
mod heirs;
mod hello;
mod join;
mod key;
mod loans;
mod locate;
mod members;
mod membership;
mod messages;
mod owner;
mod parked;
mod peers;
mod replicate;
mod skew;
mod sync;
mod sync_answers;
mod tcp;
mod trust;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use foca::{OwnedNotification, State};
use objstore_client::types::{PeerInfo, PeerState};
use objstore_client::{Error, ErrorKind};
use tokio::sync::{Notify, watch};

pub(crate) use announce::{Changed, News};
pub(crate) use cold::FromOwner;
pub use drain::Drained;
pub use key::ClusterKey;
pub(crate) use locate::{Exchange, Locator};
use members::Members;
use membership::{Life, Membership};
pub use messages::Subscription;
use peers::Peer;
pub(crate) use peers::Peers;
pub(crate) use tcp::TcpNetwork;
pub(crate) use trust::Trust;

use crate::env::{Listening, Network};
use crate::http::PrivateService;
use crate::journal::{Change, JournalStore, NodeId, StoreError};
use crate::node::Inner;
use crate::settings::ClusterSettings;
use budget::Budget;
use messages::Messages;

/// A node that was given seeds says that it is ready after this long at the latest, synced or not; and
/// one that reaches none of those it remembers takes itself for the only one.
const READY_AFTER: Duration = Duration::from_secs(30);
/// A node that lives and cannot be asked for this long is one for the log.
const UNANSWERED: Duration = Duration::from_secs(15);
/// What is remembered to be in the log, by whom it is about.
const LOGGED: usize = 256;

/// This node's part in the cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    pub(crate) peers: Peers,
    /// Drawn at the start: tells two processes with one node id apart.
    pub(crate) boot: u32,
    messages: Arc<Messages>,
    pub(crate) budget: Budget,
    /// For other nodes, and for operators.
    listening: Mutex<Vec<Box<dyn Listening>>>,
    /// Where operators reach it, if they do.
    debug: Mutex<Option<SocketAddr>>,
    /// Where clients reach this node; empty until it serves.
    public_addr: Mutex<String>,
    pub(crate) news: Arc<News>,
    parked: parked::Parked,
    agreements: agreements::Agreements,
    comparing: sync::Comparing,
    asking: absent::Asking,
    members: Members,
    /// None of a node that has no part in a cluster.
    membership: OnceLock<Arc<Membership>>,
    /// Somebody is there who has not said who it is.
    strangers: Arc<Notify>,
    /// What this node says of itself has changed.
    has_changed: AtomicBool,
    /// The first look for others is over.
    has_looked: AtomicBool,
    /// Some member has told whom it knows.
    has_list: AtomicBool,
    /// Why this node may not be part of the cluster: another process with its id lives.
    refused: watch::Sender<Option<Error>>,
    /// Since when those that live cannot be asked from here.
    unanswered: Mutex<BTreeMap<NodeId, Instant>>,
    /// What the log last had of whom, so that it has it once.
    logged: Mutex<BTreeMap<String, String>>,
    has_warned_of_directories: AtomicBool,
    /// What those say that this node asked, when all who answered refuse it.
    unwelcome: Mutex<Option<String>>,
}

impl Cluster {
    /// With the members that a journal remembers. Blocks.
    pub(crate) fn load(
        network: Arc<dyn Network>,
        me: NodeId,
        boot: u32,
        settings: &ClusterSettings,
        store: &dyn JournalStore,
        news: Arc<News>,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            peers: Peers::new(network, me, boot, settings.tag.clone()),
            boot,
            messages: Arc::new(Messages::new()),
            budget: Budget::default(),
            listening: Mutex::default(),
            debug: Mutex::default(),
            public_addr: Mutex::new(settings.public_addr.clone().unwrap_or_default()),
            members: Members::load(store)?,
            membership: OnceLock::new(),
            strangers: Arc::default(),
            has_changed: AtomicBool::new(false),
            // Without a part in a cluster there is nobody to look for.
            has_looked: AtomicBool::new(settings.private_addr.is_none()),
            has_list: AtomicBool::default(),
            refused: watch::Sender::new(None),
            unanswered: Mutex::default(),
            logged: Mutex::default(),
            has_warned_of_directories: AtomicBool::new(false),
            unwelcome: Mutex::default(),
            news,
            parked: parked::Parked::default(),
            agreements: agreements::Agreements::load(store)?,
            comparing: sync::Comparing::default(),
            asking: absent::Asking::default(),
        })
    }

    /// Where the private API is reached, as others are told; none when this node has no part in a
    /// cluster.
    pub(crate) fn addr(&self) -> Option<String> {
        Some(self.membership.get()?.me().addr)
    }

    /// Where the private API is served to operators, if it is.
    pub(crate) fn debug_addr(&self) -> Option<SocketAddr> {
        *lock(&self.debug)
    }

    /// Where clients reach this node. One that listens everywhere is reached where other nodes
    /// reach it.
    fn public_addr(&self) -> String {
        let addr = lock(&self.public_addr).clone();
        let here = self.addr().unwrap_or_default();
        match (addr.parse::<SocketAddr>(), here.rsplit_once(':')) {
            (Ok(bound), Some((host, _))) if bound.ip().is_unspecified() => {
                format!("{host}:{}", bound.port())
            }
            _ => addr,
        }
    }

    /// Clients reach this node here, unless the settings say otherwise.
    pub(crate) fn serves(&self, addr: SocketAddr) {
        let mut public_addr = lock(&self.public_addr);
        if public_addr.is_empty() {
            *public_addr = addr.to_string();
            self.has_changed.store(true, Ordering::Release);
            self.strangers.notify_one();
        }
    }

    /// The node does not want requests any more.
    pub(crate) fn drains(&self) {
        self.messages.wake();
    }

    /// Nobody is answered any more.
    pub(crate) fn stop(&self) {
        drop(std::mem::take(&mut *lock(&self.listening)));
        self.messages.stop();
    }

    /// Whether a request may not be from the life of a node that is known here.
    pub(crate) fn is_other_life(&self, node: NodeId, boot: u32) -> bool {
        if node == self.peers.me() {
            return boot != self.boot;
        }
        let known = self.membership.get().and_then(|membership| membership.known(node));
        known.is_some_and(|known| known.state() != State::Down && known.id().boot != boot)
            && !self.has_met(node, boot)
    }

    /// Whether this life of a node has said who it is, to this node or to another that said so.
    fn has_met(&self, node: NodeId, boot: u32) -> bool {
        let said = self.members.get(node).and_then(|member| member.said);
        let known = self.membership.get().and_then(|membership| membership.known(node));
        said.is_some_and(|said| said.boot == boot)
            || known.is_some_and(|known| known.id().boot == boot)
    }

    /// Takes note of what the membership protocol has found out.
    fn refresh(&self, now: u64) {
        let Some(membership) = self.membership.get() else { return };
        while let Some(event) = membership.next_event() {
            match event {
                OwnedNotification::MemberUp(life) => {
                    tracing::info!(node = %NodeId::from_u128(life.node), addr = %life.addr, "a node is there");
                    self.there_is(&life, now);
                }
                OwnedNotification::Rename(_, life) => self.there_is(&life, now),
                OwnedNotification::MemberDown(life) => {
                    let (node, addr) = (NodeId::from_u128(life.node), life.addr);
                    match membership.had_left(node) {
                        true => tracing::info!(%node, %addr, "a node has left"),
                        false => tracing::warn!(%node, %addr, "a node is gone"),
                    }
                }
                OwnedNotification::Rejoin(_) => {
                    tracing::warn!("the other nodes took this one for gone; it is back");
                }
                _ => {}
            }
        }
        self.peers.set(membership.live());
    }

    fn there_is(&self, life: &Life, now: u64) {
        self.members.seen(NodeId::from_u128(life.node), &life.addr, now);
        self.strangers.notify_one();
    }

    /// A node that lives has been asked, and has answered.
    pub(super) fn answers(&self, node: NodeId) {
        if lock(&self.unanswered).remove(&node).is_some()
            && lock(&self.logged).remove(&node.to_string()).is_some()
        {
            tracing::info!(%node, "this node can be asked again");
        }
    }

    /// For how long one that lives has been asked in vain, in milliseconds.
    fn unanswered_for(&self, node: NodeId, now: Instant) -> u64 {
        let since = self.peers.get(node).and_then(|_| lock(&self.unanswered).get(&node).copied());
        let time = since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
    }

    /// A node has not answered. One that is dead is known to be soon; of one that others reach the
    /// log has to tell.
    pub(super) fn answers_not(&self, peer: &Peer, error: &Error, now: Instant) {
        if error.kind() != ErrorKind::Transport {
            return self.answers(peer.id);
        }
        let since = *lock(&self.unanswered).entry(peer.id).or_insert(now);
        if now.saturating_duration_since(since) > UNANSWERED {
            let what = format!(
                "this node lives, others say, and cannot be asked from here at {}: {error}; is the network between the two whole?",
                peer.addr
            );
            self.log_once(&peer.id.to_string(), what);
        }
    }

    /// Says in the log that somebody was refused, once for each reason.
    pub(crate) fn log_refusal(&self, who: &str, why: &str) {
        self.log_once(who, format!("not of this cluster: {why}"));
    }

    /// Says in the log what is wrong with somebody, until something else is.
    pub(super) fn log_once(&self, who: &str, what: String) {
        let mut said = lock(&self.logged);
        if said.get(who).is_some_and(|known| *known == what) {
            return;
        }
        if said.len() >= LOGGED {
            said.pop_first();
        }
        tracing::warn!(%who, "{what}");
        said.insert(who.to_owned(), what);
    }
}

impl Inner {
    /// Opens the private listener, if there is to be one, and looks for the others.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`]: it cannot listen there, nobody could be told where it is
    /// reached, or another process with the id of this node lives.
    pub(crate) async fn enter_cluster(self: &Arc<Self>) -> Result<(), Error> {
        let settings = &self.settings.cluster;
        if let Some(address) = &settings.debug_addr {
            let debug = tcp::debug(address, PrivateService::new(Arc::downgrade(self))).await?;
            *lock(&self.cluster.debug) = Some(debug.local_addr());
            lock(&self.cluster.listening).push(Box::new(debug));
        }
        let Some(address) = &settings.private_addr else {
            self.cluster.has_looked.store(true, Ordering::Release);
            return Ok(());
        };
        let network = self.cluster.peers.network();
        let listening = network.listen(address, PrivateService::new(Arc::downgrade(self))).await?;
        let addr = address::advertised(network.as_ref(), listening.local_addr(), settings).await?;
        let me = Life {
            node: self.node_id.to_u128(),
            generation: self.env.clock.wall_nanos() / 1_000_000,
            boot: self.cluster.boot,
            addr,
        };
        let membership = Membership::new(me, Arc::clone(&self.env.entropy));
        let _ = self.cluster.membership.set(Arc::new(membership));
        lock(&self.cluster.listening).push(listening);
        self.look_around().await
    }

    /// What is known of the other nodes.
    pub(crate) fn peer_infos(&self) -> Vec<PeerInfo> {
        let cluster = &self.cluster;
        let state = |id, forgotten: Option<u64>| {
            let known = cluster.membership.get().and_then(|membership| membership.known(id));
            match known.map_or(State::Down, |known| known.state()) {
                State::Alive => PeerState::Alive,
                State::Suspect => PeerState::Suspect,
                State::Down if forgotten.is_some() => PeerState::Forgotten,
                State::Down => PeerState::Gone,
            }
        };
        let others = cluster.members.all().into_iter().filter(|(id, _)| *id != self.node_id);
        others
            .map(|(id, member)| {
                let mut info = PeerInfo::default();
                info.node_id = id.to_string();
                info.private_addr.clone_from(&member.addr);
                info.state = state(id, member.forgotten);
                info.last_seen = member.forgotten.unwrap_or(member.last_seen);
                if let Some(said) = member.said {
                    info.public_addr = said.public_addr;
                    info.version = said.version;
                    info.disk_stats = said.disk_stats;
                }
                let ahead = self.clock_ahead(cluster, id).unwrap_or(0);
                info.clock_ahead_ms = ahead / 1_000_000;
                info.unanswered_ms = cluster.unanswered_for(id, self.env.clock.monotonic());
                info
            })
            .collect()
    }

    /// What this node tells of all members, itself included.
    pub(crate) fn all_infos(&self) -> Vec<PeerInfo> {
        let hello = self.hello();
        let mut me = PeerInfo::default();
        (me.node_id, me.private_addr, me.public_addr) = (hello.node, hello.addr, hello.public_addr);
        (me.version, me.disk_stats, me.last_seen) = (hello.version, hello.disk_stats, hello.now);
        me.state = PeerState::Alive;
        let mut infos = self.peer_infos();
        infos.push(me);
        infos.sort_by(|a, b| a.node_id.cmp(&b.node_id));
        infos
    }

    /// Whether the journal has been compared with that of another node since the start, or there is
    /// none to compare it with: no other is remembered, or none of them has answered for so long that
    /// this one goes on alone.
    pub(crate) fn has_synced(&self) -> bool {
        let cluster = &self.cluster;
        let is_alone = || {
            cluster.has_looked.load(Ordering::Acquire)
                && cluster.peers.live().is_empty()
                && self.unwelcome().is_none()
                && (self.up() > READY_AFTER || self.counted().is_empty())
        };
        cluster.comparing.has_synced() || is_alone()
    }

    fn up(&self) -> Duration {
        self.env.clock.monotonic().saturating_duration_since(self.started)
    }

    /// Whether this node knows as much as it can: it has looked for the others, and if there are
    /// any, it has synced with one, or has tried to for long enough.
    pub(crate) fn has_settled(&self) -> bool {
        let cluster = &self.cluster;
        cluster.refused.borrow().is_none()
            && cluster.has_looked.load(Ordering::Acquire)
            && self.unwelcome().is_none()
            && (cluster.peers.live().is_empty() || self.has_synced() || self.up() > READY_AFTER)
    }

    /// Why this node is nobody's, where all whom it found refuse it.
    pub(crate) fn unwelcome(&self) -> Option<String> {
        lock(&self.cluster.unwelcome).clone()
    }

    /// This node may not be part of the cluster.
    pub(super) fn be_refused(&self, why: String) -> Error {
        tracing::error!("{why}");
        let error = Error::new(ErrorKind::Configuration, why);
        self.cluster.refused.send_replace(Some(error.clone()));
        error
    }

    /// Comes back when another process with this node's id lives, with what to say about it.
    pub(crate) async fn refused(&self) -> Error {
        let mut refused = self.cluster.refused.subscribe();
        match refused.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(error)) => error.clone(),
            // The sender is this node's.
            _ => std::future::pending().await,
        }
    }

    /// Writes down what has changed about the members.
    async fn note_members(&self) {
        let notes = self.cluster.members.take_notes();
        if !notes.is_empty()
            && let Err(error) = self.commit(Change::Note(notes)).await
        {
            tracing::warn!(%error, "the members of the cluster could not be written down");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Works until the node is gone; dropping the future stops what is under way.
pub(crate) async fn run(node: Weak<Inner>) {
    let has_part = |inner: Arc<Inner>| inner.settings.cluster.private_addr.is_some();
    if !node.upgrade().is_some_and(has_part) {
        return chores::run(&node).await;
    }
    tokio::join!(
        gossip::run(&node),
        join::run(&node),
        hello::run(&node),
        trust::run(&node),
        announce::run(&node),
        digesting::run(&node),
        sync::run(&node),
        chores::run(&node),
        heirs::run(&node),
        loans::run(&node),
    );
}
