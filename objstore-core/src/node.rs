use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use objstore_client::types::PeerInfo;
use objstore_client::{Error, ErrorKind};
use tokio::sync::Semaphore;

use crate::background;
use crate::bodies::FileStore;
use crate::builder::Builder;
use crate::cache::{self, Buffers, Heat, Tier};
use crate::cluster::{self, Cluster, Exchange, Subscription, Trust};
use crate::crew::Crew;
use crate::env::{self, Env};
use crate::fills::Fills;
use crate::http::{self, Access, PublicService, Server};
use crate::journal::{
    Change, Committed, Digest, JournalStore, NodeId, StampSource, Todo, WriterShared,
};
use crate::ops::{Counts, IdSource, Seen};
use crate::remote::{Reach, RemoteStore, Uploads};
use crate::settings::Settings;
use crate::state_dir::StateDir;
use crate::usage::Usage;

/// A node: a handle, cheap to clone and to send between threads. All clones are the same node.
///
/// The node stops when [`shutdown`](Self::shutdown) is called or the last handle is dropped;
/// [`PublicService`]s and [`Server`]s made from it are handles too. Dropping the last one waits for
/// the journal to close, usually some ten milliseconds; where that must not happen on the current
/// thread, await `shutdown` first.
#[derive(Clone, Debug)]
pub struct Node {
    pub(crate) inner: Arc<Inner>,
    /// The node stops with the last of these; its background task holds none.
    handle: Arc<Handle>,
}

pub(crate) struct Inner {
    pub(crate) settings: Settings,
    pub(crate) env: Env,
    pub(crate) node_id: NodeId,
    pub(crate) started: Instant,
    pub(crate) store: Arc<dyn JournalStore>,
    pub(crate) files: Arc<FileStore>,
    pub(crate) tier: Arc<Tier>,
    /// What was wanted lately.
    pub(crate) heat: Arc<Heat>,
    pub(crate) buffers: Arc<Buffers>,
    pub(crate) stamps: Arc<StampSource>,
    pub(crate) usage: Arc<Usage>,
    pub(crate) shared: Arc<WriterShared>,
    pub(crate) remote: Arc<dyn RemoteStore>,
    pub(crate) reach: Arc<Reach>,
    pub(crate) fills: Arc<Fills>,
    pub(crate) seen: Seen,
    /// What is yet to be done in the remote.
    pub(crate) uploads: Arc<Uploads>,
    pub(crate) counts: Arc<Counts>,
    pub(crate) ids: IdSource,
    pub(crate) receiving: Semaphore,
    pub(crate) cluster: Cluster,
    pub(crate) trust: Arc<Trust>,
    pub(crate) access: Access,
    pub(crate) exchange: Exchange,
    /// What journals are compared by.
    pub(crate) digest: Arc<Digest>,
    /// What is to be done about bodies of versions that came from other nodes.
    pub(crate) todo: Arc<Todo>,
    pub(crate) phase: AtomicU8,
    pub(crate) crew: Crew,
    /// Unlocked last.
    pub(crate) dirs: Mutex<Option<StateDir>>,
}

const DRAINING: u8 = 1;
const STOPPED: u8 = 2;

impl Node {
    /// Starts building a node.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// A node with its background tasks, on the current runtime.
    pub(crate) fn run(inner: Arc<Inner>) -> Self {
        let (node, uploads) = (Arc::downgrade(&inner), Arc::clone(&inner.uploads));
        let task = background::run(node, uploads, Arc::clone(&inner.env.clock));
        let evictor = cache::run_evictor(Arc::downgrade(&inner), Arc::clone(&inner.usage));
        let access = http::run_access(Arc::downgrade(&inner));
        let tasks = [tokio::spawn(task), tokio::spawn(evictor), tokio::spawn(access)];
        let tasks = Mutex::new(tasks.map(|task| task.abort_handle()).to_vec());
        Self { handle: Arc::new(Handle { inner: Arc::clone(&inner), tasks }), inner }
    }

    /// From now on the background task of the cluster works, on the current runtime.
    pub(crate) fn run_cluster(&self) {
        let task = tokio::spawn(cluster::run(Arc::downgrade(&self.inner)));
        self.handle.tasks().push(task.abort_handle());
    }

