//! Finding out about objects of which nothing is known here, or not for certain any more.

use std::ops::Range;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use objstore_client::options::ByteRange;
use objstore_client::types::ObjectId;
use objstore_client::{Body, Error, ErrorKind};
use quick_cache::sync::Cache;
use tokio::sync::{Mutex, MutexGuard};

use crate::bodies::UNIT;
use crate::cache::Hot;
use crate::env;
use crate::fills::PeerReply;
use crate::journal::{Change, Presence, Record, gone_for_good, load_barred};
use crate::node::Inner;
use crate::ops::{journal_error, not_found, remote_error};
use crate::remote::{
    RemoteError, RemoteErrorKind, RemoteGet, RemoteHead, RemoteObject, Retry, codec,
};
use crate::settings::FetchPolicy;

/// Whose bytes are wanted.
#[derive(Clone, Debug)]
pub(crate) enum Target {
    Id(ObjectId),
    Key(Arc<str>),
}

/// How a reader looks for an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Look {
    /// Ask the remote for what is not known here.
    pub(crate) fetch: bool,
    /// Ask the remote whether what is here of a key is still current.
    pub(crate) no_cache: bool,
    /// The bytes wanted, as far as that is known before the size is. None for no bytes at all.
    pub(crate) bytes: Option<Wanted>,
}

/// Who asks the remote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The node whose turn it is.
    Owners,
    /// This node, on another's behalf.
    Ours,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted {
    Whole,
    Range(ByteRange),
}

/// A version, and the bytes that came with the answer that told of it.
pub(crate) struct Found<'a> {
    pub(crate) hot: Arc<Hot>,
    pub(crate) arrived: Option<Arrived>,
    /// Held until the bytes are where others find them, so that nobody asks for them again.
    pub(crate) turn: Option<MutexGuard<'a, ()>>,
}

/// Bytes of a version on their way in.
pub(crate) struct Arrived {
    pub(crate) range: Range<u64>,
    pub(crate) from: ArrivedFrom,
}

pub(crate) enum ArrivedFrom {
    Remote(Body),
    Peer(PeerReply),
}

impl Wanted {
    /// The first byte, with which its unit comes.
    pub(crate) const ONE: Self = Self::Range(ByteRange::FromTo(0, 0));
}

impl Found<'_> {
    pub(super) fn here(hot: Arc<Hot>) -> Self {
        Self { hot, arrived: None, turn: None }
    }
}

/// What the remote said lately. Forgetting any of it costs a request.
#[derive(Debug)]
pub(crate) struct Seen {
    /// When the remote last said that what is here of a key is current.
    current: Cache<ObjectId, Instant>,
    /// When the remote last said that there is nothing.
    absent: Cache<ObjectId, Instant>,
    /// When a key was last changed through this cluster: what was asked before that is old.
    changed: Cache<ObjectId, Instant>,
    /// When a key was last changed through this node.
    changed_here: Cache<ObjectId, Instant>,
    ttl: Duration,
    /// One at a time asks for an object.
    turns: Vec<Mutex<()>>,
    /// When the remote last left the question open whether something is current.
    unanswered: std::sync::Mutex<Option<Instant>>,
}

/// Only a true "not found" is remembered, and not for long.
const ABSENT: Duration = Duration::from_secs(2);
/// While the remote does not answer, it is not asked more often than this whether what is here of
/// any key is current: those who read what is here must not all wait for it.
const STALE: Duration = Duration::from_secs(5);
const TURNS: usize = 1024;
const REMEMBERED: usize = 100_000;

impl Seen {
    pub(crate) fn new(ttl_ms: u64) -> Self {
        Self {
            current: Cache::new(REMEMBERED),
            absent: Cache::new(REMEMBERED),
            changed: Cache::new(REMEMBERED),
            changed_here: Cache::new(REMEMBERED),
            ttl: Duration::from_millis(ttl_ms),
            turns: (0..TURNS).map(|_| Mutex::default()).collect(),
            unanswered: std::sync::Mutex::default(),
        }
    }

    fn place(&self, id: ObjectId) -> Option<&Mutex<()>> {
        let [.., high, low] = id.to_bytes();
        self.turns.get(usize::from(u16::from_be_bytes([high, low])) % TURNS)
    }

