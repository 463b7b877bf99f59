//! Programs in C, C++ and Python on the shared library, as a newcomer would build them: the examples,
//! the script of operations that Rust runs too, and what is done wrong.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use objstore_core::options::{
    ByteRange, Conditions, DeleteOptions, GetOptions, ListOptions, PutOptions, WriteMode,
};
use objstore_core::types::{Level, ObjectId, ObjectMeta, UserMeta};
use objstore_core::{Body, Error, Node};

const C99: &[&str] = &["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror"];
const CPP17: &[&str] = &["-std=c++17", "-Wall", "-Wextra", "-pedantic", "-Werror"];

/// The library is not instrumented, so how it synchronises is not seen: only the programs are judged.
const SUPPRESSIONS: &str = "ffi/tests/c/tsan.txt";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The directory in which cargo has just built the library for this test.
fn built() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_owned()
}

/// A place to build in, with the library under its names.
struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["libobjstore.so", "libobjstore.so.0"] {
            std::os::unix::fs::symlink(built().join("libobjstore.so"), dir.path().join(name))
                .unwrap();
        }
        Self { dir }
    }

    /// Compiles a source of the repository.
    fn compile(&self, compiler: &str, flags: &[&str], source: &str) -> PathBuf {
        let program = self.dir.path().join(source.replace(['/', '.'], "_"));
        let built = Command::new(compiler)
            .args(flags)
            .arg("-g")
            .arg("-I")
            .arg(root().join("include"))
            .arg(root().join(source))
            .arg("-o")
            .arg(&program)
            .arg("-L")
            .arg(self.dir.path())
            .args(["-lobjstore", "-pthread"])
            .output()
            .unwrap_or_else(|e| panic!("{compiler}: {e}"));
        assert!(built.status.success(), "{compiler} {source}: {}", error(&built));
        program
    }

    /// Runs a program; it must say that all was well.
    fn run<S: AsRef<std::ffi::OsStr>>(&self, program: &[S]) -> String {
        let (program, args) = program.split_first().unwrap();
        let ran = Command::new(program)
            .args(args)
            .env("LD_LIBRARY_PATH", self.dir.path())
            .env("TSAN_OPTIONS", format!("suppressions={}", text(&root().join(SUPPRESSIONS))))
            .current_dir(self.dir.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stdout).into_owned();
        let program = program.as_ref().display();
        assert!(ran.status.success(), "{program}: {} {said} {}", ran.status, error(&ran));
        said
    }
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn the_examples_in_c_do_what_they_say() {
    let bench = Bench::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for compiler in ["gcc", "clang"] {
        let compile = |name: &str| bench.compile(compiler, C99, &format!("examples/c/{name}.c"));

        let program = compile("put_get");
        let file = bench.dir.path().join("poem.txt");
        std::fs::write(&file, "one\ntwo\n").unwrap();
        let dir = tempfile::tempdir().unwrap();
        for dir in [None, Some(text(dir.path())), Some(text(dir.path()))] {
            let args = [text(&program), text(&file)].into_iter().chain(dir);
            let said = bench.run(&args.collect::<Vec<_>>());
            assert!(said.contains("got poem.txt: 8 bytes, 2 lines"), "{said}");
        }
        let elsewhere = Elsewhere::start(&runtime);
        let there = format!("http://{}", elsewhere.address());
        let said = bench.run(&[text(&program), text(&file), &there]);
        assert!(said.contains("got poem.txt: 8 bytes, 2 lines"), "{said}");
        assert_eq!(elsewhere.node.stats().journal.objects, 1);

        let said = bench.run(&[compile("three_nodes")]);
        assert!(said.contains("node 3 has it from there: It works!"), "{said}");

        let said = bench.run(&[compile("event_loop")]);
        assert_eq!(said.lines().filter(|line| line.ends_with("of 8")).count(), 8, "{said}");
    }
}

#[test]
fn the_example_in_cpp_does_what_it_says() {
    let bench = Bench::new();
    for compiler in ["g++", "clang++"] {
        let program = bench.compile(compiler, CPP17, "examples/cpp/stream.cpp");
        let said = bench.run(&[text(&program), "9"]);
        assert!(
            said.contains("large.bin has 9437184 bytes") && said.contains("got 100 %"),
            "{said}"
        );
    }
}

#[test]
fn the_example_in_python_does_what_it_says() {
    let bench = Bench::new();
    let (script, library) =
        (root().join("examples/python/put_get.py"), bench.dir.path().join("libobjstore.so"));
    let said = bench.run(&["python3", text(&script), text(&library)]);
    assert!(said.ends_with(" has It works!\n"), "{said}");
}

#[test]
fn what_is_done_wrong_has_its_code() {
    let bench = Bench::new();
    for compiler in ["gcc", "clang"] {
        bench.run(&[bench.compile(compiler, C99, "ffi/tests/c/misuse.c")]);
    }
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
        let flags: Vec<&str> = C99.iter().copied().chain([sanitizer]).collect();
        bench.run(&[bench.compile("gcc", &flags, &format!("ffi/tests/c/{name}.c"))]);
    }
}

