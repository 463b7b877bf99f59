//! Fills: bringing bodies from other nodes and the remote to this disk while they are being read.
//!
//! A [`Fill`] is one version of an object on its way here. Its readers take each unit from the
//! memory tier, from the body file, or from a [`fetch`] under way, whichever has it; what none of
//! them has they ask for, in blocks, each block once however many readers wait for it.
//! Fetches run on their own: a reader that goes away stops nobody else. [`others`] says which node
//! a fetch asks before it asks the remote, and what may wait for what.

mod cutter;
mod fetch;
mod fill;
mod frames;
mod others;
mod presence;
mod reader;
mod settle;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use objstore_client::Error;
use objstore_client::types::ObjectId;
use tokio::sync::Semaphore;

pub(crate) use fill::Fill;
pub(crate) use frames::frame;
pub(crate) use others::{Others, OthersFuture, PeerReply, Search, Sought};
pub(crate) use reader::{FillReader, Readers, Took};
pub(crate) use settle::NotSettled;

use self::others::Via;
use crate::bodies::FileStore;
use crate::cache::{Buffers, Tier};
use crate::env::{Blocking, Entropy};
use crate::journal::{Record, Stamp};
use crate::remote::{RemoteError, RemoteStore};
use crate::settings::FillSettings;
use crate::usage::Usage;

/// What is filled: one version of an object.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// The remote's key.
    pub(crate) key: String,
    /// The remote's tag; none while it does not have this version.
    pub(crate) etag: Option<String>,
    pub(crate) size: u64,
    /// For the head of the body file; names the version.
    pub(crate) record: Record,
    /// BLAKE3 of the body, where it is known.
    pub(crate) digest: Option<[u8; 32]>,
    /// What is here is no cache: whatever becomes of the fill, it stays.
    pub(crate) keep: bool,
}

impl Origin {
    fn version(&self) -> (ObjectId, Stamp) {
        (self.record.id, self.record.stamp)
    }
}

/// Why a body could not be brought.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum FillError {
    /// The remote has another version now. What was here of this one is dropped.
    #[error("the remote has another version of the object now")]
    Changed,
    /// What the remote sent is not the body that the record speaks of. It is dropped.
    #[error("the remote's body does not have the digest it should have")]
    Corrupt,
    /// The remote failed, or does not let us, or has no such object.
    #[error("the remote failed")]
    Remote(#[source] RemoteError),
    /// No node that can be asked has it, nor has the remote. With this set, one that may have it
    /// cannot be asked at the moment.
    #[error("no node that can be asked has the body")]
    Nowhere { unreachable: bool },
    /// For a reader on another node's behalf: it is not here, or comes from where that node can
    /// ask itself.
    #[error("this is not here, or comes from another node itself")]
    NotHere,
    /// The node or its runtime is going away.
    #[error("the node is stopping")]
    Stopping(#[source] Error),
}

/// What fills work with.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) remote: Arc<dyn RemoteStore>,
    pub(crate) files: Arc<FileStore>,
    pub(crate) tier: Arc<Tier>,
    pub(crate) buffers: Arc<Buffers>,
    pub(crate) usage: Arc<Usage>,
    pub(crate) blocking: Arc<dyn Blocking>,
    pub(crate) entropy: Arc<dyn Entropy>,
}

/// All fills of a node.
#[derive(Debug)]
pub(crate) struct Fills {
    parts: Parts,
    settings: FillSettings,
    /// KiB that may yet be asked for. Only who is waited for queues here; what is fetched ahead
    /// takes what is free, so it never stands in front of a reader.
    budget: Arc<Semaphore>,
    /// KiB that may stay in memory until they have been read, since they are not stored.
    unstored: Arc<Semaphore>,
    counts: FillCounts,
    running: Mutex<BTreeMap<(ObjectId, Stamp), Weak<Fill>>>,
    /// The other nodes, once there can be some.
    others: OnceLock<Box<dyn Others>>,
}