    pub(super) async fn turn(&self, id: ObjectId) -> Option<MutexGuard<'_, ()>> {
        match self.place(id) {
            Some(turn) => Some(turn.lock().await),
            None => None,
        }
    }

    /// Waits for one who asks for an object right now: what it has learnt is known before its bytes
    /// are where others find them.
    async fn asked(&self, id: ObjectId) {
        if let Some(turn) = self.place(id)
            && turn.try_lock().is_err()
        {
            drop(turn.lock().await);
        }
    }

    pub(super) fn is_current(&self, id: ObjectId, now: Instant) -> bool {
        self.current.get(&id).is_some_and(|at| now.saturating_duration_since(at) < self.ttl)
    }

    /// How long ago the remote said so.
    pub(crate) fn age(&self, id: ObjectId, now: Instant) -> Duration {
        self.current.get(&id).map_or(Duration::ZERO, |at| now.saturating_duration_since(at))
    }

    /// It was current at this moment, which may lie in the past.
    pub(super) fn is_current_at(&self, id: ObjectId, at: Instant) {
        if self.is_known_since(id, at) {
            self.absent.remove(&id);
            self.current.insert(id, at);
        }
    }

    /// Whether nothing has changed since that is known of.
    fn is_known_since(&self, id: ObjectId, at: Instant) -> bool {
        self.changed.get(&id).is_none_or(|changed| changed < at)
    }

    /// Whether it was changed from here so lately that another node may not know.
    pub(super) fn is_changed_lately(&self, id: ObjectId, now: Instant) -> bool {
        let since = |at: Instant| now.saturating_duration_since(at);
        self.changed_here.get(&id).is_some_and(|at| since(at) <= self.ttl)
    }

    /// Whether the remote did not answer such a question a moment ago.
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        let last = *self.unanswered.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|at| now.saturating_duration_since(at) < STALE)
    }

    /// The remote did not answer; or, with none, it did.
    pub(super) fn was_silent(&self, at: Option<Instant>) {
        *self.unanswered.lock().unwrap_or_else(PoisonError::into_inner) = at;
    }

    /// Takes it for current for a while longer.
    pub(super) fn stay(&self, id: ObjectId, now: Instant) {
        let since = now.checked_sub(self.ttl.saturating_sub(STALE)).unwrap_or(now);
        self.current.insert(id, since);
    }

    pub(super) fn is_absent(&self, id: ObjectId, now: Instant) -> bool {
        self.absent.get(&id).is_some_and(|at| now.saturating_duration_since(at) < ABSENT)
    }

    pub(super) fn was_absent(&self, id: ObjectId, at: Instant) {
        self.current.remove(&id);
        if self.is_known_since(id, at) {
            self.absent.insert(id, at);
        }
    }

    /// Something was changed from here at this moment.
    pub(crate) fn is_changed_here(&self, id: ObjectId, now: Instant) {
        self.changed_here.insert(id, now);
        self.is_changed(id, now);
    }

    /// Something was changed at this moment.
    pub(crate) fn is_changed(&self, id: ObjectId, now: Instant) {
        self.changed.insert(id, now);
        self.forget(id);
    }

    /// What was said of it says nothing any more.
    pub(super) fn forget(&self, id: ObjectId) {
        self.current.remove(&id);
        self.absent.remove(&id);
    }
}

