//! An S3 server in this process: `s3s` speaks the protocol and checks the signatures,
//! [`MemoryRemote`] keeps the objects. It counts and logs what is asked of it, and can be slow or
//! refuse. Other packages take it by `#[path]`, so it uses no other file.

#![allow(dead_code, unreachable_pub, clippy::expect_used, clippy::unwrap_used)]

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::{Duration, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use objstore_core::remote::{
    MemoryRemote, RemoteAttributes, RemoteCondition, RemoteError, RemoteErrorKind, RemoteGet,
    RemoteHead, RemoteList, RemotePage, RemotePart, RemoteStore,
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use s3s::auth::{S3Auth, SecretKey};
use s3s::dto::*;
use s3s::service::S3ServiceBuilder;
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result, s3_error};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Sleep;

/// The only bucket.
pub const BUCKET: &str = "test-bucket";
pub const ACCESS_KEY: &str = "objstore-test";
pub const SECRET_KEY: &str = "objstore-test-secret";

/// A running server; dropping it closes its port and connections.
pub struct S3Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    tasks: tokio::task::JoinSet<()>,
}

/// One request, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    pub method: String,
    /// Without the bucket.
    pub key: String,
    /// The query, as it was sent.
    pub query: String,
    /// The header, as it was sent.
    pub range: Option<String>,
    /// `X-Request-Id`, `traceparent` and `Authorization`.
    pub names: [Option<String>; 3],
}

struct Shared {
    store: Arc<MemoryRemote>,
    /// Secrets by access key. An access key that was there once is expired.
    keys: Mutex<(HashMap<String, String>, Vec<String>)>,
    first_byte_nanos: AtomicU64,
    /// 0 for no bound.
    bytes_per_second: AtomicU64,
    connections: AtomicU64,
    log: Mutex<Vec<Logged>>,
    refusals: Mutex<(u64, Option<S3ErrorCode>)>,
}

