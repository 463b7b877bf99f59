//! Objects of level 1 and 2 on their way to the bucket: what an acknowledgement means, what a
//! failure leaves behind, and that nothing is forgotten, whenever the node stops.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::large_futures
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::Ipv4Addr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::Poll;

use objstore_core::env::{Clock, Env, SystemClock};
use objstore_core::journal::MemoryJournal;
use objstore_core::options::{Conditions, DeleteOptions, ListOptions, PutOptions, WriteMode};
use objstore_core::remote::{
    MemoryRemote, RemoteAttributes, RemoteCondition, RemoteError, RemoteErrorKind, RemoteFuture,
    RemoteList, RemoteStore,
};
use objstore_core::testing::{
    Adapted, Around, Call, CallKind, CountingRemote, FailingRemote, Faults, MemoryDisk, Steps,
};
use objstore_core::types::{Level, ObjectId, UserMeta};
use objstore_core::{ErrorKind, Node, Settings};
use support::{
    Ask, Gate, GatedRemote, Running, journal, node_before, pattern, read, settled, stored_in, until,
};

fn through() -> PutOptions {
    PutOptions::default().level(Level::Remote).write(WriteMode::Through)
}

fn back() -> PutOptions {
    PutOptions::default().level(Level::Remote).write(WriteMode::Back)
}

fn bucket() -> Arc<MemoryRemote> {
    Arc::new(MemoryRemote::new("bucket"))
}

fn failed(kind: RemoteErrorKind) -> RemoteError {
    RemoteError::new(kind, "as the test wants it")
}

async fn keys_of(remote: &dyn RemoteStore) -> BTreeSet<String> {
    let mut list = RemoteList::default();
    list.limit = 1000;
    remote.list(list).await.unwrap().entries.into_iter().map(|entry| entry.key).collect()
}

#[tokio::test(start_paused = true)]
async fn a_put_of_level_1_is_in_the_bucket_when_it_is_acknowledged() {
    let bucket = bucket();
    let node = node_before(bucket.clone(), |_| {}).await;
    for (level, body) in [(Level::Remote, pattern(10)), (Level::Full, pattern(200_000))] {
        let id = node.new_id();
        let user_meta = UserMeta::new([("Author", "bób"), ("lang", "en")]).unwrap();
        let mut options = PutOptions::named("größe.txt").unwrap().level(level);
        options = options.user_meta(user_meta).write(WriteMode::Through);
        let meta = node.put(id, body.clone(), options).await.unwrap();
        assert!(!meta.is_pending);
        assert_eq!(meta.consistency, level);
        let head = bucket.head(&id.to_string()).await.unwrap();
        let said = |name: &str| head.attributes.metadata.get(name).cloned().unwrap_or_default();
        assert_eq!(said("id"), id.to_string());
        assert_eq!(said("size"), body.len().to_string());
        assert_eq!(said("timestamp"), meta.timestamp.to_string());
        assert_eq!(said("consistency"), level.to_string());
        assert_eq!(said("name"), "gr%C3%B6%C3%9Fe.txt");
        assert_eq!(said("usermeta-lang"), "en");
        assert!(!said("stamp").is_empty());
        assert_eq!(stored_in(&*bucket, &id.to_string()).await.unwrap(), body);
        assert_eq!(read(&node, id).await.unwrap(), body);
    }
    let local = node.new_id();
    node.put(local, "stays here", PutOptions::default()).await.unwrap();
    assert_eq!(keys_of(&*bucket).await.len(), 2, "level 0 stays here");
}

/// What a bucket that fails each time makes of a put, and of what was there before.
#[tokio::test(start_paused = true)]
async fn a_put_that_the_bucket_does_not_take_changes_nothing() {
    let cases = [
        (RemoteErrorKind::Forbidden, ErrorKind::Unavailable),
        (RemoteErrorKind::Throttled, ErrorKind::Unavailable),
        (RemoteErrorKind::Unavailable, ErrorKind::Unavailable),
        (RemoteErrorKind::Refused, ErrorKind::RemoteRefused),
    ];
    for (met, told) in cases {
        for len in [100, 100_000] {
            let bucket = bucket();
            let fails = Arc::new(AtomicBool::new(false));
            let failing = Arc::clone(&fails);
            let faults = Faults::default().before(move |call| {
                let fails = failing.load(Ordering::SeqCst) && call.kind == CallKind::Put;
                fails.then(|| failed(met))
            });
            let remote = Arc::new(FailingRemote::new(bucket.clone(), faults));
            let node = node_before(remote, |_| {}).await;
            let (old, new) = (node.new_id(), node.new_id());
            node.put(old, "old", through()).await.unwrap();
            let before = node.head(old).await.unwrap();
            fails.store(true, Ordering::SeqCst);
            for id in [old, new] {
                let error = node.put(id, pattern(len), through()).await.unwrap_err();
                assert_eq!(error.kind(), told, "{met}: {error}");
                assert_eq!(error.retry_after().is_some(), told == ErrorKind::Unavailable);
            }
            settled(&node).await;
            assert_eq!(read(&node, old).await.unwrap(), b"old", "{met}");
            assert_eq!(node.head(old).await.unwrap(), before);
            assert_eq!(read(&node, new).await.unwrap_err().kind(), ErrorKind::NotFound);
            assert_eq!(stored_in(&*bucket, &old.to_string()).await.unwrap(), b"old");
            fails.store(false, Ordering::SeqCst);
            node.put(old, "newer", through()).await.unwrap();
            assert_eq!(stored_in(&*bucket, &old.to_string()).await.unwrap(), b"newer");
        }
    }
}

