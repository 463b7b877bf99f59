use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::steps::Steps;
use crate::env::{Disk, DiskFile, DiskSpace};

/// A disk in memory, with two images: what is seen now, and what would be there after a power cut.
/// The bytes of a file become durable by its sync, its names by the sync of their directory.
#[derive(Debug, Default)]
pub struct MemoryDisk {
    names: Mutex<Names>,
    steps: Steps,
}

#[derive(Debug, Default)]
struct Names {
    live: BTreeMap<String, Arc<Node>>,
    durable: BTreeMap<String, Arc<Node>>,
}

#[derive(Debug, Default)]
struct Node {
    bytes: Mutex<FileBytes>,
    steps: Steps,
}

#[derive(Debug, Default)]
struct FileBytes {
    live: Vec<u8>,
    durable: Vec<u8>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

impl MemoryDisk {
    /// An empty disk whose steps count with those of other parts and stop where they stop.
    #[must_use]
    pub fn with_steps(steps: Steps) -> Self {
        Self { names: Mutex::default(), steps }
    }

    /// The disk as the next start of the machine finds it.
    #[must_use]
    pub fn after_power_cut(&self, steps: Steps) -> Self {
        let keep = self.steps.keeps_unsynced();
        let names = lock(&self.names);
        let kept = if keep { &names.live } else { &names.durable };
        // Two names of one file stay two names of one file.
        let mut moved: Vec<(*const Node, Arc<Node>)> = Vec::new();
        let mut survive = |node: &Arc<Node>| {
            let old = Arc::as_ptr(node);
            if let Some((_, new)) = moved.iter().find(|(from, _)| *from == old) {
                return Arc::clone(new);
            }
            let bytes = lock(&node.bytes);
            let bytes = if keep { bytes.live.clone() } else { bytes.durable.clone() };
            let bytes = FileBytes { live: bytes.clone(), durable: bytes };
            let new = Arc::new(Node { bytes: Mutex::new(bytes), steps: steps.clone() });
            moved.push((old, Arc::clone(&new)));
            new
        };
        let live: BTreeMap<_, _> =
            kept.iter().map(|(path, node)| (path.clone(), survive(node))).collect();
        drop(names);
        Self { names: Mutex::new(Names { durable: live.clone(), live }), steps }
    }

    /// Every file that is seen now.
    #[must_use]
    pub fn files(&self) -> Vec<String> {
        lock(&self.names).live.keys().cloned().collect()
    }

    /// Changes bytes of a file behind everyone's back, as a failing disk does.
    pub fn damage(&self, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
        if let Some(node) = lock(&self.names).live.get(path) {
            let mut bytes = lock(&node.bytes);
            change(&mut bytes.live);
            bytes.durable = bytes.live.clone();
        }
    }
}

impl Disk for MemoryDisk {
    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.steps.take("create")?;
        let mut names = lock(&self.names);
        if names.live.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let node = Arc::new(Node { bytes: Mutex::default(), steps: self.steps.clone() });
        names.live.insert(path.to_owned(), Arc::clone(&node));
        Ok(node)
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let names = lock(&self.names);
        let node = names.live.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::<Node>::clone(node))
    }

    fn edit(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.open(path)
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        self.steps.take("link")?;
        let mut names = lock(&self.names);
        let node = Arc::clone(names.live.get(from).ok_or(io::ErrorKind::NotFound)?);
        if names.live.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        names.live.insert(to.to_owned(), node);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.steps.take("rename")?;
        let mut names = lock(&self.names);
        let node = names.live.remove(from).ok_or(io::ErrorKind::NotFound)?;
        names.live.insert(to.to_owned(), node);
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.steps.take("remove")?;
        lock(&self.names).live.remove(path);
        Ok(())
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        self.steps.take("directory sync")?;
        if !self.steps.counts() {
            return Ok(());
        }
        let mut names = lock(&self.names);
        let Names { live, durable } = &mut *names;
        durable.retain(|name, _| parent(name) != path);
        let synced = live.iter().filter(|(name, _)| parent(name) == path);
        durable.extend(synced.map(|(name, node)| (name.clone(), Arc::clone(node))));
        Ok(())
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let names = lock(&self.names);
        let in_it = |name: &String| {
            let below = name.strip_prefix(path)?.strip_prefix('/')?;
            below.split('/').next().map(str::to_owned)
        };
        Ok(names.live.keys().filter_map(in_it).collect::<BTreeSet<_>>().into_iter().collect())
    }

    fn space(&self) -> io::Result<DiskSpace> {
        Ok(DiskSpace { total: u64::MAX, free: u64::MAX })
    }

    fn physical_bytes(&self) -> io::Result<u64> {
        let names = lock(&self.names);
        Ok(names.live.values().map(|node| lock(&node.bytes).live.len() as u64).sum())
    }
}

impl DiskFile for Node {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = lock(&self.bytes);
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = start.saturating_add(buf.len());
        buf.copy_from_slice(bytes.live.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn read_cached(&self, buf: &mut [u8], offset: u64) -> bool {
        self.read_exact_at(buf, offset).is_ok()
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.steps.take("write")?;
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut bytes = lock(&self.bytes);
        let end = start + buf.len();
        if bytes.live.len() < end {
            bytes.live.resize(end, 0);
        }
        if let Some(place) = bytes.live.get_mut(start..end) {
            place.copy_from_slice(buf);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.steps.take("sync")?;
        if self.steps.counts() {
            let mut bytes = lock(&self.bytes);
            bytes.durable = bytes.live.clone();
        }
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(lock(&self.bytes).live.len() as u64)
    }

    fn physical_bytes(&self) -> io::Result<u64> {
        Ok(lock(&self.bytes).live.len() as u64)
    }
}