impl S3Server {
    /// On a free port of this machine, with an empty [`BUCKET`].
    pub async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            store: Arc::new(MemoryRemote::new(BUCKET)),
            keys: Mutex::new((
                HashMap::from([(ACCESS_KEY.to_owned(), SECRET_KEY.to_owned())]),
                Vec::new(),
            )),
            first_byte_nanos: AtomicU64::new(0),
            bytes_per_second: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            log: Mutex::default(),
            refusals: Mutex::default(),
        });
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, tasks }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What is in the bucket, to look at and to change behind the server's back.
    pub fn store(&self) -> Arc<MemoryRemote> {
        Arc::clone(&self.shared.store)
    }

    /// How long an answer to any request takes to begin.
    pub fn set_first_byte_delay(&self, delay: Duration) {
        let nanos = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        self.shared.first_byte_nanos.store(nanos, Ordering::Relaxed);
    }

    /// The rate of each connection, each way; none for no bound.
    pub fn set_bytes_per_second(&self, rate: Option<u64>) {
        self.shared.bytes_per_second.store(rate.unwrap_or(0), Ordering::Relaxed);
    }

    /// Replaces the credentials. Those of before are answered with `ExpiredToken` from now on.
    pub fn set_credentials(&self, access: &str, secret: &str) {
        let mut keys = self.shared.keys.lock().unwrap();
        let old: Vec<_> = keys.0.drain().map(|(access, _)| access).collect();
        keys.1.extend(old);
        keys.0.insert(access.to_owned(), secret.to_owned());
    }

    /// Refuses the next requests with this error.
    pub fn refuse_next(&self, requests: u64, code: S3ErrorCode) {
        *self.shared.refusals.lock().unwrap() = (requests, Some(code));
    }

    /// What was asked since the start or the last [`clear_log`](Self::clear_log).
    pub fn log(&self) -> Vec<Logged> {
        self.shared.log.lock().unwrap().clone()
    }

    pub fn clear_log(&self) {
        self.shared.log.lock().unwrap().clear();
    }

    /// How many requests of this method are in the log.
    pub fn count(&self, method: &str) -> usize {
        self.shared.log.lock().unwrap().iter().filter(|logged| logged.method == method).count()
    }

    /// Connections accepted since the start.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut builder = S3ServiceBuilder::new(Bucket(Arc::clone(&shared)));
    builder.set_auth(Keys(Arc::clone(&shared)));
    let service = builder.build();
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        stream.set_nodelay(true).expect("a socket takes TCP_NODELAY");
        shared.connections.fetch_add(1, Ordering::Relaxed);
        let (service, shared) = (service.clone(), Arc::clone(&shared));
        let paced = Paced::new(stream, Arc::clone(&shared));
        let answer = service_fn(move |request: hyper::Request<Incoming>| {
            let (service, shared) = (service.clone(), Arc::clone(&shared));
            async move {
                shared.note(&request);
                let delay = Duration::from_nanos(shared.first_byte_nanos.load(Ordering::Relaxed));
                let reply = service.call(request.map(s3s::Body::from)).await;
                if !delay.is_zero() {
                    tokio::time::sleep(delay).await;
                }
                reply
            }
        });
        connections.spawn(async move {
            let http = hyper::server::conn::http1::Builder::new();
            // A client that goes away is no concern of the server's.
            let _ = http.serve_connection(TokioIo::new(paced), answer).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

impl Shared {
    fn note(&self, request: &hyper::Request<Incoming>) {
        let path = percent_decode_str(request.uri().path()).decode_utf8_lossy();
        let key = path.trim_start_matches('/').split_once('/').map_or("", |(_, key)| key);
        let text = |name: &str| {
            let value = request.headers().get(name);
            value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        self.log.lock().unwrap().push(Logged {
            method: request.method().to_string(),
            key: key.to_owned(),
            query: request.uri().query().unwrap_or_default().to_owned(),
            range: text("range"),
            names: ["x-request-id", "traceparent", "authorization"].map(text),
        });
    }

    /// What every operation checks first.
    fn admit(&self, bucket: &str) -> S3Result<()> {
        if bucket != BUCKET {
            return Err(s3_error!(NoSuchBucket));
        }
        let mut refusals = self.refusals.lock().unwrap();
        match refusals.1.clone() {
            Some(code) if refusals.0 > 0 => {
                refusals.0 -= 1;
                Err(S3Error::new(code))
            }
            _ => Ok(()),
        }
    }
}

struct Keys(Arc<Shared>);

#[async_trait::async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let keys = self.0.keys.lock().unwrap();
        match keys.0.get(access_key) {
            Some(secret) => Ok(secret.as_str().into()),
            None if keys.1.iter().any(|old| old == access_key) => Err(s3_error!(ExpiredToken)),
            None => Err(s3_error!(InvalidAccessKeyId)),
        }
    }
}

struct Bucket(Arc<Shared>);

#[async_trait::async_trait]
impl S3 for Bucket {
    async fn get_object(
        &self,
        req: S3Request<GetObjectInput>,
    ) -> S3Result<S3Response<GetObjectOutput>> {
        let input = req.input;
        self.0.admit(&input.bucket)?;
        let mut get = RemoteGet::default();
        get.if_match =
            input.if_match.as_ref().and_then(|value| Some(value.as_etag()?.value().to_owned()));
        let whole = self.0.store.head(&input.key).await.map_err(|e| error(&e))?;
        get.range = match input.range {
            Some(range) => Some(range.check(whole.size).map_err(|_| out_of_range(whole.size))?),
            None => None,
        };
        let object = self.0.store.get(&input.key, get.clone()).await.map_err(|e| error(&e))?;
        let (range, size) = (object.range, object.head.size);
        let bytes = object.body.collect(usize::MAX).await.expect("a body in memory");
        Ok(S3Response::new(GetObjectOutput {
            content_length: Some(bytes.len() as i64),
            content_range: get
                .range
                .map(|_| format!("bytes {}-{}/{size}", range.start, range.end - 1)),
            content_type: object.head.attributes.content_type.clone(),
            content_encoding: object.head.attributes.content_encoding.clone(),
            e_tag: Some(ETag::Strong(object.head.etag.clone())),
            last_modified: Some(modified(object.head.modified)),
            metadata: metadata_out(&object.head),
            body: Some(StreamingBlob::from(s3s::Body::from(bytes))),
            ..Default::default()
        }))
    }

    async fn head_object(
        &self,
        req: S3Request<HeadObjectInput>,
    ) -> S3Result<S3Response<HeadObjectOutput>> {
        self.0.admit(&req.input.bucket)?;
        let head = self.0.store.head(&req.input.key).await.map_err(|e| error(&e))?;
        Ok(S3Response::new(HeadObjectOutput {
            content_length: Some(head.size as i64),
            metadata: metadata_out(&head),
            content_type: head.attributes.content_type,
            content_encoding: head.attributes.content_encoding,
            e_tag: Some(ETag::Strong(head.etag)),
            last_modified: Some(modified(head.modified)),
            ..Default::default()
        }))
    }

    async fn put_object(
        &self,
        req: S3Request<PutObjectInput>,
    ) -> S3Result<S3Response<PutObjectOutput>> {
        let input = req.input;
        self.0.admit(&input.bucket)?;
        let condition = condition(input.if_match.as_ref(), input.if_none_match.as_ref());
        let attributes = attributes(input.content_type, input.content_encoding, input.metadata);
        let body = collected(input.body).await?;
        let put = self.0.store.put(&input.key, body, &attributes, condition.clone()).await;
        let etag = self.changed(&input.key, &condition, put).await?;
        Ok(S3Response::new(PutObjectOutput {
            e_tag: Some(ETag::Strong(etag)),
            ..Default::default()
        }))
    }

    async fn create_multipart_upload(
        &self,
        req: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let input = req.input;
        self.0.admit(&input.bucket)?;
        let attributes = attributes(input.content_type, input.content_encoding, input.metadata);
        let upload = self.0.store.begin(&input.key, &attributes).await.map_err(|e| error(&e))?;
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(upload),
            ..Default::default()
        }))
    }

    async fn upload_part(
        &self,
        req: S3Request<UploadPartInput>,
    ) -> S3Result<S3Response<UploadPartOutput>> {
        let input = req.input;
        self.0.admit(&input.bucket)?;
        self.known(&input.key, &input.upload_id).await?;
        let body = collected(input.body).await?;
        let number = u32::try_from(input.part_number).map_err(|_| s3_error!(InvalidArgument))?;
        let put = self.0.store.put_part(&input.key, &input.upload_id, number, body).await;
        let etag = put.map_err(|e| error(&e))?;
        Ok(S3Response::new(UploadPartOutput {
            e_tag: Some(ETag::Strong(etag)),
            ..Default::default()
        }))
    }

    async fn complete_multipart_upload(
        &self,
        req: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = req.input;
        self.0.admit(&input.bucket)?;
        self.known(&input.key, &input.upload_id).await?;
        let condition = condition(input.if_match.as_ref(), input.if_none_match.as_ref());
        let parts = input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default();
        let parts: Vec<_> = parts
            .into_iter()
            .filter_map(|part| {
                let number = u32::try_from(part.part_number?).ok()?;
                Some(RemotePart { number, etag: part.e_tag?.value().to_owned() })
            })
            .collect();
        let store = &self.0.store;
        let done = store.complete(&input.key, &input.upload_id, &parts, condition.clone()).await;
        let etag = self.changed(&input.key, &condition, done).await?;
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(ETag::Strong(etag)),
            ..Default::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        req: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let input = req.input;
        self.0.admit(&input.bucket)?;
        self.known(&input.key, &input.upload_id).await?;
        self.0.store.abort(&input.key, &input.upload_id).await.map_err(|e| error(&e))?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }

    async fn list_multipart_uploads(
        &self,
        req: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let input = req.input;
        self.0.admit(&input.bucket)?;
        let prefix = input.prefix.unwrap_or_default();
        let uploads = self.0.store.uploads(&prefix).await.map_err(|e| error(&e))?;
        let encoded = input.encoding_type.is_some();
        let uploads = uploads.into_iter().map(|upload| MultipartUpload {
            key: Some(written(&upload.key, encoded)),
            upload_id: Some(upload.upload),
            ..Default::default()
        });
        Ok(S3Response::new(ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            encoding_type: input.encoding_type,
            uploads: Some(uploads.collect()),
            ..Default::default()
        }))
    }

    async fn delete_object(
        &self,
        req: S3Request<DeleteObjectInput>,
    ) -> S3Result<S3Response<DeleteObjectOutput>> {
        let input = req.input;
        self.0.admit(&input.bucket)?;
        let condition = condition(input.if_match.as_ref(), None);
        self.0.store.delete(&input.key, condition).await.map_err(|e| error(&e))?;
        Ok(S3Response::with_status(DeleteObjectOutput::default(), http::StatusCode::NO_CONTENT))
    }

    async fn copy_object(
        &self,
        req: S3Request<CopyObjectInput>,
    ) -> S3Result<S3Response<CopyObjectOutput>> {
        let input = req.input;
        self.0.admit(&input.bucket)?;
        // Newer than s3s's model of the request.
        let header = |name: &str| -> Option<ETagCondition> {
            ETagCondition::parse_http_header(req.headers.get(name)?.as_bytes()).ok()
        };
        let condition = condition(header("if-match").as_ref(), header("if-none-match").as_ref());
        let CopySource::Bucket { bucket, key: from, .. } = input.copy_source else {
            return Err(s3_error!(NotImplemented));
        };
        if *bucket != *BUCKET {
            return Err(s3_error!(NoSuchBucket));
        }
        let replace = input.metadata_directive.is_some_and(|name| name.as_str() == "REPLACE");
        if !replace && *from == *input.key {
            return Err(s3_error!(InvalidRequest));
        }
        let attributes = attributes(input.content_type, input.content_encoding, input.metadata);
        let attributes = replace.then_some(&attributes);
        let copy = self.0.store.copy(&from, &input.key, attributes, condition.clone()).await;
        let etag = copy.map_err(|e| error(&e))?;
        Ok(S3Response::new(CopyObjectOutput {
            copy_object_result: Some(CopyObjectResult {
                e_tag: Some(ETag::Strong(etag)),
                ..Default::default()
            }),
            ..Default::default()
        }))
    }

    async fn list_objects_v2(
        &self,
        req: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = req.input;
        self.0.admit(&input.bucket)?;
        let token = input
            .continuation_token
            .map(|token| percent_decode_str(&token).decode_utf8_lossy().into_owned());
        let mut list = RemoteList::default();
        list.prefix = input.prefix.unwrap_or_default();
        list.after = token.or(input.start_after);
        let limit = input.max_keys.and_then(|keys| usize::try_from(keys).ok()).unwrap_or(1000);
        let page = self.page(list, input.delimiter, limit).await.map_err(|e| error(&e))?;
        let encoded = input.encoding_type.is_some();
        let contents = page.entries.into_iter().map(|entry| Object {
            key: Some(written(&entry.key, encoded)),
            size: Some(entry.size as i64),
            e_tag: Some(ETag::Strong(entry.etag)),
            last_modified: Some(modified(entry.modified)),
            ..Default::default()
        });
        let contents: Vec<_> = contents.collect();
        let prefixes = page
            .prefixes
            .into_iter()
            .map(|prefix| CommonPrefix { prefix: Some(written(&prefix, encoded)) });
        let prefixes: Vec<_> = prefixes.collect();
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            key_count: Some((contents.len() + prefixes.len()) as i32),
            encoding_type: input.encoding_type,
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next.map(|next| written(&next, true).replace('+', "%20")),
            contents: Some(contents),
            common_prefixes: Some(prefixes),
            ..Default::default()
        }))
    }
}

