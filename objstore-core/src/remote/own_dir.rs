use std::io;
use std::sync::Arc;

use objstore_client::types::ObjectId;
use objstore_client::{Body, Error, ErrorKind};
use tokio::sync::{Mutex, MutexGuard};

use crate::bodies::crc32c;
use crate::env::{self, Blocking, Disk, DiskFile, Entropy};
use crate::journal::{Record, encode_record};

/// A directory that stands where a bucket would: one file for each object, named by its id.
///
/// A file is the body, then the record, then a trailer of fixed length, so that body and metadata
/// change together by one rename. The layout is described in `docs/formats.md`.
#[derive(Debug)]
pub(crate) struct DirRemote {
    disk: Arc<dyn Disk>,
    entropy: Arc<dyn Entropy>,
    blocking: Arc<dyn Blocking>,
    turns: [Mutex<()>; TURNS],
}

/// Objects whose uploads wait for each other: those of one object, and few more.
const TURNS: usize = 64;
const OBJECTS: &str = "objects";
const STAGING: &str = "staging";
const MAGIC: &[u8; 8] = b"objdir01";
/// Bytes written in one go.
const BATCH: usize = 256 * 1024;

impl DirRemote {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        entropy: Arc<dyn Entropy>,
        blocking: Arc<dyn Blocking>,
    ) -> Self {
        Self { disk, entropy, blocking, turns: std::array::from_fn(|_| Mutex::default()) }
    }

    /// Removes what a crash left half-written. Blocks.
    pub(crate) fn recover(&self) -> io::Result<()> {
        for name in self.disk.list(STAGING)? {
            self.disk.remove(&format!("{STAGING}/{name}"))?;
        }
        Ok(())
    }

    /// Waits for uploads of the same object under way. Held until the journal knows the outcome.
    pub(crate) async fn turn(&self, id: ObjectId) -> Option<MutexGuard<'_, ()>> {
        let [.., last] = id.to_bytes();
        match self.turns.get(usize::from(last) % TURNS) {
            Some(turn) => Some(turn.lock().await),
            None => None,
        }
    }

    /// Stores a version durably and returns its tag. When the future is dropped the former version
    /// stands, or the new one if it was complete.
    pub(crate) async fn put(&self, record: &Record, mut body: Body) -> Result<String, Error> {
        let staged = format!("{STAGING}/{:032x}", self.entropy.random());
        let stored = self.store(&staged, record, &mut body).await;
        if stored.is_err() {
            let disk = Arc::clone(&self.disk);
            let removed = env::run(self.blocking.as_ref(), move || disk.remove(&staged)).await;
            if let Ok(Err(error)) = removed {
                tracing::warn!(%error, "could not remove a broken upload; the next start does");
            }
        }
        stored
    }

    async fn store(&self, staged: &str, record: &Record, body: &mut Body) -> Result<String, Error> {
        let (disk, path) = (Arc::clone(&self.disk), staged.to_owned());
        let file = self.run(move || disk.create(&path)).await?;
        let mut size = 0u64;
        let mut buffer: Vec<u8> = Vec::new();
        while let Some(chunk) = body.chunk().await {
            buffer.extend_from_slice(&chunk?);
            if buffer.len() >= BATCH {
                size = self.write(&file, std::mem::take(&mut buffer), size).await?;
            }
        }
        size = self.write(&file, buffer, size).await?;
        self.write(&file, trailer(record, size), size).await?;
        let (disk, from, to) = (Arc::clone(&self.disk), staged.to_owned(), object_path(record.id));
        self.run(move || {
            file.sync()?;
            disk.rename(&from, &to)?;
            disk.sync_dir(OBJECTS)
        })
        .await?;
        Ok(format!("{:016x}{:08x}", record.stamp.time, record.stamp.boot))
    }

    async fn write(&self, file: &Arc<dyn DiskFile>, bytes: Vec<u8>, at: u64) -> Result<u64, Error> {
        let file = Arc::clone(file);
        let end = at + bytes.len() as u64;
        self.run(move || file.write_all_at(&bytes, at)).await?;
        Ok(end)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        env::run(self.blocking.as_ref(), work).await?.map_err(|error| {
            tracing::error!(%error, "the remote directory failed");
            Error::new(
                ErrorKind::Unavailable,
                "the remote directory failed; the put was not acknowledged, see the node's log and send it again",
            )
            .with_source(error)
        })
    }
}

fn object_path(id: ObjectId) -> String {
    format!("{OBJECTS}/{id}")
}

fn trailer(record: &Record, size: u64) -> Vec<u8> {
    let mut bytes = encode_record(record).to_vec();
    let len = bytes.len() as u64;
    bytes.extend(len.to_le_bytes());
    bytes.extend(size.to_le_bytes());
    bytes.extend(crc32c(&bytes).to_le_bytes());
    bytes.extend(MAGIC);
    bytes
}
