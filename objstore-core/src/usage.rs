use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use objstore_client::types::DiskStats;
use objstore_client::{Error, ErrorKind};
use rustix::io::Errno;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout, timeout_at};

use crate::settings::EvictSettings;

/// Whether a file could not be opened because too many are.
pub(crate) fn is_out_of_descriptors(error: &io::Error) -> bool {
    let limits = [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
    error.raw_os_error().is_some_and(|code| limits.contains(&code))
}

/// How much disk is used, and whether more may be.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    /// The most physical bytes; none when the disk is the limit.
    max: Option<u64>,
    /// Free bytes of the disk that puts leave alone, so that deletes and the journal's own upkeep
    /// still have room. Measured by the janitor.
    floor: AtomicU64,
    /// The journal, when last measured.
    journal: AtomicU64,
    /// What the journal may have grown by since.
    journal_growth: AtomicU64,
    /// What the journal's log may yet grow by. Kept free of bodies, for a log does not shrink when
    /// what is in it is deleted.
    log_headroom: AtomicU64,
    /// Body files with a record.
    files: AtomicU64,
    /// What body files have taken of the disk since it was last measured.
    files_growth: AtomicU64,
    /// Held while room is looked for and taken.
    gate: Mutex<()>,
    /// Body files waiting to be removed.
    garbage: AtomicU64,
    /// What running fills have stored.
    filled: AtomicU64,
    /// What is set aside for a full disk.
    reserve: u64,
    /// Room promised to puts under way.
    reserved: AtomicU64,
    disk_total: AtomicU64,
    disk_free: AtomicU64,
    /// The disk said it was full; cleared when it has room again.
    disk_full: AtomicBool,
    /// From where on room is made, and how much.
    marks: EvictSettings,
    /// Told when room is wanted.
    wanted: Notify,
    /// The most bytes that somebody waits for.
    asked: AtomicU64,
    /// Told whenever room was looked for.
    looked: watch::Sender<Looked>,
}

/// Room for a body on its way in, given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    usage: Arc<Usage>,
    bytes: u64,
}

/// What came of looking for room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Looked {
    /// As much as is wanted is free, or all that can be.
    #[default]
    NoNeed,
    Found,
    InVain,
}

/// What a body takes beyond its bytes: head and table of a file, record, log framing.
const OVERHEAD: u64 = 4096;
/// How long one who needs room waits for it to be made.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a long body needs at once.
const BEGINNING: u64 = 1 << 20;

impl Usage {
    pub(crate) fn new(max: Option<u64>, reserve: u64, marks: EvictSettings) -> Self {
        let marks = marks.clamped();
        Self { max, reserve, marks, disk_free: AtomicU64::new(u64::MAX), ..Self::default() }
    }

    pub(crate) fn max(&self) -> Option<u64> {
        self.max
    }

    /// Physical bytes: journal, bodies, and what is being received.
    pub(crate) fn physical(&self) -> u64 {
        // What the journal took on is written twice, to the log and to a table.
        self.bodies().saturating_add(self.journal_growth().saturating_mul(2))
    }

    /// What counts against the quota: the log as it will be when it is full, not as it is.
    fn committed(&self) -> u64 {
        let growth = self.journal_growth();
        let log = self.log_headroom.load(Ordering::Relaxed).max(growth);
        self.bodies().saturating_add(growth).saturating_add(log)
    }

    /// All but what the journal took on since it was measured.
    fn bodies(&self) -> u64 {
        [&self.journal, &self.files, &self.garbage, &self.filled, &self.reserved]
            .iter()
            .map(|part| part.load(Ordering::Relaxed))
            .fold(self.reserve, u64::saturating_add)
    }

    /// Room to be asked for.
    pub(crate) fn no_room_yet(self: &Arc<Self>) -> Reservation {
        Reservation { usage: Arc::clone(self), bytes: 0 }
    }

    /// Room for a body of this many bytes.
    pub(crate) fn reserve(self: &Arc<Self>, bytes: u64) -> Result<Reservation, Error> {
        let mut reservation = self.no_room_yet();
        reservation.grow_to(bytes)?;
        Ok(reservation)
    }

    /// Comes back when room is wanted. Cancel safe.
    pub(crate) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// How many bytes should be freed, those that somebody asked for since the last call included;
    /// 0 while there is no need.
    pub(crate) fn needed(&self) -> u64 {
        let asked = self.asked.swap(0, Ordering::Relaxed);
        self.excess(asked)
    }

