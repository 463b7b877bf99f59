//! Objects by their key in the bucket, where the bucket is the truth and the node a cache of it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::large_futures
)]

mod support;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use objstore_core::env::Env;
use objstore_core::journal::MemoryJournal;
use objstore_core::options::{
    Conditions, CopyOptions, DeleteOptions, GetOptions, KeyListOptions, ListOptions, PutOptions,
};
use objstore_core::remote::{
    MemoryRemote, RemoteAttributes, RemoteCondition, RemoteError, RemoteErrorKind, RemoteStore,
};
use objstore_core::testing::{CallKind, CountingRemote, FailingRemote, Faults, MemoryDisk, Steps};
use objstore_core::types::{ObjectKey, UserMeta};
use objstore_core::{Error, ErrorKind, Node};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use support::{Ask, Gate, GatedRemote, Running, journal, node_before, pattern, stored_in};

const TTL: Duration = Duration::from_secs(11);

fn bucket() -> Arc<MemoryRemote> {
    Arc::new(MemoryRemote::new("bucket"))
}

fn counted(bucket: &Arc<MemoryRemote>) -> Arc<CountingRemote> {
    Arc::new(CountingRemote::new(bucket.clone()))
}

async fn served(remote: Arc<dyn RemoteStore>) -> Running {
    Running::serve(node_before(remote, |_| {}).await, Ipv4Addr::LOCALHOST).await
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

/// Somebody else writes into the bucket.
async fn write(bucket: &MemoryRemote, key: &str, body: &[u8]) {
    let (none, plain) = (RemoteCondition::None, RemoteAttributes::default());
    bucket.put(key, body.to_vec().into(), &plain, none).await.unwrap();
}

async fn read(node: &Node, text: &str) -> Result<Vec<u8>, Error> {
    read_with(node, text, GetOptions::default()).await
}

async fn read_with(node: &Node, text: &str, options: GetOptions) -> Result<Vec<u8>, Error> {
    let object = node.get_key(&key(text), options).await?;
    Ok(object.body.collect(usize::MAX).await?.to_vec())
}

fn no_cache() -> GetOptions {
    let mut options = GetOptions::default();
    options.no_cache = true;
    options
}

fn kept() -> Steps {
    Steps::stop_before(u64::MAX, true)
}

/// What the next start finds.
fn next(disk: &MemoryDisk, store: &MemoryJournal) -> (Arc<MemoryDisk>, Arc<MemoryJournal>) {
    (Arc::new(disk.after_power_cut(kept())), Arc::new(store.after_power_cut(kept())))
}

/// A bucket that fails while the switch is on.
fn failing(
    bucket: &Arc<MemoryRemote>,
    kind: RemoteErrorKind,
) -> (Arc<AtomicBool>, Arc<FailingRemote>) {
    let fails = Arc::new(AtomicBool::new(false));
    let switch = Arc::clone(&fails);
    let faults = Faults::default().before(move |_| {
        fails.load(Ordering::SeqCst).then(|| RemoteError::new(kind, "as the test wants it"))
    });
    (switch, Arc::new(FailingRemote::new(bucket.clone(), faults)))
}

#[tokio::test]
async fn keys_of_every_kind_are_put_read_listed_and_deleted() {
    let bucket = bucket();
    let (node, other) = (served(bucket.clone()).await, served(bucket.clone()).await);
    let long = "k".repeat(1024);
    let cases = [
        ("plain.txt", "plain.txt"),
        ("with%20a%20space", "with a space"),
        ("plus+stays", "plus+stays"),
        ("dir/file.txt", "dir/file.txt"),
        ("dir%2Fencoded.txt", "dir/encoded.txt"),
        ("twice//over", "twice//over"),
        ("/leading", "/leading"),
        ("trailing/", "trailing/"),
        ("gr%C3%B6%C3%9Fe", "größe"),
        ("decoded%2520once", "decoded%20once"),
        ("question%3Fmark%23", "question?mark#"),
        ("...", "..."),
        (long.as_str(), long.as_str()),
    ];
    for (path, name) in cases {
        for len in [0, 10, 100_000] {
            let (body, path) = (pattern(len), format!("/api/v1/key/{path}"));
            let put = node.ask(Ask::new("PUT", &path).body(&body)).await;
            assert_eq!(put.status, 200, "{name}: {put:?}");
            assert_eq!(stored_in(&*bucket, name).await.as_ref(), Some(&body), "{name}");
            for at in [&node, &other] {
                let no_cache = Ask::new("GET", &path).field("Cache-Control", "no-cache");
                let reply = at.ask(no_cache).await;
                assert_eq!((reply.status, &reply.body), (200, &body), "{name}");
                assert_eq!(reply.must("etag"), put.must("etag"));
                assert_eq!(reply.must("x-meta-id"), put.must("x-meta-id"));
                let head = at.ask(Ask::new("HEAD", &path)).await;
                assert_eq!((head.status, head.must("content-length")), (200, &*len.to_string()));
            }
        }
        let prefix = utf8_percent_encode(name, NON_ALPHANUMERIC);
        let listed = node.get(&format!("/api/v1/keys?prefix={prefix}&limit=1")).await;
        let line: serde_json::Value =
            serde_json::from_str(listed.text().lines().next().unwrap()).unwrap();
        assert_eq!((&line["key"], &line["size"]), (&name.into(), &100_000.into()));
        let path = format!("/api/v1/key/{path}");
        let deleted = node.ask(Ask::new("DELETE", &path)).await;
        assert_eq!((deleted.status, deleted.must("x-meta-deleted")), (200, "true"));
        assert_eq!(stored_in(&*bucket, name).await, None);
        node.get(&path).await.is_error(404, "not-found");
        assert_eq!(node.ask(Ask::new("DELETE", &path)).await.status, 200, "deleting again");
    }
    assert!(journal(&node.node).await.is_empty(), "keys are not among the objects");
    assert_eq!(node.get("/api/v1/list").await.text(), "");
}

#[tokio::test]
async fn what_is_no_key_is_refused_and_the_bucket_not_asked() {
    let counting = counted(&bucket());
    let node = served(counting.clone()).await;
    let long = "k".repeat(1025);
    let bad = [
        "",
        "..",
        ".",
        "../x",
        "a/../b",
        "a/./b",
        "%2e%2e/x",
        "a/%2E%2E",
        "a%2f..%2fb",
        "a%00b",
        "a%zz",
        "a%4",
        "%ff",
        long.as_str(),
    ];
    for path in bad {
        for method in ["GET", "HEAD", "PUT", "DELETE"] {
            let ask = Ask::new(method, &format!("/api/v1/key/{path}"));
            let ask = if method == "PUT" { ask.body(b"x") } else { ask };
            let status = node.ask(ask).await.status;
            assert!(matches!(status, 400 | 404), "{method} {path}: {status}");
        }
        let fetch = Ask::new("GET", &format!("/api/v1/get/{path}")).field("X-Meta-Fetch", "1");
        let status = node.ask(fetch).await.status;
        assert!(matches!(status, 400 | 404), "{path}: {status}");
    }
    assert_eq!(node.ask(Ask::new("POST", "/api/v1/key/x").body(b"x")).await.status, 405);
    assert_eq!(counting.all_calls(), 0);
}

#[tokio::test]
async fn a_key_is_copied_by_the_bucket_with_all_that_is_kept_beside_it() {
    let bucket = bucket();
    let counting = counted(&bucket);
    let node = served(counting.clone()).await;
    let mut options = PutOptions::default().user_meta(UserMeta::new([("a", "b")]).unwrap());
    options.content_type = Some("x/y".to_owned());
    node.node.put_key(&key("from/ü 1"), pattern(100_000), options).await.unwrap();
    node.node.put_key(&key("to"), "old", PutOptions::default()).await.unwrap();
    assert_eq!(read(&node.node, "to").await.unwrap(), b"old");
    counting.reset();

    let copy = || Ask::new("PUT", "/api/v1/key/to").field("X-Meta-Copy-From", "from/%C3%BC%201");
    node.ask(copy().field("If-None-Match", "*")).await.is_error(412, "precondition-failed");
    node.ask(copy().body(b"x")).await.is_error(400, "invalid-request");
    assert_eq!(read(&node.node, "to").await.unwrap(), b"old");
    assert_eq!(node.ask(copy()).await.status, 200);
    assert!(counting.gets().is_empty(), "by the bucket alone");
    assert_eq!(counting.calls(CallKind::Put), 0);
    assert_eq!(read(&node.node, "to").await.unwrap(), pattern(100_000));
    let copied = node.node.head_key(&key("to"), GetOptions::default()).await.unwrap();
    assert_eq!(copied.user_meta.get("a"), Some("b"));
    assert_eq!(copied.content_type.as_deref(), Some("x/y"));

    let options = CopyOptions::default().conditions(Conditions::absent());
    node.node.copy_key(&key("to"), &key("new"), options).await.unwrap();
    assert_eq!(read(&node.node, "new").await.unwrap(), pattern(100_000));
    let missing = Ask::new("PUT", "/api/v1/key/to").field("X-Meta-Copy-From", "missing");
    node.ask(missing).await.is_error(404, "not-found");
    let onto_an_id = Ask::new("PUT", &format!("/api/v1/key/{}", node.fresh_id()));
    node.ask(onto_an_id.field("X-Meta-Copy-From", "to")).await.is_error(400, "invalid-key");
}

#[tokio::test]
async fn a_copy_that_the_bucket_does_not_make_goes_through_the_node() {
    let bucket = bucket();
    write(&bucket, "from", &pattern(300_000)).await;
    let faults = Faults::default().before(|call| {
        let unknown = RemoteError::new(RemoteErrorKind::Unsupported, "as the test wants it");
        (call.kind == CallKind::Copy).then_some(unknown)
    });
    let remote = Arc::new(FailingRemote::new(bucket.clone(), faults));
    let node = node_before(remote, |_| {}).await;
    let options = || CopyOptions::default().conditions(Conditions::absent());
    node.copy_key(&key("from"), &key("to"), options()).await.unwrap();
    assert_eq!(stored_in(&*bucket, "to").await, Some(pattern(300_000)));
    let again = node.copy_key(&key("from"), &key("to"), options()).await.unwrap_err();
    assert_eq!(again.kind(), ErrorKind::PreconditionFailed);
    let missing = node.copy_key(&key("missing"), &key("to"), options()).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::NotFound);
}

