//! The bucket behind a node.
//!
//! [`RemoteStore`] is what a node wants of it. There is one in memory, [`MemoryRemote`], one in a
//! directory, [`DirStore`], and with the feature `s3` one that speaks to S3, `S3Remote`. In this
//! release a node still writes levels 1 and 2 to a directory of its own.

#[allow(dead_code)] // until uploads and fills use it
pub(crate) mod codec;
mod dir;
mod dir_file;
mod dir_names;
mod dir_place;
mod error;
mod memory;
mod own_dir;
mod rules;
#[cfg(feature = "s3")]
mod s3;
mod store;

pub use dir::DirStore;
pub use error::{RemoteError, RemoteErrorKind};
pub use memory::MemoryRemote;
pub(crate) use own_dir::DirRemote;
#[cfg(feature = "s3")]
pub use s3::{S3Checksums, S3Conditions, S3Remote, S3Settings};
pub use store::{
    METADATA_MAX, PART_MAX, PART_MIN, PARTS_MAX, RemoteAttributes, RemoteCondition, RemoteEntry,
    RemoteFuture, RemoteGet, RemoteHead, RemoteList, RemoteObject, RemotePage, RemotePart,
    RemoteStore, RemoteUpload,
};
