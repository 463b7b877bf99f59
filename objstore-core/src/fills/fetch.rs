use std::ops::Range;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use objstore_client::{Body, Error, ErrorKind};
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};

use super::cutter::Cutter;
use super::fill::Fill;
use super::frames::Unframer;
use super::others::{PeerReply, Search, Sought, Via};
use super::{FillError, Readers, count};
use crate::journal::{NodeId, Stamp};
use crate::remote::{RemoteError, RemoteErrorKind, RemoteGet, RemoteObject, Retry, codec};
use crate::request_context::carried;

/// Units on their way here: one request, and those that go on with it when it breaks off.
#[derive(Debug)]
pub(super) struct Fetch {
    pub(super) units: Range<u64>,
    /// Only the remote is asked.
    remote_only: bool,
    /// [`Via`].
    via: AtomicU8,
    /// Up to which unit, exclusive, who replies has all that follows, also beyond this fetch.
    assured: AtomicU64,
    arrivals: Mutex<Arrivals>,
    news: Notify,
    task: OnceLock<AbortHandle>,
}

#[derive(Debug)]
struct Arrivals {
    /// What has arrived and is not in the file (yet).
    held: Vec<Option<Bytes>>,
    /// The unit that arrives next.
    next: u64,
    /// The part of what is not stored in what may stay in memory.
    unstored: Option<OwnedSemaphorePermit>,
    ended: Option<Result<(), FillError>>,
}

impl Arrivals {
    fn brings(&self, unit: u64, index: Option<usize>) -> bool {
        let held = index.and_then(|index| self.held.get(index));
        self.next <= unit || held.is_some_and(Option::is_some)
    }
}

/// What became of a unit that was waited for.
pub(super) enum Waited {
    Unit(Bytes),
    /// It has arrived and is in the file.
    Stored,
    Failed(FillError),
}

/// A reply under way, up to this byte.
pub(super) struct Reply {
    pub(super) end: u64,
    pub(super) body: Body,
    pub(super) from: ReplyFrom,
}

/// Who replies.
#[derive(Clone, Copy, Debug)]
pub(super) enum ReplyFrom {
    Remote,
    /// Another node, which sealed its units with this stamp.
    Peer {
        node: NodeId,
        stamp: Stamp,
        held: u64,
        behind: u32,
    },
}

impl ReplyFrom {
    pub(super) fn of(reply: &PeerReply) -> Self {
        let PeerReply { node, stamp, held, behind, .. } = *reply;
        Self::Peer { node, stamp, held, behind }
    }
}

/// The time that the end of a reply is waited for when all its bytes are here, so that its
/// connection can be used again.
const ENDING: Duration = Duration::from_millis(100);

