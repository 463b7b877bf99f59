//! The built binary as a person uses it: a node and its verbs, flags, files, pipes and signals.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use objstore_client::types::{ObjectMeta, ObjectName};
use tempfile::TempDir;

const ID: &str = "01BRNMMS1DK3CBD4ZZM2TQ8C5B";
const UNKNOWN: &str = "01BRNMMS1DK3CBD4ZZM2TQ8C5C";

/// The binary, deaf to the environment of whoever runs the tests.
fn objstore<S: AsRef<std::ffi::OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_objstore"));
    for (name, _) in std::env::vars_os() {
        let ours = ["APP_", "NET_", "S3_", "OBJSTORE_"];
        if ours.iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    // A free port, so that tests that run side by side are no cluster.
    command.args(args).env("NET_PRIVATE_ADDR", "127.0.0.1:0").stdin(Stdio::null());
    command
}

/// A node on a free port with directories of its own; killed when dropped.
struct Node {
    child: Child,
    log: Receiver<String>,
    address: SocketAddr,
    dir: TempDir,
}

impl Node {
    fn start(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = objstore(["--public-addr", "127.0.0.1:0"]);
        command.args(args).current_dir(dir.path());
        Self::spawn(command, dir)
    }

    /// Waits for the line that says where it listens.
    fn spawn(mut command: Command, dir: TempDir) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let (send, log) = channel();
        let stderr = child.stderr.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        let mut said = Vec::new();
        for line in log.iter() {
            let found = address_in(&line);
            said.push(line);
            if let Some(address) = found {
                return Self { child, log, address, dir };
            }
        }
        panic!("it ended with {:?}: {said:#?}", child.wait());
    }

    fn verb(&self, verb: &str) -> Command {
        let mut command = objstore([verb, "--node", &self.address.to_string()]);
        command.current_dir(self.dir.path());
        command
    }

    fn run(&self, verb: &str, args: &[&str]) -> Output {
        self.verb(verb).args(args).output().unwrap()
    }

    /// Standard output of a verb that must succeed and complain about nothing.
    fn text(&self, verb: &str, args: &[&str]) -> String {
        let output = self.run(verb, args);
        assert_eq!((output.status.code(), err(&output).as_str()), (Some(0), ""), "{verb} {args:?}");
        out(&output)
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> std::path::PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<String> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    fn log_until(&self, what: &str) -> String {
        let mut said = Vec::new();
        for line in self.log.iter() {
            if line.contains(what) {
                return line;
            }
            said.push(line);
        }
        panic!("never said {what:?}: {said:#?}");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn address_in(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("listening on: http://")?;
    rest.parse().ok()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The one line of a command that must fail with this code and say nothing else.
fn refusal(command: &mut Command, code: i32) -> String {
    let output = command.output().unwrap();
    let line = err(&output);
    assert_eq!((output.status.code(), out(&output).as_str()), (Some(code), ""), "{line}");
    assert!(line.starts_with("objstore: ") && line.matches('\n').count() == 1, "{line:?}");
    line
}

fn with_input(mut command: Command, input: &[u8]) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}

/// Answers each connection with these bytes once its request head is there, and closes.
fn fake_node(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            read_head(&connection);
            connection.write_all(answer).unwrap();
        }
    });
    address
}

/// A node's answer to a get of an object of this name and size, and the beginning of its body.
fn sends(name: &str, size: u64, begins: &str) -> &'static [u8] {
    let mut meta = ObjectMeta::new(ID.parse().unwrap(), 1);
    (meta.name, meta.size) = (ObjectName::new(name).unwrap(), size);
    let meta = serde_json::to_string(&meta).unwrap();
    format!("HTTP/1.1 200 OK\r\nContent-Length: {size}\r\nX-Meta-JSON: {meta}\r\n\r\n{begins}")
        .leak()
        .as_bytes()
}

fn read_head(connection: &TcpStream) {
    let mut lines = BufReader::new(connection.try_clone().unwrap()).lines();
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
}

