//! A remote of one object that does what a test tells it.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use objstore_client::{Body, Error, ErrorKind};
use tokio::sync::Semaphore;

use crate::remote::{
    RemoteAttributes, RemoteCondition, RemoteError, RemoteErrorKind, RemoteFuture, RemoteGet,
    RemoteHead, RemoteList, RemoteObject, RemotePage, RemotePart, RemoteStore, RemoteUpload,
};

/// What goes wrong with one reply.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// An error of the stream after so many bytes.
    Cut(usize),
    /// A clean end after so many bytes, of a stream that did not say its length.
    Short(usize),
    /// Nothing more after so many bytes.
    Stall(usize),
    Refuse(RemoteErrorKind),
    /// Bytes beside those that were asked for.
    OtherRange,
    OtherSize,
    OtherTag,
    Longer,
    /// The right number of other bytes.
    OtherBytes,
}

#[derive(Debug)]
pub(super) struct Script {
    pub(super) body: Mutex<Bytes>,
    pub(super) etag: Mutex<String>,
    pub(super) faults: Mutex<VecDeque<Fault>>,
    asked: Mutex<Vec<Range<u64>>>,
    /// Each chunk of 10,000 bytes takes a permit.
    pub(super) pace: Arc<Semaphore>,
    /// The time before each chunk.
    pub(super) delay: Mutex<Duration>,
    in_flight: Arc<AtomicU64>,
    highest: AtomicU64,
}

const CHUNK: usize = 10_000;

impl Script {
    pub(super) fn new(body: Bytes) -> Arc<Self> {
        Arc::new(Self {
            body: Mutex::new(body),
            etag: Mutex::new("one".to_owned()),
            faults: Mutex::default(),
            asked: Mutex::default(),
            pace: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS / 2)),
            delay: Mutex::default(),
            in_flight: Arc::default(),
            highest: AtomicU64::new(0),
        })
    }

    pub(super) fn faults(&self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.lock().unwrap().extend(faults);
    }

    /// The ranges asked for since the last call.
    pub(super) fn asked(&self) -> Vec<Range<u64>> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    /// The most bytes that were asked for and not there yet.
    pub(super) fn highest_in_flight(&self) -> u64 {
        self.highest.load(Ordering::Relaxed)
    }

    /// Lets nothing through but what gets permits.
    pub(super) fn hold(&self) {
        self.pace.forget_permits(usize::MAX);
    }

    pub(super) fn reply(&self, range: &Range<u64>, fault: Option<Fault>) -> Body {
        let at = |at: u64| usize::try_from(at).unwrap();
        let mut bytes = self.body.lock().unwrap().slice(at(range.start)..at(range.end));
        let mut len = Some(bytes.len() as u64);
        let mut last = None;
        match fault {
            Some(Fault::Cut(n)) => {
                bytes.truncate(n);
                last = Some(Err(Error::new(ErrorKind::Unavailable, "cut")));
            }
            Some(Fault::Short(n)) => {
                bytes.truncate(n);
                len = None;
            }
            Some(Fault::Stall(n)) => bytes.truncate(n),
            Some(Fault::Longer) => {
                len = None;
                last = Some(Ok(Bytes::from_static(b"more")));
            }
            Some(Fault::OtherBytes) => bytes = vec![7; bytes.len()].into(),
            _ => {}
        }
        let mut chunks = Vec::new();
        while !bytes.is_empty() {
            chunks.push(Ok(bytes.split_to(bytes.len().min(CHUNK))));
        }
        // What is too long is found with the last bytes, not behind them.
        if let (Some(Ok(more)), Some(Ok(chunk))) = (&last, chunks.last_mut()) {
            *chunk = [chunk.clone(), more.clone()].concat().into();
        } else {
            chunks.extend(last);
        }
        let under_way = UnderWay(Arc::clone(&self.in_flight), range.end - range.start);
        let now = self.in_flight.fetch_add(under_way.1, Ordering::Relaxed) + under_way.1;
        self.highest.fetch_max(now, Ordering::Relaxed);
        let (pace, delay) = (Arc::clone(&self.pace), *self.delay.lock().unwrap());
        let paced = futures_util::stream::iter(chunks).then(move |chunk| {
            let _ = &under_way;
            let pace = Arc::clone(&pace);
            async move {
                pace.acquire().await.unwrap().forget();
                tokio::time::sleep(delay).await;
                chunk
            }
        });
        if matches!(fault, Some(Fault::Stall(_))) {
            return Body::from_stream(paced.chain(futures_util::stream::pending()), len);
        }
        Body::from_stream(paced, len)
    }
}

