//! The metrics there are, by the names that `docs/metrics.md` lists.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use metrics::{Counter, Gauge, Histogram, Unit};
use objstore_client::types::{PeerState, Stats};

use super::routes::Op;

const REQUESTS: &str = "objstore_requests_total";
const REQUESTS_HELP: &str = "Requests answered, by what they asked for and class of status.";
const SECONDS: &str = "objstore_request_seconds";
const SECONDS_HELP: &str = "Time from the head of a request to the head of its answer.";
const PEERS: &str = "objstore_peers";
const PEERS_HELP: &str = "Other members of the cluster, by how they are doing.";

/// A metric that shows a figure of the stats at the moment that it is asked for.
struct Shown {
    name: &'static str,
    kind: Kind,
    unit: Unit,
    help: &'static str,
    of: fn(&Stats) -> u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
}

const fn counter(
    name: &'static str,
    unit: Unit,
    help: &'static str,
    of: fn(&Stats) -> u64,
) -> Shown {
    Shown { name, kind: Kind::Counter, unit, help, of }
}

const fn gauge(name: &'static str, unit: Unit, help: &'static str, of: fn(&Stats) -> u64) -> Shown {
    Shown { name, kind: Kind::Gauge, unit, help, of }
}

/// The table of metrics without labels. Counts are since the node started.
#[rustfmt::skip]
const SHOWN: &[Shown] = &[
    gauge("objstore_ready", Unit::Count, "1 while the node wants requests, else 0.", |s| s.ready.into()),
    gauge("objstore_uptime_seconds", Unit::Seconds, "Time since the node started.", |s| s.uptime_seconds),
    counter("objstore_puts_total", Unit::Count, "Acknowledged puts, in process and over HTTP.", |s| s.requests.puts),
    counter("objstore_gets_total", Unit::Count, "Answered gets, in process and over HTTP.", |s| s.requests.gets),
    counter("objstore_deletes_total", Unit::Count, "Acknowledged deletes, in process and over HTTP.", |s| s.requests.deletes),
    counter("objstore_in_bytes_total", Unit::Bytes, "Bytes taken in by acknowledged puts.", |s| s.requests.bytes_in),
    counter("objstore_out_bytes_total", Unit::Bytes, "Bytes of bodies handed out.", |s| s.requests.bytes_out),
    gauge("objstore_journal_objects", Unit::Count, "Live objects that the node knows.", |s| s.journal.objects),
    gauge("objstore_journal_tombstones", Unit::Count, "Deleted objects that it remembers.", |s| s.journal.tombstones),
    counter("objstore_journal_batches_total", Unit::Count, "Batches made durable.", |s| s.journal.batches),
    counter("objstore_journal_changes_total", Unit::Count, "Changes that those batches held.", |s| s.journal.changes),
    gauge("objstore_journal_writable", Unit::Count, "1 while changes are taken, else 0.", |s| s.journal.writable.into()),
    gauge("objstore_bodies_bytes", Unit::Bytes, "Bodies of live objects as their readers see them.", |s| s.bodies.bytes),
    gauge("objstore_bodies_physical_bytes", Unit::Bytes, "Disk space used by journal, bodies and what is being received.", |s| s.bodies.bytes_physical),
    gauge("objstore_bodies_max_bytes", Unit::Bytes, "The most disk space that may be used; 0 where only the disk is the limit.", |s| s.bodies.bytes_max),
    counter("objstore_bodies_corrupt_reads_total", Unit::Count, "Reads that met a damaged unit.", |s| s.bodies.corrupt_reads),
    counter("objstore_bodies_evicted_total", Unit::Count, "Bodies that made room for others.", |s| s.bodies.evicted),
    counter("objstore_bodies_evicted_bytes_total", Unit::Bytes, "Disk space that this gave back.", |s| s.bodies.evicted_bytes),
    gauge("objstore_cache_bytes", Unit::Bytes, "The memory tier.", |s| s.cache.bytes),
    gauge("objstore_cache_max_bytes", Unit::Bytes, "The most it may hold.", |s| s.cache.bytes_max),
    counter("objstore_cache_hits_total", Unit::Count, "Lookups that the memory tier answered.", |s| s.cache.hits),
    counter("objstore_cache_misses_total", Unit::Count, "Lookups that went to the disk.", |s| s.cache.misses),
    gauge("objstore_disk_bytes", Unit::Bytes, "The file system that holds the bodies.", |s| s.disk_stats.bytes_all),
    gauge("objstore_disk_used_bytes", Unit::Bytes, "What is used of it.", |s| s.disk_stats.bytes_used),
    gauge("objstore_disk_free_bytes", Unit::Bytes, "What is free to the node.", |s| s.disk_stats.bytes_free),
    gauge("objstore_remote_reachable", Unit::Count, "1 if the bucket answered the last call, else 0.", |s| s.remote.reachable.into()),
    counter("objstore_remote_uploads_total", Unit::Count, "Versions stored in the bucket.", |s| s.remote.uploads),
    counter("objstore_remote_up_bytes_total", Unit::Bytes, "Bytes of them.", |s| s.remote.bytes_up),
    counter("objstore_remote_fetches_total", Unit::Count, "Requests to the bucket for bodies, or parts of them.", |s| s.remote.fetches),
    counter("objstore_remote_down_bytes_total", Unit::Bytes, "Bytes that came with them.", |s| s.remote.bytes_down),
    gauge("objstore_uploads_queued", Unit::Count, "Versions that wait to be stored in the bucket.", |s| s.uploads.queued),
    gauge("objstore_uploads_failing", Unit::Count, "Of them, those whose last try failed.", |s| s.uploads.failing),
    gauge("objstore_uploads_refused", Unit::Count, "Of them, those that the bucket will not take.", |s| s.uploads.refused),
    gauge("objstore_uploads_running", Unit::Count, "Things being done in the bucket now.", |s| s.uploads.running),
    gauge("objstore_uploads_undecided", Unit::Count, "Puts not acknowledged, of which it has to be found out whether the bucket has them.", |s| s.uploads.undecided),
    gauge("objstore_uploads_oldest_seconds", Unit::Seconds, "How long the oldest has waited.", |s| s.uploads.oldest_seconds),
];

