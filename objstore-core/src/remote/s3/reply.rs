use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::primitives::{ByteStream, DateTime};
use bytes::Bytes;
use futures_util::stream;
use objstore_client::{Body, Error, ErrorKind};
use percent_encoding::percent_decode_str;

use super::errors::{Call, broken};
use crate::remote::{
    RemoteAttributes, RemoteError, RemoteErrorKind, RemoteGet, RemoteHead, RemoteObject,
};

/// S3's own type for an object that came without one. It is registered nowhere, so it stands for
/// no type both ways, whatever the server's default is.
pub(super) const NO_TYPE: &str = "binary/octet-stream";

/// Checks that the reply is what was asked for before anyone reads it.
pub(super) fn object(get: &RemoteGet, reply: GetObjectOutput) -> Result<RemoteObject, RemoteError> {
    let len = length(Call::Get, reply.content_length)?;
    let etag = tag(Call::Get, reply.e_tag.as_deref())?;
    if get.if_match.as_ref().is_some_and(|wanted| *wanted != etag) {
        return Err(RemoteError::new(
            RemoteErrorKind::PreconditionFailed,
            "the bucket sent another version than the one asked for",
        ));
    }
    let (range, size) = match (&get.range, reply.content_range.as_deref()) {
        (None, None) => (0..len, len),
        (None, Some(_)) => return Err(broken(Call::Get, "a part, where the whole was asked for")),
        (Some(wanted), None) if wanted.start == 0 && wanted.end >= len => (0..len, len),
        (Some(_), None) => {
            return Err(RemoteError::new(
                RemoteErrorKind::Unsupported,
                "the bucket sends whole objects where a range was asked for",
            ));
        }
        (Some(wanted), Some(sent)) => {
            let (sent, size) = content_range(sent)
                .ok_or_else(|| broken(Call::Get, "its Content-Range cannot be read"))?;
            if sent != (wanted.start..wanted.end.min(size)) {
                return Err(broken(Call::Get, "its Content-Range is not the range asked for"));
            }
            if sent.end - sent.start != len {
                return Err(broken(Call::Get, "its length is not its Content-Range's"));
            }
            (sent, size)
        }
    };
    let head = RemoteHead {
        size,
        etag,
        modified: modified(reply.last_modified.as_ref()),
        attributes: attributes(reply.content_type, reply.content_encoding, reply.metadata),
    };
    Ok(RemoteObject::new(head, range, body(reply.body, len)))
}

pub(super) fn head(reply: HeadObjectOutput) -> Result<RemoteHead, RemoteError> {
    Ok(RemoteHead {
        size: length(Call::Head, reply.content_length)?,
        etag: tag(Call::Head, reply.e_tag.as_deref())?,
        modified: modified(reply.last_modified.as_ref()),
        attributes: attributes(reply.content_type, reply.content_encoding, reply.metadata),
    })
}

/// The bytes as they come, counted: a reply that ends early must not look like an object.
fn body(chunks: ByteStream, len: u64) -> Body {
    let chunks = stream::unfold(Some((chunks, len)), |state| async {
        let (mut chunks, left) = state?;
        let ended = match chunks.next().await {
            Some(Ok(chunk)) => match left.checked_sub(chunk.len() as u64) {
                Some(left) => return Some((Ok(chunk), Some((chunks, left)))),
                None => "the bucket sent more than it announced",
            },
            // Not the SDK's error: it may show the whole reply.
            Some(Err(_)) => "the connection to the bucket broke inside a body",
            None if left == 0 => return None,
            None => "the bucket's answer ended before the object did",
        };
        Some((Err::<Bytes, _>(Error::new(ErrorKind::Unavailable, ended)), None))
    });
    Body::from_stream(chunks, Some(len))
}

/// `bytes 0-4/10`, [RFC 9110 §14.4](https://www.rfc-editor.org/rfc/rfc9110#section-14.4).
fn content_range(value: &str) -> Option<(Range<u64>, u64)> {
    let (range, size) = value.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, end) = (first.parse().ok()?, last.parse::<u64>().ok()?.checked_add(1)?);
    let size = size.parse().ok()?;
    (first < end && end <= size).then_some((first..end, size))
}

pub(super) fn length(call: Call, value: Option<i64>) -> Result<u64, RemoteError> {
    value
        .and_then(|value| u64::try_from(value).ok())
        .ok_or_else(|| broken(call, "it has no length"))
}

/// Without quotes.
pub(super) fn tag(call: Call, value: Option<&str>) -> Result<String, RemoteError> {
    let tag = value.map(|value| value.trim_matches('"')).filter(|tag| !tag.is_empty());
    tag.map(str::to_owned).ok_or_else(|| broken(call, "it has no ETag"))
}

pub(super) fn modified(value: Option<&DateTime>) -> u64 {
    value.and_then(|time| u64::try_from(time.as_nanos()).ok()).unwrap_or(0)
}

fn attributes(
    content_type: Option<String>,
    content_encoding: Option<String>,
    metadata: Option<HashMap<String, String>>,
) -> RemoteAttributes {
    RemoteAttributes {
        content_type: content_type.filter(|name| name != NO_TYPE),
        content_encoding: content_encoding.and_then(own_encoding),
        metadata: metadata
            .unwrap_or_default()
            .into_iter()
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
            .collect::<BTreeMap<_, _>>(),
    }
}

/// `aws-chunked` is how a body was sent, but some servers keep it.
fn own_encoding(value: String) -> Option<String> {
    let own = |coding: &&str| !coding.is_empty() && !coding.eq_ignore_ascii_case("aws-chunked");
    if !value.contains("aws-chunked") {
        return Some(value);
    }
    let codings: Vec<_> = value.split(',').map(str::trim).filter(own).collect();
    (!codings.is_empty()).then(|| codings.join(", "))
}

/// Undoes `encoding-type=url`, which writes a space as `+`. Without it a key with control
/// characters would break the XML.
pub(super) fn decoded(call: Call, text: &str, encoded: bool) -> Result<String, RemoteError> {
    if !encoded {
        return Ok(text.to_owned());
    }
    let spaced = text.replace('+', " ");
    match percent_decode_str(&spaced).decode_utf8() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => Err(broken(call, "a key in it is not UTF-8")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_ranges_are_read_or_refused() {
        assert_eq!(content_range("bytes 0-4/10"), Some((0..5, 10)));
        assert_eq!(content_range("bytes 9-9/10"), Some((9..10, 10)));
        for bad in ["bytes */10", "bytes 5-4/10", "bytes 0-10/10", "bytes 0-4/*", "0-4/10", ""] {
            assert_eq!(content_range(bad), None, "{bad}");
        }
        assert_eq!(content_range(&format!("bytes 0-{}/{}", u64::MAX, u64::MAX)), None);
    }

    #[tokio::test]
    async fn a_body_of_another_length_is_an_error() {
        for (len, whole) in [(4, false), (5, true), (6, false)] {
            let body = body(ByteStream::from_static(b"12345"), len);
            assert_eq!(body.collect(100).await.is_ok(), whole, "{len}");
        }
    }

    #[test]
    fn the_way_a_body_was_sent_is_not_its_encoding() {
        assert_eq!(own_encoding("gzip,aws-chunked".into()), Some("gzip".into()));
        assert_eq!(own_encoding("aws-chunked".into()), None);
        assert_eq!(own_encoding("br".into()), Some("br".into()));
    }
}
