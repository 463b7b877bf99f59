use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use hyper::body::{Body as _, Incoming};
use objstore_client::{Body, Error, ErrorKind};
use tokio::time::{Instant, Sleep, sleep_until};

use super::pool::Lease;

/// How long the next bytes of an answer may take.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// The body of an answer, which gives its connection back at its end.
pub(super) fn body(body: Incoming, lease: Lease) -> Body {
    if body.is_end_stream() {
        lease.give_back();
        return Body::default();
    }
    let len = body.size_hint().exact();
    Body::from_stream(Answer { body, lease: Some(lease), stall: None, moved: true }, len)
}

struct Answer {
    body: Incoming,
    /// None at the end.
    lease: Option<Lease>,
    stall: Option<Pin<Box<Sleep>>>,
    /// Since the timer was set last.
    moved: bool,
}

impl Answer {
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = || Instant::now() + STALL_TIMEOUT;
        let timer = self.stall.get_or_insert_with(|| Box::pin(sleep_until(deadline())));
        if std::mem::take(&mut self.moved) {
            timer.as_mut().reset(deadline());
        }
        timer.as_mut().poll(cx)
    }

    fn end(&mut self) {
        if let Some(lease) = self.lease.take() {
            lease.give_back();
        }
    }
}

impl Stream for Answer {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.lease.is_none() {
            return Poll::Ready(None);
        }
        loop {
            return match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    this.moved = true;
                    let Ok(chunk) = frame.into_data() else { continue };
                    // Whoever knows the length may not ask again.
                    if this.body.is_end_stream() {
                        this.end();
                    }
                    Poll::Ready(Some(Ok(chunk)))
                }
                Poll::Ready(Some(Err(e))) => {
                    this.lease = None;
                    let broke = "the connection to the node broke";
                    Poll::Ready(Some(Err(Error::new(ErrorKind::Transport, broke).with_source(e))))
                }
                Poll::Ready(None) => {
                    this.end();
                    Poll::Ready(None)
                }
                Poll::Pending => this.poll_stalled(cx).map(|()| {
                    this.lease = None;
                    let stalled = "the node stopped answering";
                    Some(Err(Error::new(ErrorKind::Transport, stalled)))
                }),
            };
        }
    }
}
