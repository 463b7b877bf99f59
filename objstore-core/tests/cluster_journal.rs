//! What one node writes, the others know: announced at once, compared again and again, and deletes
//! stay deletes.
//!
//! All nodes run in the test's thread, on a clock that jumps to whatever is due next.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stdout
)]

mod support;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use objstore_core::env::{Env, Listening, Network, NetworkFuture, OsEntropy, Workers};

use objstore_core::journal::{Batch, JournalStore, MemoryJournal, Space, StoreError};
use objstore_core::options::{DeleteOptions, GetOptions, PutOptions, WriteMode};
use objstore_core::remote::MemoryRemote;
use objstore_core::testing::{MemoryDisk, MemoryNetwork, SimClock, Steps, TaskBlocking};
use objstore_core::types::{Level, ObjectId, ObjectMeta, PeerState};
use objstore_core::{Body, Error, ErrorKind, Node, PrivateService, Settings};
use support::{journal, until};

/// Five minutes, the most that a clock may be ahead, and more.
const SIX_MINUTES: i64 = 6 * 60 * 1_000_000_000;
const EPOCH: u64 = 1_790_000_000_000_000_000;

/// A node's way to the others, which a test can cut.
#[derive(Debug, Default)]
struct Wire {
    network: MemoryNetwork,
    /// Shared by all: nodes that nobody reaches and that reach nobody.
    cut: Arc<Mutex<BTreeSet<String>>>,
    lose_announces: Arc<AtomicBool>,
    bytes: Arc<AtomicU64>,
    /// The last announce.
    heard: Arc<Mutex<Option<(String, http::request::Parts, Bytes)>>>,
    mine: Mutex<String>,
}

impl Network for Wire {
    fn resolve<'a>(&'a self, address: &'a str) -> NetworkFuture<'a, io::Result<Vec<SocketAddr>>> {
        self.network.resolve(address)
    }

    fn call<'a>(
        &'a self,
        to: &'a str,
        request: http::Request<Body>,
    ) -> NetworkFuture<'a, Result<http::Response<Body>, Error>> {
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect(usize::MAX).await?;
            if head.uri.path().ends_with("/announce") {
                *self.heard.lock().unwrap() = Some((to.to_owned(), head.clone(), body.clone()));
            }
            let request = http::Request::from_parts(head, Body::from(body));
            let is_announce = request.uri().path().ends_with("/announce");
            let is_cut = {
                let cut = self.cut.lock().unwrap();
                cut.contains(to) || cut.contains(&*self.mine.lock().unwrap())
            };
            if is_cut || (is_announce && self.lose_announces.load(Ordering::Relaxed)) {
                return Err(Error::new(ErrorKind::Transport, "no connection to the node"));
            }
            let sent = request.body().len().unwrap_or(0);
            let answer = self.network.call(to, request).await?;
            let got = answer.body().len().unwrap_or(0);
            self.bytes.fetch_add(sent + got, Ordering::Relaxed);
            Ok(answer)
        })
    }

    fn listen<'a>(
        &'a self,
        address: &'a str,
        service: PrivateService,
    ) -> NetworkFuture<'a, Result<Box<dyn Listening>, Error>> {
        Box::pin(async move {
            let listening = self.network.listen(address, service).await?;
            *self.mine.lock().unwrap() = listening.local_addr().to_string();
            Ok(listening)
        })
    }
}

/// What outlives a node's process.
struct Machine {
    disk: Arc<MemoryDisk>,
    journal: Arc<MemoryJournal>,
    /// Its journal fails with the next batch, before or after it is durable.
    fails: Arc<Mutex<Option<bool>>>,
    clock: Arc<SimClock>,
    node: Option<Node>,
    addr: String,
}

/// A journal that can fail once.
#[derive(Debug)]
struct Failing {
    journal: Arc<MemoryJournal>,
    fails: Arc<Mutex<Option<bool>>>,
}

