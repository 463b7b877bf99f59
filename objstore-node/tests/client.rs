//! The client says over HTTP what a node says in process: the same script of operations gives the
//! same results, metadata, bodies and errors alike.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use objstore_client::Client;
use objstore_client::options::{
    ByteRange, Conditions, DeleteOptions, ExpectedDigest, GetOptions, KeyListOptions, ListOptions,
    PutOptions, WriteMode,
};
use objstore_client::types::{
    ETag, KeyPage, Level, Message, ObjectId, ObjectKey, ObjectMeta, ObjectName, Received, UserMeta,
};
use objstore_core::{Body, Error, ErrorKind, Node, Object, Server};

/// A node, and a client of it.
async fn node() -> (Node, Server, Client) {
    let node = Node::builder().in_memory().start().await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = node.serve_public(listener).unwrap();
    let client = Client::connect(&server.local_addr().to_string()).unwrap();
    (node, server, client)
}

/// What came of an operation, as text. Times differ from run to run.
trait Told {
    async fn told(self) -> String;
}

fn meta_told(meta: &Arc<ObjectMeta>) -> String {
    let mut meta = ObjectMeta::clone(meta);
    assert!(meta.timestamp > 0);
    meta.timestamp = 0;
    format!("{meta:?}")
}

impl Told for Arc<ObjectMeta> {
    async fn told(self) -> String {
        meta_told(&self)
    }
}

impl Told for Vec<Arc<ObjectMeta>> {
    async fn told(self) -> String {
        self.iter().map(meta_told).collect::<Vec<_>>().join("\n")
    }
}

impl Told for () {
    async fn told(self) -> String {
        "done".to_owned()
    }
}

impl Told for KeyPage {
    async fn told(mut self) -> String {
        self.entries.iter_mut().for_each(|entry| entry.timestamp = 0);
        format!("{self:?}")
    }
}

impl Told for Object {
    async fn told(self) -> String {
        assert_eq!(self.body.len(), Some(self.range.end - self.range.start));
        let bytes = self.body.collect(1 << 24).await;
        format!("{} {:?} {bytes:?}", meta_told(&self.meta), self.range)
    }
}

impl<T: Told> Told for Result<T, Error> {
    async fn told(self) -> String {
        match self {
            Ok(value) => value.told().await,
            Err(error) => format!(
                "{:?}: {error}; {:?} {:?} {:?}",
                error.kind(),
                error.meta().map(meta_told),
                error.size(),
                error.retry_after()
            ),
        }
    }
}

fn id(n: u128) -> ObjectId {
    ObjectId::from_parts(1_795_351_630_000, n).unwrap()
}

/// Everything that a put can say beside its bytes.
fn full() -> PutOptions {
    let mut options = PutOptions::named("grüße \"1\".tar").unwrap();
    options.user_meta = UserMeta::new([("Author", "Bob Ünal"), ("del", "a\u{7f}\nb")]).unwrap();
    options.content_type = Some("application/x-own; v=1".to_owned());
    options.content_encoding = Some("zstd".to_owned());
    options
}

fn digest(digest: ExpectedDigest) -> PutOptions {
    let mut options = PutOptions::default();
    options.digests.push(digest);
    options
}

fn get(range: impl Into<ByteRange>) -> GetOptions {
    GetOptions::default().range(range)
}

fn under(conditions: Conditions) -> GetOptions {
    GetOptions::default().conditions(conditions)
}

fn delete(conditions: Conditions, purge: bool) -> DeleteOptions {
    let mut options = DeleteOptions::default();
    (options.conditions, options.purge) = (conditions, purge);
    options
}

fn since(modified: Option<u64>, unmodified: Option<u64>) -> Conditions {
    let time = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let mut conditions = Conditions::default();
    conditions.if_modified_since = modified.map(time);
    conditions.if_unmodified_since = unmodified.map(time);
    conditions
}

fn stream(chunks: &'static [&'static str], len: Option<u64>) -> Body {
    let chunks = chunks.iter().map(|chunk| match *chunk {
        "!" => Err(Error::new(ErrorKind::InvalidRequest, "the source is broken")),
        chunk => Ok(bytes::Bytes::from_static(chunk.as_bytes())),
    });
    Body::from_stream(futures_util::stream::iter(chunks), len)
}

