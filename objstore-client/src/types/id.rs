use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::error::{Error, ErrorKind};

/// Milliseconds since the Unix epoch of 2100-01-01T00:00:00Z, which no id may reach.
const LATEST_MS: u64 = 4_102_444_800_000;

/// The name of an object: a [ULID](https://github.com/ulid/spec), 48 bits of milliseconds and 80
/// random bits.
///
/// Text is 26 characters of Crockford's base 32 in either case; it is always printed in upper
/// case. An `ObjectId` that exists is valid: parsing and decoding refuse everything else,
/// including times outside 2010–2100, so paths and keys may be built from it without a check.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(u128);

impl ObjectId {
    /// The length of the text form, in characters.
    pub const TEXT_LEN: usize = 26;
    /// The earliest time an id may claim, 2010-01-01T00:00:00Z, in milliseconds since the Unix epoch.
    pub const EARLIEST_MS: u64 = 1_262_304_000_000;
    /// The lowest id there is.
    pub const EARLIEST: Self = Self((Self::EARLIEST_MS as u128) << 80);

    /// An id from its time in milliseconds since the Unix epoch and its lower 80 random bits.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] when the time lies outside 2010–2100.
    pub fn from_parts(timestamp_ms: u64, random: u128) -> Result<Self, Error> {
        Self::checked(Ulid::from_parts(timestamp_ms, random))
    }

    /// An id from its 16 bytes, most significant first (the order of ids is the order of these).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] when the time they hold lies outside 2010–2100.
    pub fn from_bytes(bytes: [u8; 16]) -> Result<Self, Error> {
        Self::checked(Ulid::from_bytes(bytes))
    }

    /// The id that stands for something which has a name elsewhere, from 80 bits of that name's
    /// digest. It claims the earliest time there is, which no id made by a clock does.
    #[must_use]
    pub const fn derived(digest: u128) -> Self {
        Self(Self::EARLIEST.0 | (digest & ((1 << 80) - 1)))
    }

    /// Whether it was made by [`derived`](Self::derived).
    #[must_use]
    pub const fn is_derived(self) -> bool {
        self.0 >> 80 == Self::EARLIEST_MS as u128
    }

    /// The 16 bytes of the id, most significant first.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// Milliseconds since the Unix epoch at which the id says it was made.
    #[must_use]
    pub fn timestamp_ms(self) -> u64 {
        Ulid::from_bytes(self.to_bytes()).timestamp_ms()
    }

    fn checked(ulid: Ulid) -> Result<Self, Error> {
        if (Self::EARLIEST_MS..LATEST_MS).contains(&ulid.timestamp_ms()) {
            Ok(Self(u128::from_be_bytes(ulid.to_bytes())))
        } else {
            Err(invalid("its time lies outside the years 2010 to 2100"))
        }
    }
}

fn invalid(why: &str) -> Error {
    Error::new(
        ErrorKind::InvalidId,
        format!("not an object id: {why}; ids are ULIDs, and a node makes new ones"),
    )
}

impl FromStr for ObjectId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        if text.len() != Self::TEXT_LEN {
            return Err(invalid("it must have 26 characters"));
        }
        // Crockford's alphabet maps I, L and O to digits when reading; one object, one spelling
        // (up to case), so they are refused here.
        let alphabet = |b: u8| b.is_ascii_alphanumeric() && !b"ILOUilou".contains(&b);
        if !text.bytes().all(alphabet) {
            return Err(invalid("it has a character outside Crockford's base 32"));
        }
        if text.as_bytes().first().is_none_or(|first| *first > b'7') {
            return Err(invalid("it is above the greatest ULID, 7ZZZZZZZZZZZZZZZZZZZZZZZZZ"));
        }
        Ulid::from_string(text).map_err(|_| invalid("it does not decode")).and_then(Self::checked)
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut buf = [0u8; Self::TEXT_LEN];
        f.pad(Ulid::from_bytes(self.to_bytes()).array_to_str(&mut buf))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// As text in human-readable formats, as 16 bytes in others.
impl Serialize for ObjectId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            self.to_bytes().serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for ObjectId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            text.parse().map_err(serde::de::Error::custom)
        } else {
            let bytes = <[u8; 16]>::deserialize(deserializer)?;
            Self::from_bytes(bytes).map_err(serde::de::Error::custom)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lower_case_is_the_same_object() {
        let upper: ObjectId = "01BRNMMS1DK3CBD4ZZM2TQ8C5B".parse().unwrap();
        let lower: ObjectId = "01brnmms1dk3cbd4zzm2tq8c5b".parse().unwrap();
        assert_eq!(upper, lower);
        assert_eq!(lower.to_string(), "01BRNMMS1DK3CBD4ZZM2TQ8C5B");
    }

    #[test]
    fn anything_but_an_id_is_refused() {
        for text in [
            "",
            "01BRNMMS1DK3CBD4ZZM2TQ8C5",
            "01BRNMMS1DK3CBD4ZZM2TQ8C5BB",
            "8ZZZZZZZZZZZZZZZZZZZZZZZZZ",
            "7ZZZZZZZZZZZZZZZZZZZZZZZZZ",
            "00000000000000000000000000",
            "01BRNMMS1DK3CBD4ZZM2TQ8C5U",
            "O1BRNMMS1DK3CBD4ZZM2TQ8C5B",
            "01BRNMMS1DK3CBD4ZZM2TQ8C5\0",
            "../../../../../etc/passwd0",
            "01BRNMMS1DK3CBD4ZZM2TQ8Cé",
        ] {
            assert!(text.parse::<ObjectId>().is_err(), "{text:?}");
        }
    }
}