impl JournalStore for Failing {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.journal.get(space, key)
    }

    fn scan(
        &self,
        space: Space,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        self.journal.scan(space, after, limit)
    }

    fn commit(&self, batch: &Batch) -> Result<(), StoreError> {
        let fails = self.fails.lock().unwrap().take();
        if fails != Some(true) {
            self.journal.commit(batch)?;
        }
        match fails {
            Some(_) => Err(StoreError::Io("the disk failed".into())),
            None => Ok(()),
        }
    }

    fn physical_bytes(&self) -> u64 {
        self.journal.physical_bytes()
    }

    fn unflushed_bytes(&self) -> u64 {
        0
    }

    fn log_headroom(&self) -> u64 {
        0
    }

    fn reclaim(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn reopen(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn close(&self) {
        self.journal.close();
    }
}

/// Nodes on one network with one bucket.
struct Cluster {
    network: MemoryNetwork,
    cut: Arc<Mutex<BTreeSet<String>>>,
    lose_announces: Arc<AtomicBool>,
    bytes: Arc<AtomicU64>,
    heard: Arc<Mutex<Option<(String, http::request::Parts, Bytes)>>>,
    clock: SimClock,
    remote: Arc<MemoryRemote>,
    machines: Vec<Machine>,
    keep_ms: u64,
}

impl Cluster {
    async fn of(n: usize) -> Self {
        let mut cluster = Self {
            network: MemoryNetwork::new(),
            cut: Arc::default(),
            lose_announces: Arc::default(),
            bytes: Arc::default(),
            heard: Arc::default(),
            clock: SimClock::new(EPOCH),
            remote: Arc::new(MemoryRemote::new("shared")),
            machines: Vec::new(),
            keep_ms: 60_000,
        };
        for _ in 0..n {
            cluster.join().await;
        }
        cluster.meet().await;
        cluster
    }

    async fn join(&mut self) -> usize {
        let machine = Machine {
            disk: Arc::default(),
            journal: Arc::default(),
            fails: Arc::default(),
            clock: Arc::new(self.clock.another()),
            node: None,
            addr: "127.0.0.1:0".to_owned(),
        };
        self.machines.push(machine);
        let n = self.machines.len() - 1;
        self.start(n).await;
        n
    }

    async fn start(&mut self, n: usize) {
        let seeds = self.machines.iter().filter_map(|m| m.node.as_ref()?.private_addr()).collect();
        let machine = &self.machines[n];
        let mut settings = Settings::default();
        settings.cluster.private_addr = Some(machine.addr.clone());
        settings.cluster.nodes = seeds;
        settings.cluster.tombstone_keep_ms = self.keep_ms;
        let mut env = Env::default();
        env.workers = Workers::Tasks;
        env.blocking = Arc::new(TaskBlocking::new(Arc::new(OsEntropy), Duration::ZERO));
        env.clock = machine.clock.clone();
        env.disk = Some(machine.disk.clone());
        let (journal, fails) = (machine.journal.clone(), Arc::clone(&machine.fails));
        env.journal = Some(Arc::new(Failing { journal, fails }));
        env.network = Some(Arc::new(Wire {
            network: self.network.clone(),
            cut: Arc::clone(&self.cut),
            lose_announces: Arc::clone(&self.lose_announces),
            bytes: Arc::clone(&self.bytes),
            heard: Arc::clone(&self.heard),
            mine: Mutex::default(),
        }));
        let remote = Arc::clone(&self.remote) as _;
        let builder = Node::builder().settings(settings).env(env).remote(remote);
        let node = builder.start().await.unwrap();
        self.machines[n].addr = node.private_addr().unwrap();
        self.machines[n].node = Some(node);
    }

    async fn stop(&mut self, n: usize) {
        let machine = &mut self.machines[n];
        machine.node.take().unwrap().shutdown().await.unwrap();
        machine.disk = Arc::new(machine.disk.after_power_cut(Steps::default()));
        machine.journal = Arc::new(machine.journal.after_power_cut(Steps::default()));
    }

    fn node(&self, n: usize) -> &Node {
        self.machines[n].node.as_ref().unwrap()
    }

    fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.machines.iter().filter_map(|machine| machine.node.as_ref())
    }

    /// Cuts a node off, or connects it again.
    fn cut(&self, n: usize, is_cut: bool) {
        let mut cut = self.cut.lock().unwrap();
        let addr = self.machines[n].addr.clone();
        if is_cut {
            cut.insert(addr)
        } else {
            cut.remove(&addr)
        };
    }

    /// Waits until all that run can ask each other.
    async fn meet(&self) {
        let others = self.nodes().count() - 1;
        until("all nodes meet", async || self.nodes().all(|node| live(node) == others)).await;
    }

    /// Waits until all have the same journal.
    async fn converge(&self) {
        until("the journals converge", async || {
            let mut journals = Vec::new();
            for node in self.nodes() {
                journals.push(known(node).await);
            }
            journals.windows(2).all(|pair| pair[0] == pair[1])
        })
        .await;
    }
}

