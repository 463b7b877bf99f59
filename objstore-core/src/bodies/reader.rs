use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use objstore_client::types::ObjectId;

use super::files::FileStore;
use super::layout::{Layout, TABLE_ENTRY, read_table_entry};
use super::units::{UNIT, crc32c, unit_checksum};
use crate::cache::{Buffers, Tier};
use crate::env::{self, Blocking, DiskFile};
use crate::journal::Stamp;

/// Units read ahead of the reader in one go from a disk that has to be waited for.
const AHEAD: u64 = 4;
/// Table entries read at a time: enough for 32 MiB of body.
const WINDOW: u64 = 512;

/// Reads a range of a body from its file, unit by unit, each verified before a byte of it leaves.
pub(crate) struct FileReader {
    pub(crate) files: Arc<FileStore>,
    pub(crate) tier: Arc<Tier>,
    pub(crate) buffers: Arc<Buffers>,
    pub(crate) blocking: Arc<dyn Blocking>,
    pub(crate) id: ObjectId,
    pub(crate) stamp: Stamp,
    pub(crate) layout: Layout,
    /// What is still to be read.
    pub(crate) range: Range<u64>,
    pub(crate) file: Option<Arc<dyn DiskFile>>,
    pub(crate) table: Table,
    /// Verified units from the one at the start of the range on.
    pub(crate) ready: VecDeque<Bytes>,
}

/// A piece of the file's table.
#[derive(Default)]
pub(crate) struct Table {
    first: u64,
    entries: Vec<u8>,
}

/// Why a body cannot be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// The file is not there: removed by an overwrite or delete meanwhile, or lost.
    Gone,
    /// What is there is not what was written.
    Damaged,
    /// The disk failed.
    Io(io::Error),
    /// The runtime is going away.
    Stopping(objstore_client::Error),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::NotFound => Self::Gone,
            // Shorter than its record says, or replaced by a link, a directory, a pipe.
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::InvalidData
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::NotADirectory => Self::Damaged,
            _ => Self::Io(error),
        }
    }
}

impl FileReader {
    /// The next bytes of the range; none at its end. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        if self.range.is_empty() {
            return Ok(None);
        }
        let unit = self.range.start / UNIT as u64;
        let bytes = match self.ready.pop_front() {
            Some(bytes) => bytes,
            None => match self.tier.unit(self.id, self.stamp, unit) {
                Some(bytes) => bytes,
                None => self.load(unit).await?,
            },
        };
        let start = usize::try_from(self.range.start % UNIT as u64).unwrap_or(0);
        let wanted = usize::try_from(self.range.end - self.range.start).unwrap_or(usize::MAX);
        let end = bytes.len().min(start.saturating_add(wanted));
        self.range.start += (end - start) as u64;
        Ok(Some(bytes.slice(start..end)))
    }

    /// The checksum of a unit, where it has been read from the disk.
    pub(crate) fn checksum(&self, unit: u64) -> Option<u32> {
        self.table.entry(unit).and_then(read_table_entry)
    }

    /// Brings one unit from the disk, and what follows it when the disk has to be waited for.
    async fn load(&mut self, unit: u64) -> Result<Bytes, ReadError> {
        if self.file.is_none() {
            self.file = self.files.opened(self.id, self.stamp);
        }
        if let Some(file) = self.file.clone()
            && let Some(bytes) = self.load_cached(file.as_ref(), unit)?
        {
            return Ok(bytes);
        }
        let last = (self.range.end - 1) / UNIT as u64;
        let units = unit..(unit + AHEAD).min(last + 1);
        let mut job = Load {
            file: self.file.take(),
            files: Arc::clone(&self.files),
            buffers: Arc::clone(&self.buffers),
            id: self.id,
            stamp: self.stamp,
            layout: self.layout,
            table: std::mem::take(&mut self.table),
        };
        let (job, loaded) = env::run(self.blocking.as_ref(), move || {
            let loaded = job.load(units);
            (job, loaded)
        })
        .await
        .map_err(ReadError::Stopping)?;
        (self.file, self.table) = (job.file, job.table);
        self.ready = loaded?;
        for (bytes, unit) in self.ready.iter().zip(unit..) {
            self.tier.put_unit(self.id, self.stamp, unit, bytes.clone());
        }
        self.ready.pop_front().ok_or(ReadError::Damaged)
    }

    /// One unit, if the page cache has it: no thread is switched for what is in memory already.
    fn load_cached(&mut self, file: &dyn DiskFile, unit: u64) -> Result<Option<Bytes>, ReadError> {
        if self.table.entry(unit).is_none() {
            let mut table = Table::sized(self.layout, unit);
            if !file.read_cached(&mut table.entries, self.layout.table_offset(table.first)) {
                return Ok(None);
            }
            self.table = table;
        }
        let mut buffer = self.buffers.take(self.layout.unit_len(unit));
        if !file.read_cached(buffer.as_mut(), Layout::unit_offset(unit)) {
            return Ok(None);
        }
        if !self.table.verifies(self.id, self.stamp, unit, buffer.as_ref()) {
            return Err(ReadError::Damaged);
        }
        let bytes = buffer.freeze();
        self.tier.put_unit(self.id, self.stamp, unit, bytes.clone());
        Ok(Some(bytes))
    }
}

/// A read that may wait for the disk.
struct Load {
    file: Option<Arc<dyn DiskFile>>,
    files: Arc<FileStore>,
    buffers: Arc<Buffers>,
    id: ObjectId,
    stamp: Stamp,
    layout: Layout,
    table: Table,
}

impl Load {
    fn load(&mut self, units: Range<u64>) -> Result<VecDeque<Bytes>, ReadError> {
        let file = match &self.file {
            Some(file) => Arc::clone(file),
            None => self.files.open(self.id, self.stamp)?,
        };
        self.file = Some(Arc::clone(&file));
        let mut loaded = VecDeque::new();
        for unit in units {
            if self.table.entry(unit).is_none() {
                let mut table = Table::sized(self.layout, unit);
                let offset = self.layout.table_offset(table.first);
                file.read_exact_at(&mut table.entries, offset)?;
                self.table = table;
            }
            let mut buffer = self.buffers.take(self.layout.unit_len(unit));
            file.read_exact_at(buffer.as_mut(), Layout::unit_offset(unit))?;
            if !self.table.verifies(self.id, self.stamp, unit, buffer.as_ref()) {
                // What was read ahead is good and may leave; the damage is met when it is reached.
                return if loaded.is_empty() { Err(ReadError::Damaged) } else { Ok(loaded) };
            }
            loaded.push_back(buffer.freeze());
        }
        Ok(loaded)
    }
}

impl Table {
    /// Room for the entries of the window that holds this unit.
    fn sized(layout: Layout, unit: u64) -> Self {
        let first = unit - unit % WINDOW;
        let count = (layout.units() - first).min(WINDOW);
        let len = usize::try_from(count).unwrap_or(0) * TABLE_ENTRY;
        Self { first, entries: vec![0; len] }
    }

    fn entry(&self, unit: u64) -> Option<&[u8]> {
        let index = usize::try_from(unit.checked_sub(self.first)?).ok()?;
        self.entries.chunks_exact(TABLE_ENTRY).nth(index)
    }

    fn verifies(&self, id: ObjectId, stamp: Stamp, unit: u64, bytes: &[u8]) -> bool {
        let expected = self.entry(unit).and_then(read_table_entry);
        expected == Some(unit_checksum(crc32c(bytes), id, stamp, unit))
    }
}
