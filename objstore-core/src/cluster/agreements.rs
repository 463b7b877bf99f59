//! What this node and the others have of each other, and which deletes all of them know of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use objstore_client::Error;

use super::compare::State;
use crate::env;
use crate::journal::{
    Agreed, Change, Committed, Horizon, JournalStore, NodeId, StoreError, among, load_among,
};
use crate::node::Inner;
use crate::ops::journal_error;

/// Notes of nodes that are no members any more; beyond, those seen longest ago go.
const FORMER: usize = 1024;

/// What was agreed with each node. The journal has it too.
#[derive(Debug)]
pub(super) struct Agreements(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    agreed: BTreeMap<NodeId, Agreed>,
    /// What each member said all others have of it.
    floors: BTreeMap<NodeId, u64>,
    /// Who counted when that was last looked at; none right after a start.
    counted: Option<BTreeSet<NodeId>>,
    /// The nodes among whom the horizon was found.
    among: BTreeSet<NodeId>,
    /// What was before this time has been collected since the start.
    swept: u64,
    /// Agreements from before this time of ours are worth nothing: a member was given up then, and
    /// what only one node had of it has to reach the others first.
    since: u64,
}

impl Agreements {
    /// What a journal remembers. Blocks.
    pub(super) fn load(store: &dyn JournalStore) -> Result<Self, StoreError> {
        let agreed = Agreed::load_all(store)?.into_iter().collect();
        let among = load_among(store)?;
        Ok(Self(Mutex::new(Table { agreed, among, ..Table::default() })))
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, node: NodeId) -> Agreed {
        self.lock().agreed.get(&node).copied().unwrap_or_default()
    }

    /// What a member says all others have of it.
    pub(super) fn has_floor(&self, node: NodeId, floor: u64) {
        self.lock().floors.insert(node, floor);
    }

    /// The time up to which all these nodes have told this one everything.
    fn heard_of_all(&self, nodes: impl IntoIterator<Item = NodeId>) -> u64 {
        let table = self.lock();
        let heard = |node| table.agreed.get(&node).map_or(0, |agreed| agreed.heard);
        nodes.into_iter().map(heard).min().unwrap_or(u64::MAX)
    }

    /// When this node last gave everything to a node that counts no more, or to this one.
    pub(super) fn given_to_former(&self, counted: &BTreeSet<NodeId>, to: NodeId) -> u64 {
        let table = self.lock();
        let former = table.agreed.iter().filter(|(id, _)| **id == to || !counted.contains(id));
        former.map(|(_, agreed)| agreed.given).max().unwrap_or(0)
    }

    /// Who counts from now on.
    fn count(&self, counted: &BTreeSet<NodeId>, now: u64) {
        let mut table = self.lock();
        if table.counted.as_ref().is_none_or(|former| !former.is_subset(counted)) {
            table.since = now;
        }
        table.counted = Some(counted.clone());
        table.floors.retain(|id, _| counted.contains(id));
    }

    /// The time up to which all members have everything that this node had.
    fn floor(&self, counted: &BTreeSet<NodeId>) -> u64 {
        let table = self.lock();
        let given = |node: &NodeId| {
            let given = table.agreed.get(node).map_or(0, |agreed| agreed.given);
            if given > table.since { given } else { 0 }
        };
        counted.iter().map(given).min().unwrap_or(u64::MAX)
    }

    /// The nodes among whom this node's horizon was found.
    pub(super) fn among(&self) -> BTreeSet<NodeId> {
        self.lock().among.clone()
    }

    /// The lowest floor of the others.
    fn floor_of_others(&self, counted: &BTreeSet<NodeId>) -> u64 {
        let table = self.lock();
        let floor = |node: &NodeId| table.floors.get(node).copied().unwrap_or(0);
        counted.iter().map(floor).min().unwrap_or(u64::MAX)
    }
}

impl Inner {
    /// The members whose absence counts, without this node.
    pub(super) fn counted(&self) -> BTreeSet<NodeId> {
        let members = self.cluster.members.all().into_iter();
        let counted =
            members.filter(|(id, member)| member.forgotten.is_none() && *id != self.node_id);
        counted.map(|(id, _)| id).collect()
    }

    /// What this node tells others about itself: the time up to which all have what it had.
    pub(super) fn floor(&self) -> u64 {
        let counted = self.counted();
        self.cluster.agreements.count(&counted, self.stamps.now());
        self.cluster.agreements.floor(&counted).min(self.stamps.now())
    }

    /// Whether there may be deletes before this horizon that this node has missed. `members` are
    /// those among whom it was found.
    pub(super) fn is_behind(&self, horizon: u64, members: &[NodeId]) -> bool {
        let known = self.shared.horizon();
        let others = members.iter().copied().filter(|id| *id != self.node_id);
        horizon > known.covered.max(known.collected)
            && (others.clone().next().is_none()
                || horizon > self.cluster.agreements.heard_of_all(others))
    }

