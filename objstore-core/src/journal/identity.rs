//! The id of a node whose journal is all it keeps: one on a disk has it in its state directory.

use super::format::{decode, encode};
use super::stamp::NodeId;
use super::store::{Batch, JournalStore, Space, StoreError};

const KEY: &[u8] = b"node";

/// The node id that the store has; `fresh`, durable from now on, when it has none or `renew` asks
/// for another. Blocks.
pub(crate) fn settle_node_id(
    store: &dyn JournalStore,
    fresh: NodeId,
    renew: bool,
) -> Result<NodeId, StoreError> {
    if let Some(value) = store.get(Space::Meta, KEY)?
        && !renew
    {
        return Ok(NodeId(decode(&value)?));
    }
    let mut batch = Batch::default();
    batch.put(Space::Meta, KEY, encode(&fresh.0));
    store.commit(&batch)?;
    Ok(fresh)
}
