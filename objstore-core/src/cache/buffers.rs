use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::bodies::UNIT;

/// Buffers of one unit each, used again instead of being allocated and zeroed for each read.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    free: Mutex<Vec<Box<[u8]>>>,
}

/// Unused buffers that are kept; more go back to the allocator.
const KEPT: usize = 256;

/// A buffer on loan. Comes back when it, or the last [`Bytes`] made from it, is dropped.
pub(crate) struct Buffer {
    bytes: Option<Box<[u8]>>,
    len: usize,
    home: Arc<Buffers>,
}

impl Buffers {
    /// A buffer of `len` bytes, at most [`UNIT`]. What is in it is unspecified.
    pub(crate) fn take(self: &Arc<Self>, len: usize) -> Buffer {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let bytes = free.unwrap_or_else(|| vec![0; UNIT].into_boxed_slice());
        Buffer { bytes: Some(bytes), len: len.min(UNIT), home: Arc::clone(self) }
    }
}

impl Buffer {
    pub(crate) fn freeze(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref().and_then(|b| b.get(..self.len)).unwrap_or_default()
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        self.bytes.as_mut().and_then(|b| b.get_mut(..self.len)).unwrap_or_default()
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(bytes) = self.bytes.take() {
            let mut free = self.home.free.lock().unwrap_or_else(PoisonError::into_inner);
            if free.len() < KEPT {
                free.push(bytes);
            }
        }
    }
}
