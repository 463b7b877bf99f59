//! Who may ask the public API: tokens, and TLS, from files that change while the node runs.

#![allow(
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used
)]

mod support;

use std::net::Ipv4Addr;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use objstore_client::Client;
use objstore_core::options::{GetOptions, PutOptions};
use objstore_core::{ErrorKind, Node, Settings};
use support::{Ask, Reply, Running, memory_node, until};
use tempfile::TempDir;

const READER: &str = "reader-0123456789abcdef";
const WRITER: &str = "writer-0123456789abcdef";
const ADMIN: &str = "admin-0123456789abcdefg";
const ALL: &str = "all-0123456789abcdefghi";

/// The file is put in place at once, as every tool that takes care does.
fn write(path: &Path, text: &str) {
    let new = path.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(&new, path).unwrap();
}

fn tokens() -> String {
    format!(
        "# name scopes token\nreader read {READER}\n\nwriter write {WRITER}\nadmin admin {ADMIN}\nall read,write,admin {ALL}\n"
    )
}

async fn with_tokens(dir: &TempDir) -> Node {
    let path = dir.path().join("tokens");
    write(&path, &tokens());
    memory_node(|settings| settings.http.token_file = Some(path)).await
}

fn as_of(token: &str, ask: Ask) -> Ask {
    ask.field("Authorization", format!("Bearer {token}"))
}

fn challenge(reply: &Reply) -> &str {
    reply.must("www-authenticate")
}

#[tokio::test]
async fn without_a_valid_token_nothing_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let node = Running::serve(with_tokens(&dir).await, Ipv4Addr::LOCALHOST).await;
    let id = node.fresh_id();
    for ask in [
        Ask::put(&id).body(b"body"),
        Ask::get(&id),
        Ask::new("HEAD", &format!("/api/v1/get/{id}")),
        Ask::new("GET", &format!("/api/v1/meta/{id}")),
        Ask::new("POST", &format!("/api/v1/delete/{id}")),
        Ask::new("POST", &format!("/api/v1/level/{id}")).field("X-Meta-ConsistencyLevel", "1"),
        Ask::new("GET", "/api/v1/list"),
        Ask::new("GET", "/api/v1/keys"),
        Ask::new("GET", "/api/v1/key/a"),
        Ask::new("PUT", "/api/v1/key/a").body(b"body"),
        Ask::new("GET", "/api/v1/id"),
        Ask::new("GET", "/api/v1/version"),
        Ask::new("GET", "/api/v1/ping"),
        Ask::new("GET", "/api/v1/stats"),
        Ask::new("GET", "/api/v1/uploads"),
        Ask::new("GET", "/metrics"),
    ] {
        let nameless = node.ask(ask.clone()).await;
        assert_eq!(nameless.status, 401, "{nameless:?}");
        assert_eq!(challenge(&nameless), r#"Bearer realm="objstore""#);

        let twice = as_of(READER, as_of(ALL, ask.clone()));
        for strange in [as_of("stranger-0123456789", ask.clone()), twice] {
            let reply = node.ask(strange).await;
            assert_eq!(reply.status, 401, "{reply:?}");
            assert!(challenge(&reply).contains(r#"error="invalid_token""#), "{reply:?}");
        }
        let basic = node.ask(ask.field("Authorization", format!("Basic {ALL}"))).await;
        assert_eq!(basic.status, 401, "{basic:?}");
    }
    assert!(node.journal().await.is_empty());
    // Whatever balances load has none.
    for path in ["/healthz", "/readyz"] {
        assert_eq!(node.get(path).await.status, 200, "{path}");
    }
    // The scheme has no case.
    let reply =
        node.ask(Ask::new("GET", "/api/v1/id").field("authorization", format!("bEARER {READER}")));
    assert_eq!(reply.await.status, 200);
}

#[tokio::test]
async fn a_token_does_what_its_scopes_say_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let node = Running::serve(with_tokens(&dir).await, Ipv4Addr::LOCALHOST).await;
    let id = node.fresh_id();
    let put = Ask::put(&id).body(b"body");
    let level = Ask::new("POST", &format!("/api/v1/level/{id}"));
    let level = level.field("X-Meta-ConsistencyLevel", "1");
    let retry = Ask::new("POST", &format!("/api/v1/uploads/retry/{id}"));
    let path = |path: &str| Ask::new("GET", path);
    let asks = [
        ("write", put, 200),
        ("write", level, 200),
        ("write", Ask::new("PUT", "/api/v1/key/a").body(b"body"), 200),
        ("read", Ask::get(&id), 200),
        ("read", path(&format!("/api/v1/meta/{id}")), 200),
        ("read", path("/api/v1/list"), 200),
        ("read", path("/api/v1/keys"), 200),
        ("read", path("/api/v1/key/a"), 200),
        ("read", path("/api/v1/stats"), 200),
        ("read", path("/api/v1/uploads"), 200),
        ("admin", Ask::new("POST", "/api/v1/forget/01AN4Z07BY79KA1307SR9X4MV3"), 404),
        ("admin", retry, 404),
        ("write", Ask::new("DELETE", "/api/v1/key/a"), 200),
        ("write", Ask::new("DELETE", &format!("/api/v1/get/{id}")), 200),
    ];
    for (needed, ask, served) in asks {
        for (scope, token) in [("read", READER), ("write", WRITER), ("admin", ADMIN)] {
            if scope != needed {
                let reply = node.ask(as_of(token, ask.clone())).await;
                assert_eq!(reply.status, 403, "{scope}: {ask:?}: {reply:?}");
                assert_eq!(reply.error(), "forbidden");
                let expected = format!(
                    r#"Bearer realm="objstore", error="insufficient_scope", scope="{needed}""#
                );
                assert_eq!(challenge(&reply), expected);
            }
        }
        let of_it = [("read", READER), ("write", WRITER), ("admin", ADMIN)];
        let own = of_it.into_iter().find(|(scope, _)| *scope == needed).unwrap().1;
        let reply = node.ask(as_of(own, ask.clone())).await;
        assert_eq!(reply.status, served, "{ask:?}: {reply:?}");
    }
    for token in [READER, WRITER, ADMIN] {
        for anybody in ["/api/v1/id", "/api/v1/version", "/api/v1/ping"] {
            assert_eq!(node.ask(as_of(token, path(anybody))).await.status, 200, "{anybody}");
        }
    }
}

#[tokio::test]
async fn the_file_of_tokens_is_read_again_and_a_broken_one_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let node = Running::serve(with_tokens(&dir).await, Ipv4Addr::LOCALHOST).await;
    let path = dir.path().join("tokens");
    let status =
        async |token: &str| node.ask(as_of(token, Ask::new("GET", "/api/v1/id"))).await.status;
    assert_eq!(status(READER).await, 200);
    let other = "other-0123456789abcdef";
    write(&path, &format!("reader read {READER}\nother read {other}\n"));
    until("the new token is valid", async || status(other).await == 200).await;
    assert_eq!((status(READER).await, status(ALL).await), (200, 401));

    // One that cannot be used, then none, then another: only the last is taken.
    write(&path, "reader everything 0123456789abcdef\n");
    std::fs::remove_file(&path).unwrap();
    write(&path, "nonsense\n");
    write(&path, &format!("all read,write,admin {ALL}\n"));
    until("the third file is in force", async || status(ALL).await == 200).await;
    assert_eq!((status(READER).await, status(other).await), (401, 401));
}

