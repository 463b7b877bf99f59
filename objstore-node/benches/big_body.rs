//! A 4 GiB put and get through HTTP, and the memory of the process meanwhile. Figure of the issue:
//! within 64 MiB of idle plus the memory tier's budget.
//!
//! `OBJSTORE_BENCH_MIB` (4096) changes the size.

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

use std::time::Instant;

use harness::server::{Launch, Server};
use harness::{Rng, bytes, number_from_env};
use load::Connection;

const MIB: u64 = 1 << 20;

fn main() {
    if !load::asked_for() {
        return;
    }
    let size = number_from_env("OBJSTORE_BENCH_MIB").unwrap_or(4096) * MIB;
    for (tier, args) in [("default", &[][..]), ("off", &["--memory-bytes", "0"][..])] {
        let dir = tempfile::tempdir().unwrap();
        let server = Launch::new(dir.path()).args(args).start();
        let budget = tier_budget(&server);
        // The first requests bring in code and buffers that stay.
        assert!(server.client().put(&Rng::new(1).id(), &[1; 100_000]).unwrap().is_ok());
        let idle = server.memory("VmRSS");
        let id = Rng::new(2).id();
        let put = step(&server, || put(&server, &id, size));
        let get = step(&server, || get(&server, &id, size));
        for (what, (seconds, cpu, peak)) in [("put", put), ("get", get)] {
            let above = peak.saturating_sub(idle) as f64 / MIB as f64;
            let rate = size as f64 / MIB as f64 / seconds;
            println!(
                "{what} of {} MiB, tier {tier} ({} MiB): {rate:.0} MiB/s, {cpu:.2} s of server CPU, idle {} MiB, peak {} MiB",
                size / MIB,
                budget / MIB,
                idle / MIB,
                peak / MIB
            );
            println!(
                "{{\"bench\":\"big_body\",\"op\":\"{what}\",\"mib\":{},\"tier\":\"{tier}\",\"tier_budget_mib\":{},\"idle_mib\":{},\"peak_mib\":{},\"above_idle_mib\":{above:.1},\"mib_per_second\":{rate:.0},\"cpu_seconds\":{cpu:.2}}}",
                size / MIB,
                budget / MIB,
                idle / MIB,
                peak / MIB
            );
        }
        assert_eq!(server.client().delete(&id).unwrap().status, 200);
    }
}

/// Seconds, seconds of server CPU, and the most resident bytes meanwhile.
fn step(server: &Server, what: impl FnOnce()) -> (f64, f64, u64) {
    server.reset_memory_peak();
    let (start, cpu) = (Instant::now(), server.cpu_seconds());
    what();
    (start.elapsed().as_secs_f64(), server.cpu_seconds() - cpu, server.memory("VmHWM"))
}

fn tier_budget(server: &Server) -> u64 {
    let stats = server.client().call("GET", "/api/v1/stats", "").unwrap().text();
    let (_, cache) = stats.split_once("\"cache\"").unwrap();
    let (_, budget) = cache.split_once("\"bytes_max\":").unwrap();
    let digits: String = budget.trim().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

/// One MiB, marked with its number so that a block in the wrong place is noticed.
fn mark(block: &mut [u8], number: u64) {
    block[..8].copy_from_slice(&number.to_le_bytes());
}

fn put(server: &Server, id: &str, size: u64) {
    let mut connection = Connection::open(server.addr).unwrap();
    connection.send(&load::put_request(id, size)).unwrap();
    let mut block = bytes(7, MIB as usize);
    for number in 0..size / MIB {
        mark(&mut block, number);
        connection.send(&block).unwrap();
    }
    connection.receive(|_| ()).unwrap();
}

fn get(server: &Server, id: &str, size: u64) {
    let mut connection = Connection::open(server.addr).unwrap();
    connection.send(&load::get_request(id)).unwrap();
    let mut block = bytes(7, MIB as usize);
    let (mut number, mut at) = (0, 0);
    mark(&mut block, number);
    let len = connection.receive(|mut piece| {
        while !piece.is_empty() {
            let now = piece.len().min(block.len() - at);
            assert!(piece[..now] == block[at..at + now], "wrong bytes in MiB {number}");
            piece = &piece[now..];
            at += now;
            if at == block.len() {
                (number, at) = (number + 1, 0);
                mark(&mut block, number);
            }
        }
    });
    assert_eq!(len.unwrap(), size);
}
