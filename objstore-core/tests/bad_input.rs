//! The 25 kinds of bad input, tried over raw sockets: each gets a clear error, changes nothing, and
//! leaves the node serving. A full disk (the first half of kind 25) is tried where there is a disk.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used)]

mod support;

use std::time::Duration;

use objstore_core::Settings;
use support::{Ask, Reply, Running, Wire, find, patiently, pattern};

/// A put in good form, with a body, up to the place where a test goes on.
fn put_head(id: &str) -> String {
    format!("POST /api/v1/put HTTP/1.1\r\nHost: localhost\r\nX-Meta-ID: {id}\r\n")
}

/// Insists that a refusal explains itself. Where the HTTP library answers before our code has seen
/// a request, the body may be empty.
#[track_caller]
fn explains_itself(reply: &Reply, request: &str) {
    if reply.body.is_empty() {
        assert!(
            matches!(reply.status, 400 | 408 | 414 | 431 | 505),
            "no explanation: {reply:?} to {request}"
        );
    } else {
        reply.error();
    }
}

/// Insists that the node takes new work after what it has just been sent.
async fn still_serves(node: &Running, request: &str) {
    let reply = node.get("/api/v1/id").await;
    assert_eq!(reply.status, 200, "the node no longer serves after {request}: {reply:?}");
}

/// Sends bytes on a connection of their own and insists that they are refused with one of these
/// statuses, change nothing and do no harm. The connection may go on or not.
async fn refused(node: &Running, request: &[u8], statuses: &[u16]) -> Reply {
    let shown = String::from_utf8_lossy(&request[..request.len().min(600)]).into_owned();
    let before = node.journal().await;
    let reply = node.connect().await.exchange(request).await;
    let reply = reply.unwrap_or_else(|| panic!("closed without a word: {shown}"));
    assert!(statuses.contains(&reply.status), "{reply:?}\nto {shown}");
    explains_itself(&reply, &shown);
    assert_eq!(node.journal().await, before, "something changed: {shown}");
    still_serves(node, &shown).await;
    reply
}

/// As [`refused`], for input after which nothing on the connection can be trusted: a request that
/// follows in the same write must never be handled, and the connection must be closed. With
/// `or_silence` the close may come without an answer.
async fn refused_and_closed(
    node: &Running,
    request: &[u8],
    statuses: &[u16],
    or_silence: bool,
) -> Option<Reply> {
    let shown = String::from_utf8_lossy(&request[..request.len().min(600)]).into_owned();
    let before = node.journal().await;
    let mut bytes = request.to_vec();
    bytes.extend_from_slice(&Ask::put(&node.fresh_id()).body(b"smuggled").bytes());
    let mut wire = node.connect().await;
    let reply = wire.exchange(&bytes).await;
    match &reply {
        Some(reply) => {
            assert!(statuses.contains(&reply.status), "{reply:?}\nto {shown}");
            explains_itself(reply, &shown);
        }
        None => assert!(or_silence, "closed without a word: {shown}"),
    }
    wire.closes(&shown).await;
    assert_eq!(node.journal().await, before, "something changed: {shown}");
    still_serves(node, &shown).await;
    reply
}

#[tokio::test]
async fn kind_01_a_request_without_exactly_one_good_host_is_refused() {
    let node = Running::start().await;
    refused(&node, b"GET /api/v1/id HTTP/1.1\r\n\r\n", &[400]).await;
    refused(&node, b"GET /api/v1/id HTTP/1.1\r\nAccept: */*\r\n\r\n", &[400]).await;
    for (first, second) in
        [("localhost", "127.0.0.1"), ("localhost", "localhost"), ("localhost", "evil.example")]
    {
        let request = format!("GET /api/v1/id HTTP/1.1\r\nHost: {first}\r\nHost: {second}\r\n\r\n");
        refused(&node, request.as_bytes(), &[400]).await;
    }
    let bad: &[&[u8]] = &[
        b"",
        b"local host",
        b"localhost:http",
        b"localhost:-1",
        b"localhost:80:80",
        b"localhost, localhost",
        b"user@localhost",
        b"localhost/path",
        b"localhost?",
        b"localhost#",
        b"http://localhost",
        b"[::1",
        b"::1",
        b"[localhost]",
        b"local\xffhost",
        b"local\\host",
        b"<localhost>",
        b":80",
    ];
    for host in bad {
        let reply = refused(&node, &Ask::new("GET", "/api/v1/id").host(host).bytes(), &[400]).await;
        assert!(!reply.body.is_empty(), "Host {:?}", String::from_utf8_lossy(host));
        let put = Ask::put(&node.fresh_id()).host(host).body(b"hello");
        refused(&node, &put.bytes(), &[400]).await;
    }
}

#[tokio::test]
async fn kind_02_a_content_length_beside_a_transfer_encoding_is_refused() {
    let node = Running::start().await;
    let old = node.stored(b"old").await;
    let smuggled = format!("0\r\n\r\nDELETE /api/v1/get/{old} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let framings = [
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", smuggled.len()),
        format!("Transfer-Encoding: chunked\r\nContent-Length: {}\r\n", smuggled.len()),
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n".to_owned(),
        "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n".to_owned(),
        "Transfer-Encoding: chunked\r\nContent-Length: nonsense\r\n".to_owned(),
        "Content-Length: 5\r\ntransfer-encoding: CHUNKED\r\n".to_owned(),
        "Content-Length: 5\r\nTransfer-Encoding: identity\r\n".to_owned(),
        "Content-Length: 5\r\nTransfer-Encoding:\r\n".to_owned(),
        "Content-Length: 5\r\nX-Filler: a\r\nTransfer-Encoding: chunked\r\n".to_owned(),
    ];
    for framing in &framings {
        let request = format!("{}{framing}\r\n{smuggled}", put_head(&node.fresh_id()));
        refused_and_closed(&node, request.as_bytes(), &[400], true).await;
        let request =
            format!("GET /api/v1/get/{old} HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n{smuggled}");
        refused_and_closed(&node, request.as_bytes(), &[400], true).await;
    }
    // The same behind good requests in one write, where it is harder to see.
    for framing in &framings {
        for before in [
            Ask::new("GET", "/api/v1/id"),
            Ask::put(&old).chunks(b"old", 2),
            Ask::put(&old).body(b"old"),
        ] {
            let mut bytes = before.bytes();
            let id = node.fresh_id();
            bytes.extend_from_slice(format!("{}{framing}\r\n{smuggled}", put_head(&id)).as_bytes());
            bytes.extend_from_slice(&Ask::put(&node.fresh_id()).body(b"smuggled").bytes());
            let mut wire = node.connect().await;
            let first = wire.exchange(&bytes).await.expect("an answer to the good request");
            assert_eq!(first.status, 200, "{before:?}: {first:?}");
            if let Some(second) = wire.reply().await {
                assert_eq!(second.status, 400, "{framing:?} behind {before:?}: {second:?}");
            }
            wire.closes("contradicting lengths").await;
            assert_eq!(node.journal().await.len(), 1, "nothing but the old object");
        }
    }
    // Both in good form but contradicting each other is the smuggler's classic: it gets an answer.
    for framing in framings.iter().take(4) {
        let request = format!("{}{framing}\r\n{smuggled}", put_head(&node.fresh_id()));
        refused_and_closed(&node, request.as_bytes(), &[400], false).await;
    }
    assert_eq!(node.ask(Ask::get(&old)).await.body, b"old");
}

#[tokio::test]
async fn kind_03_a_content_length_that_is_no_number_is_refused() {
    let node = Running::start().await;
    let lengths = [
        "Content-Length: +5",
        "Content-Length: -1",
        "Content-Length: -0",
        "Content-Length: 5, 6",
        "Content-Length: 5,6",
        "Content-Length: 5 6",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: 6\r\nContent-Length: 5",
        "Content-Length: 5\r\nX-Filler: a\r\ncontent-length: 50",
        "Content-Length: 18446744073709551616",
        "Content-Length: 18446744073709551621",
        "Content-Length: 99999999999999999999999999999999999999999",
        "Content-Length: 0x5",
        "Content-Length: 5h",
        "Content-Length: 5.0",
        "Content-Length: 1e1",
        "Content-Length: 5;",
        "Content-Length: \"5\"",
        "Content-Length: five",
        "Content-Length: ５",
        "Content-Length: ,5",
        "Content-Length:",
    ];
    for length in lengths {
        let request = format!("{}{length}\r\n\r\nhello", put_head(&node.fresh_id()));
        refused_and_closed(&node, request.as_bytes(), &[400], false).await;
        let request =
            format!("GET /api/v1/id HTTP/1.1\r\nHost: localhost\r\n{length}\r\n\r\nhello");
        refused_and_closed(&node, request.as_bytes(), &[400], false).await;
    }
}

