//! Many at once: what one reader sees never falls behind what was acknowledged, and is always of
//! one version.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use objstore_core::options::{DeleteOptions, GetOptions, PutOptions};
use objstore_core::types::ObjectId;
use objstore_core::{ErrorKind, Node};

/// A body that says its version in every word, of a length that follows from the version.
fn version(n: u64) -> Vec<u8> {
    // Small bodies, bodies in files, and a tombstone in between (see below).
    let words = if n.is_multiple_of(2) { 6_000 + n % 100 } else { 9_000 + n % 100 };
    n.to_le_bytes().repeat(usize::try_from(words).unwrap())
}

/// The version a body says it is; every word has to agree.
fn read_version(body: &[u8]) -> u64 {
    let n = u64::from_le_bytes(body[..8].try_into().unwrap());
    assert!(body == version(n), "a body of more than one version, or of a wrong length");
    n
}

struct Object {
    id: ObjectId,
    acknowledged: AtomicU64,
}

/// The tier is far too small for the objects, so that readers miss, look on the disk and fill the
/// tier all the time, while writers replace what they look at.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_read_is_never_older_than_what_was_acknowledged_before_it() {
    for memory in [0, 64 * 1024, 512 * 1024, 64 * 1024 * 1024] {
        let dir = tempfile::tempdir().unwrap();
        let node = Node::builder()
            .state_dir(dir.path().join("state"))
            .files_dir(dir.path().join("files"))
            .memory_bytes(Some(memory))
            .start()
            .await
            .unwrap();
        let objects: Arc<Vec<Object>> = Arc::new(
            (0..12)
                .map(|_| Object { id: node.new_id(), acknowledged: AtomicU64::new(0) })
                .collect(),
        );
        for object in objects.iter() {
            node.put(object.id, version(0), PutOptions::default()).await.unwrap();
        }
        let done = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..3)
            .map(|w| {
                let (node, objects) = (node.clone(), Arc::clone(&objects));
                tokio::spawn(async move {
                    for n in 1..60 {
                        for object in objects.iter().skip(w).step_by(3) {
                            if n % 7 == 0 {
                                node.delete(object.id, DeleteOptions::default()).await.unwrap();
                            } else {
                                node.put(object.id, version(n), PutOptions::default())
                                    .await
                                    .unwrap();
                            }
                            object.acknowledged.store(n, Ordering::SeqCst);
                        }
                    }
                })
            })
            .collect();
        let readers: Vec<_> = (0..4)
            .map(|r| {
                let (node, objects, done) = (node.clone(), Arc::clone(&objects), Arc::clone(&done));
                tokio::spawn(async move {
                    let mut reads = 0u64;
                    for turn in r.. {
                        if done.load(Ordering::SeqCst) {
                            break;
                        }
                        // A read from memory never waits, and would keep the writers from running.
                        tokio::task::yield_now().await;
                        let object = &objects[turn * 5 % objects.len()];
                        let before = object.acknowledged.load(Ordering::SeqCst);
                        match node.get(object.id, GetOptions::default()).await {
                            Ok(got) => {
                                let size = got.meta.size;
                                let body = got.body.collect(usize::MAX).await.unwrap();
                                assert_eq!(body.len() as u64, size);
                                let seen = read_version(&body);
                                assert!(
                                    seen >= before,
                                    "read {seen} after {before} was acknowledged"
                                );
                            }
                            Err(error) => {
                                assert_eq!(error.kind(), ErrorKind::Deleted, "{error:?}");
                                // A tombstone: of this seventh version or a later one.
                                let after = object.acknowledged.load(Ordering::SeqCst);
                                assert!((before..=after + 1).any(|n| n % 7 == 0 && n > 0));
                            }
                        }
                        reads += 1;
                    }
                    reads
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        done.store(true, Ordering::SeqCst);
        for reader in readers {
            assert!(reader.await.unwrap() > 0);
        }
        node.shutdown().await.unwrap();
    }
}

/// Whoever comes first makes the directory that stands in for the bucket; nobody stumbles over it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nodes_that_start_at_once_before_one_new_directory_all_start() {
    for _ in 0..10 {
        let dir = tempfile::tempdir().unwrap();
        let starting = (0..6).map(|number| {
            let own = dir.path().join(number.to_string());
            let builder = Node::builder()
                .state_dir(own.join("state"))
                .files_dir(own.join("files"))
                .remote_dir(dir.path().join("shared"));
            tokio::spawn(async move { builder.start().await })
        });
        let started: Vec<_> = starting.collect();
        for node in started {
            node.await.unwrap().expect("the node starts").shutdown().await.unwrap();
        }
    }
}
