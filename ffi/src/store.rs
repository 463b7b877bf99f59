#![allow(unsafe_code)] // exports

use std::ffi::c_char;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use objstore_client::Client;
use objstore_core::{Error, Node, Server};
use tokio::sync::mpsc;

use crate::backend::Backend;
use crate::boundary::{call, place, quietly, text};
use crate::cancel::Cancel;
use crate::config::{Config, Settings, refused};
use crate::engine::{Engine, Work};
use crate::error::Failure;
use crate::handles::{self, Handle};
use crate::status::{OBJSTORE_STOPPING, OBJSTORE_TIMED_OUT, objstore_status};
use crate::types::{objstore_config, objstore_error, objstore_store};

/// What a store handle stands for.
pub(crate) struct Store {
    pub(crate) engine: Arc<Engine>,
    pub(crate) backend: Backend,
    pub(crate) settings: Settings,
    pub(crate) servers: Mutex<Vec<Server>>,
    /// Calls under way have a clone of the first; the second ends when there is none.
    calls: Mutex<Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>>,
}

impl Handle for Store {
    type Opaque = objstore_store;
}

impl Store {
    fn new(engine: Arc<Engine>, backend: Backend, settings: Settings) -> Self {
        let calls = Mutex::new(Some(mpsc::channel(1)));
        Self { engine, backend, settings, servers: Mutex::default(), calls }
    }

    /// Something that close waits for as long as it lives.
    fn begin(&self) -> Result<mpsc::Sender<()>, Failure> {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.as_ref().map(|(under_way, _)| under_way.clone()).ok_or_else(closed)
    }

    /// Work that close waits for and that these end early.
    pub(crate) fn work<T: Send + 'static, F: Future<Output = Result<T, Error>> + Send + 'static>(
        &self,
        cancels: Vec<Cancel>,
        work: impl FnOnce(Backend) -> F,
    ) -> Result<Work<T>, Failure> {
        let under_way = self.begin()?;
        let work = work(self.backend.clone());
        Ok(Box::pin(async move {
            let done = Cancel::or(cancels, async { Ok(work.await?) }).await;
            drop(under_way);
            done
        }))
    }

    /// The same, waited for.
    pub(crate) fn run<T: Send + 'static, F: Future<Output = Result<T, Error>> + Send + 'static>(
        &self,
        cancels: Vec<Cancel>,
        work: impl FnOnce(Backend) -> F,
    ) -> Result<T, Failure> {
        self.engine.run_boxed(self.work(cancels, work)?)
    }

    /// Ends serving, lets calls under way end, and stops the node; all of it within the time there
    /// is, of which the node gets what is left and goes on stopping afterwards.
    async fn stop(&self, grace: Duration) -> Result<(), Failure> {
        let servers =
            std::mem::take(&mut *self.servers.lock().unwrap_or_else(PoisonError::into_inner));
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner).take();
        futures_util::future::join_all(servers.into_iter().map(|server| server.stop(grace))).await;
        let mut all_ended = true;
        if let Some((under_way, mut ended)) = calls {
            drop(under_way);
            // Nothing is ever sent, so this is the end of the last call or of the patience.
            all_ended = tokio::time::timeout(grace, ended.recv()).await.is_ok();
        }
        match &self.backend {
            Backend::Node(node) => Ok(node.shutdown().await?),
            Backend::Remote(_) if all_ended => Ok(()),
            Backend::Remote(_) => Err(not_closed_yet()),
        }
    }
}

fn not_closed_yet() -> Failure {
    Failure::new(OBJSTORE_TIMED_OUT, "the store is not closed yet; it goes on closing by itself")
}

fn closed() -> Failure {
    Failure::new(OBJSTORE_STOPPING, "the store is being closed; open it again")
}

/// For as long as it takes, where a time in milliseconds is asked for.
pub const OBJSTORE_FOREVER: i64 = -1;

/// A time as C gives it; none is for ever.
pub(crate) fn time_limit(timeout_ms: i64) -> Result<Option<Duration>, Failure> {
    match u64::try_from(timeout_ms) {
        Ok(timeout) => Ok(Some(Duration::from_millis(timeout))),
        Err(_) if timeout_ms == OBJSTORE_FOREVER => Ok(None),
        Err(_) => Err(Failure::argument("the timeout is negative and not OBJSTORE_FOREVER")),
    }
}

