//! What users of the client notice when nodes die, hang, are busy, or break off: the right bytes or
//! an error that says what happened, and nothing done twice that must not be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use objstore_client::options::{
    Conditions, DeleteOptions, ExpectedDigest, GetOptions, KeyListOptions, ListOptions, PutOptions,
};
use objstore_client::types::{Level, ObjectId};
use objstore_client::{Client, ClientBuilder};
use objstore_core::options::WriteMode;
use objstore_core::{Body, ErrorKind, Node, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

/// What becomes of one connection.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// Closed at once.
    Refused,
    /// Never answered.
    Hangs,
    /// Closed after so many bytes of the answer.
    Cut(usize),
    /// The node does what it is asked, and nobody hears of it.
    Swallowed,
    /// Answered with this by somebody else.
    Says(&'static [u8]),
}

const BUSY: Fault = Fault::Says(
    b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 48\r\n\r\n{\"error\":\"busy\",\"message\":\"too much, try again\"}",
);

/// A proxy's word, and not a node's.
const BARE_502: Fault =
    Fault::Says(b"HTTP/1.1 502 Bad Gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
const BARE_503: Fault = Fault::Says(
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
);
const BARE_200: Fault =
    Fault::Says(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
const BARE_304: Fault = Fault::Says(b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n");
const BROKEN: Fault = Fault::Says(
    b"HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\nContent-Length: 36\r\n\r\n{\"error\":\"internal\",\"message\":\"bug\"}",
);

/// A node, and a way to it on which things happen.
struct Stage {
    node: Node,
    _server: Server,
    direct: SocketAddr,
    front: SocketAddr,
    faults: Arc<Mutex<VecDeque<Fault>>>,
}

impl Stage {
    async fn new() -> Self {
        let node = Node::builder().in_memory().start().await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let direct = listener.local_addr().unwrap();
        let server = node.serve_public(listener).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let front = listener.local_addr().unwrap();
        let faults = Arc::<Mutex<VecDeque<Fault>>>::default();
        let next = Arc::clone(&faults);
        tokio::spawn(async move {
            loop {
                let (connection, _) = listener.accept().await.unwrap();
                let fault = next.lock().unwrap().pop_front();
                tokio::spawn(carry(connection, direct, fault));
            }
        });
        Self { node, _server: server, direct, front, faults }
    }

    /// A client that takes the way with these faults.
    fn over(&self, faults: &[Fault]) -> Client {
        self.client(faults, Client::builder().node(self.front.to_string()))
    }

    /// The same, with another way to the node.
    fn over_either(&self, faults: &[Fault]) -> Client {
        let nodes = [self.front, self.direct].map(|addr| addr.to_string());
        self.client(faults, Client::builder().nodes(nodes))
    }

    fn client(&self, faults: &[Fault], builder: ClientBuilder) -> Client {
        *self.faults.lock().unwrap() = faults.to_vec().into();
        let stall = Duration::from_millis(500);
        builder
            .stall_timeout(stall)
            .answer_timeout(stall)
            .pause_max(Duration::from_millis(20))
            .build()
            .unwrap()
    }

    fn puts(&self) -> u64 {
        self.node.stats().requests.puts
    }
}

/// An error of the connection is what the test is about.
async fn carry(mut connection: TcpStream, to: SocketAddr, fault: Option<Fault>) {
    let mut node = TcpStream::connect(to).await.unwrap();
    match fault {
        None => drop(copy_bidirectional(&mut connection, &mut node).await),
        Some(Fault::Refused) => {}
        Some(Fault::Hangs) => std::future::pending().await,
        Some(Fault::Says(answer)) => {
            let mut first = [0; 1];
            let _ = connection.read_exact(&mut first).await;
            let _ = connection.write_all(answer).await;
            // Closed with bytes unread, the answer would be lost on the way.
            let _ = copy(&mut connection, &mut tokio::io::sink()).await;
        }
        Some(Fault::Cut(_) | Fault::Swallowed) => {
            let (mut from, mut back) = connection.into_split();
            let (mut answers, mut asks) = node.into_split();
            let asking = tokio::spawn(async move { copy(&mut from, &mut asks).await });
            match fault {
                Some(Fault::Cut(at)) => {
                    let _ = copy(&mut (&mut answers).take(at as u64), &mut back).await;
                }
                // One answer comes in one piece.
                _ => drop(answers.read(&mut [0; 4096]).await),
            }
            asking.abort();
        }
    }
}

fn id(n: u128) -> ObjectId {
    ObjectId::from_parts(1_795_351_630_000, n).unwrap()
}

fn body(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|at| u8::try_from((at ^ (at >> 8) ^ (at >> 16) ^ seed) & 0xff).unwrap()).collect()
}

#[tokio::test]
async fn a_body_that_is_cut_anywhere_comes_whole() {
    const LEN: usize = 640_001;
    let stage = Stage::new().await;
    let body = body(LEN, 0);
    stage.node.put(id(1), body.clone(), PutOptions::default()).await.unwrap();
    for part in 0..64 {
        let cut = |part: usize| Fault::Cut(700 + LEN * part / 64);
        let client = stage.over(&[cut(part), cut(part / 2), cut(63 - part)]);
        let object = client.get(id(1), GetOptions::default()).await.unwrap();
        assert!(object.body.collect(LEN).await.unwrap() == body, "cut at {part}/64");
        let client = stage.over_either(&[cut(part), Fault::Hangs]);
        let object =
            client.get(id(1), GetOptions::default().range(99..=LEN as u64 - 2)).await.unwrap();
        assert!(object.body.collect(LEN).await.unwrap() == body[99..LEN - 1], "cut at {part}/64");
    }
}

#[tokio::test]
async fn versions_are_never_mixed() {
    const LEN: usize = 640_001;
    let stage = Stage::new().await;
    for part in [1, 20, 63] {
        stage.node.put(id(1), body(LEN, 0), PutOptions::default()).await.unwrap();
        let client = stage.over(&[Fault::Cut(700 + LEN * part / 64)]);
        let mut object = client.get(id(1), GetOptions::default()).await.unwrap();
        let mut came = object.body.chunk().await.unwrap().unwrap().to_vec();
        stage.node.put(id(1), body(LEN, 1), PutOptions::default()).await.unwrap();
        let error = loop {
            match object.body.chunk().await.expect("it never ends well") {
                Ok(chunk) => came.extend_from_slice(&chunk),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::PreconditionFailed);
        let said = format!("broke off after {} of {LEN} bytes", came.len());
        assert!(error.to_string().contains(&said), "{error}");
        assert!(error.to_string().contains("another version"), "{error}");
        assert!(body(LEN, 0).starts_with(&came));
    }
}

#[tokio::test]
async fn a_node_that_is_gone_hangs_or_is_busy_is_passed_over() {
    let stage = Stage::new().await;
    let nonsense = Fault::Says(b"nonsense\r\n\r\n");
    for fault in
        [Fault::Refused, Fault::Hangs, Fault::Cut(20), BUSY, nonsense, BARE_502, BARE_503, BARE_304]
    {
        let client = || stage.over_either(&[fault; 9]);
        client().put(id(1), "hello", PutOptions::default()).await.unwrap();
        let object = client().get(id(1), GetOptions::default()).await.unwrap();
        assert_eq!(object.body.collect(9).await.unwrap(), "hello");
        client().head(id(1)).await.unwrap();
        client().set_level(id(1), Level::Remote, WriteMode::Through).await.unwrap();
        assert_eq!(client().list(Default::default()).await.unwrap().len(), 1);
        client().delete(id(1), DeleteOptions::default()).await.unwrap();
    }
}

#[tokio::test]
async fn the_only_node_is_asked_again_when_it_was_busy_or_broke_off() {
    let stage = Stage::new().await;
    for fault in [Fault::Refused, Fault::Cut(20), BUSY] {
        let client = stage.over(&[fault]);
        client.put(id(1), "hello", PutOptions::default()).await.unwrap();
        assert!(stage.faults.lock().unwrap().is_empty());
    }
    let error = stage.over(&[BUSY; 9]).head(id(1)).await.unwrap_err();
    assert!(error.kind().is_retryable() && error.to_string().contains("too much"), "{error}");
    let error = stage.over(&[Fault::Refused; 9]).head(id(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transport);
    assert!(error.to_string().contains(&stage.front.to_string()), "{error}");
}

#[tokio::test]
async fn what_must_not_be_done_twice_is_not() {
    let stage = Stage::new().await;
    let only_new = || PutOptions::default().conditions(Conditions::absent());
    // Certainly not done: tried again.
    stage.over(&[BUSY]).put(id(1), "first", only_new()).await.unwrap();
    // Done, for all anybody knows: not tried again, and said.
    let before = stage.puts();
    let error =
        stage.over_either(&[Fault::Swallowed]).put(id(2), "x", only_new()).await.unwrap_err();
    assert_eq!((error.kind(), stage.puts()), (ErrorKind::Transport, before + 1));
    assert!(error.to_string().contains("whether it was done is not known"), "{error}");
    assert_eq!(stage.node.head(id(2)).await.unwrap().size, 1);
    // The same without conditions does the same when it is done twice.
    stage.over_either(&[Fault::Swallowed]).put(id(3), "x", PutOptions::default()).await.unwrap();
    assert_eq!(stage.puts(), before + 3);
    // A stream cannot be had again.
    let stream = futures_util::stream::iter([Ok("x".into())]);
    let sent = Body::from_stream(stream, None);
    let error =
        stage.over_either(&[Fault::Swallowed]).put(id(4), sent, PutOptions::default()).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Transport);
    assert_eq!(stage.puts(), before + 4);
    // What is wrong with a request is wrong at every node.
    let mut wrong = PutOptions::default();
    wrong.digests.push(ExpectedDigest::Md5([1; 16]));
    let error = stage.over_either(&[]).put(id(5), "x", wrong).await.unwrap_err();
    assert_eq!((error.kind(), stage.puts()), (ErrorKind::DigestMismatch, before + 4));
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_asked_for_again() {
    let stage = Stage::new().await;
    for n in 1..500 {
        stage.node.put(id(n), "x", PutOptions::default()).await.unwrap();
    }
    let all = stage.node.list(ListOptions::default()).await.unwrap();
    for fault in [Fault::Cut(30_000), Fault::Cut(300), BROKEN] {
        for client in [stage.over_either(&[fault; 2]), stage.over_either(&[fault])] {
            assert_eq!(client.list(ListOptions::default()).await.unwrap(), all);
        }
        stage.over_either(&[fault]).stats().await.unwrap();
        stage.over_either(&[fault]).list_keys(KeyListOptions::default()).await.unwrap();
    }
    let error = stage.over(&[Fault::Cut(300); 9]).stats().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transport);
    assert!(error.to_string().contains(&stage.front.to_string()), "{error}");
    let error = stage.over(&[BROKEN; 9]).stats().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
}

#[tokio::test]
async fn what_stands_before_a_node_does_not_speak_for_it() {
    let stage = Stage::new().await;
    let only_new = || PutOptions::default().conditions(Conditions::absent());
    for bare in [BARE_502, BARE_503, BARE_304] {
        // Whether the node did it is not known, so it is not sent again.
        let error = stage.over_either(&[bare]).put(id(1), "x", only_new()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Transport, "{error}");
        assert!(error.to_string().contains("whether it was done is not known"), "{error}");
        assert_eq!(stage.puts(), 0);
    }
    // Nor is what it says of a read an answer.
    stage.node.put(id(2), "x", PutOptions::default()).await.unwrap();
    let client = || stage.over_either(&[BARE_200]);
    client().new_id().await.unwrap();
    assert_eq!(client().node_id().await.unwrap(), stage.node.id().to_string());
    client().version().await.unwrap();
    assert_eq!(client().list(ListOptions::default()).await.unwrap().len(), 1);
    client().list_keys(KeyListOptions::default()).await.unwrap();
    client().stats().await.unwrap();
    assert_eq!(client().head(id(2)).await.unwrap().size, 1);
    let object = client().get(id(2), GetOptions::default()).await.unwrap();
    assert_eq!(object.body.collect(9).await.unwrap(), "x");
    let error = client().put(id(3), "x", PutOptions::default()).await.unwrap_err();
    assert!(error.to_string().contains("whether it was done is not known"), "{error}");
    let error = stage.over(&[BARE_502; 9]).node_id().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transport);
    assert!(error.to_string().contains("502"), "{error}");
}

#[tokio::test]
async fn a_put_that_no_node_can_have_all_of_is_certainly_not_done() {
    let stage = Stage::new().await;
    let only_new = || PutOptions::default().conditions(Conditions::absent());
    let body = body(20_000_000, 0);
    let client = stage.over_either(&[Fault::Hangs]);
    client.put(id(1), body.clone(), only_new()).await.unwrap();
    assert_eq!(stage.node.head(id(1)).await.unwrap().size, 20_000_000);
}

#[tokio::test]
async fn a_put_with_too_few_replicas_is_not_sent_again() {
    let stage = Stage::new().await;
    let mut options = PutOptions::default().level(Level::Full);
    options.min_replicas = Some(3);
    let error = stage.over_either(&[]).put(id(1), "x", options).await.unwrap_err();
    assert_eq!((error.kind(), stage.puts()), (ErrorKind::TooFewReplicas, 1));
}

/// However long one node may be silent, it does not use up the time that there is for all.
#[tokio::test]
async fn a_silent_node_leaves_the_others_their_time() {
    let stage = Stage::new().await;
    let nodes = [stage.front, stage.direct].map(|addr| addr.to_string());
    let patient = || Client::builder().nodes(nodes.clone());
    *stage.faults.lock().unwrap() = [Fault::Hangs; 99].to_vec().into();
    let client = patient().timeout(Duration::from_secs(2)).build().unwrap();
    client.node_id().await.unwrap();
    client.put(id(1), "x", PutOptions::default()).await.unwrap();

    // The same where the caller gives up, who has no time limit of the client's.
    let client = patient().build().unwrap();
    let given_up = tokio::time::timeout(Duration::from_millis(300), client.node_id()).await;
    assert!(given_up.is_err());
    client.node_id().await.unwrap();
}

#[tokio::test]
async fn times_beyond_any_calendar_are_no_limit() {
    let stage = Stage::new().await;
    let client = Client::builder()
        .node(stage.direct.to_string())
        .timeout(Duration::MAX)
        .stall_timeout(Duration::MAX)
        .answer_timeout(Duration::MAX)
        .pause_max(Duration::MAX)
        .build()
        .unwrap();
    client.put(id(1), "x", PutOptions::default()).await.unwrap();
    client.within(Duration::MAX).head(id(1)).await.unwrap();
    let never = Fault::Says(
        b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 18446744073709551615\r\nConnection: close\r\nContent-Length: 48\r\n\r\n{\"error\":\"busy\",\"message\":\"too much, try again\"}",
    );
    stage.over(&[never]).head(id(1)).await.unwrap();
}

#[tokio::test]
async fn a_call_ends_with_its_time() {
    let stage = Stage::new().await;
    let client = stage.over(&[Fault::Hangs; 9]).within(Duration::from_millis(50));
    let error = client.head(id(1)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Transport);
    assert!(error.to_string().contains("within 50ms"), "{error}");
    let error = client.put(id(1), "x", PutOptions::default()).await.unwrap_err();
    assert!(error.to_string().contains("whether it was done is not known"), "{error}");
}
