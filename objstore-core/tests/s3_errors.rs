//! What `S3Remote` makes of answers that no well-behaved server gives on demand.
#![cfg(feature = "s3")]
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used, clippy::print_stdout)]
#![allow(clippy::disallowed_methods)]

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::future;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, ProvideCredentials, Region};
use objstore_core::remote::{
    RemoteAttributes, RemoteCondition, RemoteError, RemoteErrorKind as Kind, RemoteGet, RemoteList,
    RemotePart, RemoteStore, S3Remote, S3Settings,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

const SECRET: &str = "a-secret-that-must-not-be-shown";

/// Answers every request on every connection with these bytes, then closes.
struct Canned {
    remote: S3Remote,
    requests: Arc<AtomicUsize>,
}

enum End {
    Close,
    Reset,
    Hold,
}

async fn canned(reply: impl Into<Vec<u8>>, end: End) -> Canned {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    let requests = Arc::new(AtomicUsize::new(0));
    let (reply, count) = (reply.into(), Arc::clone(&requests));
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let (mut head, mut byte) = (Vec::new(), [0]);
            while !head.ends_with(b"\r\n\r\n") && stream.read_exact(&mut byte).await.is_ok() {
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
            let length = head
                .split("content-length: ")
                .nth(1)
                .and_then(|rest| rest.split("\r\n").next()?.parse::<usize>().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            let _ = stream.read_exact(&mut body).await;
            count.fetch_add(1, Ordering::Relaxed);
            let _ = stream.write_all(&reply).await;
            match end {
                End::Close => drop(stream.shutdown().await),
                End::Reset => stream.set_zero_linger().expect("a socket option"),
                End::Hold => held.push(stream),
            }
        }
    });
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(&endpoint)
        .force_path_style(true)
        .credentials_provider(Credentials::new("AKTEST", SECRET, None, None, "test"));
    let client = aws_sdk_s3::Client::from_conf(config.build());
    let remote = S3Remote::with_client(client, S3Settings::bucket("b")).expect("a store");
    Canned { remote, requests }
}

fn http(status: &str, headers: &str, body: &str) -> String {
    let len = body.len();
    format!(
        "HTTP/1.1 {status}\r\nx-amz-request-id: REQ1\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: {len}\r\nConnection: close\r\n{headers}\r\n{body}"
    )
}

fn xml(status: &str, code: &str) -> String {
    let body = format!(
        "<?xml version=\"1.0\"?>\n<Error><Code>{code}</Code><Message>two\nlines {SECRET}</Message>\
         <SignatureProvided>{SECRET}</SignatureProvided></Error>"
    );
    http(status, "Content-Type: application/xml\r\n", &body)
}

async fn get(reply: impl Into<Vec<u8>>, get: RemoteGet) -> Result<Vec<u8>, RemoteError> {
    let server = canned(reply, End::Close).await;
    let object = server.remote.get("k", get).await?;
    assert_eq!(object.body.len(), Some(object.range.end - object.range.start));
    Ok(object.body.collect(1000).await.map_or_else(|_| b"broken".to_vec(), Vec::from))
}

async fn refusal(reply: String) -> RemoteError {
    let server = canned(reply, End::Close).await;
    let error = server.remote.get("k", RemoteGet::default()).await.expect_err("an error");
    assert_eq!(server.requests.load(Ordering::Relaxed), 1, "the caller retries, not the store");
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains(SECRET) && !error.to_string().contains('\n'), "{shown}");
    error
}

#[tokio::test]
async fn each_answer_of_s3_has_its_kind() {
    for (status, code, kind) in [
        ("404 Not Found", "NoSuchKey", Kind::NotFound),
        ("404 Not Found", "NoSuchBucket", Kind::Forbidden),
        ("403 Forbidden", "AccessDenied", Kind::Forbidden),
        ("400 Bad Request", "ExpiredToken", Kind::Forbidden),
        ("412 Precondition Failed", "PreconditionFailed", Kind::PreconditionFailed),
        ("409 Conflict", "ConditionalRequestConflict", Kind::Throttled),
        ("409 Conflict", "OperationAborted", Kind::Throttled),
        ("409 Conflict", "InvalidBucketState", Kind::Refused),
        ("429 Too Many Requests", "TooManyRequests", Kind::Throttled),
        ("503 Slow Down", "SlowDown", Kind::Throttled),
        ("503 Service Unavailable", "ServiceUnavailable", Kind::Unavailable),
        ("500 Internal Server Error", "InternalError", Kind::Unavailable),
        ("400 Bad Request", "RequestTimeout", Kind::Unavailable),
        ("501 Not Implemented", "NotImplemented", Kind::Unsupported),
        ("400 Bad Request", "InvalidArgument", Kind::Refused),
        ("405 Method Not Allowed", "MethodNotAllowed", Kind::Refused),
    ] {
        let reply = xml(status, code);
        let error = match code {
            // Sent again with fresh credentials.
            "ExpiredToken" => get(reply, RemoteGet::default()).await.expect_err("an error"),
            _ => refusal(reply).await,
        };
        assert_eq!(error.kind(), kind, "{status} {code}: {error}");
        assert!(error.to_string().contains(code) && error.to_string().contains("REQ1"), "{error}");
    }
    for (status, kind) in [
        ("404 Not Found", Kind::NotFound),
        ("401 Unauthorized", Kind::Forbidden),
        ("429 Too Many Requests", Kind::Throttled),
        ("502 Bad Gateway", Kind::Unavailable),
        ("301 Moved Permanently", Kind::Refused),
    ] {
        let error = refusal(http(status, "", "<html>not S3")).await;
        assert_eq!(error.kind(), kind, "{status}: {error}");
    }
}

