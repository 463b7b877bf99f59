use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};
use futures_util::stream::{Stream, StreamExt};

use crate::error::{Error, ErrorKind};

/// The bytes of an object on their way in or out: whole in memory, or a stream of chunks.
///
/// A stream that yields an error ends there; what came before must not be taken for the whole.
/// Dropping a body stops whatever produces it.
///
/// What sends a body to a node may have to begin again, at another node say. That takes one that is
/// [whole](Body::from) in memory or [`restartable`](Self::restartable); a stream can be sent once.
#[derive(Default)]
pub struct Body(Inner);

#[derive(Default)]
enum Inner {
    #[default]
    Done,
    Whole(Bytes),
    Stream {
        chunks: Chunks,
        left: Option<u64>,
    },
    Unopened {
        open: Open,
        len: Option<u64>,
    },
}

type Open = Arc<dyn Fn() -> Body + Send + Sync>;

/// The most bytes of memory that a body gets for its length alone.
const EXPECTED_MAX: usize = 1 << 20;

type Chunks = Pin<Box<dyn Stream<Item = Result<Bytes, Error>> + Send>>;

impl Body {
    /// A body from chunks. `len` is its length where that is known beforehand; a put fails with
    /// [`ErrorKind::IncompleteBody`] when the stream then ends elsewhere.
    pub fn from_stream(
        chunks: impl Stream<Item = Result<Bytes, Error>> + Send + 'static,
        len: Option<u64>,
    ) -> Self {
        Self(Inner::Stream { chunks: Box::pin(chunks), left: len })
    }

    /// A body that can be had again from its beginning: `open` makes one with the same bytes each
    /// time it is called, which is when the first of them is asked for. `len` is as for
    /// [`from_stream`](Self::from_stream).
    pub fn restartable(open: impl Fn() -> Self + Send + Sync + 'static, len: Option<u64>) -> Self {
        Self(Inner::Unopened { open: Arc::new(open), len })
    }

    /// The same bytes once more, where they are whole in memory or
    /// [`restartable`](Self::restartable) and none of them has been taken; else none.
    #[must_use]
    pub fn try_clone(&self) -> Option<Self> {
        match &self.0 {
            Inner::Done => Some(Self::default()),
            Inner::Whole(bytes) => Some(bytes.clone().into()),
            Inner::Stream { .. } => None,
            Inner::Unopened { open, len } => {
                Some(Self(Inner::Unopened { open: Arc::clone(open), len: *len }))
            }
        }
    }

    /// The bytes still to come, if known.
    #[must_use]
    pub fn len(&self) -> Option<u64> {
        match &self.0 {
            Inner::Done => Some(0),
            Inner::Whole(bytes) => Some(bytes.len() as u64),
            Inner::Stream { left, .. } => *left,
            Inner::Unopened { len, .. } => *len,
        }
    }

    /// Whether nothing more is to come for certain.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// The bytes, if they are all in memory already; else the body as it was.
    ///
    /// # Errors
    /// The body itself, untouched, when it is a stream.
    pub fn try_into_bytes(self) -> Result<Bytes, Self> {
        match self.0 {
            Inner::Done => Ok(Bytes::new()),
            Inner::Whole(bytes) => Ok(bytes),
            Inner::Stream { .. } | Inner::Unopened { .. } => Err(self),
        }
    }

    /// The next chunk; none at the end. Cancel safe: a chunk is never lost.
    pub async fn chunk(&mut self) -> Option<Result<Bytes, Error>> {
        self.next().await
    }

    /// Everything, in memory.
    ///
    /// # Errors
    /// What the stream met, or [`ErrorKind::TooLarge`] for more than `limit` bytes.
    pub async fn collect(mut self, limit: usize) -> Result<Bytes, Error> {
        let too_large = || {
            Error::new(ErrorKind::TooLarge, "the body is longer than the caller takes in memory")
        };
        if self.len().is_some_and(|len| len > limit as u64) {
            return Err(too_large());
        }
        self = match self.try_into_bytes() {
            Ok(bytes) => return Ok(bytes),
            Err(stream) => stream,
        };
        // What a stranger says of its length is worth this much memory before it has come.
        let expected = self.len().map_or(0, |len| usize::try_from(len).unwrap_or(usize::MAX));
        let mut all = BytesMut::with_capacity(expected.min(EXPECTED_MAX));
        while let Some(chunk) = self.next().await {
            let chunk = chunk?;
            if all.len() + chunk.len() > limit {
                return Err(too_large());
            }
            all.extend_from_slice(&chunk);
        }
        Ok(all.freeze())
    }

    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        if let Inner::Unopened { open, len } = &self.0 {
            let (chunks, left) = (open(), *len);
            self.0 = Inner::Stream { chunks: Box::pin(chunks), left };
        }
        match &mut self.0 {
            // Just opened.
            Inner::Unopened { .. } => Poll::Ready(None),
            Inner::Done => Poll::Ready(None),
            Inner::Whole(bytes) => {
                let bytes = std::mem::take(bytes);
                self.0 = Inner::Done;
                Poll::Ready((!bytes.is_empty()).then_some(Ok(bytes)))
            }
            Inner::Stream { chunks, left } => {
                let next = std::task::ready!(chunks.as_mut().poll_next(cx));
                match &next {
                    Some(Ok(chunk)) => {
                        if let Some(left) = left {
                            *left = left.saturating_sub(chunk.len() as u64);
                        }
                    }
                    Some(Err(_)) | None => self.0 = Inner::Done,
                }
                Poll::Ready(next)
            }
        }
    }
}

impl Stream for Body {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_chunk(cx)
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Error>>> {
        self.poll_chunk(cx).map(|next| next.map(|chunk| chunk.map(http_body::Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Done => true,
            Inner::Whole(bytes) => bytes.is_empty(),
            // A stream with nothing left still has to say whether it ended well.
            Inner::Stream { .. } | Inner::Unopened { .. } => false,
        }
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.len().map_or_else(http_body::SizeHint::default, http_body::SizeHint::with_exact)
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Body").field("len", &self.len()).finish()
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(Inner::Whole(bytes))
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<String> for Body {
    fn from(text: String) -> Self {
        Bytes::from(text).into()
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Bytes::from_static(text.as_bytes()).into()
    }
}

impl From<&'static [u8]> for Body {
    fn from(bytes: &'static [u8]) -> Self {
        Bytes::from_static(bytes).into()
    }
}
