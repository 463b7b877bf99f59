//! Server CPU per read over HTTP: 4 KiB and 1 MiB, from the memory tier and with the tier off. The
//! server has one core, the load the other. Figures of the issue: 12 and 22 µs, 300 and 400 µs.
//!
//! `OBJSTORE_BENCH_ROUNDS` (5) and `OBJSTORE_BENCH_SECONDS` (3, per round and case) change how long
//! it looks.

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

use std::time::{Duration, Instant};

use harness::server::{Launch, Server};
use harness::{Rng, bytes, number_from_env};
use load::{Connection, Spread};

struct Case {
    name: &'static str,
    size: usize,
    objects: usize,
    connections: usize,
}

const CASES: [Case; 3] = [
    Case { name: "4 KiB", size: 4 << 10, objects: 1000, connections: 32 },
    Case { name: "1 MiB", size: 1 << 20, objects: 1, connections: 8 },
    Case { name: "1 MiB of 32 objects", size: 1 << 20, objects: 32, connections: 8 },
];

struct Tier {
    name: &'static str,
    server: Server,
    _dir: tempfile::TempDir,
    /// Per case: the requests, all objects in a random order.
    requests: Vec<Vec<Vec<u8>>>,
    /// Per case: CPU in µs per request, and requests per second, by round.
    samples: Vec<(Vec<f64>, Vec<f64>)>,
}

fn main() {
    if !load::asked_for() {
        return;
    }
    let rounds = number_from_env("OBJSTORE_BENCH_ROUNDS").unwrap_or(5);
    let time = Duration::from_secs(number_from_env("OBJSTORE_BENCH_SECONDS").unwrap_or(3));
    load::pin_self("1");
    let mut tiers = [tier("warm", &[]), tier("off", &["--memory-bytes", "0"])];
    for _ in 0..rounds {
        for (i, case) in CASES.iter().enumerate() {
            for tier in &mut tiers {
                let (cpu, rate) = measure(case, &tier.server, &tier.requests[i], time);
                tier.samples[i].0.push(cpu);
                tier.samples[i].1.push(rate);
            }
        }
    }
    for (i, case) in CASES.iter().enumerate() {
        for tier in &mut tiers {
            let (cpu, rate) = std::mem::take(&mut tier.samples[i]);
            let (cpu, rate) = (Spread::of(cpu), Spread::of(rate));
            println!(
                "{} tier {}: {:.1} µs of server CPU per read ({:.1} to {:.1}), {:.0} reads/s",
                case.name, tier.name, cpu.median, cpu.min, cpu.max, rate.median
            );
            println!(
                "{{\"bench\":\"http_reads\",\"bytes\":{},\"objects\":{},\"tier\":\"{}\",\"connections\":{},\"cpu_us\":{cpu:.2},\"per_second\":{rate:.0}}}",
                case.size, case.objects, tier.name, case.connections
            );
        }
    }
}

/// A node of its own on core 0, filled; every object read and compared once, which warms it.
fn tier(name: &'static str, args: &[&str]) -> Tier {
    let dir = tempfile::tempdir().unwrap();
    let launch = Launch::new(dir.path()).args(args).wrapped(["taskset", "-c", "0"]);
    let server = launch.start();
    let mut client = server.client();
    let mut rng = Rng::new(1);
    let requests = CASES
        .iter()
        .map(|case| {
            let ids: Vec<_> = (0..case.objects).map(|_| (rng.id(), rng.next())).collect();
            for (id, seed) in &ids {
                assert!(client.put(id, &bytes(*seed, case.size)).unwrap().is_ok());
            }
            for (id, seed) in &ids {
                assert!(client.get(id).unwrap().body == bytes(*seed, case.size), "{id}");
            }
            ids.iter().map(|(id, _)| load::get_request(id)).collect()
        })
        .collect();
    let samples = vec![Default::default(); CASES.len()];
    Tier { name, server, _dir: dir, requests, samples }
}

/// One thread keeps a request on every connection: it takes them in turn, reads the answer and
/// sends the next. That costs one read and one write each, less than the server needs.
fn measure(case: &Case, server: &Server, requests: &[Vec<u8>], time: Duration) -> (f64, f64) {
    let mut rng = Rng::new(2);
    let mut connections: Vec<_> =
        (0..case.connections).map(|_| Connection::open(server.addr).unwrap()).collect();
    for connection in &mut connections {
        connection.send(rng.pick::<Vec<u8>>(requests)).unwrap();
    }
    let mut round = |done: &mut u64| {
        for connection in &mut connections {
            assert_eq!(connection.receive(|_| ()).unwrap(), case.size as u64);
            connection.send(rng.pick::<Vec<u8>>(requests)).unwrap();
            *done += 1;
        }
    };
    round(&mut 0);
    let mut done = 0;
    let (start, cpu) = (Instant::now(), server.cpu_seconds());
    while start.elapsed() < time {
        round(&mut done);
    }
    let (elapsed, cpu) = (start.elapsed().as_secs_f64(), server.cpu_seconds() - cpu);
    for connection in &mut connections {
        connection.receive(|_| ()).unwrap();
    }
    (cpu * 1e6 / done as f64, done as f64 / elapsed)
}
