//! A cache that is full makes room, and what it lets go is always to be had elsewhere.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::large_futures)]

mod support;

use std::sync::Arc;

use objstore_core::options::{DeleteOptions, GetOptions, PutOptions};
use objstore_core::remote::{MemoryRemote, RemoteAttributes, RemoteCondition, RemoteStore};
use objstore_core::testing::{CallKind, CountingRemote};
use objstore_core::types::{Level, ObjectId, ObjectKey};
use objstore_core::{ErrorKind, Node, Settings};
use support::read;

const MIB: usize = 1 << 20;
/// The least quota a node takes; about half of it is set aside for the journal's log.
const QUOTA: u64 = Settings::MIN_MAX_BYTES;

/// A node on a disk with the least quota, before a bucket that counts.
struct Full {
    node: Node,
    bucket: Arc<CountingRemote>,
    dir: tempfile::TempDir,
}

impl Full {
    async fn start() -> Self {
        let bucket = Arc::new(CountingRemote::new(Arc::new(MemoryRemote::new("bucket"))));
        let dir = tempfile::tempdir().unwrap();
        let node = node_in(&dir, bucket.clone()).await;
        Self { node, bucket, dir }
    }

    async fn put(&self, level: Level, body: Vec<u8>) -> ObjectId {
        let id = self.node.new_id();
        self.node.put(id, body, PutOptions::default().level(level)).await.unwrap();
        id
    }

    /// Puts a key into the bucket behind the node's back.
    async fn foreign(&self, key: &str, body: Vec<u8>) -> ObjectKey {
        let attributes = RemoteAttributes::default();
        self.bucket.put(key, body.into(), &attributes, RemoteCondition::None).await.unwrap();
        ObjectKey::new(key).unwrap()
    }

    async fn read_key(&self, key: &ObjectKey) -> Vec<u8> {
        let object = self.node.get_key(key, GetOptions::default()).await.unwrap();
        object.body.collect(usize::MAX).await.unwrap().to_vec()
    }

    fn gets(&self) -> u64 {
        self.bucket.calls(CallKind::Get)
    }

    /// Bytes that files and journal really take.
    fn on_disk(&self) -> u64 {
        use std::os::unix::fs::MetadataExt;
        fn sum(dir: &std::path::Path) -> u64 {
            let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
            entries
                .map(|entry| match entry.metadata() {
                    Ok(meta) if meta.is_dir() => sum(&entry.path()),
                    Ok(meta) => meta.blocks() * 512,
                    Err(_) => 0,
                })
                .sum()
        }
        sum(self.dir.path())
    }
}

async fn node_in(dir: &tempfile::TempDir, bucket: Arc<dyn RemoteStore>) -> Node {
    let mut settings = Settings::default();
    settings.state_dir = dir.path().join("state");
    settings.files_dir = dir.path().join("files");
    settings.max_bytes = Some(QUOTA);
    settings.memory_bytes = Some(0);
    Node::builder().settings(settings).remote(bucket).start().await.unwrap()
}

