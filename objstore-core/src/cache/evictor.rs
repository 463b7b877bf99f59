//! Making room: bodies that are elsewhere too go, those that nobody wanted for the longest first.
//!
//! Which they are is not kept in a list: a hand goes round over the journal, as in CLOCK (Corbató,
//! "A paging experiment with the Multics system", 1968), and [`Heat`] says what was wanted since
//! it last went to work. So the cost is that of looking at entries, and only while room is short.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use objstore_client::Error;
use objstore_client::types::{Level, ObjectId};

use super::Heat;
use crate::env;
use crate::journal::{
    Change, Entry, Presence, Space, Stamp, StoreError, decode_entry, decode_key_entry,
};
use crate::node::Inner;
use crate::ops::journal_error;
use crate::usage::{Looked, Usage};

/// Entries looked at together.
const PAGE: usize = 512;
/// Bodies of which the remote is asked at a time whether it has them.
const PARALLEL: usize = 64;
/// After looking in vain there is no further look for this long at least, and for ten times as long
/// as the look took.
const REST: Duration = Duration::from_secs(1);

/// Works until the node is gone.
pub(crate) async fn run(node: Weak<Inner>, usage: Arc<Usage>) {
    let mut hand = Hand::default();
    let mut rests_until = None;
    loop {
        usage.wanted().await;
        let Some(inner) = node.upgrade() else { return };
        let clock = Arc::clone(&inner.env.clock);
        loop {
            let goal = usage.needed();
            if goal == 0 {
                usage.looked(Looked::NoNeed);
                break;
            }
            let began = clock.monotonic();
            let rests = rests_until.is_some_and(|until| began < until);
            let found = !rests && inner.make_room(goal, &mut hand).await;
            usage.looked(if found { Looked::Found } else { Looked::InVain });
            if found {
                continue;
            }
            if !rests {
                let now = clock.monotonic();
                let took = now.saturating_duration_since(began);
                rests_until = Some(now + REST.max(took * 10));
            }
            break;
        }
    }
}

/// Where the hand is, and what it takes.
struct Hand {
    space: Space,
    after: Option<Bytes>,
    /// The age in rounds from which on a body may go.
    age: u16,
}

impl Default for Hand {
    fn default() -> Self {
        Self { space: Space::Keys, after: None, age: Heat::OLDEST }
    }
}

impl Hand {
    /// Goes on behind this entry, or in the other key space; true when it has been everywhere.
    fn moved(&mut self, last: Option<Bytes>) -> bool {
        self.after = last;
        if self.after.is_some() {
            return false;
        }
        let came_from = self.space;
        self.space = if came_from == Space::Keys { Space::Records } else { Space::Keys };
        came_from == Space::Records
    }
}

/// A body that may go.
struct Candidate {
    id: ObjectId,
    stamp: Stamp,
    age: u16,
    /// What its going gives back.
    bytes: u64,
    /// What is here is not a mere copy: the remote has to be asked.
    is_kept: bool,
    /// It lies in the journal.
    is_small: bool,
}

