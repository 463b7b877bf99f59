//! Objects that only the bucket has, read through a node that has never heard of them.
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
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use objstore_core::env::Env;
use objstore_core::journal::MemoryJournal;
use objstore_core::options::{ByteRange, DeleteOptions, GetOptions, PutOptions};
use objstore_core::remote::{
    MemoryRemote, RemoteAttributes, RemoteCondition, RemoteError, RemoteErrorKind, RemoteStore,
};
use objstore_core::testing::{
    BodyFault, Call, CallKind, CountingRemote, FailingRemote, Faults, MemoryDisk, Steps,
};
use objstore_core::types::{Level, ObjectId};
use objstore_core::{ErrorKind, Node};
use support::{Ask, Reply, Running, find, node_before, pattern, read, stored_in};

const MIB: usize = 1 << 20;

fn bucket() -> Arc<MemoryRemote> {
    Arc::new(MemoryRemote::new("bucket"))
}

fn counted(bucket: &Arc<MemoryRemote>) -> Arc<CountingRemote> {
    Arc::new(CountingRemote::new(bucket.clone()))
}

async fn served(remote: Arc<dyn RemoteStore>) -> Running {
    Running::serve(node_before(remote, |_| {}).await, Ipv4Addr::LOCALHOST).await
}

fn fetch(id: &str) -> Ask {
    Ask::get(id).field("X-Meta-Fetch", "1")
}

/// Puts a body into the bucket through a node of its own.
async fn stored(bucket: &Arc<MemoryRemote>, body: &[u8]) -> ObjectId {
    let node = node_before(bucket.clone(), |_| {}).await;
    let id = node.new_id();
    node.put(id, body.to_vec(), PutOptions::default().level(Level::Remote)).await.unwrap();
    node.shutdown().await.unwrap();
    id
}

