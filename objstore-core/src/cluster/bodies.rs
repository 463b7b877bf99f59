//! Bodies for other nodes: what is here, and what this node is asked to ask the remote for. A request
//! is never passed on to a third node.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use objstore_client::types::ObjectId;
use objstore_client::wire::private::headers;
use objstore_client::{Body, Error, ErrorKind};
use tokio::sync::OwnedSemaphorePermit;

use crate::bodies::{FileReader, Layout, UNIT, crc32c, unit_checksum};
use crate::cache::Hot;
use crate::env::{self, DiskFile};
use crate::fills::{FillError, FillReader, Readers, frame};
use crate::http::Caller;
use crate::journal::{NodeId, Presence, Stamp, encode_record};
use crate::node::Inner;
use crate::remote::codec::{parse_stamp, stamp_text};

/// What another node asks for.
struct Asked {
    id: ObjectId,
    /// None: the asker knows of none.
    version: Option<Version>,
    units: Range<u64>,
    /// The remote may be asked.
    fetch: bool,
}

/// How it names the version.
enum Version {
    Stamp(Stamp),
    /// Of a key: the same content has other stamps on other nodes.
    Etag(String),
}

/// Where units are read from.
enum Units {
    Inline(Bytes),
    File(FileReader),
    Fill(FillReader),
}

impl Inner {
    /// `GET` and `HEAD /private/v1/get/:id`.
    pub(crate) async fn answer_get(
        &self,
        caller: Caller,
        id: &str,
        head: &http::request::Parts,
    ) -> Result<Response<Body>, Error> {
        let permit = self.exchange.serve().ok_or_else(busy)?;
        let asked = Asked::read(id, &head.headers)?;
        let Some(version) = &asked.version else {
            self.check_running()?;
            return self.answer_cold(asked, head, permit).await;
        };
        let (hot, file) = self.version_for_peer(asked.id, version).await?;
        let layout = Layout::new(hot.entry.meta.size);
        let units = asked.units.start..asked.units.end.min(layout.units());
        if units.is_empty() {
            return Err(not_here());
        }
        let stamp = hot.entry.record.stamp;
        self.heat.touch(asked.id);
        let mut source = self.units(&hot, file, layout, units.clone(), asked.fetch)?;
        // The head says for certain that the first of them comes, and how many behind it.
        let first = source.next().await?.ok_or_else(not_here)?;
        let mut response = Response::new(Body::default());
        let fields = response.headers_mut();
        put(fields, headers::STAMP, &stamp_text(stamp))?;
        if !asked.fetch {
            let held = source.held(units.start + 1, layout).await?;
            put(fields, headers::HELD, &held.to_string())?;
        }
        if head.method == http::Method::GET {
            let ends = units.end == layout.units();
            self.note_reader(caller.node, &hot, &source, ends).await;
            let mut frames = Frames::of(source, asked.id, stamp, units.start, permit);
            frames.push(first);
            *response.body_mut() = frames.into_body();
        }
        Ok(response)
    }

    /// `GET` and `HEAD /private/v1/get/:id` of an operator: the body, where all of it is here.
    pub(crate) async fn answer_held(
        &self,
        id: &str,
        head: &http::request::Parts,
    ) -> Result<Response<Body>, Error> {
        self.check_running()?;
        let permit = self.exchange.serve().ok_or_else(busy)?;
        let hot = self.current_version(id.parse()?).await?;
        let stamp = hot.entry.live().map(|_| hot.entry.record.stamp).ok_or_else(not_here)?;
        let layout = Layout::new(hot.entry.meta.size);
        let source = self.units(&hot, None, layout, 0..layout.units(), false)?;
        if source.held(0, layout).await? < layout.units() {
            return Err(Error::new(ErrorKind::NotFound, "not all of the body is here"));
        }
        let mut response = Response::new(Body::default());
        put(response.headers_mut(), headers::STAMP, &stamp_text(stamp))?;
        put(response.headers_mut(), "content-length", &layout.size.to_string())?;
        if head.method == http::Method::GET {
            let chunks = futures_util::stream::try_unfold(
                (source, permit),
                |(mut source, permit)| async move {
                    Ok(source.next().await?.map(|bytes| (bytes, (source, permit))))
                },
            );
            *response.body_mut() = Body::from_stream(chunks, Some(layout.size));
        }
        Ok(response)
    }

