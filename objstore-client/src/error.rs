use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::types::ObjectMeta;

/// Why something did not succeed.
///
/// The [kind](Self::kind) says what a program should do, the text says in one line what a person
/// should do, and [`source`](std::error::Error::source) keeps what was met below. Neither text nor
/// kind carries paths or text of a backend; those are in the source only.
#[derive(Clone, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: Cow<'static, str>,
    retry_after: Option<Duration>,
    meta: Option<Arc<ObjectMeta>>,
    size: Option<u64>,
    #[source]
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// What a program should make of an [`Error`]. Each has the HTTP status and the code (the `error`
/// of the JSON body) that it becomes on the wire; both never change their meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// 304: the condition says that the asker's copy is current.
    NotModified,
    /// 400: the request contradicts itself or the protocol. Fix it.
    InvalidRequest,
    /// 400: not a ULID of the years 2010 to 2100.
    InvalidId,
    /// 400: not a key of a bucket: empty, over 1,024 bytes, or with a NUL or dot segments.
    InvalidKey,
    /// 400: the name is too long, not UTF-8, or has control characters.
    InvalidName,
    /// 400: a level other than 0, 1, 2.
    InvalidLevel,
    /// 400: user metadata that is not a JSON object of strings, or too long for its level.
    InvalidUserMeta,
    /// 400: the body ended before its declared length. Nothing was stored.
    IncompleteBody,
    /// 400: the body has another digest than the request said. Nothing was stored.
    DigestMismatch,
    /// 401: the node asks for a token, and there is none or one that is not valid.
    Unauthorized,
    /// 403: the token may not do this, the key of the bucket is not for everyone, or the host or
    /// origin named in the request is not one this node answers to.
    Forbidden,
    /// 404: no object has this id.
    NotFound,
    /// 404: the object has been deleted; [`Error::meta`] has its tombstone.
    Deleted,
    /// 404: the object is known, and its body is nowhere any more.
    BodyLost,
    /// 404: there is no such route.
    NoSuchRoute,
    /// 405: the route does not take this method.
    MethodNotAllowed,
    /// 408: the body stalled. Nothing was stored.
    Timeout,
    /// 412: a condition of the request does not hold. Nothing was changed.
    PreconditionFailed,
    /// 413: the body is longer than this node takes.
    TooLarge,
    /// 414: the request target is longer than 8 KiB.
    TargetTooLong,
    /// 416: no byte of the range exists; [`Error::size`] has the object's size.
    RangeNotSatisfiable,
    /// 417: an expectation other than `100-continue`.
    ExpectationFailed,
    /// 431: more than 100 fields or 32 KiB of head.
    HeadTooLarge,
    /// 500: a fault of this program. Please report it.
    Internal,
    /// 501: this is not built in, or not configured.
    NotImplemented,
    /// 502: the body here is damaged and no other copy was found. Other objects are unaffected.
    Corrupt,
    /// 502: the bucket refuses this, and will again; [`Error`]'s source and the node's log say why.
    RemoteRefused,
    /// 503: as much is going on as this node takes. Retry later.
    Busy,
    /// 503: the node is stopping or has stopped. Ask another.
    Stopping,
    /// 503: the journal or the remote does not work at the moment. Whether the change was made is
    /// unknown; sending the same again is safe.
    Unavailable,
    /// 503: the object is stored, and by then on fewer nodes than the request asked for; the others get
    /// it in the background. Sending it again changes nothing about that.
    TooFewReplicas,
    /// 503: the clock of this node is more than 5 minutes ahead of those of the other nodes, which
    /// would not take what it stamps. Set it right, or ask another node.
    ClockSkew,
    /// 507: the disk or the quota is full. Nothing was acknowledged, though a change whose sync met
    /// the full disk may turn out to have been made; reads and deletes go on.
    StorageFull,
    /// Not from a node: the connection could not be made, broke, or did not speak the protocol.
    Transport,
    /// Not from a node: a directory, file or setting given to this program does not work.
    Configuration,
}

