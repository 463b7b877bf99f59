use http::Response;
use objstore_client::{Body, Error, ErrorKind};

use super::answer;
use crate::node::Node;

/// `GET /readyz`.
pub(super) fn ready(node: &Node) -> Response<Body> {
    if node.is_ready() {
        return answer::text("ready\n");
    }
    let (kind, why) = if node.inner.is_draining() {
        (ErrorKind::Stopping, "this node is about to stop")
    } else {
        (ErrorKind::Unavailable, "the journal cannot be written at the moment; reads go on")
    };
    answer::error(&Error::new(kind, why))
}

/// `GET /metrics`.
pub(super) fn metrics(
    render: Option<&(dyn Fn() -> String + Send + Sync)>,
) -> Result<Response<Body>, Error> {
    let render = render.ok_or_else(|| {
        Error::new(ErrorKind::NoSuchRoute, "this node's host has no metrics to show")
    })?;
    let mut response = answer::text(render());
    let kind = http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    Ok(response)
}
