use std::sync::{Arc, Mutex, PoisonError};

use objstore_client::types::ObjectId;

use crate::env::{Clock, Entropy};
use crate::node::Node;

/// Makes ids, each above all it made before: within a millisecond by counting up from a random
/// start, and when the clock steps back by staying at the latest time it has shown.
#[derive(Debug)]
pub(crate) struct IdSource {
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    last: Mutex<(u64, u128)>,
}

/// The random part of a ULID.
const RANDOM_BITS: u32 = 80;
/// The highest bit of a fresh start is left free, so that counting up has room.
const START_BITS: u32 = RANDOM_BITS - 1;

impl IdSource {
    pub(crate) fn new(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { clock, entropy, last: Mutex::new((0, 0)) }
    }

    pub(crate) fn next(&self) -> ObjectId {
        let now = self.clock.wall_nanos() / 1_000_000;
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (time, random) = *last;
        *last = if now > time {
            (now, self.start())
        } else if random + 1 < 1 << RANDOM_BITS {
            (time, random + 1)
        } else {
            (time + 1, self.start())
        };
        // A clock outside the years an id may have is as good as stopped at their edge.
        ObjectId::from_parts(last.0, last.1).unwrap_or_else(|_| {
            let edge = ObjectId::EARLIEST_MS;
            *last = (edge.max(time), if time < edge { last.1 } else { random + 1 });
            ObjectId::from_parts(last.0, last.1).unwrap_or(ObjectId::EARLIEST)
        })
    }

    fn start(&self) -> u128 {
        self.entropy.random() & ((1 << START_BITS) - 1)
    }
}

impl Node {
    /// A fresh id, above every id this node has made since it started. Does not block.
    #[must_use]
    pub fn new_id(&self) -> ObjectId {
        self.inner.ids.next()
    }
}
