//! What a caller may ask beyond the object's id: ranges, conditions, metadata.

use std::str::FromStr;
use std::sync::Arc;
use std::time::SystemTime;

use crate::error::{Error, ErrorKind};
use crate::types::{ETag, Level, ObjectId, ObjectMeta, ObjectName, UserMeta};

/// How to put. `PutOptions::default()` is a level 0 object without a name.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct PutOptions {
    /// The file name; decides the content type.
    pub name: ObjectName,
    /// How far the body has to be kept before the put is acknowledged. An overwrite keeps the
    /// higher of the old and the new level.
    pub level: Level,
    /// What to keep beside the body.
    pub user_meta: UserMeta,
    /// The content type, kept when the name has no extension that says it.
    pub content_type: Option<String>,
    /// The content encoding, kept and handed out as it is; the body is never decoded.
    pub content_encoding: Option<String>,
    /// What must hold for the current version at the moment the change is committed.
    pub conditions: Conditions,
    /// Digests the body must have, else nothing is stored.
    pub digests: Vec<ExpectedDigest>,
    /// When a put of level 1 or 2 is acknowledged.
    pub write: WriteMode,
    /// At level 2, how many nodes must have a synced copy, this one included, when the put is
    /// acknowledged; none for those that are quick.
    pub min_replicas: Option<u32>,
}

/// When a change that the remote is to have is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WriteMode {
    /// As the node is set.
    #[default]
    Default,
    /// Once the remote has confirmed it; when it does not, nothing is changed.
    Through,
    /// Once it is durable on the node, which then sees to it that the remote gets it.
    Back,
}

/// `through` or `back`.
impl FromStr for WriteMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "through" => Ok(Self::Through),
            "back" => Ok(Self::Back),
            _ => Err(Error::new(ErrorKind::InvalidRequest, "it is neither through nor back")),
        }
    }
}

impl PutOptions {
    /// Options with this file name.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidName`] as [`ObjectName::new`].
    pub fn named(name: &str) -> Result<Self, Error> {
        Ok(Self { name: ObjectName::new(name)?, ..Self::default() })
    }

    /// With this level.
    #[must_use]
    pub fn level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// Acknowledged then.
    #[must_use]
    pub fn write(mut self, write: WriteMode) -> Self {
        self.write = write;
        self
    }

    /// With this user metadata.
    #[must_use]
    pub fn user_meta(mut self, user_meta: UserMeta) -> Self {
        self.user_meta = user_meta;
        self
    }

    /// Under these conditions.
    #[must_use]
    pub fn conditions(mut self, conditions: Conditions) -> Self {
        self.conditions = conditions;
        self
    }

    /// With this `Content-Type`.
    #[must_use]
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }

    /// With this `Content-Encoding`.
    #[must_use]
    pub fn content_encoding(mut self, content_encoding: impl Into<String>) -> Self {
        self.content_encoding = Some(content_encoding.into());
        self
    }

    /// Of a body that has this digest; one more where others were given.
    #[must_use]
    pub fn digest(mut self, digest: ExpectedDigest) -> Self {
        self.digests.push(digest);
        self
    }

    /// Acknowledged only when so many nodes have a copy.
    #[must_use]
    pub fn min_replicas(mut self, nodes: u32) -> Self {
        self.min_replicas = Some(nodes);
        self
    }
}

/// A digest that a body is said to have.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExpectedDigest {
    /// MD5 (`Content-MD5`, RFC 1864).
    Md5([u8; 16]),
    /// SHA-256 (`Repr-Digest`, RFC 9530).
    Sha256([u8; 32]),
    /// SHA-512 (`Repr-Digest`, RFC 9530).
    Sha512([u8; 64]),
}

/// How to get. `GetOptions::default()` is the whole body, unconditionally.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct GetOptions {
    /// The bytes wanted; none for all.
    pub range: Option<ByteRange>,
    /// What must hold for the version read.
    pub conditions: Conditions,
    /// Look in the remote for an object of which nothing is known here.
    pub fetch: bool,
    /// Ask the remote whether what is here of a key is still current.
    pub no_cache: bool,
}

impl GetOptions {
    /// Only these bytes.
    #[must_use]
    pub fn range(mut self, range: impl Into<ByteRange>) -> Self {
        self.range = Some(range.into());
        self
    }

    /// Also from the remote.
    #[must_use]
    pub fn fetch(mut self) -> Self {
        self.fetch = true;
        self
    }

    /// Of a key only what the remote says is current.
    #[must_use]
    pub fn no_cache(mut self) -> Self {
        self.no_cache = true;
        self
    }

