use std::sync::Arc;
use std::time::Duration;

use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use objstore_client::wire::ErrorBody;
use objstore_client::wire::private::{PROTOCOL, headers};
use objstore_client::{Body, Error, ErrorKind};
use tokio::sync::watch;

use crate::env::Network;
use crate::journal::NodeId;
use crate::request_context::RequestContext;

/// Another node that can be asked right now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) id: NodeId,
    /// Its private API, `host:port`.
    pub(crate) addr: Arc<str>,
}

/// The other nodes that can be asked right now, and a way to ask them.
#[derive(Debug)]
pub(crate) struct Peers {
    network: Arc<dyn Network>,
    me: NodeId,
    boot: u32,
    tag: String,
    live: watch::Sender<Arc<[Peer]>>,
}

/// The longest error body that is read, in bytes.
const ERROR_BODY_MAX: usize = 64 * 1024;

impl Peers {
    pub(super) fn new(network: Arc<dyn Network>, me: NodeId, boot: u32, tag: String) -> Self {
        Self { network, me, boot, tag, live: watch::Sender::new(Arc::default()) }
    }

    /// Those there are, in order of their ids.
    pub(crate) fn live(&self) -> Arc<[Peer]> {
        Arc::clone(&self.live.borrow())
    }

    /// The one with this id, if it can be asked.
    pub(crate) fn get(&self, id: NodeId) -> Option<Peer> {
        self.live.borrow().iter().find(|peer| peer.id == id).cloned()
    }

    /// Follows their coming and going.
    pub(crate) fn watch(&self) -> watch::Receiver<Arc<[Peer]>> {
        self.live.subscribe()
    }

    /// From now on these can be asked.
    pub(super) fn set(&self, mut peers: Vec<Peer>) {
        peers.sort_by_key(|peer| peer.id);
        self.live.send_if_modified(|live| {
            let changed = **live != *peers;
            *live = peers.into();
            changed
        });
    }

    pub(super) fn me(&self) -> NodeId {
        self.me
    }

    pub(super) fn network(&self) -> &Arc<dyn Network> {
        &self.network
    }

    /// Asks a peer, and waits for the head of its answer.
    ///
    /// # Errors
    /// What the peer answered, or [`ErrorKind::Transport`].
    pub(crate) async fn call(
        &self,
        peer: &Peer,
        request: http::Request<Body>,
    ) -> Result<http::Response<Body>, Error> {
        self.call_at(&peer.addr, Some(peer.id), request).await
    }

    /// Asks whoever is reached at an address.
    pub(super) async fn call_at(
        &self,
        addr: &str,
        to: Option<NodeId>,
        mut request: http::Request<Body>,
    ) -> Result<http::Response<Body>, Error> {
        let fields = request.headers_mut();
        let mut put = |name: &'static str, value: &str| {
            if let Ok(value) = HeaderValue::from_str(value) {
                fields.insert(HeaderName::from_static(name), value);
            }
        };
        put(headers::PROTOCOL, &PROTOCOL.to_string());
        put(headers::NODE, &self.me.to_string());
        put(headers::BOOT, &self.boot.to_string());
        put(headers::TAG, &self.tag);
        if let Some(to) = to {
            put(headers::TO, &to.to_string());
        }
        RequestContext::current().put(request.headers_mut());
        let response = self.network.call(addr, request).await?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let retry_after = response
            .headers()
            .get(http::header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .map(Duration::from_secs);
        let body = response.into_body().collect(ERROR_BODY_MAX).await?;
        Err(ErrorBody::read(status.as_u16(), &body, retry_after))
    }
}

/// A request of the private API with a body in memory.
pub(crate) fn post(path: &str, body: impl Into<Body>) -> Result<http::Request<Body>, Error> {
    http::Request::post(path)
        .header(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))
        .body(body.into())
        .map_err(|e| Error::new(ErrorKind::Internal, "not a private path").with_source(e))
}
