//! What readers notice of fills. Time is paused and the disk answers at once, so that each test
//! runs the same way each time.

#![allow(clippy::single_range_in_vec_init)] // one range asked for is meant

mod faults;
mod passing;
mod script;
mod sharing;
mod storing;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use objstore_client::types::{Level, ObjectName, UserMeta};

use self::script::{Fault, Script};
use super::reader::FillReader;
use super::{Fill, FillError, Fills, Origin, Parts};
use crate::bodies::{FileStore, UNIT};
use crate::cache::{Buffers, Tier};
use crate::env::{Blocking, Disk, Job, OsEntropy};
use crate::janitor::Janitor;
use crate::journal::{Live, Record, Stamp};
use crate::settings::FillSettings;
use crate::testing::MemoryDisk;
use crate::usage::Usage;

const U: u64 = UNIT as u64;

/// Does each job when it is given, and counts them.
#[derive(Debug, Default)]
struct AtOnce(AtomicUsize);

impl Blocking for AtOnce {
    fn start(&self, job: Job) {
        self.0.fetch_add(1, Ordering::Relaxed);
        job();
    }
}

/// A node's fills, as far as they go, with blocks of four units.
struct Stage {
    body: Bytes,
    script: Arc<Script>,
    disk: Arc<MemoryDisk>,
    blocking: Arc<AtOnce>,
    settings: FillSettings,
    /// Bytes of the memory tier; none, so that what is found was stored.
    memory: u64,
    max_bytes: Option<u64>,
}

/// Bytes that differ from unit to unit.
fn body(len: u64) -> Bytes {
    let byte = |at: u64| u8::try_from((at ^ (at >> 8) ^ (at >> 16)) & 0xff).unwrap();
    (0..len).map(byte).collect::<Vec<u8>>().into()
}

impl Stage {
    fn new(len: u64) -> Self {
        let settings = FillSettings { block_bytes: 4 * U, ..FillSettings::default() };
        let body = body(len);
        Self {
            script: Script::new(body.clone()),
            body,
            disk: Arc::default(),
            blocking: Arc::default(),
            settings,
            memory: 0,
            max_bytes: None,
        }
    }

    /// A node that starts over what is there.
    fn start(&self) -> Arc<Fills> {
        let disk: Arc<dyn Disk> = Arc::<MemoryDisk>::clone(&self.disk);
        let (janitor, _) = Janitor::new();
        let usage = Usage::new(self.max_bytes, 0, Default::default());
        Arc::new(Fills::new(
            Parts {
                remote: Arc::<Script>::clone(&self.script),
                files: Arc::new(FileStore::new(disk, Arc::new(OsEntropy), janitor)),
                tier: Arc::new(Tier::new(self.memory)),
                buffers: Arc::<Buffers>::default(),
                usage: Arc::new(usage),
                blocking: Arc::<AtOnce>::clone(&self.blocking),
                entropy: Arc::new(OsEntropy),
            },
            &self.settings,
        ))
    }

    fn origin(&self) -> Origin {
        let digest = *blake3::hash(&self.body).as_bytes();
        let live = Live {
            level: Level::Remote,
            size: self.body.len() as u64,
            digest: Some(digest),
            name: ObjectName::default(),
            content_type: None,
            content_encoding: None,
            user_meta: UserMeta::default(),
            remote_etag: Some("one".to_owned()),
        };
        let stamp = Stamp { time: 7, node: 7, boot: 7 };
        let id: objstore_client::types::ObjectId = "01KB0000000000000000000000".parse().unwrap();
        Origin {
            key: "key".to_owned(),
            etag: Some("one".to_owned()),
            size: live.size,
            record: Record::new(id, stamp, 7, Some(Box::new(live))),
            digest: Some(digest),
            keep: false,
        }
    }

    fn open(&self, fills: &Arc<Fills>) -> Arc<Fill> {
        fills.open(self.origin())
    }

    fn slice(&self, range: Range<u64>) -> Bytes {
        let at = |at: u64| usize::try_from(at).unwrap();
        self.body.slice(at(range.start)..at(range.end))
    }

    fn all(&self) -> Range<u64> {
        0..self.body.len() as u64
    }

    /// Reads all in a new fill of a node that runs already.
    async fn read(&self, fills: &Arc<Fills>) -> Result<Vec<u8>, FillError> {
        read(self.open(fills).reader(self.all())).await
    }
}

async fn read(mut reader: FillReader) -> Result<Vec<u8>, FillError> {
    let mut all = Vec::new();
    while let Some(bytes) = reader.next().await? {
        all.extend_from_slice(&bytes);
    }
    Ok(all)
}

/// Lets every task go as far as it can.
async fn settle() {
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
}
