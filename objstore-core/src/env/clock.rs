use std::fmt::Debug;
use std::time::{Instant, SystemTime};

/// Tells the time. Neither call blocks.
pub trait Clock: Send + Sync + Debug {
    /// Nanoseconds since the Unix epoch; may jump either way.
    fn wall_nanos(&self) -> u64;
    /// A time that never goes back, to measure durations with.
    fn monotonic(&self) -> Instant;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // this is the replacement
    fn wall_nanos(&self) -> u64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.map_or(0, |d| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX))
    }

    #[allow(clippy::disallowed_methods)] // this is the replacement
    fn monotonic(&self) -> Instant {
        Instant::now()
    }
}
