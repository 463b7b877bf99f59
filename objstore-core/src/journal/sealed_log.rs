//! Checks the logs of the journal that are no longer written to before fjall reads them: what does
//! not decode fjall 3.1 takes for the end of a log, and would forget what follows.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use super::store::StoreError;

/// The marks that begin what a log consists of: batches, each a start, so many items and an end.
const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
/// The last bytes of an end.
const TRAILER: &[u8; 4] = b"FJL\x03";
/// Mark, kind, compression, keyspace (u64), lengths of key (u16), of value (u32), and of value as
/// stored (u32), all little endian.
const ITEM_HEAD: usize = 1 + 1 + 1 + 8 + 2 + 4 + 4;

/// Checks every log in a database's directory but the newest, which may have a torn end and is
/// guarded by [`Mark`](super::Mark). A sealed log was synced whole, so that it consists of whole
/// batches up to its end, or up to the zeros it was made of.
#[allow(clippy::disallowed_methods)] // files of the database's, which go through no Disk
pub(super) fn verify(database: &Path) -> Result<(), StoreError> {
    let mut logs = numbered_logs(database)?;
    logs.sort_unstable();
    logs.pop();
    for (_, path) in logs {
        let mut log =
            Log { file: BufReader::with_capacity(256 * 1024, File::open(&path)?), seqno: 0 };
        match log.read_batches() {
            Ok(true) => {}
            Ok(false) => return Err(damaged(&path)),
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Err(damaged(&path)),
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

fn damaged(path: &Path) -> StoreError {
    StoreError::Damaged(format!("the log {} is not what was written", path.display()))
}

fn numbered_logs(database: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut logs = Vec::new();
    for entry in std::fs::read_dir(database)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        if let Some(number) = number.filter(|_| path.extension().is_some_and(|e| e == "jnl")) {
            logs.push((number, path));
        }
    }
    Ok(logs)
}

struct Log {
    file: BufReader<File>,
    /// Of the last batch; they rise.
    seqno: u64,
}

impl Log {
    /// Reads to the end of the file; false for anything but batches and then zeros.
    fn read_batches(&mut self) -> io::Result<bool> {
        let mut mark = [0];
        loop {
            if self.file.read(&mut mark)? == 0 {
                return Ok(true);
            }
            match mark {
                [START] if self.read_batch()? => {}
                [0] => return self.only_zeros_follow(),
                _ => return Ok(false),
            }
        }
    }

    fn read_batch(&mut self) -> io::Result<bool> {
        let (items, seqno) = (u32::from_le_bytes(self.bytes()?), u64::from_le_bytes(self.bytes()?));
        if seqno < self.seqno {
            return Ok(false);
        }
        self.seqno = seqno;
        let mut hash = Xxh3::new();
        for _ in 0..items {
            if !self.read_item(&mut hash)? {
                return Ok(false);
            }
        }
        let [mark] = self.bytes()?;
        let checksum = u64::from_le_bytes(self.bytes()?);
        Ok(mark == END && checksum == hash.digest() && self.bytes()? == *TRAILER)
    }

    fn read_item(&mut self, hash: &mut Xxh3) -> io::Result<bool> {
        let [mark] = self.bytes()?;
        hash.update(&[mark]);
        let mut left = match mark {
            CLEAR => 8,
            ITEM => {
                let head: [u8; ITEM_HEAD - 1] = self.bytes()?;
                hash.update(&head);
                let [.., k0, k1, _, _, _, _, v0, v1, v2, v3] = head;
                u64::from(u16::from_le_bytes([k0, k1]))
                    + u64::from(u32::from_le_bytes([v0, v1, v2, v3]))
            }
            _ => return Ok(false),
        };
        let mut buffer = [0; 4096];
        while left > 0 {
            let part = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let part = buffer.get_mut(..part).unwrap_or_default();
            self.file.read_exact(part)?;
            hash.update(part);
            left -= part.len() as u64;
        }
        Ok(true)
    }

    fn only_zeros_follow(&mut self) -> io::Result<bool> {
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = self.file.read(&mut buffer)?;
            if read == 0 {
                return Ok(true);
            }
            if buffer.iter().take(read).any(|byte| *byte != 0) {
                return Ok(false);
            }
        }
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}
