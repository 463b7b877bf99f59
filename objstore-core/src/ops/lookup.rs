use std::sync::Arc;

use bytes::Bytes;
use objstore_client::types::ObjectId;
use objstore_client::{Error, ErrorKind};

use crate::bodies::verify_inline;
use crate::cache::{Hot, Lookup};
use crate::env;
use crate::journal::{
    Change, Entry, HeldBody, JournalStore, Presence, Space, StoreError, body_key, load_entry,
};
use crate::node::Inner;

impl Inner {
    /// The newest version of an object, with its body if that is small and `with_body` asks for
    /// it. A tombstone is a version; none is an id that was never put.
    pub(crate) async fn lookup(
        &self,
        id: ObjectId,
        with_body: bool,
    ) -> Result<Option<Arc<Hot>>, Error> {
        let keep = match self.tier.object(id) {
            Lookup::Hit(hot) => return Ok(Some(hot)),
            Lookup::Miss(keep) => keep,
        };
        let store = Arc::clone(&self.store);
        let load = move || load(store.as_ref(), id, with_body);
        let found = match env::run_short(self.env.blocking.as_ref(), load).await? {
            Err(Failure::Journal(error)) => return Err(journal_error(error)),
            Err(Failure::Damaged(entry)) => {
                let error = self.counts.corrupt(id);
                return self.heal_inline(&entry).await.map(Some).ok_or(error);
            }
            Ok(found) => found.map(Arc::new),
        };
        if let Some(hot) = &found
            && (hot.entry.presence != Presence::Inline || hot.inline.is_some())
        {
            keep.keep(Arc::clone(hot));
        }
        Ok(found)
    }

    /// Brings a small body from elsewhere in place of one that is damaged here, durably.
    async fn heal_inline(&self, entry: &Entry) -> Option<Arc<Hot>> {
        let fill = self.fills.open(self.elsewhere(entry)?);
        let body = match fill.whole().await {
            Ok(body) => Bytes::from(body),
            Err(error) => {
                tracing::warn!(id = %entry.record.id, %error, "there is no good copy elsewhere");
                return None;
            }
        };
        let (id, stamp) = (entry.record.id, entry.record.stamp);
        let change = Change::Hold { id, stamp, body: HeldBody::Inline(body.clone()) };
        if let Err(error) = self.commit(change).await {
            tracing::warn!(%id, %error, "a body that was brought from elsewhere could not be kept");
        }
        Some(Arc::new(Hot { entry: entry.clone(), inline: Some(body) }))
    }

    /// The newest version, if it is not a tombstone.
    pub(crate) async fn live(&self, id: ObjectId, with_body: bool) -> Result<Arc<Hot>, Error> {
        let hot = self.lookup_anywhere(id, with_body).await?.ok_or_else(not_found)?;
        if hot.entry.live().is_some() { Ok(hot) } else { Err(deleted(&hot.entry)) }
    }
}

enum Failure {
    Journal(StoreError),
    /// The small body of this version is not what was put.
    Damaged(Box<Entry>),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Journal(error)
    }
}

fn load(store: &dyn JournalStore, id: ObjectId, with_body: bool) -> Result<Option<Hot>, Failure> {
    let mut missed = None;
    loop {
        let Some(entry) = load_entry(store, id)? else { return Ok(None) };
        if entry.presence != Presence::Inline || !with_body {
            return Ok(Some(Hot { entry, inline: None }));
        }
        if let Some(body) = load_inline(store, &entry)? {
            return Ok(Some(Hot { entry, inline: Some(body) }));
        }
        // An overwrite between the two reads takes the body away, and leaves a newer record.
        if missed == Some(entry.record.stamp) {
            return Err(Failure::Damaged(Box::new(entry)));
        }
        missed = Some(entry.record.stamp);
    }
}

pub(super) fn load_inline(
    store: &dyn JournalStore,
    entry: &Entry,
) -> Result<Option<Bytes>, StoreError> {
    let record = &entry.record;
    match store.get(Space::Bodies, &body_key(record.id, record.stamp)) {
        Ok(value) => Ok(value.and_then(|value| verify_inline(record, &value))),
        // The store checks what it reads too.
        Err(StoreError::Damaged(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

pub(crate) fn not_found() -> Error {
    Error::new(ErrorKind::NotFound, "no object has this id here")
}

pub(crate) fn deleted(entry: &Entry) -> Error {
    Error::new(ErrorKind::Deleted, "the object has been deleted").with_meta(Arc::clone(&entry.meta))
}

/// What a failed read of the journal becomes.
pub(crate) fn journal_error(error: StoreError) -> Error {
    if let StoreError::Damaged(_) = &error {
        tracing::error!(%error, "the journal is damaged");
        return Error::new(
            ErrorKind::Corrupt,
            "the record of this object is damaged; see the node's log",
        )
        .with_source(error);
    }
    Error::new(ErrorKind::Unavailable, "the journal cannot be read at the moment; try again")
        .with_retry_after(std::time::Duration::from_secs(1))
        .with_source(error)
}
