use bytes::Bytes;
use futures_util::future::join_all;

use super::{Check, Suite, some_bytes};
use crate::remote::{
    METADATA_MAX, RemoteAttributes, RemoteCondition, RemoteErrorKind as Kind, RemoteGet,
};

pub(super) async fn checks(suite: &Suite) {
    round_trip(&suite.check("round trip")).await;
    sizes(&suite.check("sizes")).await;
    nothing_there(&suite.check("nothing there")).await;
    ranges(&suite.check("ranges")).await;
    if_match(&suite.check("if match")).await;
    overwrite(&suite.check("overwrite")).await;
    conditions(&suite.check("conditions")).await;
    one_creates(&suite.check("one creates")).await;
    one_replaces(&suite.check("one replaces")).await;
    delete(&suite.check("delete")).await;
    conditional_delete(&suite.check("conditional delete")).await;
    copy(&suite.check("copy")).await;
    conditional_copy(&suite.check("conditional copy")).await;
    metadata(&suite.check("metadata")).await;
    odd_keys(&suite.check("odd keys")).await;
}

pub(super) fn attributes() -> RemoteAttributes {
    let metadata = [("id", "01BRNMMS1DK3CBD4ZZM2TQ8C5B"), ("usermeta-lang", "en")];
    RemoteAttributes {
        content_type: Some("text/x-suite".to_owned()),
        content_encoding: Some("gzip".to_owned()),
        metadata: metadata.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
    }
}

async fn round_trip(check: &Check) {
    let (key, given) = (check.key("a"), attributes());
    let put = check.store.put(&key, "It works!".into(), &given, RemoteCondition::None).await;
    let etag = check.ok("put", put);
    check.that("a tag with quotes, or none", !etag.is_empty() && !etag.contains('"'));
    let head = check.ok("head", check.store.head(&key).await);
    check.same("size", &head.size, &9);
    check.same("tag", &head.etag, &etag);
    check.same("attributes", &head.attributes, &given);
    check.that("no time", head.modified > 0);
    let object = check.ok("get", check.store.get(&key, RemoteGet::default()).await);
    check.same("head of the get", &object.head, &head);
    check.same("range of the get", &object.range, &(0..9));
    check.same("body", &check.bytes(object).await, &Bytes::from("It works!"));
    let plain = check.key("b");
    check.put(&plain, "x").await;
    let head = check.ok("head", check.store.head(&plain).await);
    check.same("metadata of none", &head.attributes.metadata, &Default::default());
    check.same("coding of none", &head.attributes.content_encoding, &None);
}

async fn sizes(check: &Check) {
    for size in [0, 1, 65_535, 65_536, 262_144, 262_145, 1_000_003] {
        let (key, body) = (check.key(&size.to_string()), some_bytes(size, 7));
        let etag = check.put(&key, body.clone()).await;
        check.same("body", &check.read(&key).await, &body);
        let head = check.ok("head", check.store.head(&key).await);
        check.same("size and tag", &(head.size, head.etag), &(size as u64, etag));
    }
}

async fn nothing_there(check: &Check) {
    let (key, to) = (check.key("absent"), check.key("to"));
    check.is_gone(&key).await;
    let get = check.store.get(&key, RemoteGet::range(0..1)).await;
    check.fails("a range", get, &[Kind::NotFound]);
    let get = check.store.get(&key, RemoteGet::range_of(0..1, "tag")).await;
    check.fails("a range of a version", get, &[Kind::NotFound]);
    let copied = check.store.copy(&key, &to, None, RemoteCondition::None).await;
    check.fails("a copy", copied, &[Kind::NotFound]);
    check.put(&check.key("absent/below"), "x").await;
    check.is_gone(&key).await;
}

