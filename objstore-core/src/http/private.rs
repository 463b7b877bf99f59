//! The private HTTP API, which nodes speak among themselves.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Weak;

use http::{Method, Request, Response};
use objstore_client::options::DeleteOptions;
use objstore_client::types::ObjectId;
use objstore_client::wire::private::{PROTOCOL, headers, routes};
use objstore_client::{Body, Error, ErrorKind};

use super::{answer, operator};
use crate::journal::NodeId;
use crate::node::Inner;
use crate::request_context::RequestContext;
use crate::settings::HttpSettings;

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
    /// Tells the lives of one node apart.
    pub(crate) boot: u32,
}

/// The longest body of a request that is taken, in bytes.
pub(crate) const FRAME_MAX: usize = 1 << 20;

impl PrivateService {
    pub(crate) fn new(node: Weak<Inner>) -> Self {
        Self { node }
    }

    /// The bounds of its connections; none when the node is gone.
    pub(super) fn http_settings(&self) -> Option<HttpSettings> {
        let inner = self.node.upgrade()?;
        let mut settings = HttpSettings::default();
        settings.allow_hosts.clone_from(&inner.settings.http.allow_hosts);
        Some(settings)
    }

    /// Answers one request of an operator.
    pub(super) async fn answer_operator(&self, request: Request<Body>) -> Response<Body> {
        let Some(inner) = self.node.upgrade() else { return gone() };
        let (head, body) = request.into_parts();
        named(&inner, &head, operator::dispatch(&inner, &head, body)).await
    }

    /// Answers one request.
    pub async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let Some(inner) = self.node.upgrade() else { return gone() };
        let (head, body) = request.into_parts();
        named(&inner, &head, dispatch(&inner, &head, body)).await
    }
}

/// Answers in the name of the request that another node works for, if it has one.
async fn named(
    inner: &Inner,
    head: &http::request::Parts,
    answering: impl Future<Output = Result<Response<Body>, Error>>,
) -> Response<Body> {
    let context = RequestContext::from_headers(&head.headers);
    if context.is_empty() {
        return answering.await.unwrap_or_else(|error| answer::error(&error));
    }
    let began = inner.env.clock.monotonic();
    let answered = context.clone().scope(answering).await;
    let response = answered.unwrap_or_else(|error| answer::error(&error));
    let took = inner.env.clock.monotonic().saturating_duration_since(began);
    tracing::debug!(
        target: "objstore_core::http::private",
        method = %head.method,
        path = head.uri.path(),
        status = response.status().as_u16(),
        micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        node = head.headers.get(headers::NODE).and_then(|node| node.to_str().ok()),
        request_id = context.request_id(),
        traceparent = context.traceparent(),
        "private request"
    );
    response.map(|body| context.body(body))
}

fn gone() -> Response<Body> {
    answer::error(&Error::new(ErrorKind::Stopping, "this node has stopped"))
}

async fn dispatch(
    inner: &std::sync::Arc<Inner>,
    head: &http::request::Parts,
    body: Body,
) -> Result<Response<Body>, Error> {
    let path = head.uri.path();
    let caller = caller(inner, head)?;
    let budget = &inner.cluster.budget;
    // A membership that waits behind a flood of announces would take the node for dead.
    let _under_way = match path {
        routes::GOSSIP | routes::PING => None,
        _ if path.starts_with(routes::GET) => None,
        _ => Some(budget.request(caller.node)?),
    };
    let mut in_memory = None;
    let frame = || async {
        let (bytes, counted) = budget.frame(caller.node, body, FRAME_MAX).await?;
        in_memory = Some(counted);
        Ok::<_, Error>(bytes)
    };
    match (path, &head.method) {
        (routes::HELLO, &Method::POST) => inner.answer_hello(caller, frame().await?).await,
        (routes::SYNC, &Method::POST) => inner.answer_sync(caller, frame().await?).await,
        (routes::ANNOUNCE, &Method::POST) => inner.answer_announce(caller, frame().await?).await,
        (routes::GOSSIP, &Method::POST) => inner.answer_gossip(caller, &frame().await?),
        (routes::FORGET, &Method::POST) => inner.answer_forget(frame().await?).await,
        (routes::PING, &Method::GET) => Ok(answer::text(format!("{}\n", inner.node_id))),
        (routes::NODES, &Method::GET) => Ok(answer::json(&inner.all_infos())),
        (routes::MESSAGE, &Method::POST) => {
            inner.take_message(caller.node, frame().await?)?;
            Ok(answer::text(""))
        }
        (path, &Method::GET | &Method::HEAD) if path.starts_with(routes::GET) => {
            let id = path.strip_prefix(routes::GET).unwrap_or_default();
            inner.answer_get(caller, id, head).await
        }
        (routes::PUT, &Method::POST) => inner.answer_copy(&head.headers, frame().await?).await,
        (path, &Method::POST) if path.starts_with(routes::DELETE) => delete(inner, path).await,
        (path, method) => match allowed(path) {
            Some(allow) if !takes(allow, method) => Ok(answer::wrong_method(allow)),
            _ => Err(no_such_route()),
        },
    }
}

