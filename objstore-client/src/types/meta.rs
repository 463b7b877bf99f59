use serde::{Deserialize, Serialize};

use super::{ETag, Level, ObjectId, ObjectName, UserMeta};

/// What is known about one version of an object. Its JSON is the answer of
/// `GET /api/v1/meta/:id`: the nine names of the original, then ours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ObjectMeta {
    /// The object.
    pub id: ObjectId,
    /// Its file name, empty when none was given.
    pub name: ObjectName,
    /// The length of its body in bytes; 0 when deleted.
    pub size: u64,
    /// When this version was made, in nanoseconds since the Unix epoch.
    pub timestamp: u64,
    /// What the user wants kept beside it.
    pub user_meta: UserMeta,
    /// The body is on another node.
    pub is_symlink: bool,
    /// How far the body has to be kept.
    pub consistency: Level,
    /// The object has been deleted.
    pub is_deleted: bool,
    /// The body came from the remote for this answer.
    pub is_fetched: bool,
    /// It is yet to be stored in the remote.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_pending: bool,
    /// The validator of this version; none when deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<ETag>,
    /// The content type that was given with a put, else none: then it follows from the name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// The content encoding that was given with a put. The body is kept encoded, never decoded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_encoding: Option<String>,
    /// BLAKE3 of the whole body in hexadecimal; none when deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blake3: Option<String>,
    /// Who has a copy, in the answer to a change of an object of level 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicas: Option<Replicas>,
}

/// How many nodes have a synced copy of a body. Shown as `n/m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replicas {
    /// Nodes that have one.
    pub synced: u32,
    /// Nodes that could be asked, all of which will have one.
    pub live: u32,
}

impl std::fmt::Display for Replicas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.synced, self.live)
    }
}

impl ObjectMeta {
    /// A live object without a body, name or user metadata; the fields are public to be set.
    #[must_use]
    pub fn new(id: ObjectId, timestamp: u64) -> Self {
        Self {
            id,
            name: ObjectName::default(),
            size: 0,
            timestamp,
            user_meta: UserMeta::default(),
            is_symlink: false,
            consistency: Level::Local,
            is_deleted: false,
            is_fetched: false,
            is_pending: false,
            etag: None,
            content_type: None,
            content_encoding: None,
            blake3: None,
            replicas: None,
        }
    }
}
