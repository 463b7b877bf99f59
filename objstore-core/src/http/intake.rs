//! The body of a request on its way in.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http::header::EXPECT;
use objstore_client::{Body, Error, ErrorKind};

use super::pace::Pace;
use crate::settings::HttpSettings;

/// What is read of an unwanted body before the connection is given up instead, and for how long.
const DRAIN_BYTES: usize = 64 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// A request's body until somebody wants it; what nobody wanted is drained at the end.
pub(super) struct Pending<B> {
    body: Slot<B>,
    len: Option<u64>,
    pace: Option<Pace>,
    /// The client waits for `100 Continue`, which the first read of the body would send: a body
    /// that was taken but never read is not drained either.
    waits: Arc<AtomicBool>,
    trusted: bool,
}

/// Where a body is, or comes back to.
type Slot<B> = Arc<Mutex<Option<Pin<Box<B>>>>>;

pub(super) fn busy() -> Error {
    Error::new(ErrorKind::Busy, "as many requests are under way as this node takes; try again soon")
}

impl<B> Pending<B>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    pub(super) fn new(body: B, head: &http::request::Parts, settings: &HttpSettings) -> Self {
        let ended = body.is_end_stream();
        Self {
            len: body.size_hint().exact(),
            body: Arc::new(Mutex::new((!ended).then(|| Box::pin(body)))),
            pace: Some(Pace::new(settings.body_timeout_ms, settings.body_min_bytes)),
            waits: Arc::new(AtomicBool::new(head.headers.contains_key(EXPECT))),
            trusted: true,
        }
    }

    /// The body, to be stored.
    pub(super) fn take(&mut self) -> Body {
        let body = lock(&self.body).take();
        let Some(body) = body else { return Body::default() };
        let pace = self.pace.take().unwrap_or_else(|| Pace::new(u64::MAX, 0));
        let (home, waits) = (Arc::clone(&self.body), Arc::clone(&self.waits));
        Body::from_stream(Intake { body: Some(body), home, waits, pace }, self.len)
    }

    /// Reads what is left of the body; true when the connection may be used again.
    pub(super) async fn drain(&mut self) -> bool {
        let body = lock(&self.body).take();
        let Some(mut body) = body else { return self.trusted };
        if !self.trusted || self.waits.load(Ordering::Relaxed) {
            return false;
        }
        let drained = async {
            let mut left = DRAIN_BYTES;
            loop {
                let next = std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await;
                match next {
                    None => return true,
                    Some(Err(_)) => return false,
                    Some(Ok(frame)) => {
                        let len = frame.data_ref().map_or(0, Bytes::len);
                        match left.checked_sub(len) {
                            Some(rest) => left = rest,
                            None => return false,
                        }
                    }
                }
            }
        };
        tokio::time::timeout(DRAIN_TIME, drained).await.unwrap_or(false)
    }
}

impl<B> Pending<B> {
    /// Where the body ends is in doubt: the connection ends with the answer.
    pub(super) fn distrust(&mut self) {
        self.trusted = false;
    }
}

fn lock<T>(slot: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A body being read, at a pace. Goes back home when dropped before its end.
struct Intake<B> {
    body: Option<Pin<Box<B>>>,
    home: Slot<B>,
    waits: Arc<AtomicBool>,
    pace: Pace,
}

impl<B> Stream for Intake<B>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        this.waits.store(false, Ordering::Relaxed);
        loop {
            let Some(body) = &mut this.body else { return Poll::Ready(None) };
            let Poll::Ready(next) = body.as_mut().poll_frame(cx) else {
                ready!(this.pace.poll_stalled(cx));
                return Poll::Ready(Some(Err(Error::new(
                    ErrorKind::Timeout,
                    "the body stalled; nothing was stored, send it again",
                ))));
            };
            match next {
                None => {
                    this.body = None;
                    return Poll::Ready(None);
                }
                Some(Err(error)) => {
                    this.body = None;
                    return Poll::Ready(Some(Err(Error::new(
                        ErrorKind::IncompleteBody,
                        "the body broke off or is not framed well; nothing was stored, send it again",
                    )
                    .with_source(error))));
                }
                // Trailers are none of ours.
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        this.pace.moved(data.len());
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
            }
        }
    }
}

impl<B> Drop for Intake<B> {
    fn drop(&mut self) {
        if let Some(body) = self.body.take() {
            *lock(&self.home) = Some(body);
        }
    }
}
