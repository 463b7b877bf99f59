//! Durable 4 KiB puts over HTTP from 32 connections, sustained, against 32 bare threads that each
//! create a file, write 4 KiB, sync it, rename it and sync the directory. Figures of the issue: at
//! least 1.5 times the bare threads and 10 times the original's 1,616 per second.
//!
//! The bare threads run half their time before and half after. `OBJSTORE_BENCH_SECONDS` (60).

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

use std::fs::File;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use harness::server::Launch;
use harness::{Rng, bytes, number_from_env, ulid_text};

const CALLERS: usize = 32;
const LEN: usize = 4096;
const ORIGINAL_PER_SECOND: f64 = 1616.0;

fn main() {
    if !load::asked_for() {
        return;
    }
    let seconds = number_from_env("OBJSTORE_BENCH_SECONDS").unwrap_or(60);
    let half = Duration::from_secs(seconds.div_ceil(2));
    let before = bare_threads(half);
    println!("bare threads before: {before:.0}/s");
    let ours = over_http(Duration::from_secs(seconds));
    let after = bare_threads(half);
    println!("bare threads after: {after:.0}/s");
    let bare = f64::midpoint(before, after);
    let (ratio, times) = (ours / bare, ours / ORIGINAL_PER_SECOND);
    println!("{ours:.0}/s: {ratio:.2} times the bare threads, {times:.1} times the original");
    println!(
        "{{\"bench\":\"http_puts\",\"seconds\":{seconds},\"connections\":{CALLERS},\"per_second\":{ours:.0},\"bare_before\":{before:.0},\"bare_after\":{after:.0},\"ratio\":{ratio:.2}}}"
    );
}

/// Changes per second, with a line for every ten seconds so that stalls show.
fn watch(done: &AtomicU64, time: Duration) -> f64 {
    let start = Instant::now();
    let (mut last, mut last_at) = (0, 0.0);
    while start.elapsed() < time {
        thread::sleep(Duration::from_secs(10).min(time.saturating_sub(start.elapsed())));
        let (now, at) = (done.load(Ordering::Relaxed), start.elapsed().as_secs_f64());
        println!("  {at:5.1} s: {:.0}/s", (now - last) as f64 / (at - last_at));
        (last, last_at) = (now, at);
    }
    last as f64 / last_at
}

fn over_http(time: Duration) -> f64 {
    let dir = tempfile::tempdir().unwrap();
    let server = Launch::new(dir.path()).start();
    let idle = server.memory("VmHWM");
    let done = Arc::new(AtomicU64::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    // The slowest answers, in µs; a flush that holds writers up shows here.
    let slowest = Arc::new(Mutex::new(0));
    let addr = server.addr;
    let cpu = server.cpu_seconds();
    let load = {
        let (done, stop, slowest) = (done.clone(), stop.clone(), slowest.clone());
        thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
            runtime.block_on(async {
                let callers: Vec<_> = (0..CALLERS)
                    .map(|i| {
                        let (done, stop) = (done.clone(), stop.clone());
                        tokio::spawn(caller(addr, i, done, stop))
                    })
                    .collect();
                for caller in callers {
                    let worst = caller.await.unwrap().unwrap();
                    let mut slowest = slowest.lock().unwrap();
                    *slowest = worst.as_micros().max(*slowest);
                }
            });
        })
    };
    println!("objstore, {CALLERS} connections:");
    let rate = watch(&done, time);
    stop.store(true, Ordering::Relaxed);
    load.join().unwrap();
    let total = done.load(Ordering::Relaxed);
    let cpu = (server.cpu_seconds() - cpu) * 1e6 / total as f64;
    let peak = server.memory("VmHWM");
    let slowest = *slowest.lock().unwrap() as f64 / 1e3;
    println!("{total} puts, {cpu:.1} µs of server CPU each, slowest answer {slowest:.0} ms");
    println!("memory: idle {} MiB, peak {} MiB", idle >> 20, peak >> 20);
    println!("disk: {} MiB", harness::disk::usage(dir.path()) >> 20);
    rate
}

/// Puts fresh ids one after the other; the longest any answer took.
async fn caller(
    addr: SocketAddr,
    number: usize,
    done: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> io::Result<Duration> {
    let stream = tokio::net::TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let start_ms = std::time::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_millis());
    let mut rng = Rng::new(number as u64);
    let first_id = start_ms << 80 | u128::from(rng.next()) << 8;
    let mut request = load::put_request(&ulid_text(first_id), LEN as u64);
    let id_at = request.windows(10).position(|w| w == b"X-Meta-ID:").unwrap() + 11;
    request.extend_from_slice(&bytes(rng.next(), LEN));
    let mut answer = vec![0; 4096];
    let mut worst = Duration::ZERO;
    let mut count = 0u128;
    while !stop.load(Ordering::Relaxed) {
        count += 1;
        let id = ulid_text(first_id + (count << 24));
        request[id_at..id_at + 26].copy_from_slice(id.as_bytes());
        let start = Instant::now();
        send(&stream, &request).await?;
        receive(&stream, &mut answer).await?;
        worst = worst.max(start.elapsed());
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(worst)
}

async fn send(stream: &tokio::net::TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match stream.try_write(bytes) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

async fn receive(stream: &tokio::net::TcpStream, buffer: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    loop {
        stream.readable().await?;
        match stream.try_read(&mut buffer[filled..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => filled += read,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
            Err(e) => return Err(e),
        }
        match load::Head::parse(&buffer[..filled]) {
            Some(head) if head.status != 200 => {
                return Err(io::Error::other(String::from_utf8_lossy(buffer).into_owned()));
            }
            Some(head) if head.len + head.body_len <= filled => return Ok(()),
            _ => {}
        }
    }
}

/// What a program without a journal would do, each thread in a directory of its own.
fn bare_threads(time: Duration) -> f64 {
    let dir = tempfile::tempdir().unwrap();
    let done = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    println!("{CALLERS} bare threads:");
    thread::scope(|scope| {
        for i in 0..CALLERS {
            let dir = dir.path().join(i.to_string());
            std::fs::create_dir(&dir).unwrap();
            let (done, stop) = (&done, &stop);
            scope.spawn(move || bare_thread(&dir, done, stop).unwrap());
        }
        let rate = watch(&done, time);
        stop.store(true, Ordering::Relaxed);
        rate
    })
}

fn bare_thread(dir: &Path, done: &AtomicU64, stop: &AtomicBool) -> io::Result<()> {
    let body = bytes(3, LEN);
    let handle = File::open(dir)?;
    let temporary = dir.join("temporary");
    for number in 0u64.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let mut file = File::create(&temporary)?;
        file.write_all(&body)?;
        file.sync_data()?;
        std::fs::rename(&temporary, dir.join(number.to_string()))?;
        handle.sync_all()?;
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
