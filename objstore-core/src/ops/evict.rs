use objstore_client::Error;
use objstore_client::types::{Level, ObjectId};

use crate::journal::{Change, Presence, Stamp};
use crate::node::{Inner, Node};
use crate::ops::not_found;
use crate::remote::Retry;

impl Node {
    /// Lets go what this node has of an object's body, if it is certain to be elsewhere: a copy of
    /// what another node or the bucket has, or a body of level 1 of which the bucket says, when
    /// asked now, that it has this very version. The object stays, and the next read brings the body
    /// back. Bodies that nobody wanted for long go by themselves when room gets short.
    ///
    /// Returns whether the body may be gone from here now; false when this node has to keep it: one
    /// of level 0 that was put here, one of level 2, one that waits for the bucket or that the
    /// bucket does not have, or one in a bucket that is a directory of this machine.
    ///
    /// # Errors
    /// [`NotFound`](objstore_client::ErrorKind::NotFound),
    /// [`Unavailable`](objstore_client::ErrorKind::Unavailable),
    /// [`Stopping`](objstore_client::ErrorKind::Stopping).
    ///
    /// # Cancellation
    /// Dropping the future leaves the body here or not.
    pub async fn evict(&self, id: ObjectId) -> Result<bool, Error> {
        let inner = &self.inner;
        inner.check_running()?;
        let hot = inner.lookup(id, false).await?.ok_or_else(not_found)?;
        let Some(live) = hot.entry.live() else { return Err(super::deleted(&hot.entry)) };
        let stamp = hot.entry.record.stamp;
        let may_go = match hot.entry.presence {
            Presence::Absent => true,
            Presence::Cached => live.level < Level::Full,
            Presence::Inline | Presence::File { .. } => {
                live.level == Level::Remote && inner.is_safe_elsewhere(id, stamp).await
            }
        };
        if !may_go {
            return Ok(false);
        }
        inner.commit(Change::Evict(vec![(id, stamp)])).await?;
        let now = inner.lookup(id, false).await?;
        Ok(now.is_none_or(|now| now.entry.record.stamp != stamp || !now.entry.presence.is_held()))
    }
}

impl Inner {
    /// Whether the remote is not on this node's own disk, and says that it has this very version.
    pub(crate) async fn is_safe_elsewhere(&self, id: ObjectId, stamp: Stamp) -> bool {
        if !self.remote.is_elsewhere() || self.uploads.queued(id).is_some() {
            return false;
        }
        let found = self.find(id, &Retry::ONCE).await;
        found.is_ok_and(|found| found.is_some_and(|found| found.stamp == stamp))
    }
}