async fn ranges(check: &Check) {
    let (key, body) = (check.key("a"), some_bytes(600_000, 1));
    let etag = check.put(&key, body.clone()).await;
    let whole = body.len();
    for (start, end) in
        [(0, 1), (5, 17), (65_530, 65_540), (131_072, 393_216), (599_999, 600_000), (0, 600_000)]
    {
        let range = start as u64..end as u64;
        let object =
            check.ok("range", check.store.get(&key, RemoteGet::range(range.clone())).await);
        check.same("range that follows", &object.range, &range);
        check.same("size of the whole", &object.head.size, &(whole as u64));
        check.same("tag", &object.head.etag, &etag);
        check.same("bytes of the range", &check.bytes(object).await, &body.slice(start..end));
    }
    let beyond = RemoteGet::range_of(599_990..u64::MAX / 2, &etag);
    let object = check.ok("a range to beyond the end", check.store.get(&key, beyond).await);
    check.same("range that follows", &object.range, &(599_990..600_000));
    check.same("the end", &check.bytes(object).await, &body.slice(599_990..));
    for range in [600_000..600_001, 700_000..800_000] {
        let get = check.store.get(&key, RemoteGet::range(range)).await;
        check.fails("a range behind the end", get, &[Kind::RangeNotSatisfiable]);
    }
    let empty = check.key("empty");
    check.put(&empty, "").await;
    let get = check.store.get(&empty, RemoteGet::range(0..1)).await;
    check.fails("a range of nothing", get, &[Kind::RangeNotSatisfiable]);
}

async fn if_match(check: &Check) {
    let key = check.key("a");
    let old = check.put(&key, "one").await;
    let now = check.put(&key, "another").await;
    let get = |etag: &str| RemoteGet { range: None, if_match: Some(etag.to_owned()) };
    let object = check.ok("get of the version", check.store.get(&key, get(&now)).await);
    check.same("body", &check.bytes(object).await, &Bytes::from("another"));
    let other = check.store.get(&key, get(&old)).await;
    check.fails("get of a former version", other, &[Kind::PreconditionFailed]);
    let other = check.store.get(&key, RemoteGet::range_of(0..1, old)).await;
    check.fails("a range of a former version", other, &[Kind::PreconditionFailed]);
}

async fn overwrite(check: &Check) {
    let (key, given) = (check.key("a"), attributes());
    let put = check.store.put(&key, some_bytes(300_000, 1), &given, RemoteCondition::None).await;
    let first = check.ok("put", put);
    // A body on its way is of the version that was asked for, or breaks; it is never a mixture.
    let open = check.ok("get", check.store.get(&key, RemoteGet::default()).await);
    let second = check.put(&key, some_bytes(300_000, 2)).await;
    check.that("the tag of another content is the same", first != second);
    if let Ok(bytes) = open.body.collect(usize::MAX).await {
        check.same("a body read across an overwrite", &bytes, &some_bytes(300_000, 1));
    }
    check.same("body", &check.read(&key).await, &some_bytes(300_000, 2));
    let head = check.ok("head", check.store.head(&key).await);
    check.same("tag", &head.etag, &second);
    check.same("metadata of the former version", &head.attributes.metadata, &Default::default());
    check.put(&key, "short").await;
    check.same("a shorter body", &check.read(&key).await, &Bytes::from("short"));
}

async fn conditions(check: &Check) {
    let (key, none) = (check.key("a"), RemoteAttributes::default());
    let put = |body: &'static str, condition| check.store.put(&key, body.into(), &none, condition);
    let matching = |etag: &str| RemoteCondition::Match(etag.to_owned());
    let missing = put("0", matching("no-such-tag")).await;
    check.fails("Match on nothing", missing, &[Kind::PreconditionFailed, Kind::NotFound]);
    check.is_gone(&key).await;
    let first = check.ok("Absent on nothing", put("1", RemoteCondition::Absent).await);
    let again = put("2", RemoteCondition::Absent).await;
    check.fails("Absent on something", again, &[Kind::PreconditionFailed]);
    let second = check.ok("Match", put("33", matching(&first)).await);
    let stale = put("4", matching(&first)).await;
    check.fails("Match on another", stale, &[Kind::PreconditionFailed]);
    check.same("body", &check.read(&key).await, &Bytes::from("33"));
    check.same("tag", &check.ok("head", check.store.head(&key).await).etag, &second);
}

