use objstore_client::types::ObjectId;

use super::format::decode_entry;
use super::record::Entry;
use super::stamp::Stamp;
use super::store::{JournalStore, Space, StoreError};

/// Records that are read at a time.
const PAGE: usize = 1000;

/// The versions among the records of a page, and where the next page begins; none at the end.
pub(crate) type VersionPage = (Vec<(ObjectId, Stamp)>, Option<Vec<u8>>);

/// Those of the next records after this key that are wanted. Blocks.
pub(crate) fn versions_after(
    store: &dyn JournalStore,
    after: Option<&[u8]>,
    is_wanted: impl Fn(&Entry) -> bool,
) -> Result<VersionPage, StoreError> {
    let pairs = store.scan(Space::Records, after, PAGE)?;
    let last = pairs.last().filter(|_| pairs.len() == PAGE).map(|(key, _)| key.to_vec());
    let mut versions = Vec::new();
    for (_, value) in &pairs {
        let entry = decode_entry(value)?;
        if is_wanted(&entry) {
            versions.push((entry.record.id, entry.record.stamp));
        }
    }
    Ok((versions, last))
}
