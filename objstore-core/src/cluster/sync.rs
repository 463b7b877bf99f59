//! Comparing journals with the other nodes, one after the other, and making good what differs;
//! [`sync_answers`](super::sync_answers) is the other side of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bytes::{Buf, Bytes};
use futures_util::StreamExt;
use futures_util::future::join_all;
use objstore_client::types::ObjectId;
use objstore_client::wire::private::routes;
use objstore_client::{Error, ErrorKind};

use super::compare::{self, ANSWER_MAX, Kind, Listed, Nodes, State, Told};
use super::frames::{self, FRAME_RECORDS, Frame};
use super::peers::{Peer, post};
use crate::env;
use crate::journal::{
    Change, DEPTH, FANOUT, JournalStore, NodeId, Record, Stamp, StoreError, encode_record,
    load_entry, load_gone,
};
use crate::node::Inner;
use crate::ops::journal_error;

/// Journals are compared this often, and as much more seldom as there are more than so many peers.
const EVERY: Duration = Duration::from_secs(30);
const PEERS: u32 = 10;
/// What was missed is made good after this, so that more of it comes together.
const SOON: Duration = Duration::from_millis(50);
/// A peer that could not be compared with is tried again after the first of these, and after twice
/// as long each time that it fails again, up to the second: two that have just met often ask each
/// other at once, or too early.
const AGAIN_FIRST: Duration = Duration::from_millis(50);
const AGAIN: Duration = Duration::from_secs(1);
/// Records that are looked for before they are exchanged, but for what one more answer adds.
const GATHERED: usize = 4 * FRAME_RECORDS;
/// Peers compared with at a time, once one has told this node all it knows.
const PARALLEL: usize = 4;
/// The longest a step may take: one that is answered from memory, one that reads or writes records,
/// and all of them.
const STEP_TIMEOUT: Duration = Duration::from_secs(3);
const RECORDS_TIMEOUT: Duration = Duration::from_secs(20);
const TIMEOUT: Duration = Duration::from_secs(600);

/// How far this node is with comparing.
#[derive(Debug, Default)]
pub(super) struct Comparing {
    has_synced: AtomicBool,
    /// The peers that this node is comparing with.
    with: Mutex<BTreeSet<NodeId>>,
}

impl Comparing {
    pub(super) fn has_synced(&self) -> bool {
        self.has_synced.load(Ordering::Acquire)
    }

