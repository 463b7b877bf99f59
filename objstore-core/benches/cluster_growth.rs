//! How what nodes say to each other grows with their number: 3, 10, 30 and 100 of them in one thread,
//! on a simulated network whose messages take 0.3 to 1 ms and are counted. Bytes are those of bodies;
//! over TCP each message has a head of its own besides, so messages are told too.
//!
//! `OBJSTORE_BENCH_NODES` runs one number of nodes only.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss
)]

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use objstore_client::{Body, Error};
use objstore_core::env::{Env, Listening, Network, NetworkFuture, OsEntropy, Workers};
use objstore_core::journal::MemoryJournal;
use objstore_core::options::PutOptions;
use objstore_core::remote::MemoryRemote;
use objstore_core::testing::{MemoryDisk, SimClock, SimNetwork, Steps, TaskBlocking, Trace};
use objstore_core::types::PeerState;
use objstore_core::{Node, PrivateService, Settings};

fn main() {
    if !std::env::args().any(|arg| arg == "--bench") {
        println!("nothing to do: run it with cargo bench");
        return;
    }
    let only: Option<usize> =
        std::env::var("OBJSTORE_BENCH_NODES").ok().and_then(|text| text.parse().ok());
    for count in only.map_or_else(|| vec![3, 10, 30, 100], |only| vec![only]) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(grown_to(count));
    }
}

/// Messages and bytes both ways, by route.
type Counts = Arc<Mutex<BTreeMap<String, (u64, u64)>>>;

/// Counts what a node asks of others and is answered.
#[derive(Debug)]
struct Counting {
    network: Arc<dyn Network>,
    counts: Counts,
}

impl Network for Counting {
    fn resolve<'a>(&'a self, address: &'a str) -> NetworkFuture<'a, io::Result<Vec<SocketAddr>>> {
        self.network.resolve(address)
    }

    fn call<'a>(
        &'a self,
        to: &'a str,
        request: http::Request<Body>,
    ) -> NetworkFuture<'a, Result<http::Response<Body>, Error>> {
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            let asked = request.body().len().unwrap_or(0);
            let answer = self.network.call(to, request).await?;
            let (head, body) = answer.into_parts();
            let body = body.collect(usize::MAX).await?;
            let mut counts = self.counts.lock().unwrap();
            let count = counts.entry(path).or_default();
            count.0 += 1;
            count.1 += asked + body.len() as u64;
            drop(counts);
            Ok(http::Response::from_parts(head, body.into()))
        })
    }

    fn listen<'a>(
        &'a self,
        address: &'a str,
        service: PrivateService,
    ) -> NetworkFuture<'a, Result<Box<dyn Listening>, Error>> {
        self.network.listen(address, service)
    }
}

async fn start(
    host: usize,
    network: &SimNetwork,
    clock: &SimClock,
    counts: &Counts,
    first: Option<&Node>,
) -> Node {
    let power = Steps::count();
    let mut settings = Settings::default();
    settings.cluster.private_addr = Some("127.0.0.1:0".to_owned());
    settings.cluster.nodes = first.map(|node| node.private_addr().unwrap()).into_iter().collect();
    let mut env = Env::default();
    env.clock = Arc::new(clock.another());
    env.workers = Workers::Tasks;
    env.blocking = Arc::new(TaskBlocking::new(Arc::new(OsEntropy), Duration::from_micros(300)));
    let network = network.host(host, power.clone());
    env.network = Some(Arc::new(Counting { network, counts: Arc::clone(counts) }));
    env.disk = Some(Arc::new(MemoryDisk::with_steps(power.clone())));
    env.journal = Some(Arc::new(MemoryJournal::with_steps(power)));
    let remote = Arc::new(MemoryRemote::new("bench"));
    Node::builder().settings(settings).env(env).remote(remote).start().await.unwrap()
}

async fn grown_to(count: usize) {
    let network = SimNetwork::new(1, Trace::new(false));
    let clock = SimClock::new(1_795_000_000_000_000_000);
    let counts = Counts::default();
    let mut nodes: Vec<Node> = Vec::new();
    for host in 0..count {
        nodes.push(start(host, &network, &clock, &counts, nodes.first()).await);
    }
    let alive = |node: &Node| {
        node.peers().iter().filter(|peer| peer.state == PeerState::Alive).count() == count - 1
    };
    while !nodes.iter().all(alive) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Whatever the start has to do is over.
    tokio::time::sleep(Duration::from_secs(60)).await;

    const SECONDS: u64 = 600;
    counts.lock().unwrap().clear();
    tokio::time::sleep(Duration::from_secs(SECONDS)).await;
    let idle = std::mem::take(&mut *counts.lock().unwrap());
    println!("{count} nodes; of each while idle:");
    for (route, (messages, bytes)) in &idle {
        let each = (count as u64 * SECONDS) as f64;
        let (rate, size) = (*messages as f64 / each, *bytes as f64 / *messages as f64);
        println!("  {route}: {rate:.2} messages of {size:.0} bytes, {:.0} bytes/s", rate * size);
    }

    const PUTS: usize = 20;
    counts.lock().unwrap().clear();
    for n in 0..PUTS {
        let writer = &nodes[n % count];
        let id = writer.new_id();
        writer.put(id, "It works!", PutOptions::named("test.txt").unwrap()).await.unwrap();
        let known = |node: &Node| node.stats().journal.objects > n as u64;
        while !nodes.iter().all(known) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let counts = counts.lock().unwrap();
    let announces = counts.iter().filter(|(route, _)| route.contains("announce"));
    let announced = announces.map(|(_, (_, bytes))| bytes).sum::<u64>();
    println!("  a put: {} bytes to each other node", announced / (PUTS * (count - 1)) as u64);
}