    fn excess(&self, asked: u64) -> u64 {
        let garbage = self.garbage.load(Ordering::Relaxed);
        let used = self.committed().saturating_sub(garbage);
        let of_quota = self.max.map_or(0, |max| {
            let part = |percent: u8| max / 100 * u64::from(percent);
            let begins = used.saturating_add(asked) > max || used > part(self.marks.from_percent);
            let ends = part(self.marks.to_percent).min(max.saturating_sub(asked));
            if begins { used.saturating_sub(ends) } else { 0 }
        });
        let floor = self.floor.load(Ordering::Relaxed);
        let free = self.disk_free.load(Ordering::Relaxed);
        let free = free.saturating_add(garbage).saturating_sub(asked);
        let of_disk =
            if free < floor.saturating_mul(2) { floor.saturating_mul(4) - free } else { 0 };
        of_quota.max(of_disk)
    }

    /// Somebody needs this much more room. Does not wait.
    pub(crate) fn ask(&self, bytes: u64) {
        self.asked.fetch_max(bytes, Ordering::Relaxed);
        self.wanted.notify_one();
    }

    /// Room was looked for.
    pub(crate) fn looked(&self, looked: Looked) {
        self.looked.send_replace(looked);
    }

    /// Whether the disk had less free than puts leave alone, when last looked.
    pub(crate) fn is_disk_low(&self) -> bool {
        self.disk_free.load(Ordering::Relaxed) <= self.floor.load(Ordering::Relaxed)
    }

    /// Whether the disk has this much free, and as much as puts leave alone twice over.
    pub(crate) fn has_room_for(&self, bytes: u64) -> bool {
        let floor = self.floor.load(Ordering::Relaxed);
        let free = self.disk_free.load(Ordering::Relaxed);
        !self.disk_full.load(Ordering::Relaxed)
            && free != u64::MAX
            && free > bytes.saturating_add(floor.saturating_mul(2))
    }

    /// Whether almost no room is left: time to look for some.
    pub(crate) fn is_tight(&self) -> bool {
        self.disk_full.load(Ordering::Relaxed)
            || self.disk_free.load(Ordering::Relaxed)
                < self.floor.load(Ordering::Relaxed).saturating_mul(2)
            || self.max.is_some_and(|max| self.committed() > max / 10 * 8)
    }

