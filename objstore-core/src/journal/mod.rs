//! The journal: one record for each object, on disk before it is acknowledged.

mod change;
mod counters;
mod digest;
mod evicting;
mod fjall_store;
mod format;
mod identity;
mod intents;
mod manifest;
mod mark;
mod memory_store;
mod merge;
mod merging;
mod pages;
mod past;
mod record;
mod sealed_log;
mod stamp;
mod store;
mod todo;
mod writer;

pub use memory_store::MemoryJournal;
pub use store::{Batch, JournalStore, Space, StoreError};

pub(crate) use objstore_client::types::NodeId;

pub(crate) use change::{Change, Committed, HeldBody, NewBody, Put, Queue, WriterHandle};
pub(crate) use digest::{DEPTH, Digest, FANOUT};
pub(crate) use fjall_store::FjallJournal;
pub(crate) use format::{
    body_key, decode, decode_entry, decode_foreign, decode_key_entry, decode_record, encode,
    encode_record, entry_id, entry_key, garbage_prefix, garbage_version, load_entry, record_of,
};
pub(crate) use identity::settle_node_id;
pub(crate) use intents::{
    BegunUpload, Intents, Note, QueuedUpload, each, load_pending, oldest_pending,
};
pub(crate) use mark::{LogCopy, Mark};
pub(crate) use pages::versions_after;
pub(crate) use past::{Agreed, Horizon, among, gone_for_good, load_among, load_barred, load_gone};
pub(crate) use record::{Entry, Live, Presence, Record};
pub(crate) use stamp::{Stamp, StampSource};
pub(crate) use todo::{Chore, Todo};
pub(crate) use writer::{Shared as WriterShared, Writer, is_current};

/// The journal store that a node uses on a disk, by itself: a fjall database at `path`. Blocks.
///
/// # Errors
/// [`StoreError`].
pub fn open_fjall(path: &std::path::Path) -> Result<std::sync::Arc<dyn JournalStore>, StoreError> {
    Ok(std::sync::Arc::new(FjallJournal::open(path)?))
}