    /// The version that another node asks for, if it is here or being read from here; with its file
    /// in the latter case.
    async fn version_for_peer(
        &self,
        id: ObjectId,
        version: &Version,
    ) -> Result<(Arc<Hot>, Option<Arc<dyn DiskFile>>), Error> {
        if let Version::Stamp(stamp) = version
            && let Some((hot, file)) = self.exchange.loans.get((id, *stamp))
        {
            return Ok((hot, Some(file)));
        }
        self.check_running()?;
        let hot = self.current_version(id).await?;
        let is_it = hot.entry.live().is_some_and(|live| match version {
            Version::Stamp(stamp) => hot.entry.record.stamp == *stamp,
            Version::Etag(etag) => live.remote_etag.as_ref() == Some(etag),
        });
        if is_it { Ok((hot, None)) } else { Err(not_here()) }
    }

    /// The version that this node has, with its body where that is in the journal.
    async fn current_version(&self, id: ObjectId) -> Result<Arc<Hot>, Error> {
        let hot = self.lookup(id, false).await?.ok_or_else(not_here)?;
        if hot.entry.presence == Presence::Inline && hot.inline.is_none() {
            // Of one that is damaged here the asker is to look elsewhere, not this node for it.
            return Ok(self.open_version(hot).await?.hot);
        }
        Ok(hot)
    }

    /// A node is given a piece of a body: what it has begun it is to come to the end of.
    async fn note_reader(&self, node: NodeId, hot: &Arc<Hot>, source: &Units, ends: bool) {
        let Units::File(reader) = source else { return };
        let version = (hot.entry.record.id, hot.entry.record.stamp);
        let loans = &self.exchange.loans;
        if ends {
            return loans.read_out(version, node, self.env.clock.monotonic());
        }
        let file = match &reader.file {
            Some(file) => Ok(Ok(Arc::clone(file))),
            None => {
                let files = Arc::clone(&self.files);
                let open = move || files.open(version.0, version.1);
                env::run(self.env.blocking.as_ref(), open).await
            }
        };
        // Where it cannot be opened, what was in memory is all that is given.
        if let Ok(Ok(file)) = file {
            loans.lend(version, hot, file, node, self.env.clock.monotonic());
        }
    }

    /// The record of an object of which the asker knows nothing, and units of it.
    async fn answer_cold(
        &self,
        asked: Asked,
        head: &http::request::Parts,
        permit: OwnedSemaphorePermit,
    ) -> Result<Response<Body>, Error> {
        let found = self.find_for_peer(asked.id, &head.headers, &asked.units).await?;
        let hot = Arc::clone(&found.hot);
        // Held until its fill is that of the units too.
        let opened = self.open_found(found).await?;
        let record = &hot.entry.record;
        let stamp = record.stamp;
        let age = self.seen.age(asked.id, self.env.clock.monotonic());
        let bytes = encode_record(record);
        let mut response = Response::new(Body::default());
        let fields = response.headers_mut();
        put(fields, headers::STAMP, &stamp_text(stamp))?;
        put(fields, headers::RECORD, &bytes.len().to_string())?;
        put(fields, headers::AGE, &age.as_millis().to_string())?;
        let layout = Layout::new(hot.entry.meta.size);
        let units = asked.units.start..asked.units.end.min(layout.units());
        if units.is_empty() {
            *response.body_mut() = bytes.into();
            return Ok(response);
        }
        // What is to be had of it here shows itself on the way: the record is good in any case.
        let source = self.units(&hot, None, layout, units.clone(), true);
        drop(opened);
        let mut frames = match source {
            Ok(source) => Frames::of(source, asked.id, stamp, units.start, permit),
            Err(_) => {
                *response.body_mut() = bytes.into();
                return Ok(response);
            }
        };
        frames.ready.push_back(bytes);
        *response.body_mut() = frames.into_body();
        Ok(response)
    }

    /// Where units of a version are read from on behalf of another node.
    fn units(
        &self,
        hot: &Hot,
        file: Option<Arc<dyn DiskFile>>,
        layout: Layout,
        units: Range<u64>,
        fetch: bool,
    ) -> Result<Units, Error> {
        let unit = UNIT as u64;
        let range = units.start * unit..units.end.saturating_mul(unit).min(layout.size);
        if let Some(bytes) = &hot.inline {
            let at = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
            return Ok(Units::Inline(bytes.slice(at(range.start)..at(range.end))));
        }
        if let Presence::File { .. } = hot.entry.presence {
            return Ok(Units::File(self.file_reader_of(&hot.entry, file, range)));
        }
        let origin = hot.entry.origin().ok_or_else(not_here)?;
        let readers = if fetch { Readers::Remote } else { Readers::Here };
        if fetch && origin.etag.is_none() {
            return Err(not_here());
        }
        Ok(Units::Fill(self.fills.open(origin).reader(range).for_readers(readers)))
    }
}