#[tokio::test]
async fn kind_04_a_transfer_coding_other_than_chunked_is_refused() {
    let node = Running::start().await;
    let codings = [
        "gzip",
        "gzip, chunked",
        "chunked, gzip",
        "chunked, chunked",
        "deflate, chunked",
        "identity",
        "identity, chunked",
        "chunked, identity",
        "compress",
        "br",
        "xchunked",
        "chunkedx",
        "\"chunked\"",
        "chunked;q=1",
        "\u{b}chunked",
        "",
    ];
    for coding in codings {
        for field in [
            format!("Transfer-Encoding: {coding}"),
            format!("Transfer-Encoding: {coding}\r\nX-Filler: a"),
        ] {
            let request =
                format!("{}{field}\r\n\r\n5\r\nhello\r\n0\r\n\r\n", put_head(&node.fresh_id()));
            refused_and_closed(&node, request.as_bytes(), &[400, 501], true).await;
        }
    }
    for fields in [
        "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
    ] {
        let request =
            format!("{}{fields}\r\n\r\n5\r\nhello\r\n0\r\n\r\n", put_head(&node.fresh_id()));
        refused_and_closed(&node, request.as_bytes(), &[400, 501], true).await;
    }
    // Transfer codings do not exist in HTTP/1.0 (RFC 9112 §6.1).
    let request = format!(
        "{}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        put_head(&node.fresh_id()).replace("HTTP/1.1", "HTTP/1.0")
    );
    refused_and_closed(&node, request.as_bytes(), &[400, 501], true).await;
    // A coding we could name but do not have is answered, not just dropped.
    let request = format!(
        "{}Transfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        put_head(&node.fresh_id())
    );
    refused_and_closed(&node, request.as_bytes(), &[400, 501], false).await;
}

#[tokio::test]
async fn kind_05_broken_chunk_framing_stores_nothing() {
    let node = Running::start().await;
    let old = node.stored(b"old").await;
    let bodies: &[&str] = &[
        "zz\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5h\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhell\r\n0\r\n\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
        "4\r\nhello\r\n0\r\n\r\n",
        "\r\n5\r\nhello\r\n0\r\n\r\n",
        ";5\r\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5,5\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "５\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nno colon\r\n\r\n",
        "5\r\nhello\r\n0\r\nSpace : before\r\n\r\n",
        "5\r\nhello\r\n0\r\nNul: a\0b\r\n\r\n",
        "5\r\nhello\r\n0\rX",
    ];
    for body in bodies {
        for id in [node.fresh_id(), old.clone()] {
            let request = format!("{}Transfer-Encoding: chunked\r\n\r\n{body}", put_head(&id));
            refused_and_closed(&node, request.as_bytes(), &[400], true).await;
        }
    }
    // Extensions and trailers without end are an attack on memory.
    let endless = "x".repeat(1 << 20);
    for body in [
        format!("5;{endless}\r\nhello\r\n0\r\n\r\n"),
        format!("5\r\nhello\r\n0\r\nTrailer: {endless}\r\n\r\n"),
    ] {
        let request =
            format!("{}Transfer-Encoding: chunked\r\n\r\n{body}", put_head(&node.fresh_id()));
        refused_and_closed(&node, request.as_bytes(), &[400, 413, 431], true).await;
    }
    assert_eq!(node.ask(Ask::get(&old)).await.body, b"old");
}

