//! What two nodes compare to find out where their journals differ.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use objstore_client::types::ObjectId;
use tokio::sync::Notify;

/// Children of a node of the tree.
pub(crate) const FANOUT: usize = 16;
/// Levels below the root; the last has the leaves.
pub(crate) const DEPTH: u8 = 4;
/// Leaves of the tree: some fifteen records in each at a million.
const LEAVES: usize = 1 << 16;
/// A leaf's list grows by this many records at a time, so that a million take no 64 MiB.
const GROWTH: usize = 4;

/// A tree over hashed ids, as deep for ten records as for ten million. A leaf is the sum, mod 2^128,
/// of keyed BLAKE3 digests of the records in it, a node the sum of its children: a change costs a
/// subtraction and an addition on each level, whatever the journal holds, and equal journals have
/// equal sums in whichever order they grew. (Sums, not XOR: there, what is counted twice cancels
/// out.)
///
/// Not in it are keys of the bucket, and versions that nobody sees yet.
#[derive(Debug)]
pub(crate) struct Digest {
    key: [u8; 32],
    state: Mutex<State>,
    /// Told when it has to be built anew.
    pub(crate) was_lost: Notify,
}

#[derive(Debug, Default)]
struct State {
    phase: Phase,
    /// Counted up whenever what was gathered is worth nothing any more.
    generation: u64,
    /// Sums by level, the root first.
    sums: Vec<Vec<u128>>,
    leaves: Vec<Vec<Item>>,
    count: u64,
}

#[derive(Debug, Default)]
enum Phase {
    /// Nobody will ask.
    Off,
    /// Waits for the scan of the journal, or is in the middle of it. What the writer changed
    /// meanwhile counts, not what the scan finds.
    #[default]
    Behind,
    Building(HashSet<ObjectId>),
    Ready,
}

/// A record in a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Item {
    id: u128,
    hash: u128,
}

