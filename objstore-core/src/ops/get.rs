use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use objstore_client::options::GetOptions;
use objstore_client::types::{ObjectId, ObjectMeta};
use objstore_client::{Body, Error, ErrorKind, Object};

use crate::bodies::{FileReader, Layout, ReadError};
use crate::cache::Hot;
use crate::env::{self, DiskFile};
use crate::fills::{Fill, FillError, FillReader, Fills, Origin, Took};
use crate::journal::{Entry, Presence};
use crate::node::{Inner, Node};
use crate::ops::fetch::{Arrived, ArrivedFrom, Found, Wanted, body_lost};
use crate::ops::lookup::load_inline;
use crate::ops::{Counts, Look, Target, journal_error, remote_error};
use crate::remote::{RemoteError, RemoteErrorKind};

/// An object overwritten this often while it is being opened is given up on.
const TRIES: usize = 8;
/// A version that the remote has replaced is looked for anew this often.
const CHANGES: usize = 2;

impl Node {
    /// Gets an object's body, or a range of it.
    ///
    /// The first bytes have been read and verified when this returns; a large body is read from
    /// the disk as it is consumed. If a later part turns out damaged the body yields an error and
    /// ends.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::Deleted`] (with the tombstone), conditions as
    /// [`Conditions::check_read`](objstore_client::options::Conditions::check_read),
    /// [`ErrorKind::RangeNotSatisfiable`] (with the size), [`ErrorKind::Corrupt`],
    /// [`ErrorKind::Unavailable`], [`ErrorKind::Stopping`].
    ///
    /// # Cancellation
    /// May be dropped at any time; so may the body.
    pub async fn get(&self, id: ObjectId, options: GetOptions) -> Result<Object, Error> {
        self.get_target(Target::Id(id), options).await
    }

    pub(super) async fn get_target(
        &self,
        target: Target,
        options: GetOptions,
    ) -> Result<Object, Error> {
        self.inner.check_running()?;
        let plan = |meta: &Arc<ObjectMeta>| {
            options.conditions.check_read(meta)?;
            match options.range {
                None => Ok(0..meta.size),
                Some(range) => range.within(meta.size).ok_or_else(|| unsatisfiable(meta.size)),
            }
        };
        let bytes = Some(options.range.map_or(Wanted::Whole, Wanted::Range));
        let look = Look { fetch: options.fetch, no_cache: options.no_cache, bytes };
        let (object, _) = self.inner.open(&target, look, plan).await?;
        self.inner.counts.got(object.range.end - object.range.start);
        Ok(object)
    }
}

pub(crate) fn unsatisfiable(size: u64) -> Error {
    Error::new(ErrorKind::RangeNotSatisfiable, "no byte of the range exists").with_size(size)
}

impl Inner {
    /// Opens the newest version, asks `plan` which bytes of it are wanted, and starts reading
    /// them. Starts over when the version is overwritten before it is open. What comes besides
    /// reads further ranges of the same version.
    pub(crate) async fn open(
        &self,
        target: &Target,
        look: Look,
        mut plan: impl FnMut(&Arc<ObjectMeta>) -> Result<Range<u64>, Error> + Send,
    ) -> Result<(Object, Opened), Error> {
        let mut changed = 0;
        for _ in 0..TRIES {
            let Found { hot, arrived, turn } = self.find_live(target, look).await?;
            let range = plan(&hot.entry.meta)?;
            let opened = match self.pin(hot, arrived).await {
                Ok(opened) => opened,
                Err(Missed::Replaced) => continue,
                Err(Missed::Failed(error)) => return Err(error),
            };
            drop(turn);
            self.heat.touch(opened.hot.entry.record.id);
            let (body, took) = match self.start(&opened, range.clone()).await {
                Ok(started) => started,
                // The remote has another version by now, of which nothing was read yet.
                Err(Broken::Changed) if changed < CHANGES => {
                    changed += 1;
                    self.refetch(target).await?;
                    continue;
                }
                Err(broken) => return Err(broken.into_error()),
            };
            let mut meta = Arc::clone(&opened.hot.entry.meta);
            if took.from_remote != meta.is_fetched || took.from_peer != meta.is_symlink {
                let meta = Arc::make_mut(&mut meta);
                (meta.is_fetched, meta.is_symlink) = (took.from_remote, took.from_peer);
            }
            return Ok((Object::new(meta, range, body), opened));
        }
        Err(Error::new(
            ErrorKind::Busy,
            "the object is overwritten faster than it can be opened; try again",
        ))
    }

