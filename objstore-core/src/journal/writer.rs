//! The one thread that changes the journal: it judges every change against the version that is
//! current, makes many durable with one sync, then answers all who wait.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use objstore_client::options::Conditions;
use objstore_client::types::{Level, ObjectId, ObjectMeta};
use objstore_client::{Error, ErrorKind};
use tokio::sync::oneshot;

use super::change::{Answer, Change, Committed, NewBody, Put, Queue, Request};
use super::counters::Counters;
use super::format::{COUNTERS_KEY, body_key, decode, encode, encode_entry, entry_key, garbage_key};
use super::mark::Mark;
use super::record::{Entry, Presence, Record};
use super::stamp::StampSource;
use super::store::{Batch, JournalStore, Space, StoreError};
use super::{Stamp, decode_entry};
use crate::bodies::{FileBody, FileStore, Outcome, seal_inline};
use crate::cache::{Hot, Tier};
use crate::env::Clock;
use crate::janitor::Janitor;
use crate::reserve::Reserve;
use crate::usage::{Reservation, Usage, disk_full};

/// Changes and bytes of one batch, so that its waiters are not kept longer than a sync or two.
const BATCH_CHANGES: usize = 512;
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// A broken journal is tried again this long after the last try.
const REOPEN_PAUSE: Duration = Duration::from_millis(500);

pub(crate) struct Writer {
    pub(crate) store: Arc<dyn JournalStore>,
    pub(crate) files: Arc<FileStore>,
    pub(crate) tier: Arc<Tier>,
    pub(crate) stamps: Arc<StampSource>,
    pub(crate) usage: Arc<Usage>,
    pub(crate) janitor: Janitor,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) counters: Counters,
    pub(crate) shared: Arc<Shared>,
    pub(crate) live_inline: Arc<AtomicU64>,
    pub(crate) mark: Option<Mark>,
    pub(crate) reserve: Option<Arc<Reserve>>,
    pub(crate) broken: Option<Broken>,
}

/// What others may see of the writer.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) broken: AtomicBool,
    counters: std::sync::Mutex<Counters>,
}

impl Shared {
    pub(crate) fn counters(&self) -> Counters {
        *self.counters.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Shared {
    /// Something to hold while the writer runs: if it panics, the node no longer says it is ready.
    pub(crate) fn broken_on_panic(self: &Arc<Self>) -> impl Drop + use<> {
        struct Said(Arc<Shared>);
        impl Drop for Said {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    self.0.broken.store(true, Ordering::Release);
                }
            }
        }
        Said(Arc::clone(self))
    }
}

/// The journal failed; nothing is written until it has been reopened.
pub(crate) struct Broken {
    full: bool,
    tried: Instant,
    /// Objects whose last change may or may not be durable.
    unknown: Vec<ObjectId>,
}

/// One that waits for the sync.
struct Passed {
    answer: oneshot::Sender<Answer>,
    judged: Judged,
}

/// A change that passed: what its caller will be told, and what is held for it until then.
struct Judged {
    meta: Arc<ObjectMeta>,
    file: Option<FileBody>,
    reservation: Option<Reservation>,
}

impl Judged {
    fn new(meta: Arc<ObjectMeta>) -> Self {
        Self { meta, file: None, reservation: None }
    }
}

/// A batch under construction.
#[derive(Default)]
struct Pending {
    batch: Batch,
    passed: Vec<Passed>,
    /// The newest version of each object in the batch.
    newest: HashMap<ObjectId, Arc<Hot>>,
    /// Files that the batch makes garbage.
    garbage: Vec<(ObjectId, Stamp, u64)>,
    dead_inline: u64,
    bytes: usize,
}

impl Writer {
    /// The counters that a store was left with.
    pub(crate) fn load_counters(store: &dyn JournalStore) -> Result<Counters, StoreError> {
        store.get(Space::Meta, COUNTERS_KEY)?.map_or(Ok(Counters::default()), |b| decode(&b))
    }

    /// Works until it is stopped or every handle is gone, then closes the store.
    pub(crate) fn run(mut self, mut queue: Queue) {
        while let Some(first) = queue.requests.blocking_recv() {
            // In time, whether or not there is a change that needs it.
            let _ = self.check_writable();
            let mut pending = Pending::default();
            let mut next = Some(first);
            while let Some(Request::Make { change, answer }) = next {
                self.judge(change, answer, &mut pending);
                let full = pending.passed.len() >= BATCH_CHANGES || pending.bytes >= BATCH_BYTES;
                next = if full { None } else { queue.requests.try_recv().ok() };
            }
            self.commit(pending);
            if queue.stop.load(Ordering::Acquire) {
                break;
            }
        }
        // Who still waits, or comes later, is told by the closing of the channel.
        drop(queue);
        self.store.close();
    }

