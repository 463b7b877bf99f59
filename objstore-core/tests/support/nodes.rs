//! Nodes of one cluster in one thread, on a network that a test has in its hands, with time paused.

#![allow(dead_code, unreachable_pub)]

use std::sync::Arc;
use std::time::Duration;

use objstore_core::env::{Env, Network, OsEntropy, Workers};
use objstore_core::journal::MemoryJournal;
use objstore_core::options::GetOptions;
use objstore_core::remote::RemoteStore;
use objstore_core::testing::{Link, MemoryDisk, SimClock, SimNetwork, Steps, TaskBlocking, Trace};
use objstore_core::types::ObjectId;
use objstore_core::{Error, Node, Settings};

use super::until;

/// One of them, with what it runs on.
pub struct Member {
    pub node: Node,
    pub power: Steps,
    pub disk: Arc<MemoryDisk>,
    pub journal: Arc<MemoryJournal>,
    pub host: usize,
}

pub struct Nodes {
    pub network: SimNetwork,
    pub clock: SimClock,
    /// What a node has between itself and the network.
    pub between: fn(Arc<dyn Network>) -> Arc<dyn Network>,
    pub members: Vec<Member>,
}

impl Nodes {
    /// So many nodes that know each other, each before the bucket that it is given.
    pub async fn start(
        count: usize,
        remote: impl Fn(usize) -> Arc<dyn RemoteStore>,
        change: impl Fn(&mut Settings),
    ) -> Self {
        let network = SimNetwork::new(1, Trace::new(false));
        let clock = SimClock::new(1_795_000_000_000_000_000);
        let between = |network| network;
        let mut nodes = Self { network, clock, between, members: Vec::new() };
        for host in 0..count {
            nodes.join(remote(host), &change).await;
        }
        nodes
    }

    /// One more.
    pub async fn join(&mut self, remote: Arc<dyn RemoteStore>, change: impl Fn(&mut Settings)) {
        let power = Steps::count();
        let disk = Arc::new(MemoryDisk::with_steps(power.clone()));
        let journal = Arc::new(MemoryJournal::with_steps(power.clone()));
        let host = self.members.len();
        let member = self.begin(host, remote, change, (power, disk, journal)).await;
        self.members.push(member);
        self.acquainted().await;
    }

    pub async fn begin(
        &self,
        host: usize,
        remote: Arc<dyn RemoteStore>,
        change: impl Fn(&mut Settings),
        (power, disk, journal): (Steps, Arc<MemoryDisk>, Arc<MemoryJournal>),
    ) -> Member {
        let mut settings = Settings::default();
        settings.cluster.private_addr = Some("127.0.0.1:0".to_owned());
        let others = self.members.iter().filter(|member| !member.power.stopped());
        settings.cluster.nodes = others.map(|member| member.node.private_addr().unwrap()).collect();
        change(&mut settings);
        let mut env = Env::default();
        env.clock = Arc::new(self.clock.another());
        env.workers = Workers::Tasks;
        env.blocking = Arc::new(TaskBlocking::new(Arc::new(OsEntropy), Duration::from_micros(300)));
        env.network = Some((self.between)(self.network.host(host, power.clone())));
        env.disk = Some(disk.clone());
        env.journal = Some(journal.clone());
        let node =
            Node::builder().settings(settings).env(env).remote(remote).start().await.unwrap();
        Member { node, power, disk, journal, host }
    }

    /// Waits until all that have power know all others.
    pub async fn acquainted(&self) {
        let with_power = || self.members.iter().filter(|member| !member.power.stopped());
        let count = with_power().count();
        until("all know each other", async || {
            with_power().all(|member| {
                let alive = |peer: &&objstore_core::types::PeerInfo| {
                    peer.state == objstore_core::types::PeerState::Alive
                };
                member.node.peers().iter().filter(alive).count() == count - 1
            })
        })
        .await;
    }

    /// The power of one goes out: it neither answers nor asks any more.
    pub fn kill(&self, member: usize) {
        self.members[member].power.stop();
    }

    /// Nothing gets through between one and all others, or everything again.
    pub fn cut(&self, member: usize, cut: bool) {
        for other in 0..self.members.len() {
            let link = Link { cut, ..Link::default() };
            self.network.set(member, other, link);
            self.network.set(other, member, link);
        }
    }
}

impl std::ops::Index<usize> for Nodes {
    type Output = Node;

    fn index(&self, index: usize) -> &Node {
        &self.members[index].node
    }
}

/// What came of a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    pub body: Vec<u8>,
    pub symlink: bool,
    pub fetched: bool,
}

pub async fn got(node: &Node, id: ObjectId, options: GetOptions) -> Result<Got, Error> {
    let object = node.get(id, options).await?;
    let (symlink, fetched) = (object.meta.is_symlink, object.meta.is_fetched);
    Ok(Got { body: object.body.collect(usize::MAX).await?.to_vec(), symlink, fetched })
}

/// Waits until a node knows of an object.
pub async fn known(node: &Node, id: ObjectId) {
    until("the object is known", async || node.head(id).await.is_ok()).await;
}
