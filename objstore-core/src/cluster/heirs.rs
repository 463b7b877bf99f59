//! What members that were given up left unfinished: versions that the remote should have and is not
//! known to have. One of the nodes that are left sees to each.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::owner;
use crate::env;
use crate::journal::{Change, versions_after};
use crate::node::Inner;
use objstore_client::types::Level;

/// How often it is looked whether somebody was given up.
const EVERY: Duration = Duration::from_secs(10);

/// Works until the node is gone. After a start those given up earlier are looked at once more:
/// the node may have stopped in the middle.
pub(super) async fn run(node: &Weak<Inner>) {
    let mut known = BTreeSet::new();
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(inner) = node.upgrade() else { return };
        let all = inner.cluster.members.all().into_iter();
        let given_up: BTreeSet<_> =
            all.filter(|(_, member)| member.forgotten.is_some()).map(|(id, _)| id).collect();
        drop(inner);
        if given_up.is_subset(&known) || inherit(node).await {
            known = given_up;
        }
    }
}

/// Notes what is this node's to see to; whether all was looked at.
async fn inherit(node: &Weak<Inner>) -> bool {
    let mut after: Option<Vec<u8>> = None;
    loop {
        let Some(inner) = node.upgrade() else { return true };
        let live: Vec<_> = inner.cluster.peers.live().iter().map(|peer| peer.id).collect();
        let me = inner.node_id;
        let (store, from) = (Arc::clone(&inner.store), after.take());
        let page = env::run(inner.env.blocking.as_ref(), move || {
            versions_after(store.as_ref(), from.as_deref(), |entry| {
                let record = &entry.record;
                let is_in_remote =
                    record.live.as_ref().is_none_or(|live| live.remote_etag.is_some());
                // Whoever put it: it may have been for another to store, who raised its level.
                !is_in_remote
                    && record.level() > Level::Local
                    && owner::order(record.id, live.iter().copied().chain([me])).first()
                        == Some(&me)
            })
        });
        let Ok(Ok((ours, last))) = page.await else { return false };
        if !ours.is_empty() && inner.commit(Change::Verify(ours)).await.is_err() {
            return false;
        }
        if last.is_none() {
            return true;
        }
        after = last;
    }
}