#[tokio::test]
async fn a_head_has_no_body_to_say_why() {
    for (status, kind) in [
        ("404 Not Found", Kind::NotFound),
        ("403 Forbidden", Kind::Forbidden),
        ("400 Bad Request", Kind::Refused),
        ("500 Internal Server Error", Kind::Unavailable),
    ] {
        let server = canned(http(status, "", ""), End::Close).await;
        let error = server.remote.head("k").await.expect_err(status);
        assert_eq!(error.kind(), kind, "{status}: {error}");
    }
}

#[tokio::test]
async fn retry_after_is_kept_as_seconds_or_date() {
    for (value, seconds) in [("7", 7), ("Sun, 06 Nov 1994 08:49:47 GMT", 10), ("100000", 60)] {
        let error = refusal(http("429 X", &format!("Retry-After: {value}\r\n"), "")).await;
        assert_eq!(error.retry_after(), Some(Duration::from_secs(seconds)), "{value}");
    }
    assert_eq!(refusal(http("429 X", "Retry-After: soon\r\n", "")).await.retry_after(), None);
}

#[tokio::test]
async fn an_error_inside_200_is_an_error() {
    let attributes = RemoteAttributes::default();
    for (code, kind, completed) in [
        ("InternalError", Kind::Unavailable, Kind::Unavailable),
        ("SlowDown", Kind::Throttled, Kind::Throttled),
        ("AccessDenied", Kind::Forbidden, Kind::Forbidden),
        // An upload that lost is spent.
        ("ConditionalRequestConflict", Kind::Throttled, Kind::PreconditionFailed),
    ] {
        let server = canned(xml("200 OK", code), End::Close).await;
        let copy = server.remote.copy("a", "b", None, RemoteCondition::None).await;
        let copy = copy.expect_err("a copy");
        assert_eq!(copy.kind(), kind, "{copy}");
        let parts = [RemotePart { number: 1, etag: "x".into() }];
        let done = server.remote.complete("a", "u", &parts, RemoteCondition::None).await;
        let done = done.expect_err("complete");
        assert_eq!(done.kind(), completed, "{done}");
    }
    let server = canned(http("200 OK", "", ""), End::Close).await;
    let put = server.remote.put("a", "x".into(), &attributes, RemoteCondition::None).await;
    assert_eq!(put.expect_err("no ETag").kind(), Kind::Unavailable);
    let list = server.remote.list(RemoteList::default()).await;
    assert_eq!(list.expect_err("no XML").kind(), Kind::Unavailable);
}

#[tokio::test]
async fn no_such_key_of_a_change_on_condition_means_the_condition() {
    let server = canned(xml("404 Not Found", "NoSuchKey"), End::Close).await;
    let attributes = RemoteAttributes::default();
    let expected = RemoteCondition::Match("x".into());
    let put = server.remote.put("a", "x".into(), &attributes, expected.clone()).await;
    assert_eq!(put.expect_err("a put").kind(), Kind::PreconditionFailed);
    let delete = server.remote.delete("a", expected).await;
    assert_eq!(delete.expect_err("a delete").kind(), Kind::PreconditionFailed);
    server.remote.delete("a", RemoteCondition::None).await.expect("nothing to delete");
}

#[tokio::test]
async fn a_range_beyond_the_end_tells_the_size() {
    let error = refusal(http("416 X", "Content-Range: bytes */12\r\n", "")).await;
    assert_eq!((error.kind(), error.size()), (Kind::RangeNotSatisfiable, Some(12)));
    let body = "<Error><Code>InvalidRange</Code><ActualObjectSize>34</ActualObjectSize></Error>";
    let error = refusal(http("416 X", "", body)).await;
    assert_eq!((error.kind(), error.size()), (Kind::RangeNotSatisfiable, Some(34)));
    assert_eq!(refusal(http("416 X", "", "")).await.size(), None);
}

