use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::StatusCode;
use objstore_client::types::{BodyStats, HttpStats, JournalStats, ObjectId, RequestStats, Stats};
use objstore_client::{Error, ErrorKind};

use crate::bodies::ReadError;
use crate::http::{Op, class};
use crate::node::Node;
use crate::usage::is_out_of_descriptors;

/// What happened since the node started. Each count is also a metric of the `metrics` facade, see
/// `docs/metrics.md`.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    puts: AtomicU64,
    gets: AtomicU64,
    deletes: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    corrupt_reads: AtomicU64,
    uploads: AtomicU64,
    bytes_up: AtomicU64,
    evicted: AtomicU64,
    evicted_bytes: AtomicU64,
    http: [HttpCounts; Op::ALL.len()],
}

/// Answers to requests of one kind.
#[derive(Debug, Default)]
struct HttpCounts {
    /// By the first digit of the status.
    answers: [AtomicU64; 4],
    nanos: AtomicU64,
}

impl Counts {
    pub(crate) fn put(&self, bytes: u64) {
        self.puts.fetch_add(1, Ordering::Relaxed);
        self.bytes_in.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn got(&self, bytes: u64) {
        self.gets.fetch_add(1, Ordering::Relaxed);
        self.bytes_out.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn deleted(&self) {
        self.deletes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn uploaded(&self, bytes: u64) {
        self.uploads.fetch_add(1, Ordering::Relaxed);
        self.bytes_up.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn evicted(&self, bodies: u64, bytes: u64) {
        self.evicted.fetch_add(bodies, Ordering::Relaxed);
        self.evicted_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// A request over HTTP was answered.
    pub(crate) fn answered(&self, op: Op, status: StatusCode, took: Duration) {
        let Some(counts) = self.http.get(op as usize) else { return };
        if let Some(answers) = counts.answers.get(class(status)) {
            answers.fetch_add(1, Ordering::Relaxed);
        }
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        counts.nanos.fetch_add(nanos, Ordering::Relaxed);
    }

    fn http_stats(&self) -> Vec<HttpStats> {
        let of = |(op, counts): (&Op, &HttpCounts)| {
            let [ok, redirected, refused, failed] = &counts.answers;
            let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
            let mut stats = HttpStats::default();
            op.name().clone_into(&mut stats.op);
            stats.answers_2xx = load(ok);
            stats.answers_3xx = load(redirected);
            stats.answers_4xx = load(refused);
            stats.answers_5xx = load(failed);
            stats.seconds = Duration::from_nanos(load(&counts.nanos)).as_secs_f64();
            stats
        };
        Op::ALL.iter().zip(&self.http).map(of).collect()
    }

    /// Counts and reports a damaged body; what the reader is told.
    pub(crate) fn corrupt(&self, id: ObjectId) -> Error {
        self.corrupt_reads.fetch_add(1, Ordering::Relaxed);
        tracing::error!(%id, "the body of this object is damaged on this node; it is left where it is");
        Error::new(ErrorKind::Corrupt, "the body is damaged on this node; put it again")
    }

    pub(crate) fn read_error(&self, id: ObjectId, error: ReadError) -> Error {
        match error {
            ReadError::Gone | ReadError::Damaged => self.corrupt(id),
            ReadError::Stopping(error) => error,
            ReadError::Io(error) => {
                tracing::error!(%id, %error, "the body of this object could not be read");
                let why = if is_out_of_descriptors(&error) {
                    "too many files are open; raise the limit (ulimit -n) and try again"
                } else {
                    "the disk could not be read; try again, and see the node's log"
                };
                Error::new(ErrorKind::Unavailable, why).with_source(error)
            }
        }
    }

    fn stats(&self) -> RequestStats {
        let mut stats = RequestStats::default();
        stats.puts = self.puts.load(Ordering::Relaxed);
        stats.gets = self.gets.load(Ordering::Relaxed);
        stats.deletes = self.deletes.load(Ordering::Relaxed);
        stats.bytes_in = self.bytes_in.load(Ordering::Relaxed);
        stats.bytes_out = self.bytes_out.load(Ordering::Relaxed);
        stats
    }
}

impl Node {
    /// What this node can say about itself, from memory. Does not block.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let inner = &self.inner;
        let counters = inner.shared.counters();
        let mut journal = JournalStats::default();
        journal.objects = counters.objects;
        journal.tombstones = counters.tombstones;
        journal.batches = counters.batches;
        journal.changes = counters.changes;
        journal.writable = !inner.shared.broken.load(Ordering::Acquire);
        let mut bodies = BodyStats::default();
        bodies.bytes = counters.bytes;
        bodies.bytes_physical = inner.usage.physical();
        bodies.bytes_max = inner.usage.max().unwrap_or(0);
        bodies.evicted = inner.counts.evicted.load(Ordering::Relaxed);
        bodies.evicted_bytes = inner.counts.evicted_bytes.load(Ordering::Relaxed);
        bodies.corrupt_reads = inner.counts.corrupt_reads.load(Ordering::Relaxed);
        let up = inner.env.clock.monotonic().saturating_duration_since(inner.started);
        let mut stats = Stats::default();
        stats.node_id = inner.node_id.to_string();
        stats.ready = self.is_ready();
        stats.version = env!("CARGO_PKG_VERSION").to_owned();
        stats.uptime_seconds = up.as_secs();
        stats.disk_stats = inner.usage.disk();
        stats.journal = journal;
        stats.bodies = bodies;
        stats.cache = inner.tier.stats();
        stats.requests = inner.counts.stats();
        stats.http = inner.counts.http_stats();
        stats.remote.identity = inner.remote.identity();
        stats.remote.last_error = inner.reach.error();
        stats.remote.reachable = stats.remote.last_error.is_none();
        stats.remote.uploads = inner.counts.uploads.load(Ordering::Relaxed);
        stats.remote.bytes_up = inner.counts.bytes_up.load(Ordering::Relaxed);
        let fills = inner.fills.stats();
        stats.remote.fetches = fills.requests;
        stats.remote.bytes_down = fills.bytes;
        stats.uploads = inner.uploads.stats(inner.env.clock.wall_nanos());
        stats.peers = self.peers();
        stats
    }
}
