//! What the HTTP tests share: a node on a loopback port, and an HTTP/1.1 client that sends exactly
//! the bytes it is given and tells exactly what came back. It knows nothing of hyper, so that a
//! fault in how hyper is used cannot hide on both sides.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used
)]

pub mod nodes;

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use objstore_core::env::{Clock, Env};
use objstore_core::options::{GetOptions, ListOptions};
use objstore_core::remote::{RemoteFuture, RemoteGet, RemoteStore};
use objstore_core::testing::{Adapted, Around, Call};
use objstore_core::types::{ObjectId, ObjectMeta};
use objstore_core::{Error, Node, Server, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// After this long a test that waits for an event has failed: it keeps a hanging node from hanging
/// the suite and decides nothing else.
const PATIENCE: Duration = Duration::from_secs(120);

/// The event, or the end of the test.
pub async fn patiently<T>(what: &str, event: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, event).await {
        Ok(value) => value,
        Err(_) => panic!("waited in vain: {what}"),
    }
}

/// Bytes without a period that matches a power of two, so that no two units of a body are alike.
pub fn pattern(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}

/// A node in memory that serves its public API on a loopback port.
pub struct Running {
    /// The node, for what is easier to ask in process.
    pub node: Node,
    /// Where it listens.
    pub addr: SocketAddr,
    server: Server,
}

impl Running {
    /// With the default settings.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// With changed settings.
    pub async fn start_with(change: impl FnOnce(&mut Settings)) -> Self {
        let node = memory_node(change).await;
        Self::serve(node, Ipv4Addr::LOCALHOST).await
    }

    /// A node served at a port of this address; reached through loopback in any case.
    pub async fn serve(node: Node, address: Ipv4Addr) -> Self {
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let server = node.serve_public(listener).expect("the listener is served");
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, server.local_addr().port()));
        Self { node, addr, server }
    }

    /// A new connection.
    pub async fn connect(&self) -> Wire {
        Wire::open(self.addr).await
    }

    /// One request on a connection of its own.
    pub async fn ask(&self, ask: Ask) -> Reply {
        let mut wire = self.connect().await;
        wire.ask(&ask).await
    }

    /// `GET` of a path.
    pub async fn get(&self, path: &str) -> Reply {
        self.ask(Ask::new("GET", path)).await
    }

    /// An id that no object has yet.
    pub fn fresh_id(&self) -> String {
        self.node.new_id().to_string()
    }

    /// Stores a body under a fresh id and returns the id.
    pub async fn stored(&self, body: &[u8]) -> String {
        let id = self.fresh_id();
        let reply = self.ask(Ask::put(&id).body(body)).await;
        assert_eq!(reply.status, 200, "{reply:?}");
        id
    }

    /// Everything the node knows, deleted objects included.
    pub async fn journal(&self) -> Vec<Arc<ObjectMeta>> {
        journal(&self.node).await
    }

    /// Stops serving once every running request has come to its end; the node lives on.
    pub async fn stop(self) -> Node {
        patiently("the server stops", self.server.stop(PATIENCE)).await;
        self.node
    }
}

/// A node in memory.
pub async fn memory_node(change: impl FnOnce(&mut Settings)) -> Node {
    let mut settings = Settings::default();
    change(&mut settings);
    Node::builder().settings(settings).in_memory().start().await.expect("a node in memory starts")
}

/// A node in memory before this bucket, on the clock of tokio.
pub async fn node_before(remote: Arc<dyn RemoteStore>, change: impl FnOnce(&mut Settings)) -> Node {
    let mut settings = Settings::default();
    change(&mut settings);
    let mut env = Env::default();
    env.clock = Arc::new(TokioClock);
    let builder = Node::builder().settings(settings).env(env).in_memory().remote(remote);
    builder.start().await.expect("a node in memory starts")
}

/// Tells the time of tokio, which a test may have paused.
#[derive(Debug)]
pub struct TokioClock;

