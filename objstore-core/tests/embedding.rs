//! What a host program may rely on (decision 22 of the design: a good guest).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout)]

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, stream};
use objstore_core::options::{
    Conditions, DeleteOptions, GetOptions, ListOptions, PutOptions, WriteMode,
};
use objstore_core::types::{Level, UserMeta};
use objstore_core::{Body, Error, ErrorKind, Node};

async fn in_memory() -> Node {
    Node::builder().in_memory().start().await.unwrap()
}

fn on_disk(dir: &std::path::Path) -> objstore_core::Builder {
    Node::builder().state_dir(dir.join("state")).files_dir(dir.join("files"))
}

async fn body(node: &Node, id: objstore_core::types::ObjectId) -> Vec<u8> {
    let object = node.get(id, GetOptions::default()).await.unwrap();
    object.body.collect(usize::MAX).await.unwrap().to_vec()
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 31 + i / 251) as u8).collect()
}

async fn serve(node: &Node) -> objstore_core::Server {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    node.serve_public(listener).unwrap()
}

#[tokio::test]
async fn put_get_head_delete_list_in_process() {
    let dir = tempfile::tempdir().unwrap();
    for node in [in_memory().await, on_disk(dir.path()).start().await.unwrap()] {
        for len in [0, 1, 4096, 65_535, 65_536, 65_537, 131_072, 1_000_003] {
            let id = node.new_id();
            let bytes = pattern(len);
            let put = PutOptions::named("a.bin").unwrap();
            let meta = node.put(id, bytes.clone(), put).await.unwrap();
            assert_eq!(meta.size, len as u64);
            assert_eq!(*node.head(id).await.unwrap(), *meta);
            assert_eq!(body(&node, id).await, bytes, "{len}");
            if len > 100 {
                let from = len as u64 / 2 - 7;
                let range = GetOptions::default().range(from..=from + 20);
                let part = node.get(id, range).await.unwrap();
                assert_eq!(part.range, from..from + 21);
                let part = part.body.collect(100).await.unwrap();
                assert_eq!(part, bytes[from as usize..from as usize + 21]);
            }
            let tombstone = node.delete(id, DeleteOptions::default()).await.unwrap();
            assert!(tombstone.is_deleted);
            let gone = node.get(id, GetOptions::default()).await.unwrap_err();
            assert_eq!(gone.kind(), ErrorKind::Deleted);
            assert!(gone.meta().unwrap().is_deleted);
        }
        assert!(node.list(ListOptions::default()).await.unwrap().is_empty());
        let mut all = ListOptions::default();
        all.include_deleted = true;
        assert_eq!(node.list(all).await.unwrap().len(), 8);
        assert_eq!(node.stats().journal.tombstones, 8);
    }
}

#[tokio::test]
async fn a_node_finds_its_objects_again() {
    let dir = tempfile::tempdir().unwrap();
    let (small, large) = (pattern(5000), pattern(500_000));
    let node = on_disk(dir.path()).start().await.unwrap();
    let (a, b, id) = (node.new_id(), node.new_id(), node.id());
    let user_meta = UserMeta::new([("Author", "bob")]).unwrap();
    node.put(a, small.clone(), PutOptions::default().user_meta(user_meta)).await.unwrap();
    node.put(b, large.clone(), PutOptions::default()).await.unwrap();
    let before = (node.head(a).await.unwrap(), node.head(b).await.unwrap());
    node.shutdown().await.unwrap();
    drop(node);

    let node = on_disk(dir.path()).start().await.unwrap();
    assert_eq!(node.id(), id);
    assert_eq!((node.head(a).await.unwrap(), node.head(b).await.unwrap()), before);
    assert_eq!(body(&node, a).await, small);
    assert_eq!(body(&node, b).await, large);
    assert_eq!(node.stats().journal.objects, 2);
}

#[tokio::test]
async fn dropping_the_last_handle_stops_the_node_and_frees_its_lock() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let node = on_disk(dir.path()).start().await.unwrap();
        let clone = node.clone();
        drop(node);
        let taken = on_disk(dir.path()).start().await.unwrap_err();
        assert_eq!(taken.kind(), ErrorKind::Configuration);
        let message = taken.to_string();
        assert!(message.contains("state-dir") && message.contains("files-dir"), "{message}");
        drop(clone);
    }
    on_disk(dir.path()).start().await.unwrap();
}