const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

const STATES: [(PeerState, &str); 4] = [
    (PeerState::Alive, "alive"),
    (PeerState::Suspect, "suspect"),
    (PeerState::Gone, "gone"),
    (PeerState::Forgotten, "forgotten"),
];

/// Handles to the host's metrics, made once: a lookup for each request would cost more than the
/// request. Without a recorder of the host's they do nothing.
#[derive(Clone)]
pub(super) struct ServiceMetrics(Arc<Handles>);

struct Handles {
    ops: Vec<OpMetrics>,
    shown: Vec<Handle>,
    peers: [Gauge; 4],
}

struct OpMetrics {
    /// By the first digit of the status.
    requests: [Counter; 4],
    seconds: Histogram,
}

enum Handle {
    Counter(Counter),
    Gauge(Gauge),
}

impl ServiceMetrics {
    /// Of the recorder that is there now.
    pub(super) fn new() -> Self {
        ::metrics::describe_counter!(REQUESTS, Unit::Count, REQUESTS_HELP);
        ::metrics::describe_histogram!(SECONDS, Unit::Seconds, SECONDS_HELP);
        ::metrics::describe_gauge!(PEERS, Unit::Count, PEERS_HELP);
        let ops = Op::ALL.iter().map(|op| OpMetrics {
            requests: CLASSES
                .map(|class| ::metrics::counter!(REQUESTS, "op" => op.name(), "status" => class)),
            seconds: ::metrics::histogram!(SECONDS, "op" => op.name()),
        });
        let shown = SHOWN.iter().map(|shown| match shown.kind {
            Kind::Counter => {
                ::metrics::describe_counter!(shown.name, shown.unit, shown.help);
                Handle::Counter(::metrics::counter!(shown.name))
            }
            Kind::Gauge => {
                ::metrics::describe_gauge!(shown.name, shown.unit, shown.help);
                Handle::Gauge(::metrics::gauge!(shown.name))
            }
        });
        let peers = STATES.map(|(_, state)| ::metrics::gauge!(PEERS, "state" => state));
        Self(Arc::new(Handles { ops: ops.collect(), shown: shown.collect(), peers }))
    }

