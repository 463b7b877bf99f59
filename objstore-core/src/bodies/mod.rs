//! Bodies: small ones as values in the journal, large ones in files, both in checksummed units.

mod files;
mod inline;
mod layout;
mod partial;
mod reader;
mod staging;
mod units;

pub(crate) use files::{FileBody, FileStore, Outcome};
pub(crate) use inline::{seal_inline, verify_inline};
pub(crate) use layout::{Layout, path as file_path};
pub(crate) use partial::PartialFile;
pub(crate) use reader::{FileReader, ReadError};
pub(crate) use staging::{Received, ReceivedBody, Receiver};
pub(crate) use units::{UNIT, crc32c, unit_checksum};
