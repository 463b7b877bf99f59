use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use objstore_client::types::ObjectId;
use quick_cache::Weighter;
use quick_cache::sync::{Cache, DefaultLifecycle, GuardResult, PlaceholderGuard};

use crate::bodies::UNIT;
use crate::journal::{Entry, Stamp};

/// The memory tier: records, small bodies and verified units, all under one byte budget.
///
/// A reader that misses holds the key while it looks on the disk; a change that is committed
/// meanwhile takes the key over, and what the reader found is then not kept. So a value here is
/// never older than the journal (`docs/durability.md`).
#[derive(Debug)]
pub(crate) struct Tier {
    cache: Option<Store>,
    capacity: u64,
    hits: AtomicU64,
    misses: AtomicU64,
}

type Store = Cache<Key, Value, Weight>;
type Guard<'a> = PlaceholderGuard<
    'a,
    Key,
    Value,
    Weight,
    quick_cache::DefaultHashBuilder,
    DefaultLifecycle<Key, Value>,
>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    id: ObjectId,
    unit: Option<(Stamp, u64)>,
}

#[derive(Clone, Debug)]
enum Value {
    Object(Arc<Hot>),
    Unit(Bytes),
}

/// An object's entry, with its body where that is small.
#[derive(Debug)]
pub(crate) struct Hot {
    pub(crate) entry: Entry,
    pub(crate) inline: Option<Bytes>,
}

/// What the tier knows of an object.
pub(crate) enum Lookup<'a> {
    Hit(Arc<Hot>),
    /// Not here; what is found elsewhere may be kept through this.
    Miss(Keep<'a>),
}

/// The right to keep what a miss led to.
pub(crate) struct Keep<'a>(Option<Guard<'a>>);

impl Keep<'_> {
    /// Keeps it, unless a change took the key over meanwhile.
    pub(crate) fn keep(self, hot: Arc<Hot>) {
        if let Some(guard) = self.0 {
            let _ = guard.insert(Value::Object(hot));
        }
    }
}

#[derive(Clone, Debug)]
struct Weight;

/// What an entry takes beyond its bytes: key, record, allocations, the cache's own links.
const OVERHEAD: u64 = 512;

impl Weighter<Key, Value> for Weight {
    fn weight(&self, _: &Key, value: &Value) -> u64 {
        match value {
            Value::Object(hot) => {
                let meta = &hot.entry.meta;
                let text = meta.name.as_str().len() + meta.user_meta.byte_len();
                // A record is held twice: as it is stored and as it is shown.
                2 * text as u64 + OVERHEAD + hot.inline.as_ref().map_or(0, |b| b.len() as u64)
            }
            // A short unit holds a whole buffer all the same.
            Value::Unit(_) => UNIT as u64 + OVERHEAD,
        }
    }
}

impl Tier {
    /// A tier of this many bytes; 0 for none.
    pub(crate) fn new(capacity: u64) -> Self {
        let items = usize::try_from(capacity / 4096).unwrap_or(usize::MAX).max(64);
        let cache = (capacity > 0).then(|| Cache::with_weighter(items, capacity, Weight));
        Self { cache, capacity, hits: AtomicU64::new(0), misses: AtomicU64::new(0) }
    }

    /// What is known of an object. Never waits: of several readers that miss, one keeps what they
    /// find, and a future that holds the key and is not polled keeps nobody else from reading.
    pub(crate) fn object(&self, id: ObjectId) -> Lookup<'_> {
        let Some(cache) = &self.cache else {
            self.misses.fetch_add(1, Ordering::Relaxed);
            return Lookup::Miss(Keep(None));
        };
        match cache.get_value_or_guard(&Key { id, unit: None }, Some(Duration::ZERO)) {
            GuardResult::Value(Value::Object(hot)) => {
                self.hits.fetch_add(1, Ordering::Relaxed);
                Lookup::Hit(hot)
            }
            GuardResult::Guard(guard) => {
                self.misses.fetch_add(1, Ordering::Relaxed);
                Lookup::Miss(Keep(Some(guard)))
            }
            // Another looks for it. (A key without a unit only ever holds an object.)
            GuardResult::Timeout | GuardResult::Value(Value::Unit(_)) => {
                self.misses.fetch_add(1, Ordering::Relaxed);
                Lookup::Miss(Keep(None))
            }
        }
    }

    /// What is known of an object without counting or waiting.
    pub(crate) fn peek(&self, id: ObjectId) -> Option<Arc<Hot>> {
        match self.cache.as_ref()?.peek(&Key { id, unit: None })? {
            Value::Object(hot) => Some(hot),
            Value::Unit(_) => None,
        }
    }

    /// Puts the newest version of an object in place of whatever is there.
    pub(crate) fn replace(&self, id: ObjectId, hot: Arc<Hot>) {
        if let Some(cache) = &self.cache {
            let key = Key { id, unit: None };
            // What is too heavy to be kept would leave a reader's claim to the key alone.
            cache.remove(&key);
            cache.insert(key, Value::Object(hot));
        }
    }

    /// Forgets an object, and what readers of it are about to keep.
    pub(crate) fn forget(&self, id: ObjectId) {
        if let Some(cache) = &self.cache {
            cache.remove(&Key { id, unit: None });
        }
    }

    /// Forgets everything.
    pub(crate) fn clear(&self) {
        if let Some(cache) = &self.cache {
            cache.clear();
        }
    }

    pub(crate) fn unit(&self, id: ObjectId, stamp: Stamp, unit: u64) -> Option<Bytes> {
        let found = self.cache.as_ref().and_then(|c| c.get(&Key { id, unit: Some((stamp, unit)) }));
        match found {
            Some(Value::Unit(bytes)) => {
                self.hits.fetch_add(1, Ordering::Relaxed);
                Some(bytes)
            }
            _ => {
                self.misses.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }

    /// Whether a unit is here, without counting.
    pub(crate) fn has_unit(&self, id: ObjectId, stamp: Stamp, unit: u64) -> bool {
        let key = Key { id, unit: Some((stamp, unit)) };
        self.cache.as_ref().is_some_and(|cache| cache.contains_key(&key))
    }

    pub(crate) fn forget_unit(&self, id: ObjectId, stamp: Stamp, unit: u64) {
        if let Some(cache) = &self.cache {
            cache.remove(&Key { id, unit: Some((stamp, unit)) });
        }
    }

    pub(crate) fn put_unit(&self, id: ObjectId, stamp: Stamp, unit: u64, bytes: Bytes) {
        if let Some(cache) = &self.cache {
            cache.insert(Key { id, unit: Some((stamp, unit)) }, Value::Unit(bytes));
        }
    }

    pub(crate) fn stats(&self) -> objstore_client::types::CacheStats {
        let mut stats = objstore_client::types::CacheStats::default();
        stats.bytes = self.cache.as_ref().map_or(0, Store::weight);
        stats.bytes_max = self.capacity;
        stats.hits = self.hits.load(Ordering::Relaxed);
        stats.misses = self.misses.load(Ordering::Relaxed);
        stats
    }
}
