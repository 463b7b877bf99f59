use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use fjall::compaction::Leveled;
use fjall::config::{CompressionPolicy, PinningPolicy};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};

use super::store::{Batch, JournalStore, Space, StoreError};
use crate::env::{directory_bytes, file_bytes};

/// A memtable of small bodies is flushed at this size, so that a restart replays little.
const MEMTABLE_BYTES: u64 = 32 * 1024 * 1024;
/// Flushed when the write-ahead log would grow past this; the least fjall allows.
const LOG_BYTES: u64 = 64 * 1024 * 1024;
/// Blocks kept decoded in memory, for records mostly.
const CACHE_BYTES: u64 = 32 * 1024 * 1024;
/// With two or more, fjall 3.1 keeps one free for flushes by having it put compactions back into the
/// queue again and again while another compacts: a third of the CPU of sustained puts.
const WORKERS: usize = 1;
/// A level's tables, and how many flushes a tree takes before it merges them. fjall's own figures, 64
/// MiB and 4, suit trees whose values lie inside; here bodies lie outside and a tree of a million
/// objects is 250 MiB, of which every fourth flush would rewrite the most: 61 to 69 µs of CPU for
/// each of a minute's 4 KiB puts, with these 55 to 58.
const TABLE_BYTES: u64 = 8 * 1024 * 1024;
const FLUSHES_MERGED: u8 = 8;
/// Bodies from this size on lie in blob files of their own, outside the tree's compactions.
const SEPARATE_FROM: u32 = 512;
/// A blob file is rewritten once a fifth of it is dead.
const DEAD_SHARE: f32 = 0.2;
/// The longest an opening waits for a lock that is about to go.
const LOCK_WAIT: Duration = Duration::from_secs(1);
/// The longest a commit waits for room in memory; then the journal counts as broken.
const WRITE_WAIT: Duration = Duration::from_secs(20);
/// The longest a reclaim waits for memtables to reach the disk.
const FLUSH_WAIT: Duration = Duration::from_secs(3);

/// The journal in a [fjall](https://docs.rs/fjall) database, one keyspace for each [`Space`].
pub(crate) struct FjallJournal {
    path: PathBuf,
    state: RwLock<State>,
    /// Held while space is reclaimed.
    reclaiming: Mutex<()>,
}

enum State {
    Open(Arc<Open>),
    /// Readers wait: it will be open again, or fail.
    Reopening,
    Closed,
}

struct Open {
    records: Keyspace,
    bodies: Keyspace,
    meta: Keyspace,
    keys: Keyspace,
    // Dropped last: closing the database waits for its threads.
    db: Database,
}