/// The same operations on whatever has them, and what came of each.
macro_rules! script {
    ($on:expr) => {{
        let (on, mut log) = ($on, Vec::new());
        macro_rules! step {
            ($call:expr) => {
                log.push(format!("{}\n    {}", stringify!($call), $call.await.told().await))
            };
        }
        let tag = |text: &str| ETag::new(text).unwrap();
        let hello = || Conditions::matching(tag("41d1d67c6d14466fb2aa1b9d2c8a57a6"));
        // Puts.
        step!(on.put(id(1), "hello", full()));
        step!(on.put(id(1), "hello again", full().conditions(Conditions::absent())));
        step!(on.put(id(1), "hello again", full().conditions(hello())));
        step!(on.put(id(2), "", PutOptions::default()));
        step!(on.put(id(3), vec![7u8; 300_000], PutOptions::default().level(Level::Remote)));
        step!(on.put(
            id(4),
            "x",
            PutOptions::default().level(Level::Full).write(WriteMode::Through)
        ));
        step!(on.put(id(5), stream(&["ab", "", "cd"], None), PutOptions::default()));
        step!(on.put(id(6), stream(&["ab", "cd"], Some(4)), PutOptions::default()));
        step!(on.put(id(7), stream(&["ab", "cd"], Some(3)), PutOptions::default()));
        step!(on.put(id(7), stream(&["ab", "cd"], Some(5)), PutOptions::default()));
        step!(on.put(id(7), stream(&["ab", "!"], None), PutOptions::default()));
        step!(on.put(id(7), stream(&["ab", "!"], Some(2)), PutOptions::default()));
        step!(on.put(id(7), "ab", digest(ExpectedDigest::Md5([1; 16]))));
        step!(on.put(id(7), "ab", digest(ExpectedDigest::Sha256([1; 32]))));
        step!(on.put(id(7), "ab", digest(ExpectedDigest::Sha512([1; 64]))));
        step!(on.head(id(7)));
        let mut replicas = PutOptions::default();
        replicas.min_replicas = Some(3);
        step!(on.put(id(7), "ab", replicas));
        let long = UserMeta::new([("a", "b".repeat(3000))]).unwrap();
        step!(on.put(id(7), "ab", PutOptions::default().user_meta(long.clone())));
        step!(on.put(id(7), "ab", PutOptions::default().user_meta(long).level(Level::Remote)));
        step!(on.put(ObjectId::derived(9), "ab", PutOptions::default()));
        // Reads.
        step!(on.get(id(1), GetOptions::default()));
        step!(on.get(id(2), GetOptions::default()));
        step!(on.get(id(3), GetOptions::default()));
        step!(on.get(id(5), GetOptions::default()));
        step!(on.get(id(8), GetOptions::default()));
        step!(on.get(id(8), GetOptions::default().fetch()));
        for range in [
            ByteRange::FromTo(0, 0),
            ByteRange::FromTo(1, 3),
            ByteRange::FromTo(1, u64::MAX),
            ByteRange::FromTo(3, 1),
            ByteRange::FromTo(5, 9),
            ByteRange::From(0),
            ByteRange::From(2),
            ByteRange::From(5),
            ByteRange::From(u64::MAX),
            ByteRange::Last(0),
            ByteRange::Last(2),
            ByteRange::Last(u64::MAX),
        ] {
            step!(on.get(id(1), get(range)));
            step!(on.get(id(2), get(range)));
            step!(on.get(id(3), get(range)));
        }
        step!(on.get(id(1), under(Conditions::absent())));
        step!(on.get(id(1), under(hello())));
        step!(on.get(id(1), under(since(Some(4_000_000_000), None))));
        step!(on.get(id(1), under(since(None, Some(1)))));
        step!(on.head(id(1)));
        step!(on.head_fetched(id(3)));
        step!(on.head_fetched(id(8)));
        // Levels.
        step!(on.set_level(id(5), Level::Remote, WriteMode::Default));
        step!(on.set_level(id(5), Level::Local, WriteMode::Default));
        step!(on.set_level(id(5), Level::Full, WriteMode::Through));
        step!(on.set_level(id(8), Level::Full, WriteMode::Default));
        // Deletes.
        step!(on.delete(id(1), delete(hello(), false)));
        step!(on.delete(id(3), delete(Conditions::default(), true)));
        step!(on.delete(id(6), DeleteOptions::default()));
        step!(on.delete(id(6), DeleteOptions::default()));
        step!(on.delete(id(8), DeleteOptions::default()));
        step!(on.get(id(6), GetOptions::default()));
        step!(on.head(id(6)));
        step!(on.set_level(id(6), Level::Full, WriteMode::Default));
        // Lists.
        let mut list = ListOptions::default();
        step!(on.list(list.clone()));
        list.include_deleted = true;
        (list.after, list.limit) = (Some(id(2)), 3);
        step!(on.list(list.clone()));
        list.limit = 0;
        step!(on.list(list.clone()));
        // Keys of the bucket.
        let key = |text: &str| ObjectKey::new(text).unwrap();
        step!(on.put_key(&key("a/b c%/ü"), "by key", full()));
        step!(on.put_key(&key("a/d"), stream(&["ab", "!"], None), PutOptions::default()));
        step!(on.put_key(&key("a/d"), vec![1u8; 100_000], PutOptions::default()));
        step!(on.put_key(&key("e"), "", PutOptions::default()));
        step!(on.put_key(&key("e"), "", PutOptions::default().conditions(Conditions::absent())));
        step!(on.put_key(&key(&id(1).to_string()), "x", PutOptions::default()));
        step!(on.get_key(&key("a/b c%/ü"), GetOptions::default()));
        step!(on.get_key(&key("a/d"), get(99_998..)));
        step!(on.get_key(&key("a/d"), get(100_000..)));
        step!(on.get_key(&key("none"), GetOptions::default()));
        step!(on.head_key(&key("a/d"), GetOptions::default()));
        step!(on.head_key(&key("a/d"), under(Conditions::absent())).map_kind());
        step!(on.head_key(&key("none"), GetOptions::default()).map_kind());
        let mut keys = KeyListOptions::default();
        step!(on.list_keys(keys.clone()));
        keys.limit = 1;
        step!(on.list_keys(keys.clone()));
        keys.after = Some("a/b c%/ü".to_owned());
        step!(on.list_keys(keys.clone()));
        keys = KeyListOptions::default();
        keys.prefix = "a".to_owned();
        keys.delimiter = Some("/".to_owned());
        step!(on.list_keys(keys));
        step!(on.delete_key(&key("a/d"), delete(hello(), false)));
        step!(on.delete_key(&key("a/d"), DeleteOptions::default()));
        step!(on.delete_key(&key("a/d"), DeleteOptions::default()));
        step!(on.get_key(&key("a/d"), GetOptions::default()));
        step!(on.retry_upload(id(1)));
        step!(on.drop_upload(id(1)));
        log
    }};
}

