//! What the client costs, in CPU of its process: gets of 4 KiB one after the other, beside the same
//! requests made with nothing but hyper on one connection; and a download of 1 GiB to /dev/null, beside
//! curl's. Figures of the issue: at most 15 µs more than hyper; within 10 % of curl. The node has one
//! core, the readers the other, and they take turns.
//!
//! `OBJSTORE_BENCH_ROUNDS` (15).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::disallowed_methods // a bench is about real time
)]

#[path = "../tests/harness/mod.rs"]
mod harness;
mod load;

use std::io::Write;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Instant;

use harness::server::Launch;
use harness::{bytes, number_from_env};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use load::Spread;
use objstore_client::Client;
use objstore_client::options::{GetOptions, PutOptions};
use objstore_client::types::ObjectId;
use rustix::time::{ClockId, clock_gettime};

const SMALL: usize = 4 << 10;
const GETS: usize = 10_000;
const LARGE: usize = 1 << 30;
/// In one go, so that curl's start and the ticks its time is counted in hardly show.
const DOWNLOADS: usize = 4;

fn main() {
    if !load::asked_for() {
        return;
    }
    let rounds = number_from_env("OBJSTORE_BENCH_ROUNDS").unwrap_or(15);
    let dir = tempfile::tempdir().unwrap();
    let server = Launch::new(dir.path()).wrapped(["taskset", "-c", "0"]).start();
    load::pin_self("1");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = Client::connect(&server.addr.to_string()).unwrap();
    let (small, large) = runtime.block_on(async {
        let (small, large) = (client.new_id().await.unwrap(), client.new_id().await.unwrap());
        client.put(small, bytes(1, SMALL), PutOptions::default()).await.unwrap();
        client.put(large, vec![7; LARGE], PutOptions::default()).await.unwrap();
        (small, large)
    });
    let mut samples: [Vec<Figures>; 4] = Default::default();
    for _ in 0..=rounds {
        samples[0].push(measured(GETS, || runtime.block_on(hyper_gets(server.addr, small))));
        samples[1].push(measured(GETS, || runtime.block_on(client_gets(&client, small))));
        samples[2].push(measured(DOWNLOADS, || curl_downloads(server.addr, large)));
        samples[3].push(measured(DOWNLOADS, || runtime.block_on(downloads(&client, large))));
    }
    let names = [("hyper", SMALL), ("client", SMALL), ("curl", LARGE), ("client", LARGE)];
    for ((name, size), samples) in names.into_iter().zip(samples) {
        // The first round warms up.
        let (cpu, wall) = samples.into_iter().skip(1).map(|took| (took.cpu, took.wall)).unzip();
        let (cpu, wall): (Spread, Spread) = (Spread::of(cpu), Spread::of(wall));
        println!(
            "{{\"bench\":\"client_reads\",\"bytes\":{size},\"with\":\"{name}\",\"cpu_us\":{cpu:.1},\"wall_us\":{wall:.1}}}"
        );
    }
}

/// Of one read, in µs.
struct Figures {
    cpu: f64,
    wall: f64,
}

/// The CPU time counts that of processes which were started and waited for.
fn measured(reads: usize, work: impl FnOnce()) -> Figures {
    let used = || {
        let own = clock_gettime(ClockId::ProcessCPUTime);
        own.tv_sec as f64 * 1e6 + own.tv_nsec as f64 / 1e3 + of_children()
    };
    let (begun, before) = (Instant::now(), used());
    work();
    let per_read = |micros: f64| micros / reads as f64;
    Figures { cpu: per_read(used() - before), wall: per_read(begun.elapsed().as_secs_f64() * 1e6) }
}

/// µs, in ticks of 10 ms: fields 16 and 17 of proc_pid_stat(5).
fn of_children() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks = fields[13].parse::<f64>().unwrap() + fields[14].parse::<f64>().unwrap();
    ticks * 10_000.0
}

async fn hyper_gets(addr: SocketAddr, id: ObjectId) {
    let stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    for _ in 0..GETS {
        let request = hyper::Request::get(format!("/api/v1/get/{id}"))
            .header("host", "127.0.0.1")
            .body(Empty::<bytes::Bytes>::new())
            .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes().len(), SMALL);
    }
    drop(sender);
    connection.await.unwrap().unwrap();
}

async fn client_gets(client: &Client, id: ObjectId) {
    for _ in 0..GETS {
        let object = client.get(id, GetOptions::default()).await.unwrap();
        assert_eq!(object.body.collect(SMALL).await.unwrap().len(), SMALL);
    }
}

async fn downloads(client: &Client, id: ObjectId) {
    let mut nowhere = std::fs::OpenOptions::new().write(true).open("/dev/null").unwrap();
    for _ in 0..DOWNLOADS {
        let mut body = client.get(id, GetOptions::default()).await.unwrap().body;
        let mut got = 0;
        while let Some(chunk) = body.chunk().await {
            let chunk = chunk.unwrap();
            nowhere.write_all(&chunk).unwrap();
            got += chunk.len();
        }
        assert_eq!(got, LARGE);
    }
}

fn curl_downloads(addr: SocketAddr, id: ObjectId) {
    let mut curl = Command::new("curl");
    curl.args(["-s", "-f"]);
    for _ in 0..DOWNLOADS {
        curl.args(["-o", "/dev/null", &format!("http://{addr}/api/v1/get/{id}")]);
    }
    assert!(curl.status().unwrap().success());
}