impl Inner {
    /// The newest version of what is wanted.
    pub(crate) async fn find_live(&self, target: &Target, look: Look) -> Result<Found<'_>, Error> {
        let id = match target {
            Target::Key(key) => return self.find_key(key, look).await,
            Target::Id(id) => *id,
        };
        if let Some(hot) = self.lookup_anywhere(id, look.bytes.is_some()).await? {
            return match (&hot.entry.key, hot.entry.live()) {
                (Some(key), _) => self.find_key(&Arc::clone(key), look).await,
                (None, Some(_)) => {
                    if hot.entry.presence == Presence::Cached && look.bytes.is_some() {
                        self.seen.asked(id).await;
                    }
                    Ok(Found::here(hot))
                }
                (None, None) => Err(crate::ops::deleted(&hot.entry)),
            };
        }
        let fetch = match self.settings.fetch {
            FetchPolicy::Never => false,
            FetchPolicy::OnRequest => look.fetch,
            FetchPolicy::Always => true,
        };
        if fetch && !id.is_derived() {
            self.fetch(id, look, Turn::Owners).await
        } else {
            Err(not_found())
        }
    }

    /// Restores the record of an object from what the remote has of it.
    pub(crate) async fn fetch(
        &self,
        id: ObjectId,
        look: Look,
        whose: Turn,
    ) -> Result<Found<'_>, Error> {
        let clock = self.env.clock.as_ref();
        if self.seen.is_absent(id, clock.monotonic()) {
            return Err(not_found());
        }
        let turn = self.seen.turn(id).await;
        if let Some(hot) = self.lookup(id, false).await? {
            return match hot.entry.live() {
                Some(_) => Ok(Found::here(hot)),
                None => Err(crate::ops::deleted(&hot.entry)),
            };
        }
        if self.seen.is_absent(id, clock.monotonic()) {
            return Err(not_found());
        }
        let asked = match whose {
            Turn::Owners => self.ask_owner(id, None, look).await,
            Turn::Ours => Ok(None),
        };
        let (record, arrived) = match asked {
            Ok(Some(answer)) => (answer.record, answer.arrived),
            Ok(None) => match self.ask(&id.to_string(), look, &Retry::DEMAND).await {
                Ok((head, arrived)) => (codec::from_head(id, &head)?, arrived),
                Err(error) if error.kind() == RemoteErrorKind::NotFound => {
                    self.seen.was_absent(id, clock.monotonic());
                    self.forget_gone(id).await?;
                    return Err(not_found());
                }
                Err(error) => return Err(remote_error(error)),
            },
            Err(error) => {
                if error.kind() == ErrorKind::NotFound {
                    self.seen.was_absent(id, clock.monotonic());
                }
                return Err(error);
            }
        };
        let stamp = record.stamp;
        self.commit(Change::Restore(record)).await?.made()?;
        let hot = self.live(id, true).await?;
        let arrived = arrived.filter(|_| hot.entry.record.stamp == stamp);
        Ok(Found { hot, arrived, turn })
    }

    /// The remote does not have an object: a delete of it need not be remembered on its account.
    async fn forget_gone(&self, id: ObjectId) -> Result<(), Error> {
        let store = Arc::clone(&self.store);
        let load = move || load_barred(store.as_ref(), id);
        if env::run(self.env.blocking.as_ref(), load).await?.map_err(journal_error)?.is_some() {
            self.commit(Change::Note(gone_for_good(id))).await?;
        }
        Ok(())
    }

    /// Asks the remote about an object, and for the first of the bytes wanted at once, so that a
    /// reader waits for one answer only.
    pub(super) async fn ask(
        &self,
        key: &str,
        look: Look,
        retry: &Retry,
    ) -> Result<(RemoteHead, Option<Arrived>), RemoteError> {
        let entropy = self.env.entropy.as_ref();
        if let Some(range) = look.bytes.and_then(|bytes| first_range(bytes, self.fills.block())) {
            let get = || self.remote.get(key, RemoteGet::range(range.clone()));
            match retry.call(entropy, get).await {
                Ok(RemoteObject { head, range, body, .. }) => {
                    let from = ArrivedFrom::Remote(body);
                    return Ok((head, Some(Arrived { range, from })));
                }
                // It is empty, or ends before.
                Err(error) if error.kind() == RemoteErrorKind::RangeNotSatisfiable => {}
                Err(error) => return Err(error),
            }
        }
        let head = retry.call(entropy, || self.remote.head(key)).await?;
        Ok((head, None))
    }

    /// Takes on the record of another version that the remote turned out to have.
    pub(crate) async fn refetch(&self, target: &Target) -> Result<(), Error> {
        match target {
            Target::Key(key) => {
                self.seen.forget(self.key_id(key));
                Ok(())
            }
            Target::Id(id) => {
                let found = self.find(*id, &Retry::DEMAND).await.map_err(remote_error)?;
                let record: Record = found.ok_or_else(body_lost)?;
                self.commit(Change::Restore(record)).await?.made().map(drop)
            }
        }
    }
}

pub(crate) fn body_lost() -> Error {
    Error::new(
        ErrorKind::BodyLost,
        "the object is known, but its body is on no disk here and not in the bucket; put it again",
    )
}

/// Whole units that hold the first of the bytes wanted; none where the size has to be known first.
pub(crate) fn first_range(wanted: Wanted, block: u64) -> Option<Range<u64>> {
    let unit = UNIT as u64;
    let (start, end) = match wanted {
        Wanted::Whole => (0, block),
        Wanted::Range(ByteRange::From(start)) => (start, start.saturating_add(block)),
        Wanted::Range(ByteRange::FromTo(start, last)) => (start, last.saturating_add(1)),
        Wanted::Range(_) => return None,
    };
    let start = start / unit * unit;
    let end = end.checked_next_multiple_of(unit)?.min(start.saturating_add(block));
    (start < end).then_some(start..end)
}
