use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, CONTENT_DISPOSITION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, HeaderMap, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE, RANGE, X_CONTENT_TYPE_OPTIONS,
};
use http::{Method, Response, StatusCode};
use objstore_client::types::{ObjectId, ObjectMeta};
use objstore_client::wire::headers;
use objstore_client::{Body, Error, Object};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::ranges::Ranges;
use super::{answer, query, request};
use crate::node::Node;
use crate::ops::{self, Look, Opened, Target, Wanted};

/// Types that a browser would run in the name of this server's site.
const ACTIVE: [&str; 6] = [
    "text/html",
    "application/xhtml+xml",
    "image/svg+xml",
    "text/xml",
    "application/xml",
    "application/mathml+xml",
];

/// `attr-char` of RFC 8187 §3.2.1 stays as it is.
const NOT_ATTR_CHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// `GET` and `HEAD /api/v1/get/:id`.
pub(super) async fn get(
    node: &Node,
    target: &Target,
    head: &http::request::Parts,
) -> Result<Response<Body>, Error> {
    node.inner.check_running()?;
    let conditions = request::conditions(&head.headers)?;
    let active = node.inner.settings.http.serve_active_content;
    let fetch = wants_fetch(head)?;
    let no_cache = request::no_cache(&head.headers);
    if head.method == Method::HEAD {
        let look = Look { fetch, no_cache, bytes: None };
        let hot = node.inner.find_live(target, look).await?.hot;
        let meta = &hot.entry.meta;
        conditions.check_read(meta)?;
        let mut response = answer::empty(StatusCode::OK);
        describe(response.headers_mut(), meta, active);
        answer::put_json(response.headers_mut(), &head.headers, meta);
        response.headers_mut().insert(CONTENT_LENGTH, meta.size.into());
        return Ok(response);
    }
    let mut ranges = Ranges::Whole;
    let plan = |meta: &Arc<ObjectMeta>| {
        conditions.check_read(meta)?;
        ranges = wanted(&head.headers, meta);
        match &ranges {
            Ranges::Whole => Ok(0..meta.size),
            Ranges::One(range) => Ok(range.clone()),
            // Opened at the first of them; the others follow when their turn comes.
            Ranges::Several(ranges) => Ok(ranges.first().cloned().unwrap_or_default()),
            Ranges::None => Err(ops::unsatisfiable(meta.size)),
        }
    };
    let look = Look { fetch, no_cache, bytes: Some(first_bytes(&head.headers)) };
    let (Object { meta, range, body, .. }, opened) = node.inner.open(target, look, plan).await?;

    node.inner.counts.got(range.end - range.start);
    let mut response = Response::new(body);
    describe(response.headers_mut(), &meta, active);
    answer::put_json(response.headers_mut(), &head.headers, &meta);
    match ranges {
        Ranges::Whole | Ranges::None => {
            response.headers_mut().insert(CONTENT_LENGTH, meta.size.into());
        }
        Ranges::One(_) => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            let headers = response.headers_mut();
            answer::put_value(headers, CONTENT_RANGE, content_range(&range, meta.size).as_bytes());
            headers.insert(CONTENT_LENGTH, (range.end - range.start).into());
        }
        Ranges::Several(ranges) => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            several(node, &mut response, &meta, opened, ranges);
        }
    }
    Ok(response)
}

/// `GET /api/v1/meta/:id`.
pub(super) async fn meta(
    node: &Node,
    id: ObjectId,
    head: &http::request::Parts,
) -> Result<Response<Body>, Error> {
    node.inner.check_running()?;
    let fetch = wants_fetch(head)?;
    // Of a deleted object there is something to tell.
    if let Some(hot) = node.inner.lookup(id, false).await? {
        return Ok(answer::json(hot.entry.meta.as_ref()));
    }
    let look = Look { fetch, no_cache: false, bytes: None };
    let found = node.inner.find_live(&Target::Id(id), look).await?;
    Ok(answer::json(found.hot.entry.meta.as_ref()))
}

/// `X-Meta-Fetch: 1` or `?fetch=1`.
pub(super) fn wants_fetch(head: &http::request::Parts) -> Result<bool, Error> {
    Ok(request::flag(&head.headers, headers::FETCH)?
        || matches!(query::value(head, "fetch").as_deref(), Some("1" | "true")))
}

/// The bytes that will be wanted first, as far as the request alone tells.
fn first_bytes(headers: &HeaderMap) -> Wanted {
    let range = headers.get(RANGE).and_then(|field| Ranges::first(field.as_bytes()));
    let conditional = [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE]
        .iter()
        .any(|condition| headers.contains_key(condition))
        .then_some(Wanted::ONE);
    // Where nothing may be wanted in the end, not much is asked for before that is known.
    range.map(Wanted::Range).or(conditional).unwrap_or(Wanted::Whole)
}

