use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use objstore_client::Error;
use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::refusals::{Told, tls_error, tls_refusal};
use super::{BUFFER, HANDSHAKE_TIMEOUT, TLS_READ, Trust, prepare};
use crate::cluster::counts::Counts;
use crate::cluster::trust::Credentials;
use crate::env::{Clock, Listening};
use crate::http::{From, PrivateConnection, PrivateService};
use crate::journal::NodeId;
use crate::state_dir::configuration;

/// Connections of other nodes at a time.
const CONNECTIONS: usize = 1024;
/// Those of one node, which is somewhat more than it opens.
const CONNECTIONS_OF_ONE: usize = 320;
/// Connections that have not proved yet whose they are, in all and from one address: whoever
/// knocks without a key takes no room from nodes that are connected, and little from others.
const HANDSHAKES: usize = 256;
const HANDSHAKES_OF_ONE: usize = 32;
/// Connections of operators at a time.
const DEBUG_CONNECTIONS: usize = 64;
/// The first byte of a connection that begins with a handshake (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 22;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A listener of the private API; dropping it cuts all connections.
#[derive(Debug)]
pub(crate) struct Listener {
    local_addr: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Listening for Listener {
    fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// For other nodes.
pub(super) async fn open(
    address: &str,
    service: PrivateService,
    trust: Arc<Trust>,
    clock: Arc<dyn Clock>,
) -> Result<Listener, Error> {
    let (local_addr, listener) = bind(address, "for other nodes", "--private-addr").await?;
    let gate = Arc::new(Gate {
        service,
        trust,
        clock,
        told: Told::default(),
        handshakes: Arc::new(Semaphore::new(HANDSHAKES)),
        shaking: Counts::default(),
        connected: Counts::default(),
    });
    let serve = move |stream, from| Arc::clone(&gate).serve(stream, from);
    Ok(Listener { local_addr, accepting: tokio::spawn(accept(listener, CONNECTIONS, serve)) })
}

/// For operators: the private API in the clear, on loopback only.
pub(crate) async fn debug(address: &str, service: PrivateService) -> Result<Listener, Error> {
    let (local_addr, listener) = bind(address, "for operators", "--debug-addr").await?;
    if !local_addr.ip().is_loopback() {
        return Err(configuration(format!(
            "{local_addr} is not loopback: the private API is open to everybody at --debug-addr, \
             so it must be 127.0.0.1 or [::1]"
        )));
    }
    let serve = move |stream: TcpStream, _| {
        prepare(&stream);
        let local = local_ip(&stream);
        let connection =
            PrivateConnection { service: service.clone(), from: From::Operator(local) };
        connection.serve(stream, std::future::pending())
    };
    Ok(Listener { local_addr, accepting: tokio::spawn(accept(listener, DEBUG_CONNECTIONS, serve)) })
}

async fn bind(address: &str, whom: &str, flag: &str) -> Result<(SocketAddr, TcpListener), Error> {
    let listener = TcpListener::bind(address).await;
    listener.and_then(|listener| Ok((listener.local_addr()?, listener))).map_err(|e| {
        let why = format!("cannot listen on {address} {whom} ({e}); choose another with {flag}");
        configuration(why).with_source(e)
    })
}

/// Accepts until aborted, which cuts all connections.
async fn accept<F>(listener: TcpListener, room: usize, serve: impl Fn(TcpStream, SocketAddr) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(room));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, from)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else { continue };
        let serving = serve(stream, from);
        connections.spawn(async move {
            serving.await;
            drop(permit);
        });
    }
}

/// Lets nodes of this cluster in, and nobody else.
struct Gate {
    service: PrivateService,
    trust: Arc<Trust>,
    clock: Arc<dyn Clock>,
    told: Told,
    handshakes: Arc<Semaphore>,
    shaking: Counts<IpAddr>,
    connected: Counts<NodeId>,
}