#[tokio::test]
async fn an_object_is_restored_as_it_was_put() {
    let bucket = bucket();
    let first = served(bucket.clone()).await;
    for len in [0, 9, 200_000] {
        let (id, body) = (first.fresh_id(), pattern(len));
        let put = Ask::put(&id)
            .field("X-Meta-Name", "größe.txt")
            .field("X-Meta-UserMeta", r#"{"Author":"bób","lang":"en"," ":"","UPPER-case":"%41 "}"#)
            .field("X-Meta-ConsistencyLevel", "1")
            .body(&body);
        assert_eq!(first.ask(put).await.status, 200);
        let before = first.ask(Ask::get(&id)).await;

        let counting = counted(&bucket);
        let second = served(counting.clone()).await;
        second.ask(Ask::get(&id)).await.is_error(404, "not-found");
        assert_eq!(counting.all_calls(), 0, "nobody asked for it");
        let after = second.ask(fetch(&id)).await;
        assert_eq!((after.status, &after.body), (200, &body));
        let same = |a: &Reply, b: &Reply| {
            for name in [
                "x-meta-id",
                "x-meta-name",
                "x-meta-usermeta",
                "x-meta-consistencylevel",
                "etag",
                "last-modified",
                "content-type",
                "content-length",
                "accept-ranges",
            ] {
                assert_eq!(a.raw(name), b.raw(name), "{name} of {len} bytes");
            }
        };
        same(&before, &after);
        if len > 0 {
            assert_eq!(after.must("x-meta-fetched"), "true");
        }
        let calls = counting.all_calls();
        let again = second.ask(Ask::get(&id)).await;
        assert_eq!((again.status, &again.body), (200, &body));
        assert_eq!(again.header("x-meta-fetched"), None);
        same(&before, &again);
        assert_eq!(counting.all_calls(), calls, "it is here now");
        // And by the query, on a third.
        let third = served(bucket.clone()).await;
        let reply = third.get(&format!("/api/v1/get/{id}?fetch=1")).await;
        assert_eq!((reply.status, &reply.body), (200, &body));
    }
}

#[tokio::test]
async fn meta_and_head_fetch_the_record_alone() {
    let bucket = bucket();
    let id = stored(&bucket, &pattern(300_000)).await.to_string();
    for what in ["meta", "head"] {
        let counting = counted(&bucket);
        let node = served(counting.clone()).await;
        let ask = match what {
            "meta" => Ask::new("GET", &format!("/api/v1/meta/{id}")),
            _ => Ask::get(&id).method("HEAD"),
        };
        assert_eq!(node.ask(ask.clone()).await.status, 404);
        let reply = node.ask(ask.field("X-Meta-Fetch", "1")).await;
        assert_eq!(reply.status, 200, "{what}: {reply:?}");
        match what {
            "meta" => assert_eq!(reply.json()["size"], 300_000),
            _ => assert_eq!(reply.must("content-length"), "300000"),
        }
        assert_eq!((counting.calls(CallKind::Get), counting.calls(CallKind::Head)), (0, 1));
        // The record is ours now, and its body comes without being asked for.
        let reply = node.ask(Ask::get(&id)).await;
        assert_eq!((reply.status, reply.body.len()), (200, 300_000));
        assert_eq!(reply.must("x-meta-fetched"), "true");
    }
}

/// The metadata that the original Go program was seen to write.
#[tokio::test]
async fn what_the_original_wrote_is_read() {
    let bucket = bucket();
    let node = served(bucket.clone()).await;
    let id = node.fresh_id();
    let mut attributes = RemoteAttributes::default();
    attributes.content_type = Some("binary/octet-stream".to_owned());
    attributes.metadata = [
        ("consistency", "1"),
        ("id", id.as_str()),
        ("name", "test.txt"),
        ("size", "9"),
        ("timestamp", "1795341402017790936"),
        ("usermeta-author", "bob"),
        ("usermeta-lang", "en"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    let none = RemoteCondition::None;
    bucket.put(&id, "It works!".into(), &attributes, none).await.unwrap();
    let reply = node.ask(fetch(&id)).await;
    assert_eq!((reply.status, reply.text()), (200, "It works!"));
    assert_eq!(reply.must("x-meta-name"), "test.txt");
    assert_eq!(reply.must("x-meta-usermeta"), r#"{"author":"bob","lang":"en"}"#);
    assert_eq!(reply.must("x-meta-consistencylevel"), "1");
    assert_eq!(reply.must("content-type"), "text/plain; charset=utf-8");
    let meta = node.get(&format!("/api/v1/meta/{id}")).await.json();
    assert_eq!(meta["timestamp"], 1_795_341_402_017_790_936_u64);
    // It can be overwritten, and the bucket has that then.
    let put = Ask::put(&id).body(b"newer");
    assert_eq!(node.ask(put).await.status, 200);
    assert_eq!(stored_in(&*bucket, &id).await.unwrap(), b"newer");
}

#[tokio::test]
async fn a_delete_is_not_undone_by_a_read() {
    let bucket = bucket();
    let id = stored(&bucket, b"It works!").await.to_string();
    let node = served(bucket.clone()).await;
    assert_eq!(node.ask(fetch(&id)).await.status, 200);
    let delete = Ask::new("POST", &format!("/api/v1/delete/{id}"));
    assert_eq!(node.ask(delete).await.status, 200);
    assert!(stored_in(&*bucket, &id).await.is_some(), "the bucket keeps it");
    for ask in [fetch(&id), fetch(&id).method("HEAD")] {
        let reply = node.ask(ask).await;
        assert_eq!(reply.status, 404);
        assert_eq!(reply.must("x-meta-deleted"), "true");
    }
    let meta = Ask::new("GET", &format!("/api/v1/meta/{id}")).field("X-Meta-Fetch", "1");
    assert_eq!(node.ask(meta).await.json()["is_deleted"], true);
    let put = Ask::put(&id).field("X-Meta-ConsistencyLevel", "1").body(b"back");
    assert_eq!(node.ask(put).await.status, 200);
    assert_eq!(stored_in(&*bucket, &id).await.unwrap(), b"back");
}

#[tokio::test]
async fn a_bucket_that_cannot_be_asked_is_503_and_not_404() {
    for kind in
        [RemoteErrorKind::Forbidden, RemoteErrorKind::Throttled, RemoteErrorKind::Unavailable]
    {
        let bucket = bucket();
        let id = stored(&bucket, b"there").await.to_string();
        let fails = Arc::new(AtomicBool::new(true));
        let failing = Arc::clone(&fails);
        let faults = Faults::default().before(move |_| {
            failing.load(Ordering::SeqCst).then(|| RemoteError::new(kind, "as the test wants it"))
        });
        let node = served(Arc::new(FailingRemote::new(bucket, faults))).await;
        let reply = node.ask(fetch(&id)).await;
        reply.is_error(503, "unavailable");
        assert!(reply.header("retry-after").is_some());
        assert_eq!(node.ask(fetch(&id).method("HEAD")).await.status, 503);
        fails.store(false, Ordering::SeqCst);
        assert_eq!(node.ask(fetch(&id)).await.status, 200, "{kind}: an error is not remembered");
    }
}

#[tokio::test(start_paused = true)]
async fn only_a_true_not_found_is_remembered_and_not_for_long() {
    let bucket = bucket();
    let counting = counted(&bucket);
    let node = node_before(counting.clone(), |_| {}).await;
    let other = node_before(bucket.clone(), |_| {}).await;
    let id = node.new_id();
    let get = async || node.get(id, GetOptions::default().fetch()).await;
    for _ in 0..5 {
        assert_eq!(get().await.unwrap_err().kind(), ErrorKind::NotFound);
    }
    assert_eq!(counting.all_calls(), 1, "it is remembered");
    other.put(id, "there", PutOptions::default().level(Level::Remote)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    let object = get().await.unwrap();
    assert_eq!(object.body.collect(100).await.unwrap(), "there");
}

#[tokio::test(start_paused = true)]
async fn of_64_readers_of_a_cold_object_one_asks() {
    let bucket = bucket();
    let body = pattern(5 * MIB + 12_345);
    let id = stored(&bucket, &body).await;
    let counting = counted(&bucket);
    let block = MIB as u64;
    let node = node_before(counting.clone(), |settings| settings.fill.block_bytes = block).await;
    let readers: Vec<_> = (0..64)
        .map(|_| {
            let node = node.clone();
            tokio::spawn(async move {
                let object = node.get(id, GetOptions::default().fetch()).await.unwrap();
                object.body.collect(usize::MAX).await.unwrap()
            })
        })
        .collect();
    for reader in readers {
        assert!(reader.await.unwrap() == body);
    }
    let mut asked: Vec<_> = counting.gets().into_iter().map(|(_, range)| range.unwrap()).collect();
    asked.sort_by_key(|range| range.start);
    assert_eq!(asked.len(), 6, "{asked:?}");
    for (number, range) in asked.iter().enumerate() {
        assert_eq!(range.start, number as u64 * block);
    }
    assert_eq!(counting.bytes_out(), body.len() as u64);
    assert_eq!(counting.calls(CallKind::Head), 0);
}

#[tokio::test(start_paused = true)]
async fn a_range_asks_for_nothing_but_its_units() {
    let bucket = bucket();
    let body = pattern(3 * MIB + 100);
    let id = stored(&bucket, &body).await;
    let unit = 65_536_u64;
    let size = body.len() as u64;
    let cases = [
        (ByteRange::FromTo(100_000, 100_100), unit..2 * unit),
        (ByteRange::FromTo(unit, 3 * unit - 1), unit..3 * unit),
        (ByteRange::FromTo(unit - 1, unit), 0..2 * unit),
        (ByteRange::From(size - 10), 48 * unit..size),
        (ByteRange::Last(10), 48 * unit..size),
    ];
    for (range, units) in cases {
        let counting = counted(&bucket);
        let node = node_before(counting.clone(), |_| {}).await;
        let options = GetOptions::default().range_of(range).fetch();
        let object = node.get(id, options).await.unwrap();
        let wanted = range.within(size).unwrap();
        let (start, end) = (wanted.start as usize, wanted.end as usize);
        assert_eq!(object.range, wanted);
        assert!(object.body.collect(usize::MAX).await.unwrap() == body[start..end]);
        let gets = counting.gets();
        assert_eq!(gets.len(), 1, "{range:?}: {gets:?}");
        assert_eq!(counting.bytes_out(), units.end - units.start, "{range:?}: {gets:?}");
    }
    // Past the end.
    let node = node_before(bucket, |_| {}).await;
    let past = GetOptions::default().range_of(ByteRange::From(size)).fetch();
    let error = node.get(id, past).await.unwrap_err();
    assert_eq!((error.kind(), error.size()), (ErrorKind::RangeNotSatisfiable, Some(size)));
}

/// A read that may turn out to want nothing does not bring a block of what it does not want.
#[tokio::test]
async fn a_conditional_read_of_a_cold_object_asks_for_little() {
    let bucket = bucket();
    let id = stored(&bucket, &pattern(3 * MIB)).await.to_string();
    let unit = 65_536;
    for (field, value, range, status) in [
        ("If-None-Match", "*", None, 304),
        ("If-Match", "\"other\"", None, 412),
        ("If-Range", "\"other\"", Some("bytes=0-9"), 200),
    ] {
        let counting = counted(&bucket);
        let node = served(counting.clone()).await;
        let mut ask = fetch(&id).field(field, value);
        if let Some(range) = range {
            ask = ask.field("Range", range);
        }
        assert_eq!(node.ask(ask).await.status, status, "{field}");
        if range.is_none() {
            assert!(counting.bytes_out() <= unit, "{field}: {}", counting.bytes_out());
        }
    }
}

trait RangeOf {
    fn range_of(self, range: ByteRange) -> Self;
}

impl RangeOf for GetOptions {
    fn range_of(mut self, range: ByteRange) -> Self {
        self.range = Some(range);
        self
    }
}

/// A whole exchange on a connection that closes behind it: status, declared length, bytes that
/// came. None: closed without an answer.
async fn exchange(node: &Running, id: &str) -> Option<(u16, usize, Vec<u8>)> {
    let mut wire = node.connect().await;
    wire.send(&fetch(id).field("Connection", "close").bytes()).await;
    let all = wire.rest().await;
    let end = find(&all, b"\r\n\r\n")?;
    let head = String::from_utf8(all[..end].to_vec()).unwrap().to_ascii_lowercase();
    assert!(!head.contains("transfer-encoding"), "the length is known: {head}");
    let status = head[9..12].parse().unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    Some((status, length.trim().parse().unwrap(), all[end + 4..].to_vec()))
}

/// Replies that are cut, short, stalled, changed or shifted: once, then mended; and always.
#[tokio::test]
async fn a_broken_reply_never_ends_cleanly_at_a_client() {
    let body = pattern(MIB + 500_000);
    let bucket = bucket();
    let id = stored(&bucket, &body).await.to_string();
    let faults = |at: u64| {
        [
            BodyFault::CutAfter(at),
            BodyFault::EndAfter(at),
            BodyFault::StallAfter(at),
            BodyFault::ETag("another".to_owned()),
            BodyFault::Range(65_536..131_072),
        ]
    };
    for always in [false, true] {
        for at in [0, 1, 65_536, 300_001] {
            for fault in faults(at) {
                let context = format!("{fault:?}, always: {always}");
                let (gets, broken) = (AtomicU64::new(0), fault.clone());
                let script = Faults::default().body(move |call: &Call| {
                    let get = call.kind == CallKind::Get;
                    let now = get && (gets.fetch_add(1, Ordering::SeqCst) == 1 || always);
                    now.then(|| broken.clone())
                });
                let remote = Arc::new(FailingRemote::new(bucket.clone(), script));
                let node = node_before(remote, |settings| {
                    settings.fill.block_bytes = 512 * 1024;
                    settings.fill.stall_timeout_ms = 100;
                })
                .await;
                let node = Running::serve(node, Ipv4Addr::LOCALHOST).await;
                match exchange(&node, &id).await {
                    None => {}
                    Some((200, length, came)) => {
                        assert_eq!(length, body.len(), "{context}");
                        assert!(came == body[..came.len()], "{context}: wrong bytes");
                        // Of another version nothing may follow what was sent of this one.
                        let other = matches!(fault, BodyFault::ETag(_));
                        assert!(always || other || came.len() == length, "{context}: not resumed");
                    }
                    Some((status, length, came)) => {
                        assert!((500..600).contains(&status), "{context}: {status}");
                        assert_eq!(length, came.len(), "{context}");
                        assert!(always, "{context}: not resumed");
                    }
                }
            }
        }
    }
}

/// A body file that is damaged, cut or lost: what the bucket has too comes from there.
#[tokio::test(start_paused = true)]
async fn a_damaged_body_is_healed_from_the_bucket() {
    let body = pattern(300_000);
    for damage in ["flip", "cut", "empty"] {
        for level in [Level::Remote, Level::Local] {
            let disk = Arc::new(MemoryDisk::default());
            let mut env = Env::default();
            env.disk = Some(disk.clone());
            env.journal = Some(Arc::new(MemoryJournal::default()));
            let builder = Node::builder().env(env).memory_bytes(Some(0)).remote(bucket());
            let node = builder.start().await.unwrap();
            let id = node.new_id();
            let options = PutOptions::default().level(level);
            let before = node.put(id, body.clone(), options).await.unwrap();
            // Its other name may go any moment.
            let file = disk.files().into_iter().find(|f| !f.starts_with("staging/")).unwrap();
            disk.damage(&file, |bytes| match damage {
                "flip" => bytes[150_000] ^= 1,
                "cut" => bytes.truncate(100_000),
                _ => bytes.clear(),
            });
            let whole = read(&node, id).await;
            let range = GetOptions::default().range(150_000..=150_010);
            let part = match node.get(id, range).await {
                Ok(object) => object.body.collect(usize::MAX).await,
                Err(error) => Err(error),
            };
            if level == Level::Local {
                assert!(whole.is_err(), "{damage}");
                continue;
            }
            assert!(whole.unwrap() == body, "{damage}");
            assert_eq!(part.unwrap(), body[150_000..=150_010], "{damage}");
            assert_eq!(node.head(id).await.unwrap().etag, before.etag);
            assert!(read(&node, id).await.unwrap() == body, "{damage}: and again");
        }
    }
}

/// A record whose body was never here, and is not in the bucket any more.
#[tokio::test]
async fn a_body_that_is_nowhere_is_said_to_be_lost() {
    let bucket = bucket();
    let id = stored(&bucket, &pattern(100_000)).await.to_string();
    let node = served(bucket.clone()).await;
    assert_eq!(node.ask(fetch(&id).method("HEAD")).await.status, 200);
    bucket.delete(&id, RemoteCondition::None).await.unwrap();
    for ask in [Ask::get(&id), fetch(&id)] {
        node.ask(ask).await.is_error(404, "body-lost");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_fetched_is_there_after_a_restart() {
    let bucket = bucket();
    let body = pattern(200_000);
    let id = stored(&bucket, &body).await;
    let kept = || Steps::stop_before(u64::MAX, true);
    let mut disk = Arc::new(MemoryDisk::with_steps(kept()));
    let mut journal = Arc::new(MemoryJournal::with_steps(kept()));
    let counting = counted(&bucket);
    let mut start = async || {
        disk = Arc::new(disk.after_power_cut(kept()));
        journal = Arc::new(journal.after_power_cut(kept()));
        let mut env = Env::default();
        env.disk = Some(disk.clone());
        env.journal = Some(journal.clone());
        Node::builder().env(env).remote(counting.clone()).start().await.unwrap()
    };
    let node = start().await;
    let object = node.get(id, GetOptions::default().fetch()).await.unwrap();
    assert!(object.body.collect(usize::MAX).await.unwrap() == body);
    node.shutdown().await.unwrap();
    let node = start().await;
    assert!(read(&node, id).await.unwrap() == body, "the record is ours");
    node.delete(id, DeleteOptions::default()).await.unwrap();
    node.shutdown().await.unwrap();
    let node = start().await;
    let error = node.get(id, GetOptions::default().fetch()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Deleted);
}

/// What is brought from the bucket takes disk that the quota counts, after a restart too, and gives
/// it back when the object goes.
#[tokio::test]
async fn what_was_fetched_counts_against_the_quota_until_it_goes() {
    let bucket = bucket();
    let id = stored(&bucket, &pattern(8 * MIB)).await;
    let dir = tempfile::tempdir().unwrap();
    let start = || async {
        let settings = {
            let mut settings = objstore_core::Settings::default();
            settings.state_dir = dir.path().join("state");
            settings.files_dir = dir.path().join("files");
            settings.max_bytes = Some(objstore_core::Settings::MIN_MAX_BYTES);
            settings
        };
        Node::builder().settings(settings).remote(bucket.clone()).start().await.unwrap()
    };
    let used = |node: &Node| node.stats().bodies.bytes_physical;
    let fetched = 8 * MIB as u64;

    let node = start().await;
    let before = used(&node);
    let object = node.get(id, GetOptions::default().fetch()).await.unwrap();
    assert_eq!(object.body.collect(9 * MIB).await.unwrap().len(), 8 * MIB);
    support::until("what was fetched is counted", || async { used(&node) >= before + fetched })
        .await;
    node.shutdown().await.unwrap();
    drop(node);

    let node = start().await;
    support::until("it is counted after a restart", || async { used(&node) >= before + fetched })
        .await;
    node.delete(id, DeleteOptions::default()).await.unwrap();
    support::until("its space came back", || async { used(&node) < before + fetched / 2 }).await;
    node.shutdown().await.unwrap();
}