struct UnderWay(Arc<AtomicU64>, u64);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(self.1, Ordering::Relaxed);
    }
}

fn none<T: Send>() -> RemoteFuture<'static, T> {
    Box::pin(async { Err(RemoteError::new(RemoteErrorKind::Unsupported, "not in the script")) })
}

impl RemoteStore for Script {
    fn identity(&self) -> String {
        "script".to_owned()
    }

    fn is_elsewhere(&self) -> bool {
        true
    }

    fn get<'a>(&'a self, _key: &'a str, get: RemoteGet) -> RemoteFuture<'a, RemoteObject> {
        Box::pin(async move {
            let mut range = get.range.unwrap();
            self.asked.lock().unwrap().push(range.clone());
            let fault = self.faults.lock().unwrap().pop_front();
            let mut head = RemoteHead {
                etag: self.etag.lock().unwrap().clone(),
                size: self.body.lock().unwrap().len() as u64,
                ..RemoteHead::default()
            };
            match fault {
                Some(Fault::Refuse(kind)) => return Err(RemoteError::new(kind, "refused")),
                Some(Fault::OtherTag) => head.etag = "other".to_owned(),
                Some(Fault::OtherSize) => head.size += 1,
                Some(Fault::OtherRange) => range = range.start - 1..range.end - 1,
                _ if get.if_match.unwrap() != head.etag => {
                    let changed = RemoteErrorKind::PreconditionFailed;
                    return Err(RemoteError::new(changed, "changed"));
                }
                _ => {}
            }
            let body = self.reply(&range, fault);
            Ok(RemoteObject::new(head, range, body))
        })
    }

    fn head<'a>(&'a self, _: &'a str) -> RemoteFuture<'a, RemoteHead> {
        none()
    }

    fn put<'a>(
        &'a self,
        _: &'a str,
        _: Bytes,
        _: &'a RemoteAttributes,
        _: RemoteCondition,
    ) -> RemoteFuture<'a, String> {
        none()
    }

    fn begin<'a>(&'a self, _: &'a str, _: &'a RemoteAttributes) -> RemoteFuture<'a, String> {
        none()
    }

    fn put_part<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: u32,
        _: Bytes,
    ) -> RemoteFuture<'a, String> {
        none()
    }

    fn complete<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: &'a [RemotePart],
        _: RemoteCondition,
    ) -> RemoteFuture<'a, String> {
        none()
    }

    fn abort<'a>(&'a self, _: &'a str, _: &'a str) -> RemoteFuture<'a, ()> {
        none()
    }

    fn uploads<'a>(&'a self, _: &'a str) -> RemoteFuture<'a, Vec<RemoteUpload>> {
        none()
    }

    fn delete<'a>(&'a self, _: &'a str, _: RemoteCondition) -> RemoteFuture<'a, ()> {
        none()
    }

    fn copy<'a>(
        &'a self,
        _: &'a str,
        _: &'a str,
        _: Option<&'a RemoteAttributes>,
        _: RemoteCondition,
    ) -> RemoteFuture<'a, String> {
        none()
    }

    fn list(&self, _: RemoteList) -> RemoteFuture<'_, RemotePage> {
        none()
    }
}
