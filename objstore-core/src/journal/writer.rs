//! The one thread that changes the journal: it judges every change against the version that is
//! current, makes many durable with one sync, then answers all who wait.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use objstore_client::options::Conditions;
use objstore_client::types::{Level, ObjectId, ObjectMeta};
use objstore_client::{Error, ErrorKind};
use tokio::sync::oneshot;

use super::change::{Answer, Change, Committed, HeldBody, NewBody, Put, Queue, Request};
use super::counters::Counters;
use super::digest::Digest;
use super::format::{
    COUNTERS_KEY, body_key, decode, encode, encode_entry, encode_key_entry, encode_record,
    entry_key, garbage_key, load_entry,
};
use super::intents::{Note, PendingVersion, QueuedUpload, load_pending, load_queued, pending_key};
use super::mark::Mark;
use super::past::{Horizon, gone_for_good, load_barred};
use super::record::{Entry, Presence, Record};
use super::stamp::StampSource;
use super::store::{Batch, JournalStore, Space, StoreError};
use super::todo::{Chore, Todo};
use super::{Stamp, decode_entry};
use crate::bodies::{FileBody, FileStore, Outcome, seal_inline};
use crate::cache::{Hot, Tier};
use crate::cluster::{Changed, News};
use crate::env::Clock;
use crate::janitor::Janitor;
use crate::remote::{Staged, Uploads};
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
    /// Learns what waits for the remote in the order in which it became durable, whether or not
    /// the one who asked is still there.
    pub(crate) uploads: Arc<Uploads>,
    pub(crate) digest: Arc<Digest>,
    /// Learns what other nodes are to be told.
    pub(crate) news: Arc<News>,
    pub(crate) todo: Arc<Todo>,
    pub(crate) horizon: Horizon,
    pub(crate) broken: Option<Broken>,
}

/// What others may see of the writer.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) broken: AtomicBool,
    counters: std::sync::Mutex<Counters>,
    horizon: std::sync::Mutex<Horizon>,
}

