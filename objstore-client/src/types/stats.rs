use serde::{Deserialize, Serialize};

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
    /// Requests.
    pub requests: RequestStats,
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
