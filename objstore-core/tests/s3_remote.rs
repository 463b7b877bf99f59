//! `S3Remote` against a server that speaks S3 and checks signatures.
#![cfg(feature = "s3")]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used, clippy::print_stdout)]
#![allow(clippy::disallowed_methods)]

#[path = "support/s3_server.rs"]
mod s3_server;

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::provider::future;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, ProvideCredentials, Region};
use bytes::Bytes;
use objstore_core::RequestContext;
use objstore_core::remote::{
    PART_MIN, RemoteAttributes, RemoteCondition, RemoteErrorKind, RemoteGet, RemoteList,
    RemotePart, RemoteStore, S3Checksums, S3Conditions, S3Remote, S3Settings,
};
use s3_server::{ACCESS_KEY, BUCKET, S3Server, SECRET_KEY};

fn settings(server: &S3Server) -> S3Settings {
    let mut settings = S3Settings::bucket(BUCKET);
    settings.endpoint = Some(server.endpoint());
    settings.path_style = true;
    settings.conditions = Some(S3Conditions::All);
    settings
}

fn client(server: &S3Server, credentials: impl ProvideCredentials + 'static) -> aws_sdk_s3::Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(server.endpoint())
        .force_path_style(true)
        .credentials_provider(credentials);
    aws_sdk_s3::Client::from_conf(config.build())
}

fn remote(server: &S3Server, prefix: &str) -> S3Remote {
    let keys = Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "test");
    let mut settings = settings(server);
    settings.prefix = prefix.to_owned();
    S3Remote::with_client(client(server, keys), settings).expect("settings that work")
}

async fn put(remote: &S3Remote, key: &str, body: &'static str) -> String {
    let attributes = RemoteAttributes::default();
    let put = remote.put(key, body.into(), &attributes, RemoteCondition::None).await;
    put.expect("a put")
}

#[tokio::test]
async fn s3_keeps_body_type_and_metadata_below_the_prefix() {
    let server = S3Server::start().await;
    let remote = remote(&server, "ours/");
    let mut attributes = RemoteAttributes::default();
    attributes.content_type = Some("text/plain; charset=utf-8".into());
    attributes.content_encoding = Some("gzip".into());
    attributes.metadata.insert("usermeta-a".into(), "%7B%22x%22%3A1%7D b=c".into());
    for key in ["plain", "with space+plus", "ü/é//…", "a%2Fb", "q?x=1&y#z", "..", "*(')!~"] {
        let etag =
            remote.put(key, "hello".into(), &attributes, RemoteCondition::None).await.expect(key);
        let head = remote.head(key).await.expect(key);
        assert_eq!((head.size, &head.etag, &head.attributes), (5, &etag, &attributes), "{key}");
        let got = remote.get(key, RemoteGet::range_of(1..100, etag)).await.expect(key);
        assert_eq!((got.range.clone(), got.head.clone()), (1..5, head), "{key}");
        assert_eq!(got.body.len(), Some(4));
        assert_eq!(got.body.collect(10).await.expect("a body"), "ello");
        server.store().head(&format!("ours/{key}")).await.expect("the key has the prefix");
        let copy = remote.copy(key, "copy", None, RemoteCondition::None).await;
        copy.unwrap_or_else(|error| panic!("{key}: {error}"));
    }
    assert_eq!(remote.identity(), format!("s3:{}/{BUCKET}/ours/", server.endpoint()));
    assert!(!format!("{remote:?}").contains(SECRET_KEY));
}