async fn one_creates(check: &Check) {
    let (key, none) = (check.key("a"), RemoteAttributes::default());
    let bodies: Vec<Bytes> = (0..16).map(|n| some_bytes(1000, n)).collect();
    let put = |body: &Bytes| check.store.put(&key, body.clone(), &none, RemoteCondition::Absent);
    winner(check, &key, &bodies, join_all(bodies.iter().map(put)).await).await;
}

async fn one_replaces(check: &Check) {
    let (key, none) = (check.key("a"), RemoteAttributes::default());
    let first = check.put(&key, "first").await;
    let bodies: Vec<Bytes> = (0..16).map(|n| some_bytes(1000, n)).collect();
    let condition = RemoteCondition::Match(first);
    let put = |body: &Bytes| check.store.put(&key, body.clone(), &none, condition.clone());
    winner(check, &key, &bodies, join_all(bodies.iter().map(put)).await).await;
}

async fn winner(
    check: &Check,
    key: &str,
    bodies: &[Bytes],
    puts: Vec<Result<String, crate::remote::RemoteError>>,
) {
    let mut won = Vec::new();
    for (body, put) in bodies.iter().zip(puts) {
        match put {
            Ok(etag) => won.push((body.clone(), etag)),
            error => check.fails("a put that lost", error, &[Kind::PreconditionFailed]),
        }
    }
    let etag = check.ok("head", check.store.head(key).await).etag;
    check.same("who won of 16, and what is there", &won, &vec![(check.read(key).await, etag)]);
}

async fn delete(check: &Check) {
    let key = check.key("a");
    check.put(&key, "x").await;
    check.put(&check.key("a/b"), "y").await;
    for time in ["delete", "delete again"] {
        check.ok(time, check.store.delete(&key, RemoteCondition::None).await);
        check.is_gone(&key).await;
    }
    check.same("the other", &check.read(&check.key("a/b")).await, &Bytes::from("y"));
    check.ok("delete of nothing", check.store.delete(&check.key("z"), RemoteCondition::None).await);
    check.put(&key, "back").await;
    check.same("put after delete", &check.read(&key).await, &Bytes::from("back"));
}

async fn conditional_delete(check: &Check) {
    let key = check.key("a");
    let stale = check.put(&key, "old").await;
    let etag = check.put(&key, "new").await;
    let refused = check.store.delete(&key, RemoteCondition::Match(stale)).await;
    check.fails("delete of another", refused, &[Kind::PreconditionFailed, Kind::Unsupported]);
    check.same("what is left", &check.read(&key).await, &Bytes::from("new"));
    match check.store.delete(&key, RemoteCondition::Match(etag)).await {
        Err(error) if error.kind() == Kind::Unsupported => {}
        deleted => {
            check.ok("delete of this", deleted);
            check.is_gone(&key).await;
        }
    }
}

async fn copy(check: &Check) {
    let (from, to, given) = (check.key("from"), check.key("to"), attributes());
    let body = some_bytes(300_000, 3);
    let put = check.store.put(&from, body.clone(), &given, RemoteCondition::None).await;
    check.ok("put", put);
    let copied = check.store.copy(&from, &to, None, RemoteCondition::None).await;
    let etag = check.ok("copy", copied);
    check.same("body of the copy", &check.read(&to).await, &body);
    let head = check.ok("head", check.store.head(&to).await);
    check.same("attributes of the copy", &head.attributes, &given);
    check.same("tag of the copy", &head.etag, &etag);
    let mut others = attributes();
    others.content_encoding = None;
    others.content_type = Some("text/plain".to_owned());
    others.metadata = [("other".to_owned(), "1".to_owned())].into();
    let copied = check.store.copy(&from, &to, Some(&others), RemoteCondition::None).await;
    check.ok("copy over, with attributes", copied);
    let head = check.ok("head", check.store.head(&to).await);
    check.same("attributes that were given", &head.attributes, &others);
    check.same("body of the copy", &check.read(&to).await, &body);
    let head = check.ok("head", check.store.head(&from).await);
    check.same("attributes of the original", &head.attributes, &given);
}

