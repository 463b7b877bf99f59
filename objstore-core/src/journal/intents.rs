//! What is yet to be done in the remote, kept in the journal so that a crash forgets none of it.

use bytes::Bytes;
use objstore_client::types::ObjectId;
use serde::{Deserialize, Serialize};

use super::format::{decode, encode};
use super::record::{Presence, Record};
use super::stamp::Stamp;
use super::store::{JournalStore, Space, StoreError};

const PENDING: &[u8] = b"pending/";
const QUEUE: &[u8] = b"queue/";
const BEGUN: &[u8] = b"begun/";

/// A version that is durable here and that nobody sees until the remote has confirmed it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct PendingVersion {
    pub(crate) record: Record,
    pub(crate) presence: Presence,
}

/// That the current version of an object waits to be stored in the remote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QueuedUpload {
    pub(crate) stamp: Stamp,
    /// Nanoseconds since the Unix epoch.
    pub(crate) since: u64,
    /// The remote's tag of what it replaces there, as far as is known.
    pub(crate) replaces: Option<String>,
    /// Why the remote will not take it: then nothing is tried until somebody says so.
    pub(crate) refused: Option<String>,
}

/// An upload in parts that was begun in the remote, and must be completed or given up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BegunUpload {
    pub(crate) key: String,
    pub(crate) upload: String,
}

pub(super) fn pending_key(id: ObjectId, stamp: Stamp) -> Bytes {
    [PENDING, id.to_bytes().as_slice(), stamp.to_bytes().as_slice()].concat().into()
}

pub(super) fn queue_key(id: ObjectId) -> Bytes {
    [QUEUE, id.to_bytes().as_slice()].concat().into()
}

impl BegunUpload {
    fn key(&self) -> Bytes {
        let mut hash = blake3::Hasher::new();
        hash.update(self.key.as_bytes()).update(b"\0").update(self.upload.as_bytes());
        [BEGUN, hash.finalize().as_bytes().as_slice()].concat().into()
    }

    /// The note that it was begun.
    pub(crate) fn begun(&self) -> Note {
        Note { key: self.key(), value: Some(encode(self)) }
    }

    /// The note that it came to an end.
    pub(crate) fn ended(&self) -> Note {
        Note { key: self.key(), value: None }
    }
}

impl QueuedUpload {
    /// The note that an object's version waits.
    pub(crate) fn note(&self, id: ObjectId) -> Note {
        Note { key: queue_key(id), value: Some(encode(self)) }
    }

    /// The note that an object's version waits no more.
    pub(crate) fn over(id: ObjectId) -> Note {
        Note { key: queue_key(id), value: None }
    }
}

/// Something to be kept in the journal, or no more.
#[derive(Clone, Debug)]
pub(crate) struct Note {
    pub(super) key: Bytes,
    pub(super) value: Option<Bytes>,
}

impl Note {
    /// What is to be kept under a key of [`Space::Meta`]; none for nothing any more.
    pub(crate) fn new(key: impl Into<Bytes>, value: Option<Bytes>) -> Self {
        Self { key: key.into(), value }
    }
}

/// Everything that a node left to be done in the remote.
#[derive(Debug, Default)]
pub(crate) struct Intents {
    pub(crate) pending: Vec<PendingVersion>,
    pub(crate) queued: Vec<(ObjectId, QueuedUpload)>,
    pub(crate) begun: Vec<BegunUpload>,
}

impl Intents {
    /// Reads them all. Blocks.
    pub(crate) fn load(store: &dyn JournalStore) -> Result<Self, StoreError> {
        let mut intents = Self::default();
        each(store, PENDING, |_, value| {
            intents.pending.push(decode(value)?);
            Ok(())
        })?;
        each(store, QUEUE, |key, value| {
            let id = key.try_into().ok().and_then(|bytes| ObjectId::from_bytes(bytes).ok());
            let id = id.ok_or_else(|| StoreError::Damaged("a queued upload of no id".into()))?;
            intents.queued.push((id, decode(value)?));
            Ok(())
        })?;
        each(store, BEGUN, |_, value| {
            intents.begun.push(decode(value)?);
            Ok(())
        })?;
        Ok(intents)
    }
}

/// The pending version with this stamp, if it is still that. Blocks.
pub(crate) fn load_pending(
    store: &dyn JournalStore,
    id: ObjectId,
    stamp: Stamp,
) -> Result<Option<PendingVersion>, StoreError> {
    store.get(Space::Meta, &pending_key(id, stamp))?.map(|value| decode(&value)).transpose()
}

/// The stamp of the oldest pending version. Blocks.
pub(crate) fn oldest_pending(store: &dyn JournalStore) -> Result<Option<Stamp>, StoreError> {
    let mut oldest: Option<Stamp> = None;
    each(store, PENDING, |key, _| {
        if let Some(stamp) = key.last_chunk().map(|bytes| Stamp::from_bytes(*bytes)) {
            oldest = Some(oldest.map_or(stamp, |known| known.min(stamp)));
        }
        Ok(())
    })?;
    Ok(oldest)
}

/// The upload that waits for an object, if one does. Blocks.
pub(crate) fn load_queued(
    store: &dyn JournalStore,
    id: ObjectId,
) -> Result<Option<QueuedUpload>, StoreError> {
    store.get(Space::Meta, &queue_key(id))?.map(|value| decode(&value)).transpose()
}

/// Calls for every key of [`Space::Meta`] that begins so, with the rest of the key.
pub(crate) fn each(
    store: &dyn JournalStore,
    prefix: &[u8],
    mut see: impl FnMut(&[u8], &Bytes) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    const PAGE: usize = 1000;
    let mut after = prefix.to_vec();
    loop {
        let page = store.scan(Space::Meta, Some(&after), PAGE)?;
        for (key, value) in &page {
            let Some(rest) = key.strip_prefix(prefix) else { return Ok(()) };
            see(rest, value)?;
        }
        match page.last() {
            Some((last, _)) if page.len() == PAGE => after = last.to_vec(),
            _ => return Ok(()),
        }
    }
}
