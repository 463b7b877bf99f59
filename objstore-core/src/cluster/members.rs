//! The nodes that belong to the cluster, whether or not they can be asked right now: remembered in
//! the journal, so that a node finds its cluster again, and so that it is known whose absence counts.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use objstore_client::types::DiskStats;
use objstore_client::wire::private::Hello;
use serde::{Deserialize, Serialize};

use crate::journal::{JournalStore, NodeId, Note, StoreError, decode, each, encode};

const PREFIX: &[u8] = b"member/";
/// Members remembered; beyond, those that have not been heard of for the longest time are dropped.
const MEMBERS: usize = 1024;
/// A note of a live member is written again when it is this old.
const NOTE_AGE: Duration = Duration::from_secs(3600);

/// What is kept of a member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Kept {
    addr: String,
    /// Nanoseconds since the Unix epoch.
    last_seen: u64,
    /// When it was given up, in nanoseconds since the Unix epoch.
    forgotten: Option<u64>,
}

/// What is known of a member.
#[derive(Clone, Debug, Default)]
pub(super) struct Member {
    /// Where it was reached last.
    pub(super) addr: String,
    /// Nanoseconds since the Unix epoch.
    pub(super) last_seen: u64,
    pub(super) forgotten: Option<u64>,
    /// What it said of itself, once it has since this node started.
    pub(super) said: Option<Said>,
    /// Its clock, and when that was.
    pub(super) clock: Option<(u64, Instant)>,
    noted_seen: u64,
}

/// What a member says of itself.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) boot: u32,
    pub(super) public_addr: String,
    pub(super) version: String,
    pub(super) disk_stats: DiskStats,
}

/// All members but this node itself, of which only the address of its last life is kept.
#[derive(Debug, Default)]
pub(super) struct Members(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    members: BTreeMap<NodeId, Member>,
    /// Whose notes are to be written.
    dirty: BTreeSet<NodeId>,
}

