use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{FuturesUnordered, StreamExt};
use objstore_client::types::ObjectId;
use objstore_client::{Error, ErrorKind};
use tokio::sync::OwnedSemaphorePermit;

use super::Opened;
use crate::cache::Hot;
use crate::journal::{BegunUpload, Change, Record};
use crate::node::Inner;
use crate::remote::{
    PART_MAX, RemoteAttributes, RemoteCondition, RemoteError, RemoteErrorKind, RemotePart, Retry,
    codec,
};

/// How often a remote that has something else than expected is asked what it has.
const LOOKS: usize = 3;

/// Why a version is not in the remote.
pub(crate) enum NotStored {
    /// It could not be read or prepared here.
    Here(Error),
    /// The remote did not take it.
    There(RemoteError),
    /// The remote has a later version, of another node, which stays there.
    Overtaken(Box<Record>),
}

impl From<RemoteError> for NotStored {
    fn from(error: RemoteError) -> Self {
        Self::There(error)
    }
}

impl From<Error> for NotStored {
    fn from(error: Error) -> Self {
        Self::Here(error)
    }
}

impl NotStored {
    /// Whether the remote may have it all the same.
    pub(crate) fn is_outcome_unknown(&self) -> bool {
        match self {
            Self::Here(_) | Self::Overtaken(_) => false,
            Self::There(error) => error.may_be_made(),
        }
    }

    /// What the one who waits for it is told.
    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::Here(error) => error,
            Self::There(error) => remote_error(error),
            Self::Overtaken(_) => Error::new(
                ErrorKind::PreconditionFailed,
                "another node has put a later version meanwhile; read the object again, then decide",
            ),
        }
    }
}

/// What a failed call of the remote becomes for the one who waits.
pub(crate) fn remote_error(error: RemoteError) -> Error {
    let kind = error.kind();
    match kind {
        // The asker's own condition.
        RemoteErrorKind::PreconditionFailed => tracing::debug!(%error, "a condition does not hold"),
        _ => tracing::warn!(%error, kind = kind.code(), "the bucket did not do what it was asked"),
    }
    let retry_after = error.retry_after();
    let failed = match kind {
        // Said only where nothing was changed for certain: what is in the way may be the change
        // itself, whose confirmation was lost.
        RemoteErrorKind::PreconditionFailed if !error.may_be_made() => Error::new(
            ErrorKind::PreconditionFailed,
            "the bucket has another version by now; read the object again, then decide",
        ),
        RemoteErrorKind::PreconditionFailed
        | RemoteErrorKind::Forbidden
        | RemoteErrorKind::Throttled
        | RemoteErrorKind::Unavailable => Error::new(
            ErrorKind::Unavailable,
            "the bucket cannot be asked at the moment, or does not let this node; sending the same again is safe",
        ),
        _ => Error::new(
            ErrorKind::RemoteRefused,
            "the bucket refuses this; see the node's log for what it said",
        ),
    };
    let failed = match (failed.kind(), retry_after) {
        (ErrorKind::Unavailable, delay) => {
            failed.with_retry_after(delay.unwrap_or(std::time::Duration::from_secs(1)))
        }
        _ => failed,
    };
    failed.with_source(error)
}

impl Inner {
    /// Stores a version in the remote and returns its tag there. `replaces` is the tag of what is
    /// expected in its place; what is there instead is replaced all the same, unless the change
    /// was `conditional` or what is there is a later version.
    ///
    /// When the future is dropped the version may be in the remote or not.
    pub(crate) async fn upload(
        &self,
        version: Arc<Hot>,
        replaces: Option<String>,
        conditional: bool,
        retry: Retry,
    ) -> Result<String, NotStored> {
        let record = &version.entry.record;
        let (key, stamp) = (record.id.to_string(), record.stamp);
        let attributes = codec::to_attributes(record)?;
        let opened = self.open_version(Arc::clone(&version)).await?;
        let mut condition = replaces.map_or(RemoteCondition::Absent, RemoteCondition::Match);
        let mut looks = 0;
        loop {
            let sent = self.send(&key, &opened, &attributes, condition.clone(), &retry).await;
            let error = match sent {
                Ok(etag) => {
                    self.counts.uploaded(version.entry.meta.size);
                    return Ok(etag);
                }
                Err(NotStored::There(error)) => error,
                Err(here) => return Err(here),
            };
            looks += 1;
            match error.kind() {
                // Its conditions are worth having where there are any, and can be done without.
                RemoteErrorKind::Unsupported if condition != RemoteCondition::None => {
                    condition = RemoteCondition::None;
                }
                // What is there may be this very version, whose confirmation was lost.
                kind if looks <= LOOKS && (is_replaced(kind) || error.may_be_made()) => {
                    let found = match self.find(record.id, &Retry::ONCE).await {
                        Ok(found) => found,
                        // What is in the way may be this very version: that is yet to be found out.
                        Err(silent) => return Err(silent.after_unknown(true).into()),
                    };
                    match found {
                        Some(found) if found.stamp == stamp => {
                            self.counts.uploaded(version.entry.meta.size);
                            return Ok(etag_of(&found));
                        }
                        _ if !is_replaced(kind) => return Err(error.into()),
                        // The bucket is the judge between nodes.
                        Some(_) if conditional => return Err(error.into()),
                        // So that the bucket ends with what all nodes end with.
                        Some(later) if later.stamp > stamp => {
                            return Err(NotStored::Overtaken(Box::new(later)));
                        }
                        Some(other) => condition = RemoteCondition::Match(etag_of(&other)),
                        None => condition = RemoteCondition::Absent,
                    }
                }
                _ => return Err(error.into()),
            }
        }
    }

