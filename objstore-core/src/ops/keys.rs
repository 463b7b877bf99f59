//! Objects by their key in the bucket: there the bucket is the truth, and what is here is a cache.

use std::sync::Arc;
use std::time::Instant;

use objstore_client::options::{
    Conditions, CopyOptions, DeleteOptions, GetOptions, KeyListOptions, PutOptions,
};
use objstore_client::types::{
    KeyEntry, KeyPage, Level, ObjectId, ObjectKey, ObjectMeta, ObjectName, UserMeta,
};
use objstore_client::{Body, Error, ErrorKind, Object};

use tokio::sync::MutexGuard;

use super::fetch::{Arrived, Found, Look, Target, Turn};
use super::put::check_field;
use crate::bodies::{Outcome, ReceivedBody, Receiver};
use crate::cache::Hot;
use crate::cluster::FromOwner;
use crate::env;
use crate::journal::{Change, Entry, Live, Presence, Record};
use crate::node::{Inner, Node};
use crate::ops::{NotStored, remote_error};
use crate::remote::{
    RemoteAttributes, RemoteCondition, RemoteError, RemoteErrorKind, RemoteHead, RemoteList, Retry,
};

impl Node {
    /// Gets what the bucket has under a key, or a range of it, from here where it is and was current
    /// a moment ago ([`Settings::key_ttl_ms`](crate::Settings::key_ttl_ms)), else from the bucket.
    ///
    /// # Errors
    /// As [`get`](Self::get); [`ErrorKind::NotFound`] when the bucket says so, and
    /// [`ErrorKind::Unavailable`] when it cannot be asked and nothing is here, or
    /// [`GetOptions::no_cache`] wants it asked.
    ///
    /// # Cancellation
    /// As [`get`](Self::get).
    pub async fn get_key(&self, key: &ObjectKey, options: GetOptions) -> Result<Object, Error> {
        self.get_target(Target::Key(key.as_str().into()), options).await
    }

    /// What is known about an object under a key.
    ///
    /// # Errors
    /// As [`get_key`](Self::get_key).
    pub async fn head_key(
        &self,
        key: &ObjectKey,
        options: GetOptions,
    ) -> Result<Arc<ObjectMeta>, Error> {
        self.inner.check_running()?;
        let look = Look { fetch: true, no_cache: options.no_cache, bytes: None };
        let found = self.inner.find_live(&Target::Key(key.as_str().into()), look).await?;
        options.conditions.check_read(&found.hot.entry.meta)?;
        Ok(Arc::clone(&found.hot.entry.meta))
    }

