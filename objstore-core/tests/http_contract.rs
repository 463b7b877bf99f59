//! The public HTTP API by id, row by row and header by header, as a user of curl sees it.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used
)]

mod support;

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use objstore_core::Server;
use serde_json::Value;
use support::{Ask, Reply, Running, memory_node, patiently, pattern};
use tokio::net::TcpListener;

/// The lengths around which something changes inside: empty, tiny, either side of the border
/// between journal and file, several units, many.
const LENGTHS: [usize; 7] = [0, 1, 64 * 1024 - 1, 64 * 1024, 64 * 1024 + 1, 100 * 1024, 3 << 20];

fn level_of(reply: &Reply) -> &str {
    reply.must("x-meta-consistencylevel")
}

async fn put_named(node: &Running, name: impl AsRef<[u8]>, body: &[u8]) -> String {
    let id = node.fresh_id();
    let reply = node.ask(Ask::put(&id).field("X-Meta-Name", name).body(body)).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    id
}

async fn delete(node: &Running, id: &str) -> Reply {
    node.ask(Ask::new("POST", &format!("/api/v1/delete/{id}"))).await
}

async fn meta(node: &Running, id: &str) -> Value {
    let reply = node.get(&format!("/api/v1/meta/{id}")).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    reply.json()
}

// ---------------------------------------------------------------------------------------- put, get

#[tokio::test]
async fn what_is_put_is_what_is_got_at_any_length_and_framing() {
    let node = Running::start().await;
    for len in LENGTHS {
        let body = pattern(len);
        for method in ["POST", "PUT"] {
            for ask in [
                Ask::put("").body(&body),
                Ask::put("").chunks(&body, 64 * 1024),
                Ask::put("").chunks(&body, 7919),
            ] {
                let id = node.fresh_id();
                // The id is set last, so that one request can be used for several.
                let request = String::from_utf8(ask.clone().method(method).head())
                    .unwrap()
                    .replace("X-Meta-ID: ", &format!("X-Meta-ID: {id}"));
                let mut bytes = request.into_bytes();
                bytes.extend_from_slice(&ask.payload());
                let put = node.connect().await.exchange(&bytes).await.expect("an answer");
                assert_eq!(put.status, 200, "{method} of {len} bytes: {put:?}");
                assert!(put.body.is_empty(), "{put:?}");

                let got = node.ask(Ask::get(&id)).await;
                assert_eq!(got.status, 200, "{got:?}");
                assert!(got.body == body, "{method} of {len} bytes came back otherwise");
                assert_eq!(got.must("content-length"), len.to_string());
                assert_eq!(got.must("etag"), put.must("etag"));
            }
        }
    }
}

#[tokio::test]
async fn a_put_without_any_body_or_length_stores_an_empty_object() {
    let node = Running::start().await;
    let id = node.fresh_id();
    let put = node.ask(Ask::new("POST", "/api/v1/put").field("X-Meta-ID", &id)).await;
    assert_eq!(put.status, 200, "{put:?}");
    let got = node.ask(Ask::get(&id)).await;
    assert_eq!((got.status, got.must("content-length")), (200, "0"));
}