#[tokio::test]
async fn a_node_does_not_start_with_files_that_it_cannot_use() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| Some(dir.path().join(name));
    write(&dir.path().join("tokens"), "web read secret\n");
    write(&dir.path().join("cert"), &certificate("localhost").0);
    write(&dir.path().join("key"), &certificate("localhost").1);
    write(&dir.path().join("nonsense"), "no PEM at all");
    let http = |change: &dyn Fn(&mut Settings)| {
        let mut settings = Settings::default();
        change(&mut settings);
        Node::builder().settings(settings).in_memory().start()
    };
    for (what, starting) in [
        ("nowhere", http(&|s| s.http.token_file = path("nowhere"))),
        ("line 1", http(&|s| s.http.token_file = path("tokens"))),
        ("tls-key", http(&|s| s.http.tls_cert = path("cert"))),
        ("tls-cert", http(&|s| s.http.tls_key = path("key"))),
        (
            "there is no certificate",
            http(&|s| {
                (s.http.tls_cert, s.http.tls_key) = (path("nonsense"), path("key"));
            }),
        ),
        (
            "no private key",
            http(&|s| {
                (s.http.tls_cert, s.http.tls_key) = (path("cert"), path("nonsense"));
            }),
        ),
        (
            "cannot be used together",
            http(&|s| {
                (s.http.tls_cert, s.http.tls_key) = (path("cert"), path("key"));
            }),
        ),
    ] {
        let error = starting.await.expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Configuration, "{what}");
        let said = error.to_string();
        assert!(said.contains(what) && !said.contains("secret") && !said.contains('\n'), "{said}");
    }
}

#[tokio::test]
async fn beyond_this_machine_a_token_opens_the_keys_of_the_bucket() {
    let dir = tempfile::tempdir().unwrap();
    let node = Running::serve(with_tokens(&dir).await, Ipv4Addr::UNSPECIFIED).await;
    let asks = [
        Ask::new("PUT", "/api/v1/key/a").body(b"body"),
        Ask::new("GET", "/api/v1/key/a"),
        Ask::new("GET", "/api/v1/get/a").field("X-Meta-Fetch", "1"),
        Ask::new("GET", "/api/v1/keys"),
    ];
    for ask in asks {
        assert_eq!(node.ask(ask.clone()).await.status, 401, "{ask:?}");
        assert_eq!(node.ask(as_of(ALL, ask.clone())).await.status, 200, "{ask:?}");
    }
}

