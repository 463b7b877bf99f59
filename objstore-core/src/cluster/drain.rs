//! What only this node has, handed over before it leaves.

use std::sync::Arc;

use futures_util::stream::StreamExt;
use objstore_client::types::ObjectId;
use objstore_client::{Error, ErrorKind};

use super::owner;
use super::replicate::Copied;
use crate::env;
use crate::journal::{Entry, Live, Space, StoreError, decode_entry, encode_record};
use crate::node::{Inner, Node};
use crate::ops::journal_error;

/// Records read from the journal together, and bodies under way at a time.
const PAGE: usize = 1000;
const PARALLEL: usize = 8;
/// Objects that are named of those that remain.
const NAMED: usize = 10;
/// A node is asked this often for a copy that takes longer than one answer, and once more for so many
/// bytes: one that brings less than some 600 KiB a second is given up.
const TRIES: u64 = 10;
const TRY_BYTES: u64 = 1 << 20;

/// What came of handing over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Bodies that another node has now, synced.
    pub handed_over: u64,
    /// Bodies that only this node has, because no other could take them.
    pub remaining: u64,
    /// The first of these.
    pub first_remaining: Vec<ObjectId>,
}

impl Node {
    /// Hands what the bucket does not have to other nodes: bodies of level 0, and versions that wait
    /// to be stored there, which those nodes then store. Each is synced where it goes. To be called
    /// before [`shutdown`](Self::shutdown) of a node that will not come back, after
    /// [`drain`](Self::drain) and once nothing is put any more.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when the journal cannot be read; what was handed over is.
    ///
    /// # Cancellation
    /// May be dropped at any time; what was handed over is.
    pub async fn drain_to_peers(&self) -> Result<Drained, Error> {
        let inner = &self.inner;
        let mut drained = Drained::default();
        let mut after = None;
        loop {
            let store = Arc::clone(&inner.store);
            let from = after.map(ObjectId::to_bytes);
            let read = move || {
                let pairs =
                    store.scan(Space::Records, from.as_ref().map(|id| id.as_slice()), PAGE)?;
                pairs.iter().map(|(_, value)| decode_entry(value)).collect::<Result<Vec<_>, _>>()
            };
            let page: Result<Vec<Entry>, StoreError> =
                env::run(inner.env.blocking.as_ref(), read).await?;
            let page = page.map_err(journal_error)?;
            let Some(last) = page.last() else { return Ok(drained) };
            after = Some(last.record.id);
            // A directory beside this node goes with it.
            let is_kept = inner.remote.is_elsewhere();
            let only_here = |entry: &Entry| {
                let in_remote = |live: &Live| is_kept && live.remote_etag.is_some();
                entry.presence.is_held() && entry.live().is_some_and(|live| !in_remote(live))
            };
            let entries = page.into_iter().filter(only_here);
            let mut handed = futures_util::stream::iter(entries)
                .map(|entry| async move { (entry.record.id, inner.hand_over(&entry).await) })
                .buffer_unordered(PARALLEL);
            while let Some((id, done)) = handed.next().await {
                match done {
                    true => drained.handed_over += 1,
                    false => {
                        drained.remaining += 1;
                        if drained.first_remaining.len() < NAMED {
                            drained.first_remaining.push(id);
                        }
                    }
                }
            }
            inner.check_handing()?;
        }
    }
}

impl Inner {
    /// Whether a node has taken a version over; the one that others would look at first is asked
    /// first.
    async fn hand_over(&self, entry: &Entry) -> bool {
        let record = &entry.record;
        let live = self.cluster.peers.live();
        let frame = encode_record(record);
        for node in owner::order(record.id, live.iter().map(|peer| peer.id)) {
            let size = record.live.as_ref().map_or(0, |live| live.size);
            for _ in 0..TRIES + size / TRY_BYTES {
                let Some(peer) = self.cluster.peers.get(node) else { break };
                match self.have_copied(&peer, frame.clone(), true).await {
                    Copied::Held => {
                        self.exchange.holds(record.id, record.stamp, node);
                        return true;
                    }
                    Copied::UnderWay => {}
                    Copied::No => break,
                }
            }
        }
        false
    }

    fn check_handing(&self) -> Result<(), Error> {
        self.check_running().map_err(|_| {
            Error::new(ErrorKind::Stopping, "the node was stopped while it handed over what it has")
        })
    }
}
