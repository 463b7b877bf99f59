use std::any::Any;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};
use std::ptr::without_provenance_mut;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::error::Failure;
use crate::status::OBJSTORE_BAD_HANDLE;

/// What a pointer to an opaque type of the header stands for.
pub(crate) trait Handle: Any + Send + Sync {
    /// The type in the header.
    type Opaque;
}

type Values = RwLock<HashMap<usize, Arc<dyn Any + Send + Sync>, BuildHasherDefault<Spread>>>;

/// Numbers that are counted up need no more than to be spread over all bits.
#[derive(Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_usize((*byte).into());
        }
    }

    fn write_usize(&mut self, number: usize) {
        self.0 = (self.0 ^ number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Everything that C holds a handle to. Shards, so that threads seldom meet.
static VALUES: [std::sync::LazyLock<Values>; SHARDS] =
    [const { std::sync::LazyLock::new(Values::default) }; SHARDS];
const SHARDS: usize = 16;

/// Handles are given out once: one that was freed stays recognisable. They are odd, so no address
/// that an allocator gives out is ever taken for one.
static NEXT: AtomicUsize = AtomicUsize::new(0x0b57);

fn shard(number: usize) -> &'static Values {
    let at = (number >> 1) % SHARDS;
    #[allow(clippy::indexing_slicing)] // a remainder
    &VALUES[at]
}

/// A handle for this value.
pub(crate) fn give<T: Handle>(value: T) -> *mut T::Opaque {
    give_shared(Arc::new(value))
}

/// The same for a value that others have too.
pub(crate) fn give_shared<T: Handle>(value: Arc<T>) -> *mut T::Opaque {
    loop {
        let number = NEXT.fetch_add(2, Ordering::Relaxed);
        let mut values = shard(number).write().unwrap_or_else(PoisonError::into_inner);
        // Taken only after the numbers of a 32-bit machine have gone round.
        if let Entry::Vacant(free) = values.entry(number) {
            free.insert(value);
            return without_provenance_mut(number);
        }
    }
}

/// The value behind a handle.
pub(crate) fn get<T: Handle>(handle: *const T::Opaque) -> Result<Arc<T>, Failure> {
    let number = handle.addr();
    let values = shard(number).read().unwrap_or_else(PoisonError::into_inner);
    let value = values.get(&number).map(Arc::clone).ok_or_else(|| bad(handle))?;
    drop(values);
    value.downcast().map_err(|_| bad(handle))
}

/// The same where null stands for none.
pub(crate) fn get_or_none<T: Handle>(handle: *const T::Opaque) -> Result<Option<Arc<T>>, Failure> {
    if handle.is_null() { Ok(None) } else { get(handle).map(Some) }
}

/// The value behind a handle, which is none from now on.
pub(crate) fn take<T: Handle>(handle: *const T::Opaque) -> Result<Arc<T>, Failure> {
    let number = handle.addr();
    let mut values = shard(number).write().unwrap_or_else(PoisonError::into_inner);
    if !values.get(&number).is_some_and(|value| (**value).is::<T>()) {
        return Err(bad(handle));
    }
    let value = values.remove(&number).ok_or_else(|| bad(handle))?;
    drop(values);
    value.downcast().map_err(|_| bad(handle))
}

/// How many handles there are.
pub(crate) fn count() -> usize {
    VALUES.iter().map(|values| values.read().unwrap_or_else(PoisonError::into_inner).len()).sum()
}

fn bad<O>(handle: *const O) -> Failure {
    let name = std::any::type_name::<O>();
    let name = name.rsplit("::").next().unwrap_or(name);
    let why = if handle.is_null() {
        format!("null was given where an {name} is wanted")
    } else {
        format!("this is no {name}: it was freed or closed, or is of another type")
    };
    Failure::new(OBJSTORE_BAD_HANDLE, why)
}
