use std::fmt::Debug;
use std::io;

use bytes::Bytes;

/// The key spaces of a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Space {
    /// Records by object id.
    Records,
    /// Small bodies by object id and stamp.
    Bodies,
    /// Counters, files waiting to be removed, and what is yet to be done in the remote.
    Meta,
    /// What is cached of the bucket's keys, by the ids derived from them.
    Keys,
}

impl Space {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Records, Self::Bodies, Self::Meta, Self::Keys];
}

/// Changes that become durable together or not at all.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// Key space, key, and the new value; none removes the key. Of two changes to one key the
    /// later counts.
    pub changes: Vec<(Space, Bytes, Option<Bytes>)>,
}

impl Batch {
    /// Sets a key.
    pub fn put(&mut self, space: Space, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.changes.push((space, key.into(), Some(value.into())));
    }

    /// Removes a key.
    pub fn remove(&mut self, space: Space, key: impl Into<Bytes>) {
        self.changes.push((space, key.into(), None));
    }
}

/// An ordered, durable map in key spaces. All calls may block, and may be made from any thread;
/// [`commit`](Self::commit) is called by one thread only.
pub trait JournalStore: Send + Sync + Debug {
    /// The value of a key.
    ///
    /// # Errors
    /// [`StoreError`].
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// Up to `limit` keys above `after`, with values, in order.
    ///
    /// # Errors
    /// [`StoreError`].
    fn scan(
        &self,
        space: Space,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError>;

    /// Makes a batch durable, then visible. Returns after the sync. It becomes visible change by
    /// change, in order.
    ///
    /// # Errors
    /// [`StoreError`]; whether the batch is there is then unknown until [`reopen`](Self::reopen)
    /// has succeeded.
    fn commit(&self, batch: &Batch) -> Result<(), StoreError>;

    /// Bytes on disk.
    fn physical_bytes(&self) -> u64;

    /// Bytes of changes that are durable in a log and have yet to be written to their place.
    fn unflushed_bytes(&self) -> u64;

    /// Bytes that the log may yet grow by before it starts anew.
    fn log_headroom(&self) -> u64;

    /// Writes what is in the log to its place, so that the log can begin anew.
    ///
    /// # Errors
    /// [`StoreError`].
    fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Gives space of removed values back to the disk. May take as much space as is live for a while.
    ///
    /// # Errors
    /// [`StoreError`].
    fn reclaim(&self) -> Result<(), StoreError>;

    /// Starts again from what is durable, after a failed commit.
    ///
    /// # Errors
    /// [`StoreError`].
    fn reopen(&self) -> Result<(), StoreError>;

    /// Closes the store for good and releases its files.
    fn close(&self);
}

/// What a journal store may meet.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No space left on the disk.
    #[error("no space left on the disk")]
    Full(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The operating system refused a read, write or sync.
    #[error("the disk failed")]
    Io(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store failed before, and nothing of this batch was written.
    #[error("the store has failed before and must be reopened")]
    Refused,
    /// What is on disk is not what was written.
    #[error("the journal is damaged: {0}")]
    Damaged(String),
    /// The store is closed, or is being reopened.
    #[error("the journal is closed")]
    Closed,
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::FileTooLarge => Self::Full(error.into()),
            _ => Self::Io(error.into()),
        }
    }
}
