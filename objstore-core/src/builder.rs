use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicU64};
use std::sync::{Arc, Mutex};

use objstore_client::{Error, ErrorKind};
use tokio::sync::Semaphore;

use crate::bodies::FileStore;
use crate::cache::{Buffers, Tier};
use crate::cluster::{Cluster, Exchange, Locator, News, TcpNetwork, Trust};
use crate::crew::Crew;
use crate::env::{self, DirectoryDisk, Disk, Env};
use crate::fills::{self, Fills};
use crate::http::Access;
use crate::janitor::{Janitor, Rooms};
use crate::journal::{
    self, FjallJournal, Intents, JournalStore, MemoryJournal, NodeId, StampSource, StoreError,
    Writer, WriterHandle,
};
use crate::lost_files;
use crate::node::{Inner, Node};
use crate::ops::{Counts, IdSource, Seen};
use crate::remote::{DirStore, MemoryRemote, RemoteStore, S3Settings, Uploads, Watched};
use crate::reserve::Reserve;
use crate::settings::Settings;
use crate::state_dir::{StateDir, configuration};
use crate::testing::MemoryDisk;
use crate::usage::Usage;

/// Makes a [`Node`]; from [`Node::builder`].
#[derive(Debug, Default)]
#[must_use = "a builder does nothing until it is started"]
pub struct Builder {
    settings: Settings,
    env: Env,
    in_memory: bool,
    once: Once,
    remote: Option<Arc<dyn RemoteStore>>,
}

/// What is asked for one start, and would be wrong at each.
#[derive(Clone, Copy, Debug, Default)]
struct Once {
    new_node_id: bool,
    lost_files: bool,
}

impl Builder {
    /// All settings at once; replaces what was set before.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Where records and small bodies are kept.
    pub fn state_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.settings.state_dir = dir.into();
        self
    }

    /// Where large bodies are kept.
    pub fn files_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.settings.files_dir = dir.into();
        self
    }

    /// The directory that stands where a bucket would.
    pub fn remote_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.settings.remote_dir = Some(dir.into());
        self
    }

    /// The S3 bucket behind the node, instead of a directory.
    pub fn s3(mut self, s3: S3Settings) -> Self {
        self.settings.s3 = Some(s3);
        self
    }

    /// The bucket behind the node, instead of a directory or one that the settings name.
    pub fn remote(mut self, remote: Arc<dyn RemoteStore>) -> Self {
        self.remote = Some(remote);
        self
    }

    /// The most bytes of disk that may be used; none for no limit but the disk.
    pub fn max_bytes(mut self, bytes: Option<u64>) -> Self {
        self.settings.max_bytes = bytes;
        self
    }

    /// The most bytes of the memory tier; none for the default, 0 for no tier.
    pub fn memory_bytes(mut self, bytes: Option<u64>) -> Self {
        self.settings.memory_bytes = bytes;
        self
    }

    /// Keeps everything in memory: opens no file and no socket. For a host's own tests.
    pub fn in_memory(mut self) -> Self {
        self.in_memory = true;
        self
    }

    /// Takes on a new node id, for directories that were copied from another node's.
    pub fn new_node_id(mut self) -> Self {
        self.once.new_node_id = true;
        self
    }

    /// Starts with an empty files directory in place of one that is lost, while the state directory
    /// is not: bodies in files come from other nodes or the bucket from then on, copies of level 2
    /// are made again in the background, and what was nowhere else is [`ErrorKind::BodyLost`].
    /// Without it such a start is refused, as the directory may be one that is not mounted. Nothing
    /// where no files are lost.
    pub fn lost_files(mut self) -> Self {
        self.once.lost_files = true;
        self
    }

    /// What the node runs on instead of the real clock, disk and journal.
    pub fn env(mut self, env: Env) -> Self {
        self.env = env;
        self
    }

    /// Starts the node: locks its directories, opens the journal, cleans up after a crash. Must be
    /// called on a tokio runtime; the node works on that one. Starts two threads of its own (one
    /// that writes the journal, one that cleans up, see [`Workers`](crate::env::Workers)) and
    /// those of the database; opens no listener.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`]: the settings contradict each other, or a directory cannot be
    /// used, is used by another process, belongs to another node, or has a newer format.
    /// [`ErrorKind::Corrupt`]: the journal is damaged; nothing was changed.
    ///
    /// # Cancellation
    /// Dropping the future leaves no thread and no lock behind once the opening, which goes on in
    /// the background, has ended.
    pub async fn start(self) -> Result<Node, Error> {
        let settings = self.settings;
        if settings.max_bytes.is_some_and(|max| max < Settings::MIN_MAX_BYTES) {
            return Err(configuration(
                "max-bytes must be at least 128 MiB: the journal's own log takes up to 64 MiB"
                    .to_owned(),
            ));
        }
        if settings.inline_max_bytes > 1024 * 1024 {
            return Err(configuration("inline-max-bytes is at most 1 MiB".to_owned()));
        }
        if !self.in_memory && self.env.disk.is_some() != self.env.journal.is_some() {
            return Err(configuration(
                "an Env replaces both disk and journal, or neither".to_owned(),
            ));
        }
        let (env, in_memory, once) = (self.env, self.in_memory, self.once);
        let remote = match (self.remote, &settings.s3) {
            (None, Some(s3)) if !self.in_memory => Some(connect(s3).await?),
            (remote, _) => remote,
        };
        let blocking = Arc::clone(&env.blocking);
        let opening = move || open(settings, env, in_memory, once, remote);
        let inner = env::run(blocking.as_ref(), opening).await??;
        inner.fills.join(Box::new(Locator(Arc::downgrade(&inner))));
        let node = Node::run(Arc::clone(&inner));
        inner.let_lost_files_go().await?;
        inner.enter_cluster().await?;
        node.run_cluster();
        Ok(node)
    }
}