/// The bucket made the change, and nobody heard of it: a HEAD tells.
#[tokio::test(start_paused = true)]
async fn a_put_whose_answer_was_lost_is_found_in_the_bucket() {
    // After the lost answer, the bucket no longer lets us write: what was made stays made.
    for then in
        [RemoteErrorKind::Unavailable, RemoteErrorKind::Forbidden, RemoteErrorKind::Throttled]
    {
        let bucket = bucket();
        let puts = AtomicUsize::new(0);
        let faults = Faults::default()
            .after(|call| {
                (call.kind == CallKind::Put).then(|| failed(RemoteErrorKind::Unavailable))
            })
            .before(move |call| {
                let again = call.kind == CallKind::Put && puts.fetch_add(1, Ordering::SeqCst) > 0;
                again.then(|| failed(then))
            });
        let remote = Arc::new(FailingRemote::new(bucket.clone(), faults));
        let node = node_before(remote, |_| {}).await;
        let id = node.new_id();
        let acknowledged = node.put(id, "made", through()).await;
        if let Err(error) = acknowledged {
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{then}");
            assert_ne!(then, RemoteErrorKind::Unavailable, "a HEAD would have told at once");
        }
        settled(&node).await;
        assert_eq!(stored_in(&*bucket, &id.to_string()).await.unwrap(), b"made");
        assert_eq!(read(&node, id).await.expect("what the bucket has is shown"), b"made", "{then}");
        assert!(!node.head(id).await.unwrap().is_pending);
    }
}

/// What stands in the way of the second try is what the first one made, and a bucket that cannot
/// be asked does not say so: then nobody is told that nothing was stored.
#[tokio::test(start_paused = true)]
async fn a_put_that_may_stand_in_its_own_way_is_of_unknown_outcome() {
    let (bucket, puts, heads) = (bucket(), AtomicUsize::new(0), AtomicUsize::new(0));
    let first = |kind, counter: &AtomicUsize, call: &objstore_core::testing::Call| {
        let hit = call.kind == kind && counter.fetch_add(1, Ordering::SeqCst) == 0;
        hit.then(|| failed(RemoteErrorKind::Unavailable))
    };
    let faults = Faults::default()
        .after(move |call| first(CallKind::Put, &puts, call))
        .before(move |call| first(CallKind::Head, &heads, call));
    let node = node_before(Arc::new(FailingRemote::new(bucket.clone(), faults)), |_| {}).await;
    let id = node.new_id();
    let error = node.put(id, "made", through()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    settled(&node).await;
    assert_eq!(read(&node, id).await.unwrap(), b"made");
}

/// The same in the background: it is found out in the end, and nobody is asked to step in.
#[tokio::test(start_paused = true)]
async fn an_upload_in_the_background_that_stands_in_its_own_way_is_done() {
    let (bucket, puts, heads) = (bucket(), AtomicUsize::new(0), AtomicUsize::new(0));
    let first = |kind, times, counter: &AtomicUsize, call: &objstore_core::testing::Call| {
        let hit = call.kind == kind && counter.fetch_add(1, Ordering::SeqCst) < times;
        hit.then(|| failed(RemoteErrorKind::Unavailable))
    };
    let faults = Faults::default()
        .after(move |call| first(CallKind::Put, 1, &puts, call))
        .before(move |call| first(CallKind::Head, 2, &heads, call));
    let node = node_before(Arc::new(FailingRemote::new(bucket.clone(), faults)), |_| {}).await;
    let id = node.new_id();
    node.put(id, "made", PutOptions::default().level(Level::Remote).write(WriteMode::Back))
        .await
        .unwrap();
    settled(&node).await;
    assert!(!node.head(id).await.unwrap().is_pending);
}

/// A version found in the bucket may come from a node whose clock was ahead.
#[tokio::test]
async fn what_is_put_after_a_version_was_fetched_replaces_it() {
    let bucket = bucket();
    let ahead = node_before(bucket.clone(), |_| {}).await;
    let id = ahead.new_id();
    let mut env = Env::default();
    env.clock = Arc::new(Behind);
    let behind = Node::builder().in_memory().remote(bucket.clone()).env(env).start().await.unwrap();
    ahead.put(id, "first", through()).await.unwrap();
    behind.head_fetched(id).await.unwrap();
    behind.put(id, "second", through()).await.unwrap();
    assert_eq!(read(&behind, id).await.unwrap(), b"second");
    assert_eq!(stored_in(&*bucket, &id.to_string()).await.unwrap(), b"second");
}

#[derive(Debug)]
struct Behind;

impl Clock for Behind {
    fn wall_nanos(&self) -> u64 {
        SystemClock.wall_nanos() - 60_000_000_000
    }

    fn monotonic(&self) -> std::time::Instant {
        SystemClock.monotonic()
    }
}

#[tokio::test(start_paused = true)]
async fn a_put_of_unknown_outcome_is_decided_once_the_bucket_answers() {
    for made in [true, false] {
        let bucket = bucket();
        let down = Arc::new(AtomicBool::new(false));
        let (lost, gone) = (Arc::clone(&down), Arc::clone(&down));
        let unavailable = || Some(failed(RemoteErrorKind::Unavailable));
        let faults = Faults::default()
            .after(move |call| {
                if call.kind == CallKind::Put && made && lost.swap(true, Ordering::SeqCst) {
                    return unavailable();
                }
                (call.kind == CallKind::Put && made).then(|| failed(RemoteErrorKind::Unavailable))
            })
            .before(move |call| {
                if call.kind == CallKind::Put && !made {
                    gone.store(true, Ordering::SeqCst);
                }
                gone.load(Ordering::SeqCst).then(|| failed(RemoteErrorKind::Unavailable))
            });
        let remote = Arc::new(FailingRemote::new(bucket.clone(), faults));
        let node = node_before(remote, |_| {}).await;
        for len in [10, 100_000] {
            let id = node.new_id();
            let error = node.put(id, pattern(len), through()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert_eq!(read(&node, id).await.unwrap_err().kind(), ErrorKind::NotFound);
            assert_eq!(node.stats().uploads.undecided + node.stats().uploads.running, 1);
            down.store(false, Ordering::SeqCst);
            settled(&node).await;
            let found = read(&node, id).await;
            assert_eq!(found.ok(), made.then(|| pattern(len)), "made: {made}");
        }
    }
}

/// Drops a future after so many polls; whether it was ended by then.
async fn dropped_after<F: Future>(polls: usize, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut polled = 0;
    std::future::poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending if polled >= polls => Poll::Ready(None),
        Poll::Pending => {
            polled += 1;
            Poll::Pending
        }
    })
    .await
}

