//! What a request is called in logs, here, on other nodes, and at the bucket.

use std::future::Future;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use objstore_client::wire::headers::{REQUEST_ID, TRACEPARENT};
use objstore_client::{Body, Error, ErrorKind};
use tracing::Instrument;

/// The longest `X-Request-Id` that is passed on, in bytes.
const REQUEST_ID_MAX: usize = 128;

tokio::task_local! {
    static CURRENT: RequestContext;
}

/// The names of a request: its `X-Request-Id`, and the
/// [`traceparent`](https://www.w3.org/TR/trace-context/#traceparent-header) of the trace that it
/// belongs to. A node passes both on as they came, to other nodes and to the bucket, and shows them
/// in the log with all that happens for the request.
///
/// The HTTP service takes them from the request. A program with a node in it gives them with
/// [`scope`](Self::scope); a [`RemoteStore`](crate::remote::RemoteStore) or a
/// [`Network`](crate::env::Network) of its own asks for [`current`](Self::current). What is done
/// later for nobody in particular, such as a queued upload, has no names.
///
/// ```
/// use objstore_core::options::GetOptions;
/// use objstore_core::{Error, Node, RequestContext};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Error> {
/// let node = Node::builder().in_memory().start().await?;
/// let context = RequestContext::new().with_request_id("job-7")?;
/// let missing = context.scope(node.get(node.new_id(), GetOptions::default())).await;
/// assert!(missing.is_err());
/// # node.shutdown().await
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestContext {
    request_id: Option<HeaderValue>,
    traceparent: Option<HeaderValue>,
}

impl RequestContext {
    /// Without any name.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// With this `X-Request-Id`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] when it is empty, longer than 128 bytes or not printable ASCII.
    pub fn with_request_id(self, id: &str) -> Result<Self, Error> {
        let value = HeaderValue::from_str(id).ok().filter(is_request_id);
        let refused = "a request id is printable ASCII of at most 128 bytes";
        let value = value.ok_or_else(|| Error::new(ErrorKind::InvalidRequest, refused))?;
        Ok(Self { request_id: Some(value), ..self })
    }

    /// With this `traceparent`.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] when it is none.
    pub fn with_traceparent(self, traceparent: &str) -> Result<Self, Error> {
        let value = HeaderValue::from_str(traceparent).ok().filter(is_traceparent);
        let refused = "not a traceparent; it looks like 00-TRACE-PARENT-FLAGS, in lower-case hexadecimal digits";
        let value = value.ok_or_else(|| Error::new(ErrorKind::InvalidRequest, refused))?;
        Ok(Self { traceparent: Some(value), ..self })
    }

    /// What a request with these fields is called. What is not well-formed, or given twice, is left
    /// out: it names nothing.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let one = |name: &str| {
            let mut values = headers.get_all(name).iter();
            values.next().filter(|_| values.next().is_none()).cloned()
        };
        Self {
            request_id: one(REQUEST_ID).filter(is_request_id),
            traceparent: one(TRACEPARENT).filter(is_traceparent),
        }
    }

    /// That of the request which the current task works for; without any name where there is none.
    #[must_use]
    pub fn current() -> Self {
        CURRENT.try_with(Clone::clone).unwrap_or_default()
    }

    /// The `X-Request-Id`.
    #[must_use]
    pub fn request_id(&self) -> Option<&str> {
        self.request_id.as_ref()?.to_str().ok()
    }

    /// The `traceparent`.
    #[must_use]
    pub fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_ref()?.to_str().ok()
    }

    /// Whether there is no name.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.request_id.is_none() && self.traceparent.is_none()
    }

    /// Works for the request of these names. Events of the `tracing` facade lie in a span
    /// `request` then. A body that comes out of it is read outside, unless it is
    /// [`body`](Self::body).
    pub async fn scope<F: Future>(self, work: F) -> F::Output {
        let span = self.span();
        CURRENT.scope(self, work.instrument(span)).await
    }

    /// A body whose chunks are made for the request of these names.
    #[must_use]
    pub fn body(&self, body: Body) -> Body {
        if self.is_empty() {
            return body;
        }
        let len = body.len();
        match body.try_into_bytes() {
            Ok(bytes) => bytes.into(),
            Err(stream) => {
                let chunks = futures_util::stream::try_unfold(
                    (stream, self.clone()),
                    |(mut stream, context)| async move {
                        let chunk = context.clone().scope(stream.chunk()).await.transpose()?;
                        Ok(chunk.map(|chunk| (chunk, (stream, context))))
                    },
                );
                Body::from_stream(chunks, len)
            }
        }
    }

    /// Sets both fields, where there is something to set and they are not there.
    pub fn put(&self, headers: &mut HeaderMap) {
        let both = [(REQUEST_ID, &self.request_id), (TRACEPARENT, &self.traceparent)];
        for (name, value) in both {
            if let Some(value) = value {
                headers.entry(HeaderName::from_static(name)).or_insert_with(|| value.clone());
            }
        }
    }

    /// The `X-Request-Id` as a field.
    pub(crate) fn id(&self) -> Option<&HeaderValue> {
        self.request_id.as_ref()
    }

    fn span(&self) -> tracing::Span {
        if self.is_empty() {
            return tracing::Span::none();
        }
        tracing::info_span!(
            target: "objstore_core::request",
            "request",
            request_id = self.request_id(),
            traceparent = self.traceparent(),
        )
    }
}