fn http(address: SocketAddr, path: &str) -> String {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    write!(connection, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn files_go_in_and_come_out_as_they_were() {
    let node = Node::start(&[]);
    let large: Vec<u8> = (0..3_000_000_u32).map(|i| (i % 251) as u8).collect();
    node.file("small.txt", "It works!");
    node.file("large.bin", &large);

    let printed = node.text("put", &["small.txt", "large.bin"]);
    let rows: Vec<(&str, &str)> = printed.lines().map(|l| l.split_once("  ").unwrap()).collect();
    let [(small_id, "small.txt"), (large_id, "large.bin")] = rows[..] else { panic!("{printed}") };

    assert_eq!(node.text("get", &[small_id]), "It works!");
    assert_eq!(node.run("get", &[large_id]).stdout, large);
    node.text("get", &[large_id, "-o", "copy.bin"]);
    assert_eq!(std::fs::read(node.dir.path().join("copy.bin")).unwrap(), large);
    std::fs::create_dir(node.dir.path().join("sub")).unwrap();
    node.text("get", &[small_id, "-o", "sub"]);
    assert_eq!(
        std::fs::read_to_string(node.dir.path().join("sub/small.txt")).unwrap(),
        "It works!"
    );

    let row = node.text("ls", &[]);
    assert!(row.lines().count() == 2 && row.contains("  small.txt\n"), "{row}");
    assert!(row.contains(&format!("{small_id}               9  0  20")), "{row}");
    let stat = node.text("stat", &[small_id]);
    assert!(stat.contains("size          9 bytes\n") && stat.contains("small.txt"), "{stat}");
    let stats = node.text("stats", &[]);
    assert!(stats.contains("objects   2 (0 deleted)"), "{stats}");

    assert_eq!(node.text("rm", &[small_id, large_id]), "");
    assert_eq!(node.text("ls", &[]), "");
    assert_eq!(node.text("ls", &["--deleted"]).lines().count(), 2);
    assert!(node.text("stat", &[small_id]).contains("deleted  "));
    let line = refusal(node.verb("get").arg(small_id), 1);
    assert!(line.contains(small_id), "{line}");
}

#[test]
fn names_levels_ids_and_metadata_are_kept() {
    let node = Node::start(&[]);
    let file = node.file("plain", "x");
    let args = [
        "--id",
        ID,
        "--name",
        "grüße, ab.txt",
        "--level",
        "1",
        "--meta",
        "Author=bob",
        "--meta",
        "a=b=c",
    ];
    let printed = node.text("put", &[&args[..], &[file.to_str().unwrap()]].concat());
    assert_eq!(printed, format!("{ID}  grüße, ab.txt\n"));
    let meta: serde_json::Value =
        serde_json::from_str(&node.text("stat", &["--json", ID])).unwrap();
    assert_eq!(meta["name"], "grüße, ab.txt");
    assert_eq!(meta["consistency"], 1);
    assert_eq!(meta["user_meta"], serde_json::json!({"Author": "bob", "a": "b=c"}));
    let listed: serde_json::Value = serde_json::from_str(&node.text("ls", &["--json"])).unwrap();
    assert_eq!(listed["id"], ID);
    let stats: serde_json::Value = serde_json::from_str(&node.text("stats", &["--json"])).unwrap();
    assert!(stats["disk_stats"]["bytes_all"].as_u64().unwrap() > 0, "{stats}");
}

#[test]
fn pipes_are_read_and_written() {
    let node = Node::start(&[]);
    let body: Vec<u8> = (0..1_000_000_u32).map(|i| (i / 7 % 256) as u8).collect();
    let output = with_input(node.verb("put"), &body);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let id = out(&output).trim_end().to_owned();
    assert_eq!(id.len(), 26, "no name, no trailing blanks: {id:?}");
    assert_eq!(node.run("get", &[&id]).stdout, body);

    let mut named = node.verb("put");
    named.args(["-q", "--name", "dir.tar", "-"]);
    let output = with_input(named, b"tar");
    assert_eq!(out(&output).trim_end().len(), 26);
    assert!(node.text("ls", &[]).contains("dir.tar"));

    // A pipe as a file is sent as it comes, and a device is written to, not replaced.
    let fifo = node.dir.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RWXU).unwrap();
    let writer = std::thread::spawn({
        let fifo = fifo.clone();
        move || std::fs::write(fifo, "through a fifo").unwrap()
    });
    let printed = node.text("put", &["fifo"]);
    writer.join().unwrap();
    assert_eq!(node.text("get", &[&printed[..26]]), "through a fifo");
    node.text("get", &[&printed[..26], "-o", "/dev/null"]);
    assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
}

#[test]
fn a_list_of_many_pages_is_whole_and_ends_with_its_reader() {
    let node = Node::start(&[]);
    let mut put = node.verb("put");
    put.arg("-q");
    for i in 0..2100 {
        let name = format!("f{i}");
        node.file(&name, &name);
        put.arg(name);
    }
    let output = put.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let mut ids: Vec<String> = out(&output).lines().map(str::to_owned).collect();
    ids.sort();
    let listed = |args: &[&str]| -> Vec<String> {
        node.text("ls", args).lines().map(|line| line[..26].to_owned()).collect()
    };
    assert_eq!(listed(&[]), ids);
    assert_eq!(listed(&["--limit", "1500"]), ids[..1500]);
    assert_eq!(listed(&["--after", &ids[99], "--limit", "3"]), ids[100..103]);

    let mut child = node.verb("ls").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::with_capacity(64, child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), err(&output).as_str()), (Some(0), ""));
}