/// Waits until changes that were on their way to the journal are there.
async fn flushed(node: &Node) {
    let id = node.new_id();
    node.put(id, "", PutOptions::default()).await.unwrap();
    node.delete(id, DeleteOptions::default()).await.unwrap();
}

/// A change whose caller goes away at any moment is made whole or not at all, without a restart.
#[tokio::test(start_paused = true)]
async fn a_put_dropped_at_any_moment_is_made_or_not() {
    for (options, len) in [(through(), 100), (through(), 100_000), (back(), 100), (back(), 100_000)]
    {
        for polls in 0.. {
            let bucket = bucket();
            let gate = Gate::shut(|_| true);
            gate.handle().open();
            let remote = Arc::new(GatedRemote::around(bucket.clone(), gate));
            let node = node_before(remote, |_| {}).await;
            let id = node.new_id();
            node.put(id, "old", through()).await.unwrap();
            let physical = node.stats().bodies.bytes_physical;
            let put = node.put(id, pattern(len), options.clone());
            let ended = dropped_after(polls, put).await;
            flushed(&node).await;
            settled(&node).await;
            let context = format!("{:?} of {len} dropped after {polls} polls", options.write);
            let body = read(&node, id).await.unwrap();
            assert!(body == pattern(len) || body == b"old", "{context}");
            assert!(!node.head(id).await.unwrap().is_pending, "{context}: waits for ever");
            let there = stored_in(&*bucket, &id.to_string()).await.unwrap();
            assert_eq!(there, body, "{context}: the bucket has something else");
            if body == b"old" && len > 65_536 {
                until(&context, async || {
                    node.stats().bodies.bytes_physical < physical + len as u64
                })
                .await;
            }
            if ended.is_some() {
                assert_eq!(body, pattern(len));
                break;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_raise_dropped_at_any_moment_is_made_or_not() {
    for write in [WriteMode::Through, WriteMode::Back] {
        for polls in 0.. {
            let bucket = bucket();
            let node = node_before(bucket.clone(), |_| {}).await;
            let id = node.new_id();
            node.put(id, "body", PutOptions::default()).await.unwrap();
            let ended = dropped_after(polls, node.set_level(id, Level::Remote, write)).await;
            flushed(&node).await;
            settled(&node).await;
            let meta = node.head(id).await.unwrap();
            let context = format!("{write:?} dropped after {polls} polls");
            assert!(!meta.is_pending, "{context}: waits for ever");
            if meta.consistency > Level::Local {
                assert_eq!(stored_in(&*bucket, &id.to_string()).await.unwrap(), b"body");
            }
            if ended.is_some() {
                assert_eq!(meta.consistency, Level::Remote);
                break;
            }
        }
    }
}

#[tokio::test]
async fn a_put_written_back_is_pending_until_the_bucket_has_it() {
    let bucket = bucket();
    let gate = Gate::shut(|call| call.kind == CallKind::Put);
    let handle = gate.handle();
    let remote = Arc::new(GatedRemote::around(bucket.clone(), gate));
    let node = Running::serve(node_before(remote, |_| {}).await, Ipv4Addr::LOCALHOST).await;
    let id = node.fresh_id();
    let put = Ask::put(&id)
        .field("X-Meta-ConsistencyLevel", "1")
        .field("X-Meta-Write", "back")
        .body(b"It works!");
    let reply = node.ask(put).await;
    assert_eq!(reply.status, 202, "{reply:?}");
    assert_eq!(reply.must("x-meta-pending"), "true");
    handle.reached(1).await;
    let reply = node.ask(Ask::get(&id)).await;
    assert_eq!((reply.status, reply.text()), (200, "It works!"));
    assert_eq!(reply.must("x-meta-pending"), "true");
    assert_eq!(stored_in(&*bucket, &id).await, None);
    let stats = node.get("/api/v1/stats").await.json();
    assert_eq!(stats["uploads"]["queued"], 1, "{stats}");
    handle.open();
    settled(&node.node).await;
    let reply = node.ask(Ask::get(&id)).await;
    assert_eq!(reply.header("x-meta-pending"), None);
    assert_eq!(stored_in(&*bucket, &id).await.unwrap(), b"It works!");
    // Level 0 has nothing to wait for.
    let local = Ask::put(&node.fresh_id()).field("X-Meta-Write", "back").body(b"here");
    assert_eq!(node.ask(local).await.status, 200);
}

#[tokio::test]
async fn a_bucket_that_fails_is_503_and_one_that_refuses_is_502() {
    let cases = [
        (RemoteErrorKind::Forbidden, 503, "unavailable"),
        (RemoteErrorKind::Refused, 502, "remote-refused"),
    ];
    for (met, status, code) in cases {
        let faults =
            Faults::default().before(move |call| (call.kind == CallKind::Put).then(|| failed(met)));
        let remote = Arc::new(FailingRemote::new(bucket(), faults));
        let node = Running::serve(node_before(remote, |_| {}).await, Ipv4Addr::LOCALHOST).await;
        let id = node.fresh_id();
        let put = Ask::put(&id).field("X-Meta-ConsistencyLevel", "1").body(b"x");
        let reply = node.ask(put).await;
        reply.is_error(status, code);
        assert_eq!(reply.header("retry-after").is_some(), status == 503);
        node.ask(Ask::get(&id)).await.is_error(404, "not-found");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_upload_is_listed_and_can_be_retried_or_dropped() {
    let bucket = bucket();
    let refuses = Arc::new(AtomicBool::new(true));
    let refusing = Arc::clone(&refuses);
    let faults = Faults::default().before(move |call| {
        let refused = call.kind == CallKind::Put && refusing.load(Ordering::SeqCst);
        refused.then(|| failed(RemoteErrorKind::Refused))
    });
    let remote =
        Arc::new(CountingRemote::new(Arc::new(FailingRemote::new(bucket.clone(), faults))));
    let node = node_before(remote.clone(), |_| {}).await;
    let (retried, dropped) = (node.new_id(), node.new_id());
    let refused = async |count: u64| {
        until("it is refused", async || {
            let uploads = node.stats().uploads;
            uploads.refused == count && uploads.running == 0
        })
        .await;
    };
    for id in [retried, dropped] {
        assert!(node.put(id, "body", back()).await.unwrap().is_pending);
    }
    refused(2).await;
    let uploads = node.stats().uploads;
    assert_eq!((uploads.queued, uploads.failing, uploads.failures.len()), (2, 2, 2));
    for failure in &uploads.failures {
        assert!(failure.refused && failure.error.contains("as the test wants it"), "{failure:?}");
        assert_eq!(failure.tries, 1);
    }
    let tried = remote.calls(CallKind::Put);
    tokio::time::sleep(std::time::Duration::from_secs(600)).await;
    assert_eq!(remote.calls(CallKind::Put), tried, "it is not tried again by itself");
    node.retry_upload(retried).await.unwrap();
    until("it is tried again", async || remote.calls(CallKind::Put) > tried).await;
    refused(2).await;
    refuses.store(false, Ordering::SeqCst);
    node.retry_upload(retried).await.unwrap();
    node.drop_upload(dropped).await.unwrap();
    settled(&node).await;
    assert_eq!(stored_in(&*bucket, &retried.to_string()).await.unwrap(), b"body");
    assert_eq!(stored_in(&*bucket, &dropped.to_string()).await, None);
    assert_eq!(read(&node, dropped).await.unwrap(), b"body", "it stays here");
    assert!(node.stats().uploads.failures.is_empty());
    for id in [retried, dropped, node.new_id()] {
        assert_eq!(node.retry_upload(id).await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(node.drop_upload(id).await.unwrap_err().kind(), ErrorKind::NotFound);
    }
}

#[tokio::test]
async fn refused_uploads_are_retried_and_dropped_over_http() {
    let bucket = bucket();
    let refuses = Arc::new(AtomicBool::new(true));
    let refusing = Arc::clone(&refuses);
    let faults = Faults::default().before(move |call| {
        let refused = call.kind == CallKind::Put && refusing.load(Ordering::SeqCst);
        refused.then(|| failed(RemoteErrorKind::Refused))
    });
    let remote = Arc::new(FailingRemote::new(bucket.clone(), faults));
    let node = Running::serve(node_before(remote, |_| {}).await, Ipv4Addr::LOCALHOST).await;
    let ids = [node.fresh_id(), node.fresh_id()];
    for id in &ids {
        let put = Ask::put(id).field("X-Meta-ConsistencyLevel", "1").field("X-Meta-Write", "back");
        assert_eq!(node.ask(put.body(b"body")).await.status, 202);
    }
    until("both are refused", async || node.node.stats().uploads.refused == 2).await;
    let listed = node.get("/api/v1/uploads").await.json();
    assert_eq!(listed["failures"].as_array().unwrap().len(), 2, "{listed}");
    refuses.store(false, Ordering::SeqCst);
    let post = |what: &str, id: &str| Ask::new("POST", &format!("/api/v1/uploads/{what}/{id}"));
    assert_eq!(node.ask(post("retry", &ids[0])).await.status, 202);
    assert_eq!(node.ask(post("drop", &ids[1])).await.status, 200);
    settled(&node.node).await;
    assert_eq!(keys_of(&*bucket).await, BTreeSet::from([ids[0].clone()]));
    node.ask(post("retry", &ids[1])).await.is_error(404, "not-found");
    node.ask(post("drop", "../x")).await.is_error(400, "invalid-id");
    assert_eq!(node.ask(post("drop", &ids[1]).method("GET")).await.status, 405);
}

#[tokio::test]
async fn what_waits_follows_the_object() {
    let bucket = bucket();
    let gate = Gate::shut(|call| call.kind == CallKind::Put);
    let handle = gate.handle();
    let counting = Arc::new(CountingRemote::new(bucket.clone()));
    let remote = Arc::new(GatedRemote::around(counting.clone(), gate));
    // One at a time, and something else is before them, so that all of these wait.
    let node = node_before(remote, |settings| settings.uploads.parallel = 1).await;
    let (first, deleted, overwritten) = (node.new_id(), node.new_id(), node.new_id());
    node.put(first, "first", back()).await.unwrap();
    handle.reached(1).await;
    node.put(deleted, "soon gone", back()).await.unwrap();
    node.put(overwritten, "one", back()).await.unwrap();
    node.put(overwritten, "two", back()).await.unwrap();
    node.put(overwritten, pattern(100_000), back()).await.unwrap();
    assert_eq!(node.stats().uploads.queued, 3);
    node.delete(deleted, DeleteOptions::default()).await.unwrap();
    assert_eq!(node.stats().uploads.queued, 2, "a delete cancels");
    handle.open();
    settled(&node).await;
    assert_eq!(
        keys_of(&*bucket).await,
        BTreeSet::from([first.to_string(), overwritten.to_string()])
    );
    assert_eq!(counting.calls(CallKind::Put), 2, "only the newest version is uploaded");
    assert_eq!(stored_in(&*bucket, &overwritten.to_string()).await.unwrap(), pattern(100_000));

    // A delete leaves the bucket alone unless told otherwise, and may be told so later.
    node.delete(overwritten, DeleteOptions::default()).await.unwrap();
    assert!(stored_in(&*bucket, &overwritten.to_string()).await.is_some());
    let mut purge = DeleteOptions::default();
    purge.purge = true;
    node.delete(overwritten, purge.clone()).await.unwrap();
    assert_eq!(stored_in(&*bucket, &overwritten.to_string()).await, None);
    node.delete(first, purge).await.unwrap();
    assert!(keys_of(&*bucket).await.is_empty());
}

/// A delete that meets its object's upload on the way leaves nothing that a purge would not find.
#[tokio::test]
async fn a_purge_waits_for_an_upload_under_way() {
    let bucket = bucket();
    let gate = Gate::shut(|call| call.kind == CallKind::Put);
    let handle = gate.handle();
    let node = node_before(Arc::new(GatedRemote::around(bucket.clone(), gate)), |_| {}).await;
    for options in [through(), back()] {
        let id = node.new_id();
        let mut purge = DeleteOptions::default();
        purge.purge = true;
        node.put(id, "level 0", PutOptions::default()).await.unwrap();
        let putting = node.clone();
        let put = tokio::spawn(async move { putting.put(id, "body", options).await });
        handle.reached(1).await;
        let deleting = node.clone();
        let delete = tokio::spawn(async move { deleting.delete(id, purge).await });
        tokio::task::yield_now().await;
        handle.open();
        put.await.unwrap().unwrap();
        delete.await.unwrap().unwrap();
        settled(&node).await;
        assert!(keys_of(&*bucket).await.is_empty());
        assert_eq!(read(&node, id).await.unwrap_err().kind(), ErrorKind::Deleted);
    }
}

/// Whoever deletes an object that the bucket never had finds nothing there later.
#[tokio::test]
async fn a_delete_takes_back_an_upload_under_way() {
    let bucket = bucket();
    let gate = Gate::shut(|call| call.kind == CallKind::Put);
    let handle = gate.handle();
    let node = node_before(Arc::new(GatedRemote::around(bucket.clone(), gate)), |_| {}).await;
    let id = node.new_id();
    node.put(id, "body", back()).await.unwrap();
    handle.reached(1).await;
    node.delete(id, DeleteOptions::default()).await.unwrap();
    handle.open();
    until("the upload is over", async || node.stats().uploads.running == 0).await;
    assert!(keys_of(&*bucket).await.is_empty());
    assert_eq!(read(&node, id).await.unwrap_err().kind(), ErrorKind::Deleted);
}

/// An object that gave up its place in the queue gets to the bucket by asking for its level again.
#[tokio::test(start_paused = true)]
async fn a_level_that_does_not_hold_is_raised_again() {
    for (dropped, write) in [
        (true, WriteMode::Through),
        (true, WriteMode::Back),
        (false, WriteMode::Through),
        (false, WriteMode::Back),
    ] {
        let bucket = bucket();
        let refuses = Arc::new(AtomicBool::new(true));
        let refusing = Arc::clone(&refuses);
        let faults = Faults::default().before(move |call| {
            let refused = call.kind == CallKind::Put && refusing.load(Ordering::SeqCst);
            refused.then(|| failed(RemoteErrorKind::Refused))
        });
        let remote = Arc::new(FailingRemote::new(bucket.clone(), faults));
        let node = node_before(remote, |_| {}).await;
        let id = node.new_id();
        node.put(id, "body", back()).await.unwrap();
        until("it is refused", async || node.stats().uploads.refused == 1).await;
        if dropped {
            node.drop_upload(id).await.unwrap();
        }
        refuses.store(false, Ordering::SeqCst);
        let raised = node.set_level(id, Level::Remote, write).await.unwrap();
        assert_eq!(raised.is_pending, write == WriteMode::Back);
        settled(&node).await;
        assert_eq!(stored_in(&*bucket, &id.to_string()).await.unwrap(), b"body");
        assert!(!node.head(id).await.unwrap().is_pending);
    }
}

#[tokio::test]
async fn a_full_queue_is_busy() {
    let gate = Gate::shut(|call| call.kind == CallKind::Put);
    let handle = gate.handle();
    let remote = Arc::new(GatedRemote::around(bucket(), gate));
    let node = node_before(remote, |settings| settings.uploads.queue_max = 2).await;
    let node = Running::serve(node, Ipv4Addr::LOCALHOST).await;
    let put = |level: &str| {
        let ask = Ask::put(&node.fresh_id()).field("X-Meta-ConsistencyLevel", level);
        node.ask(ask.field("X-Meta-Write", "back").body(b"body"))
    };
    assert_eq!(put("1").await.status, 202);
    assert_eq!(put("2").await.status, 202);
    let refused = put("1").await;
    refused.is_error(503, "busy");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(put("0").await.status, 200, "level 0 needs no room");
    assert_eq!(journal(&node.node).await.len(), 3);
    handle.open();
    settled(&node.node).await;
    assert_eq!(put("1").await.status, 202);
}

#[tokio::test(start_paused = true)]
async fn a_level_is_raised_without_the_body() {
    for write in [WriteMode::Through, WriteMode::Back] {
        for len in [0, 100, 100_000] {
            let bucket = bucket();
            let node = node_before(bucket.clone(), |_| {}).await;
            let id = node.new_id();
            let before = node.put(id, pattern(len), PutOptions::default()).await.unwrap();
            let raised = node.set_level(id, Level::Remote, write).await.unwrap();
            assert_eq!(raised.is_pending, write == WriteMode::Back);
            settled(&node).await;
            let meta = node.head(id).await.unwrap();
            assert!(!meta.is_pending);
            assert_eq!((meta.consistency, &meta.etag), (Level::Remote, &before.etag));
            assert_eq!(stored_in(&*bucket, &id.to_string()).await.unwrap(), pattern(len));
            // Level 2 on a lone node asks for nothing more.
            let full = node.set_level(id, Level::Full, write).await.unwrap();
            assert_eq!((full.consistency, full.is_pending), (Level::Full, false));
            // And an overwrite keeps it.
            let over = node.put(id, "newer", PutOptions::default()).await.unwrap();
            assert_eq!(over.consistency, Level::Full);
            assert_eq!(stored_in(&*bucket, &id.to_string()).await.unwrap(), b"newer");
        }
    }
}

/// "Create only" is judged by the bucket, between nodes that know nothing of each other.
#[tokio::test(start_paused = true)]
async fn of_two_nodes_that_create_one_id_one_does() {
    let bucket = bucket();
    let a = node_before(bucket.clone(), |_| {}).await;
    let b = node_before(bucket.clone(), |_| {}).await;
    for _ in 0..20 {
        let id = a.new_id();
        let create = || through().conditions(Conditions::absent());
        let (of_a, of_b) = tokio::join!(a.put(id, "a", create()), b.put(id, "b", create()));
        let made = [&of_a, &of_b].into_iter().filter(|made| made.is_ok()).count();
        assert_eq!(made, 1, "{of_a:?} {of_b:?}");
        let winner: &[u8] = if of_a.is_ok() { b"a" } else { b"b" };
        let lost = of_a.err().or(of_b.err()).unwrap();
        assert_eq!(lost.kind(), ErrorKind::PreconditionFailed);
        assert_eq!(stored_in(&*bucket, &id.to_string()).await.unwrap(), winner);
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_works_before_a_bucket_that_never_answers() {
    let gate = Gate::shut(|_| true);
    let handle = gate.handle();
    let bucket = bucket();
    let node = node_before(Arc::new(GatedRemote::around(bucket.clone(), gate)), |_| {}).await;
    let (local, late, lost) = (node.new_id(), node.new_id(), node.new_id());
    node.put(local, "here", PutOptions::default()).await.unwrap();
    assert!(node.put(late, "later", back()).await.unwrap().is_pending);
    let error = node.put(lost, "unknown", through()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(read(&node, local).await.unwrap(), b"here");
    assert_eq!(read(&node, late).await.unwrap(), b"later");
    handle.open();
    settled(&node).await;
    assert_eq!(stored_in(&*bucket, &late.to_string()).await.unwrap(), b"later");
    assert_eq!(read(&node, lost).await.unwrap_err().kind(), ErrorKind::NotFound);
}

// A world that stops.

struct World {
    disk: Arc<MemoryDisk>,
    journal: Arc<MemoryJournal>,
    bucket: Arc<MemoryRemote>,
    steps: Steps,
}

impl World {
    fn new(steps: Steps) -> Self {
        Self {
            disk: Arc::new(MemoryDisk::with_steps(steps.clone())),
            journal: Arc::new(MemoryJournal::with_steps(steps.clone())),
            bucket: bucket(),
            steps,
        }
    }

    fn after_power_cut(&self, steps: Steps) -> Self {
        Self {
            disk: Arc::new(self.disk.after_power_cut(steps.clone())),
            journal: Arc::new(self.journal.after_power_cut(steps.clone())),
            bucket: Arc::clone(&self.bucket),
            steps,
        }
    }

    async fn start_before(
        &self,
        remote: Arc<dyn RemoteStore>,
    ) -> Result<Node, objstore_core::Error> {
        let mut env = Env::default();
        env.clock = Arc::new(support::TokioClock);
        env.disk = Some(self.disk.clone());
        env.journal = Some(self.journal.clone());
        let mut settings = Settings::default();
        settings.uploads.part_bytes = 5 << 20;
        settings.uploads.parts_parallel = 2;
        Node::builder().settings(settings).env(env).remote(remote).start().await
    }

    /// A node whose bucket hears nothing more of it once the world has stopped.
    async fn start(&self) -> Result<Node, objstore_core::Error> {
        let steps = self.steps.clone();
        let faults = Faults::default()
            .before(move |_| steps.stopped().then(|| failed(RemoteErrorKind::Unavailable)));
        self.start_before(Arc::new(FailingRemote::new(self.bucket.clone(), faults))).await
    }
}

/// Reads that may be right: one of these. None: it is not there, or deleted.
type Possible = BTreeMap<ObjectId, Vec<Option<Vec<u8>>>>;

#[derive(Clone, Debug)]
enum Op {
    Put(usize, Vec<u8>, Level, WriteMode),
    Delete(usize, bool),
    Raise(usize, WriteMode),
    Settle,
}

fn small_history() -> Vec<Op> {
    use Level::{Full, Local, Remote};
    use WriteMode::{Back, Through};
    let body =
        |len: usize, fill: u8| (0..len).map(|i| fill ^ (i / 1000) as u8).collect::<Vec<u8>>();
    vec![
        Op::Put(0, body(100, 1), Remote, Through),
        Op::Put(1, body(70_000, 2), Remote, Back),
        Op::Put(0, body(80_000, 3), Remote, Through),
        Op::Put(1, body(200, 4), Remote, Back),
        Op::Put(2, body(300, 5), Local, Through),
        Op::Raise(2, Through),
        Op::Settle,
        Op::Put(1, body(90_000, 6), Full, Through),
        Op::Put(2, body(70_001, 7), Remote, Back),
        Op::Delete(2, false),
        Op::Put(3, body(66_000, 8), Local, Through),
        Op::Raise(3, Back),
        Op::Put(2, body(50, 9), Remote, Back),
        Op::Settle,
        Op::Delete(0, true),
        Op::Put(3, body(67_000, 10), Remote, Through),
        Op::Put(0, body(60, 11), Remote, Through),
        Op::Delete(1, false),
    ]
}

fn ids() -> Vec<ObjectId> {
    (1..=4).map(|n| ObjectId::from_parts(1_700_000_000_000, n << 40).unwrap()).collect()
}

async fn apply(node: &Node, op: &Op) -> (Option<(ObjectId, Option<Vec<u8>>)>, bool) {
    let ids = ids();
    match op.clone() {
        Op::Put(n, body, level, write) => {
            let options = PutOptions::default().level(level).write(write);
            let made = node.put(ids[n], body.clone(), options).await.is_ok();
            (Some((ids[n], Some(body))), made)
        }
        Op::Delete(n, purge) => {
            let mut options = DeleteOptions::default();
            options.purge = purge;
            let made = node.delete(ids[n], options).await.is_ok();
            (Some((ids[n], None)), made)
        }
        Op::Raise(n, write) => (None, node.set_level(ids[n], Level::Remote, write).await.is_ok()),
        Op::Settle => (None, true),
    }
}

async fn run(world: &World, node: &Node, history: &[Op]) -> Possible {
    let mut possible: Possible = ids().iter().map(|id| (*id, vec![None])).collect();
    for op in history {
        if matches!(op, Op::Settle) {
            until("the uploads settle, or the world stops", async || {
                let uploads = node.stats().uploads;
                world.steps.stopped() || uploads.queued + uploads.running + uploads.undecided == 0
            })
            .await;
        }
        let (change, made) = apply(node, op).await;
        if let Some((id, new)) = change {
            let known = possible.get_mut(&id).unwrap();
            if made {
                *known = vec![new];
            } else {
                known.push(new);
            }
        }
        if world.steps.stopped() {
            break;
        }
    }
    possible
}

async fn check(world: &World, possible: &Possible, context: &str) {
    let node = world.start().await.unwrap_or_else(|e| panic!("{context}: no restart: {e:?}"));
    let mut seen = Vec::new();
    for (id, allowed) in possible {
        let found = match read(&node, *id).await {
            Ok(body) => Some(body),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::Deleted) => None,
            Err(e) => panic!("{context}: {id} cannot be read: {e:?}"),
        };
        let lens: Vec<_> = allowed.iter().map(|body| body.as_ref().map(Vec::len)).collect();
        let len = found.as_ref().map(Vec::len);
        assert!(allowed.contains(&found), "{context}: {id} is {len:?}, not one of {lens:?}");
        seen.push(found);
    }
    settled(&node).await;
    let mut large = 0;
    for (id, allowed) in possible {
        let found = read(&node, *id).await.ok();
        assert!(allowed.contains(&found), "{context}: {id} is neither old nor new once settled");
        let Some(body) = found else { continue };
        large += usize::from(body.len() > 64 * 1024);
        let meta = node.head(*id).await.unwrap();
        assert!(!meta.is_pending, "{context}: {id} still waits");
        if meta.consistency > Level::Local {
            let there = stored_in(&*world.bucket, &id.to_string()).await;
            assert!(there == Some(body), "{context}: {id} is something else in the bucket");
        }
    }
    let mut all = ListOptions::default();
    all.include_deleted = true;
    for meta in node.list(all).await.unwrap() {
        assert!(possible.contains_key(&meta.id), "{context}: {meta:?}");
    }
    until(context, async || world.bucket.uploads("").await.unwrap().is_empty()).await;
    // A shutdown waits for the clean-up.
    node.shutdown().await.unwrap();
    let files = world.disk.files();
    assert_eq!(files.len(), large, "{context}: files without a record are left: {files:?}");
}

async fn check_twice(world: &World, possible: &Possible, context: &str) {
    let again = world.after_power_cut(Steps::count());
    check(&again, possible, context).await;
    let context = format!("{context}, started twice");
    check(&again.after_power_cut(Steps::count()), possible, &context).await;
}

#[tokio::test(start_paused = true)]
async fn everything_acknowledged_survives_a_stop_before_any_step_of_uploads() {
    let history = small_history();
    for keep_unsynced in [false, true] {
        let mut last = 0;
        for stop in 0.. {
            let world = World::new(Steps::stop_before(stop, keep_unsynced));
            let Ok(node) = world.start().await else { continue };
            let possible = run(&world, &node, &history).await;
            if !world.steps.stopped() {
                settled(&node).await;
            }
            let _ = node.shutdown().await;
            let context = format!("stopped before step {stop}, unsynced kept: {keep_unsynced}");
            check_twice(&world, &possible, &context).await;
            last = stop;
            if !world.steps.stopped() {
                break;
            }
        }
        assert!(last > 80, "the history has become too short to mean anything: {last}");
    }
}

/// Stops at a call of the bucket, which never hears of it.
#[derive(Debug)]
struct Halt {
    at: u64,
    calls: AtomicU64,
    halted: tokio::sync::watch::Sender<bool>,
}

impl Around for Halt {
    fn before<'a>(&'a self, _call: &'a Call) -> RemoteFuture<'a, ()> {
        Box::pin(async move {
            if self.calls.fetch_add(1, Ordering::SeqCst) >= self.at {
                self.halted.send_replace(true);
                std::future::pending::<()>().await;
            }
            Ok(())
        })
    }
}

/// Runs a history and pulls the plug at each call of the bucket.
async fn killed_at_each_call(history: &[Op]) -> u64 {
    for at in 0.. {
        let world = World::new(Steps::count());
        let halted = tokio::sync::watch::Sender::new(false);
        let mut halts = halted.subscribe();
        let halt = Halt { at, calls: AtomicU64::new(0), halted };
        let remote = Arc::new(Adapted::around(world.bucket.clone(), halt));
        let node = world.start_before(remote).await.unwrap();
        let mut possible: Possible = ids().iter().map(|id| (*id, vec![None])).collect();
        let mut ended = true;
        for op in history {
            if matches!(op, Op::Settle) {
                tokio::select! {
                    () = settled(&node) => continue,
                    _ = halts.wait_for(|halted| *halted) => {}
                }
                ended = false;
                break;
            }
            let new = match op {
                Op::Put(n, body, ..) => Some((ids()[*n], Some(body.clone()))),
                Op::Delete(n, _) => Some((ids()[*n], None)),
                _ => None,
            };
            let made = tokio::select! {
                (_, made) = apply(&node, op) => made,
                _ = halts.wait_for(|halted| *halted) => {
                    ended = false;
                    false
                }
            };
            if let Some((id, new)) = new {
                let known = possible.get_mut(&id).unwrap();
                if made {
                    *known = vec![new];
                } else {
                    known.push(new);
                }
            }
            if !ended {
                break;
            }
        }
        let context = format!("killed at call {at} of the bucket");
        check_twice(&world, &possible, &context).await;
        let _ = node.shutdown().await;
        if ended {
            return at;
        }
    }
    0
}

#[tokio::test(start_paused = true)]
async fn everything_acknowledged_survives_a_kill_at_any_call_of_the_bucket() {
    let calls = killed_at_each_call(&small_history()).await;
    assert!(calls > 10, "{calls}");
}

#[tokio::test(start_paused = true)]
async fn a_kill_in_an_upload_in_parts_leaves_none_unfinished() {
    let history = |write| vec![Op::Put(0, pattern(11 << 20), Level::Remote, write), Op::Settle];
    for write in [WriteMode::Through, WriteMode::Back] {
        let calls = killed_at_each_call(&history(write)).await;
        // Begin, three parts, complete.
        assert!(calls >= 5, "{calls}");
    }
}

/// Every call of an upload in parts fails once, made or not, in each way.
#[tokio::test(start_paused = true)]
async fn a_failure_in_an_upload_in_parts_leaves_none_unfinished() {
    let body = pattern(11 << 20);
    for kind in [RemoteErrorKind::Unavailable, RemoteErrorKind::Forbidden, RemoteErrorKind::Refused]
    {
        for made in [false, true] {
            if made && kind != RemoteErrorKind::Unavailable {
                continue;
            }
            for at in 0..7 {
                let bucket = bucket();
                let calls = AtomicUsize::new(0);
                let script = move |call: &Call| {
                    let counts = !matches!(call.kind, CallKind::Head | CallKind::Abort);
                    let now = counts && calls.fetch_add(1, Ordering::SeqCst) == at;
                    now.then(|| failed(kind))
                };
                let faults = match made {
                    true => Faults::default().after(script),
                    false => Faults::default().before(script),
                };
                let remote = Arc::new(FailingRemote::new(bucket.clone(), faults));
                let node = node_before(remote, |settings| {
                    settings.uploads.part_bytes = 5 << 20;
                })
                .await;
                let id = node.new_id();
                let put = node.put(id, body.clone(), through()).await;
                settled(&node).await;
                let context = format!("{kind} at call {at}, made: {made}: {put:?}");
                until(&context, async || bucket.uploads("").await.unwrap().is_empty()).await;
                let there = stored_in(&*bucket, &id.to_string()).await;
                match read(&node, id).await {
                    Ok(read) => assert!(read == body && there.as_ref() == Some(&body), "{context}"),
                    Err(_) => assert!(put.is_err() && there.is_none(), "{context}"),
                }
                if kind == RemoteErrorKind::Unavailable {
                    assert!(put.is_ok(), "{context}");
                }
            }
        }
    }
}

/// What a bucket holds under an id may be another's; it is replaced, for the id is ours.
#[tokio::test(start_paused = true)]
async fn what_another_node_left_under_an_id_is_replaced() {
    let bucket = bucket();
    let node = node_before(bucket.clone(), |_| {}).await;
    let (a, b) = (node.new_id(), node.new_id());
    let other = node_before(bucket.clone(), |_| {}).await;
    other.put(a, "other's", through()).await.unwrap();
    node.put(a, "ours", through()).await.unwrap();
    assert_eq!(stored_in(&*bucket, &a.to_string()).await.unwrap(), b"ours");
    node.put(b, "ours", through()).await.unwrap();
    bucket.delete(&b.to_string(), RemoteCondition::None).await.unwrap();
    node.put(b, "again", through()).await.unwrap();
    assert_eq!(stored_in(&*bucket, &b.to_string()).await.unwrap(), b"again");
    let foreign = RemoteAttributes::default();
    bucket.put(&b.to_string(), "foreign".into(), &foreign, RemoteCondition::None).await.unwrap();
    node.put(b, "third", back()).await.unwrap();
    settled(&node).await;
    assert_eq!(stored_in(&*bucket, &b.to_string()).await.unwrap(), b"third");
}
