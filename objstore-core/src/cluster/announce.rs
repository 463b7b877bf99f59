//! Telling the other nodes at once what has changed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use objstore_client::wire::private::routes;
use objstore_client::{Body, Error, ErrorKind};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::frames::{self, Frame};
use super::peers::{Peer, post};
use crate::http::Caller;
use crate::journal::{NodeId, Record};
use crate::node::Inner;

/// What waits for one peer; what comes beyond is left to the next comparison of journals.
const QUEUE_RECORDS: usize = 4096;
const QUEUE_BYTES: usize = 4 << 20;
/// The longest a peer may take to make an announce durable.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// The longest answer that is read.
const ANSWER_MAX: usize = 64 * 1024;

/// A record that was changed here.
#[derive(Debug)]
pub(crate) struct Changed {
    /// As it is stored.
    pub(crate) record: Bytes,
    /// This version was made here. Of others it is not for this node to speak.
    pub(crate) is_ours: bool,
}

/// What the peers are yet to be told, and which of them have missed something.
#[derive(Debug, Default)]
pub(crate) struct News {
    queues: Mutex<BTreeMap<NodeId, Arc<Queue>>>,
    has_queues: AtomicBool,
    /// Peers with which journals are to be compared soon.
    missed: Mutex<BTreeSet<NodeId>>,
    /// Told when there are more of these.
    pub(super) more_missed: Notify,
    /// Peers whose announces are being taken on.
    taking: Mutex<BTreeSet<NodeId>>,
}

#[derive(Debug, Default)]
struct Queue {
    records: Mutex<Waiting>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    records: VecDeque<Bytes>,
    bytes: usize,
}

impl News {
    /// Whether anybody is to be told anything.
    pub(crate) fn is_wanted(&self) -> bool {
        self.has_queues.load(Ordering::Acquire)
    }

    /// Tells every peer of changes, as far as there is room in its queue. Never waits.
    pub(crate) fn tell(&self, changes: Vec<Changed>) {
        if changes.is_empty() {
            return;
        }
        for (peer, queue) in lock(&self.queues).iter() {
            let mut waiting = lock(&queue.records);
            let mut missed = false;
            for change in &changes {
                let has_room = waiting.records.len() < QUEUE_RECORDS && waiting.bytes < QUEUE_BYTES;
                if change.is_ours && has_room {
                    waiting.bytes += change.record.len();
                    waiting.records.push_back(change.record.clone());
                } else {
                    missed = true;
                }
            }
            drop(waiting);
            queue.more.notify_one();
            if missed {
                self.missed(*peer);
            }
        }
    }

    /// This peer has missed something.
    pub(super) fn missed(&self, peer: NodeId) {
        lock(&self.missed).insert(peer);
        self.more_missed.notify_one();
    }

    /// The peers that have missed something since the last call, in order of their ids.
    pub(super) fn take_missed(&self) -> BTreeSet<NodeId> {
        std::mem::take(&mut *lock(&self.missed))
    }

    fn queue(&self, peer: NodeId) -> Arc<Queue> {
        let queue = Arc::clone(lock(&self.queues).entry(peer).or_default());
        self.has_queues.store(true, Ordering::Release);
        queue
    }

    fn drop_queue(&self, peer: NodeId) {
        let mut queues = lock(&self.queues);
        queues.remove(&peer);
        self.has_queues.store(!queues.is_empty(), Ordering::Release);
    }
}

impl Queue {
    /// As much as fits one request.
    fn take(&self) -> Option<Bytes> {
        let mut waiting = lock(&self.records);
        let mut frame = Frame::new();
        while !frame.is_full() {
            let Some(record) = waiting.records.pop_front() else { break };
            waiting.bytes -= record.len();
            frame.push(&record);
        }
        (!frame.is_empty()).then(|| frame.finish())
    }

