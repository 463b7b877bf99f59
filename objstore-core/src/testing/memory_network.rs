use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use objstore_client::{Body, Error, ErrorKind};

use crate::env::{Listening, Network, NetworkFuture};
use crate::http::PrivateService;

/// A network in memory: nodes that are given clones of one reach each other, by addresses that
/// look like those of real ones.
#[derive(Clone, Debug, Default)]
pub struct MemoryNetwork(Arc<Mutex<Places>>);

#[derive(Debug, Default)]
struct Places {
    services: BTreeMap<SocketAddr, PrivateService>,
    last_port: u16,
}

impl MemoryNetwork {
    /// With nobody on it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn places(&self) -> std::sync::MutexGuard<'_, Places> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn parse(address: &str) -> io::Result<SocketAddr> {
    address.parse().map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))
}

impl Network for MemoryNetwork {
    fn resolve<'a>(&'a self, address: &'a str) -> NetworkFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move { Ok(vec![parse(address)?]) })
    }

    fn call<'a>(
        &'a self,
        to: &'a str,
        request: http::Request<Body>,
    ) -> NetworkFuture<'a, Result<http::Response<Body>, Error>> {
        Box::pin(async move {
            let service = parse(to).ok().and_then(|to| self.places().services.get(&to).cloned());
            match service {
                Some(service) => Ok(service.answer(request).await),
                None => Err(Error::new(ErrorKind::Transport, "no connection to the node")),
            }
        })
    }

    fn listen<'a>(
        &'a self,
        address: &'a str,
        service: PrivateService,
    ) -> NetworkFuture<'a, Result<Box<dyn Listening>, Error>> {
        Box::pin(async move {
            let taken = |why: &'static str| Err(Error::new(ErrorKind::Configuration, why));
            let Ok(mut at) = parse(address) else { return taken("not an address") };
            let mut places = self.places();
            if at.port() == 0 {
                places.last_port += 1;
                at = (Ipv4Addr::LOCALHOST, places.last_port).into();
            }
            if places.services.contains_key(&at) {
                return taken("another node listens there");
            }
            places.services.insert(at, service);
            Ok(Box::new(Place { network: self.clone(), at }) as Box<dyn Listening>)
        })
    }
}

#[derive(Debug)]
struct Place {
    network: MemoryNetwork,
    at: SocketAddr,
}

impl Listening for Place {
    fn local_addr(&self) -> SocketAddr {
        self.at
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.network.places().services.remove(&self.at);
    }
}
