//! What somebody who uses a node notices when the bucket behind it fails: a whole node, the AWS SDK
//! and a server that speaks S3, with a proxy in between that breaks what passes.
#![cfg(feature = "s3")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::large_futures
)]

#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/s3_server.rs"]
mod s3_server;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use objstore_core::env::{Entropy, Env};
use objstore_core::options::{
    Conditions, DeleteOptions, GetOptions, KeyListOptions, PutOptions, WriteMode,
};
use objstore_core::remote::{
    RemoteAttributes, RemoteCondition, RemoteStore, S3Conditions, S3Remote, S3Settings,
};
use objstore_core::types::{Level, ObjectId, ObjectKey};
use objstore_core::{Error, ErrorKind, Node, Settings};
use proxy::{ANY, Asked, At, End, Fault, LOST, Proxy, Which};
use s3_server::{ACCESS_KEY, BUCKET, S3Server, SECRET_KEY};
use support::{TokioClock, patiently, pattern, read, settled, stored_in, until};

const UNIT: usize = 64 * 1024;
const MIB: usize = 1 << 20;

/// A bucket, and what stands before it.
struct Bucket {
    server: S3Server,
    proxy: Proxy,
}

/// What is random is a multiple of every longest pause, so that no pause is left to wait for. No two
/// nodes of this process see the same, or they would make the same ids.
#[derive(Debug)]
struct NoPauses;

impl Entropy for NoPauses {
    fn random(&self) -> u128 {
        static DRAWN: AtomicU64 = AtomicU64::new(0);
        let number = DRAWN.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        u128::from(number) * (15_000_000_000 << 26)
    }
}

impl Bucket {
    async fn start() -> Self {
        let server = S3Server::start().await;
        let proxy = Proxy::before(&server.endpoint()).await;
        Self { server, proxy }
    }

    fn remote(&self) -> Arc<S3Remote> {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(self.proxy.endpoint())
            .force_path_style(true)
            .credentials_provider(Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "test"));
        let mut settings = S3Settings::bucket(BUCKET);
        settings.endpoint = Some(self.proxy.endpoint());
        settings.conditions = Some(S3Conditions::All);
        let client = aws_sdk_s3::Client::from_conf(config.build());
        Arc::new(S3Remote::with_client(client, settings).unwrap())
    }

    /// A node in memory, with blocks of one unit.
    async fn node(&self, change: impl FnOnce(&mut Settings)) -> Node {
        self.node_over(self.remote(), change).await
    }

    async fn node_over(&self, remote: Arc<S3Remote>, change: impl FnOnce(&mut Settings)) -> Node {
        let builder = Node::builder().settings(settings(change)).env(env()).in_memory();
        builder.remote(remote).start().await.expect("a node starts, whatever its bucket does")
    }

    /// Puts a body into the bucket through a node of its own.
    async fn stored(&self, body: &[u8]) -> ObjectId {
        let node = self.node(|_| {}).await;
        let id = node.new_id();
        node.put(id, body.to_vec(), through()).await.unwrap();
        node.shutdown().await.unwrap();
        id
    }

    /// Somebody else writes into the bucket.
    async fn write(&self, key: &str, body: &[u8]) {
        let (none, plain) = (RemoteCondition::None, RemoteAttributes::default());
        self.server.store().put(key, body.to_vec().into(), &plain, none).await.unwrap();
    }

    async fn holds(&self, key: &str) -> Option<Vec<u8>> {
        stored_in(&*self.server.store(), key).await
    }

    async fn has_no_upload(&self) {
        until("no upload stays in the bucket", async || {
            self.server.store().uploads("").await.unwrap().is_empty()
        })
        .await;
    }
}

fn settings(change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = Settings::default();
    settings.fill.block_bytes = UNIT as u64;
    change(&mut settings);
    settings
}

fn env() -> Env {
    let mut env = Env::default();
    env.clock = Arc::new(TokioClock);
    env.entropy = Arc::new(NoPauses);
    env
}

fn through() -> PutOptions {
    PutOptions::default().level(Level::Remote).write(WriteMode::Through)
}

