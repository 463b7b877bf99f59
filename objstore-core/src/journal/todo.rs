//! What merges left to be done about bodies, kept in the journal so that a crash forgets none of it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use objstore_client::types::ObjectId;
use tokio::sync::Notify;

use super::format::{decode, encode};
use super::intents::{Note, each};
use super::stamp::Stamp;
use super::store::{JournalStore, StoreError};

/// What has to be done about the body of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Chore {
    /// This node is to hold a copy: the version has level 2.
    Want,
    /// A version that this node had stored in the remote lost against this one: it has to be seen
    /// to that the remote has the winner.
    Verify,
}

impl Chore {
    const ALL: [Self; 2] = [Self::Want, Self::Verify];

    const fn prefix(self) -> &'static [u8] {
        match self {
            Self::Want => b"want/",
            Self::Verify => b"verify/",
        }
    }

    /// The note that this is to be done about a version.
    pub(crate) fn note(self, id: ObjectId, stamp: Stamp) -> Note {
        Note { key: self.key(id), value: Some(encode(&stamp)) }
    }

    /// The note that nothing of the kind is to be done any more.
    pub(crate) fn done(self, id: ObjectId) -> Note {
        Note { key: self.key(id), value: None }
    }

    fn key(self, id: ObjectId) -> Bytes {
        [self.prefix(), id.to_bytes().as_slice()].concat().into()
    }
}

/// A memory of what the journal has as notes. The writer adds to it once they are durable.
#[derive(Debug, Default)]
pub(crate) struct Todo {
    list: Mutex<BTreeMap<(Chore, ObjectId), Stamp>>,
    /// Told when there is more.
    pub(crate) more: Notify,
}

impl Todo {
    /// What a node left to be done when it stopped. Blocks.
    pub(crate) fn load(store: &dyn JournalStore) -> Result<Self, StoreError> {
        let todo = Self::default();
        todo.reload(store)?;
        Ok(todo)
    }

    /// The same once more, after a batch of which nobody knows whether it is durable. Blocks.
    pub(super) fn reload(&self, store: &dyn JournalStore) -> Result<(), StoreError> {
        let mut found = BTreeMap::new();
        for chore in Chore::ALL {
            each(store, chore.prefix(), |key, value| {
                let id = key.try_into().ok().and_then(|bytes| ObjectId::from_bytes(bytes).ok());
                let id = id.ok_or_else(|| StoreError::Damaged("a chore of no id".into()))?;
                found.insert((chore, id), decode(value)?);
                Ok(())
            })?;
        }
        *self.list() = found;
        self.more.notify_one();
        Ok(())
    }

    fn list(&self) -> MutexGuard<'_, BTreeMap<(Chore, ObjectId), Stamp>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, chore: Chore, id: ObjectId, stamp: Stamp) {
        self.list().insert((chore, id), stamp);
        self.more.notify_one();
    }

    /// Up to `limit` of a kind after this id, in order of id.
    pub(crate) fn after(
        &self,
        chore: Chore,
        after: Option<ObjectId>,
        limit: usize,
    ) -> Vec<(ObjectId, Stamp)> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let from = match after {
            Some(id) => Excluded((chore, id)),
            None => Included((chore, ObjectId::EARLIEST)),
        };
        let list = self.list();
        let of_kind = list.range((from, Unbounded)).take_while(|((kind, _), _)| *kind == chore);
        of_kind.take(limit).map(|((_, id), stamp)| (*id, *stamp)).collect()
    }

    /// Whether something of the kind is to be done about an object.
    pub(super) fn has(&self, chore: Chore, id: ObjectId) -> bool {
        self.list().contains_key(&(chore, id))
    }

    /// Whether it is this version about which something is to be done.
    pub(super) fn is_last(&self, chore: Chore, id: ObjectId, stamp: Stamp) -> bool {
        self.list().get(&(chore, id)) == Some(&stamp)
    }

    pub(super) fn done(&self, chore: Chore, id: ObjectId, stamp: Stamp) {
        let mut list = self.list();
        if list.get(&(chore, id)) == Some(&stamp) {
            list.remove(&(chore, id));
        }
    }
}