impl Clock for TokioClock {
    #[allow(clippy::disallowed_methods)]
    fn wall_nanos(&self) -> u64 {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        u64::try_from(since.as_nanos()).unwrap()
    }

    #[allow(clippy::disallowed_methods)]
    fn monotonic(&self) -> std::time::Instant {
        tokio::time::Instant::now().into_std()
    }
}

/// Waits until something holds; the pause is none in a test whose time stands still.
pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    for _ in 0..100_000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("waited in vain: {what}");
}

/// Waits until nothing is left to be done in the remote.
pub async fn settled(node: &Node) {
    until("the uploads settle", async || {
        let uploads = node.stats().uploads;
        uploads.queued + uploads.running + uploads.undecided == 0
    })
    .await;
}

/// What a node hands out of an object.
pub async fn read(node: &Node, id: ObjectId) -> Result<Vec<u8>, Error> {
    let object = node.get(id, GetOptions::default()).await?;
    Ok(object.body.collect(usize::MAX).await?.to_vec())
}

/// What a bucket has under a key.
pub async fn stored_in(remote: &dyn RemoteStore, key: &str) -> Option<Vec<u8>> {
    let object = remote.get(key, RemoteGet::default()).await.ok()?;
    Some(object.body.collect(usize::MAX).await.unwrap().to_vec())
}

/// Holds calls of a store back until it is opened.
#[derive(Debug)]
pub struct Gate {
    open: tokio::sync::watch::Sender<bool>,
    waiting: tokio::sync::watch::Sender<usize>,
    which: fn(&Call) -> bool,
}

/// A store with a gate before it.
pub type GatedRemote = Adapted<Gate>;

impl Gate {
    /// Shut for calls of which this is true.
    pub fn shut(which: fn(&Call) -> bool) -> Self {
        Self {
            open: tokio::sync::watch::Sender::new(false),
            waiting: tokio::sync::watch::Sender::new(0),
            which,
        }
    }

    /// Lets everyone through from now on.
    pub fn handle(&self) -> GateHandle {
        GateHandle { open: self.open.clone(), waiting: self.waiting.clone() }
    }
}

/// Opens a gate.
pub struct GateHandle {
    open: tokio::sync::watch::Sender<bool>,
    waiting: tokio::sync::watch::Sender<usize>,
}

impl GateHandle {
    /// Lets everyone through from now on.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Waits until so many calls have come to the gate since it was made.
    pub async fn reached(&self, calls: usize) {
        let mut waiting = self.waiting.subscribe();
        patiently("a call comes", waiting.wait_for(|count| *count >= calls)).await.unwrap();
    }
}

impl Around for Gate {
    fn before<'a>(&'a self, call: &'a Call) -> RemoteFuture<'a, ()> {
        Box::pin(async move {
            if (self.which)(call) {
                self.waiting.send_modify(|count| *count += 1);
                let _ = self.open.subscribe().wait_for(|open| *open).await;
            }
            Ok(())
        })
    }
}

/// Everything a node knows, deleted objects included.
pub async fn journal(node: &Node) -> Vec<Arc<ObjectMeta>> {
    let mut options = ListOptions::default();
    options.include_deleted = true;
    node.list(options).await.unwrap()
}

/// A request in good form, to be bent where a test wants it.
#[derive(Clone, Debug)]
pub struct Ask {
    method: String,
    target: String,
    host: Option<Vec<u8>>,
    fields: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
    framing: Framing,
}

#[derive(Clone, Copy, Debug)]
enum Framing {
    None,
    Length,
    Chunks(usize),
}

