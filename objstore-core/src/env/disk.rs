use std::fmt::Debug;
use std::io;
use std::sync::Arc;

use bytes::Bytes;

/// A place for body files: one directory and what lies below it. All calls may block.
///
/// Paths are relative, `/`-separated, and made of names this crate chose; an implementation never
/// leaves its directory and never follows a link.
pub trait Disk: Send + Sync + Debug {
    /// Makes a new empty file; refuses one that exists. Missing directories above it are made.
    ///
    /// # Errors
    /// As the operating system says.
    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a regular file for reading; anything else (a link, a directory, a pipe) is refused.
    ///
    /// # Errors
    /// `NotFound`, `InvalidData` for what is not a regular file, else as the operating system says.
    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a regular file for reading and writing, as [`open`](Self::open) does for reading.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    fn edit(&self, path: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file a second name. Missing directories above it are made and made durable.
    ///
    /// # Errors
    /// As the operating system says.
    fn link(&self, from: &str, to: &str) -> io::Result<()>;

    /// Moves a file to another name, in place of whatever has that name. Missing directories above
    /// it are made and made durable.
    ///
    /// # Errors
    /// As the operating system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a name. One that is not there is not an error.
    ///
    /// # Errors
    /// As the operating system says.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Makes the names in a directory durable.
    ///
    /// # Errors
    /// As the operating system says.
    fn sync_dir(&self, path: &str) -> io::Result<()>;

    /// The names in a directory, those of directories in it included; none when it does not exist.
    ///
    /// # Errors
    /// As the operating system says.
    fn list(&self, path: &str) -> io::Result<Vec<String>>;

    /// Size and free bytes of the file system.
    ///
    /// # Errors
    /// As the operating system says.
    fn space(&self) -> io::Result<DiskSpace>;

    /// Bytes that all files below take on the disk. Looks at each of them.
    ///
    /// # Errors
    /// As the operating system says.
    fn physical_bytes(&self) -> io::Result<u64>;
}

/// Bytes of a file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskSpace {
    /// Its size.
    pub total: u64,
    /// What is free to this process.
    pub free: u64,
}

/// An open file. Positioned reads and writes only, so one handle serves many threads. All calls
/// but [`read_cached`](Self::read_cached) may block.
pub trait DiskFile: Send + Sync + Debug {
    /// Fills `buf` from `offset` on.
    ///
    /// # Errors
    /// `UnexpectedEof` when the file ends before, else as the operating system says.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// As [`read_exact_at`](Self::read_exact_at), but only if no wait for the disk is needed:
    /// `false`, with `buf` unspecified, otherwise.
    fn read_cached(&self, buf: &mut [u8], offset: u64) -> bool;

    /// Writes all of `buf` at `offset`.
    ///
    /// # Errors
    /// As the operating system says.
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;

    /// Writes all parts, one behind the other, from `offset` on.
    ///
    /// # Errors
    /// As the operating system says; then some of it may have been written.
    fn write_parts_at(&self, parts: &[Bytes], mut offset: u64) -> io::Result<()> {
        for part in parts {
            self.write_all_at(part, offset)?;
            offset += part.len() as u64;
        }
        Ok(())
    }

    /// Makes all that was written durable.
    ///
    /// # Errors
    /// As the operating system says. After an error nothing that was written may be trusted.
    fn sync(&self) -> io::Result<()>;

    /// Bytes that can be read from it.
    ///
    /// # Errors
    /// As the operating system says.
    fn size(&self) -> io::Result<u64>;

    /// Bytes the file takes on the disk.
    ///
    /// # Errors
    /// As the operating system says.
    fn physical_bytes(&self) -> io::Result<u64>;
}
