use std::collections::BTreeMap;
use std::fmt::Debug;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use objstore_client::Body;

use super::error::RemoteError;

/// What every call of a [`RemoteStore`] returns.
pub type RemoteFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, RemoteError>> + Send + 'a>>;

/// The bucket behind a cluster: objects by key, each with attributes and an entity tag that is new
/// for each content.
///
/// A store retries nothing by itself and keeps nothing in memory beyond the call; deadlines,
/// retries and resumption are the caller's. Dropping a future cancels the call; a change that was
/// under way may then have been made or not. All bodies a store is given are in memory, at most
/// [`PART_MAX`] bytes each, so that sending one again needs no more than the same bytes.
///
/// Every implementation passes one conformance suite.
pub trait RemoteStore: Send + Sync + Debug {
    /// What names this place, the same for every node that uses it and no other: kind, endpoint,
    /// bucket and prefix. Holds no secret.
    fn identity(&self) -> String;

    /// Whether a copy here survives the loss of this node's disks.
    fn is_elsewhere(&self) -> bool;

    /// Reads an object, or a range of it. The body's length is the range's; a body that ends
    /// before is an error of the stream, never a clean end.
    fn get<'a>(&'a self, key: &'a str, get: RemoteGet) -> RemoteFuture<'a, RemoteObject>;

    /// What is known about an object.
    fn head<'a>(&'a self, key: &'a str) -> RemoteFuture<'a, RemoteHead>;

    /// Stores an object whole, and returns its tag.
    fn put<'a>(
        &'a self,
        key: &'a str,
        body: Bytes,
        attributes: &'a RemoteAttributes,
        condition: RemoteCondition,
    ) -> RemoteFuture<'a, String>;

    /// Begins an object that comes in parts, and returns the upload's id. Nothing is visible
    /// before [`complete`](Self::complete).
    fn begin<'a>(
        &'a self,
        key: &'a str,
        attributes: &'a RemoteAttributes,
    ) -> RemoteFuture<'a, String>;

    /// Stores one part, numbered from 1, and returns its tag. All parts but the last have the same
    /// length, at least [`PART_MIN`]; a part given twice replaces the first.
    fn put_part<'a>(
        &'a self,
        key: &'a str,
        upload: &'a str,
        number: u32,
        body: Bytes,
    ) -> RemoteFuture<'a, String>;

    /// Makes the object of all parts, in order of their numbers, and returns its tag.
    fn complete<'a>(
        &'a self,
        key: &'a str,
        upload: &'a str,
        parts: &'a [RemotePart],
        condition: RemoteCondition,
    ) -> RemoteFuture<'a, String>;

    /// Gives an upload up and the space of its parts back. One that is not there is not an error.
    fn abort<'a>(&'a self, key: &'a str, upload: &'a str) -> RemoteFuture<'a, ()>;

    /// The uploads that were begun and neither completed nor given up, of keys with this prefix;
    /// at most 1,000 of them.
    fn uploads<'a>(&'a self, prefix: &'a str) -> RemoteFuture<'a, Vec<RemoteUpload>>;

    /// Removes an object. One that is not there is not an error.
    fn delete<'a>(&'a self, key: &'a str, condition: RemoteCondition) -> RemoteFuture<'a, ()>;

    /// Copies an object with its attributes, or with others where some are given, and returns the
    /// copy's tag. `condition` is about the target.
    fn copy<'a>(
        &'a self,
        from: &'a str,
        to: &'a str,
        attributes: Option<&'a RemoteAttributes>,
        condition: RemoteCondition,
    ) -> RemoteFuture<'a, String>;

    /// One page of keys in order of their UTF-8 bytes.
    fn list(&self, list: RemoteList) -> RemoteFuture<'_, RemotePage>;
}

/// The least bytes of a part that is not the last: 5 MiB, as
/// [S3 has it](https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html).
pub const PART_MIN: u64 = 5 * 1024 * 1024;
/// The most bytes handed to a store in one call, 64 MiB.
pub const PART_MAX: u64 = 64 * 1024 * 1024;
/// The most parts of an object.
pub const PARTS_MAX: u32 = 10_000;