/// The answer to a HEAD has no room for words.
trait MapKind<T>: Sized {
    async fn map_kind(self) -> Result<T, Error>;
}

impl<T, F: Future<Output = Result<T, Error>>> MapKind<T> for F {
    async fn map_kind(self) -> Result<T, Error> {
        self.await.map_err(|e| Error::new(e.kind(), "in other words"))
    }
}

#[tokio::test]
async fn the_same_script_gives_the_same_results_in_process_and_over_http() {
    let (in_process, _server, _client) = node().await;
    let (_node, _server, client) = node().await;
    let (in_process, over_http) = (script!(&in_process), script!(&client));
    assert_eq!(in_process.len(), over_http.len());
    for (in_process, over_http) in in_process.iter().zip(&over_http) {
        assert_eq!(in_process, over_http);
    }
}

#[tokio::test]
async fn metadata_loses_nothing_on_the_way() {
    let (node, _server, client) = node().await;
    let put = client.put(id(1), "hello", full().level(Level::Full)).await.unwrap();
    assert_eq!(put.timestamp, node.head(id(1)).await.unwrap().timestamp);
    let in_process = node.head(id(1)).await.unwrap();
    assert_eq!(client.head(id(1)).await.unwrap(), in_process);
    assert_eq!(client.get(id(1), GetOptions::default()).await.unwrap().meta, in_process);
    assert_eq!(client.list(ListOptions::default()).await.unwrap(), [in_process]);
    let deleted = client.delete(id(1), DeleteOptions::default()).await.unwrap();
    assert!(deleted.is_deleted);
    for error in [
        client.head(id(1)).await.unwrap_err(),
        client.get(id(1), GetOptions::default()).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Deleted);
        assert_eq!(error.meta(), Some(&deleted));
    }
}

