//! A node in front of a bucket: an S3 server of this process with 30 ms to the first byte and
//! 90 MB/s for each connection. Figures of the issue: the first byte of a miss comes at most 2 ms
//! after the bucket's, whole and from the middle; a cold GiB at least 5 times as fast as one plain
//! GET; the last 64 KiB of 1,000 cold objects of 64 MiB for at most twice the bytes; at least 800
//! level 1 puts of 4 KiB per second from 32 callers; a queue of 100,000 uploads in bounded memory.
//!
//! `OBJSTORE_BENCH_ROUNDS` (9), `OBJSTORE_BENCH_OBJECTS` (100,000, of the queue).

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::disallowed_methods // a bench is about real time
)]

#[path = "../tests/support/s3_server.rs"]
mod s3_server;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use objstore_core::options::{GetOptions, PutOptions, WriteMode};
use objstore_core::remote::{
    RemoteAttributes, RemoteCondition, RemoteGet, RemoteStore, S3Remote, S3Settings,
};
use objstore_core::types::{Level, ObjectKey};
use objstore_core::{Node, Settings};
use s3_server::{ACCESS_KEY, BUCKET, S3Server, SECRET_KEY};

const FIRST_BYTE: Duration = Duration::from_millis(30);
const RATE: u64 = 90_000_000;

fn main() {
    if !std::env::args().any(|arg| arg == "--bench") {
        println!("nothing to do: run it with cargo bench");
        return;
    }
    let only = std::env::args().find(|arg| !arg.starts_with('-') && !arg.contains('/'));
    let wanted = |name: &str| only.as_deref().is_none_or(|only| only == name);
    let server_runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let server = server_runtime.block_on(S3Server::start());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        if wanted("first_byte") {
            first_byte(&server).await;
        }
        if wanted("cold_gib") {
            cold_gib(&server).await;
        }
        if wanted("footers") {
            footers(&server).await;
        }
        if wanted("puts") {
            puts(&server).await;
        }
        if wanted("queue") {
            queue(&server).await;
        }
    });
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

async fn bucket(server: &S3Server) -> Arc<S3Remote> {
    // What an embedder does who brings its own client.
    let credentials =
        aws_credential_types::Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "bench");
    let config = aws_sdk_s3::Config::builder()
        .behavior_version_latest()
        .region(aws_sdk_s3::config::Region::new("us-east-1"))
        .endpoint_url(server.endpoint())
        .force_path_style(true)
        .credentials_provider(credentials)
        .retry_config(aws_sdk_s3::config::retry::RetryConfig::disabled())
        .stalled_stream_protection(aws_sdk_s3::config::StalledStreamProtectionConfig::disabled())
        .build();
    let mut settings = S3Settings::bucket(BUCKET);
    settings.endpoint = Some(server.endpoint());
    Arc::new(S3Remote::with_client(aws_sdk_s3::Client::from_conf(config), settings).unwrap())
}

async fn node(dir: &Path, remote: Arc<S3Remote>, memory: Option<u64>) -> Node {
    let mut settings = Settings::default();
    settings.state_dir = dir.join("state");
    settings.files_dir = dir.join("files");
    settings.memory_bytes = memory;
    Node::builder().settings(settings).remote(remote).start().await.unwrap()
}

fn slow(server: &S3Server) {
    server.set_first_byte_delay(FIRST_BYTE);
    server.set_bytes_per_second(Some(RATE));
}

fn fast(server: &S3Server) {
    server.set_first_byte_delay(Duration::ZERO);
    server.set_bytes_per_second(None);
}

fn pattern(len: usize) -> Bytes {
    (0..len).map(|i| (i * 7 + i / 4099) as u8).collect::<Vec<_>>().into()
}

