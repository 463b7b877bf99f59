//! Whole clusters in one thread each: 3 to 7 nodes on simulated clocks, disks, journals, network and
//! bucket, and otherwise what runs everywhere. A seed decides all that happens, and repeats it.
//!
//! `OBJSTORE_SIM_SEEDS=10000 cargo test --release -p objstore-core --no-default-features --test sim`
//! runs ten thousand seeds, `OBJSTORE_SIM_SEED=7` only that one, with its trace.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    unreachable_pub
)]

mod bucket;
mod check;
mod model;
mod script;
mod world;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use world::World;

/// How many machines there are, and how many seeds are run unless the environment says otherwise:
/// as many as fit into a few minutes of a slow machine.
#[derive(Clone)]
struct Story {
    first: std::ops::Range<u64>,
    most: usize,
    rough: u32,
    seeds: u64,
    /// Deletes are forgotten within the story.
    forgetful: bool,
    /// A node comes back with the disk of another day, after deletes were forgotten.
    old_disks: bool,
}

/// When no seed has ended for so long, those under way never will.
const PATIENCE: Duration = Duration::from_secs(120);

const CALM: Story =
    Story { first: 3..6, most: 7, rough: 0, seeds: 30, forgetful: false, old_disks: false };
const ALONE: Story = Story { first: 1..2, most: 1, rough: 850, seeds: 100, ..CALM };
const CLUSTER: Story = Story { rough: 850, seeds: 80, ..CALM };
const FORGETFUL: Story = Story { seeds: 40, forgetful: true, ..CLUSTER };
const OLD_DISKS: Story = Story { seeds: 40, forgetful: true, old_disks: true, ..CALM };

/// Seeds that found something and are no longer among those that are run each time.
const RED_ONCE: [u64; 4] = [5659, 6324, 7412, 9400];

