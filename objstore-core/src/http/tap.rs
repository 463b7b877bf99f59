use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::pace::Pace;
use crate::settings::HttpSettings;

/// A connection that remembers how the head of the current request came, and that bounds how long
/// a head may take and how slowly an answer may be read.
#[derive(Debug)]
pub(super) struct Tap<T> {
    io: T,
    framing: Framing,
    head_timeout: Duration,
    head_timer: Option<Pin<Box<Sleep>>>,
    write_pace: Pace,
}

/// The bytes that came since the last answer was written: the head of the current request, unless
/// requests are pipelined.
#[derive(Clone, Debug)]
pub(super) struct Framing(Arc<Mutex<Heard>>);

#[derive(Debug)]
struct Heard {
    bytes: Vec<u8>,
    answered: bool,
    /// A head is awaited: since the connection opened, or since its first byte came.
    waiting: bool,
}

/// What is remembered; a longer head is refused anyway.
const HEARD_MAX: usize = 64 * 1024;

impl Framing {
    fn heard(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request's head is complete.
    pub(super) fn head_arrived(&self) {
        self.heard().waiting = false;
    }

    /// Whether the head as it came has a Transfer-Encoding and no Content-Length. A head that
    /// cannot be found (behind another request in one packet) is in doubt, and not plain.
    pub(super) fn is_plainly_chunked(&self) -> bool {
        let heard = self.heard();
        let mut fields = [httparse::EMPTY_HEADER; 128];
        let mut request = httparse::Request::new(&mut fields);
        if !matches!(request.parse(&heard.bytes), Ok(httparse::Status::Complete(_))) {
            return false;
        }
        let has = |name: &str| request.headers.iter().any(|f| f.name.eq_ignore_ascii_case(name));
        has("transfer-encoding") && !has("content-length")
    }
}

impl<T> Tap<T> {
    pub(super) fn new(io: T, settings: &HttpSettings) -> (Self, Framing) {
        let heard = Heard { bytes: Vec::new(), answered: false, waiting: true };
        let framing = Framing(Arc::new(Mutex::new(heard)));
        let tap = Self {
            io,
            framing: framing.clone(),
            head_timeout: Duration::from_millis(settings.head_timeout_ms),
            head_timer: None,
            write_pace: Pace::new(settings.body_timeout_ms, settings.body_min_bytes),
        };
        (tap, framing)
    }

    pub(super) fn into_inner(self) -> T {
        self.io
    }

    fn hear(&mut self, new: &[u8]) {
        let mut heard = self.framing.heard();
        if heard.answered {
            heard.bytes.clear();
            heard.answered = false;
            heard.waiting = true;
        }
        let room = HEARD_MAX.saturating_sub(heard.bytes.len());
        heard.bytes.extend_from_slice(new.get(..room.min(new.len())).unwrap_or_default());
    }

    fn answered(&mut self) {
        self.framing.heard().answered = true;
    }

    /// While a head is awaited: fails when it takes too long.
    fn check_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.framing.heard().waiting {
            self.head_timer = None;
            return Poll::Pending;
        }
        let deadline = Instant::now() + self.head_timeout;
        let timer = self.head_timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        timer.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }

    fn wrote(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(Ok(bytes)) => {
                self.answered();
                self.write_pace.moved(bytes);
                Poll::Ready(Ok(bytes))
            }
            Poll::Ready(error) => Poll::Ready(error),
            Poll::Pending => {
                self.write_pace.poll_stalled(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Tap<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        match Pin::new(&mut this.io).poll_read(cx, buf) {
            Poll::Ready(Ok(())) => {
                this.hear(buf.filled().get(before..).unwrap_or_default());
                Poll::Ready(Ok(()))
            }
            Poll::Ready(error) => Poll::Ready(error),
            Poll::Pending => this.check_head(cx),
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Tap<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.wrote(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.wrote(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // All has left: whoever reads slowly from here on is not slow with an answer.
        self.write_pace.reset();
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