    /// Under these conditions.
    #[must_use]
    pub fn conditions(mut self, conditions: Conditions) -> Self {
        self.conditions = conditions;
        self
    }
}

/// How to delete.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct DeleteOptions {
    /// What must hold for the current version at the moment the delete is committed.
    pub conditions: Conditions,
    /// Remove it from the remote too.
    pub purge: bool,
}

impl DeleteOptions {
    /// From the remote too.
    #[must_use]
    pub fn purge(mut self) -> Self {
        self.purge = true;
        self
    }

    /// Under these conditions.
    #[must_use]
    pub fn conditions(mut self, conditions: Conditions) -> Self {
        self.conditions = conditions;
        self
    }
}

/// How to copy what the bucket has under a key to another.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CopyOptions {
    /// What must hold for the object that is replaced, at the moment it is.
    pub conditions: Conditions,
}

impl CopyOptions {
    /// Under these conditions.
    #[must_use]
    pub fn conditions(mut self, conditions: Conditions) -> Self {
        self.conditions = conditions;
        self
    }
}

/// Which keys of the bucket to list: in order of their bytes, one page.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KeyListOptions {
    /// Only keys that begin so.
    pub prefix: String,
    /// Keys that have this behind the prefix are rolled up to it.
    pub delimiter: Option<String>,
    /// Only keys above this one; from [`KeyPage::next`](crate::types::KeyPage::next).
    pub after: Option<String>,
    /// The most keys and prefixes to return, 1 to [`Self::MAX_LIMIT`]; more is taken as that.
    pub limit: usize,
}

impl KeyListOptions {
    /// The most keys and prefixes of one page.
    pub const MAX_LIMIT: usize = 1000;

    /// Only keys that begin so.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Keys that have this behind the prefix rolled up to it.
    #[must_use]
    pub fn delimiter(mut self, delimiter: impl Into<String>) -> Self {
        self.delimiter = Some(delimiter.into());
        self
    }

    /// The page that begins there; from [`KeyPage::next`](crate::types::KeyPage::next).
    #[must_use]
    pub fn after(mut self, after: impl Into<String>) -> Self {
        self.after = Some(after.into());
        self
    }

    /// A page of so many at most.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }
}

impl Default for KeyListOptions {
    fn default() -> Self {
        Self { prefix: String::new(), delimiter: None, after: None, limit: Self::MAX_LIMIT }
    }
}

/// Which objects to list: in order of id, one page.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ListOptions {
    /// Only ids above this one.
    pub after: Option<ObjectId>,
    /// The most objects to return, 1 to [`Self::MAX_LIMIT`]; more is taken as that.
    pub limit: usize,
    /// Deleted objects too.
    pub include_deleted: bool,
}

impl ListOptions {
    /// The most objects of one page.
    pub const MAX_LIMIT: usize = 1000;

    /// Only ids above this one: the last of the page before.
    #[must_use]
    pub fn after(mut self, after: ObjectId) -> Self {
        self.after = Some(after);
        self
    }

    /// A page of so many at most.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }

    /// Deleted objects too.
    #[must_use]
    pub fn include_deleted(mut self) -> Self {
        self.include_deleted = true;
        self
    }
}

impl Default for ListOptions {
    fn default() -> Self {
        Self { after: None, limit: Self::MAX_LIMIT, include_deleted: false }
    }
}

/// A range of bytes as it is asked for (RFC 9110 §14.1.2), before the size is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// From the first position to the last, inclusive; both may lie past the end.
    FromTo(u64, u64),
    /// From this position to the end.
    From(u64),
    /// This many bytes at the end.
    Last(u64),
}

impl ByteRange {
    /// The positions in a body of this size: start and end, exclusive. None when no byte of the
    /// range exists (RFC 9110 §14.1.2, "unsatisfiable").
    #[must_use]
    pub fn within(self, size: u64) -> Option<std::ops::Range<u64>> {
        let (start, end) = match self {
            Self::FromTo(first, last) => (first, last.saturating_add(1).min(size)),
            Self::From(first) => (first, size),
            Self::Last(count) => (size.saturating_sub(count), size),
        };
        (start < end).then_some(start..end)
    }
}

impl From<std::ops::RangeInclusive<u64>> for ByteRange {
    fn from(range: std::ops::RangeInclusive<u64>) -> Self {
        Self::FromTo(*range.start(), *range.end())
    }
}

impl From<std::ops::RangeFrom<u64>> for ByteRange {
    fn from(range: std::ops::RangeFrom<u64>) -> Self {
        Self::From(range.start)
    }
}

