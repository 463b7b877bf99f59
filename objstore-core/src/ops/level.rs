use std::sync::Arc;

use objstore_client::types::{Level, ObjectId, ObjectMeta, UserMeta};
use objstore_client::{Error, ErrorKind};

use crate::journal::Change;
use crate::node::Node;

impl Node {
    /// Raises the level of an object without sending its body again, and returns its metadata once
    /// the new level holds. A level is never lowered: asking for the same or a lower one changes
    /// nothing and succeeds.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::Deleted`],
    /// [`ErrorKind::InvalidUserMeta`] when there is more of it than the level takes,
    /// [`ErrorKind::PreconditionFailed`] when the object was overwritten meanwhile,
    /// [`ErrorKind::Unavailable`], [`ErrorKind::Stopping`].
    ///
    /// # Cancellation
    /// Dropping the future leaves the old level or the new one.
    pub async fn set_level(&self, id: ObjectId, level: Level) -> Result<Arc<ObjectMeta>, Error> {
        let inner = &self.inner;
        inner.check_running()?;
        let (object, opened) = inner.open(id, |meta| Ok(0..meta.size)).await?;
        let hot = &opened.hot;
        let Some(live) = hot.entry.live().filter(|live| live.level < level) else {
            return Ok(Arc::clone(&hot.entry.meta));
        };
        if live.user_meta.byte_len() > UserMeta::MAX_REMOTE_LEN {
            return Err(Error::new(
                ErrorKind::InvalidUserMeta,
                "from level 1 on, user metadata is at most 2 KiB; put the object again with less",
            ));
        }
        let remote_etag = match &live.remote_etag {
            Some(etag) => Some(etag.clone()),
            None => Some(inner.remote.put(&hot.entry.record, object.body).await?),
        };
        let change = Change::Raise { id, stamp: hot.entry.record.stamp, level, remote_etag };
        Ok(inner.commit(change).await?.meta)
    }
}
