//! Opening a node on a million objects through C: from objstore_open_node() in a fresh process to its
//! return, and to the first bytes of an object (figure of the issue: under 2 s). The first process finds
//! the journal as a clean stop leaves it, the others as a crash does.
//!
//! `OBJSTORE_BENCH_OBJECTS` (1000000), `OBJSTORE_BENCH_ROUNDS` (15).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::disallowed_methods, // a bench is about real time
    unsafe_code
)]

mod abi;

// Links the library, whose functions have no names in Rust.
use objstore as _;

use std::path::Path;
use std::process::Command;
use std::ptr::{null, null_mut};
use std::time::Instant;

use abi::{NONE, objstore_get, objstore_reader_read, spread};
use futures_util::stream::{StreamExt as _, iter};
use objstore_core::Node;
use objstore_core::options::PutOptions;
use objstore_core::types::ObjectId;

const LEN: usize = 100;
/// Puts under way at a time.
const CALLERS: usize = 256;
/// What this program is told when it is started again by itself.
const DIR: &str = "OBJSTORE_BENCH_DIR";
const ID: &str = "OBJSTORE_BENCH_ID";

fn main() {
    if let (Ok(dir), Ok(id)) = (std::env::var(DIR), std::env::var(ID)) {
        let (opened, read) = open(Path::new(&dir), id.parse().unwrap());
        println!("{opened} {read}");
        // As a crash would leave it.
        std::process::exit(0);
    }
    if !std::env::args().any(|arg| arg == "--bench") {
        println!("nothing to do: run it with cargo bench");
        return;
    }
    let number = |name, otherwise| {
        std::env::var(name).map_or(otherwise, |number| number.parse::<u64>().unwrap())
    };
    let objects = number("OBJSTORE_BENCH_OBJECTS", 1_000_000);
    let rounds = number("OBJSTORE_BENCH_ROUNDS", 15);
    let dir = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let id = runtime.block_on(fill(dir.path(), objects));
    drop(runtime);
    let mut crashed = Vec::new();
    for round in 0..=rounds {
        let ran = Command::new(std::env::current_exe().unwrap())
            .env(DIR, dir.path())
            .env(ID, id.to_string())
            .output()
            .unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        let said = String::from_utf8(ran.stdout).unwrap();
        let (opened, read) = said.trim().split_once(' ').unwrap();
        let times: (f64, f64) = (opened.parse().unwrap(), read.parse().unwrap());
        if round == 0 {
            report(objects, "a clean stop", vec![times]);
        } else {
            crashed.push(times);
        }
    }
    report(objects, "a crash", crashed);
}

fn report(objects: u64, after: &str, times: Vec<(f64, f64)>) {
    let (opened, read): (Vec<_>, Vec<_>) = times.into_iter().unzip();
    println!(
        "{{\"bench\":\"opens_a_million\",\"objects\":{objects},\"after\":\"{after}\",\"opened_ms\":{},\"first_read_ms\":{}}}",
        spread(opened),
        spread(read)
    );
}

/// The id of an object in the middle.
async fn fill(dir: &Path, objects: u64) -> ObjectId {
    let builder = Node::builder().state_dir(dir.join("state")).files_dir(dir.join("files"));
    let node = builder.memory_bytes(Some(0)).start().await.unwrap();
    let middle = node.new_id();
    let puts = iter(0..objects).for_each_concurrent(CALLERS, |number| {
        let id = if number == objects / 2 { middle } else { node.new_id() };
        let put = node.put(id, number.to_le_bytes().repeat(LEN / 8 + 1), PutOptions::default());
        async move { drop(put.await.unwrap()) }
    });
    puts.await;
    node.shutdown().await.unwrap();
    middle
}

/// Milliseconds until the node is open, and until an object is read.
fn open(dir: &Path, id: ObjectId) -> (f64, f64) {
    let (mut reader, mut got, mut body) = (null_mut(), 0, [0; LEN]);
    let id = id.to_bytes();
    let path = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let begun = Instant::now();
    let store = abi::open(&[
        ("state-dir", &path("state")),
        ("files-dir", &path("files")),
        ("memory-bytes", "0"),
    ]);
    let opened = begun.elapsed();
    // SAFETY: as the header says.
    unsafe {
        assert_eq!(objstore_get(store, &raw const id, null(), &raw mut reader, NONE), 0);
        let to = body.as_mut_ptr();
        assert_eq!(objstore_reader_read(reader, to, LEN, &raw mut got, NONE), 0);
    }
    let read = begun.elapsed();
    assert_eq!(got, LEN);
    (opened.as_secs_f64() * 1e3, read.as_secs_f64() * 1e3)
}
