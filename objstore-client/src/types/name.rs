use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

/// The file name that goes with an object: Unicode, at most 1 KiB, no control characters. Empty
/// when none was given. It decides the content type and is nothing else: never a path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectName(Box<str>);

impl ObjectName {
    /// The most bytes a name may have.
    pub const MAX_LEN: usize = 1024;

    /// A name from text.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidName`] when it is longer than [`Self::MAX_LEN`] bytes or holds a control
    /// character.
    pub fn new(text: &str) -> Result<Self, Error> {
        if text.len() > Self::MAX_LEN {
            Err(Error::new(ErrorKind::InvalidName, "the name is longer than 1024 bytes"))
        } else if text.chars().any(char::is_control) {
            Err(Error::new(ErrorKind::InvalidName, "the name has a control character"))
        } else {
            Ok(Self(text.into()))
        }
    }

    /// A name from the bytes of a header.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidName`] as [`Self::new`], and when the bytes are not UTF-8.
    pub fn from_utf8(bytes: &[u8]) -> Result<Self, Error> {
        let text = std::str::from_utf8(bytes)
            .map_err(|_| Error::new(ErrorKind::InvalidName, "the name is not UTF-8"))?;
        Self::new(text)
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether no name was given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl TryFrom<String> for ObjectName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        Self::new(&text)
    }
}

impl From<ObjectName> for String {
    fn from(name: ObjectName) -> Self {
        name.0.into()
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
