//! The private API, which nodes speak among themselves. Descriptions of nodes are JSON, so that a
//! field that is not known yet is passed over; records travel as the bytes that are stored.

use serde::{Deserialize, Serialize};

use crate::types::DiskStats;

/// The version of the private protocol that this program speaks. A node talks to those of one
/// version before and after too.
pub const PROTOCOL: u32 = 1;
/// Where nodes reach each other unless another port is given.
pub const PORT: u16 = 11999;

/// Paths of the private API. Those ending in `/` take an id behind them.
pub mod routes {
    /// `POST`: two nodes tell each other who they are; [`Hello`](super::Hello) both ways.
    pub const HELLO: &str = "/private/v1/hello";
    /// `GET`: the node's id as text.
    pub const PING: &str = "/private/v1/ping";
    /// `GET`: the members of the cluster, [`PeerInfo`](crate::types::PeerInfo)s as JSON.
    pub const NODES: &str = "/private/v1/nodes";
    /// `POST`: packets of the membership protocol, and in the answer those that go back.
    pub const GOSSIP: &str = "/private/v1/gossip";
    /// `POST`: a member of the cluster is given up; [`Forget`](super::Forget).
    pub const FORGET: &str = "/private/v1/forget";
    /// `POST`: records that have just changed.
    pub const ANNOUNCE: &str = "/private/v1/announce";
    /// `POST`: one step of the comparison of two journals.
    pub const SYNC: &str = "/private/v1/sync";
    /// `GET`: units of a body, each behind its checksum; `HEAD`: whether the first of them is to be
    /// had.
    pub const GET: &str = "/private/v1/get/";
    /// `POST`: asks a node to hold a copy of a version.
    pub const PUT: &str = "/private/v1/put";
    /// `POST`: deletes an object.
    pub const DELETE: &str = "/private/v1/delete/";
    /// `POST`: a message from one application to those on all other nodes.
    pub const MESSAGE: &str = "/private/v1/message";
}

/// Header fields of the private API, in lower case as HTTP libraries want them.
pub mod headers {
    /// Who asks: a node's id.
    pub const NODE: &str = "x-objstore-node";
    /// The asker's [`Hello::boot`](super::Hello::boot).
    pub const BOOT: &str = "x-objstore-boot";
    /// Who is asked: a node's id, where the asker knows it.
    pub const TO: &str = "x-objstore-to";
    /// The cluster's tag.
    pub const TAG: &str = "x-objstore-tag";
    /// [`PROTOCOL`](super::PROTOCOL) of the asker.
    pub const PROTOCOL: &str = "x-objstore-protocol";
    /// The stamp of the version that is meant, or that units are sealed with, as it stands in the
    /// metadata of an object in the bucket.
    pub const STAMP: &str = "x-objstore-stamp";
    /// The units that are asked for, `first-end`, the end exclusive.
    pub const UNITS: &str = "x-objstore-units";
    /// Up to which unit, exclusive, the node that answers has all from the first on that was asked
    /// for, whether it was asked for or not. A node that does not say has all of the body.
    pub const HELD: &str = "x-objstore-held";
    /// `1`: the node that is asked may ask the remote.
    pub const FETCH: &str = "x-objstore-fetch";
    /// A key of the remote, percent-encoded, where it is not the id.
    pub const KEY: &str = "x-objstore-key";
    /// The remote's tag of the version that is meant.
    pub const ETAG: &str = "x-objstore-etag";
    /// How many bytes of record come before the units, where the asker does not have it.
    pub const RECORD: &str = "x-objstore-record";
    /// `1`: the node that is asked for a copy is to store it in the remote as well, in place of the
    /// asker.
    pub const UPLOAD: &str = "x-objstore-upload";
    /// How long ago the remote said so, in milliseconds.
    pub const AGE: &str = "x-objstore-age";
}

/// Who a node is: what two nodes tell each other before anything else.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Hello {
    /// The protocol it speaks.
    pub protocol: u32,
    /// The cluster it belongs to.
    pub tag: String,
    /// Its id, as a ULID.
    pub node: String,
    /// A random number drawn at its start: two processes with one id differ in it.
    pub boot: u32,
    /// Orders the lives of one node: the greater one is the later.
    pub generation: u64,
    /// Which remote is behind it.
    pub remote: String,
    /// Whether that remote is a directory of its own, which no other node can reach.
    pub remote_is_private: bool,
    /// Where other nodes reach its private API, `host:port`.
    pub addr: String,
    /// Where clients reach its public API, `host:port`; empty when it has none.
    pub public_addr: String,
    /// The version of its program.
    pub version: String,
    /// The file system that holds its bodies.
    pub disk_stats: DiskStats,
    /// Its clock, in nanoseconds since the Unix epoch.
    pub now: u64,
    /// Up to this generation the one who is spoken to is known to have ended; it goes on with a
    /// greater one. 0 for none.
    pub renew_above: u64,
    /// Why the one who is spoken to may not join.
    pub refused: Option<Refused>,
}

/// Why a node may not join a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Refused {
    /// Another process with its id lives.
    pub twin: bool,
    /// One line that says what to do.
    pub why: String,
}

/// A member of the cluster is given up: it no longer counts when it is decided what may be
/// collected.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Forget {
    /// Its id, as a ULID.
    pub node: String,
    /// When that was decided, in nanoseconds since the Unix epoch.
    pub at: u64,
}
