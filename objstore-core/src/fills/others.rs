//! Which node is asked for units.
//!
//! A fetch asks those that may hold a copy, then the node whose turn it is to ask the remote, then
//! the remote. No two nodes wait for each other:
//! * who is asked for what it holds ([`Readers::Here`](super::Readers)) waits for nothing but a
//!   reply of the remote;
//! * who is asked to ask the remote ([`Readers::Remote`](super::Readers)) may wait for a fetch of
//!   its own readers, which may wait for a third node that was asked to do the same; but all nodes
//!   have one order in which it is their turn, whoever they know of, and each asks only those
//!   before it.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::future::Future;
use std::ops::Range;
use std::pin::Pin;

use objstore_client::Body;

use super::Origin;
use crate::journal::{NodeId, Stamp};

/// A future of [`Others`].
pub(crate) type OthersFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The other nodes, as far as fills need them.
pub(crate) trait Others: Send + Sync + Debug {
    /// Finds a node that gives these units. Each is asked at most once in one search.
    fn seek<'a>(
        &'a self,
        origin: &'a Origin,
        units: Range<u64>,
        search: &'a mut Search,
    ) -> OthersFuture<'a, Sought>;

    /// What a node gave was not what the version has.
    fn lied(&self, node: NodeId);
}

/// Where the units of a fetch come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Via {
    /// Another node, or that is not settled yet.
    Peer,
    Remote,
}

impl Via {
    pub(super) fn from_u8(number: u8) -> Self {
        if number == Self::Peer as u8 { Self::Peer } else { Self::Remote }
    }
}

/// What came of a search.
pub(crate) enum Sought {
    Peer(PeerReply),
    /// It is for this node to ask the remote.
    Remote,
    Nowhere {
        unreachable: bool,
    },
}

/// Units from another node, in [frames](super::frames).
pub(crate) struct PeerReply {
    pub(crate) node: NodeId,
    /// The stamp that the units are sealed with there.
    pub(crate) stamp: Stamp,
    /// Up to which unit, exclusive, all from the first on is to be had there.
    pub(crate) held: u64,
    /// How many nodes it may be waiting for, one for another.
    pub(crate) behind: u32,
    pub(crate) body: Body,
}

/// Who was asked on behalf of one fetch.
#[derive(Debug, Default)]
pub(crate) struct Search {
    /// Not to be asked for what they hold any more.
    pub(crate) asked: BTreeSet<NodeId>,
    /// Not to be asked to ask the remote.
    pub(crate) asked_to_fetch: BTreeSet<NodeId>,
    /// One that may have it did not answer.
    pub(crate) unreachable: bool,
    /// Those that are not known to have it are asked whether they do.
    pub(crate) around: bool,
    /// All were asked.
    pub(crate) over: bool,
}

impl Search {
    /// A node broke off, or gave something else: it may have it all the same.
    pub(crate) fn failed(&mut self, node: NodeId) {
        self.unreachable = true;
        self.asked.insert(node);
        self.asked_to_fetch.insert(node);
    }
}
