//! What a [`DirStore`](super::DirStore) does on its disk. Everything here blocks.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::dir_file::{ObjectFile, ObjectWriter, PIECE};
use super::dir_names::{is_directory, key_of, path_of};
use super::error::{RemoteError, RemoteErrorKind};
use super::rules::{self, Md5Sum};
use super::store::{
    RemoteAttributes, RemoteCondition, RemoteEntry, RemoteList, RemotePage, RemotePart,
    RemoteUpload,
};
use crate::bodies::crc32c;
use crate::env::{Clock, Disk, Entropy};

const OBJECTS: &str = "objects";
const STAGING: &str = "staging";
/// Begins the names of files that no crash needs to leave behind.
const UNFINISHED: &str = "new-";
/// Ends the name of the file that says what an upload is.
const UPLOAD: &str = "upload";
/// Longer than the path of any key.
const PATH_MAX: usize = 4096;

/// The disk, and what is needed to make files on it.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) clock: Arc<dyn Clock>,
}

/// What an upload will be, once it is complete.
#[derive(Debug, Serialize, Deserialize)]
struct Upload {
    key: String,
    content_type: Option<String>,
    content_encoding: Option<String>,
    metadata: BTreeMap<String, String>,
}

/// An error of the disk, as a caller of the store is told.
pub(super) fn failed(error: io::Error) -> RemoteError {
    let damaged = matches!(
        error.kind(),
        io::ErrorKind::InvalidData
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::IsADirectory
            | io::ErrorKind::NotADirectory
    );
    let told = if damaged {
        rules::refused("the object in the remote directory is damaged; put it again")
    } else {
        RemoteError::new(RemoteErrorKind::Unavailable, "the remote directory failed")
    };
    told.with_source(error)
}

fn object_path(key: &str) -> String {
    format!("{OBJECTS}/{}", path_of(key))
}

/// Upload ids come from outside; only what was made here may become a path.
fn check_upload(upload: &str) -> Result<(), RemoteError> {
    let made_here = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if upload.len() == 32 && upload.bytes().all(made_here) {
        Ok(())
    } else {
        Err(rules::no_such_upload())
    }
}

fn upload_path(upload: &str) -> String {
    format!("{STAGING}/{upload}-{UPLOAD}")
}

fn part_path(upload: &str, number: u32) -> String {
    format!("{STAGING}/{upload}-{number:05}")
}

impl Place {
    pub(super) fn object(&self, key: &str) -> Result<ObjectFile, RemoteError> {
        rules::check_key(key).map_err(|_| rules::not_found())?;
        ObjectFile::open(self.disk.as_ref(), &object_path(key), key).map_err(|error| {
            match error.kind() {
                io::ErrorKind::NotFound => rules::not_found(),
                _ => failed(error),
            }
        })
    }

    /// Whether the object of this key is what a condition demands.
    pub(super) fn check(&self, key: &str, condition: &RemoteCondition) -> Result<(), RemoteError> {
        if *condition == RemoteCondition::None {
            return Ok(());
        }
        match self.object(key) {
            Ok(object) => rules::check_condition(condition, Some(&object.head.etag)),
            Err(error) if error.kind() == RemoteErrorKind::NotFound => {
                rules::check_condition(condition, None)
            }
            Err(error) => Err(error),
        }
    }

    /// A file to write a new object into.
    pub(super) fn stage(self: &Arc<Self>) -> io::Result<(Staged, ObjectWriter)> {
        let path = format!("{STAGING}/{UNFINISHED}{:032x}", self.entropy.random());
        let writer = ObjectWriter::create(self.disk.as_ref(), &path)?;
        Ok((Staged { place: Arc::clone(self), path }, writer))
    }

    pub(super) fn put(
        self: &Arc<Self>,
        key: &str,
        body: &Bytes,
        attributes: &RemoteAttributes,
        condition: &RemoteCondition,
    ) -> Result<String, RemoteError> {
        self.check(key, condition)?;
        let etag = rules::hex(&rules::md5(body));
        let (staged, mut writer) = self.stage().map_err(failed)?;
        writer.append(body).map_err(failed)?;
        staged.publish(writer, key, &etag, attributes)?;
        Ok(etag)
    }

