//! Objects by their key in the bucket.

use bytes::Bytes;
use http::header::{
    CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, TRANSFER_ENCODING,
};
use http::{Response, StatusCode};
use objstore_client::options::{CopyOptions, DeleteOptions, KeyListOptions, PutOptions, WriteMode};
use objstore_client::types::ObjectKey;
use objstore_client::wire::headers;
use objstore_client::{Body, Error, ErrorKind};
use percent_encoding::percent_decode_str;

use super::intake::Pending;
use super::{answer, query, request};
use crate::node::Node;

/// The rest of a path as a key: decoded once, `//` and encoded slashes are part of it.
pub(super) fn key(rest: &str) -> Result<ObjectKey, Error> {
    if !is_well_formed(rest) {
        return Err(Error::new(
            ErrorKind::InvalidKey,
            "not a key: a % is not followed by two hexadecimal digits; write one as %25",
        ));
    }
    let decoded = percent_decode_str(rest).decode_utf8();
    let text =
        decoded.map_err(|_| Error::new(ErrorKind::InvalidKey, "not a key: it is no UTF-8"))?;
    ObjectKey::new(&text)
}

/// Whether every `%` begins an escape (RFC 3986 §2.1).
fn is_well_formed(text: &str) -> bool {
    let escapes = text.split('%').skip(1);
    escapes.into_iter().all(|after| {
        let digits = after.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    })
}

/// Refuses keys to who is neither on this machine nor has a token: the node's credentials are not
/// everyone's.
pub(super) fn check_reach(node: &Node, near: bool, key: &str) -> Result<(), Error> {
    let prefixes = &node.inner.settings.fetch_prefixes;
    if near || prefixes.iter().any(|prefix| key.starts_with(prefix)) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Forbidden,
        "beyond this machine and without a token, keys of the bucket are served only below what --fetch-prefix names",
    ))
}

/// `PUT /api/v1/key/<key>`.
pub(super) async fn put<B>(
    node: &Node,
    key: &ObjectKey,
    head: &http::request::Parts,
    body: &mut Pending<B>,
) -> Result<Response<Body>, Error>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let given = &head.headers;
    if given.contains_key(CONTENT_RANGE) {
        return Err(request::invalid("a put takes whole objects; leave Content-Range out"));
    }
    if request::write_mode(given)? == WriteMode::Back {
        return Err(request::invalid(
            "a put by key goes to the bucket before it is acknowledged; leave X-Meta-Write: back out",
        ));
    }
    let mut options = PutOptions::default();
    options.user_meta = request::user_meta(given)?;
    options.content_type = request::content_type(given)?;
    options.content_encoding = request::content_encoding(given)?;
    options.conditions = request::conditions(given)?;
    options.digests = request::digests(given)?;
    let meta = node.put_key(key, body.take(), options).await?;
    let mut response = answer::empty(StatusCode::OK);
    answer::put_validators(response.headers_mut(), &meta);
    answer::put_meta(response.headers_mut(), &meta);
    answer::put_json(response.headers_mut(), given, &meta);
    Ok(response)
}

/// The key that a put by key copies from instead of taking a body.
pub(super) fn copy_from(given: &HeaderMap) -> Result<Option<ObjectKey>, Error> {
    let Some(value) = request::single(given, headers::COPY_FROM)? else { return Ok(None) };
    let has_body = given.get(CONTENT_LENGTH).is_some_and(|len| len != "0");
    if has_body || given.contains_key(TRANSFER_ENCODING) {
        return Err(request::invalid("a copy has no body; leave it or X-Meta-Copy-From out"));
    }
    let text = value.to_str().map_err(|_| {
        Error::new(ErrorKind::InvalidKey, "X-Meta-Copy-From is a key, encoded as in a path")
    })?;
    key(text).map(Some)
}

/// `PUT /api/v1/key/<key>` with `X-Meta-Copy-From`.
pub(super) async fn copy(
    node: &Node,
    from: &ObjectKey,
    to: &ObjectKey,
    head: &http::request::Parts,
) -> Result<Response<Body>, Error> {
    let options = CopyOptions::default().conditions(request::conditions(&head.headers)?);
    node.copy_key(from, to, options).await?;
    Ok(answer::empty(StatusCode::OK))
}

/// `DELETE /api/v1/key/<key>`.
pub(super) async fn delete(
    node: &Node,
    key: &ObjectKey,
    head: &http::request::Parts,
) -> Result<Response<Body>, Error> {
    let mut options = DeleteOptions::default();
    options.conditions = request::conditions(&head.headers)?;
    node.delete_key(key, options).await?;
    let mut response = answer::empty(StatusCode::OK);
    response.headers_mut().insert(headers::DELETED, HeaderValue::from_static("true"));
    Ok(response)
}

/// `GET /api/v1/keys?prefix=&delimiter=&after=&limit=`: one page, a line of JSON for each key
/// (`key`, `size`, `etag`, `timestamp`) and each prefix that keys were rolled up to (`prefix`), and
/// at the end, when there is more, where the next page begins (`next`).
pub(super) async fn list(
    node: &Node,
    near: bool,
    head: &http::request::Parts,
) -> Result<Response<Body>, Error> {
    let mut options = KeyListOptions::default();
    options.prefix = query::value(head, "prefix").unwrap_or_default();
    options.delimiter = query::value(head, "delimiter").filter(|text| !text.is_empty());
    options.after = query::value(head, "after").filter(|text| !text.is_empty());
    if let Some(limit) = query::value(head, "limit") {
        options.limit = query::limit(&limit)?;
    }
    check_reach(node, near, &options.prefix)?;
    let page = node.list_keys(options).await?;
    let mut lines = Vec::new();
    let mut line = |value: &serde_json::Value| {
        // Text and numbers, which serialise.
        serde_json::to_writer(&mut lines, value).unwrap_or_default();
        lines.push(b'\n');
    };
    for entry in &page.entries {
        line(&serde_json::to_value(entry).unwrap_or_default());
    }
    for prefix in &page.prefixes {
        line(&serde_json::json!({ "prefix": prefix }));
    }
    if let Some(next) = &page.next {
        line(&serde_json::json!({ "next": next }));
    }
    let mut response = answer::text("");
    *response.body_mut() = lines.into();
    let kind = HeaderValue::from_static("application/x-ndjson");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    Ok(response)
}
