//! What has to hold once all is healed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use objstore_core::options::GetOptions;
use objstore_core::remote::{RemoteGet, RemoteStore};
use objstore_core::testing::{SeenRecord, seen_horizon, seen_records, seen_waiting};
use objstore_core::types::{Level, ObjectId, ObjectMeta, PeerState};
use objstore_core::{Error, ErrorKind, Node, NodeId};

use crate::model::{Kind, Model, Op, Outcome, Raised, is_of};
use crate::world::World;

/// A healed cluster is given so much time, of which it has as much as it wants.
const PATIENCE: u32 = 360;
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// What was left unfinished by those given up is seen to within this time.
const INHERITED: Duration = Duration::from_secs(40);
/// What is unavailable is asked for again so many times.
const RETRIES: u32 = 12;

type Journal = BTreeMap<ObjectId, SeenRecord>;

fn journal(world: &World, number: usize) -> Journal {
    let records = seen_records(world.machines[number].journal.as_ref()).expect("it can be read");
    records.into_iter().map(|seen| (seen.id, seen)).collect()
}

/// Heals everything, waits until the cluster is at rest, and judges it.
pub async fn healed(world: &mut World) -> Vec<String> {
    world.heal();
    let mut wrong = std::mem::take(&mut world.model().wrong);
    let mut unrest = String::new();
    for look in 0..PATIENCE {
        world.reap();
        if look == PATIENCE / 4 {
            world.stop_islands().await;
        }
        for number in world.down() {
            world.start(number, false).await;
        }
        tokio::time::sleep(LOOK_EVERY).await;
        unrest = restless(world);
        // A delete that some have forgotten may be kept for a member that will not come back.
        if unrest.is_empty() || (world.keeps_deletes.is_some() && look > PATIENCE / 2) {
            let strangers = strangers(world).await;
            if unrest.is_empty() && strangers.is_empty() {
                break;
            }
            unrest.push_str(&strangers);
        }
    }
    if !unrest.is_empty() {
        wrong.push(format!("no rest: {unrest}"));
        return wrong;
    }
    world.trace.note(format_args!("all is at rest"));
    // The others see to what those left unfinished that were given up.
    tokio::time::sleep(INHERITED).await;
    wrong.append(&mut world.model().wrong);
    let up = world.up();
    for number in &up {
        wrong.extend(sound(world, *number));
    }
    let Some(first) = up.first() else { return vec!["no node is up".to_owned()] };
    let records = journal(world, *first);
    let ids: Vec<_> = world.model().ops.keys().copied().collect();
    for id in &ids {
        let seen = records.get(id);
        wrong.extend(acknowledged(world, *id, seen));
        wrong.extend(readable(world, *id, seen).await);
        wrong.extend(in_bucket(world, *id, seen).await);
    }
    for (id, seen) in &records {
        if !ids.contains(id) {
            wrong.push(format!("a record of nobody's: {seen:?}"));
        }
    }
    wrong
}

/// Why the cluster is not at rest.
fn restless(world: &mut World) -> String {
    world.reap();
    if !world.down().is_empty() {
        return "not all are up".to_owned();
    }
    let unanswered = world.unanswered();
    if !unanswered.is_empty() {
        return format!("not answered: {unanswered:?}");
    }
    let up = world.up();
    let mut first: Option<Journal> = None;
    for number in &up {
        let waiting = seen_waiting(world.machines[*number].journal.as_ref()).expect("readable");
        if !waiting.is_empty() {
            return format!("the bucket is waited for by node {number}: {waiting:?}");
        }
        let records = journal(world, *number);
        let Some(others) = &first else {
            first = Some(records);
            continue;
        };
        let same = |id: &&ObjectId| {
            others.get(id).map(|seen| &seen.record) == records.get(id).map(|seen| &seen.record)
        };
        let all: BTreeSet<_> = others.keys().chain(records.keys()).collect();
        let differing: Vec<_> = all.into_iter().filter(|id| !same(id)).collect();
        if let Some(id) = differing.first() {
            let (ours, theirs) = (records.get(id), others.get(id));
            let count = differing.len();
            let horizon = |number: usize| seen_horizon(world.machines[number].journal.as_ref());
            let horizons: Vec<_> = up.iter().map(|number| horizon(*number)).collect();
            return format!(
                "{count} records differ, {id} is {ours:?} on node {number} and {theirs:?} on node {}; deletes are {horizons:?}",
                up[0]
            );
        }
    }
    String::new()
}