impl Bucket {
    /// As S3 does it, and unlike [`MemoryRemote`]: what is above `after` is rolled up then, so a
    /// prefix that is not above it may come again.
    async fn page(
        &self,
        mut list: RemoteList,
        delimiter: Option<String>,
        limit: usize,
    ) -> Result<RemotePage, RemoteError> {
        let mut page = RemotePage::default();
        loop {
            let all = self.0.store.list(list.clone()).await?;
            for entry in all.entries {
                let rest = entry.key.get(list.prefix.len()..).unwrap_or_default();
                let rolled = delimiter.as_deref().and_then(|delimiter| {
                    let end = list.prefix.len() + rest.find(delimiter)? + delimiter.len();
                    entry.key.get(..end).map(str::to_owned)
                });
                if rolled.is_some() && rolled.as_ref() == page.prefixes.last() {
                    list.after = Some(entry.key);
                    continue;
                }
                if page.entries.len() + page.prefixes.len() == limit {
                    page.next = list.after;
                    return Ok(page);
                }
                list.after = Some(entry.key.clone());
                match rolled {
                    Some(prefix) => page.prefixes.push(prefix),
                    None => page.entries.push(entry),
                }
            }
            if all.next.is_none() {
                return Ok(page);
            }
            list.after = all.next;
        }
    }

