//! Making a body that was filled as durable as one that was put.

use std::ops::Range;
use std::sync::Arc;

use objstore_client::{Error, ErrorKind};

use super::fill::{Fill, Stored};
use super::{FillError, FillReader};
use crate::bodies::{UNIT, crc32c, unit_checksum};
use crate::env;

/// Why a body is not as durable as it should be.
#[derive(Debug)]
pub(crate) enum NotSettled {
    /// It could not be brought.
    Fill(FillError),
    /// There is no room for it, or the disk failed, or the version is no more.
    Disk(Error),
}

impl From<FillError> for NotSettled {
    fn from(error: FillError) -> Self {
        Self::Fill(error)
    }
}

impl Fill {
    /// All of the body in memory, with the right digest. For small ones.
    pub(crate) async fn whole(self: &Arc<Self>) -> Result<Vec<u8>, FillError> {
        let mut all = Vec::new();
        let mut reader = self.reader(0..self.layout().size);
        while let Some(bytes) = reader.next().await? {
            all.extend_from_slice(&bytes);
        }
        match self.origin().digest {
            Some(digest) if *blake3::hash(&all).as_bytes() != digest => Err(FillError::Corrupt),
            _ => Ok(all),
        }
    }

    /// Brings all of the body into its file, checks its digest, and syncs it. From then on what
    /// becomes of the fill does not touch the file. Returns the bytes of disk that it takes.
    ///
    /// When the future is dropped, what was brought stays as a cache.
    pub(crate) async fn settle(self: &Arc<Self>) -> Result<u64, NotSettled> {
        self.make_copy();
        let mut hasher = blake3::Hasher::new();
        let mut reader = self.reader(0..self.layout().size);
        while let Some(bytes) = reader.next().await? {
            hasher.update(&bytes);
        }
        if self.origin().digest.is_some_and(|digest| *hasher.finalize().as_bytes() != digest) {
            self.end(FillError::Corrupt);
            return Err(FillError::Corrupt.into());
        }
        self.quiet().await;
        for unit in 0..self.layout().units() {
            loop {
                match self.is_stored(unit) {
                    Stored::Yes => break,
                    Stored::Unread(first) => self.read_table(first).await?,
                    // It was in memory only.
                    Stored::No => self.store_unit(unit).await?,
                }
            }
        }
        let file = Arc::clone(self.file());
        let synced = env::run(self.parts().blocking.as_ref(), move || file.sync()).await;
        let synced = synced.map_err(NotSettled::Disk)?;
        let physical = synced.map_err(|e| NotSettled::Disk(self.parts().usage.disk_error(e)))?;
        let physical = physical.ok_or_else(|| NotSettled::Disk(gone()))?;
        self.keep_file()?;
        Ok(physical)
    }

    async fn store_unit(self: &Arc<Self>, unit: u64) -> Result<(), NotSettled> {
        let range = unit_range(unit, self.layout().size);
        let mut reader: FillReader = self.reader(range);
        let Some(bytes) = reader.next().await? else { return Err(NotSettled::Disk(gone())) };
        self.quiet().await;
        let room = self.parts().usage.reserve(bytes.len() as u64).map_err(NotSettled::Disk)?;
        let (id, stamp) = (self.origin().record.id, self.origin().record.stamp);
        let check = unit_checksum(crc32c(&bytes), id, stamp, unit);
        let file = Arc::clone(self.file());
        let write = move || file.write(unit, &[bytes], &[check]);
        let written = env::run(self.parts().blocking.as_ref(), write).await;
        match written.map_err(NotSettled::Disk)? {
            Ok(true) => self.stored(unit, &[check]),
            Ok(false) => return Err(NotSettled::Disk(gone())),
            Err(error) => return Err(NotSettled::Disk(self.parts().usage.disk_error(error))),
        }
        drop(room);
        Ok(())
    }

    /// Waits until no fetch is under way, and what they brought is written.
    async fn quiet(&self) {
        while let Some(fetch) = self.any_fetch() {
            fetch.ended().await;
        }
    }
}

fn unit_range(unit: u64, size: u64) -> Range<u64> {
    let start = unit * UNIT as u64;
    start..(start + UNIT as u64).min(size)
}

fn gone() -> Error {
    Error::new(ErrorKind::PreconditionFailed, "the object was changed meanwhile; ask again")
}
