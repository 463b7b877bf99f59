//! The client: a handle and its verbs, one for each file.

mod builder;
mod call;
mod cluster;
mod delete;
mod download;
mod endpoints;
mod fields;
mod get;
mod head;
mod ids;
mod keys;
mod level;
mod lines;
mod list;
mod messages;
mod put;
mod stats;
mod status;
mod uploads;

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};

pub use builder::ClientBuilder;
use endpoints::Endpoints;
pub use messages::Subscription;

use crate::error::{Error, ErrorKind};
use crate::transport::{LONGEST, Patience, Transport};
use crate::wire::headers;

/// The nodes of a cluster, or one node, over HTTP. Cheap to clone and to send between threads; all
/// clones share their connections and what they know of the nodes.
///
/// The verbs are those of `objstore_core::Node`, with the same arguments, results and errors; what
/// comes on top is [`ErrorKind::Transport`], for when no node answers.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), objstore_client::Error> {
/// use objstore_client::Client;
/// use objstore_client::options::{GetOptions, PutOptions};
///
/// # let node = objstore_core::Node::builder().in_memory().start().await?;
/// # let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
/// # let server = node.serve_public(listener)?;
/// # let address = server.local_addr().to_string();
/// # let address = address.as_str();
/// let client = Client::connect(address)?; // such as "localhost:10999"
/// let id = client.new_id().await?;
/// client.put(id, "It works!", PutOptions::named("test.txt")?).await?;
/// let object = client.get(id, GetOptions::default()).await?;
/// assert_eq!(object.meta.name.as_str(), "test.txt");
/// assert_eq!(object.body.collect(1024).await?, "It works!");
/// # Ok(())
/// # }
/// ```
///
/// # Tries
/// A call that fails is tried again where that can help, first on the other nodes, then after a
/// pause, and only where doing it twice is the same as doing it once:
///
/// | call | is tried again |
/// |---|---|
/// | reads | always |
/// | put, delete, set_level, by id and by key | when it has no [conditions](crate::options::Conditions), or it is certain that no node did it |
/// | new ids, messages, what waits for the bucket, forgetting a node | when it is certain that no node did it; ids always |
///
/// A put needs its body again for that: see [`Body::restartable`](crate::Body::restartable). A
/// stream is sent again only where nothing of it was taken, as when no connection was to be had. A
/// put that is made twice stores the same bytes twice under the one id; who reads in between sees
/// nothing of it, but a version that somebody else put in between is overwritten. Where that
/// matters, give conditions: the error is then handed to you, [`ErrorKind::is_retryable`] and all,
/// to look what became of it.
///
/// # Runtime
/// The methods want a tokio runtime with its time and I/O drivers. Connections live on the runtime
/// that they were made on, so that a client which is used on several loses some when one ends, and
/// makes new ones.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
    /// How long a call may take, all tries and pauses in it; none for as long as it takes.
    timeout: Option<Duration>,
    /// Fields of every request.
    common: Arc<HeaderMap>,
}

struct Shared {
    transport: Transport,
    endpoints: Endpoints,
    patience: Patience,
    /// How often each node is tried at most in a call.
    tries: u32,
    /// The longest pause between two tries.
    pause_max: Duration,
}

impl Client {
    /// To the node at `address`: `host`, `host:port`, `http://host:port` or `https://host:port`; the
    /// port is 10999 unless given. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when that is no address.
    pub fn connect(address: &str) -> Result<Self, Error> {
        Self::builder().node(address).build()
    }

    /// To several nodes, or with other settings.
    #[must_use]
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// The same client, whose calls end with [`ErrorKind::Transport`] after this time, whatever
    /// they are at; without it they go on for as long as the nodes show signs of life. Of a get it
    /// is the time until the object is there to be read; reading it may take longer.
    #[must_use]
    pub fn within(&self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout.min(LONGEST)), ..self.clone() }
    }

    /// The same client, whose requests carry this as `X-Request-Id`: nodes show it in their logs.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] for more than 128 bytes or anything but visible ASCII.
    pub fn with_request_id(&self, id: &str) -> Result<Self, Error> {
        self.with_field(headers::REQUEST_ID, id)
    }

    /// The same client, whose requests carry this as
    /// [`traceparent`](https://www.w3.org/TR/trace-context/#traceparent-header).
    ///
    /// # Errors
    /// [`ErrorKind::InvalidRequest`] for more than 128 bytes or anything but visible ASCII.
    pub fn with_traceparent(&self, traceparent: &str) -> Result<Self, Error> {
        self.with_field(headers::TRACEPARENT, traceparent)
    }

    fn with_field(&self, name: &'static str, value: &str) -> Result<Self, Error> {
        const MAX: usize = 128;
        let visible = value.bytes().all(|b| b.is_ascii_graphic());
        let value = HeaderValue::from_str(value).ok();
        let value = value.filter(|value| visible && (1..=MAX).contains(&value.len()));
        let value = value.ok_or_else(|| {
            Error::new(
                ErrorKind::InvalidRequest,
                format!("{name} is 1 to {MAX} bytes of visible ASCII"),
            )
        })?;
        let mut common = HeaderMap::clone(&self.common);
        common.insert(name, value);
        Ok(Self { common: Arc::new(common), ..self.clone() })
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("nodes", &self.shared.endpoints).finish_non_exhaustive()
    }
}
