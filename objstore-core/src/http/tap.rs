use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::framing::Framing;
use super::pace::Pace;
use crate::settings::HttpSettings;

/// How much longer nothing may seem to move towards a client than from it.
const WRITE_PATIENCE: u64 = 10;

/// A connection that follows how its requests are framed, and that bounds how long a head may take,
/// how slowly an answer may be read, and how much is read at a time.
#[derive(Debug)]
pub(super) struct Tap<T> {
    io: T,
    framing: Framing,
    head_timeout: Duration,
    head_timer: Option<Pin<Box<Sleep>>>,
    write_pace: Pace,
    /// hyper's buffer grows with what one read brings.
    read_max: usize,
}

impl<T> Tap<T> {
    pub(super) fn new(io: T, settings: &HttpSettings, read_max: usize) -> (Self, Framing) {
        let framing = Framing::new();
        let tap = Self {
            io,
            framing: framing.clone(),
            head_timeout: Duration::from_millis(settings.head_timeout_ms),
            head_timer: None,
            // The kernel wakes a writer when a third of a buffer of megabytes is free, so a slow
            // but steady reader is heard of less often than it reads.
            write_pace: Pace::new(
                settings.body_timeout_ms.saturating_mul(WRITE_PATIENCE),
                settings.body_min_bytes,
            ),
            read_max,
        };
        (tap, framing)
    }

    pub(super) fn into_inner(self) -> T {
        self.io
    }

    /// While a head is awaited: fails when it takes too long.
    fn check_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.framing.awaits_head() {
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
        let read = if buf.remaining() > this.read_max {
            let mut part = ReadBuf::new(buf.initialize_unfilled_to(this.read_max));
            let read = Pin::new(&mut this.io).poll_read(cx, &mut part);
            let bytes = part.filled().len();
            buf.advance(bytes);
            read
        } else {
            Pin::new(&mut this.io).poll_read(cx, buf)
        };
        match read {
            Poll::Ready(Ok(())) => {
                if this.framing.hear(buf.filled().get(before..).unwrap_or_default()) {
                    this.head_timer = None;
                }
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