#[test]
fn what_cannot_be_put_is_named_and_the_rest_is_stored() {
    let node = Node::start(&[]);
    node.file("good", "good");
    let output = node.run("put", &[".", "missing", "good"]);
    assert_eq!(output.status.code(), Some(1));
    let said = err(&output);
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(said.contains("objstore: .: is a directory"), "{said}");
    assert!(said.contains("objstore: missing: No such file"), "{said}");
    assert!(out(&output).ends_with("  good\n"));

    let output = node.run("rm", &[UNKNOWN, &out(&output)[..26]]);
    assert_eq!(output.status.code(), Some(1));
    assert!(err(&output).starts_with(&format!("objstore: {UNKNOWN}: ")), "{}", err(&output));
    assert_eq!(node.text("ls", &[]), "");
}

#[test]
fn a_broken_transfer_says_so_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let files = || std::fs::read_dir(dir.path()).unwrap().count();
    let broken = fake_node(sends("../../evil", 100, "only this")).to_string();
    let get = |args: &[&str]| {
        let mut command = objstore(["get", ID, "--node", &broken]);
        command.args(args).current_dir(dir.path());
        command
    };
    for args in [&["-o", "file"][..], &["-O"], &["-o", "./"]] {
        let line = refusal(&mut get(args), 1);
        assert!(line.contains("broke off after 9 of 100 bytes"), "{line}");
        assert!(line.contains("nothing was kept"), "{line}");
        assert_eq!(files(), 0);
    }
    let output = get(&[]).output().unwrap();
    assert_eq!((output.status.code(), out(&output).as_str()), (Some(1), "only this"));

    std::fs::write(dir.path().join("file"), "old").unwrap();
    refusal(&mut get(&["-o", "file"]), 1);
    assert_eq!(std::fs::read(dir.path().join("file")).unwrap(), b"old");
}

#[test]
fn a_name_chosen_elsewhere_replaces_nothing_and_stays_in_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let get = |name: &'static str, args: &[&str]| {
        let at = fake_node(sends(name, 1, "x")).to_string();
        let mut command = objstore(["get", ID, "--node", &at]);
        command.args(args).current_dir(dir.path());
        command
    };
    assert!(get("../../in-here", &["-O"]).status().unwrap().success());
    assert_eq!(std::fs::read(dir.path().join("in-here")).unwrap(), b"x");
    for (name, why) in [("in-here", "exists"), ("..", "none for a file"), ("a/", "none for a file")]
    {
        let line = refusal(&mut get(name, &["-O"]), 1);
        assert!(line.contains(why), "{line}");
    }
    // A name of one's own choice replaces, through a link as well.
    std::os::unix::fs::symlink("in-here", dir.path().join("link")).unwrap();
    std::fs::write(dir.path().join("in-here"), "old").unwrap();
    assert!(get("y", &["-o", "link"]).status().unwrap().success());
    assert_eq!(std::fs::read(dir.path().join("in-here")).unwrap(), b"x");
    assert!(dir.path().join("link").is_symlink());
}

#[test]
fn a_node_that_is_not_there_is_named() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let line = refusal(objstore(["ls"]).env("OBJSTORE_NODE", closed.to_string()), 1);
    assert!(line.contains(&closed.to_string()) && line.contains("is the node running"), "{line}");
    refusal(&mut objstore(["ls", "--node", "a b:1"]), 2);
}

