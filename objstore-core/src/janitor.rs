//! The background thread that removes files nothing refers to, measures the disk, and gives the
//! space of dead small bodies back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use objstore_client::types::ObjectId;
use tokio::sync::{Notify, oneshot};

use crate::bodies::FileStore;
use crate::env::{Clock, Disk};
use crate::journal::{JournalStore, Stamp, WriterHandle, WriterShared};
use crate::reserve::Reserve;
use crate::usage::Usage;

/// How often the disk is measured while there is work, and while there is none.
const BUSY_TICK: Duration = Duration::from_millis(200);
const IDLE_TICK: Duration = Duration::from_secs(2);
/// Files removed with one sync.
const REMOVED_TOGETHER: usize = 256;
/// Dead small bodies below this are left to the journal's own compactions.
const RECLAIM_FROM: u64 = 16 * 1024 * 1024;
/// The same when room is short.
const RECLAIM_TIGHT: u64 = 1024 * 1024;
/// What a reclaim rewrites at a time at most.
const REWRITTEN_MAX: u64 = 64 * 1024 * 1024;
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
    /// Told of each chore; a janitor that is a thread waits for the channel itself.
    more: Notify,
}

#[derive(Debug)]
enum Chore {
    Staged {
        staged: String,
        target: Option<(ObjectId, Stamp)>,
    },
    File(Garbage),
    /// Somebody waits for space.
    CatchUp {
        small: bool,
        tell: oneshot::Sender<()>,
    },
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
    /// The disk below the state directory.
    pub(crate) journal_disk: Option<Arc<dyn Disk>>,
    pub(crate) store: Arc<dyn JournalStore>,
    pub(crate) usage: Arc<Usage>,
    /// Bytes of live small bodies, kept by the writer.
    pub(crate) live_inline: Arc<AtomicU64>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) writer: WriterHandle,
    pub(crate) shared: Arc<WriterShared>,
    pub(crate) reserve: Option<Arc<Reserve>>,
}

/// Reclaiming rests until then.
struct Pause {
    until: Instant,
}

/// Where the janitor is in its work.
struct Shift {
    next: Option<Chore>,
    /// How long after the last look at the disk the next one is due.
    tick: Duration,
    looked: Instant,
    pause: Pause,
}

/// What the janitor does next.
enum Next {
    Again,
    /// Nothing, until there is a chore or this much time has passed.
    Wait(Duration),
    Stop,
}

impl Shift {
    fn begin(rooms: &Rooms) -> Self {
        // How much the caches of the last run take is nowhere written down.
        if rooms.usage.max().is_some()
            && let Ok(bytes) = rooms.disk.physical_bytes()
        {
            rooms.usage.found_on_disk(bytes);
        }
        let now = rooms.clock.monotonic();
        Self { next: None, tick: Duration::ZERO, looked: now, pause: Pause { until: now } }
    }
}

/// The chores given so far, for the thread that is yet to be started.
pub(crate) struct Waiting(Receiver<Chore>);

impl Janitor {
    pub(crate) fn new() -> (Self, Waiting) {
        let (chores, receiver) = channel();
        let shared = Shared::default();
        (Self { chores, shared: Arc::new(shared) }, Waiting(receiver))
    }

    fn give(&self, chore: Chore) {
        let _ = self.chores.send(chore);
        self.shared.more.notify_one();
    }

    pub(crate) fn remove_staged(&self, staged: String, target: Option<(ObjectId, Stamp)>) {
        self.give(Chore::Staged { staged, target });
    }

    /// Removes the file of a version whose removal is noted in the journal.
    pub(crate) fn remove_file(&self, id: ObjectId, stamp: Stamp, physical: u64) {
        self.give(Chore::File(Garbage { id, stamp, physical }));
    }

    /// A small body became dead.
    pub(crate) fn inline_died(&self, bytes: u64) {
        self.shared.dead_inline.fetch_add(bytes, Ordering::Relaxed);
    }

