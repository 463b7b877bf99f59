use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use objstore_client::{Body, Error, ErrorKind};

use super::remote_call::{Adapted, Around, Call, CallKind};
use crate::remote::{RemoteError, RemoteFuture, RemoteObject, RemoteStore};

/// Counts what a store is asked.
pub type CountingRemote = Adapted<Counts>;

/// What a store was asked, and how much went over.
#[derive(Debug, Default)]
pub struct Counts(Arc<Mutex<Counted>>);

#[derive(Debug, Default)]
struct Counted {
    calls: BTreeMap<CallKind, u64>,
    gets: Vec<(String, Option<Range<u64>>)>,
    bytes_in: u64,
    bytes_out: u64,
    open: usize,
    most_open: usize,
}

impl CountingRemote {
    /// A store that counts; nothing so far.
    pub fn new(store: Arc<dyn RemoteStore>) -> Self {
        Self::around(store, Counts::default())
    }

    /// How often this was called, failed calls included.
    pub fn calls(&self, kind: CallKind) -> u64 {
        self.around.lock().calls.get(&kind).copied().unwrap_or(0)
    }

    /// How often anything was called.
    pub fn all_calls(&self) -> u64 {
        self.around.lock().calls.values().sum()
    }

    /// Keys and ranges of all gets, in order.
    pub fn gets(&self) -> Vec<(String, Option<Range<u64>>)> {
        self.around.lock().gets.clone()
    }

    /// Bytes of body that came out of the store and were taken.
    pub fn bytes_out(&self) -> u64 {
        self.around.lock().bytes_out
    }

    /// Bytes of body that were sent to it.
    pub fn bytes_in(&self) -> u64 {
        self.around.lock().bytes_in
    }

    /// The most gets under way at a time: answered, and their bodies neither ended nor dropped.
    pub fn most_gets_at_a_time(&self) -> usize {
        self.around.lock().most_open
    }

    /// Gets under way now.
    pub fn gets_under_way(&self) -> usize {
        self.around.lock().open
    }

    /// Forgets what was counted, but for gets under way.
    pub fn reset(&self) {
        let mut counted = self.around.lock();
        let open = counted.open;
        *counted = Counted { open, most_open: open, ..Counted::default() };
    }
}

impl Counts {
    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A get under way.
struct Open(Counts);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.lock().open -= 1;
    }
}

impl Around for Counts {
    fn before<'a>(&'a self, call: &'a Call) -> RemoteFuture<'a, ()> {
        let mut counted = self.lock();
        *counted.calls.entry(call.kind).or_default() += 1;
        counted.bytes_in += call.bytes;
        if call.kind == CallKind::Get {
            counted.gets.push((call.key.clone(), call.get.range.clone()));
        }
        drop(counted);
        Box::pin(async { Ok(()) })
    }

    fn object(&self, _call: &Call, object: RemoteObject) -> RemoteObject {
        let mut counted = self.lock();
        counted.open += 1;
        counted.most_open = counted.most_open.max(counted.open);
        drop(counted);
        let open = Open(Self(Arc::clone(&self.0)));
        let (len, body) = (object.body.len(), object.body);
        let chunks = stream::unfold((body, open), |(mut body, open)| async move {
            let chunk = body.chunk().await?;
            open.0.lock().bytes_out += chunk.as_ref().map_or(0, |bytes| bytes.len() as u64);
            Some((chunk, (body, open)))
        });
        RemoteObject::new(object.head, object.range, Body::from_stream(chunks, len))
    }
}

/// Makes a store slow, in the time of tokio: a test may let it run by itself.
pub type SlowRemote = Adapted<Delays>;

/// How slow.
#[derive(Clone, Copy, Debug)]
pub struct Delays {
    to_first_byte: Duration,
    bytes_per_second: u64,
}

impl SlowRemote {
    /// A store that needs this long to answer any call, and whose connections (one for each call)
    /// then carry so many bytes of body per second, at least 1.
    pub fn new(
        store: Arc<dyn RemoteStore>,
        to_first_byte: Duration,
        bytes_per_second: u64,
    ) -> Self {
        Self::around(store, Delays { to_first_byte, bytes_per_second: bytes_per_second.max(1) })
    }
}

