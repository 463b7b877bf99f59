use std::time::Duration;

use http::StatusCode;
use metrics::{Counter, Histogram};

use super::routes::Op;

/// Handles to the host's metrics, made once: a lookup for each request would cost more than the
/// request. Without a recorder of the host's they do nothing.
#[derive(Clone, Debug)]
pub(super) struct RequestMetrics {
    ops: Vec<OpMetrics>,
}

#[derive(Clone)]
struct OpMetrics {
    /// By the first digit of the status.
    requests: [Counter; 4],
    seconds: Histogram,
}

const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

impl RequestMetrics {
    pub(super) fn new() -> Self {
        ::metrics::describe_counter!(
            "objstore_requests_total",
            "Requests answered, by kind and class of status"
        );
        ::metrics::describe_histogram!(
            "objstore_request_seconds",
            ::metrics::Unit::Seconds,
            "Time from a request's head to its answer's head"
        );
        let ops = Op::ALL.iter().map(|op| {
            OpMetrics {
            requests: CLASSES.map(|class| {
                ::metrics::counter!("objstore_requests_total", "op" => op.name(), "status" => class)
            }),
            seconds: ::metrics::histogram!("objstore_request_seconds", "op" => op.name()),
        }
        });
        Self { ops: ops.collect() }
    }

    pub(super) fn record(&self, op: Op, status: StatusCode, took: Duration) {
        let Some(metrics) = self.ops.get(op as usize) else { return };
        let class = usize::from((status.as_u16() / 100).saturating_sub(2)).min(3);
        if let Some(counter) = metrics.requests.get(class) {
            counter.increment(1);
        }
        metrics.seconds.record(took);
    }
}

impl std::fmt::Debug for OpMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpMetrics").finish_non_exhaustive()
    }
}