    /// How much was dead when the node started is not known: enough for one look when room gets
    /// short.
    pub(crate) fn started(&self, live_inline: u64) {
        self.inline_died(RECLAIM_TIGHT.max(live_inline / 64));
    }

    /// The files that were removed since the last call.
    pub(crate) fn take_removed(&self) -> Vec<(ObjectId, Stamp)> {
        std::mem::take(&mut *self.shared.removed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until the files given before are removed, with `small` also until the space of small
    /// bodies is given back, and the disk is measured, or until the janitor has stopped.
    pub(crate) async fn caught_up(&self, small: bool) {
        let (tell, told) = oneshot::channel();
        self.give(Chore::CatchUp { small, tell });
        let _ = told.await;
    }

    /// Ends the work after all chores given before.
    pub(crate) fn stop(&self) {
        self.give(Chore::Stop);
    }

    /// Works until stopped. Blocks.
    pub(crate) fn run(&self, waiting: Waiting, rooms: &Rooms) {
        let mut shift = Shift::begin(rooms);
        loop {
            match self.work(&mut shift, &waiting, rooms) {
                Next::Again => {}
                Next::Wait(longest) => match waiting.0.recv_timeout(longest) {
                    Ok(chore) => shift.next = Some(chore),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                },
                Next::Stop => return,
            }
        }
    }

    /// The same as a task, for a runtime on which waiting for the disk holds nobody up.
    pub(crate) async fn run_as_task(self, waiting: Waiting, rooms: Rooms) {
        let mut shift = Shift::begin(&rooms);
        loop {
            match self.work(&mut shift, &waiting, &rooms) {
                Next::Again => tokio::task::yield_now().await,
                Next::Wait(longest) => {
                    let _ = tokio::time::timeout(longest, self.shared.more.notified()).await;
                }
                Next::Stop => return,
            }
        }
    }

    /// Looks at the disk if it is time to, else does one chore.
    fn work(&self, shift: &mut Shift, waiting: &Waiting, rooms: &Rooms) -> Next {
        let since = rooms.clock.monotonic().saturating_duration_since(shift.looked);
        // However many chores there are, the disk is looked at in between.
        if since >= shift.tick {
            let busy = self.look(rooms, &mut shift.pause);
            shift.tick = if busy { BUSY_TICK } else { IDLE_TICK };
            shift.looked = rooms.clock.monotonic();
            return Next::Again;
        }
        let chore = match shift.next.take() {
            Some(chore) => Ok(chore),
            None => waiting.0.try_recv(),
        };
        match chore {
            Ok(Chore::Staged { staged, target }) => {
                warn_on_error(rooms.files.remove_staged(&staged, target));
            }
            Ok(Chore::File(garbage)) => shift.next = self.remove_files(garbage, waiting, rooms),
            Ok(Chore::CatchUp { small, tell }) => {
                if small {
                    self.give_back(rooms);
                }
                measure(rooms);
                let _ = tell.send(());
            }
            Ok(Chore::Stop) | Err(TryRecvError::Disconnected) => return Next::Stop,
            Err(TryRecvError::Empty) => return Next::Wait(shift.tick.saturating_sub(since)),
        }
        Next::Again
    }

    /// Measures, makes room, and has a broken journal tried again; true while there is work.
    fn look(&self, rooms: &Rooms, pause: &mut Pause) -> bool {
        let busy = measure(rooms);
        self.reclaim(rooms, pause);
        if rooms.shared.broken.load(Ordering::Acquire) {
            rooms.writer.wake();
            return true;
        }
        if let Some(reserve) = &rooms.reserve {
            reserve.refill(&rooms.usage);
        }
        busy
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
        // Of those whose size no record has, caches mostly.
        let uncounted = garbage.iter().filter(|file| file.physical == 0);
        let uncounted: u64 = uncounted.map(|file| rooms.files.physical(file.id, file.stamp)).sum();
        match rooms.files.remove(&versions) {
            Ok(()) => {
                let mut removed =
                    self.shared.removed.lock().unwrap_or_else(PoisonError::into_inner);
                removed.extend(versions);
                rooms.usage.filled_removed(uncounted);
                rooms.usage.garbage_removed(garbage.iter().map(|file| file.physical).sum());
            }
            error => warn_on_error(error),
        }
        next
    }

    fn reclaim(&self, rooms: &Rooms, pause: &mut Pause) {
        let dead = self.shared.dead_inline.load(Ordering::Relaxed);
        let live = rooms.live_inline.load(Ordering::Relaxed);
        let tight = rooms.usage.is_tight();
        // A full log goes only when all that it holds has been written to tables.
        let log_is_full = tight && rooms.store.log_headroom() == 0;
        let worth = if tight { RECLAIM_TIGHT.max(live / 64) } else { RECLAIM_FROM.max(live / 4) };
        let began = rooms.clock.monotonic();
        if (dead < worth && !log_is_full) || began < pause.until {
            return;
        }
        self.give_back(rooms);
        let ended = rooms.clock.monotonic();
        // At most a tenth of the time is spent with it.
        pause.until = ended + ended.saturating_duration_since(began) * 10;
        measure(rooms);
    }

    /// Gives the space of small bodies back that are dead.
    fn give_back(&self, rooms: &Rooms) {
        let dead = self.shared.dead_inline.load(Ordering::Relaxed);
        // What is live is written once more before the old of it goes. A journal that meets a full
        // disk there fails, so it has to wait until the log has given its space back.
        let needed = rooms.live_inline.load(Ordering::Relaxed).min(REWRITTEN_MAX);
        let disk = rooms.journal_disk.as_ref().unwrap_or(&rooms.disk);
        let has_room = || disk.space().is_ok_and(|space| space.free > needed);
        let reclaimed = match rooms.store.flush() {
            Ok(()) if has_room() => rooms.store.reclaim(),
            Ok(()) => {
                tracing::debug!(needed, "space is given back once the log has left room for it");
                return;
            }
            Err(error) => Err(error),
        };
        match reclaimed {
            Ok(()) => {
                self.shared.dead_inline.fetch_sub(dead, Ordering::Relaxed);
                tracing::debug!(dead, "gave space of removed small bodies back");
            }
            Err(error) => tracing::warn!(%error, "could not give space of removed bodies back"),
        }
    }
}

/// Measures what is used and free; true when the journal had grown.
fn measure(rooms: &Rooms) -> bool {
    let seen = rooms.usage.journal_growth();
    // What the journal has yet to write to its tables will take its bytes once more.
    let unflushed = rooms.store.unflushed_bytes();
    // With what tables have besides: without room for all of it the journal would fail, deletes
    // and all, at the very moment when space is to be given back.
    let unflushed = unflushed.saturating_add(unflushed / 4);
    let journal = rooms.store.physical_bytes().saturating_add(unflushed);
    rooms.usage.journal_measured(journal, seen);
    rooms.usage.set_log_headroom(rooms.store.log_headroom());
    let files_seen = rooms.usage.files_growth();
    if let Ok(space) = rooms.disk.space() {
        let floor = (space.total / FLOOR_SHARE).min(FLOOR_MAX);
        // Of two disks the fuller one counts.
        let journal_disk = rooms.journal_disk.as_ref().and_then(|disk| disk.space().ok());
        let free = journal_disk.map_or(space.free, |other| other.free.min(space.free));
        rooms.usage.files_measured(files_seen);
        rooms.usage.set_disk(space.total, free.saturating_sub(unflushed), floor);
    }
    seen > 0
}

fn warn_on_error(result: std::io::Result<()>) {
    if let Err(error) = result {
        tracing::warn!(%error, "could not remove a file that is no longer needed; the next start tries again");
    }
}
