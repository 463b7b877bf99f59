use std::sync::Arc;

use objstore_client::Error;
use objstore_client::types::{ObjectId, ObjectMeta};

use crate::node::Node;
use crate::ops::{Look, Target};

impl Node {
    /// What is known about an object, without its body.
    ///
    /// # Errors
    /// [`NotFound`](objstore_client::ErrorKind::NotFound);
    /// [`Deleted`](objstore_client::ErrorKind::Deleted), with the tombstone in
    /// [`Error::meta`]; [`Corrupt`](objstore_client::ErrorKind::Corrupt),
    /// [`Unavailable`](objstore_client::ErrorKind::Unavailable),
    /// [`Stopping`](objstore_client::ErrorKind::Stopping).
    ///
    /// # Cancellation
    /// May be dropped at any time.
    pub async fn head(&self, id: ObjectId) -> Result<Arc<ObjectMeta>, Error> {
        self.inner.check_running()?;
        Ok(Arc::clone(&self.inner.live(id, false).await?.entry.meta))
    }

    /// The same, and when nothing is known here what the remote has: its record is then kept here.
    ///
    /// # Errors
    /// As [`head`](Self::head); [`Unavailable`](objstore_client::ErrorKind::Unavailable) also when
    /// the remote cannot be asked.
    ///
    /// # Cancellation
    /// May be dropped at any time.
    pub async fn head_fetched(&self, id: ObjectId) -> Result<Arc<ObjectMeta>, Error> {
        self.inner.check_running()?;
        let look = Look { fetch: true, no_cache: false, bytes: None };
        let found = self.inner.find_live(&Target::Id(id), look).await?;
        Ok(Arc::clone(&found.hot.entry.meta))
    }
}
