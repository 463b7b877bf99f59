use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use objstore_client::Error;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::framing::Framing;
use super::service::PublicService;
use super::tap::Tap;
use crate::settings::HttpSettings;
use crate::state_dir::configuration;

/// What hyper may gather in a connection before it writes, and read before it is asked to. Answers
/// of 1 MiB cost half as much CPU with 512 KiB as with 128 KiB, in fewer and larger writes.
const BUFFER: usize = 512 * 1024;
const FIELDS_MAX: usize = 100;
/// After an answer that ends a connection, what still comes is read away for this long, so that
/// the answer is not lost in a reset (RFC 9112 §9.6).
const LINGER: Duration = Duration::from_secs(2);
/// How long a connection beyond the limit may take to ask, before it is told so anyway.
const ASKED_WITHIN: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 * 1024 * 1024;
/// Pause after a failed accept: no descriptors are left, and the backlog will not go away.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Pause after one was refused for want of descriptors.
const REFUSE_PAUSE: Duration = Duration::from_millis(1);

/// A server of the public HTTP API on one listener. Stops when told to or dropped: stopping lets
/// running requests end, dropping cuts them.
#[derive(Debug)]
pub struct Server {
    local_addr: SocketAddr,
    is_tls: bool,
    stop: watch::Sender<bool>,
    accepting: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves on the current tokio runtime.
    ///
    /// # Errors
    /// [`Configuration`](objstore_client::ErrorKind::Configuration) when the listener has no
    /// address.
    pub fn start(listener: TcpListener, service: PublicService) -> Result<Self, Error> {
        let local_addr = listener
            .local_addr()
            .map_err(|e| configuration("the listener has no address".to_owned()).with_source(e))?;
        let service = if local_addr.ip().is_loopback() { service.on_loopback() } else { service };
        let is_tls = service.node().inner.access.tls().is_some();
        let (stop, stopped) = watch::channel(false);
        let accepting = tokio::spawn(accept(listener, service, stopped));
        Ok(Self { local_addr, is_tls, stop, accepting: Some(accepting) })
    }

    /// The address it listens on, with the port it got.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Whether it speaks HTTPS, and not HTTP in the clear.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// Stops accepting, lets requests under way end for up to `grace`, then cuts what is left.
    pub async fn stop(mut self, grace: Duration) {
        let _ = self.stop.send(true);
        if let Some(mut accepting) = self.accepting.take()
            && tokio::time::timeout(grace, &mut accepting).await.is_err()
        {
            accepting.abort();
            let _ = accepting.await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(accepting) = &self.accepting {
            accepting.abort();
        }
    }
}

/// Accepts until stopped, then waits for all connections to end. Aborting it cuts them.
async fn accept(listener: TcpListener, service: PublicService, mut stopped: watch::Receiver<bool>) {
    let settings = Arc::new(service.node().inner.settings.http.clone());
    let room = Arc::new(Semaphore::new(settings.max_connections.max(1)));
    let refusals = Arc::new(Semaphore::new(settings.max_connections.max(1)));
    let mut connections = JoinSet::new();
    let mut spare = spare_descriptor();
    let mut refusing = false;
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stopped.changed() => break,
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                if !refusing {
                    tracing::warn!(%error, "connections are refused; is the limit of open files reached?");
                }
                refusing = true;
                // The spare descriptor is lent to the one who waits, to be told.
                drop(spare.take());
                if let Ok(Ok((stream, _))) =
                    tokio::time::timeout(ACCEPT_PAUSE, listener.accept()).await
                {
                    let _ = stream.try_write(too_many().as_bytes());
                }
                spare = spare_descriptor();
                tokio::time::sleep(REFUSE_PAUSE).await;
                continue;
            }
        };
        refusing = false;
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
            match Arc::clone(&refusals).try_acquire_owned() {
                Ok(permit) => drop(connections.spawn(async move {
                    refuse(stream).await;
                    drop(permit);
                })),
                // The socket's buffer takes these few bytes; a client that does not read them loses.
                Err(_) => drop(stream.try_write(too_many().as_bytes())),
            }
            continue;
        };
        let (service, settings, stopped) =
            (service.clone(), Arc::clone(&settings), stopped.clone());
        connections.spawn(async move {
            serve(stream, service, &settings, stopped).await;
            drop(permit);
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// A descriptor to give up when there is none left to accept with.
fn spare_descriptor() -> Option<std::net::UdpSocket> {
    std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0)).ok()
}

