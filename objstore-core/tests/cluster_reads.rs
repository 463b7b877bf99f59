//! Reads of what another node has, and what becomes of that node in the middle of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::large_futures)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use objstore_core::options::{ByteRange, DeleteOptions, GetOptions, PutOptions};
use objstore_core::remote::MemoryRemote;
use objstore_core::testing::Link;
use objstore_core::types::ObjectId;
use objstore_core::{Body, Error, ErrorKind};
use support::nodes::{Nodes, got, known};
use support::{pattern, until};

async fn nodes(count: usize) -> Nodes {
    Nodes::start(count, |_| Arc::new(MemoryRemote::new("bucket")), |_| {}).await
}

/// Puts a body of level 0 on the first node, of which the last one then knows.
async fn put(nodes: &Nodes, body: &[u8]) -> ObjectId {
    let id = nodes[0].new_id();
    nodes[0].put(id, body.to_vec(), PutOptions::default()).await.unwrap();
    known(&nodes[nodes.members.len() - 1], id).await;
    id
}

/// A body that the second node reads from the first, and has read the beginning of.
async fn begun(nodes: &Nodes, id: ObjectId) -> (Body, Vec<u8>) {
    nodes.network.set(0, 1, Link { bytes_per_second: 5_000_000, ..Link::default() });
    let object = nodes[1].get(id, GetOptions::default()).await.unwrap();
    assert!(object.meta.is_symlink);
    let (mut rest, mut beginning) = (object.body, Vec::new());
    while beginning.len() < 1_000_000 {
        beginning.extend_from_slice(&rest.chunk().await.unwrap().unwrap());
    }
    (rest, beginning)
}

async fn read_on(mut rest: Body, mut beginning: Vec<u8>) -> Result<Vec<u8>, Error> {
    while let Some(chunk) = rest.chunk().await {
        beginning.extend_from_slice(&chunk?);
    }
    Ok(beginning)
}

/// The third node has the beginning of it, and says so; that is not enough to begin.
#[tokio::test(start_paused = true)]
async fn a_body_of_which_others_have_only_a_part_is_not_begun_when_the_rest_is_out_of_reach() {
    let nodes = nodes(3).await;
    let body = pattern(3_000_000);
    let id = put(&nodes, &body).await;
    let mut part = GetOptions::default();
    part.range = Some(ByteRange::FromTo(0, 199_999));
    // What is wanted twice is kept.
    known(&nodes[1], id).await;
    for _ in 0..2 {
        assert!(got(&nodes[1], id, part.clone()).await.unwrap().body == body[..200_000]);
    }
    nodes.cut(0, true);
    let away = nodes[2].get(id, GetOptions::default()).await.unwrap_err();
    assert_eq!(away.kind(), ErrorKind::Unavailable);
    let read = got(&nodes[2], id, part.clone()).await.unwrap();
    assert!(read.body == body[..200_000]);
    nodes.cut(0, false);
    until("it is read again", async || {
        got(&nodes[2], id, GetOptions::default()).await.is_ok_and(|got| got.body == body)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_read_goes_on_when_the_object_is_overwritten_where_its_body_is() {
    let nodes = nodes(2).await;
    let (old, new) = (pattern(20_000_000), pattern(9));
    let id = put(&nodes, &old).await;
    let (rest, beginning) = begun(&nodes, id).await;
    nodes[0].put(id, new.clone(), PutOptions::default()).await.unwrap();
    assert!(read_on(rest, beginning).await.unwrap() == old);
    until("the new one is read", async || {
        got(&nodes[1], id, GetOptions::default()).await.is_ok_and(|got| got.body == new)
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_read_goes_on_when_the_object_is_deleted_where_its_body_is() {
    let nodes = nodes(2).await;
    let old = pattern(20_000_000);
    let id = put(&nodes, &old).await;
    let (rest, beginning) = begun(&nodes, id).await;
    nodes[0].delete(id, DeleteOptions::default()).await.unwrap();
    assert!(read_on(rest, beginning).await.unwrap() == old);
    until("it is deleted here too", async || {
        let read = got(&nodes[1], id, GetOptions::default()).await;
        read.is_err_and(|error| error.kind() == ErrorKind::Deleted)
    })
    .await;
}

/// Nobody else has it, so it gives the rest before it goes; nothing new is begun.
#[tokio::test(start_paused = true)]
async fn a_node_that_stops_gives_the_rest_of_what_another_is_reading() {
    let nodes = nodes(2).await;
    let body = pattern(20_000_000);
    let id = put(&nodes, &body).await;
    let other = put(&nodes, &body).await;
    let (rest, beginning) = begun(&nodes, id).await;
    let stopping = tokio::spawn({
        let node = nodes[0].clone();
        async move { node.shutdown().await }
    });
    until("it stops", async || nodes[0].get(id, GetOptions::default()).await.is_err()).await;
    let refused = nodes[1].get(other, GetOptions::default()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    assert!(!stopping.is_finished());
    assert!(read_on(rest, beginning).await.unwrap() == body);
    stopping.await.unwrap().unwrap();
}

/// A reader that went away does not keep a node from stopping.
#[tokio::test(start_paused = true)]
async fn a_node_that_stops_does_not_wait_for_a_reader_that_is_gone() {
    let nodes = nodes(2).await;
    let id = put(&nodes, &pattern(20_000_000)).await;
    let (rest, _) = begun(&nodes, id).await;
    drop(rest);
    let began = tokio::time::Instant::now();
    nodes[0].shutdown().await.unwrap();
    // The clock of this runtime is the network's and stands still while anything is done.
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

/// As when a process is stopped for a moment: no shorter than it takes to find out that a node is gone.
#[tokio::test(start_paused = true)]
async fn a_read_waits_for_the_only_node_that_has_the_rest() {
    let nodes = nodes(2).await;
    let body = pattern(20_000_000);
    let id = put(&nodes, &body).await;
    let (rest, beginning) = begun(&nodes, id).await;
    nodes.cut(0, true);
    let reading = tokio::spawn(read_on(rest, beginning));
    tokio::time::sleep(Duration::from_secs(6)).await;
    nodes.cut(0, false);
    assert!(reading.await.unwrap().unwrap() == body);
}

#[tokio::test(start_paused = true)]
async fn a_read_ends_when_the_only_node_that_has_the_rest_is_gone_for_good() {
    let nodes = nodes(2).await;
    let id = put(&nodes, &pattern(20_000_000)).await;
    let (rest, beginning) = begun(&nodes, id).await;
    nodes.kill(0);
    assert_eq!(read_on(rest, beginning).await.unwrap_err().kind(), ErrorKind::Unavailable);
}

/// It sends as many bodies at a time as it takes, and what it has besides is not lost.
#[tokio::test(start_paused = true)]
async fn what_a_busy_node_has_is_not_called_lost() {
    let nodes = nodes(2).await;
    let mut ids = Vec::new();
    for _ in 0..300 {
        ids.push(put(&nodes, &pattern(200_000)).await);
    }
    nodes.network.set(0, 1, Link { bytes_per_second: 100_000, ..Link::default() });
    let mut reads = tokio::task::JoinSet::new();
    for id in ids {
        let node = nodes[1].clone();
        reads.spawn(async move { got(&node, id, GetOptions::default()).await.map(drop) });
    }
    let mut busy = 0;
    for read in reads.join_all().await {
        let Err(error) = read else { continue };
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        busy += 1;
    }
    assert!(busy > 0);
}
