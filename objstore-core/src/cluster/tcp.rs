//! The private API over TCP.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use objstore_client::{Body, Error, ErrorKind};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

use crate::env::{Listening, Network, NetworkFuture};
use crate::http::PrivateService;
use crate::state_dir::configuration;

/// Connections of other nodes at a time.
const CONNECTIONS: usize = 1024;
/// What hyper may gather in a connection before it writes, and read before it is asked to.
const BUFFER: usize = 512 * 1024;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Nodes reached over TCP.
#[derive(Debug)]
pub(crate) struct TcpNetwork {
    client: Client<HttpConnector, Body>,
}

impl TcpNetwork {
    pub(crate) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .http1_max_buf_size(BUFFER)
            .build(connector);
        Self { client }
    }
}

impl Network for TcpNetwork {
    fn resolve<'a>(&'a self, address: &'a str) -> NetworkFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(tokio::net::lookup_host(address).await?.collect()) })
    }

    fn source<'a>(&'a self, to: &'a str) -> NetworkFuture<'a, io::Result<IpAddr>> {
        Box::pin(async move {
            let to = tokio::net::lookup_host(to).await?.next();
            let to = to.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
            let any: SocketAddr = match to {
                SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            let socket = UdpSocket::bind(any).await?;
            // Sends nothing: it only looks the way up.
            socket.connect(to).await?;
            Ok(socket.local_addr()?.ip())
        })
    }

    fn call<'a>(
        &'a self,
        to: &'a str,
        mut request: http::Request<Body>,
    ) -> NetworkFuture<'a, Result<http::Response<Body>, Error>> {
        Box::pin(async move {
            let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
            *request.uri_mut() = format!("http://{to}{path}").parse().map_err(|e| {
                Error::new(ErrorKind::Transport, "not an address of a node").with_source(e)
            })?;
            let response = self.client.request(request).await.map_err(|e| {
                let why = if e.is_connect() {
                    "no connection to the node"
                } else {
                    "the connection to the node broke"
                };
                Error::new(ErrorKind::Transport, why).with_source(e)
            })?;
            Ok(response.map(received))
        })
    }

    fn listen<'a>(
        &'a self,
        address: &'a str,
        service: PrivateService,
    ) -> NetworkFuture<'a, Result<Box<dyn Listening>, Error>> {
        Box::pin(async move {
            let listener = TcpListener::bind(address).await;
            let bound = listener.and_then(|listener| Ok((listener.local_addr()?, listener)));
            let (local_addr, listener) = bound.map_err(|e| {
                configuration(format!(
                    "cannot listen on {address} for other nodes ({e}); choose another with --private-addr"
                ))
                .with_source(e)
            })?;
            let accepting = tokio::spawn(accept(listener, service));
            Ok(Box::new(Listener { local_addr, accepting }) as Box<dyn Listening>)
        })
    }
}

#[derive(Debug)]
struct Listener {
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

/// Accepts until aborted, which cuts all connections.
async fn accept(listener: TcpListener, service: PrivateService) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else { continue };
        let service = service.clone();
        connections.spawn(async move {
            serve(stream, service).await;
            drop(permit);
        });
    }
}

async fn serve(stream: TcpStream, service: PrivateService) {
    let _ = stream.set_nodelay(true);
    let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
        let service = service.clone();
        async move { Ok::<_, std::convert::Infallible>(service.answer(request.map(received)).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection of another node ended");
    }
}

/// A body from a connection.
fn received(body: Incoming) -> Body {
    let len = hyper::body::Body::size_hint(&body).exact();
    let frames = http_body_util::BodyStream::new(body);
    let chunks = frames.filter_map(|frame| async move {
        match frame {
            Ok(frame) => frame.into_data().ok().map(Ok),
            Err(e) => {
                let broke = Error::new(ErrorKind::Transport, "the connection to the node broke");
                Some(Err(broke.with_source(e)))
            }
        }
    });
    Body::from_stream(chunks, len)
}
