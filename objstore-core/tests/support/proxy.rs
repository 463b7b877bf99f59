//! A TCP proxy between a node and the S3 server of these tests, which breaks what passes through it
//! as it is told. It knows just enough of HTTP/1.1 to tell one request and one answer from the
//! next: heads, `Content-Length` and chunked bodies. `Host` is forwarded as it was sent, so that
//! what signed it stays right. It keeps no time of its own but for [`Fault::Delay`].

#![allow(dead_code, unreachable_pub, clippy::expect_used, clippy::unwrap_used)]

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// The longest head and the longest body of one request that it takes; the connection ends beyond.
const HEAD_MAX: usize = 64 * 1024;
const BODY_MAX: usize = 64 << 20;

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is forwarded, and its answer too.
    Pass,
    /// It is taken in, not forwarded, and never answered.
    BlackHole,
    /// It is forwarded whole and answered by the server; of the answer this much comes through.
    Cut(At, End),
    /// It is forwarded after this time.
    Delay(Duration),
    /// It is not forwarded but answered with these bytes, after which the connection is closed.
    Answer(String),
}

/// So many bytes of an answer, beginning with its head, or with its body when the head comes whole.
/// An answer that has no more ends with its last byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    Head(usize),
    Body(usize),
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Close,
    Reset,
    /// It stays open, and nothing comes any more.
    Hang,
}

/// The answer is lost: the server made the change, nobody hears of it.
pub const LOST: Fault = Fault::Cut(At::Head(0), End::Reset);

/// A request, as far as it can be told by its first line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub method: String,
    pub target: String,
}

impl Asked {
    pub fn is(&self, method: &str) -> bool {
        self.method == method
    }
}

/// Which requests are meant.
pub type Which = fn(&Asked) -> bool;

/// Every request.
pub const ANY: Which = |_| true;

struct Rule {
    which: Which,
    skip: usize,
    /// None for all that come.
    left: Option<usize>,
    fault: Fault,
}

#[derive(Default)]
struct Shared {
    rules: Mutex<Vec<Rule>>,
    log: Mutex<Vec<(Asked, Fault)>>,
}

/// A running proxy; dropping it closes its port and its connections.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    orders: mpsc::Sender<(bool, oneshot::Sender<()>)>,
    _task: JoinSet<()>,
}

impl Proxy {
    /// On a free port of this machine, before the server at this address. Lets everything pass.
    pub async fn before(server: &str) -> Self {
        let server = server.trim_start_matches("http://").parse().expect("an address");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::<Shared>::default();
        let (orders, told) = mpsc::channel(1);
        let mut task = JoinSet::new();
        task.spawn(run(listener, address, server, Arc::clone(&shared), told));
        Self { address, shared, orders, _task: task }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Refuses connections from now on, and resets those there are.
    pub async fn down(&self) {
        self.order(false).await;
    }

    /// Takes connections again.
    pub async fn up(&self) {
        self.order(true).await;
    }

    async fn order(&self, up: bool) {
        let (done, told) = oneshot::channel();
        self.orders.send((up, done)).await.expect("the proxy runs");
        told.await.expect("the proxy runs");
    }

    /// Every such request meets this from now on. The rule given first goes first.
    pub fn all(&self, which: Which, fault: Fault) {
        self.rule(Rule { which, skip: 0, left: None, fault });
    }

    /// So many such requests meet this.
    pub fn next(&self, requests: usize, which: Which, fault: Fault) {
        self.rule(Rule { which, skip: 0, left: Some(requests), fault });
    }

    /// One such request meets this, after so many others.
    pub fn after(&self, others: usize, which: Which, fault: Fault) {
        self.rule(Rule { which, skip: others, left: Some(1), fault });
    }

    fn rule(&self, rule: Rule) {
        self.shared.rules.lock().unwrap().push(rule);
    }

    /// Lets everything pass again, and forgets what passed.
    pub fn mend(&self) {
        self.shared.rules.lock().unwrap().clear();
        self.shared.log.lock().unwrap().clear();
    }

    /// What was asked since the start or the last [`mend`](Self::mend), and what became of it.
    pub fn log(&self) -> Vec<(Asked, Fault)> {
        self.shared.log.lock().unwrap().clone()
    }

    /// How many such requests were asked.
    pub fn asked(&self, which: Which) -> usize {
        self.log().iter().filter(|(asked, _)| which(asked)).count()
    }

    /// How many requests met a fault.
    pub fn met(&self) -> usize {
        self.log().iter().filter(|(_, fault)| *fault != Fault::Pass).count()
    }
}

impl Shared {
    fn fate(&self, asked: &Asked) -> Fault {
        let mut fault = Fault::Pass;
        for rule in self.rules.lock().unwrap().iter_mut() {
            if rule.left == Some(0) || !(rule.which)(asked) {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
                continue;
            }
            rule.left = rule.left.map(|left| left - 1);
            fault = rule.fault.clone();
            break;
        }
        self.log.lock().unwrap().push((asked.clone(), fault.clone()));
        fault
    }
}

async fn run(
    listener: TcpListener,
    address: SocketAddr,
    server: SocketAddr,
    shared: Arc<Shared>,
    mut orders: mpsc::Receiver<(bool, oneshot::Sender<()>)>,
) {
    let mut listener = Some(listener);
    // Holds the port while nobody listens on it.
    let mut held = None;
    let mut connections = JoinSet::new();
    loop {
        let accept = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            order = orders.recv() => {
                let Some((up, done)) = order else { return };
                if up && let Some(socket) = held.take() {
                    listener = Some(TcpSocket::listen(socket, 1024).expect("the port is ours"));
                } else if !up && listener.take().is_some() {
                    connections.shutdown().await;
                    let socket = TcpSocket::new_v4().expect("a socket");
                    socket.set_reuseaddr(true).expect("a socket option");
                    socket.bind(address).expect("the port is ours");
                    held = Some(socket);
                }
                let _ = done.send(());
            }
            accepted = accept => {
                if let Ok((client, _)) = accepted {
                    let shared = Arc::clone(&shared);
                    connections.spawn(async move {
                        // Either side may go away at any time.
                        let _ = serve(client, server, &shared).await;
                    });
                }
                while connections.try_join_next().is_some() {}
            }
        }
    }
}

