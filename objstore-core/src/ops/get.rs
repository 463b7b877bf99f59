use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use objstore_client::options::GetOptions;
use objstore_client::types::{ObjectId, ObjectMeta};
use objstore_client::{Body, Error, ErrorKind};

use crate::bodies::{FileReader, Layout, ReadError};
use crate::cache::Hot;
use crate::env::{self, DiskFile};
use crate::journal::{Presence, Stamp};
use crate::node::{Inner, Node};
use crate::ops::lookup::load_inline;
use crate::ops::{Counts, journal_error};

/// An object that was got: its metadata, which of its bytes these are, and the bytes.
#[derive(Debug)]
#[non_exhaustive]
pub struct Object {
    /// The version that the bytes are of.
    pub meta: Arc<ObjectMeta>,
    /// The positions of the bytes in the whole body, end exclusive.
    pub range: Range<u64>,
    /// The bytes. Always of one version, whatever is put or deleted meanwhile.
    pub body: Body,
}

/// An object overwritten this often while it is being opened is given up on.
const TRIES: usize = 8;

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
        self.inner.check_running()?;
        let plan = |meta: &Arc<ObjectMeta>| {
            options.conditions.check_read(meta)?;
            match options.range {
                None => Ok(0..meta.size),
                Some(range) => range.within(meta.size).ok_or_else(|| unsatisfiable(meta.size)),
            }
        };
        let (object, _) = self.inner.open(id, plan).await?;
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
        id: ObjectId,
        mut plan: impl FnMut(&Arc<ObjectMeta>) -> Result<Range<u64>, Error> + Send,
    ) -> Result<(Object, Opened), Error> {
        for _ in 0..TRIES {
            let hot = self.live(id, true).await?;
            let range = plan(&hot.entry.meta)?;
            let opened = match self.pin(hot).await {
                Ok(opened) => opened,
                Err(Missed::Replaced) => continue,
                Err(Missed::Failed(error)) => return Err(error),
            };
            let body = self.body(&opened, range.clone()).await?;
            let meta = Arc::clone(&opened.hot.entry.meta);
            return Ok((Object { meta, range, body }, opened));
        }
        Err(Error::new(
            ErrorKind::Busy,
            "the object is overwritten faster than it can be opened; try again",
        ))
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
            return Ok(Opened { hot, file: None });
        }
        match self.pin(hot).await {
            Ok(opened) => Ok(opened),
            Err(Missed::Failed(error)) => Err(error),
            Err(Missed::Replaced) => Err(Error::new(
                ErrorKind::PreconditionFailed,
                "the object was changed meanwhile; ask again",
            )),
        }
    }

    /// Makes sure that the bytes of a version stay readable, whatever happens to the object.
    async fn pin(&self, hot: Arc<Hot>) -> Result<Opened, Missed> {
        let (id, stamp) = (hot.entry.record.id, hot.entry.record.stamp);
        match (&hot.inline, hot.entry.presence) {
            (Some(_), _) => Ok(Opened { hot, file: None }),
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
                    Ok(file) => Ok(Opened { hot, file: Some(file) }),
                    Err(ReadError::Gone) => Err(self.gone(id, stamp).await),
                    Err(error) => Err(Missed::Failed(self.counts.read_error(id, error))),
                }
            }
            // A raised level drops a small body from memory only together with its record.
            (None, Presence::Inline) => {
                self.tier.forget(id);
                Err(Missed::Replaced)
            }
            (None, Presence::Absent | Presence::Cached) => Err(Missed::Failed(Error::new(
                ErrorKind::NotFound,
                "the object is known, but its body is not on this node",
            ))),
        }
    }

    /// A file is not there: removed by an overwrite or delete that came first, or lost.
    async fn gone(&self, id: ObjectId, stamp: Stamp) -> Missed {
        self.tier.forget(id);
        match self.lookup(id, false).await {
            Err(error) => Missed::Failed(error),
            Ok(Some(now)) if now.entry.record.stamp == stamp => {
                Missed::Failed(self.counts.corrupt(id))
            }
            Ok(_) => Missed::Replaced,
        }
    }

    /// Bytes of an opened version; the first of them have been read when this returns.
    pub(crate) async fn body(&self, opened: &Opened, range: Range<u64>) -> Result<Body, Error> {
        if let Some(bytes) = &opened.hot.inline {
            return Ok(slice(bytes, range).into());
        }
        let id = opened.hot.entry.record.id;
        let len = range.end - range.start;
        let mut reader = self.file_reader(opened, range);
        let first = reader.next().await.map_err(|e| self.counts.read_error(id, e))?;
        let Some(first) = first else { return Ok(Body::default()) };
        if first.len() as u64 == len {
            return Ok(first.into());
        }
        let rest = read_on(reader, Arc::clone(&self.counts), id);
        let chunks = futures_util::stream::once(async move { Ok(first) }).chain(rest);
        Ok(Body::from_stream(chunks, Some(len)))
    }

    fn file_reader(&self, opened: &Opened, range: Range<u64>) -> FileReader {
        let record = &opened.hot.entry.record;
        FileReader {
            files: Arc::clone(&self.files),
            tier: Arc::clone(&self.tier),
            buffers: Arc::clone(&self.buffers),
            blocking: Arc::clone(&self.env.blocking),
            id: record.id,
            stamp: record.stamp,
            layout: Layout::new(opened.hot.entry.meta.size),
            range,
            file: opened.file.clone(),
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
}

/// Why a version could not be opened.
enum Missed {
    /// Another has taken its place.
    Replaced,
    Failed(Error),
}

/// What is left of a reader's range, as a stream that ends at the first error.
fn read_on(
    reader: FileReader,
    counts: Arc<Counts>,
    id: ObjectId,
) -> impl Stream<Item = Result<Bytes, Error>> + Send {
    futures_util::stream::try_unfold((reader, counts), move |(mut reader, counts)| async move {
        match reader.next().await {
            Ok(bytes) => Ok(bytes.map(|bytes| (bytes, (reader, counts)))),
            Err(error) => Err(counts.read_error(id, error)),
        }
    })
}

fn slice(bytes: &Bytes, range: Range<u64>) -> Bytes {
    let clamp = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
    bytes.slice(clamp(range.start)..clamp(range.end))
}
