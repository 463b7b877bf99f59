use std::future::Future;
use std::time::Duration;

use super::error::{RemoteError, RemoteErrorKind};
use crate::env::Entropy;

/// How calls to a remote are tried again: each with a deadline, with "full jitter" in between
/// (<https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/>).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retry {
    /// Calls in all.
    pub(crate) tries: u32,
    /// The time that one call may take until it answers; a body that follows has its own.
    pub(crate) deadline: Duration,
    /// The longest pause before the second call; doubled for each after that.
    pub(crate) pause: Duration,
    pub(crate) longest_pause: Duration,
}

impl Retry {
    /// For somebody who waits.
    pub(crate) const DEMAND: Self = Self {
        tries: 4,
        deadline: Duration::from_secs(10),
        pause: Duration::from_millis(100),
        longest_pause: Duration::from_secs(2),
    };

    /// For somebody who waits and has something to go on with.
    pub(crate) const REVALIDATE: Self =
        Self { tries: 1, deadline: Duration::from_secs(2), ..Self::DEMAND };

    /// One call only.
    pub(crate) const ONCE: Self = Self { tries: 1, ..Self::DEMAND };

    /// The same with the time that so many bytes may take besides, at 64 KiB/s.
    pub(crate) fn for_bytes(mut self, bytes: u64) -> Self {
        self.deadline += Duration::from_secs(bytes / (64 * 1024));
        self
    }

    /// Calls until it succeeds, fails for good, or was tried often enough.
    pub(crate) async fn call<T, F>(
        &self,
        entropy: &dyn Entropy,
        mut call: impl FnMut() -> F,
    ) -> Result<T, RemoteError>
    where
        F: Future<Output = Result<T, RemoteError>>,
    {
        let (mut tried, mut unknown) = (0, false);
        loop {
            let answer = tokio::time::timeout(self.deadline, call()).await;
            let error = match answer {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => error,
                Err(_) => RemoteError::new(
                    RemoteErrorKind::Unavailable,
                    format!("the remote did not answer within {} s", self.deadline.as_secs()),
                ),
            };
            let error = error.after_unknown(unknown);
            unknown = error.may_be_made();
            tried += 1;
            if tried >= self.tries || !error.kind().is_retryable() {
                return Err(error);
            }
            tokio::time::sleep(self.pause_after(tried, &error, entropy)).await;
        }
    }

    /// The pause after so many failed calls.
    pub(crate) fn pause_after(
        &self,
        failed: u32,
        error: &RemoteError,
        entropy: &dyn Entropy,
    ) -> Duration {
        let doubled = self.pause.saturating_mul(1 << failed.saturating_sub(1).min(16));
        let longest = doubled.min(self.longest_pause);
        let nanos = u128::from(u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX)).max(1);
        // The remainder is below a u64.
        let jittered = Duration::from_nanos(u64::try_from(entropy.random() % nanos).unwrap_or(0));
        jittered.max(error.retry_after().unwrap_or_default())
    }
}