async fn conditional_copy(check: &Check) {
    let (from, to) = (check.key("from"), check.key("to"));
    check.put(&from, "source").await;
    let old = check.put(&to, "target").await;
    let wrong = [RemoteCondition::Absent, RemoteCondition::Match("no-such-tag".to_owned())];
    for condition in wrong {
        let copied = check.store.copy(&from, &to, None, condition).await;
        check.fails("copy over another", copied, &[Kind::PreconditionFailed, Kind::Unsupported]);
        check.same("target", &check.read(&to).await, &Bytes::from("target"));
    }
    for (to, condition) in
        [(to, RemoteCondition::Match(old)), (check.key("new"), RemoteCondition::Absent)]
    {
        match check.store.copy(&from, &to, None, condition).await {
            Err(error) if error.kind() == Kind::Unsupported => {}
            copied => {
                check.ok("copy", copied);
                check.same("copy", &check.read(&to).await, &Bytes::from("source"));
            }
        }
    }
}

async fn metadata(check: &Check) {
    let key = check.key("a");
    let put = |given: RemoteAttributes, key: String| async move {
        let put = check.store.put(&key, "x".into(), &given, RemoteCondition::None).await;
        (check.ok("put", put), given, key)
    };
    let mut given = RemoteAttributes::default();
    for (name, value) in [
        ("plain", "value"),
        ("with-dash.and_dot", "1"),
        ("json", r#"{"Author":"bob","n":"a, b; c=d"}"#),
        ("percent", "%C3%B6%25 100%"),
        ("specials", r##"!"#$&'()*+,-./:;<=>?@[\]^_`{|}~"##),
        ("inner", "two words"),
    ] {
        given.metadata.insert(name.to_owned(), value.to_owned());
    }
    let (_, given, key) = put(given, key).await;
    let head = check.ok("head", check.store.head(&key).await);
    check.same("metadata", &head.attributes.metadata, &given.metadata);
    let mut full = RemoteAttributes::default();
    full.metadata.insert("usermeta".to_owned(), "v".repeat(METADATA_MAX - 8));
    let (_, full, key) = put(full, check.key("full")).await;
    let head = check.ok("head", check.store.head(&key).await);
    check.same("metadata of 2 KiB", &head.attributes.metadata, &full.metadata);
}

async fn odd_keys(check: &Check) {
    let mut keys: Vec<String> = [
        "a b",
        "a+b",
        "a%20b",
        "a%2fb",
        "100%",
        "%",
        "größe",
        "日本語/🦀",
        "a//b",
        "/a",
        "a/",
        "//",
        ".",
        "..",
        "../up",
        "./here",
        "a/../b",
        "a/./b",
        ".hidden",
        "~",
        "a&b=c?d#e",
        "a;b,c@d:e",
        "'\"`",
        "<a>",
        "[a]{b}|^",
        "back\\slash",
        "A",
        "e\u{301}",
        "\u{e9}",
        "*",
        "$HOME",
        "!",
        "()",
    ]
    .map(|name| check.key(name))
    .into();
    let longest = check.key("");
    keys.push(format!("{longest}{}", "k".repeat(1024 - longest.len())));
    keys.push(format!("{longest}{}", "k".repeat(1023 - longest.len())));
    for key in &keys {
        check.put(key, key.clone()).await;
    }
    for key in &keys {
        check.same(&format!("body of {key:?}"), &check.read(key).await, &key.clone().into());
        check.ok(&format!("head of {key:?}"), check.store.head(key).await);
    }
    let all = crate::remote::RemoteList { prefix: longest, ..Default::default() };
    let mut sorted = keys.clone();
    sorted.sort();
    check.same("all keys in order", &check.list(&all).await.0, &sorted);
    for key in &keys {
        check.ok("delete", check.store.delete(key, RemoteCondition::None).await);
        check.is_gone(key).await;
    }
}
