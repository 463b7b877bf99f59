//! Reads of 1 MiB through a peer, tier off: CPU of both nodes together, beside local reads of the
//! same objects, with and without TLS between the nodes. Figures of the issue: at most 2.5 times a
//! local read without TLS, 4 times with it. Each object is read through the peer once, as it comes
//! the first time; rounds take turns.
//!
//! `OBJSTORE_BENCH_ROUNDS` (5) and `OBJSTORE_BENCH_OBJECTS` (200, of each round).

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

use harness::server::{Launch, Server};
use harness::{Rng, bytes, eventually, number_from_env};
use load::{Connection, Spread};

const SIZE: usize = 1 << 20;
const CONNECTIONS: usize = 4;

/// Two nodes of one cluster.
struct Pair {
    name: &'static str,
    holder: Server,
    other: Server,
    _dir: tempfile::TempDir,
    local: Vec<f64>,
    through: Vec<f64>,
}

fn main() {
    if !load::asked_for() {
        return;
    }
    let rounds = number_from_env("OBJSTORE_BENCH_ROUNDS").unwrap_or(5);
    let objects = number_from_env("OBJSTORE_BENCH_OBJECTS").unwrap_or(200) as usize;
    load::pin_self("1");
    let mut pairs = [Pair::start("plain", false), Pair::start("TLS", true)];
    for round in 0..=rounds {
        for pair in &mut pairs {
            // The first round warms up.
            pair.round(round, objects);
        }
    }
    for pair in pairs {
        let (local, through) = (pair.local[1..].to_vec(), pair.through[1..].to_vec());
        let ratios = local.iter().zip(&through).map(|(local, through)| through / local).collect();
        let (local, through, ratio) = (Spread::of(local), Spread::of(through), Spread::of(ratios));
        println!(
            "1 MiB, {}: local {:.0} µs, through a peer {:.0} µs of CPU on both nodes, {:.2} times ({:.2} to {:.2})",
            pair.name, local.median, through.median, ratio.median, ratio.min, ratio.max
        );
        println!(
            "{{\"bench\":\"peer_reads\",\"link\":\"{}\",\"local_us\":{local:.0},\"through_us\":{through:.0},\"ratio\":{ratio:.2}}}",
            pair.name
        );
    }
}

impl Pair {
    fn start(name: &'static str, tls: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("key");
        let mut args = vec!["--memory-bytes".to_owned(), "0".to_owned()];
        if tls {
            let made = std::process::Command::new(env!("CARGO_BIN_EXE_objstore"))
                .arg("keygen")
                .arg(&key)
                .output()
                .unwrap();
            assert!(made.status.success(), "{made:?}");
            args.extend(["--cluster-key-file".to_owned(), key.display().to_string()]);
        }
        let holder = node(&dir.path().join("holder"), &args, None);
        let seed = private_addr(&holder);
        let other = node(&dir.path().join("other"), &args, Some(&seed));
        eventually("each knows the other", || {
            let stats = other.client().call("GET", "/api/v1/stats", "").unwrap().text();
            if stats.contains("\"alive\"") { Ok(()) } else { Err(stats) }
        });
        Self { name, holder, other, _dir: dir, local: Vec::new(), through: Vec::new() }
    }

    fn cpu(&self) -> f64 {
        self.holder.cpu_seconds() + self.other.cpu_seconds()
    }

    fn round(&mut self, round: u64, objects: usize) {
        let mut rng = Rng::new(round + 1);
        let mut client = self.holder.client();
        let ids: Vec<_> = (0..objects).map(|_| rng.id()).collect();
        let body = bytes(round, SIZE);
        for id in &ids {
            assert!(client.put(id, &body).unwrap().is_ok());
        }
        let mut known = self.other.client();
        for id in &ids {
            eventually("the other node knows it", || {
                let answer = known.call("GET", &format!("/api/v1/meta/{id}"), "").unwrap();
                if answer.status == 200 { Ok(()) } else { Err(answer.text()) }
            });
        }
        let used = self.cpu();
        read(&self.holder, &ids);
        self.local.push((self.cpu() - used) * 1e6 / objects as f64);
        let used = self.cpu();
        read(&self.other, &ids);
        self.through.push((self.cpu() - used) * 1e6 / objects as f64);
    }
}

fn node(dir: &Path, args: &[String], seed: Option<&str>) -> Server {
    let mut launch = Launch::new(dir).args(args).wrapped(["taskset", "-c", "0"]);
    if let Some(seed) = seed {
        launch = launch.args(["-N", seed]);
    }
    launch.start()
}

fn private_addr(server: &Server) -> String {
    let log = server.log();
    let line = log.iter().find_map(|line| line.split_once("other nodes reach it at: "));
    line.expect("a line that says where others reach it").1.to_owned()
}

/// Every object once, over a few connections in turn.
fn read(server: &Server, ids: &[String]) {
    let mut connections: Vec<_> =
        (0..CONNECTIONS).map(|_| Connection::open(server.addr).unwrap()).collect();
    for ids in ids.chunks(CONNECTIONS) {
        for (connection, id) in connections.iter_mut().zip(ids) {
            connection.send(&load::get_request(id)).unwrap();
        }
        for (connection, _) in connections.iter_mut().zip(ids) {
            assert_eq!(connection.receive(|_| ()).unwrap(), SIZE as u64);
        }
    }
}
