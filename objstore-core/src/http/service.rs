use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Method, Request, Response};
use objstore_client::types::{ObjectId, ObjectKey};
use objstore_client::wire::headers::REQUEST_ID;
use objstore_client::{Body, Error, ErrorKind};
use tokio::sync::Semaphore;

use super::access::Asker;
use super::framing::Framing;
use super::intake::{self, Pending};
use super::metrics::ServiceMetrics;
use super::routes::{Needs, Op, Route, route};
use super::{
    answer, delete, get, guard, keys, level, list, members, messages, openapi, put, request,
    status, uploads,
};
use crate::node::Node;
use crate::ops::Target;
use crate::request_context::RequestContext;

/// The public HTTP API of a node, as a service: hand it to a server of your own, hyper or tower,
/// or have [`Server`](crate::Server) serve it. Cheap to clone.
///
/// A request is answered with an error response where something is wrong; the service itself never
/// fails. Dropping its future cancels the request: a put leaves the old version or the new one.
#[derive(Clone)]
pub struct PublicService {
    shared: Arc<Shared>,
    framing: Option<Framing>,
}

struct Shared {
    node: Node,
    requests: Semaphore,
    metrics: ServiceMetrics,
    render_metrics: Option<RenderMetrics>,
    version: String,
    loopback: bool,
}

