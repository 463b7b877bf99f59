use object_store_0_13 as object_store;
use objstore_core::Keys;
use objstore_core::object_store_0_13::KeyStore;

#[path = "suite.rs"]
mod suite;

/// This version has no more of it.
async fn passes_parts<K: Keys>(_: &KeyStore<K>) {}
