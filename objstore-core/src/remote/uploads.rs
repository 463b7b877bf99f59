use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use objstore_client::options::Conditions;
use objstore_client::types::{ObjectId, UploadFailure, UploadStats};
use objstore_client::{Error, ErrorKind};
use tokio::sync::{Mutex as AsyncMutex, MutexGuard as AsyncMutexGuard, Notify, Semaphore};

use super::error::RemoteError;
use super::retry::Retry;
use super::store::{PART_MAX, PART_MIN, PARTS_MAX};
use crate::cache::Hot;
use crate::env::Clock;
use crate::journal::{BegunUpload, Intents, QueuedUpload, Stamp};
use crate::settings::UploadSettings;

/// What is yet to be done in the remote: a memory of what the journal has as
/// [`Intents`], in the order in which it is to be done.
#[derive(Debug)]
pub(crate) struct Uploads {
    settings: UploadSettings,
    turns: Vec<AsyncMutex<()>>,
    list: Mutex<List>,
    /// Told when there is more to do.
    pub(crate) more: Notify,
    /// Bytes in memory, in KiB.
    pub(crate) budget: Arc<Semaphore>,
}

/// Objects whose uploads wait for each other: those of one object, and few more.
const TURNS: usize = 1024;
/// Failures that are listed.
const FAILURES_SHOWN: usize = 100;
/// How a waiting upload is tried again: not for anybody who waits.
const RETRY: Retry = Retry {
    tries: 1,
    pause: Duration::from_secs(1),
    longest_pause: Duration::from_secs(60),
    ..Retry::DEMAND
};

/// Of many failures one is told in this time; each is in the stats.
const NEWS_PAUSE: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
struct List {
    queue: HashMap<ObjectId, Waiting>,
    /// When what is to be done next; the number keeps the order within one moment.
    due: BTreeMap<(Instant, u64), Task>,
    number: u64,
    doubts: usize,
    running: usize,
    /// When a failure was last told in the log.
    told: Option<Instant>,
}

/// A version that waits for the remote.
#[derive(Debug)]
struct Waiting {
    upload: QueuedUpload,
    due: Option<(Instant, u64)>,
    tries: u32,
    error: Option<String>,
}

/// Something to do in the remote.
#[derive(Clone, Debug)]
pub(crate) enum Task {
    /// Store the current version of an object.
    Upload(ObjectId),
    /// Find out whether the remote has a pending version.
    Decide(Doubt),
    /// Give an upload in parts up.
    Abort(BegunUpload, u32),
}

/// A pending version of which it is not known whether the remote has it.
#[derive(Clone, Debug)]
pub(crate) struct Doubt {
    pub(crate) id: ObjectId,
    pub(crate) stamp: Stamp,
    pub(crate) conditions: Conditions,
    pub(crate) tries: u32,
}

/// A pending version whose fate is not settled. Dropped like that, it is found out in the
/// background.
pub(crate) struct Staged {
    version: Arc<Hot>,
    conditions: Option<Conditions>,
    uploads: Arc<Uploads>,
    clock: Arc<dyn Clock>,
}

impl Staged {
    pub(crate) fn new(
        version: Arc<Hot>,
        conditions: Conditions,
        uploads: Arc<Uploads>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { version, conditions: Some(conditions), uploads, clock }
    }

    pub(crate) fn version(&self) -> Arc<Hot> {
        Arc::clone(&self.version)
    }

    /// The journal has been told.
    pub(crate) fn settled(&mut self) {
        self.conditions = None;
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if let Some(conditions) = self.conditions.take() {
            let record = &self.version.entry.record;
            let doubt = Doubt { id: record.id, stamp: record.stamp, conditions, tries: 0 };
            self.uploads.doubt(doubt, self.clock.monotonic());
        }
    }
}

impl Uploads {
    /// What a node left to be done when it stopped.
    pub(crate) fn new(settings: UploadSettings, intents: Intents, now: Instant) -> Self {
        let kib = settings.budget_bytes.max(PART_MAX).div_ceil(1024);
        let budget = usize::try_from(kib).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let this = Self {
            settings,
            turns: (0..TURNS).map(|_| AsyncMutex::default()).collect(),
            list: Mutex::default(),
            more: Notify::new(),
            budget: Arc::new(Semaphore::new(budget)),
        };
        for begun in intents.begun {
            this.abort_later(begun, 0, now);
        }
        for version in intents.pending {
            let (id, stamp) = (version.record.id, version.record.stamp);
            this.doubt(Doubt { id, stamp, conditions: Conditions::default(), tries: 0 }, now);
        }
        for (id, upload) in intents.queued {
            this.queue(id, upload, now);
        }
        this
    }

