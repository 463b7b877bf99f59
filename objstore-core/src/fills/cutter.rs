use std::io;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::FillError;
use super::fetch::Fetch;
use super::fill::{Fill, Place};
use crate::bodies::{UNIT, crc32c, unit_checksum};
use crate::cache::Buffer;
use crate::env;
use crate::journal::Stamp;
use crate::usage::Reservation;

/// Units written to the file together: half a MiB.
const BATCH: usize = 8;

/// Cuts arriving bytes into units, shows each to readers as soon as it is whole, and writes them to
/// the file, one batch while the next arrives.
pub(super) struct Cutter<'a> {
    fill: &'a Arc<Fill>,
    fetch: &'a Arc<Fetch>,
    /// The unit that is being filled.
    unit: u64,
    buffer: Option<Buffer>,
    filled: usize,
    batch: Batch,
    writing: Option<Writing>,
}

/// Units that follow each other up to the one that is being filled.
#[derive(Default)]
struct Batch {
    units: Vec<Bytes>,
    checks: Vec<u32>,
}

/// A batch on its way to the disk.
struct Writing {
    first: u64,
    checks: Vec<u32>,
    /// Room for it until it is counted.
    _room: Reservation,
    done: oneshot::Receiver<io::Result<bool>>,
}

impl<'a> Cutter<'a> {
    pub(super) fn new(fill: &'a Arc<Fill>, fetch: &'a Arc<Fetch>) -> Self {
        let unit = fetch.units.start;
        Self { fill, fetch, unit, buffer: None, filled: 0, batch: Batch::default(), writing: None }
    }

    /// The byte of the body that is wanted next.
    pub(super) fn position(&self) -> u64 {
        let position = self.unit * UNIT as u64 + self.filled as u64;
        position.min(self.fill.origin().size)
    }

    /// The unit that is not whole yet.
    pub(super) fn unit(&self) -> u64 {
        self.unit
    }

    /// Begins the unit that is not whole anew: only whole ones come from another node.
    pub(super) fn restart_unit(&mut self) {
        self.filled = 0;
    }

    /// Bytes that the unit that is not whole yet lacks.
    pub(super) fn lacks(&self) -> usize {
        self.fill.layout().unit_len(self.unit).saturating_sub(self.filled)
    }

    /// Takes bytes of one unit from another node, and the unit when it is whole and what that node
    /// sealed with this stamp; false when it is not.
    pub(super) async fn take_sealed(
        &mut self,
        piece: &[u8],
        check: u32,
        stamp: Stamp,
    ) -> Result<bool, FillError> {
        let len = self.fill.layout().unit_len(self.unit);
        self.put(piece, len);
        if self.filled < len {
            return Ok(true);
        }
        let (id, _) = self.fill.origin().version();
        let crc = self.buffer.as_ref().map_or(0, |buffer| crc32c(buffer.as_ref()));
        if unit_checksum(crc, id, stamp, self.unit) != check {
            return Ok(false);
        }
        self.whole(crc).await?;
        Ok(true)
    }

    fn put(&mut self, piece: &[u8], len: usize) {
        let parts = self.fill.parts();
        let buffer = self.buffer.get_or_insert_with(|| parts.buffers.take(len));
        let room = buffer.as_mut().get_mut(self.filled..).unwrap_or_default();
        if let Some(room) = room.get_mut(..piece.len()) {
            room.copy_from_slice(piece);
            self.filled += piece.len();
        }
    }

    pub(super) async fn take(&mut self, mut chunk: &[u8]) -> Result<(), FillError> {
        while !chunk.is_empty() {
            let len = self.fill.layout().unit_len(self.unit);
            let (now, later) = chunk.split_at(chunk.len().min(len - self.filled));
            self.put(now, len);
            chunk = later;
            if self.filled == len {
                let crc = self.buffer.as_ref().map_or(0, |buffer| crc32c(buffer.as_ref()));
                self.whole(crc).await?;
            }
        }
        Ok(())
    }

    /// The unit is whole.
    async fn whole(&mut self, crc: u32) -> Result<(), FillError> {
        let Some(buffer) = self.buffer.take() else { return Ok(()) };
        let (id, stamp) = self.fill.origin().version();
        let check = unit_checksum(crc, id, stamp, self.unit);
        let bytes = buffer.freeze();
        self.fill.arrived(self.unit, &bytes, self.fetch.via())?;
        self.fetch.arrived(self.unit, bytes.clone());
        self.batch.units.push(bytes);
        self.batch.checks.push(check);
        self.unit += 1;
        self.filled = 0;
        if self.batch.units.len() == BATCH {
            self.write().await;
        }
        Ok(())
    }

    /// Sends a batch to the disk when the one before is there.
    async fn write(&mut self) {
        self.written().await;
        let Batch { units, checks } = std::mem::take(&mut self.batch);
        let bytes = units.iter().map(|unit| unit.len() as u64).sum();
        let room = match self.fill.place(bytes) {
            Place::File(room) => room,
            Place::Memory(part) => return self.fetch.keeps(part),
        };
        let first = self.unit - units.len() as u64;
        let (file, sealed) = (Arc::clone(self.fill.file()), checks.clone());
        let work = move || file.write(first, &units, &sealed);
        let done = env::start(self.fill.parts().blocking.as_ref(), work);
        self.writing = Some(Writing { first, checks, _room: room, done });
    }

    /// Waits for the batch on its way, and shows it to readers as stored.
    async fn written(&mut self) {
        let Some(mut writing) = self.writing.take() else { return };
        match (&mut writing.done).await {
            Ok(Ok(true)) => {
                self.fill.stored(writing.first, &writing.checks);
                self.fetch.stored(writing.first, writing.checks.len());
            }
            // The file was removed, or the runtime is going away.
            Ok(Ok(false)) | Err(_) => {}
            Ok(Err(error)) => self.fill.not_stored(error),
        }
    }

    /// Writes what is whole.
    pub(super) async fn finish(mut self) {
        if !self.batch.units.is_empty() {
            self.write().await;
        }
        self.written().await;
    }
}
