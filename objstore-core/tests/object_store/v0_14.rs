use object_store_0_14 as object_store;
use objstore_core::object_store_0_14::KeyStore;

#[path = "suite.rs"]
mod suite;