#[tokio::test]
async fn with_a_token_a_loopback_listener_answers_to_any_name() {
    let dir = tempfile::tempdir().unwrap();
    let node = Running::serve(with_tokens(&dir).await, Ipv4Addr::LOCALHOST).await;
    let ask =
        Ask::new("GET", "/api/v1/id").host("cache.example.org").field("Origin", "https://a.b");
    assert_eq!(node.ask(ask.clone()).await.status, 401);
    assert_eq!(node.ask(as_of(READER, ask.clone())).await.status, 200);
    let open = Running::start().await;
    assert_eq!(open.ask(ask).await.status, 403);
}

// ---------------------------------------------------------------------------------------------- TLS

/// A certificate that vouches for itself, and its key, PEM.
fn certificate(name: &str) -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec![name.to_owned(), "127.0.0.1".to_owned()]);
    let certificate = params.unwrap().self_signed(&key).unwrap();
    let pem = |label: &str, der: &[u8]| {
        format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
    };
    (pem("CERTIFICATE", certificate.der()), pem("PRIVATE KEY", &key.serialize_der()))
}

fn put_in_place(dir: &TempDir, (cert, key): &(String, String)) {
    write(&dir.path().join("cert.pem"), cert);
    write(&dir.path().join("key.pem"), key);
}

async fn over_tls(dir: &TempDir) -> Running {
    let node = memory_node(|settings| {
        settings.http.tls_cert = Some(dir.path().join("cert.pem"));
        settings.http.tls_key = Some(dir.path().join("key.pem"));
        settings.http.head_timeout_ms = 200;
    });
    Running::serve(node.await, Ipv4Addr::LOCALHOST).await
}

fn client(node: &Running, believed: &str) -> Client {
    let address = format!("https://{}", node.addr);
    Client::builder().node(address).tries(1).root_certificates(believed).build().unwrap()
}

#[tokio::test]
async fn the_public_api_is_served_over_tls_to_who_believes_the_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let (ours, other) = (certificate("localhost"), certificate("localhost"));
    put_in_place(&dir, &ours);
    let node = over_tls(&dir).await;
    let client_of_ours = client(&node, &ours.0);
    let id = client_of_ours.new_id().await.unwrap();
    let body: Vec<u8> = support::pattern(3_000_000);
    client_of_ours.put(id, body.clone(), PutOptions::default()).await.unwrap();
    let object = client_of_ours.get(id, GetOptions::default()).await.unwrap();
    assert!(object.body.collect(1 << 22).await.unwrap() == body);

    let error = client(&node, &other.0).new_id().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transport);
    let of_the_system = Client::connect(&format!("https://{}", node.addr)).unwrap();
    assert_eq!(of_the_system.new_id().await.unwrap_err().kind(), ErrorKind::Transport);

    // In the clear.
    let reply = node.get("/api/v1/id").await;
    assert_eq!((reply.status, reply.error().as_str()), (400, "invalid-request"));
    assert!(reply.text().contains("https://"), "{reply:?}");
    // Who says nothing, or no hello.
    node.connect().await.closes("a silence").await;
    let mut wire = node.connect().await;
    wire.send(&[0x16, 3, 1, 0, 5, 1, 0, 0, 1, 0]).await;
    let _ = wire.rest().await;
    client_of_ours.new_id().await.unwrap();
}

#[tokio::test]
async fn the_certificate_is_exchanged_while_the_node_runs() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (certificate("localhost"), certificate("localhost"));
    put_in_place(&dir, &first);
    let node = over_tls(&dir).await;
    let before = client(&node, &first.0);
    before.new_id().await.unwrap();
    // Half of an exchange is none: this certificate has another key.
    write(&dir.path().join("cert.pem"), &second.0);
    write(&dir.path().join("key.pem"), &second.1);
    until("the second is in force", async || client(&node, &second.0).new_id().await.is_ok()).await;
    assert!(client(&node, &first.0).new_id().await.is_err());
    write(&dir.path().join("key.pem"), "nonsense");
    client(&node, &second.0).new_id().await.unwrap();
}

#[tokio::test]
async fn a_client_shows_its_token() {
    let dir = tempfile::tempdir().unwrap();
    let node = Running::serve(with_tokens(&dir).await, Ipv4Addr::LOCALHOST).await;
    let client =
        |token: &str| Client::builder().node(node.addr.to_string()).token(token).build().unwrap();
    client(READER).new_id().await.unwrap();
    let id = node.node.new_id();
    let refused = client(READER).put(id, "body", PutOptions::default()).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Forbidden);
    client(WRITER).put(id, "body", PutOptions::default()).await.unwrap();
    let nameless = Client::connect(&node.addr.to_string()).unwrap();
    assert_eq!(nameless.new_id().await.unwrap_err().kind(), ErrorKind::Unauthorized);
    assert!(!format!("{:?}", Client::builder().token(READER)).contains(READER));
}
