use std::fmt;
use std::ops::Range;

use async_trait::async_trait;
use futures_util::stream::{self, BoxStream, Stream, StreamExt, TryStreamExt};
use futures_util::{FutureExt, future};

use super::super::parts::{self, PartsOf};
use super::super::upload::Upload;
use super::super::{Keys, tag, tags, time};
use super::object_store::list::{PaginatedListOptions, PaginatedListResult, PaginatedListStore};
use super::object_store::multipart::PartId;
use super::object_store::path::Path;
use super::object_store::{
    Attribute, Attributes, CopyMode, CopyOptions, Error, GetOptions, GetRange, GetResult,
    GetResultPayload, ListResult, MultipartId, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions,
    RenameTargetMode, Result, TagSet, UploadPart,
};
use super::{get_result, list_result, put_result};
use crate::body::Body;
use crate::error::ErrorKind;
use crate::object::Object;
use crate::options::{self, ByteRange, Conditions, DeleteOptions, KeyListOptions};
use crate::types::{ETag, KeyEntry, KeyPage, ObjectKey, UserMeta};

/// What this store is called in errors.
const STORE: &str = "objstore";
/// So many objects are deleted at a time.
const DELETES: usize = 16;

/// The bucket's keys, through a [`Client`](crate::Client) or a `Node` of objstore-core, as an
/// [`ObjectStore`]. A location is a key as it stands, encoded parts included.
///
/// Reads come from the cache. A create ([`PutMode::Create`], [`CopyMode::Create`]) and an update
/// ([`PutMode::Update`], by the tag) are arbitrated by the bucket: of those that race, wherever in
/// the cluster, one wins. Tags have their quotes, as those of S3 do.
///
/// # What is different
/// * An upload in parts is one put whose body goes on as the parts come, which may be of any length.
///   The object is there when it is complete, and nothing of it before; with an upload that is
///   aborted or dropped, all of it is gone. Each upload under way counts as a put that is being
///   received, of which a node takes some at a time (`Settings::max_uploads`); parts of more wait.
///   Over HTTP a node gives an upload up when no part comes for `HttpSettings::body_timeout_ms`.
/// * Parts that are put by themselves (`MultipartStore`) are objects of level 0 until they are
///   complete, which shows in lists of ids; each is on the node that took it, and with that node
///   gone the upload cannot be completed. Completing one takes the bytes through this store once
///   more. There are 10,000 parts at most, of any length. One that nobody completes stays until it
///   is aborted.
/// * Kept beside an object are content type, content encoding and metadata, whose names are in lower
///   case. Other attributes and tags are [`Error::NotImplemented`], earlier versions
///   [`Error::NotSupported`].
/// * A list leaves out keys that end in `/`, with which other programs mark directories, and fails
///   at a key that no [`Path`] stands for, such as `a//b`.
/// * A location that is an id of an object cannot be written.
///
/// # Errors
/// Those of the methods by key: not found, not modified, a condition that does not hold, and what a
/// token does not allow have their own variants; all others are [`Error::Generic`]. The source is an
/// [`Error`](crate::Error), whose kind says whether trying again may help.
///
/// # Runtime
/// That of the methods by key; an upload in parts is a task of the tokio runtime it was begun on.
///
/// # Cancellation
/// As that of the methods by key. A [`complete`](MultipartUpload::complete) that is dropped goes on.
#[derive(Clone, Debug)]
pub struct KeyStore<K>(K);

impl<K: Keys> KeyStore<K> {
    /// What is under the keys that this gives access to.
    pub fn new(keys: K) -> Self {
        Self(keys)
    }

