//! How the writer lets a body go that is elsewhere too, or lost.

use objstore_client::types::{Level, ObjectId};

use super::change::Committed;
use super::format::garbage_key;
use super::record::{Entry, Presence};
use super::stamp::Stamp;
use super::store::Space;
use super::todo::Chore;
use super::writer::{Group, Judged, Stop, Writer};
use crate::cache::Hot;

impl Writer {
    /// Lets go what is here of these versions. Those that have changed, or that turn out to have
    /// their only certain copy here, stay.
    pub(super) fn evict(
        &mut self,
        versions: Vec<(ObjectId, Stamp)>,
        group: &mut Group,
    ) -> Result<Judged, Stop> {
        for (id, stamp) in versions {
            let Some(known) = self.current_version(id, stamp, group)? else { continue };
            let entry = &known.entry;
            match entry.presence {
                Presence::Absent => {}
                Presence::Cached if entry.key.is_some() => self.forget_key(entry, group),
                Presence::Cached => self.discard(entry, group),
                Presence::Inline | Presence::File { .. } => {
                    if !self.may_go(entry, group)? {
                        continue;
                    }
                    self.let_go(entry, group);
                }
            }
        }
        Ok(Judged::done(Committed::Noted))
    }

    /// Takes note that the files of these versions are lost; copies that this node is to have are
    /// wanted again.
    pub(super) fn lose(
        &mut self,
        versions: Vec<(ObjectId, Stamp)>,
        group: &mut Group,
    ) -> Result<Judged, Stop> {
        for (id, stamp) in versions {
            let Some(known) = self.current_version(id, stamp, group)? else { continue };
            if !matches!(known.entry.presence, Presence::File { .. }) {
                continue;
            }
            self.let_go(&known.entry, group);
            if known.entry.record.level() == Level::Full {
                group.todo(Chore::Want, id, stamp);
            }
        }
        Ok(Judged::done(Committed::Noted))
    }

    fn let_go(&mut self, entry: &Entry, group: &mut Group) {
        let elsewhere = Entry::new(entry.record.clone(), Presence::Cached);
        self.counters.replace(Some(entry), &elsewhere);
        self.write_entry(Hot { entry: elsewhere, inline: None }, group);
        self.discard(entry, group);
    }

    /// Whether nothing is left to be done for which the body is needed.
    fn may_go(&self, entry: &Entry, group: &Group) -> Result<bool, Stop> {
        let Some(live) = entry.live() else { return Ok(false) };
        let id = entry.record.id;
        let is_doubted = self.todo.has(Chore::Verify, id)
            || group.todo.iter().any(|(chore, of, _)| (*chore, *of) == (Chore::Verify, id));
        Ok(live.remote_etag.is_some()
            && live.level == Level::Remote
            && !is_doubted
            && self.waits(id, group)?.is_none())
    }

    /// Whether the file of a version is about to be removed: what is stored there now goes with it.
    pub(super) fn is_leaving(
        &self,
        id: ObjectId,
        stamp: Stamp,
        group: &Group,
    ) -> Result<bool, Stop> {
        if group.garbage.iter().any(|(of, at, _)| (*of, *at) == (id, stamp)) {
            return Ok(true);
        }
        let note = self.store.get(Space::Meta, &garbage_key(id, stamp));
        Ok(note.map_err(crate::ops::journal_error)?.is_some())
    }
}
