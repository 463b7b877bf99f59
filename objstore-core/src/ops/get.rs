use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use objstore_client::options::GetOptions;
use objstore_client::types::{ObjectId, ObjectMeta};
use objstore_client::{Body, Error, ErrorKind};

use crate::bodies::{FileReader, Layout, ReadError};
use crate::cache::Hot;
use crate::journal::Presence;
use crate::node::{Inner, Node};

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
        self.inner
            .read(id, |meta| {
                options.conditions.check_read(meta)?;
                match options.range {
                    None => Ok(0..meta.size),
                    Some(range) => range.within(meta.size).ok_or_else(|| unsatisfiable(meta.size)),
                }
            })
            .await
    }
}

pub(crate) fn unsatisfiable(size: u64) -> Error {
    Error::new(ErrorKind::RangeNotSatisfiable, "no byte of the range exists").with_size(size)
}

impl Inner {
    /// Opens the newest version, asks `plan` which bytes of it are wanted, and starts reading
    /// them. Starts over when the version is overwritten before it is open.
    pub(crate) async fn read(
        &self,
        id: ObjectId,
        mut plan: impl FnMut(&Arc<ObjectMeta>) -> Result<Range<u64>, Error> + Send,
    ) -> Result<Object, Error> {
        for _ in 0..TRIES {
            let hot = self.live(id, true).await?;
            let range = plan(&hot.entry.meta)?;
            if let Some(body) = self.open(&hot, range.clone()).await? {
                self.counts.got(range.end - range.start);
                return Ok(Object { meta: Arc::clone(&hot.entry.meta), range, body });
            }
        }
        Err(Error::new(
            ErrorKind::Busy,
            "the object is overwritten faster than it can be opened; try again",
        ))
    }

    /// The bytes of a version; none when it has been replaced meanwhile.
    async fn open(&self, hot: &Arc<Hot>, range: Range<u64>) -> Result<Option<Body>, Error> {
        let record = &hot.entry.record;
        match (&hot.inline, hot.entry.presence) {
            (Some(bytes), _) => Ok(Some(slice(bytes, range).into())),
            (None, Presence::File { .. }) => self.open_file(hot, range).await,
            // A raised level drops a small body from memory only together with its record.
            (None, Presence::Inline) => {
                self.tier.forget(record.id);
                Ok(None)
            }
            (None, Presence::Absent) => Err(Error::new(
                ErrorKind::NotFound,
                "the object is known, but its body is not on this node",
            )),
        }
    }

    async fn open_file(&self, hot: &Arc<Hot>, range: Range<u64>) -> Result<Option<Body>, Error> {
        let record = &hot.entry.record;
        let mut reader = self.file_reader(hot, range.clone());
        let first = match reader.next().await {
            Ok(first) => first,
            Err(ReadError::Gone) => {
                // Removed by an overwrite or delete that came first, or lost.
                self.tier.forget(record.id);
                let now = self.lookup(record.id, false).await?;
                if now.is_some_and(|now| now.entry.record.stamp == record.stamp) {
                    return Err(self.counts.corrupt(record.id));
                }
                return Ok(None);
            }
            Err(error) => return Err(self.counts.read_error(record.id, error)),
        };
        let Some(first) = first else { return Ok(Some(Body::default())) };
        let len = range.end - range.start;
        if first.len() as u64 == len {
            return Ok(Some(first.into()));
        }
        let counts = Arc::clone(&self.counts);
        let id = record.id;
        let chunks = futures_util::stream::unfold(
            Some((Some(first), reader, counts)),
            move |state| async move {
                let (first, mut reader, counts) = state?;
                if let Some(first) = first {
                    return Some((Ok(first), Some((None, reader, counts))));
                }
                match reader.next().await {
                    Ok(bytes) => bytes.map(|bytes| (Ok(bytes), Some((None, reader, counts)))),
                    Err(error) => Some((Err(counts.read_error(id, error)), None)),
                }
            },
        );
        Ok(Some(Body::from_stream(chunks, Some(len))))
    }

    pub(crate) fn file_reader(&self, hot: &Hot, range: Range<u64>) -> FileReader {
        let record = &hot.entry.record;
        FileReader {
            files: Arc::clone(&self.files),
            tier: Arc::clone(&self.tier),
            buffers: Arc::clone(&self.buffers),
            blocking: Arc::clone(&self.env.blocking),
            id: record.id,
            stamp: record.stamp,
            layout: Layout::new(hot.entry.meta.size),
            range,
            file: None,
            table: Default::default(),
            ready: Default::default(),
        }
    }
}

fn slice(bytes: &Bytes, range: Range<u64>) -> Bytes {
    let clamp = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
    bytes.slice(clamp(range.start)..clamp(range.end))
}
