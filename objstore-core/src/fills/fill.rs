use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use objstore_client::Body;
use tokio::sync::OwnedSemaphorePermit;

use super::fetch::{Fetch, Reply, ReplyFrom, kib};
use super::others::{Others, PeerReply, Via};
use super::presence::{Known, Presence, WINDOW};
use super::reader::{FillReader, Readers};
use super::{FillCounts, FillError, Fills, Origin, Parts, count};
use crate::bodies::{Layout, PartialFile, UNIT};
use crate::env;
use crate::journal::NodeId;
use crate::settings::FillSettings;
use crate::usage::Reservation;

/// One version of an object on its way here. Lives as long as somebody reads or fetches it.
#[derive(Debug)]
pub(crate) struct Fill {
    fills: Arc<Fills>,
    origin: Origin,
    layout: Layout,
    file: Arc<PartialFile>,
    state: Mutex<State>,
    /// Units came that are not known to make the right body.
    unverified: AtomicBool,
    /// The last units could not be stored for want of room.
    no_room: AtomicBool,
    /// What comes from other nodes is stored.
    copies: AtomicBool,
    /// A reader has handed on a part of it.
    begun: AtomicBool,
    /// All others were asked whether they have it.
    looked_around: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    ended: Option<FillError>,
    /// The remote's tag, where that is not the origin's any more.
    etag: Option<String>,
    /// What is here is being removed.
    dropping: bool,
    /// What is here stays.
    keep: bool,
    /// Nodes that gave units, to be suspected should these turn out wrong.
    sources: BTreeSet<NodeId>,
    presence: Presence,
    /// Those under way, by their first unit; they never overlap.
    fetches: BTreeMap<u64, Arc<Fetch>>,
}

/// Where units stay that came.
pub(super) enum Place {
    /// In the file; this is the room for them until they are counted.
    File(Reservation),
    /// In memory until they have been read; with their part in what may be, if there is one.
    Memory(Option<OwnedSemaphorePermit>),
}

/// Where a unit is.
pub(super) enum Found {
    /// In the file, with this checksum.
    Stored(u32),
    Coming(Arc<Fetch>),
    /// In the memory tier, since a moment ago.
    InMemory,
    /// The file's table has to be read from this unit on.
    Unread(u64),
}

/// Whether a unit is in the file.
pub(super) enum Stored {
    Yes,
    No,
    /// The file's table has to be read from this unit on.
    Unread(u64),
}

/// What came of a look ahead.
pub(super) enum Ahead {
    /// Up to this unit nothing has to be done.
    Clear(u64),
    Started(Arc<Fetch>),
    Unread(u64),
    /// Enough is under way.
    Enough,
}

/// What is asked for at once, and kept in memory, when nothing can be stored: units and requests,
/// and the same when many others are slow to read what is kept for them.
const UNSTORED: (u64, usize) = (16, 2);
const UNSTORED_SCARCE: (u64, usize) = (1, 1);

impl Fill {
    pub(super) fn new(fills: Arc<Fills>, origin: Origin) -> Self {
        let file = fills.parts.files.partial(&origin.record, origin.size);
        let state = State { keep: origin.keep, ..State::default() };
        Self {
            layout: Layout::new(origin.size),
            copies: AtomicBool::new(origin.keep),
            file,
            fills,
            origin,
            state: Mutex::new(state),
            unverified: AtomicBool::new(false),
            no_room: AtomicBool::new(false),
            begun: AtomicBool::new(false),
            looked_around: AtomicBool::new(false),
        }
    }

    /// Reads a range of the body, which lies within it.
    pub(crate) fn reader(self: &Arc<Self>, range: Range<u64>) -> FillReader {
        FillReader::new(Arc::clone(self), range)
    }

    /// Goes on with a reply that came for these bytes of this very version, as if it had been asked
    /// for here. The range begins with a unit. What is on its way already is not taken twice.
    pub(crate) fn adopt(self: &Arc<Self>, range: Range<u64>, body: Body) {
        self.adopt_reply(range, body, ReplyFrom::Remote);
    }

    /// The same with the reply of another node.
    pub(crate) fn adopt_from(self: &Arc<Self>, range: Range<u64>, reply: PeerReply) {
        let from = ReplyFrom::of(&reply);
        self.adopt_reply(range, reply.body, from);
    }