    pub(super) async fn begin(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<MultipartId> {
        let options = put_options(&opts.tags, &opts.attributes)?;
        let begun = parts::begin(&self.0, &key(location)?, options).await;
        begun.map(|id| id.to_string()).map_err(|e| failed(location, e))
    }

    pub(super) async fn put_one(
        &self,
        location: &Path,
        id: &str,
        index: usize,
        data: PutPayload,
    ) -> Result<PartId> {
        let put = async { self.upload(location, id).await?.put(index, body(data)).await };
        let tag = put.await.map_err(|e| failed(location, e))?;
        Ok(PartId { content_id: tag.map(|tag| tag.to_string()).unwrap_or_default() })
    }

    pub(super) async fn complete(
        &self,
        location: &Path,
        id: &str,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        let completed = async {
            let tags = parts
                .iter()
                .map(|part| tag(&part.content_id))
                .collect::<std::result::Result<_, _>>()?;
            self.upload(location, id).await?.complete(tags).await
        };
        let meta = completed.await.map_err(|e| failed(location, e))?;
        Ok(put_result(meta.etag.as_ref().map(ETag::to_string)))
    }

    pub(super) async fn abort(&self, location: &Path, id: &str) -> Result<()> {
        let aborted = async { self.upload(location, id).await?.discard().await };
        aborted.await.map_err(|e| failed(location, e))
    }

    async fn upload(
        &self,
        location: &Path,
        id: &str,
    ) -> std::result::Result<PartsOf<'_, K>, crate::Error> {
        PartsOf::find(&self.0, ObjectKey::new(location.as_ref())?, id).await
    }

    fn pages(
        &self,
        options: KeyListOptions,
    ) -> impl Stream<Item = Result<KeyPage>> + Send + 'static {
        let keys = self.0.clone();
        stream::try_unfold(Some(options), move |options| {
            let keys = keys.clone();
            async move {
                let Some(mut options) = options else { return Ok(None) };
                let page = keys.list_keys(options.clone()).await;
                let page = page.map_err(|e| failed(&options.prefix, e))?;
                options.after.clone_from(&page.next);
                let more = options.after.is_some();
                Ok(Some((page, more.then_some(options))))
            }
        })
    }

    fn list_after(
        &self,
        prefix: Option<&Path>,
        after: Option<String>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let options = KeyListOptions { prefix: below(prefix), after, ..KeyListOptions::default() };
        let pages = self.pages(options).map_ok(|page| stream::iter(listed(page.entries)));
        pages.try_flatten().boxed()
    }
}

impl<K: Keys> From<K> for KeyStore<K> {
    fn from(keys: K) -> Self {
        Self(keys)
    }
}

impl<K: Keys> fmt::Display for KeyStore<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{STORE}({:?})", self.0)
    }
}