#[test]
fn wrong_usage_is_one_line_and_exit_code_2() {
    // What is wrong may be found after the directories were made.
    let dir = tempfile::tempdir().unwrap();
    for (args, says) in [
        (&["--nonsense"][..], "--nonsense"),
        (&["-N", "a/b"], "--nodes: \"a/b\" is not a node"),
        (&["--tls-key", "k"], "give both, tls-cert and tls-key"),
        (&["--token-file", "/nowhere"], "the file of tokens /nowhere: No such file"),
        (&["ls", "--ca", "/nowhere"], "cannot read the certificates /nowhere"),
        (
            &["--s3-endpoint", "http://h:1"],
            "--s3-endpoint: which bucket? the setting bucket names it",
        ),
        (&["-B", "b", "--remote-dir", "d"], "--bucket: the remote is a bucket or a directory"),
        (&["get", "--key", "a/../b"], "segment"),
        (&["get", ID, "--key", "k"], "--key"),
        (&["put", "--key", "k", "--level", "1", "x"], "--key"),
        (&["uploads", "retry"], "<ID>"),
        (&["uploads", "drop", "x"], "not an object id"),
        (&["-d", "2"], "--debug: \"2\""),
        (&["--public-addr", "10999"], "--public-addr: \"10999\" is not HOST:PORT"),
        (&["--max-bytes", "much"], "--max-bytes"),
        (&["get", "not-an-id"], "not an object id"),
        (&["put", "--level", "7", "x"], "level"),
        (&["put", "--id", ID, "a", "b"], "--id, --name and --key"),
        (&["rm"], "<ID>"),
        (&["put"], "give a FILE"),
        (&["-d", "1", "ls"], "ls"),
    ] {
        let line = refusal(objstore(args).current_dir(dir.path()), 2);
        assert!(line.contains(says), "{line}");
    }
}

#[test]
#[cfg(feature = "s3")]
fn a_bucket_that_is_not_there_keeps_no_node_from_starting() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut command = objstore(["--public-addr", "127.0.0.1:0", "-B", "photos", "--write", "back"]);
    command
        .env("S3_ENDPOINT", format!("http://{closed}"))
        .env("S3_PATH_STYLE", "1")
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_MAX_ATTEMPTS", "1")
        .current_dir(dir.path());
    let node = Node::spawn(command, dir);
    let stats: serde_json::Value = serde_json::from_str(&node.text("stats", &["--json"])).unwrap();
    let identity = stats["remote"]["identity"].as_str().unwrap();
    assert!(identity.contains("photos") && identity.contains(&closed.to_string()), "{identity}");

    node.file("a.txt", "It works!");
    node.text("put", &["--id", ID, "--level", "1", "a.txt"]);
    assert_eq!(node.text("get", &[ID]), "It works!");
    assert!(node.text("stat", &[ID]).contains("waits to be stored"));
    let begun = Instant::now();
    loop {
        let uploads = node.text("uploads", &[]);
        assert!(uploads.starts_with("waiting 1, "), "{uploads}");
        if uploads.lines().any(|line| line.starts_with(&format!("{ID}  failing  tries "))) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{uploads}");
        std::thread::sleep(Duration::from_millis(100));
    }
    node.text("uploads", &["retry", ID]);
    node.text("uploads", &["drop", ID]);
    assert!(node.text("uploads", &[]).starts_with("waiting 0, "));
    let line = refusal(node.verb("uploads").args(["drop", ID]), 1);
    assert!(line.contains("no version of this object waits"), "{line}");
    assert_eq!(node.text("get", &[ID]), "It works!");
}

#[test]
fn objects_are_reached_by_key_and_purged() {
    let node = Node::start(&[]);
    node.file("a.txt", "It works!");
    let key = "photos/2026 ü/50%.txt";
    let printed = node.text("put", &["--key", key, "--meta", "a=b", "a.txt"]);
    assert!(printed.ends_with(&format!("  {key}\n")), "{printed}");
    assert_eq!(node.text("get", &["--key", key]), "It works!");
    let rows = node.text("ls", &["--keys", "--prefix", "photos/"]);
    assert!(rows.contains("             9  20") && rows.ends_with(&format!("  {key}\n")), "{rows}");
    assert_eq!(node.text("ls", &["--keys", "--prefix", "elsewhere/"]), "");
    node.text("rm", &["--key", key]);
    let line = refusal(node.verb("get").args(["--key", key]), 1);
    assert!(line.contains(key), "{line}");

    node.text("put", &["--id", ID, "--level", "1", "--write", "through", "a.txt"]);
    assert!(node.text("ls", &["--keys"]).contains(ID));
    node.text("rm", &["--purge", ID]);
    assert_eq!(node.text("ls", &["--keys"]), "");
    refusal(node.verb("get").args(["--fetch", UNKNOWN]), 1);
}

#[test]
fn an_address_in_use_is_named_with_its_flag() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let mut command = objstore(["--public-addr", &taken]);
    let line = refusal(command.current_dir(dir.path()), 2);
    assert!(line.contains(&taken) && line.contains("--public-addr"), "{line}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was created");
}