fn back() -> PutOptions {
    PutOptions::default().level(Level::Remote).write(WriteMode::Back)
}

fn absent() -> PutOptions {
    PutOptions::default().conditions(Conditions::absent())
}

fn key(text: &str) -> ObjectKey {
    ObjectKey::new(text).unwrap()
}

async fn fetch(node: &Node, id: ObjectId) -> Result<Vec<u8>, Error> {
    let object = node.get(id, GetOptions::default().fetch()).await?;
    Ok(object.body.collect(usize::MAX).await?.to_vec())
}

async fn read_key(node: &Node, name: &str) -> Result<Vec<u8>, Error> {
    let object = node.get_key(&key(name), GetOptions::default()).await?;
    Ok(object.body.collect(usize::MAX).await?.to_vec())
}

/// The clock of tokio goes on by this much.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// Without the bytes in the test's output.
fn failure(result: Result<Vec<u8>, Error>, what: &str) -> Error {
    match result {
        Ok(got) => panic!("{what}: {} bytes", got.len()),
        Err(error) => error,
    }
}

fn is_unavailable(error: &Error, what: &str) {
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{what}: {error}");
    assert!(error.retry_after().is_some(), "{what}: {error}");
}

/// What S3 sends when it does not do something.
fn refusal(status: &str, code: &str, fields: &str) -> Fault {
    let body = format!("<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code></Error>");
    answer(status, fields, &body)
}

fn answer(status: &str, fields: &str, body: &str) -> Fault {
    let len = body.len();
    Fault::Answer(format!(
        "HTTP/1.1 {status}\r\nContent-Length: {len}\r\nConnection: close\r\n{fields}\r\n{body}"
    ))
}

const GETS: Which = |asked| asked.is("GET");
const PUTS: Which = |asked| asked.is("PUT");
const COMPLETES: Which = |asked: &Asked| asked.is("POST") && asked.target.contains("uploadId");
const BEGINS: Which = |asked: &Asked| asked.is("POST") && !asked.target.contains("uploadId");

#[tokio::test]
async fn what_passes_the_proxy_is_right() {
    let bucket = Bucket::start().await;
    let node = bucket.node(|settings| settings.uploads.part_bytes = 5 << 20).await;
    for len in [0, 9, 200_000, 11 * MIB] {
        let (id, body) = (node.new_id(), pattern(len));
        node.put(id, body.clone(), through()).await.unwrap();
        let fresh = bucket.node(|settings| settings.fill.block_bytes = 8 << 20).await;
        assert!(fetch(&fresh, id).await.unwrap() == body, "{len}");
        node.put_key(&key("k"), body.clone(), PutOptions::default()).await.unwrap();
        assert!(read_key(&fresh, "k").await.unwrap() == body, "{len}");
    }
    let listed = node.list_keys(KeyListOptions::default()).await.unwrap();
    assert_eq!(listed.entries.len(), 5);
    node.delete_key(&key("k"), DeleteOptions::default()).await.unwrap();
    assert_eq!(bucket.holds("k").await, None);
    assert_eq!(bucket.proxy.met(), 0);
}