/// What fills did since the node started.
#[derive(Debug, Default)]
pub(crate) struct FillCounts {
    requests: AtomicU64,
    bytes: AtomicU64,
    resumed: AtomicU64,
    units_served: AtomicU64,
    failures: AtomicU64,
    stored_bytes: AtomicU64,
    peer_requests: AtomicU64,
    peer_bytes: AtomicU64,
}

/// [`FillCounts`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FillStats {
    /// Requests made, those that failed included.
    pub(crate) requests: u64,
    /// Bytes that arrived in whole units.
    pub(crate) bytes: u64,
    /// Replies that broke off and were gone on with.
    pub(crate) resumed: u64,
    /// Units that readers had right from a fetch.
    pub(crate) units_served: u64,
    /// Fetches given up.
    pub(crate) failures: u64,
    /// Bytes written to body files.
    pub(crate) stored_bytes: u64,
    /// Replies of other nodes that were taken in.
    pub(crate) peer_requests: u64,
    /// Bytes that arrived from them in whole units.
    pub(crate) peer_bytes: u64,
}

impl Fills {
    pub(crate) fn new(parts: Parts, settings: &FillSettings) -> Self {
        let settings = settings.clamped();
        let kib = fetch::kib(settings.budget_bytes) as usize;
        Self {
            parts,
            settings,
            budget: Arc::new(Semaphore::new(kib)),
            unstored: Arc::new(Semaphore::new(kib)),
            counts: FillCounts::default(),
            running: Mutex::default(),
            others: OnceLock::new(),
        }
    }

    /// From now on other nodes are asked too.
    pub(crate) fn join(&self, others: Box<dyn Others>) {
        let _ = self.others.set(others);
    }

    /// Bytes asked for in one request.
    pub(crate) fn block(&self) -> u64 {
        self.settings.block_bytes
    }

    /// The fill of a version. Whoever opens one looks afterwards whether the version is still
    /// current: a removal that came before this call does not end the fill, and it would make the
    /// file again; one that comes after does. Does not block.
    pub(crate) fn open(self: &Arc<Self>, origin: Origin) -> Arc<Fill> {
        let version = origin.version();
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let known = running.get(&version).and_then(Weak::upgrade);
        if let Some(fill) = known.as_ref().filter(|fill| fill.serves(&origin)) {
            let fill = Arc::clone(fill);
            drop(running);
            if origin.keep {
                // Should it have ended just now, then so it is for who opened it before.
                let _ = fill.keep_file();
            }
            return fill;
        }
        let fill = Arc::new(Fill::new(Arc::clone(self), origin));
        running.insert(version, Arc::downgrade(&fill));
        drop(running);
        // After the lock is given back: it may be the last, and its end takes the lock.
        drop(known);
        fill
    }

    /// Ends all fills: nothing more is fetched, and who waits is told.
    pub(crate) fn stop(&self, error: &Error) {
        let running: Vec<_> = {
            let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
            running.values().filter_map(Weak::upgrade).collect()
        };
        for fill in running {
            fill.end(FillError::Stopping(error.clone()));
        }
    }

    pub(crate) fn stats(&self) -> FillStats {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counts = &self.counts;
        FillStats {
            requests: read(&counts.requests),
            bytes: read(&counts.bytes),
            resumed: read(&counts.resumed),
            units_served: read(&counts.units_served),
            failures: read(&counts.failures),
            stored_bytes: read(&counts.stored_bytes),
            peer_requests: read(&counts.peer_requests),
            peer_bytes: read(&counts.peer_bytes),
        }
    }

    /// Forgets a fill that is over, unless another has taken its place.
    fn forget(&self, fill: &Fill) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let version = fill.origin().version();
        if running.get(&version).is_some_and(|known| std::ptr::eq(known.as_ptr(), fill)) {
            running.remove(&version);
        }
    }
}

fn count(counter: &AtomicU64, more: u64) {
    counter.fetch_add(more, Ordering::Relaxed);
}