/// Answers a connection beyond the limit, once it has asked: an answer that comes before its request
/// is none to most clients.
async fn refuse(mut stream: TcpStream) {
    let asked = async {
        let mut head = vec![0; 4 * 1024];
        let mut filled = 0;
        while let Some(room) = head.get_mut(filled..).filter(|room| !room.is_empty()) {
            match stream.read(room).await {
                Ok(0) | Err(_) => break,
                Ok(read) => filled += read,
            }
            if head.get(..filled).is_some_and(|head| head.windows(4).any(|w| w == b"\r\n\r\n")) {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(ASKED_WITHIN, asked).await;
    if stream.write_all(too_many().as_bytes()).await.is_ok() {
        linger(stream).await;
    }
}

/// What a connection beyond the limit is told.
fn too_many() -> String {
    let body = r#"{"error":"busy","message":"as many connections are open as this node takes; try again soon"}"#;
    format!(
        "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn serve(
    stream: TcpStream,
    service: PublicService,
    settings: &HttpSettings,
    stopped: watch::Receiver<bool>,
) {
    // Without it small answers wait for the client's delayed acknowledgement, 40 ms.
    let _ = stream.set_nodelay(true);
    let Some(tls) = service.node().inner.access.tls() else {
        return serve_on(stream, service, settings, stopped).await;
    };
    let limit = Duration::from_millis(settings.head_timeout_ms);
    if let Ok(Some(stream)) = tokio::time::timeout(limit, secure(stream, tls)).await {
        serve_on(stream, service, settings, stopped).await;
    }
}

/// Begins TLS. Who speaks HTTP in the clear is told so.
async fn secure(mut stream: TcpStream, tls: Arc<ServerConfig>) -> Option<TlsStream<TcpStream>> {
    let mut first = [0];
    stream.peek(&mut first).await.ok()?;
    if first.iter().all(u8::is_ascii_uppercase) {
        if stream.write_all(in_the_clear().as_bytes()).await.is_ok() {
            linger(stream).await;
        }
        return None;
    }
    match TlsAcceptor::from(tls).accept(stream).await {
        Ok(mut stream) => {
            stream.get_mut().1.set_buffer_limit(Some(BUFFER));
            Some(stream)
        }
        Err(error) => {
            tracing::debug!(target: "objstore_core::http", %error, "a connection ended in its handshake");
            None
        }
    }
}

/// What HTTP in the clear is told where TLS is spoken.
fn in_the_clear() -> String {
    let body = r#"{"error":"invalid-request","message":"this port speaks HTTPS; ask again with https://"}"#;
    format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

async fn serve_on<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    service: PublicService,
    settings: &HttpSettings,
    mut stopped: watch::Receiver<bool>,
) {
    let (tap, framing) = Tap::new(stream, settings, BUFFER);
    let service = OnConnection { service: service.on_connection(framing.clone()), framing };
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_millis(settings.idle_timeout_ms))
        .max_headers(FIELDS_MAX)
        .max_buf_size(BUFFER)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(tap), service);
    let mut stopping = false;
    loop {
        let ended = tokio::select! {
            ended = poll_fn(|cx| connection.poll_without_shutdown(cx)) => ended,
            _ = stopped.changed(), if !stopping => {
                stopping = true;
                std::pin::Pin::new(&mut connection).graceful_shutdown();
                continue;
            }
        };
        if let Err(error) = ended {
            tracing::debug!(target: "objstore_core::http", %error, "connection ended");
        }
        break;
    }
    linger(connection.into_parts().io.into_inner().into_inner()).await;
}

async fn linger<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) {
    let read_away = async {
        stream.shutdown().await?;
        let mut buffer = vec![0; 8 * 1024];
        let mut left = LINGER_BYTES;
        while left > 0 {
            match stream.read(&mut buffer).await? {
                0 => break,
                read => left = left.saturating_sub(read),
            }
        }
        Ok::<_, io::Error>(())
    };
    let _ = tokio::time::timeout(LINGER, read_away).await;
}

/// Tells the tap that a head has arrived, then passes the request on.
struct OnConnection {
    service: PublicService,
    framing: Framing,
}

impl Service<Request<Incoming>> for OnConnection {
    type Response = <PublicService as Service<Request<Incoming>>>::Response;
    type Error = <PublicService as Service<Request<Incoming>>>::Error;
    type Future = <PublicService as Service<Request<Incoming>>>::Future;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.framing.head_arrived();
        Service::call(&self.service, request)
    }
}
