use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use objstore_client::{Body, Error, ErrorKind};
use tokio::sync::{Mutex, OwnedMutexGuard};

use super::dir_file::{ObjectFile, ObjectWriter, PIECE};
use super::dir_place::{Place, Staged, failed};
use super::error::{RemoteError, RemoteErrorKind};
use super::rules;
use super::store::{
    RemoteAttributes, RemoteCondition, RemoteFuture, RemoteGet, RemoteHead, RemoteList,
    RemoteObject, RemotePage, RemotePart, RemoteStore, RemoteUpload,
};
use crate::bodies::crc32c;
use crate::env::{self, Blocking, Disk, Env};

/// A directory that stands where a bucket would: one file for each object, any key of S3.
///
/// An object's body, attributes and tag change together, by one rename; a change is durable when
/// its call returns. Bodies are read in pieces of 256 KiB at most, each verified before it leaves:
/// of a damaged file the stream ends with an error, and what came before it is right. An object
/// whose attributes are damaged is [`Refused`](RemoteErrorKind::Refused), and listed without size
/// and tag; a put or delete without a condition gets rid of it.
///
/// Conditions hold among all users of one `DirStore`. Between processes, or two stores on one
/// directory, they do not: nothing is locked on the disk.
///
/// A list reads the names of all objects, sorts those it may be about, and opens the files of one
/// page: time in O(n log n) and memory in O(n) of n objects for each page. Completing an upload or
/// copying an object writes all its bytes. The layout is described in `docs/formats.md`.
#[derive(Debug)]
pub struct DirStore {
    name: String,
    place: Arc<Place>,
    blocking: Arc<dyn Blocking>,
    turns: Vec<Arc<Mutex<()>>>,
}

/// Objects whose changes wait for each other: those of one key, and few more.
const TURNS: usize = 256;
/// Pieces copied in one go.
const PIECES: u64 = 16;

/// A new object on its way, handed from job to job. The turn is held by whoever works on it, so
/// that a caller who goes away does not let the next one in too early.
struct Work {
    staged: Staged,
    writer: ObjectWriter,
    turn: OwnedMutexGuard<()>,
}

impl DirStore {
    /// The store in a directory. `name` is what makes its
    /// [`identity`](RemoteStore::identity) one of its own. Touches nothing yet.
    #[must_use]
    pub fn new(name: impl Into<String>, disk: Arc<dyn Disk>, env: &Env) -> Self {
        let (entropy, clock) = (Arc::clone(&env.entropy), Arc::clone(&env.clock));
        Self {
            name: name.into(),
            place: Arc::new(Place { disk, entropy, clock }),
            blocking: Arc::clone(&env.blocking),
            turns: (0..TURNS).map(|_| Arc::default()).collect(),
        }
    }

    /// Removes what a crash left half-written; uploads that were begun stay. To be called before
    /// any change is made, once.
    ///
    /// # Errors
    /// [`RemoteErrorKind::Unavailable`] when the disk fails.
    pub async fn recover(&self) -> Result<(), RemoteError> {
        self.run(|place| place.recover()).await
    }