    /// What the remote has of an object.
    pub(crate) async fn find(
        &self,
        id: ObjectId,
        retry: &Retry,
    ) -> Result<Option<Record>, RemoteError> {
        let key = id.to_string();
        let call = || self.remote.head(&key);
        match retry.call(self.env.entropy.as_ref(), call).await {
            Err(error) if error.kind() == RemoteErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
            Ok(head) => codec::from_head(id, &head).map(Some).map_err(|e| {
                RemoteError::new(RemoteErrorKind::Refused, e.to_string()).with_source(e)
            }),
        }
    }

    /// Sends a version, whole or in parts, and returns its tag there.
    pub(crate) async fn send(
        &self,
        key: &str,
        version: &Opened,
        attributes: &RemoteAttributes,
        condition: RemoteCondition,
        retry: &Retry,
    ) -> Result<String, NotStored> {
        let size = version.hot.entry.meta.size;
        if size > self.uploads.part_len(size) {
            return self.send_parts(key, version, attributes, condition, retry).await;
        }
        let (body, _held) = self.read_part(version, 0, size).await?;
        let call = || self.remote.put(key, body.clone(), attributes, condition.clone());
        Ok(retry.for_bytes(size).call(self.env.entropy.as_ref(), call).await?)
    }

    async fn send_parts(
        &self,
        key: &str,
        version: &Opened,
        attributes: &RemoteAttributes,
        condition: RemoteCondition,
        retry: &Retry,
    ) -> Result<String, NotStored> {
        let entropy = self.env.entropy.as_ref();
        let mut lost = Begun { inner: self, begun: None };
        if version.hot.entry.record.id.to_string() == key {
            // Noted before it is begun: the answer may be lost, or this node be stopped.
            let any = BegunUpload { key: key.to_owned(), upload: String::new() };
            self.commit(Change::Note(vec![any.begun()])).await?;
            lost.begun = Some(any);
        }
        let mut tries = 0;
        let begin = || {
            tries += 1;
            self.remote.begin(key, attributes)
        };
        let upload = retry.call(entropy, begin).await?;
        let mut begun =
            Begun { inner: self, begun: Some(BegunUpload { key: key.to_owned(), upload }) };
        let BegunUpload { upload, .. } = begun.get()?.clone();
        // Durable before the first part, so that no crash leaves it behind in the bucket.
        let mut notes = vec![begun.get()?.begun()];
        if tries == 1
            && let Some(none) = lost.begun.take()
        {
            notes.push(none.ended());
        }
        self.commit(Change::Note(notes)).await?;
        let parts = self.put_parts(key, &upload, version, retry).await?;
        let size = version.hot.entry.meta.size;
        // A remote may take long to put many parts together.
        let retry = retry.for_bytes(size / 16);
        let call = || self.remote.complete(key, &upload, &parts, condition.clone());
        let etag = retry.call(entropy, call).await?;
        if let Some(begun) = begun.begun.take() {
            // Should this be lost, a start gives up an upload that is not there any more.
            self.commit(Change::Note(vec![begun.ended()])).await?;
        }
        Ok(etag)
    }