    fn adopt_reply(self: &Arc<Self>, range: Range<u64>, body: Body, from: ReplyFrom) {
        let units = range.start / UNIT as u64..range.end.div_ceil(UNIT as u64);
        let state = self.state();
        let free = state.free_run(&units);
        if state.ended.is_some() || !range.start.is_multiple_of(UNIT as u64) || free.is_empty() {
            return;
        }
        let end = range.end.min(self.bytes_of(&free).end);
        self.start(state, free, Readers::Own, None, Some(Reply { end, body, from }));
    }

    /// From now on what is here stays, whatever becomes of the fill; an error when it is over.
    pub(crate) fn keep_file(&self) -> Result<(), FillError> {
        let mut state = self.state();
        state.ended.clone().map_or(Ok(()), Err)?;
        state.keep = true;
        self.make_copy();
        Ok(())
    }

    pub(super) fn others(&self) -> Option<&dyn Others> {
        self.fills.others.get().map(AsRef::as_ref)
    }

    /// The remote's tag of the version.
    pub(super) fn etag(&self) -> Option<String> {
        self.state().etag.clone().or_else(|| self.origin.etag.clone())
    }

    pub(super) fn set_etag(&self, etag: String) {
        self.state().etag = Some(etag);
    }

    pub(super) fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    pub(super) fn parts(&self) -> &Parts {
        &self.fills.parts
    }

    pub(super) fn settings(&self) -> &FillSettings {
        &self.fills.settings
    }

    pub(super) fn counts(&self) -> &FillCounts {
        &self.fills.counts
    }

    pub(super) fn file(&self) -> &Arc<PartialFile> {
        &self.file
    }

    pub(super) fn is_unverified(&self) -> bool {
        self.unverified.load(Ordering::Acquire)
    }

    /// The whole body has the right digest.
    pub(super) fn verified(&self) {
        self.unverified.store(false, Ordering::Release);
    }

    pub(super) fn bytes_of(&self, units: &Range<u64>) -> Range<u64> {
        let unit = UNIT as u64;
        units.start * unit..units.end.saturating_mul(unit).min(self.origin.size)
    }

    /// Whether this fill still is the one to open for a version. One that is over is, until what
    /// it left behind is gone.
    pub(super) fn serves(&self, origin: &Origin) -> bool {
        let state = self.state();
        state.dropping
            || (self.origin.etag == origin.etag && !self.file.is_removed() && state.ended.is_none())
    }

    /// The error that the fill ended with, if it did.
    pub(super) fn check(&self) -> Result<(), FillError> {
        self.state().ended.clone().map_or(Ok(()), Err)
    }

    /// From now on what comes from other nodes is stored as well.
    pub(crate) fn make_copy(&self) {
        self.copies.store(true, Ordering::Relaxed);
    }

    /// Whether the remote does not have it.
    pub(crate) fn is_with_nodes_only(&self) -> bool {
        self.origin.etag.is_none()
    }

    /// Whether what is brought is stored. Of a body that only other nodes have, what is read once
    /// passes through: the copy would cost more than the reading.
    pub(super) fn is_stored_here(&self) -> bool {
        self.origin.etag.is_some() || self.copies.load(Ordering::Relaxed)
    }