    /// Waits for other changes of the object.
    async fn turn(&self, key: &str) -> Result<OwnedMutexGuard<()>, RemoteError> {
        let turn = self.turns.get(crc32c(key.as_bytes()) as usize % TURNS);
        let turn = turn.ok_or_else(|| failed(io::Error::other("no turn")))?;
        Ok(Arc::clone(turn).lock_owned().await)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Arc<Place>) -> Result<T, RemoteError> + Send + 'static,
    ) -> Result<T, RemoteError> {
        let place = Arc::clone(&self.place);
        let done = env::run(self.blocking.as_ref(), move || work(&place)).await;
        done.unwrap_or_else(|error| Err(stopping(error)))
    }

    fn body(&self, object: ObjectFile, range: Range<u64>) -> Body {
        let len = range.end - range.start;
        let blocking = Arc::clone(&self.blocking);
        let pieces = stream::try_unfold(range, move |range| {
            let (blocking, object) = (Arc::clone(&blocking), object.clone());
            async move {
                if range.is_empty() {
                    return Ok(None);
                }
                let (start, end) = (range.start, range.end);
                let read = env::run(blocking.as_ref(), move || object.read(range)).await?;
                let piece = read.map_err(unreadable)?;
                let start = start + piece.len() as u64;
                Ok::<_, Error>(Some((piece, start..end)))
            }
        });
        Body::from_stream(pieces, Some(len))
    }

    async fn complete_now(
        &self,
        key: &str,
        upload: &str,
        parts: &[RemotePart],
        condition: RemoteCondition,
    ) -> Result<String, RemoteError> {
        let turn = self.turn(key).await?;
        let (named, id) = (key.to_owned(), upload.to_owned());
        let parts: Arc<[RemotePart]> = parts.into();
        let checked = Arc::clone(&parts);
        let (mut work, attributes) = self
            .run(move |place| {
                let attributes = place.upload_of(&named, &id)?;
                rules::check_parts(&checked)?;
                place.check(&named, &condition)?;
                Ok((Work::new(place, turn)?, attributes))
            })
            .await?;
        let mut sums = Vec::new();
        for index in 0..parts.len() {
            let (upload, parts) = (upload.to_owned(), Arc::clone(&parts));
            let sum;
            (work, sum) = self
                .run(move |place| {
                    let sum = place.append_part(&upload, &parts, index, &mut work.writer)?;
                    Ok((work, sum))
                })
                .await?;
            sums.push(sum);
        }
        let (key, upload, etag) = (key.to_owned(), upload.to_owned(), rules::parts_etag(&sums));
        self.run(move |place| {
            let turn = work.publish(&key, &etag, &attributes)?;
            // The object is there; parts that stay are found by uploads() and the next start.
            if let Err(error) = place.abort(&upload) {
                tracing::warn!(%error, "could not remove the parts of a complete upload");
            }
            drop(turn);
            Ok(etag)
        })
        .await
    }

    async fn copy_now(
        &self,
        from: &str,
        to: &str,
        attributes: Option<RemoteAttributes>,
        condition: RemoteCondition,
    ) -> Result<String, RemoteError> {
        let turn = self.turn(to).await?;
        let (from, target) = (from.to_owned(), to.to_owned());
        let (mut work, source) = self
            .run(move |place| {
                let source = place.object(&from)?;
                place.check(&target, &condition)?;
                Ok((Work::new(place, turn)?, source))
            })
            .await?;
        let mut at = 0;
        while at < source.head.size {
            let end = (at + PIECES * PIECE).min(source.head.size);
            let object = source.clone();
            work = self
                .run(move |_| {
                    let mut left = at..end;
                    while !left.is_empty() {
                        let piece = object.read(left.clone()).map_err(failed)?;
                        work.writer.append(&piece).map_err(failed)?;
                        left.start += piece.len() as u64;
                    }
                    Ok(work)
                })
                .await?;
            at = end;
        }
        let (to, head) = (to.to_owned(), source.head);
        let attributes = attributes.unwrap_or(head.attributes);
        self.run(move |_| {
            work.publish(&to, &head.etag, &attributes)?;
            Ok(head.etag)
        })
        .await
    }
}

impl Work {
    fn new(place: &Arc<Place>, turn: OwnedMutexGuard<()>) -> Result<Self, RemoteError> {
        let (staged, writer) = place.stage().map_err(failed)?;
        Ok(Self { staged, writer, turn })
    }

    /// Makes it the object of a key, and gives the turn back.
    fn publish(
        self,
        key: &str,
        etag: &str,
        attributes: &RemoteAttributes,
    ) -> Result<OwnedMutexGuard<()>, RemoteError> {
        self.staged.publish(self.writer, key, etag, attributes)?;
        Ok(self.turn)
    }
}

fn stopping(error: Error) -> RemoteError {
    RemoteError::new(RemoteErrorKind::Unavailable, "the node is stopping").with_source(error)
}

/// What is wrong with a file in the middle of a body.
fn unreadable(error: io::Error) -> Error {
    let damaged = matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof);
    let told = if damaged {
        Error::new(
            ErrorKind::Corrupt,
            "the object in the remote directory is damaged; put it again",
        )
    } else {
        Error::new(ErrorKind::Unavailable, "the remote directory failed; try again")
    };
    told.with_source(error)
}