    /// S3 says of If-Match on nothing that there is no such key.
    async fn changed(
        &self,
        key: &str,
        condition: &RemoteCondition,
        result: Result<String, RemoteError>,
    ) -> S3Result<String> {
        match result {
            Err(_)
                if matches!(condition, RemoteCondition::Match(_))
                    && self.0.store.head(key).await.is_err() =>
            {
                Err(s3_error!(NoSuchKey))
            }
            result => result.map_err(|e| error(&e)),
        }
    }

    async fn known(&self, key: &str, upload: &str) -> S3Result<()> {
        let uploads = self.0.store.uploads(key).await.map_err(|e| error(&e))?;
        match uploads.iter().any(|known| known.key == key && known.upload == upload) {
            true => Ok(()),
            false => Err(s3_error!(NoSuchUpload)),
        }
    }
}

fn error(error: &RemoteError) -> S3Error {
    let code = match error.kind() {
        RemoteErrorKind::NotFound => S3ErrorCode::NoSuchKey,
        RemoteErrorKind::PreconditionFailed => S3ErrorCode::PreconditionFailed,
        RemoteErrorKind::RangeNotSatisfiable => return out_of_range(error.size().unwrap_or(0)),
        RemoteErrorKind::Refused => S3ErrorCode::InvalidRequest,
        _ => S3ErrorCode::InternalError,
    };
    S3Error::with_message(code, error.to_string())
}

