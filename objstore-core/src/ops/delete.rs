use std::sync::Arc;

use objstore_client::options::DeleteOptions;
use objstore_client::types::{ObjectId, ObjectMeta};
use objstore_client::{Error, ErrorKind};

use crate::journal::Change;
use crate::node::{Inner, Node};
use crate::ops::remote_error;
use crate::remote::{RemoteCondition, Retry};

impl Node {
    /// Deletes an object: its record becomes a tombstone, which is returned once it is synced to
    /// disk; the space of its body is given back soon after. Deleting a deleted object changes
    /// nothing and succeeds. An upload that waits is cancelled. The remote keeps what it has unless
    /// [`DeleteOptions::purge`] says otherwise; should the remote fail then, the object is deleted
    /// here, and deleting it once more tries again.
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
        self.inner.delete(id, options).await
    }
}

impl Inner {
    pub(crate) async fn delete(
        &self,
        id: ObjectId,
        options: DeleteOptions,
    ) -> Result<Arc<ObjectMeta>, Error> {
        self.check_running()?;
        if id.is_derived() {
            return Err(Error::new(
                ErrorKind::InvalidId,
                "this id stands for a key of the bucket; delete it by its key",
            ));
        }
        // An upload under way would bring back what is about to be removed.
        let _turn = match options.purge {
            true => self.uploads.turn(id).await,
            false => None,
        };
        self.lookup_anywhere(id, false).await?;
        let change = Change::Delete { id, conditions: options.conditions };
        let meta = self.commit(change).await?.made()?;
        if options.purge {
            let key = id.to_string();
            let call = || self.remote.delete(&key, RemoteCondition::None);
            let entropy = self.env.entropy.as_ref();
            Retry::DEMAND.call(entropy, call).await.map_err(remote_error)?;
        }
        self.counts.deleted();
        Ok(meta)
    }
}
