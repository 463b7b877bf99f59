//! `X-Request-Id` and `traceparent` on their way from a client through two nodes to the bucket, and
//! into the log.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use objstore_client::Client;
use objstore_core::options::{GetOptions, PutOptions};
use objstore_core::remote::{MemoryRemote, RemoteError, RemoteErrorKind, RemoteFuture};
use objstore_core::testing::{Adapted, Around, Call, CallKind};
use objstore_core::types::{Level, ObjectKey, PeerState};
use objstore_core::{ErrorKind, Node, RequestContext, Settings};
use serde_json::Value;
use support::{Running, pattern, until};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::MakeWriter;

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// The log of this process: a line of JSON for each event.
#[derive(Clone, Copy)]
struct Log(&'static Mutex<Vec<u8>>);

impl Log {
    /// The one there is; it begins when it is first asked for.
    fn get() -> Self {
        static LINES: OnceLock<Mutex<Vec<u8>>> = OnceLock::new();
        let log = Self(LINES.get_or_init(Mutex::default));
        static STARTED: OnceLock<()> = OnceLock::new();
        STARTED.get_or_init(|| {
            let subscriber = tracing_subscriber::fmt()
                .json()
                .flatten_event(true)
                .with_max_level(LevelFilter::DEBUG)
                .with_writer(log)
                .finish();
            tracing::subscriber::set_global_default(subscriber).expect("there is no other");
        });
        log
    }

    fn lines(self) -> Vec<Value> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The events with this message whose request has this id.
    fn of(self, message: &str, request_id: &str) -> Vec<Value> {
        let is = |line: &Value| line["message"] == message && line["request_id"] == request_id;
        self.lines().into_iter().filter(is).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        *self
    }
}

/// What each call of a bucket was made for.
#[derive(Clone, Debug, Default)]
struct Heard {
    calls: Arc<Mutex<Vec<(CallKind, String, RequestContext)>>>,
    refuses: Arc<AtomicBool>,
}

impl Around for Heard {
    fn before<'a>(&'a self, call: &'a Call) -> RemoteFuture<'a, ()> {
        Box::pin(async move {
            let said = (call.kind, call.key.clone(), RequestContext::current());
            self.calls.lock().unwrap().push(said);
            match self.refuses.load(Ordering::Relaxed) {
                true => Err(RemoteError::new(RemoteErrorKind::Forbidden, "not for you")),
                false => Ok(()),
            }
        })
    }
}

impl Heard {
    /// The names of all calls that are about a key.
    fn about(&self, key: &str) -> Vec<(CallKind, RequestContext)> {
        let said = self.calls.lock().unwrap();
        let about = said.iter().filter(|(_, of, _)| of == key);
        about.map(|(kind, _, context)| (*kind, context.clone())).collect()
    }
}

struct Two {
    first: Running,
    second: Running,
    memory: Arc<MemoryRemote>,
    heard: Heard,
}

/// Two nodes that speak over sockets, before one bucket.
async fn two() -> Two {
    let (memory, heard) = (Arc::new(MemoryRemote::new("bucket")), Heard::default());
    let start = async |seed: Option<String>| {
        let mut settings = Settings::default();
        settings.cluster.private_addr = Some("127.0.0.1:0".to_owned());
        settings.cluster.nodes = seed.into_iter().collect();
        let remote = Arc::new(Adapted::around(memory.clone(), heard.clone()));
        let builder = Node::builder().settings(settings).in_memory().remote(remote);
        builder.start().await.expect("a node in memory starts")
    };
    let first = start(None).await;
    let second = start(first.private_addr()).await;
    let knows = |node: &Node| node.peers().iter().any(|peer| peer.state == PeerState::Alive);
    until("they know each other", async || knows(&first) && knows(&second)).await;
    let first = Running::serve(first, Ipv4Addr::LOCALHOST).await;
    let second = Running::serve(second, Ipv4Addr::LOCALHOST).await;
    Two { first, second, memory, heard }
}

fn client(node: &Running, request_id: &str) -> Client {
    let client = Client::builder().node(node.addr.to_string()).build().unwrap();
    client.with_request_id(request_id).unwrap().with_traceparent(TRACE).unwrap()
}

fn named(request_id: &str) -> RequestContext {
    RequestContext::new().with_request_id(request_id).unwrap().with_traceparent(TRACE).unwrap()
}

#[tokio::test]
async fn one_request_is_called_the_same_in_the_logs_of_both_nodes() {
    let log = Log::get();
    let two = two().await;
    let id = two.first.node.new_id();
    client(&two.first, "the-put").put(id, pattern(200_000), PutOptions::default()).await.unwrap();
    let got = client(&two.second, "the-get").get(id, GetOptions::default()).await.unwrap();
    assert!(got.meta.is_symlink);
    assert_eq!(got.body.collect(usize::MAX).await.unwrap(), pattern(200_000));

    let [asked] = &log.of("request", "the-get")[..] else { panic!("{:#?}", log.lines()) };
    assert_eq!(asked["target"], "objstore_core::http");
    assert_eq!(
        (&asked["path"], &asked["status"]),
        (&format!("/api/v1/get/{id}").into(), &200.into())
    );
    assert_eq!(asked["traceparent"], TRACE);
    let passed_on = log.of("private request", "the-get");
    let get = format!("/private/v1/get/{id}");
    assert!(passed_on.iter().any(|line| line["path"] == get), "{:#?}", log.lines());
    for line in passed_on {
        // What has not been heard of yet is asked for first.
        assert!(line["path"] == get || line["path"] == "/private/v1/sync", "{line:#?}");
        assert_eq!(line["target"], "objstore_core::http::private");
        assert_eq!(line["node"], two.second.node.id().to_string(), "who asks");
        assert_eq!(line["traceparent"], TRACE);
    }
    assert_eq!(log.of("request", "the-put").len(), 1);
}

#[tokio::test]
async fn the_bucket_is_asked_in_the_name_of_the_request() {
    let two = two().await;
    let id = two.first.node.new_id();
    let stored = PutOptions::default().level(Level::Remote);
    client(&two.first, "a-put").put(id, "It works!", stored).await.unwrap();
    let calls = two.heard.about(&id.to_string());
    assert!(calls.iter().any(|(kind, _)| *kind == CallKind::Put), "{calls:?}");
    assert!(calls.iter().all(|(_, context)| *context == named("a-put")), "{calls:?}");

    // Whichever of the two it is that asks for a key, and by tasks of their own.
    let writer = support::node_before(two.memory.clone(), |_| {}).await;
    for (name, node) in [("a", &two.first), ("b", &two.second)] {
        let key = ObjectKey::new(&format!("key-{name}")).unwrap();
        writer.put_key(&key, pattern(20 << 20), PutOptions::default()).await.unwrap();
        let got = client(node, name).get_key(&key, GetOptions::default()).await.unwrap();
        assert_eq!(got.body.collect(usize::MAX).await.unwrap().len(), 20 << 20);
        let calls = two.heard.about(key.as_str());
        let gets = calls.iter().filter(|(kind, _)| *kind == CallKind::Get).count();
        assert!(gets > 1, "read in blocks: {calls:?}");
        assert!(calls.iter().all(|(_, context)| *context == named(name)), "{calls:?}");
    }
}

#[tokio::test]
async fn a_program_with_a_node_in_it_names_its_requests_too() {
    let log = Log::get();
    let two = two().await;
    let id = two.first.node.new_id();
    two.first.node.put(id, "It works!", PutOptions::default()).await.unwrap();
    let (node, options) = (&two.second.node, GetOptions::default());
    let got = named("in-process").scope(node.get(id, options)).await.unwrap();
    assert!(got.meta.is_symlink);
    assert!(!log.of("private request", "in-process").is_empty(), "{:#?}", log.lines());
}

/// Also below the level of requests: the line says for which request it was.
#[tokio::test]
async fn what_happens_for_a_request_lies_in_its_span() {
    let log = Log::get();
    let two = two().await;
    two.heard.refuses.store(true, Ordering::Relaxed);
    let key = ObjectKey::new("key").unwrap();
    let error =
        client(&two.first, "a-miss").get_key(&key, GetOptions::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let lines = log.lines();
    let of = |line: &&Value| line["span"]["request_id"] == "a-miss" && line["level"] == "WARN";
    let line = lines.iter().find(of).unwrap_or_else(|| panic!("{lines:#?}"));
    assert_eq!(line["span"]["name"], "request");
    assert_eq!(line["span"]["traceparent"], TRACE);
}