    /// Stores an object in the bucket under a key, and returns its metadata once the bucket has
    /// confirmed it. The body is received whole before it is sent. Conditions are judged by the
    /// bucket. Of the options `level` and `write` say nothing here.
    ///
    /// # Errors
    /// As [`put`](Self::put), [`ErrorKind::RemoteRefused`], and [`ErrorKind::InvalidKey`] for a key
    /// that is an id: there the bucket keeps the object that was put by it.
    ///
    /// # Cancellation
    /// Dropping the future leaves the old object or the new one.
    pub async fn put_key(
        &self,
        key: &ObjectKey,
        body: impl Into<Body>,
        options: PutOptions,
    ) -> Result<Arc<ObjectMeta>, Error> {
        let inner = &self.inner;
        inner.check_running()?;
        check_not_an_id(key)?;
        inner.check_clock()?;
        check_field("content type", options.content_type.as_deref())?;
        check_field("content encoding", options.content_encoding.as_deref())?;
        // What cannot be kept is told before a long body is taken in.
        let metadata = crate::remote::codec::plain_metadata(&options.user_meta)?;
        let _permit = inner.receiving.acquire().await.map_err(|_| inner.stopping())?;
        let receiver = Receiver {
            files: &inner.files,
            blocking: inner.env.blocking.as_ref(),
            usage: &inner.usage,
            inline_max: inner.settings.inline_max_bytes,
            size_max: inner.settings.max_object_bytes,
        };
        let received = receiver.receive(body.into(), &options.digests).await?;
        let key: Arc<str> = key.as_str().into();
        let id = inner.key_id(&key);
        let _turn = inner.uploads.turn(id).await;
        let condition = inner.condition(&key, &options.conditions).await?;
        let attributes = RemoteAttributes {
            content_type: options.content_type.clone(),
            content_encoding: options.content_encoding.clone(),
            metadata,
        };

        let stamp = inner.stamps.next();
        let live = Live {
            level: Level::Remote,
            size: received.size,
            // The tag is the bucket's, as any other node will see it.
            digest: None,
            name: name_of(&key),
            content_type: options.content_type,
            content_encoding: options.content_encoding,
            user_meta: options.user_meta,
            remote_etag: None,
        };
        let mut record = Record::new(id, stamp, stamp.time, Some(Box::new(live)));
        let (version, file) = match received.body {
            ReceivedBody::Inline(bytes) => {
                let entry = Entry::new(record.clone(), Presence::Inline);
                (Hot { entry, inline: Some(bytes) }, None)
            }
            ReceivedBody::File(file) => {
                let head = record.clone();
                let published =
                    env::run(inner.env.blocking.as_ref(), move || file.publish(&head)).await?;
                let file = published.map_err(|e| inner.usage.disk_error(e))?;
                let presence = Presence::File { physical: file.physical };
                (Hot { entry: Entry::new(record.clone(), presence), inline: None }, Some(file))
            }
        };
        let opened = inner.open_version(Arc::new(version)).await?;
        let sent = inner.send(&key, &opened, &attributes, condition, &Retry::DEMAND).await;
        // Whatever became of it: what is here and on other nodes may not be current any more.
        inner.key_changed(id).await;
        let etag = sent.map_err(|error| match error {
            // It may be what this very put left there when its first answer was lost.
            NotStored::There(error) if error.may_be_made() => {
                let kind = RemoteErrorKind::Unavailable;
                remote_error(RemoteError::new(kind, error.to_string()).with_source(error))
            }
            error => error.into_error(),
        })?;
        if let Some(live) = &mut record.live {
            live.remote_etag = Some(etag);
        }
        inner.heat.touch(id);
        inner.counts.put(received.size);
        let mut cached = Entry::of_key(record.clone(), Arc::clone(&key));
        if let Some(mut file) = file {
            // What was sent is here already.
            let change = Change::Cache { key, record };
            cached.meta = inner.commit(change).await?.made()?;
            file.settle(Outcome::Committed);
        } else if let Some(old) = inner.lookup(id, false).await? {
            inner.commit(Change::Uncache { id, stamp: old.entry.record.stamp }).await?;
        }
        Ok(cached.meta)
    }

    /// Removes what the bucket has under a key. One that is not there is not an error.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidKey`] as [`put_key`](Self::put_key),
    /// [`ErrorKind::PreconditionFailed`], [`ErrorKind::Unavailable`] when the outcome is unknown,
    /// [`ErrorKind::RemoteRefused`], [`ErrorKind::Stopping`].
    ///
    /// # Cancellation
    /// Dropping the future leaves the object as it was or removed.
    pub async fn delete_key(&self, key: &ObjectKey, options: DeleteOptions) -> Result<(), Error> {
        let inner = &self.inner;
        inner.check_running()?;
        check_not_an_id(key)?;
        let key: Arc<str> = key.as_str().into();
        let id = inner.key_id(&key);
        let _turn = inner.uploads.turn(id).await;
        let condition = inner.condition(&key, &options.conditions).await?;
        let entropy = inner.env.entropy.as_ref();
        let deleted = match condition {
            // Where nothing is there is nothing to remove, and where something is it has to stay:
            // no bucket has to know this condition for that.
            RemoteCondition::Absent => {
                match Retry::DEMAND.call(entropy, || inner.remote.head(&key)).await {
                    Err(error) if error.kind() == RemoteErrorKind::NotFound => Ok(()),
                    Err(error) => Err(error),
                    Ok(_) => Err(RemoteError::new(
                        RemoteErrorKind::PreconditionFailed,
                        "there is an object",
                    )),
                }
            }
            condition => {
                let call = || inner.remote.delete(&key, condition.clone());
                Retry::DEMAND.call(entropy, call).await
            }
        };
        inner.key_changed(id).await;
        deleted.map_err(remote_error)?;
        if let Some(old) = inner.lookup(id, false).await? {
            inner.commit(Change::Uncache { id, stamp: old.entry.record.stamp }).await?;
        }
        inner.counts.deleted();
        Ok(())
    }