impl Ask {
    /// A request without a body to a host that the node takes.
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            host: Some(b"localhost".to_vec()),
            fields: Vec::new(),
            body: Vec::new(),
            framing: Framing::None,
        }
    }

    /// A put of an empty body under this id.
    pub fn put(id: &str) -> Self {
        Self::new("POST", "/api/v1/put").field("X-Meta-ID", id).body(b"")
    }

    /// A get of the object with this id.
    pub fn get(id: &str) -> Self {
        Self::new("GET", &format!("/api/v1/get/{id}"))
    }

    /// With another method.
    pub fn method(mut self, method: &str) -> Self {
        method.clone_into(&mut self.method);
        self
    }

    /// With another host.
    pub fn host(mut self, host: impl AsRef<[u8]>) -> Self {
        self.host = Some(host.as_ref().to_vec());
        self
    }

    /// Without a host.
    pub fn no_host(mut self) -> Self {
        self.host = None;
        self
    }

    /// With one more field line.
    pub fn field(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.fields.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// With a body whose length is declared.
    pub fn body(mut self, body: &[u8]) -> Self {
        self.body = body.to_vec();
        self.framing = Framing::Length;
        self
    }

    /// With a body in chunks of this size.
    pub fn chunks(mut self, body: &[u8], size: usize) -> Self {
        self.body = body.to_vec();
        self.framing = Framing::Chunks(size);
        self
    }

    /// The head alone, empty line included.
    pub fn head(&self) -> Vec<u8> {
        let mut out = format!("{} {} HTTP/1.1\r\n", self.method, self.target).into_bytes();
        let mut line = |name: &str, value: &[u8]| {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        };
        if let Some(host) = &self.host {
            line("Host", host);
        }
        for (name, value) in &self.fields {
            line(name, value);
        }
        match self.framing {
            Framing::None => {}
            Framing::Length => line("Content-Length", self.body.len().to_string().as_bytes()),
            Framing::Chunks(_) => line("Transfer-Encoding", b"chunked"),
        }
        out.extend_from_slice(b"\r\n");
        out
    }

    /// The body as it goes over the wire.
    pub fn payload(&self) -> Vec<u8> {
        match self.framing {
            Framing::None | Framing::Length => self.body.clone(),
            Framing::Chunks(size) => chunked(&self.body, size),
        }
    }

    /// The whole request.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = self.head();
        out.extend_from_slice(&self.payload());
        out
    }
}

/// A body in chunked coding (RFC 9112 §7.1).
pub fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in body.chunks(size) {
        out.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n\r\n");
    out
}

/// One connection.
pub struct Wire {
    stream: TcpStream,
    came: Vec<u8>,
}