    fn list(&self) -> std::sync::MutexGuard<'_, List> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for uploads of the same object under way. Held until the journal knows the outcome.
    pub(crate) async fn turn(&self, id: ObjectId) -> Option<AsyncMutexGuard<'_, ()>> {
        let [.., high, low] = id.to_bytes();
        let number = usize::from(u16::from_be_bytes([high, low])) % TURNS;
        match self.turns.get(number) {
            Some(turn) => Some(turn.lock().await),
            None => None,
        }
    }

    /// Whether one more version may wait.
    pub(crate) fn check_room(&self) -> Result<(), Error> {
        if self.list().queue.len() < self.settings.queue_max {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Busy,
            "as many uploads wait for the bucket as this node keeps; try again, or see its uploads",
        )
        .with_retry_after(Duration::from_secs(5)))
    }

    /// A version has been queued in the journal.
    pub(crate) fn queue(&self, id: ObjectId, upload: QueuedUpload, now: Instant) {
        let mut list = self.list();
        list.forget(id);
        let due = upload.refused.is_none().then(|| list.add(now, Task::Upload(id)));
        let error = upload.refused.clone();
        list.queue.insert(id, Waiting { upload, due, tries: 0, error });
        drop(list);
        self.more.notify_one();
    }

    /// What waits of an object.
    pub(crate) fn queued(&self, id: ObjectId) -> Option<QueuedUpload> {
        self.list().queue.get(&id).map(|waiting| waiting.upload.clone())
    }

    /// This version waits no more.
    pub(crate) fn over(&self, id: ObjectId, stamp: Stamp) {
        let mut list = self.list();
        if list.queue.get(&id).is_some_and(|waiting| waiting.upload.stamp <= stamp) {
            list.forget(id);
        }
    }

    /// Nothing of an object waits any more.
    pub(crate) fn forget(&self, id: ObjectId) {
        self.list().forget(id);
    }

    /// A waiting version could not be uploaded; it is tried again, or waits for somebody to say so.
    pub(crate) fn failed(
        &self,
        id: ObjectId,
        upload: QueuedUpload,
        error: &RemoteError,
        entropy: &dyn crate::env::Entropy,
        now: Instant,
    ) {
        let mut list = self.list();
        let Some(waiting) = list.queue.get_mut(&id) else { return };
        if waiting.upload.stamp != upload.stamp {
            return;
        }
        waiting.tries += 1;
        waiting.error = Some(error.to_string());
        let tries = waiting.tries;
        let refused = upload.refused.is_some();
        waiting.upload = upload;
        if !refused {
            let due = now + RETRY.pause_after(tries, error, entropy);
            let due = list.add(due, Task::Upload(id));
            if let Some(waiting) = list.queue.get_mut(&id) {
                waiting.due = Some(due);
            }
        }
        drop(list);
        self.more.notify_one();
    }

    /// Whether a failure is worth a line in the log: one is every ten seconds.
    pub(crate) fn is_news(&self, now: Instant) -> bool {
        let mut list = self.list();
        let news = list.told.is_none_or(|told| now.saturating_duration_since(told) >= NEWS_PAUSE);
        if news {
            list.told = Some(now);
        }
        news
    }

    /// It has to be found out whether the remote has a version.
    pub(crate) fn doubt(&self, doubt: Doubt, due: Instant) {
        let mut list = self.list();
        list.doubts += 1;
        list.add(due, Task::Decide(doubt));
        drop(list);
        self.more.notify_one();
    }

    /// The same doubt once more, after a pause.
    pub(crate) fn doubt_again(
        &self,
        mut doubt: Doubt,
        error: &RemoteError,
        entropy: &dyn crate::env::Entropy,
        now: Instant,
    ) {
        doubt.tries += 1;
        let due = now + RETRY.pause_after(doubt.tries, error, entropy);
        self.doubt(doubt, due);
    }

    /// An upload in parts is to be given up.
    pub(crate) fn abort_later(&self, begun: BegunUpload, tries: u32, now: Instant) {
        let pause = Duration::from_secs(u64::from(tries.min(10)) * 6);
        self.list().add(now + pause, Task::Abort(begun, tries));
        self.more.notify_one();
    }

    /// The next thing that is due, if as many are not under way already; else when to look again.
    pub(crate) fn next(&self, now: Instant) -> Result<Task, Option<Duration>> {
        let mut list = self.list();
        if list.running >= self.settings.parallel.max(1) {
            return Err(None);
        }
        let Some((&(due, number), _)) = list.due.first_key_value() else { return Err(None) };
        if due > now {
            return Err(Some(due.saturating_duration_since(now)));
        }
        let Some(task) = list.due.remove(&(due, number)) else { return Err(None) };
        list.running += 1;
        match &task {
            Task::Upload(id) => {
                if let Some(waiting) = list.queue.get_mut(id) {
                    waiting.due = None;
                }
            }
            Task::Decide(_) => list.doubts = list.doubts.saturating_sub(1),
            Task::Abort(..) => {}
        }
        Ok(task)
    }

    /// What [`next`](Self::next) gave has ended.
    pub(crate) fn ended(&self) {
        self.list().running -= 1;
        self.more.notify_one();
    }

    /// Tries a waiting version again now; false when none waits.
    pub(crate) fn retry(&self, id: ObjectId, now: Instant) -> Option<QueuedUpload> {
        let mut list = self.list();
        let waiting = list.queue.get_mut(&id)?;
        waiting.upload.refused = None;
        waiting.tries = 0;
        let (upload, due) = (waiting.upload.clone(), waiting.due.take());
        if let Some(due) = due {
            list.due.remove(&due);
        }
        let due = list.add(now, Task::Upload(id));
        if let Some(waiting) = list.queue.get_mut(&id) {
            waiting.due = Some(due);
        }
        drop(list);
        self.more.notify_one();
        Some(upload)
    }

    /// How long the parts of a body of this size are.
    pub(crate) fn part_len(&self, size: u64) -> u64 {
        let wanted = self.settings.part_bytes.clamp(PART_MIN, PART_MAX);
        wanted.max(size.div_ceil(u64::from(PARTS_MAX)))
    }

    pub(crate) fn parts_parallel(&self) -> usize {
        self.settings.parts_parallel.max(1)
    }

    /// Whether puts are acknowledged before the remote has them, unless they say otherwise.
    pub(crate) fn writes_back(&self) -> bool {
        self.settings.write_back
    }

    pub(crate) fn stats(&self, now_nanos: u64) -> UploadStats {
        let list = self.list();
        let mut stats = UploadStats::default();
        stats.queued = list.queue.len() as u64;
        stats.undecided = list.doubts as u64;
        stats.running = list.running as u64;
        let since = list.queue.values().map(|waiting| waiting.upload.since).min();
        stats.oldest_seconds = since.map_or(0, |s| now_nanos.saturating_sub(s) / 1_000_000_000);
        let mut failed: VecDeque<_> = list
            .queue
            .iter()
            .filter_map(|(id, waiting)| {
                let mut failure = UploadFailure::new(*id);
                failure.error.clone_from(waiting.error.as_ref()?);
                failure.tries = waiting.tries;
                failure.refused = waiting.upload.refused.is_some();
                Some((waiting.upload.since, failure))
            })
            .collect();
        stats.refused = failed.iter().filter(|(_, failure)| failure.refused).count() as u64;
        stats.failing = failed.len() as u64;
        failed.make_contiguous().sort_by_key(|(since, failure)| (!failure.refused, *since));
        failed.truncate(FAILURES_SHOWN);
        stats.failures = failed.into_iter().map(|(_, failure)| failure).collect();
        stats
    }
}

impl List {
    fn add(&mut self, due: Instant, task: Task) -> (Instant, u64) {
        self.number += 1;
        let key = (due, self.number);
        self.due.insert(key, task);
        key
    }

    fn forget(&mut self, id: ObjectId) {
        if let Some(due) = self.queue.remove(&id).and_then(|waiting| waiting.due) {
            self.due.remove(&due);
        }
    }
}