    async fn put_parts(
        &self,
        key: &str,
        upload: &str,
        version: &Opened,
        retry: &Retry,
    ) -> Result<Vec<RemotePart>, NotStored> {
        let size = version.hot.entry.meta.size;
        let len = self.uploads.part_len(size);
        let retry = retry.for_bytes(len);
        let put = |number: u32| async move {
            let start = u64::from(number - 1) * len;
            let (body, _held) = self.read_part(version, start, (start + len).min(size)).await?;
            let call = || self.remote.put_part(key, upload, number, body.clone());
            let etag = retry.call(self.env.entropy.as_ref(), call).await?;
            Ok::<_, NotStored>(RemotePart { number, etag })
        };
        let count = u32::try_from(size.div_ceil(len)).unwrap_or(u32::MAX);
        let mut numbers = 1..=count;
        let mut running: FuturesUnordered<_> =
            numbers.by_ref().take(self.uploads.parts_parallel()).map(put).collect();
        let mut parts = Vec::new();
        while let Some(part) = running.next().await {
            parts.push(part?);
            running.extend(numbers.next().map(put));
        }
        parts.sort_unstable_by_key(|part| part.number);
        Ok(parts)
    }

    /// Bytes of a version in memory, with the room that they take.
    async fn read_part(
        &self,
        version: &Opened,
        start: u64,
        end: u64,
    ) -> Result<(Bytes, OwnedSemaphorePermit), Error> {
        let len = (end - start).min(PART_MAX);
        let kib = u32::try_from(len.div_ceil(1024)).unwrap_or(u32::MAX);
        let budget = Arc::clone(&self.uploads.budget);
        let held = budget.acquire_many_owned(kib).await.map_err(|_| self.stopping())?;
        let mut body = self.body(version, start..end).await?;
        let mut part = BytesMut::new();
        while let Some(chunk) = body.chunk().await {
            let chunk = chunk?;
            if part.is_empty() && chunk.len() as u64 == len {
                return Ok((chunk, held));
            }
            part.extend_from_slice(&chunk);
        }
        Ok((part.freeze(), held))
    }

    /// Gives an upload in parts up, and forgets it once the remote has.
    pub(crate) async fn abort(&self, begun: BegunUpload, tries: u32) {
        let entropy = self.env.entropy.as_ref();
        let aborted = if begun.upload.is_empty() {
            self.abort_all(&begun.key).await
        } else {
            let call = || self.remote.abort(&begun.key, &begun.upload);
            Retry::ONCE.call(entropy, call).await
        };
        let over = match aborted {
            Ok(()) => true,
            // It will not be there later either.
            Err(error) => {
                let may_be_let = error.kind() == RemoteErrorKind::Forbidden;
                !error.kind().is_retryable() && !may_be_let
            }
        };
        if !over || self.commit(Change::Note(vec![begun.ended()])).await.is_err() {
            self.uploads.abort_later(begun, tries + 1, self.env.clock.monotonic());
        }
    }
}

impl Inner {
    /// Gives up every upload in parts that was begun for an object of ours, when the name of one
    /// may have been lost.
    async fn abort_all(&self, key: &str) -> Result<(), RemoteError> {
        let Ok(id) = key.parse::<ObjectId>() else { return Ok(()) };
        // None is under way here then.
        let _turn = self.uploads.turn(id).await;
        let entropy = self.env.entropy.as_ref();
        let begun = match Retry::ONCE.call(entropy, || self.remote.uploads(key)).await {
            // Not everybody may list them.
            Err(error) if error.kind() == RemoteErrorKind::Forbidden => {
                tracing::warn!(%error, %id, "an unfinished upload may be left in the bucket");
                return Ok(());
            }
            begun => begun?,
        };
        for begun in begun.iter().filter(|begun| begun.key == key) {
            Retry::ONCE.call(entropy, || self.remote.abort(key, &begun.upload)).await?;
        }
        Ok(())
    }
}

/// Whether the remote has something else than was expected.
fn is_replaced(kind: RemoteErrorKind) -> bool {
    matches!(kind, RemoteErrorKind::PreconditionFailed | RemoteErrorKind::NotFound)
}

/// What the remote calls the version of a record that was read there.
fn etag_of(record: &Record) -> String {
    record.live.as_ref().and_then(|live| live.remote_etag.clone()).unwrap_or_default()
}

/// An upload in parts under way. Dropped before it is complete, it is given up in the background.
struct Begun<'a> {
    inner: &'a Inner,
    begun: Option<BegunUpload>,
}

impl Begun<'_> {
    fn get(&self) -> Result<&BegunUpload, Error> {
        self.begun.as_ref().ok_or_else(|| Error::new(ErrorKind::Internal, "an upload that is over"))
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if let Some(begun) = self.begun.take() {
            self.inner.uploads.abort_later(begun, 0, self.inner.env.clock.monotonic());
        }
    }
}
