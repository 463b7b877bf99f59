use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;

use objstore_client::{Body, Error};

use crate::http::PrivateService;

/// A future of a [`Network`].
pub type NetworkFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Carries requests of the private API between nodes.
pub trait Network: Send + Sync + Debug {
    /// The addresses that a `host:port` stands for; several for a name that many nodes share.
    fn resolve<'a>(&'a self, address: &'a str) -> NetworkFuture<'a, io::Result<Vec<SocketAddr>>>;

    /// The address of this machine from which requests to a `host:port` come.
    fn source<'a>(&'a self, to: &'a str) -> NetworkFuture<'a, io::Result<IpAddr>> {
        Box::pin(async move {
            let why = format!("this network does not tell the way to {to}");
            Err(io::Error::new(io::ErrorKind::Unsupported, why))
        })
    }

    /// Sends a request to the node at a `host:port` and waits for the head of its answer, whatever
    /// its status. No answer within the bounds of a connection is
    /// [`ErrorKind::Transport`](objstore_client::ErrorKind::Transport). Dropping the future cancels
    /// the request; the node may have done what it asks for.
    fn call<'a>(
        &'a self,
        to: &'a str,
        request: http::Request<Body>,
    ) -> NetworkFuture<'a, Result<http::Response<Body>, Error>>;

    /// Answers requests to this `host:port`, of which the port may be 0, until what is returned is
    /// dropped.
    fn listen<'a>(
        &'a self,
        address: &'a str,
        service: PrivateService,
    ) -> NetworkFuture<'a, Result<Box<dyn Listening>, Error>>;
}

/// A place where a node is reached. Dropping it ends that, and cuts what is being answered.
pub trait Listening: Send + Sync + Debug {
    /// Where it is, with the port it got.
    fn local_addr(&self) -> SocketAddr;
}
