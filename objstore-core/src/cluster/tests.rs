//! Bodies between nodes, where what a node knows of another's has to be put into its journal by
//! hand.

use std::sync::Arc;

use objstore_client::options::{ByteRange, GetOptions, PutOptions};
use objstore_client::types::ObjectId;
use objstore_client::{Error, ErrorKind};

use crate::env::Env;
use crate::journal::Change;
use crate::testing::MemoryNetwork;
use crate::{Node, Settings};

async fn node(network: &MemoryNetwork, seeds: &[&Node]) -> Node {
    let mut settings = Settings::default();
    settings.cluster.private_addr = Some("127.0.0.1:0".to_owned());
    settings.cluster.nodes = seeds.iter().map(|seed| seed.private_addr().unwrap()).collect();
    let mut env = Env::default();
    env.network = Some(Arc::new(network.clone()));
    Node::builder().settings(settings).env(env).in_memory().start().await.unwrap()
}

async fn meet(a: &Node, b: &Node) {
    while a.inner.cluster.peers.get(b.id()).is_none() || b.inner.cluster.peers.get(a.id()).is_none()
    {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

/// Tells a node of what another has.
async fn tell(from: &Node, to: &Node, id: ObjectId) {
    let record = from.inner.lookup(id, false).await.unwrap().unwrap().entry.record.clone();
    to.inner.commit(Change::Restore(record)).await.unwrap();
}

async fn read(node: &Node, id: ObjectId) -> Result<(Vec<u8>, bool), Error> {
    let object = node.get(id, GetOptions::default()).await?;
    let symlink = object.meta.is_symlink;
    Ok((object.body.collect(usize::MAX).await?.to_vec(), symlink))
}

#[tokio::test]
async fn a_body_of_another_node_is_read_through_it_and_kept() {
    let network = MemoryNetwork::new();
    let a = node(&network, &[]).await;
    let b = node(&network, &[&a]).await;
    meet(&a, &b).await;
    for len in [0, 9, 70_000, 1_000_000] {
        let (id, body) = (a.new_id(), vec![7; len]);
        a.put(id, body.clone(), PutOptions::default()).await.unwrap();
        tell(&a, &b, id).await;
        let mut range = GetOptions::default();
        range.range = Some(ByteRange::FromTo(3, 5));
        if len > 0 {
            let part = b.get(id, range).await.unwrap();
            assert!(part.meta.is_symlink);
            assert_eq!(part.body.collect(9).await.unwrap(), body[3..6]);
        }
        assert!(read(&b, id).await.unwrap().0 == body, "{len}");
        assert!(!read(&b, id).await.unwrap().1, "it is here by now");
    }
    assert_eq!(a.stats().remote.fetches + b.stats().remote.fetches, 0);
    // What is nowhere is lost, and what may be on a node that is away is not.
    let id = a.new_id();
    a.put(id, vec![1; 100], PutOptions::default()).await.unwrap();
    tell(&a, &b, id).await;
    a.shutdown().await.unwrap();
    assert_eq!(read(&b, id).await.unwrap_err().kind(), ErrorKind::Unavailable);
}