/// A body that tells which one it is.
fn body(number: usize, len: usize) -> Vec<u8> {
    let mut body = support::pattern(len);
    body[..8].copy_from_slice(&(number as u64).to_be_bytes());
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn three_times_the_quota_goes_through_a_full_cache_and_all_of_it_comes_back() {
    let full = Full::start().await;
    let len = 3 * MIB + 77;
    let mut put = Vec::new();
    while (put.len() * len) < 3 * usize::try_from(QUOTA).unwrap() {
        put.push(full.put(Level::Remote, body(put.len(), len)).await);
    }
    assert!(full.on_disk() <= QUOTA + 2 * MIB as u64, "{} bytes on disk", full.on_disk());
    let stats = full.node.stats().bodies;
    assert!(stats.evicted > 0 && stats.evicted_bytes > QUOTA, "{stats:?}");
    assert_eq!(full.node.stats().journal.objects, put.len() as u64, "no record goes");
    for (number, id) in put.iter().enumerate() {
        assert!(read(&full.node, *id).await.unwrap() == body(number, len), "{id}");
    }
    assert!(full.gets() > 0, "some of them came from the bucket");
}

#[tokio::test(flavor = "multi_thread")]
async fn small_bodies_make_room_as_well() {
    let full = Full::start().await;
    let len = 60_000;
    let mut put = Vec::new();
    // Many at a time, as they come in life.
    while (put.len() * len) < 2 * usize::try_from(QUOTA).unwrap() {
        let bodies = (put.len()..put.len() + 64).map(|number| body(number, len));
        let puts = bodies.map(|body| full.put(Level::Remote, body));
        put.extend(futures_util::future::join_all(puts).await);
    }
    assert!(full.node.stats().bodies.evicted > 0);
    for (number, id) in put.iter().enumerate().step_by(7) {
        assert!(read(&full.node, *id).await.unwrap() == body(number, len), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_only_copy_is_never_evicted() {
    let full = Full::start().await;
    let len = 2 * MIB;
    let mut kept = Vec::new();
    let refused = loop {
        // What is elsewhere too gives way to what is not.
        if let Ok(id) = full.put_or(Level::Remote, body(1_000_000, len)).await {
            assert!(read(&full.node, id).await.unwrap() == body(1_000_000, len));
        }
        match full.put_or(Level::Local, body(kept.len(), len)).await {
            Ok(id) => kept.push(id),
            Err(error) => break error,
        }
    };
    assert_eq!(refused.kind(), ErrorKind::StorageFull);
    assert!(kept.len() * len > 40 * MIB, "{} bodies of level 0", kept.len());
    for (number, id) in kept.iter().enumerate() {
        assert!(read(&full.node, *id).await.unwrap() == body(number, len), "{id}");
        assert!(!full.node.evict(*id).await.unwrap(), "not when asked to either");
    }
    // And what is deleted makes room again.
    for id in &kept[..4] {
        full.node.delete(*id, DeleteOptions::default()).await.unwrap();
    }
    full.put(Level::Local, body(7, len)).await;
}

impl Full {
    async fn put_or(&self, level: Level, body: Vec<u8>) -> Result<ObjectId, objstore_core::Error> {
        let id = self.node.new_id();
        let options = PutOptions::default().level(level);
        self.node.put(id, body, options).await.map(|_| id)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_read_once_leave_no_more_behind_than_fits() {
    let full = Full::start().await;
    let len = MIB;
    let count = 2 * usize::try_from(QUOTA).unwrap() / len;
    for number in 0..count {
        let key = full.foreign(&format!("data/{number}"), body(number, len)).await;
        assert!(full.read_key(&key).await == body(number, len), "{key}");
    }
    assert!(full.on_disk() <= QUOTA + 2 * MIB as u64, "{} bytes on disk", full.on_disk());
    assert!(full.node.stats().bodies.evicted > 0);
    let before = full.gets();
    let last = ObjectKey::new(&format!("data/{}", count - 1)).unwrap();
    assert!(full.read_key(&last).await == body(count - 1, len));
    assert_eq!(full.gets(), before, "what came last is still here");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_again_and_again_stays() {
    let full = Full::start().await;
    let len = MIB;
    let hot = full.foreign("hot", body(42, len)).await;
    full.read_key(&hot).await;
    for number in 0..2 * usize::try_from(QUOTA).unwrap() / len {
        let key = full.foreign(&format!("cold/{number}"), body(number, len)).await;
        full.read_key(&key).await;
        assert!(full.read_key(&hot).await == body(42, len));
    }
    let of_hot = full.bucket.gets().into_iter().filter(|(key, _)| key == "hot").count();
    assert_eq!(of_hot, 1, "it was asked for once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_goes_only_when_the_bucket_says_that_it_has_this_very_version() {
    let full = Full::start().await;
    let id = full.put(Level::Remote, body(1, MIB)).await;
    let key = id.to_string();
    let theirs = full.bucket.get(&key, Default::default()).await.unwrap();
    let attributes = theirs.head.attributes.clone();
    let theirs = theirs.body.collect(usize::MAX).await.unwrap();

    // Somebody removed it there.
    full.bucket.delete(&key, RemoteCondition::None).await.unwrap();
    assert!(!full.node.evict(id).await.unwrap());
    assert!(read(&full.node, id).await.unwrap() == body(1, MIB));
    assert_eq!(full.gets(), 1, "it is here");
    // Somebody put something else there.
    let other = RemoteAttributes::default();
    let put = full.bucket.put(&key, "else".into(), &other, RemoteCondition::None);
    put.await.unwrap();
    assert!(!full.node.evict(id).await.unwrap());
    // It is back.
    let put = full.bucket.put(&key, theirs, &attributes, RemoteCondition::None);
    put.await.unwrap();
    assert!(full.node.evict(id).await.unwrap());
    assert!(full.node.evict(id).await.unwrap(), "once more changes nothing");
    full.node
        .delete(full.put(Level::Local, body(2, 9)).await, DeleteOptions::default())
        .await
        .unwrap();
    assert!(read(&full.node, id).await.unwrap() == body(1, MIB));
    assert!(full.gets() > 1, "it came from the bucket");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_every_node_is_to_hold_stays() {
    let full = Full::start().await;
    let id = full.put(Level::Full, body(1, MIB)).await;
    assert!(!full.node.evict(id).await.unwrap());
    let waits = full.node.new_id();
    let nobody = full.node.evict(waits).await.unwrap_err();
    assert_eq!(nobody.kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_reads_a_body_reads_it_to_its_end_whatever_is_evicted() {
    let full = Full::start().await;
    let len = 8 * MIB;
    let id = full.put(Level::Remote, body(1, len)).await;
    let mut object = full.node.get(id, GetOptions::default()).await.unwrap();
    let first = object.body.chunk().await.unwrap().unwrap();
    assert!(full.node.evict(id).await.unwrap());
    let (a, b) = tokio::join!(read(&full.node, id), read(&full.node, id));
    assert!(a.unwrap() == body(1, len) && b.unwrap() == body(1, len));
    assert!(full.node.evict(id).await.unwrap());
    let rest = object.body.collect(usize::MAX).await.unwrap();
    assert!([first, rest].concat() == body(1, len));
    // A start after that finds what is here, and no more.
    let Full { node, bucket, dir } = full;
    node.shutdown().await.unwrap();
    drop(node);
    let node = node_in(&dir, bucket.clone()).await;
    assert!(read(&node, id).await.unwrap() == body(1, len));
}
