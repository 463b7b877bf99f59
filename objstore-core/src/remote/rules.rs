//! What S3 has for rules, for the stores that are not S3.

use std::fmt::Write;
use std::ops::Range;

use md5::{Digest, Md5};

use super::error::{RemoteError, RemoteErrorKind};
use super::store::{
    METADATA_MAX, PART_MIN, PARTS_MAX, RemoteAttributes, RemoteCondition, RemoteGet, RemoteHead,
    RemoteList, RemotePart,
};

/// The most bytes of a key.
pub(super) const KEY_MAX: usize = 1024;
/// The most keys and prefixes of a page.
pub(super) const PAGE_MAX: usize = 1000;

pub(super) type Md5Sum = [u8; 16];

pub(super) fn md5(bytes: &[u8]) -> Md5Sum {
    Md5::digest(bytes).into()
}

/// The digest of what comes in pieces.
#[derive(Default)]
pub(super) struct Md5Sums(Md5);

impl Md5Sums {
    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn finish(self) -> Md5Sum {
        self.0.finalize().into()
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The tag of an object that came in parts: the digest of their digests, and how many they were.
pub(super) fn parts_etag(parts: &[Md5Sum]) -> String {
    format!("{}-{}", hex(&md5(&parts.concat())), parts.len())
}

pub(super) fn not_found() -> RemoteError {
    RemoteError::new(RemoteErrorKind::NotFound, "there is no such object in the remote")
}

pub(super) fn refused(message: impl Into<String>) -> RemoteError {
    RemoteError::new(RemoteErrorKind::Refused, message)
}

pub(super) fn no_such_upload() -> RemoteError {
    refused("the remote knows no such upload of this object")
}

pub(super) fn check_key(key: &str) -> Result<(), RemoteError> {
    if key.is_empty() || key.len() > KEY_MAX {
        return Err(refused("a key has 1 to 1024 bytes"));
    }
    Ok(())
}

/// What becomes a header has to fit into one, also where none is sent.
pub(super) fn check_attributes(attributes: &RemoteAttributes) -> Result<(), RemoteError> {
    let metadata = &attributes.metadata;
    let len: usize = metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
    if len > METADATA_MAX {
        return Err(refused(format!("{len} bytes of metadata, more than {METADATA_MAX}")));
    }
    let named = |name: &String| {
        !name.is_empty() && name.bytes().all(|b| is_token(b) && !b.is_ascii_uppercase())
    };
    let printable = |value: &String| value.bytes().all(|b| (0x20..0x7f).contains(&b));
    let fields = [&attributes.content_type, &attributes.content_encoding];
    if metadata.keys().all(named)
        && metadata.values().chain(fields.into_iter().flatten()).all(printable)
    {
        Ok(())
    } else {
        Err(refused("metadata with a name that is no lower-case token, or a value beyond ASCII"))
    }
}

/// A character of a field name (RFC 9110 §5.6.2).
pub(super) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether the object that is there, if one is, is what the condition demands.
pub(super) fn check_condition(
    condition: &RemoteCondition,
    etag: Option<&str>,
) -> Result<(), RemoteError> {
    let holds = match condition {
        RemoteCondition::None => true,
        RemoteCondition::Absent => etag.is_none(),
        RemoteCondition::Match(wanted) => etag == Some(wanted.as_str()),
    };
    if holds {
        Ok(())
    } else {
        Err(RemoteError::new(
            RemoteErrorKind::PreconditionFailed,
            "the object in the remote is not the one that was expected",
        ))
    }
}

/// The bytes that a get is about.
pub(super) fn wanted_range(get: &RemoteGet, head: &RemoteHead) -> Result<Range<u64>, RemoteError> {
    if let Some(wanted) = &get.if_match {
        check_condition(&RemoteCondition::Match(wanted.clone()), Some(&head.etag))?;
    }
    let Some(range) = &get.range else { return Ok(0..head.size) };
    let end = range.end.min(head.size);
    if range.start >= end {
        let message = "no byte of the range exists";
        return Err(
            RemoteError::new(RemoteErrorKind::RangeNotSatisfiable, message).with_size(head.size)
        );
    }
    Ok(range.start..end)
}

pub(super) fn check_part_number(number: u32) -> Result<(), RemoteError> {
    if (1..=PARTS_MAX).contains(&number) {
        Ok(())
    } else {
        Err(refused(format!("parts are numbered from 1 to {PARTS_MAX}")))
    }
}

/// Parts are named in rising order, at least one of them.
pub(super) fn check_parts(parts: &[RemotePart]) -> Result<(), RemoteError> {
    let (Some(_), Some(last)) = (parts.first(), parts.last()) else {
        return Err(refused("an object of no parts"));
    };
    check_part_number(last.number)?;
    if parts.iter().zip(parts.iter().skip(1)).any(|(one, next)| one.number >= next.number) {
        return Err(refused("the parts are not in order of their numbers"));
    }
    Ok(())
}

/// A part that is there, `index`-th of those named, has the tag and the length it must have.
pub(super) fn check_part(
    parts: &[RemotePart],
    index: usize,
    etag: &str,
    len: u64,
) -> Result<(), RemoteError> {
    if parts.get(index).is_none_or(|part| part.etag != etag) {
        return Err(no_such_part());
    }
    if index + 1 < parts.len() && len < PART_MIN {
        return Err(refused(format!("a part of {len} bytes that is not the last, under 5 MiB")));
    }
    Ok(())
}

pub(super) fn no_such_part() -> RemoteError {
    refused("a part was not uploaded, or has another tag")
}

/// One page of names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Names<'a> {
    pub(super) keys: Vec<&'a str>,
    pub(super) prefixes: Vec<&'a str>,
    pub(super) next: Option<String>,
}

/// The page of `keys` (in order) that is asked for. A prefix that keys are rolled up to takes their
/// place in the order, and is left out when it is not above [`RemoteList::after`] itself: so the
/// last thing of a page, be it key or prefix, is where the next page begins.
pub(super) fn page<'a>(keys: impl IntoIterator<Item = &'a str>, list: &RemoteList) -> Names<'a> {
    let limit = if list.limit == 0 { PAGE_MAX } else { list.limit.min(PAGE_MAX) };
    let after = list.after.as_deref();
    let delimiter = list.delimiter.as_deref().filter(|text| !text.is_empty());
    let (mut names, mut last) = (Names::default(), None);
    for key in keys {
        let Some(rest) = key.strip_prefix(list.prefix.as_str()) else { continue };
        let rolled = delimiter.and_then(|delimiter| {
            let end = list.prefix.len() + rest.find(delimiter)? + delimiter.len();
            key.get(..end)
        });
        let name = rolled.unwrap_or(key);
        if after.is_some_and(|after| name <= after) || (rolled.is_some() && last == rolled) {
            continue;
        }
        if names.keys.len() + names.prefixes.len() == limit {
            names.next = last.map(str::to_owned);
            break;
        }
        let of_kind = if rolled.is_some() { &mut names.prefixes } else { &mut names.keys };
        of_kind.push(name);
        last = Some(name);
    }
    names
}