    /// Answers what fails at once, and adds what passes to the batch.
    fn judge(&mut self, change: Change, answer: oneshot::Sender<Answer>, pending: &mut Pending) {
        let judged = self.check_writable().and_then(|()| match change {
            Change::Put(put) => self.put(put, pending),
            Change::Delete { id, conditions } => self.delete(id, &conditions, pending).map(Ok),
            Change::Raise { id, stamp, level, remote_etag } => {
                self.raise(id, stamp, level, remote_etag, pending).map(Ok)
            }
        });
        match judged {
            Ok(Ok(judged)) => pending.passed.push(Passed { answer, judged }),
            Ok(Err(undone)) => drop(answer.send(Ok(undone))),
            Err(error) => drop(answer.send(Err(error))),
        }
    }

    fn put(&mut self, put: Put, pending: &mut Pending) -> Result<Result<Judged, Committed>, Error> {
        let current = self.current(put.record.id, pending)?;
        put.conditions.check_change(current.as_ref().map(|hot| hot.entry.meta.as_ref()))?;
        // An overwrite never lowers a level.
        let higher = level(current.as_ref().map(|hot| &hot.entry.record));
        if higher > level(Some(&put.record)) {
            return Ok(Err(Committed::Higher(higher, Box::new(put))));
        }
        let Put { mut record, body, conditions, reservation } = put;
        let overtaken = current.as_ref().is_some_and(|hot| hot.entry.record.stamp >= record.stamp);
        let (presence, inline, file) = match body {
            NewBody::Inline(bytes) => {
                if overtaken {
                    record.stamp = self.stamps.next();
                    record.modified = record.stamp.time;
                }
                let sealed = seal_inline(&record, &bytes);
                pending.bytes += sealed.len();
                self.usage.journal_grew(sealed.len() as u64);
                pending.batch.put(Space::Bodies, body_key(record.id, record.stamp), sealed);
                (Presence::Inline, Some(bytes), None)
            }
            // The stamp is in the file already. Both writes were under way together, so the one
            // that came through first counts as the later one.
            NewBody::File(mut file) if overtaken => {
                if !conditions.is_empty() {
                    return Err(Error::new(
                        ErrorKind::PreconditionFailed,
                        "another change came through while this one was under way; read the object again, then decide",
                    ));
                }
                file.settle(Outcome::Abandoned);
                return Ok(Ok(Judged::new(Entry::new(record, Presence::Absent).meta)));
            }
            NewBody::File(mut file) => {
                // Until the journal says otherwise, even if this thread should come to an end.
                file.settle(Outcome::Unknown);
                self.usage.files_grew(file.physical);
                let presence = Presence::File { physical: file.physical };
                (presence, None, Some(file))
            }
        };
        let entry = Entry::new(record, presence);
        let meta = Arc::clone(&entry.meta);
        self.replace(current.as_deref(), Hot { entry, inline }, pending);
        Ok(Ok(Judged { meta, file, reservation: Some(reservation) }))
    }

    fn delete(
        &mut self,
        id: ObjectId,
        conditions: &Conditions,
        pending: &mut Pending,
    ) -> Result<Judged, Error> {
        let current = self.current(id, pending)?;
        conditions.check_change(current.as_ref().map(|hot| hot.entry.meta.as_ref()))?;
        let current = current.ok_or_else(crate::ops::not_found)?;
        if current.entry.live().is_none() {
            return Ok(Judged::new(Arc::clone(&current.entry.meta)));
        }
        let stamp = self.stamps.next();
        let record = Record { id, stamp, modified: stamp.time, live: None };
        let entry = Entry::new(record, Presence::Absent);
        let meta = Arc::clone(&entry.meta);
        self.replace(Some(&current), Hot { entry, inline: None }, pending);
        Ok(Judged::new(meta))
    }