type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;
type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl PublicService {
    pub(crate) fn new(node: Node) -> Self {
        let shared = Shared {
            requests: Semaphore::new(node.inner.settings.http.max_requests.max(1)),
            metrics: ServiceMetrics::new(),
            render_metrics: None,
            version: format!("objstore {}", env!("CARGO_PKG_VERSION")),
            loopback: false,
            node,
        };
        Self { shared: Arc::new(shared), framing: None }
    }

    /// Has `GET /metrics` answer what `render` returns: the host's recorder in the Prometheus text
    /// format. Without it `/metrics` is 404.
    #[must_use]
    pub fn with_metrics(self, render: Arc<dyn Fn() -> String + Send + Sync>) -> Self {
        self.change(|shared| shared.render_metrics = Some(render))
    }

    /// Brings those metrics up to date that are not counted as they happen, as `GET /metrics` does:
    /// for a host that shows its metrics elsewhere. The metrics are those of the recorder that was
    /// there when the service was made.
    pub fn update_metrics(&self) {
        self.shared.metrics.show(&self.shared.node.stats());
    }

    /// What `GET /api/v1/version` answers; by default this crate's version.
    #[must_use]
    pub fn with_version(self, version: impl Into<String>) -> Self {
        self.change(|shared| shared.version = version.into())
    }

    /// Says that only this machine can reach the listener: then a request whose `Host` or `Origin`
    /// names anything else is refused, for it was made by a page in a browser.
    pub(super) fn on_loopback(self) -> Self {
        self.change(|shared| shared.loopback = true)
    }

    /// For one connection of our own server, whose raw heads are known.
    pub(super) fn on_connection(&self, framing: Framing) -> Self {
        Self { shared: Arc::clone(&self.shared), framing: Some(framing) }
    }

    pub(super) fn node(&self) -> &Node {
        &self.shared.node
    }

    fn change(self, change: impl FnOnce(&mut Shared)) -> Self {
        let old = &self.shared;
        let mut shared = Shared {
            node: old.node.clone(),
            requests: Semaphore::new(old.node.inner.settings.http.max_requests.max(1)),
            metrics: old.metrics.clone(),
            render_metrics: old.render_metrics.clone(),
            version: old.version.clone(),
            loopback: old.loopback,
        };
        change(&mut shared);
        Self { shared: Arc::new(shared), framing: self.framing }
    }

    fn answer<B>(&self, request: Request<B>) -> Answering
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let service = self.clone();
        Box::pin(async move { Ok(service.handle(request).await) })
    }

    async fn handle<B>(self, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let shared = &self.shared;
        let clock = &shared.node.inner.env.clock;
        let began = clock.monotonic();
        let (head, body) = request.into_parts();
        let path = head.uri.path();
        let op = route(path).map_or(Op::Other, |route| route.op(&head.method));
        let is_head = head.method == Method::HEAD;
        let mut pending = Pending::new(body, &head, &shared.node.inner.settings.http);

        let asker = shared.node.inner.access.asker(&head.headers);
        let context = RequestContext::from_headers(&head.headers);
        let dispatched = self.dispatch(&head, &mut pending, &asker);
        let answered = match context.is_empty() {
            true => dispatched.await,
            false => context.clone().scope(dispatched).await,
        };
        let mut response = match answered {
            Ok(response) => response,
            Err(error) => {
                if answer::must_close(error.kind()) {
                    pending.distrust();
                }
                let mut response = answer::error(&error);
                if let Some(meta) = error.meta() {
                    answer::put_json(response.headers_mut(), &head.headers, meta);
                }
                response
            }
        };
        // What is left of a request's body would be taken for the next request's head.
        if !pending.drain().await {
            answer::close(&mut response);
        }
        response = response.map(|body| context.body(body));
        if let Some(id) = context.id() {
            response.headers_mut().insert(REQUEST_ID, id.clone());
        }
        if is_head {
            answer::without_body(&mut response);
        }
        let took = clock.monotonic().saturating_duration_since(began);
        shared.metrics.record(op, response.status(), took);
        shared.node.inner.counts.answered(op, response.status(), took);
        tracing::debug!(
            target: "objstore_core::http",
            method = %head.method,
            path,
            status = response.status().as_u16(),
            micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
            token = asker.name(),
            request_id = context.request_id(),
            traceparent = context.traceparent(),
            "request"
        );
        response
    }

    async fn dispatch<B>(
        &self,
        head: &http::request::Parts,
        body: &mut Pending<B>,
        asker: &Asker,
    ) -> Result<Response<Body>, Error>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let shared = &self.shared;
        let node = &shared.node;
        guard::check(head, self.framing.as_ref(), body)?;
        // A page in a browser has no token to show.
        if shared.loopback && !node.inner.access.has_tokens() {
            guard::check_origin(head, &node.inner.settings.http)?;
        }
        if !answer::is_known(&head.method) {
            return Err(Error::new(
                ErrorKind::NotImplemented,
                "HTTP has no such method; methods are in upper case",
            ));
        }
        let path = head.uri.path();
        let route = route(path).ok_or_else(|| {
            Error::new(
                ErrorKind::NoSuchRoute,
                "there is no such route; see the README for those there are",
            )
        })?;
        if !route.allows(&head.method) {
            return Ok(answer::wrong_method(route.allow()));
        }
        if let Some(refusal) = refuse(asker, route.needs(&head.method)) {
            return Ok(refusal);
        }
        // The node's credentials for the bucket are not everyone's.
        let near = shared.loopback || matches!(asker, Asker::Holder(_));
        // A node at its limit is alive, and has to be seen to be at its limit; and who waits for
        // messages is no load.
        let _permit = match route {
            Route::Health | Route::Ready | Route::Metrics => None,
            Route::Messages if head.method != Method::POST => None,
            _ => Some(shared.requests.try_acquire().map_err(|_| intake::busy())?),
        };
        match route {
            Route::Object(id) if head.method == Method::DELETE => {
                delete::delete(node, request::id(id)?, head).await
            }
            Route::Object(text) => {
                get::get(node, &self.target(text, head, near).await?, head).await
            }
            Route::Key(text) => self.key(&keys::key(text)?, head, body, near).await,
            Route::Keys => keys::list(node, near, head).await,
            Route::Uploads => Ok(answer::json(&node.stats().uploads)),
            Route::RetryUpload(id) => uploads::retry(node, request::id(id)?).await,
            Route::DropUpload(id) => uploads::drop(node, request::id(id)?).await,
            Route::Forget(id) => members::forget(node, id).await,
            Route::Messages if head.method == Method::POST => messages::send(node, body).await,
            Route::Messages => messages::messages(node, head).await,
            Route::Put => put::put(node, head, body).await,
            Route::Meta(id) => {
                get::meta(node, self.reachable(request::id(id)?, near).await?, head).await
            }
            Route::Delete(id) => delete::delete(node, request::id(id)?, head).await,
            Route::Level(id) => level::level(node, request::id(id)?, head).await,
            Route::List => list::list(node, head).await,
            Route::Id => Ok(answer::text(format!("{}\n", node.new_id()))),
            Route::Version => Ok(answer::text(format!("{}\n", shared.version))),
            Route::Ping => Ok(answer::text(format!("{}\n", node.id()))),
            Route::Stats => Ok(answer::json(&node.stats())),
            Route::OpenApi => Ok(openapi::document(node.inner.access.has_tokens())),
            Route::Health => Ok(answer::text("ok\n")),
            Route::Ready => Ok(status::ready(node)),
            Route::Metrics => {
                status::metrics(node, &shared.metrics, shared.render_metrics.as_deref())
            }
        }
    }
}

