use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use crate::env::Clock;

/// A clock on the time of the tokio runtime, which a test may have paused: it goes on by itself as
/// soon as nothing else is to be done. May be wrong, drift and jump.
#[derive(Debug)]
pub struct SimClock {
    start: tokio::time::Instant,
    /// What the wall shows at the start, in nanoseconds since the Unix epoch.
    epoch: u64,
    ahead: AtomicI64,
    drift: AtomicI64,
}

impl SimClock {
    /// A right clock that shows this many nanoseconds since the Unix epoch now.
    #[must_use]
    pub fn new(epoch: u64) -> Self {
        let start = tokio::time::Instant::now();
        Self { start, epoch, ahead: AtomicI64::new(0), drift: AtomicI64::new(0) }
    }

    /// A clock that is right when this one is, with errors of its own.
    #[must_use]
    pub fn another(&self) -> Self {
        let Self { start, epoch, .. } = *self;
        Self { start, epoch, ahead: AtomicI64::new(0), drift: AtomicI64::new(0) }
    }

    /// Makes the wall wrong by so many nanoseconds from now on, and by so many more with each
    /// second that passes.
    pub fn set(&self, ahead: i64, drift: i64) {
        let drifted = drift.saturating_mul(self.seconds());
        self.ahead.store(ahead.saturating_sub(drifted), Ordering::Release);
        self.drift.store(drift, Ordering::Release);
    }

    /// Nanoseconds since this clock was made.
    pub fn elapsed_nanos(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn seconds(&self) -> i64 {
        i64::try_from(self.start.elapsed().as_secs()).unwrap_or(i64::MAX)
    }
}

impl Clock for SimClock {
    fn wall_nanos(&self) -> u64 {
        let drifted = self.drift.load(Ordering::Acquire).saturating_mul(self.seconds());
        let wrong = self.ahead.load(Ordering::Acquire).saturating_add(drifted);
        self.epoch.saturating_add(self.elapsed_nanos()).saturating_add_signed(wrong)
    }

    fn monotonic(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }
}
