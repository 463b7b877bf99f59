//! Bodies for other nodes: what is here, and what this node is asked to ask the remote for. A request
//! is never passed on to a third node.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use http::Response;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use objstore_client::types::ObjectId;
use objstore_client::wire::private::headers;
use objstore_client::{Body, Error, ErrorKind};
use tokio::sync::OwnedSemaphorePermit;

use crate::bodies::{FileReader, Layout, UNIT};
use crate::cache::Hot;
use crate::fills::{FillError, FillReader, Readers, frame};
use crate::journal::{Presence, Stamp};
use crate::node::Inner;
use crate::remote::codec::{parse_stamp, stamp_text};

/// What another node asks for.
struct Asked {
    id: ObjectId,
    version: Version,
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
        id: &str,
        head: &http::request::Parts,
    ) -> Result<Response<Body>, Error> {
        self.check_running()?;
        let permit = self.exchange.serve().ok_or_else(busy)?;
        let asked = Asked::read(id, &head.headers)?;
        let hot = self.lookup(asked.id, true).await?.ok_or_else(not_here)?;
        let Some(live) = hot.entry.live() else { return Err(not_here()) };
        let same = match &asked.version {
            Version::Stamp(stamp) => hot.entry.record.stamp == *stamp,
            Version::Etag(etag) => live.remote_etag.as_ref() == Some(etag),
        };
        let layout = Layout::new(live.size);
        let units = asked.units.start..asked.units.end.min(layout.units());
        if !same || units.is_empty() {
            return Err(not_here());
        }
        let stamp = hot.entry.record.stamp;
        let mut source = self.units(&hot, layout, units.clone(), asked.fetch)?;
        // The head says for certain that the first of them comes.
        let first = source.next().await?.ok_or_else(not_here)?;
        let mut response = Response::new(Body::default());
        put(response.headers_mut(), headers::STAMP, &stamp_text(stamp))?;
        if head.method == http::Method::HEAD {
            return Ok(response);
        }
        let mut frames = Frames {
            source: Some(source),
            id: asked.id,
            stamp,
            unit: units.start,
            ready: VecDeque::new(),
            _permit: permit,
        };
        frames.push(first);
        let chunks = futures_util::stream::try_unfold(frames, |mut frames| async move {
            Ok(frames.next().await?.map(|bytes| (bytes, frames)))
        });
        *response.body_mut() = Body::from_stream(chunks, None);
        Ok(response)
    }

    /// Where units of a version are read from on behalf of another node.
    fn units(
        &self,
        hot: &Hot,
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
            return Ok(Units::File(self.file_reader_of(&hot.entry, None, range)));
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
        match (stamp.or(etag), units) {
            (Some(version), Some(units)) => {
                Ok(Self { id, version, units, fetch: field(headers::FETCH) == Some("1") })
            }
            _ => Err(Error::new(ErrorKind::InvalidRequest, "this names no units of a version")),
        }
    }
}

impl Units {
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
                Err(FillError::Stopping(error)) => Err(error),
                Err(error) => Err(Error::new(
                    ErrorKind::Unavailable,
                    "the body cannot be had here at the moment",
                )
                .with_source(error)),
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
    fn push(&mut self, unit: Bytes) {
        self.ready.push_back(frame(&unit, self.id, self.stamp, self.unit));
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

fn busy() -> Error {
    let busy = "this node sends as many bodies to others as it takes; ask another";
    Error::new(ErrorKind::Busy, busy).with_retry_after(Duration::from_secs(1))
}