#[tokio::test]
async fn kind_06_a_head_that_parsers_could_read_differently_is_refused() {
    let node = Running::start().await;
    let id = node.fresh_id();
    let lines: &[&[u8]] = &[
        b"X-Filler : a",
        b"X-Filler\t: a",
        b"Content-Length : 5",
        b"Transfer-Encoding : chunked",
        b"X-Filler: a\r\n folded",
        b"X-Filler: a\r\n\tfolded",
        b"X-Filler: a\r\n Content-Length: 5",
        b"X-Filler: a\0b",
        b"X-Filler\0: a",
        b"X-Filler: a\rb",
        b"X-Filler: a\r\rb",
        b"X-Filler: a\rContent-Length: 5",
        b"X-Fil\rler: a",
        b"X-Filler: a\x01b",
        b"X-Filler: a\x7fb",
        b"X-Filler",
        b": a",
        b"X Filler: a",
        b"X-Fill\xffer: a",
        b"X-Filler(: a",
        b"\"X-Filler\": a",
    ];
    for line in lines {
        for (method, path) in [("GET", "/api/v1/id"), ("POST", "/api/v1/put")] {
            let mut request =
                format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nX-Meta-ID: {id}\r\n")
                    .into_bytes();
            request.extend_from_slice(line);
            request.extend_from_slice(b"\r\n\r\n");
            refused_and_closed(&node, &request, &[400], false).await;
        }
    }
    let heads: &[&[u8]] = &[
        b"GET /api/v1/id HTTP/1.1\r\n Host: localhost\r\n\r\n",
        b"GET /api/v1/id HTTP/1.1\r\nHost : localhost\r\n\r\n",
        b"GET /api/v1\0/id HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /api/v1\r/id HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /api/v1\t/id HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /api/v1/id HTTP/1.1\rHost: localhost\r\r",
        b"GET\0 /api/v1/id HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ];
    for head in heads {
        refused_and_closed(&node, head, &[400], false).await;
    }
}

#[tokio::test]
async fn kind_07_a_head_of_too_many_fields_or_bytes_is_refused() {
    let node = Running::start().await;
    let with_fields = |count: usize| {
        let mut ask = Ask::new("GET", "/api/v1/id");
        for number in 1..count {
            ask = ask.field(&format!("X-Filler-{number}"), "a");
        }
        ask.bytes()
    };
    let served = node.connect().await.exchange(&with_fields(100)).await.unwrap();
    assert_eq!(served.status, 200, "a hundred fields are allowed: {served:?}");
    for count in [101, 102, 150, 1000] {
        refused_and_closed(&node, &with_fields(count), &[431], false).await;
    }
    let put = (0..100).fold(Ask::put(&node.fresh_id()), |ask, _| ask.field("X-Filler", "a"));
    refused_and_closed(&node, &put.body(b"hello").bytes(), &[431], false).await;

    let with_bytes = |len: usize| {
        let bare = Ask::new("GET", "/api/v1/id").field("X-Filler", "").head().len();
        Ask::new("GET", "/api/v1/id").field("X-Filler", "a".repeat(len - bare)).bytes()
    };
    let served = node.connect().await.exchange(&with_bytes(32 * 1024)).await.unwrap();
    assert_eq!(served.status, 200, "32 KiB of head are allowed: {served:?}");
    for len in [32 * 1024 + 1, 33 * 1024, 64 * 1024, 100 * 1024, 1 << 20] {
        refused_and_closed(&node, &with_bytes(len), &[431], false).await;
    }
    // The same in small fields, and in a head that never ends.
    let small = (0..90).fold(Ask::new("GET", "/api/v1/id"), |ask, number| {
        ask.field(&format!("X-Filler-{number}"), "a".repeat(400))
    });
    refused_and_closed(&node, &small.bytes(), &[431], false).await;
    let mut endless = b"GET /api/v1/id HTTP/1.1\r\nHost: localhost\r\nX-Filler: ".to_vec();
    endless.extend_from_slice(&vec![b'a'; 4 << 20]);
    refused_and_closed(&node, &endless, &[431], false).await;
}

#[tokio::test]
async fn kind_08_a_target_over_8_kib_is_refused() {
    let node = Running::start().await;
    let target = |prefix: &str, len: usize| format!("{prefix}{}", "a".repeat(len - prefix.len()));
    let served = node.get(&target("/healthz?", 8 * 1024)).await;
    assert_eq!(served.status, 200, "8 KiB are allowed: {served:?}");
    for len in [8 * 1024 + 1, 9000, 16 * 1024, 31 * 1024] {
        for prefix in ["/", "/healthz?", "/api/v1/get/", "/api/v1/list?after=", "/api/v1/put?"] {
            for method in ["GET", "POST", "DELETE"] {
                let request = Ask::new(method, &target(prefix, len)).bytes();
                refused(&node, &request, &[414]).await.is_error(414, "target-too-long");
            }
        }
        let absolute = target("http://localhost/", len);
        refused(&node, &Ask::new("GET", &absolute).bytes(), &[414]).await;
    }
    for len in [33 * 1024, 65_534, 65_535, 65_536, 100_000, 1 << 20] {
        let request = Ask::new("GET", &target("/healthz?", len)).bytes();
        refused_and_closed(&node, &request, &[414, 431], false).await;
    }
}

#[tokio::test]
async fn kind_09_a_method_that_is_unknown_or_wrong_here_is_refused() {
    let node = Running::start().await;
    let id = node.stored(b"old").await;
    for method in ["BREW", "get", "Get", "GETT", "PROPFIND", "MKCOL", "PURGE", "X", "G-T", "!"] {
        for path in ["/api/v1/id", "/api/v1/put", &format!("/api/v1/get/{id}"), "/nowhere"] {
            let request = Ask::new(method, path).bytes();
            refused(&node, &request, &[501]).await.is_error(501, "not-implemented");
        }
    }
    let object = format!("/api/v1/get/{id}");
    let meta = format!("/api/v1/meta/{id}");
    let delete = format!("/api/v1/delete/{id}");
    let level = format!("/api/v1/level/{id}");
    let wrong: &[(&str, &[&str], &[&str])] = &[
        ("/api/v1/id", &["POST", "PUT", "DELETE", "PATCH"], &["GET"]),
        ("/api/v1/put", &["GET", "HEAD", "DELETE", "PATCH"], &["POST", "PUT"]),
        (&object, &["POST", "PUT", "PATCH", "TRACE"], &["GET", "HEAD", "DELETE"]),
        (&meta, &["POST", "PUT", "DELETE", "PATCH"], &["GET"]),
        (&delete, &["GET", "HEAD", "PUT", "PATCH"], &["POST"]),
        (&level, &["GET", "HEAD", "DELETE", "PATCH"], &["POST"]),
        ("/api/v1/list", &["POST", "PUT", "DELETE"], &["GET"]),
        ("/api/v1/version", &["POST", "PUT", "DELETE"], &["GET"]),
        ("/api/v1/ping", &["POST", "PUT", "DELETE"], &["GET"]),
        ("/api/v1/stats", &["POST", "PUT", "DELETE"], &["GET"]),
        ("/healthz", &["POST", "PUT", "DELETE"], &["GET"]),
        ("/readyz", &["POST", "PUT", "DELETE"], &["GET"]),
    ];
    for (path, methods, allowed) in wrong {
        for method in *methods {
            let request = Ask::new(method, path);
            let before = node.journal().await;
            let reply = node.ask(request).await;
            assert_eq!(reply.status, 405, "{method} {path}: {reply:?}");
            let allow: Vec<&str> = reply.must("allow").split(',').map(str::trim).collect();
            for good in *allowed {
                assert!(allow.contains(good), "{path} takes {good}: {allow:?}");
            }
            assert!(!allow.contains(method), "{path} does not take {method}: {allow:?}");
            if *method != "HEAD" {
                assert_eq!(reply.error(), "method-not-allowed");
            }
            assert_eq!(node.journal().await, before, "{method} {path} changed something");
        }
    }
    for request in [
        "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost:80\r\n\r\n",
        "CONNECT /api/v1/id HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "DELETE * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "TRACE / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        refused(&node, request.as_bytes(), &[400, 404, 405, 501]).await;
    }
    still_serves(&node, "unknown methods").await;
}

#[tokio::test]
async fn kind_10_another_version_or_noise_is_refused() {
    let node = Running::start().await;
    for version in [
        "HTTP/9.9",
        "HTTP/2.0",
        "HTTP/3",
        "HTTP/0.9",
        "HTTP/1.1x",
        "HTTP/11",
        "http/1.1",
        "HTP/1.1",
    ] {
        let request = format!("GET /api/v1/id {version}\r\nHost: localhost\r\n\r\n");
        refused_and_closed(&node, request.as_bytes(), &[400, 505], false).await;
        let request = put_head(&node.fresh_id()).replace("HTTP/1.1", version);
        let request = format!("{request}Content-Length: 5\r\n\r\nhello");
        refused_and_closed(&node, request.as_bytes(), &[400, 505], false).await;
    }
    let noise: &[&[u8]] = &[
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS greeting \r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
        b"\0\0\0\0\0\0\0\0\r\n\r\n",
        b"\xff\xfe\xfd\xfc\r\n\r\n",
        b"hello\r\n\r\n",
        b"hello world\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /api/v1/id\r\n\r\n",
        b"GET  /api/v1/id HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /api/v1/id  HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b" GET /api/v1/id HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /api/v1/i d HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"{\"json\":\"rpc\"}\r\n\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b": : :\r\n\r\n",
    ];
    for bytes in noise {
        refused_and_closed(&node, bytes, &[400], false).await;
    }
    // The preface of HTTP/2 with prior knowledge (RFC 9113 §3.4), which is not spoken here.
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    refused_and_closed(&node, preface, &[400, 505], true).await;
}

#[tokio::test]
async fn kind_11_no_spelling_of_a_target_reaches_a_file() {
    let node = Running::start().await;
    let id = node.stored(b"old").await;
    let port = node.addr.port();
    for authority in ["localhost".to_owned(), format!("127.0.0.1:{port}")] {
        let target = format!("http://{authority}/api/v1/get/{id}");
        let reply = node.ask(Ask::new("GET", &target).host(&authority)).await;
        assert_eq!((reply.status, reply.body.as_slice()), (200, b"old".as_slice()), "{target}");
    }
    let targets = [
        "/..",
        "/../etc/passwd",
        "/../../../../../../etc/passwd",
        "/api/v1/get/..",
        "/api/v1/get/../../../../../../etc/passwd",
        "/api/v1/get/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
        "/api/v1/get/%2E%2E%2f%2E%2E%2fetc%2fpasswd",
        "/api/v1/get/..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/api/v1/get/..%5c..%5c..%5cetc%5cpasswd",
        "/api/v1/get/..\\..\\..\\etc\\passwd",
        "/api/v1/get/%252e%252e%252fetc%252fpasswd",
        "/api/v1/get/%c0%ae%c0%ae/etc/passwd",
        "/api/v1/get//etc/passwd",
        "/api/v1/get/%2fetc%2fpasswd",
        "/api/v1/get/etc/passwd%00",
        "/api/v1/meta/../../../../etc/passwd",
        "/api/v1/delete/../../../../etc/passwd",
        "/api/v1/./id",
        "/api/v1/../v1/id",
        "/api/v1/%2e/id",
        "/api/v1/%2e%2e/v1/id",
        "/./api/v1/id",
        "//api/v1/id",
        "/api//v1/id",
        "/api/v1/id/",
        "/api/v1/id/..",
        "/API/V1/ID",
        "/etc/passwd",
        "//etc/passwd",
        "/files/",
        "/state/",
        "/",
        "/api",
        "/api/v1",
        "/api/v1/",
        "/api/v1/nothing",
        "/api/v2/id",
        "/private/v1/ping",
        "/%",
        "/%zz",
        "/%00",
    ];
    for target in targets {
        for method in ["GET", "POST", "DELETE", "HEAD"] {
            let request = Ask::new(method, target).bytes();
            let reply = node.connect().await.exchange(&request).await.expect("an answer");
            // A wrong method may be noticed before a wrong path.
            assert!(matches!(reply.status, 400 | 404 | 405), "{method} {target}: {reply:?}");
            assert!(find(&reply.body, b"root:").is_none(), "{target}: {reply:?}");
            if method != "HEAD" {
                reply.error();
            }
        }
    }
    for dots in [format!("/api/v1/get/./{id}"), format!("/api/v1/get/x/../{id}")] {
        refused(&node, &Ask::new("GET", &dots).bytes(), &[400, 404]).await;
    }
    let behind = format!("/api/v1/get/{id}/more");
    refused(&node, &Ask::new("GET", &behind).bytes(), &[400, 404]).await;
    assert_eq!(node.ask(Ask::get(&id)).await.body, b"old");
    still_serves(&node, "odd targets").await;
}

/// What no id is, each with the reason in its shape.
const NO_IDS: &[&str] = &[
    "0",
    "abc",
    "01BRNMMS1DK3CBD4ZZM2TQ8C5",
    "01BRNMMS1DK3CBD4ZZM2TQ8C5BB",
    "01BRNMMS1DK3CBD4ZZM2TQ8C5U",
    "01BRNMMS1DK3CBD4ZZM2TQ8C5I",
    "01BRNMMS1DK3CBD4ZZM2TQ8C5L",
    "O1BRNMMS1DK3CBD4ZZM2TQ8C5B",
    "01BRNMMS1DK3CBD4ZZM2TQ8C5-",
    "01BRNMMS1DK3CBD4ZZM2TQ8C5_",
    "01BRNMMS1DK3CBD4ZZM2TQ8C5.",
    "01BRNMMS1DK3CBD4ZZM2TQ8C5*",
    "80000000000000000000000000",
    "8ZZZZZZZZZZZZZZZZZZZZZZZZZ",
    "ZZZZZZZZZZZZZZZZZZZZZZZZZZ",
    "7ZZZZZZZZZZZZZZZZZZZZZZZZZ",
    "00000000000000000000000000",
    "014QKJWXZZZZZZZZZZZZZZZZZZ",
    "03QCPC7P000000000000000000",
    "{01BRNMMS1DK3CBD4ZZM2TQ8C5B}",
    "0160e8aa-6420-9985-b6b1-1f0b4fa9155b",
];

#[tokio::test]
async fn kind_12_what_is_not_an_id_is_refused_everywhere() {
    let node = Running::start().await;
    let in_paths = [
        "01BRNMMS1DK3CBD4ZZM2TQ8C5%00",
        "%00BRNMMS1DK3CBD4ZZM2TQ8C5B",
        "01BRNMMS1DK3CBD4ZZM2TQ8C5B%00",
        "01BRNMMS1DK3CBD4ZZM2TQ8C5%20",
        "%2001BRNMMS1DK3CBD4ZZM2TQ8C5B",
        "01BRNMMS1DK3CBD4ZZM2TQ8C5%C3%A9",
        "01BRNMMS1DK3CBD4ZZM2TQ8C5%FF",
        "01BRNMMS1DK3CBD4ZZM2TQ8C5%",
        "01BRNMMS1DK3CBD4ZZM2TQ8C5%zz",
        "01BRNMMS1DK3CBD4ZZM2TQ8%2",
        "%EF%BC%90%EF%BC%91BRNMMS1DK3CBD4ZZM2TQ8C5B",
    ];
    for id in NO_IDS.iter().chain(&in_paths) {
        for (method, path) in [
            ("GET", "get"),
            ("DELETE", "get"),
            ("GET", "meta"),
            ("POST", "delete"),
            ("POST", "level"),
        ] {
            let ask = Ask::new(method, &format!("/api/v1/{path}/{id}"))
                .field("X-Meta-ConsistencyLevel", "1");
            let reply = refused(&node, &ask.bytes(), &[400]).await;
            assert_eq!(reply.error(), "invalid-id", "{method} {path} {id}");
        }
        let head = node.ask(Ask::get(id).method("HEAD")).await;
        assert_eq!((head.status, head.body.len()), (400, 0), "{id}");
    }
    for id in NO_IDS {
        let reply = refused(&node, &Ask::put(id).body(b"hello").bytes(), &[400]).await;
        assert_eq!(reply.error(), "invalid-id", "put {id}");
        let list = Ask::new("GET", &format!("/api/v1/list?after={id}")).bytes();
        refused(&node, &list, &[400]).await;
    }
    let in_fields: &[&[u8]] = &[
        b"",
        b"01BRNMMS1DK3CBD4ZZM2TQ8C5\xff",
        "01BRNMMS1DK3CBD4ZZM2TQ8C\u{e9}".as_bytes(),
        b"01BRNMMS1DK3CBD4ZZM2TQ8C5B, 01BRNMMS1DK3CBD4ZZM2TQ8C5B",
        b"\"01BRNMMS1DK3CBD4ZZM2TQ8C5B\"",
        b"../../../../../../etc/passw",
    ];
    for id in in_fields {
        let ask = Ask::new("POST", "/api/v1/put").field("X-Meta-ID", id).body(b"hello");
        refused(&node, &ask.bytes(), &[400]).await;
    }
    // The first and the last id of 2010 to 2100 are ids.
    for id in ["014QKJWY000000000000000000", "03QCPC7NZZZZZZZZZZZZZZZZZZ"] {
        node.ask(Ask::get(id)).await.is_error(404, "not-found");
    }
    for path in ["/api/v1/get/", "/api/v1/meta/", "/api/v1/delete/", "/api/v1/level/"] {
        for method in ["GET", "POST"] {
            refused(&node, &Ask::new(method, path).bytes(), &[400, 404, 405]).await;
        }
    }
}

#[tokio::test]
async fn kind_13_a_lower_case_id_is_the_same_object() {
    let node = Running::start().await;
    let upper = node.fresh_id();
    let lower = upper.to_lowercase();
    let put = node.ask(Ask::put(&lower).body(b"hello")).await;
    assert_eq!((put.status, put.must("x-meta-id")), (200, upper.as_str()));
    for id in [&lower, &upper] {
        let got = node.ask(Ask::get(id)).await;
        assert_eq!((got.status, got.must("x-meta-id")), (200, upper.as_str()));
        assert_eq!(got.body, b"hello");
        let meta = node.get(&format!("/api/v1/meta/{id}")).await;
        assert_eq!(meta.json()["id"], upper.as_str());
    }
    let over = node.ask(Ask::put(&upper).body(b"again")).await;
    assert_eq!(over.status, 200);
    assert_eq!(node.ask(Ask::get(&lower)).await.body, b"again");
    assert_eq!(node.journal().await.len(), 1, "one object, not two");
    let mixed: String = upper
        .chars()
        .enumerate()
        .map(|(place, c)| if place % 2 == 0 { c.to_ascii_lowercase() } else { c })
        .collect();
    assert_eq!(node.ask(Ask::new("POST", &format!("/api/v1/delete/{mixed}"))).await.status, 200);
    assert_eq!(node.ask(Ask::get(&upper)).await.status, 404);
}

#[tokio::test]
async fn kind_14_a_range_that_cannot_be_read_gets_the_whole_object() {
    let node = Running::start().await;
    let id = node.stored(b"0123456789").await;
    for range in [
        "items=0-5",
        "lines=1-2",
        "none",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=--1",
        "bytes=abc",
        "bytes=a-b",
        "bytes=5-3",
        "bytes=1-2-3",
        "bytes=0x0-0x5",
        "bytes=+1-5",
        "bytes=1-+5",
        "bytes=1.5-3",
        "bytes=0-5;",
        "bytes=0-5 6-7",
        "bytes=1 -3",
        "bytes=0-1,abc",
        "bytes=abc,0-1",
        "bytes=0-1,5-3",
        "bytes=0-1,-",
        "bytes:0-5",
        "bytes 0-5",
        "bytes 0-5/10",
        "bytes=0-5/10",
        "bytes=\"0-5\"",
        "bytes=０-５",
        "bytes=0–5",
        "=0-5",
        "0-5",
        "5",
        "",
    ] {
        let reply = node.ask(Ask::get(&id).field("Range", range)).await;
        assert_eq!(reply.status, 200, "Range: {range}: {reply:?}");
        assert_eq!(reply.body, b"0123456789", "Range: {range}");
        assert!(reply.header("content-range").is_none(), "Range: {range}: {reply:?}");
    }
    let garbage = node.ask(Ask::get(&id).field("Range", b"bytes=\xff\xfe-5")).await;
    assert_eq!((garbage.status, garbage.body.len()), (200, 10));
    still_serves(&node, "odd ranges").await;
}

#[tokio::test]
async fn kind_15_a_range_past_the_end_says_how_long_the_object_is() {
    let node = Running::start().await;
    let id = node.stored(b"0123456789").await;
    let empty = node.stored(b"").await;
    let large = node.stored(&pattern(100_000)).await;
    let cases: &[(&str, &[&str], &str)] = &[
        (
            &id,
            &[
                "bytes=10-",
                "bytes=10-10",
                "bytes=11-20",
                "bytes=-0",
                "bytes=10-,20-",
                "bytes=-0,50-",
            ],
            "bytes */10",
        ),
        (&empty, &["bytes=0-", "bytes=0-0", "bytes=0-99", "bytes=5-", "bytes=-0"], "bytes */0"),
        (&large, &["bytes=100000-", "bytes=131072-", "bytes=-0"], "bytes */100000"),
    ];
    for (id, ranges, size) in cases {
        for range in *ranges {
            let request = Ask::get(id).field("Range", range).bytes();
            let reply = refused(&node, &request, &[416]).await;
            assert_eq!(reply.must("content-range"), *size, "Range: {range}");
            assert_eq!(reply.error(), "range-not-satisfiable");
            let head = node.ask(Ask::get(id).method("HEAD").field("Range", range)).await;
            // Range is defined for GET alone (RFC 9110 §14.2); HEAD may ignore it.
            assert!(matches!(head.status, 200 | 416), "HEAD with Range: {range}: {head:?}");
        }
    }
    // The last bytes of nothing: RFC 9110 lets this one be either.
    let reply = node.ask(Ask::get(&empty).field("Range", "bytes=-5")).await;
    assert!(matches!(reply.status, 200 | 416), "{reply:?}");
}

#[tokio::test]
async fn kind_16_range_numbers_beyond_64_bits_do_no_harm() {
    let node = Running::start().await;
    let body = pattern(100_000);
    let id = node.stored(&body).await;
    let max = u64::MAX.to_string();
    let beyond = "18446744073709551616".to_owned();
    let huge = "9".repeat(60);
    let absurd = "9".repeat(5000);
    for number in [&max, &beyond, &huge, &absurd] {
        for range in [
            format!("bytes=0-{number}"),
            format!("bytes=5-{number}"),
            format!("bytes={number}-"),
            format!("bytes={number}-{number}"),
            format!("bytes=-{number}"),
        ] {
            let reply = node.ask(Ask::get(&id).field("Range", &range)).await;
            match reply.status {
                206 => {
                    let first = if range.starts_with("bytes=5") { 5 } else { 0 };
                    assert_eq!(reply.body, body[first..], "{}", &range[..30.min(range.len())]);
                    assert_eq!(reply.must("content-range"), format!("bytes {first}-99999/100000"));
                }
                416 => assert_eq!(reply.must("content-range"), "bytes */100000"),
                _ => panic!("{}: {reply:?}", &range[..30.min(range.len())]),
            }
        }
    }
    // What wraps around must not come out as a small position.
    let wrapped = node.ask(Ask::get(&id).field("Range", format!("bytes={beyond}-"))).await;
    assert_eq!(wrapped.status, 416, "{wrapped:?}");
    let leading = node.ask(Ask::get(&id).field("Range", "bytes=0000000000000000000000001-2")).await;
    assert_eq!((leading.status, leading.body.as_slice()), (206, &body[1..3]));
    still_serves(&node, "huge ranges").await;
}

#[tokio::test]
async fn kind_17_many_or_overlapping_ranges_get_the_whole_object() {
    let node = Running::start().await;
    let body = pattern(100_000);
    let id = node.stored(&body).await;
    let many: Vec<String> = (0..1000).map(|n| format!("{}-{}", n * 20, n * 20 + 5)).collect();
    let same = vec!["0-"; 1000].join(",");
    for range in [
        "bytes=0-10,5-15".to_owned(),
        "bytes=0-,0-".to_owned(),
        "bytes=0-0,0-0".to_owned(),
        "bytes=0-99999,-1".to_owned(),
        "bytes=-5,-10".to_owned(),
        "bytes=10-20,0-10".to_owned(),
        "bytes=0-5,20-25,3-8".to_owned(),
        format!("bytes={same}"),
        format!("bytes={}", many.join(",")),
    ] {
        let reply = node.ask(Ask::get(&id).field("Range", &range)).await;
        assert_eq!(reply.status, 200, "{}: {reply:?}", &range[..40.min(range.len())]);
        assert!(reply.body == body, "{} is not the whole body", &range[..40.min(range.len())]);
    }
    let few = node.ask(Ask::get(&id).field("Range", "bytes=0-1,50-60,-3")).await;
    assert_eq!(few.status, 206, "{few:?}");
    assert!(few.must("content-type").starts_with("multipart/byteranges"), "{few:?}");
    still_serves(&node, "many ranges").await;
}

#[tokio::test]
async fn kind_18_a_condition_that_cannot_be_read_does_no_harm() {
    let node = Running::start().await;
    let id = node.stored(b"hello").await;
    let etag = node.ask(Ask::get(&id)).await.must("etag").to_owned();
    // RFC 9110 §13.1.3 and §13.1.4: a date that is none is ignored.
    for field in ["If-Modified-Since", "If-Unmodified-Since"] {
        for date in [
            "",
            "yesterday",
            "0",
            "-1",
            "1511352000",
            "2026-11-22T12:00:00Z",
            "Wed, 32 Foo 2099 25:61:61 GMT",
            "Sun, 06 Nov 1994 08:49:37 +0100",
            "Sun, 06 Nov 99999999999999 08:49:37 GMT",
        ] {
            let reply = node.ask(Ask::get(&id).field(field, date)).await;
            assert_eq!((reply.status, reply.body.as_slice()), (200, b"hello".as_slice()), "{date}");
        }
    }
    // A tag that is none matches nothing; refusing it is as good.
    for tag in ["", "hello", "\"", "\"unfinished", "W/", "W/hello", "w/\"x\"", ",,,", "\"a\" \"b\""]
    {
        let none = node.ask(Ask::get(&id).field("If-None-Match", tag)).await;
        assert!(matches!(none.status, 200 | 400), "If-None-Match: {tag}: {none:?}");
        let one = node.ask(Ask::get(&id).field("If-Match", tag)).await;
        assert!(matches!(one.status, 412 | 400), "If-Match: {tag}: {one:?}");
        let change = Ask::put(&id).field("If-Match", tag).body(b"changed");
        refused(&node, &change.bytes(), &[412, 400]).await;
        let drop = Ask::new("POST", &format!("/api/v1/delete/{id}")).field("If-Match", tag);
        refused(&node, &drop.bytes(), &[412, 400]).await;
    }
    let garbage = node.ask(Ask::get(&id).field("If-None-Match", b"\"\xff\xfe\"")).await;
    assert!(matches!(garbage.status, 200 | 400), "{garbage:?}");
    let long: Vec<String> = (0..1000).map(|n| format!("\"{n}\"")).collect();
    let missed = node.ask(Ask::get(&id).field("If-None-Match", long.join(","))).await;
    assert_eq!(missed.status, 200);
    let found = format!("{}, {etag}", long.join(","));
    assert_eq!(node.ask(Ask::get(&id).field("If-None-Match", found)).await.status, 304);
    still_serves(&node, "odd conditions").await;
}

#[tokio::test]
async fn kind_19_a_put_of_a_part_is_refused() {
    let node = Running::start().await;
    let old = node.stored(b"0123456789").await;
    for range in ["bytes 0-4/5", "bytes 0-4/*", "bytes */5", "bytes 5-9/10", "nonsense", ""] {
        for id in [node.fresh_id(), old.clone()] {
            for method in ["POST", "PUT"] {
                let ask = Ask::put(&id).method(method).field("Content-Range", range).body(b"hello");
                let reply = refused(&node, &ask.bytes(), &[400]).await;
                assert_eq!(reply.error(), "invalid-request");
            }
        }
    }
    assert_eq!(node.ask(Ask::get(&old)).await.body, b"0123456789");
}

#[tokio::test]
async fn kind_20_a_put_without_an_id_or_with_contradictions_is_refused() {
    let node = Running::start().await;
    for method in ["POST", "PUT"] {
        let bare = Ask::new(method, "/api/v1/put").body(b"hello");
        let reply = refused(&node, &bare.bytes(), &[400]).await;
        assert!(reply.text().contains("/api/v1/id") || reply.text().contains("X-Meta-ID"));
    }
    let etag = "\"00000000000000000000000000000000\"";
    let pairs = [
        ("X-Meta-Name", "a.txt", "b.txt"),
        ("X-Meta-ConsistencyLevel", "0", "1"),
        ("X-Meta-UserMeta", r#"{"a":"1"}"#, r#"{"a":"2"}"#),
        ("Content-Type", "text/plain", "text/html"),
        ("Content-Encoding", "gzip", "br"),
        ("Content-MD5", "XUFAKrxLKna5cZ2REBfFkg==", "AAAAAAAAAAAAAAAAAAAAAA=="),
    ];
    for (name, first, second) in pairs {
        let ask = Ask::put(&node.fresh_id()).field(name, first).field(name, second);
        let reply = refused(&node, &ask.body(b"hello").bytes(), &[400]).await;
        assert!(!reply.error().is_empty(), "{name}");
    }
    let twice = Ask::put(&node.fresh_id()).field("X-Meta-ID", node.fresh_id()).body(b"hello");
    refused(&node, &twice.bytes(), &[400]).await;
    let lower = Ask::put(&node.fresh_id()).field("x-meta-id", node.fresh_id()).body(b"hello");
    refused(&node, &lower.bytes(), &[400]).await;

    let old = node.stored(b"old").await;
    let create = Ask::put(&old).field("If-None-Match", "*").body(b"new");
    refused(&node, &create.bytes(), &[412]).await.is_error(412, "precondition-failed");
    let other = Ask::put(&old).field("If-Match", etag).body(b"new");
    refused(&node, &other.bytes(), &[412]).await.is_error(412, "precondition-failed");
    let absent = Ask::put(&node.fresh_id()).field("If-Match", "*").body(b"new");
    refused(&node, &absent.bytes(), &[412]).await.is_error(412, "precondition-failed");
    assert_eq!(node.ask(Ask::get(&old)).await.body, b"old");
}

#[tokio::test]
async fn kind_21_a_level_other_than_0_1_2_is_refused() {
    let node = Running::start().await;
    let old = node.stored(b"old").await;
    let levels: &[&[u8]] = &[
        b"3",
        b"-1",
        b"-0",
        b"+1",
        b"abc",
        b"1,2",
        b"1, 1",
        b"1 1",
        b"01",
        b"1.0",
        b"0x1",
        b"1e0",
        b"256",
        b"257",
        b"4294967296",
        b"18446744073709551616",
        b"\"1\"",
        b"null",
        b"true",
        b"local",
        b"\xff",
        "١".as_bytes(),
        "１".as_bytes(),
        b"",
    ];
    for level in levels {
        for id in [node.fresh_id(), old.clone()] {
            let ask = Ask::put(&id).field("X-Meta-ConsistencyLevel", level).body(b"hello");
            let reply = refused(&node, &ask.bytes(), &[400]).await;
            assert_eq!(reply.error(), "invalid-level", "{}", String::from_utf8_lossy(level));
        }
        let raise = Ask::new("POST", &format!("/api/v1/level/{old}"))
            .field("X-Meta-ConsistencyLevel", level);
        refused(&node, &raise.bytes(), &[400]).await;
    }
    let without = Ask::new("POST", &format!("/api/v1/level/{old}"));
    refused(&node, &without.bytes(), &[400]).await;
    assert_eq!(node.ask(Ask::get(&old)).await.must("x-meta-consistencylevel"), "0");
}

#[tokio::test]
async fn kind_22_user_metadata_and_names_out_of_form_are_refused() {
    let node = Running::start().await;
    let old = node.stored(b"old").await;
    let deep_array = "[".repeat(10_000);
    let deep_object = "{\"a\":".repeat(3000);
    let metas: &[&[u8]] = &[
        b"",
        b"null",
        b"1",
        b"true",
        b"\"text\"",
        b"[]",
        b"[\"a\"]",
        b"{",
        b"}",
        b"{}{}",
        b"{} trailing",
        b"{a:1}",
        b"{'a':'1'}",
        b"{\"a\"}",
        b"{\"a\":}",
        b"{\"a\":1}",
        b"{\"a\":null}",
        b"{\"a\":true}",
        b"{\"a\":[]}",
        b"{\"a\":{}}",
        b"{\"a\":[\"b\"]}",
        b"{\"a\":\"1\",}",
        b"{\"a\":\"1\",\"a\":\"2\"}",
        b"{\"a\":\"1\",\"a\":\"1\"}",
        b"{\"a\":\"1\",\"\\u0061\":\"2\"}",
        b"{\"a\":\"\xff\"}",
        b"{\"\xc3\":\"b\"}",
        b"{\"a\":\"\\ud800\"}",
        b"{\"a\":\"\\x\"}",
        b"Author=bob",
        deep_array.as_bytes(),
        deep_object.as_bytes(),
    ];
    for meta in metas {
        for id in [node.fresh_id(), old.clone()] {
            let ask = Ask::put(&id).field("X-Meta-UserMeta", meta).body(b"hello");
            let reply = refused(&node, &ask.bytes(), &[400]).await;
            let shown = String::from_utf8_lossy(&meta[..meta.len().min(60)]).into_owned();
            assert_eq!(reply.error(), "invalid-user-meta", "{shown}");
        }
    }
    // A bucket keeps 2 KiB: enough for nobody at level 0, binding from level 1 on. The name and what
    // this program notes of an object share them, so that less than 2 KiB is left for the user.
    let fits = format!(r#"{{"k":"{}"}}"#, "v".repeat(1500));
    let over = format!(r#"{{"k":"{}"}}"#, "v".repeat(2048));
    for level in ["1", "2"] {
        let ask = |meta: &str, id: &str| {
            Ask::put(id)
                .field("X-Meta-UserMeta", meta)
                .field("X-Meta-ConsistencyLevel", level)
                .body(b"hello")
        };
        let reply = refused(&node, &ask(&over, &node.fresh_id()).bytes(), &[400]).await;
        assert_eq!(reply.error(), "invalid-user-meta");
        assert_eq!(node.ask(ask(&fits, &node.fresh_id())).await.status, 200);
    }
    let local = node.fresh_id();
    let put = Ask::put(&local).field("X-Meta-UserMeta", &over).body(b"hello");
    assert_eq!(node.ask(put).await.status, 200, "level 0 keeps more than 2 KiB");
    let raise =
        Ask::new("POST", &format!("/api/v1/level/{local}")).field("X-Meta-ConsistencyLevel", "1");
    refused(&node, &raise.bytes(), &[400]).await;

    let long = vec![b'n'; 1025];
    let names: &[&[u8]] = &[
        b"tab\there.txt",
        b"\xff.txt",
        b"\xc3.txt",
        b"\xed\xa0\x80.txt",
        b"\xc0\xaf.txt",
        "\u{85}.txt".as_bytes(),
        "\u{9f}.txt".as_bytes(),
        &long,
    ];
    for name in names {
        let ask = Ask::put(&node.fresh_id()).field("X-Meta-Name", name).body(b"hello");
        let reply = refused(&node, &ask.bytes(), &[400]).await;
        assert_eq!(reply.error(), "invalid-name", "{}", String::from_utf8_lossy(name));
    }
    for name in [b"nul\0.txt".as_slice(), b"cr\r.txt", b"del\x7f.txt", b"bell\x07.txt"] {
        let ask = Ask::put(&node.fresh_id()).field("X-Meta-Name", name).body(b"hello");
        refused_and_closed(&node, &ask.bytes(), &[400], false).await;
    }
    let longest = Ask::put(&node.fresh_id()).field("X-Meta-Name", vec![b'n'; 1024]).body(b"hello");
    assert_eq!(node.ask(longest).await.status, 200, "1 KiB of name is allowed");
    assert_eq!(node.ask(Ask::get(&old)).await.body, b"old");
}

/// Puts that end before they are whole.
fn unfinished_puts(id: &str) -> Vec<Vec<u8>> {
    let head = put_head(id);
    let large = String::from_utf8(vec![b'x'; 200_000]).unwrap();
    vec![
        format!("{head}Content-Length: 10\r\n\r\n").into_bytes(),
        format!("{head}Content-Length: 10\r\n\r\nhello").into_bytes(),
        format!("{head}Content-Length: 300000\r\n\r\n{large}").into_bytes(),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes(),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n5").into_bytes(),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\nhel").into_bytes(),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello").into_bytes(),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").into_bytes(),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0").into_bytes(),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n").into_bytes(),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n30d40\r\n{large}\r\n").into_bytes(),
        format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes(),
        head.into_bytes(),
    ]
}

#[tokio::test]
async fn kind_23_a_body_shorter_than_declared_stores_nothing() {
    let node = Running::start().await;
    let old = node.stored(b"old").await;
    let before = node.journal().await;
    for id in [node.fresh_id(), old.clone()] {
        for request in unfinished_puts(&id) {
            // The sender says that it is done, and listens: 400 or a close, never success.
            let mut wire = node.connect().await;
            wire.send(&request).await;
            wire.finish().await;
            if let Some(reply) = wire.reply().await {
                assert_eq!(reply.status, 400, "{reply:?}");
                explains_itself(&reply, "an unfinished put");
            }
            wire.closes("an unfinished put").await;
            assert_eq!(node.journal().await, before);
            still_serves(&node, "an unfinished put").await;
        }
        for request in unfinished_puts(&id) {
            // The sender is gone without a word.
            let mut wire = node.connect().await;
            wire.send(&request).await;
        }
    }
    assert_eq!(node.ask(Ask::get(&old)).await.body, b"old");
    // After the stop every request has come to its end, those without a listener too.
    let node = node.stop().await;
    assert_eq!(support::journal(&node).await, before);
}

#[tokio::test]
async fn kind_24_a_body_over_the_limit_is_refused() {
    let limit: u64 = 1 << 20;
    let node = Running::start_with(|settings| settings.max_object_bytes = limit).await;
    let whole = pattern(1 << 20);
    for ask in [
        Ask::put(&node.fresh_id()).body(&whole),
        Ask::put(&node.fresh_id()).chunks(&whole, 100_000),
    ] {
        assert_eq!(node.ask(ask).await.status, 200, "exactly the limit is allowed");
    }
    let before = node.journal().await;
    // A declared length is refused before any of the body was sent.
    for declared in ["1048577", "99999999999", "9223372036854775807"] {
        let head = format!("{}Content-Length: {declared}\r\n\r\n", put_head(&node.fresh_id()));
        let mut wire = node.connect().await;
        wire.send(head.as_bytes()).await;
        let reply = wire.reply().await.expect("an answer without the body");
        reply.is_error(413, "too-large");
    }
    // The largest 64-bit number means something else to the HTTP library; it is refused all the
    // same.
    for declared in ["18446744073709551614", "18446744073709551615"] {
        let head = format!("{}Content-Length: {declared}\r\n\r\n", put_head(&node.fresh_id()));
        let mut wire = node.connect().await;
        let reply = wire.exchange(head.as_bytes()).await.expect("an answer without the body");
        assert!(matches!(reply.status, 400 | 413 | 431), "{reply:?}");
    }
    // Chunks are counted as they come.
    let over = pattern((1 << 20) + 1);
    for size in [1000, 65_536, over.len()] {
        let ask = Ask::put(&node.fresh_id()).chunks(&over, size);
        refused(&node, &ask.bytes(), &[413]).await.is_error(413, "too-large");
    }
    let endless = format!(
        "{}Transfer-Encoding: chunked\r\n\r\nfffffff\r\n{}",
        put_head(&node.fresh_id()),
        "x".repeat(8 << 20)
    );
    let mut wire = node.connect().await;
    let reply = wire.exchange(endless.as_bytes()).await.expect("an answer before the end");
    reply.is_error(413, "too-large");
    assert_eq!(node.journal().await, before);
    still_serves(&node, "bodies over the limit").await;
}

#[tokio::test]
async fn kind_24_an_expectation_nobody_can_meet_is_refused() {
    let node = Running::start().await;
    for expectation in ["x", "200-ok", "100", "100-continue, x", "100-continued", "100-continue=1"]
    {
        let ask = Ask::put(&node.fresh_id()).field("Expect", expectation).body(b"hello");
        refused(&node, &ask.bytes(), &[417]).await.is_error(417, "expectation-failed");
        let ask = Ask::new("GET", "/api/v1/id").field("Expect", expectation);
        refused(&node, &ask.bytes(), &[417]).await;
    }
    // What would be refused anyway is refused before the body is asked for.
    let mut wire = node.connect().await;
    let ask = Ask::put("no-id").field("Expect", "100-continue").body(b"hello");
    wire.send(&ask.head()).await;
    assert_eq!(wire.next_status().await, 400, "an answer instead of 100");
}

fn impatient(settings: &mut Settings) {
    settings.http.head_timeout_ms = 500;
    settings.http.body_timeout_ms = 500;
}

#[tokio::test]
async fn kind_24_a_body_that_stalls_is_given_up() {
    let node = Running::start_with(impatient).await;
    let old = node.stored(b"old").await;
    let before = node.journal().await;
    let large = String::from_utf8(vec![b'x'; 200_000]).unwrap();
    for id in [node.fresh_id(), old.clone()] {
        for rest in [
            "Content-Length: 10\r\n\r\n".to_owned(),
            "Content-Length: 10\r\n\r\nhello".to_owned(),
            format!("Content-Length: 300000\r\n\r\n{large}"),
            "Transfer-Encoding: chunked\r\n\r\n".to_owned(),
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n".to_owned(),
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhel".to_owned(),
        ] {
            let mut wire = node.connect().await;
            wire.send(format!("{}{rest}", put_head(&id)).as_bytes()).await;
            let reply = wire.reply().await.expect("the stall is explained before the close");
            reply.is_error(408, "timeout");
            wire.closes("a stalled body").await;
            assert_eq!(node.journal().await, before);
        }
    }
    assert_eq!(node.ask(Ask::get(&old)).await.body, b"old");
    still_serves(&node, "stalled bodies").await;
}

#[tokio::test]
async fn kind_24_a_body_that_trickles_is_given_up() {
    let node = Running::start_with(impatient).await;
    let before = node.journal().await;
    let head = format!("{}Content-Length: 1000000\r\n\r\n", put_head(&node.fresh_id()));
    let mut wire = node.connect().await;
    wire.send(head.as_bytes()).await;
    // A byte now and then is no progress: the answer comes while the sender still goes on.
    patiently("a trickling body is given up", async {
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        while !wire.has_heard().await {
            tick.tick().await;
            wire.send(b"a").await;
        }
    })
    .await;
    wire.reply().await.expect("the stall is explained").is_error(408, "timeout");
    wire.closes("a trickling body").await;
    assert_eq!(node.journal().await, before);
    still_serves(&node, "a trickling body").await;
}

#[tokio::test]
async fn kind_24_a_reader_that_stalls_is_cut_off() {
    let node = Running::start_with(impatient).await;
    let len = 48 << 20;
    let id = node.stored(&pattern(len)).await;
    let mut wire = node.connect().await;
    wire.send(&Ask::get(&id).bytes()).await;
    assert_eq!(wire.next_status().await, 200);
    // Nothing more is read until the node has given the connection up, which lets it stop.
    node.stop().await;
    assert!(wire.rest().await.len() < len, "the whole body came although nobody read it");
}

#[tokio::test]
async fn kind_24_a_long_upload_is_not_taken_for_a_slow_head() {
    let node = Running::start_with(|settings| settings.http.head_timeout_ms = 300).await;
    let body = pattern(200_000);
    for expect in [false, true] {
        let id = node.fresh_id();
        let mut ask = Ask::put(&id).body(&body);
        if expect {
            ask = ask.field("Expect", "100-continue");
        }
        let mut wire = node.connect().await;
        wire.send(&ask.head()).await;
        if expect {
            assert_eq!(wire.next_status().await, 100);
        }
        wire.send(&body[..100_000]).await;
        // Once this later connection has run into the time limit for heads, the upload has been
        // under way for longer than that.
        let mut slow = node.connect().await;
        slow.send(b"GET ").await;
        slow.rest().await;
        wire.send(&body[100_000..]).await;
        assert_eq!(wire.reply().await.expect("an answer").status, 200, "Expect: {expect}");
        assert!(node.ask(Ask::get(&id)).await.body == body);
    }
}

#[tokio::test]
async fn kind_24_a_connection_without_requests_is_closed() {
    let node = Running::start_with(|settings| settings.http.idle_timeout_ms = 500).await;
    let mut wire = node.connect().await;
    assert_eq!(wire.ask(&Ask::new("GET", "/api/v1/id")).await.status, 200);
    wire.closes("an idle time").await;
    node.connect().await.closes("an idle time without any request").await;
    still_serves(&node, "idle connections").await;
}

#[tokio::test]
async fn kind_24_a_head_that_stalls_is_given_up() {
    let node = Running::start_with(impatient).await;
    for part in [
        "",
        "G",
        "GET /api/v1/id",
        "GET /api/v1/id HTTP/1.1\r\n",
        "GET /api/v1/id HTTP/1.1\r\nHost: local",
        "GET /api/v1/id HTTP/1.1\r\nHost: localhost\r\n",
        "\r\n\r\n\r\n",
    ] {
        let mut wire = node.connect().await;
        wire.send(part.as_bytes()).await;
        if let Some(reply) = wire.reply().await {
            assert_eq!(reply.status, 408, "{part:?}: {reply:?}");
            explains_itself(&reply, part);
        }
        wire.closes("a stalled head").await;
    }
    // A head that trickles in does not start the clock anew with each byte: the node closes while
    // the sender still goes on, and the sender goes on until then.
    let mut wire = node.connect().await;
    wire.send(b"GET /api/v1/id HTTP/1.1\r\nHost: localhost\r\nX-Filler: ").await;
    patiently("a trickling head is cut off", trickle(wire)).await;
    still_serves(&node, "stalled heads").await;
}

/// Sends one byte after the other until the other side has closed.
async fn trickle(mut wire: Wire) {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    while !wire.is_closed_now().await {
        tick.tick().await;
        wire.send(b"a").await;
    }
}

#[tokio::test]
async fn kind_25_a_draining_node_says_so_and_still_serves() {
    let node = Running::start().await;
    let id = node.stored(b"hello").await;
    assert_eq!(node.get("/readyz").await.status, 200);
    node.node.drain();
    let reply = node.get("/readyz").await;
    assert_eq!(reply.status, 503, "{reply:?}");
    assert!(reply.must("retry-after").parse::<u32>().is_ok(), "{reply:?}");
    assert_eq!(node.get("/healthz").await.status, 200, "draining is not dying");
    assert_eq!(node.ask(Ask::get(&id)).await.body, b"hello");
    assert_eq!(node.ask(Ask::put(&node.fresh_id()).body(b"late")).await.status, 200);
}

#[tokio::test]
async fn kind_25_a_stopped_node_tells_clients_to_come_back() {
    let node = Running::start().await;
    let id = node.stored(b"hello").await;
    let mut open = node.connect().await;
    assert_eq!(open.ask(&Ask::get(&id)).await.status, 200);
    node.node.shutdown().await.unwrap();
    for ask in [
        Ask::get(&id),
        Ask::put(&id).body(b"late"),
        Ask::put(&id).chunks(&pattern(200_000), 5000),
        Ask::new("POST", &format!("/api/v1/delete/{id}")),
        Ask::new("GET", &format!("/api/v1/meta/{id}")),
        Ask::new("GET", "/api/v1/list"),
        Ask::new("GET", "/readyz"),
    ] {
        let reply = node.ask(ask.clone()).await;
        assert_eq!(reply.status, 503, "{ask:?}: {reply:?}");
        assert!(reply.must("retry-after").parse::<u32>().is_ok(), "{reply:?}");
        if ask.bytes().starts_with(b"GET /readyz") {
            continue;
        }
        assert_eq!(reply.error(), "stopping");
    }
}

#[tokio::test]
async fn kind_25_one_connection_too_many_is_told_to_come_back() {
    let node = Running::start_with(|settings| settings.http.max_connections = 2).await;
    let mut first = node.connect().await;
    let mut second = node.connect().await;
    for wire in [&mut first, &mut second] {
        assert_eq!(wire.ask(&Ask::new("GET", "/api/v1/id")).await.status, 200);
    }
    for _ in 0..5 {
        let mut third = node.connect().await;
        let reply = third.exchange(&Ask::new("GET", "/api/v1/id").bytes()).await;
        let reply = reply.expect("an answer rather than a dropped connection");
        assert_eq!(reply.status, 503, "{reply:?}");
        assert_eq!(reply.error(), "busy");
        assert!(reply.must("retry-after").parse::<u32>().is_ok(), "{reply:?}");
        third.closes("503").await;
    }
    for wire in [&mut first, &mut second] {
        let reply = wire.ask(&Ask::new("GET", "/api/v1/id")).await;
        assert_eq!(reply.status, 200, "those that are in go on: {reply:?}");
    }
    drop(first);
    // The place is free as soon as the node has seen the close.
    let again = async {
        loop {
            let reply = node.connect().await.exchange(&Ask::new("GET", "/api/v1/id").bytes()).await;
            if reply.is_some_and(|reply| reply.status == 200) {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    patiently("a freed place is given away", again).await;
    assert_eq!(second.ask(&Ask::new("GET", "/api/v1/id")).await.status, 200);
}

#[tokio::test]
async fn kind_25_one_request_too_many_is_told_to_come_back() {
    let node = Running::start_with(|settings| settings.http.max_requests = 1).await;
    let id = node.fresh_id();
    let slow = Ask::put(&id).field("Expect", "100-continue").body(b"hello");
    let mut wire = node.connect().await;
    wire.send(&slow.head()).await;
    assert_eq!(wire.next_status().await, 100, "the put is under way");
    for ask in [
        Ask::get(&id),
        Ask::new("GET", "/api/v1/id"),
        Ask::put(&node.fresh_id()).body(b"another"),
        Ask::put(&node.fresh_id()).chunks(&pattern(50_000), 1000),
    ] {
        let reply = node.ask(ask).await;
        reply.is_error(503, "busy");
        assert!(reply.must("retry-after").parse::<u32>().is_ok(), "{reply:?}");
    }
    // Being busy is no reason to be taken for dead, nor to be left without a look inside.
    assert_eq!(node.get("/healthz").await.status, 200);
    assert_eq!(node.get("/readyz").await.status, 200);
    wire.send(&slow.payload()).await;
    assert_eq!(wire.reply().await.expect("an answer").status, 200);
    assert_eq!(node.ask(Ask::get(&id)).await.body, b"hello");
    assert_eq!(node.journal().await.len(), 1, "what was turned away was not stored");
}

#[tokio::test]
async fn kind_25_a_body_on_a_get_is_drained_and_never_taken_for_a_request() {
    let node = Running::start().await;
    let id = node.stored(b"hello").await;
    let bait = format!("DELETE /api/v1/get/{id} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let of = |len: usize| -> Vec<u8> { bait.bytes().cycle().take(len).collect() };
    // Up to 64 KiB the connection goes on.
    for len in [1, bait.len(), 10_000, 64 * 1024] {
        for ask in [Ask::get(&id).body(&of(len)), Ask::get(&id).chunks(&of(len), 1000)] {
            let mut wire = node.connect().await;
            for _ in 0..3 {
                let reply = wire.ask(&ask).await;
                assert_eq!((reply.status, reply.body.as_slice()), (200, b"hello".as_slice()));
            }
        }
    }
    // Beyond it may end, but the rest of the body is no request either.
    for len in [64 * 1024 + 1, 1 << 20, 8 << 20] {
        for ask in [Ask::get(&id).body(&of(len)), Ask::get(&id).chunks(&of(len), 100_000)] {
            let mut wire = node.connect().await;
            let reply = wire.exchange(&ask.bytes()).await.expect("an answer");
            assert!(matches!(reply.status, 200 | 400 | 413), "{reply:?}");
            wire.finish().await;
            wire.closes("a large body on a GET").await;
        }
    }
    // The same for a put that is refused before its body was read.
    for len in [10, 64 * 1024, 8 << 20] {
        for ask in [Ask::put("no-id").body(&of(len)), Ask::put("no-id").chunks(&of(len), 5000)] {
            let mut wire = node.connect().await;
            let reply = wire.exchange(&ask.bytes()).await.expect("an answer");
            reply.is_error(400, "invalid-id");
            wire.finish().await;
            wire.closes("a refused put").await;
        }
    }
    assert_eq!(node.ask(Ask::get(&id)).await.body, b"hello");
}
