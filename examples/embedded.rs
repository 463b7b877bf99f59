//! A program with a node inside: stores a file, reads a part of it, lets curl read it too.
//!
//! Run it with `cargo run -p objstore-examples --example embedded`. It keeps its data in
//! `objstore-example/` below the current directory, and finds it again the next time.
#![allow(clippy::print_stdout)]

use objstore_core::Node;
use objstore_core::options::{GetOptions, ListOptions, PutOptions};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let node = Node::builder()
        .state_dir("objstore-example/state")
        .files_dir("objstore-example/files")
        .start()
        .await?;

    let id = node.new_id();
    let poem = "Tell all the truth but tell it slant —\nSuccess in Circuit lies\n";
    node.put(id, poem, PutOptions::named("poem.txt")?).await?;
    println!("stored {id}");

    let part = node.get(id, GetOptions::default().range(9..=17)).await?;
    println!("bytes 9 to 17: {}", String::from_utf8_lossy(&part.body.collect(1024).await?));

    let objects = node.list(ListOptions::default()).await?;
    println!("{} objects in objstore-example/, from this run and those before", objects.len());

    // The node of a program can serve HTTP as well; port 0 takes any that is free.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let server = node.serve_public(listener)?;
    println!(
        "anyone on this machine could now: curl http://{}/api/v1/get/{id}",
        server.local_addr()
    );

    server.stop(std::time::Duration::from_secs(1)).await;
    node.shutdown().await?;
    Ok(())
}