#[test]
fn a_second_process_on_the_same_directories_is_told_which_flags_to_give() {
    let first = Node::start(&[]);
    let mut second = objstore(["--public-addr", "127.0.0.1:0"]);
    let line = refusal(second.current_dir(first.dir.path()), 2);
    assert!(line.contains("state-dir") && line.contains("files-dir"), "{line}");
    assert_eq!(first.text("ls", &[]), "");
}

#[test]
fn an_unknown_key_of_the_config_file_is_named_with_the_known_ones() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("c.toml"), "max-byte = 1\n").unwrap();
    let line = refusal(objstore(["--config", "c.toml"]).current_dir(dir.path()), 2);
    assert!(line.contains("c.toml: unknown key \"max-byte\""), "{line}");
    assert!(line.contains("max-bytes") && line.contains("state-dir"), "{line}");
}

#[test]
fn flags_come_before_environment_before_file_before_defaults() {
    let dir = tempfile::tempdir().unwrap();
    let file = "state-dir = \"file-s\"\nfiles-dir = \"file-f\"\nremote-dir = \"file-r\"\npublic-addr = \"127.0.0.1:0\"\n";
    std::fs::write(dir.path().join("c.toml"), file).unwrap();
    let mut command = objstore(["--state-dir", "flag-s"]);
    command
        .env("APP_CONFIG", "c.toml")
        .env("APP_STATE_DIR", "env-s")
        .env("APP_FILES_DIR", "env-f")
        .env("APP_REMOTE_DIR", "")
        .env("APP_TOKEN_FILE", "")
        .current_dir(dir.path());
    let node = Node::spawn(command, dir);
    let made = node.files();
    for (name, expected) in [
        ("flag-s", true),
        ("env-f", true),
        ("file-r", true),
        ("env-s", false),
        ("file-s", false),
        ("file-f", false),
        ("state", false),
        ("files", false),
    ] {
        assert_eq!(made.iter().any(|n| n == name), expected, "{name} in {made:?}");
    }
}

#[test]
fn the_start_says_where_it_is_and_what_to_type() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().canonicalize().unwrap();
    let mut command = objstore(["-d", "1", "--public-addr", "127.0.0.1:0"]);
    let mut child = command.current_dir(dir.path()).stderr(Stdio::piped()).spawn().unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let node = Guard(child);
    let mut said = Vec::new();
    for line in stderr.lines().map_while(Result::ok) {
        let last = line.starts_with("[INFO] try: curl http://127.0.0.1:");
        said.push(line);
        if last {
            break;
        }
    }
    // The log's reader is gone now; that is no reason for the node to go.
    let all = said.join("\n");
    assert!(said.iter().any(|l| l.starts_with("[INFO] node ID: 01")), "{all}");
    for name in ["state", "files", "state/remote"] {
        assert!(all.contains(path.join(name).to_str().unwrap()), "{all}");
    }
    let address = said.iter().find_map(|line| address_in(line)).unwrap();
    for _ in 0..3 {
        assert!(http(address, "/api/v1/id").starts_with("HTTP/1.1 200"));
    }
    drop(node);
}

struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn debug_logs_a_line_for_each_request_and_the_default_none() {
    let node = Node::start(&["-d", "1"]);
    http(node.address, &format!("/api/v1/get/{UNKNOWN}"));
    let line = node.log_until(UNKNOWN);
    assert!(line.starts_with("[DEBUG] ") && line.contains("404"), "{line}");

    let mut quiet = Node::start(&[]);
    http(quiet.address, "/api/v1/id");
    quiet.signal(rustix::process::Signal::TERM);
    quiet.child.wait().unwrap();
    let said: Vec<String> = quiet.log.iter().collect();
    let solo = "[WARN] no additional cluster nodes specified, current node starts solo";
    assert!(said.iter().any(|line| line == solo), "{said:#?}");
    let quiet = said.iter().all(|line| line.starts_with("[INFO] ") || line == solo);
    assert!(quiet, "{said:#?}");
}

#[test]
fn json_logs_are_one_object_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = objstore(["--log-format=json", "-d", "--public-addr", "127.0.0.1:0"]);
    let mut child = command.current_dir(dir.path()).stderr(Stdio::piped()).spawn().unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let _node = Guard(child);
    let mut objects = stderr.lines().map(|line| {
        serde_json::from_str::<serde_json::Value>(&line.unwrap()).expect("a line of JSON")
    });
    let started = objects.find(|object| object["message"] == "listening").unwrap();
    assert_eq!(started["level"], "INFO");
    assert!(started["node_id"].as_str().unwrap().starts_with("01"), "{started}");
    let address: SocketAddr = started["public_addr"].as_str().unwrap().parse().unwrap();
    http(address, &format!("/api/v1/get/{UNKNOWN}"));
    assert!(objects.any(|object| object["level"] == "DEBUG" && object.to_string().contains("404")));
}

