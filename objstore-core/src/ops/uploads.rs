use std::sync::Arc;

use objstore_client::types::ObjectId;
use objstore_client::{Error, ErrorKind};

use crate::cache::Hot;
use crate::env;
use crate::journal::{Change, Committed, Entry, QueuedUpload, Stamp, load_pending};
use crate::node::{Inner, Node};
use crate::ops::{NotStored, journal_error};
use crate::remote::{Doubt, RemoteCondition, RemoteErrorKind, Retry, Task};

impl Node {
    /// Tries at once to store a version that waits for the remote, also one that the remote
    /// refused before. Returns before it is tried; [`stats`](Self::stats) show the outcome.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when nothing waits of this object, [`ErrorKind::Unavailable`],
    /// [`ErrorKind::Stopping`].
    pub async fn retry_upload(&self, id: ObjectId) -> Result<(), Error> {
        let inner = &self.inner;
        inner.check_running()?;
        let now = inner.env.clock.monotonic();
        let upload = inner.uploads.retry(id, now).ok_or_else(nothing_waits)?;
        let (stamp, upload) = (upload.stamp, Some(upload));
        inner.commit(Change::Waiting { id, stamp, upload }).await.map(drop)
    }

    /// Gives up storing a version that waits for the remote. The object stays on this node, with
    /// the level it has; the remote keeps what it has of it.
    ///
    /// # Errors
    /// As [`retry_upload`](Self::retry_upload).
    pub async fn drop_upload(&self, id: ObjectId) -> Result<(), Error> {
        let inner = &self.inner;
        inner.check_running()?;
        let _turn = inner.uploads.turn(id).await;
        let upload = inner.uploads.queued(id).ok_or_else(nothing_waits)?;
        let change = Change::Waiting { id, stamp: upload.stamp, upload: None };
        inner.commit(change).await.map(drop)
    }
}

fn nothing_waits() -> Error {
    Error::new(ErrorKind::NotFound, "no version of this object waits for the bucket")
}

impl Inner {
    /// Does one thing in the remote that nobody waits for.
    pub(crate) async fn work_off(&self, task: Task) {
        match task {
            Task::Upload(id) => self.upload_queued(id).await,
            Task::Decide(doubt) => self.decide(doubt).await,
            Task::Abort(begun, tries) => self.abort(begun, tries).await,
        }
    }

    async fn upload_queued(&self, id: ObjectId) {
        let _turn = self.uploads.turn(id).await;
        let Some(queued) = self.uploads.queued(id) else { return };
        let stamp = queued.stamp;
        let current = match self.lookup(id, true).await {
            Ok(current) => current,
            Err(error) => return self.upload_failed(id, queued, error.into()).await,
        };
        let waiting = current.filter(|hot| hot.entry.record.stamp == stamp);
        let Some(live) = waiting.as_ref().and_then(|hot| hot.entry.live()) else {
            // Overwritten or deleted: the journal has let it go with that change.
            return self.uploads.over(id, stamp);
        };
        let level = live.level;
        let Some(version) = waiting.clone() else { return };
        match self.upload(version, queued.replaces.clone(), false, Retry::ONCE).await {
            Ok(etag) => {
                let remote_etag = Some(etag.clone());
                let change = Change::Raise { id, stamp, level, remote_etag };
                if let Err(error) = self.commit(change).await {
                    if queued.replaces.is_none() {
                        self.take_back(id, etag).await;
                    }
                    self.upload_failed(id, queued, error.into()).await;
                }
            }
            Err(NotStored::Overtaken(later)) => {
                let over = Change::Waiting { id, stamp, upload: None };
                if self.learn(*later).await.is_err() || self.commit(over).await.is_err() {
                    let error = Error::new(ErrorKind::Unavailable, "the journal cannot be written");
                    self.upload_failed(id, queued, error.into()).await;
                }
            }
            Err(error) => self.upload_failed(id, queued, error).await,
        }
    }