    pub(super) fn with(&self) -> std::sync::MutexGuard<'_, BTreeSet<NodeId>> {
        self.with.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Compares with who has missed something, and with everybody now and then.
pub(super) async fn run(node: &Weak<Inner>) {
    let Some(news) = node.upgrade().map(|inner| Arc::clone(&inner.cluster.news)) else {
        return;
    };
    let mut failures = 0;
    loop {
        let Some(wait) = node.upgrade().map(|inner| inner.until_next(failures)) else { return };
        let everybody = tokio::select! {
            () = news.more_missed.notified() => {
                tokio::time::sleep(SOON).await;
                false
            }
            () = tokio::time::sleep(wait) => failures == 0,
        };
        let Some(inner) = node.upgrade() else { return };
        inner.unpark().await;
        let again = inner.compare_with_peers(everybody).await;
        failures = if again { failures + 1 } else { 0 };
        if let Err(error) = inner.collect_known().await {
            tracing::debug!(%error, "old deletes could not be forgotten yet");
        }
    }
}

/// What differs in some leaves.
#[derive(Debug, Default)]
struct Differences {
    /// What the peer has, and this node does not, or otherwise.
    pull: Vec<ObjectId>,
    /// The peer's digest of what both have.
    theirs: BTreeMap<ObjectId, u128>,
    /// What this node has, and the peer does not.
    ours: Vec<ObjectId>,
}

impl Differences {
    fn len(&self) -> usize {
        self.pull.len() + self.ours.len()
    }
}

/// What this node may offer to a peer that has forgotten deletes of which this node has not heard.
#[derive(Debug)]
struct Offer {
    horizon: u64,
    /// What this node had before this time, the cluster had too.
    known_before: u64,
    /// What this node wrote before this time in an earlier life, too: the peer remembers that, should
    /// this node's disk have been rolled back.
    told_before: u64,
    /// The peer was told more than this node remembers: what is on its disk, whoever wrote it, was
    /// known to a later life of it, which told it.
    is_rolled_back: bool,
    me: u128,
    boot: u32,
    members: BTreeSet<u128>,
}

impl Offer {
    /// Whether the cluster cannot have deleted this version and forgotten that it did.
    fn holds(&self, record: &Record) -> bool {
        let Stamp { time, node, boot } = record.stamp;
        let is_of_earlier_life = node == self.me && boot != self.boot;
        let was_told = is_of_earlier_life || self.is_rolled_back;
        let told_before = if was_told { self.told_before } else { 0 };
        let known_before = self.known_before.max(told_before);
        time >= self.horizon
            || known_before == 0
            || (time > known_before && !self.members.contains(&node))
    }
}

impl Inner {
    /// How long to wait after comparing has failed so often in a row.
    fn until_next(&self, failures: u32) -> Duration {
        let peers = u32::try_from(self.cluster.peers.live().len()).unwrap_or(u32::MAX);
        let every = match failures {
            0 => EVERY * peers.div_ceil(PEERS).max(1),
            _ => AGAIN.min(AGAIN_FIRST * (1 << (failures - 1).min(8))),
        };
        // Up to a quarter more or less, so that nodes do not fall into step.
        #[allow(clippy::cast_possible_truncation)] // any 16 random bits do
        let random = self.env.entropy.random() as u16;
        every * 3 / 4 + (every / 2) * u32::from(random) / u32::from(u16::MAX)
    }

    /// Whether somebody has to be tried again soon.
    async fn compare_with_peers(&self, everybody: bool) -> bool {
        let news = &self.cluster.news;
        let missed = news.take_missed();
        let live = self.cluster.peers.live();
        let due: Vec<_> =
            live.iter().filter(|p| everybody || missed.contains(&p.id)).cloned().collect();
        // One after the other while this node knows nothing, so that not all of them send the same.
        let at_a_time = if self.cluster.comparing.has_synced() { PARALLEL } else { 1 };
        let again = futures_util::stream::iter(due)
            .map(|peer| async move { self.compare_or_mark(&peer).await })
            .buffer_unordered(at_a_time)
            .fold(false, |again, done| async move { again || !done })
            .await;
        // It is tried again after a while, not at once.
        if again {
            let _ = tokio::time::timeout(Duration::ZERO, news.more_missed.notified()).await;
        }
        again
    }

    /// Whether a peer and this node know the same now; if not, it is marked.
    async fn compare_or_mark(&self, peer: &Peer) -> bool {
        self.cluster.comparing.with().insert(peer.id);
        let compared = tokio::time::timeout(TIMEOUT, self.compare(peer)).await;
        self.cluster.comparing.with().remove(&peer.id);
        let error = match compared {
            Ok(Ok(())) => {
                self.cluster.comparing.has_synced.store(true, Ordering::Release);
                self.cluster.answers(peer.id);
                return true;
            }
            Ok(Err(error)) => error,
            Err(_) => Error::new(ErrorKind::Transport, "it took too long"),
        };
        tracing::debug!(peer = %peer.id, %error, "journals could not be compared");
        self.cluster.answers_not(peer, &error, self.env.clock.monotonic());
        self.cluster.news.missed(peer.id);
        false
    }