    fn clear(&self) {
        *lock(&self.records) = Waiting::default();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps one task for each live peer.
pub(super) async fn run(node: &Weak<Inner>) {
    let Some(mut live) = node.upgrade().map(|inner| inner.cluster.peers.watch()) else { return };
    let mut telling = JoinSet::new();
    let mut tasks = BTreeMap::new();
    loop {
        let peers = Arc::clone(&live.borrow_and_update());
        let Some(inner) = node.upgrade() else { return };
        let news = &inner.cluster.news;
        tasks.retain(|id: &NodeId, task: &mut tokio::task::AbortHandle| {
            let stays = peers.iter().any(|peer| peer.id == *id);
            if !stays {
                task.abort();
                news.drop_queue(*id);
            }
            stays
        });
        for id in peers.iter().map(|peer| peer.id) {
            tasks.entry(id).or_insert_with(|| {
                let queue = news.queue(id);
                // Whatever was changed before is found by comparing.
                news.missed(id);
                telling.spawn(tell(Weak::clone(node), id, queue))
            });
        }
        drop(inner);
        tokio::select! {
            biased;
            changed = live.changed() => if changed.is_err() { return },
            Some(_) = telling.join_next() => {}
        }
    }
}

/// Tells one peer what there is to tell, one request after the other: what comes while one is
/// under way goes with the next.
async fn tell(node: Weak<Inner>, id: NodeId, queue: Arc<Queue>) {
    loop {
        queue.more.notified().await;
        while let Some(frame) = queue.take() {
            let Some(inner) = node.upgrade() else { return };
            let told = match inner.cluster.peers.get(id) {
                Some(peer) => inner.announce(&peer, frame).await,
                None => Err(Error::new(ErrorKind::Transport, "the node is gone")),
            };
            if let Err(error) = told {
                tracing::debug!(peer = %id, %error, "an announce was lost; journals are compared soon");
                queue.clear();
                inner.cluster.news.missed(id);
            }
        }
    }
}

impl Inner {
    /// Tells a peer of records; they are durable there when this returns.
    pub(crate) async fn announce(&self, peer: &Peer, frame: Bytes) -> Result<(), Error> {
        let told = async {
            let answer = self.cluster.peers.call(peer, post(routes::ANNOUNCE, frame)?).await?;
            answer.into_body().collect(ANSWER_MAX).await
        };
        match tokio::time::timeout(ANSWER_WITHIN, told).await {
            Ok(told) => told.map(drop),
            Err(_) => Err(Error::new(ErrorKind::Transport, "the node does not answer")),
        }
    }

    /// Takes on what another node says it has changed.
    pub(crate) async fn answer_announce(
        &self,
        caller: Caller,
        frame: Bytes,
    ) -> Result<Response<Body>, Error> {
        let taking = &self.cluster.news.taking;
        let _turn = Turn::take(taking, caller.node).ok_or_else(|| {
            Error::new(ErrorKind::Busy, "the node's last announce is still being taken on")
                .with_retry_after(Duration::from_secs(1))
        })?;
        let records = frames::read(frame)?.into_iter().collect::<Result<Vec<_>, _>>()?;
        if records.iter().any(|record| record.stamp.node != caller.node.to_u128()) {
            return Err(Error::new(ErrorKind::Forbidden, "a node announces its own changes only"));
        }
        // Everybody knew of a delete before the horizon, and may have forgotten it: whether what comes
        // from before it and is not known here was deleted only a comparison finds out.
        let horizon = self.shared.horizon().collected;
        let is_past = |record: &Record| {
            record.live.is_some() && record.stamp.time < horizon && self.digest.lacks(record.id)
        };
        let (past, records): (Vec<_>, Vec<_>) = records.into_iter().partition(is_past);
        if !past.is_empty() {
            self.cluster.news.missed(caller.node);
        }
        self.merge(records).await?;
        Ok(Response::new(Body::default()))
    }
}

/// One announce of a node at a time.
struct Turn<'a> {
    taking: &'a Mutex<BTreeSet<NodeId>>,
    node: NodeId,
}

impl<'a> Turn<'a> {
    fn take(taking: &'a Mutex<BTreeSet<NodeId>>, node: NodeId) -> Option<Self> {
        let fresh = lock(taking).insert(node);
        // Made only where it is taken: dropping one ends the turn, and takes the lock.
        fresh.then(|| Self { taking, node })
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        lock(self.taking).remove(&self.node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An announce may arrive twice.
    #[test]
    fn a_second_turn_waits_for_the_end_of_the_first_and_does_not_end_it() {
        let taking = Mutex::default();
        let first = Turn::take(&taking, NodeId::from_u128(1));
        assert!(first.is_some());
        assert!(Turn::take(&taking, NodeId::from_u128(1)).is_none());
        assert!(Turn::take(&taking, NodeId::from_u128(1)).is_none());
        assert!(Turn::take(&taking, NodeId::from_u128(2)).is_some());
        drop(first);
        assert!(Turn::take(&taking, NodeId::from_u128(1)).is_some());
    }
}
