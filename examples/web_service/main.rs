//! A web service of three replicas that share one cache. Each has a node in it; the nodes find each
//! other and stand before one bucket.
//!
//! Run it with `cargo run -p objstore-examples --example web_service`, and stop it with Ctrl-C or
//! SIGTERM. In earnest each replica would be a process on a machine of its own, with directories
//! that stay and an S3 bucket; here the three are in one program, and everything is in memory.
#![allow(clippy::print_stdout)]

mod service;

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use objstore_core::remote::MemoryRemote;
use objstore_core::{Error, ErrorKind, Node, Settings};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use service::Replica;

/// How long a load balancer may take to see that a replica is not ready.
const LOOK_AWAY: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> Result<(), Error> {
    // Which lines there are is the program's to say (here RUST_LOG): the node installs no logger.
    let lines =
        EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    tracing_subscriber::fmt()
        .with_env_filter(lines)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    let failed = |what: &'static str| {
        move |e: std::io::Error| Error::new(ErrorKind::Unavailable, what).with_source(e)
    };
    let mut terminate =
        signal(SignalKind::terminate()).map_err(failed("SIGTERM cannot be waited for"))?;

    let bucket = Arc::new(MemoryRemote::new("notes"));
    let (mut replicas, mut seeds) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let mut settings = Settings::default();
        settings.cluster.private_addr = Some("127.0.0.1:0".to_owned());
        // The address of any one other is enough.
        settings.cluster.nodes.clone_from(&seeds);
        let builder = Node::builder().settings(settings).in_memory().remote(bucket.clone());
        let node = builder.start().await?;
        seeds = node.private_addr().into_iter().collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed("no port is free"))?;
        let replica = Replica::start(node, listener)?;
        println!("a replica: http://{}/notes", replica.address());
        replicas.push(replica);
    }

    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    println!("stopping");
    let mut stopping = tokio::task::JoinSet::new();
    for replica in replicas {
        stopping.spawn(replica.stop(tokio::time::sleep(LOOK_AWAY)));
    }
    while let Some(stopped) = stopping.join_next().await {
        stopped
            .map_err(|e| Error::new(ErrorKind::Unavailable, "it broke off").with_source(e))??;
    }
    Ok(())
}
