//! A network that loses, delays, duplicates and reorders what nodes tell each other.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use objstore_client::{Body, Error, ErrorKind};
use tokio::sync::oneshot;

use super::seeded_entropy::SeededEntropy;
use super::steps::Steps;
use super::trace::Trace;
use crate::env::{Listening, Network, NetworkFuture};
use crate::http::PrivateService;

/// A network between hosts that are numbered from 0. Clones are one network. Works on a runtime of
/// one thread with time paused; then what happens depends on the seed alone.
#[derive(Clone, Debug)]
pub struct SimNetwork(Arc<Net>);

#[derive(Debug)]
struct Net {
    entropy: SeededEntropy,
    trace: Trace,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    places: BTreeMap<SocketAddr, Service>,
    names: BTreeMap<String, Vec<SocketAddr>>,
    /// One direction each.
    links: BTreeMap<(usize, usize), Link>,
    usual: Link,
    listened: u64,
    sent: u64,
}

#[derive(Clone, Debug)]
struct Service {
    host: usize,
    power: Steps,
    service: PrivateService,
    /// Tells one listener at an address from those before it.
    number: u64,
}

/// How one direction between two hosts behaves. Chances are in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Nothing gets through.
    pub cut: bool,
    /// The least time a message takes.
    pub latency: Duration,
    /// The most it may take besides, by which messages overtake each other.
    pub jitter: Duration,
    /// Bytes of body that go through in a second, at least 1.
    pub bytes_per_second: u64,
    /// A message is lost.
    pub loss: u32,
    /// A request arrives twice.
    pub duplicates: u32,
    /// The body of an answer breaks off with the next chunk.
    pub broken_bodies: u32,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            cut: false,
            latency: Duration::from_micros(300),
            jitter: Duration::from_micros(700),
            bytes_per_second: 100 << 20,
            loss: 0,
            duplicates: 0,
            broken_bodies: 0,
        }
    }
}

/// What a request that may be sent twice has in memory at most.
const TWICE_MAX: u64 = 1 << 20;
/// How long a caller waits for a connection, and for an answer.
const NO_CONNECTION: Duration = Duration::from_secs(2);
const NO_ANSWER: Duration = Duration::from_secs(10);

impl SimNetwork {
    /// With nobody on it.
    #[must_use]
    pub fn new(seed: u64, trace: Trace) -> Self {
        let entropy = SeededEntropy::new(seed);
        Self(Arc::new(Net { entropy, trace, state: Mutex::default() }))
    }

    /// The network as the host of this number has it, as long as it has power: who has none
    /// neither sends nor receives.
    #[must_use]
    pub fn host(&self, host: usize, power: Steps) -> Arc<dyn Network> {
        Arc::new(Host { network: self.clone(), host, power })
    }

    /// What a name stands for from now on.
    pub fn name(&self, name: impl Into<String>, addresses: Vec<SocketAddr>) {
        self.state().names.insert(name.into(), addresses);
    }

    /// How all directions behave that are not told otherwise.
    pub fn set_all(&self, link: Link) {
        let mut state = self.state();
        state.usual = link;
        state.links.clear();
    }

    /// How the direction from one host to another behaves.
    pub fn set(&self, from: usize, to: usize, link: Link) {
        self.state().links.insert((from, to), link);
    }

    /// How it behaves now.
    #[must_use]
    pub fn link(&self, from: usize, to: usize) -> Link {
        let state = self.state();
        state.links.get(&(from, to)).copied().unwrap_or(state.usual)
    }

    /// Requests sent so far.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.state().sent
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A message of so many bytes on its way; false when it does not arrive.
    async fn carry(&self, from: usize, to: usize, bytes: u64) -> bool {
        let link = self.link(from, to);
        let jitter = u64::try_from(link.jitter.as_micros()).unwrap_or(u64::MAX);
        let jitter = Duration::from_micros(self.0.entropy.below(jitter.max(1)));
        let lost = link.cut || self.0.entropy.chance(link.loss);
        let micros = bytes.saturating_mul(1_000_000) / link.bytes_per_second.max(1);
        tokio::time::sleep(link.latency + jitter + Duration::from_micros(micros)).await;
        !lost && !self.link(from, to).cut
    }

    async fn deliver(
        &self,
        from: &Host,
        to: &Service,
        number: u64,
        request: http::Request<Body>,
    ) -> Option<http::Response<Body>> {
        let bytes = request.body().len().unwrap_or(0);
        let arrived = self.carry(from.host, to.host, bytes).await;
        if !arrived || to.power.stopped() {
            self.0.trace.note(format_args!("#{number} does not arrive"));
            return None;
        }
        let response = to.service.answer(request).await;
        if to.power.stopped() {
            return None;
        }
        let status = response.status().as_u16();
        let arrived = self.carry(to.host, from.host, 0).await;
        let lost = if arrived { "" } else { ", lost" };
        self.0.trace.note(format_args!("#{number} is answered with {status}{lost}"));
        let (way, power) = ((to.host, from.host), to.power.clone());
        arrived.then(|| response.map(|body| self.body(body, way, power)))
    }

