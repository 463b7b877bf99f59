//! A journal of a million objects: from the start of a node to its first answer, and its memory,
//! in a fresh process with the memory tier off. Figures of the issue: under 2 s, at most 300 MiB.
//!
//! `OBJSTORE_BENCH_OBJECTS` (1000000) changes how many.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss
)]

#[path = "../tests/harness/mod.rs"]
mod harness;
mod load;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use harness::{bytes, number_from_env};
use objstore_core::Node;
use objstore_core::options::{GetOptions, PutOptions};
use objstore_core::types::ObjectId;

const LEN: usize = 100;
const CALLERS: u64 = 256;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if let (Ok(dir), Ok(id)) = (std::env::var("OBJSTORE_BENCH_DIR"), std::env::var("OBJSTORE_ID")) {
        runtime.block_on(start(Path::new(&dir), id.parse().unwrap()));
        return;
    }
    if !load::asked_for() {
        return;
    }
    let count = number_from_env("OBJSTORE_BENCH_OBJECTS").unwrap_or(1_000_000);
    let dir = tempfile::tempdir().unwrap();
    let id = runtime.block_on(fill(dir.path(), count));
    drop(runtime);
    println!("disk: {} MiB", harness::disk::usage(dir.path()) >> 20);
    // None but the first finds a clean stop: the child ends without one.
    for round in 0..4 {
        let after = if round == 0 { "a clean stop" } else { "a crash" };
        println!("start after {after}:");
        let status = Command::new(std::env::current_exe().unwrap())
            .env("OBJSTORE_BENCH_DIR", dir.path())
            .env("OBJSTORE_ID", id.to_string())
            .status()
            .unwrap();
        assert!(status.success());
    }
}

async fn open(dir: &Path) -> Node {
    Node::builder()
        .state_dir(dir.join("state"))
        .files_dir(dir.join("files"))
        .memory_bytes(Some(0))
        .start()
        .await
        .unwrap()
}

/// The id of an object in the middle.
async fn fill(dir: &Path, count: u64) -> ObjectId {
    let node = open(dir).await;
    let next = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (node, next) = (node.clone(), Arc::clone(&next));
            tokio::spawn(async move {
                let mut middle = None;
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return middle;
                    }
                    let id = node.new_id();
                    node.put(id, bytes(number, LEN), PutOptions::default()).await.unwrap();
                    if number == count / 2 {
                        middle = Some(id);
                    }
                }
            })
        })
        .collect();
    let mut middle = None;
    for caller in callers {
        middle = caller.await.unwrap().or(middle);
    }
    let rate = count as f64 / start.elapsed().as_secs_f64();
    println!("filled with {count} objects, {rate:.0}/s");
    node.shutdown().await.unwrap();
    middle.unwrap()
}

/// In the fresh process.
async fn start(dir: &Path, id: ObjectId) {
    let before = Instant::now();
    let node = open(dir).await;
    let opened = before.elapsed();
    let object = node.get(id, GetOptions::default()).await.unwrap();
    let body = object.body.collect(LEN).await.unwrap();
    let first = before.elapsed();
    assert_eq!(body.len(), LEN);
    let objects = node.stats().journal.objects;
    let peak = harness::server::memory_of("self", "VmHWM");
    println!(
        "{{\"bench\":\"journal_million\",\"objects\":{objects},\"start_ms\":{:.0},\"first_get_ms\":{:.0},\"peak_mib\":{}}}",
        opened.as_secs_f64() * 1e3,
        first.as_secs_f64() * 1e3,
        peak >> 20
    );
    // As a crash would leave it.
    std::process::exit(0);
}