    pub(super) fn delete(&self, key: &str, condition: &RemoteCondition) -> Result<(), RemoteError> {
        self.check(key, condition)?;
        if rules::check_key(key).is_err() {
            return Ok(());
        }
        let path = object_path(key);
        match self.disk.open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            // What cannot be opened may still be removed.
            _ => self.disk.remove(&path).map_err(failed)?,
        }
        self.sync_above(&path).map_err(failed)
    }

    fn sync_above(&self, path: &str) -> io::Result<()> {
        self.disk.sync_dir(path.rsplit_once('/').map_or(OBJECTS, |(above, _)| above))
    }

    /// Writes a small file whole: durable when this returns.
    fn write(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let new = format!("{STAGING}/{UNFINISHED}{:032x}", self.entropy.random());
        let write = || {
            let file = self.disk.create(&new)?;
            file.write_all_at(bytes, 0)?;
            file.sync()?;
            self.disk.rename(&new, path)?;
            self.disk.sync_dir(STAGING)
        };
        let written = write();
        if written.is_err() {
            let _ = self.disk.remove(&new);
        }
        written
    }

    pub(super) fn begin(
        &self,
        key: &str,
        attributes: &RemoteAttributes,
    ) -> Result<String, RemoteError> {
        let upload = Upload {
            key: key.to_owned(),
            content_type: attributes.content_type.clone(),
            content_encoding: attributes.content_encoding.clone(),
            metadata: attributes.metadata.clone(),
        };
        let mut bytes = postcard::to_stdvec(&upload)
            .map_err(|error| failed(io::Error::other(error.to_string())))?;
        bytes.extend(crc32c(&bytes).to_le_bytes());
        let name = format!("{:032x}", self.entropy.random());
        self.write(&upload_path(&name), &bytes).map_err(failed)?;
        Ok(name)
    }

    fn upload(&self, upload: &str) -> Result<Upload, RemoteError> {
        check_upload(upload)?;
        let file = match self.disk.open(&upload_path(upload)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(rules::no_such_upload());
            }
            other => other.map_err(failed)?,
        };
        let size = file.size().map_err(failed)?.min(PIECE);
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        file.read_exact_at(&mut bytes, 0).map_err(failed)?;
        let whole = || {
            let (said, check) = bytes.split_last_chunk()?;
            (crc32c(said).to_le_bytes() == *check).then(|| postcard::from_bytes(said).ok())?
        };
        whole().ok_or_else(|| failed(io::ErrorKind::InvalidData.into()))
    }

    /// The attributes of an upload of this key.
    pub(super) fn upload_of(
        &self,
        key: &str,
        upload: &str,
    ) -> Result<RemoteAttributes, RemoteError> {
        let upload = self.upload(upload)?;
        if upload.key != key {
            return Err(rules::no_such_upload());
        }
        Ok(RemoteAttributes {
            content_type: upload.content_type,
            content_encoding: upload.content_encoding,
            metadata: upload.metadata,
        })
    }

    pub(super) fn put_part(
        &self,
        key: &str,
        upload: &str,
        number: u32,
        body: &Bytes,
    ) -> Result<String, RemoteError> {
        rules::check_part_number(number)?;
        self.upload_of(key, upload)?;
        self.write(&part_path(upload, number), body).map_err(failed)?;
        Ok(rules::hex(&rules::md5(body)))
    }

    /// Appends the part that is named `index`-th, when it is the one that was uploaded.
    pub(super) fn append_part(
        &self,
        upload: &str,
        parts: &[RemotePart],
        index: usize,
        writer: &mut ObjectWriter,
    ) -> Result<Md5Sum, RemoteError> {
        let number = parts.get(index).map_or(0, |part| part.number);
        let file = match self.disk.open(&part_path(upload, number)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(rules::no_such_part());
            }
            other => other.map_err(failed)?,
        };
        let size = file.size().map_err(failed)?;
        let mut sum = rules::Md5Sums::default();
        let mut at = 0;
        while at < size {
            let mut piece = vec![0; usize::try_from(PIECE.min(size - at)).unwrap_or(0)];
            file.read_exact_at(&mut piece, at).map_err(failed)?;
            sum.update(&piece);
            writer.append(&piece).map_err(failed)?;
            at += piece.len() as u64;
        }
        let sum = sum.finish();
        rules::check_part(parts, index, &rules::hex(&sum), size)?;
        Ok(sum)
    }

    pub(super) fn abort(&self, upload: &str) -> Result<(), RemoteError> {
        let remove = || {
            // This first: parts of an upload that is not there are removed by the next start.
            self.disk.remove(&upload_path(upload))?;
            for name in self.disk.list(STAGING)? {
                if name.strip_prefix(upload).is_some_and(|rest| rest.starts_with('-')) {
                    self.disk.remove(&format!("{STAGING}/{name}"))?;
                }
            }
            self.disk.sync_dir(STAGING)
        };
        remove().map_err(failed)
    }

    pub(super) fn uploads(&self, prefix: &str) -> Result<Vec<RemoteUpload>, RemoteError> {
        let mut uploads = Vec::new();
        for name in self.disk.list(STAGING).map_err(failed)? {
            let Some((upload, UPLOAD)) = name.split_once('-') else { continue };
            match self.upload(upload) {
                Ok(Upload { key, .. }) if key.starts_with(prefix) => {
                    uploads.push(RemoteUpload { key, upload: upload.to_owned() });
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, upload, "an upload that cannot be read"),
            }
        }
        uploads.sort_by(|a, b| (&a.key, &a.upload).cmp(&(&b.key, &b.upload)));
        uploads.truncate(rules::PAGE_MAX);
        Ok(uploads)
    }

    pub(super) fn list(&self, list: &RemoteList) -> Result<RemotePage, RemoteError> {
        let keys = self.keys(list).map_err(failed)?;
        let names = rules::page(keys.iter().map(String::as_str), list);
        let mut entries = Vec::with_capacity(names.keys.len());
        for key in names.keys {
            let head = match self.object(key) {
                Ok(object) => object.head,
                Err(error) => match error.kind() {
                    RemoteErrorKind::NotFound => continue,
                    // One damaged object must not hide all others.
                    RemoteErrorKind::Refused => Default::default(),
                    _ => return Err(error),
                },
            };
            let (size, etag, modified) = (head.size, head.etag, head.modified);
            entries.push(RemoteEntry { key: key.to_owned(), size, etag, modified });
        }
        let prefixes = names.prefixes.into_iter().map(str::to_owned).collect();
        Ok(RemotePage { entries, prefixes, next: names.next })
    }

    /// All keys that a list may be about, in order.
    fn keys(&self, list: &RemoteList) -> io::Result<Vec<String>> {
        let mut keys = Vec::new();
        let mut open = vec![String::new()];
        while let Some(directory) = open.pop() {
            let names = match self.disk.list(&format!("{OBJECTS}{directory}")) {
                Err(error) if error.kind() == io::ErrorKind::NotADirectory => continue,
                other => other?,
            };
            for name in names {
                let path = format!("{directory}/{name}");
                if is_directory(&name) && path.len() < PATH_MAX {
                    open.push(path);
                } else if let Some(key) = path.get(1..).and_then(key_of)
                    && key.starts_with(&list.prefix)
                    && list.after.as_ref().is_none_or(|after| key > *after)
                {
                    keys.push(key);
                }
            }
        }
        keys.sort_unstable();
        Ok(keys)
    }

    /// Removes what a crash left half-written. Uploads that were begun stay.
    pub(super) fn recover(&self) -> Result<(), RemoteError> {
        let names = self.disk.list(STAGING).map_err(failed)?;
        let begun = |upload: &str| names.contains(&format!("{upload}-{UPLOAD}"));
        let lost = |name: &&String| {
            name.starts_with(UNFINISHED)
                || name.split_once('-').is_none_or(|(upload, _)| !begun(upload))
        };
        for name in names.iter().filter(lost) {
            self.disk.remove(&format!("{STAGING}/{name}")).map_err(failed)?;
        }
        Ok(())
    }
}

/// A file that is to become an object. Dropped before it did, it is removed; that may block.
#[derive(Debug)]
pub(super) struct Staged {
    place: Arc<Place>,
    path: String,
}

impl Staged {
    /// Makes it the object of a key, durably.
    pub(super) fn publish(
        self,
        writer: ObjectWriter,
        key: &str,
        etag: &str,
        attributes: &RemoteAttributes,
    ) -> Result<(), RemoteError> {
        let place = &self.place;
        let publish = || {
            writer.finish(key, etag, place.clock.wall_nanos(), attributes)?;
            let path = object_path(key);
            place.disk.rename(&self.path, &path)?;
            place.sync_above(&path)
        };
        publish().map_err(failed)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Once it is an object it no longer has this name.
        if let Err(error) = self.place.disk.remove(&self.path) {
            tracing::warn!(%error, "could not remove a broken upload; the next start does");
        }
    }
}