/// Which bytes are wanted, and of which version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoteGet {
    /// None for all. What reaches beyond the end is cut; a range that begins there or behind is
    /// [`RangeNotSatisfiable`](super::RemoteErrorKind::RangeNotSatisfiable).
    pub range: Option<Range<u64>>,
    /// Only this version; of another the answer is
    /// [`PreconditionFailed`](super::RemoteErrorKind::PreconditionFailed).
    pub if_match: Option<String>,
}

impl RemoteGet {
    /// A range of one version.
    #[must_use]
    pub fn range_of(range: Range<u64>, etag: impl Into<String>) -> Self {
        Self { range: Some(range), if_match: Some(etag.into()) }
    }

    /// A range of whatever version is current.
    #[must_use]
    pub fn range(range: Range<u64>) -> Self {
        Self { range: Some(range), if_match: None }
    }
}

/// What a change demands of the object that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RemoteCondition {
    /// Nothing.
    #[default]
    None,
    /// There is none.
    Absent,
    /// It has this tag.
    Match(String),
}

/// An object on its way in.
#[derive(Debug)]
#[non_exhaustive]
pub struct RemoteObject {
    /// Of the whole object.
    pub head: RemoteHead,
    /// Which bytes of it follow, end exclusive.
    pub range: Range<u64>,
    /// The bytes.
    pub body: Body,
}

impl RemoteObject {
    /// An answer to a get.
    #[must_use]
    pub fn new(head: RemoteHead, range: Range<u64>, body: Body) -> Self {
        Self { head, range, body }
    }
}

/// What is known about a version of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoteHead {
    /// Bytes of the whole object.
    pub size: u64,
    /// Its tag, without quotes.
    pub etag: String,
    /// When it was stored, in nanoseconds since the Unix epoch; by the store's clock, which must
    /// not be compared with ours.
    pub modified: u64,
    /// What is kept beside it.
    pub attributes: RemoteAttributes,
}

/// What is kept beside an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoteAttributes {
    /// The media type.
    pub content_type: Option<String>,
    /// The coding of the body, which is never undone.
    pub content_encoding: Option<String>,
    /// User metadata: names are lower-case tokens, values printable ASCII; together at most
    /// [`METADATA_MAX`] bytes.
    pub metadata: BTreeMap<String, String>,
}

/// Bytes of all names and values of [`RemoteAttributes::metadata`]: 2 KiB, as
/// [S3 has it](https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html).
pub const METADATA_MAX: usize = 2048;

/// A stored part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemotePart {
    /// From 1.
    pub number: u32,
    /// What [`RemoteStore::put_part`] returned.
    pub etag: String,
}

/// An upload under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteUpload {
    /// The object's key.
    pub key: String,
    /// What [`RemoteStore::begin`] returned.
    pub upload: String,
}

/// Which keys are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoteList {
    /// Only keys that begin so.
    pub prefix: String,
    /// Keys that have this behind the prefix are rolled up to it, in [`RemotePage::prefixes`].
    pub delimiter: Option<String>,
    /// Only keys above this one.
    pub after: Option<String>,
    /// Keys and prefixes together, 1 to 1,000; 0 for 1,000.
    pub limit: usize,
}

/// One page of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemotePage {
    /// In order of key.
    pub entries: Vec<RemoteEntry>,
    /// Rolled-up prefixes, in order.
    pub prefixes: Vec<String>,
    /// Where the next page begins, as [`RemoteList::after`]; none at the end.
    pub next: Option<String>,
}

/// A key of a list. Attributes need a [`RemoteStore::head`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteEntry {
    /// The key.
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// The tag, without quotes.
    pub etag: String,
    /// As [`RemoteHead::modified`].
    pub modified: u64,
}

/// The longest a caller is asked to wait between tries.
pub(crate) const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);