impl Open {
    fn at(path: &Path) -> Result<Self, StoreError> {
        let db = Self::database(path).map_err(open_error)?;
        let levels = Leveled::default()
            .with_l0_threshold(FLUSHES_MERGED)
            .with_table_target_size(TABLE_BYTES);
        let options = || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(MEMTABLE_BYTES)
                .manual_journal_persist(true)
                .compaction_strategy(Arc::new(levels.clone()))
                .index_block_pinning_policy(PinningPolicy::disabled())
                .filter_block_pinning_policy(PinningPolicy::disabled())
                .data_block_compression_policy(CompressionPolicy::disabled())
                .index_block_compression_policy(CompressionPolicy::disabled())
        };
        let separated = || {
            // The age cut-off excludes the youngest files from collection, which in a small store
            // is all of them.
            let blobs = KvSeparationOptions::default()
                .separation_threshold(SEPARATE_FROM)
                .compression(fjall::CompressionType::None)
                .staleness_threshold(DEAD_SHARE)
                .age_cutoff(1.0);
            options().with_kv_separation(Some(blobs))
        };
        let keyspace = |name: &str, options: &dyn Fn() -> KeyspaceCreateOptions| {
            db.keyspace(name, options).map_err(open_error)
        };
        Ok(Self {
            records: keyspace("records", &options)?,
            bodies: keyspace("bodies", &separated)?,
            meta: keyspace("meta", &options)?,
            keys: keyspace("keys", &options)?,
            db,
        })
    }

    /// As [`at`](Self::at), for directories that may be damaged.
    fn checked(path: &Path) -> Result<Self, StoreError> {
        super::manifest::verify(path)?;
        super::sealed_log::verify(path)?;
        // fjall 3.1 asserts, instead of failing, when a length in its log does not add up.
        std::panic::catch_unwind(|| Self::at(path))
            .unwrap_or_else(|_| Err(StoreError::Damaged("its log does not add up".to_owned())))
    }

    fn database(path: &Path) -> fjall::Result<Database> {
        let mut waited = Duration::ZERO;
        loop {
            let opened = Database::builder(path)
                .cache_size(CACHE_BYTES)
                .max_journaling_size(LOG_BYTES)
                .worker_threads(WORKERS)
                .manual_journal_persist(true)
                .open();
            // Nobody else has the directory, it is locked for this node. But a child that the
            // host forked a moment ago keeps the former lock until it executes its program.
            match opened {
                Err(fjall::Error::Locked) if waited < LOCK_WAIT => {
                    std::thread::sleep(LOCK_WAIT / 100);
                    waited += LOCK_WAIT / 100;
                }
                other => return other,
            }
        }
    }

    fn space(&self, space: Space) -> &Keyspace {
        match space {
            Space::Records => &self.records,
            Space::Bodies => &self.bodies,
            Space::Meta => &self.meta,
            Space::Keys => &self.keys,
        }
    }

    /// Files that are dead stay as long as an old version of a tree names them. fjall lets versions
    /// go when a memtable that is not empty is rotated, up to the sequence number of that moment:
    /// so there has to be something newer.
    fn let_versions_go(&self) -> fjall::Result<()> {
        for _ in 0..2 {
            self.meta.remove("no such key")?;
        }
        // The counters last, so that they never reach their table before what they count.
        for keyspace in [&self.bodies, &self.records, &self.keys, &self.meta] {
            keyspace.rotate_memtable()?;
        }
        Ok(())
    }

    /// fjall's own wait for its worker, at four memtables, never ends when the worker has failed.
    fn wait_for_flushes(&self) -> Result<(), StoreError> {
        let step = Duration::from_millis(2);
        let mut waited = Duration::ZERO;
        while Space::ALL.iter().any(|s| self.space(*s).sealed_memtable_count() >= 3) {
            if waited >= WRITE_WAIT {
                return Err(StoreError::Io("the journal does not get its tables to disk".into()));
            }
            std::thread::sleep(step);
            waited += step;
        }
        Ok(())
    }

    /// Writes everything in memory to tables and waits for it, so that nothing depends on a log
    /// whose last sync may have failed.
    fn flush(&self) -> Result<(), StoreError> {
        for space in Space::ALL {
            self.space(space).rotate_memtable().map_err(store_error)?;
        }
        let step = Duration::from_millis(2);
        let mut waited = Duration::ZERO;
        while Space::ALL.iter().any(|s| self.space(*s).sealed_memtable_count() > 0) {
            if waited >= FLUSH_WAIT {
                return Err(StoreError::Io("the journal does not get its tables to disk".into()));
            }
            std::thread::sleep(step);
            waited += step;
        }
        Ok(())
    }
}

/// fjall does not go on with a creation that was cut short, so it is made to happen at once.
fn create(path: &Path) -> Result<(), StoreError> {
    let new = path.with_extension("new");
    match std::fs::remove_dir_all(&new) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
        other => other?,
    }
    drop(Open::at(&new)?);
    std::fs::rename(&new, path)?;
    match path.parent() {
        Some(parent) => Ok(crate::env::sync_directory(parent)?),
        None => Ok(()),
    }
}

