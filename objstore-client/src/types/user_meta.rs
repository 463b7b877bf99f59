use std::collections::BTreeMap;
use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

/// What a user wants kept beside an object: text by name, in order of name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct UserMeta(BTreeMap<String, String>);

impl UserMeta {
    /// The most bytes that names and values may have together at level 0.
    pub const MAX_LOCAL_LEN: usize = 16 * 1024;
    /// The most bytes that names and values may have together at levels 1 and 2: what
    /// [S3 keeps](https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html).
    pub const MAX_REMOTE_LEN: usize = 2 * 1024;

    /// The most pairs there may be.
    pub const MAX_PAIRS: usize = 1024;

    /// User metadata from pairs; of a name given twice the last counts.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidUserMeta`] when they are longer than [`Self::MAX_LOCAL_LEN`] in all.
    pub fn new<K: Into<String>, V: Into<String>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, Error> {
        Self(pairs.into_iter().map(|(k, v)| (k.into(), v.into())).collect()).within_bounds()
    }

    /// User metadata from a JSON object whose values are strings.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidUserMeta`] for any other JSON, a name given twice, or more than
    /// [`Self::MAX_LOCAL_LEN`] bytes.
    pub fn from_json(json: &[u8]) -> Result<Self, Error> {
        serde_json::from_slice::<Self>(json)
            .map_err(|e| {
                Error::new(
                    ErrorKind::InvalidUserMeta,
                    format!("user metadata must be a JSON object of strings: {e}"),
                )
            })?
            .within_bounds()
    }

    /// As a JSON object on one line, without bytes that a header may not carry.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Serialising a map of strings cannot fail. DEL is the one byte JSON leaves alone and a
        // header field (RFC 9110 §5.5) does not allow.
        serde_json::to_string(self).unwrap_or_default().replace('\u{7f}', "\\u007f")
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value under a name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// All pairs, in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Bytes of all names and values.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    fn within_bounds(self) -> Result<Self, Error> {
        if self.byte_len() > Self::MAX_LOCAL_LEN || self.0.len() > Self::MAX_PAIRS {
            return Err(Error::new(
                ErrorKind::InvalidUserMeta,
                "user metadata is longer than 16 KiB, or has more than 1024 names",
            ));
        }
        Ok(self)
    }
}

impl<'de> Deserialize<'de> for UserMeta {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;

        impl<'de> Visitor<'de> for Pairs {
            type Value = BTreeMap<String, String>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, String>()? {
                    if pairs.insert(name, value).is_some() {
                        return Err(serde::de::Error::custom("a name is given twice"));
                    }
                }
                Ok(pairs)
            }
        }

        deserializer.deserialize_map(Pairs).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_object_of_strings_is_user_metadata() {
        for json in [
            "",
            "1",
            "[]",
            "\"a\"",
            "{\"a\":1}",
            "{\"a\":null}",
            "{\"a\":{}}",
            "{\"a\":\"1\",\"a\":\"2\"}",
            "{} x",
        ] {
            assert!(UserMeta::from_json(json.as_bytes()).is_err(), "{json}");
        }
        assert!(UserMeta::from_json("[".repeat(10_000).as_bytes()).is_err());
        let meta = UserMeta::from_json(br#"{"Author":"bob","lang":"en"}"#).unwrap();
        assert_eq!(meta.get("Author"), Some("bob"));
        assert_eq!(meta.to_json(), r#"{"Author":"bob","lang":"en"}"#);
    }

    #[test]
    fn json_carries_no_byte_that_a_header_forbids() {
        let meta = UserMeta::new([("k", "a\r\n\u{7f}\0b")]).unwrap();
        assert!(meta.to_json().bytes().all(|b| b >= 0x20 && b != 0x7f));
        assert_eq!(UserMeta::from_json(meta.to_json().as_bytes()).unwrap(), meta);
    }
}