impl Gate {
    async fn serve(self: Arc<Self>, stream: TcpStream, from: SocketAddr) {
        prepare(&stream);
        match self.trust.credentials() {
            Some(credentials) => self.serve_keyed(stream, from, credentials).await,
            None => self.serve_keyless(stream, from).await,
        }
    }

    async fn serve_keyless(&self, stream: TcpStream, from: SocketAddr) {
        let local = local_ip(&stream);
        let insecure = self.trust.is_insecure();
        let peer = from.ip().to_canonical();
        if !(insecure || peer.is_loopback() || Some(peer) == local) {
            self.tell(
                from,
                "it is another machine, and there is no cluster key; make one with `objstore \
                 keygen` and give it to all nodes with --cluster-key-file, or give \
                 --insecure-cluster to serve whoever can connect",
            );
            return;
        }
        // A node with a key begins with a handshake of TLS, which is no request: it hears so from
        // the answer.
        let mut first = [0];
        let peeked = timeout(HANDSHAKE_TIMEOUT, stream.peek(&mut first)).await;
        if matches!(peeked, Ok(Ok(1))) && first == [TLS_HANDSHAKE] {
            self.tell(
                from,
                "it speaks TLS, and there is no cluster key here; if it is a node, give both nodes \
                 the same --cluster-key-file",
            );
        }
        let from = if insecure { From::Anyone } else { From::Machine(local) };
        let connection = PrivateConnection { service: self.service.clone(), from };
        connection.serve(stream, std::future::pending()).await;
    }

    async fn serve_keyed(
        &self,
        stream: TcpStream,
        from: SocketAddr,
        credentials: Arc<Credentials>,
    ) {
        let Ok(_permit) = self.handshakes.try_acquire() else { return };
        let Some(shaking) = self.shaking.one_more(from.ip().to_canonical(), HANDSHAKES_OF_ONE)
        else {
            return;
        };
        let acceptor = TlsAcceptor::from(Arc::clone(&credentials.server));
        let stream = BufReader::with_capacity(TLS_READ, stream);
        let mut stream = match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                match tls_error(&error) {
                    Some(error) => self.tell(from, &tls_refusal(error, "there")),
                    None => tracing::debug!(%from, %error, "a connection ended in its handshake"),
                }
                return;
            }
            Err(_) => return,
        };
        let (_, session) = stream.get_mut();
        session.set_buffer_limit(Some(BUFFER));
        let certificates = session.peer_certificates();
        let Some(node) = credentials.node_of(certificates, self.clock.as_ref()) else { return };
        let certificates: Vec<_> =
            certificates.unwrap_or_default().iter().map(|c| c.clone().into_owned()).collect();
        drop((_permit, shaking));
        let Some(_one) = self.connected.one_more(node, CONNECTIONS_OF_ONE) else {
            self.tell(from, "the node has as many connections as one may have");
            return;
        };
        let mut changes = self.trust.watch();
        let withdrawn = async {
            // What runs goes on; no further request is taken from whom the keys leave out.
            let left_out = |now: &Option<Arc<Credentials>>| {
                let now = now.as_ref();
                now.is_none_or(|now| {
                    now.node_of(Some(&certificates), self.clock.as_ref()) != Some(node)
                })
            };
            wait_for(&mut changes, left_out).await;
        };
        let connection =
            PrivateConnection { service: self.service.clone(), from: From::Node(node) };
        connection.serve(stream, withdrawn).await;
    }

    /// Says in the log why somebody was not let in.
    fn tell(&self, from: SocketAddr, why: &str) {
        if let Some(more) = self.told.may_tell(from.ip().to_canonical(), why) {
            tracing::warn!(%from, untold = more, "refused a connection of another node: {why}");
        }
    }
}

async fn wait_for<T>(changes: &mut watch::Receiver<T>, holds: impl FnMut(&T) -> bool) {
    if changes.wait_for(holds).await.is_err() {
        // Nobody changes anything any more.
        std::future::pending::<()>().await;
    }
}

fn local_ip(stream: &TcpStream) -> Option<IpAddr> {
    stream.local_addr().ok().map(|at| at.ip().to_canonical())
}
