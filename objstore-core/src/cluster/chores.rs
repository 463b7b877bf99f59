//! What merges left to be done about bodies, in the background: copies of level 2, and versions in the
//! bucket that may have been overwritten by one that lost.

use std::sync::{Arc, Weak};
use std::time::Duration;

use futures_util::StreamExt;
use objstore_client::types::{Level, ObjectId};
use objstore_client::{Error, ErrorKind};

use crate::journal::{Change, Chore, Stamp};
use crate::node::Inner;
use crate::ops::{NotStored, remote_error};
use crate::remote::Retry;

/// Chores under way at a time.
const PARALLEL: usize = 4;
/// Chores looked at together.
const PAGE: usize = 256;
/// What could not be done is tried again after this, twice as long each time.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Works until the node is gone.
pub(super) async fn run(node: &Weak<Inner>) {
    let Some(first) = node.upgrade() else { return };
    let (todo, mut live) = (Arc::clone(&first.todo), first.cluster.peers.watch());
    drop(first);
    let mut pause = PAUSE;
    loop {
        live.borrow_and_update();
        let mut failed = false;
        for chore in [Chore::Want, Chore::Verify] {
            let mut after = None;
            loop {
                let page = todo.after(chore, after, PAGE);
                let Some((last, _)) = page.last() else { break };
                after = Some(*last);
                let tries = futures_util::stream::iter(page)
                    .map(|(id, stamp)| try_one(node, chore, id, stamp))
                    .buffer_unordered(PARALLEL);
                failed |= tries.fold(false, |failed, done| async move { failed || !done }).await;
            }
        }
        pause = if failed { (pause * 2).min(PAUSE_MAX) } else { PAUSE };
        let later = async {
            if failed { tokio::time::sleep(pause).await } else { std::future::pending().await }
        };
        tokio::select! {
            () = todo.more.notified() => {}
            // A node that came may have what was missing.
            changed = live.changed() => if changed.is_err() { return },
            () = later => {}
        }
    }
}

/// Whether it is done, or nothing has to be done any more.
async fn try_one(node: &Weak<Inner>, chore: Chore, id: ObjectId, stamp: Stamp) -> bool {
    let Some(inner) = node.upgrade() else { return true };
    let done = match chore {
        Chore::Want => inner.hold(id, stamp).await.map(drop),
        Chore::Verify => inner.verify(id).await,
    };
    match done {
        Ok(()) => inner.commit(Change::Done { chore, id, stamp }).await.is_ok(),
        Err(error) => {
            tracing::debug!(%id, ?chore, %error, "this is tried again later");
            false
        }
    }
}

impl Inner {
    /// Sees to it that the remote has the current version of an object, of which it may have one
    /// that lost.
    async fn verify(&self, id: ObjectId) -> Result<(), Error> {
        let _turn = self.uploads.turn(id).await;
        let Some(hot) = self.lookup(id, true).await? else { return Ok(()) };
        let Some(live) = hot.entry.live().filter(|live| live.level > Level::Local) else {
            return Ok(());
        };
        let stamp = hot.entry.record.stamp;
        let found = self.find(id, &Retry::ONCE).await.map_err(remote_error)?;
        let replaces = match found {
            Some(found) if found.stamp == stamp => {
                return match (&live.remote_etag, found.live.and_then(|live| live.remote_etag)) {
                    // The node that stored it there could tell nobody.
                    (None, Some(etag)) => self.confirm(id, stamp, live.level, etag).await,
                    _ => Ok(()),
                };
            }
            Some(found) if found.stamp > stamp => return self.learn(found).await,
            found => found.and_then(|found| found.live?.remote_etag),
        };
        let level = live.level;
        match self.upload(Arc::clone(&hot), replaces, false, Retry::ONCE).await {
            Ok(etag) => self.confirm(id, stamp, level, etag).await,
            Err(NotStored::Overtaken(later)) => self.learn(*later).await,
            // Nothing can be done about it: no node that may be back has it.
            Err(NotStored::Here(error)) if error.kind() == ErrorKind::BodyLost => Ok(()),
            Err(error) => Err(error.into_error()),
        }
    }

    /// The remote has this version, with this tag.
    async fn confirm(
        &self,
        id: ObjectId,
        stamp: Stamp,
        level: Level,
        etag: String,
    ) -> Result<(), Error> {
        match self.commit(Change::Raise { id, stamp, level, remote_etag: Some(etag) }).await {
            // Another version came, with a chore of its own if need be.
            Err(error) if error.kind() == ErrorKind::PreconditionFailed => Ok(()),
            other => other.map(drop),
        }
    }
}
