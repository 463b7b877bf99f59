use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::store::StoreError;

/// How many batches were durable when last looked, kept beside the journal.
///
/// A damaged log can end early when it is read back (fjall takes an entry that does not decode for
/// the torn end of the log and cuts there), which by itself looks like batches that were never
/// written. The mark tells the difference: it is written after each sync, without a sync of its
/// own, so it never claims more than the log holds, and only a power cut can leave it behind.
#[derive(Debug)]
pub(crate) struct Mark {
    file: File,
}

impl Mark {
    const NAME: &'static str = "journal.mark";

    pub(crate) fn open(state_dir: &Path) -> io::Result<Self> {
        let path = state_dir.join(Self::NAME);
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        Ok(Self { file })
    }

    /// Refuses a journal in which fewer batches were found than were durable.
    pub(crate) fn check(&self, found: u64) -> Result<(), StoreError> {
        match self.read() {
            durable if found < durable => Err(StoreError::Damaged(format!(
                "it held {durable} batches and reads back as {found}"
            ))),
            _ => Ok(()),
        }
    }

    /// The number last written; 0 when there is none or it is damaged, for then it says nothing.
    fn read(&self) -> u64 {
        let mut bytes = [0u8; 12];
        if self.file.read_exact_at(&mut bytes, 0).is_err() {
            return 0;
        }
        let number = u64::from_le_bytes(bytes.first_chunk().copied().unwrap_or_default());
        let check = u32::from_le_bytes(bytes.last_chunk().copied().unwrap_or_default());
        if check == checksum(number) { number } else { 0 }
    }

    /// Best effort: a mark that lies behind is weaker, never wrong.
    pub(crate) fn write(&self, batches: u64) {
        let mut bytes = batches.to_le_bytes().to_vec();
        bytes.extend(checksum(batches).to_le_bytes());
        let _ = self.file.write_all_at(&bytes, 0);
    }
}

fn checksum(number: u64) -> u32 {
    crate::bodies::crc32c(&number.to_le_bytes())
}

/// A copy of the journal's log, made before it is opened, because opening cuts what it takes for
/// a torn end.
#[derive(Debug)]
pub(crate) struct LogCopy {
    journal: PathBuf,
    copy: PathBuf,
}

impl LogCopy {
    const NAME: &'static str = "journal.copy";

    /// Copies the log files of the journal at `journal`. A copy left by a start that was killed is
    /// older evidence of the same log, and is kept instead.
    pub(crate) fn make(journal: &Path) -> io::Result<Option<Self>> {
        let copy = journal.with_file_name(Self::NAME);
        let this = Self { journal: journal.to_owned(), copy };
        let logs = log_files(journal)?;
        if logs.is_empty() {
            return Ok(None);
        }
        let partial = journal.with_file_name("journal.copy.new");
        let _ = std::fs::remove_dir_all(&partial);
        if this.copy.exists() {
            return Ok(Some(this));
        }
        std::fs::create_dir(&partial)?;
        let copied =
            logs.iter().try_for_each(|log| copy_data(&journal.join(log), &partial.join(log)));
        match copied.and_then(|()| std::fs::rename(&partial, &this.copy)) {
            Ok(()) => Ok(Some(this)),
            // A full disk must not keep a node from starting; the mark still guards.
            Err(e) => {
                tracing::warn!(error = %e, "no room for a copy of the journal's log while it is opened");
                let _ = std::fs::remove_dir_all(&partial);
                Ok(None)
            }
        }
    }

    /// Nothing was lost: the copy goes, before anything is written that it does not have.
    pub(crate) fn discard(self) -> io::Result<()> {
        let old = self.copy.with_file_name("journal.copy.old");
        remove_dir(&old)?;
        std::fs::rename(&self.copy, &old)?;
        sync_parent(&old)?;
        // Under this name it is never taken for evidence again.
        let _ = remove_dir(&old);
        Ok(())
    }

    /// The journal does not open, or has lost batches: the log is put back as it was found.
    pub(crate) fn restore(&self) -> Result<(), StoreError> {
        for log in log_files(&self.copy)? {
            OpenOptions::new().read(true).open(self.copy.join(&log))?.sync_all()?;
            std::fs::rename(self.copy.join(&log), self.journal.join(&log))?;
        }
        crate::env::sync_directory(&self.journal)?;
        std::fs::remove_dir_all(&self.copy)?;
        Ok(())
    }
}

/// Copies a file without its holes: a log is made 64 MiB long before anything is in it.
#[allow(clippy::disallowed_methods)] // a file of the database's, which goes through no Disk either
fn copy_data(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::SeekFrom::{Data, Hole};
    let (source, target) = (File::open(from)?, File::create(to)?);
    let len = source.metadata()?.len();
    target.set_len(len)?;
    let mut buffer = vec![0; 256 * 1024];
    let mut at = 0;
    while at < len {
        let data = match rustix::fs::seek(&source, Data(at)) {
            Err(rustix::io::Errno::NXIO) => break,
            Err(rustix::io::Errno::INVAL) => at,
            other => other?,
        };
        let end = rustix::fs::seek(&source, Hole(data)).unwrap_or(len);
        at = data;
        while at < end {
            let left = usize::try_from(end - at).unwrap_or(usize::MAX);
            let part = left.min(buffer.len());
            let bytes = buffer.get_mut(..part).unwrap_or_default();
            source.read_exact_at(bytes, at)?;
            target.write_all_at(bytes, at)?;
            at += part as u64;
        }
    }
    Ok(())
}

fn remove_dir(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), crate::env::sync_directory)
}

fn log_files(dir: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    let entries = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut logs = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.path().extension().is_some_and(|ext| ext == "jnl") {
            logs.push(entry.file_name());
        }
    }
    Ok(logs)
}