#[tokio::test]
async fn a_reply_cut_at_any_byte_is_gone_on_with() {
    let bucket = Bucket::start().await;
    let body = pattern(3 * UNIT - 1000);
    let id = bucket.stored(&body).await;
    bucket.write("k", &body).await;
    let remote = bucket.remote();
    let edges = [0, 1, 2, 4095, 4096, 16_384, UNIT - 1001, UNIT - 1000, UNIT - 999, UNIT - 1];
    let others = (0..90).map(|n| (n * 739) % UNIT);
    let (mut met, mut wrong) = (0, Vec::new());
    for (n, at) in edges.into_iter().chain(others).enumerate() {
        for end in [End::Close, End::Reset] {
            for at in [At::Body(at), At::Head(at % 900)] {
                bucket.proxy.mend();
                bucket.proxy.after(n % 3, GETS, Fault::Cut(at, end));
                let node = bucket.node_over(Arc::clone(&remote), |_| {}).await;
                let got = match n % 2 {
                    0 => fetch(&node, id).await,
                    _ => read_key(&node, "k").await,
                };
                if !got.as_ref().is_ok_and(|got| *got == body) {
                    let told = got.map(|got| (got.len(), body.starts_with(&got)));
                    wrong.push((n, at, end, told.map_err(|e| e.to_string())));
                }
                met += bucket.proxy.met();
                // Whatever came is here, and is right.
                let again = match n % 2 {
                    0 => read(&node, id).await,
                    _ => read_key(&node, "k").await,
                };
                assert!(again.unwrap() == body, "{n} {at:?} {end:?}");
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
    assert_eq!(met, 400);
}

#[tokio::test]
async fn a_reply_that_is_cut_each_time_is_an_error_and_nothing_stays_of_it() {
    let bucket = Bucket::start().await;
    let body = pattern(3 * UNIT);
    let id = bucket.stored(&body).await;
    bucket.write("k", &body).await;
    let remote = bucket.remote();
    // Each try goes on where the last broke off, so four of these do not make a unit.
    for at in [0, 1, 1000, UNIT / 4 - 1] {
        for (end, whole) in [(End::Close, 0), (End::Reset, 0), (End::Close, 1), (End::Reset, 2)] {
            for by_key in [false, true] {
                bucket.proxy.mend();
                // The first replies come whole, all after them are cut.
                bucket.proxy.next(whole, GETS, Fault::Pass);
                bucket.proxy.all(GETS, Fault::Cut(At::Body(at), end));
                let node = bucket.node_over(Arc::clone(&remote), |_| {}).await;
                let get = async || match by_key {
                    false => fetch(&node, id).await,
                    true => read_key(&node, "k").await,
                };
                let what = format!("{at} {end:?} {whole} {by_key}");
                for _ in 0..2 {
                    is_unavailable(&failure(get().await, &what), &what);
                }
                bucket.proxy.down().await;
                is_unavailable(&failure(get().await, &what), &what);
                bucket.proxy.up().await;
                bucket.proxy.mend();
                assert!(get().await.expect(&what) == body, "{what}");
            }
        }
    }
}

#[tokio::test]
async fn a_reply_that_stands_still_is_asked_for_anew() {
    let bucket = Bucket::start().await;
    let body = pattern(3 * UNIT);
    bucket.write("k", &body).await;
    for at in [0, 1, UNIT - 1] {
        bucket.proxy.mend();
        bucket.proxy.after(1, GETS, Fault::Cut(At::Body(at), End::Hang));
        let node = bucket.node(|settings| settings.fill.stall_timeout_ms = 100).await;
        let got = patiently("the rest is asked for", read_key(&node, "k")).await;
        assert!(got.unwrap() == body, "{at}");
        assert_eq!(bucket.proxy.met(), 1);
    }
}

/// How a bucket is down.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Down {
    Refused,
    /// It takes connections and requests, and says nothing.
    Silent,
    /// It answers 503.
    Busy,
}

impl Bucket {
    async fn goes_down(&self, how: Down) {
        match how {
            Down::Refused => self.proxy.down().await,
            Down::Silent => {
                self.proxy.all(ANY, Fault::BlackHole);
                // Only deadlines end what is asked of it: they come at once.
                tokio::time::pause();
            }
            Down::Busy => self.proxy.all(ANY, refusal("503 Slow Down", "SlowDown", "")),
        }
    }

    async fn comes_back(&self, how: Down) {
        if how == Down::Silent {
            tokio::time::resume();
        }
        self.proxy.up().await;
        self.proxy.mend();
    }
}

#[tokio::test]
async fn a_node_goes_on_while_the_bucket_is_down() {
    for how in [Down::Refused, Down::Silent, Down::Busy] {
        let bucket = Bucket::start().await;
        let (small, large) = (b"small".to_vec(), pattern(2 * UNIT + 5));
        let unknown = bucket.stored(b"only in the bucket").await;
        bucket.write("k", &large).await;
        bucket.write("other", &large).await;
        let node = bucket.node(|_| {}).await;
        let (old, cached) = (node.new_id(), bucket.stored(&large).await);
        node.put(old, small.clone(), through()).await.unwrap();
        assert!(fetch(&node, cached).await.unwrap() == large);
        assert!(read_key(&node, "k").await.unwrap() == large);
        let before = node.head(old).await.unwrap();

        bucket.goes_down(how).await;
        let booted = bucket.node(|_| {}).await;
        for node in [&node, &booted] {
            let what = format!("{how:?}");
            // Level 0.
            let id = node.new_id();
            node.put(id, large.clone(), PutOptions::default()).await.expect(&what);
            assert!(read(node, id).await.expect(&what) == large, "{what}");
            node.delete(id, DeleteOptions::default()).await.expect(&what);
            // What the bucket alone knows.
            is_unavailable(&fetch(node, unknown).await.unwrap_err(), &what);
            let head = node.head_key(&key("other"), GetOptions::default()).await;
            is_unavailable(&head.unwrap_err(), &what);
            is_unavailable(&read_key(node, "never").await.unwrap_err(), &what);
            is_unavailable(&node.list_keys(KeyListOptions::default()).await.unwrap_err(), &what);
            let put = node.put_key(&key("new"), "x", PutOptions::default()).await;
            is_unavailable(&put.unwrap_err(), &what);
            let deleted = node.delete_key(&key("k"), DeleteOptions::default()).await;
            is_unavailable(&deleted.unwrap_err(), &what);
            // Level 1, through.
            let new = node.new_id();
            is_unavailable(&node.put(new, "new", through()).await.unwrap_err(), &what);
            assert_eq!(read(node, new).await.unwrap_err().kind(), ErrorKind::NotFound, "{what}");
        }
        is_unavailable(&node.put(old, "newer", through()).await.unwrap_err(), "an overwrite");
        assert_eq!(
            (read(&node, old).await.unwrap(), node.head(old).await.unwrap()),
            (small, before)
        );
        // What is here stays readable, however long it is since the bucket was asked.
        for _ in 0..2 {
            assert!(read(&node, cached).await.unwrap() == large, "{how:?}");
            assert!(read_key(&node, "k").await.unwrap() == large, "{how:?}");
            if how != Down::Silent {
                pass(Duration::from_secs(11)).await;
            }
        }
        // Written back.
        let waiting: Vec<_> = (0..20).map(|n| (node.new_id(), pattern(n * 10_000))).collect();
        for (id, body) in &waiting {
            let meta = node.put(*id, body.clone(), back()).await.unwrap();
            assert!(meta.is_pending);
            assert!(read(&node, *id).await.unwrap() == *body);
        }
        assert_eq!(node.stats().uploads.queued, 20);

        bucket.comes_back(how).await;
        settled(&node).await;
        for (id, body) in &waiting {
            assert!(bucket.holds(&id.to_string()).await.as_ref() == Some(body), "{how:?}");
            assert!(!node.head(*id).await.unwrap().is_pending);
        }
        assert_eq!(fetch(&booted, unknown).await.unwrap(), b"only in the bucket");
        assert!(read_key(&booted, "k").await.unwrap() == large);
        node.put(old, "newest", through()).await.unwrap();
        assert_eq!(bucket.holds(&old.to_string()).await.unwrap(), b"newest");
        booted.shutdown().await.unwrap();
    }
}

#[tokio::test]
async fn what_waits_outlives_a_restart_while_the_bucket_is_down() {
    let bucket = Bucket::start().await;
    let dir = tempfile::tempdir().unwrap();
    let start = async || {
        let builder = Node::builder()
            .settings(settings(|_| {}))
            .env(env())
            .state_dir(dir.path().join("state"))
            .files_dir(dir.path().join("files"));
        builder.remote(bucket.remote()).start().await.expect("the bucket is down, the node is not")
    };
    bucket.proxy.down().await;
    let mut ids = Vec::new();
    for round in 0..3 {
        let node = start().await;
        for len in [10, 100_000] {
            let (id, body) = (node.new_id(), pattern(len + round));
            node.put(id, body.clone(), back()).await.unwrap();
            ids.push((id, body));
        }
        assert_eq!(node.stats().uploads.queued, ids.len() as u64);
        node.shutdown().await.unwrap();
    }
    bucket.proxy.up().await;
    let node = start().await;
    settled(&node).await;
    for (id, body) in ids {
        assert!(bucket.holds(&id.to_string()).await.unwrap() == body);
        assert!(read(&node, id).await.unwrap() == body);
        assert!(!node.head(id).await.unwrap().is_pending);
    }
    node.shutdown().await.unwrap();
}

#[tokio::test]
async fn forbidden_is_unknown_and_not_absent() {
    let bucket = Bucket::start().await;
    let id = bucket.stored(b"there").await;
    bucket.write("k", b"there").await;
    bucket.proxy.all(ANY, refusal("403 Forbidden", "AccessDenied", ""));
    let node = bucket.node(|_| {}).await;
    is_unavailable(&fetch(&node, id).await.unwrap_err(), "get");
    is_unavailable(&node.head_key(&key("k"), GetOptions::default()).await.unwrap_err(), "head");
    is_unavailable(&read_key(&node, "k").await.unwrap_err(), "a key");
    is_unavailable(&node.put(id, "x", through()).await.unwrap_err(), "put");
    is_unavailable(&node.list_keys(KeyListOptions::default()).await.unwrap_err(), "list");
    bucket.proxy.mend();
    assert_eq!(fetch(&node, id).await.unwrap(), b"there");
    assert_eq!(read_key(&node, "k").await.unwrap(), b"there");
}

#[tokio::test]
async fn only_no_such_key_is_absent_and_that_not_for_long() {
    let bucket = Bucket::start().await;
    let id = bucket.stored(b"there").await;
    bucket.write("k", b"there").await;
    let node = bucket.node(|_| {}).await;
    // A bucket that is gone says nothing about objects.
    bucket.proxy.all(ANY, refusal("404 Not Found", "NoSuchBucket", ""));
    is_unavailable(&fetch(&node, id).await.unwrap_err(), "no bucket");
    is_unavailable(&read_key(&node, "k").await.unwrap_err(), "no bucket");
    bucket.proxy.mend();
    bucket.proxy.all(ANY, refusal("404 Not Found", "NoSuchKey", ""));
    assert_eq!(fetch(&node, id).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(read_key(&node, "k").await.unwrap_err().kind(), ErrorKind::NotFound);
    bucket.proxy.mend();
    assert_eq!(fetch(&node, id).await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(read_key(&node, "k").await.unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(bucket.proxy.asked(ANY), 0, "it was asked a moment ago");
    pass(Duration::from_secs(3)).await;
    assert_eq!(fetch(&node, id).await.unwrap(), b"there");
    assert_eq!(read_key(&node, "k").await.unwrap(), b"there");
}

#[tokio::test]
async fn a_condition_that_does_not_hold_is_told() {
    let bucket = Bucket::start().await;
    let node = bucket.node(|_| {}).await;
    bucket.proxy.all(PUTS, refusal("412 Precondition Failed", "PreconditionFailed", ""));
    let put = node.put_key(&key("k"), "new", absent()).await;
    assert_eq!(put.unwrap_err().kind(), ErrorKind::PreconditionFailed);
    assert_eq!(bucket.proxy.asked(PUTS), 1, "it is not tried again");
    bucket.proxy.mend();
    node.put_key(&key("k"), "new", absent()).await.unwrap();
    let put = node.put_key(&key("k"), "newer", absent()).await;
    assert_eq!(put.unwrap_err().kind(), ErrorKind::PreconditionFailed);
    assert_eq!(bucket.holds("k").await.unwrap(), b"new");
}

#[tokio::test]
async fn what_passes_over_is_tried_again() {
    for (status, code, fields) in [
        ("429 Too Many Requests", "TooManyRequests", ""),
        ("503 Slow Down", "SlowDown", ""),
        ("503 Service Unavailable", "ServiceUnavailable", ""),
        ("500 Internal Server Error", "InternalError", ""),
    ] {
        let bucket = Bucket::start().await;
        let unknown = bucket.stored(b"there").await;
        let node = bucket.node(|_| {}).await;
        let id = node.new_id();
        let fault = || refusal(status, code, fields);
        bucket.proxy.next(3, PUTS, fault());
        node.put(id, "put", through()).await.expect(code);
        assert_eq!(bucket.holds(&id.to_string()).await.unwrap(), b"put", "{code}");
        bucket.proxy.next(3, PUTS, fault());
        node.put_key(&key("k"), "put", PutOptions::default()).await.expect(code);
        bucket.proxy.next(3, ANY, fault());
        assert_eq!(fetch(&node, unknown).await.expect(code), b"there");
        bucket.proxy.next(3, ANY, fault());
        assert_eq!(read_key(&node, "k").await.expect(code), b"put");
        bucket.proxy.next(3, ANY, fault());
        node.list_keys(KeyListOptions::default()).await.expect(code);
        assert_eq!(bucket.proxy.met(), 15);
        bucket.proxy.all(PUTS, fault());
        let told = node.put(id, "never", through()).await.unwrap_err();
        is_unavailable(&told, code);
        assert_eq!(read(&node, id).await.unwrap(), b"put", "{code}");
    }
}

#[tokio::test]
async fn a_bucket_that_names_a_time_is_not_asked_before() {
    let bucket = Bucket::start().await;
    let node = bucket.node(|_| {}).await;
    let fault = refusal("429 Too Many Requests", "TooManyRequests", "Retry-After: 1\r\n");
    bucket.proxy.next(1, PUTS, fault);
    let began = tokio::time::Instant::now();
    node.put(node.new_id(), "put", through()).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1));
    let fault = refusal("503 Slow Down", "SlowDown", "Retry-After: 1\r\n");
    bucket.proxy.all(ANY, fault);
    let told = node.list_keys(KeyListOptions::default()).await.unwrap_err();
    assert_eq!(told.retry_after(), Some(Duration::from_secs(1)));
}

#[tokio::test]
async fn an_error_inside_200_does_not_complete_an_upload() {
    let bucket = Bucket::start().await;
    let node = bucket.node(|settings| settings.uploads.part_bytes = 5 << 20).await;
    let (id, body) = (node.new_id(), pattern(11 * MIB));
    bucket.proxy.all(COMPLETES, refusal("200 OK", "InternalError", ""));
    let told = node.put(id, body.clone(), through()).await.unwrap_err();
    is_unavailable(&told, "the upload was not completed");
    assert!(bucket.proxy.asked(COMPLETES) > 1, "it is tried again");
    settled(&node).await;
    bucket.has_no_upload().await;
    assert_eq!(bucket.holds(&id.to_string()).await, None);
    assert_eq!(read(&node, id).await.unwrap_err().kind(), ErrorKind::NotFound);
    // Written back, it is here and waits.
    node.put(id, body.clone(), back()).await.unwrap();
    until("it was tried", async || node.stats().uploads.failing == 1).await;
    assert!(read(&node, id).await.unwrap() == body);
    bucket.proxy.mend();
    settled(&node).await;
    assert!(bucket.holds(&id.to_string()).await.unwrap() == body);
    bucket.has_no_upload().await;
    // Passing over.
    let id = node.new_id();
    bucket.proxy.next(2, COMPLETES, refusal("200 OK", "InternalError", ""));
    node.put(id, body.clone(), through()).await.unwrap();
    assert!(bucket.holds(&id.to_string()).await.unwrap() == body);
    bucket.has_no_upload().await;
}

#[tokio::test]
async fn a_put_whose_answer_is_lost_is_looked_for() {
    for lost in [LOST, Fault::Cut(At::Head(40), End::Close)] {
        for len in [3, 11 * MIB] {
            let bucket = Bucket::start().await;
            let node = bucket.node(|settings| settings.uploads.part_bytes = 5 << 20).await;
            let (id, body) = (node.new_id(), pattern(len));
            let which = if len > MIB { COMPLETES } else { PUTS };
            // Once: it is found out who made it.
            bucket.proxy.next(1, which, lost.clone());
            let meta = node.put(id, body.clone(), through()).await.unwrap();
            assert!(!meta.is_pending);
            assert!(bucket.holds(&id.to_string()).await.unwrap() == body);
            // Over what was there.
            let newer = pattern(len + 1);
            bucket.proxy.next(1, which, lost.clone());
            node.put(id, newer.clone(), through()).await.unwrap();
            assert!(bucket.holds(&id.to_string()).await.unwrap() == newer);
            assert!(read(&node, id).await.unwrap() == newer);
            // And nobody can look: unknown, until somebody can.
            let other = node.new_id();
            bucket.proxy.all(ANY, lost.clone());
            is_unavailable(&node.put(other, body.clone(), through()).await.unwrap_err(), "lost");
            let made = bucket.holds(&other.to_string()).await.is_some();
            bucket.proxy.mend();
            settled(&node).await;
            match made {
                true => assert!(read(&node, other).await.unwrap() == body),
                false => {
                    assert_eq!(read(&node, other).await.unwrap_err().kind(), ErrorKind::NotFound);
                }
            }
            assert_eq!(made, len == 3, "parts were never begun");
        }
    }
}

#[tokio::test]
async fn a_conditional_put_of_a_key_whose_answer_is_lost_is_unknown() {
    let bucket = Bucket::start().await;
    let node = bucket.node(|_| {}).await;
    bucket.proxy.next(1, PUTS, LOST);
    // The second finds what the first made.
    let told = node.put_key(&key("k"), "mine", absent()).await.unwrap_err();
    is_unavailable(&told, "its own object is in the way");
    assert_eq!(bucket.holds("k").await.unwrap(), b"mine");
    assert_eq!(read_key(&node, "k").await.unwrap(), b"mine");
    // Without a condition it is made twice, which makes no difference.
    bucket.proxy.next(1, PUTS, LOST);
    node.put_key(&key("k"), "mine too", PutOptions::default()).await.unwrap();
    assert_eq!(read_key(&node, "k").await.unwrap(), b"mine too");
    bucket.proxy.all(PUTS, LOST);
    let put = node.put_key(&key("k"), "who knows", PutOptions::default()).await;
    is_unavailable(&put.unwrap_err(), "lost");
    assert_eq!(read_key(&node, "k").await.unwrap(), b"who knows", "what was here is asked about");
    bucket.proxy.mend();
    bucket.proxy.next(1, |asked| asked.is("DELETE"), LOST);
    node.delete_key(&key("k"), DeleteOptions::default()).await.unwrap();
    assert_eq!(bucket.holds("k").await, None);
}

/// Of two versions no unit is alike.
fn versions() -> [Vec<u8>; 3] {
    let old = pattern(10 * UNIT);
    let new = old.iter().map(|byte| !byte).collect();
    [old, new, pattern(7 * UNIT + 3)]
}

#[tokio::test]
async fn an_object_replaced_between_two_blocks_is_never_mixed() {
    let [old, same_size, other_size] = versions();
    for new in [&same_size, &other_size] {
        let bucket = Bucket::start().await;
        bucket.write("k", &old).await;
        let node = bucket.node(|settings| settings.fill.parallel = 1).await;
        // The first block is out: an error.
        let mut object = node.get_key(&key("k"), GetOptions::default()).await.unwrap();
        let mut got = object.body.chunk().await.unwrap().unwrap().to_vec();
        bucket.write("k", new).await;
        let mut told = None;
        while let Some(chunk) = object.body.chunk().await {
            match chunk {
                Ok(chunk) => got.extend_from_slice(&chunk),
                Err(error) => told = Some(error),
            }
        }
        is_unavailable(&told.expect("it does not end as if it were whole"), "replaced");
        assert!(old.starts_with(&got) && got.len() < old.len());
        assert!(read_key(&node, "k").await.unwrap() == *new, "the next reader gets the new one");
        // Nothing is out: the new one, from its first byte.
        let node = bucket.node(|_| {}).await;
        node.head_key(&key("k"), GetOptions::default()).await.unwrap();
        bucket.write("k", &old).await;
        assert!(read_key(&node, "k").await.unwrap() == old);
        // Gone altogether.
        let node = bucket.node(|settings| settings.fill.parallel = 1).await;
        let object = node.get_key(&key("k"), GetOptions::default()).await.unwrap();
        let none = RemoteCondition::None;
        bucket.server.store().delete("k", none).await.unwrap();
        object.body.collect(usize::MAX).await.expect_err("it does not end as if it were whole");
    }
}

/// A server that knows nothing of If-Match.
#[tokio::test]
async fn a_reply_of_another_version_is_not_taken() {
    let body = pattern(3 * UNIT);
    let wrong = "w".repeat(UNIT);
    let (start, end, size) = (UNIT, 2 * UNIT - 1, 3 * UNIT);
    let range = |size: usize| format!("Content-Range: bytes {start}-{end}/{size}\r\n");
    let bucket = Bucket::start().await;
    bucket.write("k", &body).await;
    let etag = bucket.server.store().head("k").await.unwrap().etag;
    let tag = |tag: &str| format!("ETag: \"{tag}\"\r\n");
    let moved = format!("Content-Range: bytes 0-{}/{size}\r\n", UNIT - 1);
    for (what, status, fields, passes) in [
        ("etag", "206 Partial Content", format!("{}{}", tag("another"), range(size)), false),
        ("size", "206 Partial Content", format!("{}{}", tag(&etag), range(size + 1)), true),
        ("range", "206 Partial Content", format!("{}{moved}", tag(&etag)), true),
        ("no range", "206 Partial Content", tag(&etag), false),
        ("no etag", "206 Partial Content", range(size), true),
        ("whole", "200 OK", tag(&etag), false),
    ] {
        let fault = answer(status, &fields, &wrong);
        for times in [1, usize::MAX] {
            bucket.proxy.mend();
            bucket.proxy.next(1, GETS, Fault::Pass);
            bucket.proxy.next(times, GETS, fault.clone());
            let node = bucket.node(|settings| settings.fill.parallel = 1).await;
            match read_key(&node, "k").await {
                Ok(got) => assert!(got == body && passes && times == 1, "{what} {times}"),
                Err(error) => {
                    // A server that knows no ranges is not asked again.
                    match what {
                        "no range" | "whole" => {
                            assert_eq!(error.kind(), ErrorKind::RemoteRefused, "{what}: {error}");
                        }
                        _ => is_unavailable(&error, what),
                    }
                    assert!(!passes || times > 1, "{what}: {error}");
                }
            }
            assert!(bucket.proxy.met() > 0);
            bucket.proxy.mend();
            // What was begun with is given up in the background, and read anew after that.
            until("it is read anew", async || match read_key(&node, "k").await {
                Ok(got) => {
                    assert!(got == body, "{what}: nothing wrong was kept");
                    true
                }
                Err(error) => {
                    is_unavailable(&error, what);
                    false
                }
            })
            .await;
        }
    }
}

/// The answer that names an upload is lost, so that nobody but the bucket knows of it: it is looked
/// for there, and given up.
#[tokio::test]
async fn an_upload_whose_beginning_is_lost_does_not_stay_in_the_bucket() {
    let bucket = Bucket::start().await;
    let node = bucket.node(|settings| settings.uploads.part_bytes = 5 << 20).await;
    let (id, body) = (node.new_id(), pattern(11 * MIB));
    bucket.proxy.next(1, BEGINS, LOST);
    node.put(id, body.clone(), through()).await.unwrap();
    assert!(bucket.holds(&id.to_string()).await.unwrap() == body);
    until("it is given up", async || bucket.server.store().uploads("").await.unwrap().is_empty())
        .await;
}