/// Gives up whoever will not come back, as an operator does. Who is not known as it should be.
async fn strangers(world: &World) -> String {
    let up = world.up();
    let ids: Vec<_> =
        up.iter().filter_map(|n| world.machines[*n].node.as_ref()).map(Node::id).collect();
    let mut strangers = String::new();
    for number in up {
        let Some(node) = world.machines[number].node.clone() else { continue };
        let peers = node.peers();
        let is_alive = |id: &NodeId| {
            let mut same = peers.iter().filter(|peer| peer.node_id == id.to_string());
            *id == node.id() || same.any(|peer| peer.state == PeerState::Alive)
        };
        if let Some(id) = ids.iter().find(|id| !is_alive(id)) {
            strangers = format!("{number} does not know {id}");
        }
        for peer in &peers {
            let Some(id) = world.names.get(&peer.node_id).copied() else { continue };
            if peer.state != PeerState::Forgotten && !ids.contains(&id) {
                strangers = format!("{number} waits for {id}: {:?}", node.forget(id).await.is_ok());
            }
        }
    }
    strangers
}

/// No record points at nothing.
fn sound(world: &World, number: usize) -> Vec<String> {
    let files = world.machines[number].disk.files();
    let mut wrong = Vec::new();
    for seen in journal(world, number).values() {
        if !seen.sound || seen.file.as_ref().is_some_and(|file| !files.contains(file)) {
            wrong.push(format!("node {number} has a record of nothing: {seen:?}"));
        }
    }
    wrong
}

/// What was acknowledged is what is there, or something later is.
fn acknowledged(world: &World, id: ObjectId, seen: Option<&SeenRecord>) -> Option<String> {
    let model = world.model();
    let ops = model.ops.get(&id)?;
    let winner = model.winner(id, None);
    let sure = winner.map_or(0, |(stamp, _)| stamp);
    // What may have been made, or may be lost, and would win.
    let may = |op: &&Op| match op.outcome {
        Outcome::Open | Outcome::Unknown => true,
        Outcome::Refused => false,
        Outcome::Acked { stamp, at } => stamp > sure && model.at_risk(op.node, at),
    };
    let maybe: Vec<&Op> = ops.iter().filter(may).collect();
    let Some(seen) = seen else {
        let won = |op: &&Op| matches!(op.outcome, Outcome::Acked { stamp, .. } if stamp == sure);
        let gone = winner.is_none()
            || ops.iter().filter(won).chain(maybe).any(|op| matches!(op.kind, Kind::Delete { .. }));
        return (!gone).then(|| format!("{id} was acknowledged and is nowhere: {winner:?}"));
    };
    if seen.time < sure {
        return Some(format!("{id} is of {}, acknowledged was {winner:?}", seen.time));
    }
    let fits = |op: &Op| match (&op.kind, &seen.live) {
        (Kind::Delete { .. }, None) => true,
        (Kind::Put { digest, level }, Some(live)) => {
            live.digest.as_ref() == Some(digest) && live.level >= *level
        }
        _ => false,
    };
    // A disk that is rolled back with its clock may lead to one time twice.
    let named = |op: &&Op| matches!(op.outcome, Outcome::Acked { stamp, .. } if stamp == seen.time);
    // Two nodes may give one time, too: then the greater id wins, and of what was not acknowledged
    // nobody knows the time.
    // A delete that some have forgotten, and others have not heard of, is made once more.
    let again = world.keeps_deletes.is_some()
        && seen.live.is_none()
        && winner.is_some_and(|(_, op)| fits(op));
    let fine = again || ops.iter().filter(named).any(fits) || maybe.iter().any(|op| fits(op));
    if !fine {
        return Some(format!("{id} is {seen:?}, acknowledged was {winner:?}, maybe {maybe:?}"));
    }
    let level = seen.live.as_ref().map(|live| live.level);
    // Of two versions with one time it may be the other that was raised.
    let is_one = ops.iter().filter(named).count() < 2;
    let of_it = |raised: &&Raised| is_one && raised.id == id && raised.stamp == seen.time;
    let raised = model.raised.iter().filter(of_it);
    let mut sure = raised.filter(|raised| !model.at_risk(raised.node, raised.at));
    let low = sure.find(|raised| level.is_some_and(|level| level < raised.level));
    low.map(|raised| format!("{id} is at level {level:?}, acknowledged was {raised:?}"))
}