#[tokio::test]
async fn after_shutdown_every_clone_says_so() {
    let node = in_memory().await;
    let clone = node.clone();
    node.shutdown().await.unwrap();
    node.shutdown().await.unwrap();
    let id = clone.new_id();
    let put = clone.put(id, "x", PutOptions::default()).await.unwrap_err();
    assert_eq!(put.kind(), ErrorKind::Stopping);
    assert_eq!(clone.head(id).await.unwrap_err().kind(), ErrorKind::Stopping);
    assert!(!clone.is_ready());
}

#[tokio::test]
async fn two_nodes_live_in_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let a = on_disk(&dir.path().join("a")).start().await.unwrap();
    let b = on_disk(&dir.path().join("b")).start().await.unwrap();
    let (sa, sb) = (serve(&a).await, serve(&b).await);
    assert_ne!(sa.local_addr().port(), 0);
    assert_ne!(sa.local_addr(), sb.local_addr());
    assert_ne!(a.id(), b.id());
    let id = a.new_id();
    a.put(id, "only here", PutOptions::default()).await.unwrap();
    assert_eq!(b.head(id).await.unwrap_err().kind(), ErrorKind::NotFound);
}

/// A put that is dropped half-way leaves the old version, and nothing else.
#[tokio::test]
async fn dropping_a_put_leaves_old_or_new() {
    let dir = tempfile::tempdir().unwrap();
    let node = on_disk(dir.path()).start().await.unwrap();
    let id = node.new_id();
    let old = pattern(200_000);
    node.put(id, old.clone(), PutOptions::default()).await.unwrap();

    let (reached, stalled) = tokio::sync::oneshot::channel();
    let chunk = bytes::Bytes::from(pattern(1 << 20));
    let begun = stream::iter([Ok(chunk)]);
    let stall = stream::once(async move {
        let _ = reached.send(());
        std::future::pending::<Result<bytes::Bytes, Error>>().await
    });
    let body_stream = Body::from_stream(begun.chain(stall), None);
    let task = {
        let node = node.clone();
        tokio::spawn(async move { node.put(id, body_stream, PutOptions::default()).await })
    };
    stalled.await.unwrap();
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert_eq!(body(&node, id).await, old);
    node.shutdown().await.unwrap();
    let staged = std::fs::read_dir(dir.path().join("files/staging")).unwrap().count();
    assert_eq!(staged, 0, "a temporary file was left behind");
}

/// Whatever moment a put is dropped at, readers see the old bytes or the new ones, whole.
#[tokio::test]
async fn a_put_dropped_at_any_poll_is_never_torn() {
    let dir = tempfile::tempdir().unwrap();
    let node = on_disk(dir.path()).start().await.unwrap();
    let id = node.new_id();
    for len in [3000, 150_000] {
        node.put(id, pattern(len), PutOptions::default()).await.unwrap();
        for polls in 1..40 {
            let new = vec![polls as u8; len + polls];
            let mut put = Box::pin(node.put(id, new.clone(), PutOptions::default()));
            let mut done = false;
            for _ in 0..polls {
                let polled =
                    std::future::poll_fn(|cx| std::task::Poll::Ready(put.as_mut().poll(cx)));
                if polled.await.is_ready() {
                    done = true;
                    break;
                }
                tokio::task::yield_now().await;
            }
            drop(put);
            let now = body(&node, id).await;
            let whole = now == pattern(len)
                || now.iter().all(|b| *b == now[0]) && now.len() == len + now[0] as usize;
            assert!(whole, "torn after {polls} polls");
            if done {
                assert_eq!(now, new);
            }
        }
    }
}

