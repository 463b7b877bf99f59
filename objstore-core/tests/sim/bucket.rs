//! The bucket as one node has it: slow, failing, gone for a while, and out of reach without power.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use objstore_core::remote::{RemoteError, RemoteErrorKind, RemoteFuture, RemoteStore};
use objstore_core::testing::{Adapted, Around, Call, SeededEntropy, Steps, Trace};

/// How the bucket behaves towards everyone.
#[derive(Debug, Default)]
pub struct Mood {
    /// Calls that fail, in thousandths; half of them are made all the same.
    pub failing: AtomicU32,
}

#[derive(Debug)]
struct Way {
    node: usize,
    mood: Arc<Mood>,
    power: Steps,
    entropy: SeededEntropy,
    trace: Trace,
}

pub fn seen_from(
    node: usize,
    bucket: Arc<dyn RemoteStore>,
    mood: Arc<Mood>,
    power: Steps,
    seed: u64,
    trace: Trace,
) -> Arc<dyn RemoteStore> {
    let entropy = SeededEntropy::new(seed);
    Arc::new(Adapted::around(bucket, Way { node, mood, power, entropy, trace }))
}

impl Way {
    fn fails(&self, call: &Call, when: &str) -> Result<(), RemoteError> {
        if !self.entropy.chance(self.mood.failing.load(Ordering::Relaxed) / 2) {
            return Ok(());
        }
        let Call { kind, key, .. } = call;
        self.trace
            .note(format_args!("{} finds the bucket failing {when} {kind:?} {key}", self.node));
        Err(RemoteError::new(RemoteErrorKind::Unavailable, "the simulated bucket fails"))
    }
}

impl Around for Way {
    fn before<'a>(&'a self, call: &'a Call) -> RemoteFuture<'a, ()> {
        Box::pin(async move {
            let wait = 1_000 + self.entropy.below(60_000);
            tokio::time::sleep(Duration::from_micros(wait)).await;
            if self.power.stopped() {
                std::future::pending::<()>().await;
            }
            self.fails(call, "before")?;
            let Call { kind, key, bytes, .. } = call;
            self.trace.note(format_args!("{} asks the bucket {kind:?} {key} {bytes}", self.node));
            Ok(())
        })
    }

    fn after(&self, call: &Call) -> Result<(), RemoteError> {
        self.fails(call, "after")
    }
}