#[tokio::test]
async fn s3_hears_what_a_request_is_called_and_needs_no_signature_for_it() {
    const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let server = S3Server::start().await;
    let remote = remote(&server, "");
    put(&remote, "nameless", "hello").await;
    let context = RequestContext::new().with_request_id("r1").expect("an id");
    let context = context.with_traceparent(TRACE).expect("a traceparent");
    context.scope(put(&remote, "named", "hello")).await;
    let log = server.log();
    let [nameless, named] = &log[..] else { panic!("{log:?}") };
    assert_eq!(nameless.names[..2], [None, None]);
    assert_eq!(named.names[..2], [Some("r1".to_owned()), Some(TRACE.to_owned())]);
    // Whoever stands between may put its own part of the trace in.
    let signed = named.names[2].as_deref().expect("it is signed");
    assert!(signed.contains("SignedHeaders=") && !signed.contains("traceparent"), "{signed}");
    assert!(!signed.contains("x-request-id"), "{signed}");
}

#[tokio::test]
async fn s3_conditions_hold_on_put_complete_copy_and_delete() {
    let server = S3Server::start().await;
    let remote = remote(&server, "");
    let attributes = RemoteAttributes::default();
    let first = put(&remote, "k", "one").await;
    let wrong = RemoteCondition::Match("0123456789abcdef0123456789abcdef".into());
    let right = RemoteCondition::Match(first.clone());
    let body = || Bytes::from_static(b"two");
    for condition in [RemoteCondition::Absent, wrong.clone()] {
        let put = remote.put("k", body(), &attributes, condition.clone()).await;
        assert_eq!(put.expect_err("a put").kind(), RemoteErrorKind::PreconditionFailed);
        let copy = remote.copy("k", "k", Some(&attributes), condition.clone()).await;
        assert_eq!(copy.expect_err("a copy").kind(), RemoteErrorKind::PreconditionFailed);
        let upload = remote.begin("k", &attributes).await.expect("an upload");
        let etag = remote.put_part("k", &upload, 1, body()).await.expect("a part");
        let parts = [RemotePart { number: 1, etag }];
        let complete = remote.complete("k", &upload, &parts, condition).await;
        assert_eq!(complete.expect_err("complete").kind(), RemoteErrorKind::PreconditionFailed);
        remote.abort("k", &upload).await.expect("an abort");
        remote.abort("k", &upload).await.expect("an abort of nothing");
    }
    let absent = remote.put("none", body(), &attributes, wrong.clone()).await;
    assert_eq!(absent.expect_err("a put").kind(), RemoteErrorKind::PreconditionFailed);
    let delete = remote.delete("k", wrong).await.expect_err("a delete");
    assert_eq!(delete.kind(), RemoteErrorKind::PreconditionFailed);
    let delete = remote.delete("k", RemoteCondition::Absent).await.expect_err("a delete");
    assert_eq!(delete.kind(), RemoteErrorKind::Unsupported);
    remote.delete("k", right).await.expect("a delete");
    remote.delete("k", RemoteCondition::None).await.expect("a delete of nothing");
    assert_eq!(remote.head("k").await.expect_err("gone").kind(), RemoteErrorKind::NotFound);
}

#[tokio::test]
async fn s3_parts_become_an_object() {
    let server = S3Server::start().await;
    let remote = remote(&server, "p/");
    let attributes = RemoteAttributes::default();
    let upload = remote.begin("big", &attributes).await.expect("an upload");
    let listed = remote.uploads("b").await.expect("a list");
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].key.as_str(), &listed[0].upload), ("big", &upload));
    let mut parts = Vec::new();
    for (number, body) in [(2, vec![2; 10]), (1, vec![1; PART_MIN as usize])] {
        let etag = remote.put_part("big", &upload, number, body.into()).await.expect("a part");
        parts.insert(0, RemotePart { number, etag });
    }
    // A server was met that makes the object in whatever order they are named.
    server.clear_log();
    let unordered = [parts[1].clone(), parts[0].clone()];
    let unordered = remote.complete("big", &upload, &unordered, RemoteCondition::None).await;
    assert_eq!(unordered.expect_err("a wrong order").kind(), RemoteErrorKind::Refused);
    assert_eq!(server.log(), []);
    let etag =
        remote.complete("big", &upload, &parts, RemoteCondition::Absent).await.expect("an object");
    let got = remote.get("big", RemoteGet::default()).await.expect("an object");
    assert_eq!((got.head.etag, got.head.size), (etag, PART_MIN + 10));
    let body = got.body.collect(usize::MAX).await.expect("a body");
    assert!(body.ends_with(&[1, 2, 2]) || body[PART_MIN as usize..] == [2; 10]);
    assert!(remote.uploads("").await.expect("a list").is_empty());
    let part = remote.put_part("big", &upload, 1, Bytes::new()).await.expect_err("a part");
    assert_eq!(part.kind(), RemoteErrorKind::Refused);
}