#[tokio::test]
async fn a_body_that_ends_early_or_fails_stores_nothing() {
    let node = in_memory().await;
    let id = node.new_id();
    let chunk = || Ok(bytes::Bytes::from_static(b"abc"));
    let short = Body::from_stream(stream::iter([chunk()]), Some(4));
    let error = node.put(id, short, PutOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::IncompleteBody);
    let failing = stream::iter([chunk(), Err(Error::new(ErrorKind::Transport, "cut"))]);
    let error = node.put(id, Body::from_stream(failing, None), PutOptions::default()).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Transport);
    assert_eq!(node.head(id).await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn conditions_are_judged_at_the_commit() {
    let node = Arc::new(in_memory().await);
    let id = node.new_id();
    let create = || PutOptions::default().conditions(Conditions::absent());
    let racers: Vec<_> = (0..32)
        .map(|i| {
            let node = Arc::clone(&node);
            tokio::spawn(async move {
                node.put(id, vec![i; 100_000 * (i as usize % 2)], create()).await
            })
        })
        .collect();
    let mut won = 0;
    for racer in racers {
        match racer.await.unwrap() {
            Ok(_) => won += 1,
            Err(error) => assert_eq!(error.kind(), ErrorKind::PreconditionFailed),
        }
    }
    assert_eq!(won, 1, "exactly one create may succeed");

    let etag = node.head(id).await.unwrap().etag.clone().unwrap();
    let same = || PutOptions::default().conditions(Conditions::matching(etag.clone()));
    node.put(id, "second", same()).await.unwrap();
    let lost = node.put(id, "third", same()).await.unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::PreconditionFailed);
}

#[tokio::test]
async fn a_level_rises_and_never_falls() {
    let dir = tempfile::tempdir().unwrap();
    let node = on_disk(dir.path()).start().await.unwrap();
    for len in [10, 100_000] {
        let id = node.new_id();
        node.put(id, pattern(len), PutOptions::default()).await.unwrap();
        let copy = dir.path().join("state/remote/objects").join(id.to_string());
        assert!(!copy.exists());
        assert_eq!(
            node.set_level(id, Level::Remote, WriteMode::Through).await.unwrap().consistency,
            Level::Remote
        );
        assert_eq!(std::fs::read(&copy).unwrap()[..len], pattern(len), "the remote has the body");
        assert_eq!(
            node.set_level(id, Level::Local, WriteMode::Default).await.unwrap().consistency,
            Level::Remote
        );
        let meta = node.put(id, "overwritten", PutOptions::default()).await.unwrap();
        assert_eq!(meta.consistency, Level::Remote);
        assert!(std::fs::read(&copy).unwrap().starts_with(b"overwritten"));
        assert_eq!(body(&node, id).await, b"overwritten");
    }
}

#[test]
fn works_on_a_current_thread_runtime_and_on_a_multi_threaded_one() {
    let work = async {
        let node = in_memory().await;
        let id = node.new_id();
        node.put(id, pattern(300_000), PutOptions::default()).await.unwrap();
        assert_eq!(body(&node, id).await, pattern(300_000));
    };
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work);
    let work = async { drop(in_memory().await) };
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(work);
}

#[test]
fn a_node_may_be_dropped_outside_any_runtime() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let node = runtime.block_on(on_disk(dir.path()).start()).unwrap();
    drop(runtime);
    drop(node);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(on_disk(dir.path()).start()).unwrap();
}

#[test]
fn handles_and_futures_can_be_sent() {
    fn send<T: Send>(_: &T) {}
    fn shared<T: Send + Sync + Clone>() {}
    shared::<Node>();
    shared::<objstore_core::PublicService>();
    let check = |node: &Node| {
        let id = node.new_id();
        send(&node.put(id, "", PutOptions::default()));
        send(&node.get(id, GetOptions::default()));
        send(&node.head(id));
        send(&node.delete(id, DeleteOptions::default()));
        send(&node.set_level(id, Level::Full, WriteMode::Default));
        send(&node.list(ListOptions::default()));
        send(&node.shutdown());
    };
    let _ = check;
}

const ON_PURPOSE: &str = "on purpose";

fn our_threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|name| name.starts_with("objstore")).collect()
}

