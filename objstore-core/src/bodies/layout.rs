//! How a body file is laid out; described for humans in `docs/formats.md`.
//!
//! ```text
//! 0            head: magic, format, unit size, record length, body size, record, checksum
//! 32 KiB       unit 0, unit 1, … each 64 KiB but the last; an absent unit is a hole
//! 32 KiB+size  table: for each unit its state and checksum, 8 bytes
//! ```
//! The head has room for any record within its bounds; what it does not use is a hole.

use bytes::Bytes;
use objstore_client::types::ObjectId;

use super::units::{UNIT, crc32c};
use crate::journal::{Record, Stamp, decode_record, encode_record};

const MAGIC: &[u8; 8] = b"objbody\n";
const VERSION: u16 = 1;
const FIXED: usize = 8 + 2 + 2 + 4 + 8;
/// Bytes of one table entry.
pub(crate) const TABLE_ENTRY: usize = 8;
const PRESENT: u32 = 1;

/// Where the parts of a body file of this size are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) size: u64,
}

impl Layout {
    /// Where unit 0 begins.
    pub(crate) const DATA: u64 = 32 * 1024;

    pub(crate) fn new(size: u64) -> Self {
        Self { size }
    }

    pub(crate) fn units(self) -> u64 {
        self.size.div_ceil(UNIT as u64)
    }

    pub(crate) fn unit_offset(unit: u64) -> u64 {
        Self::DATA + unit * UNIT as u64
    }

    /// Bytes of a unit: full but for the last.
    pub(crate) fn unit_len(self, unit: u64) -> usize {
        let left = self.size.saturating_sub(unit * UNIT as u64);
        usize::try_from(left).unwrap_or(UNIT).min(UNIT)
    }

    pub(crate) fn table_offset(self, unit: u64) -> u64 {
        Self::DATA + self.size + unit * TABLE_ENTRY as u64
    }
}

/// The table entry of a unit that is here.
pub(crate) fn table_entry(checksum: u32) -> [u8; TABLE_ENTRY] {
    let (state, check) = (PRESENT.to_le_bytes(), checksum.to_le_bytes());
    let mut entry = [0; TABLE_ENTRY];
    for (to, from) in entry.iter_mut().zip(state.into_iter().chain(check)) {
        *to = from;
    }
    entry
}

/// The checksum in a table entry; none for a hole.
pub(crate) fn read_table_entry(entry: &[u8]) -> Option<u32> {
    let state = u32::from_le_bytes(*entry.first_chunk()?);
    (state == PRESENT).then(|| entry.last_chunk().map(|b| u32::from_le_bytes(*b)))?
}

/// The head of a body file: enough of its record to rebuild the journal from.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    pub(crate) record: Record,
}

impl Header {
    /// At most [`Layout::DATA`] bytes; none when the record has no body.
    pub(crate) fn encode(&self) -> Option<Bytes> {
        let size = self.record.live.as_ref()?.size;
        let record = encode_record(&self.record);
        let mut bytes = Vec::with_capacity(FIXED + record.len() + 4);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(16u16.to_le_bytes()); // log2 of the unit size
        bytes.extend(u32::try_from(record.len()).ok()?.to_le_bytes());
        bytes.extend(size.to_le_bytes());
        bytes.extend(&record);
        bytes.extend(crc32c(&bytes).to_le_bytes());
        (bytes.len() as u64 <= Layout::DATA).then(|| bytes.into())
    }

    /// The head in the first [`Layout::DATA`] bytes of a file; none when it is not whole.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let fixed = bytes.get(..FIXED)?;
        let version = u16::from_le_bytes(*fixed.get(8..)?.first_chunk()?);
        if !fixed.starts_with(MAGIC) || version != VERSION {
            return None;
        }
        let len = u32::from_le_bytes(*fixed.get(12..)?.first_chunk()?) as usize;
        let end = FIXED.checked_add(len)?;
        let check = u32::from_le_bytes(*bytes.get(end..)?.first_chunk()?);
        if crc32c(bytes.get(..end)?) != check {
            return None;
        }
        Some(Self { record: decode_record(bytes.get(FIXED..end)?).ok()? })
    }
}

/// The path of a version's file below the files directory. The last two characters of the id are
/// random, so they spread objects over 1,024 directories.
pub(crate) fn path(id: ObjectId, stamp: Stamp) -> String {
    let id = id.to_string();
    let (_, fan) = id.split_at(id.len() - 2);
    format!("{fan}/{}", name(&id, stamp))
}

/// The path of the same file while it is being written, or not yet acknowledged.
pub(crate) fn staging_path(name: &str) -> String {
    format!("{STAGING}/{name}")
}

pub(crate) const STAGING: &str = "staging";

fn name(id: &str, stamp: Stamp) -> String {
    format!("{id}-{:016x}-{:032x}-{:08x}", stamp.time, stamp.node, stamp.boot)
}
