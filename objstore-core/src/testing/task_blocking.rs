use std::sync::Arc;
use std::time::Duration;

use crate::env::{Blocking, Entropy, Job};

/// Does jobs as tasks of the runtime that the caller runs on, each after a while of its own, so
/// that they overtake each other: with a runtime of one thread and disks in memory, in an order that
/// depends on the entropy alone.
#[derive(Clone, Debug)]
pub struct TaskBlocking {
    entropy: Arc<dyn Entropy>,
    longest: Duration,
}

impl TaskBlocking {
    /// Jobs begin within `longest` of being started.
    pub fn new(entropy: Arc<dyn Entropy>, longest: Duration) -> Self {
        Self { entropy, longest }
    }
}

impl Blocking for TaskBlocking {
    fn start(&self, job: Job) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            // A last handle dropped outside any runtime still has to clean up.
            return job();
        };
        let longest = u64::try_from(self.longest.as_micros()).unwrap_or(u64::MAX).max(1);
        #[allow(clippy::cast_possible_truncation)] // the low bits are as random as the rest
        let wait = Duration::from_micros(self.entropy.random() as u64 % longest);
        drop(runtime.spawn(async move {
            tokio::time::sleep(wait).await;
            job();
        }));
    }
}