#[async_trait]
impl<K: Keys> ObjectStore for KeyStore<K> {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let conditions = match &opts.mode {
            PutMode::Overwrite => Conditions::default(),
            PutMode::Create => Conditions::absent(),
            PutMode::Update(version) => {
                let tag = tag(version
                    .e_tag
                    .as_deref()
                    .ok_or_else(|| generic("an update needs a tag"))?);
                Conditions::matching(tag.map_err(generic)?)
            }
        };
        let options = put_options(&opts.tags, &opts.attributes)?.conditions(conditions);
        let put = self.0.put_key(&key(location)?, body(payload), options).await;
        let created = opts.mode == PutMode::Create;
        put.map(|meta| put_result(meta.etag.as_ref().map(ETag::to_string)))
            .map_err(|e| if created { not_created(location, e) } else { failed(location, e) })
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let options = put_options(&opts.tags, &opts.attributes)?;
        let upload = Upload::start(self.0.clone(), key(location)?, options);
        Ok(Box::new(Parts { location: location.clone(), upload }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if options.version.is_some() {
            return Err(Error::NotSupported { source: "only the current version is kept".into() });
        }
        let (key, wanted) = (key(location)?, get_options(&options)?);
        if options.head {
            let meta = self.0.head_key(&key, wanted).await.map_err(|e| failed(location, e))?;
            return Ok(result(location, Object::new(meta, 0..0, Body::default())));
        }
        let object = self.0.get_key(&key, wanted).await.map_err(|e| failed(location, e))?;
        Ok(result(location, object))
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let keys = self.0.clone();
        let delete = move |location: Result<Path>| {
            let keys = keys.clone();
            async move {
                let location = location?;
                let deleted = keys.delete_key(&key(&location)?, DeleteOptions::default()).await;
                deleted.map_err(|e| failed(&location, e))?;
                Ok(location)
            }
        };
        locations.map(delete).buffered(DELETES).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.list_after(prefix, None)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let after = offset.as_ref();
        self.list_after(prefix, (!after.is_empty()).then(|| after.to_owned()))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let delimiter = Some("/".to_owned());
        let prefix = below(prefix);
        let options = KeyListOptions { prefix, delimiter, ..KeyListOptions::default() };
        let all = (Vec::new(), Vec::new());
        let add = |(mut prefixes, mut objects): (Vec<_>, Vec<_>), page: KeyPage| {
            let added = contents(page).map(|(more_prefixes, more_objects)| {
                prefixes.extend(more_prefixes);
                objects.extend(more_objects);
                (prefixes, objects)
            });
            future::ready(added)
        };
        let (prefixes, objects) = self.pages(options).try_fold(all, add).await?;
        Ok(list_result(prefixes, objects))
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let created = options.mode == CopyMode::Create;
        let conditions = if created { Conditions::absent() } else { Conditions::default() };
        let options = options::CopyOptions::default().conditions(conditions);
        let copied = self.0.copy_key(&key(from)?, &key(to)?, options).await;
        copied.map_err(|e| match e.kind() {
            ErrorKind::NotFound => failed(from, e),
            _ if created => not_created(to, e),
            _ => failed(to, e),
        })
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let mode = match options.target_mode {
            RenameTargetMode::Overwrite => CopyMode::Overwrite,
            RenameTargetMode::Create => CopyMode::Create,
        };
        // In place of itself: there is nothing to copy, and nothing to be left.
        if from == to && mode == CopyMode::Overwrite {
            return self.head(from).await.map(drop);
        }
        self.copy_opts(from, to, CopyOptions::new().with_mode(mode)).await?;
        self.delete(from).await
    }
}

#[async_trait]
impl<K: Keys> PaginatedListStore for KeyStore<K> {
    async fn list_paginated(
        &self,
        prefix: Option<&str>,
        opts: PaginatedListOptions,
    ) -> Result<PaginatedListResult> {
        let prefix = prefix.unwrap_or_default().to_owned();
        let options = KeyListOptions {
            prefix: prefix.clone(),
            delimiter: opts.delimiter.map(String::from),
            after: opts.page_token.or(opts.offset).filter(|after| !after.is_empty()),
            limit: opts.max_keys.unwrap_or(KeyListOptions::MAX_LIMIT),
        };
        let page = self.0.list_keys(options).await.map_err(|e| failed(prefix, e))?;
        let page_token = page.next.clone();
        let (prefixes, objects) = contents(page)?;
        Ok(PaginatedListResult { result: list_result(prefixes, objects), page_token })
    }
}

/// An upload in parts.
#[derive(Debug)]
struct Parts {
    location: Path,
    upload: Upload,
}

#[async_trait]
impl MultipartUpload for Parts {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let taken = self.upload.put_part(data.into_iter().collect());
        let location = self.location.clone();
        async move { taken.await.map_err(|e| failed(location, e)) }.boxed()
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let meta = self.upload.complete().await.map_err(|e| failed(&self.location, e))?;
        Ok(put_result(meta.etag.as_ref().map(ETag::to_string)))
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await;
        Ok(())
    }
}

fn key(location: &Path) -> Result<ObjectKey> {
    ObjectKey::new(location.as_ref()).map_err(generic)
}

/// What keys below a location begin with.
fn below(prefix: Option<&Path>) -> String {
    match prefix.map(Path::as_ref) {
        None | Some("") => String::new(),
        Some(prefix) => format!("{prefix}/"),
    }
}

/// The location that stands for this key, and for no other.
fn location(key: &str) -> Result<Path> {
    let location = Path::parse(key)?;
    if location.as_ref() == key {
        Ok(location)
    } else {
        Err(generic(format!("no path stands for the key {key:?}")))
    }
}

/// Directories have no object of their own here.
fn is_directory(key: &str) -> bool {
    key.ends_with('/')
}

fn listed(entries: Vec<KeyEntry>) -> impl Iterator<Item = Result<ObjectMeta>> {
    entries.into_iter().filter(|entry| !is_directory(&entry.key)).map(|entry| {
        Ok(ObjectMeta {
            location: location(&entry.key)?,
            last_modified: time(entry.timestamp).into(),
            size: entry.size,
            e_tag: ETag::new(&entry.etag).ok().map(|tag| tag.to_string()),
            version: None,
        })
    })
}

/// The directories and objects of a page.
fn contents(page: KeyPage) -> Result<(Vec<Path>, Vec<ObjectMeta>)> {
    let prefix = |prefix: &String| location(prefix.strip_suffix('/').unwrap_or(prefix));
    let prefixes = page.prefixes.iter().map(prefix).collect::<Result<_>>()?;
    Ok((prefixes, listed(page.entries).collect::<Result<_>>()?))
}

