//! The nouns of objstore, shared by the node and everyone who talks to one.

mod etag;
mod id;
mod key;
mod level;
mod message;
mod meta;
mod name;
mod node_id;
mod peer;
mod stats;
mod user_meta;

pub use etag::ETag;
pub use id::ObjectId;
pub use key::{KeyEntry, KeyPage, ObjectKey};
pub use level::Level;
pub use message::{Message, Received};
pub use meta::{ObjectMeta, Replicas};
pub use name::ObjectName;
pub use node_id::NodeId;
pub use peer::{PeerInfo, PeerState};
pub use stats::{
    BodyStats, CacheStats, DiskStats, HttpStats, JournalStats, RemoteStats, RequestStats, Stats,
    UploadFailure, UploadStats,
};
pub use user_meta::UserMeta;
