use std::sync::Arc;

use objstore_client::types::{ETag, Level, ObjectId, ObjectMeta, ObjectName, UserMeta};
use serde::{Deserialize, Serialize};

use super::stamp::Stamp;
use crate::fills::Origin;

/// What the whole cluster knows about one version of an object, the same on every node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) id: ObjectId,
    pub(crate) stamp: Stamp,
    /// Nanoseconds since the Unix epoch, as the user is told.
    pub(crate) modified: u64,
    /// The remote may have the object, in this version or another: true from the first version of
    /// level 1 on, for good. What a tombstone has to keep from coming back.
    pub(crate) in_remote: bool,
    /// None: a tombstone.
    pub(crate) live: Option<Box<Live>>,
    /// What a later version of this program keeps besides: passed on as it came, so that nodes of
    /// both versions have the same bytes.
    pub(crate) extra: Vec<u8>,
}

/// What a version that is not a tombstone has besides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Live {
    pub(crate) level: Level,
    pub(crate) size: u64,
    /// BLAKE3 of the body; none when it came from a bucket that did not say.
    pub(crate) digest: Option<[u8; 32]>,
    pub(crate) name: ObjectName,
    pub(crate) content_type: Option<String>,
    pub(crate) content_encoding: Option<String>,
    pub(crate) user_meta: UserMeta,
    /// The remote's ETag, once it has confirmed this very version.
    pub(crate) remote_etag: Option<String>,
}

/// Where this node has the body of a version. Never leaves the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Presence {
    /// Not here (or there is none: a tombstone).
    Absent,
    /// In the journal's own store.
    Inline,
    /// In a file of its own that takes this many bytes of disk.
    File { physical: u64 },
    /// In part, or in whole, or not at all: it is in the remote, and what is here is a cache of it
    /// that may be dropped at any time.
    Cached,
}

impl Presence {
    /// Whether the whole body is here, and stays.
    pub(crate) fn is_held(self) -> bool {
        matches!(self, Self::Inline | Self::File { .. })
    }
}

/// A record with this node's presence: what one lookup yields.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) record: Record,
    pub(crate) presence: Presence,
    /// The record as users see it, made once.
    pub(crate) meta: Arc<ObjectMeta>,
    /// Its key in the remote where that is not its id.
    pub(crate) key: Option<Arc<str>>,
}

impl Entry {
    pub(crate) fn new(record: Record, presence: Presence) -> Self {
        let mut meta = record.to_meta();
        // What the remote has too may be anywhere.
        meta.is_symlink = !presence.is_held()
            && record.live.as_ref().is_some_and(|live| live.remote_etag.is_none());
        Self { record, presence, meta: Arc::new(meta), key: None }
    }

    /// What is cached of a key.
    pub(crate) fn of_key(record: Record, key: Arc<str>) -> Self {
        Self { key: Some(key), ..Self::new(record, Presence::Cached) }
    }

    /// Where the body is to be found; none for a tombstone.
    pub(crate) fn origin(&self) -> Option<Origin> {
        let live = self.live()?;
        Some(Origin {
            key: self.key.as_ref().map_or_else(|| self.record.id.to_string(), |k| k.to_string()),
            etag: live.remote_etag.clone(),
            size: live.size,
            record: self.record.clone(),
            digest: live.digest,
            keep: self.presence.is_held(),
        })
    }

    /// The version as conditions and readers see it: a tombstone is no object.
    pub(crate) fn live(&self) -> Option<&Live> {
        self.record.live.as_deref()
    }
}

impl Live {
    /// From the digest where there is one, else the bucket's, if a header may carry that: which of
    /// the two it is never changes for a version.
    fn etag(&self) -> Option<ETag> {
        match &self.digest {
            Some(digest) => Some(ETag::from_digest(digest)),
            None => self.remote_etag.as_deref().and_then(|tag| ETag::new(tag).ok()),
        }
    }
}

impl Record {
    pub(crate) fn new(id: ObjectId, stamp: Stamp, modified: u64, live: Option<Box<Live>>) -> Self {
        let mut record = Self { id, stamp, modified, in_remote: false, live, extra: Vec::new() };
        record.in_remote = record.may_be_in_remote();
        record
    }

    /// Whether the remote may have the object.
    pub(crate) fn may_be_in_remote(&self) -> bool {
        self.in_remote || self.level() > Level::Local
    }

    /// How far the body has to be kept; a tombstone has none.
    pub(crate) fn level(&self) -> Level {
        self.live.as_ref().map_or(Level::Local, |live| live.level)
    }

    fn to_meta(&self) -> ObjectMeta {
        let mut meta = ObjectMeta::new(self.id, self.modified);
        match &self.live {
            None => meta.is_deleted = true,
            Some(live) => {
                meta.name = live.name.clone();
                meta.size = live.size;
                meta.user_meta = live.user_meta.clone();
                meta.consistency = live.level;
                meta.is_pending = live.level > Level::Local && live.remote_etag.is_none();
                meta.etag = live.etag();
                meta.content_type.clone_from(&live.content_type);
                meta.content_encoding.clone_from(&live.content_encoding);
                let hex = |digest| blake3::Hash::from_bytes(digest).to_hex().to_string();
                meta.blake3 = live.digest.map(hex);
            }
        }
        meta
    }
}