/// In the name of the current request, for a task of its own.
pub(crate) fn carried<F: Future>(work: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(RequestContext::current(), work.in_current_span())
}

fn is_request_id(value: &HeaderValue) -> bool {
    let text = value.as_bytes();
    (1..=REQUEST_ID_MAX).contains(&text.len()) && text.iter().all(|b| (0x20..0x7f).contains(b))
}

/// A version, a trace, its part that the request is, and flags. What later versions append is none
/// of our business.
fn is_traceparent(value: &HeaderValue) -> bool {
    let hex = |part: Option<&[u8]>, len| {
        let digit = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
        part.is_some_and(|part| part.len() == len && part.iter().all(digit))
    };
    let set = |part: Option<&[u8]>| part.is_some_and(|part| part.iter().any(|b| *b != b'0'));
    let parts: Vec<&[u8]> = value.as_bytes().split(|b| *b == b'-').collect();
    let part = |index: usize| parts.get(index).copied();
    let is_later = part(0).is_some_and(|version| version > b"00".as_slice());
    hex(part(0), 2)
        && part(0) != Some(b"ff")
        && (hex(part(1), 32) && set(part(1)))
        && (hex(part(2), 16) && set(part(2)))
        && hex(part(3), 2)
        && (parts.len() == 4 || is_later)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_one() {
        let trace = "0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331";
        for good in [format!("00-{trace}-01"), format!("01-{trace}-00-what-comes-later")] {
            assert!(RequestContext::new().with_traceparent(&good).is_ok(), "{good}");
        }
        for bad in [
            String::new(),
            format!("00-{trace}"),
            format!("00-{trace}-01-more"),
            format!("ff-{trace}-01"),
            format!("00-{}-01", trace.to_uppercase()),
            "00-00000000000000000000000000000000-b7ad6b7169203331-01".to_owned(),
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01".to_owned(),
        ] {
            let error = RequestContext::new().with_traceparent(&bad).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{bad}");
        }
    }

    #[test]
    fn a_name_that_is_none_is_left_out() {
        let mut headers = HeaderMap::new();
        headers.insert(REQUEST_ID, HeaderValue::from_static("r1"));
        headers.insert(TRACEPARENT, HeaderValue::from_static("nonsense"));
        let context = RequestContext::from_headers(&headers);
        assert_eq!((context.request_id(), context.traceparent()), (Some("r1"), None));
        headers.append(REQUEST_ID, HeaderValue::from_static("r2"));
        assert!(RequestContext::from_headers(&headers).is_empty());
        for bad in ["", "a\nb", "\u{fc}", &"x".repeat(129)] {
            assert!(RequestContext::new().with_request_id(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn it_lasts_as_long_as_its_work_and_its_body() {
        let named = RequestContext::new().with_request_id("r1").unwrap();
        let seen = named.clone().scope(async { RequestContext::current() }).await;
        assert_eq!(seen, named);
        assert!(RequestContext::current().is_empty());
        let spawn = async { Some(tokio::spawn(carried(async { RequestContext::current() }))) };
        let task = named.clone().scope(spawn).await.unwrap();
        assert_eq!(task.await.unwrap(), named);
        let chunks = futures_util::stream::once(async {
            Ok(RequestContext::current().request_id().unwrap_or("none").to_owned().into())
        });
        let body = named.body(Body::from_stream(chunks, None));
        assert_eq!(body.collect(10).await.unwrap(), "r1");
    }
}