    /// This node's id: made once and kept in its state directory.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.inner.node_id
    }

    /// The public HTTP API as a service, to be mounted in a hyper or tower server.
    #[must_use]
    pub fn public_service(&self) -> PublicService {
        PublicService::new(self.clone())
    }

    /// Serves the public HTTP API on a listener, on the current tokio runtime, until the returned
    /// handle is stopped or dropped. With a listener bound to port 0,
    /// [`Server::local_addr`] tells the port.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when the listener has no address.
    pub fn serve_public(&self, listener: tokio::net::TcpListener) -> Result<Server, Error> {
        let server = Server::start(listener, self.public_service())?;
        self.inner.cluster.serves(server.local_addr());
        Ok(server)
    }

    /// What is known of the other members of the cluster, in order of their ids, the absent ones
    /// included. Does not block.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.inner.peer_infos()
    }

    /// Where other nodes reach this one, `host:port`; none when it has no part in a cluster.
    #[must_use]
    pub fn private_addr(&self) -> Option<String> {
        self.inner.cluster.addr()
    }

    /// Where the private API is served in the clear to whoever looks after the node; none when it
    /// is not.
    #[must_use]
    pub fn debug_addr(&self) -> Option<std::net::SocketAddr> {
        self.inner.cluster.debug_addr()
    }

    /// Sends a message to the applications on all other live nodes: at most once to each, in no
    /// order. Returns how many nodes took it; those that do not within two seconds are not counted,
    /// and may have it all the same.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] for more than [`Message::MAX`](crate::Message::MAX) bytes, [`ErrorKind::Stopping`].
    ///
    /// # Cancellation
    /// Dropping the future sends to no further node.
    pub async fn send(&self, payload: impl Into<bytes::Bytes>) -> Result<usize, Error> {
        self.inner.send_message(payload.into()).await
    }

    /// Follows what applications on other nodes [send](Self::send), from now on. Keeps no node
    /// alive.
    #[must_use]
    pub fn subscribe(&self) -> Subscription {
        self.inner.cluster.subscribe()
    }

    /// Says that this node is about to stop: [`is_ready`](Self::is_ready) and `/readyz` turn at
    /// once, requests go on being served.
    pub fn drain(&self) {
        self.inner.phase.fetch_max(DRAINING, Ordering::AcqRel);
        self.inner.cluster.drains();
    }

    /// Whether this node wants requests: it is neither stopping nor unable to write, and has looked
    /// for the other nodes of its cluster and synced with one where there are any.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.inner.phase.load(Ordering::Acquire) == 0
            && !self.inner.shared.broken.load(Ordering::Acquire)
            && self.inner.has_settled()
    }

    /// Comes back when this node may not be part of its cluster any more: another process with its
    /// id lives. What to say about it; the node is not ready from then on, and should be shut down.
    ///
    /// # Cancellation
    /// Safe.
    pub async fn refused(&self) -> Error {
        self.inner.refused().await
    }

    /// Stops the node: changes under way are made durable and answered, everything after that is
    /// told [`ErrorKind::Stopping`], the journal is closed and the directories are unlocked once
    /// the last handle is gone too. Other nodes that are in the middle of a body which the bucket
    /// does not have are given the rest, for at most 10 s. Calling it again waits for the same end.
    ///
    /// # Errors
    /// [`ErrorKind::Stopping`] when the runtime shuts down first.
    ///
    /// # Cancellation
    /// Dropping the future does not stop the stopping.
    pub async fn shutdown(&self) -> Result<(), Error> {
        let (inner, handle) = (Arc::clone(&self.inner), Arc::clone(&self.handle));
        inner.phase.store(STOPPED, Ordering::Release);
        inner.cluster.drains();
        let stopping = async move {
            inner.be_read_out().await;
            inner.leave_cluster().await;
            handle.stop_tasks();
            drop(handle);
            inner.fills.stop(&inner.stopping());
            inner.crew.tell();
            inner.crew.ended().await;
            let blocking = Arc::clone(&inner.env.blocking);
            env::run(blocking.as_ref(), move || inner.crew.join()).await
        };
        // A task, because it goes on when the caller does not wait.
        tokio::spawn(stopping).await.map_err(|e| self.inner.stopping().with_source(e))?
    }
}

impl Inner {
    pub(crate) fn check_running(&self) -> Result<(), Error> {
        if self.phase.load(Ordering::Acquire) == STOPPED { Err(self.stopping()) } else { Ok(()) }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.phase.load(Ordering::Acquire) != 0
    }

    pub(crate) fn stopping(&self) -> Error {
        Error::new(ErrorKind::Stopping, "this node is stopping; ask another, or start it again")
    }

    pub(crate) async fn commit(&self, change: Change) -> Result<Committed, Error> {
        self.crew.commit(change).await
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.crew.tell();
        self.crew.join();
    }
}

/// What all clones of a [`Node`] share, and nobody else has.
struct Handle {
    inner: Arc<Inner>,
    tasks: Mutex<Vec<tokio::task::AbortHandle>>,
}

impl Handle {
    fn stop_tasks(&self) {
        self.inner.cluster.stop();
        for task in self.tasks().drain(..) {
            task.abort();
        }
    }

    fn tasks(&self) -> MutexGuard<'_, Vec<tokio::task::AbortHandle>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop_tasks();
        // An upload that is being stopped may hold on to the rest for a moment.
        self.inner.phase.store(STOPPED, Ordering::Release);
        self.inner.fills.stop(&self.inner.stopping());
        self.inner.crew.tell();
        self.inner.crew.join();
        self.inner.dirs.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("id", &self.node_id).finish_non_exhaustive()
    }
}
