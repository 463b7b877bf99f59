//! What is kept in memory to be fast. Dropping all of it changes nothing but speed.

mod buffers;
mod tier;

pub(crate) use buffers::{Buffer, Buffers};
pub(crate) use tier::{Hot, Lookup, Tier};
