use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// How many there are of each; what there is none of takes no memory.
#[derive(Debug)]
pub(crate) struct Counts<K>(Arc<Mutex<BTreeMap<K, usize>>>);

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<K: Ord + Copy> Counts<K> {
    /// Counts one more until what is returned is dropped; none when there are as many as there
    /// may be.
    pub(crate) fn one_more(&self, key: K, max: usize) -> Option<Counted<K>> {
        self.add(key, 1, max)
    }

    /// Counts so many more; none when it would be too many.
    pub(crate) fn add(&self, key: K, more: usize, max: usize) -> Option<Counted<K>> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.get(&key).copied().unwrap_or(0);
        if count + more > max {
            return None;
        }
        counts.insert(key, count + more);
        Some(Counted { counts: Arc::clone(&self.0), key, amount: more })
    }
}

/// Its part in the count, until it is dropped.
#[derive(Debug)]
pub(crate) struct Counted<K: Ord + Copy> {
    counts: Arc<Mutex<BTreeMap<K, usize>>>,
    key: K,
    amount: usize,
}

impl<K: Ord + Copy> Drop for Counted<K> {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.key) {
            *count = count.saturating_sub(self.amount);
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}
