//! A node on a disk and a journal that are stopped before every single step that changes them,
//! then started again on what survived. "Every step" is taken literally: the steps of a history
//! are counted first, then the history is run once for each of them, and again for each step of
//! the restart.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::sync::Arc;

use objstore_core::env::Env;
use objstore_core::journal::MemoryJournal;
use objstore_core::options::{DeleteOptions, GetOptions, PutOptions};
use objstore_core::remote::MemoryRemote;
use objstore_core::testing::{MemoryDisk, Steps};
use objstore_core::types::{Level, ObjectId};
use objstore_core::{ErrorKind, Node};

/// What may be read of an object: one of these. None: it is not there, or deleted.
type Possible = BTreeMap<ObjectId, Vec<Option<Vec<u8>>>>;

#[derive(Clone, Debug)]
enum Op {
    Put(usize, Vec<u8>),
    Delete(usize),
    /// Into the bucket as well.
    PutThrough(usize, Vec<u8>),
    Evict(usize),
    Get(usize),
}

fn body(len: usize, fill: u8) -> Vec<u8> {
    (0..len).map(|i| fill ^ (i / 1000) as u8).collect()
}

fn history() -> Vec<Op> {
    vec![
        Op::Put(0, body(100, 1)),
        Op::Put(1, body(70_000, 2)),
        Op::Put(1, body(140_000, 3)),
        Op::Put(0, body(80_000, 4)),
        Op::Put(1, body(50, 5)),
        Op::Delete(0),
        Op::Put(2, body(300_000, 6)),
        Op::Delete(2),
        Op::Put(2, body(66_000, 7)),
        Op::Delete(1),
        Op::Put(0, body(90_000, 8)),
    ]
}

/// Bodies that go, and come back from the bucket.
fn evictions() -> Vec<Op> {
    vec![
        Op::PutThrough(0, body(100, 1)),
        Op::PutThrough(1, body(140_000, 2)),
        Op::Evict(0),
        Op::Evict(1),
        Op::Get(1),
        Op::Put(2, body(70_000, 3)),
        Op::Evict(2),
        Op::Evict(1),
        Op::PutThrough(1, body(90_000, 4)),
        Op::Evict(1),
        Op::Get(0),
        Op::Delete(0),
    ]
}

struct World {
    bucket: Arc<MemoryRemote>,
    disk: Arc<MemoryDisk>,
    journal: Arc<MemoryJournal>,
    steps: Steps,
}

impl World {
    fn new(steps: Steps) -> Self {
        Self {
            bucket: Arc::new(MemoryRemote::new("bucket")),
            disk: Arc::new(MemoryDisk::with_steps(steps.clone())),
            journal: Arc::new(MemoryJournal::with_steps(steps.clone())),
            steps,
        }
    }

    async fn start(&self) -> Result<Node, objstore_core::Error> {
        let mut env = Env::default();
        env.disk = Some(self.disk.clone());
        env.journal = Some(self.journal.clone());
        Node::builder().env(env).remote(self.bucket.clone()).start().await
    }

    fn after_power_cut(&self, steps: Steps) -> Self {
        Self {
            bucket: Arc::clone(&self.bucket),
            disk: Arc::new(self.disk.after_power_cut(steps.clone())),
            journal: Arc::new(self.journal.after_power_cut(steps.clone())),
            steps,
        }
    }
}

fn ids() -> Vec<ObjectId> {
    (1..=3).map(|n| ObjectId::from_parts(1_700_000_000_000, n << 40).unwrap()).collect()
}

/// Runs the history until it ends or the world stops. What was acknowledged is certain, what was
/// answered with an error or not at all may be or not.
async fn run(world: &World, history: Vec<Op>) -> Possible {
    let ids = ids();
    let mut possible: Possible = ids.iter().map(|id| (*id, vec![None])).collect();
    let Ok(node) = world.start().await else { return possible };
    for op in history {
        let (id, new, result) = match op {
            Op::Put(n, body) => {
                let result = node.put(ids[n], body.clone(), PutOptions::default()).await.map(drop);
                (ids[n], Some(body), result)
            }
            Op::Delete(n) => {
                let result = node.delete(ids[n], DeleteOptions::default()).await.map(drop);
                (ids[n], None, result)
            }
            Op::PutThrough(n, body) => {
                let options = PutOptions::default().level(Level::Remote);
                let result = node.put(ids[n], body.clone(), options).await.map(drop);
                (ids[n], Some(body), result)
            }
            Op::Evict(n) => {
                let _ = node.evict(ids[n]).await;
                continue;
            }
            Op::Get(n) => {
                if let Ok(object) = node.get(ids[n], GetOptions::default()).await {
                    let _ = object.body.collect(usize::MAX).await;
                }
                continue;
            }
        };
        let known = possible.get_mut(&id).unwrap();
        match result {
            Ok(()) => *known = vec![new],
            Err(_) => known.push(new),
        }
        if world.steps.stopped() {
            break;
        }
    }
    let _ = node.shutdown().await;
    possible
}

