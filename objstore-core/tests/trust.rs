//! Who is kept out of a cluster, as far as nodes are concerned: real listeners, and at the other
//! end whoever should not be there.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout)]

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use objstore_core::env::Env;
use objstore_core::{ClusterKey, Message, Node, NodeId, Received, Settings};
use support::{Ask, Wire, patiently, pattern, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const ROUTES: [(&str, &str); 9] = [
    ("POST", "/private/v1/hello"),
    ("GET", "/private/v1/ping"),
    ("GET", "/private/v1/nodes"),
    ("POST", "/private/v1/gossip"),
    ("POST", "/private/v1/forget"),
    ("POST", "/private/v1/announce"),
    ("POST", "/private/v1/sync"),
    ("POST", "/private/v1/put"),
    ("POST", "/private/v1/message"),
];

fn key() -> ClusterKey {
    ClusterKey::generate().unwrap()
}

async fn node(change: impl FnOnce(&mut Settings)) -> Node {
    node_at(Env::default(), change).await
}

async fn node_at(env: Env, change: impl FnOnce(&mut Settings)) -> Node {
    let mut settings = Settings::default();
    settings.cluster.private_addr = Some("127.0.0.1:0".to_owned());
    change(&mut settings);
    Node::builder().settings(settings).env(env).in_memory().start().await.unwrap()
}

async fn keyed(keys: &[&ClusterKey], seeds: &[&Node]) -> Node {
    node(|settings| {
        settings.cluster.keys = keys.iter().map(|key| (*key).clone()).collect();
        settings.cluster.nodes = seeds.iter().map(|seed| seed.private_addr().unwrap()).collect();
    })
    .await
}

fn address(node: &Node) -> SocketAddr {
    node.private_addr().unwrap().parse().unwrap()
}

fn knows(node: &Node, other: &Node) -> bool {
    node.peers().iter().any(|peer| peer.node_id == other.id().to_string())
}

async fn know_each_other(a: &Node, b: &Node) {
    until("each knows the other", async || knows(a, b) && knows(b, a)).await;
}

/// A request as a node makes it.
fn from_node(method: &str, path: &str, node: NodeId) -> Ask {
    Ask::new(method, path)
        .field("X-Objstore-Protocol", "1")
        .field("X-Objstore-Tag", "default")
        .field("X-Objstore-Node", node.to_string())
        .field("X-Objstore-Boot", "1")
}

/// A node that is not there, to speak for.
async fn stranger() -> NodeId {
    support::memory_node(|_| {}).await.id()
}

/// Waits until the other side has closed, and returns what it said before.
async fn until_closed(mut stream: TcpStream) -> Vec<u8> {
    let mut said = Vec::new();
    let closing = async {
        let mut buffer = [0; 4096];
        // A reset is a close too.
        while let Ok(count @ 1..) = stream.read(&mut buffer).await {
            said.extend_from_slice(&buffer[..count]);
        }
    };
    patiently("the node closes", closing).await;
    said
}

#[tokio::test]
async fn nodes_with_one_key_speak_and_others_are_refused() {
    let (right, wrong) = (key(), key());
    let a = keyed(&[&right], &[]).await;
    let b = keyed(&[&right], &[&a]).await;
    know_each_other(&a, &b).await;

    let with_another_key = keyed(&[&wrong], &[&a]).await;
    let without_a_key = node(|settings| settings.cluster.nodes = vec![a.private_addr().unwrap()]);
    let without_a_key = without_a_key.await;
    // Whoever knows a message of the cluster has got in: each sends one, to whom it knows.
    let mut heard = a.subscribe();
    for outsider in [&with_another_key, &without_a_key] {
        assert_eq!(outsider.send("let me in").await.unwrap(), 0);
        assert!(!knows(outsider, &a) && !knows(&a, outsider));
    }
    assert_eq!(b.send("hello").await.unwrap(), 1);
    let first = patiently("the message comes", heard.next()).await.unwrap();
    assert!(matches!(first, Received::Message(m) if m.from == b.id() && m.payload == "hello"));
}

#[tokio::test]
async fn a_listener_with_a_key_answers_nothing_in_the_clear() {
    let a = keyed(&[&key()], &[]).await;
    let id = a.new_id();
    a.put(id, "kept", Default::default()).await.unwrap();
    let before = support::journal(&a).await;
    let ask = from_node("POST", &format!("/private/v1/delete/{id}"), stranger().await);
    let mut plain = TcpStream::connect(address(&a)).await.unwrap();
    plain.write_all(&ask.bytes()).await.unwrap();
    let said = until_closed(plain).await;
    assert!(!said.starts_with(b"HTTP") && said.len() < 16, "{said:?}");
    assert_eq!(support::journal(&a).await, before);
}

/// Another machine, as far as the network tells: a network namespace with a wire to this one.
struct Elsewhere {
    name: String,
    /// Where this machine is, seen from there.
    here: Ipv4Addr,
}

impl Elsewhere {
    /// None, with a line that says so, where that is not permitted.
    fn new() -> Option<Self> {
        let process = std::process::id();
        let [_, _, c, d] = process.to_be_bytes();
        let net = |host: u8| Ipv4Addr::new(10, c, d, host);
        let name = format!("objstore{process}");
        let made = Self { name: name.clone(), here: net(1) };
        let inside = ["netns", "exec", &name, "ip"];
        let steps = [
            format!("netns add {name}"),
            format!("link add o{process} type veth peer name eth0 netns {name}"),
            format!("addr add {}/24 dev o{process}", net(1)),
            format!("link set o{process} up"),
            format!("{} addr add {}/24 dev eth0", inside.join(" "), net(2)),
            format!("{} link set eth0 up", inside.join(" ")),
        ];
        for step in steps {
            let ran = Command::new("ip").args(step.split(' ')).output();
            if !ran.is_ok_and(|output| output.status.success()) {
                println!("skipped: network namespaces are not permitted here (ip {step})");
                return None;
            }
        }
        Some(made)
    }

    /// Asks for a path from there; what curl says of it.
    async fn curl(&self, at: SocketAddr, path: &str) -> std::process::Output {
        let mut curl = tokio::process::Command::new("ip");
        curl.args(["netns", "exec", &self.name, "curl", "-sS", "-m", "60"]);
        for field in ["Protocol: 1", "Tag: default", "Node: 01BRNMMS1DK3CBD4ZZM2TQ8C5B", "Boot: 1"]
        {
            curl.args(["-H", &format!("X-Objstore-{field}")]);
        }
        let url = format!("http://{}:{}{path}", self.here, at.port());
        patiently("curl ends", curl.arg(url).output()).await.unwrap()
    }
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).output();
    }
}