impl Delays {
    fn time_of(self, bytes: u64) -> Duration {
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(self.bytes_per_second);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// Bytes that arrive together.
const PACKET: usize = 16 * 1024;

impl Around for Delays {
    fn before<'a>(&'a self, call: &'a Call) -> RemoteFuture<'a, ()> {
        let delay = self.to_first_byte + self.time_of(call.bytes);
        Box::pin(async move {
            tokio::time::sleep(delay).await;
            Ok(())
        })
    }

    fn object(&self, _call: &Call, object: RemoteObject) -> RemoteObject {
        let (delays, len) = (*self, object.body.len());
        let start = (object.body, Bytes::new());
        let chunks = stream::try_unfold(start, move |(mut body, mut rest)| async move {
            if rest.is_empty() {
                match body.chunk().await {
                    Some(chunk) => rest = chunk?,
                    None => return Ok(None),
                }
            }
            let packet = rest.split_to(rest.len().min(PACKET));
            tokio::time::sleep(delays.time_of(packet.len() as u64)).await;
            Ok::<_, Error>(Some((packet, (body, rest))))
        });
        RemoteObject::new(object.head, object.range, Body::from_stream(chunks, len))
    }
}

/// Makes calls of a store fail as a script says.
pub type FailingRemote = Adapted<Faults>;

/// Which calls fail, and how. None do by default.
#[derive(Default)]
pub struct Faults {
    before: Option<Script<RemoteError>>,
    after: Option<Script<RemoteError>>,
    body: Option<Script<BodyFault>>,
}

type Script<T> = Box<dyn Fn(&Call) -> Option<T> + Send + Sync>;

/// What is wrong with the answer to a get.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BodyFault {
    /// The body breaks with an error after so many bytes.
    CutAfter(u64),
    /// The body ends after so many bytes as if that were all.
    EndAfter(u64),
    /// After so many bytes nothing more comes, for ever.
    StallAfter(u64),
    /// The answer names this tag.
    ETag(String),
    /// The answer names this range.
    Range(Range<u64>),
}

impl FailingRemote {
    /// A store that fails so.
    pub fn new(store: Arc<dyn RemoteStore>, faults: Faults) -> Self {
        Self::around(store, faults)
    }
}

impl Faults {
    /// Calls that fail with an error, and of which the store never learns.
    #[must_use]
    pub fn before(
        mut self,
        script: impl Fn(&Call) -> Option<RemoteError> + Send + Sync + 'static,
    ) -> Self {
        self.before = Some(Box::new(script));
        self
    }

    /// Calls that are made, and whose answer is lost.
    #[must_use]
    pub fn after(
        mut self,
        script: impl Fn(&Call) -> Option<RemoteError> + Send + Sync + 'static,
    ) -> Self {
        self.after = Some(Box::new(script));
        self
    }

    /// Gets whose answer is wrong.
    #[must_use]
    pub fn body(
        mut self,
        script: impl Fn(&Call) -> Option<BodyFault> + Send + Sync + 'static,
    ) -> Self {
        self.body = Some(Box::new(script));
        self
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").finish_non_exhaustive()
    }
}

fn scripted<T>(script: &Option<Script<T>>, call: &Call) -> Option<T> {
    script.as_ref().and_then(|script| script(call))
}

impl Around for Faults {
    fn before<'a>(&'a self, call: &'a Call) -> RemoteFuture<'a, ()> {
        let fault = scripted(&self.before, call);
        Box::pin(async move { fault.map_or(Ok(()), Err) })
    }

    fn after(&self, call: &Call) -> Result<(), RemoteError> {
        scripted(&self.after, call).map_or(Ok(()), Err)
    }

    fn object(&self, call: &Call, mut object: RemoteObject) -> RemoteObject {
        match scripted(&self.body, call) {
            None => {}
            Some(BodyFault::ETag(etag)) => object.head.etag = etag,
            Some(BodyFault::Range(range)) => object.range = range,
            Some(BodyFault::CutAfter(bytes)) => object.body = until(object.body, bytes, End::Error),
            Some(BodyFault::EndAfter(bytes)) => object.body = until(object.body, bytes, End::Clean),
            Some(BodyFault::StallAfter(bytes)) => {
                object.body = until(object.body, bytes, End::Stall);
            }
        }
        object
    }
}

#[derive(Clone, Copy)]
enum End {
    Error,
    Clean,
    Stall,
}

/// The first bytes of a body, which then ends so even where it is no longer than that.
fn until(body: Body, bytes: u64, end: End) -> Body {
    let len = body.len();
    let chunks = stream::unfold(Some((body, bytes)), move |state| async move {
        let (mut body, left) = state?;
        if left > 0
            && let Some(Ok(mut chunk)) = body.chunk().await
        {
            chunk.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            let left = left - chunk.len() as u64;
            return Some((Ok(chunk), Some((body, left))));
        }
        match end {
            End::Error => {
                Some((Err(Error::new(ErrorKind::Transport, "the connection broke")), None))
            }
            End::Clean => None,
            End::Stall => std::future::pending().await,
        }
    });
    Body::from_stream(chunks, len)
}