#[test]
fn metrics_are_served_in_the_text_format() {
    let node = Node::start(&[]);
    node.file("f", "x");
    node.text("put", &["--id", ID, "f"]);
    node.text("get", &[ID]);
    let page = http(node.address, "/metrics");
    assert!(page.starts_with("HTTP/1.1 200"), "{page}");
    for part in ["objstore_requests_total{", "objstore_request_seconds_bucket{", "le=\"0.001\""] {
        assert!(page.contains(part), "{part} in {page}");
    }

    // As they are documented, with these labels and no others.
    let document = include_str!("../../objstore-core/docs/metrics.md");
    let rows = document.lines().filter(|line| line.starts_with("| `objstore_"));
    let documented: BTreeMap<String, (String, String)> = rows
        .filter(|row| row.matches('|').count() == 6)
        .map(|row| {
            let cells: Vec<String> =
                row.split('|').map(|cell| cell.trim().replace('`', "")).collect();
            (cells[1].clone(), (cells[2].clone(), cells[4].clone()))
        })
        .collect();
    let mut shown = BTreeMap::new();
    for line in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').unwrap();
        let of = |line: &&str| {
            let rest = line.strip_prefix(name);
            rest.is_some_and(|rest| rest.starts_with(['{', ' ']) || rest.starts_with("_count"))
        };
        let sample = page.lines().find(of).unwrap_or_else(|| panic!("no sample of {name}"));
        let (labels, _) = sample.rsplit_once(' ').unwrap();
        let labels = labels.split_once('{').map_or("", |(_, rest)| rest.trim_end_matches('}'));
        let names = labels.split(',').filter_map(|label| label.split('=').next());
        let mut names: Vec<&str> = names.filter(|name| !name.is_empty()).collect();
        names.sort_unstable();
        shown.insert(name.to_owned(), (kind.to_owned(), names.join(", ")));
    }
    assert_eq!(shown, documented);
    let line =
        |name: &str| page.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap();
    assert_eq!(line("objstore_puts_total"), "objstore_puts_total 1");
    assert_eq!(line("objstore_journal_objects"), "objstore_journal_objects 1");
}

#[test]
fn a_signal_stops_it_cleanly_and_what_was_stored_is_there_again() {
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let mut node = Node::start(&[]);
        node.file("f", "kept");
        node.text("put", &["--id", ID, "f"]);
        node.signal(signal);
        assert_eq!(node.child.wait().unwrap().code(), Some(0));
        assert!(TcpStream::connect(node.address).is_err());

        let mut again = objstore(["--public-addr", "127.0.0.1:0"]);
        again.current_dir(node.dir.path());
        let dir = std::mem::replace(&mut node.dir, tempfile::tempdir().unwrap());
        let again = Node::spawn(again, dir);
        assert_eq!(again.text("get", &[ID]), "kept");
    }
}

#[test]
fn while_it_drains_it_serves_but_is_not_ready_and_a_second_signal_ends_it() {
    let mut node = Node::start(&["--shutdown-delay", "1h"]);
    node.file("f", "served to the end");
    node.text("put", &["--id", ID, "f"]);
    assert!(http(node.address, "/readyz").starts_with("HTTP/1.1 200"));
    node.signal(rustix::process::Signal::TERM);
    node.log_until("/readyz at 503");
    assert!(http(node.address, "/readyz").starts_with("HTTP/1.1 503"));
    assert!(http(node.address, "/healthz").starts_with("HTTP/1.1 200"));
    assert_eq!(node.text("get", &[ID]), "served to the end");
    node.signal(rustix::process::Signal::TERM);
    assert_eq!(node.child.wait().unwrap().code(), Some(1));
}

#[test]
fn the_node_keeps_its_id_unless_told_to_take_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let id = |args: &[&str]| {
        let mut command = objstore(["--public-addr", "127.0.0.1:0"]);
        command.args(args).current_dir(dir.path());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let _node = Guard(child);
        let line = stderr.lines().map_while(Result::ok).find(|line| line.contains("node ID: "));
        line.expect("it starts").split_once("node ID: ").unwrap().1.to_owned()
    };
    let first = id(&[]);
    assert_eq!(id(&[]), first);
    let second = id(&["--new-node-id"]);
    assert_ne!(second, first);
    assert_eq!(id(&[]), second);
}

