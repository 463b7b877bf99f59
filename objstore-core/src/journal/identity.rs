//! The id of a node whose journal is all it keeps: one on a disk has it in its state directory.

use super::NodeId;
use super::format::{decode, encode};
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
        return Ok(NodeId::from_u128(decode(&value)?));
    }
    let mut batch = Batch::default();
    batch.put(Space::Meta, KEY, encode(&fresh.to_u128()));
    store.commit(&batch)?;
    Ok(fresh)
}