    /// A request was answered.
    pub(super) fn record(&self, op: Op, status: StatusCode, took: Duration) {
        let Some(metrics) = self.0.ops.get(op as usize) else { return };
        if let Some(counter) = metrics.requests.get(class(status)) {
            counter.increment(1);
        }
        metrics.seconds.record(took);
    }

    /// Shows what is not counted as it happens.
    #[allow(clippy::cast_precision_loss)] // gauges are floating point numbers
    pub(super) fn show(&self, stats: &Stats) {
        for (handle, shown) in self.0.shown.iter().zip(SHOWN) {
            let value = (shown.of)(stats);
            match handle {
                Handle::Counter(counter) => counter.absolute(value),
                Handle::Gauge(gauge) => gauge.set(value as f64),
            }
        }
        for (gauge, (state, _)) in self.0.peers.iter().zip(STATES) {
            gauge.set(stats.peers.iter().filter(|peer| peer.state == state).count() as f64);
        }
    }
}

/// Which of the classes a status is of.
pub(crate) fn class(status: StatusCode) -> usize {
    usize::from((status.as_u16() / 100).saturating_sub(2)).min(3)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    /// Name, type, unit, labels and meaning of every metric.
    fn all() -> BTreeSet<[String; 5]> {
        let row = |name: &str, kind: &str, unit: Unit, labels: &str, help: &str| {
            let unit = match unit {
                Unit::Count => "",
                unit => unit.as_str(),
            };
            [name, kind, unit, labels, help].map(str::to_owned)
        };
        let shown = SHOWN.iter().map(|shown| {
            let kind = format!("{:?}", shown.kind).to_lowercase();
            row(shown.name, &kind, shown.unit, "", shown.help)
        });
        let others = [
            row(REQUESTS, "counter", Unit::Count, "op, status", REQUESTS_HELP),
            row(SECONDS, "histogram", Unit::Seconds, "op", SECONDS_HELP),
            row(PEERS, "gauge", Unit::Count, "state", PEERS_HELP),
        ];
        shown.chain(others).collect()
    }

    #[test]
    fn the_documented_metrics_are_those_there_are() {
        let text = include_str!("../../docs/metrics.md");
        let rows = text.lines().filter(|line| line.starts_with("| `objstore_")).filter(|line| {
            // Those of targets have fewer columns.
            line.matches('|').count() == 6
        });
        let documented: BTreeSet<[String; 5]> = rows
            .map(|row| {
                let cells: Vec<_> =
                    row.split('|').map(|cell| cell.trim().replace('`', "")).collect();
                cells[1..6].to_vec().try_into().unwrap()
            })
            .collect();
        assert_eq!(documented, all());
        for label in Op::ALL.map(Op::name).into_iter().chain(CLASSES).chain(STATES.map(|(_, s)| s))
        {
            assert!(text.contains(&format!("`{label}`")), "the label value {label}");
        }
    }

    /// Puts a number of its own into each place of the stats, and returns them all.
    fn number(value: &mut Value, at: &str, numbers: &mut Vec<(String, u64)>) {
        match value {
            Value::Object(fields) => {
                fields.iter_mut().for_each(|(name, v)| number(v, &format!("{at}/{name}"), numbers));
            }
            // The same in GiB, and what no sum is made of.
            Value::Number(_) if !at.contains("gb_") => {
                let next = 1000 + numbers.len() as u64;
                numbers.push((at.to_owned(), next));
                *value = next.into();
            }
            Value::Bool(_) => {
                numbers.push((at.to_owned(), 1));
                *value = true.into();
            }
            _ => {}
        }
    }

    #[test]
    fn every_figure_of_the_stats_is_a_metric_and_the_other_way_round() {
        let mut value = serde_json::to_value(Stats::default()).unwrap();
        let mut numbers = Vec::new();
        number(&mut value, "", &mut numbers);
        let stats: Stats = serde_json::from_value(value).unwrap();
        let mut shown: Vec<u64> = SHOWN.iter().map(|shown| (shown.of)(&stats)).collect();
        let mut told: Vec<u64> = numbers.iter().map(|(_, number)| *number).collect();
        shown.sort_unstable();
        told.sort_unstable();
        assert_eq!(shown, told, "{numbers:?}");
    }
}
