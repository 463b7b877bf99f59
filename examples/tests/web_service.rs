//! The example web service on nodes in memory, as its clients and a load balancer see it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

#[path = "../web_service/service.rs"]
mod service;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use objstore_core::remote::MemoryRemote;
use objstore_core::types::PeerState;
use objstore_core::{Node, Settings};
use service::Replica;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// Three replicas whose nodes know each other.
async fn three() -> Vec<Replica> {
    let bucket = Arc::new(MemoryRemote::new("notes"));
    let mut nodes: Vec<Node> = Vec::new();
    for _ in 0..3 {
        let mut settings = Settings::default();
        settings.cluster.private_addr = Some("127.0.0.1:0".to_owned());
        settings.cluster.nodes = nodes.first().and_then(Node::private_addr).into_iter().collect();
        let builder = Node::builder().settings(settings).in_memory().remote(bucket.clone());
        nodes.push(builder.start().await.unwrap());
    }
    let live =
        |node: &Node| node.peers().iter().filter(|peer| peer.state == PeerState::Alive).count();
    eventually("all know all", async || nodes.iter().all(|node| live(node) == 2)).await;
    let mut replicas = Vec::new();
    for node in nodes {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        replicas.push(Replica::start(node, listener).unwrap());
    }
    replicas
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(60), async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("waited in vain: {what}"));
}

#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn read(bytes: &[u8]) -> Self {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    fn field(&self, name: &str) -> &str {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        let mut fields = lines.filter(|(field, _)| field.eq_ignore_ascii_case(name));
        fields.next().unwrap_or_else(|| panic!("no {name} in {self:?}")).1
    }
}

/// One request on a connection of its own; `fields` are whole lines.
async fn ask(at: SocketAddr, line: &str, fields: &str, body: &str) -> Answer {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let head = format!(
        "{line} HTTP/1.1\r\nHost: notes.example\r\nConnection: close\r\nContent-Length: {}\r\n{fields}\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    Answer::read(&answer)
}

async fn get(at: SocketAddr, path: &str) -> Answer {
    ask(at, &format!("GET {path}"), "", "").await
}

#[tokio::test]
async fn what_one_replica_takes_all_of_them_show() {
    let replicas = three().await;
    let at: Vec<SocketAddr> = replicas.iter().map(Replica::address).collect();
    let taken = ask(at[0], "POST /notes", "X-Request-Id: r1\r\n", "It works!").await;
    assert_eq!((taken.status, taken.field("x-request-id")), (201, "r1"), "{taken:?}");
    let note = taken.field("location");
    for at in &at {
        let shown = get(*at, note).await;
        assert_eq!((shown.status, shown.body.as_str()), (200, "It works!"), "{shown:?}");
        assert!(!shown.field("x-request-id").is_empty(), "one is made");
    }
    let missing = get(at[1], "/notes/01BRNMMS1DK3CBD4ZZM2TQ8C5B").await;
    assert_eq!(missing.status, 404, "{missing:?}");
    assert_eq!(get(at[1], "/notes/nonsense").await.status, 400);
    // The node's own API is not mounted.
    assert_eq!(get(at[1], "/api/v1/list").await.status, 404);
}

#[tokio::test]
async fn readiness_and_metrics_are_those_of_the_node_in_the_replica() {
    let replicas = three().await;
    let at: Vec<SocketAddr> = replicas.iter().map(Replica::address).collect();
    for at in &at {
        eventually("it is ready", async || get(*at, "/readyz").await.status == 200).await;
        assert_eq!(get(*at, "/healthz").await.status, 200);
    }
    assert_eq!(ask(at[0], "POST /notes", "", "It works!").await.status, 201);
    for (at, taken) in [(at[0], 1), (at[1], 0)] {
        let metrics = get(at, "/metrics").await;
        let shows = |line: &str| metrics.body.lines().any(|shown| shown == line);
        assert!(shows(&format!("notes_taken_total {taken}")), "{metrics:?}");
        assert!(shows(&format!("objstore_puts_total {taken}")), "{metrics:?}");
        assert!(shows("objstore_peers{state=\"alive\"} 2"), "{metrics:?}");
    }
}

#[tokio::test]
async fn a_replica_stops_without_failing_a_request() {
    let mut replicas = three().await;
    let at: Vec<SocketAddr> = replicas.iter().map(Replica::address).collect();
    eventually("it is ready", async || get(at[0], "/readyz").await.status == 200).await;

    // A request is under way when it is told to stop: its body is asked for, and yet to come.
    let mut under_way = TcpStream::connect(at[0]).await.unwrap();
    let head =
        "POST /notes HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    under_way.write_all(head.as_bytes()).await.unwrap();
    let mut interim = vec![0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
    under_way.read_exact(&mut interim).await.unwrap();
    assert!(interim.starts_with(b"HTTP/1.1 100 "));

    let (look_away, looked_away) = oneshot::channel();
    let stopping = tokio::spawn(replicas.remove(0).stop(async { looked_away.await.unwrap() }));
    eventually("it says so", async || get(at[0], "/readyz").await.status == 503).await;
    // Who has not looked away yet is served.
    assert_eq!(ask(at[0], "POST /notes", "", "late").await.status, 201);
    look_away.send(()).unwrap();
    eventually("nobody is let in", async || TcpStream::connect(at[0]).await.is_err()).await;
    under_way.write_all(b"later").await.unwrap();
    let mut answer = Vec::new();
    under_way.read_to_end(&mut answer).await.unwrap();
    let answer = Answer::read(&answer);
    assert_eq!(answer.status, 201, "{answer:?}");
    stopping.await.unwrap().unwrap();

    let note = get(at[2], answer.field("location")).await;
    assert_eq!((note.status, note.body.as_str()), (200, "later"), "{note:?}");
    // The others go on; one that has not met them all by now is still about to.
    eventually("it is ready", async || get(at[1], "/readyz").await.status == 200).await;
}