async fn serve(client: TcpStream, server: SocketAddr, shared: &Shared) -> io::Result<()> {
    client.set_nodelay(true)?;
    let upstream = TcpStream::connect(server).await?;
    upstream.set_nodelay(true)?;
    let (mut client, mut upstream) = (BufReader::new(client), BufReader::new(upstream));
    loop {
        let Some(mut request) = head(&mut client).await? else { return Ok(()) };
        let asked = asked(&request);
        let fault = shared.fate(&asked);
        if field(&request, "expect").is_some() {
            client.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let length = length_of(&request, false);
        body(&mut client, length, &mut request).await?;
        match fault {
            Fault::BlackHole => return hang(client).await,
            Fault::Answer(answer) => {
                client.write_all(answer.as_bytes()).await?;
                return client.shutdown().await;
            }
            Fault::Delay(delay) => tokio::time::sleep(delay).await,
            Fault::Pass | Fault::Cut(..) => {}
        }
        upstream.write_all(&request).await?;
        let (start, mut answer) = answer(&mut upstream, asked.is("HEAD")).await?;
        if let Fault::Cut(at, end) = fault {
            answer.truncate(match at {
                At::Head(bytes) => bytes,
                At::Body(bytes) => start.saturating_add(bytes),
            });
            client.write_all(&answer).await?;
            return match end {
                End::Close => client.shutdown().await,
                End::Reset => client.get_ref().set_zero_linger(),
                End::Hang => hang(client).await,
            };
        }
        client.write_all(&answer).await?;
    }
}

/// Until the client gives up.
async fn hang(mut client: BufReader<TcpStream>) -> io::Result<()> {
    let mut rest = [0; 1024];
    while client.read(&mut rest).await? > 0 {}
    Ok(())
}

/// A whole answer, and where its body begins.
async fn answer(upstream: &mut BufReader<TcpStream>, bare: bool) -> io::Result<(usize, Vec<u8>)> {
    loop {
        let Some(mut answer) = head(upstream).await? else { return Err(ended()) };
        let status = answer.get(9..12).unwrap_or_default().to_vec();
        if status.starts_with(b"1") {
            continue;
        }
        let bare = bare || status == b"204" || status == b"304";
        let (start, length) = (answer.len(), length_of(&answer, bare));
        body(upstream, length, &mut answer).await?;
        return Ok((start, answer));
    }
}

/// One head, its empty line included; none when the connection has ended.
async fn head(stream: &mut BufReader<TcpStream>) -> io::Result<Option<Vec<u8>>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) if head.is_empty() => return Ok(None),
            Err(error) => return Err(error),
        }
        if head.len() > HEAD_MAX {
            return Err(ended());
        }
    }
    Ok(Some(head))
}

enum Length {
    Bytes(usize),
    Chunked,
}

fn length_of(head: &[u8], bare: bool) -> Length {
    match field(head, "content-length").map(|value| value.parse()) {
        _ if bare => Length::Bytes(0),
        _ if field(head, "transfer-encoding").is_some() => Length::Chunked,
        Some(Ok(bytes)) => Length::Bytes(bytes),
        _ => Length::Bytes(0),
    }
}

/// Appends a body, framed as it came.
async fn body(
    stream: &mut BufReader<TcpStream>,
    length: Length,
    into: &mut Vec<u8>,
) -> io::Result<()> {
    match length {
        Length::Bytes(bytes) => take(stream, bytes, into).await,
        Length::Chunked => loop {
            let mut line = Vec::new();
            while !line.ends_with(b"\r\n") && line.len() < 256 {
                line.push(stream.read_u8().await?);
            }
            into.extend_from_slice(&line);
            let line = String::from_utf8_lossy(&line);
            let size = line.split([';', '\r']).next().unwrap_or_default();
            let size = usize::from_str_radix(size, 16).map_err(|_| ended())?;
            // With the line's end behind it. No trailers are met here.
            take(stream, size + 2, into).await?;
            if size == 0 {
                return Ok(());
            }
        },
    }
}

async fn take(
    stream: &mut BufReader<TcpStream>,
    bytes: usize,
    into: &mut Vec<u8>,
) -> io::Result<()> {
    if into.len() + bytes > BODY_MAX {
        return Err(ended());
    }
    let wanted = stream.take(bytes as u64).read_to_end(into).await?;
    if wanted == bytes { Ok(()) } else { Err(ended()) }
}

fn ended() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

fn asked(head: &[u8]) -> Asked {
    let line = String::from_utf8_lossy(head);
    let mut words = line.split_ascii_whitespace().map(str::to_owned);
    Asked { method: words.next().unwrap_or_default(), target: words.next().unwrap_or_default() }
}

fn field(head: &[u8], name: &str) -> Option<String> {
    String::from_utf8_lossy(head).split("\r\n").skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}
