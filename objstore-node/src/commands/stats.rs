use std::time::Duration;

use clap::Args;
use indicatif::{HumanBytes, HumanCount, HumanDuration};
use objstore_client::types;

use super::output::{failed, json, print, printable};
use crate::failure::Failure;

#[derive(Debug, Args)]
pub(crate) struct Stats {
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    at: super::At,
}

impl Stats {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let node = self.at.connect()?;
        let stats = node.stats().await.map_err(|e| Failure::Other(failed("stats", &e)))?;
        if self.json {
            return print(&json(&stats));
        }
        print(&lines(&stats))
    }
}

fn lines(stats: &types::Stats) -> String {
    let (disk, journal, bodies) = (&stats.disk_stats, &stats.journal, &stats.bodies);
    let (cache, requests, remote) = (&stats.cache, &stats.requests, &stats.remote);
    let reached = match &remote.last_error {
        Some(error) if !remote.reachable => {
            format!(" (does not answer: {})", printable(error))
        }
        _ => String::new(),
    };
    let failing = match stats.uploads.failing + stats.uploads.refused {
        0 => "",
        _ => ", not all of it well; see `objstore uploads`",
    };
    let uptime = HumanDuration(Duration::from_secs(stats.uptime_seconds));
    let limit = match bodies.bytes_max {
        0 => "only the disk is the limit".to_owned(),
        max => format!("{} at most", HumanBytes(max)),
    };
    let journal_state = if journal.writable { "" } else { ", takes no changes at the moment" };
    let damaged = match bodies.corrupt_reads {
        0 => String::new(),
        count => format!(", {} reads met damage", HumanCount(count)),
    };
    let peers: String = stats.peers.iter().map(peer).collect();
    format!(
        "\
node      {}, version {}, up {uptime}
objects   {} ({} deleted{journal_state})
bodies    {} ({} on disk, {limit}{damaged})
memory    {} of {}, hits {}, misses {}
disk      {} of {} free
bucket    {}{reached}, stored {} ({}), fetched {} in {}, waiting {}{failing}
requests  puts {} ({} in), gets {} ({} out), deletes {}
{peers}",
        printable(&stats.node_id),
        printable(&stats.version),
        HumanCount(journal.objects),
        HumanCount(journal.tombstones),
        HumanBytes(bodies.bytes),
        HumanBytes(bodies.bytes_physical),
        HumanBytes(cache.bytes),
        HumanBytes(cache.bytes_max),
        HumanCount(cache.hits),
        HumanCount(cache.misses),
        HumanBytes(disk.bytes_free),
        HumanBytes(disk.bytes_all),
        printable(&remote.identity),
        HumanCount(remote.uploads),
        HumanBytes(remote.bytes_up),
        HumanBytes(remote.bytes_down),
        HumanCount(remote.fetches),
        HumanCount(stats.uploads.queued),
        HumanCount(requests.puts),
        HumanBytes(requests.bytes_in),
        HumanCount(requests.gets),
        HumanBytes(requests.bytes_out),
        HumanCount(requests.deletes),
    )
}

/// A line about another node of the cluster.
fn peer(peer: &types::PeerInfo) -> String {
    let state = match peer.state {
        types::PeerState::Alive => "alive",
        types::PeerState::Suspect => "does not answer at the moment",
        types::PeerState::Forgotten => "given up",
        _ => "gone",
    };
    let (id, addr) = (printable(&peer.node_id), printable(&peer.private_addr));
    let skew = match peer.clock_ahead_ms.unsigned_abs() / 1000 {
        0 => String::new(),
        seconds if peer.clock_ahead_ms > 0 => format!(", its clock {seconds} s ahead"),
        seconds => format!(", its clock {seconds} s behind"),
    };
    let unanswered = match peer.unanswered_ms / 1000 {
        0 => String::new(),
        seconds => format!(", cannot be asked from there for {seconds} s"),
    };
    let disk = &peer.disk_stats;
    let said = match peer.version.as_str() {
        "" => String::new(),
        version => format!(
            ", version {}, disk {} of {} free",
            printable(version),
            HumanBytes(disk.bytes_free),
            HumanBytes(disk.bytes_all)
        ),
    };
    let seen = match peer.state {
        types::PeerState::Alive => String::new(),
        _ => format!(", last seen {}", ago(peer.last_seen)),
    };
    format!("peer      {id} at {addr}, {state}{unanswered}{skew}{seen}{said}\n")
}

/// How long ago that was, by this machine's clock; `time` is in nanoseconds since the Unix epoch.
fn ago(time: u64) -> String {
    let then = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(time);
    let passed = std::time::SystemTime::now().duration_since(then).unwrap_or_default();
    format!("{} ago", HumanDuration(passed))
}
