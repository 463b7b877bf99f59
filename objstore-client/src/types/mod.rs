//! The nouns of objstore, shared by the node and everyone who talks to one.

mod etag;
mod id;
mod key;
mod level;
mod meta;
mod name;
mod peer;
mod stats;
mod user_meta;

pub use etag::ETag;
pub use id::ObjectId;
pub use key::{KeyEntry, KeyPage, ObjectKey};
pub use level::Level;
pub use meta::{ObjectMeta, Replicas};
pub use name::ObjectName;
pub use peer::{PeerInfo, PeerState};
pub use stats::{
    BodyStats, CacheStats, DiskStats, HttpStats, JournalStats, RemoteStats, RequestStats, Stats,
    UploadFailure, UploadStats,
};
pub use user_meta::UserMeta;
