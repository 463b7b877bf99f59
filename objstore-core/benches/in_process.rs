//! In process: a 4 KiB hit in the memory tier (figure of the issue: at most 1.5 µs), and durable
//! 4 KiB puts by 32 and by 128 tasks.
//!
//! `OBJSTORE_BENCH_SECONDS` (10, for each number of tasks) changes how long puts are made.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::disallowed_methods // a bench is about real time
)]

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use objstore_core::Node;
use objstore_core::options::{GetOptions, PutOptions};
use objstore_core::types::ObjectId;
use tokio::runtime::Builder;

const LEN: usize = 4096;
const OBJECTS: usize = 1000;
const ROUNDS: usize = 9;
const GETS_PER_ROUND: usize = 300_000;

fn main() {
    if !std::env::args().any(|arg| arg == "--bench") {
        println!("nothing to do: run it with cargo bench");
        return;
    }
    hits();
    for tasks in [32, 128] {
        puts(tasks);
    }
}

async fn open(dir: &Path) -> Node {
    let builder = Node::builder().state_dir(dir.join("state")).files_dir(dir.join("files"));
    builder.start().await.unwrap()
}

fn body(seed: usize) -> Bytes {
    (0..LEN).map(|i| (i * 31 + seed * 7 + i / 251) as u8).collect::<Vec<_>>().into()
}

fn hits() {
    let dir = tempfile::tempdir().unwrap();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let node = open(dir.path()).await;
        let mut ids = Vec::new();
        for seed in 0..OBJECTS {
            let id = node.new_id();
            node.put(id, body(seed), PutOptions::default()).await.unwrap();
            ids.push(id);
        }
        for (seed, id) in ids.iter().enumerate() {
            assert_eq!(get(&node, *id).await, body(seed));
        }
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let start = Instant::now();
            for i in 0..GETS_PER_ROUND {
                // A prime step: no order that a cache could guess.
                let body = get(&node, ids[i * 617 % OBJECTS]).await;
                assert_eq!(std::hint::black_box(body).len(), LEN);
            }
            rounds.push(start.elapsed().as_nanos() as f64 / GETS_PER_ROUND as f64);
        }
        rounds.sort_by(f64::total_cmp);
        let (median, min, max) = (rounds[ROUNDS / 2], rounds[0], rounds[ROUNDS - 1]);
        println!("4 KiB hit in process: {median:.0} ns ({min:.0} to {max:.0})");
        println!(
            "{{\"bench\":\"in_process_hit\",\"ns\":{{\"median\":{median:.0},\"min\":{min:.0},\"max\":{max:.0}}}}}"
        );
        node.shutdown().await.unwrap();
    });
}

async fn get(node: &Node, id: ObjectId) -> Bytes {
    let mut object = node.get(id, GetOptions::default()).await.unwrap();
    object.body.chunk().await.unwrap().unwrap()
}

fn puts(tasks: usize) {
    let seconds = std::env::var("OBJSTORE_BENCH_SECONDS").ok().and_then(|s| s.parse().ok());
    let time = Duration::from_secs(seconds.unwrap_or(10));
    let dir = tempfile::tempdir().unwrap();
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let node = open(dir.path()).await;
        let end = Instant::now() + time;
        let callers: Vec<_> = (0..tasks)
            .map(|task| {
                let (node, body) = (node.clone(), body(task));
                tokio::spawn(async move {
                    let mut done = 0u64;
                    while Instant::now() < end {
                        let (id, body) = (node.new_id(), body.clone());
                        node.put(id, body, PutOptions::default()).await.unwrap();
                        done += 1;
                    }
                    done
                })
            })
            .collect();
        let mut done = 0;
        for caller in callers {
            done += caller.await.unwrap();
        }
        let rate = done as f64 / time.as_secs_f64();
        println!("durable 4 KiB puts in process by {tasks} tasks: {rate:.0}/s");
        println!("{{\"bench\":\"in_process_put\",\"tasks\":{tasks},\"per_second\":{rate:.0}}}");
        node.shutdown().await.unwrap();
    });
}
