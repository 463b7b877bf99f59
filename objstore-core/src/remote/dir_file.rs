//! The file of one object: body, checksums, attributes, trailer. Described in `docs/formats.md`.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::store::{RemoteAttributes, RemoteHead};
use crate::bodies::crc32c;
use crate::env::{Disk, DiskFile};

const MAGIC: &[u8; 8] = b"objdir02";
const VERSION: u8 = 1;
/// Bytes of body that share a checksum.
const UNIT: u64 = 64 * 1024;
/// Bytes of body read or written in one go, a whole number of units.
pub(super) const PIECE: u64 = 256 * 1024;
const CHECK: u64 = 4;
const TRAILER: usize = 8 + 8 + 4 + 8;
/// No key with its attributes is longer.
const META_MAX: u64 = 64 * 1024;

/// What lies behind the body.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Meta {
    key: String,
    etag: String,
    modified: u64,
    content_type: Option<String>,
    content_encoding: Option<String>,
    metadata: BTreeMap<String, String>,
}

fn damaged(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// An object's file on its way to be one. Blocks.
#[derive(Debug)]
pub(super) struct ObjectWriter {
    file: Arc<dyn DiskFile>,
    /// Written so far: whole pieces.
    at: u64,
    /// What is not a whole piece yet.
    rest: Vec<u8>,
    checks: Vec<u8>,
}

impl ObjectWriter {
    pub(super) fn create(disk: &dyn Disk, path: &str) -> io::Result<Self> {
        Ok(Self { file: disk.create(path)?, at: 0, rest: Vec::new(), checks: Vec::new() })
    }

    pub(super) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let piece = usize::try_from(PIECE).unwrap_or(usize::MAX);
        let mut bytes = bytes;
        while !bytes.is_empty() {
            let room = piece.saturating_sub(self.rest.len()).min(bytes.len());
            let (now, later) = bytes.split_at(room);
            self.rest.extend_from_slice(now);
            bytes = later;
            if self.rest.len() == piece {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.rest, self.at)?;
        let unit = usize::try_from(UNIT).unwrap_or(usize::MAX);
        for unit in self.rest.chunks(unit) {
            self.checks.extend(crc32c(unit).to_le_bytes());
        }
        self.at += self.rest.len() as u64;
        self.rest.clear();
        Ok(())
    }

    /// Writes what belongs behind the body and makes the file durable.
    pub(super) fn finish(
        mut self,
        key: &str,
        etag: &str,
        modified: u64,
        attributes: &RemoteAttributes,
    ) -> io::Result<()> {
        self.flush()?;
        let meta = Meta {
            key: key.to_owned(),
            etag: etag.to_owned(),
            modified,
            content_type: attributes.content_type.clone(),
            content_encoding: attributes.content_encoding.clone(),
            metadata: attributes.metadata.clone(),
        };
        let mut end = postcard::to_extend(&meta, vec![VERSION])
            .map_err(|e| io::Error::other(e.to_string()))?;
        let len = end.len() as u64;
        end.extend(len.to_le_bytes());
        end.extend(self.at.to_le_bytes());
        end.extend(crc32c(&end).to_le_bytes());
        end.extend(MAGIC);
        self.file.write_all_at(&self.checks, self.at)?;
        self.file.write_all_at(&end, self.at + self.checks.len() as u64)?;
        self.file.sync()
    }
}

/// An object's file that was found whole, but for its body. Blocks.
#[derive(Clone, Debug)]
pub(super) struct ObjectFile {
    file: Arc<dyn DiskFile>,
    pub(super) head: RemoteHead,
}

impl ObjectFile {
    /// The file of `key` at `path`: `NotFound` when there is none, `InvalidData` when what is there
    /// is not what was written.
    pub(super) fn open(disk: &dyn Disk, path: &str, key: &str) -> io::Result<Self> {
        let file = disk.open(path)?;
        let size = file.size()?;
        let trailer_at =
            size.checked_sub(TRAILER as u64).ok_or_else(|| damaged("shorter than a trailer"))?;
        let mut trailer = [0; TRAILER];
        file.read_exact_at(&mut trailer, trailer_at)?;
        let not_ours = || damaged("no trailer of an object");
        let (meta_len, body_len) = trailer_lengths(&trailer).ok_or_else(not_ours)?;
        let checks = body_len.div_ceil(UNIT).checked_mul(CHECK).ok_or_else(not_ours)?;
        let meta_at = body_len.checked_add(checks).ok_or_else(not_ours)?;
        if meta_len > META_MAX || meta_at.checked_add(meta_len) != Some(trailer_at) {
            return Err(damaged("shorter or longer than its trailer says"));
        }
        let mut meta = vec![0; usize::try_from(meta_len).unwrap_or(0)];
        file.read_exact_at(&mut meta, meta_at)?;
        let meta = decode_meta(meta, &trailer).ok_or_else(|| damaged("broken attributes"))?;
        if meta.key != key {
            return Err(damaged("the object of another key"));
        }
        let attributes = RemoteAttributes {
            content_type: meta.content_type,
            content_encoding: meta.content_encoding,
            metadata: meta.metadata,
        };
        let (etag, modified) = (meta.etag, meta.modified);
        Ok(Self { file, head: RemoteHead { size: body_len, etag, modified, attributes } })
    }

    /// The bytes at the start of the range: up to the end of their piece, or of the range. Every
    /// unit they touch is verified. The range is not empty and within the body.
    pub(super) fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
        let from = range.start - range.start % PIECE;
        let to = (from + PIECE).min(self.head.size);
        let first = range.start / UNIT;
        let from_unit = first * UNIT;
        let until = range.end.min(to);
        let end = until.div_ceil(UNIT).saturating_mul(UNIT).min(self.head.size);
        let len = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let mut body = vec![0; len(end - from_unit)];
        self.file.read_exact_at(&mut body, from_unit)?;
        let mut checks = vec![0; len((end - from_unit).div_ceil(UNIT) * CHECK)];
        self.file.read_exact_at(&mut checks, self.head.size + first * CHECK)?;
        let verified = body
            .chunks(len(UNIT))
            .zip(checks.chunks_exact(len(CHECK)))
            .all(|(unit, check)| crc32c(unit).to_le_bytes() == check);
        if !verified {
            return Err(damaged("a checksum does not fit its bytes"));
        }
        Ok(Bytes::from(body).slice(len(range.start - from_unit)..len(until - from_unit)))
    }
}

fn trailer_lengths(trailer: &[u8; TRAILER]) -> Option<(u64, u64)> {
    let number = |at: usize| Some(u64::from_le_bytes(*trailer.get(at..)?.first_chunk()?));
    trailer.ends_with(MAGIC).then_some((number(0)?, number(8)?))
}

fn decode_meta(mut meta: Vec<u8>, trailer: &[u8; TRAILER]) -> Option<Meta> {
    let len = meta.len();
    let check = u32::from_le_bytes(*trailer.get(16..)?.first_chunk()?);
    meta.extend(trailer.get(..16)?);
    if crc32c(&meta) != check {
        return None;
    }
    let (version, rest) = meta.get(..len)?.split_first()?;
    (*version == VERSION).then(|| postcard::from_bytes(rest).ok())?
}
