//! Bodies that other nodes have, and copies that every node is to have.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::large_futures)]

mod support;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use objstore_core::env::{Listening, Network, NetworkFuture};
use objstore_core::journal::{Batch, JournalStore, Space};
use objstore_core::options::{ByteRange, DeleteOptions, GetOptions, PutOptions, WriteMode};
use objstore_core::remote::{MemoryRemote, RemoteCondition, RemotePart, RemoteStore};
use objstore_core::testing::{CountingRemote, Link, Steps};
use objstore_core::types::Level;
use objstore_core::{Body, Error, ErrorKind, PrivateService};
use support::nodes::{Nodes, got, known};
use support::{Ask, Running, pattern, until};

fn bucket() -> Arc<CountingRemote> {
    Arc::new(CountingRemote::new(Arc::new(MemoryRemote::new("bucket"))))
}

async fn nodes(count: usize, bucket: &Arc<CountingRemote>) -> Nodes {
    let remote = |_| -> Arc<dyn RemoteStore> { bucket.clone() };
    Nodes::start(count, remote, |_| {}).await
}

fn at(level: Level) -> PutOptions {
    PutOptions::default().level(level)
}

#[tokio::test(start_paused = true)]
async fn a_body_on_another_node_streams_from_it() {
    let bucket = bucket();
    let nodes = nodes(2, &bucket).await;
    for len in [0, 9, 65_536, 65_537, 3_000_000] {
        let (id, body) = (nodes[0].new_id(), pattern(len));
        nodes[0].put(id, body.clone(), PutOptions::default()).await.unwrap();
        known(&nodes[1], id).await;
        let first = got(&nodes[1], id, GetOptions::default()).await.unwrap();
        assert!(first.body == body, "{len}");
        assert_eq!((first.symlink, first.fetched), (len > 0, false), "{len}");
        let again = got(&nodes[1], id, GetOptions::default()).await.unwrap();
        assert!(again.body == body && !again.symlink, "{len}: a copy is here now");
    }
    assert_eq!(bucket.all_calls(), 0, "the bucket has nothing to do with it");
}

#[tokio::test(start_paused = true)]
async fn ranges_and_conditions_hold_for_what_another_node_has() {
    let nodes = nodes(2, &bucket()).await;
    let (id, body) = (nodes[0].new_id(), pattern(1_000_000));
    let meta = nodes[0].put(id, body.clone(), PutOptions::default()).await.unwrap();
    known(&nodes[1], id).await;
    let second = Running::serve(nodes[1].clone(), Ipv4Addr::LOCALHOST).await;
    let tag = meta.etag.as_ref().unwrap().to_string();
    let id = id.to_string();
    let reply = second.ask(Ask::get(&id).field("If-None-Match", &tag)).await;
    assert_eq!(reply.status, 304);
    let reply = second.ask(Ask::get(&id).field("If-Match", "\"other\"")).await;
    assert_eq!(reply.status, 412);
    let reply = second.ask(Ask::get(&id).field("Range", "bytes=700000-700009")).await;
    assert_eq!((reply.status, reply.body.as_slice()), (206, &body[700_000..700_010]));
    assert_eq!(reply.must("x-meta-symlink"), "true");
    assert_eq!(reply.must("content-range"), "bytes 700000-700009/1000000");
    let reply = second.ask(Ask::get(&id)).await;
    assert_eq!((reply.status, reply.must("etag")), (200, tag.as_str()));
    assert!(reply.body == body);
}

/// In the middle of a body the node that sends it dies; another that has a copy goes on.
#[tokio::test(start_paused = true)]
async fn a_read_goes_on_when_the_node_that_sends_dies() {
    let nodes = nodes(3, &bucket()).await;
    let (id, body) = (nodes[0].new_id(), pattern(20_000_000));
    nodes[0].put(id, body.clone(), PutOptions::default()).await.unwrap();
    known(&nodes[2], id).await;
    // The second has a copy, of which the third does not know.
    known(&nodes[1], id).await;
    assert!(got(&nodes[1], id, GetOptions::default()).await.unwrap().body == body);
    let slow = Link { bytes_per_second: 5_000_000, ..Link::default() };
    nodes.network.set(0, 2, slow);
    let object = nodes[2].get(id, GetOptions::default()).await.unwrap();
    assert!(object.meta.is_symlink);
    let mut read = object.body;
    let mut all = Vec::new();
    while all.len() < 1_000_000 {
        all.extend_from_slice(&read.chunk().await.unwrap().unwrap());
    }
    nodes.kill(0);
    while let Some(chunk) = read.chunk().await {
        all.extend_from_slice(&chunk.unwrap());
    }
    assert!(all == body);
}