/// Run again as a process of its own by the test below, which looks at what it did.
#[test]
fn guest_process() {
    if std::env::var_os("OBJSTORE_GUEST").is_none() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    static HOOKED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);
    std::panic::set_hook(Box::new(|panic| {
        HOOKED.store(true, std::sync::atomic::Ordering::SeqCst);
        if panic.payload_as_str() != Some(ON_PURPOSE) {
            eprintln!("{panic}");
        }
    }));
    let open = || -> std::collections::BTreeSet<String> {
        let fds = std::fs::read_dir("/proc/self/fd").unwrap();
        let links = fds.filter_map(|fd| std::fs::read_link(fd.unwrap().path()).ok());
        let links = links.map(|link| link.to_string_lossy().into_owned());
        // The listing itself is open while it is read.
        links.filter(|link| !link.starts_with("/proc/")).collect()
    };
    runtime.block_on(async {
        // The runtime's own are there before.
        let before = open();
        let node = in_memory().await;
        let id = node.new_id();
        node.put(id, pattern(300_000), PutOptions::default()).await.unwrap();
        body(&node, id).await;
        node.delete(id, DeleteOptions::default()).await.unwrap();
        let links: Vec<_> = open().difference(&before).cloned().collect();
        std::fs::write(std::env::var_os("OBJSTORE_GUEST").unwrap(), links.join("\n")).unwrap();
        let server = serve(&node).await;
        server.stop(Duration::from_secs(5)).await;
        node.shutdown().await.unwrap();
        drop(node);
        // A task that was ended is gone once the runtime comes round to it.
        let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        for _ in 0..10_000 {
            if alive() == 0 {
                break;
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(alive(), 0, "tasks are left");
    });
    std::thread::spawn(|| panic!("{ON_PURPOSE}")).join().unwrap_err();
    assert!(HOOKED.load(std::sync::atomic::Ordering::SeqCst), "the panic hook was replaced");
    let recorder = metrics::set_global_recorder(metrics::NoopRecorder);
    assert!(recorder.is_ok(), "a metrics recorder was installed");
    assert!(!tracing::dispatcher::has_been_set(), "a logger was installed");
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let caught = status.lines().find(|l| l.starts_with("SigCgt:")).unwrap().to_owned();
    let bits = u64::from_str_radix(caught.split_whitespace().nth(1).unwrap(), 16).unwrap();
    let term_int_hup = (1 << 14) | (1 << 1) | 1;
    assert_eq!(bits & term_int_hup, 0, "a signal handler was installed");
    // A thread that was joined stays listed until the kernel has let it go (pthread_join(3) waits
    // for less), so this asks until it has: what stays is a thread of ours.
    let mut ours = our_threads();
    for _ in 0..10_000 {
        if ours.is_empty() {
            break;
        }
        std::thread::yield_now();
        ours = our_threads();
    }
    assert!(ours.is_empty(), "threads are left: {ours:?}");
}

#[test]
fn an_in_memory_node_is_a_good_guest() {
    let report = tempfile::NamedTempFile::new().unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "guest_process", "--nocapture", "--test-threads=1"])
        .env("OBJSTORE_GUEST", report.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "printed: {}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<_> = text.lines().filter(|l| !l.is_empty()).collect();
    assert_eq!(lines.len(), 3, "more than the test harness's three lines was printed: {text}");
    let opened = std::fs::read_to_string(report.path()).unwrap();
    assert_eq!(opened, "", "files or sockets are open");
}

#[tokio::test]
async fn a_server_stops_when_dropped() {
    let node = in_memory().await;
    let server = serve(&node).await;
    let address = server.local_addr();
    tokio::net::TcpStream::connect(address).await.unwrap();
    server.stop(Duration::from_secs(5)).await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

/// A host is not tied to the crates that a node is made of, and they may change.
#[test]
fn public_signatures_name_no_crate_that_may_change() {
    let mut open = vec![
        std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src")),
        std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../objstore-client/src")),
    ];
    let mut signatures = 0;
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for (at, _) in text.match_indices("\n    pub fn ").chain(text.match_indices("\npub fn ")) {
            let signature = text[at..].split_inclusive(['{', ';']).next().unwrap();
            signatures += 1;
            for name in ["fjall", "lsm_tree", "quick_cache", "reqwest", "postcard", "blake3::"] {
                let helper = signature.contains("pub fn open_fjall");
                assert!(helper || !signature.contains(name), "{}: {signature}", path.display());
            }
        }
    }
    assert!(signatures > 80, "the search found too little: {signatures}");
}