#[test]
fn a_public_listener_beyond_loopback_says_so_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = objstore(["--public-addr", "0.0.0.0:0"]);
    let mut child = command.current_dir(dir.path()).stderr(Stdio::piped()).spawn().unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let _node = Guard(child);
    let mut lines = stderr.lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("[INFO] try: curl http://127.0.0.1:")));
    let warning = lines.next().unwrap();
    assert!(warning.starts_with("[WARN] ") && warning.contains("--token-file"), "{warning}");
}

#[test]
fn the_commands_show_the_token_that_a_node_asks_for() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tokens"), "me read,write 0123456789abcdef\n").unwrap();
    let mut command = objstore(["--public-addr", "127.0.0.1:0", "--token-file", "tokens"]);
    command.current_dir(dir.path());
    let node = Node::spawn(command, dir);
    for (token, said) in [(None, "asks for a token"), (Some("another"), "no valid token")] {
        let mut ls = node.verb("ls");
        ls.envs(token.map(|token| ("OBJSTORE_TOKEN", token)));
        assert!(refusal(&mut ls, 1).contains(said), "{said}");
    }
    let mut ls = node.verb("ls");
    let listed = ls.env("OBJSTORE_TOKEN", "0123456789abcdef").output().unwrap();
    assert!(listed.status.success(), "{}", err(&listed));
    let mut forget = node.verb("forget");
    forget.args(["01AN4Z07BY79KA1307SR9X4MV3", "--token", "0123456789abcdef"]);
    assert!(refusal(&mut forget, 1).contains("needs the scope admin"));
}

#[test]
fn help_names_every_flag_and_version_says_which() {
    let help = objstore(["--help"]).output().unwrap();
    assert_eq!(help.status.code(), Some(0));
    let help = out(&help);
    for flag in [
        "-d, --debug",
        "--public-addr",
        "--state-dir",
        "--files-dir",
        "--remote-dir",
        "--max-bytes",
        "--memory-bytes",
        "--allow-host",
        "--token-file",
        "--tls-cert",
        "--tls-key",
        "--shutdown-delay",
        "--log-format",
        "--config",
        "--new-node-id",
        "--lost-files",
        "$NET_PUBLIC_ADDR",
        "$APP_STATE_DIR",
        "put",
        "get",
        "rm",
        "ls",
        "stat",
        "stats",
        "Examples:",
    ] {
        assert!(help.contains(flag), "{flag} in {help}");
    }
    for verb in ["put", "get", "rm", "ls", "stat", "stats"] {
        let help = objstore([verb, "--help"]).output().unwrap();
        assert!(out(&help).contains("--node"), "{verb}");
    }
    let version = out(&objstore(["--version"]).output().unwrap());
    assert!(version.starts_with(concat!("objstore ", env!("CARGO_PKG_VERSION"))), "{version}");
}

#[test]
fn an_interrupted_get_leaves_no_file() {
    // A node that never comes to the end of its body.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let child = objstore(["get", ID, "-o", "file", "--node", &at])
        .current_dir(dir.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Guard(child);
    let (mut connection, _) = listener.accept().unwrap();
    read_head(&connection);
    connection.write_all(sends("", 100, "x")).unwrap();
    wait_until(dir.path(), |names| names.iter().any(|name| name.ends_with(".part")));
    let pid = rustix::process::Pid::from_child(&child.0);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.0.wait().unwrap().code(), Some(1));
    wait_until(dir.path(), |names| names.is_empty());
}

/// Looks until a directory is as expected. The deadline is only there so that a fault is not a
/// hang.
fn wait_until(dir: &Path, expected: impl Fn(&[String]) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let entries = std::fs::read_dir(dir).unwrap();
        let names: Vec<String> =
            entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
        if expected(&names) {
            return;
        }
        assert!(Instant::now() < deadline, "still {names:?}");
        std::thread::yield_now();
    }
}

