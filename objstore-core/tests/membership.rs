//! Who is in the cluster: on a simulated network, in one thread, on a time that passes by itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use objstore_core::env::{Env, Workers};
use objstore_core::journal::MemoryJournal;
use objstore_core::options::{GetOptions, PutOptions};
use objstore_core::remote::MemoryRemote;
use objstore_core::testing::{
    Link, MemoryDisk, SeededEntropy, SimClock, SimNetwork, Steps, TaskBlocking, Trace,
};
use objstore_core::types::{PeerInfo, PeerState};
use objstore_core::{Error, ErrorKind, Node, Settings};

/// 2026-11-25, in nanoseconds.
const EPOCH: u64 = 1_795_600_000_000_000_000;

/// Machines on one network, each with a disk of its own.
struct Lan {
    network: SimNetwork,
    clock: SimClock,
}

struct Machine {
    number: usize,
    steps: Steps,
    disk: Arc<MemoryDisk>,
    journal: Arc<MemoryJournal>,
    clock: Arc<SimClock>,
    entropy: Arc<SeededEntropy>,
    bucket: &'static str,
}

fn address(number: usize) -> SocketAddr {
    ([10, 0, 0, u8::try_from(number).unwrap()], 11999).into()
}

impl Lan {
    fn new() -> Self {
        Self { network: SimNetwork::new(7, Trace::new(false)), clock: SimClock::new(EPOCH) }
    }

    fn machine(&self, number: usize) -> Machine {
        let steps = Steps::count();
        Machine {
            number,
            disk: Arc::new(MemoryDisk::with_steps(steps.clone())),
            journal: Arc::new(MemoryJournal::with_steps(steps.clone())),
            steps,
            clock: Arc::new(self.clock.another()),
            entropy: Arc::new(SeededEntropy::new(u64::try_from(number).unwrap())),
            bucket: "bucket",
        }
    }

    async fn start(&self, machine: &Machine, seeds: &[&str]) -> Node {
        self.try_start(machine, |settings| {
            settings.cluster.nodes = seeds.iter().map(ToString::to_string).collect();
        })
        .await
        .expect("the node starts")
    }

    async fn try_start(
        &self,
        machine: &Machine,
        change: impl FnOnce(&mut Settings),
    ) -> Result<Node, Error> {
        let mut env = Env::default();
        env.clock = machine.clock.clone();
        env.entropy = machine.entropy.clone();
        env.blocking =
            Arc::new(TaskBlocking::new(machine.entropy.clone(), Duration::from_millis(2)));
        env.workers = Workers::Tasks;
        env.disk = Some(machine.disk.clone());
        env.journal = Some(machine.journal.clone());
        env.network = Some(self.network.host(machine.number, machine.steps.clone()));
        let mut settings = Settings::default();
        settings.cluster.private_addr = Some(address(machine.number).to_string());
        change(&mut settings);
        let remote = Arc::new(MemoryRemote::with_clock(machine.bucket, machine.clock.clone()));
        Node::builder().settings(settings).remote(remote).env(env).start().await
    }

    /// A machine is cut off from these, or connected again.
    fn cut(&self, one: usize, others: &[usize], cut: bool) {
        for other in others {
            let link = Link { cut, ..Link::default() };
            self.network.set(one, *other, link);
            self.network.set(*other, one, link);
        }
    }
}

impl Machine {
    /// What its disk holds, once more: a restart, or a copy of its directories.
    fn again(&self) -> Self {
        let steps = Steps::count();
        Self {
            number: self.number,
            disk: Arc::new(self.disk.after_power_cut(steps.clone())),
            journal: Arc::new(self.journal.after_power_cut(steps.clone())),
            steps,
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            bucket: self.bucket,
        }
    }

    fn at(self, number: usize) -> Self {
        Self { number, ..self }
    }
}

fn info(node: &Node, of: &Node) -> Option<PeerInfo> {
    node.peers().into_iter().find(|peer| peer.node_id == of.id().to_string())
}

fn state(node: &Node, of: &Node) -> Option<PeerState> {
    info(node, of).map(|peer| peer.state)
}

fn know_each_other(nodes: &[&Node]) -> bool {
    nodes.iter().all(|node| {
        nodes.iter().all(|of| of.id() == node.id() || state(node, of) == Some(PeerState::Alive))
    })
}

/// Within so many seconds of the time of the simulation.
async fn within(seconds: u64, what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(seconds), waiting).await;
    assert!(in_time.is_ok(), "not within {seconds} s: {what}");
}

