//! Changes on their way to the writer, and what becomes of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use objstore_client::options::Conditions;
use objstore_client::types::{Level, ObjectId, ObjectMeta};
use objstore_client::{Error, ErrorKind};
use tokio::sync::{mpsc, oneshot};

use super::intents::{Note, QueuedUpload};
use super::past::Horizon;
use super::record::Record;
use super::stamp::Stamp;
use super::todo::Chore;
use crate::bodies::FileBody;
use crate::cache::Hot;
use crate::remote::Staged;
use crate::usage::Reservation;

/// Changes that wait for the writer; more wait with their callers.
const QUEUE: usize = 1024;

/// A change to one object.
pub(crate) enum Change {
    Put(Put),
    Delete {
        id: ObjectId,
        conditions: Conditions,
    },
    /// Raises the level of exactly this version. Without a tag it waits to be stored in the remote.
    Raise {
        id: ObjectId,
        stamp: Stamp,
        level: Level,
        remote_etag: Option<String>,
    },
    /// Makes a version durable that nobody is to see yet.
    Stage(Put),
    /// Shows a pending version, now that the remote has it.
    Promote {
        version: Arc<Hot>,
        conditions: Conditions,
        remote_etag: String,
    },
    /// Gives a pending version up.
    Unstage(Arc<Hot>),
    /// Takes on a record that the remote has, if nothing newer is known here.
    Restore(Record),
    /// Takes on what the remote has under a key.
    Cache {
        key: Arc<str>,
        record: Record,
    },
    /// Forgets this version of what the remote had under a key.
    Uncache {
        id: ObjectId,
        stamp: Stamp,
    },
    /// Keeps this about the version with this stamp that waits for the remote, or has it wait no
    /// more. Nothing if another waits by now.
    Waiting {
        id: ObjectId,
        stamp: Stamp,
        upload: Option<QueuedUpload>,
    },
    /// The whole body of exactly this version is here now, as durable as if it had been put here.
    Hold {
        id: ObjectId,
        stamp: Stamp,
        body: HeldBody,
    },
    /// Keeps notes.
    Note(Vec<Note>),
    /// Takes on what other nodes know; each record was checked when it came. A record of a version
    /// that wins here has its body elsewhere.
    Merge(Vec<Record>),
    /// Forgets these versions, bodies included, without a tombstone: the cluster has forgotten
    /// their deletes.
    Drop(Vec<(ObjectId, Stamp)>),
    /// Deletes again what is deleted here already, with stamps of now: the cluster may have forgotten
    /// these deletes before all of it had heard of them.
    Renew(Vec<ObjectId>),
    /// Lets go what is here of these versions, which are elsewhere too.
    Evict(Vec<(ObjectId, Stamp)>),
    /// The files of these versions are lost: they are elsewhere, or nowhere.
    Lose(Vec<(ObjectId, Stamp)>),
    /// From now on this node sees to it that the remote has these versions, while they are current.
    Verify(Vec<(ObjectId, Stamp)>),
    /// Forgets some of the tombstones before a time, and moves the horizon to the latest of this
    /// one, the one there is, and what was forgotten.
    Collect {
        horizon: Horizon,
        before: u64,
    },
    /// This chore was done for this version. Nothing if it is to be done for another by now.
    Done {
        chore: Chore,
        id: ObjectId,
        stamp: Stamp,
    },
}

/// A new version, with what it takes to commit it.
pub(crate) struct Put {
    pub(crate) record: Record,
    pub(crate) body: NewBody,
    pub(crate) conditions: Conditions,
    pub(crate) reservation: Reservation,
    /// It is shown before the remote has it.
    pub(crate) write_back: bool,
}

pub(crate) enum NewBody {
    Inline(Bytes),
    File(FileBody),
}

/// A body that came from elsewhere.
pub(crate) enum HeldBody {
    Inline(Bytes),
    /// In the file of the version, which is synced and takes this many bytes of disk.
    File {
        physical: u64,
    },
}

/// What became of a change that was not refused.
pub(crate) enum Committed {
    /// It is durable.
    Made(Arc<ObjectMeta>),
    /// It is durable, and pending.
    Staged(Staged),
    /// It came through after a later version, as if it had been overwritten at once.
    Superseded(Arc<ObjectMeta>),
    /// The notes are durable.
    Noted,
    /// The tombstones are forgotten; there are more.
    Collected { more: bool },
    /// The object has a higher level than the new version, which must first do what that level
    /// asks for. Nothing was changed.
    Higher(Level, Box<Put>),
}

impl Committed {
    /// Whether the caller is told; otherwise the change is about to be made in another way.
    pub(super) fn is_final(&self) -> bool {
        !matches!(self, Self::Higher(..))
    }

    /// The metadata after a change that is made or refused.
    pub(crate) fn made(self) -> Result<Arc<ObjectMeta>, Error> {
        match self {
            Self::Made(meta) | Self::Superseded(meta) => Ok(meta),
            _ => Err(Error::new(ErrorKind::Internal, "a change was not what it was made for")),
        }
    }
}

pub(super) type Answer = Result<Committed, Error>;

#[allow(clippy::large_enum_variant)] // nearly every request is one of the large ones
pub(super) enum Request {
    Make {
        change: Change,
        answer: oneshot::Sender<Answer>,
    },
    /// Look whether a broken journal works again, or whether to stop.
    Wake,
}

/// Where changes go.
#[derive(Clone, Debug)]
pub(crate) struct WriterHandle {
    queue: mpsc::Sender<Request>,
    stop: Arc<AtomicBool>,
}

impl WriterHandle {
    /// A handle, and the queue that a writer takes its changes from.
    pub(crate) fn new() -> (Self, Queue) {
        let (queue, requests) = mpsc::channel(QUEUE);
        let stop = Arc::<AtomicBool>::default();
        (Self { queue, stop: Arc::clone(&stop) }, Queue { requests, stop })
    }

    /// Makes a change durable. When the future is dropped before the change was taken from its
    /// hands nothing happens, after that the change happens all the same.
    pub(crate) async fn commit(&self, change: Change) -> Answer {
        let (answer, answered) = oneshot::channel();
        self.queue.send(Request::Make { change, answer }).await.map_err(|_| stopping())?;
        answered.await.map_err(|_| stopping())?
    }

    /// Has the writer end after what is in its hands. Does not block.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.wake();
    }

    /// Has the writer look around. Does not block: when the queue is full it is awake.
    pub(crate) fn wake(&self) {
        let _ = self.queue.try_send(Request::Wake);
    }
}

fn stopping() -> Error {
    Error::new(ErrorKind::Stopping, "this node is stopping; ask another, or start it again")
}

/// Where the writer takes changes from.
pub(crate) struct Queue {
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) stop: Arc<AtomicBool>,
}