/// Permits for so many bytes.
pub(super) fn kib(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

impl Fetch {
    pub(super) fn new(units: Range<u64>, remote_only: bool) -> Self {
        let len = usize::try_from(units.end - units.start).unwrap_or(0);
        let arrivals =
            Arrivals { held: vec![None; len], next: units.start, unstored: None, ended: None };
        let via = if remote_only { Via::Remote } else { Via::Peer };
        Self {
            units,
            remote_only,
            via: AtomicU8::new(via as u8),
            assured: AtomicU64::new(0),
            arrivals: Mutex::new(arrivals),
            news: Notify::new(),
            task: OnceLock::new(),
        }
    }

    pub(super) fn via(&self) -> Via {
        Via::from_u8(self.via.load(Ordering::Acquire))
    }

    fn set_via(&self, via: Via) {
        self.via.store(via as u8, Ordering::Release);
        self.news.notify_waiters();
    }

    /// Up to which unit, exclusive, what follows is to be had where this comes from. Known before
    /// the first unit arrives.
    pub(super) fn assured(&self) -> u64 {
        self.assured.load(Ordering::Acquire)
    }

    fn assure(&self, end: u64) {
        self.assured.store(end, Ordering::Release);
    }

    fn arrivals(&self) -> MutexGuard<'_, Arrivals> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn index(&self, unit: u64) -> Option<usize> {
        usize::try_from(unit.checked_sub(self.units.start)?).ok()
    }

    /// A unit that is in memory because of this fetch.
    pub(super) fn held(&self, unit: u64) -> Option<Bytes> {
        self.arrivals().held.get(self.index(unit)?)?.clone()
    }

    /// Waits for a unit, as far as readers of this kind may.
    pub(super) async fn wait(&self, unit: u64, readers: Readers) -> Waited {
        loop {
            let mut news = std::pin::pin!(self.news.notified());
            // Before looking, so that nothing that comes in between is missed.
            news.as_mut().enable();
            if let Some(bytes) = self.held(unit) {
                return Waited::Unit(bytes);
            }
            {
                let arrivals = self.arrivals();
                match &arrivals.ended {
                    _ if unit < arrivals.next => return Waited::Stored,
                    Some(Err(error)) => return Waited::Failed(error.clone()),
                    Some(Ok(())) => return Waited::Stored,
                    None if !readers.may_wait_for(self.via()) => {
                        return Waited::Failed(FillError::NotHere);
                    }
                    None => {}
                }
            }
            news.await;
        }
    }

    /// Waits until it is over.
    pub(super) async fn ended(&self) {
        loop {
            let mut news = std::pin::pin!(self.news.notified());
            news.as_mut().enable();
            if self.arrivals().ended.is_some() {
                return;
            }
            news.await;
        }
    }

    pub(super) fn arrived(&self, unit: u64, bytes: Bytes) {
        let Some(index) = self.index(unit) else { return };
        let mut arrivals = self.arrivals();
        if let Some(place) = arrivals.held.get_mut(index) {
            *place = Some(bytes);
        }
        arrivals.next = unit + 1;
        drop(arrivals);
        self.news.notify_waiters();
    }

    /// Units stay in memory until nobody reads them any more, and have a part in what may.
    pub(super) fn keeps(&self, part: Option<OwnedSemaphorePermit>) {
        let Some(part) = part else { return };
        match &mut self.arrivals().unstored {
            Some(unstored) => unstored.merge(part),
            none => *none = Some(part),
        }
    }

    /// These units are in the file now.
    pub(super) fn stored(&self, first: u64, units: usize) {
        let Some(index) = self.index(first) else { return };
        let stored: Vec<_> = {
            let mut arrivals = self.arrivals();
            arrivals.held.iter_mut().skip(index).take(units).map(Option::take).collect()
        };
        // Buffers go home without the lock.
        drop(stored);
    }

    /// Whether most of it is here: then it is time for the next, which has to wait for its first
    /// byte.
    pub(super) fn is_nearly_done(&self) -> bool {
        let left = self.units.end.saturating_sub(self.arrivals().next);
        left * 4 <= self.units.end - self.units.start
    }

    /// Whether a unit is in memory here, or will be.
    pub(super) fn brings(&self, unit: u64) -> bool {
        self.units.contains(&unit) && self.arrivals().brings(unit, self.index(unit))
    }

    /// Tells who waits; the first end counts.
    pub(super) fn end(&self, result: Result<(), FillError>) {
        self.arrivals().ended.get_or_insert(result);
        self.news.notify_waiters();
    }

    pub(super) fn abort(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }

    /// Starts a task of its own. Without a permit it waits for one in turn.
    pub(super) fn start(
        self: &Arc<Self>,
        fill: &Arc<Fill>,
        permit: Option<OwnedSemaphorePermit>,
        reply: Option<Reply>,
    ) {
        let mut running = Running {
            fill: Arc::clone(fill),
            fetch: Arc::clone(self),
            result: Err(FillError::Stopping(Error::new(
                ErrorKind::Stopping,
                "the runtime that the body was fetched on is shutting down",
            ))),
        };
        // In the name of the first who wants it.
        let task = tokio::spawn(carried(async move {
            let _permit = match permit {
                Some(permit) => Some(permit),
                None => running.fill.permit(&running.fetch.units).await,
            };
            let brought = bring(&running.fill, &running.fetch, reply).await;
            running.ends_with(brought);
        }));
        let _ = self.task.set(task.abort_handle());
    }
}

/// Ends a fetch, also when its task is dropped.
struct Running {
    fill: Arc<Fill>,
    fetch: Arc<Fetch>,
    result: Result<(), FillError>,
}

impl Running {
    fn ends_with(&mut self, result: Result<(), FillError>) {
        self.result = result;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.fill.fetched(&self.fetch, std::mem::replace(&mut self.result, Ok(())));
    }
}

