//! kill -9: everything acknowledged is there, byte for byte; nothing half-written is visible;
//! temporary files are gone; no repair command.
//!
//! `OBJSTORE_KILL_ROUNDS` asks for more rounds, `OBJSTORE_KILL_SEED` repeats a run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout)]

mod harness;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread;

use harness::history::{Moment, Sizes, State, Writer};
use harness::server::{Launch, Server, timed};
use harness::strace::{self, Strace};
use harness::{Rng, disk, eventually, number_from_env};

const WRITERS: usize = 8;
const IDS_PER_WRITER: usize = 24;
/// The latest acknowledgement at which a round ends.
const MOST_ACKNOWLEDGEMENTS: usize = 400;

#[test]
fn everything_acknowledged_survives_sigkill() {
    let mut rng = Rng::from_env("OBJSTORE_KILL_SEED");
    let dir = tempfile::tempdir().unwrap();
    let launch = Launch::new(dir.path());
    let mut writers = writers(&mut rng, Sizes::Mixed);
    for round in 0..number_from_env("OBJSTORE_KILL_ROUNDS").unwrap_or(25) {
        if round % 5 == 4 {
            // Killed as soon as it listens: recovery must survive being cut short too.
            launch.spawn_listening().unwrap().kill();
        }
        let (server, start) = timed(|| launch.start());
        check(&server, &launch, &mut writers);
        let after = 1 + rng.below(MOST_ACKNOWLEDGEMENTS) as u64;
        println!("round {round}: started in {start:?}, to be killed after {after}");
        write_until_killed(&mut writers, server, after);
    }
    let server = launch.start();
    check(&server, &launch, &mut writers);
    assert!(server.stop().success());
}

/// The process dies inside a chosen system call. Threads are counted one by one by strace, so the
/// number is a sample, not a place.
#[test]
fn everything_acknowledged_survives_death_in_a_system_call() {
    const CALLS: &[&str] = &[
        "fdatasync,fsync",
        "write,pwrite64,writev,pwritev",
        "rename,renameat,renameat2,link,linkat",
        "unlink,unlinkat",
        "ftruncate,fallocate",
        "open,openat,openat2",
    ];
    if !disk::have("strace") {
        return;
    }
    let mut rng = Rng::from_env("OBJSTORE_KILL_SEED");
    let dir = tempfile::tempdir().unwrap();
    let launch = Launch::new(dir.path());
    let mut writers = writers(&mut rng, Sizes::Mixed);
    for round in 0..number_from_env("OBJSTORE_KILL_ROUNDS").map_or(12, |n| n / 2) as usize {
        let calls = CALLS[round % CALLS.len()];
        let when = 1 + rng.below(60);
        let inject = format!("inject={calls}:signal=KILL:when={when}");
        println!("round {round}: {inject}");
        let traced = launch.clone().wrapped(strace::wrapper(calls, &inject));
        // It may die before it listens; that is a round like any other.
        if let Ok(server) = traced.spawn_listening() {
            write_until_it_dies(&mut writers, server);
        }
        let server = launch.start();
        check(&server, &launch, &mut writers);
    }
}

/// Nothing is there yet, and half of it is made: the next start makes the rest.
#[test]
fn a_first_start_that_was_killed_is_finished_by_the_next() {
    if !disk::have("strace") {
        return;
    }
    let mut refused = Vec::new();
    for calls in
        ["mkdir,mkdirat", "open,openat,openat2", "write,pwrite64", "fsync,fdatasync", "rename"]
    {
        // Enough to pass the last such call of a start, in whatever thread it is made.
        for when in [1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 29, 38, 50] {
            let dir = tempfile::tempdir().unwrap();
            let launch = Launch::new(dir.path());
            let inject = format!("inject={calls}:signal=KILL:when={when}");
            if let Ok(server) =
                launch.clone().wrapped(strace::wrapper(calls, &inject)).spawn_listening()
            {
                server.kill();
            }
            match launch.try_start() {
                Ok(server) => {
                    let answer = server.client().put(&Rng::new(when).id(), b"as if new").unwrap();
                    assert!(answer.is_ok(), "{inject}: {}", answer.text());
                }
                Err(refusal) => refused.push((inject, refusal)),
            }
        }
    }
    assert!(refused.is_empty(), "{refused:#?}");
}