    /// Makes sure that what was found for another node is readable, and what came with it found by
    /// others.
    pub(crate) async fn open_found(&self, found: Found<'_>) -> Result<Opened, Error> {
        let Found { hot, arrived, turn } = found;
        let opened = self.pin(hot, arrived).await;
        drop(turn);
        opened.map_err(|missed| match missed {
            Missed::Failed(error) => error,
            Missed::Replaced => Error::new(ErrorKind::Busy, "the object is being overwritten"),
        })
    }

    /// Opens exactly this version, current or pending.
    pub(crate) async fn open_version(&self, hot: Arc<Hot>) -> Result<Opened, Error> {
        if hot.entry.presence == Presence::Inline && hot.inline.is_none() {
            let id = hot.entry.record.id;
            let (store, entry) = (Arc::clone(&self.store), hot.entry.clone());
            let load = move || load_inline(store.as_ref(), &entry);
            let found = env::run(self.env.blocking.as_ref(), load).await?;
            let Some(inline) = found.map_err(journal_error)? else {
                return Err(self.counts.corrupt(id));
            };
            let hot = Arc::new(Hot { entry: hot.entry.clone(), inline: Some(inline) });
            return Ok(Opened { hot, file: None, fill: None });
        }
        match self.pin(hot, None).await {
            Ok(opened) => Ok(opened),
            Err(Missed::Failed(error)) => Err(error),
            Err(Missed::Replaced) => Err(Error::new(
                ErrorKind::PreconditionFailed,
                "the object was changed meanwhile; ask again",
            )),
        }
    }

    /// Makes sure that the bytes of a version stay readable, whatever happens to the object.
    async fn pin(&self, hot: Arc<Hot>, arrived: Option<Arrived>) -> Result<Opened, Missed> {
        let (id, stamp) = (hot.entry.record.id, hot.entry.record.stamp);
        match (&hot.inline, hot.entry.presence) {
            (Some(_), _) => Ok(Opened { hot, file: None, fill: None }),
            (None, Presence::File { .. }) => {
                let file = match self.files.opened(id, stamp) {
                    Some(file) => Ok(file),
                    None => {
                        let files = Arc::clone(&self.files);
                        let open = move || files.open(id, stamp);
                        env::run(self.env.blocking.as_ref(), open).await.map_err(Missed::Failed)?
                    }
                };
                match file.map_err(ReadError::from) {
                    Ok(file) => Ok(Opened { hot, file: Some(file), fill: None }),
                    Err(ReadError::Gone) => self.gone(hot).await,
                    Err(error) => Err(Missed::Failed(self.counts.read_error(id, error))),
                }
            }
            // A raised level drops a small body from memory only together with its record.
            (None, Presence::Inline) => {
                self.tier.forget(id);
                Err(Missed::Replaced)
            }
            (None, Presence::Absent | Presence::Cached) => self.pin_fill(hot, arrived).await,
        }
    }

    /// Readies a body that is elsewhere, whatever of it is here.
    async fn pin_fill(&self, hot: Arc<Hot>, arrived: Option<Arrived>) -> Result<Opened, Missed> {
        let record = &hot.entry.record;
        let origin = hot.entry.origin().ok_or_else(|| Missed::Failed(body_lost()))?;
        let fill = self.fills.open(origin);
        if self.heat.was_touched(record.id) {
            fill.make_copy();
        }
        // A removal that came before the fill was opened would be undone by it.
        let current = self.lookup(record.id, false).await.map_err(Missed::Failed)?;
        let same = |now: &Hot| {
            let (now, then) = (&now.entry, &hot.entry);
            now.record.stamp == record.stamp && now.presence.is_held() == then.presence.is_held()
        };
        if !current.is_some_and(|now| same(&now)) {
            return Err(Missed::Replaced);
        }
        match arrived {
            Some(Arrived { range, from: ArrivedFrom::Remote(body) }) => fill.adopt(range, body),
            Some(Arrived { range, from: ArrivedFrom::Peer(reply) }) => {
                fill.adopt_from(range, reply);
            }
            None => {}
        }
        Ok(Opened { hot, file: None, fill: Some(fill) })
    }

    /// A file is not there: removed by an overwrite or delete that came first, or lost.
    async fn gone(&self, hot: Arc<Hot>) -> Result<Opened, Missed> {
        let (id, stamp) = (hot.entry.record.id, hot.entry.record.stamp);
        self.tier.forget(id);
        match self.lookup(id, false).await {
            Err(error) => Err(Missed::Failed(error)),
            Ok(Some(now)) if now.entry.record.stamp == stamp && is_file(&now) => {
                let lost = self.counts.corrupt(id);
                if self.is_elsewhere(&hot.entry) {
                    return self.pin_fill(hot, None).await;
                }
                Err(Missed::Failed(lost))
            }
            Ok(_) => Err(Missed::Replaced),
        }
    }