    /// Copies what the bucket has under a key to another, with all that is kept beside it. The
    /// bucket does it by itself where it can, else the bytes go through this node. Conditions are
    /// about the target, and are judged by the bucket.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is nothing to be copied, [`ErrorKind::InvalidKey`] for a
    /// target as [`put_key`](Self::put_key), [`ErrorKind::PreconditionFailed`],
    /// [`ErrorKind::Unavailable`] when the outcome is unknown, [`ErrorKind::RemoteRefused`],
    /// [`ErrorKind::Stopping`]; those of `put_key` where the bytes go through here.
    ///
    /// # Cancellation
    /// Dropping the future leaves the old object under the target, or the copy.
    pub async fn copy_key(
        &self,
        from: &ObjectKey,
        to: &ObjectKey,
        options: CopyOptions,
    ) -> Result<(), Error> {
        let inner = &self.inner;
        inner.check_running()?;
        check_not_an_id(to)?;
        let key: Arc<str> = to.as_str().into();
        let id = inner.key_id(&key);
        let turn = inner.uploads.turn(id).await;
        let condition = inner.condition(&key, &options.conditions).await?;
        let call = || inner.remote.copy(from.as_str(), &key, None, condition.clone());
        let copied = Retry::DEMAND.call(inner.env.entropy.as_ref(), call).await;
        inner.key_changed(id).await;
        match copied {
            Ok(_) => {}
            Err(error) if error.kind() == RemoteErrorKind::NotFound => return Err(not_found()),
            // It knows no condition of a copy, or the object is longer than it copies.
            Err(error)
                if matches!(
                    error.kind(),
                    RemoteErrorKind::Unsupported | RemoteErrorKind::Refused
                ) =>
            {
                tracing::debug!(%error, "the bucket does not copy this by itself");
                drop(turn);
                return self.copy_through(from, to, options).await;
            }
            Err(error) => return Err(remote_error(error)),
        }
        if let Some(old) = inner.lookup(id, false).await? {
            inner.commit(Change::Uncache { id, stamp: old.entry.record.stamp }).await?;
        }
        Ok(())
    }

    async fn copy_through(
        &self,
        from: &ObjectKey,
        to: &ObjectKey,
        options: CopyOptions,
    ) -> Result<(), Error> {
        let mut current = GetOptions::default();
        current.no_cache = true;
        let Object { meta, body, .. } = self.get_key(from, current).await?;
        let mut put = PutOptions::default().conditions(options.conditions);
        put.user_meta = meta.user_meta.clone();
        put.content_type = meta.content_type.clone();
        put.content_encoding = meta.content_encoding.clone();
        self.put_key(to, body, put).await.map(drop)
    }

    /// One page of the bucket's keys, in order of their bytes, as the bucket has them now.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`], [`ErrorKind::RemoteRefused`], [`ErrorKind::Stopping`].
    ///
    /// # Cancellation
    /// May be dropped at any time.
    pub async fn list_keys(&self, options: KeyListOptions) -> Result<KeyPage, Error> {
        let inner = &self.inner;
        inner.check_running()?;
        let list = RemoteList {
            prefix: options.prefix,
            delimiter: options.delimiter,
            after: options.after,
            limit: options.limit.clamp(1, KeyListOptions::MAX_LIMIT),
        };
        let call = || inner.remote.list(list.clone());
        let page = Retry::DEMAND.call(inner.env.entropy.as_ref(), call).await;
        let page = page.map_err(remote_error)?;
        let mut keys = KeyPage::default();
        for entry in page.entries {
            let mut listed = KeyEntry::new(entry.key, entry.size);
            listed.etag = entry.etag;
            listed.timestamp = entry.modified;
            keys.entries.push(listed);
        }
        keys.prefixes = page.prefixes;
        keys.next = page.next;
        Ok(keys)
    }
}