#[test]
fn keygen_makes_a_key_that_only_its_owner_reads_and_overwrites_none() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let keygen = |args: &[&str]| {
        let mut command = objstore(["keygen"]);
        command.args(args).current_dir(dir.path());
        command
    };
    let printed = out(&keygen(&[]).output().unwrap());
    assert!(printed.starts_with("objstore-key-") && printed.matches('\n').count() == 1);
    assert_eq!(printed.len(), "objstore-key-".len() + 64 + 1 + 8 + 1);

    let made = keygen(&["cluster.key"]).output().unwrap();
    assert_eq!(
        (made.status.code(), out(&made), err(&made)),
        (Some(0), String::new(), String::new())
    );
    let path = dir.path().join("cluster.key");
    let key = std::fs::read_to_string(&path).unwrap();
    assert!(key.starts_with("objstore-key-") && key != printed, "each is another");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let refused = refusal(&mut keygen(&["cluster.key"]), 2);
    assert!(refused.contains("cluster.key exists"), "{refused}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), key);
}

#[test]
fn a_wrong_key_file_or_debug_address_is_refused_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let node = |args: &[&str]| {
        let mut command = objstore(["--public-addr", "127.0.0.1:0"]);
        command.args(args).current_dir(dir.path());
        command
    };
    let key = out(&objstore(["keygen"]).output().unwrap());
    std::fs::write(dir.path().join("typo"), key.replacen(&key[20..21], "?", 1)).unwrap();
    std::fs::write(dir.path().join("empty"), "# none yet\n").unwrap();
    for (args, expected) in [
        (["--cluster-key-file", "missing"], "No such file"),
        (["--cluster-key-file", "empty"], "there is no key in it"),
        (["--cluster-key-file", "typo"], "line 1: "),
        (["--debug-addr", "0.0.0.0:0"], "is not loopback"),
        (["--debug-addr", "11998"], "is not HOST:PORT"),
    ] {
        let line = refusal(&mut node(&args), 2);
        assert!(line.contains(expected) && !line.contains(key.trim()), "{args:?}: {line}");
    }
}

#[test]
fn a_key_file_that_changes_is_read_again() {
    let keys: Vec<String> = (0..2).map(|_| out(&objstore(["keygen"]).output().unwrap())).collect();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("keys");
    std::fs::write(&file, &keys[0]).unwrap();
    let mut command = objstore(["--public-addr", "127.0.0.1:0", "--debug-addr", "127.0.0.1:0"]);
    command.env("APP_CLUSTER_KEY_FILE", &file).current_dir(dir.path());
    let node = Node::spawn(command, dir);
    let line = node.log_until("private API for operators: ");
    let (_, url) = line.split_once("operators: ").unwrap();
    let nodes = Command::new("curl").args(["-fsS", url]).output().unwrap();
    // Itself.
    let text = out(&nodes);
    assert!(nodes.status.success() && text.matches("\"alive\"").count() == 1, "{nodes:?}");

    std::fs::write(&file, format!("{}{}", keys[1], keys[0])).unwrap();
    let line = node.log_until("other cluster keys are in force");
    assert!(!line.contains(keys[0].trim()) && !line.contains(keys[1].trim()), "{line}");
    std::fs::write(&file, "objstore-key-typo\n").unwrap();
    let line = node.log_until("the keys stay as they were");
    assert!(line.contains("line 1: ") && line.contains("ERROR"), "{line}");
    std::fs::write(&file, &keys[1]).unwrap();
    node.log_until("other cluster keys are in force");
}

/// Peak memory of a process, in KiB.
fn peak_memory(node: &Node) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.child.id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn frames_of_peers_that_never_end_leave_memory_flat() {
    let node = Node::start(&["--private-addr", "127.0.0.1:0"]);
    let line = node.log_until("other nodes reach it at: ");
    let (_, address) = line.split_once("reach it at: ").unwrap();
    let before = peak_memory(&node);
    let mut frame = vec![b'x'; (1 << 20) - 1];
    let mut held = Vec::new();
    for number in 0..300 {
        // Each from a node of its own, so that the bound of one is not what holds.
        let head = format!(
            "POST /private/v1/hello HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\
             X-Objstore-Protocol: 1\r\nX-Objstore-Tag: default\r\nX-Objstore-Boot: 1\r\n\
             X-Objstore-Node: 01BRNMMS1DK3CBD4ZZM2TQ8{number:03}\r\n\r\n",
            frame.len() + 1
        );
        let mut connection = TcpStream::connect(address).unwrap();
        connection.write_all(head.as_bytes()).unwrap();
        // One that was refused is closed while it is being written to.
        connection.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
        let _ = connection.write_all(&frame);
        held.push(connection);
    }
    frame.clear();
    let grown = peak_memory(&node).saturating_sub(before);
    assert!(grown < 64 * 1024, "{grown} KiB");
    assert!(node.text("stats", &[]).contains("objects"));
}
