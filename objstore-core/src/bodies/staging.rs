use std::io;
use std::sync::Arc;

use bytes::Bytes;
use objstore_client::options::ExpectedDigest;
use objstore_client::{Body, Error, ErrorKind};

use super::files::{FileBody, FileStore};
use super::layout::{Header, Layout, table_entry};
use super::units::{UNIT, crc32c, unit_checksum};
use crate::digest::Digests;
use crate::env::{self, Blocking};
use crate::journal::Record;
use crate::usage::{Reservation, Usage};

/// Bytes collected before they go to the disk together. Two such buffers are in use for each
/// upload: one being filled, one being written.
const BATCH: usize = 4 * UNIT;

/// Receives a body: in memory while it is small, then into a file.
pub(crate) struct Receiver<'a> {
    pub(crate) files: &'a Arc<FileStore>,
    pub(crate) blocking: &'a dyn Blocking,
    pub(crate) usage: &'a Arc<Usage>,
    /// The most bytes kept in memory.
    pub(crate) inline_max: usize,
    /// The most bytes taken at all.
    pub(crate) size_max: u64,
}

/// A whole body, on its way into the journal.
pub(crate) struct Received {
    pub(crate) size: u64,
    pub(crate) digest: [u8; 32],
    pub(crate) body: ReceivedBody,
    /// Room held for it until it is committed.
    pub(crate) reservation: Reservation,
}

pub(crate) enum ReceivedBody {
    Inline(Bytes),
    File(Box<StagedFile>),
}

/// A file that has all units of its body, but not yet its head and table.
pub(crate) struct StagedFile {
    body: FileBody,
    /// For each unit the checksum of its bytes alone.
    checksums: Vec<u32>,
    digests: Digests,
    size: u64,
    /// An emptied buffer to be filled again.
    spare: Vec<u8>,
}

impl Receiver<'_> {
    /// Takes in a whole body. When the future is dropped or fails, nothing is left behind.
    pub(crate) async fn receive(
        &self,
        mut body: Body,
        expected: &[ExpectedDigest],
    ) -> Result<Received, Error> {
        let declared = body.len();
        if declared.is_some_and(|len| len > self.size_max) {
            return Err(self.too_large());
        }
        // What is known not to fit is refused at once. What would fit takes its room as it comes,
        // so that a client that only promises much keeps nobody else out.
        if let Some(len) = declared {
            self.usage.no_room_yet().look_for_room(len).await?;
        }
        let mut reservation = self.usage.no_room_yet();
        reservation.make_room(0).await?;
        body = match body.try_into_bytes() {
            Ok(bytes) if bytes.len() <= self.inline_max => {
                return inline(bytes, expected, reservation).await;
            }
            Ok(bytes) => {
                Body::from_stream(futures_util::stream::once(async move { Ok(bytes) }), declared)
            }
            Err(stream) => stream,
        };

        let mut size = 0u64;
        let mut buffer = Vec::new();
        let mut file: Option<Box<StagedFile>> = None;
        while let Some(chunk) = body.chunk().await {
            let mut chunk = chunk?;
            size += chunk.len() as u64;
            if size > self.size_max {
                return Err(self.too_large());
            }
            reservation.make_room(size).await?;
            while !chunk.is_empty() {
                let room = BATCH.saturating_sub(buffer.len());
                let part = chunk.split_to(room.min(chunk.len()));
                buffer.extend_from_slice(&part);
                if buffer.len() == BATCH {
                    (file, buffer) = self.write(file, buffer, expected).await?;
                }
            }
        }
        if declared.is_some_and(|len| len != size) {
            return Err(Error::new(
                ErrorKind::IncompleteBody,
                "the body is not as long as it was said to be; nothing was stored, send it again",
            ));
        }
        if file.is_none() && buffer.len() <= self.inline_max {
            return inline(buffer.into(), expected, reservation).await;
        }
        if file.is_none() || !buffer.is_empty() {
            (file, _) = self.write(file, buffer, expected).await?;
        }
        let file = file.ok_or_else(|| Error::new(ErrorKind::Internal, "a body without a file"))?;
        let digest = file.digests.finish(expected)?;
        Ok(Received { size, digest, body: ReceivedBody::File(file), reservation })
    }

    async fn write(
        &self,
        file: Option<Box<StagedFile>>,
        buffer: Vec<u8>,
        expected: &[ExpectedDigest],
    ) -> Result<(Option<Box<StagedFile>>, Vec<u8>), Error> {
        let files = Arc::clone(self.files);
        let digests = file.is_none().then(|| Digests::new(expected));
        let written = env::run(self.blocking, move || -> io::Result<Box<StagedFile>> {
            let mut file = match (file, digests) {
                (Some(file), _) => file,
                (None, digests) => Box::new(StagedFile {
                    body: files.create()?,
                    checksums: Vec::new(),
                    digests: digests.unwrap_or_default(),
                    size: 0,
                    spare: Vec::with_capacity(BATCH),
                }),
            };
            file.append(&buffer)?;
            file.spare = buffer;
            file.spare.clear();
            Ok(file)
        });
        let mut file = written.await?.map_err(|e| self.usage.disk_error(e))?;
        let spare = std::mem::take(&mut file.spare);
        Ok((Some(file), spare))
    }

    fn too_large(&self) -> Error {
        Error::new(
            ErrorKind::TooLarge,
            format!("the body is longer than the {} bytes this node takes", self.size_max),
        )
    }
}

async fn inline(
    bytes: Bytes,
    expected: &[ExpectedDigest],
    mut reservation: Reservation,
) -> Result<Received, Error> {
    reservation.make_room(bytes.len() as u64).await?;
    let mut digests = Digests::new(expected);
    digests.update(&bytes);
    let digest = digests.finish(expected)?;
    let size = bytes.len() as u64;
    Ok(Received { size, digest, body: ReceivedBody::Inline(bytes), reservation })
}

impl StagedFile {
    /// Appends bytes; every call but the last brings whole units.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.digests.update(bytes);
        self.checksums.extend(bytes.chunks(UNIT).map(crc32c));
        self.body.file.write_all_at(bytes, Layout::DATA + self.size)?;
        self.size += bytes.len() as u64;
        Ok(())
    }

    /// Writes table and head, makes all durable, and gives the file its lasting name. Blocks.
    pub(crate) fn publish(mut self: Box<Self>, record: &Record) -> io::Result<FileBody> {
        let layout = Layout::new(self.size);
        let sealed = self.checksums.iter().zip(0u64..).flat_map(|(crc, unit)| {
            table_entry(unit_checksum(*crc, record.id, record.stamp, unit))
        });
        let table: Vec<u8> = sealed.collect();
        self.body.file.write_all_at(&table, layout.table_offset(0))?;
        let head = Header { record: record.clone() }
            .encode()
            .ok_or_else(|| io::Error::other("the record does not fit the head of its file"))?;
        self.body.file.write_all_at(&head, 0)?;
        self.body.publish(record.id, record.stamp)?;
        Ok(self.body)
    }
}