/// The journal's own threads die while they turn the log into tables and rewrite what is dead.
#[test]
fn everything_acknowledged_survives_death_in_a_background_thread() {
    const CALLS: &[&str] =
        &["openat,openat2", "write,pwrite64", "fsync,fdatasync", "rename,unlink,unlinkat", "all"];
    if !disk::have("strace") {
        return;
    }
    let mut rng = Rng::from_env("OBJSTORE_KILL_SEED");
    let dir = tempfile::tempdir().unwrap();
    let launch = Launch::new(dir.path());
    let mut writers = writers(&mut rng, Sizes::Journal);
    for round in 0..number_from_env("OBJSTORE_KILL_ROUNDS").map_or(15, |n| n / 2) as usize {
        let calls = CALLS[round % CALLS.len()];
        let thread =
            *rng.pick(&["fjall:worker", "fjall:worker", "objstore-janit", "objstore-write"]);
        let when = 1 + rng.below(if calls == "all" { 400 } else { 40 });
        println!("round {round}: {thread}, {calls} number {when}");
        let server = launch.start();
        check(&server, &launch, &mut writers);
        let inject = format!("inject={calls}:signal=KILL:when={when}");
        let strace = Strace::attach_threads(&server, thread, calls, &inject);
        write_until_it_dies(&mut writers, server);
        drop(strace);
    }
    check(&launch.start(), &launch, &mut writers);
}

fn writers(rng: &mut Rng, sizes: Sizes) -> Vec<Writer> {
    (0..WRITERS).map(|_| Writer::new(Rng::new(rng.next()), IDS_PER_WRITER, sizes)).collect()
}

fn write_until_killed(writers: &mut [Writer], server: Server, after: u64) {
    let addr = server.addr;
    let (reached, wait) = channel();
    let moment = Moment { after, seen: AtomicU64::new(0), reached, dying: AtomicBool::new(false) };
    let moment = &moment;
    thread::scope(|scope| {
        let all: Vec<_> =
            writers.iter_mut().map(|w| scope.spawn(move || w.write(addr, moment))).collect();
        // Either the moment comes, or a writer has a complaint and the rest is stopped.
        while wait.recv_timeout(std::time::Duration::from_millis(100)).is_err()
            && !all.iter().any(thread::ScopedJoinHandle::is_finished)
        {}
        moment.dying.store(true, Ordering::SeqCst);
        server.kill();
        for writer in all {
            writer.join().unwrap().unwrap();
        }
    });
}

fn write_until_it_dies(writers: &mut [Writer], server: Server) {
    let addr = server.addr;
    let (reached, wait) = channel();
    let moment = Moment {
        after: 4 * MOST_ACKNOWLEDGEMENTS as u64,
        seen: AtomicU64::new(0),
        reached,
        dying: AtomicBool::new(true),
    };
    let moment = &moment;
    thread::scope(|scope| {
        let all: Vec<_> =
            writers.iter_mut().map(|w| scope.spawn(move || w.write(addr, moment))).collect();
        while wait.recv_timeout(std::time::Duration::from_millis(100)).is_err()
            && !all.iter().all(thread::ScopedJoinHandle::is_finished)
        {}
        println!("  after {} acknowledgements", moment.seen.load(Ordering::SeqCst));
        drop(server);
        for writer in all {
            writer.join().unwrap().unwrap();
        }
    });
}

/// Every id reads as it may; the list has the live ones and no other; the directory has one file
/// per large body and no other.
fn check(server: &Server, launch: &Launch, writers: &mut [Writer]) {
    let addr = server.addr;
    thread::scope(|scope| {
        let all: Vec<_> = writers.iter_mut().map(|w| scope.spawn(move || w.settle(addr))).collect();
        for writer in all {
            writer.join().unwrap().unwrap();
        }
    });
    let slots = || writers.iter().flat_map(|writer| &writer.slots);
    let live: BTreeSet<String> = slots()
        .filter(|slot| matches!(slot.acknowledged, State::Live { .. }))
        .map(|slot| slot.id.clone())
        .collect();
    assert_eq!(server.client().list().unwrap(), live, "the list");
    let large = slots().filter(|slot| slot.acknowledged.is_in_file()).count();
    eventually("one file per large body", || body_files_are(&launch.files, large));
}

fn body_files_are(dir: &Path, expected: usize) -> Result<(), String> {
    let files = disk::body_files(dir);
    if files.len() == expected {
        Ok(())
    } else {
        Err(format!("{expected} expected, {} there: {files:#?}", files.len()))
    }
}
