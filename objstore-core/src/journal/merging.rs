//! How the writer takes on what other nodes know, and forgets what all of them may forget.

use std::sync::Arc;

use bytes::Bytes;
use objstore_client::types::{Level, ObjectId};

use super::change::Committed;
use super::format::entry_key;
use super::intents::Note;
use super::past::{Horizon, dropped, gone, gone_for_good, load_gone, old_tombs, tomb_key};
use super::record::{Entry, Presence, Record};
use super::stamp::Stamp;
use super::store::Space;
use super::todo::Chore;
use super::writer::{Group, Judged, Stop, Writer};
use crate::cache::Hot;

/// Tombstones collected with one batch.
const COLLECTED_TOGETHER: usize = 1000;

impl Writer {
    /// Takes on records of other nodes. None of them is announced again.
    pub(super) fn merge(
        &mut self,
        records: Vec<Record>,
        group: &mut Group,
    ) -> Result<Judged, Stop> {
        let mut is_new = false;
        for record in records {
            self.stamps.saw(record.stamp.time);
            is_new |= self.merge_one(record, group)?;
        }
        if is_new { Ok(Judged::done(Committed::Noted)) } else { Err(Stop::At(Committed::Noted)) }
    }

    /// Whether it changed anything.
    fn merge_one(&mut self, record: Record, group: &mut Group) -> Result<bool, Stop> {
        let (id, stamp) = (record.id, record.stamp);
        let current = self.current(id, group)?;
        let is_past = stamp.time < self.horizon.collected;
        let Some(known) = current else {
            // Everybody knew of this delete, and has forgotten it.
            if record.live.is_none() && is_past {
                return Ok(false);
            }
            if record.may_be_in_remote() && record.live.is_some() {
                let gone = load_gone(self.store.as_ref(), id).map_err(crate::ops::journal_error)?;
                match gone {
                    // Whoever has it is told of the delete when journals are compared.
                    Some(gone) if gone >= stamp => return Ok(false),
                    Some(_) => gone_for_good(id).into_iter().for_each(|note| group.note(note)),
                    None => {}
                }
            }
            // What many others know comes together: it is not to drive out what is read here.
            group.unasked.insert(id);
            self.take_on(None, record, group);
            return Ok(true);
        };
        if is_past && record.live.is_none() && stamp > known.entry.record.stamp {
            // A delete that this node missed and the others have forgotten by now.
            let gone = record.may_be_in_remote().then(|| gone(id, stamp));
            self.remove(&known, gone, group);
            return Ok(true);
        }
        let is_older = stamp < known.entry.record.stamp;
        let merged = known.entry.record.clone().merge(record);
        if merged.live.is_none() && is_older && merged.stamp.time < self.horizon.collected {
            // Others have forgotten this delete, and some node has not heard of it: it is made
            // once more.
            self.delete_again(&known, merged, group);
            return Ok(true);
        }
        if merged == known.entry.record {
            return Ok(false);
        }
        if merged.stamp == known.entry.record.stamp {
            self.take_on_rest(&known, merged, group);
        } else {
            self.take_on(Some(&known), merged, group);
        }
        Ok(true)
    }

    pub(super) fn renew(&mut self, ids: Vec<ObjectId>, group: &mut Group) -> Result<Judged, Stop> {
        for id in ids {
            let current = self.current(id, group)?;
            if let Some(known) = current.filter(|known| known.entry.live().is_none()) {
                let tombstone = known.entry.record.clone();
                self.delete_again(&known, tombstone, group);
            }
        }
        Ok(Judged::done(Committed::Noted))
    }

    fn delete_again(&mut self, known: &Hot, mut tombstone: Record, group: &mut Group) {
        tombstone.stamp = self.stamps.next();
        tombstone.modified = tombstone.stamp.time;
        group.news.push(tombstone.id);
        self.take_on(Some(known), tombstone, group);
    }

    /// Puts a version of another node in place of the one known here.
    fn take_on(&mut self, known: Option<&Hot>, record: Record, group: &mut Group) {
        let (id, stamp) = (record.id, record.stamp);
        let lost = known.filter(|hot| hot.entry.record.level() > Level::Local);
        if let Some(lost) = lost {
            let waited = lost.entry.live().is_some_and(|live| live.remote_etag.is_none());
            if waited {
                group.wait(id, None);
            }
            // Who replaces a version of its own sees to the remote itself.
            let of_two = waited && lost.entry.record.stamp.node != stamp.node;
            if of_two || lost.entry.record.stamp.node == self.stamps.node().to_u128() {
                group.todo(Chore::Verify, id, stamp);
            }
        }
        // What this node wrote and does not know was lost with its disk: whether it had been stored
        // nobody else can tell.
        let is_own = stamp.node == self.stamps.node().to_u128();
        if is_own
            && record
                .live
                .as_ref()
                .is_some_and(|l| l.level > Level::Local && l.remote_etag.is_none())
        {
            group.todo(Chore::Verify, id, stamp);
        }
        if record.level() == Level::Full {
            group.todo(Chore::Want, id, stamp);
        }
        // Its body is elsewhere; what may come to be here of it is a copy.
        let presence = if record.live.is_some() { Presence::Cached } else { Presence::Absent };
        let entry = Entry::new(record, presence);
        self.replace(known, Hot { entry, inline: None }, group);
    }

