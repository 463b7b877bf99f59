use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::cluster::ClusterKey;
use crate::remote::S3Settings;

/// Everything about a node that can be tuned, as plain data. `Settings::default()` suits one node
/// on one machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Settings {
    /// Where records and small bodies are kept. Default `state/`.
    pub state_dir: PathBuf,
    /// Where large bodies are kept. Default `files/`.
    pub files_dir: PathBuf,
    /// The directory that stands where a bucket would, for objects of level 1 and 2. Default
    /// `remote/` below the state directory.
    pub remote_dir: Option<PathBuf>,
    /// The bucket for objects of level 1 and 2 and for keys, instead of a directory. Default none.
    pub s3: Option<S3Settings>,
    /// When the bucket is asked for an object of which nothing is known here. Default
    /// [`FetchPolicy::OnRequest`].
    pub fetch: FetchPolicy,
    /// Beginnings of keys that may be asked for through a listener beyond loopback; an empty one
    /// allows every key. Default none.
    pub fetch_prefixes: Vec<String>,
    /// How long what is here of a key is taken for current without asking the bucket, in
    /// milliseconds. Default 10 s.
    pub key_ttl_ms: u64,
    /// The most bytes of disk that journal, bodies and uploads being received may take together,
    /// at least [`Self::MIN_MAX_BYTES`]. Default: the disk is the limit.
    pub max_bytes: Option<u64>,
    /// The most bytes the memory tier may hold; 0 for none. Default: the lesser of 256 MiB and an
    /// eighth of the memory of the cgroup or machine.
    pub memory_bytes: Option<u64>,
    /// The longest body taken, in bytes. Default 256 GiB.
    pub max_object_bytes: u64,
    /// The longest body kept in the journal instead of a file, in bytes, at most 1 MiB. Default
    /// 64 KiB.
    pub inline_max_bytes: usize,
    /// Puts received at a time; more wait. Default 256.
    pub max_uploads: usize,
    /// When bodies that are elsewhere too make room for others.
    pub evict: EvictSettings,
    /// How bodies get to the remote.
    pub uploads: UploadSettings,
    /// How bodies are brought from the remote.
    pub fill: FillSettings,
    /// The public HTTP service.
    pub http: HttpSettings,
    /// The other nodes.
    pub cluster: ClusterSettings,
}

impl Settings {
    /// The least that [`Self::max_bytes`] may be: the journal's log alone needs up to half of it.
    pub const MIN_MAX_BYTES: u64 = 128 * 1024 * 1024;
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            state_dir: PathBuf::from("state"),
            files_dir: PathBuf::from("files"),
            remote_dir: None,
            s3: None,
            fetch: FetchPolicy::default(),
            fetch_prefixes: Vec::new(),
            key_ttl_ms: 10_000,
            max_bytes: None,
            memory_bytes: None,
            max_object_bytes: 256 << 30,
            inline_max_bytes: 64 * 1024,
            max_uploads: 256,
            evict: EvictSettings::default(),
            uploads: UploadSettings::default(),
            fill: FillSettings::default(),
            http: HttpSettings::default(),
            cluster: ClusterSettings::default(),
        }
    }
}

/// When the bucket is asked for an object of which nothing is known here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum FetchPolicy {
    /// Never.
    Never,
    /// When a read asks for it.
    #[default]
    OnRequest,
    /// With every read.
    Always,
}

/// When bodies that are elsewhere too make room for others, in percent of
/// [`Settings::max_bytes`]; without that, the free space of the disk decides. Values out of bounds
/// are taken as the nearest bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct EvictSettings {
    /// Beyond this, room is made: 1 to 100, default 90.
    pub from_percent: u8,
    /// Until no more than this is used: 0 to [`Self::from_percent`], default 80.
    pub to_percent: u8,
}

impl EvictSettings {
    /// With every value within its bounds.
    pub(crate) fn clamped(&self) -> Self {
        let from_percent = self.from_percent.clamp(1, 100);
        Self { from_percent, to_percent: self.to_percent.min(from_percent) }
    }
}

impl Default for EvictSettings {
    fn default() -> Self {
        Self { from_percent: 90, to_percent: 80 }
    }
}

/// How bodies of level 1 and 2 get to the remote.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct UploadSettings {
    /// Acknowledge a put of level 1 or 2 with 202 as soon as it is durable here, and store it in
    /// the remote after that, unless the put says otherwise. Default false.
    pub write_back: bool,
    /// Versions that may wait for the remote; puts beyond are told 503. Default 100,000.
    pub queue_max: usize,
    /// Waiting versions that are uploaded at a time. Default 16.
    pub parallel: usize,
    /// The bytes of a part: a longer body is uploaded in parts of this many, or of as many more as
    /// it takes to need at most 10,000. 5 to 64 MiB, default 8 MiB.
    pub part_bytes: u64,
    /// Parts of one body under way at a time. Default 4.
    pub parts_parallel: usize,
    /// Bytes of all uploads together that may be in memory, at least one part. Default 128 MiB.
    pub budget_bytes: u64,
}

impl Default for UploadSettings {
    fn default() -> Self {
        Self {
            write_back: false,
            queue_max: 100_000,
            parallel: 16,
            part_bytes: 8 << 20,
            parts_parallel: 4,
            budget_bytes: 128 << 20,
        }
    }
}

