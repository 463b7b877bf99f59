use serde::{Deserialize, Serialize};

use super::DiskStats;

/// What a node knows about a member of its cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct PeerInfo {
    /// Its id, as a ULID.
    pub node_id: String,
    /// Where other nodes reach it, `host:port`.
    pub private_addr: String,
    /// Where clients reach it, `host:port`; empty when it serves none.
    pub public_addr: String,
    /// How it is doing.
    pub state: PeerState,
    /// The version of its program.
    pub version: String,
    /// The file system that holds its bodies, when it last said so.
    pub disk_stats: DiskStats,
    /// When it was last heard of, in nanoseconds since the Unix epoch. Of one that was given up:
    /// when that was.
    pub last_seen: u64,
    /// How far its clock is ahead of that of the node that says so, in milliseconds; 0 where that
    /// is not known.
    pub clock_ahead_ms: i64,
    /// For how long the node that says so has asked it in vain, though others say that it lives, in
    /// milliseconds; 0 where it answers, or has not been asked.
    pub unanswered_ms: u64,
}

/// How a member of the cluster is doing, as far as one node knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum PeerState {
    /// It answers.
    Alive,
    /// It has not answered for a moment.
    Suspect,
    /// It does not answer, or said that it left. It may come back.
    #[default]
    Gone,
    /// It was given up, by hand or because it had not been heard of for too long.
    Forgotten,
}