    /// The error that a failed write or sync becomes; a full disk stops further puts.
    pub(crate) fn disk_error(&self, error: io::Error) -> Error {
        if matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
        ) {
            self.set_disk_full();
            return disk_full().with_source(error);
        }
        if is_out_of_descriptors(&error) {
            tracing::error!(%error, "no file can be opened any more");
            return Error::new(
                ErrorKind::Unavailable,
                "too many files are open; nothing was acknowledged, raise the limit (ulimit -n) and send it again",
            )
            .with_source(error);
        }
        tracing::error!(%error, "the disk below the files directory failed");
        Error::new(
            ErrorKind::Unavailable,
            "the disk failed; nothing was acknowledged, see the node's log and send it again",
        )
        .with_source(error)
    }

    pub(crate) fn set_disk_full(&self) {
        self.disk_full.store(true, Ordering::Relaxed);
    }

    pub(crate) fn set_disk(&self, total: u64, free: u64, floor: u64) {
        self.disk_total.store(total, Ordering::Relaxed);
        self.disk_free.store(free, Ordering::Relaxed);
        self.floor.store(floor, Ordering::Relaxed);
        if free > floor {
            self.disk_full.store(false, Ordering::Relaxed);
        }
    }

    pub(crate) fn disk(&self) -> DiskStats {
        let free = self.disk_free.load(Ordering::Relaxed);
        DiskStats::new(
            self.disk_total.load(Ordering::Relaxed),
            if free == u64::MAX { 0 } else { free },
        )
    }

    /// The journal took on a value of this size.
    pub(crate) fn journal_grew(&self, bytes: u64) {
        self.journal_growth.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Replaces the estimate by a measurement that began when the growth was `seen`.
    pub(crate) fn journal_measured(&self, bytes: u64, seen: u64) {
        self.journal.store(bytes, Ordering::Relaxed);
        self.journal_growth.fetch_sub(seen, Ordering::Relaxed);
    }

    pub(crate) fn set_log_headroom(&self, bytes: u64) {
        self.log_headroom.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn journal_growth(&self) -> u64 {
        self.journal_growth.load(Ordering::Relaxed)
    }

    /// A body file took these bytes of the disk.
    pub(crate) fn files_grew(&self, bytes: u64) {
        self.files_growth.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn files_growth(&self) -> u64 {
        self.files_growth.load(Ordering::Relaxed)
    }

    /// The disk was measured after files had grown by this.
    pub(crate) fn files_measured(&self, seen: u64) {
        self.files_growth.fetch_sub(seen, Ordering::Relaxed);
    }

    /// A fill stored so many bytes.
    pub(crate) fn filled_grew(&self, bytes: u64) {
        self.filled.fetch_add(bytes, Ordering::Relaxed);
        self.files_grew(bytes);
    }

    /// A file whose bytes were never counted with the others is gone.
    pub(crate) fn filled_removed(&self, bytes: u64) {
        let less = |filled: u64| Some(filled.saturating_sub(bytes));
        let _ = self.filled.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Body files were found to take so many bytes in all, those of records among them.
    pub(crate) fn found_on_disk(&self, bytes: u64) {
        let cached = bytes.saturating_sub(self.files.load(Ordering::Relaxed));
        self.filled.store(cached, Ordering::Relaxed);
    }

    pub(crate) fn set_files(&self, bytes: u64) {
        self.files.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn garbage_added(&self, bytes: u64) {
        self.garbage.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn garbage_removed(&self, bytes: u64) {
        self.garbage.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Reservation {
    /// Makes it room for a body of this many bytes in all.
    pub(crate) fn grow_to(&mut self, bytes: u64) -> Result<(), Error> {
        let wanted = bytes.saturating_add(OVERHEAD);
        let Some(more) = wanted.checked_sub(self.bytes).filter(|more| *more > 0) else {
            return Ok(());
        };
        let usage = &self.usage;
        let _gate = usage.gate.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(max) = usage.max
            && usage.committed().saturating_add(more) > max
        {
            return Err(Error::new(
                ErrorKind::StorageFull,
                "the node's storage quota is used up; delete objects or raise max-bytes",
            )
            .with_retry_after(std::time::Duration::from_secs(5)));
        }
        let room = usage
            .disk_free
            .load(Ordering::Relaxed)
            .saturating_sub(usage.floor.load(Ordering::Relaxed));
        let reserved = usage
            .reserved
            .load(Ordering::Relaxed)
            // To the log and to a table, which has more than the bytes.
            .saturating_add(usage.journal_growth().saturating_mul(2))
            .saturating_add(usage.journal_growth() / 4)
            .saturating_add(usage.files_growth());
        if usage.disk_full.load(Ordering::Relaxed) || reserved.saturating_add(more) > room {
            return Err(disk_full());
        }
        usage.reserved.fetch_add(more, Ordering::Relaxed);
        self.bytes = wanted;
        if usage.excess(0) > 0 {
            usage.wanted.notify_one();
        }
        Ok(())
    }

    /// Makes sure that there is room for the beginning of a body of this many bytes in all, and that
    /// more can be made if it is needed. What only promises to be long makes nothing else go.
    ///
    /// When the future is dropped, the room is as it was.
    pub(crate) async fn look_for_room(&mut self, bytes: u64) -> Result<(), Error> {
        let Err(error) = self.grow_to(bytes) else { return Ok(()) };
        if self.usage.max.is_some_and(|max| bytes > max) {
            return Err(error);
        }
        let mut looked = self.usage.looked.subscribe();
        self.usage.ask(bytes.min(BEGINNING));
        let Ok(Ok(())) = timeout(PATIENCE, looked.changed()).await else { return Err(error) };
        let looked = *looked.borrow();
        match looked {
            Looked::Found => Ok(()),
            Looked::NoNeed => self.grow_to(bytes.min(BEGINNING)).map_err(|_| error),
            Looked::InVain => Err(error),
        }
    }

    /// As [`grow_to`](Self::grow_to), once room has been made where there is too little, and some can be made.
    ///
    /// When the future is dropped, the room is as it was.
    pub(crate) async fn make_room(&mut self, bytes: u64) -> Result<(), Error> {
        let mut looked = self.usage.looked.subscribe();
        let deadline = Instant::now() + PATIENCE;
        let mut last = Looked::Found;
        loop {
            let error = match self.grow_to(bytes) {
                Err(error) if last == Looked::Found => error,
                grown_or_hopeless => return grown_or_hopeless,
            };
            self.usage.ask(bytes.saturating_add(OVERHEAD).saturating_sub(self.bytes));
            match timeout_at(deadline, looked.changed()).await {
                Ok(Ok(())) => last = *looked.borrow_and_update(),
                _ => return Err(error),
            }
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.usage.reserved.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

pub(crate) fn disk_full() -> Error {
    Error::new(
        ErrorKind::StorageFull,
        "the disk is full; nothing was acknowledged, make room and send it again",
    )
    .with_retry_after(std::time::Duration::from_secs(5))
}
