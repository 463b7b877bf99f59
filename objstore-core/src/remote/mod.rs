//! The bucket behind a node: [`RemoteStore`] is what a node wants of it; `S3Remote`,
//! [`DirStore`] and [`MemoryRemote`] are there.

pub(crate) mod codec;
mod dir;
mod dir_file;
mod dir_names;
mod dir_place;
mod error;
mod memory;
mod retry;
mod rules;
#[cfg(feature = "s3")]
mod s3;
#[cfg_attr(not(feature = "s3"), allow(dead_code))] // what only the SDK's side calls
mod s3_settings;
mod store;
mod uploads;
mod watched;

pub use dir::DirStore;
pub use error::{RemoteError, RemoteErrorKind};
pub use memory::MemoryRemote;
pub(crate) use retry::Retry;
#[cfg(feature = "s3")]
pub use s3::S3Remote;
pub use s3_settings::{S3Checksums, S3Conditions, S3Settings};
pub use store::{
    METADATA_MAX, PART_MAX, PART_MIN, PARTS_MAX, RemoteAttributes, RemoteCondition, RemoteEntry,
    RemoteFuture, RemoteGet, RemoteHead, RemoteList, RemoteObject, RemotePage, RemotePart,
    RemoteStore, RemoteUpload,
};
pub(crate) use uploads::{Doubt, Staged, Task, Uploads};
pub(crate) use watched::{Reach, Watched};