    /// Whether what is brought stays in memory until it has been read.
    fn is_held_in_memory(&self) -> bool {
        self.no_room.load(Ordering::Relaxed) || !self.is_stored_here()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Units asked for at most in one request, and requests kept going ahead of a reader.
    fn most(&self) -> (u64, usize) {
        let settings = self.settings();
        let (units, ahead) = (settings.block_bytes / UNIT as u64, settings.parallel);
        if !self.is_held_in_memory() {
            return (units, ahead);
        }
        let wanted = UNSTORED.0 * UNIT as u64 / 1024;
        let is_scarce = (self.fills.unstored.available_permits() as u64) < wanted;
        let most = if is_scarce { UNSTORED_SCARCE } else { UNSTORED };
        (units.min(most.0), ahead.min(most.1))
    }

    /// Units asked for at most in one request.
    pub(super) fn block_units(&self) -> u64 {
        self.most().0
    }

    /// Requests kept going ahead of a reader.
    pub(super) fn parallel(&self) -> usize {
        self.most().1
    }

    /// Where a unit is that is not in memory; it is asked for if it is nowhere, with those behind
    /// it and before `last`.
    pub(super) fn find(
        self: &Arc<Self>,
        unit: u64,
        last: u64,
        readers: Readers,
    ) -> Result<Found, FillError> {
        let state = self.state();
        if let Some(ended) = &state.ended {
            return Err(ended.clone());
        }
        let known = state.presence.of(unit);
        if let Known::Here(check) = known {
            return Ok(Found::Stored(check));
        }
        if let Some(fetch) = state.coming(unit) {
            return Ok(Found::Coming(Arc::clone(fetch)));
        }
        if let Known::Unread(first) = known {
            return Ok(Found::Unread(first));
        }
        let (id, stamp) = self.origin.version();
        if self.parts().tier.has_unit(id, stamp, unit) {
            return Ok(Found::InMemory);
        }
        if readers == Readers::Here {
            return Err(FillError::NotHere);
        }
        let run = self.missing(&state, unit, last);
        Ok(Found::Coming(self.start(state, run, readers, None, None)))
    }

    /// Looks from unit `at` on for what a reader that is at `reader` will want, and asks for it if
    /// fewer requests than `most` are under way in front of the reader.
    pub(super) fn look_ahead(
        self: &Arc<Self>,
        at: u64,
        reader: u64,
        last: u64,
        most: usize,
        readers: Readers,
    ) -> Ahead {
        let state = self.state();
        let window = reader.saturating_add(self.window_units()).min(last);
        if state.ended.is_some() || at >= window {
            return Ahead::Enough;
        }
        if let Some(fetch) = state.coming(at) {
            return Ahead::Clear(fetch.units.end);
        }
        let (id, stamp) = self.origin.version();
        match state.presence.of(at) {
            Known::Here(_) => return Ahead::Clear(at + 1),
            _ if self.parts().tier.has_unit(id, stamp, at) => return Ahead::Clear(at + 1),
            Known::Unread(first) => return Ahead::Unread(first),
            Known::Absent => {}
        }
        let is_in_front = |f: &&Arc<Fetch>| f.units.end > reader && f.units.start < window;
        let in_front = state.fetches.values().filter(is_in_front);
        if in_front.filter(|fetch| !fetch.is_nearly_done()).count() >= most {
            return Ahead::Enough;
        }
        let run = self.missing(&state, at, last);
        let permits = kib(self.bytes_of(&run).end - self.bytes_of(&run).start);
        match Arc::clone(&self.fills.budget).try_acquire_many_owned(permits) {
            Ok(permit) => Ahead::Started(self.start(state, run, readers, Some(permit), None)),
            Err(_) => Ahead::Enough,
        }
    }

    /// How far ahead of a reader is fetched: far enough to keep all requests going while the first
    /// of them is being read.
    pub(super) fn window_units(&self) -> u64 {
        let (units, ahead) = self.most();
        2 * ahead as u64 * units
    }

    /// The longest run from `unit` on of what is neither here nor on its way, within a block.
    fn missing(&self, state: &State, unit: u64, last: u64) -> Range<u64> {
        let (id, stamp) = self.origin.version();
        let longest = unit + 1..last.min(unit + self.block_units()).max(unit + 1);
        let is_missing = |unit: &u64| {
            state.presence.of(*unit) == Known::Absent
                && state.coming(*unit).is_none()
                && !self.parts().tier.has_unit(id, stamp, *unit)
        };
        let more = longest.take_while(is_missing).count() as u64;
        unit..unit + 1 + more
    }

    /// Whether others are to be asked that are not known to have it: once, where the remote has it.
    pub(super) fn looks_around(&self) -> bool {
        !self.looked_around.swap(true, Ordering::Relaxed) || self.origin.etag.is_none()
    }

    /// A node is about to give units.
    pub(super) fn takes_from(&self, node: NodeId) {
        self.state().sources.insert(node);
    }

    /// A reader is about to hand on the beginning: what it needs besides is worth waiting for.
    pub(crate) fn begin(&self) {
        self.begun.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_begun(&self) -> bool {
        self.begun.load(Ordering::Relaxed)
    }

    fn start(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
        units: Range<u64>,
        readers: Readers,
        permit: Option<OwnedSemaphorePermit>,
        reply: Option<Reply>,
    ) -> Arc<Fetch> {
        let fetch = Arc::new(Fetch::new(units, readers == Readers::Remote));
        state.fetches.insert(fetch.units.start, Arc::clone(&fetch));
        // A runtime that is shutting down drops the task at once, and that takes the lock.
        drop(state);
        fetch.start(self, permit, reply);
        fetch
    }

    /// Leave to ask for these units; waits its turn.
    pub(super) async fn permit(&self, units: &Range<u64>) -> Option<OwnedSemaphorePermit> {
        let bytes = self.bytes_of(units);
        let most = kib(self.settings().budget_bytes);
        let permits = kib(bytes.end - bytes.start).min(most);
        Arc::clone(&self.fills.budget).acquire_many_owned(permits).await.ok()
    }

    pub(super) fn is_stored(&self, unit: u64) -> Stored {
        match self.state().presence.of(unit) {
            Known::Here(_) => Stored::Yes,
            Known::Absent => Stored::No,
            Known::Unread(first) => Stored::Unread(first),
        }
    }

    /// One that is under way.
    pub(super) fn any_fetch(&self) -> Option<Arc<Fetch>> {
        self.state().fetches.values().next().cloned()
    }

    /// Reads the file's table from this unit on.
    pub(super) async fn read_table(&self, first: u64) -> Result<(), FillError> {
        let file = Arc::clone(&self.file);
        let count = self.layout.units().saturating_sub(first).min(WINDOW);
        let count = usize::try_from(count).unwrap_or(0);
        if let Some(table) = file.checksums_cached(first, count) {
            self.state().presence.read(first, table);
            return Ok(());
        }
        let read = env::run(self.parts().blocking.as_ref(), move || file.checksums(first, count));
        let read = read.await.map_err(FillError::Stopping)?;
        let table = read.unwrap_or_else(|error| {
            tracing::debug!(%error, "a body file cannot be read; it is fetched again");
            Vec::new()
        });
        let mut state = self.state();
        if self.file.opened().is_none() {
            state.presence.nothing_there();
        }
        state.presence.read(first, table);
        Ok(())
    }

    /// The first unit from this one on that is not in the file.
    pub(super) async fn stored_to(&self, first: u64) -> Result<u64, FillError> {
        let mut end = first;
        loop {
            let known = {
                let presence = &self.state().presence;
                end = presence.end_of_run(end);
                presence.of(end)
            };
            match known {
                Known::Unread(window) if end < self.layout.units() => {
                    self.read_table(window).await?;
                }
                _ => return Ok(end),
            }
        }
    }

    /// The checksums of stored units that follow each other.
    pub(super) fn stored_run(&self, units: Range<u64>) -> Vec<u32> {
        let state = self.state();
        let known = units.map(|unit| state.presence.of(unit));
        known.map_while(|k| if let Known::Here(check) = k { Some(check) } else { None }).collect()
    }

    /// Keeps a good unit in memory.
    pub(super) fn keep(&self, unit: u64, bytes: &Bytes) -> Result<(), FillError> {
        let (id, stamp) = self.origin.version();
        let state = self.state();
        // With the lock: what is dropped at the end stays dropped.
        match &state.ended {
            Some(ended) => Err(ended.clone()),
            None => {
                self.parts().tier.put_unit(id, stamp, unit, bytes.clone());
                Ok(())
            }
        }
    }

    /// A unit came.
    pub(super) fn arrived(&self, unit: u64, bytes: &Bytes, via: Via) -> Result<(), FillError> {
        // What the remote does not have is only where its digest was checked when it was written,
        // and its units are those that were sealed then.
        if via == Via::Remote || self.origin.etag.is_some() {
            self.unverified.store(true, Ordering::Release);
        }
        let counts = self.counts();
        let counter = if via == Via::Remote { &counts.bytes } else { &counts.peer_bytes };
        count(counter, bytes.len() as u64);
        self.keep(unit, bytes)
    }

    /// Where units of so many bytes stay. What passes through is stored after all when too much
    /// is in memory for others that are slow to read it.
    pub(super) fn place(&self, bytes: u64) -> Place {
        if self.file.is_removed() {
            return Place::Memory(self.part_in_memory(bytes));
        }
        if !self.is_stored_here() {
            match self.part_in_memory(bytes) {
                None => self.make_copy(),
                part => return Place::Memory(part),
            }
        }
        match self.parts().usage.reserve(bytes) {
            Ok(room) => {
                self.no_room.store(false, Ordering::Relaxed);
                Place::File(room)
            }
            Err(error) => {
                self.parts().usage.ask(bytes);
                self.without_room(&error);
                Place::Memory(self.part_in_memory(bytes))
            }
        }
    }

    fn part_in_memory(&self, bytes: u64) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.fills.unstored).try_acquire_many_owned(kib(bytes)).ok()
    }