#[tokio::test]
async fn without_a_key_another_machine_is_closed_at_once() {
    let Some(elsewhere) = Elsewhere::new() else { return };
    let listen = |insecure: bool| {
        node(move |settings| {
            settings.cluster.private_addr = Some("0.0.0.0:0".to_owned());
            settings.cluster.insecure = insecure;
        })
    };
    let ping = "/private/v1/ping";
    let a = listen(false).await;
    let refused = elsewhere.curl(address(&a), ping).await;
    assert!(!refused.status.success() && refused.stdout.is_empty(), "{refused:?}");
    // This very machine is served, by loopback and by its own address.
    for here in [Ipv4Addr::LOCALHOST, elsewhere.here] {
        let mut wire = Wire::open((here, address(&a).port()).into()).await;
        let ask = from_node("GET", ping, stranger().await).host(here.to_string());
        assert_eq!(wire.ask(&ask).await.status, 200, "{here}");
    }
    let b = listen(true).await;
    let served = elsewhere.curl(address(&b), ping).await;
    assert_eq!(String::from_utf8_lossy(&served.stdout).trim(), b.id().to_string(), "{served:?}");
}

#[tokio::test]
async fn without_a_key_nobody_comes_through_a_browser_or_a_proxy() {
    let a = node(|settings| settings.http.allow_hosts = vec!["cache.example".to_owned()]).await;
    let me = stranger().await;
    let ask = |host: &str, field: &str, value: &str| {
        let ask = from_node("POST", "/private/v1/message", me).host(host).body(b"x");
        if field.is_empty() { ask } else { ask.field(field, value) }
    };
    let mut heard = a.subscribe();
    for (field, value) in [
        ("Origin", "http://localhost"),
        ("Origin", "null"),
        ("Forwarded", "for=192.0.2.60"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "localhost"),
        ("X-Real-IP", "127.0.0.1"),
        ("Via", "1.1 proxy"),
        ("Sec-Fetch-Site", "same-origin"),
    ] {
        let reply = Wire::open(address(&a)).await.ask(&ask("localhost", field, value)).await;
        assert_eq!(reply.status, 403, "{field}: {reply:?}");
    }
    for host in ["evil.example", "localhost.evil.example", "192.0.2.1:11999", "[2001:db8::1]"] {
        let reply = Wire::open(address(&a)).await.ask(&ask(host, "", "")).await;
        assert_eq!(reply.status, 403, "{host}: {reply:?}");
    }
    for host in ["localhost", "127.0.0.1:11999", "[::1]", "cache.example:80"] {
        let reply = Wire::open(address(&a)).await.ask(&ask(host, "", "")).await;
        assert_eq!(reply.status, 200, "{host}: {reply:?}");
        assert!(matches!(heard.next().await, Some(Received::Message(_))), "{host}");
    }
}