#[tokio::test]
async fn s3_lists_every_name_once_in_pages_of_any_size() {
    let server = S3Server::start().await;
    let remote = remote(&server, "p/");
    let keys = ["a", "a b+c", "b/1", "b/2", "b/\u{10FFFF}x", "b0", "c/1", "tab\there", "ü"];
    for key in keys {
        put(&remote, key, "x").await;
    }
    server
        .store()
        .put("q", "x".into(), &RemoteAttributes::default(), RemoteCondition::None)
        .await
        .unwrap();
    for limit in 1..=10 {
        let mut list = RemoteList::default();
        list.limit = limit;
        let (mut seen, mut pages) = (Vec::new(), 0);
        loop {
            let page = remote.list(list.clone()).await.expect("a page");
            seen.extend(page.entries.into_iter().map(|entry| entry.key));
            pages += 1;
            assert!(pages < 20);
            list.after = page.next;
            if list.after.is_none() {
                break;
            }
        }
        assert_eq!(seen, keys);
        list.delimiter = Some("/".into());
        let (mut entries, mut prefixes) = (Vec::new(), Vec::new());
        loop {
            pages += 1;
            assert!(pages < 40, "{list:?}");
            let page = remote.list(list.clone()).await.expect("a page");
            assert!(page.entries.len() + page.prefixes.len() <= limit);
            entries.extend(page.entries.into_iter().map(|entry| entry.key));
            prefixes.extend(page.prefixes);
            list.after = page.next;
            if list.after.is_none() {
                break;
            }
        }
        assert_eq!(entries, ["a", "a b+c", "b0", "tab\there", "ü"], "{limit}");
        assert_eq!(prefixes, ["b/", "c/"], "{limit}");
    }
}

#[tokio::test]
async fn s3_is_asked_once_for_a_page_behind_a_prefix() {
    let server = S3Server::start().await;
    let remote = remote(&server, "");
    for key in ["b/1", "b/2", "c"] {
        put(&remote, key, "x").await;
    }
    server.clear_log();
    let mut list = RemoteList::default();
    list.delimiter = Some("/".into());
    list.after = Some("b/".into());
    let page = remote.list(list).await.expect("a page");
    assert_eq!((page.entries.len(), page.prefixes.len(), server.log().len()), (1, 0, 1));
}

#[tokio::test]
async fn s3_ranges_beyond_the_end_say_the_size() {
    let server = S3Server::start().await;
    let remote = remote(&server, "");
    put(&remote, "k", "hello").await;
    for range in [5..6, 9..u64::MAX, 2..2] {
        let error = remote.get("k", RemoteGet::range(range)).await.expect_err("nothing there");
        assert_eq!(error.kind(), RemoteErrorKind::RangeNotSatisfiable);
        assert_eq!(error.size(), Some(5));
    }
    let got = remote.get("k", RemoteGet::range(4..u64::MAX)).await.expect("the last byte");
    assert_eq!(got.body.collect(9).await.expect("a body"), "o");
    let stale = remote.get("k", RemoteGet::range_of(0..2, "abc")).await.expect_err("another");
    assert_eq!(stale.kind(), RemoteErrorKind::PreconditionFailed);
}

