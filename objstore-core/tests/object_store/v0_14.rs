use object_store::integration;
use object_store_0_14 as object_store;
use objstore_core::Keys;
use objstore_core::object_store_0_14::KeyStore;

#[path = "suite.rs"]
mod suite;

/// What this version's suite has beyond the other's.
async fn passes_parts<K: Keys>(store: &KeyStore<K>) {
    integration::multipart_with_opts(store, store).await;
    integration::multipart_put_part_out_of_order(store, store).await;
}
