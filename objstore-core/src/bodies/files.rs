use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use objstore_client::types::ObjectId;
use quick_cache::sync::{Cache, GuardResult};

use super::layout::{self, Header, Layout};
use super::partial::PartialFile;
use crate::env::{Disk, DiskFile, Entropy};
use crate::janitor::Janitor;
use crate::journal::{Record, Stamp};

/// Open files kept for the next reader. Bounded, because a descriptor is a thing a host may run
/// out of.
const OPEN_FILES: usize = 128;

/// The body files of a node.
///
/// A file is written under a random name in `staging/`, gets its lasting name as a second link,
/// and loses the first only once its record is durable. So whatever a crash leaves behind without
/// a record is named in `staging/`, and a start cleans up by looking there only.
#[derive(Debug)]
pub(crate) struct FileStore {
    disk: Arc<dyn Disk>,
    entropy: Arc<dyn Entropy>,
    janitor: Janitor,
    open: Cache<(ObjectId, Stamp), Arc<dyn DiskFile>>,
    /// The same of bodies that are here in part, for reading and writing.
    pub(super) edited: Cache<(ObjectId, Stamp), Arc<dyn DiskFile>>,
    /// Staged names whose commit failed in an unknown way; looked at when the journal is back.
    unresolved: Mutex<BTreeSet<String>>,
    /// The files of bodies that are here in part, while somebody works with them.
    partial: Mutex<HashMap<(ObjectId, Stamp), Weak<PartialFile>>>,
}

/// A body file between being written and its record being committed. Dropping it does what its
/// outcome asks for.
#[derive(Debug)]
pub(crate) struct FileBody {
    store: Arc<FileStore>,
    staged: String,
    target: Option<(ObjectId, Stamp)>,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) physical: u64,
    outcome: Outcome,
}

/// What became of the record that a body file was written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It will never be committed: all names go.
    Abandoned,
    /// It is durable: the staged name goes.
    Committed,
    /// The journal cannot say yet.
    Unknown,
}

impl FileStore {
    pub(crate) fn new(disk: Arc<dyn Disk>, entropy: Arc<dyn Entropy>, janitor: Janitor) -> Self {
        Self {
            disk,
            entropy,
            janitor,
            open: Cache::new(OPEN_FILES),
            edited: Cache::new(OPEN_FILES),
            unresolved: Mutex::default(),
            partial: Mutex::default(),
        }
    }

    pub(super) fn disk(&self) -> &dyn Disk {
        self.disk.as_ref()
    }

    /// The file of a version that is here in part, or may soon be. A removal after this call ends
    /// it; of one that came before, the journal knows. Does not block.
    pub(crate) fn partial(self: &Arc<Self>, record: &Record, size: u64) -> Arc<PartialFile> {
        let version = (record.id, record.stamp);
        let mut partial = self.partial.lock().unwrap_or_else(PoisonError::into_inner);
        let known = partial.get(&version).and_then(Weak::upgrade);
        if let Some(file) = known.as_ref().filter(|file| !file.is_removed()) {
            return Arc::clone(file);
        }
        let file = PartialFile::new(Arc::clone(self), record.clone(), Layout::new(size));
        let file = Arc::new(file);
        partial.insert(version, Arc::downgrade(&file));
        drop(partial);
        // After the lock is given back: it may be the last, and its end takes the lock.
        drop(known);
        file
    }

    pub(super) fn forget_partial(&self, version: (ObjectId, Stamp)) {
        let mut partial = self.partial.lock().unwrap_or_else(PoisonError::into_inner);
        if partial.get(&version).is_some_and(|file| file.strong_count() == 0) {
            partial.remove(&version);
        }
    }

    fn end_partial(&self, version: (ObjectId, Stamp)) {
        let file = {
            let partial = self.partial.lock().unwrap_or_else(PoisonError::into_inner);
            partial.get(&version).and_then(Weak::upgrade)
        };
        if let Some(file) = file {
            file.end();
        }
    }

    /// A new file to receive a body into. Blocks.
    pub(crate) fn create(self: &Arc<Self>) -> io::Result<FileBody> {
        let staged = layout::staging_path(&format!("{:032x}", self.entropy.random()));
        let file = self.disk.create(&staged)?;
        Ok(FileBody {
            store: Arc::clone(self),
            staged,
            target: None,
            file,
            physical: 0,
            outcome: Outcome::Abandoned,
        })
    }

    /// The file of a version, if it is open already. Does not block.
    pub(crate) fn opened(&self, id: ObjectId, stamp: Stamp) -> Option<Arc<dyn DiskFile>> {
        self.open.get(&(id, stamp))
    }

    /// The file of a version. Blocks.
    pub(crate) fn open(&self, id: ObjectId, stamp: Stamp) -> io::Result<Arc<dyn DiskFile>> {
        // A removal in between takes the key over, so that a file without a name is not kept.
        match self.open.get_value_or_guard(&(id, stamp), Some(Duration::ZERO)) {
            GuardResult::Value(file) => Ok(file),
            GuardResult::Timeout => self.disk.open(&layout::path(id, stamp)),
            GuardResult::Guard(guard) => {
                let file = self.disk.open(&layout::path(id, stamp))?;
                let _ = guard.insert(Arc::clone(&file));
                Ok(file)
            }
        }
    }