    /// Another node knows more about this very version: a higher level, the remote's tag.
    fn take_on_rest(&mut self, known: &Hot, record: Record, group: &mut Group) {
        let (id, stamp) = (record.id, record.stamp);
        let live = known.entry.live();
        let has_tag = record.live.as_ref().is_some_and(|live| live.remote_etag.is_some());
        if has_tag && live.is_some_and(|l| l.remote_etag.is_none() && l.level > Level::Local) {
            group.wait(id, None);
        }
        let is_held = known.entry.presence.is_held();
        if record.level() == Level::Full && live.is_some_and(|l| l.level < Level::Full) && !is_held
        {
            group.todo(Chore::Want, id, stamp);
        }
        let presence = if record.live.is_some() { known.entry.presence } else { Presence::Absent };
        self.know_more(known, record, presence, group);
    }

    /// Forgets versions that the cluster has forgotten.
    pub(super) fn drop_versions(
        &mut self,
        versions: Vec<(ObjectId, Stamp)>,
        group: &mut Group,
    ) -> Result<Judged, Stop> {
        for (id, stamp) in versions {
            if let Some(known) = self.current_version(id, stamp, group)? {
                let record = &known.entry.record;
                let dropped = record.may_be_in_remote().then(|| dropped(id, stamp));
                self.remove(&known, dropped, group);
            }
        }
        Ok(Judged::done(Committed::Noted))
    }

    /// Takes on a horizon, and collects some of the tombstones before a time.
    pub(super) fn collect(
        &mut self,
        horizon: Horizon,
        before: u64,
        group: &mut Group,
    ) -> Result<Judged, Stop> {
        let old = old_tombs(self.store.as_ref(), before, COLLECTED_TOGETHER)
            .map_err(crate::ops::journal_error)?;
        let more = old.len() == COLLECTED_TOGETHER;
        let forgotten = old.last().map_or(0, |(_, stamp)| stamp.time.saturating_add(1));
        let moved = Horizon {
            collected: horizon.collected.max(self.horizon.collected).max(forgotten),
            covered: horizon.covered.max(self.horizon.covered),
        };
        if moved != self.horizon {
            self.horizon = moved;
            group.note(moved.note());
            group.horizon = Some(moved);
        }
        for (id, stamp) in old {
            // Also when it is in the way of nothing any more.
            group.batch.remove(Space::Meta, tomb_key(id, stamp));
            if let Some(known) = self.current_version(id, stamp, group)?
                && known.entry.live().is_none()
            {
                let gone = known.entry.record.in_remote.then(|| gone(id, stamp));
                self.remove(&known, gone, group);
            }
        }
        Ok(Judged::done(Committed::Collected { more }))
    }

    /// Removes an object from the journal. Where the remote may have it, a note stays of the stamp
    /// up to which it must not come back from there.
    fn remove(&mut self, known: &Arc<Hot>, barred: Option<Note>, group: &mut Group) {
        let entry = &known.entry;
        let (id, stamp) = (entry.record.id, entry.record.stamp);
        if let Some(barred) = barred {
            group.note(barred);
        }
        match entry.live() {
            None => group.batch.remove(Space::Meta, tomb_key(id, stamp)),
            Some(live) if live.level > Level::Local && live.remote_etag.is_none() => {
                group.wait(id, None);
            }
            Some(_) => {}
        }
        group.batch.remove(Space::Records, entry_key(id).to_vec());
        self.counters.remove(entry);
        self.counters.changes += 1;
        self.discard(entry, group);
        group.newest.insert(id, None);
    }

    /// The remote may lack these versions.
    pub(super) fn verify(versions: Vec<(ObjectId, Stamp)>, group: &mut Group) -> Judged {
        for (id, stamp) in versions {
            group.todo(Chore::Verify, id, stamp);
        }
        Judged::done(Committed::Noted)
    }

    /// Something was done about the body of a version.
    pub(super) fn chore_done(
        &mut self,
        chore: Chore,
        id: ObjectId,
        stamp: Stamp,
        group: &mut Group,
    ) -> Judged {
        let newer = group.todo.iter().any(|(c, i, s)| (*c, *i) == (chore, id) && *s != stamp);
        if !newer && self.todo.is_last(chore, id, stamp) {
            group.note(chore.done(id));
            group.done.push((chore, id, stamp));
        }
        Judged::done(Committed::Noted)
    }

    /// The place of a tombstone among those that will be collected.
    pub(super) fn place_tomb(old: Option<&Entry>, new: &Entry, group: &mut Group) {
        if let Some(old) = old.filter(|old| old.live().is_none()) {
            group.batch.remove(Space::Meta, tomb_key(old.record.id, old.record.stamp));
        }
        if new.live().is_none() {
            group.batch.put(Space::Meta, tomb_key(new.record.id, new.record.stamp), Bytes::new());
        }
    }
}
