use std::sync::Arc;

use objstore_client::options::{PutOptions, WriteMode};
use objstore_client::types::{Level, ObjectId, ObjectMeta, UserMeta};
use objstore_client::{Body, Error, ErrorKind};

use crate::bodies::{Received, ReceivedBody, Receiver};
use crate::env;
use crate::journal::{Change, Committed, Live, NewBody, Put, Record};
use crate::node::{Inner, Node};
use crate::ops::NotStored;
use crate::remote::{Retry, codec};

impl Node {
    /// Stores a body under an id, as a new object or a new version of one, and returns its
    /// metadata once it is as durable as its level asks for: synced to this node's disk, from level 1
    /// on stored in the remote as well, and at level 2 copied to the other nodes or on its way there:
    /// these are waited for at most 2 s, and [`ObjectMeta::replicas`] says how many have a copy.
    ///
    /// The body is streamed; at most about half a MiB of it is in memory at a time. Of two puts of
    /// one id the one that came through last is what readers see; a reader never sees a mixture.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidUserMeta`] when there is more of it than the level takes,
    /// [`ErrorKind::IncompleteBody`], [`ErrorKind::DigestMismatch`], [`ErrorKind::TooLarge`],
    /// [`ErrorKind::PreconditionFailed`], [`ErrorKind::StorageFull`]: nothing was stored.
    /// [`ErrorKind::Unavailable`]: the outcome is unknown, sending the same again is safe; also when
    /// fewer nodes than [`PutOptions::min_replicas`] have a copy in time.
    /// [`ErrorKind::Stopping`]. Errors of the body's stream are passed on.
    ///
    /// # Cancellation
    /// Dropping the future leaves the old version or the new one, and no temporary file.
    pub async fn put(
        &self,
        id: ObjectId,
        body: impl Into<Body>,
        options: PutOptions,
    ) -> Result<Arc<ObjectMeta>, Error> {
        let inner = &self.inner;
        inner.check_running()?;
        inner.check_clock()?;
        if id.is_derived() {
            return Err(Error::new(
                ErrorKind::InvalidId,
                "this id stands for a key of the bucket; put it by its key",
            ));
        }
        check_user_meta(options.level, &options.user_meta)?;
        if options.min_replicas.is_some_and(|least| least > 1) && options.level < Level::Full {
            return Err(Error::new(
                ErrorKind::InvalidRequest,
                "only an object of level 2 is copied to other nodes; ask for level 2, or for no replicas",
            ));
        }
        check_field("content type", options.content_type.as_deref())?;
        check_field("content encoding", options.content_encoding.as_deref())?;
        // Bad conditions are told before a long body is taken in; the commit judges them again.
        if !options.conditions.is_empty() {
            let current = inner.lookup(id, false).await?;
            options.conditions.check_change(current.as_ref().map(|hot| hot.entry.meta.as_ref()))?;
        }
        let _permit = inner.receiving.acquire().await.map_err(|_| inner.stopping())?;
        let receiver = Receiver {
            files: &inner.files,
            blocking: inner.env.blocking.as_ref(),
            usage: &inner.usage,
            inline_max: inner.settings.inline_max_bytes,
            size_max: inner.settings.max_object_bytes,
        };
        let received = receiver.receive(body.into(), &options.digests).await?;
        let (size, least) = (received.size, options.min_replicas);
        let meta = inner.store_received(id, received, options).await?;
        inner.heat.touch(id);
        inner.counts.put(size);
        inner.replicated(meta, least).await
    }
}

/// The longest content type or encoding that is kept, in bytes.
const FIELD_MAX: usize = 255;

/// What is handed out as a header field later has to fit one (RFC 9110 §5.5).
pub(super) fn check_field(what: &str, value: Option<&str>) -> Result<(), Error> {
    let fits =
        |text: &str| text.len() <= FIELD_MAX && text.bytes().all(|b| (0x20..0x7f).contains(&b));
    if value.is_some_and(|text| !fits(text)) {
        return Err(Error::new(
            ErrorKind::InvalidRequest,
            format!(
                "the {what} has more than {FIELD_MAX} bytes, or bytes that are not printable ASCII"
            ),
        ));
    }
    Ok(())
}

/// From level 1 on, user metadata has to fit the bucket.
pub(super) fn check_user_meta(level: Level, user_meta: &UserMeta) -> Result<(), Error> {
    if level > Level::Local && user_meta.byte_len() > UserMeta::MAX_REMOTE_LEN {
        return Err(Error::new(
            ErrorKind::InvalidUserMeta,
            "from level 1 on, user metadata is at most 2 KiB; give less",
        ));
    }
    Ok(())
}

/// Of a version about which nothing is pending any more.
fn settled(mut meta: Arc<ObjectMeta>) -> Arc<ObjectMeta> {
    if meta.is_pending {
        Arc::make_mut(&mut meta).is_pending = false;
    }
    meta
}

