use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use crate::error::{Error, ErrorKind};

/// A node of the cluster: a [ULID](https://github.com/ulid/spec), made once and kept in the node's
/// state directory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u128);

impl NodeId {
    /// The id with this number, whose most significant bits are those of the ULID.
    #[must_use]
    pub const fn from_u128(number: u128) -> Self {
        Self(number)
    }

    /// The id as a number.
    #[must_use]
    pub const fn to_u128(self) -> u128 {
        self.0
    }
}

/// Reads the 26 characters of a ULID, in either case; [`ErrorKind::InvalidId`] for anything else.
impl FromStr for NodeId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let ulid = Ulid::from_string(text).ok().filter(|_| text.is_ascii());
        ulid.map(|ulid| Self(u128::from_be_bytes(ulid.to_bytes()))).ok_or_else(|| {
            Error::new(ErrorKind::InvalidId, "not the id of a node, which is a ULID")
        })
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&Ulid::from_bytes(self.0.to_be_bytes()).to_string())
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// As text.
impl Serialize for NodeId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