#[tokio::test(start_paused = true)]
async fn keys_are_listed_in_pages() {
    let bucket = bucket();
    let node = node_before(bucket.clone(), |_| {}).await;
    for name in ["a/1", "a/2", "b/1", "c", "d/x/y"] {
        write(&bucket, name, name.as_bytes()).await;
    }
    let mut options = KeyListOptions::default();
    options.delimiter = Some("/".to_owned());
    options.limit = 2;
    let (mut keys, mut prefixes) = (Vec::new(), Vec::new());
    loop {
        let page = node.list_keys(options.clone()).await.unwrap();
        assert!(page.entries.len() + page.prefixes.len() <= 2);
        keys.extend(page.entries.into_iter().map(|entry| entry.key));
        prefixes.extend(page.prefixes);
        options.after = page.next;
        if options.after.is_none() {
            break;
        }
    }
    assert_eq!(
        (keys, prefixes),
        (vec!["c".to_owned()], ["a/", "b/", "d/"].map(String::from).to_vec())
    );
}

#[tokio::test]
async fn a_key_is_read_the_way_of_the_original() {
    let bucket = bucket();
    write(&bucket, "dir/some file.txt", b"It works!").await;
    let counting = counted(&bucket);
    let (node, other) = (served(counting.clone()).await, served(bucket.clone()).await);
    let path = "/api/v1/get/dir/some%20file.txt";
    node.get(path).await.is_error(400, "invalid-id");
    assert_eq!(counting.all_calls(), 0);
    let fetch = || Ask::new("GET", path).field("X-Meta-Fetch", "1");
    let first = node.ask(fetch()).await;
    assert_eq!((first.status, first.text()), (200, "It works!"));
    assert_eq!(first.must("x-meta-fetched"), "true");
    assert_eq!(first.must("content-type"), "text/plain; charset=utf-8");
    let calls = counting.all_calls();
    for ask in [fetch(), Ask::new("GET", path), Ask::new("HEAD", path)] {
        let hit = node.ask(ask).await;
        assert_eq!((hit.status, hit.header("x-meta-fetched")), (200, None));
        assert_eq!(hit.must("x-meta-id"), first.must("x-meta-id"));
    }
    assert_eq!(counting.all_calls(), calls, "hits");
    // By the id that it is cached under too, which is the same on every node.
    let by_id = node.ask(Ask::get(first.must("x-meta-id"))).await;
    assert_eq!((by_id.status, by_id.text()), (200, "It works!"));
    let there = other.ask(fetch()).await;
    assert_eq!(there.must("x-meta-id"), first.must("x-meta-id"));
    assert_eq!(there.must("etag"), first.must("etag"));
    // An id that stands for a key is not put or deleted as if it were an object's.
    let id = first.must("x-meta-id");
    node.ask(Ask::put(id).body(b"x")).await.is_error(400, "invalid-id");
    let delete = Ask::new("POST", &format!("/api/v1/delete/{id}"));
    node.ask(delete).await.is_error(400, "invalid-id");
    let level =
        Ask::new("POST", &format!("/api/v1/level/{id}")).field("X-Meta-ConsistencyLevel", "2");
    let status = node.ask(level).await.status;
    assert!(matches!(status, 400 | 404), "{status}");
    assert_eq!(node.get("/api/v1/list").await.text(), "");
}