    /// Bytes of an opened version; the first of them have been read when this returns.
    pub(crate) async fn body(&self, opened: &Opened, range: Range<u64>) -> Result<Body, Error> {
        self.start(opened, range).await.map(|(body, _)| body).map_err(Broken::into_error)
    }

    /// The same, and what was needed for it.
    async fn start(&self, opened: &Opened, range: Range<u64>) -> Result<(Body, Took), Broken> {
        let here = Took::default();
        if let Some(bytes) = &opened.hot.inline {
            return Ok((slice(bytes, range).into(), here));
        }
        if let Some(fill) = &opened.fill {
            return self.start_fill(fill, opened, range).await;
        }
        let id = opened.hot.entry.record.id;
        let len = range.end - range.start;
        let mut reader = self.file_reader(opened, range.clone());
        let first = match reader.next().await {
            Ok(first) => first,
            Err(error) => return self.heal(opened, range, error).await,
        };
        let Some(first) = first else { return Ok((Body::default(), here)) };
        if first.len() as u64 == len {
            return Ok((first.into(), here));
        }
        let at = range.start + first.len() as u64;
        let reading = Reading {
            from: From::File(reader),
            left: at..range.end,
            origin: self.elsewhere(&opened.hot.entry),
            fills: Arc::clone(&self.fills),
            counts: Arc::clone(&self.counts),
            id,
        };
        let rest = reading.chunks();
        let chunks = futures_util::stream::once(async move { Ok(first) }).chain(rest);
        Ok((Body::from_stream(chunks, Some(len)), here))
    }

    async fn start_fill(
        &self,
        fill: &Arc<Fill>,
        opened: &Opened,
        range: Range<u64>,
    ) -> Result<(Body, Took), Broken> {
        let len = range.end - range.start;
        let key = opened.hot.entry.record.id;
        let mut reader = fill.reader(range);
        let first = reader.next().await.map_err(|error| match error {
            FillError::Remote(gone) if self.is_beside_another(&gone, opened) => {
                Broken::of(FillError::Nowhere { unreachable: true }, key)
            }
            error => Broken::of(error, key),
        })?;
        let Some(first) = first else { return Ok((Body::default(), reader.took())) };
        if first.len() as u64 == len {
            return Ok((first.into(), reader.took()));
        }
        // Its beginning was here or with somebody who has no more of it, and the rest may be with
        // nodes only that are gone: that is to be said before the first byte.
        if fill.is_with_nodes_only() {
            reader.reach().await.map_err(|e| Broken::of(e, key))?;
        }
        fill.begin();
        let took = reader.took();
        let rest = futures_util::stream::try_unfold(reader, move |mut reader| async move {
            match reader.next().await {
                Ok(bytes) => Ok(bytes.map(|bytes| (bytes, reader))),
                Err(error) => Err(Broken::of(error, key).into_error()),
            }
        });
        let chunks = futures_util::stream::once(async move { Ok(first) }).chain(rest);
        Ok((Body::from_stream(chunks, Some(len)), took))
    }

    /// Whether what is not in the remote here may be with a node that does not answer: each has a
    /// directory of its own.
    fn is_beside_another(&self, error: &RemoteError, opened: &Opened) -> bool {
        error.kind() == RemoteErrorKind::NotFound
            && !self.remote.is_elsewhere()
            && opened.hot.entry.origin().is_some_and(|origin| self.holder_may_answer_later(&origin))
    }

    /// A body file cannot be read: what others have too comes from there, into the same file.
    async fn heal(
        &self,
        opened: &Opened,
        range: Range<u64>,
        error: ReadError,
    ) -> Result<(Body, Took), Broken> {
        let error = self.counts.read_error(opened.hot.entry.record.id, error);
        match self.elsewhere(&opened.hot.entry) {
            Some(origin) if error.kind() == ErrorKind::Corrupt => {
                let fill = self.fills.open(origin);
                match self.start_fill(&fill, opened, range).await {
                    // It was here, and is damaged: that is what there is to say.
                    Err(Broken::Failed(e)) if e.kind() == ErrorKind::BodyLost => {
                        Err(Broken::Failed(error))
                    }
                    other => other,
                }
            }
            _ => Err(Broken::Failed(error)),
        }
    }

    /// Where a body may be had that is damaged here.
    pub(super) fn elsewhere(&self, entry: &Entry) -> Option<Origin> {
        entry.origin().filter(|_| self.is_elsewhere(entry))
    }

