//! Nodes of one process that reach each other over TCP through relays that count every byte.
//! Figures of the issue: two journals of a million records, 100 apart, agree for at most 256 KiB and
//! 500 ms of CPU on both sides together; an empty node takes 100,000 records at 100,000 a second and
//! at most 30 MB; two idle nodes exchange under 2 KiB/s; what is put on one is known on the other
//! within 2 ms in the median.
//!
//! `OBJSTORE_BENCH_OBJECTS` (1,000,000, of the journals that differ), `OBJSTORE_BENCH_ROUNDS` (5).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::disallowed_methods // a bench is about real time
)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use objstore_core::options::{GetOptions, PutOptions};
use objstore_core::types::ObjectId;
use objstore_core::{Node, Settings};
use tokio::net::{TcpListener, TcpStream};

fn main() {
    if !std::env::args().any(|arg| arg == "--bench") {
        println!("nothing to do: run it with cargo bench");
        return;
    }
    let only = std::env::args().find(|arg| !arg.starts_with('-') && !arg.contains('/'));
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        if wanted("announce") {
            announce().await;
        }
        if wanted("join") {
            join().await;
        }
        if wanted("idle") {
            idle().await;
        }
        if wanted("reconcile") {
            for objects in [10_000, 100_000, number("OBJSTORE_BENCH_OBJECTS", 1_000_000)] {
                reconcile(objects).await;
            }
        }
    });
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn rounds() -> usize {
    number("OBJSTORE_BENCH_ROUNDS", 5)
}

/// Carries connections to a node, counts what passes, and can be cut.
struct Relay {
    addr: SocketAddr,
    bytes: Arc<AtomicU64>,
    cut: Arc<AtomicBool>,
}

impl Relay {
    /// To whoever listens on `port`, now or later.
    async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (bytes, cut) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let relay = Self { addr, bytes: Arc::clone(&bytes), cut: Arc::clone(&cut) };
        tokio::spawn(async move {
            while let Ok((from, _)) = listener.accept().await {
                let (bytes, cut) = (Arc::clone(&bytes), Arc::clone(&cut));
                tokio::spawn(async move {
                    if cut.load(Ordering::Relaxed) {
                        return;
                    }
                    let Ok(to) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    let (from_in, from_out) = from.into_split();
                    let (to_in, to_out) = to.into_split();
                    let there = pass(from_in, to_out, Arc::clone(&bytes), Arc::clone(&cut));
                    let back = pass(to_in, from_out, bytes, cut);
                    tokio::join!(there, back);
                });
            }
        });
        relay
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::Relaxed);
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    bytes: Arc<AtomicU64>,
    cut: Arc<AtomicBool>,
) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(read) = from.read(&mut buffer).await {
        if read == 0 || cut.load(Ordering::Relaxed) {
            break;
        }
        bytes.fetch_add(read as u64, Ordering::Relaxed);
        if to.write_all(&buffer[..read]).await.is_err() {
            break;
        }
    }
}

/// A node behind a relay.
struct Place {
    relay: Relay,
    port: u16,
}

impl Place {
    async fn new() -> Self {
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        Self { relay: Relay::to(port).await, port }
    }

    async fn node(&self, dir: &Path, seed: Option<&Self>, new_id: bool) -> Node {
        let mut settings = Settings::default();
        settings.state_dir = dir.join("state");
        settings.files_dir = dir.join("files");
        settings.cluster.private_addr = Some(format!("127.0.0.1:{}", self.port));
        settings.cluster.advertise_addr = Some(self.relay.addr.to_string());
        settings.cluster.nodes = seed.map(|seed| seed.relay.addr.to_string()).into_iter().collect();
        let builder = Node::builder().settings(settings);
        let builder = if new_id { builder.new_node_id() } else { builder };
        builder.start().await.unwrap()
    }
}

