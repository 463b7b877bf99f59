//! What the C ABI adds to a get: the same reads of one node in memory, through Rust and through C, in
//! turn (figures of the issue: 4 KiB at most 2 µs more; 64 MiB at most 5 % more CPU time). Of 64 MiB the
//! bytes are either looked at where they are, or copied to a buffer of 1 MiB.
//!
//! `OBJSTORE_BENCH_ROUNDS` (15).

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

use std::ffi::c_void;
use std::ptr::{null, null_mut};
use std::time::{Duration, Instant};

use abi::{
    NONE, objstore_close, objstore_get, objstore_put, objstore_reader_free, objstore_reader_next,
    objstore_reader_read, open, spread,
};
use objstore_core::options::{GetOptions, PutOptions};
use objstore_core::types::ObjectId;
use objstore_core::{Node, Settings};

/// The size of the object, how often it is read in a round, and whether its bytes are copied.
const CASES: [(usize, usize, bool); 3] =
    [(4 << 10, 50_000, false), (64 << 20, 20, false), (64 << 20, 20, true)];
const BUFFER: usize = 1 << 20;

fn main() {
    if !std::env::args().any(|arg| arg == "--bench") {
        println!("nothing to do: run it with cargo bench");
        return;
    }
    let rounds =
        std::env::var("OBJSTORE_BENCH_ROUNDS").map_or(15, |rounds| rounds.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let node = runtime.block_on(async {
        let mut settings = Settings::default();
        settings.memory_bytes = Some(512 << 20);
        let builder = Node::builder().settings(settings);
        builder.state_dir(path("rust/state")).files_dir(path("rust/files")).start().await.unwrap()
    });
    let store = open(&[
        ("state-dir", path("c/state").to_str().unwrap()),
        ("files-dir", path("c/files").to_str().unwrap()),
        ("memory-bytes", "512M"),
    ]);
    for (size, reads, copy) in CASES {
        let id = node.new_id();
        let body = vec![7_u8; size];
        put(store, id, &body);
        runtime.block_on(node.put(id, body, PutOptions::default())).unwrap();
        let through_rust = || runtime.block_on(through_rust(&node, id, size, reads, copy));
        let through_c = || through_c(store, id, size, reads, copy);
        through_rust();
        through_c();
        let (mut rust, mut c) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            rust.push(measured(reads, through_rust));
            c.push(measured(reads, through_c));
        }
        for (language, figures) in [("rust", rust), ("c", c)] {
            let (wall, cpu): (Vec<_>, Vec<_>) = figures.into_iter().unzip();
            let (wall, cpu) = (spread(wall), spread(cpu));
            println!(
                "{{\"bench\":\"through_c\",\"bytes\":{size},\"copied\":{copy},\"through\":\"{language}\",\"wall_us\":{wall},\"cpu_us\":{cpu}}}"
            );
        }
    }
    runtime.block_on(node.shutdown()).unwrap();
    // SAFETY: as the header says.
    assert_eq!(unsafe { objstore_close(store, -1, NONE) }, 0);
}

fn put(store: *mut c_void, id: ObjectId, body: &[u8]) {
    let id = id.to_bytes();
    let (data, length) = (body.as_ptr(), body.len());
    // SAFETY: as the header says.
    let put = unsafe { objstore_put(store, &raw const id, data, length, null(), NONE, NONE) };
    assert_eq!(put, 0);
}

async fn through_rust(node: &Node, id: ObjectId, size: usize, reads: usize, copy: bool) {
    let mut buffer = vec![0; BUFFER];
    for _ in 0..reads {
        let mut body = node.get(id, GetOptions::default()).await.unwrap().body;
        let (mut got, mut sum) = (0, 0);
        while let Some(chunk) = body.chunk().await {
            let chunk = chunk.unwrap();
            if copy {
                let at = got % BUFFER;
                buffer.get_mut(at..at + chunk.len()).unwrap().copy_from_slice(&chunk);
            } else {
                sum += look_at(&chunk);
            }
            got += chunk.len();
        }
        std::hint::black_box((&mut buffer, sum));
        assert_eq!(got, size);
    }
}

fn through_c(store: *mut c_void, id: ObjectId, size: usize, reads: usize, copy: bool) {
    let id = id.to_bytes();
    let mut buffer = vec![0; BUFFER];
    for _ in 0..reads {
        let (mut reader, mut data, mut length, mut got, mut sum) = (null_mut(), null(), 1, 0, 0);
        // SAFETY: as the header says.
        unsafe {
            assert_eq!(objstore_get(store, &raw const id, null(), &raw mut reader, NONE), 0);
            while length > 0 {
                if copy {
                    let to = buffer.as_mut_ptr();
                    let read = objstore_reader_read(reader, to, BUFFER, &raw mut length, NONE);
                    assert_eq!(read, 0);
                } else {
                    let next = objstore_reader_next(reader, &raw mut data, &raw mut length, NONE);
                    assert_eq!(next, 0);
                    if length > 0 {
                        sum += look_at(std::slice::from_raw_parts(data, length));
                    }
                }
                got += length;
            }
            assert_eq!(objstore_reader_free(reader), 0);
        }
        std::hint::black_box((&mut buffer, sum));
        assert_eq!(got, size);
    }
}

/// What costs about as little as a use of all bytes can.
fn look_at(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(8).map(|word| u64::from_ne_bytes(word.try_into().unwrap()));
    words.fold(0, |sum, word| sum ^ word)
}

/// Wall and CPU time of one read in µs.
fn measured(reads: usize, work: impl Fn()) -> (f64, f64) {
    let (begun, used) = (Instant::now(), cpu());
    work();
    let per_read = |time: Duration| time.as_secs_f64() * 1e6 / reads as f64;
    (per_read(begun.elapsed()), per_read(cpu() - used))
}

/// The CPU time of this process.
fn cpu() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the clock is one there is, and the time has room.
    let read = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    assert_eq!(read, 0);
    Duration::new(time.tv_sec.try_into().unwrap(), time.tv_nsec.try_into().unwrap())
}
