/// RFC 3720 §12.1.
pub(crate) use crc32c::crc32c;
use crc32c::crc32c_append;
use objstore_client::types::ObjectId;

use crate::journal::Stamp;

/// Bytes of a unit, the piece of a body that is checked and kept in memory as a whole. The last of
/// a body may be shorter.
pub(crate) const UNIT: usize = 64 * 1024;

/// The checksum of a unit: over its bytes, then whose they are and where, so that neither a
/// flipped bit nor a unit of another object, version or place passes. The bytes come first because
/// the stamp is only known once they have all arrived.
pub(crate) fn unit_checksum(bytes_crc: u32, id: ObjectId, stamp: Stamp, unit: u64) -> u32 {
    let mut place = [0u8; 16 + Stamp::LEN + 8];
    let parts = id.to_bytes().into_iter().chain(stamp.to_bytes()).chain(unit.to_le_bytes());
    for (to, from) in place.iter_mut().zip(parts) {
        *to = from;
    }
    crc32c_append(bytes_crc, &place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_is_crc32c_and_can_be_continued() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c_append(crc32c(b"1234"), b"56789"), 0xe306_9283);
    }
}