#[tokio::test]
async fn s3_tells_a_missing_bucket_and_a_wrong_key_from_a_missing_object() {
    let server = S3Server::start().await;
    let keys = Credentials::new(ACCESS_KEY, "another secret", None, None, "test");
    let wrong = S3Remote::with_client(client(&server, keys), settings(&server)).expect("a store");
    let error = wrong.get("k", RemoteGet::default()).await.expect_err("a wrong secret");
    assert_eq!(error.kind(), RemoteErrorKind::Forbidden);
    assert!(error.to_string().contains("SignatureDoesNotMatch"), "{error}");
    let keys = Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "test");
    let mut settings = settings(&server);
    settings.bucket = "another".into();
    let other = S3Remote::with_client(client(&server, keys), settings).expect("a store");
    let error = other.get("k", RemoteGet::default()).await.expect_err("no bucket");
    assert_eq!(error.kind(), RemoteErrorKind::Forbidden);
    let error = remote(&server, "").get("k", RemoteGet::default()).await.expect_err("no object");
    assert_eq!(error.kind(), RemoteErrorKind::NotFound);
}

#[tokio::test]
async fn a_condition_the_server_may_ignore_is_not_sent() {
    let server = S3Server::start().await;
    let attributes = RemoteAttributes::default();
    for (conditions, sent) in [(Some(S3Conditions::None), 0), (None, 1)] {
        let mut settings = settings(&server);
        settings.conditions = conditions;
        let keys = Credentials::new(ACCESS_KEY, SECRET_KEY, None, None, "test");
        let remote = S3Remote::with_client(client(&server, keys), settings).expect("a store");
        server.clear_log();
        let put = remote.put("k", "x".into(), &attributes, RemoteCondition::Absent).await;
        let copy = remote.copy("k", "l", None, RemoteCondition::Absent).await;
        let delete = remote.delete("k", RemoteCondition::Match("x".into())).await;
        assert_eq!(copy.expect_err("a copy").kind(), RemoteErrorKind::Unsupported);
        assert_eq!(delete.expect_err("a delete").kind(), RemoteErrorKind::Unsupported);
        assert_eq!((server.log().len(), put.is_ok()), (sent, sent == 1));
    }
}

/// Whatever was last written beside it.
#[derive(Debug)]
struct Rotated(Arc<std::sync::Mutex<(&'static str, &'static str)>>);

impl ProvideCredentials for Rotated {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let (access, secret) = *self.0.lock().unwrap();
        future::ProvideCredentials::ready(Ok(Credentials::new(access, secret, None, None, "test")))
    }
}

#[tokio::test]
async fn credentials_that_expired_are_read_again_once() {
    let server = S3Server::start().await;
    let keys = Arc::new(std::sync::Mutex::new((ACCESS_KEY, SECRET_KEY)));
    let client = client(&server, Rotated(Arc::clone(&keys)));
    let remote = S3Remote::with_client(client, settings(&server)).expect("a store");
    put(&remote, "k", "x").await;
    server.set_credentials("second", "another secret");
    *keys.lock().unwrap() = ("second", "another secret");
    server.clear_log();
    let (one, other) =
        tokio::join!(remote.get("k", RemoteGet::default()), remote.get("k", RemoteGet::default()));
    one.expect("a get with fresh credentials");
    other.expect("a get with fresh credentials");
    assert_eq!(server.log().len(), 4);
    // Refused again at once: nothing is read, nothing is sent twice.
    server.set_credentials("third", "and another");
    server.clear_log();
    let error = remote.get("k", RemoteGet::default()).await.expect_err("expired");
    assert_eq!(error.kind(), RemoteErrorKind::Forbidden);
    assert!(error.to_string().contains("ExpiredToken"), "{error}");
    assert_eq!(server.log().len(), 1);
}