/// Brings all units of a fetch, asking again for what is missing when a reply breaks off: first
/// another node, each once, then the remote, as often as it takes.
async fn bring(
    fill: &Arc<Fill>,
    fetch: &Arc<Fetch>,
    mut reply: Option<Reply>,
) -> Result<(), FillError> {
    // It may have ended while a permit was waited for.
    fill.check()?;
    let end = fill.bytes_of(&fetch.units).end;
    let mut cutter = Cutter::new(fill, fetch);
    let mut search = Search { over: fetch.remote_only, ..Search::default() };
    let mut failed = 0;
    let mut alone_since = None;
    while cutter.position() < end {
        let (from, unit) = (cutter.position(), cutter.unit());
        let next = match reply.take() {
            Some(reply) => {
                // Somebody else has asked for it.
                count_request(fill, reply.from);
                Ok(reply)
            }
            None => seek(fill, fetch, &cutter, &mut search).await,
        };
        let received = match next {
            Err(FillError::Nowhere { unreachable: true }) if fill.has_begun() => {
                // Readers have its beginning, and who has the rest may only have paused, or be
                // about to start again.
                let since = *alone_since.get_or_insert_with(Instant::now);
                if since.elapsed() < LAST_HOLDER {
                    tokio::time::sleep(LOOK_AGAIN).await;
                    search = Search::default();
                    continue;
                }
                Err(FillError::Nowhere { unreachable: true })
            }
            Ok(Reply { end, body, from: ReplyFrom::Remote }) => {
                fetch.set_via(Via::Remote);
                fetch.assure(u64::MAX);
                receive(fill, end, body, &mut cutter).await
            }
            Ok(Reply { end, body, from: ReplyFrom::Peer { node, stamp, held, behind } }) => {
                fill.takes_from(node);
                fetch.assure(held);
                let patience = PEER_PATIENCE * (behind + 1);
                let sealed = Sealed { body, stamp, patience };
                let received = receive_frames(end, sealed, &mut cutter).await;
                if cutter.unit() > unit {
                    alone_since = None;
                }
                match received {
                    Err(FillError::Remote(error)) => {
                        // What came of a unit that did not come whole was not verified.
                        cutter.restart_unit();
                        let at = cutter.position();
                        tracing::debug!(%node, at, %error, "a node broke off");
                        search.failed(node);
                        count(&fill.counts().resumed, u64::from(cutter.unit() > unit));
                        continue;
                    }
                    other => other,
                }
            }
            Err(error) => Err(error),
        };
        let error = match received {
            Ok(()) => continue,
            Err(FillError::Remote(error)) => error,
            Err(error) => {
                // What came before is good.
                if matches!(error, FillError::Nowhere { .. }) {
                    cutter.finish().await;
                }
                return Err(error);
            }
        };
        // Tries are counted from the last unit that came through.
        failed = if cutter.unit() > unit { 1 } else { failed + 1 };
        tracing::debug!(key = fill.origin().key, at = cutter.position(), %error, "a fetch broke off");
        if failed >= Retry::DEMAND.tries || !error.kind().is_retryable() {
            cutter.finish().await;
            return Err(FillError::Remote(error));
        }
        if cutter.position() > from {
            count(&fill.counts().resumed, 1);
        }
        let pause = Retry::DEMAND.pause_after(failed, &error, fill.parts().entropy.as_ref());
        tokio::time::sleep(pause).await;
    }
    cutter.finish().await;
    Ok(())
}

fn count_request(fill: &Fill, from: ReplyFrom) {
    match from {
        ReplyFrom::Remote => count(&fill.counts().requests, 1),
        ReplyFrom::Peer { .. } => count(&fill.counts().peer_requests, 1),
    }
}

/// Finds somebody who gives what is missing.
async fn seek(
    fill: &Fill,
    fetch: &Fetch,
    cutter: &Cutter<'_>,
    search: &mut Search,
) -> Result<Reply, FillError> {
    let end = fill.bytes_of(&fetch.units).end;
    if let Some(others) = fill.others().filter(|_| !search.over) {
        let units = cutter.unit()..fetch.units.end;
        search.around |= fill.looks_around();
        match others.seek(fill.origin(), units, search).await {
            Sought::Peer(reply) => {
                let from = ReplyFrom::of(&reply);
                count_request(fill, from);
                return Ok(Reply { end, body: reply.body, from });
            }
            Sought::Nowhere { unreachable } => return Err(FillError::Nowhere { unreachable }),
            Sought::Remote => search.over = true,
        }
    }
    fetch.set_via(Via::Remote);
    ask(fill, cutter.position()..end).await
}

/// Asks the remote for a range of the version, and checks that the answer is about just that.
async fn ask(fill: &Fill, range: Range<u64>) -> Result<Reply, FillError> {
    let origin = fill.origin();
    let Some(mut etag) = fill.etag() else {
        return Err(FillError::Nowhere { unreachable: false });
    };
    let mut object = get(fill, &range, &etag).await;
    if let Err(FillError::Changed) = object
        && let Some(now) = stored_again(fill).await?
    {
        fill.set_etag(now.clone());
        etag = now;
        object = get(fill, &range, &etag).await;
    }
    let object = object?;
    let len = range.end - range.start;
    let fits = object.head.size == origin.size
        && object.range == range
        && object.body.len().is_none_or(|promised| promised == len);
    if !fits {
        return Err(broken("the remote answered with another range or size than was asked for"));
    }
    Ok(Reply { end: range.end, body: object.body, from: ReplyFrom::Remote })
}

