use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;

use crate::body::Body;
use crate::error::{Error, ErrorKind};
use crate::wire::ErrorBody;

/// The longest error body that is read, in bytes.
const ERROR_BODY_MAX: usize = 64 * 1024;

/// Where a node serves its public API unless told otherwise.
const DEFAULT_PORT: u16 = 10999;

/// One node's public address, and pooled connections to it. Cheap to clone.
///
/// This is the floor that the client of a later release stands on: it sends a request, streams
/// bodies both ways, and turns error answers into [`Error`]s. It does not retry.
#[derive(Clone, Debug)]
pub struct Transport {
    base: String,
    http: reqwest::Client,
}

/// A request to a node, under construction.
#[derive(Debug)]
pub struct Request {
    method: &'static str,
    path: String,
    headers: Vec<(&'static str, Vec<u8>)>,
    body: Option<Body>,
}

/// A node's answer: never an error status.
#[derive(Debug)]
pub struct Response {
    inner: reqwest::Response,
}

impl Transport {
    /// To the node at `address`: `host`, `host:port`, or an `http://` URL without a path; the port
    /// is 10999 unless given. No redirect is
    /// followed and no proxy used. Opens no connection yet.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when the address is neither.
    pub fn new(address: &str) -> Result<Self, Error> {
        let refuse = |why: String| Error::new(ErrorKind::Configuration, why);
        if address.starts_with("https://") {
            return Err(refuse("https is not there yet; give an http:// address".to_owned()));
        }
        let authority = address.strip_prefix("http://").unwrap_or(address).trim_end_matches('/');
        let has_port = authority
            .rsplit_once(':')
            .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
        let port = if has_port { String::new() } else { format!(":{DEFAULT_PORT}") };
        let base = format!("http://{authority}{port}");
        let url = reqwest::Url::parse(&base)
            .map_err(|e| refuse(format!("{address:?} is not a host:port address: {e}")))?;
        if url.path() != "/" || authority.is_empty() {
            return Err(refuse(format!("{address:?} is not a host:port address")));
        }
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .tcp_nodelay(true)
            .connect_timeout(Duration::from_secs(10))
            .build()
            .map_err(transport)?;
        Ok(Self { base, http })
    }

    /// The address requests go to, as an `http://` URL.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.base
    }

    /// Sends a request and waits for the head of the answer. Dropping the future cancels it.
    ///
    /// # Errors
    /// What the node answered, or [`ErrorKind::Transport`].
    pub async fn send(&self, request: Request) -> Result<Response, Error> {
        let method = reqwest::Method::from_bytes(request.method.as_bytes()).map_err(|e| {
            Error::new(ErrorKind::InvalidRequest, "not an HTTP method").with_source(e)
        })?;
        let mut builder = self.http.request(method, format!("{}{}", self.base, request.path));
        for (name, value) in request.headers {
            let value = reqwest::header::HeaderValue::from_bytes(&value).map_err(|e| {
                Error::new(ErrorKind::InvalidRequest, format!("{name} has a control character"))
                    .with_source(e)
            })?;
            builder = builder.header(name, value);
        }
        if let Some(body) = request.body {
            if let Some(len) = body.len() {
                builder = builder.header("content-length", len);
            }
            builder = builder.body(reqwest::Body::wrap_stream(body));
        }
        let inner = builder.send().await.map_err(transport)?;
        let status = inner.status();
        if status.is_success() {
            return Ok(Response { inner });
        }
        let retry_after = inner
            .headers()
            .get("retry-after")
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let body = Response { inner }.into_body().collect(ERROR_BODY_MAX).await?;
        Err(ErrorBody::read(status.as_u16(), &body, retry_after))
    }
}

impl Request {
    /// A request for a path of [`crate::wire::routes`].
    pub fn new(method: &'static str, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), headers: Vec::new(), body: None }
    }

    /// With a header field.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<Vec<u8>>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// With a body; chunked when its length is not known.
    #[must_use]
    pub fn body(mut self, body: impl Into<Body>) -> Self {
        self.body = Some(body.into());
        self
    }
}

impl Response {
    /// The status, 200 to 299.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.inner.status().as_u16()
    }

    /// A header field as bytes.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.inner.headers().get(name).map(|value| value.as_bytes())
    }

    /// The body. It ends with an error when the connection breaks before the length the node
    /// announced.
    #[must_use]
    pub fn into_body(self) -> Body {
        let len = self.inner.content_length();
        Body::from_stream(self.inner.bytes_stream().map(|chunk| chunk.map_err(transport)), len)
    }

    /// The whole body in memory.
    ///
    /// # Errors
    /// As [`Body::collect`].
    pub async fn bytes(self, limit: usize) -> Result<Bytes, Error> {
        self.into_body().collect(limit).await
    }
}

fn transport(error: reqwest::Error) -> Error {
    let message = if error.is_connect() {
        "no connection; is the node running, and is the address right?"
    } else if error.is_timeout() {
        "the node did not answer in time"
    } else {
        "the connection broke or did not speak HTTP"
    };
    Error::new(ErrorKind::Transport, message).with_source(error.without_url())
}