impl Shared {
    pub(crate) fn counters(&self) -> Counters {
        *self.counters.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Shared {
    /// Where the deletes begin that are remembered.
    pub(crate) fn horizon(&self) -> Horizon {
        *self.horizon.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn show_horizon(&self, horizon: Horizon) {
        *self.horizon.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = horizon;
    }

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
pub(super) struct Judged {
    outcome: Answer,
    file: Option<FileBody>,
    reservation: Option<Reservation>,
}

impl Judged {
    pub(super) fn done(outcome: Committed) -> Self {
        Self { outcome: Ok(outcome), file: None, reservation: None }
    }

    fn made(meta: Arc<ObjectMeta>) -> Self {
        Self { outcome: Ok(Committed::Made(meta)), file: None, reservation: None }
    }
}

/// Why a change is not part of the batch.
#[allow(clippy::large_enum_variant)] // it goes straight to the one who waits
pub(super) enum Stop {
    /// Nothing needs to be made durable for this but what it rests on.
    At(Committed),
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// A new version whose body is in the batch.
struct Placed {
    current: Option<Arc<Hot>>,
    entry: Entry,
    inline: Option<Bytes>,
    judged: Judged,
    write_back: bool,
}

fn note(notes: Vec<Note>, group: &mut Group) -> Judged {
    for note in notes {
        group.note(note);
    }
    Judged { outcome: Ok(Committed::Noted), file: None, reservation: None }
}

fn came_between() -> Error {
    Error::new(
        ErrorKind::PreconditionFailed,
        "another change came through while this one was under way; read the object again, then decide",
    )
}

/// Changes that will be made durable with one sync.
#[derive(Default)]
pub(super) struct Group {
    pub(super) batch: Batch,
    passed: Vec<Passed>,
    /// The newest version of each object in the batch; none when it is forgotten.
    pub(super) newest: BTreeMap<ObjectId, Option<Arc<Hot>>>,
    /// Those among them that nobody here has asked for yet.
    pub(super) unasked: BTreeSet<ObjectId>,
    /// Files that the batch makes garbage.
    pub(super) garbage: Vec<(ObjectId, Stamp, u64)>,
    dead_inline: u64,
    bytes: usize,
    /// What begins to wait for the remote with the batch, or no longer does.
    waiting: Vec<(ObjectId, Option<QueuedUpload>)>,
    /// Objects that were changed here, and not by what another node said.
    pub(super) news: Vec<ObjectId>,
    /// What is to be done about bodies once the batch is durable, and what need not be any more.
    pub(super) todo: Vec<(Chore, ObjectId, Stamp)>,
    pub(super) done: Vec<(Chore, ObjectId, Stamp)>,
    pub(super) horizon: Option<Horizon>,
}

impl Group {
    pub(super) fn todo(&mut self, chore: Chore, id: ObjectId, stamp: Stamp) {
        self.note(chore.note(id, stamp));
        self.todo.push((chore, id, stamp));
    }

    /// An object's version waits for the remote from now on, or none does.
    pub(super) fn wait(&mut self, id: ObjectId, upload: Option<QueuedUpload>) {
        self.note(upload.as_ref().map_or_else(|| QueuedUpload::over(id), |u| u.note(id)));
        self.waiting.push((id, upload));
    }

    pub(super) fn note(&mut self, note: Note) {
        match note.value {
            Some(value) => self.batch.put(Space::Meta, note.key, value),
            None => self.batch.remove(Space::Meta, note.key),
        }
    }
}

impl Writer {
    /// The counters that a store was left with.
    pub(crate) fn load_counters(store: &dyn JournalStore) -> Result<Counters, StoreError> {
        store.get(Space::Meta, COUNTERS_KEY)?.map_or(Ok(Counters::default()), |b| decode(&b))
    }

    /// Works until it is stopped or every handle is gone, then closes the store. Blocks.
    pub(crate) fn run(mut self, mut queue: Queue) {
        while let Some(first) = queue.requests.blocking_recv() {
            if self.work(first, &mut queue).is_break() {
                break;
            }
        }
        self.end(queue);
    }

    /// The same as a task, for a runtime on which waiting for the journal holds nobody up.
    pub(crate) async fn run_as_task(mut self, mut queue: Queue) {
        while let Some(first) = queue.requests.recv().await {
            if self.work(first, &mut queue).is_break() {
                break;
            }
        }
        self.end(queue);
    }

    /// Makes one batch of this request and those that wait behind it.
    fn work(&mut self, first: Request, queue: &mut Queue) -> ControlFlow<()> {
        // In time, whether or not there is a change that needs it.
        let _ = self.check_writable();
        let mut group = Group::default();
        let mut next = Some(first);
        while let Some(Request::Make { change, answer }) = next {
            self.judge(change, answer, &mut group);
            let full = group.passed.len() >= BATCH_CHANGES || group.bytes >= BATCH_BYTES;
            next = if full { None } else { queue.requests.try_recv().ok() };
        }
        self.commit(group);
        if queue.stop.load(Ordering::Acquire) {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn end(self, queue: Queue) {
        // Who still waits, or comes later, is told by the closing of the channel.
        drop(queue);
        self.store.close();
    }

    /// Answers what fails at once, and adds what passes to the batch.
    fn judge(&mut self, change: Change, answer: oneshot::Sender<Answer>, group: &mut Group) {
        let judged = self.check_writable().map_err(Stop::from).and_then(|()| match change {
            Change::Put(put) => self.put(put, group),
            Change::Delete { id, conditions } => self.delete(id, &conditions, group),
            Change::Raise { id, stamp, level, remote_etag } => {
                self.raise(id, stamp, level, remote_etag, group)
            }
            Change::Stage(put) => self.stage(put, group),
            Change::Promote { version, conditions, remote_etag } => {
                self.promote(&version, &conditions, remote_etag, group)
            }
            Change::Unstage(version) => self.unstage(&version, group),
            Change::Restore(record) => self.restore(record, group),
            Change::Cache { key, record } => self.cache(&key, record, group),
            Change::Uncache { id, stamp } => self.uncache(id, stamp, group),
            Change::Waiting { id, stamp, upload } => self.waiting(id, stamp, upload, group),
            Change::Verify(versions) => Ok(Self::verify(versions, group)),
            Change::Hold { id, stamp, body } => self.hold(id, stamp, body, group),
            Change::Note(notes) => Ok(note(notes, group)),
            Change::Merge(records) => self.merge(records, group),
            Change::Drop(versions) => self.drop_versions(versions, group),
            Change::Evict(versions) => self.evict(versions, group),
            Change::Lose(versions) => self.lose(versions, group),
            Change::Renew(ids) => self.renew(ids, group),
            Change::Collect { horizon, before } => self.collect(horizon, before, group),
            Change::Done { chore, id, stamp } => Ok(self.chore_done(chore, id, stamp, group)),
        });
        match judged {
            Ok(judged) => group.passed.push(Passed { answer, judged }),
            // It may rest on what is in this batch, and is true only once that is durable.
            Err(Stop::At(outcome)) if outcome.is_final() && !group.passed.is_empty() => {
                group.passed.push(Passed { answer, judged: Judged::done(outcome) });
            }
            Err(Stop::At(outcome)) => drop(answer.send(Ok(outcome))),
            Err(Stop::Failed(error)) => drop(answer.send(Err(error))),
        }
    }

    fn put(&mut self, put: Put, group: &mut Group) -> Result<Judged, Stop> {
        let Placed { current, entry, inline, judged, write_back } = self.place(put, group)?;
        // At level 0 there is nothing to wait for.
        if write_back && level(Some(&entry.record)) > Level::Local {
            let (id, stamp) = (entry.record.id, entry.record.stamp);
            let queued = self.queued(id, stamp, current.as_deref(), group)?;
            group.wait(id, Some(queued));
        }
        group.news.push(entry.record.id);
        self.replace(current.as_deref(), Hot { entry, inline }, group);
        Ok(judged)
    }

    fn stage(&mut self, put: Put, group: &mut Group) -> Result<Judged, Stop> {
        let conditions = put.conditions.clone();
        let Placed { entry, inline, mut judged, .. } = self.place(put, group)?;
        let (id, stamp) = (entry.record.id, entry.record.stamp);
        let version = PendingVersion { record: entry.record.clone(), presence: entry.presence };
        let value = encode(&version);
        group.bytes += value.len();
        group.batch.put(Space::Meta, pending_key(id, stamp), value);
        self.counters.stage(&entry);
        self.counters.changes += 1;
        let version = Arc::new(Hot { entry, inline });
        let (uploads, clock) = (Arc::clone(&self.uploads), Arc::clone(&self.clock));
        judged.outcome = Ok(Committed::Staged(Staged::new(version, conditions, uploads, clock)));
        Ok(judged)
    }

    /// Judges a new version against the current one, and adds its body to the batch.
    fn place(&mut self, put: Put, group: &mut Group) -> Result<Placed, Stop> {
        let current = self.current(put.record.id, group)?;
        put.conditions.check_change(current.as_ref().map(|hot| hot.entry.meta.as_ref()))?;
        // An overwrite never lowers a level.
        let higher = level(current.as_ref().map(|hot| &hot.entry.record));
        if higher > level(Some(&put.record)) {
            return Err(Stop::At(Committed::Higher(higher, Box::new(put))));
        }
        let Put { mut record, body, conditions, reservation, write_back } = put;
        record.in_remote = record.may_be_in_remote()
            || current.as_ref().is_some_and(|hot| hot.entry.record.may_be_in_remote());
        // Before the horizon a delete may have been forgotten that came after it.
        let overtaken = match &current {
            Some(hot) => hot.entry.record.stamp >= record.stamp,
            None => record.stamp.time < self.horizon.collected,
        };
        let (presence, inline, file) = match body {
            NewBody::Inline(bytes) => {
                if overtaken {
                    record.stamp = self.stamps.next();
                    record.modified = record.stamp.time;
                }
                let sealed = seal_inline(&record, &bytes);
                group.bytes += sealed.len();
                self.usage.journal_grew(sealed.len() as u64);
                group.batch.put(Space::Bodies, body_key(record.id, record.stamp), sealed);
                (Presence::Inline, Some(bytes), None)
            }
            // The stamp is in the file already. Both writes were under way together, so the one
            // that came through first counts as the later one.
            NewBody::File(mut file) if overtaken => {
                file.settle(Outcome::Abandoned);
                if !conditions.is_empty() {
                    return Err(came_between().into());
                }
                if current.is_none() {
                    return Err(unavailable(false).into());
                }
                let meta = Entry::new(record, Presence::Inline).meta;
                return Err(Stop::At(Committed::Superseded(meta)));
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
        let outcome = Ok(Committed::Made(Arc::clone(&entry.meta)));
        let judged = Judged { outcome, file, reservation: Some(reservation) };
        Ok(Placed { current, entry, inline, judged, write_back })
    }

    fn promote(
        &mut self,
        version: &Hot,
        conditions: &Conditions,
        remote_etag: String,
        group: &mut Group,
    ) -> Result<Judged, Stop> {
        let (id, stamp) = (version.entry.record.id, version.entry.record.stamp);
        self.take_pending(version, group)?;
        let current = self.current(id, group)?;
        if let Some(known) = current.as_ref().filter(|hot| hot.entry.record.stamp == stamp) {
            return Ok(self.promote_known(known, version, remote_etag, group));
        }
        let overtaken = current.as_ref().is_some_and(|hot| hot.entry.record.stamp > stamp);
        if overtaken {
            self.discard(&version.entry, group);
            if let Some(known) = &current {
                self.stored_in_vain(known, group);
            }
            let superseded = Committed::Superseded(Arc::clone(&version.entry.meta));
            let outcome = if conditions.is_empty() { Ok(superseded) } else { Err(came_between()) };
            return Ok(Judged { outcome, file: None, reservation: None });
        }
        let mut record = version.entry.record.clone();
        record.in_remote = true;
        if let Some(live) = &mut record.live {
            live.remote_etag = Some(remote_etag);
            live.level = live.level.max(level(current.as_ref().map(|hot| &hot.entry.record)));
        }
        let entry = Entry::new(record, version.entry.presence);
        let meta = Arc::clone(&entry.meta);
        // What waited before this version waits no more.
        group.wait(id, None);
        group.news.push(id);
        self.replace(current.as_deref(), Hot { entry, inline: version.inline.clone() }, group);
        Ok(Judged::made(meta))
    }

    /// The remote has a version that lost, perhaps in place of the one that won: that is to be put right,
    /// and who deletes the object has to remember that it may be there.
    fn stored_in_vain(&mut self, known: &Hot, group: &mut Group) {
        let (id, stamp) = (known.entry.record.id, known.entry.record.stamp);
        group.todo(Chore::Verify, id, stamp);
        if known.entry.record.may_be_in_remote() {
            return;
        }
        let mut record = known.entry.record.clone();
        record.in_remote = true;
        group.news.push(id);
        self.know_more(known, record, known.entry.presence, group);
    }

    /// More is known of the very version that is here.
    pub(super) fn know_more(
        &mut self,
        known: &Hot,
        record: Record,
        presence: Presence,
        group: &mut Group,
    ) -> Arc<ObjectMeta> {
        let entry = Entry::new(record, presence);
        let meta = Arc::clone(&entry.meta);
        self.counters.replace(Some(&known.entry), &entry);
        self.write_entry(Hot { entry, inline: known.inline.clone() }, group);
        meta
    }

    /// Another node found this very version in the remote, and told this one of it.
    fn promote_known(
        &mut self,
        known: &Hot,
        version: &Hot,
        remote_etag: String,
        group: &mut Group,
    ) -> Judged {
        let mut record = version.entry.record.clone();
        record.in_remote = true;
        if let Some(live) = &mut record.live {
            live.remote_etag = Some(remote_etag);
        }
        let id = record.id;
        // Whichever of the two has the body: it has one place, and stays there.
        let has_it = if known.entry.presence.is_held() { known } else { version };
        let record = known.entry.record.clone().merge(record);
        let entry = Entry::new(record, has_it.entry.presence);
        let meta = Arc::clone(&entry.meta);
        group.wait(id, None);
        group.news.push(id);
        self.counters.replace(Some(&known.entry), &entry);
        self.write_entry(Hot { entry, inline: has_it.inline.clone() }, group);
        Judged::made(meta)
    }

    fn unstage(&mut self, version: &Hot, group: &mut Group) -> Result<Judged, Stop> {
        self.take_pending(version, group)?;
        let (id, stamp) = (version.entry.record.id, version.entry.record.stamp);
        // Should another node have told of this very version, its body is in the same place.
        if self.current_version(id, stamp, group)?.is_none() {
            self.discard(&version.entry, group);
        }
        Ok(Judged { outcome: Ok(Committed::Noted), file: None, reservation: None })
    }

    /// Takes a version out of those that are pending, where it may be only once.
    fn take_pending(&mut self, version: &Hot, group: &mut Group) -> Result<(), Error> {
        let (id, stamp) = (version.entry.record.id, version.entry.record.stamp);
        let found = load_pending(self.store.as_ref(), id, stamp);
        if found.map_err(crate::ops::journal_error)?.is_none() {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "what became of this version was decided meanwhile; read the object, or send it again",
            ));
        }
        group.batch.remove(Space::Meta, pending_key(id, stamp));
        self.counters.unstage(&version.entry);
        self.counters.changes += 1;
        Ok(())
    }

    fn restore(&mut self, record: Record, group: &mut Group) -> Result<Judged, Stop> {
        let id = record.id;
        let current = self.current(id, group)?;
        if let Some(known) = &current {
            // A delete is never undone by a read.
            if known.entry.live().is_none() {
                return Err(Stop::Failed(crate::ops::deleted(&known.entry)));
            }
            if known.entry.record.stamp >= record.stamp {
                return Err(Stop::At(Committed::Made(Arc::clone(&known.entry.meta))));
            }
        }
        let barred = load_barred(self.store.as_ref(), id).map_err(crate::ops::journal_error)?;
        if barred.is_some_and(|barred| barred >= record.stamp) {
            return Err(Stop::Failed(crate::ops::not_found()));
        }
        if barred.is_some() {
            gone_for_good(id).into_iter().for_each(|note| group.note(note));
        }
        // Its node may have had a clock ahead of ours; what is put from now on is later.
        self.stamps.saw(record.stamp.time);
        let entry = Entry::new(record, Presence::Cached);
        let meta = Arc::clone(&entry.meta);
        group.news.push(id);
        if entry.record.level() == Level::Full {
            group.todo(Chore::Want, id, entry.record.stamp);
        }
        self.replace(current.as_deref(), Hot { entry, inline: None }, group);
        Ok(Judged::made(meta))
    }

    /// The body of a version that was elsewhere is here too.
    fn hold(
        &mut self,
        id: ObjectId,
        stamp: Stamp,
        body: HeldBody,
        group: &mut Group,
    ) -> Result<Judged, Stop> {
        let current = self.current_version(id, stamp, group)?;
        let Some(known) = current.filter(|hot| hot.entry.live().is_some()) else {
            return Err(Stop::Failed(came_between()));
        };
        if matches!(body, HeldBody::File { .. }) && self.is_leaving(id, stamp, group)? {
            return Err(Stop::Failed(came_between()));
        }
        let record = known.entry.record.clone();
        let (presence, inline) = match (body, known.entry.presence) {
            (HeldBody::File { .. }, Presence::File { .. }) => {
                return Err(Stop::At(Committed::Made(Arc::clone(&known.entry.meta))));
            }
            (HeldBody::File { physical }, _) => {
                self.usage.filled_removed(physical);
                self.usage.files_grew(physical);
                (Presence::File { physical }, None)
            }
            // Also in place of one that is damaged.
            (HeldBody::Inline(bytes), _) => {
                let sealed = seal_inline(&record, &bytes);
                group.bytes += sealed.len();
                self.usage.journal_grew(sealed.len() as u64);
                group.batch.put(Space::Bodies, body_key(id, stamp), sealed);
                (Presence::Inline, Some(bytes))
            }
        };
        let entry = Entry::new(record, presence);
        let meta = Arc::clone(&entry.meta);
        self.counters.replace(Some(&known.entry), &entry);
        self.write_entry(Hot { entry, inline }, group);
        if presence == Presence::Inline {
            // What a fill made of it on the way.
            let filled = Entry::new(known.entry.record.clone(), Presence::Cached);
            self.discard(&filled, group);
        }
        let _ = self.chore_done(Chore::Want, id, stamp, group);
        Ok(Judged::made(meta))
    }

    fn cache(&mut self, key: &Arc<str>, record: Record, group: &mut Group) -> Result<Judged, Stop> {
        let id = record.id;
        let current = self.current(id, group)?;
        if let Some(known) = &current
            && known.entry.record.stamp >= record.stamp
        {
            return Err(Stop::At(Committed::Made(Arc::clone(&known.entry.meta))));
        }
        let value = encode_key_entry(key, &record);
        group.bytes += value.len();
        self.usage.journal_grew(value.len() as u64);
        group.batch.put(Space::Keys, entry_key(id).to_vec(), value);
        self.counters.highest_time = self.counters.highest_time.max(record.stamp.time);
        self.counters.changes += 1;
        let entry = Entry::of_key(record, Arc::clone(key));
        let meta = Arc::clone(&entry.meta);
        group.newest.insert(id, Some(Arc::new(Hot { entry, inline: None })));
        if let Some(old) = &current {
            self.discard(&old.entry, group);
        }
        Ok(Judged::made(meta))
    }

    fn uncache(&mut self, id: ObjectId, stamp: Stamp, group: &mut Group) -> Result<Judged, Stop> {
        let Some(known) = self.current_version(id, stamp, group)? else {
            return Err(Stop::At(Committed::Noted));
        };
        self.forget_key(&known.entry, group);
        Ok(Judged { outcome: Ok(Committed::Noted), file: None, reservation: None })
    }

    /// Forgets what is cached of a key.
    pub(super) fn forget_key(&mut self, entry: &Entry, group: &mut Group) {
        let id = entry.record.id;
        group.batch.remove(Space::Keys, entry_key(id).to_vec());
        self.counters.changes += 1;
        self.discard(entry, group);
        group.newest.insert(id, None);
    }

    /// The note that a new version waits for the remote, in place of what waited before.
    fn queued(
        &self,
        id: ObjectId,
        stamp: Stamp,
        current: Option<&Hot>,
        group: &Group,
    ) -> Result<QueuedUpload, Error> {
        let since = self.clock.wall_nanos();
        let live = current.and_then(|hot| hot.entry.live());
        let replaces = match live.filter(|live| live.level > Level::Local) {
            None => None,
            Some(live) if live.remote_etag.is_some() => live.remote_etag.clone(),
            Some(_) => self.waits(id, group)?.and_then(|before| before.replaces),
        };
        Ok(QueuedUpload { stamp, since, replaces, refused: None })
    }

    /// What waits of an object, the batch included.
    pub(super) fn waits(&self, id: ObjectId, group: &Group) -> Result<Option<QueuedUpload>, Error> {
        match group.waiting.iter().rev().find(|(waiting, _)| *waiting == id) {
            Some((_, upload)) => Ok(upload.clone()),
            None => load_queued(self.store.as_ref(), id).map_err(crate::ops::journal_error),
        }
    }

    /// Notes something about the version that waits, unless another waits by now or none does.
    fn waiting(
        &self,
        id: ObjectId,
        stamp: Stamp,
        upload: Option<QueuedUpload>,
        group: &mut Group,
    ) -> Result<Judged, Stop> {
        if self.waits(id, group)?.is_none_or(|waits| waits.stamp != stamp) {
            return Err(Stop::At(Committed::Noted));
        }
        match upload {
            // Whoever notes this goes on with it.
            Some(upload) => group.note(upload.note(id)),
            None => group.wait(id, None),
        }
        Ok(Judged { outcome: Ok(Committed::Noted), file: None, reservation: None })
    }

    fn delete(
        &mut self,
        id: ObjectId,
        conditions: &Conditions,
        group: &mut Group,
    ) -> Result<Judged, Stop> {
        let current = self.current(id, group)?;
        conditions.check_change(current.as_ref().map(|hot| hot.entry.meta.as_ref()))?;
        let current = current.ok_or_else(crate::ops::not_found)?;
        // What is deleted already is deleted again: there may be a put between the two of which this
        // node has not heard.
        let live = current.entry.live();
        if live.is_some_and(|live| live.level > Level::Local && live.remote_etag.is_none()) {
            group.wait(id, None);
        }
        let stamp = self.stamps.next();
        let mut record = Record::new(id, stamp, stamp.time, None);
        record.in_remote = current.entry.record.may_be_in_remote();
        let entry = Entry::new(record, Presence::Absent);
        let meta = Arc::clone(&entry.meta);
        group.news.push(id);
        self.replace(Some(&current), Hot { entry, inline: None }, group);
        Ok(Judged::made(meta))
    }

    fn raise(
        &mut self,
        id: ObjectId,
        stamp: Stamp,
        level: Level,
        remote_etag: Option<String>,
        group: &mut Group,
    ) -> Result<Judged, Stop> {
        let current = self.current(id, group)?.ok_or_else(crate::ops::not_found)?;
        let mut raised = current.entry.record.clone();
        let Some(live) = raised.live.as_mut().filter(|_| raised.stamp == stamp) else {
            let changed = Error::new(
                ErrorKind::PreconditionFailed,
                "the object was changed while its level was being raised; ask again",
            );
            if remote_etag.is_none() {
                return Err(Stop::Failed(changed));
            }
            self.stored_in_vain(&current, group);
            return Ok(Judged { outcome: Err(changed), file: None, reservation: None });
        };
        // Another node may have said meanwhile that the remote has it: then nothing waits.
        let remote_etag = remote_etag.or_else(|| live.remote_etag.clone());
        let queued = match &remote_etag {
            Some(_) => None,
            None => Some(self.queued(id, stamp, None, group)?),
        };
        group.wait(id, queued);
        live.level = level;
        live.remote_etag = remote_etag;
        let record = current.entry.record.clone().merge(raised);
        let presence = current.entry.presence;
        group.news.push(id);
        if level == Level::Full && presence == Presence::Cached {
            group.todo(Chore::Want, id, stamp);
        }
        Ok(Judged::made(self.know_more(&current, record, presence, group)))
    }

    /// Puts a new version in place of the current one, whose body becomes garbage.
    pub(super) fn replace(&mut self, current: Option<&Hot>, new: Hot, group: &mut Group) {
        Self::place_tomb(current.map(|hot| &hot.entry), &new.entry, group);
        self.counters.replace(current.map(|hot| &hot.entry), &new.entry);
        self.write_entry(new, group);
        // Behind the record that no longer wants it: readers may see a batch half applied.
        if let Some(old) = current {
            self.discard(&old.entry, group);
        }
    }

    /// Makes the body of a version garbage.
    pub(super) fn discard(&self, entry: &Entry, group: &mut Group) {
        let (id, stamp) = (entry.record.id, entry.record.stamp);
        match entry.presence {
            Presence::Absent => {}
            Presence::Inline => {
                group.batch.remove(Space::Bodies, body_key(id, stamp));
                group.dead_inline += entry.live().map_or(0, |live| live.size);
            }
            Presence::File { physical } => {
                group.batch.put(Space::Meta, garbage_key(id, stamp), Bytes::new());
                group.garbage.push((id, stamp, physical));
            }
            // It may have a file. What that takes was never counted with the others.
            Presence::Cached => {
                group.batch.put(Space::Meta, garbage_key(id, stamp), Bytes::new());
                group.garbage.push((id, stamp, 0));
            }
        }
    }

    pub(super) fn write_entry(&mut self, hot: Hot, group: &mut Group) {
        let (id, entry) = (hot.entry.record.id, &hot.entry);
        let value = encode_entry(&entry.record, entry.presence);
        group.bytes += value.len();
        self.usage.journal_grew(value.len() as u64);
        group.batch.put(Space::Records, entry_key(id).to_vec(), value);
        group.newest.insert(id, Some(Arc::new(hot)));
        self.counters.changes += 1;
    }

    /// The version of an object that the next change meets.
    pub(super) fn current(&self, id: ObjectId, group: &Group) -> Result<Option<Arc<Hot>>, Error> {
        if let Some(hot) = group.newest.get(&id) {
            return Ok(hot.clone());
        }
        if let Some(hot) = self.tier.peek(id) {
            return Ok(Some(hot));
        }
        if self.digest.lacks(id) {
            return Ok(None);
        }
        match load_entry(self.store.as_ref(), id) {
            Ok(entry) => Ok(entry.map(|entry| Arc::new(Hot { entry, inline: None }))),
            Err(error) => Err(crate::ops::journal_error(error)),
        }
    }

    /// The same, if it is just this version.
    pub(super) fn current_version(
        &self,
        id: ObjectId,
        stamp: Stamp,
        group: &Group,
    ) -> Result<Option<Arc<Hot>>, Error> {
        Ok(self.current(id, group)?.filter(|known| known.entry.record.stamp == stamp))
    }

    /// Makes a batch durable, shows it to readers, then answers.
    fn commit(&mut self, mut group: Group) {
        if !group.batch.changes.is_empty() {
            for (id, stamp) in self.janitor.take_removed() {
                group.batch.remove(Space::Meta, garbage_key(id, stamp));
            }
            self.counters.batches += 1;
            group.batch.put(Space::Meta, COUNTERS_KEY, encode(&self.counters));
            let batch = std::mem::take(&mut group.batch);
            let committed = match self.store.commit(&batch) {
                Err(StoreError::Refused) => self.commit_again(&batch),
                other => other,
            };
            if let Err(error) = committed {
                return self.failed(error, group);
            }
            if let Some(mark) = &self.mark {
                mark.write(self.counters.batches);
            }
        }
        let told = self.count_in(&group);
        for (id, hot) in group.newest {
            // A level raised without the body at hand: the next reader brings both.
            let whole =
                |hot: &Arc<Hot>| hot.entry.presence != Presence::Inline || hot.inline.is_some();
            match hot.filter(whole).filter(|_| !group.unasked.contains(&id)) {
                Some(hot) => self.tier.replace(id, hot),
                None => self.tier.forget(id),
            }
        }
        for (id, upload) in group.waiting {
            match upload {
                Some(upload) => self.uploads.queue(id, upload, self.clock.monotonic()),
                None => self.uploads.forget(id),
            }
        }
        for (chore, id, stamp) in group.todo {
            self.todo.add(chore, id, stamp);
        }
        for (chore, id, stamp) in group.done {
            self.todo.done(chore, id, stamp);
        }
        if let Some(horizon) = group.horizon {
            self.shared.show_horizon(horizon);
        }
        self.show_counters();
        self.janitor.inline_died(group.dead_inline);
        for (id, stamp, physical) in group.garbage {
            self.usage.garbage_added(physical);
            self.janitor.remove_file(id, stamp, physical);
        }
        for Passed { answer, mut judged } in group.passed {
            if let Some(file) = &mut judged.file {
                file.settle(Outcome::Committed);
            }
            drop(judged.reservation);
            let _ = answer.send(judged.outcome);
        }
        self.news.tell(told);
    }

    /// Counts what is durable now in the digest, and returns what other nodes are to be told.
    fn count_in(&self, group: &Group) -> Vec<Changed> {
        let (counts, tells) = (self.digest.is_wanted(), self.news.is_wanted());
        if !counts && !tells {
            return Vec::new();
        }
        let stored = |hot: &Option<Arc<Hot>>| hot.as_ref().map(|h| encode_record(&h.entry.record));
        let newest = group.newest.iter().filter(|(id, _)| !id.is_derived());
        let changes: Vec<_> = newest.map(|(id, hot)| (*id, stored(hot))).collect();
        self.digest.changed(&changes);
        if !tells {
            return Vec::new();
        }
        let news: BTreeSet<_> = group.news.iter().collect();
        let changed = |(id, record): (ObjectId, Option<Bytes>)| {
            let stamp = group.newest.get(&id)?.as_ref()?.entry.record.stamp;
            Some(Changed { record: record?, is_ours: stamp.node == self.stamps.node().to_u128() })
        };
        changes.into_iter().filter(|(id, _)| news.contains(id)).filter_map(changed).collect()
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
    fn failed(&mut self, error: StoreError, group: Group) {
        let full = matches!(error, StoreError::Full(_)) || self.usage.is_disk_low();
        tracing::error!(%error, source = ?std::error::Error::source(&error), "the journal could not be written; it will be reopened");
        if full {
            self.usage.set_disk_full();
            if let Some(reserve) = &self.reserve {
                reserve.release();
            }
        }
        let unknown = group.newest.keys().copied().collect();
        self.digest.lost();
        self.shared.broken.store(true, Ordering::Release);
        self.broken = Some(Broken { full, tried: self.clock.monotonic(), unknown });
        for Passed { answer, mut judged } in group.passed {
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
                self.digest.lost();
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
        self.horizon = Horizon::load(self.store.as_ref())?;
        self.shared.show_horizon(self.horizon);
        self.todo.reload(self.store.as_ref())?;
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

/// Whether the journal knows this very version, pending or current, with its body in a file.
pub(crate) fn is_current(
    store: &dyn JournalStore,
    id: ObjectId,
    stamp: Stamp,
) -> Result<bool, StoreError> {
    let value = store.get(Space::Records, &entry_key(id))?;
    let entry = value.map(|bytes| decode_entry(&bytes)).transpose()?;
    let current = entry.is_some_and(|entry| {
        entry.record.stamp == stamp && matches!(entry.presence, Presence::File { .. })
    });
    Ok(current || load_pending(store, id, stamp)?.is_some())
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