/// A journal without what differs from node to node.
async fn known(node: &Node) -> Vec<ObjectMeta> {
    let mut known: Vec<_> = journal(node).await.iter().map(|meta| meta.as_ref().clone()).collect();
    known.iter_mut().for_each(|meta| meta.is_symlink = false);
    known
}

/// The peers that a node can ask.
fn live(node: &Node) -> usize {
    node.peers().iter().filter(|peer| peer.state == PeerState::Alive).count()
}

async fn put(node: &Node, body: &'static str) -> ObjectId {
    let id = node.new_id();
    node.put(id, body, PutOptions::default()).await.unwrap();
    id
}

async fn delete(node: &Node, id: ObjectId) {
    node.delete(id, DeleteOptions::default()).await.unwrap();
}

async fn kind(node: &Node, id: ObjectId) -> Option<ErrorKind> {
    node.head(id).await.err().map(|error| error.kind())
}

async fn minutes(n: u64) {
    tokio::time::sleep(Duration::from_secs(60 * n)).await;
}

#[tokio::test(start_paused = true)]
async fn what_one_node_changes_the_others_know() {
    let cluster = Cluster::of(3).await;
    let [a, b, c] = [0, 1, 2].map(|n| cluster.node(n));
    let id = a.new_id();
    let first = a.put(id, "one", PutOptions::named("a.txt").unwrap()).await.unwrap();
    cluster.converge().await;
    assert_eq!(known(c).await[0].timestamp, first.timestamp);
    // From another node, with a later stamp whatever the clocks say.
    let second = b.put(id, "two!", PutOptions::default()).await.unwrap();
    assert!(second.timestamp > first.timestamp);
    cluster.converge().await;
    b.set_level(id, Level::Remote, WriteMode::Default).await.unwrap();
    cluster.converge().await;
    assert_eq!(a.head(id).await.unwrap().consistency, Level::Remote);
    delete(c, id).await;
    cluster.converge().await;
    assert_eq!(kind(a, id).await, Some(ErrorKind::Deleted));
    assert_eq!((a.stats().journal.objects, a.stats().journal.tombstones), (0, 1));
}

