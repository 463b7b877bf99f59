use std::sync::Arc;

use objstore_client::options::{Conditions, DeleteOptions};
use objstore_client::types::{ObjectId, ObjectMeta};
use objstore_client::{Error, ErrorKind};

use crate::journal::Change;
use crate::node::{Inner, Node};
use crate::ops::remote_error;
use crate::remote::{RemoteCondition, RemoteErrorKind, Retry};

/// How often the remote is looked at again when it has got something else meanwhile.
const LOOKS: usize = 3;

impl Node {
    /// Deletes an object: its record becomes a tombstone, which is returned once it is synced to
    /// disk; the space of its body is given back soon after. Deleting a deleted object
    /// succeeds, and makes the tombstone that of now. An upload that waits is cancelled. The remote keeps what it has unless
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
        let change = Change::Delete { id, conditions: options.conditions.clone() };
        let mut meta = self.commit(change).await?.made()?;
        if options.purge {
            meta = self.purge(meta, &options.conditions).await?;
        }
        self.counts.deleted();
        Ok(meta)
    }

    /// Removes from the remote what it has of an object that was just deleted. A later version of
    /// which this node has not heard is deleted first: removed unseen, it would be missing to all
    /// who hear of it.
    async fn purge(
        &self,
        mut deleted: Arc<ObjectMeta>,
        conditions: &Conditions,
    ) -> Result<Arc<ObjectMeta>, Error> {
        let (id, key) = (deleted.id, deleted.id.to_string());
        let entropy = self.env.entropy.as_ref();
        for _ in 0..LOOKS {
            let mut condition = RemoteCondition::None;
            match self.find(id, &Retry::DEMAND).await {
                Ok(None) => return Ok(deleted),
                Ok(Some(found)) => {
                    let known = self.lookup(id, false).await?;
                    let is_live = known.as_ref().is_some_and(|hot| hot.entry.live().is_some());
                    let stamp = known.map(|hot| hot.entry.record.stamp);
                    let etag = found.live.as_ref().and_then(|live| live.remote_etag.clone());
                    let is_later = stamp.is_some_and(|stamp| found.stamp > stamp);
                    // Put after it was deleted here.
                    if is_live && (is_later || stamp == Some(found.stamp)) {
                        return Ok(deleted);
                    }
                    if is_later {
                        self.learn(found).await?;
                        let change = Change::Delete { id, conditions: conditions.clone() };
                        deleted = self.commit(change).await?.made()?;
                    }
                    condition = etag.map_or(RemoteCondition::None, RemoteCondition::Match);
                }
                // What cannot be read there can be removed.
                Err(error) if error.kind() == RemoteErrorKind::Refused => {}
                Err(error) => return Err(remote_error(error)),
            }
            let call = |condition: RemoteCondition| self.remote.delete(&key, condition);
            let removed = match Retry::DEMAND.call(entropy, || call(condition.clone())).await {
                Err(error) if error.kind() == RemoteErrorKind::Unsupported => {
                    Retry::DEMAND.call(entropy, || call(RemoteCondition::None)).await
                }
                removed => removed,
            };
            match removed {
                Ok(()) => return Ok(deleted),
                // Another version came in between, or it was removed.
                Err(error) if error.kind() == RemoteErrorKind::PreconditionFailed => {}
                Err(error) if error.kind() == RemoteErrorKind::NotFound => return Ok(deleted),
                Err(error) => return Err(remote_error(error)),
            }
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            "the object is deleted, but others keep putting it into the bucket; delete it once more",
        ))
    }
}