    /// Removes from the remote what got there although the object was deleted meanwhile: whoever
    /// deleted it was told that nothing of it was there.
    async fn take_back(&self, id: ObjectId, etag: String) {
        let current = self.lookup(id, false).await;
        if !current.is_ok_and(|hot| hot.is_some_and(|hot| hot.entry.live().is_none())) {
            return;
        }
        let (key, condition) = (id.to_string(), RemoteCondition::Match(etag));
        let call = |condition: RemoteCondition| self.remote.delete(&key, condition);
        let entropy = self.env.entropy.as_ref();
        let removed = match Retry::DEMAND.call(entropy, || call(condition.clone())).await {
            // Its turn is ours, so nothing of this node's has come in between.
            Err(error) if error.kind() == RemoteErrorKind::Unsupported => {
                Retry::DEMAND.call(entropy, || call(RemoteCondition::None)).await
            }
            removed => removed,
        };
        if let Err(error) = removed {
            tracing::warn!(%id, %error, "the bucket has an object that was deleted while it was being stored");
        }
    }

    async fn upload_failed(&self, id: ObjectId, mut queued: QueuedUpload, error: NotStored) {
        let error = match error {
            // Told apart before.
            NotStored::Overtaken(_) => return self.uploads.over(id, queued.stamp),
            NotStored::There(error) => error,
            NotStored::Here(error) => crate::remote::RemoteError::new(
                match error.kind() {
                    // A body that is damaged here will be so the next time.
                    ErrorKind::Corrupt | ErrorKind::InvalidUserMeta => RemoteErrorKind::Refused,
                    _ => RemoteErrorKind::Unavailable,
                },
                error.to_string(),
            )
            .with_source(error),
        };
        // That others were faster a few times in a row says nothing about the next time.
        let for_good =
            matches!(error.kind(), RemoteErrorKind::Refused | RemoteErrorKind::Unsupported);
        if for_good {
            tracing::warn!(%id, %error, "the bucket will not take an object; it waits until it is retried or dropped by hand");
            queued.refused = Some(error.to_string());
            // Not being able to note it only means that the next start tries once more.
            let (stamp, upload) = (queued.stamp, Some(queued.clone()));
            let _ = self.commit(Change::Waiting { id, stamp, upload }).await;
        }
        let (entropy, now) = (self.env.entropy.as_ref(), self.env.clock.monotonic());
        if !for_good && self.uploads.is_news(now) {
            tracing::warn!(%id, %error, "an upload failed and will be tried again; see the uploads for others");
        } else {
            tracing::debug!(%id, %error, "an upload failed");
        }
        self.uploads.failed(id, queued, &error, entropy, now);
    }

    /// Finds out whether the remote has a pending version, and shows it or gives it up.
    async fn decide(&self, doubt: Doubt) {
        let _turn = self.uploads.turn(doubt.id).await;
        let (id, stamp) = (doubt.id, doubt.stamp);
        let version = match self.pending(id, stamp).await {
            Ok(Some(version)) => version,
            Ok(None) => return,
            Err(error) => return self.still_in_doubt(doubt, error),
        };
        let found = match self.find(id, &Retry::ONCE).await {
            Ok(found) => found.filter(|found| found.stamp == stamp),
            Err(error) => {
                let (entropy, now) = (self.env.entropy.as_ref(), self.env.clock.monotonic());
                return self.uploads.doubt_again(doubt, &error, entropy, now);
            }
        };
        let change = match found.and_then(|found| found.live?.remote_etag) {
            Some(remote_etag) => {
                let conditions = doubt.conditions.clone();
                Change::Promote { version, conditions, remote_etag }
            }
            None => Change::Unstage(version),
        };
        match self.commit(change).await {
            Ok(Committed::Made(_)) => {
                tracing::info!(%id, "a put that was answered with unknown turned out to have been made");
            }
            Err(error) if error.kind().is_retryable() => self.still_in_doubt(doubt, error),
            _ => {}
        }
    }

    fn still_in_doubt(&self, doubt: Doubt, error: Error) {
        let error =
            crate::remote::RemoteError::new(RemoteErrorKind::Unavailable, error.to_string());
        let (entropy, now) = (self.env.entropy.as_ref(), self.env.clock.monotonic());
        self.uploads.doubt_again(doubt, &error, entropy, now);
    }

    async fn pending(&self, id: ObjectId, stamp: Stamp) -> Result<Option<Arc<Hot>>, Error> {
        let store = Arc::clone(&self.store);
        let load = move || load_pending(store.as_ref(), id, stamp);
        let found = env::run(self.env.blocking.as_ref(), load).await?.map_err(journal_error)?;
        Ok(found.map(|version| {
            let entry = Entry::new(version.record, version.presence);
            Arc::new(Hot { entry, inline: None })
        }))
    }
}
