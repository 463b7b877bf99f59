use std::sync::Arc;

use objstore_client::options::WriteMode;
use objstore_client::types::{Level, ObjectId, ObjectMeta};
use objstore_client::{Error, ErrorKind};

use super::put::check_user_meta;
use crate::cache::Hot;
use crate::journal::{Change, Entry, Live};
use crate::node::Node;
use crate::ops::NotStored;
use crate::remote::{Retry, codec};

impl Node {
    /// Raises the level of an object without sending its body again, and returns its metadata once
    /// the new level holds. A level is never lowered: asking for the same or a lower one changes
    /// nothing and succeeds, with the number of copies where it is level 2, but for an object that the remote should have and is not on its way
    /// there any more: it is stored there as if its level had been raised. With [`WriteMode::Back`] the new level holds once the journal has it,
    /// and the body is stored in the remote after that.
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
    pub async fn set_level(
        &self,
        id: ObjectId,
        level: Level,
        write: WriteMode,
    ) -> Result<Arc<ObjectMeta>, Error> {
        let inner = &self.inner;
        inner.check_running()?;
        if id.is_derived() {
            return Err(Error::new(
                ErrorKind::InvalidId,
                "this id stands for a key of the bucket, where it is already",
            ));
        }
        // Before the version is looked up, so that none that comes in between is undone in the
        // remote.
        let _turn = inner.uploads.turn(id).await;
        let hot = inner.live(id, true).await?;
        let record = &hot.entry.record;
        let back = match write {
            WriteMode::Default => inner.uploads.writes_back(),
            mode => mode == WriteMode::Back,
        };
        let waits = || inner.uploads.queued(id).is_some_and(|queued| queued.refused.is_none());
        // One that should be in the remote, and is neither there nor on its way, is sent there.
        let lacks = |live: &Live| match live.remote_etag {
            Some(_) => false,
            None => live.level > Level::Local && !(back && waits()),
        };
        let Some(live) = hot.entry.live().filter(|live| live.level < level || lacks(live)) else {
            let meta = Arc::clone(&hot.entry.meta);
            // Whoever asks for level 2 again is told how many nodes have it by now.
            return if level == Level::Full {
                inner.replicated(meta, None).await
            } else {
                Ok(meta)
            };
        };
        let level = level.max(live.level);
        check_user_meta(level, &live.user_meta)?;
        let mut raised = record.clone();
        if let Some(live) = &mut raised.live {
            live.level = level;
        }
        codec::to_attributes(&raised)?;
        let stamp = record.stamp;
        let remote_etag = match &live.remote_etag {
            Some(etag) => Some(etag.clone()),
            None if back => {
                inner.uploads.check_room()?;
                // What is answered before the remote has it is on this node's disk: the body of an
                // object that was put elsewhere may be nowhere by the time it is to be stored.
                // (Is the version not current any more, raising it says so.)
                inner.hold(id, record.stamp).await?;
                None
            }
            None => {
                let entry = Entry::new(raised, hot.entry.presence);
                let version = Arc::new(Hot { entry, inline: hot.inline.clone() });
                let replaces = inner.replaced(id).await?;
                let uploaded = inner.upload(version, replaces, false, Retry::DEMAND).await;
                Some(uploaded.map_err(NotStored::into_error)?)
            }
        };
        let meta = inner.commit(Change::Raise { id, stamp, level, remote_etag }).await?.made()?;
        inner.replicated(meta, None).await
    }
}
