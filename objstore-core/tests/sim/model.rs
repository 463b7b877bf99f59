//! What clients were told, and what follows from it.

use std::collections::BTreeMap;

use objstore_core::types::{Level, ObjectId, ObjectMeta};
use objstore_core::{Error, ErrorKind};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Put { digest: [u8; 32], level: Level },
    Delete { purge: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not answered: as good as unknown.
    Open,
    /// 5xx, or the node lost power: made or not.
    Unknown,
    /// Never made.
    Refused,
    /// Made, with this time in its stamp, at this moment.
    Acked { stamp: u64, at: u64 },
}

#[derive(Clone, Debug)]
pub struct Op {
    pub kind: Kind,
    pub node: usize,
    /// What its node had acknowledged of the object when it began.
    floor: u64,
    pub outcome: Outcome,
}

/// A level that was raised and acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct Raised {
    pub id: ObjectId,
    pub stamp: u64,
    pub level: Level,
    pub node: usize,
    pub at: u64,
}

/// What a node's disk had at some moment is gone from the next on.
#[derive(Clone, Copy, Debug)]
struct Loss {
    node: usize,
    from: u64,
    to: u64,
}

#[derive(Debug, Default)]
pub struct Model {
    pub ops: BTreeMap<ObjectId, Vec<Op>>,
    pub raised: Vec<Raised>,
    losses: Vec<Loss>,
    /// What a read found that it must not have found.
    pub wrong: Vec<String>,
    pub acked: u64,
    pub reads: u64,
}

impl Model {
    pub fn begin(&mut self, id: ObjectId, kind: Kind, node: usize) -> usize {
        let floor = self.floor(id, node).map_or(0, |(stamp, _)| stamp);
        let ops = self.ops.entry(id).or_default();
        ops.push(Op { kind, node, floor, outcome: Outcome::Open });
        ops.len() - 1
    }

    pub fn end(
        &mut self,
        id: ObjectId,
        number: usize,
        result: Result<&ObjectMeta, &Error>,
        at: u64,
    ) {
        let outcome = match result {
            Ok(meta) => {
                self.acked += 1;
                Outcome::Acked { stamp: meta.timestamp, at }
            }
            Err(error) if error.kind().status() >= 500 => Outcome::Unknown,
            Err(_) => Outcome::Refused,
        };
        let Some(op) = self.ops.get_mut(&id).and_then(|ops| ops.get_mut(number)) else { return };
        op.outcome = outcome;
        if let Outcome::Acked { stamp, .. } = outcome
            && (stamp < op.floor || (stamp == op.floor && !matches!(op.kind, Kind::Delete { .. })))
        {
            self.wrong.push(format!("{id} got {stamp} after {}: {op:?}", op.floor));
        }
    }

    /// Whatever a node had on its disk that is younger than `from` is gone at `to`.
    pub fn lost(&mut self, node: usize, from: u64, to: u64) {
        self.losses.push(Loss { node, from, to });
    }

    /// Whether the only disk that is sure to have it has lost it.
    pub fn at_risk(&self, node: usize, at: u64) -> bool {
        self.losses.iter().any(|loss| loss.node == node && loss.from <= at && at <= loss.to)
    }

    /// Whether a node ever lost what its disk had.
    pub fn at_risk_ever(&self, node: usize) -> bool {
        self.losses.iter().any(|loss| loss.node == node)
    }

    /// What was acknowledged last of an object, by whom does not matter, and is not lost with a
    /// disk.
    pub fn winner(&self, id: ObjectId, by: Option<usize>) -> Option<(u64, &Op)> {
        let ops = self.ops.get(&id)?.iter();
        let acked = ops.filter_map(|op| match op.outcome {
            Outcome::Acked { stamp, at }
                if !self.at_risk(op.node, at) && by.is_none_or(|by| by == op.node) =>
            {
                Some((stamp, op))
            }
            _ => None,
        });
        acked.max_by_key(|(stamp, _)| *stamp)
    }

    /// Whether a delete may have been made.
    pub fn may_be_deleted(&self, id: ObjectId) -> bool {
        let ops = self.ops.get(&id).map(Vec::as_slice).unwrap_or_default();
        ops.iter()
            .any(|op| matches!(op.kind, Kind::Delete { .. }) && op.outcome != Outcome::Refused)
    }

    /// The put that a body is of.
    pub fn put_of(&self, id: ObjectId, digest: [u8; 32]) -> Option<&Op> {
        self.ops
            .get(&id)?
            .iter()
            .find(|op| matches!(op.kind, Kind::Put { digest: d, .. } if d == digest))
    }

    /// What the node of a read has acknowledged when it begins.
    pub fn floor(&self, id: ObjectId, node: usize) -> Option<(u64, bool)> {
        let (stamp, op) = self.winner(id, Some(node))?;
        Some((stamp, matches!(op.kind, Kind::Delete { .. })))
    }

    /// Judges what a read found.
    pub fn read(
        &mut self,
        id: ObjectId,
        node: usize,
        floor: Option<(u64, bool)>,
        result: Result<(&ObjectMeta, [u8; 32]), &Error>,
    ) {
        self.reads += 1;
        let stamp = floor.map_or(0, |(stamp, _)| stamp);
        let wrong = match result {
            Ok((meta, digest)) => match self.put_of(id, digest) {
                _ if !is_of(meta, digest) => {
                    Some(format!("another body than its head says: {meta:?}"))
                }
                None => Some("a body that nobody put".to_owned()),
                Some(op) if op.outcome == Outcome::Refused => {
                    Some("a put that was refused".to_owned())
                }
                Some(_) if meta.timestamp < stamp => {
                    Some(format!("a version of {} where {stamp} was acknowledged", meta.timestamp))
                }
                Some(_) => None,
            },
            Err(error) => match error.kind() {
                ErrorKind::NotFound => {
                    let deleted = self.may_be_deleted(id);
                    floor
                        .filter(|_| !deleted)
                        .map(|_| "nothing where a put was acknowledged".to_owned())
                }
                ErrorKind::Deleted => {
                    // Of one that is forgotten but for its being gone, the time is not told.
                    let time = error.meta().map_or(u64::MAX, |meta| meta.timestamp);
                    if !self.may_be_deleted(id) {
                        Some("a delete that nobody asked for".to_owned())
                    } else {
                        (time < stamp)
                            .then(|| format!("a delete of {time} where {stamp} was acknowledged"))
                    }
                }
                kind if kind.status() >= 500 => None,
                // Judged when all is healed.
                ErrorKind::BodyLost => None,
                kind => Some(format!("{kind:?}: {error}")),
            },
        };
        if let Some(wrong) = wrong {
            self.wrong.push(format!("a read of {id} on node {node} found {wrong}"));
        }
    }
}

/// Whether a body with this digest is what its head says.
pub fn is_of(meta: &ObjectMeta, digest: [u8; 32]) -> bool {
    let hex = blake3::Hash::from_bytes(digest).to_hex();
    meta.blake3.as_ref().is_none_or(|said| said == hex.as_str())
}
