use std::sync::Arc;
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};

use super::endpoints::Endpoints;
use super::{Client, Shared};
use crate::error::{Error, ErrorKind};
use crate::transport::{Endpoint, LONGEST, Patience, Transport};

/// How a [`Client`] is made.
///
/// ```
/// use std::time::Duration;
///
/// use objstore_client::Client;
///
/// # fn main() -> Result<(), objstore_client::Error> {
/// let client = Client::builder()
///     .node("localhost")
///     .node("10.0.0.2:10999")
///     .stall_timeout(Duration::from_secs(5))
///     .build()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ClientBuilder {
    nodes: Vec<String>,
    timeout: Option<Duration>,
    patience: Patience,
    tries: u32,
    pause_max: Duration,
    token: Option<Token>,
    authorities: Vec<Vec<u8>>,
}

/// Not to be shown.
#[derive(Clone)]
struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}

impl Default for ClientBuilder {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            timeout: None,
            patience: Patience { stall: Duration::from_secs(30), answer: Duration::from_secs(300) },
            tries: 3,
            pause_max: Duration::from_secs(5),
            token: None,
            authorities: Vec::new(),
        }
    }
}

impl ClientBuilder {
    /// One more node to talk to: `host`, `host:port`, `http://host:port` or
    /// `https://host:port`. Those given first are
    /// preferred; one that does not answer, or says that it is stopping or busy, is passed over
    /// until it is well again, which is found out beside the calls.
    #[must_use]
    pub fn node(mut self, address: impl Into<String>) -> Self {
        self.nodes.push(address.into());
        self
    }

    /// Several more, as [`node`](Self::node).
    #[must_use]
    pub fn nodes<A: Into<String>>(mut self, addresses: impl IntoIterator<Item = A>) -> Self {
        self.nodes.extend(addresses.into_iter().map(Into::into));
        self
    }

    /// How long a call may take; see [`Client::within`]. No limit by default.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout.min(LONGEST));
        self
    }

    /// How long a node may be silent before it is given up: while it is to take or to send bytes,
    /// and before it answers a read. 30 s by default. A connection is waited for so long, and 10 s
    /// at most.
    #[must_use]
    pub fn stall_timeout(mut self, stall: Duration) -> Self {
        self.patience.stall = stall.min(LONGEST);
        self
    }

    /// How long a node may take to answer a change that it has all of: a put of level 1 waits for
    /// the bucket. 5 minutes by default.
    #[must_use]
    pub fn answer_timeout(mut self, answer: Duration) -> Self {
        self.patience.answer = answer.min(LONGEST);
        self
    }

    /// How often each node is tried at most in a call, 1 or more; 3 by default.
    #[must_use]
    pub fn tries(mut self, tries: u32) -> Self {
        self.tries = tries.max(1);
        self
    }

    /// The longest pause between two tries, also when a node asks for a longer one
    /// (`Retry-After`). 5 s by default.
    #[must_use]
    pub fn pause_max(mut self, pause: Duration) -> Self {
        self.pause_max = pause.min(LONGEST);
        self
    }

    /// The token to show with each request, where the nodes ask for one. It is sent to all nodes,
    /// in the clear to those that are not `https://`.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(Token(token.into()));
        self
    }

    /// Certificates, PEM, by which `https://` nodes are believed, instead of those of the system.
    #[must_use]
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.authorities.push(pem.into());
        self
    }

    /// The client. Opens no connection yet.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] without a node, with one that is no address, with a token that
    /// no field of HTTP can hold, or with certificates that are none.
    pub fn build(self) -> Result<Client, Error> {
        let nodes: Result<Vec<Endpoint>, Error> =
            self.nodes.iter().map(|node| node.parse()).collect();
        let nodes = nodes?;
        if nodes.is_empty() {
            return Err(Error::new(
                ErrorKind::Configuration,
                "no node was named; give the address of one, such as 127.0.0.1:10999",
            ));
        }
        let mut common = HeaderMap::new();
        if let Some(Token(token)) = &self.token {
            let value = HeaderValue::try_from(format!("Bearer {token}"));
            let visible = !token.is_empty() && token.bytes().all(|b| b.is_ascii_graphic());
            let mut value = value.ok().filter(|_| visible).ok_or_else(|| {
                Error::new(ErrorKind::Configuration, "the token is not one: visible ASCII")
            })?;
            value.set_sensitive(true);
            common.insert(AUTHORIZATION, value);
        }
        let over_tls = nodes.iter().any(Endpoint::is_https);
        let shared = Shared {
            transport: Transport::new(self.patience.stall, over_tls, &self.authorities)?,
            endpoints: Endpoints::new(nodes),
            patience: self.patience,
            tries: self.tries,
            pause_max: self.pause_max,
        };
        Ok(Client { shared: Arc::new(shared), timeout: self.timeout, common: Arc::new(common) })
    }
}
