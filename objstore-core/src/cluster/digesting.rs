//! Building the digest of the journal, beside everything else that goes on.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::env;
use crate::journal::{Space, StoreError, entry_id, record_of};
use crate::node::Inner;

/// Records that are read at a time.
const PAGE: usize = 2000;
/// How soon it is tried again when the journal cannot be read.
const PAUSE: Duration = Duration::from_millis(500);

/// Builds it now, and anew whenever it was lost.
pub(super) async fn run(node: &Weak<Inner>) {
    let Some(digest) = node.upgrade().map(|inner| Arc::clone(&inner.digest)) else { return };
    loop {
        while let Some(generation) = digest.begin() {
            if !build(node, generation).await {
                digest.abandoned(generation);
                tokio::time::sleep(PAUSE).await;
            }
            if node.strong_count() == 0 {
                return;
            }
        }
        digest.was_lost.notified().await;
    }
}

/// Whether it came to an end.
async fn build(node: &Weak<Inner>, generation: u64) -> bool {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let Some(inner) = node.upgrade() else { return true };
        if inner.shared.broken.load(Ordering::Acquire) {
            return false;
        }
        let (store, digest) = (Arc::clone(&inner.store), Arc::clone(&inner.digest));
        let from = after.take();
        let page = env::run(inner.env.blocking.as_ref(), move || {
            let pairs = store.scan(Space::Records, from.as_deref(), PAGE)?;
            let last = pairs.last().filter(|_| pairs.len() == PAGE).map(|(key, _)| key.to_vec());
            let mut records = Vec::with_capacity(pairs.len());
            for (key, value) in &pairs {
                records.push((entry_id(key)?, record_of(value)?));
            }
            Ok::<_, StoreError>((digest.found(generation, &records), last))
        });
        match page.await {
            Ok(Ok((true, Some(last)))) => after = Some(last),
            Ok(Ok((true, None))) => {
                inner.digest.built(generation);
                inner.cluster.news.more_missed.notify_one();
                return true;
            }
            // It was lost meanwhile, and is begun anew.
            Ok(Ok((false, _))) => return true,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the journal could not be read through; it will be again");
                return false;
            }
            Err(_) => return false,
        }
    }
}
