use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{AtFlags, Mode, OFlags};

use super::disk::{Disk, DiskFile, DiskSpace};

/// A directory of the operating system. Names are resolved one step at a time below its open
/// handle and links are never followed, so nothing planted inside leads outside.
#[derive(Debug)]
pub struct DirectoryDisk {
    root: OwnedFd,
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl DirectoryDisk {
    /// The directory at `path`, made with mode 0700 if it is not there. Blocks.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        make_private_dir(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { root: rustix::fs::open(path, flags, Mode::empty())? })
    }

    /// The directory that holds `path`, and the last name of it.
    fn parent<'a>(&self, path: &'a str, make: bool) -> io::Result<(OwnedFd, &'a str)> {
        let mut dir = self.root.try_clone()?;
        let mut names = path.split('/').peekable();
        while let Some(name) = names.next() {
            if name.is_empty() || name == "." || name == ".." {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a plain path"));
            }
            if names.peek().is_none() {
                return Ok((dir, name));
            }
            dir = match rustix::fs::openat(&dir, name, DIRECTORY, Mode::empty()) {
                Err(rustix::io::Errno::NOENT) if make => {
                    match rustix::fs::mkdirat(&dir, name, Mode::RWXU) {
                        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                        Err(e) => return Err(e.into()),
                    }
                    rustix::fs::fsync(&dir)?;
                    rustix::fs::openat(&dir, name, DIRECTORY, Mode::empty())?
                }
                other => other?,
            };
        }
        Err(io::Error::new(io::ErrorKind::InvalidInput, "an empty path"))
    }

    fn dir(&self, path: &str) -> io::Result<OwnedFd> {
        let (parent, name) = self.parent(path, false)?;
        Ok(rustix::fs::openat(parent, name, DIRECTORY, Mode::empty())?)
    }

    fn open_regular(&self, path: &str, access: OFlags) -> io::Result<Arc<dyn DiskFile>> {
        let (dir, name) = self.parent(path, false)?;
        // NONBLOCK so that a pipe planted here is refused below instead of waited for.
        let flags = access | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let not_a_file = || io::Error::new(io::ErrorKind::InvalidData, "not a regular file");
        let fd = match rustix::fs::openat(dir, name, flags, Mode::empty()) {
            Err(rustix::io::Errno::LOOP | rustix::io::Errno::NXIO) => return Err(not_a_file()),
            other => other?,
        };
        let file = File::from(fd);
        if !file.metadata()?.is_file() {
            return Err(not_a_file());
        }
        Ok(Arc::new(RegularFile(file)))
    }
}

/// Makes a directory, and those above it, that only its owner can enter.
pub(crate) fn make_private_dir(path: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

impl Disk for DirectoryDisk {
    fn create(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        let (dir, name) = self.parent(path, true)?;
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR)?;
        Ok(Arc::new(RegularFile(File::from(fd))))
    }

    fn open(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.open_regular(path, OFlags::RDONLY)
    }

    fn edit(&self, path: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.open_regular(path, OFlags::RDWR)
    }

    fn link(&self, from: &str, to: &str) -> io::Result<()> {
        let (from_dir, from_name) = self.parent(from, false)?;
        let (to_dir, to_name) = self.parent(to, true)?;
        Ok(rustix::fs::linkat(from_dir, from_name, to_dir, to_name, AtFlags::empty())?)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from_dir, from_name) = self.parent(from, false)?;
        let (to_dir, to_name) = self.parent(to, true)?;
        Ok(rustix::fs::renameat(from_dir, from_name, to_dir, to_name)?)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let removed = self.parent(path, false).and_then(|(dir, name)| {
            rustix::fs::unlinkat(dir, name, AtFlags::empty()).map_err(io::Error::from)
        });
        match removed {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn sync_dir(&self, path: &str) -> io::Result<()> {
        Ok(rustix::fs::fsync(self.dir(path)?)?)
    }

    fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let dir = match self.dir(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other?,
        };
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(dir.as_fd())? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy();
            if name != "." && name != ".." {
                names.push(name.into_owned());
            }
        }
        Ok(names)
    }

    fn space(&self) -> io::Result<DiskSpace> {
        let stat = rustix::fs::fstatvfs(&self.root)?;
        Ok(DiskSpace {
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
        })
    }

    fn physical_bytes(&self) -> io::Result<u64> {
        let mut total = 0u64;
        let mut dirs = vec![self.root.try_clone()?];
        while let Some(dir) = dirs.pop() {
            for entry in rustix::fs::Dir::read_from(dir.as_fd())? {
                let entry = entry?;
                let name = entry.file_name();
                if matches!(name.to_bytes(), b"." | b"..") {
                    continue;
                }
                // What vanishes meanwhile counts for nothing.
                let Ok(stat) = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) else {
                    continue;
                };
                total = total.saturating_add(u64::try_from(stat.st_blocks).unwrap_or(0) * 512);
                if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir()
                    && let Ok(below) = rustix::fs::openat(&dir, name, DIRECTORY, Mode::empty())
                {
                    dirs.push(below);
                }
            }
        }
        Ok(total)
    }
}

