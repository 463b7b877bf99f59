use std::ops::Range;
use std::sync::Arc;

use crate::body::Body;
use crate::types::ObjectMeta;

/// An object that was got: its metadata, which of its bytes these are, and the bytes.
#[derive(Debug)]
#[non_exhaustive]
pub struct Object {
    /// The version that the bytes are of.
    pub meta: Arc<ObjectMeta>,
    /// The positions of the bytes in the whole body, end exclusive.
    pub range: Range<u64>,
    /// The bytes. Always of one version, whatever is put or deleted meanwhile.
    pub body: Body,
}

impl Object {
    /// An object of this version with these of its bytes, of which `body` has as many as `range`
    /// is long.
    #[must_use]
    pub fn new(meta: Arc<ObjectMeta>, range: Range<u64>, body: Body) -> Self {
        Self { meta, range, body }
    }
}