impl FjallJournal {
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        if !path.exists() {
            create(path)?;
        }
        let open = Arc::new(Open::checked(path)?);
        let state = RwLock::new(State::Open(open));
        Ok(Self { path: path.to_owned(), state, reclaiming: Mutex::default() })
    }

    fn current(&self) -> Result<Arc<Open>, StoreError> {
        loop {
            match &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
                State::Open(open) => return Ok(Arc::clone(open)),
                State::Closed => return Err(StoreError::Closed),
                State::Reopening => {}
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Closes the database once its last reader is through; readers hold it for one call only.
    fn shut(&self, state: State) {
        let former = std::mem::replace(
            &mut *self.state.write().unwrap_or_else(PoisonError::into_inner),
            state,
        );
        if let State::Open(mut open) = former {
            loop {
                match Arc::try_unwrap(open) {
                    Ok(last) => return drop(last),
                    Err(shared) => open = shared,
                }
                std::thread::sleep(Duration::from_micros(50));
            }
        }
    }
}

impl JournalStore for FjallJournal {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let value = self.current()?.space(space).get(key).map_err(store_error)?;
        Ok(value.map(Bytes::from))
    }

    fn scan(
        &self,
        space: Space,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        use std::ops::Bound::{Excluded, Unbounded};
        let open = self.current()?;
        let from = after.map_or(Unbounded, Excluded);
        let range = open.space(space).range::<&[u8], _>((from, Unbounded));
        let pair = |guard: fjall::Guard| {
            let (key, value) = guard.into_inner().map_err(store_error)?;
            Ok((Bytes::from(key), Bytes::from(value)))
        };
        range.take(limit).map(pair).collect()
    }

    fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        let open = self.current()?;
        let mut writes = open.db.batch().durability(Some(PersistMode::SyncData));
        for (space, key, value) in &batch.changes {
            match value {
                Some(value) => writes.insert(open.space(*space), key.clone(), value.clone()),
                None => writes.remove(open.space(*space), key.clone()),
            }
        }
        open.wait_for_flushes()?;
        writes.commit().map_err(store_error)
    }

    fn physical_bytes(&self) -> u64 {
        directory_bytes(&self.path)
    }

    fn log_headroom(&self) -> u64 {
        LOG_BYTES.saturating_sub(file_bytes(&self.path, "jnl"))
    }

    fn unflushed_bytes(&self) -> u64 {
        self.current().map_or(0, |open| open.db.write_buffer_size())
    }

    fn flush(&self) -> Result<(), StoreError> {
        let _reclaiming = self.reclaiming.lock().unwrap_or_else(PoisonError::into_inner);
        self.current()?.flush()
    }

    fn reclaim(&self) -> Result<(), StoreError> {
        let _reclaiming = self.reclaiming.lock().unwrap_or_else(PoisonError::into_inner);
        let open = self.current()?;
        open.flush()?;
        // Twice: the first pass finds what is dead, the second rewrites the files that hold it.
        for _ in 0..2 {
            open.bodies.major_compact().map_err(store_error)?;
            open.let_versions_go().map_err(store_error)?;
        }
        Ok(())
    }

    fn reopen(&self) -> Result<(), StoreError> {
        // A compaction uses the database for long, and readers must not wait for its end.
        let _reclaiming = self.reclaiming.try_lock().map_err(|_| {
            StoreError::Io("space is being reclaimed; the journal is reopened after that".into())
        })?;
        self.shut(State::Reopening);
        let opened = Open::checked(&self.path).map(Arc::new);
        let state = match &opened {
            // Readers need no more than this.
            Ok(open) => State::Open(Arc::clone(open)),
            Err(_) => State::Closed,
        };
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        opened?.flush()
    }

    fn close(&self) {
        self.shut(State::Closed);
    }
}

impl std::fmt::Debug for FjallJournal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FjallJournal").field("path", &self.path).finish_non_exhaustive()
    }
}

/// While opening, what does not decode is damage; the journal must never be guessed at.
fn open_error(error: fjall::Error) -> StoreError {
    match store_error(error) {
        StoreError::Io(source) if source.downcast_ref::<std::io::Error>().is_none() => {
            StoreError::Damaged(source.to_string())
        }
        other => other,
    }
}

fn store_error(error: fjall::Error) -> StoreError {
    match error {
        fjall::Error::Io(io) | fjall::Error::Storage(fjall::LsmError::Io(io)) => io.into(),
        fjall::Error::Poisoned => StoreError::Refused,
        fjall::Error::JournalRecovery(e) => StoreError::Damaged(format!("{e:?}")),
        fjall::Error::InvalidTrailer
        | fjall::Error::InvalidTag(_)
        | fjall::Error::Unrecoverable => StoreError::Damaged(error.to_string()),
        other => StoreError::Io(Box::new(other)),
    }
}
