//! Records on the wire: a version, then each record's length and the bytes that it is stored as.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use objstore_client::{Error, ErrorKind};

use crate::journal::{Record, decode_foreign};

/// The version of frames that this program writes; those of a greater one it does not read.
pub(crate) const VERSION: u8 = 1;
/// A frame is full at this many bytes or records.
pub(crate) const FRAME_BYTES: usize = 512 * 1024;
pub(crate) const FRAME_RECORDS: usize = 4096;

/// Records on their way out.
#[derive(Debug)]
pub(crate) struct Frame {
    bytes: BytesMut,
    records: usize,
}

impl Frame {
    pub(crate) fn new() -> Self {
        let mut bytes = BytesMut::new();
        bytes.put_u8(VERSION);
        Self { bytes, records: 0 }
    }

    pub(crate) fn push(&mut self, record: &[u8]) {
        self.bytes.put_u32_le(u32::try_from(record.len()).unwrap_or(u32::MAX));
        self.bytes.put_slice(record);
        self.records += 1;
    }

    /// Whether no more should be added.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes.len() >= FRAME_BYTES || self.records >= FRAME_RECORDS
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records == 0
    }

    pub(crate) fn finish(self) -> Bytes {
        self.bytes.freeze()
    }
}

/// The records of a frame, each as it decodes.
///
/// # Errors
/// When it is no frame.
pub(crate) fn read(mut frame: Bytes) -> Result<Vec<Result<Record, Error>>, Error> {
    if frame.try_get_u8().ok() != Some(VERSION) {
        return Err(not_a_frame("this node reads frames of version 1"));
    }
    let mut records = Vec::new();
    while frame.has_remaining() {
        let len = frame.try_get_u32_le().map_err(|_| not_a_frame("a frame ends too early"))?;
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if len > frame.remaining() || records.len() >= 2 * FRAME_RECORDS {
            return Err(not_a_frame("a frame ends too early, or has too many records"));
        }
        let record = frame.split_to(len);
        records.push(decode_foreign(&record).map_err(|e| {
            Error::new(ErrorKind::InvalidRequest, "this is no record as nodes send them")
                .with_source(e)
        }));
    }
    Ok(records)
}

fn not_a_frame(why: &'static str) -> Error {
    Error::new(ErrorKind::InvalidRequest, why)
}