impl Asked {
    fn read(id: &str, fields: &HeaderMap) -> Result<Self, Error> {
        let id: ObjectId = id.parse()?;
        let field = |name: &str| fields.get(name).and_then(|value| value.to_str().ok());
        let stamp = field(headers::STAMP).and_then(parse_stamp).map(Version::Stamp);
        let etag = field(headers::ETAG).map(|etag| Version::Etag(etag.to_owned()));
        let units = field(headers::UNITS).and_then(|text| {
            let (first, end) = text.split_once('-')?;
            Some(first.parse::<u64>().ok()?..end.parse::<u64>().ok()?)
        });
        let (version, fetch) = (stamp.or(etag), field(headers::FETCH) == Some("1"));
        match units {
            Some(units) if fetch || version.is_some() => Ok(Self { id, version, units, fetch }),
            _ => Err(Error::new(ErrorKind::InvalidRequest, "this names no units of a version")),
        }
    }
}

impl Units {
    /// The checksum of a unit that was just read, if it is known already.
    fn checksum(&self, unit: u64) -> Option<u32> {
        match self {
            Self::File(reader) => reader.checksum(unit),
            Self::Inline(_) | Self::Fill(_) => None,
        }
    }

    /// Up to which unit, exclusive, all are here from this one on.
    async fn held(&self, first: u64, layout: Layout) -> Result<u64, Error> {
        match self {
            Self::Inline(_) | Self::File(_) => Ok(layout.units()),
            Self::Fill(reader) => reader.held(first).await.map_err(not_now),
        }
    }

    /// The next unit; none where no more are here.
    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        match self {
            Self::Inline(bytes) if bytes.is_empty() => Ok(None),
            Self::Inline(bytes) => Ok(Some(bytes.split_to(bytes.len().min(UNIT)))),
            Self::File(reader) => reader.next().await.map_err(|error| {
                tracing::warn!(?error, "a body could not be read for another node");
                not_here()
            }),
            Self::Fill(reader) => match reader.next().await {
                Ok(bytes) => Ok(bytes),
                Err(FillError::NotHere | FillError::Nowhere { .. }) => Ok(None),
                Err(error) => Err(not_now(error)),
            },
        }
    }
}

/// Units as they travel.
struct Frames {
    /// None once all that is here has been sent.
    source: Option<Units>,
    id: ObjectId,
    stamp: Stamp,
    /// The unit that comes next from the source.
    unit: u64,
    ready: VecDeque<Bytes>,
    _permit: OwnedSemaphorePermit,
}

impl Frames {
    fn of(
        source: Units,
        id: ObjectId,
        stamp: Stamp,
        unit: u64,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self { source: Some(source), id, stamp, unit, ready: VecDeque::new(), _permit: permit }
    }

    fn into_body(self) -> Body {
        let chunks = futures_util::stream::try_unfold(self, |mut frames| async move {
            Ok(frames.next().await?.map(|bytes| (bytes, frames)))
        });
        Body::from_stream(chunks, None)
    }

    fn push(&mut self, unit: Bytes) {
        // It was checked against the one that lies beside it on the disk, if it came from there.
        let stored = self.source.as_ref().and_then(|source| source.checksum(self.unit));
        let check =
            stored.unwrap_or_else(|| unit_checksum(crc32c(&unit), self.id, self.stamp, self.unit));
        self.ready.push_back(frame(check));
        self.ready.push_back(unit);
        self.unit += 1;
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        if let Some(bytes) = self.ready.pop_front() {
            return Ok(Some(bytes));
        }
        let Some(source) = &mut self.source else { return Ok(None) };
        match source.next().await? {
            Some(unit) => self.push(unit),
            None => self.source = None,
        }
        Ok(self.ready.pop_front())
    }
}

/// Sets a field of an answer or a request.
pub(super) fn put(fields: &mut HeaderMap, name: &'static str, value: &str) -> Result<(), Error> {
    let value = HeaderValue::from_str(value)
        .map_err(|e| Error::new(ErrorKind::Internal, "not a header's value").with_source(e))?;
    fields.insert(HeaderName::from_static(name), value);
    Ok(())
}

fn not_here() -> Error {
    Error::new(ErrorKind::NotFound, "this version is not here")
}

fn not_now(error: FillError) -> Error {
    match error {
        FillError::Stopping(error) => error,
        error => Error::new(ErrorKind::Unavailable, "the body cannot be had here at the moment")
            .with_source(error),
    }
}

fn busy() -> Error {
    let busy = "this node sends as many bodies to others as it takes; ask another";
    Error::new(ErrorKind::Busy, busy).with_retry_after(Duration::from_secs(1))
}
