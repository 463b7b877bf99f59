//! How units travel between nodes: each as it lies on the disk, its checksum (which covers id, stamp
//! and number of the unit besides its bytes) before it. Their lengths follow from the size of the
//! body.

use bytes::Bytes;

/// Bytes of the checksum before each unit.
const CHECK: usize = 4;

/// What goes before a unit with this checksum.
pub(crate) fn frame(check: u32) -> Bytes {
    Bytes::copy_from_slice(&check.to_le_bytes())
}

/// Takes the checksums out of a stream of frames.
#[derive(Debug, Default)]
pub(super) struct Unframer {
    check: [u8; CHECK],
    have: usize,
}

impl Unframer {
    /// The checksum of the unit that comes next, once it is here; takes its bytes off the chunk.
    pub(super) fn check(&mut self, chunk: &mut Bytes) -> Option<u32> {
        if self.have < CHECK {
            let more = chunk.split_to(chunk.len().min(CHECK - self.have));
            let rest = self.check.get_mut(self.have..).unwrap_or_default();
            for (to, from) in rest.iter_mut().zip(&more) {
                *to = *from;
            }
            self.have += more.len();
        }
        (self.have == CHECK).then(|| u32::from_le_bytes(self.check))
    }

    /// The unit is whole.
    pub(super) fn next(&mut self) {
        self.have = 0;
    }
}
