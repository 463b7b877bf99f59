use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

/// The strong validator of one version of an object (RFC 9110 §8.8.3), without its quotes.
///
/// Fixed when a version is first seen and never changed: for bodies put here it is the first half
/// of their BLAKE3 digest in hexadecimal.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ETag(Box<str>);

impl ETag {
    /// The tag of a body with this BLAKE3 digest.
    #[must_use]
    pub fn from_digest(digest: &[u8; 32]) -> Self {
        use fmt::Write;
        let mut text = String::with_capacity(32);
        for byte in digest.iter().take(16) {
            let _ = write!(text, "{byte:02x}");
        }
        Self(text.into())
    }

    /// A tag from its text without quotes.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] when it holds a character that RFC 9110 forbids in one.
    pub fn new(text: &str) -> Result<Self, Error> {
        let etagc = |b: u8| b == 0x21 || (0x23..=0x7e).contains(&b) || b >= 0x80;
        if text.bytes().all(etagc) {
            Ok(Self(text.into()))
        } else {
            Err(Error::new(
                ErrorKind::InvalidRequest,
                "an ETag has no quotes or control bytes inside",
            ))
        }
    }

    /// The text without quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// With its quotes, as in a header.
impl fmt::Display for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0)
    }
}

impl fmt::Debug for ETag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
