//! Programs in C, C++ and Python on the shared library, as a newcomer would build them: the examples,
//! and the scripts of operations that Rust runs too.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use std::process::Command;

use objstore_core::options::{
    ByteRange, Conditions, DeleteOptions, GetOptions, KeyListOptions, ListOptions, PutOptions,
    WriteMode,
};
use objstore_core::remote::MemoryRemote;
use objstore_core::types::{Level, ObjectId, ObjectKey, ObjectMeta, UserMeta};
use objstore_core::{Body, Error, Node};
use support::{Bench, C99, CPP17, Elsewhere, built, root, text};

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
    // What an exception has is what its function returned.
    let known = ["objstore_error_status"];
    let wrapped = std::fs::read_to_string(root().join("include/objstore.hpp")).unwrap();
    let words: std::collections::HashSet<&str> =
        wrapped.split(|c: char| c != '_' && !c.is_alphanumeric()).collect();
    for symbol in exported.lines().filter(|symbol| !known.contains(symbol)) {
        assert!(words.contains(symbol), "{symbol} is not in the header for C++");
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

#[test]
fn keys_have_the_same_results_in_c_and_cpp_and_rust_here_and_elsewhere() {
    let bench = Bench::new();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let expected = runtime.block_on(keys());
    for (compiler, flags, source) in
        [("clang", C99, "ffi/tests/c/keys.c"), ("clang++", CPP17, "ffi/tests/cpp/keys.cpp")]
    {
        let program = bench.compile(compiler, flags, source);
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(bench.run(&[text(&program), text(dir.path())]), expected, "{source}");
        let elsewhere = Elsewhere::start(&runtime);
        assert_eq!(bench.run(&[text(&program), elsewhere.address()]), expected, "{source}");
    }
}

/// What `tests/c/keys.c` does.
async fn keys() -> String {
    let node = Node::builder()
        .in_memory()
        .remote(std::sync::Arc::new(MemoryRemote::new("bucket")))
        .start()
        .await
        .unwrap();
    let mut said = String::new();
    let say = |said: &mut String, what: &str, result: Result<&ObjectMeta, &Error>| {
        *said += &match result {
            Err(error) => format!("{what}: {}\n", error.kind().code()),
            Ok(meta) => {
                let content_type = meta.content_type.as_deref().unwrap_or("-");
                format!("{what}: {} bytes, {content_type}\n", meta.size)
            }
        };
    };
    let key = |key: &str| ObjectKey::new(key).unwrap();
    let mut create = PutOptions::default().conditions(Conditions::absent());
    create.content_type = Some("text/plain".to_owned());

    let result = node.put_key(&key("a/one"), "It works!", create.clone()).await;
    say(&mut said, "put", result.as_deref());
    let result = node.put_key(&key("a/one"), "twice", create.clone()).await;
    say(&mut said, "create again", result.as_deref());
    let pieces = [Ok("in ".into()), Ok("pieces".into())];
    let pieces = Body::from_stream(futures_util::stream::iter(pieces), None);
    let result = node.put_key(&key("a/b/two"), pieces, create).await;
    say(&mut said, "written", result.as_deref());
    node.put_key(&key("c"), "", PutOptions::default()).await.unwrap();
    node.put_key(&key("d e/ü"), "", PutOptions::default()).await.unwrap();

    let result = node.head_key(&key("a/b/two"), GetOptions::default()).await;
    say(&mut said, "head", result.as_deref());
    let some = GetOptions::default().range(3..=8);
    let body = node.get_key(&key("a/b/two"), some).await.unwrap().body;
    let body = body.collect(100).await.unwrap();
    said += &format!("got {}\n", std::str::from_utf8(&body).unwrap());
    for (prefix, delimiter) in [("", None), ("a/", Some("/"))] {
        let mut options = KeyListOptions::default();
        (options.prefix, options.delimiter) = (prefix.to_owned(), delimiter.map(str::to_owned));
        options.limit = 2;
        loop {
            let page = node.list_keys(options.clone()).await.unwrap();
            said += &format!("page of {prefix}:");
            said.extend(
                page.entries.iter().map(|entry| format!(" {} ({})", entry.key, entry.size)),
            );
            said.extend(page.prefixes.iter().map(|prefix| format!(" {prefix}…")));
            said += "\n";
            if page.next.is_none() {
                break;
            }
            options.after = page.next;
        }
    }

    let deleted = node.delete_key(&key("a/one"), DeleteOptions::default()).await;
    said += &format!("delete: {}\n", code(deleted));
    let got = node.get_key(&key("a/one"), GetOptions::default()).await;
    said += &format!("get deleted: {}\n", code(got));
    let never = node.head_key(&key("never"), GetOptions::default()).await;
    said += &format!("head never: {}\n", code(never));
    said += &format!("no key: {}\n", code(ObjectKey::new("..")));
    node.shutdown().await.unwrap();
    said
}

/// What `tests/c/script.c` does.
async fn script() -> String {
    let node = Node::builder()
        .in_memory()
        .remote(std::sync::Arc::new(MemoryRemote::new("bucket")))
        .start()
        .await
        .unwrap();
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
