//! What is read from the head of a request.

use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, IF_MATCH,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE, PRAGMA,
};
use objstore_client::options::{ConditionTag, Conditions, ETagSet, ExpectedDigest, WriteMode};
use objstore_client::types::{ETag, Level, ObjectId, ObjectName, UserMeta};
use objstore_client::wire::headers;
use objstore_client::{Error, ErrorKind};

pub(super) fn invalid(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidRequest, message)
}

/// An id from a path, where it must stand as it is: no escape is needed to spell one.
pub(super) fn id(text: &str) -> Result<ObjectId, Error> {
    text.parse()
}

/// A field that may come once, or more often with the same value.
pub(super) fn single(
    headers: &HeaderMap,
    name: impl http::header::AsHeaderName + Copy + std::fmt::Display,
) -> Result<Option<&HeaderValue>, Error> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.any(|value| Some(value) != first) {
        return Err(invalid(format!("{name} is given twice with different values")));
    }
    Ok(first)
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Error> {
    single(headers, name)?
        .map(|value| value.to_str().map_err(|_| invalid(format!("{name} must be ASCII text"))))
        .transpose()
}

pub(super) fn object_id(headers: &HeaderMap) -> Result<ObjectId, Error> {
    let value = single(headers, headers::ID)?
        .ok_or_else(|| invalid("no X-Meta-ID was given; GET /api/v1/id makes one"))?;
    value.to_str().unwrap_or_default().trim().parse()
}

pub(super) fn name(headers: &HeaderMap) -> Result<ObjectName, Error> {
    single(headers, headers::NAME)?
        .map_or(Ok(ObjectName::default()), |value| ObjectName::from_utf8(value.as_bytes()))
}

pub(super) fn level(headers: &HeaderMap) -> Result<Option<Level>, Error> {
    single(headers, headers::LEVEL)?
        .map(|value| value.to_str().unwrap_or_default().trim().parse())
        .transpose()
}

/// `X-Meta-Write: back` or `through`.
pub(super) fn write_mode(headers: &HeaderMap) -> Result<WriteMode, Error> {
    let Some(value) = single(headers, headers::WRITE)? else { return Ok(WriteMode::Default) };
    let text = value.to_str().unwrap_or_default();
    text.parse().map_err(|_| invalid("X-Meta-Write is back or through"))
}

/// `X-Meta-Min-Replicas`: a number of nodes.
pub(super) fn min_replicas(headers: &HeaderMap) -> Result<Option<u32>, Error> {
    let Some(value) = single(headers, headers::MIN_REPLICAS)? else { return Ok(None) };
    let number = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    number.map(Some).ok_or_else(|| invalid("X-Meta-Min-Replicas is a number of nodes"))
}

/// `Cache-Control: no-cache` (RFC 9111 §5.2.1.4), or what stood for it before.
pub(super) fn no_cache(headers: &HeaderMap) -> bool {
    let said =
        |name: HeaderName| {
            headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).any(|value| {
                value.split(',').any(|part| part.trim().eq_ignore_ascii_case("no-cache"))
            })
        };
    said(CACHE_CONTROL) || said(PRAGMA)
}

/// A field that says yes or no: `1` or `true`, `0` or `false`.
pub(super) fn flag(headers: &HeaderMap, name: &'static str) -> Result<bool, Error> {
    match single(headers, name)?.map(HeaderValue::as_bytes) {
        None | Some(b"0" | b"false") => Ok(false),
        Some(b"1" | b"true") => Ok(true),
        Some(_) => Err(invalid(format!("{name} is 1 or 0"))),
    }
}

pub(super) fn user_meta(headers: &HeaderMap) -> Result<UserMeta, Error> {
    single(headers, headers::USER_META)?
        .map_or(Ok(UserMeta::default()), |value| UserMeta::from_json(value.as_bytes()))
}

/// The content type to keep; curl's default for `-d` says nothing about a file.
pub(super) fn content_type(headers: &HeaderMap) -> Result<Option<String>, Error> {
    let kept = kept_field(headers, &CONTENT_TYPE)?;
    Ok(kept.filter(|kind| !kind.starts_with("application/x-www-form-urlencoded")))
}

pub(super) fn content_encoding(headers: &HeaderMap) -> Result<Option<String>, Error> {
    kept_field(headers, &CONTENT_ENCODING)
}

