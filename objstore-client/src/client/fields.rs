//! What is asked for, as header fields. The node's side of this is `http/request.rs` of
//! objstore-core.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_STANDARD as BASE64;
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, IF_MATCH,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE, RANGE,
};

use crate::error::{Error, ErrorKind};
use crate::options::{
    ByteRange, Conditions, ETagSet, ExpectedDigest, GetOptions, PutOptions, WriteMode,
};
use crate::transport::Request;
use crate::types::Level;
use crate::wire::headers;

/// Where no object has a byte.
const NOWHERE: ByteRange = ByteRange::From(u64::MAX);

impl Request {
    /// What an object that is put consists of beside its bytes.
    pub(super) fn put_options(&mut self, options: &PutOptions) -> Result<(), Error> {
        if let Some(kind) = &options.content_type {
            self.set(CONTENT_TYPE, kind.as_str())?;
        }
        if let Some(encoding) = &options.content_encoding {
            self.set(CONTENT_ENCODING, encoding.as_str())?;
        }
        if !options.user_meta.is_empty() {
            self.set(HeaderName::from_static(headers::USER_META), options.user_meta.to_json())?;
        }
        for digest in &options.digests {
            let (name, value) = match digest {
                ExpectedDigest::Md5(md5) => {
                    (HeaderName::from_static("content-md5"), BASE64.encode(md5))
                }
                ExpectedDigest::Sha256(sha) => repr_digest("sha-256", sha),
                ExpectedDigest::Sha512(sha) => repr_digest("sha-512", sha),
            };
            self.set(name, value)?;
        }
        self.conditions(&options.conditions)
    }

    /// Those of an object that is put by its id.
    pub(super) fn put_options_of_id(&mut self, options: &PutOptions) -> Result<(), Error> {
        if !options.name.is_empty() {
            let name = HeaderName::from_static(headers::NAME);
            self.set(name, options.name.as_str()).map_err(|e| {
                Error::new(ErrorKind::InvalidName, "HTTP does not keep the spaces around a name")
                    .with_source(e)
            })?;
        }
        self.level(options.level);
        self.write(options.write);
        if let Some(least) = options.min_replicas {
            self.push(HeaderName::from_static(headers::MIN_REPLICAS), least.into());
        }
        self.put_options(options)
    }

    pub(super) fn get_options(&mut self, options: &GetOptions) -> Result<(), Error> {
        if let Some(range) = options.range {
            self.push(RANGE, range_field(range)?);
        }
        if options.fetch {
            self.push(HeaderName::from_static(headers::FETCH), HeaderValue::from_static("1"));
        }
        if options.no_cache {
            self.push(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        }
        self.conditions(&options.conditions)
    }

    pub(super) fn level(&mut self, level: Level) {
        let value = HeaderValue::from(u16::from(u8::from(level)));
        self.push(HeaderName::from_static(headers::LEVEL), value);
    }

    pub(super) fn write(&mut self, write: WriteMode) {
        let value = match write {
            WriteMode::Default => return,
            WriteMode::Through => "through",
            WriteMode::Back => "back",
        };
        self.push(HeaderName::from_static(headers::WRITE), HeaderValue::from_static(value));
    }

    pub(super) fn conditions(&mut self, conditions: &Conditions) -> Result<(), Error> {
        for (name, tags) in
            [(IF_MATCH, &conditions.if_match), (IF_NONE_MATCH, &conditions.if_none_match)]
        {
            if let Some(tags) = tags {
                self.set(name, tag_list(tags))?;
            }
        }
        for (name, time) in [
            (IF_MODIFIED_SINCE, conditions.if_modified_since),
            (IF_UNMODIFIED_SINCE, conditions.if_unmodified_since),
        ] {
            if let Some(time) = time {
                self.set(name, date(time))?;
            }
        }
        Ok(())
    }
}

/// As RFC 9110 §5.6.7 has it, which knows the years 1970 to 9999.
fn date(time: SystemTime) -> String {
    const LATEST: Duration = Duration::from_secs(253_402_300_799);
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + since.min(LATEST))
}

fn repr_digest(algorithm: &str, digest: &[u8]) -> (HeaderName, String) {
    let name = HeaderName::from_static("repr-digest");
    (name, format!("{algorithm}=:{}:", BASE64.encode(digest)))
}

/// An entity tag that is not listed matches nothing, so an empty list is one of a tag that no
/// version has.
fn tag_list(tags: &ETagSet) -> String {
    match tags {
        ETagSet::Any => "*".to_owned(),
        ETagSet::Of(tags) if tags.is_empty() => "\"\"".to_owned(),
        ETagSet::Of(tags) => {
            let tag = |t: &crate::options::ConditionTag| match t.weak {
                true => format!("W/{}", t.tag),
                false => t.tag.to_string(),
            };
            tags.iter().map(tag).collect::<Vec<_>>().join(", ")
        }
    }
}

/// A range in which no byte can lie is not one to HTTP (RFC 9110 §14.1.1), and would be answered
/// with the whole body: in its place stands one that no object has.
pub(super) fn range_field(range: ByteRange) -> Result<HeaderValue, Error> {
    let text = match range {
        ByteRange::FromTo(first, last) if first > last => return range_field(NOWHERE),
        ByteRange::FromTo(first, last) => format!("bytes={first}-{last}"),
        ByteRange::From(first) => format!("bytes={first}-"),
        ByteRange::Last(count) => format!("bytes=-{count}"),
    };
    HeaderValue::try_from(text)
        .map_err(|e| Error::new(ErrorKind::InvalidRequest, "not a range of bytes").with_source(e))
}