impl Wire {
    /// Connects.
    pub async fn open(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).await.expect("the node accepts connections");
        stream.set_nodelay(true).unwrap();
        Self { stream, came: Vec::new() }
    }

    /// Sends bytes as they are. That the other side may have closed by then is no fault here: what
    /// it said and whether it closed is asked afterwards.
    pub async fn send(&mut self, bytes: &[u8]) {
        let _ = patiently("the node takes bytes or closes", self.stream.write_all(bytes)).await;
    }

    /// Says that no more bytes will come, and still reads.
    pub async fn finish(&mut self) {
        let _ = self.stream.shutdown().await;
    }

    /// One request, one answer.
    pub async fn ask(&mut self, ask: &Ask) -> Reply {
        match self.exchange(&ask.bytes()).await {
            Some(reply) => reply,
            None => panic!("closed without an answer to {} {}", ask.method, ask.target),
        }
    }

    /// Sends bytes while reading the answer to them; none if the connection closes without one.
    pub async fn exchange(&mut self, bytes: &[u8]) -> Option<Reply> {
        let to_head = bytes.starts_with(b"HEAD ");
        let Self { stream, came } = self;
        let (read, mut write) = stream.split();
        let mut reader = Reader { read, came };
        let both = async {
            let (_, reply) = tokio::join!(write.write_all(bytes), reader.reply(to_head));
            reply
        };
        patiently("the node answers or closes", both).await
    }

    /// The next answer, to anything but a HEAD; none if the connection closes without one.
    pub async fn reply(&mut self) -> Option<Reply> {
        let Self { stream, came } = self;
        let (read, _) = stream.split();
        let mut reader = Reader { read, came };
        patiently("the node answers or closes", reader.reply(false)).await
    }

    /// The status of the next answer, interim ones (RFC 9110 §15.2) included; its body stays.
    pub async fn next_status(&mut self) -> u16 {
        let Self { stream, came } = self;
        let (read, _) = stream.split();
        let mut reader = Reader { read, came };
        let head = patiently("the node answers", reader.head()).await;
        head.expect("an answer instead of a close").0
    }

    /// The status of the next answer, which stays to be read.
    pub async fn begins(&mut self) -> u16 {
        let Self { stream, came } = self;
        let (read, _) = stream.split();
        let mut reader = Reader { read, came };
        let begun = async { while reader.came.len() < 12 && reader.more().await {} };
        patiently("the node begins to answer", begun).await;
        let status = std::str::from_utf8(&self.came[9..12]).expect("a status in ASCII");
        status.parse().expect("a status line")
    }

    /// Whether the close has come already; what came before it is kept for [`Self::rest`].
    pub async fn is_closed_now(&mut self) -> bool {
        let mut buffer = vec![0; 4096];
        loop {
            match self.stream.try_read(&mut buffer) {
                Ok(0) => return true,
                Ok(len) => self.came.extend_from_slice(&buffer[..len]),
                Err(e) => return e.kind() != std::io::ErrorKind::WouldBlock,
            }
        }
    }

    /// Whether anything has come already, if only the close; it is kept to be read.
    pub async fn has_heard(&mut self) -> bool {
        self.is_closed_now().await || !self.came.is_empty()
    }

    /// Everything up to the close, which is waited for.
    pub async fn rest(mut self) -> Vec<u8> {
        let Self { stream, came } = &mut self;
        let (read, _) = stream.split();
        let mut reader = Reader { read, came };
        patiently("the node closes the connection", async { while reader.more().await {} }).await;
        self.came
    }

    /// Waits for the close and insists that nothing else comes before it.
    pub async fn closes(self, after: &str) {
        let rest = self.rest().await;
        assert!(
            rest.is_empty(),
            "the connection must close after {after}, but this came: {}",
            String::from_utf8_lossy(&rest)
        );
    }
}

struct Reader<'a> {
    read: tokio::net::tcp::ReadHalf<'a>,
    came: &'a mut Vec<u8>,
}

type Fields = Vec<(String, Vec<u8>)>;

impl Reader<'_> {
    /// Reads what is there; false at the end. A reset is an end like any other: a server that
    /// closes with bytes unread causes one.
    async fn more(&mut self) -> bool {
        let mut buffer = vec![0; 64 * 1024];
        match self.read.read(&mut buffer).await {
            Ok(0) | Err(_) => false,
            Ok(len) => {
                self.came.extend_from_slice(&buffer[..len]);
                true
            }
        }
    }

    async fn take(&mut self, len: usize) -> Vec<u8> {
        while self.came.len() < len {
            assert!(
                self.more().await,
                "the answer ended after {} of {len} bytes of its body",
                self.came.len()
            );
        }
        self.came.drain(..len).collect()
    }

    async fn line(&mut self) -> Option<Vec<u8>> {
        let mut seen = 0;
        loop {
            if let Some(end) = find(&self.came[seen..], b"\r\n") {
                let line = self.came.drain(..seen + end).collect();
                self.came.drain(..2);
                return Some(line);
            }
            seen = self.came.len().saturating_sub(1);
            if !self.more().await {
                return None;
            }
        }
    }

    async fn head(&mut self) -> Option<(u16, Fields)> {
        let Some(status_line) = self.line().await else {
            assert!(self.came.is_empty(), "half a status line: {:?}", self.came);
            return None;
        };
        let status_line = String::from_utf8(status_line).expect("a status line in ASCII");
        let status = status_line
            .strip_prefix("HTTP/1.1 ")
            .or_else(|| status_line.strip_prefix("HTTP/1.0 "))
            .and_then(|rest| rest.get(..3)?.parse().ok())
            .unwrap_or_else(|| panic!("not a status line: {status_line:?}"));
        let mut fields = Vec::new();
        loop {
            let line = self.line().await.expect("the head ends with an empty line");
            if line.is_empty() {
                return Some((status, fields));
            }
            let colon = find(&line, b":").expect("a field line has a colon");
            let name = String::from_utf8(line[..colon].to_vec()).expect("a field name in ASCII");
            fields.push((name.to_ascii_lowercase(), line[colon + 1..].trim_ascii().to_vec()));
        }
    }

    async fn reply(&mut self, to_head: bool) -> Option<Reply> {
        let (status, fields) = loop {
            let (status, fields) = self.head().await?;
            if status >= 200 {
                break (status, fields);
            }
        };
        let mut reply = Reply { status, fields, body: Vec::new() };
        if to_head || status == 204 || status == 304 {
            return Some(reply);
        }
        if reply.header("transfer-encoding").is_some_and(|v| v.eq_ignore_ascii_case("chunked")) {
            loop {
                let size = self.line().await.expect("a chunk size");
                let size = String::from_utf8(size).expect("a chunk size in ASCII");
                let size = usize::from_str_radix(&size, 16).expect("a chunk size");
                if size == 0 {
                    break;
                }
                let chunk = self.take(size).await;
                reply.body.extend_from_slice(&chunk);
                assert_eq!(self.take(2).await, b"\r\n", "a chunk ends with a line end");
            }
            while !self.line().await.expect("the trailer ends with an empty line").is_empty() {}
        } else if let Some(len) = reply.header("content-length") {
            let len = len.parse().expect("a Content-Length that is a number");
            reply.body = self.take(len).await;
        } else {
            while self.more().await {}
            reply.body = std::mem::take(self.came);
        }
        Some(reply)
    }
}