    /// Whether a body may be found anywhere but here.
    fn is_elsewhere(&self, entry: &Entry) -> bool {
        let in_remote = entry.live().is_some_and(|live| live.remote_etag.is_some());
        in_remote || !self.cluster.peers.live().is_empty()
    }

    fn file_reader(&self, opened: &Opened, range: Range<u64>) -> FileReader {
        self.file_reader_of(&opened.hot.entry, opened.file.clone(), range)
    }

    /// Reads the file of a version, open already or not.
    pub(crate) fn file_reader_of(
        &self,
        entry: &Entry,
        file: Option<Arc<dyn DiskFile>>,
        range: Range<u64>,
    ) -> FileReader {
        let record = &entry.record;
        FileReader {
            files: Arc::clone(&self.files),
            tier: Arc::clone(&self.tier),
            buffers: Arc::clone(&self.buffers),
            blocking: Arc::clone(&self.env.blocking),
            id: record.id,
            stamp: record.stamp,
            layout: Layout::new(entry.meta.size),
            range,
            file,
            table: Default::default(),
            ready: Default::default(),
        }
    }
}

/// A version whose bytes stay readable, also when the object is overwritten or deleted: they are in
/// memory, or in a file that is held open.
pub(crate) struct Opened {
    pub(crate) hot: Arc<Hot>,
    file: Option<Arc<dyn DiskFile>>,
    /// Where it comes from when not all of it is here.
    fill: Option<Arc<Fill>>,
}

/// Why a version could not be opened.
enum Missed {
    /// Another has taken its place.
    Replaced,
    Failed(Error),
}

/// Why bytes cannot be read.
enum Broken {
    /// The remote has another version.
    Changed,
    Failed(Error),
}

impl Broken {
    fn of(error: FillError, id: ObjectId) -> Self {
        Self::Failed(match error {
            FillError::Changed => return Self::Changed,
            FillError::Stopping(error) => error,
            FillError::Remote(error) if error.kind() == RemoteErrorKind::NotFound => body_lost(),
            FillError::Remote(error) => remote_error(error),
            FillError::Nowhere { unreachable: false } => body_lost(),
            FillError::Nowhere { unreachable: true } | FillError::NotHere => Error::new(
                ErrorKind::Unavailable,
                "a node that may have the body cannot be reached at the moment; try again",
            )
            .with_retry_after(std::time::Duration::from_secs(1)),
            FillError::Corrupt => {
                tracing::error!(%id, "the copy of this object elsewhere is not what was put; it was not kept");
                Error::new(ErrorKind::Corrupt, "the copy elsewhere is damaged; put it again")
            }
        })
    }

    fn into_error(self) -> Error {
        match self {
            Self::Failed(error) => error,
            Self::Changed => Error::new(
                ErrorKind::Unavailable,
                "the bucket got another version while this one was being read; read it again",
            )
            .with_retry_after(std::time::Duration::from_secs(1)),
        }
    }
}

/// Whether the body is in a file that stays.
fn is_file(hot: &Hot) -> bool {
    matches!(hot.entry.presence, Presence::File { .. })
}

/// What is left of a range of a body file. What turns out damaged on the way comes from the
/// remote, where it is there too.
struct Reading {
    from: From,
    left: Range<u64>,
    origin: Option<Origin>,
    fills: Arc<Fills>,
    counts: Arc<Counts>,
    id: ObjectId,
}

enum From {
    File(FileReader),
    Fill(FillReader),
}

impl Reading {
    /// A stream that ends at the first error.
    fn chunks(self) -> impl Stream<Item = Result<Bytes, Error>> + Send {
        futures_util::stream::try_unfold(self, |mut reading| async move {
            Ok(reading.next().await?.map(|bytes| (bytes, reading)))
        })
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let next = match &mut self.from {
                From::Fill(reader) => {
                    return reader.next().await.map_err(|e| Broken::of(e, self.id).into_error());
                }
                From::File(reader) => reader.next().await,
            };
            match next {
                Ok(bytes) => {
                    self.left.start += bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
                    return Ok(bytes);
                }
                Err(error) => {
                    let error = self.counts.read_error(self.id, error);
                    let corrupt = error.kind() == ErrorKind::Corrupt;
                    let Some(origin) = self.origin.take().filter(|_| corrupt) else {
                        return Err(error);
                    };
                    let fill = self.fills.open(origin);
                    fill.begin();
                    self.from = From::Fill(fill.reader(self.left.clone()));
                }
            }
        }
    }
}

fn slice(bytes: &Bytes, range: Range<u64>) -> Bytes {
    let clamp = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
    bytes.slice(clamp(range.start)..clamp(range.end))
}
