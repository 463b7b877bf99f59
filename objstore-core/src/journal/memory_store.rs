use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::store::{Batch, JournalStore, Space, StoreError};
use crate::testing::Steps;

type Image = BTreeMap<(Space, Bytes), Bytes>;

/// A journal in memory, with two images: what readers see, and what would be there after a power
/// cut. Passes the same suite as the one on disk.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    images: Mutex<Images>,
    steps: Steps,
}

#[derive(Debug, Default)]
struct Images {
    live: Image,
    durable: Image,
    closed: bool,
}

impl MemoryJournal {
    /// An empty journal whose steps count with those of other parts and stop where they stop.
    #[must_use]
    pub fn with_steps(steps: Steps) -> Self {
        Self { images: Mutex::default(), steps }
    }

    /// The journal as the next start of the machine finds it.
    #[must_use]
    pub fn after_power_cut(&self, steps: Steps) -> Self {
        let durable = self.images().durable.clone();
        let images = Images { live: durable.clone(), durable, closed: false };
        Self { images: Mutex::new(images), steps }
    }

    fn images(&self) -> MutexGuard<'_, Images> {
        self.images.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl JournalStore for MemoryJournal {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let images = self.images();
        if images.closed {
            return Err(StoreError::Closed);
        }
        Ok(images.live.get(&(space, Bytes::copy_from_slice(key))).cloned())
    }

    fn scan(
        &self,
        space: Space,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let images = self.images();
        let from = match after {
            Some(key) => Excluded((space, Bytes::copy_from_slice(key))),
            None => std::ops::Bound::Included((space, Bytes::new())),
        };
        let pairs = images.live.range((from, Unbounded)).take_while(|((s, _), _)| *s == space);
        Ok(pairs.take(limit).map(|((_, key), value)| (key.clone(), value.clone())).collect())
    }

    fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        let mut images = self.images();
        if images.closed {
            return Err(StoreError::Closed);
        }
        self.steps.take("journal write")?;
        let apply = |image: &mut Image| {
            for (space, key, value) in &batch.changes {
                match value {
                    Some(value) => image.insert((*space, key.clone()), value.clone()),
                    None => image.remove(&(*space, key.clone())),
                };
            }
        };
        // A batch that was written but not synced may or may not be there after a power cut; the
        // two steps make both cases happen.
        self.steps.take("journal sync").inspect_err(|_| {
            if self.steps.keeps_unsynced() {
                apply(&mut images.durable);
            }
        })?;
        if self.steps.counts() {
            apply(&mut images.durable);
        }
        apply(&mut images.live);
        Ok(())
    }

    fn physical_bytes(&self) -> u64 {
        let images = self.images();
        images.live.iter().map(|((_, key), value)| (key.len() + value.len()) as u64).sum()
    }

    fn unflushed_bytes(&self) -> u64 {
        0
    }

    fn log_headroom(&self) -> u64 {
        0
    }

    fn reclaim(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn reopen(&self) -> Result<(), StoreError> {
        self.steps.take("journal reopen")?;
        let mut images = self.images();
        images.live = images.durable.clone();
        Ok(())
    }

    fn close(&self) {
        self.images().closed = true;
    }
}