#[tokio::test(start_paused = true)]
async fn what_is_here_is_taken_for_current_for_a_while() {
    let bucket = bucket();
    let counting = counted(&bucket);
    let node = node_before(counting.clone(), |_| {}).await;
    for len in [100, 200_000] {
        let name = format!("of {len}");
        let (one, two) = (pattern(len), pattern(len + 1)[1..].to_vec());
        write(&bucket, &name, &one).await;
        counting.reset();
        for _ in 0..5 {
            assert!(read(&node, &name).await.unwrap() == one);
        }
        assert_eq!((counting.calls(CallKind::Get), counting.all_calls()), (1, 1));
        tokio::time::sleep(TTL).await;
        assert!(read(&node, &name).await.unwrap() == one);
        assert!(read(&node, &name).await.unwrap() == one);
        assert_eq!((counting.calls(CallKind::Head), counting.all_calls()), (1, 2), "revalidated");
        // Somebody else writes: seen after the TTL, or at once by who asks for it.
        write(&bucket, &name, &two).await;
        assert!(read(&node, &name).await.unwrap() == one);
        tokio::time::sleep(TTL).await;
        assert!(read(&node, &name).await.unwrap() == two);
        write(&bucket, &name, &one).await;
        assert!(read_with(&node, &name, no_cache()).await.unwrap() == one);
        assert!(read(&node, &name).await.unwrap() == one);
        // Somebody else deletes, and creates it anew.
        bucket.delete(&name, RemoteCondition::None).await.unwrap();
        tokio::time::sleep(TTL).await;
        assert_eq!(read(&node, &name).await.unwrap_err().kind(), ErrorKind::NotFound);
        write(&bucket, &name, &two).await;
        tokio::time::sleep(TTL).await;
        assert!(read(&node, &name).await.unwrap() == two);
        bucket.delete(&name, RemoteCondition::None).await.unwrap();
        let error = read_with(&node, &name, no_cache()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(read(&node, &name).await.unwrap_err().kind(), ErrorKind::NotFound);
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_put_here_is_read_here_at_once() {
    let bucket = bucket();
    let node = node_before(bucket.clone(), |_| {}).await;
    let name = key("some/key");
    for len in [10, 100_000, 20, 200_000] {
        let user_meta = UserMeta::new([("author", "bob")]).unwrap();
        let put = node.put_key(&name, pattern(len), PutOptions::default().user_meta(user_meta));
        let put = put.await.unwrap();
        assert!(read(&node, "some/key").await.unwrap() == pattern(len));
        let head = node.head_key(&name, GetOptions::default()).await.unwrap();
        assert_eq!((head.size, &head.etag), (len as u64, &put.etag));
        assert_eq!(head.user_meta.get("author"), Some("bob"));
    }
    node.delete_key(&name, DeleteOptions::default()).await.unwrap();
    assert_eq!(read(&node, "some/key").await.unwrap_err().kind(), ErrorKind::NotFound);
    node.put_key(&name, "again", PutOptions::default()).await.unwrap();
    assert_eq!(read(&node, "some/key").await.unwrap(), b"again", "a deleted key is not remembered");
    assert!(node.list(ListOptions::default()).await.unwrap().is_empty());
    // What S3 would not bring back as it was is not taken.
    let upper = PutOptions::default().user_meta(UserMeta::new([("Author", "bob")]).unwrap());
    let error = node.put_key(&name, "x", upper).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidUserMeta);
}

#[tokio::test(start_paused = true)]
async fn of_two_nodes_with_one_condition_one_succeeds() {
    let bucket = bucket();
    let a = node_before(bucket.clone(), |_| {}).await;
    let b = node_before(bucket.clone(), |_| {}).await;
    let race = async |name: &ObjectKey, bodies: [&'static str; 2], conditions: Conditions| {
        let put = |node: &Node, body: &'static str| {
            let (node, name) = (node.clone(), name.clone());
            let options = PutOptions::default().conditions(conditions.clone());
            async move { node.put_key(&name, body, options).await }
        };
        let (of_a, of_b) = tokio::join!(put(&a, bodies[0]), put(&b, bodies[1]));
        let made = [&of_a, &of_b].into_iter().filter(|made| made.is_ok()).count();
        assert_eq!(made, 1, "{of_a:?} {of_b:?}");
        let winner = bodies[usize::from(of_a.is_err())];
        assert_eq!(stored_in(&*bucket, name.as_str()).await.unwrap(), winner.as_bytes());
        let tag = of_a.as_ref().or(of_b.as_ref()).unwrap().etag.clone().unwrap();
        let lost = of_a.err().or(of_b.err()).unwrap();
        assert_eq!(lost.kind(), ErrorKind::PreconditionFailed);
        tag
    };
    for round in 0..20 {
        let name = key(&format!("race {round}"));
        let tag = race(&name, ["a", "b"], Conditions::absent()).await;
        let now = race(&name, ["c", "d"], Conditions::matching(tag.clone())).await;
        let stale = PutOptions::default().conditions(Conditions::matching(tag));
        let error = b.put_key(&name, "e", stale).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PreconditionFailed);
        let mut delete = DeleteOptions::default();
        delete.conditions = Conditions::matching(now);
        a.delete_key(&name, delete).await.unwrap();
        assert_eq!(stored_in(&*bucket, name.as_str()).await, None);
    }
}