#[tokio::test]
async fn the_answer_to_a_put_shows_what_was_stored() {
    let node = Running::start().await;
    let id = node.fresh_id();
    let put = node
        .ask(
            Ask::put(&id)
                .field("X-Meta-Name", "test.txt")
                .field("X-Meta-ConsistencyLevel", "1")
                .field("X-Meta-UserMeta", r#"{ "lang": "en", "Author": "bob" }"#)
                .body(b"It works!"),
        )
        .await;
    assert_eq!(put.status, 200, "{put:?}");
    assert_eq!(put.must("x-meta-id"), id);
    assert_eq!(put.must("x-meta-name"), "test.txt");
    assert_eq!(level_of(&put), "1");
    assert_eq!(put.must("x-meta-usermeta"), r#"{"Author":"bob","lang":"en"}"#);
    let tag = put.must("etag");
    assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 2, "strong: {tag}");
    assert!(put.must("last-modified").ends_with(" GMT"));
    assert_eq!(put.must("content-length"), "0");
}

#[tokio::test]
async fn a_get_carries_every_header_of_the_walk_through() {
    let node = Running::start().await;
    let id = node.fresh_id();
    let put = Ask::put(&id)
        .field("X-Meta-Name", "test.txt")
        .field("X-Meta-UserMeta", r#"{"Author":"bob","lang":"en"}"#)
        .body(b"It works!");
    let put = node.ask(put).await;
    let got = node.ask(Ask::get(&id)).await;
    assert_eq!(got.status, 200, "{got:?}");
    assert_eq!(got.must("accept-ranges"), "bytes");
    assert_eq!(got.must("content-length"), "9");
    assert_eq!(got.must("content-type"), "text/plain; charset=utf-8");
    assert_eq!(got.must("last-modified"), put.must("last-modified"));
    assert_eq!(got.must("etag"), put.must("etag"));
    assert_eq!(got.must("x-meta-id"), id);
    assert_eq!(got.must("x-meta-name"), "test.txt");
    assert_eq!(level_of(&got), "0");
    assert_eq!(got.must("x-meta-usermeta"), r#"{"Author":"bob","lang":"en"}"#);
    assert_eq!(got.must("x-content-type-options"), "nosniff");
    assert!(got.must("date").ends_with(" GMT"));
    for absent in ["x-meta-symlink", "x-meta-fetched", "x-meta-deleted", "x-meta-pending"] {
        assert!(got.header(absent).is_none(), "{absent}: {got:?}");
    }
    assert!(got.header("transfer-encoding").is_none(), "the length is always known: {got:?}");
}

#[tokio::test]
async fn header_names_are_spelt_as_the_readme_spells_them() {
    let node = Running::start().await;
    let id = node.fresh_id();
    let put = Ask::put(&id)
        .field("X-Meta-Name", "test.txt")
        .field("X-Meta-UserMeta", r#"{"a":"b"}"#)
        .body(b"It works!");
    assert_eq!(node.ask(put).await.status, 200);
    let mut wire = node.connect().await;
    wire.send(&Ask::get(&id).field("Connection", "close").bytes()).await;
    let answer = String::from_utf8(wire.rest().await).unwrap();
    for name in [
        "Accept-Ranges",
        "Content-Length",
        "Content-Type",
        "Last-Modified",
        "X-Meta-Consistencylevel",
        "X-Meta-Id",
        "X-Meta-Name",
        "X-Meta-Usermeta",
        "X-Content-Type-Options",
        "Date",
    ] {
        assert!(answer.contains(&format!("\r\n{name}: ")), "{name}: {answer}");
    }
    delete(&node, &id).await;
    let mut wire = node.connect().await;
    wire.send(&Ask::get(&id).field("Connection", "close").bytes()).await;
    let answer = String::from_utf8(wire.rest().await).unwrap();
    assert!(answer.contains("\r\nX-Meta-Deleted: true\r\n"), "{answer}");
}

#[tokio::test]
async fn asking_to_fetch_what_is_here_changes_nothing() {
    let node = Running::start().await;
    let id = node.stored(b"It works!").await;
    for ask in [
        Ask::get(&id).field("X-Meta-Fetch", "1"),
        Ask::get(&id).field("X-Meta-Fetch", "true"),
        Ask::new("GET", &format!("/api/v1/get/{id}?fetch=1")),
    ] {
        let got = node.ask(ask).await;
        assert_eq!((got.status, got.body.as_slice()), (200, b"It works!".as_slice()), "{got:?}");
        assert!(got.header("x-meta-fetched").is_none(), "{got:?}");
    }
    // A delete is never undone by a read.
    for level in ["0", "1"] {
        let id = node.fresh_id();
        let put = Ask::put(&id).field("X-Meta-ConsistencyLevel", level).body(b"body");
        assert_eq!(node.ask(put).await.status, 200);
        delete(&node, &id).await;
        let got = node.ask(Ask::get(&id).field("X-Meta-Fetch", "1")).await;
        got.is_error(404, "deleted");
        assert_eq!(got.must("x-meta-deleted"), "true");
        assert_eq!(node.ask(Ask::get(&id)).await.status, 404);
    }
}

#[tokio::test]
async fn a_head_is_a_get_without_the_body() {
    let node = Running::start().await;
    for len in LENGTHS {
        let id = put_named(&node, "body.bin", &pattern(len)).await;
        let got = node.ask(Ask::get(&id)).await;
        let mut wire = node.connect().await;
        let head = wire.ask(&Ask::get(&id).method("HEAD")).await;
        assert_eq!(head.status, 200);
        let but_date = |reply: &Reply| {
            let mut fields = reply.fields.clone();
            fields.retain(|(name, _)| name != "date" && name != "x-request-id");
            fields.sort();
            fields
        };
        assert_eq!(but_date(&head), but_date(&got));
        // Were a body sent after all, it would be read as the head of this answer.
        assert_eq!(wire.ask(&Ask::new("GET", "/api/v1/id")).await.status, 200);
    }
    let unknown = node.ask(Ask::get(&node.fresh_id()).method("HEAD")).await;
    assert_eq!((unknown.status, unknown.body.len()), (404, 0));
}

#[tokio::test]
async fn every_route_that_is_read_takes_a_head() {
    let node = Running::start().await;
    let id = node.stored(b"hello").await;
    for path in [
        "/api/v1/id",
        "/api/v1/version",
        "/api/v1/ping",
        "/api/v1/list",
        "/healthz",
        "/readyz",
        &format!("/api/v1/meta/{id}"),
    ] {
        let got = node.get(path).await;
        let mut wire = node.connect().await;
        let head = wire.ask(&Ask::new("HEAD", path)).await;
        assert_eq!((head.status, head.body.len()), (200, 0), "{path}: {head:?}");
        assert_eq!(head.must("content-length"), got.must("content-length"), "{path}");
        assert_eq!(head.must("content-type"), got.must("content-type"), "{path}");
        assert_eq!(wire.ask(&Ask::new("GET", path)).await.status, 200, "{path}: no body came");
    }
}

#[tokio::test]
async fn chunks_may_have_extensions_and_trailers() {
    let node = Running::start().await;
    for (coding, body) in [
        ("chunked", "5\r\nhello\r\n0\r\n\r\n"),
        ("Chunked", "05\r\nhello\r\n000\r\n\r\n"),
        ("CHUNKED", "2;name=value\r\nhe\r\n3;flag\r\nllo\r\n0;last\r\n\r\n"),
        ("chunked", "5\r\nhello\r\n0\r\nX-Trailer: a\r\nX-Meta-Name: b.html\r\n\r\n"),
    ] {
        let id = node.fresh_id();
        let put = format!(
            "POST /api/v1/put HTTP/1.1\r\nHost: localhost\r\nX-Meta-ID: {id}\r\n\
             Transfer-Encoding: {coding}\r\n\r\n{body}"
        );
        let mut wire = node.connect().await;
        let reply = wire.exchange(put.as_bytes()).await.expect("an answer");
        assert_eq!(reply.status, 200, "{put}: {reply:?}");
        let got = wire.ask(&Ask::get(&id)).await;
        assert_eq!(got.body, b"hello");
        assert!(got.header("x-meta-name").is_none(), "trailers are no metadata: {got:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_read_during_overwrites_is_of_one_version() {
    let node = Arc::new(Running::start().await);
    for len in [1000, 300_000] {
        let id = node.fresh_id();
        let version =
            |number: u8| {
                Ask::put(&id)
                    .field("X-Meta-Name", format!("{number}.txt"))
                    .body(&vec![number; len + usize::from(number)])
            };
        assert_eq!(node.ask(version(0)).await.status, 200);
        let mut readers = Vec::new();
        for _ in 0..4 {
            let (node, ask) = (Arc::clone(&node), Ask::get(&id));
            readers.push(tokio::spawn(async move {
                let mut wire = node.connect().await;
                let mut last = 0;
                while last < 50 {
                    let got = wire.ask(&ask).await;
                    assert_eq!(got.status, 200, "{got:?}");
                    let number = got.body[0];
                    assert!(got.body.iter().all(|byte| *byte == number), "two versions in one");
                    assert_eq!(got.body.len(), len + usize::from(number));
                    assert_eq!(got.must("x-meta-name"), format!("{number}.txt"));
                    assert!(number >= last, "a reader is never taken back");
                    last = number;
                }
            }));
        }
        let mut wire = node.connect().await;
        for number in 1..=50 {
            assert_eq!(wire.ask(&version(number)).await.status, 200);
        }
        for reader in readers {
            patiently("a reader sees the last version", reader).await.unwrap();
        }
    }
}

#[tokio::test]
async fn an_overwrite_or_delete_leaves_running_reads_alone() {
    let node = Running::start().await;
    // Longer than what sockets buffer, so that the reads are still under way.
    let old = pattern(32 << 20);
    for end in ["overwrite", "delete"] {
        let id = node.stored(&old).await;
        let mut whole = node.connect().await;
        whole.send(&Ask::get(&id).bytes()).await;
        let mut part = node.connect().await;
        part.send(&Ask::get(&id).field("Range", "bytes=1000000-").bytes()).await;
        assert_eq!(whole.begins().await, 200);
        assert_eq!(part.begins().await, 206);
        if end == "overwrite" {
            assert_eq!(node.ask(Ask::put(&id).body(b"new")).await.status, 200);
            assert_eq!(node.ask(Ask::get(&id)).await.body, b"new");
        } else {
            assert_eq!(delete(&node, &id).await.status, 200);
            assert_eq!(node.ask(Ask::get(&id)).await.status, 404);
        }
        assert!(whole.reply().await.expect("the whole").body == old, "{end}");
        assert!(part.reply().await.expect("the part").body == old[1_000_000..], "{end}");
    }
}

#[tokio::test]
async fn an_unknown_id_is_not_found_anywhere() {
    let node = Running::start().await;
    let id = node.fresh_id();
    node.ask(Ask::get(&id)).await.is_error(404, "not-found");
    node.get(&format!("/api/v1/meta/{id}")).await.is_error(404, "not-found");
    delete(&node, &id).await.is_error(404, "not-found");
    node.ask(Ask::get(&id).method("DELETE")).await.is_error(404, "not-found");
    let level =
        Ask::new("POST", &format!("/api/v1/level/{id}")).field("X-Meta-ConsistencyLevel", "1");
    node.ask(level).await.is_error(404, "not-found");
    assert!(node.ask(Ask::get(&id)).await.header("x-meta-deleted").is_none());
    assert!(node.journal().await.is_empty(), "asking leaves nothing behind");
}

#[tokio::test]
async fn an_overwrite_replaces_body_name_and_metadata_together() {
    let node = Running::start().await;
    let id = node.fresh_id();
    let first = Ask::put(&id)
        .field("X-Meta-Name", "old.txt")
        .field("X-Meta-UserMeta", r#"{"old":"1"}"#)
        .body(&pattern(200_000));
    let first = node.ask(first).await;
    let second = node.ask(Ask::put(&id).field("X-Meta-Name", "new.json").body(b"{}")).await;
    assert_eq!(second.status, 200);
    assert_ne!(first.must("etag"), second.must("etag"));
    let got = node.ask(Ask::get(&id)).await;
    assert_eq!(got.body, b"{}");
    assert_eq!(got.must("etag"), second.must("etag"));
    assert_eq!(got.must("x-meta-name"), "new.json");
    assert!(!got.must("content-type").starts_with("text/plain"));
    assert!(got.header("x-meta-usermeta").is_none_or(|meta| meta == "{}"), "{got:?}");
    assert_eq!(meta(&node, &id).await["user_meta"], serde_json::json!({}));
}

#[tokio::test]
async fn the_etag_of_a_version_never_changes() {
    let node = Running::start().await;
    let id = node.fresh_id();
    let put = node.ask(Ask::put(&id).body(&pattern(150_000))).await;
    let tag = put.must("etag").to_owned();
    for _ in 0..3 {
        assert_eq!(node.ask(Ask::get(&id)).await.must("etag"), tag);
        assert_eq!(node.ask(Ask::get(&id).method("HEAD")).await.must("etag"), tag);
        let part = node.ask(Ask::get(&id).field("Range", "bytes=5-9")).await;
        assert_eq!((part.status, part.must("etag")), (206, tag.as_str()));
    }
    let raise =
        Ask::new("POST", &format!("/api/v1/level/{id}")).field("X-Meta-ConsistencyLevel", "1");
    assert_eq!(node.ask(raise).await.status, 200);
    assert_eq!(node.ask(Ask::get(&id)).await.must("etag"), tag);
}

// -------------------------------------------------------------------------------------------- meta

#[tokio::test]
async fn meta_has_the_nine_names_of_the_original() {
    let node = Running::start().await;
    let id = node.fresh_id();
    let before = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let put = Ask::put(&id)
        .field("X-Meta-Name", "test.txt")
        .field("X-Meta-ConsistencyLevel", "2")
        .field("X-Meta-UserMeta", r#"{"Author":"bob","lang":"en"}"#)
        .body(b"It works!");
    assert_eq!(node.ask(put).await.status, 200);
    let after = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();

    let reply = node.get(&format!("/api/v1/meta/{id}")).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    assert!(reply.must("content-type").starts_with("application/json"), "{reply:?}");
    let json = reply.json();
    assert_eq!(json["id"], id.as_str());
    assert_eq!(json["name"], "test.txt");
    assert_eq!(json["size"], 9);
    assert_eq!(json["user_meta"], serde_json::json!({"Author": "bob", "lang": "en"}));
    assert_eq!(json["is_symlink"], false);
    assert_eq!(json["consistency"], 2);
    assert_eq!(json["is_deleted"], false);
    assert_eq!(json["is_fetched"], false);
    // In nanoseconds; a little slack, because a hybrid clock may stamp ahead of the wall.
    let stamp = u128::from(json["timestamp"].as_u64().expect("a whole number"));
    let slack = 1_000_000_000;
    assert!(
        (before.as_nanos() - slack..after.as_nanos() + slack).contains(&stamp),
        "{stamp} lies outside {before:?} to {after:?}"
    );
}

#[tokio::test]
async fn meta_of_a_deleted_object_says_so() {
    let node = Running::start().await;
    let id = put_named(&node, "gone.txt", b"hello").await;
    delete(&node, &id).await;
    let json = meta(&node, &id).await;
    assert_eq!(json["id"], id.as_str());
    assert_eq!(json["is_deleted"], true);
    assert_eq!(json["is_symlink"], false);
    assert_eq!(json["is_fetched"], false);
    assert!(json["timestamp"].is_u64() && json["user_meta"].is_object(), "{json}");
}

// ------------------------------------------------------------------------------------------ delete

#[tokio::test]
async fn a_delete_can_be_repeated_and_is_remembered() {
    let node = Running::start().await;
    for len in [5, 200_000] {
        let id = node.stored(&pattern(len)).await;
        for time in ["first", "second", "third"] {
            let reply = delete(&node, &id).await;
            assert_eq!(reply.status, 200, "{time}: {reply:?}");
            assert_eq!(reply.must("x-meta-deleted"), "true", "{time}");
            assert_eq!(reply.must("x-meta-id"), id, "{time}");
        }
        let got = node.ask(Ask::get(&id)).await;
        got.is_error(404, "deleted");
        assert_eq!(got.must("x-meta-deleted"), "true");
        let head = node.ask(Ask::get(&id).method("HEAD")).await;
        assert_eq!((head.status, head.must("x-meta-deleted")), (404, "true"));
        assert!(head.body.is_empty());
    }
}

#[tokio::test]
async fn delete_is_a_method_too() {
    let node = Running::start().await;
    let id = node.stored(b"hello").await;
    for _ in 0..2 {
        let reply = node.ask(Ask::get(&id).method("DELETE")).await;
        assert_eq!((reply.status, reply.must("x-meta-deleted")), (200, "true"));
    }
    node.ask(Ask::get(&id)).await.is_error(404, "deleted");
}

#[tokio::test]
async fn a_delete_under_a_condition_that_fails_deletes_nothing() {
    let node = Running::start().await;
    let id = node.stored(b"hello").await;
    let tag = node.ask(Ask::get(&id)).await.must("etag").to_owned();
    for method in ["POST", "DELETE"] {
        let path = if method == "POST" { "delete" } else { "get" };
        let ask = Ask::new(method, &format!("/api/v1/{path}/{id}")).field("If-Match", "\"other\"");
        node.ask(ask).await.is_error(412, "precondition-failed");
        assert_eq!(node.ask(Ask::get(&id)).await.status, 200);
    }
    let ask = Ask::new("POST", &format!("/api/v1/delete/{id}")).field("If-Match", tag);
    assert_eq!(node.ask(ask).await.status, 200);
    assert_eq!(node.ask(Ask::get(&id)).await.status, 404);
}

#[tokio::test]
async fn a_deleted_object_can_be_put_again() {
    let node = Running::start().await;
    let id = put_named(&node, "first.txt", b"first").await;
    delete(&node, &id).await;
    let create = Ask::put(&id).field("If-None-Match", "*").body(b"second");
    assert_eq!(node.ask(create).await.status, 200, "what is deleted does not exist");
    let got = node.ask(Ask::get(&id)).await;
    assert_eq!((got.status, got.body.as_slice()), (200, b"second".as_slice()));
    assert!(got.header("x-meta-deleted").is_none());
    assert_eq!(meta(&node, &id).await["is_deleted"], false);
    delete(&node, &id).await;
    assert_eq!(node.ask(Ask::get(&id)).await.status, 404);
}

// ------------------------------------------------------------------------------------------- level

#[tokio::test]
async fn a_level_is_raised_without_the_body() {
    let node = Running::start().await;
    for len in [9, 200_000] {
        let body = pattern(len);
        let id = node.stored(&body).await;
        for (level, then) in
            [("0", "0"), ("1", "1"), ("2", "2"), ("2", "2"), ("0", "2"), ("1", "2")]
        {
            let ask = Ask::new("POST", &format!("/api/v1/level/{id}"))
                .field("X-Meta-ConsistencyLevel", level);
            let reply = node.ask(ask).await;
            assert_eq!(reply.status, 200, "to {level}: {reply:?}");
            assert_eq!(level_of(&reply), then, "a level is never lowered");
            let got = node.ask(Ask::get(&id)).await;
            assert_eq!(level_of(&got), then);
            assert!(got.body == body);
        }
    }
}

#[tokio::test]
async fn a_deleted_object_has_no_level_to_raise() {
    let node = Running::start().await;
    let id = node.stored(b"hello").await;
    delete(&node, &id).await;
    let ask =
        Ask::new("POST", &format!("/api/v1/level/{id}")).field("X-Meta-ConsistencyLevel", "1");
    let reply = node.ask(ask).await;
    reply.is_error(404, "deleted");
    assert_eq!(reply.must("x-meta-deleted"), "true");
    assert_eq!(node.ask(Ask::get(&id)).await.status, 404);
}

#[tokio::test]
async fn an_overwrite_never_lowers_the_level() {
    let node = Running::start().await;
    let id = node.fresh_id();
    for (level, then) in [("1", "1"), ("0", "1"), ("2", "2"), ("1", "2"), ("0", "2")] {
        let put = Ask::put(&id).field("X-Meta-ConsistencyLevel", level).body(level.as_bytes());
        let put = node.ask(put).await;
        assert_eq!((put.status, level_of(&put)), (200, then), "{put:?}");
    }
    let put = node.ask(Ask::put(&id).body(b"no level named")).await;
    assert_eq!((put.status, level_of(&put)), (200, "2"));
    assert_eq!(meta(&node, &id).await["consistency"], 2);
}

// -------------------------------------------------------------------------------------------- list

fn listed(reply: &Reply) -> Vec<String> {
    assert_eq!(reply.status, 200, "{reply:?}");
    let text = reply.text();
    assert!(text.is_empty() || text.ends_with('\n'), "each line ends: {text:?}");
    text.lines()
        .map(|line| {
            let json: Value = serde_json::from_str(line).expect("one JSON object per line");
            for name in [
                "id",
                "name",
                "size",
                "timestamp",
                "user_meta",
                "is_symlink",
                "consistency",
                "is_deleted",
                "is_fetched",
            ] {
                assert!(json.get(name).is_some(), "{name} is missing in {line}");
            }
            json["id"].as_str().unwrap().to_owned()
        })
        .collect()
}

#[tokio::test]
async fn a_list_is_in_order_of_id_and_comes_in_pages() {
    let node = Running::start().await;
    assert!(listed(&node.get("/api/v1/list").await).is_empty());
    let mut ids: Vec<String> = (0..25).map(|_| node.fresh_id()).collect();
    for id in ids.iter().rev() {
        assert_eq!(node.ask(Ask::put(id).body(b"x")).await.status, 200);
    }
    ids.sort();
    assert_eq!(listed(&node.get("/api/v1/list").await), ids);
    assert_eq!(listed(&node.get("/api/v1/list?limit=10").await), ids[..10]);
    assert_eq!(listed(&node.get("/api/v1/list?limit=99999").await), ids);
    let after = format!("/api/v1/list?after={}&limit=10", ids[9]);
    assert_eq!(listed(&node.get(&after).await), ids[10..20]);
    let swapped = format!("/api/v1/list?limit=10&after={}", ids[19].to_lowercase());
    assert_eq!(listed(&node.get(&swapped).await), ids[20..]);
    let past = format!("/api/v1/list?after={}", ids[24]);
    assert!(listed(&node.get(&past).await).is_empty());
}

#[tokio::test]
async fn a_list_names_deleted_objects_on_request() {
    let node = Running::start().await;
    let mut all = Vec::new();
    for _ in 0..6 {
        all.push(node.stored(b"x").await);
    }
    for id in all.iter().step_by(2) {
        delete(&node, id).await;
    }
    let live: Vec<String> = all.iter().skip(1).step_by(2).cloned().collect();
    assert_eq!(listed(&node.get("/api/v1/list").await), live);
    assert_eq!(listed(&node.get("/api/v1/list?deleted=0").await), live);
    assert_eq!(listed(&node.get("/api/v1/list?limit=2").await), live[..2], "a page is full");
    let reply = node.get("/api/v1/list?deleted=1").await;
    assert_eq!(listed(&reply), all);
    let gone = |line: &str| serde_json::from_str::<Value>(line).unwrap()["is_deleted"] == true;
    let marks: Vec<bool> = reply.text().lines().map(gone).collect();
    assert_eq!(marks, [true, false, true, false, true, false]);
}

#[tokio::test]
async fn a_list_with_nonsense_in_its_query_is_refused() {
    let node = Running::start().await;
    for query in
        ["limit=abc", "limit=-1", "limit=1.5", "after=abc", "after=%00", "after=../../etc/passwd"]
    {
        let reply = node.get(&format!("/api/v1/list?{query}")).await;
        assert_eq!(reply.status, 400, "{query}: {reply:?}");
        reply.error();
    }
}

// -------------------------------------------------------------------------------------------- node

#[tokio::test]
async fn ids_are_ulids_and_never_cached() {
    let node = Running::start().await;
    let reply = node.get("/api/v1/id").await;
    assert_eq!(reply.status, 200);
    assert!(reply.must("content-type").starts_with("text/plain"), "{reply:?}");
    assert_eq!(reply.must("cache-control"), "no-store");
    let id = reply.text().trim_end();
    assert_eq!(id.len(), 26, "{id:?}");
    assert!(id.bytes().all(|b| b"0123456789ABCDEFGHJKMNPQRSTVWXYZ".contains(&b)), "{id}");
    let put = node.ask(Ask::put(id).body(b"hello")).await;
    assert_eq!(put.status, 200, "an id from the node is good for a put: {put:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ids_increase_strictly_however_many_ask() {
    let node = Arc::new(Running::start().await);
    let mut askers = Vec::new();
    for _ in 0..8 {
        let node = Arc::clone(&node);
        askers.push(tokio::spawn(async move {
            let mut wire = node.connect().await;
            let mut ids: Vec<String> = Vec::new();
            for round in 0..200 {
                // Both ways to an id draw from one sequence.
                if round % 3 == 0 {
                    ids.push(node.fresh_id());
                } else {
                    let reply = wire.ask(&Ask::new("GET", "/api/v1/id")).await;
                    ids.push(reply.text().trim_end().to_owned());
                }
            }
            ids
        }));
    }
    let mut seen = HashSet::new();
    for asker in askers {
        let ids = asker.await.unwrap();
        assert!(ids.is_sorted_by(|a, b| a < b), "one asker sees them increase");
        seen.extend(ids);
    }
    assert_eq!(seen.len(), 8 * 200, "no id is given twice");
}

#[tokio::test]
async fn version_ping_and_stats_answer_and_are_never_cached() {
    let node = Running::start().await;
    let version = node.get("/api/v1/version").await;
    assert_eq!(version.status, 200);
    assert!(version.text().contains(env!("CARGO_PKG_VERSION")), "{version:?}");
    let ping = node.get("/api/v1/ping").await;
    assert_eq!(ping.status, 200);
    assert_eq!(ping.text().trim_end(), node.node.id().to_string());
    for reply in [&version, &ping, &node.get("/api/v1/stats").await] {
        assert_eq!(reply.must("cache-control"), "no-store");
    }
}

#[tokio::test]
async fn stats_name_the_disk_as_the_original_did() {
    let node = Running::start().await;
    node.stored(&pattern(1000)).await;
    let gone = node.stored(b"gone").await;
    delete(&node, &gone).await;
    let reply = node.get("/api/v1/stats").await;
    assert_eq!(reply.status, 200);
    assert!(reply.must("content-type").starts_with("application/json"));
    let json = reply.json();
    for name in ["bytes_all", "bytes_used", "bytes_free"] {
        assert!(json["disk_stats"][name].is_u64(), "{name}: {json}");
    }
    for name in ["gb_all", "gb_used", "gb_free"] {
        assert!(json["disk_stats"][name].is_number(), "{name}: {json}");
    }
    assert_eq!(json["node_id"], node.node.id().to_string());
    assert_eq!(json["journal"]["objects"], 1, "{json}");
    assert_eq!(json["journal"]["tombstones"], 1, "{json}");
    assert_eq!(json["bodies"]["bytes"], 1000, "{json}");
    assert_eq!(json["requests"]["puts"], 2, "{json}");
    assert_eq!(json["requests"]["deletes"], 1, "{json}");
}

#[tokio::test]
async fn health_stays_and_readiness_goes_when_the_node_drains() {
    let node = Running::start().await;
    assert_eq!(node.get("/healthz").await.status, 200);
    assert_eq!(node.get("/readyz").await.status, 200);
    assert!(node.node.is_ready());
    node.node.drain();
    assert!(!node.node.is_ready());
    assert_eq!(node.get("/readyz").await.status, 503);
    assert_eq!(node.get("/healthz").await.status, 200);
    assert_eq!(node.ask(Ask::new("HEAD", "/readyz")).await.status, 503);
}

#[tokio::test]
async fn metrics_are_what_the_host_gives_or_absent() {
    let node = Running::start().await;
    node.get("/metrics").await.is_error(404, "no-such-route");

    let inner = memory_node(|_| {}).await;
    let text = "# TYPE up gauge\nup 1\n";
    let service = inner.public_service().with_metrics(Arc::new(move || text.to_owned()));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let server = Server::start(listener, service).unwrap();
    let mut wire = support::Wire::open(server.local_addr()).await;
    let reply = wire.ask(&Ask::new("GET", "/metrics")).await;
    assert_eq!((reply.status, reply.text()), (200, text));
    assert!(reply.must("content-type").starts_with("text/plain"), "{reply:?}");
    let wrong = wire.ask(&Ask::new("POST", "/metrics")).await;
    wrong.is_error(405, "method-not-allowed");
}

#[tokio::test]
async fn a_path_that_is_no_route_is_not_found() {
    let node = Running::start().await;
    for path in
        ["/", "/favicon.ico", "/api/v1/nothing", "/api/v1/idx", "/api/v1/put/x", "/healthzz"]
    {
        node.get(path).await.is_error(404, "no-such-route");
    }
}

// ------------------------------------------------------------------------------------ names, types

#[tokio::test]
async fn the_content_type_follows_from_the_names_extension() {
    let node = Running::start().await;
    for (name, kind) in [
        ("a.txt", "text/plain; charset=utf-8"),
        ("A.TXT", "text/plain; charset=utf-8"),
        ("a.tar.txt", "text/plain; charset=utf-8"),
        ("a.css", "text/css; charset=utf-8"),
        ("a.csv", "text/csv; charset=utf-8"),
        ("a.png", "image/png"),
        ("a.jpg", "image/jpeg"),
        ("a.pdf", "application/pdf"),
        ("a.zip", "application/zip"),
        ("a.json", "application/json"),
        ("a.mp4", "video/mp4"),
        ("a", "application/octet-stream"),
        ("txt", "application/octet-stream"),
        ("a.unheard-of", "application/octet-stream"),
        ("", "application/octet-stream"),
    ] {
        let id = put_named(&node, name, b"body").await;
        let got = node.ask(Ask::get(&id)).await;
        assert_eq!(got.must("content-type"), kind, "{name}");
        assert_eq!(got.must("x-content-type-options"), "nosniff");
    }
}

#[tokio::test]
async fn a_given_content_type_counts_where_the_name_says_nothing() {
    let node = Running::start().await;
    let kind_of = async |name: &str, given: &str| {
        let id = node.fresh_id();
        let put = Ask::put(&id).field("X-Meta-Name", name).field("Content-Type", given);
        assert_eq!(node.ask(put.body(b"body")).await.status, 200);
        node.ask(Ask::get(&id)).await.must("content-type").to_owned()
    };
    assert_eq!(kind_of("report", "application/pdf").await, "application/pdf");
    assert_eq!(kind_of("", "image/webp").await, "image/webp");
    assert_eq!(kind_of("a.unheard-of", "application/x-thing").await, "application/x-thing");
    assert_eq!(kind_of("a.txt", "application/pdf").await, "text/plain; charset=utf-8");
    // What curl -d adds on its own says nothing about the body.
    let form = "application/x-www-form-urlencoded";
    assert_eq!(kind_of("", form).await, "application/octet-stream");
    assert_eq!(kind_of("report", form).await, "application/octet-stream");
    assert_eq!(kind_of("test.txt", form).await, "text/plain; charset=utf-8");
}

#[tokio::test]
async fn what_a_browser_would_run_is_served_as_an_attachment() {
    let node = Running::start().await;
    let attached = |reply: &Reply| {
        reply.header("content-disposition").is_some_and(|value| value.starts_with("attachment"))
    };
    for name in ["a.html", "a.htm", "A.HTML", "a.xhtml", "a.svg", "a.xml"] {
        let id = put_named(&node, name, b"<script>alert(1)</script>").await;
        for ask in
            [Ask::get(&id), Ask::get(&id).method("HEAD"), Ask::get(&id).field("Range", "bytes=0-7")]
        {
            let got = node.ask(ask).await;
            assert!(attached(&got), "{name}: {got:?}");
            assert_eq!(got.must("x-content-type-options"), "nosniff");
        }
    }
    for kind in
        ["text/html", "TEXT/HTML", "text/html; charset=utf-8", "text/html;x", "image/svg+xml"]
    {
        let id = node.fresh_id();
        node.ask(Ask::put(&id).field("Content-Type", kind).body(b"<script>")).await;
        let got = node.ask(Ask::get(&id)).await;
        assert!(attached(&got), "{kind}: {got:?}");
    }
    for name in ["a.txt", "a.png", "a.pdf", "a.bin"] {
        let id = put_named(&node, name, b"harmless").await;
        let got = node.ask(Ask::get(&id)).await;
        assert!(!attached(&got), "{name}: {got:?}");
    }
}

/// Decodes percent escapes (RFC 3986 §2.1).
fn percent_decoded(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let hex = [bytes.next().unwrap(), bytes.next().unwrap()];
            let hex = std::str::from_utf8(&hex).unwrap();
            out.push(u8::from_str_radix(hex, 16).expect("two hexadecimal digits"));
        } else {
            // RFC 8187 §3.2.1: attr-char.
            assert!(byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte), "{byte}");
            out.push(byte);
        }
    }
    out
}

#[tokio::test]
async fn a_name_may_be_in_any_script() {
    let node = Running::start().await;
    for name in ["naïve façade.txt", "日本語.txt", "Größe €.txt", "🦀.txt", "اسم.txt"]
    {
        let id = put_named(&node, name, b"body").await;
        for ask in [Ask::get(&id), Ask::get(&id).method("HEAD")] {
            let got = node.ask(ask).await;
            assert_eq!(got.raw("x-meta-name"), Some(name.as_bytes()), "UTF-8 on the wire");
            assert_eq!(got.must("content-type"), "text/plain; charset=utf-8");
            let disposition = got.must("content-disposition");
            let extended = disposition
                .split(';')
                .find_map(|part| part.trim().strip_prefix("filename*=UTF-8''"))
                .unwrap_or_else(|| panic!("no filename* (RFC 8187): {disposition}"));
            assert_eq!(percent_decoded(extended), name.as_bytes());
            assert!(disposition.is_ascii(), "{disposition}");
        }
        assert_eq!(meta(&node, &id).await["name"], name);
    }
}

#[tokio::test]
async fn a_name_cannot_forge_a_header() {
    let node = Running::start().await;
    for name in [
        r#"a"; filename="evil.exe"#,
        r"back\slash.txt",
        "semi;colon.txt",
        "100%.txt",
        "%0d%0aSet-Cookie: a=b.txt",
        "../../etc/passwd",
        "a'b.html",
        "a\u{2028}b.html",
        "\u{202e}txt.exe.html",
        "q\"uo\"te.html",
    ] {
        let id = put_named(&node, name, b"body").await;
        let got = node.ask(Ask::get(&id)).await;
        assert_eq!(got.status, 200, "{name}: {got:?}");
        assert_eq!(got.raw("x-meta-name"), Some(name.as_bytes()));
        assert!(got.header("set-cookie").is_none(), "{got:?}");
        if let Some(disposition) = got.header("content-disposition") {
            let names = quoted_away(disposition).matches("filename=").count();
            assert!(names <= 1, "{disposition}");
        }
        assert_eq!(meta(&node, &id).await["name"], name);
    }
}

/// A field value with what stands in quoted strings (RFC 9110 §5.6.4) taken out.
fn quoted_away(value: &str) -> String {
    let mut out = String::new();
    let mut quoted = false;
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' if quoted => {
                chars.next();
            }
            '"' => quoted = !quoted,
            _ if quoted => {}
            _ => out.push(c),
        }
    }
    assert!(!quoted, "a quoted string without end: {value}");
    out
}

#[tokio::test]
async fn user_metadata_comes_back_as_it_went_in() {
    let node = Running::start().await;
    for meta_in in [
        r#"{"Author":"bob","lang":"en"}"#,
        r#"{"author":"a","Author":"b","AUTHOR":"c"}"#,
        r#"{"Größe":"42 €","日本":"語"}"#,
        r#"{"escaped":"a\r\nb\tc\"d\\e\u0000\u007f"}"#,
        r#"{"":"empty name","empty value":""}"#,
        r#"{"crab":"\ud83e\udd80"}"#,
        "{}",
    ] {
        let id = node.fresh_id();
        let put = node.ask(Ask::put(&id).field("X-Meta-UserMeta", meta_in).body(b"x")).await;
        assert_eq!(put.status, 200, "{meta_in}: {put:?}");
        let expected: Value = serde_json::from_str(meta_in).unwrap();
        let got = node.ask(Ask::get(&id)).await;
        match got.raw("x-meta-usermeta") {
            Some(field) => {
                assert_eq!(serde_json::from_slice::<Value>(field).unwrap(), expected);
            }
            None => assert_eq!(meta_in, "{}", "{got:?}"),
        }
        assert_eq!(meta(&node, &id).await["user_meta"], expected);
    }
}

// --------------------------------------------------------------------------- digests, expectations

#[tokio::test]
async fn a_content_md5_that_matches_is_accepted_and_another_is_not() {
    let node = Running::start().await;
    // MD5 of "hello", and of three MiB of zeros.
    for (body, md5) in [
        (b"hello".to_vec(), "XUFAKrxLKna5cZ2REBfFkg=="),
        (vec![0; 3 << 20], "0d0hDWsTEss0K1bQK9XmUQ=="),
        (Vec::new(), "1B2M2Y8AsgTpgAmY7PhCfg=="),
    ] {
        let id = node.fresh_id();
        let good = node.ask(Ask::put(&id).field("Content-MD5", md5).body(&body)).await;
        assert_eq!(good.status, 200, "{good:?}");
        let before = node.journal().await;
        for id in [node.fresh_id(), id] {
            for ask in [Ask::put(&id).body(&body), Ask::put(&id).chunks(&body, 100_000)] {
                let bad = ask.field("Content-MD5", "AAAAAAAAAAAAAAAAAAAAAA==");
                node.ask(bad).await.is_error(400, "digest-mismatch");
            }
        }
        assert_eq!(node.journal().await, before, "nothing was stored");
    }
    for nonsense in
        ["", "hello", "5d41402abc4b2a76b9719d911017c592", "XUFAKrxLKna5cZ2REBfF", "===="]
    {
        let ask = Ask::put(&node.fresh_id()).field("Content-MD5", nonsense).body(b"hello");
        let reply = node.ask(ask).await;
        assert_eq!(reply.status, 400, "Content-MD5: {nonsense}: {reply:?}");
        reply.error();
    }
}

#[tokio::test]
async fn a_repr_digest_that_matches_is_accepted_and_another_is_not() {
    let node = Running::start().await;
    let sha256 = "sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:";
    let sha512 = "sha-512=:m3HSJL1i83hdltRq0+o9czGb+8KJDKra4t/3JRlnPKcjI8PZm6XBHXx6zG4UuMXaDEZjR1wuXDre9G9zvN7AQw==:";
    let other = "sha-256=:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=:";
    let unheard = "unheard-of=:AAAA:";
    for good in [
        sha256.to_owned(),
        sha512.to_owned(),
        format!("{sha256}, {sha512}"),
        format!("{unheard},{sha512}"),
        unheard.to_owned(),
    ] {
        let ask = Ask::put(&node.fresh_id()).field("Repr-Digest", &good).body(b"hello");
        let reply = node.ask(ask).await;
        assert_eq!(reply.status, 200, "Repr-Digest: {good}: {reply:?}");
    }
    let large = "sha-256=:u9Bc9gl6ybH4nqKdJULBt7Z+5GhIOTiV9ankP6H2IeU=:";
    let ask = Ask::put(&node.fresh_id()).field("Repr-Digest", large).body(&vec![0; 3 << 20]);
    assert_eq!(node.ask(ask).await.status, 200);
    let before = node.journal().await;
    for bad in [other.to_owned(), format!("{sha512}, {other}"), large.to_owned()] {
        let ask = Ask::put(&node.fresh_id()).field("Repr-Digest", &bad).body(b"hello");
        node.ask(ask).await.is_error(400, "digest-mismatch");
    }
    assert_eq!(node.journal().await, before, "nothing was stored");
}

#[tokio::test]
async fn a_client_that_waits_for_100_is_asked_for_the_body() {
    let node = Running::start().await;
    let id = node.fresh_id();
    let body = pattern(200_000);
    for expect in ["100-continue", "100-Continue"] {
        let ask = Ask::put(&id).field("Expect", expect).body(&body);
        let mut wire = node.connect().await;
        wire.send(&ask.head()).await;
        assert_eq!(wire.next_status().await, 100);
        wire.send(&ask.payload()).await;
        assert_eq!(wire.reply().await.expect("an answer").status, 200);
        assert!(node.ask(Ask::get(&id)).await.body == body);
    }

    // Refused for what stands in the head: the body is never asked for.
    let create = Ask::put(&id).field("If-None-Match", "*").field("Expect", "100-continue");
    let create = create.body(&body);
    let mut wire = node.connect().await;
    wire.send(&create.head()).await;
    assert_eq!(wire.next_status().await, 412, "an answer instead of 100");
}

#[tokio::test]
async fn a_content_encoding_is_kept_and_never_decoded() {
    let node = Running::start().await;
    // Not gzip at all: nobody has looked inside.
    let body = b"\x1f\x8bnot really gzip".to_vec();
    for encoding in ["gzip", "br", "zstd", "aws-chunked", "x-unheard-of"] {
        let id = node.fresh_id();
        let put = Ask::put(&id).field("X-Meta-Name", "a.txt").field("Content-Encoding", encoding);
        assert_eq!(node.ask(put.body(&body)).await.status, 200, "{encoding}");
        for accept in ["gzip, br", "identity", "*;q=0"] {
            let got = node.ask(Ask::get(&id).field("Accept-Encoding", accept)).await;
            assert_eq!((got.status, got.must("content-encoding")), (200, encoding));
            assert_eq!(got.body, body);
            assert_eq!(got.must("content-type"), "text/plain; charset=utf-8");
        }
    }
    let plain = node.stored(b"plain").await;
    let got = node.ask(Ask::get(&plain).field("Accept-Encoding", "gzip")).await;
    assert!(got.header("content-encoding").is_none());
}

#[tokio::test]
async fn a_request_id_is_echoed() {
    let node = Running::start().await;
    let id = node.stored(b"hello").await;
    let request_id = "01BRNMMS1DK3CBD4ZZM2TQ8C5B-abc_1.2";
    for ask in [
        Ask::get(&id),
        Ask::get(&id).method("HEAD"),
        Ask::put(&id).body(b"again"),
        Ask::new("GET", "/api/v1/id"),
        Ask::get("no-id"),
        Ask::new("GET", "/nowhere"),
    ] {
        let reply = node.ask(ask.field("X-Request-Id", request_id)).await;
        assert_eq!(reply.header("x-request-id"), Some(request_id), "{reply:?}");
    }
}

// -------------------------------------------------------------------------------------- conditions

#[tokio::test]
async fn create_only_creates_once() {
    let node = Running::start().await;
    let id = node.fresh_id();
    let create = |body: &[u8]| Ask::put(&id).field("If-None-Match", "*").body(body);
    assert_eq!(node.ask(create(b"first")).await.status, 200);
    node.ask(create(b"second")).await.is_error(412, "precondition-failed");
    assert_eq!(node.ask(Ask::get(&id)).await.body, b"first");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_that_create_one_object_one_succeeds() {
    let node = Arc::new(Running::start().await);
    for len in [20, 200_000] {
        let id = node.fresh_id();
        let mut creators = Vec::new();
        for number in 0..16_u8 {
            let node = Arc::clone(&node);
            let ask = Ask::put(&id).field("If-None-Match", "*").body(&vec![number; len]);
            creators.push(tokio::spawn(async move { node.ask(ask).await.status }));
        }
        let mut winner = None;
        for (number, creator) in creators.into_iter().enumerate() {
            match creator.await.unwrap() {
                200 => assert_eq!(winner.replace(number), None, "two have created one object"),
                412 => {}
                other => panic!("status {other}"),
            }
        }
        let winner = u8::try_from(winner.expect("one has created it")).unwrap();
        assert!(node.ask(Ask::get(&id)).await.body == vec![winner; len]);
    }
}

#[tokio::test]
async fn an_overwrite_can_insist_on_the_version_it_replaces() {
    let node = Running::start().await;
    let id = node.fresh_id();
    let first = node.ask(Ask::put(&id).body(b"first")).await.must("etag").to_owned();
    let second = node.ask(Ask::put(&id).field("If-Match", &first).body(b"second")).await;
    assert_eq!(second.status, 200);
    let lost = node.ask(Ask::put(&id).field("If-Match", &first).body(b"lost")).await;
    lost.is_error(412, "precondition-failed");
    let weak = format!("W/{}", second.must("etag"));
    let weak = node.ask(Ask::put(&id).field("If-Match", weak).body(b"weak")).await;
    weak.is_error(412, "precondition-failed");
    let list = format!("\"a\", {} , \"b\"", second.must("etag"));
    let listed = node.ask(Ask::put(&id).field("If-Match", list).body(b"third")).await;
    assert_eq!(listed.status, 200);
    let any = node.ask(Ask::put(&id).field("If-Match", "*").body(b"fourth")).await;
    assert_eq!(any.status, 200);
    assert_eq!(node.ask(Ask::get(&id)).await.body, b"fourth");
    delete(&node, &id).await;
    let gone = node.ask(Ask::put(&id).field("If-Match", "*").body(b"fifth")).await;
    gone.is_error(412, "precondition-failed");
}

// ------------------------------------------------------------------------------------- who may ask

#[tokio::test]
async fn a_page_in_a_browser_is_not_this_machines_user() {
    let node = Running::start().await;
    let id = node.stored(b"hello").await;
    let port = node.addr.port();
    for host in [
        "localhost".to_owned(),
        "LocalHost".to_owned(),
        format!("localhost:{port}"),
        format!("127.0.0.1:{port}"),
        "127.0.0.1".to_owned(),
        "127.1.2.3".to_owned(),
        "[::1]".to_owned(),
        format!("[::1]:{port}"),
        "localhost:1".to_owned(),
    ] {
        let reply = node.ask(Ask::get(&id).host(&host)).await;
        assert_eq!(reply.status, 200, "Host: {host}: {reply:?}");
    }
    for origin in ["http://localhost", "http://localhost:3000", "http://127.0.0.1:8080"] {
        let reply = node.ask(Ask::get(&id).field("Origin", origin)).await;
        assert_eq!(reply.status, 200, "Origin: {origin}: {reply:?}");
    }
    for host in [
        "evil.example",
        "evil.example:80",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "xlocalhost",
        "10.0.0.1",
        "0.0.0.1",
        "[2001:db8::1]",
    ] {
        let reply = node.ask(Ask::get(&id).host(host)).await;
        reply.is_error(403, "forbidden");
        assert!(reply.text().contains("allow"), "the 403 says which setting helps: {reply:?}");
        let put = node.ask(Ask::put(&id).host(host).body(b"changed")).await;
        put.is_error(403, "forbidden");
        let gone = Ask::new("POST", &format!("/api/v1/delete/{id}")).host(host);
        node.ask(gone).await.is_error(403, "forbidden");
    }
    for origin in [
        "http://evil.example",
        "https://evil.example:8443",
        "http://localhost.evil.example",
        "http://localhost@evil.example",
        "null",
        "nonsense",
    ] {
        for ask in [
            Ask::get(&id),
            Ask::put(&id).body(b"changed"),
            Ask::get(&id).method("DELETE"),
            Ask::new("GET", "/api/v1/id"),
        ] {
            let reply = node.ask(ask.field("Origin", origin)).await;
            assert_eq!(reply.status, 403, "Origin: {origin}: {reply:?}");
            assert_eq!(reply.error(), "forbidden");
        }
    }
    assert_eq!(node.ask(Ask::get(&id)).await.body, b"hello");
}

#[tokio::test]
async fn a_host_that_is_listed_may_ask() {
    let node = Running::start_with(|settings| {
        settings.http.allow_hosts = vec!["cache.internal".to_owned()];
    })
    .await;
    for host in ["cache.internal", "CACHE.internal", "cache.internal:80", "localhost"] {
        let reply = node.ask(Ask::new("GET", "/api/v1/id").host(host)).await;
        assert_eq!(reply.status, 200, "Host: {host}: {reply:?}");
    }
    let origin = Ask::new("GET", "/api/v1/id").field("Origin", "https://cache.internal");
    assert_eq!(node.ask(origin).await.status, 200);
    for host in ["evil.example", "x.cache.internal", "cache.internal.evil.example"] {
        let reply = node.ask(Ask::new("GET", "/api/v1/id").host(host)).await;
        assert_eq!(reply.status, 403, "Host: {host}: {reply:?}");
    }
}

#[tokio::test]
async fn a_listener_beyond_loopback_takes_any_host() {
    let node = Running::serve(memory_node(|_| {}).await, Ipv4Addr::UNSPECIFIED).await;
    for host in ["cache.example", "10.1.2.3:10999", "localhost"] {
        let reply = node.ask(Ask::new("GET", "/api/v1/id").host(host)).await;
        assert_eq!(reply.status, 200, "Host: {host}: {reply:?}");
    }
}

// -------------------------------------------------------------------------------------- connection

#[tokio::test]
async fn one_connection_serves_many_requests_in_order() {
    let node = Running::start().await;
    let id = node.fresh_id();
    let mut wire = node.connect().await;
    for round in 0..20_usize {
        let body = pattern(round * 10_000);
        assert_eq!(wire.ask(&Ask::put(&id).body(&body)).await.status, 200);
        assert!(wire.ask(&Ask::get(&id)).await.body == body);
        wire.ask(&Ask::get(&node.fresh_id())).await.is_error(404, "not-found");
    }
    // Sent at once, answered one after the other.
    let mut bytes = Vec::new();
    for number in 0..10_u8 {
        bytes.extend_from_slice(&Ask::put(&id).body(&[number; 100]).bytes());
        bytes.extend_from_slice(&Ask::get(&id).bytes());
    }
    wire.send(&bytes).await;
    for number in 0..10_u8 {
        assert_eq!(wire.reply().await.expect("an answer").status, 200);
        assert_eq!(wire.reply().await.expect("an answer").body, [number; 100]);
    }
}

#[tokio::test]
async fn requests_in_one_packet_are_served_however_their_bodies_are_framed() {
    let node = Running::start().await;
    let id = node.fresh_id();
    let asks = [
        Ask::new("GET", "/api/v1/id"),
        Ask::put(&id).chunks(b"first", 2),
        Ask::get(&id),
        Ask::put(&id).body(b"second"),
        Ask::put(&id).chunks(&pattern(1000), 100),
        Ask::put(&id).chunks(&pattern(2000), 100),
        Ask::get(&id),
    ];
    let bytes: Vec<u8> = asks.iter().flat_map(Ask::bytes).collect();
    let mut wire = node.connect().await;
    wire.send(&bytes).await;
    for ask in &asks {
        let reply = wire.reply().await.expect("an answer to each");
        assert_eq!(reply.status, 200, "{ask:?}: {reply:?}");
    }
    assert!(node.ask(Ask::get(&id)).await.body == pattern(2000));
}

#[tokio::test]
async fn a_client_of_http_1_0_is_served() {
    let node = Running::start().await;
    let id = node.stored(&pattern(100_000)).await;
    let request = format!("GET /api/v1/get/{id} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    let mut wire = node.connect().await;
    let reply = wire.exchange(request.as_bytes()).await.expect("an answer");
    assert_eq!(reply.status, 200);
    assert!(reply.body == pattern(100_000));
    wire.closes("an HTTP/1.0 answer").await;
}

#[tokio::test]
async fn a_client_that_asks_for_the_close_gets_it() {
    let node = Running::start().await;
    let mut wire = node.connect().await;
    let reply = wire.ask(&Ask::new("GET", "/api/v1/id").field("Connection", "close")).await;
    assert_eq!(reply.status, 200);
    wire.closes("Connection: close").await;
}
