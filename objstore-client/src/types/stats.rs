use serde::{Deserialize, Serialize};

use super::{ObjectId, PeerInfo};

/// What a node can say about itself: the JSON of `GET /api/v1/stats`. All sizes are bytes; all
/// counts are since the node started unless they say otherwise.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Stats {
    /// The node, as a ULID.
    pub node_id: String,
    /// The version of the program.
    pub version: String,
    /// Whether it wants requests, as `/readyz` says.
    pub ready: bool,
    /// Seconds since the node started.
    pub uptime_seconds: u64,
    /// The file system that holds the bodies, with the names of the original.
    pub disk_stats: DiskStats,
    /// Records.
    pub journal: JournalStats,
    /// Bodies on this node.
    pub bodies: BodyStats,
    /// The memory tier.
    pub cache: CacheStats,
    /// The bucket, or what stands in its place.
    pub remote: RemoteStats,
    /// What is yet to be stored in the remote.
    pub uploads: UploadStats,
    /// Requests, in process and over HTTP together.
    pub requests: RequestStats,
    /// Requests over the public HTTP API, one entry for each kind.
    pub http: Vec<HttpStats>,
    /// The other members of the cluster, the absent ones included.
    pub peers: Vec<PeerInfo>,
}

/// The file system below the bodies.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct DiskStats {
    /// Its size.
    pub bytes_all: u64,
    /// What is used of it.
    pub bytes_used: u64,
    /// What is free to this process.
    pub bytes_free: u64,
    /// Its size in GiB.
    pub gb_all: f64,
    /// What is used of it in GiB.
    pub gb_used: f64,
    /// What is free to this process in GiB.
    pub gb_free: f64,
}

impl DiskStats {
    /// The figures of a file system of this size with this much free.
    #[must_use]
    pub fn new(all: u64, free: u64) -> Self {
        #[allow(clippy::cast_precision_loss)]
        let gb = |bytes: u64| bytes as f64 / f64::from(1 << 30);
        let used = all.saturating_sub(free);
        Self {
            bytes_all: all,
            bytes_used: used,
            bytes_free: free,
            gb_all: gb(all),
            gb_used: gb(used),
            gb_free: gb(free),
        }
    }
}

/// The journal of records.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct JournalStats {
    /// Live objects.
    pub objects: u64,
    /// Tombstones of deleted objects.
    pub tombstones: u64,
    /// Batches made durable.
    pub batches: u64,
    /// Changes those batches held.
    pub changes: u64,
    /// Whether changes are taken at the moment.
    pub writable: bool,
}

/// Bodies on this node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct BodyStats {
    /// Bytes of all live bodies as their readers see them.
    pub bytes: u64,
    /// Physical bytes used now: journal, bodies, uploads being received.
    pub bytes_physical: u64,
    /// The most physical bytes that may be used; 0 when only the disk is the limit.
    pub bytes_max: u64,
    /// Reads that met a damaged unit.
    pub corrupt_reads: u64,
    /// Bodies that made room for others, being elsewhere too.
    pub evicted: u64,
    /// Bytes that this gave back.
    pub evicted_bytes: u64,
}

/// The memory tier.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct CacheStats {
    /// Bytes held now.
    pub bytes: u64,
    /// The most bytes it may hold.
    pub bytes_max: u64,
    /// Lookups it answered.
    pub hits: u64,
    /// Lookups that went to the disk.
    pub misses: u64,
}

/// The bucket, or what stands in its place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RemoteStats {
    /// Which one it is.
    pub identity: String,
    /// Whether the last call was answered.
    pub reachable: bool,
    /// What the last call that was not answered met, until one is answered again.
    pub last_error: Option<String>,
    /// Versions stored there.
    pub uploads: u64,
    /// Bytes of them.
    pub bytes_up: u64,
    /// Requests for bodies, or parts of them.
    pub fetches: u64,
    /// Bytes that came with them.
    pub bytes_down: u64,
}

/// What is yet to be stored in the remote.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct UploadStats {
    /// Versions that wait, those that fail and are refused among them.
    pub queued: u64,
    /// Of them, those whose last try failed.
    pub failing: u64,
    /// Of them, those that the remote will not take; each waits to be retried or dropped.
    pub refused: u64,
    /// Things being done in the remote now.
    pub running: u64,
    /// Puts that were not acknowledged, of which it has to be found out whether the remote has them.
    pub undecided: u64,
    /// How long the oldest has waited, in seconds.
    pub oldest_seconds: u64,
    /// At most 100 of those that fail: the refused first, then the oldest.
    pub failures: Vec<UploadFailure>,
}

/// A version that could not be stored in the remote so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct UploadFailure {
    /// The object.
    pub id: ObjectId,
    /// What the last try met.
    pub error: String,
    /// Tries since the node started or it was retried by hand.
    pub tries: u32,
    /// Nothing more is tried until somebody says so.
    pub refused: bool,
}

impl UploadFailure {
    /// Of this object, without an error; the fields are public to be set.
    #[must_use]
    pub fn new(id: ObjectId) -> Self {
        Self { id, error: String::new(), tries: 0, refused: false }
    }
}

/// Requests, in process and over HTTP together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct RequestStats {
    /// Acknowledged puts.
    pub puts: u64,
    /// Answered gets.
    pub gets: u64,
    /// Acknowledged deletes.
    pub deletes: u64,
    /// Bytes taken in by acknowledged puts.
    pub bytes_in: u64,
    /// Bytes of bodies handed out.
    pub bytes_out: u64,
}

/// Requests over the public HTTP API that asked for one kind of thing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct HttpStats {
    /// What they asked for: `get`, `head`, `put`, `delete`, `meta`, `level`, `list` or `other`.
    pub op: String,
    /// Those that were answered with a status of 200 to 299.
    pub answers_2xx: u64,
    /// Those that were answered with a status of 300 to 399.
    pub answers_3xx: u64,
    /// Those that were answered with a status of 400 to 499.
    pub answers_4xx: u64,
    /// Those that were answered with a status from 500 on.
    pub answers_5xx: u64,
    /// How long it took from their heads to the heads of their answers, in seconds, all together.
    pub seconds: f64,
}