#[tokio::test(start_paused = true)]
async fn a_lost_body_of_level_0_says_so_and_one_out_of_reach_does_not() {
    let nodes = nodes(3, &bucket()).await;
    let id = nodes[0].new_id();
    nodes[0].put(id, pattern(100_000), PutOptions::default()).await.unwrap();
    known(&nodes[1], id).await;
    nodes.cut(0, true);
    let away = got(&nodes[1], id, GetOptions::default()).await.unwrap_err();
    assert_eq!(away.kind(), ErrorKind::Unavailable);
    nodes.cut(0, false);
    until("it is read again", async || got(&nodes[1], id, GetOptions::default()).await.is_ok())
        .await;
}

/// Said at once, and not where the part that is here ends.
#[tokio::test(start_paused = true)]
async fn a_body_of_which_only_a_part_is_here_is_not_begun_when_the_rest_is_out_of_reach() {
    let nodes = nodes(3, &bucket()).await;
    let (id, body) = (nodes[0].new_id(), pattern(3_000_000));
    nodes[0].put(id, body.clone(), PutOptions::default()).await.unwrap();
    known(&nodes[1], id).await;
    let mut part = GetOptions::default();
    part.range = Some(ByteRange::FromTo(0, 199_999));
    for _ in 0..2 {
        assert!(got(&nodes[1], id, part.clone()).await.unwrap().body == body[..200_000]);
    }
    nodes.cut(0, true);
    let away = nodes[1].get(id, GetOptions::default()).await.unwrap_err();
    assert_eq!(away.kind(), ErrorKind::Unavailable);
    assert!(got(&nodes[1], id, part.clone()).await.unwrap().body == body[..200_000]);
    nodes.cut(0, false);
    until("it is read again", async || {
        got(&nodes[1], id, GetOptions::default()).await.is_ok_and(|got| got.body == body)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_object_of_level_2_is_on_every_node_when_its_put_is_answered() {
    let bucket = bucket();
    let mut nodes = nodes(3, &bucket).await;
    let mut put = Vec::new();
    for len in [9, 500_000] {
        let (id, body) = (nodes[0].new_id(), pattern(len));
        let meta = nodes[0].put(id, body.clone(), at(Level::Full)).await.unwrap();
        assert_eq!(meta.replicas.unwrap().to_string(), "3/3");
        put.push((id, body));
    }
    // One that is raised later.
    let (id, body) = (nodes[1].new_id(), pattern(300_000));
    nodes[1].put(id, body.clone(), at(Level::Remote)).await.unwrap();
    let meta = nodes[1].set_level(id, Level::Full, WriteMode::Default).await.unwrap();
    assert_eq!(meta.replicas.unwrap().to_string(), "3/3");
    put.push((id, body));
    // One that is raised by a node that has no copy.
    for len in [9, 300_000] {
        let (id, body) = (nodes[1].new_id(), pattern(len));
        nodes[1].put(id, body.clone(), PutOptions::default()).await.unwrap();
        known(&nodes[0], id).await;
        let meta = nodes[0].set_level(id, Level::Full, WriteMode::Default).await.unwrap();
        assert_eq!(meta.replicas.unwrap().to_string(), "3/3");
        let again = nodes[0].set_level(id, Level::Full, WriteMode::Default).await.unwrap();
        assert_eq!(again.replicas.unwrap().to_string(), "3/3");
        put.push((id, body));
    }
    for (id, _) in &put {
        known(&nodes[2], *id).await;
    }
    bucket.reset();
    // The power of all goes out; of one what was synced is looked at, alone.
    for member in 0..3 {
        nodes.kill(member);
    }
    let old = nodes.members.remove(2);
    nodes.members.clear();
    let power = Steps::count();
    let disk = Arc::new(old.disk.after_power_cut(power.clone()));
    let journal = Arc::new(old.journal.after_power_cut(power.clone()));
    let alone = nodes.begin(7, bucket.clone(), |_| {}, (power, disk, journal)).await;
    for (id, body) in put {
        let read = got(&alone.node, id, GetOptions::default()).await;
        let read = read.unwrap_or_else(|e| panic!("{} bytes: {e}", body.len()));
        assert!(read.body == body && !read.symlink && !read.fetched);
    }
    assert_eq!(bucket.gets().len(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_joins_gets_copies_of_level_2() {
    let bucket = bucket();
    let nodes = nodes(2, &bucket).await;
    nodes.cut(1, true);
    let mut put = Vec::new();
    for len in [9, 500_000] {
        let (id, body) = (nodes[0].new_id(), pattern(len));
        let mut options = at(Level::Full);
        options.min_replicas = Some(1);
        let meta = nodes[0].put(id, body.clone(), options).await.unwrap();
        assert_eq!(meta.replicas.unwrap().synced, 1);
        put.push((id, body));
    }
    nodes.cut(1, false);
    for (id, body) in put {
        nodes[0].set_level(id, Level::Full, WriteMode::Default).await.unwrap();
        // Overwritten, as an announce that got lost is made good by the comparison of journals.
        nodes[0].put(id, body.clone(), at(Level::Full)).await.unwrap();
        known(&nodes[1], id).await;
        until("it is held", async || {
            let read = got(&nodes[1], id, GetOptions::default()).await.unwrap();
            read.body == body && !read.symlink
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn fewer_replicas_than_asked_for_are_not_acknowledged() {
    let nodes = nodes(2, &bucket()).await;
    let put = async |least: u32, level: Level| {
        let mut options = at(level);
        options.min_replicas = Some(least);
        nodes[0].put(nodes[0].new_id(), pattern(1000), options).await
    };
    assert_eq!(put(2, Level::Full).await.unwrap().replicas.unwrap().synced, 2);
    assert_eq!(put(3, Level::Full).await.unwrap_err().kind(), ErrorKind::TooFewReplicas);
    assert_eq!(put(2, Level::Remote).await.unwrap_err().kind(), ErrorKind::InvalidRequest);
    nodes.cut(1, true);
    let begun = tokio::time::Instant::now();
    assert_eq!(put(2, Level::Full).await.unwrap_err().kind(), ErrorKind::TooFewReplicas);
    assert!(begun.elapsed() < Duration::from_secs(3), "it is waited for, and not for long");
    assert_eq!(put(1, Level::Full).await.unwrap().replicas.unwrap().to_string(), "1/2");
}

#[tokio::test(start_paused = true)]
async fn a_damaged_body_is_healed_from_another_node() {
    let nodes = nodes(2, &bucket()).await;
    let (id, body) = (nodes[0].new_id(), pattern(400_000));
    nodes[0].put(id, body.clone(), PutOptions::default()).await.unwrap();
    known(&nodes[1], id).await;
    assert!(got(&nodes[1], id, GetOptions::default()).await.unwrap().body == body);
    let disk = &nodes.members[0].disk;
    let files = disk.files();
    let file = files.iter().find(|path| path.contains(&id.to_string())).unwrap();
    disk.damage(file, |bytes| bytes[32 * 1024 + 200_000] ^= 1);
    let healed = got(&nodes[0], id, GetOptions::default()).await.unwrap();
    assert!(healed.body == body, "the only damaged unit comes from the other");
    assert!(got(&nodes[0], id, GetOptions::default()).await.unwrap().body == body);
    nodes[0].delete(id, DeleteOptions::default()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_node_that_leaves_hands_over_what_only_it_has() {
    let bucket = bucket();
    let nodes = nodes(3, &bucket).await;
    let mut put = Vec::new();
    for len in [9, 300_000] {
        let (id, body) = (nodes[0].new_id(), pattern(len));
        nodes[0].put(id, body.clone(), PutOptions::default()).await.unwrap();
        put.push((id, body));
    }
    let drained = nodes[0].drain_to_peers().await.unwrap();
    assert_eq!((drained.handed_over, drained.remaining), (2, 0));
    nodes[0].shutdown().await.unwrap();
    nodes.kill(0);
    for node in 1..3 {
        for (id, body) in &put {
            known(&nodes[node], *id).await;
            assert!(got(&nodes[node], *id, GetOptions::default()).await.unwrap().body == *body);
        }
    }
    // Nobody is there to take over what the last but one has.
    nodes.kill(2);
    let (id, body) = (nodes[1].new_id(), pattern(100));
    nodes[1].put(id, body, PutOptions::default()).await.unwrap();
    let drained = nodes[1].drain_to_peers().await.unwrap();
    assert!(drained.remaining >= 1 && drained.first_remaining.contains(&id));
}

/// However long it takes: an answer has less time than a large body over a slow link.
#[tokio::test(start_paused = true)]
async fn large_bodies_are_handed_over_too() {
    let nodes = nodes(2, &bucket()).await;
    nodes.network.set(0, 1, Link { bytes_per_second: 2_000_000, ..Link::default() });
    let mut bodies = Vec::new();
    for _ in 0..3 {
        let (id, body) = (nodes[0].new_id(), pattern(10_000_000));
        nodes[0].put(id, body.clone(), PutOptions::default()).await.unwrap();
        bodies.push((id, body));
    }
    nodes[0].drain();
    let drained = nodes[0].drain_to_peers().await.unwrap();
    assert_eq!((drained.handed_over, drained.remaining), (3, 0));
    nodes[0].shutdown().await.unwrap();
    for (id, body) in bodies {
        assert!(got(&nodes[1], id, GetOptions::default()).await.unwrap().body == body);
    }
}

#[tokio::test(start_paused = true)]
async fn a_damaged_small_body_is_healed_from_another_node() {
    let bucket = bucket();
    let remote = |_| -> Arc<dyn RemoteStore> { bucket.clone() };
    let nodes = Nodes::start(2, remote, |settings| settings.memory_bytes = Some(0)).await;
    let (id, body) = (nodes[0].new_id(), pattern(1000));
    nodes[0].put(id, body.clone(), PutOptions::default()).await.unwrap();
    known(&nodes[1], id).await;
    // What is wanted once passes through, what is wanted again is kept.
    for _ in 0..2 {
        assert!(got(&nodes[1], id, GetOptions::default()).await.unwrap().body == body);
    }
    let journal = &nodes.members[0].journal;
    let bodies = journal.scan(Space::Bodies, None, 10).unwrap();
    let (key, value) = bodies.iter().find(|(key, _)| key.starts_with(&id.to_bytes())).unwrap();
    let mut damaged = value.to_vec();
    damaged[500] ^= 1;
    let mut batch = Batch::default();
    batch.put(Space::Bodies, key.clone(), damaged);
    journal.commit(&batch).unwrap();
    assert!(got(&nodes[0], id, GetOptions::default()).await.unwrap().body == body);
    assert_eq!(journal.get(Space::Bodies, key).unwrap().as_ref(), Some(value), "for good");
    until("nothing is left over", async || nodes.members[0].disk.files().is_empty()).await;
}

/// The winner of a race was stored once more, in parts of another length, so under another tag.
#[tokio::test(start_paused = true)]
async fn a_version_that_was_stored_again_is_read_under_its_new_tag() {
    let bucket = bucket();
    let nodes = nodes(2, &bucket).await;
    let (id, body) = (nodes[0].new_id(), pattern(300_000));
    nodes[0].put(id, body.clone(), at(Level::Remote)).await.unwrap();
    known(&nodes[1], id).await;
    nodes.cut(0, true);
    let key = id.to_string();
    let attributes = bucket.head(&key).await.unwrap().attributes;
    let upload = bucket.begin(&key, &attributes).await.unwrap();
    let etag = bucket.put_part(&key, &upload, 1, body.clone().into()).await.unwrap();
    let parts = [RemotePart { number: 1, etag }];
    bucket.complete(&key, &upload, &parts, RemoteCondition::None).await.unwrap();
    assert!(got(&nodes[1], id, GetOptions::default()).await.unwrap().body == body);
}

/// Flips a bit of each body that other nodes send.
#[derive(Debug)]
struct Flipping(Arc<dyn Network>);

impl Network for Flipping {
    fn resolve<'a>(
        &'a self,
        address: &'a str,
    ) -> NetworkFuture<'a, std::io::Result<Vec<std::net::SocketAddr>>> {
        self.0.resolve(address)
    }

    fn call<'a>(
        &'a self,
        to: &'a str,
        request: http::Request<Body>,
    ) -> NetworkFuture<'a, Result<http::Response<Body>, Error>> {
        Box::pin(async move {
            let is_body = request.uri().path().starts_with("/private/v1/get/");
            let (head, body) = self.0.call(to, request).await?.into_parts();
            if !is_body {
                return Ok(http::Response::from_parts(head, body));
            }
            let mut bytes = body.collect(usize::MAX).await?.to_vec();
            if let Some(byte) = bytes.last_mut() {
                *byte ^= 4;
            }
            Ok(http::Response::from_parts(head, bytes.into()))
        })
    }

    fn listen<'a>(
        &'a self,
        address: &'a str,
        service: PrivateService,
    ) -> NetworkFuture<'a, Result<Box<dyn Listening>, Error>> {
        self.0.listen(address, service)
    }
}

#[tokio::test(start_paused = true)]
async fn what_a_node_sends_is_verified_before_a_byte_leaves() {
    let bucket = bucket();
    let mut nodes = nodes(1, &bucket).await;
    nodes.between = |network| Arc::new(Flipping(network));
    nodes.join(bucket.clone(), |_| {}).await;
    for len in [9, 200_000] {
        let (id, body) = (nodes[0].new_id(), pattern(len));
        nodes[0].put(id, body.clone(), PutOptions::default()).await.unwrap();
        known(&nodes[1], id).await;
        let range = GetOptions::default().range(len as u64 - 5..=len as u64 - 1);
        let refused = got(&nodes[1], id, range).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unavailable, "{len}");
        // What the bucket has too comes from there.
        nodes[0].put(id, body.clone(), at(Level::Remote)).await.unwrap();
        let level = async || nodes[1].head(id).await.unwrap().consistency;
        until("the new version is known", async || level().await == Level::Remote).await;
        let read = got(&nodes[1], id, GetOptions::default()).await.unwrap();
        assert!(read.body == body, "{len}");
    }
}