/// `POST /private/v1/delete/:id`: an object is to be deleted, or a key has changed.
pub(super) async fn delete(inner: &Inner, path: &str) -> Result<Response<Body>, Error> {
    let id: ObjectId = path.strip_prefix(routes::DELETE).unwrap_or_default().parse()?;
    if id.is_derived() {
        return inner.answer_changed(id).await;
    }
    Ok(answer::json(&*inner.delete(id, DeleteOptions::default()).await?))
}

/// The methods that a path takes; none for a path of no route.
pub(super) fn allowed(path: &str) -> Option<&'static str> {
    match path {
        routes::PING | routes::NODES => Some("GET"),
        routes::HELLO
        | routes::GOSSIP
        | routes::FORGET
        | routes::ANNOUNCE
        | routes::SYNC
        | routes::PUT
        | routes::MESSAGE => Some("POST"),
        _ if path.starts_with(routes::GET) => Some("GET, HEAD"),
        _ if path.starts_with(routes::DELETE) => Some("POST"),
        _ => None,
    }
}

pub(super) fn takes(allow: &str, method: &Method) -> bool {
    allow.split(", ").any(|name| name == method.as_str())
}

pub(super) fn no_such_route() -> Error {
    Error::new(ErrorKind::NoSuchRoute, "there is no such private route")
}

/// Who asks, and whether it may: it has to speak our protocol, belong to our cluster, and mean us.
fn caller(inner: &Inner, head: &http::request::Parts) -> Result<Caller, Error> {
    let field = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let node = |name: &str| field(name).and_then(|text| text.parse().ok());
    let refuse = |why: String| {
        let who = field(headers::NODE).unwrap_or("somebody without an id");
        inner.cluster.log_refusal(who, &why);
        Err(Error::new(ErrorKind::Forbidden, why))
    };
    if field(headers::PROTOCOL).is_none() && field(headers::NODE).is_none() {
        let why = "nodes speak among themselves here; clients ask the public address, and operators that of --debug-addr";
        return refuse(why.to_owned());
    }
    let protocol = field(headers::PROTOCOL).and_then(|text| text.parse::<u32>().ok());
    if protocol.is_none_or(|protocol| protocol.abs_diff(PROTOCOL) > 1) {
        let theirs = protocol.map_or_else(|| "none".to_owned(), |protocol| protocol.to_string());
        return refuse(format!(
            "the one who is asked speaks version {PROTOCOL} of the private protocol, the asker {theirs}; only neighbouring versions understand each other, upgrade the older node"
        ));
    }
    let tag = &inner.settings.cluster.tag;
    if field(headers::TAG) != Some(tag) {
        let theirs = field(headers::TAG).unwrap_or_default();
        return refuse(format!(
            "the tag of the one who is asked is {tag:?}, that of the asker {theirs:?}"
        ));
    }
    if node(headers::TO).is_some_and(|to| to != inner.node_id) {
        let why = "another node is reached here by now";
        return Err(Error::new(ErrorKind::Forbidden, why));
    }
    let said = node(headers::NODE);
    let known = head.extensions.get::<Sender>().map(|sender| sender.0);
    let boot = field(headers::BOOT).and_then(|text| text.parse().ok()).unwrap_or(0);
    let Some(node) = said else {
        return refuse("a node says who it is with each request".to_owned());
    };
    if known.is_some_and(|known| known != node) {
        return refuse("a node speaks for itself only".to_owned());
    }
    if head.uri.path() != routes::HELLO && inner.cluster.is_other_life(node, boot) {
        return refuse("another process with this id is known here; say hello first".to_owned());
    }
    Ok(Caller { node, boot })
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