/// By the clock of the test, on which nothing but waiting takes time.
#[tokio::test(start_paused = true)]
async fn what_one_node_changes_the_others_know_at_once() {
    let cluster = Cluster::of(3).await;
    minutes(2).await;
    for n in 0..50 {
        let began = tokio::time::Instant::now();
        let id = put(cluster.node(n % 3), "x").await;
        cluster.converge().await;
        delete(cluster.node((n + 1) % 3), id).await;
        cluster.converge().await;
        assert!(began.elapsed() < Duration::from_millis(10), "{:?}", began.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn lost_announces_are_made_good() {
    let cluster = Cluster::of(3).await;
    cluster.lose_announces.store(true, Ordering::Relaxed);
    let mut ids = Vec::new();
    for n in 0..60 {
        ids.push(put(cluster.node(n % 3), "x").await);
    }
    for id in ids.iter().take(20) {
        delete(cluster.node(0), *id).await;
    }
    cluster.converge().await;
    let stats = cluster.node(2).stats().journal;
    assert_eq!((stats.objects, stats.tombstones), (40, 20));
}

#[tokio::test(start_paused = true)]
async fn a_raised_level_of_another_nodes_version_comes_by_comparing() {
    let cluster = Cluster::of(2).await;
    let id = put(cluster.node(0), "x").await;
    cluster.converge().await;
    cluster.node(1).set_level(id, Level::Remote, WriteMode::Default).await.unwrap();
    cluster.converge().await;
    assert_eq!(cluster.node(0).head(id).await.unwrap().consistency, Level::Remote);
}

#[tokio::test(start_paused = true)]
async fn an_empty_node_takes_on_everything() {
    let mut cluster = Cluster::of(1).await;
    for _ in 0..300 {
        put(cluster.node(0), "x").await;
    }
    cluster.join().await;
    cluster.converge().await;
    assert_eq!(cluster.node(1).stats().journal.objects, 300);
}

/// Also of what is deleted here already: that it was put again is not known yet.
#[tokio::test(start_paused = true)]
async fn a_second_delete_beats_the_put_before_it() {
    let cluster = Cluster::of(3).await;
    let id = put(cluster.node(0), "x").await;
    delete(cluster.node(0), id).await;
    cluster.converge().await;
    put_apart_then_deleted(&cluster, id).await;
}

/// While one is away it puts a version, and then the others delete: in the end it is deleted.
async fn put_apart_then_deleted(cluster: &Cluster, id: ObjectId) {
    cluster.cut(2, true);
    minutes(2).await;
    cluster.node(2).put(id, "y", PutOptions::default()).await.unwrap();
    minutes(1).await;
    delete(cluster.node(0), id).await;
    cluster.cut(2, false);
    cluster.meet().await;
    cluster.converge().await;
    for node in cluster.nodes() {
        assert_eq!(kind(node, id).await, Some(ErrorKind::Deleted));
    }
}

#[tokio::test(start_paused = true)]
async fn a_delete_beats_the_older_put_that_comes_after_it() {
    let cluster = Cluster::of(3).await;
    let id = put(cluster.node(0), "x").await;
    cluster.converge().await;
    put_apart_then_deleted(&cluster, id).await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_was_down_learns_of_a_delete() {
    let mut cluster = Cluster::of(3).await;
    let id = put(cluster.node(0), "x").await;
    cluster.converge().await;
    cluster.stop(2).await;
    delete(cluster.node(1), id).await;
    minutes(60).await;
    // It is a member that counts, so the delete is not forgotten.
    assert_eq!(cluster.node(1).stats().journal.tombstones, 1);
    cluster.start(2).await;
    until("it is deleted there", async || {
        kind(cluster.node(2), id).await == Some(ErrorKind::Deleted)
    })
    .await;
    cluster.meet().await;
    cluster.converge().await;
}

#[tokio::test(start_paused = true)]
async fn deletes_are_forgotten_once_all_know_of_them_and_nothing_comes_back() {
    let mut cluster = Cluster::of(3).await;
    let mut ids = Vec::new();
    for n in 0..30 {
        ids.push(put(cluster.node(n % 3), "x").await);
    }
    cluster.converge().await;
    for id in &ids {
        delete(cluster.node(1), *id).await;
    }
    cluster.converge().await;
    assert_eq!(cluster.node(0).stats().journal.tombstones, 30);
    minutes(10).await;
    for node in cluster.nodes() {
        assert!(known(node).await.is_empty());
    }
    // Also not from a node that starts again.
    cluster.stop(0).await;
    cluster.start(0).await;
    cluster.meet().await;
    minutes(5).await;
    for node in cluster.nodes() {
        assert!(known(node).await.is_empty());
        assert_eq!(kind(node, ids[0]).await, Some(ErrorKind::NotFound));
    }
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_node_brings_nothing_back_and_loses_nothing_of_its_own() {
    let cluster = Cluster::of(3).await;
    let old = put(cluster.node(0), "old").await;
    let kept = put(cluster.node(1), "kept").await;
    let gone = put(cluster.node(2), "gone").await;
    cluster.converge().await;
    minutes(2).await;
    cluster.cut(2, true);
    minutes(2).await;
    // Written and deleted while it is away.
    let own = put(cluster.node(2), "own").await;
    delete(cluster.node(2), gone).await;
    delete(cluster.node(0), old).await;
    let away = cluster.node(2).id();
    cluster.node(0).forget(away).await.unwrap();
    minutes(60).await;
    assert_eq!(cluster.node(1).stats().journal.tombstones, 0, "the delete was forgotten");
    cluster.cut(2, false);
    cluster.meet().await;
    cluster.converge().await;
    minutes(10).await;
    cluster.converge().await;
    for node in cluster.nodes() {
        assert!(node.head(kept).await.is_ok());
        assert!(node.head(own).await.is_ok(), "what it wrote meanwhile is offered");
        assert!(node.head(old).await.is_err(), "what was deleted meanwhile stays deleted");
        assert!(node.head(gone).await.is_err(), "what it deleted meanwhile is deleted everywhere");
    }
}

#[tokio::test(start_paused = true)]
async fn two_clusters_that_meet_lose_nothing() {
    let mut cluster = Cluster::of(2).await;
    put(cluster.node(0), "x").await;
    put(cluster.node(1), "x").await;
    cluster.converge().await;
    // Both halves forget each other, and go on for long enough to forget deletes.
    cluster.cut(1, true);
    minutes(2).await;
    for n in [0, 1] {
        let other = cluster.node(1 - n).id();
        cluster.node(n).forget(other).await.unwrap();
        let id = put(cluster.node(n), "own").await;
        delete(cluster.node(n), id).await;
        put(cluster.node(n), "own").await;
    }
    minutes(30).await;
    cluster.cut(1, false);
    cluster.meet().await;
    cluster.converge().await;
    assert_eq!(cluster.node(0).stats().journal.objects, 4);
    let joined = cluster.join().await;
    cluster.meet().await;
    cluster.converge().await;
    assert_eq!(cluster.node(joined).stats().journal.objects, 4);
}

#[tokio::test(start_paused = true)]
async fn a_record_from_the_future_is_kept_aside_until_its_time_has_come() {
    let cluster = Cluster::of(3).await;
    let id = put(cluster.node(0), "x").await;
    cluster.converge().await;
    // While nobody tells it the time.
    cluster.cut(2, true);
    minutes(2).await;
    cluster.machines[2].clock.set(SIX_MINUTES, 0);
    let made = cluster.node(2).put(id, "y", PutOptions::default()).await.unwrap();
    cluster.cut(2, false);
    cluster.meet().await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(cluster.node(0).head(id).await.unwrap().timestamp < made.timestamp);
    minutes(3).await;
    cluster.converge().await;
    assert_eq!(cluster.node(0).head(id).await.unwrap().timestamp, made.timestamp);
}

#[tokio::test(start_paused = true)]
async fn not_yet_heard_of_is_not_absent() {
    let cluster = Cluster::of(2).await;
    cluster.lose_announces.store(true, Ordering::Relaxed);
    let id = put(cluster.node(0), "x").await;
    // Neither an announce nor a comparison has brought it.
    assert!(cluster.node(1).head(id).await.is_ok());
    let deleted = put(cluster.node(0), "x").await;
    delete(cluster.node(0), deleted).await;
    let read = cluster.node(1).get(deleted, GetOptions::default()).await;
    assert_eq!(read.unwrap_err().kind(), ErrorKind::Deleted);
    let unknown = cluster.node(0).new_id();
    assert_eq!(kind(cluster.node(1), unknown).await, Some(ErrorKind::NotFound));
}

#[tokio::test(start_paused = true)]
async fn a_hundred_differences_cost_what_they_are_worth() {
    let cluster = Cluster::of(2).await;
    for _ in 0..20_000 {
        put(cluster.node(0), "x").await;
    }
    cluster.converge().await;
    minutes(2).await;
    cluster.lose_announces.store(true, Ordering::Relaxed);
    for n in 0..100 {
        put(cluster.node(n % 2), "y").await;
    }
    let before = cluster.bytes.load(Ordering::Relaxed);
    cluster.converge().await;
    let spent = cluster.bytes.load(Ordering::Relaxed) - before;
    assert!(spent < 256 * 1024, "{spent} bytes");
    let before = cluster.bytes.load(Ordering::Relaxed);
    minutes(10).await;
    let idle = (cluster.bytes.load(Ordering::Relaxed) - before) / 600;
    assert!(idle < 2048, "{idle} bytes a second");
    println!("{spent} bytes for a hundred differences, {idle} bytes a second when idle");
}

#[tokio::test(start_paused = true)]
async fn journals_are_the_same_again_after_one_of_them_failed() {
    let cluster = Cluster::of(2).await;
    for fails_before in [true, false] {
        let id = put(cluster.node(0), "x").await;
        cluster.converge().await;
        *cluster.machines[0].fails.lock().unwrap() = Some(fails_before);
        let refused = cluster.node(0).delete(id, DeleteOptions::default()).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unavailable);
        let after = put(cluster.node(1), "y").await;
        until("the other's put is known", async || cluster.node(0).head(after).await.is_ok()).await;
        minutes(2).await;
        cluster.converge().await;
        let is_there = cluster.node(1).head(id).await.is_ok();
        assert_eq!(is_there, fails_before, "what was durable all the same is known too");
    }
}

#[tokio::test(start_paused = true)]
async fn what_no_node_would_say_is_refused_and_harms_nobody() {
    let cluster = Cluster::of(2).await;
    cluster
        .node(0)
        .put(cluster.node(0).new_id(), "x", PutOptions::named("a").unwrap())
        .await
        .unwrap();
    cluster.converge().await;
    let (to, head, body) = cluster.heard.lock().unwrap().clone().unwrap();
    let say = async |path: &str, body: &[u8]| {
        let mut head = head.clone();
        head.uri = path.parse().unwrap();
        let request = http::Request::from_parts(head, Body::from(body.to_vec()));
        let answer = cluster.network.call(&to, request).await.unwrap();
        answer.status().as_u16()
    };
    let (announce, sync) = ("/private/v1/announce", "/private/v1/sync");
    let before = known(cluster.node(1)).await;
    assert_eq!(say(announce, &body).await, 200, "a replay");
    for end in 0..body.len() {
        // A frame without a record is none that a node would send, and no harm.
        assert_eq!(say(announce, &body[..end]).await, if end == 1 { 200 } else { 400 });
    }
    assert_eq!(known(cluster.node(1)).await, before);
    // A record of another node's version.
    let mut foreign = body.to_vec();
    let mine = &u128_varint(ulid(&cluster.node(0).id().to_string()));
    let at = support::find(&foreign, mine).unwrap();
    foreign[at] ^= 1;
    assert_eq!(say(announce, &foreign).await, 403);
    assert_eq!(known(cluster.node(1)).await, before);
    for at in 0..body.len() {
        for bit in [1, 0x80] {
            let mut flipped = body.to_vec();
            flipped[at] ^= bit;
            let status = say(announce, &flipped).await;
            assert!([200, 400, 403].contains(&status), "{status} for a flip at {at}");
        }
    }
    for step in [&[][..], &[1], &[2, 0], &[1, 9], &[1, 0], &[1, 1, 4, 1, 0], &[1, 1, 0, 1, 9]] {
        assert_eq!(say(sync, step).await, 400, "{step:?}");
    }
    // More than is asked for at a time, and leaves that there are not.
    let mut many = vec![1, 2, 0xff, 0x7f];
    many.extend([1; 16_383]);
    assert_eq!(say(sync, &many).await, 400);
    assert_eq!(say(sync, &[1, 2, 1, 0xff, 0xff, 0xff, 0x7f]).await, 400);
    assert!(cluster.node(1).head(before[0].id).await.is_ok());
}

fn ulid(text: &str) -> u128 {
    let alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    text.chars().fold(0, |n, c| (n << 5) | alphabet.find(c).unwrap() as u128)
}

/// As postcard writes it.
fn u128_varint(mut n: u128) -> Vec<u8> {
    let mut bytes = Vec::new();
    while n >= 0x80 {
        bytes.push((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    bytes.push(n as u8);
    bytes
}
