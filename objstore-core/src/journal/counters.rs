use serde::{Deserialize, Serialize};

use super::record::{Entry, Presence};

/// Sums over the journal, kept in the same batch as the changes they count, so that a start needs
/// no scan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counters {
    /// Batches committed since the journal was made.
    pub(crate) batches: u64,
    /// Changes they held.
    pub(crate) changes: u64,
    pub(crate) objects: u64,
    pub(crate) tombstones: u64,
    /// Bytes of all live bodies.
    pub(crate) bytes: u64,
    /// Bytes of bodies in the journal itself.
    pub(crate) inline_bytes: u64,
    /// Bytes of disk that body files take, those waiting to be removed not counted.
    pub(crate) file_bytes: u64,
    /// The highest time of any stamp.
    pub(crate) highest_time: u64,
}

impl Counters {
    /// Counts the replacement of one entry by another.
    pub(crate) fn replace(&mut self, old: Option<&Entry>, new: &Entry) {
        if let Some(old) = old {
            self.count(old, u64::wrapping_sub);
        }
        self.count(new, u64::wrapping_add);
        self.highest_time = self.highest_time.max(new.record.stamp.time);
    }

    /// Counts that there is nothing any more in place of an entry.
    pub(crate) fn remove(&mut self, old: &Entry) {
        self.count(old, u64::wrapping_sub);
    }

    fn count(&mut self, entry: &Entry, apply: fn(u64, u64) -> u64) {
        match entry.live() {
            None => self.tombstones = apply(self.tombstones, 1),
            Some(live) => {
                self.objects = apply(self.objects, 1);
                self.bytes = apply(self.bytes, live.size);
                self.count_body(entry, apply);
            }
        }
    }

    /// Counts the body of a version that nobody sees yet.
    pub(crate) fn stage(&mut self, entry: &Entry) {
        self.count_body(entry, u64::wrapping_add);
        self.highest_time = self.highest_time.max(entry.record.stamp.time);
    }

    /// Undoes [`stage`](Self::stage).
    pub(crate) fn unstage(&mut self, entry: &Entry) {
        self.count_body(entry, u64::wrapping_sub);
    }

    fn count_body(&mut self, entry: &Entry, apply: fn(u64, u64) -> u64) {
        let size = entry.live().map_or(0, |live| live.size);
        match entry.presence {
            Presence::Absent | Presence::Cached => {}
            Presence::Inline => self.inline_bytes = apply(self.inline_bytes, size),
            Presence::File { physical } => self.file_bytes = apply(self.file_bytes, physical),
        }
    }
}
