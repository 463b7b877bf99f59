//! A node whose workers are tasks: everything in one thread.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::sync::Arc;
use std::time::Duration;

use objstore_core::env::{Env, OsEntropy, Workers};
use objstore_core::journal::MemoryJournal;
use objstore_core::options::{DeleteOptions, GetOptions, PutOptions};
use objstore_core::testing::{MemoryDisk, Steps, TaskBlocking};
use objstore_core::{ErrorKind, Node};

struct World {
    disk: Arc<MemoryDisk>,
    journal: Arc<MemoryJournal>,
    steps: Steps,
}

impl World {
    fn new() -> Self {
        let steps = Steps::count();
        Self {
            disk: Arc::new(MemoryDisk::with_steps(steps.clone())),
            journal: Arc::new(MemoryJournal::with_steps(steps.clone())),
            steps,
        }
    }

    fn after_power_cut(&self) -> Self {
        let steps = Steps::count();
        Self {
            disk: Arc::new(self.disk.after_power_cut(steps.clone())),
            journal: Arc::new(self.journal.after_power_cut(steps.clone())),
            steps,
        }
    }

    async fn start(&self) -> Node {
        let mut env = Env::default();
        env.workers = Workers::Tasks;
        env.blocking = Arc::new(TaskBlocking::new(Arc::new(OsEntropy), Duration::from_millis(3)));
        env.disk = Some(self.disk.clone());
        env.journal = Some(self.journal.clone());
        Node::builder().env(env).start().await.unwrap()
    }
}

/// The names of the threads that this process has, but for those of the tests.
fn workers() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|name| name.starts_with("objstore") || name.starts_with("tokio")).collect()
}

#[tokio::test(start_paused = true)]
async fn a_node_needs_no_thread_of_its_own_and_keeps_its_id() {
    let world = World::new();
    let node = world.start().await;
    let small = node.new_id();
    let large = node.new_id();
    let body = vec![7; 200_000];
    node.put(small, "small", PutOptions::default()).await.unwrap();
    node.put(large, body.clone(), PutOptions::default()).await.unwrap();
    node.put(large, body.clone(), PutOptions::default()).await.unwrap();
    assert_eq!(workers(), Vec::<String>::new());
    node.shutdown().await.unwrap();
    let refused = node.put(small, "late", PutOptions::default()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Stopping);
    assert_eq!(world.disk.files().len(), 1, "the shutdown waits for the clean-up");

    let next = world.after_power_cut();
    let again = next.start().await;
    assert_eq!(again.id(), node.id());
    let read = again.get(large, GetOptions::default()).await.unwrap();
    assert_eq!(read.body.collect(usize::MAX).await.unwrap(), body);
    again.delete(small, DeleteOptions::default()).await.unwrap();
}

/// What a power cut looks like from inside: nothing more becomes durable, and the one thread goes
/// on with whatever else it has.
#[tokio::test(start_paused = true)]
async fn a_node_that_is_cut_off_from_its_disk_can_be_dropped_and_replaced() {
    let world = World::new();
    let node = world.start().await;
    let (kept, lost) = (node.new_id(), node.new_id());
    node.put(kept, "kept", PutOptions::default()).await.unwrap();
    world.steps.stop();
    node.put(lost, "lost", PutOptions::default()).await.unwrap_err();
    drop(node);

    let next = world.after_power_cut();
    let again = next.start().await;
    again.head(kept).await.unwrap();
    assert_eq!(again.head(lost).await.unwrap_err().kind(), ErrorKind::NotFound);
}