    /// A body on its way.
    fn body(&self, body: Body, (from, to): (usize, usize), power: Steps) -> Body {
        let len = body.len();
        let body = match body.try_into_bytes() {
            Ok(whole) if whole.is_empty() => return whole.into(),
            Ok(whole) => {
                let once = stream::once(async move { Ok::<Bytes, Error>(whole) });
                Body::from_stream(once, len)
            }
            Err(stream) => stream,
        };
        let start = Some((body, self.clone(), power));
        let chunks = stream::unfold(start, move |state| async move {
            let (mut body, network, power) = state?;
            let chunk = match body.chunk().await? {
                Ok(chunk) => chunk,
                Err(error) => return Some((Err(error), None)),
            };
            let arrived = network.carry(from, to, chunk.len() as u64).await;
            let broken = network.0.entropy.chance(network.link(from, to).broken_bodies);
            if !arrived || broken || power.stopped() {
                network.0.trace.note(format_args!("a body from {from} to {to} breaks off"));
                return Some((Err(lost("the connection to the node broke")), None));
            }
            Some((Ok(chunk), Some((body, network, power))))
        });
        Body::from_stream(chunks, len)
    }
}

fn lost(why: &'static str) -> Error {
    Error::new(ErrorKind::Transport, why)
}

fn parse(address: &str) -> io::Result<SocketAddr> {
    address.parse().map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e))
}

#[derive(Clone, Debug)]
struct Host {
    network: SimNetwork,
    host: usize,
    power: Steps,
}

impl Network for Host {
    fn resolve<'a>(&'a self, address: &'a str) -> NetworkFuture<'a, io::Result<Vec<SocketAddr>>> {
        Box::pin(async move {
            match self.network.state().names.get(address) {
                Some(addresses) => Ok(addresses.clone()),
                None => Ok(vec![parse(address)?]),
            }
        })
    }

    fn call<'a>(
        &'a self,
        to: &'a str,
        request: http::Request<Body>,
    ) -> NetworkFuture<'a, Result<http::Response<Body>, Error>> {
        Box::pin(async move {
            if self.power.stopped() {
                // Whoever asks is no more, and only the simulation goes on with it.
                return std::future::pending().await;
            }
            let (service, number) = {
                let mut state = self.network.state();
                state.sent += 1;
                (parse(to).ok().and_then(|to| state.places.get(&to).cloned()), state.sent)
            };
            let net = &self.network.0;
            let (from, path) = (self.host, request.uri().path().to_owned());
            let Some(service) = service else {
                net.trace.note(format_args!("#{number} {from} to {to} {path}: nobody is there"));
                tokio::time::sleep(Duration::from_millis(1)).await;
                return Err(lost("no connection to the node"));
            };
            let (head, body) = request.into_parts();
            // Twice only what is in memory.
            let small = body.len().is_some_and(|len| len <= TWICE_MAX);
            let body = match small {
                true => Body::from(body.collect(usize::MAX).await?),
                false => body,
            };
            let (body, copy) = match body.try_into_bytes() {
                Ok(bytes) => (Body::from(bytes.clone()), Some(bytes)),
                Err(stream) => (stream, None),
            };
            let sum = copy.as_ref().map_or(0, |bytes| checksum(bytes));
            let len = body.len().unwrap_or(0);
            let host = service.host;
            net.trace.note(format_args!("#{number} {from} to {host} {path} {len} {sum:08x}"));
            let link = self.network.link(self.host, service.host);
            let request = http::Request::from_parts(head.clone(), body);
            if let Some(copy) = copy.filter(|_| net.entropy.chance(link.duplicates)) {
                let request = http::Request::from_parts(head, Body::from(copy));
                let (host, service) = (self.clone(), service.clone());
                tokio::spawn(async move {
                    host.network.0.trace.note(format_args!("#{number} once more"));
                    let _ = host.network.deliver(&host, &service, number, request).await;
                });
            }
            // Who no longer waits for an answer has asked all the same.
            let (answer, answered) = oneshot::channel();
            let host = self.clone();
            tokio::spawn(async move {
                let _ = answer.send(host.network.deliver(&host, &service, number, request).await);
            });
            let begun = tokio::time::Instant::now();
            match answered.await {
                Ok(Some(response)) if !self.power.stopped() => Ok(response),
                _ => {
                    // As long as it takes to notice.
                    let patience = match net.entropy.below(3) {
                        0 => Duration::ZERO,
                        1 => NO_CONNECTION,
                        _ => NO_ANSWER,
                    };
                    tokio::time::sleep_until(begun + patience).await;
                    Err(lost("the connection to the node broke"))
                }
            }
        })
    }

    fn listen<'a>(
        &'a self,
        address: &'a str,
        service: PrivateService,
    ) -> NetworkFuture<'a, Result<Box<dyn Listening>, Error>> {
        Box::pin(async move {
            let refused = |why: &'static str| Err(Error::new(ErrorKind::Configuration, why));
            let Ok(mut at) = parse(address) else { return refused("not an address") };
            let mut state = self.network.state();
            state.listened += 1;
            let number = state.listened;
            if at.port() == 0 {
                let port = u16::try_from(10_000 + number % 50_000).unwrap_or(u16::MAX);
                at = (Ipv4Addr::new(10, 0, 0, 1), port).into();
            }
            if state.places.get(&at).is_some_and(|other| !other.power.stopped()) {
                return refused("another node listens there");
            }
            let power = self.power.clone();
            state.places.insert(at, Service { host: self.host, power, service, number });
            drop(state);
            Ok(Box::new(Listener { network: self.network.clone(), at, number })
                as Box<dyn Listening>)
        })
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    let hash = blake3::hash(bytes);
    hash.as_bytes().iter().take(4).fold(0, |sum, byte| (sum << 8) | u32::from(*byte))
}

#[derive(Debug)]
struct Listener {
    network: SimNetwork,
    at: SocketAddr,
    number: u64,
}

impl Listening for Listener {
    fn local_addr(&self) -> SocketAddr {
        self.at
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut state = self.network.state();
        if state.places.get(&self.at).is_some_and(|place| place.number == self.number) {
            state.places.remove(&self.at);
        }
    }
}