    /// Bytes of disk that the file of a version takes; 0 when there is none. Blocks.
    pub(crate) fn physical(&self, id: ObjectId, stamp: Stamp) -> u64 {
        let file = self.disk.open(&layout::path(id, stamp));
        file.and_then(|file| file.physical_bytes()).unwrap_or(0)
    }

    /// Removes the files of versions that nothing refers to any more, durably. Readers that have
    /// one open keep it. Blocks.
    pub(crate) fn remove(&self, versions: &[(ObjectId, Stamp)]) -> io::Result<()> {
        let mut dirs = BTreeSet::new();
        for (id, stamp) in versions {
            // First, so that no file is made where one was just removed.
            self.end_partial((*id, *stamp));
            let path = layout::path(*id, *stamp);
            self.disk.remove(&path)?;
            // Once more, for one that opened it in between.
            self.end_partial((*id, *stamp));
            self.open.remove(&(*id, *stamp));
            self.edited.remove(&(*id, *stamp));
            dirs.extend(path.split_once('/').map(|(dir, _)| dir.to_owned()));
        }
        for dir in dirs {
            match self.disk.sync_dir(&dir) {
                // Never made: then nothing in it has to be forgotten either.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Removes a staged name, and first what it leads to, for that could not be found again.
    /// Blocks.
    pub(crate) fn remove_staged(
        &self,
        staged: &str,
        target: Option<(ObjectId, Stamp)>,
    ) -> io::Result<()> {
        self.remove(target.as_slice())?;
        self.disk.remove(staged)
    }

    /// Cleans up what a crash left behind: `is_current` says whether a version's record is in the
    /// journal. Blocks.
    pub(crate) fn recover(
        &self,
        is_current: impl Fn(ObjectId, Stamp) -> Result<bool, crate::journal::StoreError>,
    ) -> Result<usize, crate::journal::StoreError> {
        let names = self.disk.list(layout::STAGING)?;
        let count = names.len();
        for name in names {
            self.resolve(&layout::staging_path(&name), &is_current)?;
        }
        Ok(count)
    }

    /// The same for the files whose commit failed while running.
    pub(crate) fn recover_unresolved(
        &self,
        is_current: impl Fn(ObjectId, Stamp) -> Result<bool, crate::journal::StoreError>,
    ) -> Result<(), crate::journal::StoreError> {
        let names = {
            let mut unresolved = self.unresolved.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *unresolved)
        };
        let mut resolved = Ok(());
        for staged in names {
            if resolved.is_ok() {
                resolved = self.resolve(&staged, &is_current);
            }
            if resolved.is_err() {
                self.unresolved.lock().unwrap_or_else(PoisonError::into_inner).insert(staged);
            }
        }
        resolved
    }

    fn resolve(
        &self,
        staged: &str,
        is_current: impl Fn(ObjectId, Stamp) -> Result<bool, crate::journal::StoreError>,
    ) -> Result<(), crate::journal::StoreError> {
        let target = match self.staged_record(staged)? {
            Some(record) if !is_current(record.id, record.stamp)? => {
                Some((record.id, record.stamp))
            }
            _ => None,
        };
        Ok(self.remove_staged(staged, target)?)
    }

    /// The record in a staged file's head; none when its writing never got that far, and then it
    /// has no second name either.
    fn staged_record(&self, staged: &str) -> io::Result<Option<crate::journal::Record>> {
        let file = match self.disk.open(staged) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) if e.kind() == io::ErrorKind::InvalidData => return Ok(None),
            other => other?,
        };
        let len = usize::try_from(Layout::DATA).unwrap_or(usize::MAX);
        let mut head = vec![0; len];
        match file.read_exact_at(&mut head, 0) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
            Err(e) => Err(e),
            Ok(()) => Ok(Header::decode(&head).map(|header| header.record)),
        }
    }
}

impl FileBody {
    /// Makes the bytes durable and gives the file its lasting name, durably too. Blocks.
    pub(crate) fn publish(&mut self, id: ObjectId, stamp: Stamp) -> io::Result<()> {
        self.file.sync()?;
        // First the name that a start finds the other by; after the sync above a journaling file
        // system has it already, and this costs next to nothing.
        self.store.disk.sync_dir(layout::STAGING)?;
        self.physical = self.file.physical_bytes()?;
        let path = layout::path(id, stamp);
        self.target = Some((id, stamp));
        self.store.disk.link(&self.staged, &path)?;
        let (dir, _) = path.split_once('/').unwrap_or_default();
        self.store.disk.sync_dir(dir)
    }

    /// Says what became of the record.
    pub(crate) fn settle(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for FileBody {
    fn drop(&mut self) {
        let staged = std::mem::take(&mut self.staged);
        match self.outcome {
            Outcome::Abandoned => self.store.janitor.remove_staged(staged, self.target),
            Outcome::Committed => self.store.janitor.remove_staged(staged, None),
            Outcome::Unknown => {
                let mut names =
                    self.store.unresolved.lock().unwrap_or_else(PoisonError::into_inner);
                names.insert(staged);
            }
        }
    }
}
