//! A web service that takes notes and shows them. Each replica has a node in it, and the nodes are
//! one cluster: whatever one replica takes, all of them have at hand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::{ETAG, HeaderName, LOCATION};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use metrics::Counter;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use objstore_core::options::{GetOptions, PutOptions};
use objstore_core::types::{Level, ObjectId};
use objstore_core::wire::headers::REQUEST_ID;
use objstore_core::{Error, ErrorKind, Node, PublicService, RequestContext};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// One replica of the service, on a listener of its own.
pub(crate) struct Replica {
    node: Node,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<std::io::Result<()>>,
    upkeep: JoinHandle<()>,
}

impl Replica {
    /// Serves from now on.
    pub(crate) fn start(node: Node, listener: TcpListener) -> Result<Self, Error> {
        let address =
            listener.local_addr().map_err(|e| failed("the listener has no address", e))?;
        let (router, page) = router(&node);
        let (stop, stopped) = oneshot::channel();
        let served = axum::serve(listener, router).with_graceful_shutdown(async {
            let _ = stopped.await;
        });
        let serving = tokio::spawn(served.into_future());
        Ok(Self { node, address, stop, serving, upkeep: tokio::spawn(upkeep(page)) })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops so that nobody notices: `/readyz` turns 503, everything is served until those who
    /// balance load have `looked_away`, requests under way end, and then the node ends.
    pub(crate) async fn stop(self, looked_away: impl Future<Output = ()>) -> Result<(), Error> {
        self.node.drain();
        looked_away.await;
        let _ = self.stop.send(());
        let served = self.serving.await.map_err(|e| failed("the server broke off", e))?;
        served.map_err(|e| failed("the server failed", e))?;
        self.upkeep.abort();
        self.node.shutdown().await
    }
}

fn failed(what: &'static str, why: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Unavailable, what).with_source(why)
}

#[derive(Clone)]
struct Notes {
    node: Node,
    taken: Counter,
}

/// The routes of the service, and those that the node answers for it.
fn router(node: &Node) -> (Router, PrometheusHandle) {
    // A recorder for each replica, because there are several in this process. With one replica,
    // install the recorder for the whole process and leave with_local_recorder out.
    let recorder = PrometheusBuilder::new().build_recorder();
    let page = recorder.handle();
    let (of_node, taken) = metrics::with_local_recorder(&recorder, || {
        metrics::describe_counter!("notes_taken_total", "Notes taken by this replica.");
        (of_node(node, page.clone()), metrics::counter!("notes_taken_total"))
    });
    let notes = Notes { node: node.clone(), taken };
    let router = Router::new()
        .route("/notes", post(take))
        .route("/notes/{id}", get(show))
        .with_state(notes.clone())
        .route_service("/healthz", of_node.clone())
        .route_service("/readyz", of_node.clone())
        .route_service("/metrics", of_node)
        .layer(from_fn_with_state(notes, name));
    (router, page)
}

/// The node's own HTTP service: of its routes only those mounted above can be reached.
fn of_node(node: &Node, page: PrometheusHandle) -> PublicService {
    node.public_service().with_metrics(Arc::new(move || page.render()))
}

/// Samples take memory until they are folded into their histograms.
async fn upkeep(page: PrometheusHandle) {
    loop {
        tokio::time::sleep(Duration::from_secs(5)).await;
        page.run_upkeep();
    }
}

/// Every request has a name: its own, or one made here. It is in this line of the log, in those of
/// all nodes that work on it, and in the answer.
async fn name(State(notes): State<Notes>, request: Request, next: Next) -> Response {
    let given = RequestContext::from_headers(request.headers());
    let context = match given.request_id() {
        Some(_) => given,
        None => match given.clone().with_request_id(&notes.node.new_id().to_string()) {
            Ok(made) => made,
            Err(_) => given,
        },
    };
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = context.clone().scope(next.run(request)).await;
    let status = response.status().as_u16();
    tracing::info!(%method, path, status, request_id = context.request_id(), "answered");
    if let Some(id) = context.request_id().and_then(|id| HeaderValue::from_str(id).ok()) {
        response.headers_mut().insert(HeaderName::from_static(REQUEST_ID), id);
    }
    response
}

/// `POST /notes`: answered once all replicas that are there have the note, or will have it.
async fn take(State(notes): State<Notes>, text: String) -> Result<impl IntoResponse, Refused> {
    let id = notes.node.new_id();
    notes.node.put(id, text, PutOptions::named("note.txt")?.level(Level::Full)).await?;
    notes.taken.increment(1);
    Ok((StatusCode::CREATED, [(LOCATION, format!("/notes/{id}"))]))
}

/// `GET /notes/{id}`, from this replica's disk or memory, from another's, or from the bucket.
async fn show(
    State(notes): State<Notes>,
    Path(id): Path<String>,
) -> Result<impl IntoResponse, Refused> {
    let id: ObjectId = id.parse()?;
    let note = notes.node.get(id, GetOptions::default()).await?;
    let tag = note.meta.etag.as_ref().map(ToString::to_string).unwrap_or_default();
    // The body is read after this function has returned, and still for this request.
    let body = RequestContext::current().body(note.body);
    Ok(([(ETAG, tag)], Body::new(body)))
}

/// What a failed operation of the node is answered with. Its text is meant to be shown.
struct Refused(Error);

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.kind().status());
        (status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), format!("{}\n", self.0))
            .into_response()
    }
}
