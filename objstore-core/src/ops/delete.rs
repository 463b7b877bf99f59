use std::sync::Arc;

use objstore_client::Error;
use objstore_client::options::DeleteOptions;
use objstore_client::types::{ObjectId, ObjectMeta};

use crate::journal::Change;
use crate::node::Node;

impl Node {
    /// Deletes an object: its record becomes a tombstone, which is returned once it is synced to
    /// disk; the space of its body is given back soon after. Deleting a deleted object changes
    /// nothing and succeeds.
    ///
    /// # Errors
    /// [`NotFound`](objstore_client::ErrorKind::NotFound) for an id that was never put,
    /// [`PreconditionFailed`](objstore_client::ErrorKind::PreconditionFailed),
    /// [`Unavailable`](objstore_client::ErrorKind::Unavailable) when the outcome is unknown,
    /// [`Stopping`](objstore_client::ErrorKind::Stopping). A full disk does not hinder a delete.
    ///
    /// # Cancellation
    /// Dropping the future leaves the object as it was or deleted.
    pub async fn delete(
        &self,
        id: ObjectId,
        options: DeleteOptions,
    ) -> Result<Arc<ObjectMeta>, Error> {
        self.inner.check_running()?;
        let change = Change::Delete { id, conditions: options.conditions };
        let meta = self.inner.commit(change).await?.made()?;
        self.inner.counts.deleted();
        Ok(meta)
    }
}
