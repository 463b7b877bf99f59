//! Clocks: whose is ahead of the others', and by how much is too much.

use std::time::Duration;

use objstore_client::{Error, ErrorKind};

use super::Cluster;
use crate::node::Inner;

/// How far ahead of the cluster a clock may be.
const AHEAD_MAX: Duration = Duration::from_secs(5 * 60);

impl Inner {
    /// Whether a stamp is from so far ahead of both this node's clock and the others' that it must
    /// not be applied yet. `time` is a stamp's, in nanoseconds since the Unix epoch.
    pub(crate) fn is_beyond(&self, time: u64) -> bool {
        let own = self.env.clock.wall_nanos();
        let others = own.saturating_add_signed(self.clock_of_the_others().max(0));
        time > others.saturating_add(nanos(AHEAD_MAX))
    }

    /// Refuses what this node would stamp with a time that the others do not take.
    pub(crate) fn check_clock(&self) -> Result<(), Error> {
        if self.clock_of_the_others().saturating_neg().cast_unsigned() <= nanos(AHEAD_MAX)
            || self.clock_of_the_others() >= 0
        {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::ClockSkew,
            "the clock of this node is more than 5 minutes ahead of the others'; set it right, or ask another node",
        )
        .with_retry_after(Duration::from_secs(60)))
    }

    /// How far the median of the live peers' clocks is ahead of this node's, in nanoseconds; 0
    /// while none is known.
    fn clock_of_the_others(&self) -> i64 {
        let peers = self.cluster.peers.live();
        median(peers.iter().filter_map(|peer| self.clock_ahead(&self.cluster, peer.id)).collect())
    }

    /// How far a member's clock is ahead of this node's, in nanoseconds.
    pub(super) fn clock_ahead(&self, cluster: &Cluster, id: crate::journal::NodeId) -> Option<i64> {
        let (clock, at) = cluster.members.get(id)?.clock?;
        let since = self.env.clock.monotonic().saturating_duration_since(at);
        let there = clock.saturating_add(nanos(since));
        Some(i128::from(there).saturating_sub(i128::from(self.env.clock.wall_nanos()))).map(
            |ahead| i64::try_from(ahead).unwrap_or(if ahead < 0 { i64::MIN } else { i64::MAX }),
        )
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// The one in the middle; of two the one nearer to 0, so that a single clock that is wrong is not
/// believed when another agrees with this node.
fn median(mut ahead: Vec<i64>) -> i64 {
    ahead.sort_unstable();
    let upper = ahead.len() / 2;
    let lower = ahead.len().saturating_sub(1) / 2;
    let middle = [ahead.get(lower), ahead.get(upper)];
    middle.into_iter().flatten().copied().min_by_key(|ahead| ahead.unsigned_abs()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn one_wrong_clock_moves_nobody() {
        assert_eq!(median(vec![]), 0);
        assert_eq!(median(vec![-600]), -600);
        assert_eq!(median(vec![-600, 1]), 1);
        assert_eq!(median(vec![600, 0]), 0);
        assert_eq!(median(vec![-600, -601]), -600);
        assert_eq!(median(vec![600, -600, 1]), 1);
    }
}
