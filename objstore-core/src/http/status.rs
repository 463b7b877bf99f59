use http::Response;
use objstore_client::{Body, Error, ErrorKind};

use super::answer;
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
    let (kind, why) = if node.inner.is_draining() {
        (ErrorKind::Stopping, "this node is about to stop")
    } else if !node.inner.has_settled() {
        (ErrorKind::Unavailable, "this node has yet to find its cluster and learn what that knows")
    } else {
        (ErrorKind::Unavailable, "the journal cannot be written at the moment; reads go on")
    };
    answer::error(&Error::new(kind, why))
}

/// `GET /metrics`.
pub(super) fn metrics(
    node: &Node,
    render: Option<&(dyn Fn() -> String + Send + Sync)>,
) -> Result<Response<Body>, Error> {
    let render = render.ok_or_else(|| {
        Error::new(ErrorKind::NoSuchRoute, "this node's host has no metrics to show")
    })?;
    gauge(node);
    let mut response = answer::text(render());
    let kind = http::HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    Ok(response)
}

/// What is not counted but is so, as it is when somebody looks.
#[allow(clippy::cast_precision_loss)] // gauges are floating point numbers
fn gauge(node: &Node) {
    let stats = node.stats();
    let set = |name: &'static str, value: u64| ::metrics::gauge!(name).set(value as f64);
    set("objstore_ready", node.is_ready().into());
    set("objstore_journal_objects", stats.journal.objects);
    set("objstore_journal_tombstones", stats.journal.tombstones);
    set("objstore_journal_batches", stats.journal.batches);
    set("objstore_bodies_bytes", stats.bodies.bytes);
    set("objstore_bodies_physical_bytes", stats.bodies.bytes_physical);
    set("objstore_bodies_max_bytes", stats.bodies.bytes_max);
    set("objstore_bodies_evicted", stats.bodies.evicted);
    set("objstore_bodies_evicted_bytes", stats.bodies.evicted_bytes);
    set("objstore_bodies_corrupt_reads", stats.bodies.corrupt_reads);
    set("objstore_cache_bytes", stats.cache.bytes);
    set("objstore_cache_max_bytes", stats.cache.bytes_max);
    set("objstore_cache_hits", stats.cache.hits);
    set("objstore_cache_misses", stats.cache.misses);
    set("objstore_disk_free_bytes", stats.disk_stats.bytes_free);
    set("objstore_remote_reachable", stats.remote.reachable.into());
    set("objstore_remote_uploads", stats.remote.uploads);
    set("objstore_remote_up_bytes", stats.remote.bytes_up);
    set("objstore_remote_fetches", stats.remote.fetches);
    set("objstore_remote_down_bytes", stats.remote.bytes_down);
    set("objstore_uploads_queued", stats.uploads.queued);
    set("objstore_uploads_failing", stats.uploads.failing);
    set("objstore_uploads_refused", stats.uploads.refused);
    set("objstore_uploads_undecided", stats.uploads.undecided);
    set("objstore_uploads_oldest_seconds", stats.uploads.oldest_seconds);
}