fn spread(mut samples: Vec<f64>) -> String {
    samples.sort_by(f64::total_cmp);
    format!(
        "{:.2} ({:.2} to {:.2})",
        samples[samples.len() / 2],
        samples[0],
        samples[samples.len() - 1]
    )
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// Interleaved: a plain GET of the bucket, and a miss of the node for the same bytes.
async fn first_byte(server: &S3Server) {
    fast(server);
    let remote = bucket(server).await;
    let body = pattern(16 << 20);
    let rounds = number("OBJSTORE_BENCH_ROUNDS", 9) * 3;
    let store = server.store();
    let attributes = RemoteAttributes::default();
    for n in 0..rounds * 2 {
        store
            .put(&format!("cold/{n}"), body.clone(), &attributes, RemoteCondition::None)
            .await
            .unwrap();
    }
    slow(server);
    let dir = tempfile::tempdir().unwrap();
    let node = node(dir.path(), Arc::clone(&remote), None).await;
    for (name, range) in [("whole", None), ("from the middle", Some(8_000_000..9_000_000u64))] {
        let (mut plain, mut ours) = (Vec::new(), Vec::new());
        for round in 0..rounds {
            let n = round + if range.is_some() { rounds } else { 0 };
            let key = format!("cold/{n}");
            let began = Instant::now();
            let get = range.clone().map_or_else(RemoteGet::default, RemoteGet::range);
            let mut object = remote.get(&key, get).await.unwrap();
            object.body.chunk().await.unwrap().unwrap();
            plain.push(ms(began));
            drop(object);
            let mut options = GetOptions::default();
            if let Some(range) = &range {
                options = options.range(range.start..=range.end - 1);
            }
            let key = ObjectKey::new(&key).unwrap();
            let began = Instant::now();
            let mut object = node.get_key(&key, options).await.unwrap();
            object.body.chunk().await.unwrap().unwrap();
            ours.push(ms(began));
            // To the end, so that nothing of it disturbs the next.
            while let Some(chunk) = object.body.chunk().await {
                chunk.unwrap();
            }
        }
        println!("first byte, {name}: bucket {} ms, node {} ms", spread(plain), spread(ours));
    }
    node.shutdown().await.unwrap();
}

async fn cold_gib(server: &S3Server) {
    fast(server);
    let remote = bucket(server).await;
    let size = 1u64 << 30;
    let store = server.store();
    let attributes = RemoteAttributes::default();
    let upload = store.begin("gib", &attributes).await.unwrap();
    let part = pattern(64 << 20);
    let mut parts = Vec::new();
    for number in 1..=16 {
        let etag = store.put_part("gib", &upload, number, part.clone()).await.unwrap();
        parts.push(objstore_core::remote::RemotePart { number, etag });
    }
    store.complete("gib", &upload, &parts, RemoteCondition::None).await.unwrap();
    slow(server);
    let rounds = number("OBJSTORE_BENCH_ROUNDS", 9).div_ceil(3);
    let (mut plain, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let began = Instant::now();
        let mut object = remote.get("gib", RemoteGet::default()).await.unwrap();
        let mut len = 0;
        while let Some(chunk) = object.body.chunk().await {
            len += chunk.unwrap().len() as u64;
        }
        assert_eq!(len, size);
        plain.push(ms(began) / 1e3);
        let dir = tempfile::tempdir().unwrap();
        let node = node(dir.path(), Arc::clone(&remote), None).await;
        let began = Instant::now();
        let object = node.get_key(&ObjectKey::new("gib").unwrap(), GetOptions::default()).await;
        let mut body = object.unwrap().body;
        let mut len = 0;
        while let Some(chunk) = body.chunk().await {
            len += chunk.unwrap().len() as u64;
        }
        assert_eq!(len, size);
        ours.push(ms(began) / 1e3);
        node.shutdown().await.unwrap();
    }
    println!("cold GiB: one GET {} s, node {} s", spread(plain), spread(ours));
    store.delete("gib", RemoteCondition::None).await.unwrap();
}

async fn footers(server: &S3Server) {
    fast(server);
    let remote = bucket(server).await;
    let store = server.store();
    let attributes = RemoteAttributes::default();
    let objects = 1000;
    store.put("big/0", pattern(64 << 20), &attributes, RemoteCondition::None).await.unwrap();
    for n in 1..objects {
        store.copy("big/0", &format!("big/{n}"), None, RemoteCondition::None).await.unwrap();
    }
    slow(server);
    let dir = tempfile::tempdir().unwrap();
    let node = node(dir.path(), remote, None).await;
    let began = Instant::now();
    for n in 0..objects {
        let key = ObjectKey::new(&format!("big/{n}")).unwrap();
        let options =
            GetOptions::default().range(objstore_core::options::ByteRange::Last(64 << 10));
        let object = node.get_key(&key, options).await.unwrap();
        assert_eq!(object.body.collect(1 << 20).await.unwrap().len(), 64 << 10);
    }
    let asked = (objects as u64) * (64 << 10);
    let down = node.stats().remote.bytes_down;
    println!(
        "footers: {objects} of 64 KiB, {:.2} times the bytes, {:.1} s, {} requests for bytes",
        down as f64 / asked as f64,
        began.elapsed().as_secs_f64(),
        node.stats().remote.fetches
    );
    node.shutdown().await.unwrap();
}

async fn puts(server: &S3Server) {
    let remote = bucket(server).await;
    slow(server);
    let dir = tempfile::tempdir().unwrap();
    let node = node(dir.path(), remote, None).await;
    let body = pattern(4096);
    let time = Duration::from_secs(10);
    for round in 0..3 {
        let began = Instant::now();
        let callers: Vec<_> = (0..32)
            .map(|_| {
                let (node, body) = (node.clone(), body.clone());
                tokio::spawn(async move {
                    let mut count = 0u64;
                    while began.elapsed() < time {
                        let options = PutOptions::default().level(Level::Remote);
                        node.put(node.new_id(), body.clone(), options).await.unwrap();
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        let mut total = 0;
        for caller in callers {
            total += caller.await.unwrap();
        }
        let rate = total as f64 / began.elapsed().as_secs_f64();
        println!("level 1 puts, round {round}: {rate:.0}/s from 32 callers");
    }
    node.shutdown().await.unwrap();
}

fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() >> 10
}

async fn queue(server: &S3Server) {
    let objects = number("OBJSTORE_BENCH_OBJECTS", 100_000) as u64;
    let remote = bucket(server).await;
    slow(server);
    let dir = tempfile::tempdir().unwrap();
    let mut settings = Settings::default();
    settings.state_dir = dir.path().join("state");
    settings.files_dir = dir.path().join("files");
    settings.memory_bytes = Some(16 << 20);
    settings.uploads.parallel = 64;
    let node = Node::builder().settings(settings).remote(remote).start().await.unwrap();
    // The bucket is away while the queue grows.
    server.set_first_byte_delay(Duration::from_secs(3600));
    let before = memory();
    let body = pattern(1024);
    let began = Instant::now();
    let per_caller = objects / 128;
    let callers: Vec<_> = (0..128)
        .map(|_| {
            let (node, body) = (node.clone(), body.clone());
            tokio::spawn(async move {
                for _ in 0..per_caller {
                    let mut options = PutOptions::default().level(Level::Remote);
                    options.write = WriteMode::Back;
                    node.put(node.new_id(), body.clone(), options).await.unwrap();
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    let queued = node.stats().uploads.queued;
    println!(
        "queue: {queued} queued in {:.1} s, {} MiB more than before",
        began.elapsed().as_secs_f64(),
        memory().saturating_sub(before)
    );
    server.set_first_byte_delay(FIRST_BYTE);
    let began = Instant::now();
    loop {
        let left = node.stats().uploads.queued;
        if left == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let seconds = began.elapsed().as_secs_f64();
    println!(
        "queue: drained in {seconds:.1} s, {:.0}/s, with 64 at a time and 30 ms for each; {} MiB at the end (the bucket's own memory among it)",
        queued as f64 / seconds,
        memory()
    );
    node.shutdown().await.unwrap();
}
