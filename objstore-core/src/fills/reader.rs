use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::fetch::{Fetch, Waited};
use super::fill::{Ahead, Fill, Found};
use super::{FillError, Via, count};
use crate::bodies::{Layout, UNIT, crc32c, unit_checksum};
use crate::env::{self, DiskFile};

/// Units read ahead in one go from a disk that has to be waited for.
const FROM_DISK: u64 = 4;

/// On whose behalf is read, and so what may be asked and waited for: see
/// [`others`](super::others).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readers {
    /// This node's own: whoever has it is asked.
    Own,
    /// Another node's, which wants the remote asked.
    Remote,
    /// Another node's, which wants what is here.
    Here,
}

impl Readers {
    pub(super) fn may_wait_for(self, via: Via) -> bool {
        match self {
            Self::Own | Self::Remote => true,
            Self::Here => via == Via::Remote,
        }
    }
}

/// Where bytes came from while a reader waited for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Took {
    pub(crate) from_remote: bool,
    pub(crate) from_peer: bool,
}

impl Took {
    fn note(&mut self, via: Via) {
        match via {
            Via::Remote => self.from_remote = true,
            Via::Peer => self.from_peer = true,
        }
    }
}

/// Reads a range of a body that is not all here (yet).
pub(crate) struct FillReader {
    fill: Arc<Fill>,
    /// What is still to be read.
    range: Range<u64>,
    /// All of the body was asked for, so its digest can be checked.
    whole: bool,
    /// Of what was read, once it matters.
    hasher: Option<Box<blake3::Hasher>>,
    /// Up to this unit everything is here or on its way.
    planned: u64,
    /// Up to this unit somebody is known to have everything.
    assured: u64,
    /// Units read.
    taken: usize,
    /// Fetches that were waited for or started, the nearest first. Holding them keeps what could
    /// not be stored.
    fetches: VecDeque<Arc<Fetch>>,
    /// Units from the disk, from this one on.
    ready: (u64, VecDeque<Bytes>),
    took: Took,
    readers: Readers,
}

impl FillReader {
    pub(super) fn new(fill: Arc<Fill>, range: Range<u64>) -> Self {
        let size = fill.origin().size;
        let range = range.start.min(size)..range.end.min(size);
        Self {
            whole: range == (0..size),
            planned: range.start / UNIT as u64,
            assured: 0,
            fill,
            range,
            hasher: None,
            taken: 0,
            fetches: VecDeque::new(),
            ready: Default::default(),
            took: Took::default(),
            readers: Readers::Own,
        }
    }

    /// Reads for others than this node's own.
    pub(crate) fn for_readers(self, readers: Readers) -> Self {
        // Who gets units checks them, and the whole.
        Self { readers, whole: self.whole && readers == Readers::Own, ..self }
    }

    /// Up to which unit, exclusive, all are on the disk from this one on.
    pub(crate) async fn held(&self, first: u64) -> Result<u64, FillError> {
        self.fill.stored_to(first).await
    }

    /// Where bytes came from that this reader had to wait for.
    pub(crate) fn took(&self) -> Took {
        self.took
    }

