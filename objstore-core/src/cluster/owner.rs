//! Which node asks the remote for an object: the one that rendezvous hashing names among all that
//! are live (Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998). All
//! nodes that know of the same others agree without a word, and when one goes only its objects move.

use objstore_client::types::ObjectId;

use crate::journal::NodeId;

/// Nodes in the order in which they are to ask the remote for an object.
pub(crate) fn order(id: ObjectId, nodes: impl IntoIterator<Item = NodeId>) -> Vec<NodeId> {
    let mut order: Vec<_> = nodes.into_iter().map(|node| (weight(id, node), node)).collect();
    order.sort_unstable_by(|a, b| b.cmp(a));
    order.into_iter().map(|(_, node)| node).collect()
}

fn weight(id: ObjectId, node: NodeId) -> [u8; 16] {
    let mut hash = blake3::Hasher::new();
    hash.update(&id.to_bytes()).update(&node.to_u128().to_be_bytes());
    let mut weight = [0; 16];
    hash.finalize_xof().fill(&mut weight);
    weight
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(random: u128) -> ObjectId {
        ObjectId::from_parts(1_600_000_000_000, random).unwrap()
    }

    #[test]
    fn objects_are_spread_evenly_and_only_those_of_a_lost_node_move() {
        let nodes: Vec<_> = (1..=5).map(NodeId::from_u128).collect();
        let mut owned = [0; 6];
        for n in 0..10_000 {
            let all = order(id(n), nodes.iter().copied());
            let mut backwards = nodes.clone();
            backwards.reverse();
            assert_eq!(all, order(id(n), backwards), "whoever asks");
            owned[usize::try_from(all[0].to_u128()).unwrap()] += 1;
            let without =
                order(id(n), nodes.iter().copied().filter(|node| *node != NodeId::from_u128(3)));
            let rest: Vec<_> =
                all.into_iter().filter(|node| *node != NodeId::from_u128(3)).collect();
            assert_eq!(without, rest);
        }
        assert!(owned[1..].iter().all(|count| (1_800..2_200).contains(count)), "{owned:?}");
    }
}
