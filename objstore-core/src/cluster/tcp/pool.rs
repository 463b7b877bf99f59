//! Connections to other nodes, kept for the next request.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use http::header::{HOST, HeaderValue};
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use objstore_client::{Body, Error, ErrorKind};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::refusals::{self, transport};
use super::{BUFFER, HANDSHAKE_TIMEOUT, TLS_READ, Trust, prepare};
use crate::cluster::trust::Credentials;
use crate::env::Clock;
use crate::journal::NodeId;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The time within which the head of an answer comes.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The other side closes a connection after twice this time.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// How soon one that has ended its last answer can take a request.
const READY_TIMEOUT: Duration = Duration::from_secs(1);
/// Requests to one address under way at a time, each on a connection of its own.
const AT_ONCE: usize = 256;
/// Connections to one address that are kept.
const KEPT: usize = 32;
const FIELDS_MAX: usize = 100;

#[derive(Debug)]
pub(super) struct Pool {
    trust: Arc<Trust>,
    clock: Arc<dyn Clock>,
    places: Mutex<BTreeMap<Arc<str>, Place>>,
}

/// What there is for one address.
#[derive(Debug)]
struct Place {
    room: Arc<Semaphore>,
    /// The one used last is at the end.
    idle: Vec<(Connection, Instant)>,
}

#[derive(Debug)]
struct Connection {
    sender: SendRequest<Body>,
    /// What the other side's certificate says; none in the clear.
    node: Option<NodeId>,
    /// What this side was when it was made.
    credentials: Option<Arc<Credentials>>,
    host: HeaderValue,
}

/// A connection while an answer comes on it. Dropping it closes the connection.
#[derive(Debug)]
pub(super) struct Lease {
    pool: Weak<Pool>,
    address: Arc<str>,
    connection: Connection,
    _permit: OwnedSemaphorePermit,
}

impl Lease {
    /// The answer has ended.
    pub(super) fn give_back(self) {
        let Some(pool) = self.pool.upgrade() else { return };
        let mut places = pool.places();
        if let Some(place) = places.get_mut(&self.address) {
            if place.idle.len() >= KEPT {
                place.idle.remove(0);
            }
            place.idle.push((self.connection, Instant::now()));
        }
    }
}

impl Pool {
    pub(super) fn new(trust: Arc<Trust>, clock: Arc<dyn Clock>) -> Self {
        Self { trust, clock, places: Mutex::default() }
    }