/// `OBJSTORE_UPDATE=1 cargo test -p objstore-ffi --test programs` adds to the list what is new.
#[test]
fn exactly_the_listed_symbols_are_exported() {
    let library = built().join("libobjstore.so");
    let listed = Command::new("nm").args(["-D", "--defined-only"]).arg(library).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let mut exported: Vec<&str> =
        listed.lines().filter_map(|line| line.split_whitespace().nth(2)).collect();
    exported.sort_unstable();
    let exported = exported.join("\n") + "\n";
    let path = root().join("ffi/tests/symbols.txt");
    if std::env::var_os("OBJSTORE_UPDATE").is_some() {
        std::fs::write(&path, &exported).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), exported);
    let header = std::fs::read_to_string(root().join("include/objstore.h")).unwrap();
    for symbol in exported.lines() {
        assert!(header.contains(&format!("{symbol}(")), "{symbol} is not in the header");
    }
}

#[test]
fn a_script_of_operations_has_the_same_results_in_c_and_cpp_and_rust_here_and_elsewhere() {
    let bench = Bench::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let expected = runtime.block_on(script());
    for (compiler, flags, source) in
        [("gcc", C99, "ffi/tests/c/script.c"), ("g++", CPP17, "ffi/tests/cpp/script.cpp")]
    {
        let program = bench.compile(compiler, flags, source);
        assert_eq!(bench.run(&[text(&program)]), expected, "{source}");
        let elsewhere = Elsewhere::start(&runtime);
        assert_eq!(bench.run(&[text(&program), elsewhere.address()]), expected, "{source}");
    }
}

/// A node in memory that listens.
struct Elsewhere {
    node: Node,
    server: objstore_core::Server,
    address: String,
}

impl Elsewhere {
    fn start(runtime: &tokio::runtime::Runtime) -> Self {
        runtime.block_on(async {
            let node = Node::builder().in_memory().start().await.unwrap();
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let server = node.serve_public(listener).unwrap();
            let address = server.local_addr().to_string();
            Self { node, server, address }
        })
    }

    fn address(&self) -> &str {
        &self.address
    }

    async fn stop(self) {
        self.server.stop(std::time::Duration::ZERO).await;
        self.node.shutdown().await.unwrap();
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

/// What `tests/c/script.c` does.
async fn script() -> String {
    let node = Node::builder().in_memory().start().await.unwrap();
    let mut said = String::new();
    let bytes: Vec<u8> = (0..300_000_usize).map(|i| u8::try_from(i * 7 % 253).unwrap()).collect();
    let (id, large, never) = (node.new_id(), node.new_id(), node.new_id());

    let mut put = PutOptions::named("test.txt").unwrap();
    put.user_meta = UserMeta::new([("who", "me")]).unwrap();
    let result = node.put(id, "It works!", put.clone()).await;
    say(&mut said, "put", result.as_deref());
    say(&mut said, "head", node.head(id).await.as_deref());
    read_all(&mut said, "get", &node, id, GetOptions::default()).await;
    read_all(&mut said, "range", &node, id, GetOptions::default().range(3..=4)).await;
    read_all(&mut said, "beyond", &node, id, GetOptions::default().range(100..)).await;

    let create = put.clone().conditions(Conditions::absent());
    let result = node.put(id, bytes.get(..1).unwrap().to_vec(), create).await;
    say(&mut said, "create again", result.as_deref());

    put.name = PutOptions::named("large.bin").unwrap().name;
    let result = node.put(large, bytes.clone(), put).await;
    say(&mut said, "written", result.as_deref());
    read_all(&mut said, "large", &node, large, GetOptions::default()).await;
    let end = GetOptions::default().range(ByteRange::Last(70_000));
    read_all(&mut said, "end", &node, large, end).await;

    let five = futures_util::stream::iter([Ok(bytes.get(..5).unwrap().to_vec().into())]);
    let result = node.put(never, Body::from_stream(five, Some(10)), PutOptions::default()).await;
    say(&mut said, "cut short", result.as_deref());
    let result = node.set_level(id, Level::Remote, WriteMode::Default).await;
    say(&mut said, "raised", result.as_deref());
    let list = node.list(ListOptions::default()).await.unwrap();
    said += &format!("list: {}\n", list.len());

    said += &format!("delete: {}\n", code(node.delete(id, DeleteOptions::default()).await));
    said += &format!("get deleted: {}\n", code(node.get(id, GetOptions::default()).await));
    said += &format!("head never: {}\n", code(node.head(never).await));
    said +=
        &format!("delete never: {}\n", code(node.delete(never, DeleteOptions::default()).await));
    node.shutdown().await.unwrap();
    said
}

fn code<T>(result: Result<T, Error>) -> &'static str {
    result.map_or_else(|error| error.kind().code(), |_| "ok")
}

fn say(said: &mut String, what: &str, result: Result<&ObjectMeta, &Error>) {
    *said += &match result {
        Err(error) => format!("{what}: {}\n", error.kind().code()),
        Ok(meta) => format!(
            "{what}: name {}, {} bytes, level {}, {}, blake3 {}, deleted {}\n",
            meta.name,
            meta.size,
            meta.consistency,
            meta.content_type.as_deref().unwrap_or("-"),
            meta.blake3.as_deref().unwrap_or("-"),
            u8::from(meta.is_deleted),
        ),
    };
}

async fn read_all(said: &mut String, what: &str, node: &Node, id: ObjectId, options: GetOptions) {
    *said += &match node.get(id, options).await {
        Err(error) => format!("{what}: {}\n", error.kind().code()),
        Ok(object) => {
            let (first, length) = (object.range.start, object.range.end - object.range.start);
            let body = object.body.collect(1 << 20).await.unwrap();
            let sum = body
                .iter()
                .fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
            let count = body.len();
            format!("{what}: from {first}, {count} of {length} bytes, sum {sum}\n")
        }
    };
}
