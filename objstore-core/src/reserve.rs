use std::fs::OpenOptions;
use std::io;
use std::path::PathBuf;

use rustix::fs::FallocateFlags;

use crate::usage::Usage;

/// Space set aside on the disk of the journal, let go when the disk is full, so that deletes can
/// still be made durable there.
#[derive(Debug)]
pub(crate) struct Reserve {
    path: PathBuf,
    bytes: u64,
}

/// What is set aside: this share of the disk, this share of the quota, and at most this much.
const DISK_SHARE: u64 = 100;
const QUOTA_SHARE: u64 = 32;
const BYTES_MAX: u64 = 16 * 1024 * 1024;

impl Reserve {
    pub(crate) fn new(path: PathBuf, disk_bytes: u64, quota: Option<u64>) -> Self {
        let share = (disk_bytes / DISK_SHARE).min(quota.map_or(u64::MAX, |max| max / QUOTA_SHARE));
        Self { path, bytes: share.min(BYTES_MAX) }
    }

    /// Bytes of disk it takes while it is there.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Gives the space to whoever writes next.
    pub(crate) fn release(&self) {
        if let Err(error) = std::fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "the space set aside for a full disk could not be let go");
        }
    }

    /// Takes the space back once there is room for it again.
    pub(crate) fn refill(&self, usage: &Usage) {
        if self.path.exists() || !usage.has_room_for(self.bytes) {
            return;
        }
        let taken =
            OpenOptions::new().write(true).create_new(true).open(&self.path).and_then(|file| {
                Ok(rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, self.bytes)?)
            });
        if let Err(error) = taken {
            tracing::debug!(%error, "no space could be set aside for a full disk");
            self.release();
        }
    }
}
