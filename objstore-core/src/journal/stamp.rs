use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use objstore_client::types::NodeId;
use serde::{Deserialize, Serialize};

use crate::env::Clock;

/// The name of one version of one object, unique in the cluster and ordered: a hybrid logical
/// clock (Kulkarni et al., "Logical Physical Clocks", 2014) with the logical part folded into the
/// nanoseconds, then the node, then a number drawn at each start of the node, so that a disk rolled
/// back to an older image cannot mint a stamp twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct Stamp {
    /// Nanoseconds since the Unix epoch, or later by what the logical part needs.
    pub(crate) time: u64,
    pub(crate) node: u128,
    pub(crate) boot: u32,
}

impl Stamp {
    pub(crate) const LEN: usize = 28;

    /// Big endian, so that the order of the bytes is the order of stamps.
    pub(crate) fn to_bytes(self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let parts = self.time.to_be_bytes().into_iter().chain(self.node.to_be_bytes());
        for (to, from) in bytes.iter_mut().zip(parts.chain(self.boot.to_be_bytes())) {
            *to = from;
        }
        bytes
    }

    pub(crate) fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        let number = |from: usize, len: usize| {
            bytes.iter().skip(from).take(len).fold(0u128, |n, b| (n << 8) | u128::from(*b))
        };
        // The casts keep exactly the bytes that were taken.
        #[allow(clippy::cast_possible_truncation)]
        Self { time: number(0, 8) as u64, node: number(8, 16), boot: number(24, 4) as u32 }
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}-{:08x}", self.time, self.boot)
    }
}

/// Mints stamps, each above all before and above every stamp that was seen.
#[derive(Debug)]
pub(crate) struct StampSource {
    clock: Arc<dyn Clock>,
    last: AtomicU64,
    node: NodeId,
    boot: u32,
}

impl StampSource {
    pub(crate) fn new(clock: Arc<dyn Clock>, node: NodeId, boot: u32, highest_seen: u64) -> Self {
        Self { clock, last: AtomicU64::new(highest_seen), node, boot }
    }

    /// The node that mints them.
    pub(crate) fn node(&self) -> NodeId {
        self.node
    }

    /// From now on stamps are above this time.
    pub(crate) fn saw(&self, time: u64) {
        self.last.fetch_max(time, Ordering::AcqRel);
    }

    /// The time of the last stamp, or the clock's where that is later: stamps to come are above it.
    pub(crate) fn now(&self) -> u64 {
        let wall = self.clock.wall_nanos();
        self.last.fetch_max(wall, Ordering::AcqRel).max(wall)
    }

    pub(crate) fn next(&self) -> Stamp {
        let wall = self.clock.wall_nanos();
        let above = |last: u64| Some(wall.max(last.saturating_add(1)));
        let last = self
            .last
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, above)
            .unwrap_or_else(|last| last);
        Stamp { time: wall.max(last.saturating_add(1)), node: self.node.to_u128(), boot: self.boot }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::SystemClock;

    #[test]
    fn bytes_lead_back_and_keep_the_order() {
        let low = Stamp { time: 1, node: u128::MAX, boot: 7 };
        let high = Stamp { time: 2, node: 0, boot: 0 };
        assert_eq!(Stamp::from_bytes(low.to_bytes()), low);
        assert!(low < high && low.to_bytes() < high.to_bytes());
    }

    #[test]
    fn stamps_rise_even_when_the_clock_lies_behind() {
        let future = u64::MAX / 2;
        let source = StampSource::new(Arc::new(SystemClock), NodeId::from_u128(1), 1, future);
        let (first, second) = (source.next(), source.next());
        assert!(first.time > future && second > first);
    }
}
