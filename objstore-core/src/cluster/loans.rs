//! Bodies that other nodes are in the middle of reading. They ask for a piece at a time; between two
//! pieces the version may be replaced or deleted here, and this node may be told to stop. What has
//! begun goes on all the same, as it does for readers of this node.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use objstore_client::types::ObjectId;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::cache::Hot;
use crate::env::DiskFile;
use crate::journal::{NodeId, Stamp};
use crate::node::Inner;

/// Bodies of which the file is held open for others at a time; of more the one that was asked for
/// longest ago is let go.
const LOANS: usize = 256;
/// A file is held open for so long after it was asked for last: who reads slower than some 30 KiB/s
/// is cut when the version goes.
const HELD_OPEN: Duration = Duration::from_secs(30);
/// A node that stops takes a reader for gone that has not asked for so long, and waits no longer than
/// this for all of them.
const READS_ON: Duration = Duration::from_secs(3);
const READ_OUT: Duration = Duration::from_secs(10);

type Version = (ObjectId, Stamp);

/// What is lent.
#[derive(Debug, Default)]
pub(crate) struct Loans {
    lent: Mutex<BTreeMap<Version, Loan>>,
    changed: Notify,
}

/// A body file that is held open.
#[derive(Debug)]
struct Loan {
    hot: Arc<Hot>,
    file: Arc<dyn DiskFile>,
    asked: Instant,
    readers: BTreeMap<NodeId, Reader>,
}

/// A node that reads.
#[derive(Clone, Copy, Debug)]
struct Reader {
    asked: Instant,
    /// It was given the last piece; others may come behind it, as some are asked for at a time.
    has_end: bool,
}

impl Loan {
    fn lasts_until(&self) -> Instant {
        self.asked + HELD_OPEN
    }

    /// When the last of its readers counts as gone; none where nothing would be lost with this node.
    fn is_read_until(&self) -> Option<Instant> {
        let in_remote = self.hot.entry.live().is_none_or(|live| live.remote_etag.is_some());
        let reading = self.readers.values().filter(|reader| !reader.has_end);
        let last = reading.map(|reader| reader.asked).max().filter(|_| !in_remote)?;
        Some(last + READS_ON)
    }
}

impl Loans {
    fn lent(&self) -> MutexGuard<'_, BTreeMap<Version, Loan>> {
        self.lent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A body that is being read from here, whatever has become of its version.
    pub(super) fn get(&self, version: Version) -> Option<(Arc<Hot>, Arc<dyn DiskFile>)> {
        let lent = self.lent();
        let loan = lent.get(&version)?;
        Some((Arc::clone(&loan.hot), Arc::clone(&loan.file)))
    }

    /// A node is given a piece, and will most likely ask for the next.
    pub(super) fn lend(
        &self,
        version: Version,
        hot: &Arc<Hot>,
        file: Arc<dyn DiskFile>,
        reader: NodeId,
        now: Instant,
    ) {
        let mut lent = self.lent();
        let loan = lent.entry(version).or_insert_with(|| Loan {
            hot: Arc::clone(hot),
            file,
            asked: now,
            readers: BTreeMap::new(),
        });
        loan.asked = now;
        loan.readers.retain(|_, reader| reader.asked + READS_ON > now);
        loan.readers.entry(reader).or_insert(Reader { asked: now, has_end: false }).asked = now;
        if lent.len() > LOANS
            && let Some(oldest) = lent.iter().min_by_key(|(_, loan)| loan.asked).map(|(v, _)| *v)
        {
            lent.remove(&oldest);
        }
        drop(lent);
        self.changed.notify_waiters();
    }

    /// A node is given the last piece.
    pub(super) fn read_out(&self, version: Version, reader: NodeId, now: Instant) {
        if let Some(loan) = self.lent().get_mut(&version) {
            loan.readers.insert(reader, Reader { asked: now, has_end: true });
        }
        self.changed.notify_waiters();
    }

    /// Lets go of what was not asked for in a while; when to look again, if anything is left.
    fn let_go(&self, now: Instant) -> Option<Instant> {
        let mut lent = self.lent();
        lent.retain(|_, loan| loan.lasts_until() > now);
        lent.values().map(Loan::lasts_until).min()
    }

    fn is_read_until(&self) -> Option<Instant> {
        self.lent().values().filter_map(Loan::is_read_until).max()
    }
}

/// Works until the node is gone.
pub(super) async fn run(node: &Weak<Inner>) {
    let Some(loans) = node.upgrade().map(|inner| Arc::clone(&inner.exchange.loans)) else { return };
    loop {
        let mut changed = std::pin::pin!(loans.changed.notified());
        changed.as_mut().enable();
        let Some(inner) = node.upgrade() else { return };
        let now = inner.env.clock.monotonic();
        drop(inner);
        match loans.let_go(now) {
            Some(next) => sleep(next.saturating_duration_since(now)).await,
            None => changed.await,
        }
    }
}

impl Inner {
    /// Waits, not for long, for other nodes to read to its end what only nodes have.
    pub(crate) async fn be_read_out(&self) {
        let loans = &self.exchange.loans;
        let read_out = async {
            loop {
                let mut changed = std::pin::pin!(loans.changed.notified());
                changed.as_mut().enable();
                let now = self.env.clock.monotonic();
                let Some(until) = loans.is_read_until().filter(|until| *until > now) else {
                    return;
                };
                tokio::select! {
                    () = changed => {}
                    () = sleep(until.saturating_duration_since(now)) => {}
                }
            }
        };
        if timeout(READ_OUT, read_out).await.is_err() {
            tracing::info!("other nodes have not read to its end what only this one may have");
        }
    }
}
