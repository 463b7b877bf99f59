use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

/// The key of an object in a bucket: UTF-8, 1 to 1,024 bytes, without NUL and without the path
/// segments `.` and `..`, which HTTP clients resolve before anybody sees them. Everything else that
/// [S3 allows](https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html) is part of
/// it: `//`, a leading or trailing `/`, spaces, control characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectKey(Box<str>);

impl ObjectKey {
    /// The most bytes a key may have.
    pub const MAX_LEN: usize = 1024;

    /// A key from text.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidKey`].
    pub fn new(text: &str) -> Result<Self, Error> {
        let invalid =
            |why: &str| Err(Error::new(ErrorKind::InvalidKey, format!("not a key: {why}")));
        if text.is_empty() {
            invalid("it is empty")
        } else if text.len() > Self::MAX_LEN {
            invalid("it is longer than 1024 bytes")
        } else if text.contains('\0') {
            invalid("it has a NUL")
        } else if text.split('/').any(|segment| segment == "." || segment == "..") {
            invalid("it has a segment . or ..")
        } else {
            Ok(Self(text.into()))
        }
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One page of a bucket's keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyPage {
    /// In order of key.
    pub entries: Vec<KeyEntry>,
    /// What keys were rolled up to, in order.
    pub prefixes: Vec<String>,
    /// Where the next page begins; none at the end.
    pub next: Option<String>,
}

/// A key of a bucket: a line of JSON in the answer of `GET /api/v1/keys`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct KeyEntry {
    /// The key.
    pub key: String,
    /// Bytes of the object.
    pub size: u64,
    /// The bucket's tag, without quotes.
    pub etag: String,
    /// When it was stored by the bucket's clock, in nanoseconds since the Unix epoch.
    pub timestamp: u64,
}

impl KeyEntry {
    /// A key with its size; the fields are public to be set.
    #[must_use]
    pub fn new(key: String, size: u64) -> Self {
        Self { key, size, etag: String::new(), timestamp: 0 }
    }
}