    fn raise(
        &mut self,
        id: ObjectId,
        stamp: Stamp,
        level: Level,
        remote_etag: Option<String>,
        pending: &mut Pending,
    ) -> Result<Judged, Error> {
        let current = self.current(id, pending)?.ok_or_else(crate::ops::not_found)?;
        let mut raised = current.entry.record.clone();
        let Some(live) = raised.live.as_mut().filter(|_| raised.stamp == stamp) else {
            return Err(Error::new(
                ErrorKind::PreconditionFailed,
                "the object was changed while its level was being raised; ask again",
            ));
        };
        live.level = level;
        live.remote_etag = remote_etag;
        let record = current.entry.record.clone().merge(raised);
        let entry = Entry::new(record, current.entry.presence);
        let meta = Arc::clone(&entry.meta);
        let inline = current.inline.clone();
        self.counters.replace(Some(&current.entry), &entry);
        self.write_entry(Hot { entry, inline }, pending);
        Ok(Judged::new(meta))
    }

    /// Puts a new version in place of the current one, whose body becomes garbage.
    fn replace(&mut self, current: Option<&Hot>, new: Hot, pending: &mut Pending) {
        let mut dead_body = None;
        if let Some(old) = current {
            let (id, stamp) = (old.entry.record.id, old.entry.record.stamp);
            match old.entry.presence {
                Presence::Absent => {}
                Presence::Inline => {
                    dead_body = Some(body_key(id, stamp));
                    pending.dead_inline += old.entry.live().map_or(0, |live| live.size);
                }
                Presence::File { physical } => {
                    pending.batch.put(Space::Meta, garbage_key(id, stamp), Bytes::new());
                    pending.garbage.push((id, stamp, physical));
                }
                // It may have a file. What that takes was never counted with the others.
                Presence::Cached => {
                    pending.batch.put(Space::Meta, garbage_key(id, stamp), Bytes::new());
                    pending.garbage.push((id, stamp, 0));
                }
            }
        }
        self.counters.replace(current.map(|hot| &hot.entry), &new.entry);
        self.write_entry(new, pending);
        // Behind the record that no longer wants it: readers may see a batch half applied.
        if let Some(key) = dead_body {
            pending.batch.remove(Space::Bodies, key);
        }
    }

    fn write_entry(&mut self, hot: Hot, pending: &mut Pending) {
        let (id, entry) = (hot.entry.record.id, &hot.entry);
        let value = encode_entry(&entry.record, entry.presence);
        pending.bytes += value.len();
        self.usage.journal_grew(value.len() as u64);
        pending.batch.put(Space::Records, entry_key(id).to_vec(), value);
        pending.newest.insert(id, Arc::new(hot));
        self.counters.changes += 1;
    }

    /// The version of an object that the next change meets.
    fn current(&self, id: ObjectId, pending: &Pending) -> Result<Option<Arc<Hot>>, Error> {
        if let Some(hot) = pending.newest.get(&id).cloned().or_else(|| self.tier.peek(id)) {
            return Ok(Some(hot));
        }
        let found = self
            .store
            .get(Space::Records, &entry_key(id))
            .and_then(|value| value.map(|bytes| decode_entry(&bytes)).transpose());
        match found {
            Ok(entry) => Ok(entry.map(|entry| Arc::new(Hot { entry, inline: None }))),
            Err(error) => Err(crate::ops::journal_error(error)),
        }
    }

    /// Makes a batch durable, shows it to readers, then answers.
    fn commit(&mut self, mut pending: Pending) {
        if !pending.newest.is_empty() {
            for (id, stamp) in self.janitor.take_removed() {
                pending.batch.remove(Space::Meta, garbage_key(id, stamp));
            }
            self.counters.batches += 1;
            pending.batch.put(Space::Meta, COUNTERS_KEY, encode(&self.counters));
            let batch = std::mem::take(&mut pending.batch);
            let committed = match self.store.commit(&batch) {
                Err(StoreError::Refused) => self.commit_again(&batch),
                other => other,
            };
            if let Err(error) = committed {
                return self.failed(error, pending);
            }
            if let Some(mark) = &self.mark {
                mark.write(self.counters.batches);
            }
        }
        for (id, hot) in pending.newest {
            // A level raised without the body at hand: the next reader brings both.
            if hot.entry.presence == Presence::Inline && hot.inline.is_none() {
                self.tier.forget(id);
            } else {
                self.tier.replace(id, hot);
            }
        }
        self.show_counters();
        self.janitor.inline_died(pending.dead_inline);
        for (id, stamp, physical) in pending.garbage {
            self.usage.garbage_added(physical);
            self.janitor.remove_file(id, stamp, physical);
        }
        for Passed { answer, mut judged } in pending.passed {
            if let Some(file) = &mut judged.file {
                file.settle(Outcome::Committed);
            }
            drop(judged.reservation);
            let _ = answer.send(Ok(Committed::Made(judged.meta)));
        }
    }

