//! A client of several nodes, over HTTP: a body goes on where it broke off when its node ends.
//!
//! Run it with `cargo run -p objstore-examples --example client`. The two nodes would be processes
//! of their own, `objstore` say; here they are in this program, so that one can be ended. It keeps
//! everything in memory and leaves nothing.
#![allow(clippy::print_stdout)]

use objstore_client::Client;
use objstore_client::options::{GetOptions, PutOptions};
use objstore_client::types::{Level, PeerState};
use objstore_core::{Error, ErrorKind, Node, Server, Settings};
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Error> {
    let (first, first_server) = start(None).await?;
    let (second, second_server) = start(first.private_addr()).await?;
    while !second.peers().iter().any(|peer| peer.state == PeerState::Alive) {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let nodes = [&first_server, &second_server].map(|server| server.local_addr().to_string());
    let client = Client::builder().nodes(nodes).build()?;

    let id = client.new_id().await?;
    let song = vec![b'a'; 64 << 20];
    let everywhere = PutOptions::named("song.flac")?.level(Level::Full);
    let meta = client.put(id, song, everywhere).await?;
    println!("put {} as {id}, {} bytes", meta.name, meta.size);

    let mut object = client.get(id, GetOptions::default()).await?;
    let mut came = object.body.chunk().await.transpose()?.map_or(0, |chunk| chunk.len());
    println!(
        "reading it from the first node, which ends after the first of {} MiB",
        meta.size >> 20
    );
    drop(first_server);
    first.shutdown().await?;
    while let Some(chunk) = object.body.chunk().await {
        came += chunk?.len();
    }
    println!("{came} bytes came, the rest of them from {}", client.node_id().await?);
    second.shutdown().await
}

async fn start(seed: Option<String>) -> Result<(Node, Server), Error> {
    let mut settings = Settings::default();
    settings.cluster.private_addr = Some("127.0.0.1:0".to_owned());
    settings.cluster.nodes = seed.into_iter().collect();
    let node = Node::builder().settings(settings).in_memory().start().await?;
    let listener = TcpListener::bind("127.0.0.1:0")
        .await
        .map_err(|e| Error::new(ErrorKind::Unavailable, "no port is free").with_source(e))?;
    let server = node.serve_public(listener)?;
    Ok((node, server))
}