/// Where `needle` begins in `hay`.
pub fn find(hay: &[u8], needle: &[u8]) -> Option<usize> {
    hay.windows(needle.len()).position(|window| window == needle)
}

/// An answer.
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its field lines, names in lower case.
    pub fields: Fields,
    /// Its body, decoded from chunks.
    pub body: Vec<u8>,
}

impl Reply {
    /// The value of a field as text. A field given twice fails the test: none of ours is a list.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.raw(name).map(|value| std::str::from_utf8(value).expect("a field value in UTF-8"))
    }

    /// The value of a field as bytes.
    pub fn raw(&self, name: &str) -> Option<&[u8]> {
        let mut values = self.fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        let first = values.next();
        assert!(values.next().is_none(), "{name} was sent twice: {self:?}");
        first.map(|(_, value)| value.as_slice())
    }

    /// The value of a field that must be there.
    pub fn must(&self, name: &str) -> &str {
        self.header(name).unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a body in UTF-8")
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("not JSON ({e}): {self:?}"))
    }

    /// The code of an error answer whose body must be exactly what the contract says.
    pub fn error(&self) -> String {
        assert!(self.status >= 400, "not an error: {self:?}");
        let kind = self.must("content-type");
        assert!(kind.starts_with("application/json"), "{kind}");
        let json = self.json();
        let names: Vec<&String> = json.as_object().expect("a JSON object").keys().collect();
        assert_eq!(names, ["error", "message"], "{self:?}");
        let message = json["message"].as_str().expect("a message in text");
        assert!(!message.is_empty() && !message.contains('\n'), "one line: {message:?}");
        assert!(!message.contains("/root") && !message.contains(".rs:"), "{message:?}");
        let code = json["error"].as_str().expect("a code in text");
        let kebab = |b: u8| b.is_ascii_lowercase() || b == b'-';
        assert!(!code.is_empty() && code.bytes().all(kebab), "{code:?}");
        code.to_owned()
    }

    /// Insists on a status and on an error body with this code.
    #[track_caller]
    pub fn is_error(&self, status: u16, code: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.error(), code, "{self:?}");
    }
}

impl std::fmt::Debug for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}", self.status)?;
        for (name, value) in &self.fields {
            writeln!(f, "{name}: {}", String::from_utf8_lossy(value))?;
        }
        let shown = &self.body[..self.body.len().min(300)];
        write!(f, "\n{} ({} bytes)", String::from_utf8_lossy(shown), self.body.len())
    }
}
