//! As a store of the crate `object_store`, in process: 64 KiB range reads of a warm object of 1 GiB
//! (figure of the issue: at least 30,000 per second), from the memory tier and from the page cache,
//! at any offset and at those of units. What a read costs is also told in time of the processor.
//!
//! `OBJSTORE_BENCH_ROUNDS` (9) of 50,000 reads each, `OBJSTORE_BENCH_MIB` (1,024).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::disallowed_methods // a bench is about real time
)]

use std::path::Path as Dir;
use std::time::{Duration, Instant};

use object_store_0_14::ObjectStoreExt;
use object_store_0_14::path::Path;
use objstore_core::Node;
use objstore_core::object_store_0_14::KeyStore;

const LEN: u64 = 64 * 1024;
const READS: usize = 50_000;
const PART: usize = 8 * 1024 * 1024;

fn main() {
    if !std::env::args().any(|arg| arg == "--bench") {
        println!("nothing to do: run it with cargo bench");
        return;
    }
    let rounds = number("OBJSTORE_BENCH_ROUNDS", 9);
    let size = number("OBJSTORE_BENCH_MIB", 1024) << 20;
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for (place, memory) in [("memory", 2 * size as u64), ("page_cache", 8 << 20)] {
        runtime.block_on(async {
            let node = open(dir.path(), memory).await;
            let store = KeyStore::new(node.clone());
            let path = Path::from("warm/object.bin");
            if store.head(&path).await.is_err() {
                put(&store, &path, size).await;
            }
            for start in (0..size as u64).step_by(PART) {
                let end = (start + PART as u64).min(size as u64);
                assert_eq!(
                    store.get_range(&path, start..end).await.unwrap().len() as u64,
                    end - start
                );
            }
            for (offsets, step) in [("any", 1), ("units", LEN)] {
                for tasks in [1, 8] {
                    let reads =
                        Reads { store: &store, path: &path, size: size as u64, step, tasks };
                    measure(place, offsets, &reads, rounds).await;
                }
            }
            node.shutdown().await.unwrap();
        });
    }
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

async fn open(dir: &Dir, memory: u64) -> Node {
    let builder = Node::builder().state_dir(dir.join("state")).files_dir(dir.join("files"));
    builder.remote_dir(dir.join("bucket")).memory_bytes(Some(memory)).start().await.unwrap()
}

async fn put(store: &KeyStore<Node>, path: &Path, size: usize) {
    let started = Instant::now();
    let mut upload = store.put_multipart(path).await.unwrap();
    let part: Vec<u8> = (0..PART).map(|i| (i * 31 + i / 251) as u8).collect();
    for _ in 0..size / PART {
        upload.put_part(part.clone().into()).await.unwrap();
    }
    upload.complete().await.unwrap();
    println!("{} MiB put in parts in {:.1} s", size >> 20, started.elapsed().as_secs_f64());
}

struct Reads<'a> {
    store: &'a KeyStore<Node>,
    path: &'a Path,
    size: u64,
    step: u64,
    tasks: usize,
}

impl Reads<'_> {
    async fn round(&self, seed: u64) {
        let tasks = (0..self.tasks as u64).map(|task| {
            let (store, path) = (self.store.clone(), self.path.clone());
            let (places, step, reads) =
                ((self.size - LEN) / self.step + 1, self.step, READS / self.tasks);
            tokio::spawn(async move {
                let mut random = seed.wrapping_mul(1009).wrapping_add(task) | 1;
                for _ in 0..reads {
                    // xorshift: no order that a cache could guess.
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    let start = random % places * step;
                    let bytes = store.get_range(&path, start..start + LEN).await.unwrap();
                    assert_eq!(std::hint::black_box(bytes).len() as u64, LEN);
                }
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap();
        }
    }
}

async fn measure(place: &str, offsets: &str, reads: &Reads<'_>, rounds: usize) {
    let done = (READS / reads.tasks * reads.tasks) as f64;
    let (mut rates, mut costs) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let (started, spent) = (Instant::now(), processor_time());
        reads.round(round as u64 + 1).await;
        let (took, cost) = (started.elapsed(), processor_time() - spent);
        // The first warms up.
        if round > 0 {
            rates.push(done / took.as_secs_f64());
            costs.push(cost.as_secs_f64() * 1e6 / done);
        }
    }
    let (rate, cost) = (spread(&mut rates), spread(&mut costs));
    let tasks = reads.tasks;
    println!(
        "64 KiB at {offsets} offsets from {place}, {tasks} tasks: {:.0}/s ({:.0} to {:.0}), {:.1} µs of processor ({:.1} to {:.1})",
        rate[0], rate[1], rate[2], cost[0], cost[1], cost[2]
    );
    println!(
        "{{\"bench\":\"object_store_range\",\"from\":\"{place}\",\"offsets\":\"{offsets}\",\"tasks\":{tasks},\"per_second\":{{\"median\":{:.0},\"min\":{:.0},\"max\":{:.0}}},\"cpu_us\":{{\"median\":{:.1},\"min\":{:.1},\"max\":{:.1}}}}}",
        rate[0], rate[1], rate[2], cost[0], cost[1], cost[2]
    );
}

/// Median, least and most.
fn spread(values: &mut [f64]) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [values[values.len() / 2], values[0], values[values.len() - 1]]
}

/// That all threads of this process have used so far.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
