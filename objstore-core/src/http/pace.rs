use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Watches that bytes keep moving: at least so many within each span of waiting. Costs nothing
/// while nobody waits.
#[derive(Debug)]
pub(super) struct Pace {
    within: Duration,
    at_least: u64,
    moved: u64,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Pace {
    pub(super) fn new(within_ms: u64, at_least: u64) -> Self {
        Self { within: Duration::from_millis(within_ms), at_least, moved: 0, timer: None }
    }

    /// Bytes moved.
    pub(super) fn moved(&mut self, bytes: usize) {
        self.moved += bytes as u64;
        if self.moved >= self.at_least {
            self.reset();
        }
    }

    /// The transfer ended, or has not begun.
    pub(super) fn reset(&mut self) {
        self.moved = 0;
        self.timer = None;
    }

    /// Nothing moves right now: ready when that has been so for too long.
    pub(super) fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let within = self.within;
        let timer =
            self.timer.get_or_insert_with(|| Box::pin(sleep_until(Instant::now() + within)));
        timer.as_mut().poll(cx)
    }
}
