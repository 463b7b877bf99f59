//! How the library behaves as a guest in a process: whatever is done wrong, threads, signals, forks, closes,
//! unloading, and calls in any order; and what valgrind and the sanitizers say of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;

use objstore_core::options::PutOptions;
use support::{Bench, C99, CPP17, Elsewhere, built, error, text};

#[test]
fn what_is_done_wrong_has_its_code() {
    let bench = Bench::new();
    for compiler in ["gcc", "clang"] {
        bench.run(&[bench.compile(compiler, C99, "ffi/tests/c/misuse.c")]);
    }
}

#[test]
fn without_memory_or_descriptors_a_call_says_so() {
    let bench = Bench::new();
    let program = bench.compile("gcc", C99, "ffi/tests/c/limits.c");
    let dir = tempfile::tempdir().unwrap();
    bench.run(&[text(&program), text(dir.path())]);
}

#[test]
fn threads_share_a_store_and_a_process_may_end_with_one_open() {
    let bench = Bench::new();
    let program = bench.compile("gcc", C99, "ffi/tests/c/threads.c");
    bench.run(&[text(&program)]);
    bench.run(&[text(&program), "leave it open"]);
}

#[test]
fn valgrind_and_the_sanitizers_find_nothing() {
    let bench = Bench::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let elsewhere = Elsewhere::start(&runtime);
    for (name, leaks) in [("script", "full"), ("threads", "full"), ("misuse", "no")] {
        // A child of fork() has lost what its parent's threads held, so there leaks mean nothing.
        let program = bench.compile("gcc", C99, &format!("ffi/tests/c/{name}.c"));
        let leaks = format!("--leak-check={leaks}");
        let found = "--errors-for-leak-kinds=definite";
        let valgrind = ["valgrind", "-q", "--error-exitcode=99", &leaks, found, text(&program)];
        bench.run(&valgrind);
        if name == "script" {
            bench.run(&[&valgrind[..], &[elsewhere.address()]].concat());
        }
    }
    for (name, sanitizer) in [
        ("script", "-fsanitize=address,undefined"),
        ("misuse", "-fsanitize=address,undefined"),
        ("threads", "-fsanitize=address,undefined"),
        ("threads", "-fsanitize=thread"),
    ] {
        bench.run(&[bench.compile("gcc", &with(sanitizer), &format!("ffi/tests/c/{name}.c"))]);
    }
}

#[test]
fn a_connection_does_what_it_can_and_outlives_the_node() {
    let bench = Bench::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let program = bench.compile("gcc", C99, "ffi/tests/c/remote.c");
    let elsewhere = Elsewhere::start(&runtime);
    let mut ran = Command::new(program)
        .arg(elsewhere.address())
        .env("LD_LIBRARY_PATH", bench.dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(ran.stdout.take().unwrap()).lines();
    let first = said.next().map(Result::unwrap);
    if first.as_deref() == Some("ready") {
        runtime.block_on(elsewhere.stop());
        ran.stdin.take().unwrap().write_all(b"\n").unwrap();
    }
    let rest: Vec<String> = said.map(Result::unwrap).collect();
    let ended = ran.wait_with_output().unwrap();
    assert!(ended.status.success(), "{first:?} {rest:?} {} {}", ended.status, error(&ended));
    assert_eq!(rest, ["done"]);
}

/// Listens before a node, and lets so many bytes by in each direction of a connection before it takes no
/// more; of a node that is none nothing comes.
fn half_way(node: Option<String>, bytes: u64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let mut open = Vec::new();
        for near in listener.incoming() {
            let near = near.unwrap();
            if let Some(node) = &node {
                let far = TcpStream::connect(node).unwrap();
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    thread::spawn(move || {
                        let mut some = from.take(bytes);
                        // The end of one who went away is passed on; that of the patience is not.
                        if std::io::copy(&mut some, &mut to).is_err() || some.limit() > 0 {
                            let _ = to.shutdown(Shutdown::Write);
                        }
                    });
                }
                open.push(far);
            }
            open.push(near);
        }
    });
    address
}

#[test]
fn who_waits_in_a_reader_or_writer_is_alone_and_holds_up_no_close() {
    let bench = Bench::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let elsewhere = Elsewhere::start(&runtime);
    let id = elsewhere.node.new_id();
    let put = elsewhere.node.put(id, vec![7; 20_000_000], PutOptions::default());
    runtime.block_on(put).unwrap();
    let stalling = half_way(Some(elsewhere.address().to_owned()), 1_000_000);
    let mute = half_way(None, 0);
    let program = bench.compile("gcc", C99, "ffi/tests/c/stalled.c");
    bench.run(&[text(&program), &stalling, &id.to_string(), &mute]);
}

#[test]
fn an_event_loop_waits_for_nothing_but_its_descriptors() {
    let bench = Bench::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (c, cpp) = ("ffi/tests/c/events.c", "ffi/tests/cpp/events.cpp");
    for (compiler, language, flag, source) in [
        ("gcc", C99, "-fsanitize=address,undefined", c),
        ("clang", C99, "-O2", c),
        ("g++", CPP17, "-fsanitize=address,undefined", cpp),
        ("clang++", CPP17, "-fsanitize=thread", cpp),
    ] {
        let flags: Vec<&str> = language.iter().copied().chain([flag]).collect();
        let program = bench.compile(compiler, &flags, source);
        let dir = tempfile::tempdir().unwrap();
        bench.run(&[text(&program), text(dir.path())]);
        let elsewhere = Elsewhere::start(&runtime);
        bench.run(&[text(&program), elsewhere.address()]);
    }
}

#[test]
fn a_process_keeps_its_signals_and_may_unload_the_library() {
    let bench = Bench::new();
    let flags = ["-std=gnu99", "-Wall", "-Wextra", "-Werror", "-Wl,--as-needed"];
    let program = bench.compile("gcc", &flags, "ffi/tests/c/process.c");
    let dir = tempfile::tempdir().unwrap();
    bench.run(&[text(&program), text(&built().join("libobjstore.so")), text(dir.path())]);
}

/// `ffi/fuzz.sh` does more of it.
#[test]
fn calls_in_any_order_do_no_harm() {
    let bench = Bench::new();
    let address = bench.compile("gcc", &with("-fsanitize=address,undefined"), FUZZ);
    let thread = bench.compile("gcc", &with("-fsanitize=thread"), FUZZ);
    for seed in 1..=5_u32 {
        bench.run(&[text(&address), &seed.to_string(), "20000"]);
        bench.run(&[text(&thread), &(100 * seed).to_string(), "4000", "4"]);
    }
}

const FUZZ: &str = "ffi/tests/c/fuzz.c";

fn with(flag: &'static str) -> Vec<&'static str> {
    C99.iter().copied().chain([flag]).collect()
}