async fn get(fill: &Fill, range: &Range<u64>, etag: &str) -> Result<RemoteObject, FillError> {
    count_request(fill, ReplyFrom::Remote);
    let get = RemoteGet::range_of(range.clone(), etag);
    let key = &fill.origin().key;
    let answer = timeout(Retry::DEMAND.deadline, fill.parts().remote.get(key, get)).await;
    match answer {
        Ok(Ok(object)) if object.head.etag == etag => Ok(object),
        Ok(Ok(_)) => Err(FillError::Changed),
        Ok(Err(error)) if error.kind() == RemoteErrorKind::PreconditionFailed => {
            Err(FillError::Changed)
        }
        Ok(Err(error)) => Err(FillError::Remote(error)),
        Err(_) => Err(broken("the remote did not answer in time")),
    }
}

/// The tag that this very version has now: when a node stored it once more, after one that lost had
/// taken its place, that need not be the one it had.
async fn stored_again(fill: &Fill) -> Result<Option<String>, FillError> {
    let origin = fill.origin();
    let (id, stamp) = origin.version();
    if id.is_derived() || origin.digest.is_none() {
        return Ok(None);
    }
    let head = timeout(Retry::DEMAND.deadline, fill.parts().remote.head(&origin.key)).await;
    let head = match head {
        Ok(Ok(head)) => head,
        Ok(Err(error)) if error.kind().is_retryable() => return Err(FillError::Remote(error)),
        Ok(Err(_)) => return Ok(None),
        Err(_) => return Err(broken("the remote did not answer in time")),
    };
    let found = codec::from_head(id, &head).ok().filter(|found| found.stamp == stamp);
    let live = found.and_then(|found| found.live);
    Ok(live.filter(|live| live.digest == origin.digest).and_then(|live| live.remote_etag))
}

/// Takes a reply in. Between two chunks no more time may pass than the settings say; what is done
/// with a chunk does not count.
async fn receive(
    fill: &Fill,
    end: u64,
    mut body: Body,
    cutter: &mut Cutter<'_>,
) -> Result<(), FillError> {
    let patience = Duration::from_millis(fill.settings().stall_timeout_ms);
    while cutter.position() < end {
        let chunk = next_chunk(&mut body, patience).await?;
        if chunk.len() as u64 > end - cutter.position() {
            return Err(broken("the remote sent more than was asked for"));
        }
        cutter.take(&chunk).await?;
    }
    let _ = timeout(ENDING, body.chunk()).await;
    Ok(())
}

/// A node that does not send for so long is given up, since there are others to be asked; one that
/// may be waiting for another in the same way is given so much more.
const PEER_PATIENCE: Duration = Duration::from_secs(5);

/// A body of which readers have the beginning is looked for this long, again and again, when none of
/// the nodes that may have it answers: it takes as long to find out that a node is gone.
const LAST_HOLDER: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What another node sends.
struct Sealed {
    body: Body,
    stamp: Stamp,
    patience: Duration,
}

/// The same from another node, which sends whole units with their checksums.
async fn receive_frames(
    end: u64,
    Sealed { mut body, stamp, patience }: Sealed,
    cutter: &mut Cutter<'_>,
) -> Result<(), FillError> {
    let mut unframer = Unframer::default();
    cutter.restart_unit();
    while cutter.position() < end {
        let mut chunk = next_chunk(&mut body, patience).await?;
        while !chunk.is_empty() {
            if cutter.position() >= end {
                return Err(broken("a node sent more than was asked for"));
            }
            let Some(check) = unframer.check(&mut chunk) else { break };
            let piece = chunk.split_to(chunk.len().min(cutter.lacks()));
            let unit = cutter.unit();
            if !cutter.take_sealed(&piece, check, stamp).await? {
                return Err(broken("a node sent a damaged unit"));
            }
            if cutter.unit() > unit {
                unframer.next();
            }
        }
    }
    let _ = timeout(ENDING, body.chunk()).await;
    Ok(())
}

async fn next_chunk(body: &mut Body, patience: Duration) -> Result<Bytes, FillError> {
    match timeout(patience, body.chunk()).await {
        Ok(Some(Ok(chunk))) => Ok(chunk),
        Ok(Some(Err(error))) => {
            let broke = "the reply broke off";
            let error = RemoteError::new(RemoteErrorKind::Unavailable, broke).with_source(error);
            Err(FillError::Remote(error))
        }
        Ok(None) => Err(broken("the reply ended before its end")),
        Err(_) => Err(broken("the reply came to a standstill")),
    }
}

fn broken(why: &'static str) -> FillError {
    FillError::Remote(RemoteError::new(RemoteErrorKind::Unavailable, why))
}
