//! Small bodies: the bytes, then their checksum, then the format.

use bytes::Bytes;

use super::units::{crc32c, unit_checksum};
use crate::journal::Record;

const VERSION: u8 = 1;
const TRAILER: usize = 5;

/// The stored value of a small body.
pub(crate) fn seal_inline(record: &Record, body: &[u8]) -> Bytes {
    let mut value = Vec::with_capacity(body.len() + TRAILER);
    value.extend_from_slice(body);
    value.extend(unit_checksum(crc32c(body), record.id, record.stamp, 0).to_le_bytes());
    value.push(VERSION);
    value.into()
}

/// The body in a stored value; none when it is not what was stored.
pub(crate) fn verify_inline(record: &Record, value: &Bytes) -> Option<Bytes> {
    let len = value.len().checked_sub(TRAILER)?;
    let size = record.live.as_ref()?.size;
    let (body, trailer) = value.split_at_checked(len)?;
    let (check, version) = trailer.split_first_chunk::<4>()?;
    let expected = unit_checksum(crc32c(body), record.id, record.stamp, 0);
    let whole = version == [VERSION] && len as u64 == size;
    (whole && u32::from_le_bytes(*check) == expected).then(|| value.slice(..len))
}