/// Each of these names something outside, or is no id at all.
fn traversals() -> Vec<String> {
    let mut spellings: Vec<String> = [
        "..",
        ".",
        "../..",
        "../../etc/passwd",
        "..%2f..%2fetc%2fpasswd",
        "%2e%2e",
        "%2e%2e/x",
        "%2e%2e%2fx",
        "..%5c..%5cx",
        "..\\x",
        "%252e%252e%252f",
        "%c0%ae%c0%ae%c0%af",
        "....//",
        "..;/x",
        "/etc/passwd",
        "//etc/passwd",
        "%2fetc%2fpasswd",
        "~",
        "~root",
        "$HOME",
        "`id`",
        "file:///etc/passwd",
        "C:\\x",
        "C:%5cx",
        "\\\\host\\share",
        "%00",
        "a%00b",
        "FORMAT",
        "state/FORMAT",
        "journal",
        "%0d%0aX-Injected:%201",
        "*",
        "?",
        "",
        "x",
    ]
    .map(str::to_owned)
    .into();
    let id = "01BRNMMS1DK3CBD4ZZM2TQ8C5B";
    for end in ["/..", "/../../x", "%00", "%2f..%2fx", "/", " ", ".tmp", "%20"] {
        spellings.push(format!("{id}{end}"));
    }
    spellings.push(format!("../{id}"));
    spellings.push("8ZZZZZZZZZZZZZZZZZZZZZZZZZ".to_owned());
    spellings
}

#[tokio::test]
async fn no_path_that_a_peer_names_is_opened() {
    let home = tempfile::tempdir().unwrap();
    let secret = home.path().join("secret");
    std::fs::write(&secret, "not for peers").unwrap();
    let mut settings = Settings::default();
    settings.state_dir = home.path().join("state");
    settings.files_dir = home.path().join("files");
    settings.cluster.private_addr = Some("127.0.0.1:0".to_owned());
    let a = Node::builder().settings(settings).start().await.unwrap();
    let before = listing(home.path());
    let me = stranger().await;
    let spellings = traversals();
    assert!(spellings.len() >= 40, "{}", spellings.len());
    for spelling in spellings {
        for (method, route) in
            ROUTES.into_iter().chain([("GET", "/private/v1/get/"), ("POST", "/private/v1/delete/")])
        {
            let path = format!("{}/{spelling}", route.trim_end_matches('/'));
            let ask = from_node(method, &path, me);
            let ask = if method == "POST" { ask.body(b"{}") } else { ask };
            let bytes = ask.bytes();
            let Some(reply) = Wire::open(address(&a)).await.exchange(&bytes).await else {
                panic!("no answer to {path:?}");
            };
            // A `?` begins a query, and what stands before it is the route itself.
            let is_route = path.split('?').next() == Some(route);
            assert!([400, 404].contains(&reply.status) || is_route, "{path:?}: {reply:?}");
            let text = String::from_utf8_lossy(&reply.body);
            assert!(!text.contains("not for peers") && !text.contains("root:"), "{path:?}");
        }
    }
    assert_eq!(listing(home.path()), before);
}

