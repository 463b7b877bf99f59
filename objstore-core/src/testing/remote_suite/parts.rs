use bytes::Bytes;

use super::objects::attributes;
use super::{Check, Suite, some_bytes};
use crate::remote::{
    PART_MIN, RemoteAttributes, RemoteCondition, RemoteErrorKind as Kind, RemoteGet, RemoteList,
    RemotePart, RemoteUpload,
};

pub(super) async fn checks(suite: &Suite) {
    three_parts(&suite.check("three parts")).await;
    conditions(&suite.check("conditional complete")).await;
    wrong_parts(&suite.check("wrong parts")).await;
    abort(&suite.check("abort")).await;
}

fn part_len() -> usize {
    usize::try_from(PART_MIN).unwrap_or(usize::MAX)
}

async fn begin(check: &Check, key: &str) -> String {
    check.ok("begin", check.store.begin(key, &RemoteAttributes::default()).await)
}

async fn part(check: &Check, key: &str, upload: &str, number: u32, body: Bytes) -> RemotePart {
    let put = check.store.put_part(key, upload, number, body).await;
    RemotePart { number, etag: check.ok("put part", put) }
}

async fn three_parts(check: &Check) {
    let (key, given) = (check.key("a"), attributes());
    let upload = check.ok("begin", check.store.begin(&key, &given).await);
    let bodies = [some_bytes(part_len(), 1), some_bytes(part_len(), 2), some_bytes(1_000_001, 3)];
    let mut parts = Vec::new();
    // Out of order, and the second of them twice: parts are made in parallel and sent again.
    let replaced = part(check, &key, &upload, 2, some_bytes(part_len(), 9)).await;
    parts.push(part(check, &key, &upload, 2, bodies[1].clone()).await);
    parts.push(part(check, &key, &upload, 1, bodies[0].clone()).await);
    parts.push(part(check, &key, &upload, 3, bodies[2].clone()).await);
    check.is_gone(&key).await;
    let list = RemoteList { prefix: check.prefix.clone(), ..RemoteList::default() };
    check.same("keys before complete", &check.list(&list).await.0, &Vec::new());

    let mut stale = parts.clone();
    stale.retain(|part| part.number != 2);
    stale.push(replaced);
    stale.sort_by_key(|part| part.number);
    let completed = check.store.complete(&key, &upload, &stale, RemoteCondition::None).await;
    check.fails("complete with a replaced part", completed, &[Kind::Refused]);
    check.is_gone(&key).await;

    let whole: Bytes = bodies.concat().into();
    let unordered = check.store.complete(&key, &upload, &parts, RemoteCondition::None).await;
    let etag = match unordered {
        // A store may put them in order; it must not make the object in the order they were named.
        Ok(etag) => etag,
        refused => {
            check.fails("complete in the wrong order", refused, &[Kind::Refused]);
            check.is_gone(&key).await;
            parts.sort_by_key(|part| part.number);
            let completed = check.store.complete(&key, &upload, &parts, RemoteCondition::None);
            check.ok("complete", completed.await)
        }
    };
    let head = check.ok("head", check.store.head(&key).await);
    check.same("size and tag", &(head.size, &head.etag), &(whole.len() as u64, &etag));
    check.same("attributes", &head.attributes, &given);
    check.that("body", check.read(&key).await == whole);
    let across = PART_MIN - 10..PART_MIN + 10;
    let get = check.ok("range", check.store.get(&key, RemoteGet::range_of(across, etag)).await);
    let expected = whole.slice(part_len() - 10..part_len() + 10);
    check.same("a range across parts", &check.bytes(get).await, &expected);
    let uploads = check.ok("uploads", check.store.uploads(&check.prefix).await);
    check.same("uploads after complete", &uploads, &Vec::new());
}

