//! Parts that are put by themselves, from wherever, and made one object later. Until then each is an
//! object of level 0 under an id next to that of its upload.

use std::sync::Arc;
use std::time::SystemTime;

use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::Keys;
use crate::body::Body;
use crate::error::{Error, ErrorKind};
use crate::options::{Conditions, DeleteOptions, GetOptions, ListOptions, PutOptions};
use crate::random::random;
use crate::types::{ETag, ObjectId, ObjectKey, ObjectMeta, UserMeta};

/// The most parts of an upload, as of S3.
const PARTS_MAX: u128 = 10_000;
/// The name under which the record of an upload has its key, and a part its upload.
const UPLOAD: &str = "objstore-upload";

/// An upload whose record was found.
pub(super) struct PartsOf<'a, K> {
    keys: &'a K,
    key: ObjectKey,
    id: ObjectId,
    options: PutOptions,
}

/// Begins an upload to a key: an object that says which, and what to keep beside its bytes.
pub(super) async fn begin<K: Keys>(
    keys: &K,
    key: &ObjectKey,
    mut options: PutOptions,
) -> Result<ObjectId, Error> {
    let id = fresh()?;
    let mine = [(UPLOAD, key.as_str())];
    options.user_meta = UserMeta::new(options.user_meta.iter().chain(mine))?;
    options.conditions = Conditions::absent();
    keys.put(id, Body::default(), options).await?;
    Ok(id)
}

impl<'a, K: Keys> PartsOf<'a, K> {
    pub(super) async fn find(keys: &'a K, key: ObjectKey, id: &str) -> Result<Self, Error> {
        let id = id.parse().map_err(|e| unknown().with_source(e))?;
        let meta = keys.head(id).await.map_err(|e| match e.kind() {
            ErrorKind::NotFound | ErrorKind::Deleted => unknown().with_source(e),
            _ => e,
        })?;
        if meta.user_meta.get(UPLOAD) != Some(key.as_str()) {
            return Err(unknown());
        }
        let kept = meta.user_meta.iter().filter(|(name, _)| *name != UPLOAD);
        let mut options = PutOptions::default().user_meta(UserMeta::new(kept)?);
        options.content_type.clone_from(&meta.content_type);
        options.content_encoding.clone_from(&meta.content_encoding);
        Ok(Self { keys, key, id, options })
    }

    /// Stores a part, in the place of one with this index, and returns the tag of what it has now.
    pub(super) async fn put(&self, index: usize, body: Body) -> Result<Option<ETag>, Error> {
        let mine = UserMeta::new([(UPLOAD, self.id.to_string())])?;
        let options = PutOptions::default().user_meta(mine);
        Ok(self.keys.put(part(self.id, index)?, body, options).await?.etag.clone())
    }

    /// Makes one object of the parts from the first on, which must be what they were when they got
    /// these tags.
    pub(super) async fn complete(&self, tags: Vec<ETag>) -> Result<Arc<ObjectMeta>, Error> {
        let parts = tags.into_iter().enumerate();
        let parts: Vec<_> =
            parts.map(|(i, tag)| Ok((part(self.id, i)?, tag))).collect::<Result<_, Error>>()?;
        let keys = self.keys.clone();
        let open = move || {
            let keys = keys.clone();
            let bodies = stream::iter(parts.clone()).then(move |(id, tag)| {
                let keys = keys.clone();
                async move {
                    let options =
                        GetOptions { conditions: Conditions::matching(tag), ..Default::default() };
                    keys.get(id, options).await.map(|object| object.body).map_err(missing)
                }
            });
            Body::from_stream(bodies.try_flatten(), None)
        };
        let body = Body::restartable(open, None);
        let meta = self.keys.put_key(&self.key, body, self.options.clone()).await?;
        if let Err(error) = self.discard().await {
            tracing::warn!(%error, upload = %self.id, "parts of an upload that is complete were left");
        }
        Ok(meta)
    }

    /// Deletes its parts and then its record, by which what is left can be found until then.
    pub(super) async fn discard(&self) -> Result<(), Error> {
        let last = part(self.id, PARTS_MAX as usize - 1)?;
        let mine = self.id.to_string();
        let mut after = self.id;
        loop {
            let options = ListOptions { after: Some(after), ..ListOptions::default() };
            let page = self.keys.list(options).await?;
            let Some(end) = page.last().map(|meta| meta.id) else { break };
            for meta in page.iter().take_while(|meta| meta.id <= last) {
                if meta.user_meta.get(UPLOAD) == Some(&mine) {
                    self.keys.delete(meta.id, DeleteOptions::default()).await?;
                }
            }
            if end >= last {
                break;
            }
            after = end;
        }
        self.keys.delete(self.id, DeleteOptions::default()).await.map(drop)
    }
}

/// An id with room for those of all parts behind it.
fn fresh() -> Result<ObjectId, Error> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    ObjectId::from_parts(now.as_millis() as u64, u128::from(random()) << 16)
}

fn part(upload: ObjectId, index: usize) -> Result<ObjectId, Error> {
    let index = index as u128;
    if index >= PARTS_MAX {
        let message = format!("an upload has at most {PARTS_MAX} parts; make them larger");
        return Err(Error::new(ErrorKind::InvalidRequest, message));
    }
    ObjectId::from_bytes((u128::from_be_bytes(upload.to_bytes()) + index + 1).to_be_bytes())
}

fn unknown() -> Error {
    Error::new(ErrorKind::NotFound, "there is no such upload to this key")
}

fn missing(error: Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::Deleted | ErrorKind::PreconditionFailed => {
            let message = "a part was put again or is gone; nothing was stored";
            Error::new(ErrorKind::InvalidRequest, message).with_source(error)
        }
        _ => error,
    }
}