impl RemoteStore for DirStore {
    fn identity(&self) -> String {
        format!("dir:{}", self.name)
    }

    fn is_elsewhere(&self) -> bool {
        false
    }

    fn get<'a>(&'a self, key: &'a str, get: RemoteGet) -> RemoteFuture<'a, RemoteObject> {
        let key = key.to_owned();
        Box::pin(async move {
            let object = self.run(move |place| place.object(&key)).await?;
            let range = rules::wanted_range(&get, &object.head)?;
            let head = object.head.clone();
            Ok(RemoteObject::new(head, range.clone(), self.body(object, range)))
        })
    }

    fn head<'a>(&'a self, key: &'a str) -> RemoteFuture<'a, RemoteHead> {
        let key = key.to_owned();
        Box::pin(self.run(move |place| Ok(place.object(&key)?.head)))
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        body: Bytes,
        attributes: &'a RemoteAttributes,
        condition: RemoteCondition,
    ) -> RemoteFuture<'a, String> {
        Box::pin(async move {
            rules::check_key(key)?;
            rules::check_attributes(attributes)?;
            let turn = self.turn(key).await?;
            let (key, attributes) = (key.to_owned(), attributes.clone());
            self.run(move |place| {
                let _turn = turn;
                place.put(&key, &body, &attributes, &condition)
            })
            .await
        })
    }

    fn begin<'a>(
        &'a self,
        key: &'a str,
        attributes: &'a RemoteAttributes,
    ) -> RemoteFuture<'a, String> {
        Box::pin(async move {
            rules::check_key(key)?;
            rules::check_attributes(attributes)?;
            let (key, attributes) = (key.to_owned(), attributes.clone());
            self.run(move |place| place.begin(&key, &attributes)).await
        })
    }

    fn put_part<'a>(
        &'a self,
        key: &'a str,
        upload: &'a str,
        number: u32,
        body: Bytes,
    ) -> RemoteFuture<'a, String> {
        let (key, upload) = (key.to_owned(), upload.to_owned());
        Box::pin(self.run(move |place| place.put_part(&key, &upload, number, &body)))
    }

    fn complete<'a>(
        &'a self,
        key: &'a str,
        upload: &'a str,
        parts: &'a [RemotePart],
        condition: RemoteCondition,
    ) -> RemoteFuture<'a, String> {
        Box::pin(self.complete_now(key, upload, parts, condition))
    }

    fn abort<'a>(&'a self, key: &'a str, upload: &'a str) -> RemoteFuture<'a, ()> {
        Box::pin(async move {
            let turn = self.turn(key).await?;
            let (key, upload) = (key.to_owned(), upload.to_owned());
            self.run(move |place| {
                let _turn = turn;
                match place.upload_of(&key, &upload) {
                    Ok(_) => place.abort(&upload),
                    Err(error) if error.kind() == RemoteErrorKind::Refused => Ok(()),
                    Err(error) => Err(error),
                }
            })
            .await
        })
    }

    fn uploads<'a>(&'a self, prefix: &'a str) -> RemoteFuture<'a, Vec<RemoteUpload>> {
        let prefix = prefix.to_owned();
        Box::pin(self.run(move |place| place.uploads(&prefix)))
    }

    fn delete<'a>(&'a self, key: &'a str, condition: RemoteCondition) -> RemoteFuture<'a, ()> {
        Box::pin(async move {
            let turn = self.turn(key).await?;
            let key = key.to_owned();
            self.run(move |place| {
                let _turn = turn;
                place.delete(&key, &condition)
            })
            .await
        })
    }

    fn copy<'a>(
        &'a self,
        from: &'a str,
        to: &'a str,
        attributes: Option<&'a RemoteAttributes>,
        condition: RemoteCondition,
    ) -> RemoteFuture<'a, String> {
        Box::pin(async move {
            rules::check_key(to)?;
            attributes.map_or(Ok(()), rules::check_attributes)?;
            self.copy_now(from, to, attributes.cloned(), condition).await
        })
    }

    fn list(&self, list: RemoteList) -> RemoteFuture<'_, RemotePage> {
        Box::pin(self.run(move |place| place.list(&list)))
    }
}
