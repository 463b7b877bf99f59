use std::hash::{BuildHasher, RandomState};

/// A number that nobody foresees: each of these hashes with a key of its own, which the system's
/// entropy went into.
pub(crate) fn random() -> u64 {
    RandomState::new().hash_one(())
}