fn out_of_range(size: u64) -> S3Error {
    let mut error = s3_error!(InvalidRange);
    let value = format!("bytes */{size}").parse().expect("a header value");
    error.set_headers(http::HeaderMap::from_iter([(http::header::CONTENT_RANGE, value)]));
    error
}

fn condition(matches: Option<&ETagCondition>, none: Option<&ETagCondition>) -> RemoteCondition {
    match (matches.and_then(ETagCondition::as_etag), none) {
        (Some(tag), _) => RemoteCondition::Match(tag.value().to_owned()),
        (None, Some(none)) if none.is_any() => RemoteCondition::Absent,
        _ => RemoteCondition::None,
    }
}

fn attributes(
    content_type: Option<String>,
    content_encoding: Option<String>,
    metadata: Option<HashMap<String, String>>,
) -> RemoteAttributes {
    let mut attributes = RemoteAttributes::default();
    attributes.content_type = content_type;
    attributes.content_encoding = content_encoding;
    attributes.metadata = metadata.unwrap_or_default().into_iter().collect();
    attributes
}

fn metadata_out(head: &RemoteHead) -> Option<HashMap<String, String>> {
    Some(head.attributes.metadata.clone().into_iter().collect())
}

fn modified(nanos: u64) -> Timestamp {
    Timestamp::from(UNIX_EPOCH + Duration::from_nanos(nanos))
}

/// As `encoding-type=url` has it.
fn written(key: &str, encoded: bool) -> String {
    const KEPT: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'/')
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'*')
        .remove(b' ');
    match encoded {
        true => utf8_percent_encode(key, KEPT).to_string().replace(' ', "+"),
        false => key.to_owned(),
    }
}

async fn collected(body: Option<StreamingBlob>) -> S3Result<Bytes> {
    let (mut body, mut all) = (body, BytesMut::new());
    while let Some(body) = &mut body
        && let Some(chunk) = body.next().await
    {
        all.extend_from_slice(&chunk.map_err(|_| s3_error!(IncompleteBody))?);
    }
    Ok(all.freeze())
}

/// A connection of bounded rate, each way for itself.
struct Paced {
    stream: TcpStream,
    shared: Arc<Shared>,
    read: Pace,
    write: Pace,
}

#[derive(Default)]
struct Pace(Option<Pin<Box<Sleep>>>);

impl Pace {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Some(sleep) = &mut self.0 {
            ready!(sleep.as_mut().poll(cx));
            self.0 = None;
        }
        Poll::Ready(())
    }

    fn spend(&mut self, bytes: usize, rate: u64) {
        if rate > 0 && bytes > 0 {
            let time = Duration::from_secs_f64(bytes as f64 / rate as f64);
            self.0 = Some(Box::pin(tokio::time::sleep(time)));
        }
    }
}

impl Paced {
    fn new(stream: TcpStream, shared: Arc<Shared>) -> Self {
        Self { stream, shared, read: Pace::default(), write: Pace::default() }
    }

    fn rate(&self) -> u64 {
        self.shared.bytes_per_second.load(Ordering::Relaxed)
    }
}

/// Bytes at a time: twenty times a second, at least one.
fn portion(rate: u64, len: usize) -> usize {
    match rate {
        0 => len,
        rate => usize::try_from(rate / 20).unwrap_or(len).clamp(1, len.max(1)),
    }
}

impl AsyncRead for Paced {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.read.poll(cx));
        let rate = this.rate();
        if rate == 0 {
            return Pin::new(&mut this.stream).poll_read(cx, buf);
        }
        let mut bytes = vec![0; portion(rate, buf.remaining())];
        let mut part = ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut this.stream).poll_read(cx, &mut part))?;
        buf.put_slice(part.filled());
        let read = part.filled().len();
        this.read.spend(read, rate);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Paced {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.write.poll(cx));
        let rate = this.rate();
        let part = buf.get(..portion(rate, buf.len())).unwrap_or(buf);
        let written = ready!(Pin::new(&mut this.stream).poll_write(cx, part))?;
        this.write.spend(written, rate);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
