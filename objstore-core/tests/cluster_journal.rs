//! What one node writes, the others know: announced at once, compared again and again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use std::sync::Arc;

use objstore_core::env::Env;
use objstore_core::options::{DeleteOptions, PutOptions, WriteMode};
use objstore_core::remote::MemoryRemote;
use objstore_core::testing::MemoryNetwork;
use objstore_core::types::{Level, ObjectId, ObjectMeta, PeerState};
use objstore_core::{ErrorKind, Node, Settings};
use support::until;

/// Nodes on one network with one bucket.
struct Cluster {
    network: MemoryNetwork,
    remote: Arc<MemoryRemote>,
    nodes: Vec<Node>,
}

impl Cluster {
    async fn of(n: usize) -> Self {
        let remote = Arc::new(MemoryRemote::new("shared"));
        let mut cluster = Self { network: MemoryNetwork::new(), remote, nodes: Vec::new() };
        for _ in 0..n {
            cluster.join(|_| {}).await;
        }
        cluster
    }

    async fn join(&mut self, change: impl FnOnce(&mut Settings)) -> Node {
        let mut settings = Settings::default();
        settings.cluster.private_addr = Some("127.0.0.1:0".to_owned());
        settings.cluster.nodes = self.nodes.iter().filter_map(Node::private_addr).collect();
        change(&mut settings);
        let mut env = Env::default();
        env.network = Some(Arc::new(self.network.clone()));
        let builder = Node::builder().settings(settings).env(env).in_memory();
        let node = builder.remote(Arc::clone(&self.remote) as _).start().await.unwrap();
        self.nodes.push(node.clone());
        let all = self.nodes.len() - 1;
        until("all nodes know each other", async || {
            self.nodes.iter().all(|node| live(node) == all)
        })
        .await;
        node
    }
}

/// The peers that a node can ask.
fn live(node: &Node) -> usize {
    node.peers().iter().filter(|peer| peer.state == PeerState::Alive).count()
}

async fn level(node: &Node, id: ObjectId) -> Option<Level> {
    node.head(id).await.ok().map(|meta| meta.consistency)
}

/// Whether a node knows this very version, wherever its body is.
async fn is_version(node: &Node, meta: &ObjectMeta) -> bool {
    node.head(meta.id).await.is_ok_and(|known| {
        let mut known = known.as_ref().clone();
        known.is_symlink = meta.is_symlink;
        known == *meta
    })
}

#[tokio::test]
async fn what_one_node_changes_the_others_know() {
    let cluster = Cluster::of(3).await;
    let [a, b, c] = cluster.nodes.as_slice() else { panic!() };
    let id = a.new_id();
    let first = a.put(id, "one", PutOptions::named("a.txt").unwrap()).await.unwrap();
    for other in [b, c] {
        until("the put is known", async || other.head(id).await.is_ok()).await;
        assert!(is_version(other, &first).await);
    }
    // From another node, with a later stamp whatever the clocks say.
    let second = b.put(id, "two!", PutOptions::default()).await.unwrap();
    assert!(second.timestamp > first.timestamp);
    for other in [a, c] {
        until("the overwrite is known", async || is_version(other, &second).await).await;
    }
    b.set_level(id, Level::Remote, WriteMode::Default).await.unwrap();
    for other in [a, c] {
        until("the level is known", async || level(other, id).await == Some(Level::Remote)).await;
    }
    c.delete(id, DeleteOptions::default()).await.unwrap();
    for other in [a, b] {
        until("the delete is known", async || {
            other.head(id).await.is_err_and(|e| e.kind() == ErrorKind::Deleted)
        })
        .await;
    }
    let stats = a.stats().journal;
    assert_eq!((stats.objects, stats.tombstones), (0, 1));
}