fn body(payload: PutPayload) -> Body {
    if payload.as_ref().len() <= 1 {
        return bytes::Bytes::from(payload).into();
    }
    let len = Some(payload.content_length() as u64);
    let open = move || Body::from_stream(stream::iter(payload.clone().into_iter().map(Ok)), len);
    Body::restartable(open, len)
}

fn put_options(tags: &TagSet, attributes: &Attributes) -> Result<options::PutOptions> {
    let not_kept = |what: String| {
        let operation = format!("keeping {what} beside an object");
        Err(Error::NotImplemented { operation, implementer: STORE.to_owned() })
    };
    if !tags.encoded().is_empty() {
        return not_kept("tags".to_owned());
    }
    let (mut options, mut metadata) = (options::PutOptions::default(), Vec::new());
    for (attribute, value) in attributes {
        let value = value.as_ref().to_owned();
        match attribute {
            Attribute::ContentType => options.content_type = Some(value),
            Attribute::ContentEncoding => options.content_encoding = Some(value),
            Attribute::Metadata(name) => metadata.push((name.to_string(), value)),
            other => return not_kept(format!("{other:?}")),
        }
    }
    options.user_meta = UserMeta::new(metadata).map_err(generic)?;
    Ok(options)
}

fn get_options(asked: &GetOptions) -> Result<options::GetOptions> {
    let set = |text: &Option<String>| text.as_deref().map(tags).transpose().map_err(generic);
    let conditions = Conditions {
        if_match: set(&asked.if_match)?,
        if_none_match: set(&asked.if_none_match)?,
        if_modified_since: asked.if_modified_since.map(Into::into),
        if_unmodified_since: asked.if_unmodified_since.map(Into::into),
    };
    let range = asked.range.as_ref().map(|range| match range {
        // One without bytes, as it may be given here, lies nowhere.
        GetRange::Bounded(Range { end: 0, .. }) => ByteRange::Last(0),
        GetRange::Bounded(Range { start, end }) => ByteRange::FromTo(*start, end - 1),
        GetRange::Offset(start) => ByteRange::From(*start),
        GetRange::Suffix(count) => ByteRange::Last(*count),
    });
    Ok(options::GetOptions { range, conditions, ..options::GetOptions::default() })
}

fn result(location: &Path, object: Object) -> GetResult {
    let Object { meta, range, body, .. } = object;
    let mut attributes = Attributes::new();
    let mut set = |attribute, value: &str| attributes.insert(attribute, value.to_owned().into());
    if let Some(kind) = &meta.content_type {
        set(Attribute::ContentType, kind);
    }
    if let Some(encoding) = &meta.content_encoding {
        set(Attribute::ContentEncoding, encoding);
    }
    for (name, value) in meta.user_meta.iter() {
        set(Attribute::Metadata(name.to_owned().into()), value);
    }
    let meta = ObjectMeta {
        location: location.clone(),
        last_modified: time(meta.timestamp).into(),
        size: meta.size,
        e_tag: meta.etag.as_ref().map(ETag::to_string),
        version: None,
    };
    let chunks = match body.try_into_bytes() {
        Ok(bytes) => stream::once(future::ready(Ok(bytes))).boxed(),
        Err(body) => {
            let location = location.clone();
            body.map_err(move |e| failed(&location, e)).boxed()
        }
    };
    get_result(GetResultPayload::Stream(chunks), meta, range, attributes)
}

fn generic(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Generic { store: STORE, source: source.into() }
}

fn failed(path: impl ToString, error: crate::Error) -> Error {
    let (path, kind, source) = (path.to_string(), error.kind(), Box::new(error));
    match kind {
        ErrorKind::NotFound => Error::NotFound { path, source },
        ErrorKind::NotModified => Error::NotModified { path, source },
        ErrorKind::PreconditionFailed => Error::Precondition { path, source },
        ErrorKind::Forbidden => Error::PermissionDenied { path, source },
        ErrorKind::Unauthorized => Error::Unauthenticated { path, source },
        _ => Error::Generic { store: STORE, source },
    }
}

/// Of a change that only creates.
fn not_created(path: &Path, error: crate::Error) -> Error {
    match error.kind() {
        ErrorKind::PreconditionFailed => {
            Error::AlreadyExists { path: path.to_string(), source: Box::new(error) }
        }
        _ => failed(path, error),
    }
}