async fn check(world: &World, possible: &Possible, context: &str) {
    let large = check_bodies(world, possible, context).await;
    let files = world.disk.files();
    assert_eq!(files.len(), large, "{context}: files without a record are left: {files:?}");
}

/// Reads everything, and returns how many bodies are large.
async fn check_bodies(world: &World, possible: &Possible, context: &str) -> usize {
    let node = world.start().await.unwrap_or_else(|e| panic!("{context}: no restart: {e:?}"));
    let mut large = 0;
    for (id, allowed) in possible {
        let found = match node.get(*id, GetOptions::default()).await {
            Ok(object) => {
                large += usize::from(object.meta.size > 64 * 1024);
                Some(object.body.collect(usize::MAX).await.unwrap().to_vec())
            }
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Deleted) => None,
            Err(e) => panic!("{context}: {id} cannot be read: {e:?}"),
        };
        assert!(allowed.contains(&found), "{context}: {id} is neither old nor new");
    }
    // A shutdown waits for the clean-up.
    node.shutdown().await.unwrap();
    large
}

async fn steps_of_the_history() -> u64 {
    let world = World::new(Steps::count());
    let possible = run(&world, history()).await;
    check(&world.after_power_cut(Steps::count()), &possible, "no crash").await;
    world.steps.taken()
}

#[tokio::test]
async fn everything_acknowledged_survives_a_stop_before_any_step() {
    let steps = steps_of_the_history().await;
    assert!(steps > 60, "the history has become too short to mean anything: {steps}");
    for keep_unsynced in [false, true] {
        for stop in 0..steps {
            let world = World::new(Steps::stop_before(stop, keep_unsynced));
            let possible = run(&world, history()).await;
            let context = format!("stopped before step {stop}, unsynced kept: {keep_unsynced}");
            check(&world.after_power_cut(Steps::count()), &possible, &context).await;
        }
    }
}

/// A restart that is itself cut short at any step, again and again, loses nothing either.
#[tokio::test]
async fn everything_acknowledged_survives_a_stop_at_any_step_of_the_restart() {
    let steps = steps_of_the_history().await;
    for stop in (0..steps).step_by(3) {
        let world = World::new(Steps::stop_before(stop, true));
        let possible = run(&world, history()).await;
        for restart_stop in 0.. {
            let again =
                world.after_power_cut(Steps::stop_before(restart_stop, restart_stop % 2 == 0));
            if let Ok(node) = again.start().await {
                let _ = node.shutdown().await;
            }
            let stopped = again.steps.stopped();
            let context = format!(
                "stopped before step {stop}, then before step {restart_stop} of the restart"
            );
            check(&again.after_power_cut(Steps::count()), &possible, &context).await;
            if !stopped {
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_body_that_was_evicted_is_to_be_had_after_a_stop_before_any_step() {
    let world = World::new(Steps::count());
    run(&world, evictions()).await;
    let steps = world.steps.taken();
    assert!(steps > 60, "the history has become too short to mean anything: {steps}");
    for keep_unsynced in [false, true] {
        for stop in 0..steps {
            let world = World::new(Steps::stop_before(stop, keep_unsynced));
            let possible = run(&world, evictions()).await;
            let context = format!("stopped before step {stop}, unsynced kept: {keep_unsynced}");
            let after = world.after_power_cut(Steps::count());
            check_bodies(&after, &possible, &context).await;
            // And once more, with what that start and those reads left behind.
            check_bodies(&after.after_power_cut(Steps::count()), &possible, &context).await;
        }
    }
}