#[tokio::test]
async fn conditions_of_a_key_are_told_by_status() {
    let node = served(bucket()).await;
    let put = |name: &str, value: &str| {
        node.ask(Ask::new("PUT", "/api/v1/key/k").field(name, value).body(b"body"))
    };
    assert_eq!(put("If-Match", "\"nothing\"").await.status, 412);
    let made = put("If-None-Match", "*").await;
    assert_eq!(made.status, 200);
    assert_eq!(put("If-None-Match", "*").await.status, 412);
    let tag = made.must("etag").to_owned();
    assert_eq!(put("If-Match", &tag).await.status, 200);
    let get = Ask::new("GET", "/api/v1/key/k").field("If-None-Match", &tag);
    assert_eq!(node.ask(get).await.status, 304);
    let range = Ask::new("GET", "/api/v1/key/k").field("Range", "bytes=1-2");
    let range = node.ask(range).await;
    assert_eq!((range.status, range.text()), (206, "od"));
}

/// Found by schemathesis, before a bucket of S3: it knows no condition of a delete that no object
/// meets.
#[tokio::test]
async fn a_delete_that_may_remove_nothing_needs_no_help_of_the_bucket() {
    let bucket = bucket();
    let faults = Faults::default().before(|call| {
        let strange = call.kind == CallKind::Delete && call.condition == RemoteCondition::Absent;
        strange.then(|| RemoteError::new(RemoteErrorKind::Unsupported, "no such condition"))
    });
    let node = served(Arc::new(FailingRemote::new(bucket.clone(), faults))).await;
    let delete = Ask::new("DELETE", "/api/v1/key/k");
    let absent = delete.clone().field("If-None-Match", "*");
    assert_eq!(node.ask(absent.clone()).await.status, 200, "there is nothing");
    let since = delete.field("If-Unmodified-Since", "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(node.ask(since).await.status, 200, "there is nothing");
    assert_eq!(node.ask(Ask::new("PUT", "/api/v1/key/k").body(b"body")).await.status, 200);
    node.ask(absent).await.is_error(412, "precondition-failed");
    assert_eq!(stored_in(&*bucket, "k").await.as_deref(), Some(&b"body"[..]));
}

/// An answer that was lost is "unknown", never "your condition did not hold".
#[tokio::test(start_paused = true)]
async fn a_lost_answer_to_a_put_of_a_key_is_unknown() {
    let bucket = bucket();
    let puts = AtomicUsize::new(0);
    let faults = Faults::default().after(move |call| {
        let lost = call.kind == CallKind::Put && puts.fetch_add(1, Ordering::SeqCst) == 0;
        lost.then(|| RemoteError::new(RemoteErrorKind::Unavailable, "the answer is lost"))
    });
    let node = node_before(Arc::new(FailingRemote::new(bucket, faults)), |_| {}).await;
    let create = PutOptions::default().conditions(Conditions::absent());
    let error = node.put_key(&key("k"), "made", create).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(read(&node, "k").await.unwrap(), b"made");
}

#[tokio::test(start_paused = true)]
async fn what_is_here_is_served_while_the_bucket_is_down() {
    let bucket = bucket();
    write(&bucket, "known", b"known").await;
    let (down, remote) = failing(&bucket, RemoteErrorKind::Unavailable);
    let node = node_before(remote, |_| {}).await;
    assert_eq!(read(&node, "known").await.unwrap(), b"known");
    down.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        tokio::time::sleep(TTL).await;
        assert_eq!(read(&node, "known").await.unwrap(), b"known", "stale is better than nothing");
        for (name, options) in [("known", no_cache()), ("unknown", GetOptions::default())] {
            let error = read_with(&node, name, options).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{name}");
            assert!(error.retry_after().is_some());
        }
        let error = node.put_key(&key("known"), "x", PutOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(node.list_keys(KeyListOptions::default()).await.is_err());
    }
    down.store(false, Ordering::SeqCst);
    write(&bucket, "known", b"newer").await;
    tokio::time::sleep(TTL).await;
    assert_eq!(read(&node, "known").await.unwrap(), b"newer");
}

/// A bucket that takes questions and answers none is waited for by one reader, not by all.
#[tokio::test(start_paused = true)]
async fn a_silent_bucket_holds_up_nobody_who_has_a_copy() {
    let bucket = bucket();
    let keys: Vec<_> = (0..10).map(|n| format!("known {n}")).collect();
    for name in &keys {
        write(&bucket, name, b"known").await;
    }
    // What is not here is asked for with its first bytes, what is here is only looked at.
    let gate = Gate::shut(|call| call.kind == CallKind::Head);
    let node = node_before(Arc::new(GatedRemote::around(bucket.clone(), gate)), |_| {}).await;
    for name in &keys {
        assert_eq!(read(&node, name).await.unwrap(), b"known");
    }
    for _ in 0..3 {
        tokio::time::sleep(TTL).await;
        // The time of this test goes on only while somebody waits.
        let began = tokio::time::Instant::now();
        for name in &keys {
            assert_eq!(read(&node, name).await.unwrap(), b"known");
        }
        assert!(began.elapsed() <= Duration::from_secs(2), "{:?}", began.elapsed());
    }
}

/// Under an id the bucket keeps the object that was put by it.
#[tokio::test]
async fn an_id_is_no_key_to_write_to() {
    let bucket = bucket();
    let node = served(bucket.clone()).await;
    let id = node.fresh_id();
    let put = Ask::put(&id).field("X-Meta-ConsistencyLevel", "1").body(b"original");
    assert_eq!(node.ask(put).await.status, 200);
    let path = format!("/api/v1/key/{id}");
    node.ask(Ask::new("PUT", &path).body(b"clobber")).await.is_error(400, "invalid-key");
    node.ask(Ask::new("DELETE", &path)).await.is_error(400, "invalid-key");
    assert_eq!(stored_in(&*bucket, &id).await.unwrap(), b"original");
    // What only looks like one is a key like any other.
    let other = format!("/api/v1/key/{}", id.to_lowercase());
    assert_eq!(node.ask(Ask::new("PUT", &other).body(b"x")).await.status, 200);
    let back = Ask::new("PUT", "/api/v1/key/k").field("X-Meta-Write", "back").body(b"x");
    node.ask(back).await.is_error(400, "invalid-request");
}

/// What the bucket says of a key that it does not show us is not "there is none".
#[tokio::test(start_paused = true)]
async fn a_key_that_is_forbidden_is_unknown() {
    let bucket = bucket();
    let (down, remote) = failing(&bucket, RemoteErrorKind::Forbidden);
    let node = node_before(remote, |_| {}).await;
    down.store(true, Ordering::SeqCst);
    assert_eq!(read(&node, "k").await.unwrap_err().kind(), ErrorKind::Unavailable);
    down.store(false, Ordering::SeqCst);
    assert_eq!(read(&node, "k").await.unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn beyond_this_machine_keys_need_a_prefix() {
    let bucket = bucket();
    for name in ["public/a", "private/a"] {
        write(&bucket, name, b"body").await;
    }
    for prefix in [None, Some("public/")] {
        let counting = counted(&bucket);
        let node = node_before(counting.clone(), |settings| {
            settings.fetch_prefixes = prefix.map(str::to_owned).into_iter().collect();
        })
        .await;
        let node = Running::serve(node, Ipv4Addr::UNSPECIFIED).await;
        let asks = |name: &str| {
            let path = format!("/api/v1/key/{name}");
            [
                Ask::new("GET", &path),
                Ask::new("HEAD", &path),
                Ask::new("PUT", &path).body(b"x"),
                Ask::new("DELETE", &path),
                Ask::new("GET", &format!("/api/v1/get/{name}")).field("X-Meta-Fetch", "1"),
                Ask::new("GET", &format!("/api/v1/get/{name}?fetch=1")),
                Ask::new("GET", &format!("/api/v1/keys?prefix={name}")),
            ]
        };
        let mut refused: Vec<Ask> = asks("private/a").into();
        refused.push(Ask::new("GET", "/api/v1/keys"));
        refused.push(Ask::new("GET", "/api/v1/keys?prefix=pub"));
        refused.push(Ask::new("GET", "/api/v1/key/Public/a"));
        let copy = Ask::new("PUT", "/api/v1/key/public/b");
        refused.push(copy.field("X-Meta-Copy-From", "private/a"));
        if prefix.is_none() {
            refused.extend(asks("public/a"));
        }
        // The host itself reads a key, by whose id nobody else may.
        let meta = node.node.head_key(&key("private/a"), GetOptions::default()).await.unwrap();
        read(&node.node, "private/a").await.unwrap();
        refused.push(Ask::get(&meta.id.to_string()));
        refused.push(Ask::get(&meta.id.to_string()).method("HEAD"));
        refused.push(Ask::new("GET", &format!("/api/v1/meta/{}", meta.id)));
        refused.push(Ask::new("GET", "/api/v1/get/private/a"));
        counting.reset();
        for ask in refused {
            let reply = node.ask(ask.clone()).await;
            assert_eq!(reply.status, 403, "{ask:?}: {reply:?}");
        }
        assert_eq!(counting.all_calls(), 0);
        if prefix.is_some() {
            let reply = node.get("/api/v1/key/public/a").await;
            assert_eq!((reply.status, reply.text()), (200, "body"));
            let by_id = node.ask(Ask::get(reply.must("x-meta-id"))).await;
            assert_eq!(by_id.status, 200);
            assert_eq!(node.get("/api/v1/keys?prefix=public/").await.status, 200);
        }
    }
}

/// After a restart what is here is asked about, and not fetched again; also the way of the original.
#[tokio::test(start_paused = true)]
async fn a_restart_keeps_what_is_cached() {
    let bucket = bucket();
    write(&bucket, "k", &pattern(200_000)).await;
    let (mut disk, mut store) =
        (Arc::new(MemoryDisk::with_steps(kept())), Arc::new(MemoryJournal::with_steps(kept())));
    let counting = counted(&bucket);
    let mut start = async || {
        let mut env = Env::default();
        env.clock = Arc::new(support::TokioClock);
        (disk, store) = next(&disk, &store);
        env.disk = Some(disk.clone());
        env.journal = Some(store.clone());
        Node::builder().env(env).remote(counting.clone()).start().await.unwrap()
    };
    let node = start().await;
    assert!(read(&node, "k").await.unwrap() == pattern(200_000));
    node.shutdown().await.unwrap();
    for round in 0..2 {
        counting.reset();
        let node = start().await;
        assert!(read(&node, "k").await.unwrap() == pattern(200_000));
        assert_eq!((counting.calls(CallKind::Head), counting.all_calls()), (1, 1), "{round}");
        node.shutdown().await.unwrap();
    }
    write(&bucket, "k", b"newer").await;
    let node = start().await;
    assert_eq!(read(&node, "k").await.unwrap(), b"newer", "it was revalidated");
    node.shutdown().await.unwrap();
    bucket.delete("k", RemoteCondition::None).await.unwrap();
    let node = start().await;
    assert_eq!(read(&node, "k").await.unwrap_err().kind(), ErrorKind::NotFound);
    node.shutdown().await.unwrap();
    let node = start().await;
    node.shutdown().await.unwrap();
    assert!(disk.files().is_empty(), "{:?}", disk.files());
}

#[tokio::test]
async fn the_way_of_the_original_still_hits_after_a_restart() {
    let bucket = bucket();
    write(&bucket, "k.txt", b"body").await;
    let (mut disk, mut store) =
        (Arc::new(MemoryDisk::with_steps(kept())), Arc::new(MemoryJournal::with_steps(kept())));
    for round in 0..2 {
        let mut env = Env::default();
        (disk, store) = next(&disk, &store);
        env.disk = Some(disk.clone());
        env.journal = Some(store.clone());
        let node = Node::builder().env(env).remote(bucket.clone()).start().await.unwrap();
        let node = Running::serve(node, Ipv4Addr::LOCALHOST).await;
        let ask = Ask::new("GET", "/api/v1/get/k.txt");
        let ask = if round == 0 { ask.field("X-Meta-Fetch", "1") } else { ask };
        let reply = node.ask(ask).await;
        assert_eq!((reply.status, reply.text()), (200, "body"), "{round}");
        node.stop().await.shutdown().await.unwrap();
    }
}