#[cfg(feature = "s3")]
async fn connect(settings: &S3Settings) -> Result<Arc<dyn RemoteStore>, Error> {
    Ok(Arc::new(crate::remote::S3Remote::connect(settings.clone()).await?))
}

#[cfg(not(feature = "s3"))]
#[allow(clippy::unused_async)] // as with the feature
async fn connect(_: &S3Settings) -> Result<Arc<dyn RemoteStore>, Error> {
    Err(configuration("S3 is not built in; build with the feature s3".to_owned()))
}

/// The parts of a node that depend on where it keeps things.
struct Places {
    node_id: NodeId,
    store: Arc<dyn JournalStore>,
    disk: Arc<dyn Disk>,
    journal_disk: Option<Arc<dyn Disk>>,
    remote: Arc<dyn RemoteStore>,
    mark: Option<journal::Mark>,
    dirs: Option<StateDir>,
}

fn open(
    settings: Settings,
    env: Env,
    in_memory: bool,
    once: Once,
    remote: Option<Arc<dyn RemoteStore>>,
) -> Result<Arc<Inner>, Error> {
    let places = if in_memory || (env.disk.is_some() && env.journal.is_some()) {
        Places::in_memory(&env, once.new_node_id, remote)?
    } else {
        Places::on_disk(&settings, &env, once, remote)?
    };
    let trust = Trust::new(&settings.cluster, places.node_id, Arc::clone(&env.clock))?;
    let trust = Arc::new(trust);
    let access = Access::new(&settings.http)?;
    let Places { node_id, store, disk, journal_disk, remote, mark, dirs } = places;
    let (remote, reach) = Watched::new(remote);
    let remote: Arc<dyn RemoteStore> = Arc::new(remote);

    let counters = Writer::load_counters(store.as_ref()).map_err(damaged)?;
    let (janitor, waiting) = Janitor::new();
    let files =
        Arc::new(FileStore::new(Arc::clone(&disk), Arc::clone(&env.entropy), janitor.clone()));
    let cleaned = files
        .recover(|id, stamp| journal::is_current(store.as_ref(), id, stamp))
        .map_err(damaged)?;
    if cleaned > 0 {
        tracing::info!(files = cleaned, "cleaned up uploads that a crash had interrupted");
    }
    let horizon = journal::Horizon::load(store.as_ref()).map_err(damaged)?;
    let todo = Arc::new(journal::Todo::load(store.as_ref()).map_err(damaged)?);
    let news = Arc::new(News::default());
    let has_part = settings.cluster.private_addr.is_some();
    let digest = Arc::new(journal::Digest::new(&settings.cluster.tag, has_part));
    let intents = Intents::load(store.as_ref()).map_err(damaged)?;
    let uploads = Arc::new(Uploads::new(settings.uploads.clone(), intents, env.clock.monotonic()));

    janitor.started(counters.inline_bytes);
    let reserve = match (&dirs, journal_disk.as_ref().map(|disk| disk.space())) {
        (Some(dirs), Some(Ok(space))) => Some(Arc::new(Reserve::new(
            dirs.state.join("reserve"),
            space.total,
            settings.max_bytes,
        ))),
        _ => None,
    };
    let set_aside = reserve.as_ref().map_or(0, |reserve| reserve.bytes());
    let usage = Arc::new(Usage::new(settings.max_bytes, set_aside, settings.evict.clone()));
    let memory = settings.memory_bytes.unwrap_or_else(crate::memory::default_tier_bytes);
    let tier = Arc::new(Tier::new(memory));
    #[allow(clippy::cast_possible_truncation)] // any 32 random bits do
    let boot = env.entropy.random() as u32;
    let stamps =
        Arc::new(StampSource::new(Arc::clone(&env.clock), node_id, boot, counters.highest_time));
    let shared = Arc::<journal::WriterShared>::default();
    shared.show_horizon(horizon);
    let live_inline = Arc::new(AtomicU64::new(counters.inline_bytes));

    let buffers = Arc::<Buffers>::default();
    let parts = fills::Parts {
        remote: Arc::clone(&remote),
        files: Arc::clone(&files),
        tier: Arc::clone(&tier),
        buffers: Arc::clone(&buffers),
        usage: Arc::clone(&usage),
        blocking: Arc::clone(&env.blocking),
        entropy: Arc::clone(&env.entropy),
    };
    let fills = Arc::new(Fills::new(parts, &settings.fill));

    let (handle, queue) = WriterHandle::new();
    let writer = Writer {
        store: Arc::clone(&store),
        files: Arc::clone(&files),
        tier: Arc::clone(&tier),
        stamps: Arc::clone(&stamps),
        usage: Arc::clone(&usage),
        janitor: janitor.clone(),
        clock: Arc::clone(&env.clock),
        counters,
        shared: Arc::clone(&shared),
        live_inline: Arc::clone(&live_inline),
        mark,
        reserve: reserve.clone(),
        uploads: Arc::clone(&uploads),
        digest: Arc::clone(&digest),
        news: Arc::clone(&news),
        todo: Arc::clone(&todo),
        horizon,
        broken: None,
    };
    let rooms = Rooms {
        files: Arc::clone(&files),
        disk,
        journal_disk,
        store: Arc::clone(&store),
        usage: Arc::clone(&usage),
        live_inline,
        clock: Arc::clone(&env.clock),
        writer: handle.clone(),
        shared: Arc::clone(&shared),
        reserve,
    };
    // Before its thread runs, so that nobody sees an empty node.
    writer.show_counters();
    sweep(store.as_ref(), &janitor).map_err(damaged)?;
    let network = env
        .network
        .clone()
        .unwrap_or_else(|| Arc::new(TcpNetwork::new(Arc::clone(&trust), Arc::clone(&env.clock))));
    let cluster = Cluster::load(network, node_id, boot, &settings.cluster, store.as_ref(), news);
    let cluster = cluster.map_err(damaged)?;
    let crew = Crew::start(env.workers, (handle, queue), writer, (janitor, waiting), rooms)?;

    Ok(Arc::new(Inner {
        started: env.clock.monotonic(),
        ids: IdSource::new(Arc::clone(&env.clock), Arc::clone(&env.entropy)),
        receiving: Semaphore::new(settings.max_uploads.max(1)),
        heat: Arc::default(),
        uploads,
        counts: Arc::new(Counts::default()),
        buffers,
        fills,
        seen: Seen::new(settings.key_ttl_ms),
        cluster,
        trust,
        access,
        exchange: Exchange::new(),
        digest,
        todo,
        phase: AtomicU8::default(),
        settings,
        env,
        node_id,
        store,
        files,
        tier,
        stamps,
        usage,
        shared,
        remote,
        reach,
        crew,
        dirs: Mutex::new(dirs),
    }))
}