    /// This node's journal as it is told to others.
    pub(super) async fn state(&self) -> Result<State, Error> {
        let moment = self.moment().await?;
        let root = self.digest.root().ok_or_else(not_ready)?;
        let mut members = self.counted();
        members.insert(self.node_id);
        Ok(State {
            moment,
            root,
            horizon: self.shared.horizon().collected,
            among: self
                .cluster
                .agreements
                .among()
                .iter()
                .map(|id| id.to_u128())
                .take(compare::MEMBERS)
                .collect(),
            floor: self.floor(),
            members: members.into_iter().map(|id| id.to_u128()).take(compare::MEMBERS).collect(),
            is_behind: false,
        })
    }

    /// Compares journals with a peer, and brings both to the same.
    pub(super) async fn compare(&self, peer: &Peer) -> Result<(), Error> {
        let ours = self.state().await?;
        if let Some(theirs) = self.is_same(peer, &ours).await? {
            self.heard_state(peer.id, &theirs);
            self.agree(peer.id, Some(ours.moment), Some(theirs.moment)).await?;
            return self.collect_like(&theirs).await;
        }
        let answer = self.take_step(peer, compare::step(Kind::Open, &ours)).await?;
        let theirs: State = compare::decode(&answer)?;
        self.heard_state(peer.id, &theirs);
        let members = theirs.members();
        let is_behind = self.is_behind(theirs.horizon, &members);
        if ours.root != theirs.root {
            if theirs.is_behind && !is_behind {
                return Err(Error::new(
                    ErrorKind::Busy,
                    "the node has to take on this journal before it offers its own",
                ));
            }
            let offer = match is_behind {
                true => Some(self.offer(peer, theirs.horizon, &members).await?),
                false => None,
            };
            if offer.is_none() {
                self.collect_like(&theirs).await?;
            }
            self.make_good(peer, offer.as_ref()).await?;
            self.take_step(peer, compare::step(Kind::Done, &ours.moment)).await?;
        }
        self.agree(peer.id, Some(ours.moment), Some(theirs.moment)).await?;
        self.collect_like(&theirs).await
    }

    /// What may be offered to a peer with this horizon, which was found among these members.
    async fn offer(&self, peer: &Peer, horizon: u64, members: &[NodeId]) -> Result<Offer, Error> {
        let others = members.iter().filter(|id| **id != self.node_id);
        let told_before = self.told_before(peer, horizon).await?;
        Ok(Offer {
            horizon,
            known_before: self.cluster.agreements.given_to_former(&self.counted(), peer.id),
            told_before,
            is_rolled_back: told_before > self.cluster.agreements.get(peer.id).given,
            me: self.node_id.to_u128(),
            boot: self.cluster.boot,
            members: others.map(|id| id.to_u128()).collect(),
        })
    }

    /// The time up to which a peer remembers to have been told everything by this node; 0 where it
    /// does not know this step. A peer need not have all that the cluster has, though it has taken on
    /// its horizon: where another that has it was told more, that one is to be asked first.
    async fn told_before(&self, peer: &Peer, horizon: u64) -> Result<u64, Error> {
        let live = self.cluster.peers.live();
        let asked = live.iter().map(async |peer| {
            let answer = self.take_step(peer, compare::step(Kind::Heard, &())).await.ok()?;
            let told: Told = compare::decode(&answer).ok()?;
            let counts = told.horizon >= horizon && !self.is_beyond(told.heard);
            counts.then_some((told.heard, peer.id))
        });
        let told: Vec<_> = join_all(asked).await.into_iter().flatten().collect();
        let by_peer = told.iter().find(|(_, id)| *id == peer.id).map_or(0, |(heard, _)| *heard);
        if let Some((_, first)) = told.iter().max().filter(|(heard, _)| by_peer < *heard) {
            self.cluster.news.missed(*first);
            let why = "another node was told more by this one, and is to be compared with first";
            return Err(Error::new(ErrorKind::Busy, why));
        }
        Ok(by_peer)
    }