    fn without_room(&self, error: &dyn std::error::Error) {
        if !self.no_room.swap(true, Ordering::Relaxed) {
            tracing::debug!(%error, "no room to keep what is fetched; it is served all the same");
        }
    }

    pub(super) fn stored(&self, first: u64, checks: &[u32]) {
        let mut bytes = 0;
        let mut state = self.state();
        for (unit, check) in (first..).zip(checks) {
            // Written twice, it is there once.
            if !matches!(state.presence.of(unit), Known::Here(_)) {
                bytes += self.layout.unit_len(unit) as u64;
            }
            state.presence.set(unit, Some(*check));
        }
        drop(state);
        self.parts().usage.filled_grew(bytes);
        count(&self.counts().stored_bytes, bytes);
    }

    pub(super) fn not_stored(&self, error: io::Error) {
        let error = self.parts().usage.disk_error(error);
        self.without_room(&error);
    }

    /// A stored unit is not what was written.
    pub(super) fn damaged(&self, unit: u64) {
        tracing::warn!(id = %self.origin.record.id, unit, "a cached unit is damaged; it is fetched again");
        self.state().presence.set(unit, None);
    }

    /// A fetch is over.
    pub(super) fn fetched(self: &Arc<Self>, fetch: &Arc<Fetch>, result: Result<(), FillError>) {
        let mut state = self.state();
        if state.fetches.get(&fetch.units.start).is_some_and(|known| Arc::ptr_eq(known, fetch)) {
            state.fetches.remove(&fetch.units.start);
        }
        drop(state);
        match &result {
            Err(FillError::Stopping(_) | FillError::NotHere) | Ok(()) => {}
            Err(_) => count(&self.counts().failures, 1),
        }
        if let Err(FillError::Changed) = result {
            self.end(FillError::Changed);
        }
        fetch.end(result);
    }

