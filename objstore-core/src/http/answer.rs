//! Responses: what is common to all of them, and those that are not an object's body.

use http::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderMap,
    HeaderName, HeaderValue, LAST_MODIFIED, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{Method, Response, StatusCode};
use objstore_client::types::ObjectMeta;
use objstore_client::wire::{ErrorBody, headers};
use objstore_client::{Body, Error, ErrorKind};

/// Seconds after which a retry makes sense where nothing better is known.
const RETRY_AFTER_SECONDS: u64 = 1;

pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::default());
    *response.status_mut() = status;
    response
}

/// The status of a change that was made: 202 while the remote is yet to get it.
pub(super) fn made(meta: &ObjectMeta) -> StatusCode {
    if meta.is_pending { StatusCode::ACCEPTED } else { StatusCode::OK }
}

/// 200 with text, never kept by a cache.
pub(super) fn text(text: impl Into<String>) -> Response<Body> {
    let mut response = Response::new(text.into().into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// 200 with JSON on one line, never kept by a cache.
pub(crate) fn json<T: serde::Serialize>(value: &T) -> Response<Body> {
    // Types of ours, all of which serialise.
    let mut bytes = serde_json::to_vec(value).unwrap_or_default();
    bytes.push(b'\n');
    let mut response = Response::new(bytes.into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The response that an error becomes.
pub(super) fn error(error: &Error) -> Response<Body> {
    let status =
        StatusCode::from_u16(error.kind().status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if status == StatusCode::NOT_MODIFIED {
        let mut response = empty(status);
        response.extensions_mut().insert(error.kind());
        // RFC 9110 §15.4.5: what a cache needs to bring its copy up to date.
        if let Some(meta) = error.meta() {
            put_validators(response.headers_mut(), meta);
        }
        return response;
    }
    let mut response = json(&ErrorBody::from(error));
    *response.status_mut() = status;
    response.extensions_mut().insert(error.kind());
    let headers = response.headers_mut();
    match error.kind() {
        ErrorKind::Deleted => {
            headers.insert(headers::DELETED, HeaderValue::from_static("true"));
            if let Some(meta) = error.meta() {
                put_value(headers, headers::ID, meta.id.to_string().as_bytes());
            }
        }
        ErrorKind::RangeNotSatisfiable => {
            let size = error.size().unwrap_or(0);
            put_value(headers, CONTENT_RANGE, format!("bytes */{size}").as_bytes());
        }
        _ => {}
    }
    if let Some(meta) = error.meta().filter(|meta| !meta.is_deleted) {
        put_validators(headers, meta);
    }
    if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::INSUFFICIENT_STORAGE) {
        let seconds =
            error.retry_after().map_or(RETRY_AFTER_SECONDS, |delay| delay.as_secs().max(1));
        headers.insert(RETRY_AFTER, seconds.into());
    }
    if must_close(error.kind()) {
        close(&mut response);
    }
    response
}

/// After these the connection cannot be trusted, or is not worth keeping.
pub(super) fn must_close(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::Timeout | ErrorKind::HeadTooLarge | ErrorKind::TooLarge)
}

pub(super) fn close(response: &mut Response<Body>) {
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
}

/// Whether HTTP has this method; one that it has not is no route's (RFC 9110 §15.6.2).
pub(super) fn is_known(method: &Method) -> bool {
    const KNOWN: [&str; 10] =
        ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"];
    KNOWN.contains(&method.as_str())
}

/// 405 for a method that this route does not take.
pub(super) fn wrong_method(allow: &'static str) -> Response<Body> {
    let kind = ErrorKind::MethodNotAllowed;
    let mut response = error(&Error::new(kind, format!("this route takes {allow}")));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

/// 401 for who shows no token, or one that is not valid (RFC 6750 §3).
pub(super) fn unauthorized(why: &'static str, given: bool) -> Response<Body> {
    let mut response = error(&Error::new(ErrorKind::Unauthorized, why));
    let challenge = if given {
        r#"Bearer realm="objstore", error="invalid_token""#
    } else {
        r#"Bearer realm="objstore""#
    };
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    response
}

/// 403 for a token that lacks a scope (RFC 6750 §3.1).
pub(super) fn beyond_scope(scope: &'static str) -> Response<Body> {
    let why = format!("this token may not do that; it needs the scope {scope}");
    let mut response = error(&Error::new(ErrorKind::Forbidden, why));
    let challenge =
        format!(r#"Bearer realm="objstore", error="insufficient_scope", scope="{scope}""#);
    put_value(response.headers_mut(), WWW_AUTHENTICATE, challenge.as_bytes());
    response
}

/// The answer to a HEAD: all fields of the answer to a GET, the length among them, and no body; the
/// code of an error goes into a field.
pub(super) fn without_body(response: &mut Response<Body>) {
    if let Some(kind) = response.extensions().get::<ErrorKind>().copied() {
        response.headers_mut().insert(headers::ERROR, HeaderValue::from_static(kind.code()));
    }
    let body = std::mem::take(response.body_mut());
    if let Some(len) = body.len()
        && response.status() != StatusCode::NOT_MODIFIED
        && !response.headers().contains_key(CONTENT_LENGTH)
    {
        response.headers_mut().insert(CONTENT_LENGTH, len.into());
    }
}

/// Sets a field to bytes that were checked when they came in.
pub(super) fn put_value(headers: &mut HeaderMap, name: impl IntoHeaderName, value: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(value) {
        headers.insert(name.name(), value);
    }
}

pub(super) trait IntoHeaderName {
    fn name(self) -> HeaderName;
}

impl IntoHeaderName for HeaderName {
    fn name(self) -> HeaderName {
        self
    }
}

impl IntoHeaderName for &'static str {
    fn name(self) -> HeaderName {
        HeaderName::from_static(self)
    }
}

/// `ETag` and `Last-Modified`.
pub(super) fn put_validators(headers: &mut HeaderMap, meta: &ObjectMeta) {
    if let Some(etag) = &meta.etag {
        put_value(headers, ETAG, etag.to_string().as_bytes());
    }
    let modified =
        std::time::UNIX_EPOCH + std::time::Duration::from_secs(meta.timestamp / 1_000_000_000);
    put_value(headers, LAST_MODIFIED, httpdate::fmt_http_date(modified).as_bytes());
}

/// What a client of ours asks for beside these: all of it, losing nothing.
pub(super) fn put_json(headers: &mut HeaderMap, asked: &HeaderMap, meta: &ObjectMeta) {
    if asked.get(headers::JSON).is_some_and(|value| value == "1") {
        // A type of ours, which serialises. DEL is the one byte that JSON leaves alone and a field
        // (RFC 9110 §5.5) does not allow.
        let json = serde_json::to_string(meta).unwrap_or_default().replace('\u{7f}', "\\u007f");
        put_value(headers, headers::JSON, json.as_bytes());
    }
}

/// The `X-Meta-*` fields.
pub(super) fn put_meta(headers: &mut HeaderMap, meta: &ObjectMeta) {
    put_value(headers, headers::ID, meta.id.to_string().as_bytes());
    headers.insert(headers::LEVEL, u16::from(u8::from(meta.consistency)).into());
    if !meta.name.is_empty() {
        put_value(headers, headers::NAME, meta.name.as_str().as_bytes());
    }
    if !meta.user_meta.is_empty() {
        put_value(headers, headers::USER_META, meta.user_meta.to_json().as_bytes());
    }
    if meta.is_pending {
        headers.insert(headers::PENDING, HeaderValue::from_static("true"));
    }
    if let Some(replicas) = meta.replicas {
        put_value(
            headers,
            HeaderName::from_static(headers::REPLICAS),
            replicas.to_string().as_bytes(),
        );
    }
    if meta.is_symlink {
        headers.insert(headers::SYMLINK, HeaderValue::from_static("true"));
    }
    if meta.is_fetched {
        headers.insert(headers::FETCHED, HeaderValue::from_static("true"));
    }
    if meta.is_deleted {
        headers.insert(headers::DELETED, HeaderValue::from_static("true"));
    }
}
