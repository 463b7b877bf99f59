use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::transport::Endpoint;

/// How long a node is passed over after it failed once; doubled with each time in a row.
const ILL_FIRST: Duration = Duration::from_millis(250);
/// The longest that a node is passed over before it is looked at again.
const ILL_MAX: Duration = Duration::from_secs(30);

/// The nodes, those preferred first, and how each of them is.
pub(super) struct Endpoints {
    nodes: Box<[Endpoint]>,
    health: Mutex<Box<[Health]>>,
}

/// How a node is, as far as calls and looks at it have shown.
#[derive(Clone, Copy, Debug, Default)]
struct Health {
    /// In a row.
    failures: u32,
    /// Until then it is passed over; none when it is well.
    ill_until: Option<Instant>,
    /// Somebody looks whether it is well again.
    watched: bool,
}

/// Which node to try, and which to look at meanwhile.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pick {
    pub(super) node: usize,
    pub(super) look_at: Option<usize>,
}

impl Endpoints {
    pub(super) fn new(nodes: Vec<Endpoint>) -> Self {
        let health = vec![Health::default(); nodes.len()].into_boxed_slice();
        Self { nodes: nodes.into_boxed_slice(), health: Mutex::new(health) }
    }

    /// How many nodes there are.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn get(&self, node: usize) -> Option<&Endpoint> {
        self.nodes.get(node)
    }

    /// The preferred, or else the first, of those not tried yet that is well; when none is, the one
    /// that will be soonest. None when all were tried.
    pub(super) fn pick(
        &self,
        tried: &[usize],
        prefer: Option<usize>,
        now: Instant,
    ) -> Option<Pick> {
        let mut health = self.lock();
        let node = health
            .iter()
            .enumerate()
            .filter(|(node, _)| !tried.contains(node))
            .min_by_key(|(node, health)| (health.ill_until, prefer != Some(*node)))
            .map(|(node, _)| node)?;
        let due =
            |health: &Health| !health.watched && health.ill_until.is_some_and(|until| until <= now);
        let mut others = health.iter_mut().enumerate().filter(|(other, _)| *other != node);
        let look_at = others.find(|(_, health)| due(health)).map(|(other, health)| {
            health.watched = true;
            other
        });
        Some(Pick { node, look_at })
    }

    /// The node has answered.
    pub(super) fn is_well(&self, node: usize) {
        if let Some(health) = self.lock().get_mut(node) {
            *health = Health::default();
        }
    }

    /// The node has failed, and is passed over for a while that `jitter`, between 0 and 1, has a
    /// part in.
    pub(super) fn is_ill(&self, node: usize, now: Instant, jitter: f64) {
        if let Some(health) = self.lock().get_mut(node) {
            let longest = ILL_FIRST.saturating_mul(1 << health.failures.min(16)).min(ILL_MAX);
            let failures = health.failures.saturating_add(1);
            let ill_until = Some(now + longest.mul_f64(0.5 + jitter / 2.0));
            *health = Health { failures, ill_until, watched: false };
        }
    }

    /// Nobody looks any more whether the node is well again.
    pub(super) fn is_unwatched(&self, node: usize) {
        if let Some(health) = self.lock().get_mut(node) {
            health.watched = false;
        }
    }

    /// The node asks to be left alone for a while.
    pub(super) fn is_busy(&self, node: usize, until: Instant) {
        if let Some(health) = self.lock().get_mut(node) {
            health.ill_until = health.ill_until.max(Some(until));
            health.watched = false;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Box<[Health]>> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Endpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.nodes.iter().map(ToString::to_string)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Endpoints {
        Endpoints::new(["a", "b", "c"].map(|node| node.parse().unwrap()).to_vec())
    }

    fn node(picked: Option<Pick>) -> Option<usize> {
        picked.map(|pick| pick.node)
    }

    #[test]
    fn the_first_that_is_well_is_taken_and_each_once_in_a_round() {
        let (nodes, now) = (three(), Instant::now());
        assert_eq!(node(nodes.pick(&[], None, now)), Some(0));
        assert_eq!(node(nodes.pick(&[0], None, now)), Some(1));
        assert_eq!(node(nodes.pick(&[], Some(2), now)), Some(2));
        assert_eq!(node(nodes.pick(&[2], Some(2), now)), Some(0));
        nodes.is_ill(0, now, 1.0);
        assert_eq!(node(nodes.pick(&[], Some(0), now)), Some(1));
        assert_eq!(node(nodes.pick(&[], None, now)), Some(1));
        nodes.is_ill(1, now, 1.0);
        nodes.is_ill(1, now, 1.0);
        nodes.is_ill(2, now, 0.0);
        // All are ill: the one that is to be looked at first.
        assert_eq!(node(nodes.pick(&[], None, now)), Some(2));
        assert_eq!(node(nodes.pick(&[2], None, now)), Some(0));
        assert_eq!(node(nodes.pick(&[0, 1, 2], None, now)), None);
        nodes.is_well(1);
        assert_eq!(node(nodes.pick(&[], None, now)), Some(1));
    }

    #[test]
    fn an_ill_node_is_looked_at_when_its_time_is_over_and_by_one_at_a_time() {
        let (nodes, now) = (three(), Instant::now());
        nodes.is_ill(0, now, 1.0);
        assert_eq!(nodes.pick(&[], None, now), Some(Pick { node: 1, look_at: None }));
        let later = now + ILL_FIRST;
        assert_eq!(nodes.pick(&[], None, later), Some(Pick { node: 1, look_at: Some(0) }));
        assert_eq!(nodes.pick(&[], None, later), Some(Pick { node: 1, look_at: None }));
        // Whoever looked did not come to an end.
        nodes.is_unwatched(0);
        assert_eq!(nodes.pick(&[], None, later), Some(Pick { node: 1, look_at: Some(0) }));
        // Still ill, and for longer.
        nodes.is_ill(0, later, 1.0);
        assert_eq!(nodes.pick(&[], None, later + ILL_FIRST).unwrap().look_at, None);
        assert_eq!(nodes.pick(&[], None, later + ILL_FIRST * 2).unwrap().look_at, Some(0));
        nodes.is_well(0);
        assert_eq!(nodes.pick(&[], None, later), Some(Pick { node: 0, look_at: None }));
    }

    #[test]
    fn a_node_is_never_passed_over_for_longer_than_the_bound() {
        let (nodes, now) = (three(), Instant::now());
        for _ in 0..100 {
            nodes.is_ill(0, now, 1.0);
        }
        assert_eq!(nodes.pick(&[], None, now + ILL_MAX).unwrap().look_at, Some(0));
    }
}