/// What lies below a directory, without the journal's own files, which come and go.
fn listing(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap().flatten() {
            let path = entry.path();
            found.push(path.display().to_string());
            if path.is_dir() && !path.ends_with("journal") {
                open.push(path);
            }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn unknown_routes_and_wrong_methods_are_told_so() {
    let a = node(|_| {}).await;
    let me = stranger().await;
    let mut wire = Wire::open(address(&a)).await;
    for path in ["/", "/private", "/private/v2/ping", "/private/v1/", "/api/v1/id", "/metrics"] {
        let reply = wire.ask(&from_node("GET", path, me)).await;
        assert_eq!(reply.status, 404, "{path}");
    }
    for (right, path) in ROUTES {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
            if method != right {
                let reply = wire.ask(&from_node(method, path, me)).await;
                assert_eq!((reply.status, reply.header("allow")), (405, Some(right)), "{path}");
            }
        }
    }
    // Whoever does not say who it is, or means another, or another cluster.
    let ping = || Ask::new("GET", "/private/v1/ping");
    let right = || from_node("GET", "/private/v1/ping", me);
    assert_eq!(wire.ask(&right()).await.status, 200);
    for ask in [
        ping(),
        ping().field("X-Objstore-Protocol", "1").field("X-Objstore-Tag", "default"),
        ping().field("X-Objstore-Protocol", "1").field("X-Objstore-Node", me.to_string()),
        right().field("X-Objstore-To", me.to_string()),
    ] {
        assert_eq!(wire.ask(&ask).await.status, 403, "{ask:?}");
    }
}

#[tokio::test]
async fn a_frame_beyond_its_bound_is_refused_unread() {
    let a = node(|_| {}).await;
    let me = stranger().await;
    for route in ["message", "hello", "announce", "sync", "gossip", "put"] {
        let path = format!("/private/v1/{route}");
        // Declared: refused by its head, while not a byte of it has come.
        let declared = from_node("POST", &path, me).field("Content-Length", "9999999999");
        let mut wire = Wire::open(address(&a)).await;
        wire.send(&declared.bytes()).await;
        let reply = patiently("it is refused", wire.reply()).await.unwrap();
        assert!([404, 413].contains(&reply.status), "{route}: {reply:?}");
        // Not declared: refused when it has grown too long.
        let chunks = from_node("POST", &path, me).chunks(&pattern(3 << 20), 60_000);
        if let Some(reply) = Wire::open(address(&a)).await.exchange(&chunks.bytes()).await {
            assert!([404, 413].contains(&reply.status), "{route}: {reply:?}");
        }
    }
    let mut wire = Wire::open(address(&a)).await;
    let message = from_node("POST", "/private/v1/message", me);
    assert_eq!(wire.ask(&message.clone().body(&pattern(Message::MAX))).await.status, 200);
    assert_eq!(wire.ask(&message.body(&pattern(Message::MAX + 1))).await.status, 413);
}

#[tokio::test]
async fn one_node_cannot_take_all() {
    let a = node(|_| {}).await;
    let (greedy, other) = (stranger().await, stranger().await);
    let frame =
        |node: NodeId| from_node("POST", "/private/v1/hello", node).body(&pattern(1 << 20)).bytes();
    // Frames that never end: at 4 MiB no more of them is taken, until one is given up.
    let mut held = Vec::new();
    let mut busy = None;
    while busy.is_none() && held.len() < 100 {
        let mut wire = Wire::open(address(&a)).await;
        let bytes = frame(greedy);
        wire.send(&bytes[..bytes.len() - 1]).await;
        // Whoever is not refused gets no answer; how long that is waited for decides nothing.
        let answer = tokio::time::timeout(Duration::from_millis(20), wire.begins());
        busy = answer.await.ok();
        held.push(wire);
    }
    assert_eq!(busy, Some(503));
    // Four frames are taken; 64 requests without bodies would be.
    assert!((5..40).contains(&held.len()), "{}", held.len());
    let mut wire = Wire::open(address(&a)).await;
    let message = |node| from_node("POST", "/private/v1/message", node).body(b"x");
    assert_eq!(wire.ask(&message(other)).await.status, 200, "another is served");
    held.clear();
    until("it is served again", async || {
        let mut wire = Wire::open(address(&a)).await;
        wire.exchange(&frame(greedy)).await.is_some_and(|reply| reply.status != 503)
    })
    .await;
}

/// A node follows nobody elsewhere: not by a redirect, and not by an address that a stranger says
/// is its own.
#[tokio::test]
async fn joining_is_no_probe_of_other_hosts() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = elsewhere.local_addr().unwrap();
    let seed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let at = seed.local_addr().unwrap().to_string();
    let (asked, mut was_asked) = tokio::sync::mpsc::channel(16);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = seed.accept().await.unwrap();
            let mut head = vec![0; 4096];
            let _ = stream.read(&mut head).await;
            let answer = format!(
                "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://{target}/private/v1/hello\r\n\
                 Content-Length: 0\r\nConnection: close\r\n\r\n"
            );
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = asked.send(()).await;
        }
    });
    let a = node(|settings| settings.cluster.nodes = vec![at]).await;
    patiently("the seed is asked", was_asked.recv()).await;
    // With a key, one that shows no certificate is nobody, whatever address it says it has.
    let b = keyed(&[&key()], &[]).await;
    let mut plain = TcpStream::connect(address(&b)).await.unwrap();
    let hello =
        format!(r#"{{"protocol":1,"tag":"default","node":"{}","addr":"{target}"}}"#, a.id());
    let ask = from_node("POST", "/private/v1/hello", a.id()).body(hello.as_bytes());
    plain.write_all(&ask.bytes()).await.unwrap();
    until_closed(plain).await;
    assert!(b.peers().is_empty() && a.peers().is_empty());
    // A connection made by then would be in the queue by now: this one is, and is the only one.
    let mut mine = TcpStream::connect(target).await.unwrap();
    mine.write_all(b"mine").await.unwrap();
    let (mut first, from) = elsewhere.accept().await.unwrap();
    assert_eq!(from, mine.local_addr().unwrap());
    let mut said = [0; 4];
    first.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"mine");
}
