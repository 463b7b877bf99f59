//! What is kept so that deletes stay deleted, and can be forgotten one day.

use std::collections::BTreeSet;

use bytes::Bytes;
use objstore_client::types::ObjectId;
use serde::{Deserialize, Serialize};

use super::NodeId;
use super::format::{decode, encode};
use super::intents::Note;
use super::stamp::Stamp;
use super::store::{JournalStore, Space, StoreError};

/// Tombstones in order of their stamps, so that the old ones are found without a scan.
const TOMBS: &[u8] = b"tomb/";
/// Objects whose tombstones were collected while the remote may still have them.
const GONE: &[u8] = b"gone/";
/// Objects that were given up because the cluster did not have them any more, while the remote may
/// still have them. Nobody showed a delete of them.
const DROPPED: &[u8] = b"dropped/";
const HORIZON: &[u8] = b"horizon";
/// The nodes among whom the horizon was found.
const AMONG: &[u8] = b"among";
/// What was agreed with another node.
const SYNC: &[u8] = b"sync/";

pub(super) fn tomb_key(id: ObjectId, stamp: Stamp) -> Bytes {
    [TOMBS, stamp.to_bytes().as_slice(), id.to_bytes().as_slice()].concat().into()
}

fn key(of: &[u8], id: ObjectId) -> Bytes {
    [of, id.to_bytes().as_slice()].concat().into()
}

/// The note that an object was deleted with this stamp, by a tombstone that is collected.
pub(super) fn gone(id: ObjectId, stamp: Stamp) -> Note {
    Note { key: key(GONE, id), value: Some(encode(&stamp)) }
}

/// The note that the version with this stamp was given up.
pub(super) fn dropped(id: ObjectId, stamp: Stamp) -> Note {
    Note { key: key(DROPPED, id), value: Some(encode(&stamp)) }
}

/// Tombstones with a stamp before `time`, the oldest first, at most `limit`. Blocks.
pub(super) fn old_tombs(
    store: &dyn JournalStore,
    time: u64,
    limit: usize,
) -> Result<Vec<(ObjectId, Stamp)>, StoreError> {
    let mut found = Vec::new();
    for (key, _) in store.scan(Space::Meta, Some(TOMBS), limit)? {
        let Some(rest) = key.strip_prefix(TOMBS) else { break };
        let (stamp, id) = rest.split_at_checked(Stamp::LEN).unwrap_or_default();
        let (Ok(stamp), Ok(id)) = (stamp.try_into(), id.try_into()) else {
            return Err(StoreError::Damaged("a tombstone's place does not decode".into()));
        };
        let stamp = Stamp::from_bytes(stamp);
        if stamp.time >= time {
            break;
        }
        let id = ObjectId::from_bytes(id)
            .map_err(|_| StoreError::Damaged("a tombstone of no id".into()))?;
        found.push((id, stamp));
    }
    Ok(found)
}

/// The stamp of the collected tombstone of an object that the remote may still have. Blocks.
pub(crate) fn load_gone(
    store: &dyn JournalStore,
    id: ObjectId,
) -> Result<Option<Stamp>, StoreError> {
    store.get(Space::Meta, &key(GONE, id))?.map(|value| decode(&value)).transpose()
}

/// The stamp up to which an object is not to come back from the remote. Blocks.
pub(crate) fn load_barred(
    store: &dyn JournalStore,
    id: ObjectId,
) -> Result<Option<Stamp>, StoreError> {
    let dropped = store.get(Space::Meta, &key(DROPPED, id))?;
    let dropped = dropped.map(|value| decode(&value)).transpose()?;
    Ok(load_gone(store, id)?.max(dropped))
}

/// The notes that the remote has nothing of an object any more that must not come back.
pub(crate) fn gone_for_good(id: ObjectId) -> Vec<Note> {
    [GONE, DROPPED].map(|of| Note { key: key(of, id), value: None }).into()
}

/// The times of two clocks up to which deletes are known, kept across starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Horizon {
    /// Tombstones with stamps before this may be collected, here or elsewhere.
    pub(crate) collected: u64,
    /// Every tombstone with a stamp before this has come here.
    pub(crate) covered: u64,
}

impl Horizon {
    pub(super) fn note(self) -> Note {
        Note { key: Bytes::from_static(HORIZON), value: Some(encode(&self)) }
    }

    /// What was kept. Blocks.
    pub(crate) fn load(store: &dyn JournalStore) -> Result<Self, StoreError> {
        store.get(Space::Meta, HORIZON)?.map_or(Ok(Self::default()), |value| decode(&value))
    }
}

/// The note of the nodes every one of which knew of all deletes before the horizon.
pub(crate) fn among(nodes: &BTreeSet<NodeId>) -> Note {
    let nodes: Vec<_> = nodes.iter().map(|node| node.to_u128()).collect();
    Note { key: Bytes::from_static(AMONG), value: Some(encode(&nodes)) }
}

/// The nodes that were kept with the horizon; none if it was found by nobody. Blocks.
pub(crate) fn load_among(store: &dyn JournalStore) -> Result<BTreeSet<NodeId>, StoreError> {
    let nodes = store.get(Space::Meta, AMONG)?;
    let nodes: Vec<u128> = nodes.map(|value| decode(&value)).transpose()?.unwrap_or_default();
    Ok(nodes.into_iter().map(NodeId::from_u128).collect())
}

/// What this node and another have of each other, in times of stamps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Agreed {
    /// The other has everything that this node had at this time of its own.
    pub(crate) given: u64,
    /// This node has everything that the other had at this time of the other's.
    pub(crate) heard: u64,
    /// When they last spoke, in nanoseconds since the Unix epoch.
    pub(crate) seen: u64,
}

impl Agreed {
    pub(crate) fn note(self, node: NodeId) -> Note {
        let key = [SYNC, node.to_u128().to_be_bytes().as_slice()].concat().into();
        Note { key, value: Some(encode(&self)) }
    }

    /// The note that nothing is known of a node any more.
    pub(crate) fn over(node: NodeId) -> Note {
        let key = [SYNC, node.to_u128().to_be_bytes().as_slice()].concat().into();
        Note { key, value: None }
    }

    /// What was kept of each node. Blocks.
    pub(crate) fn load_all(store: &dyn JournalStore) -> Result<Vec<(NodeId, Self)>, StoreError> {
        let mut all = Vec::new();
        super::intents::each(store, SYNC, |key, value| {
            let node = key.try_into().map(u128::from_be_bytes);
            let node = node.map_err(|_| StoreError::Damaged("a note of no node".into()))?;
            all.push((NodeId::from_u128(node), decode(value)?));
            Ok(())
        })?;
        Ok(all)
    }
}
