use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes;
use objstore_client::types::ObjectId;

use super::files::FileStore;
use super::layout::{self, Header, Layout, TABLE_ENTRY, read_table_entry, table_entry};
use crate::env::DiskFile;
use crate::journal::{Record, Stamp};

/// The file of a body that is here in part. It is made when the first units are written, and
/// nothing in it is ever synced: what a crash takes is brought again.
///
/// There is one for each version at a time, and [`FileStore::remove`] ends it. So a write that
/// comes late never makes a file again that was removed.
#[derive(Debug)]
pub(crate) struct PartialFile {
    store: Arc<FileStore>,
    record: Record,
    layout: Layout,
    file: OnceLock<Arc<dyn DiskFile>>,
    /// Held while the file is opened or made.
    gate: Mutex<()>,
    removed: AtomicBool,
}

impl PartialFile {
    pub(crate) fn new(store: Arc<FileStore>, record: Record, layout: Layout) -> Self {
        Self {
            store,
            record,
            layout,
            file: OnceLock::new(),
            gate: Mutex::default(),
            removed: AtomicBool::new(false),
        }
    }

    pub(crate) fn version(&self) -> (ObjectId, Stamp) {
        (self.record.id, self.record.stamp)
    }

    /// Whether nothing more is stored here.
    pub(crate) fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }

    /// From now on no file is made, and none is written to. Blocks while one is being made.
    pub(super) fn end(&self) {
        let _gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.removed.store(true, Ordering::Release);
    }

    /// The file, if it is open.
    pub(crate) fn opened(&self) -> Option<Arc<dyn DiskFile>> {
        self.file.get().cloned()
    }

    /// The file, if there is one. Blocks.
    pub(crate) fn look(&self) -> io::Result<Option<Arc<dyn DiskFile>>> {
        let _gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        self.open()
    }

    /// With the gate, so that what is kept open here and what was removed is not the same: an end
    /// waits for the gate, and after that it is let go.
    fn open(&self) -> io::Result<Option<Arc<dyn DiskFile>>> {
        if let Some(file) = self.file.get() {
            return Ok(Some(Arc::clone(file)));
        }
        if self.is_removed() {
            return Ok(None);
        }
        if let Some(file) = self.store.edited.get(&self.version()) {
            return Ok(Some(Arc::clone(self.file.get_or_init(|| file))));
        }
        match self.store.edit(self.record.id, self.record.stamp) {
            Ok(file) => {
                let last = self.layout.units().saturating_sub(1);
                let mut entry = [0; TABLE_ENTRY];
                if file.read_exact_at(&mut entry, self.layout.table_offset(last)).is_err() {
                    // A power cut took what it was begun with.
                    self.begin(file.as_ref())?;
                }
                Ok(Some(self.keep_open(file)))
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The file, made if there is none; none when it was removed. Blocks.
    fn make(&self) -> io::Result<Option<Arc<dyn DiskFile>>> {
        let _gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_removed() {
            return Ok(None);
        }
        if let Some(file) = self.open()? {
            return Ok(Some(file));
        }
        let file = self.store.create_lasting(self.record.id, self.record.stamp)?;
        self.begin(file.as_ref())?;
        Ok(Some(self.keep_open(file)))
    }

    /// For whoever comes next, too.
    fn keep_open(&self, file: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        self.store.edited.insert(self.version(), Arc::clone(&file));
        Arc::clone(self.file.get_or_init(|| file))
    }

    /// Writes the head, and gives the file its length, so that any part of the table can be read.
    fn begin(&self, file: &dyn DiskFile) -> io::Result<()> {
        let head = Header { record: self.record.clone() }
            .encode()
            .ok_or_else(|| io::Error::other("the record does not fit the head of its file"))?;
        file.write_all_at(&head, 0)?;
        let last = self.layout.units().saturating_sub(1);
        file.write_all_at(&[0; TABLE_ENTRY], self.layout.table_offset(last))
    }

    /// The checksums of these units; none for a unit that is not here. Blocks.
    pub(crate) fn checksums(&self, first: u64, count: usize) -> io::Result<Vec<Option<u32>>> {
        let Some(file) = self.look()? else { return Ok(Vec::new()) };
        let mut entries = vec![0; count * TABLE_ENTRY];
        match file.read_exact_at(&mut entries, self.layout.table_offset(first)) {
            // Cut off by a crash before it had its length.
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(Vec::new()),
            other => other?,
        }
        Ok(entries.chunks_exact(TABLE_ENTRY).map(read_table_entry).collect())
    }

    /// The same, if the file is open already and the page cache has these. Does not block.
    pub(crate) fn checksums_cached(&self, first: u64, count: usize) -> Option<Vec<Option<u32>>> {
        let file = self.opened().or_else(|| {
            let _gate = self.gate.try_lock().ok()?;
            let file = self.store.edited.get(&self.version()).filter(|_| !self.is_removed())?;
            Some(Arc::clone(self.file.get_or_init(|| file)))
        })?;
        let mut entries = vec![0; count * TABLE_ENTRY];
        file.read_cached(&mut entries, self.layout.table_offset(first))
            .then(|| entries.chunks_exact(TABLE_ENTRY).map(read_table_entry).collect())
    }

    /// Writes units that follow each other, and their checksums; false when the file was removed.
    /// Blocks.
    pub(crate) fn write(&self, first: u64, units: &[Bytes], checksums: &[u32]) -> io::Result<bool> {
        let Some(file) = self.make()? else { return Ok(false) };
        file.write_parts_at(units, Layout::unit_offset(first))?;
        let entries: Vec<u8> = checksums.iter().flat_map(|check| table_entry(*check)).collect();
        file.write_all_at(&entries, self.layout.table_offset(first))?;
        Ok(true)
    }

    /// Makes what was written durable, the name too, and tells the bytes of disk that it takes; none
    /// when the file was removed. Blocks.
    pub(crate) fn sync(&self) -> io::Result<Option<u64>> {
        let Some(file) = self.look()?.filter(|_| !self.is_removed()) else { return Ok(None) };
        file.sync()?;
        let path = layout::path(self.record.id, self.record.stamp);
        let (dir, _) = path.split_once('/').unwrap_or_default();
        self.store.disk().sync_dir(dir)?;
        Ok(Some(file.physical_bytes()?).filter(|_| !self.is_removed()))
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        self.store.forget_partial(self.version());
    }
}

impl FileStore {
    fn edit(&self, id: ObjectId, stamp: Stamp) -> io::Result<Arc<dyn DiskFile>> {
        self.disk().edit(&layout::path(id, stamp))
    }

    fn create_lasting(&self, id: ObjectId, stamp: Stamp) -> io::Result<Arc<dyn DiskFile>> {
        self.disk().create(&layout::path(id, stamp))
    }
}
