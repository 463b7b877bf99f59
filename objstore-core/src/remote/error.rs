use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Why a call of a [`RemoteStore`](super::RemoteStore) did not succeed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct RemoteError {
    kind: RemoteErrorKind,
    message: String,
    retry_after: Option<Duration>,
    size: Option<u64>,
    after_unknown: bool,
    #[source]
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// What a caller should make of a [`RemoteError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RemoteErrorKind {
    /// The object is not there, for certain. (A bucket that is not there is
    /// [`Forbidden`](Self::Forbidden).)
    NotFound,
    /// The condition does not hold (412), or another change won while an upload was completed
    /// (409), which is spent then. Nothing was changed.
    PreconditionFailed,
    /// No byte of the range exists; [`RemoteError::size`] may have the size.
    RangeNotSatisfiable,
    /// The store does not let us (401, 403), or there is no such bucket. Says nothing about the
    /// object.
    Forbidden,
    /// The store will not do this, however often it is asked (other 4xx, an upload it does not
    /// know).
    Refused,
    /// The store cannot do this at all (501, or a condition it does not know).
    Unsupported,
    /// The store is busy (429, 503 SlowDown), or with another change of this object (409). Nothing
    /// was changed.
    Throttled,
    /// No answer, a broken one, or one of 5xx. A change may have been made.
    Unavailable,
}

impl RemoteErrorKind {
    /// Whether the same call may succeed later.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(self, Self::Throttled | Self::Unavailable)
    }

    /// Whether a change that failed so may have been made all the same.
    #[must_use]
    pub const fn is_outcome_unknown(self) -> bool {
        matches!(self, Self::Unavailable)
    }

    /// In kebab case.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::PreconditionFailed => "precondition-failed",
            Self::RangeNotSatisfiable => "range-not-satisfiable",
            Self::Forbidden => "forbidden",
            Self::Refused => "refused",
            Self::Unsupported => "unsupported",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
        }
    }
}

impl fmt::Display for RemoteErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl RemoteError {
    /// An error of this kind; the message is one line and holds no secret.
    pub fn new(kind: RemoteErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            retry_after: None,
            size: None,
            after_unknown: false,
            source: None,
        }
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

    /// With the time after which the store wants to be asked again.
    #[must_use]
    pub fn with_retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay.min(super::store::RETRY_AFTER_MAX));
        self
    }

    /// With the size of the object that the range missed.
    #[must_use]
    pub fn with_size(mut self, size: u64) -> Self {
        self.size = Some(size);
        self
    }

    /// Said of a call that had been tried before, with an outcome that nobody knows.
    pub(crate) fn after_unknown(mut self, unknown: bool) -> Self {
        self.after_unknown |= unknown;
        self
    }

    /// Whether a change that failed so, however often it was tried, may have been made all the
    /// same.
    pub(crate) const fn may_be_made(&self) -> bool {
        self.after_unknown || self.kind.is_outcome_unknown()
    }

    /// What to make of it.
    #[must_use]
    pub const fn kind(&self) -> RemoteErrorKind {
        self.kind
    }

    /// The time after which the store wants to be asked again, if it said.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The object's size, with [`RemoteErrorKind::RangeNotSatisfiable`], if the store said.
    #[must_use]
    pub const fn size(&self) -> Option<u64> {
        self.size
    }
}