/// The most parts that pwritev(2) takes.
#[cfg(target_os = "linux")]
const IOV_MAX: usize = 1024;

#[derive(Debug)]
struct RegularFile(File);

impl DiskFile for RegularFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buf, offset)
    }

    /// `RWF_NOWAIT` of preadv2(2): what the page cache has, without waiting.
    #[cfg(target_os = "linux")]
    fn read_cached(&self, buf: &mut [u8], offset: u64) -> bool {
        let len = buf.len();
        let mut slices = [io::IoSliceMut::new(buf)];
        let flags = rustix::io::ReadWriteFlags::NOWAIT;
        matches!(rustix::io::preadv2(&self.0, &mut slices, offset, flags), Ok(n) if n == len)
    }

    #[cfg(not(target_os = "linux"))]
    fn read_cached(&self, _buf: &mut [u8], _offset: u64) -> bool {
        false
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(buf, offset)
    }

    /// One call of pwritev(2), or few.
    #[cfg(target_os = "linux")]
    fn write_parts_at(&self, parts: &[Bytes], mut offset: u64) -> io::Result<()> {
        let mut slices: Vec<_> = parts.iter().map(|part| io::IoSlice::new(part)).collect();
        let mut left = slices.as_mut_slice();
        io::IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            let batch = left.get(..left.len().min(IOV_MAX)).unwrap_or_default();
            let written = match rustix::io::pwritev(&self.0, batch, offset) {
                Err(rustix::io::Errno::INTR) => continue,
                other => other?,
            };
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            offset += written as u64;
            io::IoSlice::advance_slices(&mut left, written);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn physical_bytes(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.blocks().saturating_mul(512))
    }
}

/// Makes the names in a directory of the operator's durable.
#[allow(clippy::disallowed_methods)] // for directories that no Disk stands for
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Bytes that a directory and all below it take on the disk. Files that vanish meanwhile count 0.
pub(crate) fn directory_bytes(path: &Path) -> u64 {
    let mut total = 0u64;
    let mut open: Vec<PathBuf> = vec![path.to_owned()];
    while let Some(dir) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for entry in entries.flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            if meta.is_dir() {
                open.push(entry.path());
            }
            total = total.saturating_add(meta.blocks().saturating_mul(512));
        }
    }
    total
}

/// Bytes on the disk of the files in a directory whose names end so.
pub(crate) fn file_bytes(path: &Path, extension: &str) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else { return 0 };
    let files = entries.flatten().filter(|e| e.path().extension().is_some_and(|x| x == extension));
    files.filter_map(|e| e.metadata().ok()).map(|meta| meta.blocks().saturating_mul(512)).sum()
}