    /// The journal failed in the background, and took nothing of the batch: once it is open again
    /// the batch is as good as new.
    fn commit_again(&mut self, batch: &Batch) -> Result<(), StoreError> {
        tracing::warn!("the journal failed in the background; it will be reopened");
        if self.usage.is_disk_low()
            && let Some(reserve) = &self.reserve
        {
            reserve.release();
        }
        let counters = self.counters;
        self.try_reopen()?;
        self.tier.clear();
        self.counters = counters;
        self.store.commit(batch)
    }

    /// Answers everyone with "unknown", and takes no more changes until the journal is reopened.
    fn failed(&mut self, error: StoreError, pending: Pending) {
        let full = matches!(error, StoreError::Full(_)) || self.usage.is_disk_low();
        tracing::error!(%error, source = ?std::error::Error::source(&error), "the journal could not be written; it will be reopened");
        if full {
            self.usage.set_disk_full();
            if let Some(reserve) = &self.reserve {
                reserve.release();
            }
        }
        let unknown = pending.newest.keys().copied().collect();
        self.shared.broken.store(true, Ordering::Release);
        self.broken = Some(Broken { full, tried: self.clock.monotonic(), unknown });
        for Passed { answer, mut judged } in pending.passed {
            if let Some(file) = &mut judged.file {
                file.settle(Outcome::Unknown);
            }
            drop(judged);
            let _ = answer.send(Err(unavailable(full)));
        }
        // At once: the usual reason, a full disk, leaves room for what is smaller.
        self.reopen();
    }

    /// Reopens a broken journal, at most every half second.
    fn check_writable(&mut self) -> Result<(), Error> {
        let Some(broken) = &self.broken else { return Ok(()) };
        let full = broken.full;
        if self.clock.monotonic().saturating_duration_since(broken.tried) >= REOPEN_PAUSE {
            self.reopen();
        }
        if self.broken.is_some() { Err(unavailable(full)) } else { Ok(()) }
    }

    fn reopen(&mut self) {
        match self.try_reopen() {
            Ok(()) => {
                tracing::info!("the journal is open again");
                for id in self.broken.take().map(|broken| broken.unknown).unwrap_or_default() {
                    self.tier.forget(id);
                }
                self.tier.clear();
                self.shared.broken.store(false, Ordering::Release);
                self.show_counters();
            }
            Err(error) => {
                tracing::error!(%error, source = ?std::error::Error::source(&error), "the journal could not be reopened");
                if let Some(broken) = &mut self.broken {
                    broken.tried = self.clock.monotonic();
                }
            }
        }
    }

    fn try_reopen(&mut self) -> Result<(), StoreError> {
        self.store.reopen()?;
        let counters = Self::load_counters(self.store.as_ref())?;
        if let Some(mark) = &self.mark {
            mark.check(counters.batches)?;
        }
        self.counters = counters;
        // The failed batch may have been durable, and taken notes with it that were not.
        crate::builder::sweep(self.store.as_ref(), &self.janitor)?;
        let store = Arc::clone(&self.store);
        self.files.recover_unresolved(|id, stamp| is_current(store.as_ref(), id, stamp))
    }

    /// Shows what the journal holds to those who ask for stats.
    pub(crate) fn show_counters(&self) {
        self.usage.set_files(self.counters.file_bytes);
        self.live_inline.store(self.counters.inline_bytes, Ordering::Relaxed);
        *self.shared.counters.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
            self.counters;
    }
}

/// Whether the journal's record of an object is this very version, with its body in a file.
pub(crate) fn is_current(
    store: &dyn JournalStore,
    id: ObjectId,
    stamp: Stamp,
) -> Result<bool, StoreError> {
    let value = store.get(Space::Records, &entry_key(id))?;
    let entry = value.map(|bytes| decode_entry(&bytes)).transpose()?;
    Ok(entry.is_some_and(|entry| {
        entry.record.stamp == stamp && matches!(entry.presence, Presence::File { .. })
    }))
}

fn level(record: Option<&Record>) -> Level {
    record.and_then(|r| r.live.as_ref()).map_or(Level::Local, |live| live.level)
}

fn unavailable(full: bool) -> Error {
    if full {
        return disk_full();
    }
    Error::new(
        ErrorKind::Unavailable,
        "the journal cannot be written at the moment; whether the change was made is unknown, sending it again is safe",
    )
    .with_retry_after(Duration::from_secs(1))
}