impl Inner {
    /// Frees this many bytes, or what can be freed; false for nothing.
    async fn make_room(&self, goal: u64, hand: &mut Hand) -> bool {
        self.heat.next_round();
        let (mut freed, mut freed_in_round, mut small) = (0u64, 0u64, false);
        while freed < goal {
            let page = match self.page_of_candidates(hand).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(%error, "no room can be made at the moment");
                    break;
                }
            };
            let more = match self.evict_from(page.candidates, goal - freed).await {
                Ok((bytes, some_small)) => {
                    small |= some_small;
                    bytes
                }
                Err(error) => {
                    tracing::debug!(%error, "what was to be evicted stays for now");
                    break;
                }
            };
            (freed, freed_in_round) = (freed + more, freed_in_round + more);
            if hand.moved(page.last) {
                if hand.age == 0 && freed_in_round == 0 {
                    break;
                }
                hand.age /= 4;
                freed_in_round = 0;
            }
        }
        if freed >= goal {
            // It was easily found: what is younger need not go yet.
            hand.age = (hand.age * 2 + 1).min(Heat::OLDEST);
        }
        if freed > 0 {
            self.crew.caught_up(small).await;
        }
        freed > 0
    }

    async fn page_of_candidates(&self, hand: &Hand) -> Result<Page, Error> {
        let (store, files) = (Arc::clone(&self.store), Arc::clone(&self.files));
        let (space, after, age) = (hand.space, hand.after.clone(), hand.age);
        let heat = Arc::clone(&self.heat);
        let scan = move || -> Result<Page, StoreError> {
            let pairs = store.scan(space, after.as_deref(), PAGE)?;
            let last = pairs.last().map(|(key, _)| key.clone());
            let mut candidates = Vec::new();
            for (_, value) in &pairs {
                let entry = match space {
                    Space::Keys => decode_key_entry(value)?,
                    _ => decode_entry(value)?,
                };
                let is_old = heat.age(entry.record.id) >= age;
                let size = |entry: &Entry| files.physical(entry.record.id, entry.record.stamp);
                candidates
                    .extend(is_old.then(|| Candidate::of(&entry, value, &heat, size)).flatten());
            }
            Ok(Page { candidates, last })
        };
        env::run(self.env.blocking.as_ref(), scan).await?.map_err(journal_error)
    }

    /// Evicts of these what is needed for `goal`. Returns the bytes that this gives back, and whether
    /// the journal has to give some of them.
    async fn evict_from(&self, mut from: Vec<Candidate>, goal: u64) -> Result<(u64, bool), Error> {
        from.sort_by_key(|one| (std::cmp::Reverse(one.age), std::cmp::Reverse(one.bytes)));
        let mut bytes = 0;
        from.retain(|one| {
            let is_needed = bytes < goal;
            bytes += if is_needed { one.bytes } else { 0 };
            is_needed
        });
        let looks = futures_util::stream::iter(from).map(|one| async move {
            let may_go = !one.is_kept || self.is_safe_elsewhere(one.id, one.stamp).await;
            may_go.then_some(one)
        });
        let safe: Vec<_> = looks.buffered(PARALLEL).filter_map(std::future::ready).collect().await;
        if safe.is_empty() {
            return Ok((0, false));
        }
        let freed = safe.iter().map(|one| one.bytes).sum();
        let small = safe.iter().any(|one| one.is_small);
        let versions = safe.iter().map(|one| (one.id, one.stamp)).collect();
        self.commit(Change::Evict(versions)).await?;
        self.counts.evicted(safe.len() as u64, freed);
        Ok((freed, small))
    }
}

/// Some of what the hand passed.
struct Page {
    candidates: Vec<Candidate>,
    /// None at the end of the key space.
    last: Option<Bytes>,
}

impl Candidate {
    /// What an entry is worth; none where nothing is here of it, or it has to stay.
    fn of(entry: &Entry, value: &[u8], heat: &Heat, file: impl Fn(&Entry) -> u64) -> Option<Self> {
        let live = entry.live()?;
        let (bytes, is_kept) = match entry.presence {
            Presence::Absent => return None,
            // The record goes with what is here of it.
            Presence::Cached if entry.key.is_some() => (file(entry) + value.len() as u64, false),
            Presence::Cached => (file(entry), false),
            Presence::Inline => (live.size, true),
            Presence::File { physical } => (physical, true),
        };
        let goes =
            bytes > 0 && live.level < Level::Full && (!is_kept || live.remote_etag.is_some());
        let (id, stamp) = (entry.record.id, entry.record.stamp);
        let (age, is_small) = (heat.age(id), entry.presence == Presence::Inline);
        goes.then_some(Self { id, stamp, age, bytes, is_kept, is_small })
    }
}