impl Inner {
    /// The id that a key is cached under: the same on every node with this remote.
    pub(crate) fn key_id(&self, key: &str) -> ObjectId {
        let mut hash = blake3::Hasher::new();
        hash.update(self.remote.identity().as_bytes()).update(b"\0").update(key.as_bytes());
        let digest = hash.finalize();
        let bits = digest.as_bytes().iter().take(10).fold(0u128, |n, b| (n << 8) | u128::from(*b));
        ObjectId::derived(bits)
    }

    /// Whether something of this key is here.
    pub(crate) async fn has_key(&self, key: &str) -> Result<bool, Error> {
        Ok(self.lookup(self.key_id(key), false).await?.is_some())
    }

    pub(super) async fn find_key(&self, key: &Arc<str>, look: Look) -> Result<Found<'_>, Error> {
        self.find_key_by(key, look, Turn::Owners).await
    }

    /// The same, and whose turn it is to ask the remote.
    pub(crate) async fn find_key_by(
        &self,
        key: &Arc<str>,
        look: Look,
        whose: Turn,
    ) -> Result<Found<'_>, Error> {
        let (id, clock) = (self.key_id(key), self.env.clock.as_ref());
        if let Some(found) = self.seen_lately(id, look).await? {
            return Ok(found);
        }
        let turn = self.seen.turn(id).await;
        // Whoever had the turn before has asked.
        if let Some(found) = self.seen_lately(id, look).await? {
            return Ok(found);
        }
        let asked = clock.monotonic();
        let here = self.lookup(id, false).await?;
        if let Some(hot) = &here
            && !look.no_cache
            && self.seen.is_silent(asked)
        {
            self.seen.stay(id, asked);
            return Ok(Found::here(Arc::clone(hot)));
        }
        // What is here is most likely current, so that its bytes need not come again.
        let bytes = look.bytes.filter(|_| here.is_none());
        // Another node may not know yet of what was changed just now.
        let ask_owner =
            whose == Turn::Owners && !look.no_cache && !self.seen.is_changed_lately(id, asked);
        let from_owner = match ask_owner {
            true => self.ask_owner(id, Some(key), Look { bytes, ..look }).await,
            false => Ok(None),
        };
        match from_owner {
            Ok(None) => {}
            Ok(Some(FromOwner { record, age, arrived })) => {
                let since = asked.checked_sub(age).unwrap_or(asked);
                return self.take_on_key(key, record, here, arrived, since, turn).await;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.key_absent(id, asked, here.as_deref()).await?;
                return Err(not_found());
            }
            Err(error) => return Err(error),
        }
        let retry = match (&here, look.no_cache) {
            (Some(_), false) => Retry::REVALIDATE,
            _ => Retry::DEMAND,
        };
        let answer = self.ask(key, Look { bytes, ..look }, &retry).await;
        let (head, arrived) = match (answer, here.clone()) {
            (Ok(answer), _) => {
                self.seen.was_silent(None);
                answer
            }
            (Err(error), _) if error.kind() == RemoteErrorKind::NotFound => {
                self.key_absent(id, asked, here.as_deref()).await?;
                return Err(not_found());
            }
            // Better than nothing, and better than to keep everyone waiting.
            (Err(error), Some(hot)) if says_nothing(error.kind()) && !look.no_cache => {
                tracing::debug!(%error, "a key could not be revalidated; what is here is served");
                self.seen.stay(id, clock.monotonic());
                self.seen.was_silent(Some(clock.monotonic()));
                return Ok(Found::here(hot));
            }
            (Err(error), _) => return Err(remote_error(error)),
        };
        let record = self.record_of_key(id, key, head);
        self.take_on_key(key, record, here, arrived, asked, turn).await
    }

    /// The remote has nothing under a key.
    async fn key_absent(
        &self,
        id: ObjectId,
        asked: Instant,
        here: Option<&Hot>,
    ) -> Result<(), Error> {
        self.seen.was_absent(id, asked);
        if let Some(old) = here {
            let stamp = old.entry.record.stamp;
            self.commit(Change::Uncache { id, stamp }).await?;
        }
        Ok(())
    }

    /// Keeps what the remote had under a key at a moment, unless it is what is here.
    async fn take_on_key<'a>(
        &'a self,
        key: &Arc<str>,
        mut record: Record,
        here: Option<Arc<Hot>>,
        arrived: Option<Arrived>,
        since: Instant,
        turn: Option<MutexGuard<'a, ()>>,
    ) -> Result<Found<'a>, Error> {
        let id = record.id;
        let tag = record.live.as_ref().and_then(|live| live.remote_etag.clone());
        if let Some(hot) = here.filter(|hot| etag(hot) == tag.as_deref()) {
            self.seen.is_current_at(id, since);
            return Ok(Found::here(hot));
        }
        // Each node has stamps of its own for the bucket's keys.
        record.stamp = self.stamps.next();
        let stamp = record.stamp;
        self.commit(Change::Cache { key: Arc::clone(key), record }).await?;
        self.seen.is_current_at(id, since);
        let hot = self.lookup(id, false).await?.ok_or_else(not_found)?;
        let arrived = arrived.filter(|_| hot.entry.record.stamp == stamp);
        Ok(Found { hot, arrived, turn })
    }

    /// What is here of a key, if the remote need not be asked about it.
    async fn seen_lately(&self, id: ObjectId, look: Look) -> Result<Option<Found<'static>>, Error> {
        if look.no_cache {
            return Ok(None);
        }
        let now = self.env.clock.monotonic();
        if self.seen.is_absent(id, now) {
            return Err(not_found());
        }
        if !self.seen.is_current(id, now) {
            return Ok(None);
        }
        Ok(self.lookup(id, false).await?.map(Found::here))
    }

    fn record_of_key(&self, id: ObjectId, key: &str, head: RemoteHead) -> Record {
        let printable = |text: Option<String>| {
            text.filter(|text| text.len() <= 255 && text.bytes().all(|b| (0x20..0x7f).contains(&b)))
        };
        let live = Live {
            level: Level::Remote,
            size: head.size,
            digest: None,
            name: name_of(key),
            content_type: printable(head.attributes.content_type),
            content_encoding: printable(head.attributes.content_encoding),
            user_meta: UserMeta::new(head.attributes.metadata).unwrap_or_default(),
            remote_etag: Some(head.etag),
        };
        let stamp = self.stamps.next();
        Record::new(id, stamp, head.modified, Some(Box::new(live)))
    }

    /// What the bucket has to be asked for so that conditions hold.
    async fn condition(
        &self,
        key: &Arc<str>,
        conditions: &Conditions,
    ) -> Result<RemoteCondition, Error> {
        if conditions.is_empty() {
            return Ok(RemoteCondition::None);
        }
        if *conditions == Conditions::absent() {
            return Ok(RemoteCondition::Absent);
        }
        // The others are judged against what is there now, which then has to be there still.
        let look = Look { fetch: true, no_cache: true, bytes: None };
        let current = match self.find_key(key, look).await {
            Ok(found) => Some(found.hot),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        conditions.check_change(current.as_ref().map(|hot| hot.entry.meta.as_ref()))?;
        Ok(match current.as_deref().and_then(etag) {
            Some(etag) => RemoteCondition::Match(etag.to_owned()),
            None => RemoteCondition::Absent,
        })
    }
}

/// Under a key that is an id lies the copy of the object that was put by it.
fn check_not_an_id(key: &ObjectKey) -> Result<(), Error> {
    let id = key.as_str().parse::<ObjectId>();
    if id.is_ok_and(|id| id.to_string() == key.as_str()) {
        return Err(Error::new(
            ErrorKind::InvalidKey,
            "this key is an id, under which the bucket keeps the object put by it; change it by its id",
        ));
    }
    Ok(())
}

/// Whether a failed question leaves open what the bucket has.
fn says_nothing(kind: RemoteErrorKind) -> bool {
    kind.is_retryable() || kind == RemoteErrorKind::Forbidden
}

fn not_found() -> Error {
    Error::new(ErrorKind::NotFound, "the bucket has nothing under this key")
}

fn etag(hot: &Hot) -> Option<&str> {
    hot.entry.live()?.remote_etag.as_deref()
}

/// The last part of a key, for the content type and for who saves it.
fn name_of(key: &str) -> ObjectName {
    let last = key.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    ObjectName::new(last).unwrap_or_default()
}