impl Inner {
    async fn store_received(
        &self,
        id: ObjectId,
        received: Received,
        options: PutOptions,
    ) -> Result<Arc<ObjectMeta>, Error> {
        let Received { size, digest, body, reservation } = received;
        let stamp = self.stamps.next();
        let live = Live {
            level: options.level,
            size,
            digest: Some(digest),
            name: options.name,
            content_type: options.content_type,
            content_encoding: options.content_encoding,
            user_meta: options.user_meta,
            remote_etag: None,
        };
        let record = Record::new(id, stamp, stamp.time, Some(Box::new(live)));
        let body = match body {
            ReceivedBody::Inline(bytes) => NewBody::Inline(bytes),
            ReceivedBody::File(file) => {
                let head = record.clone();
                let published =
                    env::run(self.env.blocking.as_ref(), move || file.publish(&head)).await?;
                NewBody::File(published.map_err(|e| self.usage.disk_error(e))?)
            }
        };
        let write_back = match options.write {
            WriteMode::Default => self.uploads.writes_back(),
            mode => mode == WriteMode::Back,
        };
        let put = Put { record, body, conditions: options.conditions, reservation, write_back };
        self.commit_put(options.level, put).await
    }

    /// Commits a version at this level, or at the higher one that the object turns out to have.
    async fn commit_put(&self, mut level: Level, mut put: Put) -> Result<Arc<ObjectMeta>, Error> {
        loop {
            if let Some(live) = &mut put.record.live {
                check_user_meta(level, &live.user_meta)?;
                live.level = level;
            }
            if level > Level::Local {
                // What the remote would not take is told before anything is kept.
                codec::to_attributes(&put.record)?;
            }
            let committed = match (level, put.write_back) {
                (Level::Local, _) => self.commit(Change::Put(put)).await?,
                (_, true) => self.put_back(put).await?,
                // As if it had come through, and been overwritten at once.
                (_, false) => match self.put_through(put).await? {
                    Committed::Superseded(meta) => Committed::Superseded(settled(meta)),
                    other => other,
                },
            };
            match committed {
                Committed::Higher(current, back) => (level, put) = (current, *back),
                made => return made.made(),
            }
        }
    }

    /// Makes a version durable and visible, and leaves it to the background to store it.
    async fn put_back(&self, put: Put) -> Result<Committed, Error> {
        self.uploads.check_room()?;
        self.commit(Change::Put(put)).await
    }

    /// Makes a version durable, stores it in the remote, then makes it visible.
    async fn put_through(&self, put: Put) -> Result<Committed, Error> {
        let (id, conditions) = (put.record.id, put.conditions.clone());
        let conditional = !conditions.is_empty();
        // Uploads of one object keep the order of their commits, so that the remote ends with
        // the version that the journal ends with.
        let _turn = self.uploads.turn(id).await;
        let replaces = self.replaced(id).await?;
        let mut staged = match self.commit(Change::Stage(put)).await? {
            Committed::Staged(staged) => staged,
            other => return Ok(other),
        };
        let version = staged.version();
        match self.upload(Arc::clone(&version), replaces, conditional, Retry::DEMAND).await {
            Ok(remote_etag) => {
                let promoted =
                    self.commit(Change::Promote { version, conditions, remote_etag }).await;
                if promoted.as_ref().err().is_none_or(|e| !e.kind().is_retryable()) {
                    staged.settled();
                }
                promoted
            }
            Err(NotStored::Overtaken(later)) => {
                let meta = Arc::clone(&version.entry.meta);
                if self.commit(Change::Unstage(version)).await.is_ok() {
                    staged.settled();
                }
                self.learn(*later).await?;
                Ok(Committed::Superseded(meta))
            }
            // What became of it is found out in the background.
            Err(error) if error.is_outcome_unknown() => Err(error.into_error()),
            Err(error) => {
                if self.commit(Change::Unstage(version)).await.is_ok() {
                    staged.settled();
                }
                Err(error.into_error())
            }
        }
    }

    /// Takes on the record of a later version that the remote has, as if its node had told of it:
    /// also in place of a delete that came before it.
    pub(crate) async fn learn(&self, record: Record) -> Result<(), Error> {
        match self.commit(Change::Merge(vec![record])).await {
            Err(error) if error.kind().is_retryable() => Err(error),
            _ => Ok(()),
        }
    }

    /// The remote's tag of the version that the next one replaces there, as far as is known.
    pub(super) async fn replaced(&self, id: ObjectId) -> Result<Option<String>, Error> {
        if let Some(queued) = self.uploads.queued(id) {
            return Ok(queued.replaces);
        }
        let current = self.lookup(id, false).await?;
        let live = current.as_ref().and_then(|hot| hot.entry.live());
        Ok(live.and_then(|live| live.remote_etag.clone()))
    }
}
