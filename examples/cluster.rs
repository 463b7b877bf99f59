//! Three nodes of one cluster in one program: what is put on the first is read on the third.
//!
//! Run it with `cargo run -p objstore-examples --example cluster`. In earnest each would be in a
//! program of its own, on a machine of its own. It keeps everything in memory and leaves nothing.
#![allow(clippy::print_stdout)]

use std::time::Duration;

use objstore_core::options::{GetOptions, PutOptions};
use objstore_core::types::{Level, PeerState};
use objstore_core::{Error, Node, Settings};

#[tokio::main]
async fn main() -> Result<(), Error> {
    // Each is told of one other, and finds the rest.
    let first = start(None).await?;
    let second = start(first.private_addr()).await?;
    let third = start(second.private_addr()).await?;
    let nodes = [&first, &second, &third];
    while nodes.iter().any(|node| living(node) < 2) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("three nodes, and each knows the two others");

    let id = first.new_id();
    first.put(id, "It works!", PutOptions::named("test.txt")?).await?;
    let object = third.get(id, GetOptions::default()).await?;
    println!("put on the first, read on the third: {}", text(object).await?);

    let precious = first.new_id();
    let everywhere = PutOptions::named("precious.txt")?.level(Level::Full);
    let meta = first.put(precious, "Keep me.", everywhere).await?;
    if let Some(replicas) = meta.replicas {
        println!("put at level 2: {replicas} nodes have it on their disks");
    }

    first.shutdown().await?;
    let object = second.get(precious, GetOptions::default()).await?;
    println!("the first is gone, the second still says: {}", text(object).await?);

    second.shutdown().await?;
    third.shutdown().await
}

async fn start(seed: Option<String>) -> Result<Node, Error> {
    let mut settings = Settings::default();
    settings.cluster.private_addr = Some("127.0.0.1:0".to_owned());
    settings.cluster.nodes = seed.into_iter().collect();
    Node::builder().settings(settings).in_memory().start().await
}

fn living(node: &Node) -> usize {
    node.peers().iter().filter(|peer| peer.state == PeerState::Alive).count()
}

async fn text(object: objstore_core::Object) -> Result<String, Error> {
    Ok(String::from_utf8_lossy(&object.body.collect(1024).await?).into_owned())
}
