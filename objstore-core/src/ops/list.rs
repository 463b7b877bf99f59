use std::sync::Arc;

use objstore_client::Error;
use objstore_client::options::ListOptions;
use objstore_client::types::ObjectMeta;

use super::lookup::journal_error;
use crate::env;
use crate::journal::{Space, StoreError, decode_entry};
use crate::node::Node;

impl Node {
    /// One page of the objects of the journal, in order of id. The next page starts `after` the
    /// last id of this one; an empty page is the end. Objects put meanwhile may or may not appear.
    ///
    /// # Errors
    /// [`Unavailable`](objstore_client::ErrorKind::Unavailable),
    /// [`Corrupt`](objstore_client::ErrorKind::Corrupt),
    /// [`Stopping`](objstore_client::ErrorKind::Stopping).
    ///
    /// # Cancellation
    /// May be dropped at any time.
    pub async fn list(&self, options: ListOptions) -> Result<Vec<Arc<ObjectMeta>>, Error> {
        self.inner.check_running()?;
        let store = Arc::clone(&self.inner.store);
        let limit = options.limit.clamp(1, ListOptions::MAX_LIMIT);
        let page = env::run(self.inner.env.blocking.as_ref(), move || {
            let mut page: Vec<Arc<ObjectMeta>> = Vec::new();
            let mut after = options.after.map(|id| id.to_bytes().to_vec());
            let mut look = limit;
            while page.len() < limit {
                let pairs = store.scan(Space::Records, after.as_deref(), look)?;
                // Among many tombstones few are found at a time.
                look = (look * 2).min(ListOptions::MAX_LIMIT);
                let Some((last, _)) = pairs.last() else { break };
                after = Some(last.to_vec());
                for (_, value) in &pairs {
                    let entry = decode_entry(value)?;
                    if (entry.live().is_some() || options.include_deleted) && page.len() < limit {
                        page.push(entry.meta);
                    }
                }
            }
            Ok::<_, StoreError>(page)
        });
        page.await?.map_err(journal_error)
    }
}