async fn conditions(check: &Check) {
    let (key, other) = (check.key("a"), check.key("b"));
    let body = some_bytes(1000, 4);
    let upload = begin(check, &key).await;
    let parts = [part(check, &key, &upload, 1, body.clone()).await];
    let complete = |condition| check.store.complete(&key, &upload, &parts, condition);
    let matching = |etag: &str| RemoteCondition::Match(etag.to_owned());
    let missing = complete(matching("no-such-tag")).await;
    check.fails("Match on nothing", missing, &[Kind::PreconditionFailed, Kind::NotFound]);
    check.is_gone(&key).await;

    // That one may have ended the upload; the rest is on new ones.
    check.ok("abort", check.store.abort(&key, &upload).await);
    let current = check.put(&key, "one").await;
    for (condition, holds) in [
        (RemoteCondition::Absent, false),
        (matching("no-such-tag"), false),
        (matching(&current), true),
    ] {
        let upload = begin(check, &key).await;
        let parts = [part(check, &key, &upload, 1, body.clone()).await];
        let completed = check.store.complete(&key, &upload, &parts, condition).await;
        if holds {
            check.ok("Match", completed);
            check.same("body", &check.read(&key).await, &body);
        } else {
            check.fails("a condition that fails", completed, &[Kind::PreconditionFailed]);
            check.same("body", &check.read(&key).await, &Bytes::from("one"));
            check.ok("abort", check.store.abort(&key, &upload).await);
        }
    }
    let upload = begin(check, &other).await;
    let parts = [part(check, &other, &upload, 1, body.clone()).await];
    let completed = check.store.complete(&other, &upload, &parts, RemoteCondition::Absent).await;
    check.ok("Absent on nothing", completed);
    check.same("body", &check.read(&other).await, &body);
}

async fn wrong_parts(check: &Check) {
    let key = check.key("a");
    let upload = begin(check, &key).await;
    let small = part(check, &key, &upload, 1, some_bytes(1000, 1)).await;
    let last = part(check, &key, &upload, 2, some_bytes(1000, 2)).await;
    let unknown = RemotePart { number: 7, etag: last.etag.clone() };
    let other = RemotePart { number: 1, etag: last.etag.clone() };
    for (what, parts) in [
        ("complete with a small part before the last", vec![small.clone(), last]),
        ("complete with a part that is not there", vec![small.clone(), unknown]),
        ("complete with a part of another tag", vec![other]),
    ] {
        let completed = check.store.complete(&key, &upload, &parts, RemoteCondition::None).await;
        check.fails(what, completed, &[Kind::Refused]);
        check.is_gone(&key).await;
    }
    check.ok("abort", check.store.abort(&key, &upload).await);
    let completed = check.store.complete(&key, &upload, &[small], RemoteCondition::None).await;
    check.fails("complete of an upload given up", completed, &[Kind::Refused]);
    let put = check.store.put_part(&key, &upload, 1, "x".into()).await;
    check.fails("a part for an upload given up", put, &[Kind::Refused]);
    check.is_gone(&key).await;
}

async fn abort(check: &Check) {
    let (key, other) = (check.key("a"), check.key("b"));
    let (upload, second) = (begin(check, &key).await, begin(check, &other).await);
    part(check, &key, &upload, 1, some_bytes(1000, 1)).await;
    let named =
        |key: &str, upload: &str| RemoteUpload { key: key.to_owned(), upload: upload.to_owned() };
    let mut found = check.ok("uploads", check.store.uploads(&check.prefix).await);
    found.sort_by(|a, b| a.key.cmp(&b.key));
    check.same("uploads", &found, &vec![named(&key, &upload), named(&other, &second)]);
    let found = check.ok("uploads", check.store.uploads(&key).await);
    check.same("uploads of a prefix", &found, &vec![named(&key, &upload)]);
    for time in ["abort", "abort again"] {
        check.ok(time, check.store.abort(&key, &upload).await);
    }
    check.is_gone(&key).await;
    let found = check.ok("uploads", check.store.uploads(&check.prefix).await);
    check.same("uploads after abort", &found, &vec![named(&other, &second)]);
    check.ok("abort", check.store.abort(&other, &second).await);
    let found = check.ok("uploads", check.store.uploads(&check.prefix).await);
    check.same("uploads at the end", &found, &Vec::new());
}