/// The variables of a process cannot be changed safely, so another process looks at them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoint_region_and_credentials_come_from_where_the_sdk_looks() {
    let server = S3Server::start().await;
    let home = tempfile::tempdir().expect("a directory");
    let file = home.path().join("credentials");
    let write = |access: &str, secret: &str| {
        let text =
            format!("[other]\naws_access_key_id = {access}\naws_secret_access_key = {secret}\n");
        std::fs::write(&file, text).expect("a file");
    };
    write(ACCESS_KEY, SECRET_KEY);
    let mut child = tokio::process::Command::from(child(&[
        ("AWS_SHARED_CREDENTIALS_FILE", file.to_str().expect("a path")),
        ("AWS_CONFIG_FILE", "/nonexistent"),
        ("AWS_PROFILE", "other"),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ENDPOINT_URL", &server.endpoint()),
    ]))
    .spawn()
    .expect("this program");
    // The child puts a, then asks for b until it is there with credentials it did not begin with.
    let store = server.store();
    let mut waited = 0;
    while store.head("a").await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        waited += 1;
        assert!(waited < 1500, "the child did not put");
    }
    write("second", "another secret");
    server.set_credentials("second", "another secret");
    let attributes = RemoteAttributes::default();
    store.put("b", "x".into(), &attributes, RemoteCondition::None).await.expect("a put");
    let status = tokio::time::timeout(Duration::from_secs(30), child.wait()).await;
    assert!(status.expect("in time").expect("an end").success());
}

fn child(variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "the_child", "--nocapture"]);
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"] {
        command.env_remove(name);
    }
    command.env("OBJSTORE_TEST_CHILD", "1").envs(variables.iter().copied());
    command
}

#[tokio::test]
async fn the_child() {
    if std::env::var_os("OBJSTORE_TEST_CHILD").is_none() {
        return;
    }
    let mut settings = S3Settings::bucket(BUCKET);
    settings.path_style = true;
    settings.checksums = S3Checksums::WhenSupported;
    let remote = S3Remote::connect(settings).await.expect("a store");
    let endpoint = std::env::var("AWS_ENDPOINT_URL").expect("an endpoint");
    assert_eq!(remote.identity(), format!("s3:{endpoint}/{BUCKET}/"));
    put(&remote, "a", "x").await;
    for _ in 0..500 {
        match remote.head("b").await {
            Ok(_) => return,
            Err(error) => assert_eq!(error.kind(), RemoteErrorKind::NotFound, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("b did not come");
}

#[tokio::test]
async fn connecting_asks_nobody_and_needs_a_region_for_aws() {
    let mut settings = S3Settings::bucket("photos");
    settings.region = Some("eu-central-1".into());
    let remote = S3Remote::connect(settings.clone()).await.expect("a store");
    assert_eq!(remote.identity(), "s3:eu-central-1/photos/");
    settings.endpoint = Some("http://127.0.0.1:9/".into());
    settings.prefix = "x/".into();
    let remote = S3Remote::connect(settings.clone()).await.expect("a store whose bucket is down");
    assert_eq!(remote.identity(), "s3:http://127.0.0.1:9/photos/x/");
    settings.endpoint = Some("http://me:secret@127.0.0.1:9".into());
    assert!(S3Remote::connect(settings).await.is_err());
}
#[tokio::test]
async fn a_slow_server_is_waited_for() {
    let server = S3Server::start().await;
    let remote = remote(&server, "");
    remote
        .put("k", vec![7; 50_000].into(), &RemoteAttributes::default(), RemoteCondition::None)
        .await
        .expect("a put");
    server.set_first_byte_delay(Duration::from_millis(100));
    server.set_bytes_per_second(Some(100_000));
    let begun = std::time::Instant::now();
    let got = remote.get("k", RemoteGet::default()).await.expect("an object");
    assert!(begun.elapsed() >= Duration::from_millis(100));
    assert_eq!(got.body.collect(usize::MAX).await.expect("a body").len(), 50_000);
    assert!(begun.elapsed() >= Duration::from_millis(500), "{:?}", begun.elapsed());
    assert_eq!(server.count("GET"), 1);
    assert_eq!(server.connections(), 1);
}