    /// The next bytes of the range, at most a unit; none at its end. Cancel safe. After an error
    /// it may be called again and goes on where it was.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, FillError> {
        if self.range.is_empty() {
            return Ok(None);
        }
        let unit = self.range.start / UNIT as u64;
        let bytes = self.unit(unit).await?;
        if self.whole {
            self.verify(&bytes).await?;
        }
        while self.fetches.front().is_some_and(|fetch| fetch.units.end <= unit + 1) {
            self.fetches.pop_front();
        }
        let start = usize::try_from(self.range.start % UNIT as u64).unwrap_or(0);
        let wanted = usize::try_from(self.range.end - self.range.start).unwrap_or(usize::MAX);
        let end = bytes.len().min(start.saturating_add(wanted));
        self.range.start += (end - start) as u64;
        self.taken += 1;
        Ok(Some(bytes.slice(start..end)))
    }

    /// Makes sure that all of what is left is here, or with nodes that say that they have it: asks
    /// for the first unit that nobody is known to have, until there is none. Cancel safe.
    pub(crate) async fn reach(&mut self) -> Result<(), FillError> {
        let last = self.range.end.div_ceil(UNIT as u64);
        let mut unit = (self.range.start / UNIT as u64).max(self.assured);
        while unit < last {
            match self.fill.find(unit, last, self.readers)? {
                Found::InMemory | Found::Stored(_) => unit += 1,
                Found::Unread(first) => self.fill.read_table(first).await?,
                Found::Coming(fetch) => {
                    if let Waited::Failed(error) = fetch.wait(unit, self.readers).await {
                        return Err(error);
                    }
                    self.note(&fetch);
                    unit = self.assured.max(unit + 1);
                    if !self.fetches.iter().any(|known| Arc::ptr_eq(known, &fetch)) {
                        self.fetches.push_back(fetch);
                    }
                }
            }
        }
        Ok(())
    }

    async fn unit(&mut self, unit: u64) -> Result<Bytes, FillError> {
        let last = self.range.end.div_ceil(UNIT as u64);
        let (id, stamp) = self.fill.origin().version();
        // What is still in memory of a version that is no more is not handed out.
        self.fill.check()?;
        self.plan(unit, last).await?;
        loop {
            let held = |fetch: &Arc<Fetch>| Some((fetch.held(unit)?, Arc::clone(fetch)));
            if let Some((bytes, fetch)) = self.fetches.iter().find_map(held) {
                self.count_served(&fetch);
                return Ok(bytes);
            }
            if let Some(bytes) = self.take_ready(unit) {
                return Ok(bytes);
            }
            if let Some(bytes) = self.fill.parts().tier.unit(id, stamp, unit) {
                return Ok(bytes);
            }
            match self.fill.find(unit, last, self.readers)? {
                Found::InMemory => {}
                Found::Unread(first) => self.fill.read_table(first).await?,
                Found::Stored(check) => {
                    if let Some(bytes) = self.load(unit, last, check).await? {
                        return Ok(bytes);
                    }
                }
                Found::Coming(fetch) => {
                    self.planned = self.planned.max(fetch.units.end);
                    if !self.fetches.iter().any(|known| Arc::ptr_eq(known, &fetch)) {
                        self.fetches.push_front(Arc::clone(&fetch));
                    }
                    match fetch.wait(unit, self.readers).await {
                        Waited::Unit(bytes) => {
                            self.count_served(&fetch);
                            return Ok(bytes);
                        }
                        // It came so fast that it is in the file already.
                        Waited::Stored => self.count_served(&fetch),
                        Waited::Failed(error) => return Err(error),
                    }
                }
            }
        }
    }

    /// A unit came from a fetch.
    fn note(&mut self, fetch: &Fetch) {
        self.took.note(fetch.via());
        self.assured = self.assured.max(fetch.assured());
    }

    fn count_served(&mut self, fetch: &Fetch) {
        self.note(fetch);
        count(&self.fill.counts().units_served, 1);
    }

    fn take_ready(&mut self, unit: u64) -> Option<Bytes> {
        let (first, units) = &mut self.ready;
        if *first != unit {
            units.clear();
            return None;
        }
        *first += 1;
        units.pop_front()
    }

    /// Has fetched what will be wanted next. One more request for each unit that was read: who
    /// turns away soon has not caused much.
    async fn plan(&mut self, unit: u64, last: u64) -> Result<(), FillError> {
        let most = (self.taken + 1).min(self.fill.parallel());
        self.planned = self.planned.max(unit);
        // What is needed at once comes first.
        let plans = self.taken > 0 && self.readers != Readers::Here;
        while plans && self.planned < last.min(unit + self.fill.window_units()) {
            match self.fill.look_ahead(self.planned, unit, last, most, self.readers) {
                Ahead::Clear(next) => self.planned = next,
                Ahead::Started(fetch) => {
                    self.planned = fetch.units.end;
                    self.fetches.push_back(fetch);
                }
                Ahead::Unread(first) => self.fill.read_table(first).await?,
                Ahead::Enough => break,
            }
        }
        Ok(())
    }

    /// Takes a unit from the file, and what follows it when the disk has to be waited for; none
    /// when it is not good.
    async fn load(&mut self, unit: u64, last: u64, check: u32) -> Result<Option<Bytes>, FillError> {
        let fill = &self.fill;
        let (id, stamp) = fill.origin().version();
        let (layout, parts) = (fill.layout(), fill.parts());
        let Some(file) = fill.file().opened() else {
            fill.damaged(unit);
            return Ok(None);
        };
        let mut buffer = parts.buffers.take(layout.unit_len(unit));
        if file.read_cached(buffer.as_mut(), Layout::unit_offset(unit)) {
            if unit_checksum(crc32c(buffer.as_ref()), id, stamp, unit) != check {
                fill.damaged(unit);
                return Ok(None);
            }
            let bytes = buffer.freeze();
            fill.keep(unit, &bytes)?;
            return Ok(Some(bytes));
        }
        let checks = fill.stored_run(unit..last.min(unit + FROM_DISK));
        let buffers = Arc::clone(&parts.buffers);
        let load = move || {
            let mut loaded = VecDeque::new();
            for (unit, check) in (unit..).zip(checks) {
                let mut buffer = buffers.take(layout.unit_len(unit));
                let read = read(file.as_ref(), unit, buffer.as_mut());
                if !read || unit_checksum(crc32c(buffer.as_ref()), id, stamp, unit) != check {
                    break;
                }
                loaded.push_back(buffer.freeze());
            }
            loaded
        };
        let loaded = env::run(parts.blocking.as_ref(), load).await.map_err(FillError::Stopping)?;
        for (unit, bytes) in (unit..).zip(&loaded) {
            fill.keep(unit, bytes)?;
        }
        self.ready = (unit, loaded);
        let bytes = self.take_ready(unit);
        if bytes.is_none() {
            self.fill.damaged(unit);
        }
        Ok(bytes)
    }

    /// Hashes along from the moment that it matters, and looks at the digest before the last piece
    /// leaves.
    async fn verify(&mut self, bytes: &Bytes) -> Result<(), FillError> {
        let Some(digest) = self.fill.origin().digest else { return Ok(()) };
        let read = self.range.start;
        if self.hasher.is_none() && self.fill.is_unverified() {
            // What was read so far was here, and most likely still is.
            let mut hasher = Box::new(blake3::Hasher::new());
            let mut again = Self::new(Arc::clone(&self.fill), 0..read);
            while let Some(bytes) = Box::pin(again.next()).await? {
                hasher.update(&bytes);
            }
            self.hasher = Some(hasher);
        }
        let Some(hasher) = &mut self.hasher else { return Ok(()) };
        let ends = read + bytes.len() as u64 == self.fill.origin().size;
        if !ends {
            hasher.update(bytes);
        } else if *hasher.clone().update(bytes).finalize().as_bytes() == digest {
            self.fill.verified();
        } else {
            tracing::error!(key = self.fill.origin().key, "the remote's body has another digest");
            self.fill.end(FillError::Corrupt);
            return Err(FillError::Corrupt);
        }
        Ok(())
    }
}

fn read(file: &dyn DiskFile, unit: u64, buffer: &mut [u8]) -> bool {
    match file.read_exact_at(buffer, Layout::unit_offset(unit)) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(%error, unit, "a cached unit cannot be read");
            false
        }
    }
}
