//! Objects that only the bucket has, read through several nodes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::large_futures)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use objstore_core::options::{DeleteOptions, GetOptions, PutOptions};
use objstore_core::remote::{MemoryRemote, RemoteStore};
use objstore_core::testing::{CallKind, CountingRemote, SlowRemote};
use objstore_core::types::{Level, ObjectId, ObjectKey};
use objstore_core::{ErrorKind, FillSettings};
use support::nodes::{Nodes, got};
use support::{node_before, pattern, until};

const BLOCK: usize = 1 << 20;

/// A bucket that is slow and counted, with one object in it.
struct Bucket {
    memory: Arc<MemoryRemote>,
    counting: Arc<CountingRemote>,
    id: ObjectId,
    body: Vec<u8>,
}

impl Bucket {
    async fn with(len: usize) -> Self {
        let memory = Arc::new(MemoryRemote::new("bucket"));
        let writer = node_before(memory.clone(), |_| {}).await;
        let (id, body) = (writer.new_id(), pattern(len));
        writer.put(id, body.clone(), PutOptions::default().level(Level::Remote)).await.unwrap();
        writer.shutdown().await.unwrap();
        let slow = SlowRemote::new(memory.clone(), Duration::from_millis(20), 100 << 20);
        let counting = Arc::new(CountingRemote::new(Arc::new(slow)));
        Self { memory, counting, id, body }
    }

    /// The bucket as one node has it, counted for it alone as well.
    fn for_node(&self) -> Arc<CountingRemote> {
        Arc::new(CountingRemote::new(self.counting.clone()))
    }

    fn blocks(&self) -> usize {
        self.body.len().div_ceil(BLOCK)
    }
}

async fn three(bucket: &Bucket) -> (Nodes, Vec<Arc<CountingRemote>>) {
    let remotes: Vec<_> = (0..3).map(|_| bucket.for_node()).collect();
    let remote = |host: usize| -> Arc<dyn RemoteStore> { remotes[host].clone() };
    let nodes = Nodes::start(3, remote, |settings| settings.fill.block_bytes = BLOCK as u64).await;
    (nodes, remotes)
}

#[tokio::test(start_paused = true)]
async fn of_300_readers_on_three_nodes_one_asks_for_each_block() {
    let bucket = Bucket::with(5 * BLOCK + 12_345).await;
    let (nodes, remotes) = three(&bucket).await;
    let readers = (0..300).map(|n| {
        let node = nodes[n % 3].clone();
        tokio::spawn(async move { got(&node, bucket.id, GetOptions::default().fetch()).await })
    });
    for read in join_all(readers).await {
        assert!(read.unwrap().unwrap().body == bucket.body);
    }
    let mut asked: Vec<_> =
        bucket.counting.gets().into_iter().map(|(_, range)| range.unwrap()).collect();
    asked.sort_by_key(|range| range.start);
    assert_eq!(asked.len(), bucket.blocks(), "{asked:?}");
    assert_eq!(bucket.counting.all_calls(), bucket.blocks() as u64, "and nothing else");
    let askers = remotes.iter().filter(|remote| remote.all_calls() > 0).count();
    assert_eq!(askers, 1, "one node alone");
}

/// The node that asks dies while blocks are under way: others ask for these once more.
#[tokio::test(start_paused = true)]
async fn when_the_node_that_asks_dies_the_blocks_under_way_are_asked_for_once_more() {
    let bucket = Bucket::with(24 * BLOCK).await;
    let (nodes, remotes) = three(&bucket).await;
    // Which one it is shows a first read.
    got(&nodes[0], bucket.id, GetOptions::default().fetch().range(0..=0)).await.unwrap();
    let owner = remotes.iter().position(|remote| remote.all_calls() > 0).unwrap();
    let readers: Vec<_> = (0..100)
        .map(|n| {
            let node = nodes[(owner + 1 + n % 2) % 3].clone();
            tokio::spawn(async move { got(&node, bucket.id, GetOptions::default().fetch()).await })
        })
        .collect();
    until("some of it has come", async || bucket.counting.gets().len() > 8).await;
    let asked_for = |remote: &CountingRemote| {
        let ranges = remote.gets().into_iter().map(|(_, range)| range.unwrap());
        ranges.map(|range| range.end - range.start).sum::<u64>()
    };
    let before = asked_for(&bucket.counting);
    nodes.kill(owner);
    for reader in readers {
        assert!(reader.await.unwrap().unwrap().body == bucket.body);
    }
    let others = remotes.iter().enumerate().filter(|(n, _)| *n != owner);
    let after: u64 = others.map(|(_, remote)| asked_for(remote)).sum();
    assert!(after > 0, "somebody else has asked");
    // Of what had been asked for, as much had not come to the readers' nodes yet as is kept going
    // ahead of a reader, besides what that one waits for.
    let under_way = (FillSettings::default().parallel + 1) * BLOCK;
    let rest = bucket.body.len() as u64 - before;
    assert!(after <= rest + under_way as u64, "{after} for {rest}, {under_way} under way");
}

#[tokio::test(start_paused = true)]
async fn a_key_is_asked_for_once_by_three_nodes_and_a_change_is_seen_by_all() {
    let bucket = Bucket::with(1).await;
    let (nodes, remotes) = three(&bucket).await;
    let key = ObjectKey::new("a/b c.bin").unwrap();
    let body = pattern(2 * BLOCK + 77);
    nodes[0].put_key(&key, body.clone(), PutOptions::default()).await.unwrap();
    bucket.counting.reset();
    let read = async |n: usize| {
        let object = nodes[n].get_key(&key, GetOptions::default()).await?;
        object.body.collect(usize::MAX).await
    };
    for _ in 0..20 {
        for n in 1..3 {
            assert!(read(n).await.unwrap() == body);
        }
    }
    // The writer has it already; of the others one asks, whoever's turn it is.
    let asked: Vec<_> = remotes.iter().map(|remote| remote.gets()).collect();
    assert!(bucket.counting.calls(CallKind::Get) <= 3, "{asked:?}");
    for (n, text) in ["two", "three", "four"].into_iter().enumerate() {
        nodes[n].put_key(&key, text, PutOptions::default()).await.unwrap();
        for reader in 0..3 {
            assert_eq!(read(reader).await.unwrap(), text, "put on {n}, read on {reader}");
        }
    }
    nodes[1].delete_key(&key, DeleteOptions::default()).await.unwrap();
    for n in 0..3 {
        assert_eq!(read(n).await.unwrap_err().kind(), ErrorKind::NotFound);
    }
    let _ = &bucket.memory;
}

#[tokio::test(start_paused = true)]
async fn what_the_bucket_does_not_have_is_asked_for_once() {
    let bucket = Bucket::with(1).await;
    let (nodes, _) = three(&bucket).await;
    let id = nodes[0].new_id();
    for n in 0..3 {
        let missing = got(&nodes[n], id, GetOptions::default().fetch()).await.unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }
    assert_eq!(bucket.counting.all_calls(), 1);
}
