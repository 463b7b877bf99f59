use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Counts the steps that change what is stored, over all parts that share it, and stops the world
/// before a chosen one: from there on every step fails, as after a crash.
///
/// The default does not count, and parts that hold it keep no durable image.
#[derive(Clone, Debug, Default)]
pub struct Steps(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    taken: AtomicU64,
    stop_before: AtomicU64,
    keep_unsynced: bool,
    stopped: AtomicBool,
}

impl Steps {
    /// Counts, and fails step number `stop_before` (the first is 0) and all after it.
    /// `keep_unsynced` says what a power cut does to what was written and not synced.
    #[must_use]
    pub fn stop_before(stop_before: u64, keep_unsynced: bool) -> Self {
        Self(Some(Arc::new(Inner {
            taken: AtomicU64::new(0),
            stop_before: AtomicU64::new(stop_before),
            keep_unsynced,
            stopped: AtomicBool::new(false),
        })))
    }

    /// Counts and never stops.
    #[must_use]
    pub fn count() -> Self {
        Self::stop_before(u64::MAX, false)
    }

    /// The steps taken so far.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.0.as_ref().map_or(0, |inner| inner.taken.load(Ordering::SeqCst))
    }

    /// Whether the world has stopped.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.stopped.load(Ordering::SeqCst))
    }

    /// Stops the world now. Parts that do not count go on.
    pub fn stop(&self) {
        if let Some(inner) = &self.0 {
            inner.stopped.store(true, Ordering::SeqCst);
        }
    }

    /// From now on no step stops the world, unless it has stopped already.
    pub fn stop_no_more(&self) {
        if let Some(inner) = &self.0 {
            inner.stop_before.store(u64::MAX, Ordering::SeqCst);
        }
    }

    pub(crate) fn counts(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn keeps_unsynced(&self) -> bool {
        self.0.as_ref().is_some_and(|inner| inner.keep_unsynced)
    }

    pub(crate) fn take(&self, what: &str) -> io::Result<()> {
        let Some(inner) = &self.0 else { return Ok(()) };
        let taken = inner.taken.fetch_add(1, Ordering::SeqCst);
        if taken >= inner.stop_before.load(Ordering::SeqCst) || inner.stopped.load(Ordering::SeqCst)
        {
            inner.stopped.store(true, Ordering::SeqCst);
            return Err(io::Error::other(format!("the world stopped before this {what}")));
        }
        Ok(())
    }
}