impl PublicService {
    /// What a path names: an object, or, as the original had it, a key of the bucket where the
    /// request says that it may be fetched.
    async fn target(
        &self,
        text: &str,
        head: &http::request::Parts,
        near: bool,
    ) -> Result<Target, Error> {
        let not_an_id = match request::id(text) {
            Ok(id) => return Ok(Target::Id(self.reachable(id, near).await?)),
            Err(error) => error,
        };
        let Ok(key) = keys::key(text) else { return Err(not_an_id) };
        let node = &self.shared.node;
        if !get::wants_fetch(head)? && !node.inner.has_key(key.as_str()).await? {
            return Err(not_an_id);
        }
        keys::check_reach(node, near, key.as_str())?;
        Ok(Target::Key(key.as_str().into()))
    }

    /// Refuses the id of a key that must not be asked for from so far: anybody can work it out.
    async fn reachable(&self, id: ObjectId, near: bool) -> Result<ObjectId, Error> {
        let node = &self.shared.node;
        if id.is_derived() && !near {
            let hot = node.inner.lookup(id, false).await?;
            if let Some(key) = hot.as_ref().and_then(|hot| hot.entry.key.as_deref()) {
                keys::check_reach(node, false, key)?;
            }
        }
        Ok(id)
    }

    async fn key<B>(
        &self,
        key: &ObjectKey,
        head: &http::request::Parts,
        body: &mut Pending<B>,
        near: bool,
    ) -> Result<Response<Body>, Error>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let node = &self.shared.node;
        keys::check_reach(node, near, key.as_str())?;
        match head.method {
            Method::PUT => match keys::copy_from(&head.headers)? {
                Some(from) => {
                    keys::check_reach(node, near, from.as_str())?;
                    keys::copy(node, &from, key, head).await
                }
                None => keys::put(node, key, head, body).await,
            },
            Method::DELETE => keys::delete(node, key, head).await,
            _ => get::get(node, &Target::Key(key.as_str().into()), head).await,
        }
    }
}

/// The answer to who may not ask this, if it is not for everyone.
fn refuse(asker: &Asker, needs: Needs) -> Option<Response<Body>> {
    match (asker, needs) {
        (Asker::Anyone, _) | (_, Needs::Nothing) | (Asker::Holder(_), Needs::AnyToken) => None,
        (Asker::Holder(holder), Needs::Scope(scope)) => {
            (!holder.may(scope)).then(|| answer::beyond_scope(scope.name()))
        }
        (Asker::Nameless, _) => Some(answer::unauthorized(
            "this node asks for a token; send one as Authorization: Bearer",
            false,
        )),
        (Asker::Stranger, _) => Some(answer::unauthorized(
            "this is no valid token; send one as Authorization: Bearer, and only one",
            true,
        )),
    }
}

impl<B> hyper::service::Service<Request<B>> for PublicService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<B>) -> Self::Future {
        self.answer(request)
    }
}

impl<B> tower_service::Service<Request<B>> for PublicService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        self.answer(request)
    }
}

impl std::fmt::Debug for PublicService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PublicService").field("node", &self.shared.node).finish_non_exhaustive()
    }
}
