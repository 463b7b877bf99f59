use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::NodeId;
use crate::error::{Error, ErrorKind};

/// What an application sent to those at the other nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Message {
    /// The node it was sent from.
    pub from: NodeId,
    /// What was sent, as it was given. In JSON it is base64 (RFC 4648 §4).
    #[serde(with = "base64_text")]
    pub payload: Bytes,
}

impl Message {
    /// The longest payload, in bytes.
    pub const MAX: usize = 8 * 1024;

    /// Refuses a payload that is too long.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] for more than [`MAX`](Self::MAX) bytes.
    pub fn check(payload: &[u8]) -> Result<(), Error> {
        if payload.len() > Self::MAX {
            return Err(Error::new(ErrorKind::TooLarge, "a message has 8 KiB at most"));
        }
        Ok(())
    }

    /// A message from a node.
    #[must_use]
    pub fn new(from: NodeId, payload: Bytes) -> Self {
        Self { from, payload }
    }
}

/// What comes to one who follows messages.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Received {
    /// A message.
    Message(Message),
    /// So many messages are gone that came before the next one: this subscriber was further behind
    /// than the 256 that are kept.
    Missed(u64),
    /// From here on messages are those that come to another node, or to the same after a restart:
    /// what was sent in between is gone, if anything was. Only clients are told this.
    Interrupted,
}

mod base64_text {
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        let text = String::deserialize(from)?;
        BASE64_STANDARD.decode(text).map(Bytes::from).map_err(serde::de::Error::custom)
    }
}