#[tokio::test]
async fn a_reply_to_another_question_is_an_error() {
    let part = |range: &str, tag: &str| {
        http("206 X", &format!("Content-Range: {range}\r\nETag: \"{tag}\"\r\n"), "2345")
    };
    let whole = http("200 OK", "ETag: \"v1\"\r\n", "0123456789");
    let wanted = || RemoteGet::range_of(2..6, "v1");
    assert_eq!(get(part("bytes 2-5/10", "v1"), wanted()).await.expect("it"), b"2345");
    for (reply, kind) in [
        (part("bytes 3-6/10", "v1"), Kind::Unavailable),
        (part("bytes 2-4/10", "v1"), Kind::Unavailable),
        (part("bytes 2-5/5", "v1"), Kind::Unavailable),
        (part("bytes 2-6/10", "v1"), Kind::Unavailable),
        (part("2-5", "v1"), Kind::Unavailable),
        (part("bytes 2-5/10", "v2"), Kind::PreconditionFailed),
        (part("bytes 2-5/10", ""), Kind::Unavailable),
        (whole.clone(), Kind::Unsupported),
    ] {
        let error = get(reply.clone(), wanted()).await.expect_err(&reply);
        assert_eq!(error.kind(), kind, "{reply} {error}");
    }
    assert_eq!(get(whole, RemoteGet::range(0..50)).await.expect("the whole"), b"0123456789");
    let error = get(part("bytes 2-5/10", "v1"), RemoteGet::default()).await;
    assert_eq!(error.expect_err("a part of it").kind(), Kind::Unavailable);
}

#[tokio::test]
async fn a_body_that_ends_early_is_an_error() {
    let short = "HTTP/1.1 200 OK\r\nETag: \"v\"\r\nContent-Length: 10\r\n\r\n12345";
    assert_eq!(get(short, RemoteGet::default()).await.expect("a head"), b"broken");
    // Chunks end cleanly, and the length is missing or another.
    let chunked = "HTTP/1.1 200 OK\r\nETag: \"v\"\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\n\r\n";
    let error = get(chunked, RemoteGet::default()).await.expect_err("no length");
    assert_eq!(error.kind(), Kind::Unavailable);
    let server = canned(short, End::Reset).await;
    match server.remote.get("k", RemoteGet::default()).await {
        Ok(object) => drop(object.body.collect(100).await.expect_err("a reset")),
        Err(error) => assert_eq!(error.kind(), Kind::Unavailable),
    }
    let error = server_that("", End::Reset).await;
    assert_eq!(error.kind(), Kind::Unavailable);
    let error = server_that("HTTP/9 nonsense\r\n\r\n", End::Close).await;
    assert_eq!(error.kind(), Kind::Unavailable);
}

async fn server_that(reply: &str, end: End) -> RemoteError {
    let server = canned(reply, end).await;
    server.remote.get("k", RemoteGet::default()).await.expect_err("an error")
}

#[tokio::test]
async fn a_server_that_is_silent_is_left_when_the_caller_says() {
    let server = canned("", End::Hold).await;
    let get = server.remote.get("k", RemoteGet::default());
    tokio::time::timeout(Duration::from_millis(200), get).await.expect_err("no answer");
    let stalled = "HTTP/1.1 200 OK\r\nETag: \"v\"\r\nContent-Length: 10\r\n\r\n12345";
    let server = canned(stalled, End::Hold).await;
    let mut object = server.remote.get("k", RemoteGet::default()).await.expect("a head");
    assert_eq!(object.body.chunk().await.expect("a chunk").expect("bytes"), "12345");
    let rest = tokio::time::timeout(Duration::from_millis(200), object.body.chunk()).await;
    rest.expect_err("no more");
}

/// What the SDK's chain says when it has looked everywhere.
#[derive(Debug)]
struct Nowhere;

impl ProvideCredentials for Nowhere {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::ready(Err(CredentialsError::not_loaded_no_source()))
    }
}

#[tokio::test]
async fn nobody_there_is_unavailable_and_no_credentials_is_forbidden() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .endpoint_url(&endpoint)
        .force_path_style(true);
    let keys = Credentials::new("AKTEST", SECRET, None, None, "test");
    let with = config.clone().credentials_provider(keys).build();
    for (config, kind, words) in [
        (with, Kind::Unavailable, "refused"),
        (config.credentials_provider(Nowhere).build(), Kind::Forbidden, "credentials"),
    ] {
        let client = aws_sdk_s3::Client::from_conf(config);
        let remote = S3Remote::with_client(client, S3Settings::bucket("b")).expect("a store");
        let error = remote.get("k", RemoteGet::default()).await.expect_err("an error");
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert!(!error.to_string().contains(SECRET));
    }
}