impl Places {
    fn in_memory(
        env: &Env,
        new_node_id: bool,
        remote: Option<Arc<dyn RemoteStore>>,
    ) -> Result<Self, Error> {
        let remote = remote
            .unwrap_or_else(|| Arc::new(MemoryRemote::with_clock("node", Arc::clone(&env.clock))));
        let store = env.journal.clone().unwrap_or_else(|| Arc::new(MemoryJournal::default()));
        let ms = env.clock.wall_nanos() / 1_000_000;
        let fresh = NodeId::from_u128((u128::from(ms) << 80) | (env.entropy.random() >> 48));
        Ok(Self {
            node_id: journal::settle_node_id(store.as_ref(), fresh, new_node_id)
                .map_err(damaged)?,
            store,
            disk: env.disk.clone().unwrap_or_else(|| Arc::new(MemoryDisk::default())),
            journal_disk: None,
            remote,
            mark: None,
            dirs: None,
        })
    }

    fn on_disk(
        settings: &Settings,
        env: &Env,
        once: Once,
        remote: Option<Arc<dyn RemoteStore>>,
    ) -> Result<Self, Error> {
        let now_ms = env.clock.wall_nanos() / 1_000_000;
        let bucket = remote.as_ref().map(|remote| remote.identity());
        let dirs =
            StateDir::open(settings, bucket, env.entropy.as_ref(), now_ms, once.new_node_id)?;
        let (store, mark) = open_journal(&dirs, once.lost_files)?;
        let disk = |path: &std::path::Path| -> Result<Arc<dyn Disk>, Error> {
            let disk = DirectoryDisk::open(path).map_err(|e| {
                configuration(format!("{} cannot be opened ({e})", path.display())).with_source(e)
            })?;
            Ok(Arc::new(disk))
        };
        let remote = match (remote, &dirs.remote) {
            (Some(remote), _) => remote,
            (None, Some(dir)) => Arc::new(DirStore::new(dir.to_string_lossy(), disk(dir)?, env)),
            (None, None) => return Err(configuration("no remote was given".to_owned())),
        };
        Ok(Self {
            node_id: dirs.node,
            store,
            disk: disk(&dirs.files)?,
            journal_disk: Some(disk(&dirs.state)?),
            remote,
            mark: Some(mark),
            dirs: Some(dirs),
        })
    }
}

