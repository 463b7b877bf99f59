//! The bucket behind a node.
//!
//! [`RemoteStore`] is what a node wants of it. In this release a node still writes levels 1 and 2
//! to a directory of its own.

mod dir;
mod error;
#[cfg(feature = "s3")]
mod s3;
mod store;

pub(crate) use dir::DirRemote;
pub use error::{RemoteError, RemoteErrorKind};
#[cfg(feature = "s3")]
pub use s3::{S3Checksums, S3Remote, S3Settings};
pub use store::{
    METADATA_MAX, PART_MAX, PART_MIN, PARTS_MAX, RemoteAttributes, RemoteCondition, RemoteEntry,
    RemoteFuture, RemoteGet, RemoteHead, RemoteList, RemoteObject, RemotePage, RemotePart,
    RemoteStore, RemoteUpload,
};