/// What `Range` comes to, unless `If-Range` says that it is of another version (RFC 9110 §13.1.5).
fn wanted(headers: &HeaderMap, meta: &ObjectMeta) -> Ranges {
    let Some(field) = headers.get(RANGE) else { return Ranges::Whole };
    if headers.get_all(RANGE).iter().count() > 1 {
        return Ranges::Whole;
    }
    if let Some(if_range) = headers.get(IF_RANGE) {
        let same_version = match request::date(headers, &IF_RANGE) {
            Some(date) => {
                let modified = std::time::Duration::from_secs(meta.timestamp / 1_000_000_000);
                std::time::UNIX_EPOCH + modified == date
            }
            None => request::strong_tag(if_range.as_bytes()) == meta.etag,
        };
        if !same_version {
            return Ranges::Whole;
        }
    }
    Ranges::of(field.as_bytes(), meta.size)
}

/// All fields that describe a version, whichever of its bytes are sent.
fn describe(headers: &mut HeaderMap, meta: &ObjectMeta, serve_active: bool) {
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    let kind = content_type(meta);
    if let Some(disposition) = disposition(meta, &kind, serve_active) {
        answer::put_value(headers, CONTENT_DISPOSITION, disposition.as_bytes());
    }
    answer::put_value(headers, CONTENT_TYPE, kind.as_bytes());
    if let Some(encoding) = &meta.content_encoding {
        answer::put_value(headers, CONTENT_ENCODING, encoding.as_bytes());
    }
    answer::put_validators(headers, meta);
    answer::put_meta(headers, meta);
}

/// From the name's extension, else as given with the put, else unknown bytes.
fn content_type(meta: &ObjectMeta) -> String {
    let known = mime_guess::from_path(meta.name.as_str()).first_raw();
    match (known, &meta.content_type) {
        (Some(text), _) if text.starts_with("text/") => format!("{text}; charset=utf-8"),
        (Some(kind), _) => kind.to_owned(),
        (None, Some(given)) => given.clone(),
        (None, None) => "application/octet-stream".to_owned(),
    }
}

/// A file name, where it says something that the path does not: for what must not be shown but
/// saved, and for names beyond ASCII (RFC 6266, RFC 8187).
fn disposition(meta: &ObjectMeta, kind: &str, serve_active: bool) -> Option<String> {
    let essence = kind.split(';').next().unwrap_or_default().trim();
    let attach = !serve_active && ACTIVE.iter().any(|active| essence.eq_ignore_ascii_case(active));
    let name = meta.name.as_str();
    if !attach && name.is_ascii() {
        return None;
    }
    let how = if attach { "attachment" } else { "inline" };
    if name.is_empty() {
        return Some(how.to_owned());
    }
    Some(format!("{how}; filename*=UTF-8''{}", utf8_percent_encode(name, NOT_ATTR_CHAR)))
}

fn content_range(range: &Range<u64>, size: u64) -> String {
    format!("bytes {}-{}/{size}", range.start, range.end.saturating_sub(1))
}

/// Turns a response that is opened at its first range into one of several (RFC 9110 §14.6).
fn several(
    node: &Node,
    response: &mut Response<Body>,
    meta: &ObjectMeta,
    opened: Opened,
    ranges: Vec<Range<u64>>,
) {
    let boundary = format!("{:032x}", node.inner.env.entropy.random());
    let kind = content_type(meta);
    let mut parts = VecDeque::new();
    let mut len = 0;
    for range in ranges {
        let preamble = format!(
            "\r\n--{boundary}\r\nContent-Type: {kind}\r\nContent-Range: {}\r\n\r\n",
            content_range(&range, meta.size)
        );
        len += preamble.len() as u64 + (range.end - range.start);
        parts.push_back(Part::Text(preamble.into()));
        parts.push_back(Part::Range(range));
    }
    let end = format!("\r\n--{boundary}--\r\n");
    len += end.len() as u64;
    parts.push_back(Part::Text(end.into()));

    let first = std::mem::take(response.body_mut());
    let state = Several {
        node: node.clone(),
        opened: Arc::new(opened),
        parts,
        first: Some(first),
        current: None,
    };
    let chunks = futures_util::stream::try_unfold(state, |mut state| async move {
        Ok(state.next().await?.map(|bytes| (bytes, state)))
    });
    *response.body_mut() = Body::from_stream(chunks, Some(len));
    let headers = response.headers_mut();
    let kind = format!("multipart/byteranges; boundary={boundary}");
    answer::put_value(headers, CONTENT_TYPE, kind.as_bytes());
    headers.insert(CONTENT_LENGTH, len.into());
}

enum Part {
    Text(Bytes),
    Range(Range<u64>),
}

/// Sends parts of one version one after another, each range read when its turn comes.
struct Several {
    node: Node,
    opened: Arc<Opened>,
    parts: VecDeque<Part>,
    /// The first range, which was begun to see that the body can be read.
    first: Option<Body>,
    current: Option<Body>,
}

impl Several {
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if let Some(body) = &mut self.current {
                if let Some(chunk) = body.chunk().await {
                    return chunk.map(Some);
                }
                self.current = None;
            }
            match self.parts.pop_front() {
                None => return Ok(None),
                Some(Part::Text(text)) => return Ok(Some(text)),
                Some(Part::Range(range)) => {
                    let body = match self.first.take() {
                        Some(body) => body,
                        None => {
                            let (node, opened) = (self.node.clone(), Arc::clone(&self.opened));
                            async move { node.inner.body(&opened, range).await }.await?
                        }
                    };
                    self.current = Some(body);
                }
            }
        }
    }
}
