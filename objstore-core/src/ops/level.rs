use std::sync::Arc;

use objstore_client::Error;
use objstore_client::types::{Level, ObjectId, ObjectMeta};

use super::put::check_user_meta;
use crate::journal::Change;
use crate::node::Node;

impl Node {
    /// Raises the level of an object without sending its body again, and returns its metadata once
    /// the new level holds. A level is never lowered: asking for the same or a lower one changes
    /// nothing and succeeds.
    ///
    /// # Errors
    /// [`NotFound`](objstore_client::ErrorKind::NotFound),
    /// [`Deleted`](objstore_client::ErrorKind::Deleted),
    /// [`InvalidUserMeta`](objstore_client::ErrorKind::InvalidUserMeta) when there is more of it than the level takes,
    /// [`PreconditionFailed`](objstore_client::ErrorKind::PreconditionFailed) when the object was overwritten meanwhile,
    /// [`Unavailable`](objstore_client::ErrorKind::Unavailable),
    /// [`Stopping`](objstore_client::ErrorKind::Stopping).
    ///
    /// # Cancellation
    /// Dropping the future leaves the old level or the new one.
    pub async fn set_level(&self, id: ObjectId, level: Level) -> Result<Arc<ObjectMeta>, Error> {
        let inner = &self.inner;
        inner.check_running()?;
        // Before the version is opened, so that none that comes in between is undone in the remote.
        let _turn = inner.remote.turn(id).await;
        let (object, opened) = inner.open(id, |meta| Ok(0..meta.size)).await?;
        let hot = &opened.hot;
        let Some(live) = hot.entry.live().filter(|live| live.level < level) else {
            return Ok(Arc::clone(&hot.entry.meta));
        };
        check_user_meta(level, &live.user_meta)?;
        let remote_etag = match &live.remote_etag {
            Some(etag) => Some(etag.clone()),
            None => Some(inner.remote.put(&hot.entry.record, object.body).await?),
        };
        let change = Change::Raise { id, stamp: hot.entry.record.stamp, level, remote_etag };
        inner.commit(change).await?.made()
    }
}
