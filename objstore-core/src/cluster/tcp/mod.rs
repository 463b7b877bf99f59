//! The private API over TCP: with TLS where there is a cluster key, in the clear where there is
//! none.

mod answer;
mod listener;
mod pool;
mod refusals;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use objstore_client::wire::private::headers;
use objstore_client::{Body, Error};
use tokio::net::{TcpStream, UdpSocket};

pub(crate) use listener::debug;

use super::trust::Trust;
use crate::env::{Clock, Listening, Network, NetworkFuture};
use crate::http::PrivateService;
use pool::Pool;

/// What hyper may gather in a connection before it writes, and read before it is asked to.
const BUFFER: usize = 512 * 1024;
/// What is read at once of a connection with TLS: rustls itself asks for 4 KiB at a time.
const TLS_READ: usize = 64 * 1024;
/// The time for the handshake of TLS.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// What was sent and is not confirmed by the other machine's kernel for so long never will be.
const UNCONFIRMED_MS: u32 = 10_000;

/// Nodes reached over TCP.
#[derive(Debug)]
pub(crate) struct TcpNetwork {
    trust: Arc<Trust>,
    clock: Arc<dyn Clock>,
    pool: Arc<Pool>,
}

impl TcpNetwork {
    pub(crate) fn new(trust: Arc<Trust>, clock: Arc<dyn Clock>) -> Self {
        Self { pool: Arc::new(Pool::new(Arc::clone(&trust), Arc::clone(&clock))), trust, clock }
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
        request: http::Request<Body>,
    ) -> NetworkFuture<'a, Result<http::Response<Body>, Error>> {
        Box::pin(async move {
            let meant = request.headers().get(headers::TO).and_then(|id| id.to_str().ok());
            let meant = meant.and_then(|text| text.parse().ok());
            let (response, lease) = self.pool.call(to, meant, request).await?;
            Ok(response.map(|body| answer::body(body, lease)))
        })
    }

    fn listen<'a>(
        &'a self,
        address: &'a str,
        service: PrivateService,
    ) -> NetworkFuture<'a, Result<Box<dyn Listening>, Error>> {
        let (trust, clock) = (Arc::clone(&self.trust), Arc::clone(&self.clock));
        Box::pin(async move {
            let listener = listener::open(address, service, trust, clock).await?;
            Ok(Box::new(listener) as Box<dyn Listening>)
        })
    }
}

/// What every connection between nodes wants of the kernel.
fn prepare(stream: &TcpStream) {
    // Without it small answers wait for the other side's delayed acknowledgement, 40 ms.
    let _ = stream.set_nodelay(true);
    let _ = rustix::net::sockopt::set_tcp_user_timeout(stream, UNCONFIRMED_MS);
}