/// Objects of 16 bytes, by 64 callers.
async fn fill(node: &Node, objects: usize) {
    let callers: Vec<_> = (0..64)
        .map(|caller| {
            let node = node.clone();
            tokio::spawn(async move {
                for _ in (caller..objects).step_by(64) {
                    let id = node.new_id();
                    let put = PutOptions::named("object.bin").unwrap();
                    node.put(id, &b"sixteen bytes..."[..], put).await.unwrap();
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(300), "waited in vain: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn linked(a: &Node, b: &Node) {
    until("each knows the other", || is_live(a, b) && is_live(b, a)).await;
}

fn is_live(a: &Node, b: &Node) -> bool {
    let alive = objstore_core::types::PeerState::Alive;
    a.peers().iter().any(|peer| peer.node_id == b.id().to_string() && peer.state == alive)
}

/// Seconds of processor time of this process.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).flat_map(str::parse::<u64>).sum();
    ticks as f64 / 100.0
}

fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().find_map(|word| word.parse::<u64>().ok()).unwrap() >> 10
}

fn spread(mut samples: Vec<f64>) -> String {
    samples.sort_by(f64::total_cmp);
    let (median, last) = (samples[samples.len() / 2], samples[samples.len() - 1]);
    format!("{median:.2} ({:.2} to {last:.2})", samples[0])
}

/// From the answer to a put on one node to the other knowing the object, and having its body.
async fn announce() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (a, b) = (Place::new().await, Place::new().await);
    let first = a.node(dirs[0].path(), None, false).await;
    let second = b.node(dirs[1].path(), Some(&a), false).await;
    linked(&first, &second).await;
    let (mut known, mut read) = (Vec::new(), Vec::new());
    for _ in 0..1000 {
        let id: ObjectId = first.new_id();
        first.put(id, "It works!", PutOptions::default()).await.unwrap();
        let start = Instant::now();
        while second.head(id).await.is_err() {
            tokio::task::yield_now().await;
        }
        known.push(start.elapsed().as_secs_f64() * 1e3);
        let got = second.get(id, GetOptions::default()).await.unwrap();
        assert_eq!(got.body.collect(100).await.unwrap(), "It works!");
        read.push(start.elapsed().as_secs_f64() * 1e3);
    }
    println!(
        "put on A, known on B after {} ms, read on B after {} ms",
        spread(known),
        spread(read)
    );
}

/// An empty node takes 100,000 records.
async fn join() {
    const RECORDS: usize = 100_000;
    let dir = tempfile::tempdir().unwrap();
    let a = Place::new().await;
    let first = a.node(dir.path(), None, false).await;
    fill(&first, RECORDS).await;
    let (mut rates, mut bytes, mut cpus) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds() {
        let dir = tempfile::tempdir().unwrap();
        let b = Place::new().await;
        let (before, used) = (a.relay.bytes(), cpu());
        let second = b.node(dir.path(), Some(&a), false).await;
        let start = Instant::now();
        until("the first record is there", || second.stats().journal.objects > 0).await;
        let first_at = start.elapsed().as_secs_f64();
        until("all records are there", || second.stats().journal.objects >= RECORDS as u64).await;
        let took = start.elapsed().as_secs_f64();
        rates.push(RECORDS as f64 / took);
        bytes.push((a.relay.bytes() + b.relay.bytes() - before) as f64 / 1e6);
        cpus.push(cpu() - used);
        println!("  joined in {took:.2} s, the first record after {first_at:.2} s");
        second.shutdown().await.unwrap();
    }
    println!(
        "join of {RECORDS} records: {} records/s from the start of the node, {} MB, {} s of CPU on both sides",
        spread(rates),
        spread(bytes),
        spread(cpus)
    );
}

/// What two nodes without anything to do say to each other.
async fn idle() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (a, b) = (Place::new().await, Place::new().await);
    let first = a.node(dirs[0].path(), None, false).await;
    let second = b.node(dirs[1].path(), Some(&a), false).await;
    linked(&first, &second).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (before, used) = (a.relay.bytes() + b.relay.bytes(), cpu());
    const SECONDS: u64 = 120;
    tokio::time::sleep(Duration::from_secs(SECONDS)).await;
    let bytes = a.relay.bytes() + b.relay.bytes() - before;
    println!(
        "idle: {} bytes/s between two nodes, both ways, {:.2} % of a core for both",
        bytes / SECONDS,
        (cpu() - used) / SECONDS as f64 * 100.0
    );
}

/// Two journals that are 100 records apart.
async fn reconcile(objects: usize) {
    const APART: u64 = 100;
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (a, b) = (Place::new().await, Place::new().await);
    let first = a.node(dirs[0].path(), None, false).await;
    fill(&first, objects).await;
    first.shutdown().await.unwrap();
    drop(first);
    copy(dirs[0].path(), dirs[1].path());
    let alone = resident();
    let first = a.node(dirs[0].path(), None, false).await;
    let second = b.node(dirs[1].path(), Some(&a), true).await;
    linked(&first, &second).await;
    // Whatever the start has to do is over.
    tokio::time::sleep(Duration::from_secs(10)).await;
    println!("{objects} objects: {} MiB more resident with both nodes", resident() - alone);
    let (mut bytes, mut cpus, mut times) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds() {
        for place in [&a, &b] {
            place.relay.cut(true);
        }
        until("neither knows the other", || !is_live(&first, &second) && !is_live(&second, &first))
            .await;
        let before = first.stats().journal.objects;
        fill(&first, APART as usize / 2).await;
        fill(&second, APART as usize / 2).await;
        let (sent, used, start) = (a.relay.bytes() + b.relay.bytes(), cpu(), Instant::now());
        for place in [&a, &b] {
            place.relay.cut(false);
        }
        until("both agree", || {
            [&first, &second].iter().all(|n| n.stats().journal.objects >= before + APART)
        })
        .await;
        times.push(start.elapsed().as_secs_f64());
        bytes.push((a.relay.bytes() + b.relay.bytes() - sent) as f64 / 1024.0);
        cpus.push((cpu() - used) * 1e3);
    }
    println!(
        "{objects} objects, {APART} apart: {} KiB, {} ms of CPU on both sides, agreed after {} s",
        spread(bytes),
        spread(cpus),
        spread(times)
    );
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