    /// The peer's state, where it is the same as this node's.
    async fn is_same(&self, peer: &Peer, ours: &State) -> Result<Option<State>, Error> {
        match self.take_step(peer, compare::step(Kind::Same, &ours.brief())).await {
            Ok(answer) if answer.is_empty() => Ok(None),
            Ok(answer) => Ok(ours.of_other(&compare::decode(&answer)?)),
            // One that does not know this step knows the next.
            Err(error) if error.kind() == ErrorKind::InvalidRequest => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) fn heard_state(&self, node: NodeId, state: &State) {
        self.cluster.agreements.has_floor(node, state.floor);
        if !self.is_beyond(state.moment) {
            self.stamps.saw(state.moment);
        }
    }

    /// Finds what differs, and exchanges it.
    async fn make_good(&self, peer: &Peer, offer: Option<&Offer>) -> Result<(), Error> {
        let mut nodes = vec![0usize];
        for level in 0..DEPTH {
            let mut below = Vec::new();
            for some in nodes.chunks(compare::NODES) {
                let asked = some.iter().filter_map(|node| u32::try_from(*node).ok()).collect();
                let step = compare::step(Kind::Children, &Nodes { level, nodes: asked });
                let mut answer = self.take_step(peer, step).await?;
                for node in some {
                    let ours = self.digest.children(level, *node).ok_or_else(not_ready)?;
                    for (child, ours) in ours.into_iter().enumerate() {
                        let theirs = answer.try_get_u128_le().map_err(|_| nonsense())?;
                        if ours != theirs {
                            below.push(node * FANOUT + child);
                        }
                    }
                }
            }
            nodes = below;
        }
        let mut left = nodes.as_slice();
        let (mut found, mut looked_at) = self.gather(peer, left).await?;
        while found.len() > 0 {
            left = left.get(looked_at..).unwrap_or_default();
            // What comes next is looked for while this is made good.
            let (exchanged, next) =
                tokio::join!(self.exchange_records(peer, found, offer), self.gather(peer, left));
            exchanged?;
            (found, looked_at) = next?;
        }
        Ok(())
    }

    /// What differs in the first of these leaves, until it is worth an exchange, and how many were
    /// looked at: all of them where nothing differs.
    async fn gather(&self, peer: &Peer, leaves: &[usize]) -> Result<(Differences, usize), Error> {
        let mut found = Differences::default();
        let mut looked_at = 0;
        while let Some(left) = leaves.get(looked_at..).filter(|left| !left.is_empty())
            && found.len() < GATHERED
        {
            let lists = self.ask_leaves(peer, left).await?;
            for (leaf, list) in left.iter().zip(&lists) {
                self.differences(*leaf, list, &mut found)?;
            }
            looked_at += lists.len();
        }
        // In the order that journals have them in: what is near each other is found faster.
        found.pull.sort_unstable();
        Ok((found, looked_at))
    }

    /// What the peer has in the first of these leaves, as many as fit an answer.
    async fn ask_leaves(&self, peer: &Peer, leaves: &[usize]) -> Result<Vec<Listed>, Error> {
        let some = leaves.iter().take(compare::LEAVES);
        let asked: Vec<_> = some.filter_map(|leaf| u32::try_from(*leaf).ok()).collect();
        let answer = self.take_step(peer, compare::step(Kind::Leaves, &asked)).await?;
        let lists: Vec<Listed> = compare::decode(&answer)?;
        if lists.is_empty() || lists.len() > asked.len() {
            return Err(nonsense());
        }
        Ok(lists)
    }

    fn differences(
        &self,
        leaf: usize,
        list: &Listed,
        found: &mut Differences,
    ) -> Result<(), Error> {
        let ours: BTreeMap<_, _> =
            self.digest.leaf(leaf).ok_or_else(not_ready)?.into_iter().collect();
        let mut theirs = BTreeSet::new();
        for (id, hash) in list {
            if id.is_derived() || self.digest.leaf_of(*id) != leaf {
                return Err(nonsense());
            }
            theirs.insert(*id);
            match ours.get(id) {
                Some(known) if known == hash => {}
                known => {
                    found.pull.push(*id);
                    if known.is_some() {
                        found.theirs.insert(*id, *hash);
                    }
                }
            }
        }
        found.ours.extend(ours.into_keys().filter(|id| !theirs.contains(id)));
        Ok(())
    }

    /// Takes on what the peer has, then gives it what it has not.
    async fn exchange_records(
        &self,
        peer: &Peer,
        found: Differences,
        offer: Option<&Offer>,
    ) -> Result<(), Error> {
        self.pull(peer, &found.pull).await?;
        let both: Vec<_> = found.theirs.keys().copied().collect();
        for some in both.chunks(FRAME_RECORDS) {
            self.give_newer(peer, some, &found.theirs, offer).await?;
        }
        for some in found.ours.chunks(FRAME_RECORDS) {
            match offer {
                Some(offer) => self.give_or_drop(peer, some, offer).await?,
                None => self.give(peer, self.load_records(some).await?).await?,
            }
        }
        Ok(())
    }

    /// Takes on what the peer has of these.
    async fn pull(&self, peer: &Peer, mut wanted: &[ObjectId]) -> Result<(), Error> {
        let mut came = Vec::new();
        while !wanted.is_empty() || !came.is_empty() {
            let some = wanted.get(..wanted.len().min(FRAME_RECORDS)).unwrap_or(wanted);
            // The next are on their way while these are made durable.
            let (merged, asked) =
                tokio::join!(self.take_on(peer, came), self.ask_records(peer, some));
            merged?;
            let looked_at;
            (looked_at, came) = asked?;
            wanted = wanted.get(looked_at..).unwrap_or_default();
        }
        Ok(())
    }

    /// Takes on what came from a peer, and tells it of deletes that are forgotten here but for what
    /// the bucket may still have.
    async fn take_on(&self, peer: &Peer, records: Vec<Record>) -> Result<(), Error> {
        let live = records.iter().filter(|r| r.live.is_some() && r.may_be_in_remote());
        let mut refused: Vec<_> = live.map(|record| (record.id, record.stamp)).collect();
        self.merge(records).await?;
        refused.retain(|(id, _)| self.digest.lacks(*id));
        if refused.is_empty() {
            return Ok(());
        }
        let store = Arc::clone(&self.store);
        let load = move || deletes_of(store.as_ref(), &refused);
        let deletes = env::run(self.env.blocking.as_ref(), load).await?.map_err(journal_error)?;
        self.give(peer, deletes).await
    }

    /// Gives the peer what this node knows more about than the digests of the peer say.
    async fn give_newer(
        &self,
        peer: &Peer,
        both: &[ObjectId],
        theirs: &BTreeMap<ObjectId, u128>,
        offer: Option<&Offer>,
    ) -> Result<(), Error> {
        let mut records = self.load_records(both).await?;
        if let Some(offer) = offer {
            // The peer would forget these at once, and hear of the objects from the next one.
            let is_old = |r: &&Record| r.live.is_none() && r.stamp.time < offer.horizon;
            let old: Vec<_> = records.iter().filter(is_old).map(|record| record.id).collect();
            if !old.is_empty() {
                self.commit(Change::Renew(old)).await?;
                records = self.load_records(both).await?;
            }
        }
        records.retain(|record| {
            theirs.get(&record.id) != Some(&self.digest.of(&encode_record(record)))
        });
        self.give(peer, records).await
    }

    /// Gives the peer what it does not have, but for what it had once: that was deleted there.
    async fn give_or_drop(
        &self,
        peer: &Peer,
        ours: &[ObjectId],
        offer: &Offer,
    ) -> Result<(), Error> {
        let records = self.load_records(ours).await?;
        let (mut offered, kept): (Vec<_>, Vec<_>) =
            records.into_iter().partition(|record| offer.holds(record));
        offered.retain(|record| record.live.is_some() || record.stamp.time >= offer.horizon);
        self.give(peer, offered).await?;
        let dropped: Vec<_> = kept.iter().map(|record| (record.id, record.stamp)).collect();
        if !dropped.is_empty() {
            tracing::info!(peer = %peer.id, records = dropped.len(), "the cluster deleted these while this node was away");
            self.commit(Change::Drop(dropped)).await?;
        }
        Ok(())
    }

    async fn give(&self, peer: &Peer, records: Vec<Record>) -> Result<(), Error> {
        let mut frame = Frame::new();
        for record in records {
            frame.push(&encode_record(&record));
            if frame.is_full() {
                let full = std::mem::replace(&mut frame, Frame::new());
                self.take_step(peer, compare::step_with(Kind::Take, &full.finish())).await?;
            }
        }
        if !frame.is_empty() {
            self.take_step(peer, compare::step_with(Kind::Take, &frame.finish())).await?;
        }
        Ok(())
    }

    /// Asks a peer for records: how many of the ids it has looked at, and what it has of them.
    pub(super) async fn ask_records(
        &self,
        peer: &Peer,
        ids: &[ObjectId],
    ) -> Result<(usize, Vec<Record>), Error> {
        if ids.is_empty() {
            return Ok((0, Vec::new()));
        }
        let mut answer = self.take_step(peer, compare::step(Kind::Records, &ids.to_vec())).await?;
        let looked_at = answer.try_get_u32_le().map_err(|_| nonsense())?;
        let looked_at = usize::try_from(looked_at).unwrap_or(usize::MAX);
        if looked_at == 0 || looked_at > ids.len() {
            return Err(nonsense());
        }
        let asked: BTreeSet<_> = ids.iter().collect();
        let mut records = Vec::new();
        for record in frames::read(answer)? {
            match record {
                Ok(record) if asked.contains(&record.id) => records.push(record),
                Ok(_) => return Err(nonsense()),
                Err(error) => {
                    let source = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(peer = %peer.id, source, "a record of another node was refused");
                }
            }
        }
        Ok((looked_at, records))
    }

    async fn take_step(&self, peer: &Peer, step: Bytes) -> Result<Bytes, Error> {
        let kind = step.get(1).copied();
        let with_records = [Kind::Records, Kind::Take].iter().any(|k| kind == Some(*k as u8));
        let timeout = if with_records { RECORDS_TIMEOUT } else { STEP_TIMEOUT };
        let asked = async {
            let answer = self.cluster.peers.call(peer, post(routes::SYNC, step)?).await?;
            answer.into_body().collect(ANSWER_MAX).await
        };
        tokio::time::timeout(timeout, asked)
            .await
            .map_err(|_| Error::new(ErrorKind::Transport, "the node does not answer"))?
    }

    async fn load_records(&self, ids: &[ObjectId]) -> Result<Vec<Record>, Error> {
        let (store, ids) = (Arc::clone(&self.store), ids.to_vec());
        let load = move || {
            let mut records = Vec::with_capacity(ids.len());
            for id in ids {
                records.extend(load_entry(store.as_ref(), id)?.map(|entry| entry.record));
            }
            Ok::<_, StoreError>(records)
        };
        env::run(self.env.blocking.as_ref(), load).await?.map_err(journal_error)
    }
}

/// The deletes by which a journal refuses these versions. Blocks.
fn deletes_of(
    store: &dyn JournalStore,
    refused: &[(ObjectId, Stamp)],
) -> Result<Vec<Record>, StoreError> {
    let mut deletes = Vec::new();
    for (id, stamp) in refused {
        if let Some(gone) = load_gone(store, *id)?.filter(|gone| gone > stamp) {
            let mut delete = Record::new(*id, gone, gone.time, None);
            delete.in_remote = true;
            deletes.push(delete);
        }
    }
    Ok(deletes)
}

pub(super) fn not_ready() -> Error {
    Error::new(ErrorKind::Busy, "this node is still reading its journal; ask again soon")
        .with_retry_after(AGAIN)
}

fn nonsense() -> Error {
    Error::new(ErrorKind::Transport, "the node's answer makes no sense")
}
