use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind};

/// How far an object's body has to be kept before a put is acknowledged. Never lowered by an
/// overwrite.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "u8", into = "u8")]
#[repr(u8)]
pub enum Level {
    /// 0: synced to the disk of the node that took the put. The default.
    #[default]
    Local = 0,
    /// 1: that, and confirmed by the remote (the bucket).
    Remote = 1,
    /// 2: that, and copied to every node of the cluster. On a lone node the same as 1.
    Full = 2,
}

impl From<Level> for u8 {
    fn from(level: Level) -> Self {
        level as Self
    }
}

impl TryFrom<u8> for Level {
    type Error = Error;

    fn try_from(number: u8) -> Result<Self, Error> {
        match number {
            0 => Ok(Self::Local),
            1 => Ok(Self::Remote),
            2 => Ok(Self::Full),
            _ => Err(Error::new(ErrorKind::InvalidLevel, "the consistency level is 0, 1 or 2")),
        }
    }
}

impl FromStr for Level {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "0" => Ok(Self::Local),
            "1" => Ok(Self::Remote),
            "2" => Ok(Self::Full),
            _ => Self::try_from(u8::MAX),
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        u8::from(*self).fmt(f)
    }
}