/// Starts a node in this process: locks its directories, opens its journal, cleans up after a crash,
/// and joins its cluster when it was given a private-addr. `config` may be null: the node then keeps
/// what it has in state/ and files/ of the current directory. Blocks, usually for some ten
/// milliseconds; with a large journal for longer.
///
/// OBJSTORE_CONFIGURATION: settings contradict each other, or a directory cannot be used or is used
/// by another node, of this process or another. OBJSTORE_CORRUPT: the journal is damaged; nothing was
/// changed.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_open_node(
    config: *const objstore_config,
    store: Option<&mut *mut objstore_store>,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || {
        let store = place(store, "store")?;
        let config = handles::get_or_none::<Config>(config)?;
        let settings = config.map(|config| config.settings().clone()).unwrap_or_default();
        settings.no_connection()?;
        let engine = settings.engine()?;
        let of_node = settings.node.settings().map_err(|e| refused(e.to_string()))?;
        if !of_node.cluster.nodes.is_empty() && of_node.cluster.private_addr.is_none() {
            let why = "nodes is set and private-addr is not, without which a node has no part in a \
                       cluster; set it, such as to 127.0.0.1:0";
            return Err(refused(why.to_owned()));
        }
        let mut builder = Node::builder().settings(of_node);
        if settings.in_memory {
            builder = builder.in_memory();
        }
        if settings.new_node_id {
            builder = builder.new_node_id();
        }
        if settings.lost_files {
            builder = builder.lost_files();
        }
        // Not looked at on this thread: what it starts shall have the library's signal mask.
        let started = engine.run_within(None, async move { Ok(builder.start().await?) });
        let node = started.unwrap_or_else(|| Err(closed()))?;
        *store = handles::give(Store::new(engine, Backend::Node(node), settings));
        Ok(())
    })
}

/// A store on nodes that run elsewhere, over their HTTP API: the same functions with the same results.
/// `nodes` are their addresses, separated by commas: "host", "host:port", "http://host:port" or
/// "https://host:port", port 10999 unless given. Those named first are preferred; one that does not
/// answer is passed over until it is well again. Calls are tried again, on another node where there is one, where doing it twice is the
/// same as doing it once; a read that breaks off goes on where it was, with the same version. What a
/// writer was given is sent once, and not tried again after that. A change that says OBJSTORE_TRANSPORT
/// may have been made or not.
///
/// `config`, which may be null, takes threads and thread-name, and what is about a connection:
///
/// - timeout: how long a call may take, all tries in it, such as "30s"; no limit by default
/// - stall-timeout: how long a node may be silent; "30s" by default
/// - answer-timeout: how long a node may take to answer a change it has all of; "5m" by default
/// - tries: how often each node is tried at most in a call; 3 by default
/// - token: what to show where the nodes ask for a token
/// - ca-file: certificates (PEM) by which https:// nodes are believed, instead of the system's
///
/// What only a node in this process can do says OBJSTORE_UNSUPPORTED: objstore_serve(), objstore_peers(),
/// objstore_private_addr(), objstore_drain(), objstore_drain_to_peers(), and messages.
///
/// Does not block, but for reading ca-file: nothing is sent yet. OBJSTORE_CONFIGURATION: `nodes` has no
/// address or one that is none, or a setting is about a node in this process.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_connect(
    nodes: *const c_char,
    config: *const objstore_config,
    store: Option<&mut *mut objstore_store>,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || {
        let store = place(store, "store")?;
        // SAFETY: the header asks for a text.
        let nodes = unsafe { text(nodes, "nodes") }?;
        let config = handles::get_or_none::<Config>(config)?;
        let settings = config.map(|config| config.settings().clone()).unwrap_or_default();
        settings.only_a_connection()?;
        let engine = settings.engine()?;
        let nodes = nodes.split(',').map(str::trim).filter(|node| !node.is_empty());
        let builder = settings.connection.apply(Client::builder().nodes(nodes))?;
        let client = engine.within(|| builder.build())?;
        *store = handles::give(Store::new(engine, Backend::Remote(client), settings));
        Ok(())
    })
}

/// Closes a store; null is fine. From now on the handle is none (OBJSTORE_BAD_HANDLE). Listeners are
/// closed, calls under way on other threads may end, changes are made durable, and the directories
/// are unlocked for the next who opens them. Operations that nobody waits for are calls too, and report
/// to their queue, which may be polled after this. Readers and writers that are open may be used, and are
/// not waited for, nor is what was begun on them: readers give what is left to them or OBJSTORE_STOPPING,
/// writers say OBJSTORE_STOPPING when they are finished at the latest; they are freed as ever.
///
/// Blocks for at most `timeout_ms`, or OBJSTORE_FOREVER. OBJSTORE_TIMED_OUT: calls were still under way,
/// or the node was not done; it goes on by itself, and such calls end as they may, or with
/// OBJSTORE_STOPPING. Calls have half the time to end, the node has what is left. Until it is done the
/// directories stay locked.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_close(
    store: *mut objstore_store,
    timeout_ms: i64,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || {
        let limit = time_limit(timeout_ms)?;
        if store.is_null() {
            return Ok(());
        }
        let store = handles::take::<Store>(store)?;
        let engine = Arc::clone(&store.engine);
        // Stopping the node takes a moment too.
        let grace = limit.map_or(Duration::from_secs(3600), |limit| limit / 2);
        let stopping = async move { store.stop(grace).await };
        engine.run_within(limit, stopping).unwrap_or_else(|| Err(not_closed_yet()))
    })
}

/// How many handles of all kinds the process has: 0 when everything was freed. For tests that look
/// for leaks.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_handle_count() -> usize {
    quietly(0, || Ok(handles::count()))
}