#[tokio::test(start_paused = true)]
async fn a_third_node_that_knows_only_the_second_finds_the_first() {
    let lan = Lan::new();
    let first = lan.start(&lan.machine(1), &[]).await;
    let second = lan.start(&lan.machine(2), &["10.0.0.1:11999"]).await;
    let third = lan.start(&lan.machine(3), &["10.0.0.2:11999"]).await;
    within(1, "all know all", || know_each_other(&[&first, &second, &third])).await;
    let seen = info(&first, &third).unwrap();
    assert_eq!(seen.private_addr, "10.0.0.3:11999");
    assert_eq!(seen.version, env!("CARGO_PKG_VERSION"));
    assert!(seen.disk_stats.bytes_all > 0 && seen.last_seen > EPOCH, "{seen:?}");
    assert_eq!(first.stats().peers.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_killed_node_is_gone_within_10_seconds_whatever_the_seed() {
    for (seed, size) in [(1, 2), (2, 3), (3, 5), (4, 7), (5, 3), (6, 7)] {
        let lan = Lan { network: SimNetwork::new(seed, Trace::new(false)), ..Lan::new() };
        let machines: Vec<_> = (1..=size).map(|number| lan.machine(number)).collect();
        let mut nodes = Vec::new();
        for machine in &machines {
            nodes.push(lan.start(machine, &["10.0.0.1:11999"]).await);
        }
        let all: Vec<_> = nodes.iter().collect();
        within(5, "all know all", || know_each_other(&all)).await;
        tokio::time::sleep(Duration::from_millis(seed * 370)).await;
        machines[size - 1].steps.stop();
        let (dead, rest) = nodes.split_last().unwrap();
        within(10, "the survivors know", || {
            rest.iter().all(|node| state(node, dead) == Some(PeerState::Gone))
        })
        .await;
        assert!(know_each_other(&rest.iter().collect::<Vec<_>>()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_stopped_for_3_seconds_is_not_gone() {
    for seed in 1..6 {
        let lan = Lan { network: SimNetwork::new(seed, Trace::new(false)), ..Lan::new() };
        let mut nodes = Vec::new();
        for number in 1..=3 {
            nodes.push(lan.start(&lan.machine(number), &["10.0.0.1:11999"]).await);
        }
        let [a, b, c] = &nodes[..] else { unreachable!() };
        within(5, "all know all", || know_each_other(&[a, b, c])).await;
        let mut watch = Vec::new();
        lan.cut(3, &[1, 2], true);
        for step in 0..1500 {
            if step == 300 {
                lan.cut(3, &[1, 2], false);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            watch.extend([state(a, c), state(b, c), state(c, a), state(c, b)]);
        }
        assert!(!watch.contains(&Some(PeerState::Gone)), "seed {seed}");
        assert!(watch.contains(&Some(PeerState::Suspect)), "seed {seed}: nobody noticed");
        assert!(know_each_other(&[a, b, c]), "seed {seed}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_leaves_is_gone_at_once() {
    let lan = Lan::new();
    let mut nodes = Vec::new();
    for number in 1..=7 {
        nodes.push(lan.start(&lan.machine(number), &["10.0.0.1:11999"]).await);
    }
    within(5, "all know all", || know_each_other(&nodes.iter().collect::<Vec<_>>())).await;
    let (leaving, rest) = nodes.split_last().unwrap();
    leaving.shutdown().await.unwrap();
    for node in rest {
        assert_eq!(state(node, leaving), Some(PeerState::Gone));
    }
}

#[tokio::test(start_paused = true)]
async fn a_name_may_stand_for_many_nodes_for_nobody_or_for_the_node_itself() {
    let lan = Lan::new();
    lan.network.name("cache:11999", vec![]);
    let alone = lan.start(&lan.machine(1), &["cache"]).await;
    assert!(alone.is_ready(), "alone when no seed answers");
    lan.network.name("cache:11999", vec![address(1)]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(alone.peers(), []);
    let (second, third) = (lan.machine(2), lan.machine(3));
    let second = lan.start(&second, &[]).await;
    let third = lan.start(&third, &[]).await;
    lan.network.name("cache:11999", vec![address(1), address(2), address(3)]);
    within(10, "the name is resolved again", || know_each_other(&[&alone, &second, &third])).await;
}

#[tokio::test(start_paused = true)]
async fn a_restarted_node_finds_its_cluster_by_itself_and_within_a_second_at_a_new_address() {
    let lan = Lan::new();
    let (one, two) = (lan.machine(1), lan.machine(2));
    let first = lan.start(&one, &[]).await;
    let second = lan.start(&two, &["10.0.0.1:11999"]).await;
    within(1, "they know each other", || know_each_other(&[&first, &second])).await;
    tokio::time::sleep(Duration::from_secs(1)).await;

    two.steps.stop();
    let moved = lan.start(&two.again().at(9), &[]).await;
    assert_eq!(moved.id(), second.id());
    within(1, "it is back elsewhere", || {
        info(&first, &moved).is_some_and(|peer| {
            peer.state == PeerState::Alive && peer.private_addr == "10.0.0.9:11999"
        }) && know_each_other(&[&first, &moved])
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_whole_cluster_that_is_restarted_at_once_comes_back() {
    let lan = Lan::new();
    let machines: Vec<_> = (1..=4).map(|number| lan.machine(number)).collect();
    let mut nodes = Vec::new();
    for machine in &machines {
        let seeds = if machine.number == 1 { vec![] } else { vec!["10.0.0.1:11999"] };
        nodes.push(lan.start(machine, &seeds).await);
    }
    within(5, "all know all", || know_each_other(&nodes.iter().collect::<Vec<_>>())).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    machines.iter().for_each(|machine| machine.steps.stop());
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let mut back = Vec::new();
    for machine in &machines {
        back.push(lan.start(&machine.again(), &[]).await);
    }
    within(5, "all know all again", || know_each_other(&back.iter().collect::<Vec<_>>())).await;
}

/// Decision 17: not yet synced is not absent. Once it is plain that nobody comes, a last survivor has
/// to be able to say 404.
#[tokio::test(start_paused = true)]
async fn one_that_reaches_none_of_those_it_remembers_says_for_half_a_minute_that_it_does_not_know()
{
    let lan = Lan::new();
    let (one, two) = (lan.machine(1), lan.machine(2));
    let first = lan.start(&one, &[]).await;
    let second = lan.start(&two, &["10.0.0.1:11999"]).await;
    within(1, "they know each other", || know_each_other(&[&first, &second])).await;
    let unknown = first.new_id();
    one.steps.stop();
    let put = second.new_id();
    second.put(put, "It works!", PutOptions::default()).await.unwrap();
    two.steps.stop();
    // Older than what is asked for because it may still be on its way.
    tokio::time::sleep(Duration::from_secs(120)).await;

    let first = lan.start(&one.again(), &[]).await;
    for id in [put, unknown] {
        let error = first.get(id, GetOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.retry_after().is_some());
    }
    assert!(first.is_ready());
    tokio::time::sleep(Duration::from_secs(31)).await;
    let error = first.get(unknown, GetOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");

    let second = lan.start(&two.again(), &[]).await;
    within(10, "they know each other", || know_each_other(&[&first, &second])).await;
    within(10, "what was put is known", || first.stats().journal.objects == 1).await;
    first.get(put, GetOptions::default()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_fell_apart_comes_together_again() {
    let lan = Lan::new();
    let mut nodes = Vec::new();
    for number in 1..=4 {
        nodes.push(lan.start(&lan.machine(number), &["10.0.0.1:11999"]).await);
    }
    let [a, b, c, d] = &nodes[..] else { unreachable!() };
    within(5, "all know all", || know_each_other(&[a, b, c, d])).await;
    for side in [1, 2] {
        lan.cut(side, &[3, 4], true);
    }
    let gone = Some(PeerState::Gone);
    within(20, "each side has lost the other", || {
        [state(a, c), state(b, d), state(c, a), state(d, b)] == [gone; 4]
    })
    .await;
    assert!(know_each_other(&[a, b]) && know_each_other(&[c, d]));
    tokio::time::sleep(Duration::from_secs(600)).await;
    for side in [1, 2] {
        lan.cut(side, &[3, 4], false);
    }
    within(30, "all know all again", || know_each_other(&[a, b, c, d])).await;
}

#[tokio::test(start_paused = true)]
async fn nodes_of_another_tag_or_before_another_bucket_are_refused() {
    let lan = Lan::new();
    let first = lan.start(&lan.machine(1), &[]).await;
    let other = Machine { bucket: "another", ..lan.machine(2) };
    let other = lan.start(&other, &["10.0.0.1:11999"]).await;
    let tagged = lan
        .try_start(&lan.machine(3), |settings| {
            settings.cluster.tag = "blue".to_owned();
            settings.cluster.nodes = vec!["10.0.0.1:11999".to_owned()];
        })
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    for node in [&first, &other, &tagged] {
        assert_eq!(node.peers(), []);
    }
    // Those who were told of a node that will not have them are no part of what they were meant for.
    assert!(first.is_ready() && !other.is_ready() && !tagged.is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_a_node_is_refused_while_its_twin_lives() {
    let lan = Lan::new();
    let (one, two) = (lan.machine(1), lan.machine(2));
    let first = lan.start(&one, &[]).await;
    let second = lan.start(&two, &["10.0.0.1:11999"]).await;
    within(1, "they know each other", || know_each_other(&[&first, &second])).await;
    tokio::time::sleep(Duration::from_secs(1)).await;

    // By the other, which can ask the twin; and by the twin itself, at its own former address.
    for (seeds, out_of_reach) in [(vec!["10.0.0.1:11999".to_owned()], 2), (vec![], 1)] {
        lan.cut(3, &[1, 2], false);
        lan.cut(3, &[out_of_reach], true);
        let refused = lan
            .try_start(&two.again().at(3), |settings| settings.cluster.nodes = seeds.clone())
            .await
            .unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Configuration);
        let text = refused.to_string();
        for part in [&*second.id().to_string(), "10.0.0.2:11999", "10.0.0.3:11999"] {
            assert!(text.contains(part), "{text}");
        }
    }
    assert!(know_each_other(&[&first, &second]));
    assert!(second.is_ready());

    two.steps.stop();
    lan.cut(3, &[1, 2], false);
    let moved = lan.start(&two.again().at(3), &[]).await;
    within(1, "without a twin it is welcome", || know_each_other(&[&first, &moved])).await;
}

#[tokio::test(start_paused = true)]
async fn a_forgotten_member_is_forgotten_by_all_and_welcome_when_it_is_back() {
    let lan = Lan::new();
    let machines: Vec<_> = (1..=3).map(|number| lan.machine(number)).collect();
    let mut nodes = Vec::new();
    for machine in &machines {
        nodes.push(lan.start(machine, &["10.0.0.1:11999"]).await);
    }
    let [a, b, c] = &nodes[..] else { unreachable!() };
    within(5, "all know all", || know_each_other(&[a, b, c])).await;
    let alive = a.forget(c.id()).await.unwrap_err();
    assert_eq!(alive.kind(), ErrorKind::InvalidRequest);
    machines[2].steps.stop();
    within(10, "it is gone", || state(a, c) == Some(PeerState::Gone)).await;
    within(10, "for both", || state(b, c) == Some(PeerState::Gone)).await;
    a.forget(c.id()).await.unwrap();
    assert_eq!([state(a, c), state(b, c)], [Some(PeerState::Forgotten); 2]);

    // Who joins now is told so, and so is who restarts.
    let fourth = lan.start(&lan.machine(4), &["10.0.0.2:11999"]).await;
    within(5, "the new one knows", || state(&fourth, c) == Some(PeerState::Forgotten)).await;
    let back = lan.start(&machines[2].again(), &[]).await;
    within(5, "it is a member again", || know_each_other(&[a, b, &fourth, &back])).await;
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_silent_for_too_long_is_given_up() {
    let lan = Lan::new();
    let (one, two) = (lan.machine(1), lan.machine(2));
    let forget_soon = |settings: &mut Settings| settings.cluster.forget_after_ms = 3_600_000;
    let first = lan.try_start(&one, forget_soon).await.unwrap();
    let second = lan.start(&two, &["10.0.0.1:11999"]).await;
    within(1, "they know each other", || know_each_other(&[&first, &second])).await;
    two.steps.stop();
    within(10, "it is gone", || state(&first, &second) == Some(PeerState::Gone)).await;
    tokio::time::sleep(Duration::from_secs(3500)).await;
    assert_eq!(state(&first, &second), Some(PeerState::Gone));
    tokio::time::sleep(Duration::from_secs(200)).await;
    assert_eq!(state(&first, &second), Some(PeerState::Forgotten));
    tokio::time::sleep(Duration::from_secs(3700)).await;
    assert_eq!(state(&first, &second), None);
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_clock_is_far_ahead_says_so_and_refuses_puts() {
    let lan = Lan::new();
    let machines: Vec<_> = (1..=3).map(|number| lan.machine(number)).collect();
    let mut nodes = Vec::new();
    for machine in &machines {
        nodes.push(lan.start(machine, &["10.0.0.1:11999"]).await);
    }
    let [a, b, c] = &nodes[..] else { unreachable!() };
    within(5, "all know all", || know_each_other(&[a, b, c])).await;
    let minutes = |minutes: i64| minutes * 60_000_000_000;
    let put = async |node: &Node| node.put(node.new_id(), "x", PutOptions::default()).await;

    machines[2].clock.set(minutes(4), 0);
    put(c).await.unwrap();
    machines[2].clock.set(minutes(6), 0);
    let refused = put(c).await.unwrap_err();
    assert_eq!((refused.kind(), refused.kind().status()), (ErrorKind::ClockSkew, 503));
    put(a).await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    put(b).await.unwrap();
    let ahead = info(a, c).unwrap().clock_ahead_ms;
    assert!((359_000..361_000).contains(&ahead), "{ahead}");

    machines[2].clock.set(minutes(-10), 0);
    put(c).await.unwrap();
    machines[2].clock.set(0, 0);
    put(c).await.unwrap();
}
