//! What is kept to be fast: in memory, where dropping all of it changes nothing but speed, and on the
//! disk, as long as there is room.

mod buffers;
mod evictor;
mod heat;
mod tier;

pub(crate) use buffers::{Buffer, Buffers};
pub(crate) use evictor::run as run_evictor;
pub(crate) use heat::Heat;
pub(crate) use tier::{Hot, Lookup, Tier};