#[tokio::test]
async fn a_node_tells_a_client_about_itself() {
    let (node, server, client) = node().await;
    let (first, second) = (client.new_id().await.unwrap(), client.new_id().await.unwrap());
    assert!(first < second && second < node.new_id());
    client.put(first, "hello", PutOptions::default()).await.unwrap();
    let stats = client.stats().await.unwrap();
    assert_eq!(stats.node_id, node.id().to_string());
    assert_eq!((stats.journal.objects, stats.requests.puts), (1, 1));
    assert_eq!(client.node_id().await.unwrap(), node.id().to_string());
    assert_eq!(client.version().await.unwrap(), format!("objstore {}", stats.version));
    assert_eq!(client.uploads().await.unwrap(), node.stats().uploads);
    assert!(client.is_ready().await.unwrap());
    node.drain();
    assert!(!client.is_ready().await.unwrap());
    let gone = client.forget("01BRNMMS1DK3CBD4ZZM2TQ8C5B").await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    assert_eq!(client.forget("../put").await.unwrap_err().kind(), ErrorKind::InvalidId);
    drop(server);
}

#[tokio::test]
async fn messages_come_to_clients_whichever_node_is_left() {
    let ((first, server, one), (second, stays, other)) = (node().await, node().await);
    let both = [server.local_addr(), stays.local_addr()].map(|addr| addr.to_string());
    let mut followed = Client::builder().nodes(both).build().unwrap().subscribe().await.unwrap();
    let payload: Vec<u8> = (0..=255).cycle().take(Message::MAX).collect();
    for sent in [&b""[..], &payload] {
        assert_eq!(one.send(sent.to_vec()).await.unwrap(), 1);
        let message = Message::new(first.id(), sent.to_vec().into());
        assert_eq!(followed.next().await.unwrap(), Received::Message(message));
    }
    let too_long = one.send([payload, vec![0]].concat()).await.unwrap_err();
    assert_eq!(too_long.kind(), ErrorKind::TooLarge);
    for number in 0..300_u32 {
        one.send(number.to_be_bytes().to_vec()).await.unwrap();
    }
    assert_eq!(followed.next().await.unwrap(), Received::Missed(300 - 256));
    for number in 300 - 256..300_u32 {
        let message = Message::new(first.id(), number.to_be_bytes().to_vec().into());
        assert_eq!(followed.next().await.unwrap(), Received::Message(message));
    }
    // Waiting for one that does not come, given up, loses none.
    let waited = tokio::time::timeout(Duration::from_millis(1), followed.next()).await;
    assert!(waited.is_err());
    one.send("last").await.unwrap();
    let last = Message::new(first.id(), "last".into());
    assert_eq!(followed.next().await.unwrap(), Received::Message(last));

    // Nor does a node count as silent that was asked to wait, and who waits for no time at all gets
    // what is there.
    for _ in 0..2 {
        let waited = tokio::time::timeout(Duration::from_millis(400), followed.next()).await;
        assert!(waited.is_err());
    }
    one.send("quick").await.unwrap();
    let quick = Message::new(first.id(), "quick".into());
    let next = async {
        loop {
            let slice = tokio::time::timeout(Duration::ZERO, followed.next());
            match slice.await {
                Ok(next) => return next.unwrap(),
                Err(_) => tokio::task::yield_now().await,
            }
        }
    };
    assert_eq!(next.await, Received::Message(quick));

    first.shutdown().await.unwrap();
    server.stop(Duration::ZERO).await;
    assert_eq!(followed.next().await.unwrap(), Received::Interrupted);
    other.send("still there").await.unwrap();
    let message = Message::new(second.id(), "still there".into());
    assert_eq!(followed.next().await.unwrap(), Received::Message(message));
}

#[tokio::test]
async fn what_http_cannot_carry_is_refused_before_it_is_sent() {
    let (_node, _server, client) = node().await;
    let mut options = PutOptions::default();
    options.name = ObjectName::new(" spaces ").unwrap();
    let error = client.put(id(1), "x", options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidName);
    let mut options = PutOptions::default();
    options.content_type = Some("a\r\nb: c".to_owned());
    let error = client.put(id(1), "x", options).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    for bad in ["", "a b", "ü", &"x".repeat(129)] {
        let error = client.with_request_id(bad).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{bad:?}");
    }
}