    /// Ends the fill for all its readers. What is here of a version that is not the right one is
    /// dropped.
    pub(super) fn end(self: &Arc<Self>, error: FillError) {
        let wrong = matches!(error, FillError::Changed | FillError::Corrupt);
        let (fetches, sources, dropping) = {
            let mut state = self.state();
            if state.ended.is_some() {
                return;
            }
            state.ended = Some(error.clone());
            state.dropping = wrong && !state.keep;
            let sources = std::mem::take(&mut state.sources);
            (std::mem::take(&mut state.fetches), sources, state.dropping)
        };
        if let (FillError::Corrupt, Some(others)) = (&error, self.others()) {
            for node in sources {
                others.lied(node);
            }
        }
        for fetch in fetches.into_values() {
            fetch.end(Err(error.clone()));
            fetch.abort();
        }
        if dropping {
            let fill = Arc::clone(self);
            self.parts().blocking.start(Box::new(move || fill.drop_bytes()));
        } else {
            self.fills.forget(self);
        }
    }

    /// Blocks.
    fn drop_bytes(&self) {
        let (id, stamp) = self.origin.version();
        for unit in 0..self.layout.units() {
            self.parts().tier.forget_unit(id, stamp, unit);
        }
        let physical = self.parts().files.physical(id, stamp);
        self.parts().usage.filled_removed(physical);
        if let Err(error) = self.parts().files.remove(&[(id, stamp)]) {
            tracing::warn!(%error, "a body that is not wanted any more could not be removed");
        }
        self.state().dropping = false;
        self.fills.forget(self);
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        self.fills.forget(self);
    }
}

impl State {
    /// The fetch that brings a unit.
    fn coming(&self, unit: u64) -> Option<&Arc<Fetch>> {
        let (_, fetch) = self.fetches.range(..=unit).next_back()?;
        fetch.brings(unit).then_some(fetch)
    }

    /// These units up to the first that is on its way.
    fn free_run(&self, units: &Range<u64>) -> Range<u64> {
        if self.coming(units.start).is_some() {
            return units.start..units.start;
        }
        let next = self.fetches.range(units.start..).next().map_or(u64::MAX, |(first, _)| *first);
        units.start..units.end.min(next)
    }
}
