use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::header::{CONTENT_RANGE, RETRY_AFTER};
use http_body::Body as _;
use tokio::time::Instant;

use crate::error::{Error, ErrorKind};
use crate::options::not_modified;
use crate::types::ObjectMeta;
use crate::wire::{ErrorBody, headers};

use super::LONGEST;

/// The longest error body that is read, in bytes.
const ERROR_BODY_MAX: usize = 64 * 1024;

/// A node's answer: never an error status.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) head: http::response::Parts,
    pub(crate) body: reqwest::Body,
    /// How long the node may be silent while the body comes.
    pub(crate) stall: Duration,
    /// When the whole body has to be there.
    deadline: Option<Instant>,
    /// Which node it is of.
    pub(crate) node: usize,
}

impl Answer {
    /// The answer, or the error that it is; 304 where it was `conditional`.
    pub(crate) async fn read(
        response: http::Response<reqwest::Body>,
        stall: Duration,
        conditional: bool,
    ) -> Result<Self, Error> {
        let (head, body) = response.into_parts();
        let answer = Self { head, body, stall, deadline: None, node: 0 };
        if answer.head.status.is_success() {
            Ok(answer)
        } else {
            Err(answer.error(conditional).await?)
        }
    }

    /// Of this node, whose body may be silent for so long.
    pub(crate) fn of(self, node: usize, stall: Duration) -> Self {
        Self { node, stall, ..self }
    }

    pub(crate) fn until(self, deadline: Instant) -> Self {
        Self { deadline: Some(deadline), ..self }
    }

    async fn error(mut self, conditional: bool) -> Result<Error, Error> {
        let body = self.collect(ERROR_BODY_MAX).await?;
        let (status, field) = (self.head.status, |name: &str| {
            self.head.headers.get(name).and_then(|value| value.to_str().ok())
        });
        let code = field(headers::ERROR).and_then(ErrorKind::from_code);
        let mut error = match code.filter(|_| body.is_empty()) {
            Some(kind) => Error::new(kind, message(kind, status)),
            // Has neither a body nor a code.
            None if status == StatusCode::NOT_MODIFIED && conditional => not_modified(),
            // Of the request's head, whoever reads it.
            None if body.is_empty() && !OF_THE_HEAD.contains(&status) => unexplained(status),
            None => ErrorBody::read(status.as_u16(), &body, None),
        };
        if let Some(delay) = field(RETRY_AFTER.as_str()).and_then(retry_after) {
            error = error.with_retry_after(delay);
        }
        if let Ok(meta) = self.meta() {
            error = error.with_meta(meta);
        }
        let size = field(CONTENT_RANGE.as_str())
            .and_then(|text| text.strip_prefix("bytes */")?.parse().ok());
        Ok(match size {
            Some(size) => error.with_size(size),
            None => error,
        })
    }

    /// What the node knows about the version that the answer is about.
    pub(crate) fn meta(&self) -> Result<Arc<ObjectMeta>, Error> {
        let field = self.head.headers.get(headers::JSON).ok_or_else(|| {
            strange("the answer does not describe the object; is it a node of this release?")
        })?;
        serde_json::from_slice(field.as_bytes())
            .map(Arc::new)
            .map_err(|e| strange("the answer describes no object").with_source(e))
    }

    /// The next bytes of the body; none at the end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Error> {
        let left = self.deadline.map(|deadline| deadline.duration_since(Instant::now()));
        let Some(left) = left.filter(|left| *left < self.stall) else {
            return chunk(&mut self.body, self.stall).await;
        };
        let next = tokio::time::timeout(left, chunk(&mut self.body, self.stall));
        next.await.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::Transport,
                "the answer did not end within the time of the call",
            ))
        })
    }

    /// The whole body in memory.
    pub(crate) async fn bytes(mut self, limit: usize) -> Result<Bytes, Error> {
        self.collect(limit).await
    }

    /// The whole body as text, without the line end.
    pub(crate) async fn text(self) -> Result<String, Error> {
        let bytes = self.bytes(ERROR_BODY_MAX).await?;
        let text = std::str::from_utf8(&bytes)
            .map_err(|e| strange("the answer is not text").with_source(e))?;
        Ok(text.trim_end().to_owned())
    }

    /// The body as what its JSON says.
    pub(crate) async fn json<T: serde::de::DeserializeOwned>(
        self,
        limit: usize,
    ) -> Result<T, Error> {
        serde_json::from_slice(&self.bytes(limit).await?)
            .map_err(|e| strange("the answer is not the JSON that was asked for").with_source(e))
    }

    async fn collect(&mut self, limit: usize) -> Result<Bytes, Error> {
        let mut all = BytesMut::new();
        let mut first = Bytes::new();
        while let Some(chunk) = self.chunk().await? {
            if first.len() + all.len() + chunk.len() > limit {
                return Err(strange("the answer is longer than any of its kind"));
            }
            // Most come in one piece.
            if first.is_empty() && all.is_empty() {
                first = chunk;
                continue;
            }
            if all.is_empty() {
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&chunk);
        }
        Ok(if all.is_empty() { first } else { all.freeze() })
    }
}

/// The next bytes of a body; none at the end.
pub(crate) async fn chunk(
    body: &mut reqwest::Body,
    stall: Duration,
) -> Result<Option<Bytes>, Error> {
    let next = async {
        loop {
            let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await;
            match frame {
                // Trailers say nothing to us.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) if !bytes.is_empty() => return Ok(Some(bytes)),
                    _ => {}
                },
                Some(Err(error)) => {
                    let broke = "the connection broke while the answer came";
                    return Err(Error::new(ErrorKind::Transport, broke).with_source(error));
                }
                None => return Ok(None),
            }
        }
    };
    tokio::time::timeout(stall, next).await.map_err(|_| silent(stall))?
}

/// Nothing has come for so long.
pub(crate) fn silent(stall: Duration) -> Error {
    Error::new(ErrorKind::Transport, format!("the node was silent for {stall:?}"))
}

/// Statuses that are about the head of the request alone.
const OF_THE_HEAD: [StatusCode; 4] = [
    StatusCode::PAYLOAD_TOO_LARGE,
    StatusCode::URI_TOO_LONG,
    StatusCode::EXPECTATION_FAILED,
    StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
];

/// A node says why; something before it, or in its place, need not.
fn unexplained(status: StatusCode) -> Error {
    let what = format!(
        "the answer is {} without a word of why, which is no node's; what stands before it?",
        status.as_u16()
    );
    Error::new(ErrorKind::Transport, what)
}

/// RFC 9110 §10.2.3: seconds, or a date.
fn retry_after(text: &str) -> Option<Duration> {
    let delay = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?;
            date.duration_since(std::time::SystemTime::now()).unwrap_or_default()
        }
    };
    Some(delay.min(LONGEST))
}

/// An answer that no node of ours gives.
pub(crate) fn strange(message: &'static str) -> Error {
    Error::new(ErrorKind::Transport, message)
}

fn message(kind: ErrorKind, status: StatusCode) -> String {
    format!("the node answered with {}: {}", status.as_u16(), kind.code())
}