impl Digest {
    /// Digests of different clusters have nothing in common.
    pub(crate) fn new(tag: &str, is_wanted: bool) -> Self {
        let key = blake3::derive_key("objstore 2026-11 digest of a journal", tag.as_bytes());
        let phase = if is_wanted { Phase::Behind } else { Phase::Off };
        Self {
            key,
            state: Mutex::new(State { phase, ..State::default() }),
            was_lost: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether changes have to be told.
    pub(crate) fn is_wanted(&self) -> bool {
        !matches!(self.state().phase, Phase::Off)
    }

    /// The digest of a record from the bytes that it is stored as.
    pub(crate) fn of(&self, record: &[u8]) -> u128 {
        first_half(&blake3::keyed_hash(&self.key, record))
    }

    /// The leaf that an object belongs to.
    pub(crate) fn leaf_of(&self, id: ObjectId) -> usize {
        let hash = blake3::keyed_hash(&self.key, &id.to_bytes());
        usize::from(u16::from_be_bytes(hash.as_bytes().first_chunk().copied().unwrap_or_default()))
    }

    /// Whether it is certain that the journal has nothing of an object, to spare the writer, who
    /// alone may rely upon it, a look. False as long as the journal has not been read through.
    pub(crate) fn lacks(&self, id: ObjectId) -> bool {
        if id.is_derived() {
            return false;
        }
        let (leaf, id) = (self.leaf_of(id), u128::from_be_bytes(id.to_bytes()));
        let state = self.state();
        let items = state.ready().and_then(|()| state.leaves.get(leaf));
        items.is_some_and(|items| items.iter().all(|item| item.id != id))
    }

    /// The writer made these durable: the stored bytes of each record, or none where it is gone.
    pub(crate) fn changed(&self, changes: &[(ObjectId, Option<Bytes>)]) {
        let hashed: Vec<_> = changes
            .iter()
            .filter(|(id, _)| !id.is_derived())
            .map(|(id, record)| (*id, self.leaf_of(*id), record.as_ref().map(|r| self.of(r))))
            .collect();
        let mut state = self.state();
        match &mut state.phase {
            // The scan has yet to begin, and will find them.
            Phase::Off | Phase::Behind => return,
            Phase::Building(touched) => touched.extend(hashed.iter().map(|(id, ..)| *id)),
            Phase::Ready => {}
        }
        for (id, leaf, hash) in hashed {
            state.set(id, leaf, hash);
        }
    }

    /// What was gathered may not be what is durable: it has to be built anew.
    pub(crate) fn lost(&self) {
        let mut state = self.state();
        if !matches!(state.phase, Phase::Off) {
            let generation = state.generation + 1;
            *state = State { generation, ..State::default() };
            self.was_lost.notify_one();
        }
    }

    /// Begins to build; what follows is told the number that is returned. None when there is
    /// nothing to build.
    pub(crate) fn begin(&self) -> Option<u64> {
        let mut state = self.state();
        if !matches!(state.phase, Phase::Behind) {
            return None;
        }
        state.phase = Phase::Building(HashSet::new());
        let mut nodes = 1;
        state.sums = (0..=DEPTH)
            .map(|_| {
                let level = vec![0; nodes];
                nodes *= FANOUT;
                level
            })
            .collect();
        state.leaves = vec![Vec::new(); LEAVES];
        Some(state.generation)
    }

    /// Adds what the scan found; false when it is worth nothing any more.
    pub(crate) fn found(&self, generation: u64, records: &[(ObjectId, Bytes)]) -> bool {
        let hashed: Vec<_> =
            records.iter().map(|(id, r)| (*id, self.leaf_of(*id), self.of(r))).collect();
        let mut state = self.state();
        if state.generation != generation {
            return false;
        }
        for (id, leaf, hash) in hashed {
            let is_touched = match &state.phase {
                Phase::Building(touched) => touched.contains(&id),
                _ => return false,
            };
            if !is_touched {
                state.set(id, leaf, Some(hash));
            }
        }
        true
    }

    /// The scan is through.
    pub(crate) fn built(&self, generation: u64) {
        let mut state = self.state();
        if state.generation == generation && matches!(state.phase, Phase::Building(_)) {
            state.phase = Phase::Ready;
        }
    }

    /// The scan failed.
    pub(crate) fn abandoned(&self, generation: u64) {
        let mut state = self.state();
        if state.generation == generation && matches!(state.phase, Phase::Building(_)) {
            *state = State { generation: generation + 1, ..State::default() };
        }
    }

    /// The sum over everything; none before it is built.
    pub(crate) fn root(&self) -> Option<u128> {
        let state = self.state();
        state.ready()?;
        state.sums.first()?.first().copied()
    }

    /// Records in it.
    #[cfg(test)]
    fn len(&self) -> u64 {
        self.state().count
    }

    /// The sums of a node's children.
    pub(crate) fn children(&self, level: u8, node: usize) -> Option<Vec<u128>> {
        let state = self.state();
        state.ready()?;
        let below = state.sums.get(usize::from(level) + 1)?;
        let from = node.checked_mul(FANOUT)?;
        Some(below.get(from..from + FANOUT)?.to_vec())
    }

    /// The records of a leaf with their digests, in order of id.
    pub(crate) fn leaf(&self, leaf: usize) -> Option<Vec<(ObjectId, u128)>> {
        let state = self.state();
        state.ready()?;
        let mut items = state.leaves.get(leaf)?.clone();
        drop(state);
        items.sort_unstable();
        let id = |item: &Item| ObjectId::from_bytes(item.id.to_be_bytes()).ok();
        Some(items.iter().filter_map(|item| Some((id(item)?, item.hash))).collect())
    }

    /// Bytes of memory that it takes.
    #[cfg(test)]
    fn memory_bytes(&self) -> u64 {
        let state = self.state();
        let sums: usize = state.sums.iter().map(|level| level.len() * 16).sum();
        let lists: usize =
            state.leaves.iter().map(|leaf| leaf.capacity() * size_of::<Item>()).sum();
        (sums + lists + state.leaves.len() * size_of::<Vec<Item>>()) as u64
    }
}

impl State {
    fn ready(&self) -> Option<()> {
        matches!(self.phase, Phase::Ready).then_some(())
    }

    /// Puts a record in place of what its leaf has of the object.
    fn set(&mut self, id: ObjectId, leaf: usize, hash: Option<u128>) {
        let id = u128::from_be_bytes(id.to_bytes());
        let Some(items) = self.leaves.get_mut(leaf) else { return };
        let at = items.iter().position(|item| item.id == id);
        let old = match (at, hash) {
            (Some(at), Some(hash)) => {
                items.get_mut(at).map(|item| std::mem::replace(&mut item.hash, hash))
            }
            (Some(at), None) => Some(items.swap_remove(at).hash),
            (None, Some(hash)) => {
                if items.len() == items.capacity() {
                    items.reserve_exact(GROWTH.max(items.len() / 8));
                }
                items.push(Item { id, hash });
                None
            }
            (None, None) => None,
        };
        self.count = self.count + u64::from(hash.is_some()) - u64::from(old.is_some());
        let change = hash.unwrap_or(0).wrapping_sub(old.unwrap_or(0));
        let mut node = leaf;
        for level in self.sums.iter_mut().rev() {
            if let Some(sum) = level.get_mut(node) {
                *sum = sum.wrapping_add(change);
            }
            node /= FANOUT;
        }
    }
}

fn first_half(hash: &blake3::Hash) -> u128 {
    u128::from_be_bytes(hash.as_bytes().first_chunk().copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(n: u16) -> ObjectId {
        ObjectId::from_parts(1_500_000_000_000, u128::from(n)).unwrap()
    }

    fn built(records: &[(ObjectId, Bytes)]) -> Digest {
        let digest = Digest::new("test", true);
        let generation = digest.begin().unwrap();
        assert!(digest.found(generation, records));
        digest.built(generation);
        digest
    }

    fn everything(digest: &Digest) -> Vec<Vec<u128>> {
        let state = digest.state();
        let mut all = state.sums.clone();
        drop(state);
        all.push((0..LEAVES).flat_map(|leaf| digest.leaf(leaf).unwrap()).map(|i| i.1).collect());
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn changes_one_by_one_lead_to_what_building_anew_leads_to(
            changes in proptest::collection::vec((0u16..40, proptest::option::of("[a-c]{1,2}")), 0..200),
            scanned in 0usize..200,
        ) {
            let mut journal = std::collections::BTreeMap::new();
            let digest = Digest::new("test", true);
            let generation = digest.begin().unwrap();
            let mut page: Vec<(ObjectId, Bytes)> = Vec::new();
            for (n, (number, value)) in changes.iter().enumerate() {
                if n == scanned.min(changes.len() - 1) {
                    // A page is read, then come more changes, then the page is added.
                    page = journal.iter().map(|(i, v): (&ObjectId, &Bytes)| (*i, v.clone())).collect();
                }
                let value = value.clone().map(Bytes::from);
                match value.clone() {
                    Some(value) => journal.insert(id(*number), value),
                    None => journal.remove(&id(*number)),
                };
                digest.changed(&[(id(*number), value)]);
            }
            prop_assert!(digest.found(generation, &page));
            digest.built(generation);
            let anew: Vec<_> = journal.into_iter().collect();
            prop_assert_eq!(everything(&digest), everything(&built(&anew)));
            prop_assert_eq!(digest.len(), anew.len() as u64);
        }
    }

    #[test]
    fn what_is_not_there_is_told_only_by_one_that_is_ready() {
        let (digest, record) = (Digest::new("test", true), Bytes::from_static(b"a"));
        assert!(!digest.lacks(id(1)));
        let generation = digest.begin().unwrap();
        assert!(!digest.lacks(id(1)));
        assert!(digest.found(generation, &[(id(1), record.clone())]));
        digest.built(generation);
        assert!(!digest.lacks(id(1)) && digest.lacks(id(2)));
        digest.changed(&[(id(1), None), (id(2), Some(record))]);
        assert!(digest.lacks(id(1)) && !digest.lacks(id(2)));
        assert!(!digest.lacks(ObjectId::derived(7)));
        digest.lost();
        assert!(!digest.lacks(id(1)));
    }

    #[test]
    fn a_scan_that_was_overtaken_is_worth_nothing() {
        let digest = Digest::new("test", true);
        let generation = digest.begin().unwrap();
        digest.lost();
        assert!(!digest.found(generation, &[(id(1), Bytes::from_static(b"a"))]));
        digest.built(generation);
        assert_eq!(digest.root(), None);
        assert!(digest.begin().is_some());
    }

    #[test]
    fn a_million_records_take_no_64_mib() {
        let digest = Digest::new("test", true);
        let generation = digest.begin().unwrap();
        for n in 0..250u16 {
            let record = |m: u16| {
                let id = ObjectId::from_parts(1_500_000_000_000 + u64::from(n), u128::from(m));
                (id.unwrap(), Bytes::from_static(b"x"))
            };
            let page: Vec<_> = (0..4000).map(record).collect();
            assert!(digest.found(generation, &page));
        }
        digest.built(generation);
        assert_eq!(digest.len(), 1_000_000);
        assert!(digest.memory_bytes() < 60 << 20, "{}", digest.memory_bytes());
    }
}