    fn places(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request and waits for the head of its answer. A request of which nothing was sent is
    /// sent again on another connection; any other is sent once.
    pub(super) async fn call(
        self: &Arc<Self>,
        to: &str,
        meant: Option<NodeId>,
        mut request: http::Request<Body>,
    ) -> Result<(http::Response<Incoming>, Lease), Error> {
        let (address, room) = self.place(to);
        let permit = room.try_acquire_owned().map_err(|_| {
            let why = "as many requests to this node are under way as there may be; try again soon";
            Error::new(ErrorKind::Busy, why)
        })?;
        loop {
            let kept = self.take(&address).await;
            let fresh = kept.is_none();
            let mut connection = match kept {
                Some(connection) => connection,
                None => self.connect(to).await?,
            };
            if let (Some(meant), Some(found)) = (meant, connection.node)
                && meant != found
            {
                if !fresh {
                    continue;
                }
                return Err(transport("another node is reached at this address by now"));
            }
            request.headers_mut().insert(HOST, connection.host.clone());
            let sent = connection.sender.try_send_request(request);
            let sent = timeout(ANSWER_TIMEOUT, sent).await;
            match sent.map_err(|_| transport("the node did not answer in time"))? {
                Ok(response) => {
                    let pool = Arc::downgrade(self);
                    return Ok((response, Lease { pool, address, connection, _permit: permit }));
                }
                Err(mut refused) => match refused.take_message() {
                    Some(unsent) if !fresh => request = unsent,
                    _ => {
                        let keyed = connection.credentials.is_some();
                        return Err(refusals::explain(refused.into_error(), keyed, fresh));
                    }
                },
            }
        }
    }

    /// The address as the pool knows it, and the room there is for requests to it.
    fn place(&self, to: &str) -> (Arc<str>, Arc<Semaphore>) {
        let mut places = self.places();
        if let Some((address, place)) = places.get_key_value(to) {
            return (Arc::clone(address), Arc::clone(&place.room));
        }
        // Places without a connection are forgotten, so that addresses that come and go leave
        // nothing behind.
        places.retain(|_, place| {
            place.idle.retain(|(connection, since)| {
                since.elapsed() < IDLE_TIMEOUT && !connection.sender.is_closed()
            });
            !place.idle.is_empty() || place.room.available_permits() < AT_ONCE
        });
        let (address, room) = (Arc::<str>::from(to), Arc::new(Semaphore::new(AT_ONCE)));
        places.insert(Arc::clone(&address), Place { room: Arc::clone(&room), idle: Vec::new() });
        (address, room)
    }

    #[cfg(test)]
    pub(super) fn kept(&self, address: &str) -> usize {
        self.places().get(address).map_or(0, |place| place.idle.len())
    }

    /// A connection that can be used again.
    async fn take(&self, address: &str) -> Option<Connection> {
        loop {
            let (mut connection, since) = self.places().get_mut(address)?.idle.pop()?;
            if since.elapsed() >= IDLE_TIMEOUT || !self.is_current(&connection) {
                continue;
            }
            // Its task may not have seen yet that the last answer has ended.
            if let Ok(Ok(())) = timeout(READY_TIMEOUT, connection.sender.ready()).await {
                return Some(connection);
            }
        }
    }

    /// Whether it was made with the keys that are in force.
    fn is_current(&self, connection: &Connection) -> bool {
        match (&connection.credentials, &self.trust.credentials()) {
            (Some(then), Some(now)) => Arc::ptr_eq(then, now),
            (then, now) => then.is_none() && now.is_none(),
        }
    }

    async fn connect(&self, to: &str) -> Result<Connection, Error> {
        let stream = match timeout(CONNECT_TIMEOUT, TcpStream::connect(to)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(e)) => {
                let what = format!("no connection to the node ({e})");
                return Err(transport(what).with_source(e));
            }
            Err(_) => return Err(transport("no connection to the node in time")),
        };
        prepare(&stream);
        // The address instead of a name, so that no name has to be known there.
        let host = stream.peer_addr().ok().and_then(|at| host(at).ok());
        let host = host.unwrap_or(HeaderValue::from_static("localhost"));
        let Some(credentials) = self.trust.credentials() else {
            let sender = handshake(stream).await?;
            return Ok(Connection { sender, node: None, credentials: None, host });
        };
        let connector = TlsConnector::from(Arc::clone(&credentials.client));
        let name = ServerName::IpAddress(std::net::Ipv4Addr::LOCALHOST.into());
        let stream = BufReader::with_capacity(TLS_READ, stream);
        let mut stream = match timeout(HANDSHAKE_TIMEOUT, connector.connect(name, stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(e)) => return Err(refusals::explain(e, true, true)),
            Err(_) => return Err(transport("the node did not shake hands in time")),
        };
        let (_, session) = stream.get_mut();
        session.set_buffer_limit(Some(BUFFER));
        let node = credentials.node_of(session.peer_certificates(), self.clock.as_ref());
        let Some(node) = node else {
            return Err(transport("the certificate there names no node"));
        };
        let sender = handshake(stream).await?;
        Ok(Connection { sender, node: Some(node), credentials: Some(credentials), host })
    }
}

async fn handshake<IO>(stream: IO) -> Result<SendRequest<Body>, Error>
where
    IO: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = Builder::new()
        .max_buf_size(BUFFER)
        .max_headers(FIELDS_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|e| refusals::explain(e, false, true))?;
    // Ends with the sender.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to another node ended");
        }
    });
    Ok(sender)
}

fn host(at: SocketAddr) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
    HeaderValue::from_str(&at.to_string())
}
