//! The steps of a comparison as they travel: a version, a kind, and what belongs to it.

use bytes::{BufMut, Bytes, BytesMut};
use objstore_client::types::ObjectId;
use objstore_client::{Error, ErrorKind};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::frames::VERSION;
use crate::journal::NodeId;

/// Nodes of the tree whose children are asked for at a time.
pub(super) const NODES: usize = 1024;
/// Leaves that are asked for at a time.
pub(super) const LEAVES: usize = 512;
/// The longest answer that is made but for one leaf, and the longest that is read.
pub(super) const ANSWER_FULL: usize = 512 * 1024;
pub(super) const ANSWER_MAX: usize = 2 << 20;
/// Members that are told of.
pub(super) const MEMBERS: usize = 2048;

/// What one node asks of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// [`State`] both ways.
    Open = 0,
    /// [`Nodes`]; answered with the sums of their children.
    Children = 1,
    /// Numbers of leaves; answered with a list for each, as far as they fit.
    Leaves = 2,
    /// Ids; answered with how many of them were looked at, and a frame of records.
    Records = 3,
    /// A frame of records; answered when they are durable.
    Take = 4,
    /// The asker's time at which the comparison began that has come to its end.
    Done = 5,
    /// [`Brief`]; answered with the other's where the two are the same, else with nothing.
    Same = 6,
    /// Nothing; answered with [`Told`].
    Heard = 7,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Open,
        Self::Children,
        Self::Leaves,
        Self::Records,
        Self::Take,
        Self::Done,
        Self::Same,
        Self::Heard,
    ];
}

/// A node's journal at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// The time by the node's stamps.
    pub(super) moment: u64,
    pub(super) root: u128,
    /// Tombstones before this may be collected.
    pub(super) horizon: u64,
    /// The nodes every one of which knew of all deletes before the horizon, as far as is known.
    pub(super) among: Vec<u128>,
    /// The time up to which all members have what the node had.
    pub(super) floor: u64,
    /// The nodes that count as members, the node itself included.
    pub(super) members: Vec<u128>,
    /// In an answer: the asker's horizon lies beyond what this node has heard of; it has to take on
    /// the asker's journal before it may offer its own.
    pub(super) is_behind: bool,
}

/// A [`State`] whose size does not grow with the number of members.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Brief {
    moment: u64,
    floor: u64,
    /// Of all that two nodes have in common whose journals are equal.
    digest: [u8; 16],
}

impl State {
    pub(super) fn brief(&self) -> Brief {
        let common = Self { moment: 0, floor: 0, is_behind: false, ..self.clone() };
        let digest = blake3::hash(&encode(&common));
        let digest = digest.as_bytes().first_chunk().copied().unwrap_or_default();
        Brief { moment: self.moment, floor: self.floor, digest }
    }

    /// The state of another node, where it is the same but for its moment and floor.
    pub(super) fn of_other(&self, brief: &Brief) -> Option<Self> {
        let Brief { moment, floor, digest } = *brief;
        (self.brief().digest == digest).then(|| Self { moment, floor, ..self.clone() })
    }

    pub(super) fn members(&self) -> Vec<NodeId> {
        self.members.iter().copied().map(NodeId::from_u128).collect()
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Nodes {
    pub(super) level: u8,
    pub(super) nodes: Vec<u32>,
}

/// What a node says of the one that asks.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Told {
    /// The time up to which it was told everything by the asker.
    pub(super) heard: u64,
    /// Its own horizon.
    pub(super) horizon: u64,
}

/// What a leaf has: each record's id and digest.
pub(super) type Listed = Vec<(ObjectId, u128)>;

/// A step with something serialised.
pub(super) fn step<T: Serialize>(kind: Kind, of: &T) -> Bytes {
    // Postcard fails only for types whose length is not known beforehand; ours all are.
    postcard::to_extend(of, vec![VERSION, kind as u8]).unwrap_or_default().into()
}

/// A step with a frame of records.
pub(super) fn step_with(kind: Kind, frame: &[u8]) -> Bytes {
    let mut bytes = BytesMut::with_capacity(2 + frame.len());
    bytes.put_u8(VERSION);
    bytes.put_u8(kind as u8);
    bytes.put_slice(frame);
    bytes.freeze()
}

/// What a step is, and what belongs to it.
pub(super) fn read_step(mut bytes: Bytes) -> Result<(Kind, Bytes), Error> {
    let refused = |why: &'static str| Err(Error::new(ErrorKind::InvalidRequest, why));
    let (Some(version), Some(kind)) = (bytes.first().copied(), bytes.get(1).copied()) else {
        return refused("a step of a comparison without a kind");
    };
    if version != VERSION {
        return refused("this node compares journals by version 1 of the protocol");
    }
    match Kind::ALL.into_iter().find(|known| *known as u8 == kind) {
        Some(known) => Ok((known, bytes.split_off(2))),
        None => refused("this node does not know this kind of step"),
    }
}

/// What a newer program adds behind is passed over.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    postcard::from_bytes(bytes).map_err(|e| {
        Error::new(ErrorKind::InvalidRequest, "a step of a comparison does not decode")
            .with_source(e)
    })
}

pub(super) fn encode<T: Serialize>(of: &T) -> Bytes {
    postcard::to_extend(of, Vec::new()).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brief_state_is_that_of_another_only_where_all_is_the_same() {
        let members: Vec<_> = (0..100).collect();
        let ours = State { moment: 7, root: 3, horizon: 5, members, ..State::default() };
        let other = State { moment: 9, floor: 4, is_behind: true, ..ours.clone() };
        let brief = other.brief();
        assert!(step(Kind::Same, &brief).len() < 64);
        let brief: Brief = decode(&encode(&brief)).unwrap();
        let read = State { moment: 9, floor: 4, ..ours.clone() };
        assert_eq!(ours.of_other(&brief), Some(read));
        for differs in [
            State { root: 4, ..ours.clone() },
            State { horizon: 6, ..ours.clone() },
            State { among: vec![1], ..ours.clone() },
            State { members: (0..99).collect(), ..ours.clone() },
        ] {
            assert_eq!(differs.of_other(&brief), None);
        }
    }
}
