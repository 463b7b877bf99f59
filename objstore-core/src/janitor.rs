//! The background thread that removes files nothing refers to, measures the disk, and gives the
//! space of dead small bodies back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use objstore_client::types::ObjectId;

use crate::bodies::FileStore;
use crate::env::Disk;
use crate::journal::{JournalStore, Stamp};
use crate::usage::Usage;

/// How often the disk is measured while there is work, and while there is none.
const BUSY_TICK: Duration = Duration::from_millis(200);
const IDLE_TICK: Duration = Duration::from_secs(2);
/// Files removed with one sync.
const REMOVED_TOGETHER: usize = 256;
/// Dead small bodies below this are left to the journal's own compactions.
const RECLAIM_FROM: u64 = 16 * 1024 * 1024;
/// Puts leave this share of a disk free, and at most this much.
const FLOOR_SHARE: u64 = 50;
const FLOOR_MAX: u64 = 64 * 1024 * 1024;

/// Gives the janitor something to do. Never blocks.
#[derive(Clone, Debug)]
pub(crate) struct Janitor {
    chores: Sender<Chore>,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    /// Files that are gone; their notes in the journal may go too.
    removed: Mutex<Vec<(ObjectId, Stamp)>>,
    /// Bytes of small bodies that were removed since the last reclaim.
    dead_inline: AtomicU64,
}

#[derive(Debug)]
enum Chore {
    Staged { staged: String, target: Option<(ObjectId, Stamp)> },
    File(Garbage),
    Stop,
}

/// A body file that nothing refers to.
#[derive(Debug)]
struct Garbage {
    id: ObjectId,
    stamp: Stamp,
    physical: u64,
}

/// What the janitor works on.
pub(crate) struct Rooms {
    pub(crate) files: Arc<FileStore>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) store: Arc<dyn JournalStore>,
    pub(crate) usage: Arc<Usage>,
    /// Bytes of live small bodies, kept by the writer.
    pub(crate) live_inline: Arc<AtomicU64>,
}

/// The chores given so far, for the thread that is yet to be started.
pub(crate) struct Waiting(Receiver<Chore>);

impl Janitor {
    pub(crate) fn new() -> (Self, Waiting) {
        let (chores, receiver) = channel();
        (Self { chores, shared: Arc::default() }, Waiting(receiver))
    }

    pub(crate) fn remove_staged(&self, staged: String, target: Option<(ObjectId, Stamp)>) {
        let _ = self.chores.send(Chore::Staged { staged, target });
    }

    /// Removes the file of a version whose removal is noted in the journal.
    pub(crate) fn remove_file(&self, id: ObjectId, stamp: Stamp, physical: u64) {
        let _ = self.chores.send(Chore::File(Garbage { id, stamp, physical }));
    }

    /// A small body became dead.
    pub(crate) fn inline_died(&self, bytes: u64) {
        self.shared.dead_inline.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The files that were removed since the last call.
    pub(crate) fn take_removed(&self) -> Vec<(ObjectId, Stamp)> {
        std::mem::take(&mut *self.shared.removed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends the thread after all chores given before.
    pub(crate) fn stop(&self) {
        let _ = self.chores.send(Chore::Stop);
    }

    /// Works until stopped.
    pub(crate) fn run(&self, waiting: Waiting, rooms: &Rooms) {
        let mut quiet = false;
        let mut next = None;
        measure(rooms);
        loop {
            let tick = if quiet { IDLE_TICK } else { BUSY_TICK };
            let chore = match next.take() {
                Some(chore) => Ok(chore),
                None => waiting.0.recv_timeout(tick),
            };
            match chore {
                Ok(Chore::Staged { staged, target }) => {
                    warn_on_error(rooms.files.remove_staged(&staged, target));
                    continue;
                }
                Ok(Chore::File(garbage)) => {
                    next = self.remove_files(garbage, &waiting, rooms);
                    continue;
                }
                Ok(Chore::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            quiet = !measure(rooms);
            self.reclaim(rooms);
        }
    }

    /// Removes this file and those whose turn comes right after it with one sync for each
    /// directory; what follows them is returned.
    fn remove_files(&self, first: Garbage, waiting: &Waiting, rooms: &Rooms) -> Option<Chore> {
        let mut garbage = vec![first];
        let mut next = None;
        while garbage.len() < REMOVED_TOGETHER {
            match waiting.0.try_recv() {
                Ok(Chore::File(more)) => garbage.push(more),
                other => {
                    next = other.ok();
                    break;
                }
            }
        }
        let versions: Vec<_> = garbage.iter().map(|file| (file.id, file.stamp)).collect();
        match rooms.files.remove(&versions) {
            Ok(()) => {
                let mut removed =
                    self.shared.removed.lock().unwrap_or_else(PoisonError::into_inner);
                removed.extend(versions);
            }
            error => warn_on_error(error),
        }
        rooms.usage.garbage_removed(garbage.iter().map(|file| file.physical).sum());
        next
    }

    fn reclaim(&self, rooms: &Rooms) {
        let dead = self.shared.dead_inline.load(Ordering::Relaxed);
        let live = rooms.live_inline.load(Ordering::Relaxed);
        if dead == 0 || (dead < RECLAIM_FROM.max(live / 4) && !rooms.usage.is_tight()) {
            return;
        }
        match rooms.store.reclaim() {
            Ok(()) => {
                self.shared.dead_inline.fetch_sub(dead, Ordering::Relaxed);
                tracing::debug!(dead, "gave space of removed small bodies back");
            }
            Err(error) => tracing::warn!(%error, "could not give space of removed bodies back"),
        }
        measure(rooms);
    }
}

/// Measures what is used and free; true when the journal had grown.
fn measure(rooms: &Rooms) -> bool {
    let seen = rooms.usage.journal_growth();
    rooms.usage.journal_measured(rooms.store.physical_bytes(), seen);
    if let Ok(space) = rooms.disk.space() {
        let floor = (space.total / FLOOR_SHARE).min(FLOOR_MAX);
        rooms.usage.set_disk(space.total, space.free, floor);
    }
    seen > 0
}

fn warn_on_error(result: std::io::Result<()>) {
    if let Err(error) = result {
        tracing::warn!(%error, "could not remove a file that is no longer needed; the next start tries again");
    }
}