    /// Writes down what is agreed with a node now.
    pub(super) async fn agree(
        &self,
        node: NodeId,
        given: Option<u64>,
        heard: Option<u64>,
    ) -> Result<(), Error> {
        let mut agreed = self.cluster.agreements.get(node);
        agreed.given = agreed.given.max(given.unwrap_or(0));
        agreed.heard = agreed.heard.max(heard.unwrap_or(0));
        agreed.seen = self.env.clock.wall_nanos();
        let mut notes = vec![agreed.note(node)];
        let former: Vec<_> = {
            let counted = self.counted();
            let table = self.cluster.agreements.lock();
            let former = table.agreed.iter().filter(|(id, _)| !counted.contains(id));
            former.map(|(id, agreed)| (agreed.seen, *id)).collect::<BTreeSet<_>>()
        }
        .into_iter()
        .rev()
        .skip(FORMER)
        .map(|(_, id)| id)
        .collect();
        notes.extend(former.iter().map(|id| Agreed::over(*id)));
        self.commit(Change::Note(notes)).await?;
        let mut table = self.cluster.agreements.lock();
        table.agreed.insert(node, agreed);
        table.agreed.retain(|id, _| !former.contains(id));
        Ok(())
    }

    /// The time before which every member knows of every delete, as far as this node can tell.
    fn known_by_all(&self) -> u64 {
        let counted = self.counted();
        let agreements = &self.cluster.agreements;
        self.floor()
            .min(agreements.floor_of_others(&counted))
            .min(agreements.heard_of_all(counted.iter().copied()))
    }

    /// Collects the tombstones of which every member has known for long enough. The horizon moves
    /// with them only: who has nothing to forget keeps nobody's deletes out.
    pub(super) async fn collect_known(&self) -> Result<(), Error> {
        let cluster = &self.settings.cluster;
        let mut members = self.counted();
        // Others are to be there who may have what was deleted, and count like members that are away.
        let awaits_others = members.is_empty() && !cluster.nodes.is_empty();
        let keep = match awaits_others {
            true => cluster.tombstone_keep_ms.max(cluster.forget_after_ms),
            false => cluster.tombstone_keep_ms,
        };
        let keep = u64::try_from(Duration::from_millis(keep).as_nanos()).unwrap_or(u64::MAX);
        let known = self.known_by_all();
        let before = known.min(self.env.clock.wall_nanos().saturating_sub(keep));
        if known >= self.shared.horizon().collected {
            members.insert(self.node_id);
            self.found_among(members).await?;
        }
        self.collect(Horizon { collected: 0, covered: before }, before).await
    }

    /// Takes on the horizon of a peer, from which this node has everything before it, and collects
    /// what is before it here. A peer that did not count this node cannot have counted all that this
    /// node counts: then no more is collected than every member knows of. A horizon from the future
    /// is none.
    pub(super) async fn collect_like(&self, peer: &State) -> Result<(), Error> {
        let State { horizon, .. } = *peer;
        if self.is_beyond(horizon) {
            return Ok(());
        }
        let known = self.shared.horizon();
        let among: BTreeSet<_> = peer.among.iter().copied().map(NodeId::from_u128).collect();
        let before = match among.contains(&self.node_id) {
            true => horizon,
            false => horizon.min(self.known_by_all()),
        };
        let swept = self.cluster.agreements.lock().swept;
        if horizon <= known.collected && horizon <= known.covered && before <= swept {
            return Ok(());
        }
        if horizon > known.collected {
            self.found_among(among).await?;
        }
        self.collect(Horizon { collected: horizon, covered: horizon }, before).await
    }

    /// Writes down among whom a horizon was found. The one there is was before it, and holds among
    /// them too, should this be the last that is written.
    async fn found_among(&self, nodes: BTreeSet<NodeId>) -> Result<(), Error> {
        if self.cluster.agreements.among() != nodes {
            self.commit(Change::Note(vec![among(&nodes)])).await?;
            self.cluster.agreements.lock().among = nodes;
        }
        Ok(())
    }

    async fn collect(&self, horizon: Horizon, before: u64) -> Result<(), Error> {
        while let Committed::Collected { more: true } =
            self.commit(Change::Collect { horizon, before }).await?
        {}
        let mut table = self.cluster.agreements.lock();
        table.swept = table.swept.max(before);
        Ok(())
    }

    /// A time of this node's such that every delete made here before it is in the digest, and so
    /// will be every put of before it that may yet turn out to have been made.
    pub(super) async fn moment(&self) -> Result<u64, Error> {
        let now = self.stamps.now();
        // Whatever was judged before is durable after this.
        self.commit(Change::Note(Vec::new())).await?;
        let store = std::sync::Arc::clone(&self.store);
        let oldest = move || crate::journal::oldest_pending(store.as_ref());
        let oldest = env::run(self.env.blocking.as_ref(), oldest).await?.map_err(journal_error)?;
        Ok(oldest.map_or(now, |stamp| now.min(stamp.time.saturating_sub(1))))
    }
}
