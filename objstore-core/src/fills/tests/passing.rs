//! Bodies that only other nodes have, on their way through.

use std::sync::Mutex;

use futures_util::stream;
use objstore_client::{Body, Error, ErrorKind};

use super::*;
use crate::bodies::{crc32c, unit_checksum};
use crate::fills::{Others, OthersFuture, PeerReply, Search, Sought, frame};
use crate::journal::NodeId;

/// Nodes that all have the body; the first of them break off after so many units each.
#[derive(Debug)]
struct Peers {
    body: Bytes,
    last_for: Mutex<Vec<u64>>,
}

impl Others for Peers {
    fn seek<'a>(
        &'a self,
        origin: &'a Origin,
        units: Range<u64>,
        search: &'a mut Search,
    ) -> OthersFuture<'a, Sought> {
        let node = NodeId::from_u128(search.asked.len() as u128 + 1);
        search.asked.insert(node);
        let broken = self.last_for.lock().unwrap().pop();
        let end = broken.map_or(units.end, |units_sent| units.end.min(units.start + units_sent));
        let (id, stamp) = origin.version();
        let mut frames = Vec::new();
        for unit in units.start..end {
            let at = |at: u64| usize::try_from(at).unwrap().min(self.body.len());
            let bytes = self.body.slice(at(unit * U)..at((unit + 1) * U));
            frames.push(Ok(frame(unit_checksum(crc32c(&bytes), id, stamp, unit))));
            frames.push(Ok(bytes));
        }
        if broken.is_some() {
            frames.push(Err(Error::new(ErrorKind::Transport, "it was killed")));
        }
        let body = Body::from_stream(stream::iter(frames), None);
        let reply = PeerReply { node, stamp, held: u64::MAX, behind: 0, body };
        Box::pin(async { Sought::Peer(reply) })
    }

    fn lied(&self, node: NodeId) {
        panic!("{node} gave what it should");
    }
}

fn passing(stage: &Stage, last_for: &[u64]) -> Arc<Fills> {
    let fills = stage.start();
    let last_for = Mutex::new(last_for.to_vec());
    fills.join(Box::new(Peers { body: stage.body.clone(), last_for }));
    fills
}

/// One of several objects with the same body.
fn only_elsewhere(stage: &Stage, number: u64) -> Origin {
    let mut origin = Origin { etag: None, ..stage.origin() };
    origin.record.stamp.time += number;
    origin
}

#[tokio::test(start_paused = true)]
async fn what_is_read_once_passes_through_and_is_kept_the_next_time() {
    let stage = Stage::new(40 * U + 3);
    let fills = passing(&stage, &[]);
    let fill = fills.open(only_elsewhere(&stage, 0));
    assert_eq!(read(fill.reader(stage.all())).await.unwrap(), stage.body);
    assert_eq!((fills.stats().stored_bytes, stage.disk.files().len()), (0, 0));
    fill.make_copy();
    assert_eq!(read(fill.reader(stage.all())).await.unwrap(), stage.body);
    assert_eq!((fills.stats().stored_bytes, stage.disk.files().len()), (40 * U + 3, 1));
    assert_eq!(fills.parts.usage.physical(), fills.stats().stored_bytes);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_killed_while_its_body_passes_through_is_not_noticed() {
    let stage = Stage::new(40 * U + 3);
    for dies_after in 0..20 {
        let fills = passing(&stage, &[dies_after, 2, dies_after]);
        let fill = fills.open(only_elsewhere(&stage, 0));
        assert_eq!(read(fill.reader(stage.all())).await.unwrap(), stage.body);
        assert_eq!(fills.stats().stored_bytes, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn what_slow_readers_hold_in_memory_is_bounded() {
    let mut stage = Stage::new(40 * U + 3);
    stage.settings.budget_bytes = 32 * U;
    let fills = passing(&stage, &[]);
    let mut readers = Vec::new();
    for number in 0..20 {
        let fill = fills.open(only_elsewhere(&stage, number));
        let mut reader = fill.reader(stage.all());
        let first = reader.next().await.unwrap().unwrap();
        settle().await;
        readers.push((first, reader));
    }
    let (stored, came) = (fills.stats().stored_bytes, fills.stats().peer_bytes);
    // The first unit of each was handed out.
    assert!(came - stored <= (32 + 20) * U, "{} units are in memory", (came - stored) / U);
    assert!(stored < came, "as long as there is room, nothing is stored");
    for (first, mut reader) in readers {
        let mut all = first.to_vec();
        while let Some(bytes) = reader.next().await.unwrap() {
            all.extend_from_slice(&bytes);
        }
        assert_eq!(all, stage.body);
    }
    settle().await;
    assert_eq!(fills.unstored.available_permits() as u64, 32 * U / 1024);
}

#[tokio::test(start_paused = true)]
async fn a_unit_that_is_written_twice_counts_once() {
    let stage = Stage::new(40 * U + 3);
    let fills = passing(&stage, &[]);
    let fill = fills.open(only_elsewhere(&stage, 0));
    fill.stored(0, &[7, 7]);
    fill.stored(1, &[7, 7]);
    assert_eq!(fills.parts.usage.physical(), 3 * U);
}