/// Opens the journal, and refuses one that has lost batches it once had.
fn open_journal(
    dirs: &StateDir,
    lost_files: bool,
) -> Result<(Arc<dyn JournalStore>, journal::Mark), Error> {
    let path = dirs.journal();
    let failed = |e: std::io::Error| damaged(e.into());
    let mark = journal::Mark::open(&dirs.state).map_err(failed)?;
    let copy = journal::LogCopy::make(&path).map_err(failed)?;
    let opened = FjallJournal::open(&path).and_then(|store| {
        let counters = Writer::load_counters(&store)?;
        mark.check(counters.batches).inspect_err(|_| store.close())?;
        Ok((store, counters))
    });
    let (store, counters) = match (opened, &copy) {
        (Ok(opened), _) => opened,
        (Err(error @ StoreError::Damaged(_)), Some(copy)) => {
            copy.restore().map_err(damaged)?;
            return Err(damaged(error));
        }
        (Err(error), _) => return Err(damaged(error)),
    };
    let are_lost = match dirs.lacks_files(counters.file_bytes) {
        true if lost_files => lost_files::note(&store).map_err(damaged),
        true => Err(dirs.no_files()),
        false => Ok(()),
    };
    are_lost.and_then(|()| dirs.claim_files()).inspect_err(|_| store.close())?;
    if let Some(copy) = copy {
        copy.discard().map_err(failed)?;
    }
    Ok((Arc::new(store), mark))
}

/// Has the files removed that the journal says are garbage.
pub(crate) fn sweep(store: &dyn JournalStore, janitor: &Janitor) -> Result<(), StoreError> {
    journal::each(store, journal::garbage_prefix(), |version, _| {
        if let Some((id, stamp)) = journal::garbage_version(version) {
            janitor.remove_file(id, stamp, 0);
        }
        Ok(())
    })
}

fn damaged(error: StoreError) -> Error {
    match error {
        StoreError::Damaged(why) => Error::new(
            ErrorKind::Corrupt,
            format!(
                "the journal is damaged ({why}); nothing was changed, restore it from a backup"
            ),
        ),
        StoreError::Full(source) => Error::new(
            ErrorKind::StorageFull,
            "the disk is too full to open the journal; make room and start again",
        )
        .with_source(source),
        other => {
            let why = std::error::Error::source(&other)
                .map_or_else(|| other.to_string(), ToString::to_string);
            Error::new(ErrorKind::Unavailable, format!("the journal cannot be opened: {why}"))
                .with_source(other)
        }
    }
}
