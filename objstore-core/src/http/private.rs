//! The private HTTP API, which nodes speak among themselves.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Weak;

use http::{Method, Request, Response};
use objstore_client::wire::private::{PROTOCOL, headers, routes};
use objstore_client::{Body, Error, ErrorKind};

use super::answer;
use crate::journal::NodeId;
use crate::node::Inner;

/// The private HTTP API of a node, as a service for a [`Network`](crate::env::Network). It keeps no
/// node alive. Cheap to clone.
///
/// A request is answered with an error response where something is wrong; the service itself never
/// fails. Dropping its future cancels the request.
#[derive(Clone, Debug)]
pub struct PrivateService {
    node: Weak<Inner>,
}

/// Put into a request's extensions by a [`Network`](crate::env::Network) that knows for certain
/// which node sent it; without it a sender is who it says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender(pub NodeId);

/// Who sent a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub(crate) node: NodeId,
}

/// The longest body of a request that is taken, in bytes.
pub(crate) const FRAME_MAX: usize = 1 << 20;

impl PrivateService {
    pub(crate) fn new(node: Weak<Inner>) -> Self {
        Self { node }
    }

    /// Answers one request.
    pub async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let Some(inner) = self.node.upgrade() else {
            return answer::error(&Error::new(ErrorKind::Stopping, "this node has stopped"));
        };
        let (head, body) = request.into_parts();
        match dispatch(&inner, &head, body).await {
            Ok(response) => response,
            Err(error) => answer::error(&error),
        }
    }
}

async fn dispatch(
    inner: &std::sync::Arc<Inner>,
    head: &http::request::Parts,
    body: Body,
) -> Result<Response<Body>, Error> {
    let path = head.uri.path();
    let caller = caller(inner, head)?;
    let frame = || async { body.collect(FRAME_MAX).await };
    match (path, &head.method) {
        (routes::HELLO, &Method::POST) => inner.answer_hello(caller, frame().await?),
        (routes::PING, &Method::GET) => Ok(answer::text(format!("{}\n", inner.node_id))),
        (routes::NODES, &Method::GET) => Ok(answer::json(&inner.cluster.infos())),
        (path, &Method::GET | &Method::HEAD) if path.starts_with(routes::GET) => {
            inner.answer_get(path.strip_prefix(routes::GET).unwrap_or_default(), head).await
        }
        (path, &Method::POST) if path.starts_with(routes::DELETE) => {
            inner.answer_changed(path.strip_prefix(routes::DELETE).unwrap_or_default()).await
        }
        _ => Err(Error::new(ErrorKind::NoSuchRoute, "there is no such private route")),
    }
}

/// Who asks, and whether it may: it has to speak our protocol, belong to our cluster, and mean us.
fn caller(inner: &Inner, head: &http::request::Parts) -> Result<Caller, Error> {
    let field = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let node = |name: &str| field(name).and_then(NodeId::parse);
    let refuse = |why: String| Err(Error::new(ErrorKind::Forbidden, why));
    let protocol = field(headers::PROTOCOL).and_then(|text| text.parse::<u32>().ok());
    if protocol.is_none_or(|protocol| protocol.abs_diff(PROTOCOL) > 1) {
        return refuse(format!("this node speaks version {PROTOCOL} of the private protocol"));
    }
    let tag = &inner.settings.cluster.tag;
    if field(headers::TAG) != Some(tag) {
        return refuse(format!("this node belongs to the cluster {tag:?}"));
    }
    if node(headers::TO).is_some_and(|to| to != inner.node_id) {
        return refuse("another node is reached here by now".to_owned());
    }
    let said = node(headers::NODE);
    let known = head.extensions.get::<Sender>().map(|sender| sender.0);
    match (said, known) {
        (Some(said), None) => Ok(Caller { node: said }),
        (Some(said), Some(known)) if said == known => Ok(Caller { node: known }),
        _ => refuse("a node speaks for itself only".to_owned()),
    }
}

impl hyper::service::Service<Request<Body>> for PrivateService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn call(&self, request: Request<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.answer(request).await) })
    }
}
