//! Messages between applications on the way through a node, in JSON.

use serde::{Deserialize, Serialize};

use crate::types::Message;

/// The longest that a node keeps one who asks for messages waiting, in milliseconds.
pub const WAIT_MAX_MS: u64 = 5_000;

/// The answer of `GET /api/v1/messages`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Messages {
    /// Where the messages after these begin: the next `after`.
    pub next: String,
    /// How many are gone that came before these.
    #[serde(default)]
    pub missed: u64,
    /// `after` was of another node, or of this one before it was restarted: how many are gone is
    /// not known.
    #[serde(default)]
    pub interrupted: bool,
    /// In the order in which they came to this node.
    pub messages: Vec<Message>,
}

/// The answer of `POST /api/v1/messages`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// How many nodes took it, the one that was asked included.
    pub nodes: usize,
}