thread_local! {
    /// What panicked in this thread: tokio keeps the panics of tasks to itself.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// What became of a seed.
struct Ran {
    wrong: Vec<String>,
    digest: (String, u64),
    lines: Vec<String>,
    acked: u64,
    reads: u64,
}

fn run(story: &Story, seed: u64, keep_lines: bool) -> Ran {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    PANICS.take();
    let mut ran = runtime.block_on(async {
        let mut world = World::new(seed, keep_lines, story.forgetful);
        // On a task of its own, so that its panics are caught like all others.
        let trace = world.trace.clone();
        let model = world.model.clone();
        let Story { first, most, rough, old_disks, .. } = story.clone();
        let story = tokio::spawn(async move {
            script::run(&mut world, first, most, rough, old_disks).await;
            check::healed(&mut world).await
        });
        let wrong = story.await.unwrap_or_default();
        let (acked, reads) = model.lock().map_or((0, 0), |model| (model.acked, model.reads));
        Ran { wrong, digest: trace.digest(), lines: trace.lines(), acked, reads }
    });
    drop(runtime);
    ran.wrong.extend(PANICS.take());
    ran
}

fn catch_panics() {
    std::panic::set_hook(Box::new(|info| {
        PANICS.with_borrow_mut(|panics| panics.push(format!("panic: {info}")));
        // Of a test itself.
        if !std::thread::current().name().is_some_and(|name| name.starts_with("seed")) {
            eprintln!("{info}");
        }
    }));
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Runs seeds, several at a time; those that went wrong. One that does not come to an end is named
/// too, and its thread left alone.
fn run_all(story: &Story, seeds: std::ops::Range<u64>) -> Vec<(u64, Vec<String>)> {
    catch_panics();
    let (ended, ends) = std::sync::mpsc::channel();
    let next = Arc::new(AtomicU64::new(seeds.start));
    let mut under_way = BTreeMap::new();
    for number in 0..std::thread::available_parallelism().map_or(2, usize::from) {
        let (story, seeds, next, ended) =
            (story.clone(), seeds.clone(), next.clone(), ended.clone());
        let work = move || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if !seeds.contains(&seed) || ended.send((number, seed, None)).is_err() {
                    return;
                }
                let ran = run(&story, seed, false);
                let _ = ended.send((number, seed, Some(ran)));
            }
        };
        std::thread::Builder::new().name("seed".to_owned()).spawn(work).unwrap();
    }
    drop(ended);
    let (mut acked, mut reads, mut failed) = (0, 0, Vec::new());
    loop {
        match ends.recv_timeout(PATIENCE) {
            Ok((number, seed, None)) => drop(under_way.insert(number, seed)),
            Ok((number, seed, Some(ran))) => {
                under_way.remove(&number);
                acked += ran.acked;
                reads += ran.reads;
                if let Some(wrong) = ran.wrong.first() {
                    println!("seed {seed} went wrong: {wrong}");
                    failed.push((seed, ran.wrong));
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                let stuck = under_way.values().map(|seed| (*seed, vec!["no end".to_owned()]));
                failed.extend(stuck);
                break;
            }
        }
    }
    println!("{} seeds, {acked} acknowledged changes, {reads} reads", seeds.end - seeds.start);
    failed.sort();
    failed
}

fn tell(story: &Story, name: &str) {
    if let Some(seed) = number("OBJSTORE_SIM_SEED") {
        catch_panics();
        let ran = run(story, seed, true);
        for line in &ran.lines {
            println!("{line}");
        }
        assert!(ran.wrong.is_empty(), "seed {seed}:\n{}", ran.wrong.join("\n"));
        return;
    }
    let first = number("OBJSTORE_SIM_FIRST").unwrap_or(0);
    let seeds = number("OBJSTORE_SIM_SEEDS");
    let mut failed = run_all(story, first..first + seeds.unwrap_or(story.seeds));
    for seed in RED_ONCE.iter().filter(|_| seeds.is_none()) {
        failed.extend(run_all(story, *seed..*seed + 1));
    }
    let told: Vec<_> = failed
        .iter()
        .map(|(seed, wrong)| {
            format!(
                "seed {seed} (OBJSTORE_SIM_SEED={seed} cargo test -p objstore-core --no-default-features --test sim {name} -- --nocapture):\n  {}",
                wrong.join("\n  ")
            )
        })
        .collect();
    assert!(failed.is_empty(), "{} seeds went wrong\n{}", failed.len(), told.join("\n"));
}

#[test]
fn a_node_alone_keeps_its_promises_whatever_happens() {
    tell(&ALONE, "alone");
}

#[test]
fn a_cluster_without_faults_keeps_its_promises() {
    tell(&CALM, "without");
}

#[test]
fn a_cluster_keeps_its_promises_whatever_happens() {
    tell(&CLUSTER, "cluster");
}

#[test]
fn a_cluster_that_forgets_deletes_soon_keeps_its_promises() {
    tell(&FORGETFUL, "forgets");
}

#[test]
fn a_cluster_of_which_a_node_comes_back_with_old_disks_keeps_its_promises() {
    tell(&OLD_DISKS, "old_disks");
}

#[test]
fn a_seed_run_twice_is_the_same_to_the_last_event() {
    catch_panics();
    let first = number("OBJSTORE_SIM_SEED").unwrap_or(0);
    for seed in first..first + 3 {
        let (one, other) = (run(&CLUSTER, seed, true), run(&CLUSTER, seed, true));
        let parted = one.lines.iter().zip(&other.lines).position(|(a, b)| a != b);
        if let Some(at) = parted {
            let from = at.saturating_sub(5);
            let shown = |lines: &[String]| lines[from..lines.len().min(at + 3)].join("\n");
            panic!(
                "seed {seed} parts from itself:\n{}\nor\n{}",
                shown(&one.lines),
                shown(&other.lines)
            );
        }
        assert_eq!(one.digest, other.digest, "seed {seed}");
    }
}