impl Members {
    /// What a journal remembers. Blocks.
    pub(super) fn load(store: &dyn JournalStore) -> Result<Self, StoreError> {
        let mut members = BTreeMap::new();
        each(store, PREFIX, |key, value| {
            let id = key.try_into().map(|bytes| NodeId::from_u128(u128::from_be_bytes(bytes)));
            let id = id.map_err(|_| StoreError::Damaged("a member of no id".into()))?;
            let Kept { addr, last_seen, forgotten } = decode(value)?;
            let noted_seen = last_seen;
            let member = Member { addr, last_seen, forgotten, noted_seen, ..Member::default() };
            members.insert(id, member);
            Ok(())
        })?;
        Ok(Self(Mutex::new(Table { members, dirty: BTreeSet::new() })))
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn all(&self) -> Vec<(NodeId, Member)> {
        self.lock().members.iter().map(|(id, member)| (*id, member.clone())).collect()
    }

    pub(super) fn get(&self, id: NodeId) -> Option<Member> {
        self.lock().members.get(&id).cloned()
    }

    /// A member is there, at this place.
    pub(super) fn seen(&self, id: NodeId, addr: &str, now: u64) {
        self.lock().see(id, addr, now);
    }

    /// A member has said who it is.
    pub(super) fn said(&self, id: NodeId, hello: &Hello, now: u64, at: Instant) {
        let mut table = self.lock();
        let member = table.see(id, &hello.addr, now);
        member.clock = Some((hello.now, at));
        member.said = Some(Said {
            boot: hello.boot,
            public_addr: hello.public_addr.clone(),
            version: hello.version.clone(),
            disk_stats: hello.disk_stats.clone(),
        });
    }

    /// A member has told the time.
    pub(super) fn told(&self, id: NodeId, clock: u64, now: u64, at: Instant) {
        if let Some(member) = self.lock().members.get_mut(&id) {
            member.clock = Some((clock, at));
            member.last_seen = member.last_seen.max(now);
        }
    }

    /// Another node knows this member, which was last heard of, or was given up, then.
    pub(super) fn heard_of(&self, id: NodeId, addr: &str, at: u64, is_forgotten: bool) {
        self.lock().hear_of(id, addr, at, is_forgotten);
    }

    /// Gives a member up, unless it was heard of after that; whether that is news. So it is for a
    /// node that came later and never knew it: what it left unfinished may be for that one to see to.
    pub(super) fn forget(&self, id: NodeId, at: u64) -> bool {
        let mut table = self.lock();
        let Some(member) = table.members.get_mut(&id) else {
            table.hear_of(id, "", at, true);
            return true;
        };
        if member.forgotten.is_some() || member.last_seen > at {
            return false;
        }
        member.forgotten = Some(at);
        table.dirty.insert(id);
        true
    }

    /// Gives up who has not been heard of for so long, and drops whose giving up is as long ago.
    pub(super) fn expire(
        &self,
        is_live: impl Fn(NodeId) -> bool,
        now: u64,
        after: Duration,
    ) -> Vec<NodeId> {
        let after = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        let is_over = |time: u64| time.saturating_add(after) < now;
        let mut table = self.lock();
        let Table { members, dirty } = &mut *table;
        let mut given_up = Vec::new();
        members.retain(|id, member| {
            let is_silent = is_over(member.last_seen) && !is_live(*id);
            match member.forgotten {
                None if is_silent => {
                    member.forgotten = Some(now);
                    dirty.insert(*id);
                    given_up.push(*id);
                }
                Some(at) if is_over(at) => {
                    dirty.insert(*id);
                    return false;
                }
                _ => {}
            }
            true
        });
        given_up
    }

    /// The notes that are to be written.
    pub(super) fn take_notes(&self) -> Vec<Note> {
        let mut table = self.lock();
        let Table { members, dirty } = &mut *table;
        std::mem::take(dirty)
            .into_iter()
            .map(|id| {
                let key = [PREFIX, &id.to_u128().to_be_bytes()].concat();
                let kept = members.get_mut(&id).map(|member| {
                    member.noted_seen = member.last_seen;
                    let Member { addr, last_seen, forgotten, .. } = member.clone();
                    encode(&Kept { addr, last_seen, forgotten })
                });
                Note::new(key, kept)
            })
            .collect()
    }
}

impl Table {
    fn hear_of(&mut self, id: NodeId, addr: &str, at: u64, is_forgotten: bool) {
        match self.members.get_mut(&id) {
            // Whatever it has heard, this node was there later.
            Some(known) if known.last_seen.max(known.forgotten.unwrap_or(0)) >= at => return,
            Some(known) if is_forgotten => known.forgotten = Some(at),
            Some(known) => (known.last_seen, known.forgotten) = (at, None),
            None => {
                let forgotten = is_forgotten.then_some(at);
                let addr = addr.to_owned();
                let member = Member { addr, last_seen: at, forgotten, ..Member::default() };
                self.members.insert(id, member);
            }
        }
        self.dirty.insert(id);
        self.bound();
    }

    fn see(&mut self, id: NodeId, addr: &str, now: u64) -> &mut Member {
        if !self.members.contains_key(&id) {
            self.dirty.insert(id);
        }
        let age = u64::try_from(NOTE_AGE.as_nanos()).unwrap_or(u64::MAX);
        let member = self.members.entry(id).or_default();
        member.last_seen = member.last_seen.max(now);
        let is_old = member.last_seen.saturating_sub(member.noted_seen) > age;
        if member.addr != addr || member.forgotten.take().is_some() || is_old {
            addr.clone_into(&mut member.addr);
            self.dirty.insert(id);
        }
        self.bound();
        self.members.entry(id).or_default()
    }

    fn bound(&mut self) {
        while self.members.len() > MEMBERS {
            let oldest = self.members.iter().min_by_key(|(_, member)| member.last_seen);
            let Some(id) = oldest.map(|(id, _)| *id) else { return };
            self.members.remove(&id);
            self.dirty.insert(id);
        }
    }
}
