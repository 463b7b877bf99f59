//! Nodes that find each other.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use objstore_core::env::Env;
use objstore_core::testing::MemoryNetwork;
use objstore_core::{Node, Settings};
use support::until;

async fn node(env: Env, seeds: &[String]) -> Node {
    let mut settings = Settings::default();
    settings.cluster.private_addr = Some("127.0.0.1:0".to_owned());
    settings.cluster.nodes = seeds.to_vec();
    Node::builder().settings(settings).env(env).in_memory().start().await.unwrap()
}

#[tokio::test]
async fn two_nodes_know_each_other() {
    let network = MemoryNetwork::new();
    let in_memory = || {
        let mut env = Env::default();
        env.network = Some(std::sync::Arc::new(network.clone()));
        env
    };
    let a = node(in_memory(), &[]).await;
    let b = node(in_memory(), &[a.private_addr().unwrap()]).await;
    until("each knows the other", async || {
        a.peers().iter().any(|peer| peer.node_id == b.id().to_string())
            && b.peers().iter().any(|peer| peer.node_id == a.id().to_string())
    })
    .await;
}

#[tokio::test]
async fn two_nodes_know_each_other_over_tcp() {
    let a = node(Env::default(), &[]).await;
    let b = node(Env::default(), &[a.private_addr().unwrap()]).await;
    until("each knows the other", async || {
        a.peers().iter().any(|peer| peer.node_id == b.id().to_string())
            && b.peers().iter().any(|peer| peer.node_id == a.id().to_string())
    })
    .await;
}