/// Every node gives what the record says.
async fn readable(world: &World, id: ObjectId, seen: Option<&SeenRecord>) -> Vec<String> {
    let mut wrong = Vec::new();
    for number in world.up() {
        let Some(node) = world.machines[number].node.clone() else { continue };
        let mut found = read(&node, id).await;
        // A node that was away a moment ago may not have been heard of yet.
        for _ in 0..RETRIES {
            if !matches!(&found, Err(error) if error.kind() == ErrorKind::Unavailable) {
                break;
            }
            tokio::time::sleep(LOOK_EVERY).await;
            found = read(&node, id).await;
        }
        world.trace.note(format_args!(
            "{number} has {id}: {:?}",
            found.as_ref().map(|(_, d)| d).map_err(|e| e.kind())
        ));
        let live = seen.and_then(|seen| seen.live.as_ref());
        let fine = match (&found, live) {
            (Ok((meta, digest)), Some(live)) => {
                let is_later = meta.timestamp > seen.map_or(0, |seen| seen.time);
                is_of(meta, *digest)
                    && (Some(*digest) == live.digest
                        // The bucket has told of a later one, whose node has lost its disk.
                        || (is_later && is_of_a_lost_one(world, id, *digest)))
            }
            (Err(error), Some(live)) => {
                // What was written back is on one disk until the bucket has it.
                let is_on_one_disk = live.level == Level::Local || !live.confirmed;
                error.kind() == ErrorKind::BodyLost
                    && ((is_on_one_disk && may_be_lost(world, id, seen))
                        || seen.is_some_and(|seen| is_purge_lost(world, id, seen)))
            }
            (Err(error), None) => match (seen, world.keeps_deletes) {
                // Forgotten by each in its own time.
                (_, Some(_)) => {
                    matches!(error.kind(), ErrorKind::Deleted | ErrorKind::NotFound)
                }
                (Some(_), None) => error.kind() == ErrorKind::Deleted,
                (None, None) => error.kind() == ErrorKind::NotFound,
            },
            (Ok(_), None) => false,
        };
        if !fine {
            let found = found.map(|_| "a body");
            wrong.push(format!("node {number} gives {found:?} of {id}, which is {seen:?}"));
        }
    }
    wrong
}

async fn read(node: &Node, id: ObjectId) -> Result<(Arc<ObjectMeta>, [u8; 32]), Error> {
    let object = node.get(id, GetOptions::default()).await?;
    let bytes = object.body.collect(usize::MAX).await?;
    Ok((object.meta, *blake3::hash(&bytes).as_bytes()))
}

/// Whether the node that put this body has lost its disk since.
fn is_of_a_lost_one(world: &World, id: ObjectId, digest: [u8; 32]) -> bool {
    let model = world.model();
    model.put_of(id, digest).is_some_and(|op| match op.outcome {
        Outcome::Acked { at, .. } => model.at_risk(op.node, at),
        // Not acknowledged: when it was made nobody knows.
        _ => model.at_risk_ever(op.node),
    })
}

/// Whether the one disk that is sure to have had a body has lost it.
fn may_be_lost(world: &World, id: ObjectId, seen: Option<&SeenRecord>) -> bool {
    let digest = seen.and_then(|seen| seen.live.as_ref()).and_then(|live| live.digest);
    digest.is_some_and(|digest| is_of_a_lost_one(world, id, digest))
}

/// Whether a change that is later than what is seen may have been lost with a disk.
fn is_lost(model: &Model, op: &Op, seen: &SeenRecord) -> bool {
    match op.outcome {
        Outcome::Acked { stamp, at } => stamp >= seen.time && model.at_risk(op.node, at),
        Outcome::Open | Outcome::Unknown => model.at_risk_ever(op.node),
        Outcome::Refused => false,
    }
}

/// Whether a delete that took the object from the bucket as well was lost with a disk.
fn is_purge_lost(world: &World, id: ObjectId, seen: &SeenRecord) -> bool {
    let model = world.model();
    let is_purge = |op: &&Op| op.kind == Kind::Delete { purge: true };
    let mut purges = model.ops.get(&id).into_iter().flatten().filter(is_purge);
    purges.any(|op| is_lost(&model, op, seen))
}

/// The bucket holds the winner.
async fn in_bucket(world: &World, id: ObjectId, seen: Option<&SeenRecord>) -> Option<String> {
    let seen = seen?;
    let live = seen.live.as_ref().filter(|live| live.level > Level::Local)?;
    let key = id.to_string();
    let found = match world.bucket.get(&key, RemoteGet::default()).await {
        Ok(object) => {
            object.body.collect(usize::MAX).await.ok().map(|bytes| *blake3::hash(&bytes).as_bytes())
        }
        Err(_) => None,
    };
    if found != live.digest && !live.confirmed && may_be_lost(world, id, Some(seen)) {
        // Then no node has the body either: that is judged with the reads. The bucket may still
        // have what it replaced.
        let node = world.up().first().and_then(|number| world.machines[*number].node.clone())?;
        let lost = read(&node, id).await.is_err();
        if lost || found.is_none() {
            return (!lost).then(|| format!("the bucket lacks {id}, which is {seen:?}"));
        }
    }
    if found.is_some() && found == live.digest {
        return (!live.confirmed).then(|| format!("{id} is in the bucket, and nobody says so"));
    }
    // A later change whose node lost its disk before it told anybody.
    let model = world.model();
    let later = match found {
        Some(digest) => model.put_of(id, digest).is_some_and(|op| is_lost(&model, op, seen)),
        None => {
            drop(model);
            is_purge_lost(world, id, seen)
        }
    };
    (!later).then(|| {
        format!(
            "the bucket has {} of {id}, which is {seen:?}",
            found.map_or("nothing", |_| "another version")
        )
    })
}