/// Preconditions (RFC 9110 §13.1). The default has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Conditions {
    /// The current version must be one of these.
    pub if_match: Option<ETagSet>,
    /// The current version must be none of these.
    pub if_none_match: Option<ETagSet>,
    /// The current version must be newer, to the second. Reads only.
    pub if_modified_since: Option<SystemTime>,
    /// The current version must not be newer, to the second.
    pub if_unmodified_since: Option<SystemTime>,
}

/// The version tags of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ETagSet {
    /// `*`: any version at all.
    Any,
    /// One of these. Tags that were written as weak never match strongly.
    Of(Vec<ConditionTag>),
}

/// One tag of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionTag {
    /// The tag.
    pub tag: ETag,
    /// Whether it was marked weak (`W/`).
    pub weak: bool,
}

impl ETagSet {
    /// Just this version.
    #[must_use]
    pub fn one(tag: ETag) -> Self {
        Self::Of(vec![ConditionTag { tag, weak: false }])
    }

    fn matches(&self, current: Option<&ETag>, strong: bool) -> bool {
        match (self, current) {
            (_, None) => false,
            (Self::Any, Some(_)) => true,
            (Self::Of(tags), Some(current)) => {
                tags.iter().any(|t| t.tag == *current && !(strong && t.weak))
            }
        }
    }
}

impl Conditions {
    /// The version must be this one: for an overwrite that must not lose another's change, or a
    /// range that must be of the same version as the last.
    #[must_use]
    pub fn matching(tag: ETag) -> Self {
        Self { if_match: Some(ETagSet::one(tag)), ..Self::default() }
    }

    /// There must be no object yet: create only.
    #[must_use]
    pub fn absent() -> Self {
        Self { if_none_match: Some(ETagSet::Any), ..Self::default() }
    }

    /// Whether nothing is demanded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Judges a change, in the order of RFC 9110 §13.2.2. A deleted object is no object.
    ///
    /// # Errors
    /// [`ErrorKind::PreconditionFailed`].
    pub fn check_change(&self, current: Option<&ObjectMeta>) -> Result<(), Error> {
        let current = current.filter(|meta| !meta.is_deleted);
        let tag = current.and_then(|meta| meta.etag.as_ref());
        let holds = match (&self.if_match, self.if_unmodified_since) {
            (Some(set), _) => set.matches(tag, true),
            (None, Some(since)) => current.is_none_or(|meta| seconds(meta) <= since_epoch(since)),
            (None, None) => true,
        } && !self.if_none_match.as_ref().is_some_and(|set| set.matches(tag, false));
        if holds { Ok(()) } else { Err(failed()) }
    }

    /// Judges a read, in the order of RFC 9110 §13.2.2.
    ///
    /// # Errors
    /// [`ErrorKind::PreconditionFailed`], or [`ErrorKind::NotModified`] when the asker's copy is
    /// current; both with the version.
    pub fn check_read(&self, current: &Arc<ObjectMeta>) -> Result<(), Error> {
        let tag = current.etag.as_ref();
        let holds = match (&self.if_match, self.if_unmodified_since) {
            (Some(set), _) => set.matches(tag, true),
            (None, Some(since)) => seconds(current) <= since_epoch(since),
            (None, None) => true,
        };
        if !holds {
            return Err(failed().with_meta(Arc::clone(current)));
        }
        let fresh = match (&self.if_none_match, self.if_modified_since) {
            (Some(set), _) => set.matches(tag, false),
            (None, Some(since)) => seconds(current) <= since_epoch(since),
            (None, None) => false,
        };
        if fresh { Err(not_modified().with_meta(Arc::clone(current))) } else { Ok(()) }
    }
}

pub(crate) fn not_modified() -> Error {
    Error::new(ErrorKind::NotModified, "the version asked about is still current")
}

fn failed() -> Error {
    Error::new(
        ErrorKind::PreconditionFailed,
        "the current version does not meet the condition; read it again, then decide",
    )
}

fn seconds(meta: &ObjectMeta) -> u64 {
    meta.timestamp / 1_000_000_000
}

fn since_epoch(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_clamped_or_refused() {
        assert_eq!(ByteRange::FromTo(3, 7).within(9), Some(3..8));
        assert_eq!(ByteRange::FromTo(3, u64::MAX).within(9), Some(3..9));
        assert_eq!(ByteRange::From(9).within(9), None);
        assert_eq!(ByteRange::Last(0).within(9), None);
        assert_eq!(ByteRange::Last(100).within(9), Some(0..9));
        assert_eq!(ByteRange::From(0).within(0), None);
        assert_eq!(ByteRange::Last(1).within(0), None);
    }
}
