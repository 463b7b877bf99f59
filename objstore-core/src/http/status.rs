use http::Response;
use objstore_client::{Body, Error, ErrorKind};

use super::answer;
use super::metrics::ServiceMetrics;
use crate::node::Node;

/// `GET /readyz`.
pub(super) fn ready(node: &Node) -> Response<Body> {
    if node.is_ready() {
        // What is here is served all the same, so that a load balancer has no reason to look away.
        return answer::text(match node.inner.reach.error() {
            None => "ready\n",
            Some(_) => "ready, degraded: the bucket does not answer, or does not let this node\n",
        });
    }
    answer::error(&if node.inner.is_draining() {
        Error::new(ErrorKind::Stopping, "this node is about to stop")
    } else if let Some(why) = node.inner.unwelcome() {
        let why = format!("no node of the cluster lets this one in ({why})");
        Error::new(ErrorKind::Unavailable, why)
    } else if !node.inner.has_settled() {
        let why = "this node has yet to find its cluster and learn what that knows";
        Error::new(ErrorKind::Unavailable, why)
    } else {
        let why = "the journal cannot be written at the moment; reads go on";
        Error::new(ErrorKind::Unavailable, why)
    })
}

/// `GET /metrics`.
pub(super) fn metrics(
    node: &Node,
    metrics: &ServiceMetrics,
    render: Option<&(dyn Fn() -> String + Send + Sync)>,
) -> Result<Response<Body>, Error> {
    let render = render.ok_or_else(|| {
        Error::new(ErrorKind::NoSuchRoute, "this node's host has no metrics to show")
    })?;
    metrics.show(&node.stats());
    let mut response = answer::text(render());
    let kind = http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    Ok(response)
}
