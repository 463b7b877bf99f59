use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::engine::Engine;
use crate::error::Error;
use crate::types::ObjectMeta;

/// An object that was got; see [`crate::Object`].
#[derive(Debug)]
#[non_exhaustive]
pub struct Object {
    /// The version that the bytes are of.
    pub meta: Arc<ObjectMeta>,
    /// The positions of the bytes in the whole body, end exclusive.
    pub range: Range<u64>,
    /// The bytes.
    pub body: Body,
}

impl Object {
    pub(super) fn new(object: crate::Object, engine: &Arc<Engine>) -> Self {
        let crate::Object { meta, range, body } = object;
        let (engine, rest) = (Arc::clone(engine), Bytes::new());
        Self { meta, range, body: Body { body: Some(body), rest, engine } }
    }
}

/// Bytes on their way in. Reading blocks until some are there; an error is an
/// [`io::Error`](std::io::Error) that holds an [`Error`](crate::Error), and the end of it.
#[derive(Debug)]
pub struct Body {
    /// None at its end.
    body: Option<crate::Body>,
    /// What has come and was not read.
    rest: Bytes,
    engine: Arc<Engine>,
}

impl Body {
    /// The next bytes, as many as came together; none at the end. Blocks.
    ///
    /// # Errors
    /// Those of [`crate::Body::chunk`].
    pub fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        if self.rest.has_remaining() {
            return Ok(Some(std::mem::take(&mut self.rest)));
        }
        let Some(mut body) = self.body.take() else { return Ok(None) };
        let (chunk, body) = self.engine.run(async move { Ok((body.chunk().await, body)) })?;
        let Some(chunk) = chunk.transpose()? else { return Ok(None) };
        self.body = Some(body);
        Ok(Some(chunk))
    }

    /// All that is left, up to `limit` bytes. Blocks.
    ///
    /// # Errors
    /// Those of [`crate::Body::collect`].
    pub fn collect(self, limit: usize) -> Result<Bytes, Error> {
        let Self { body, rest, engine } = self;
        let rest = crate::Body::from(rest);
        let rest = match body {
            None => rest,
            Some(body) => {
                let len = rest.len().zip(body.len()).map(|(rest, body)| rest + body);
                crate::Body::from_stream(futures_util::StreamExt::chain(rest, body), len)
            }
        };
        engine.run(rest.collect(limit))
    }
}

impl io::Read for Body {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while !to.is_empty() && self.rest.is_empty() {
            match self.chunk().map_err(io::Error::other)? {
                Some(chunk) => self.rest = chunk,
                None => return Ok(0),
            }
        }
        let some = to.len().min(self.rest.len());
        self.rest.copy_to_slice(to.get_mut(..some).unwrap_or_default());
        Ok(some)
    }
}