/// How bodies are brought from the remote. Values out of bounds are taken as the nearest bound.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct FillSettings {
    /// The most bytes asked for in one request: 64 KiB to 64 MiB, in whole units of 64 KiB.
    /// Default 8 MiB.
    pub block_bytes: u64,
    /// Requests kept going ahead of one reader, those not counted that are nearly done: 1 to 64.
    /// Default 8.
    pub parallel: usize,
    /// The most bytes asked for and not here yet, over all readers: at least
    /// [`Self::block_bytes`]. What a reader waits for goes before what is fetched ahead. As much
    /// again may be kept in memory for readers that are slow, of what is not stored. Default
    /// 128 MiB.
    pub budget_bytes: u64,
    /// The time without a byte after which a reply is given up and the rest asked for anew, in
    /// milliseconds: 100 ms to 10 minutes. Default 15 s.
    pub stall_timeout_ms: u64,
}

impl FillSettings {
    const UNIT: u64 = crate::bodies::UNIT as u64;

    /// With every value within its bounds.
    pub(crate) fn clamped(&self) -> Self {
        let block = self.block_bytes.clamp(Self::UNIT, 64 << 20) / Self::UNIT * Self::UNIT;
        Self {
            block_bytes: block,
            parallel: self.parallel.clamp(1, 64),
            budget_bytes: self.budget_bytes.clamp(block, 64 << 30),
            stall_timeout_ms: self.stall_timeout_ms.clamp(100, 600_000),
        }
    }
}

impl Default for FillSettings {
    fn default() -> Self {
        Self {
            block_bytes: 8 << 20,
            parallel: 8,
            budget_bytes: 128 << 20,
            stall_timeout_ms: 15_000,
        }
    }
}

/// The bounds of the public HTTP service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct HttpSettings {
    /// Connections served at a time, each with up to 512 KiB of buffers in either direction; more
    /// are told 503. Default 1024.
    pub max_connections: usize,
    /// Requests handled at a time over all connections; more are told 503. Default 1024.
    pub max_requests: usize,
    /// The time within which the head of a request must arrive, in milliseconds. Default 10 s.
    pub head_timeout_ms: u64,
    /// The time within which at least [`Self::body_min_bytes`] of a body must move, in
    /// milliseconds, in either direction. Default 30 s.
    pub body_timeout_ms: u64,
    /// The least of a body that must move within [`Self::body_timeout_ms`], in bytes. Default
    /// 30 KiB, which makes 1 KiB/s.
    pub body_min_bytes: u64,
    /// The time a connection may stay open without a request, in milliseconds. Default 120 s.
    pub idle_timeout_ms: u64,
    /// Names that a request's `Host` or `Origin` may have besides loopback and this machine, when
    /// the listener is bound to loopback. Default none.
    pub allow_hosts: Vec<String>,
    /// A file of tokens, a line for each: `NAME SCOPES TOKEN`, the scopes being `read`, `write` and
    /// `admin` with commas between them. With it every request but those for `/healthz` and `/readyz`
    /// needs one. It is read again when it changes. Default none.
    pub token_file: Option<PathBuf>,
    /// The certificate that [`Node::serve_public`](crate::Node::serve_public) serves with, PEM, those
    /// of its authorities behind it; with [`Self::tls_key`], and read again when either changes.
    /// Default none: in the clear.
    pub tls_cert: Option<PathBuf>,
    /// The private key of [`Self::tls_cert`], PEM. Default none.
    pub tls_key: Option<PathBuf>,
    /// Serve types that a browser would run (HTML, SVG, …) inline instead of as an attachment.
    /// Default false.
    pub serve_active_content: bool,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_requests: 1024,
            head_timeout_ms: 10_000,
            body_timeout_ms: 30_000,
            body_min_bytes: 30 * 1024,
            idle_timeout_ms: 120_000,
            allow_hosts: Vec::new(),
            token_file: None,
            tls_cert: None,
            tls_key: None,
            serve_active_content: false,
        }
    }
}

/// How a node finds the others and speaks with them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct ClusterSettings {
    /// Where this node listens for others, `host:port`. Default none: it has no part in a cluster.
    pub private_addr: Option<String>,
    /// Where others reach it, `host:port`, when that is not where it listens. Default none.
    pub advertise_addr: Option<String>,
    /// Where clients reach this node, `host:port`, as the others are told. Default: where
    /// [`Node::serve_public`](crate::Node::serve_public) listens.
    pub public_addr: Option<String>,
    /// Nodes to find the others through, `host` or `host:port`; port 11999 unless given. Default
    /// none.
    pub nodes: Vec<String>,
    /// The name of the cluster; nodes of another are refused. Default `default`.
    pub tag: String,
    /// A member that has not been heard of for this long no longer counts, in milliseconds: what
    /// was deleted meanwhile is not kept for its sake. Default 7 days.
    pub forget_after_ms: u64,
    /// How long a deleted object is answered as deleted at least, in milliseconds: after that, and
    /// once all members know of it, the delete is forgotten. Default 1 day.
    pub tombstone_keep_ms: u64,
    /// A file with the keys that the nodes of the cluster share, one a line: the first issues
    /// this node's certificate, all are accepted. It is read again when it changes. Default none:
    /// only what runs on this machine is served.
    pub cluster_key_file: Option<PathBuf>,
    /// The keys themselves, instead of a file; never serialised. Default none.
    #[serde(skip)]
    pub keys: Vec<ClusterKey>,
    /// Without a key, serve nodes on other machines too: whoever can connect can read, change and
    /// delete everything. Default false.
    pub insecure: bool,
    /// Where the private API is served in the clear to whoever looks after the node, `host:port`,
    /// loopback only. Default none.
    pub debug_addr: Option<String>,
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self {
            private_addr: None,
            advertise_addr: None,
            public_addr: None,
            nodes: Vec::new(),
            tag: "default".to_owned(),
            forget_after_ms: 7 * 24 * 3600 * 1000,
            tombstone_keep_ms: 24 * 3600 * 1000,
            cluster_key_file: None,
            keys: Vec::new(),
            insecure: false,
            debug_addr: None,
        }
    }
}