impl ErrorKind {
    /// Every kind there is.
    pub const ALL: &'static [Self] = &[
        Self::NotModified,
        Self::InvalidRequest,
        Self::InvalidId,
        Self::InvalidKey,
        Self::InvalidName,
        Self::InvalidLevel,
        Self::InvalidUserMeta,
        Self::IncompleteBody,
        Self::DigestMismatch,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::Deleted,
        Self::BodyLost,
        Self::NoSuchRoute,
        Self::MethodNotAllowed,
        Self::Timeout,
        Self::PreconditionFailed,
        Self::TooLarge,
        Self::TargetTooLong,
        Self::RangeNotSatisfiable,
        Self::ExpectationFailed,
        Self::HeadTooLarge,
        Self::Internal,
        Self::NotImplemented,
        Self::Corrupt,
        Self::RemoteRefused,
        Self::Busy,
        Self::Stopping,
        Self::Unavailable,
        Self::TooFewReplicas,
        Self::ClockSkew,
        Self::StorageFull,
        Self::Transport,
        Self::Configuration,
    ];

    const fn on_the_wire(self) -> (u16, &'static str) {
        match self {
            Self::NotModified => (304, "not-modified"),
            Self::InvalidRequest => (400, "invalid-request"),
            Self::InvalidId => (400, "invalid-id"),
            Self::InvalidKey => (400, "invalid-key"),
            Self::InvalidName => (400, "invalid-name"),
            Self::InvalidLevel => (400, "invalid-level"),
            Self::InvalidUserMeta => (400, "invalid-user-meta"),
            Self::IncompleteBody => (400, "incomplete-body"),
            Self::DigestMismatch => (400, "digest-mismatch"),
            Self::Unauthorized => (401, "unauthorized"),
            Self::Forbidden => (403, "forbidden"),
            Self::NotFound => (404, "not-found"),
            Self::Deleted => (404, "deleted"),
            Self::BodyLost => (404, "body-lost"),
            Self::NoSuchRoute => (404, "no-such-route"),
            Self::MethodNotAllowed => (405, "method-not-allowed"),
            Self::Timeout => (408, "timeout"),
            Self::PreconditionFailed => (412, "precondition-failed"),
            Self::TooLarge => (413, "too-large"),
            Self::TargetTooLong => (414, "target-too-long"),
            Self::RangeNotSatisfiable => (416, "range-not-satisfiable"),
            Self::ExpectationFailed => (417, "expectation-failed"),
            Self::HeadTooLarge => (431, "head-too-large"),
            Self::Internal => (500, "internal"),
            Self::NotImplemented => (501, "not-implemented"),
            Self::Corrupt => (502, "corrupt"),
            Self::RemoteRefused => (502, "remote-refused"),
            Self::Busy => (503, "busy"),
            Self::Stopping => (503, "stopping"),
            Self::Unavailable => (503, "unavailable"),
            Self::TooFewReplicas => (503, "too-few-replicas"),
            Self::ClockSkew => (503, "clock-skew"),
            Self::StorageFull => (507, "storage-full"),
            Self::Transport => (599, "transport"),
            Self::Configuration => (598, "configuration"),
        }
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        self.on_the_wire().0
    }

    /// The code, in kebab case.
    #[must_use]
    pub const fn code(self) -> &'static str {
        self.on_the_wire().1
    }

    /// The kind with this code on the wire.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.code() == code)
    }

    /// Whether the same request may succeed later without anything being changed.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::Busy
                | Self::Stopping
                | Self::Unavailable
                | Self::ClockSkew
                | Self::StorageFull
                | Self::Timeout
                | Self::Transport
        )
    }
}

impl Error {
    /// An error of this kind; the message is one line that says what to do.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            message: message.into(),
            retry_after: None,
            meta: None,
            size: None,
            source: None,
        }
    }

    /// The same in other words.
    pub(crate) fn saying(mut self, message: String) -> Self {
        self.message = message.into();
        self
    }

    /// With what was met below.
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(Arc::from(source.into()));
        self
    }

    /// With the time after which a retry makes sense.
    #[must_use]
    pub fn with_retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// With the version (or tombstone) that the answer is about.
    #[must_use]
    pub fn with_meta(mut self, meta: Arc<ObjectMeta>) -> Self {
        self.meta = Some(meta);
        self
    }

    /// With the size of the object that the range missed.
    #[must_use]
    pub fn with_size(mut self, size: u64) -> Self {
        self.size = Some(size);
        self
    }

    /// What a program should make of it.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The time after which a retry makes sense, if one is known.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The version (or tombstone) that the answer is about: with [`ErrorKind::Deleted`],
    /// [`ErrorKind::NotModified`] and [`ErrorKind::PreconditionFailed`] where there is one.
    #[must_use]
    pub fn meta(&self) -> Option<&Arc<ObjectMeta>> {
        self.meta.as_ref()
    }

    /// The object's size, with [`ErrorKind::RangeNotSatisfiable`].
    #[must_use]
    pub const fn size(&self) -> Option<u64> {
        self.size
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.code(), self.message)?;
        let mut below = std::error::Error::source(self);
        while let Some(error) = below {
            write!(f, ": {error}")?;
            below = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_lead_back() {
        for kind in ErrorKind::ALL {
            assert_eq!(ErrorKind::from_code(kind.code()), Some(*kind));
        }
    }
}
