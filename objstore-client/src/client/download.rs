//! Bodies on their way from nodes, which go on elsewhere when they break off.

use std::ops::Range;

use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use http::header::HeaderValue;
use http::header::{
    CONTENT_RANGE, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE, RANGE,
};

use super::Client;
use super::fields::range_field;
use crate::body::Body;
use crate::error::{Error, ErrorKind};
use crate::object::Object;
use crate::options::ByteRange;
use crate::transport::{Answer, Request, chunk, strange};
use crate::types::ETag;

/// The object that an answer to this request begins to send.
pub(super) fn start(
    client: Client,
    request: Request,
    answer: Answer,
    asked: Option<ByteRange>,
) -> Result<Object, Error> {
    let meta = answer.meta()?;
    let range = match asked {
        None if answer.head.status == StatusCode::OK => Some(0..meta.size),
        None => None,
        Some(asked) => {
            part(&answer, meta.size).filter(|part| asked.within(meta.size).as_ref() == Some(part))
        }
    };
    let range = range.ok_or_else(|| strange("the answer has other bytes than were asked for"))?;
    let len = range.end - range.start;
    if len == 0 {
        return Ok(Object::new(meta, range, Body::default()));
    }
    let version = Version { etag: meta.etag.clone(), size: meta.size };
    let (at, end) = (range.start, range.end);
    let download = Download { client, request, answer, version, start: at, at, end, breaks: 0 };
    let chunks = stream::try_unfold(download, |mut download| async move {
        Ok(download.next().await?.map(|bytes| (bytes, download)))
    });
    Ok(Object::new(meta, range, Body::from_stream(chunks, Some(len))))
}

/// What has to stay the same when a body goes on.
struct Version {
    etag: Option<ETag>,
    size: u64,
}

struct Download {
    client: Client,
    /// What to ask for the rest with.
    request: Request,
    answer: Answer,
    version: Version,
    start: u64,
    at: u64,
    end: u64,
    /// How often it broke off since the last byte came.
    breaks: u32,
}

impl Download {
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        while self.at < self.end {
            let broken = match chunk(&mut self.answer.body, self.answer.stall).await {
                Ok(Some(bytes)) => {
                    let after = self.at + bytes.len() as u64;
                    if after > self.end {
                        return Err(strange("the answer has more bytes than were asked for"));
                    }
                    (self.at, self.breaks) = (after, 0);
                    return Ok(Some(bytes));
                }
                Ok(None) => strange("the answer ended before the body did"),
                Err(error) => error,
            };
            self.resume(broken).await?;
        }
        Ok(None)
    }

    /// Asks for what is missing of the same version.
    async fn resume(&mut self, broken: Error) -> Result<(), Error> {
        self.breaks += 1;
        let Some(etag) =
            self.version.etag.as_ref().filter(|_| self.breaks <= self.client.shared.tries)
        else {
            return Err(self.gave_up(broken));
        };
        tracing::debug!(error = %broken, at = self.at, "a body broke off, and is asked for from there");
        let etag = HeaderValue::try_from(etag.to_string()).map_err(super::call::unsendable)?;
        for condition in [IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE] {
            self.request.remove(&condition);
        }
        self.request.replace(&IF_MATCH, etag);
        let rest = ByteRange::FromTo(self.at, self.end - 1);
        self.request.replace(&RANGE, range_field(rest)?);
        self.client.pause_after_break(self.answer.node, self.breaks).await;
        let answer = match self.client.call(&self.request, None).await {
            Ok(answer) => answer,
            Err(error) => return Err(self.gave_up(error)),
        };
        let meta = answer.meta()?;
        let same = meta.etag == self.version.etag && meta.size == self.version.size;
        if !same {
            return Err(strange("a node has other bytes under the same tag"));
        }
        if part(&answer, meta.size) != Some(self.at..self.end) {
            let other = "the answer has other bytes than the rest that was asked for";
            return Err(self.gave_up(strange(other)));
        }
        self.answer = answer;
        Ok(())
    }

    fn gave_up(&self, why: Error) -> Error {
        let (came, len) = (self.at - self.start, self.end - self.start);
        let message = match why.kind() {
            ErrorKind::PreconditionFailed => format!(
                "the body broke off after {came} of {len} bytes, and by now there is another version; get it again"
            ),
            _ => format!("the body broke off after {came} of {len} bytes: {why}"),
        };
        why.saying(message)
    }
}

/// The positions that the answer says its bytes have, end exclusive, in a body of this size.
fn part(answer: &Answer, size: u64) -> Option<Range<u64>> {
    if answer.head.status != StatusCode::PARTIAL_CONTENT {
        return None;
    }
    let field = answer.head.headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (positions, whole) = field.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = positions.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    (whole.parse() == Ok(size)).then_some(first..last.checked_add(1)?)
}
