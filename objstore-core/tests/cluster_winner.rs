//! Two nodes put one id at level 1: the bucket ends with what all nodes end with.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::large_futures)]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use objstore_core::options::{GetOptions, PutOptions, WriteMode};
use objstore_core::remote::{
    MemoryRemote, RemoteCondition, RemoteError, RemoteErrorKind, RemoteFuture, RemoteStore,
};
use objstore_core::testing::{Adapted, Around, Call, CallKind};
use objstore_core::types::Level;
use support::nodes::{Nodes, got, known};
use support::{settled, stored_in, until};

/// Delays each change before it is made, by an amount of its own, and takes no conditions where
/// the bucket has none.
#[derive(Debug)]
struct Late {
    state: AtomicU64,
    conditional: bool,
}

impl Around for Late {
    fn before<'a>(&'a self, call: &'a Call) -> RemoteFuture<'a, ()> {
        let next = self.state.load(Ordering::Relaxed).wrapping_mul(6_364_136_223_846_793_005);
        self.state.store(next.wrapping_add(1_442_695_040_888_963_407), Ordering::Relaxed);
        let delay = Duration::from_millis((next >> 33) % 80);
        Box::pin(async move {
            if call.kind == CallKind::Put {
                if !self.conditional && call.condition != RemoteCondition::None {
                    let none = "no conditions here";
                    return Err(RemoteError::new(RemoteErrorKind::Unsupported, none));
                }
                tokio::time::sleep(delay).await;
            }
            Ok(())
        })
    }
}

async fn race(conditional: bool, write: WriteMode, races: u64) {
    let bucket = Arc::new(MemoryRemote::new("bucket"));
    let late = |host: usize| -> Arc<dyn RemoteStore> {
        let state = AtomicU64::new(host as u64 * 77 + 1);
        Arc::new(Adapted::around(bucket.clone(), Late { state, conditional }))
    };
    let nodes = Nodes::start(2, late, |_| {}).await;
    let mut ids = Vec::new();
    for race in 0..races {
        let id = nodes[0].new_id();
        let options = || PutOptions::default().level(Level::Remote).write(write);
        let (first, second) =
            tokio::join!(nodes[0].put(id, format!("first {race}"), options()), async {
                tokio::time::sleep(Duration::from_millis(race % 7 * 10)).await;
                nodes[1].put(id, format!("second {race}"), options()).await
            });
        first.unwrap();
        second.unwrap();
        ids.push(id);
    }
    for node in 0..2 {
        settled(&nodes[node]).await;
    }
    for id in ids {
        known(&nodes[0], id).await;
        until("both agree, and so does the bucket", async || {
            let tag = async |node: usize| nodes[node].head(id).await.unwrap().etag.clone();
            let Ok(read) = got(&nodes[0], id, GetOptions::default()).await else { return false };
            let stored = stored_in(bucket.as_ref(), &id.to_string()).await;
            tag(0).await == tag(1).await && stored.as_ref() == Some(&read.body)
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_bucket_ends_with_the_winner() {
    race(true, WriteMode::Through, 300).await;
}

#[tokio::test(start_paused = true)]
async fn the_bucket_ends_with_the_winner_when_it_takes_no_conditions() {
    race(false, WriteMode::Through, 300).await;
}

#[tokio::test(start_paused = true)]
async fn the_bucket_ends_with_the_winner_of_puts_that_were_written_back() {
    race(true, WriteMode::Back, 200).await;
    race(false, WriteMode::Back, 200).await;
}
