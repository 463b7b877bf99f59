use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Watches that bytes keep moving: at least so many within each span of waiting. Only time in which
/// somebody waits for the other side counts, and nothing is spent while nobody does.
#[derive(Debug)]
pub(super) struct Pace {
    within: Duration,
    at_least: u64,
    moved: u64,
    /// Time waited since so much had moved.
    waited: Duration,
    waiting: Option<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    since: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Pace {
    pub(super) fn new(within_ms: u64, at_least: u64) -> Self {
        let within = Duration::from_millis(within_ms);
        Self { within, at_least, moved: 0, waited: Duration::ZERO, waiting: None }
    }

    /// Bytes moved.
    pub(super) fn moved(&mut self, bytes: usize) {
        if let Some(waiting) = self.waiting.take() {
            self.waited += waiting.since.elapsed();
        }
        self.moved += bytes as u64;
        if self.moved >= self.at_least {
            self.reset();
        }
    }

    /// The transfer ended, or has not begun.
    pub(super) fn reset(&mut self) {
        self.moved = 0;
        self.waited = Duration::ZERO;
        self.waiting = None;
    }

    /// Nothing moves right now: ready when that has been so for too long.
    pub(super) fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let left = self.within.saturating_sub(self.waited);
        let waiting = self.waiting.get_or_insert_with(|| {
            let since = Instant::now();
            Waiting { since, timer: Box::pin(sleep_until(since + left)) }
        });
        waiting.timer.as_mut().poll(cx)
    }
}