fn kept_field(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, Error> {
    Ok(text(headers, name)?.filter(|value| !value.is_empty()).map(str::to_owned))
}

/// The conditions of RFC 9110 §13.1. Dates that do not parse are ignored, as §13.1.3 asks.
pub(super) fn conditions(headers: &HeaderMap) -> Result<Conditions, Error> {
    let mut conditions = Conditions::default();
    conditions.if_match = etags(headers, &IF_MATCH)?;
    conditions.if_none_match = etags(headers, &IF_NONE_MATCH)?;
    conditions.if_modified_since = date(headers, &IF_MODIFIED_SINCE);
    conditions.if_unmodified_since = date(headers, &IF_UNMODIFIED_SINCE);
    Ok(conditions)
}

pub(super) fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()
}

/// A list of entity tags (RFC 9110 §8.8.3), over all lines of the field.
fn etags(headers: &HeaderMap, name: &HeaderName) -> Result<Option<ETagSet>, Error> {
    if !headers.contains_key(name) {
        return Ok(None);
    }
    let bad = || invalid(format!("{name} is no list of entity tags"));
    let mut tags = Vec::new();
    for value in headers.get_all(name) {
        let mut rest = value.as_bytes().trim_ascii();
        if rest == b"*" {
            return Ok(Some(ETagSet::Any));
        }
        // RFC 9110 §5.6.1.2: empty elements of a list are to be tolerated.
        rest = after_commas(rest);
        while !rest.is_empty() {
            let (tag, after) = condition_tag(rest).ok_or_else(bad)?;
            tags.push(tag);
            rest = after_commas(after);
            if rest.len() == after.trim_ascii_start().len() && !rest.is_empty() {
                return Err(bad());
            }
        }
    }
    Ok(Some(ETagSet::Of(tags)))
}

/// What follows commas and space at the beginning of these bytes.
fn after_commas(bytes: &[u8]) -> &[u8] {
    let skipped = bytes.iter().take_while(|b| b", \t".contains(b)).count();
    bytes.get(skipped..).unwrap_or_default()
}

/// One entity tag at the beginning of these bytes, and what follows it.
fn condition_tag(bytes: &[u8]) -> Option<(ConditionTag, &[u8])> {
    let (weak, bytes) = match bytes.strip_prefix(b"W/") {
        Some(rest) => (true, rest),
        None => (false, bytes),
    };
    let opened = bytes.strip_prefix(b"\"")?;
    let end = opened.iter().position(|b| *b == b'"')?;
    let (tag, after) = opened.split_at_checked(end)?;
    // A tag that is not UTF-8 cannot be one of ours; it only has to match nothing.
    let tag = ETag::new(&String::from_utf8_lossy(tag)).ok()?;
    Some((ConditionTag { tag, weak }, after.get(1..)?))
}

/// A single strong tag, as `If-Range` takes it.
pub(super) fn strong_tag(bytes: &[u8]) -> Option<ETag> {
    let (tag, rest) = condition_tag(bytes.trim_ascii())?;
    (rest.is_empty() && !tag.weak).then_some(tag.tag)
}

/// The digests the body must have: `Content-MD5` (RFC 1864) and `Repr-Digest` (RFC 9530), of which
/// algorithms we do not know are ignored.
pub(super) fn digests(headers: &HeaderMap) -> Result<Vec<ExpectedDigest>, Error> {
    let mut digests = Vec::new();
    if let Some(value) = single(headers, "content-md5")? {
        let md5 = decode(value.as_bytes()).map(ExpectedDigest::Md5);
        digests.push(md5.ok_or_else(|| invalid("Content-MD5 is not 16 bytes of base64"))?);
    }
    for value in headers.get_all("repr-digest") {
        let value = value.to_str().map_err(|_| invalid("Repr-Digest must be ASCII text"))?;
        // An empty field is an empty dictionary (RFC 9651 §3.2).
        for member in value.split(',').filter(|_| !value.trim().is_empty()) {
            let bad = || invalid("Repr-Digest is no dictionary of byte sequences (RFC 9530 §2)");
            let (algorithm, digest) = member.trim().split_once('=').ok_or_else(bad)?;
            let digest = digest
                .trim()
                .strip_prefix(':')
                .and_then(|rest| rest.strip_suffix(':'))
                .ok_or_else(bad)?
                .as_bytes();
            match algorithm.trim() {
                "sha-256" => digests.push(ExpectedDigest::Sha256(decode(digest).ok_or_else(bad)?)),
                "sha-512" => digests.push(ExpectedDigest::Sha512(decode(digest).ok_or_else(bad)?)),
                _ => {}
            }
        }
    }
    Ok(digests)
}

fn decode<const N: usize>(base64: &[u8]) -> Option<[u8; N]> {
    BASE64.decode(base64).ok()?.try_into().ok()
}
