//! The client for programs without an async runtime: the same verbs, which wait for what comes of
//! them.
//!
//! ```
//! use objstore_client::blocking::Client;
//! use objstore_client::options::{GetOptions, PutOptions};
//! use std::io::Read;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
//! # let node = runtime.block_on(objstore_core::Node::builder().in_memory().start())?;
//! # let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
//! # let server = runtime.block_on(async { node.serve_public(listener) })?;
//! # let address = server.local_addr().to_string();
//! # let address = address.as_str();
//! let client = Client::connect(address)?; // such as "localhost:10999"
//! let id = client.new_id()?;
//! client.put(id, "It works!", PutOptions::named("test.txt")?)?;
//! let mut text = String::new();
//! client.get(id, GetOptions::default())?.body.read_to_string(&mut text)?;
//! assert_eq!(text, "It works!");
//! # Ok(())
//! # }
//! ```

mod body;
mod engine;
mod messages;

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

pub use body::{Body, Object};
use engine::Engine;
pub use messages::Subscription;

use crate::error::{Error, ErrorKind};
use crate::options::{
    CopyOptions, DeleteOptions, GetOptions, KeyListOptions, ListOptions, PutOptions, WriteMode,
};
use crate::types::{KeyPage, Level, ObjectId, ObjectKey, ObjectMeta, Stats, UploadStats};

/// What is read of a body at a time, in bytes.
const PIECE: usize = 64 * 1024;

/// A [`Client`](crate::Client) with a thread of its own, on which its connections live. Cheap to
/// clone and to send between threads; all clones share that thread, which ends with the last of them.
///
/// Its methods block. They may be called anywhere, on threads of an async runtime too, which they
/// then keep from other work; only in the stream of a body that this very client sends they are
/// [`ErrorKind::InvalidRequest`], as they would wait for themselves. Arguments, results, errors and tries are those of the async client.
#[derive(Clone, Debug)]
pub struct Client {
    client: crate::Client,
    engine: Arc<Engine>,
}

impl Client {
    /// As [`crate::Client::connect`].
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when that is no address, or no thread can be started.
    pub fn connect(address: &str) -> Result<Self, Error> {
        Self::new(crate::Client::connect(address)?)
    }

    /// A client that blocks, of one with settings of its own. That one had better not been used yet:
    /// connections that it has live elsewhere.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] when no thread can be started.
    pub fn new(client: crate::Client) -> Result<Self, Error> {
        Ok(Self { client, engine: Arc::new(Engine::start()?) })
    }

    /// As [`crate::Client::within`].
    #[must_use]
    pub fn within(&self, timeout: Duration) -> Self {
        Self { client: self.client.within(timeout), ..self.clone() }
    }

    /// As [`crate::Client::with_request_id`].
    ///
    /// # Errors
    /// Those of the same there.
    pub fn with_request_id(&self, id: &str) -> Result<Self, Error> {
        Ok(Self { client: self.client.with_request_id(id)?, ..self.clone() })
    }

    /// As [`crate::Client::with_traceparent`].
    ///
    /// # Errors
    /// Those of the same there.
    pub fn with_traceparent(&self, traceparent: &str) -> Result<Self, Error> {
        Ok(Self { client: self.client.with_traceparent(traceparent)?, ..self.clone() })
    }

    fn run<T: Send + 'static, F>(&self, work: impl FnOnce(crate::Client) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        self.engine.run(work(self.client.clone()))
    }

    /// As [`crate::Client::new_id`].
    ///
    /// # Errors
    /// Those of the same there.
    pub fn new_id(&self) -> Result<ObjectId, Error> {
        self.run(|client| async move { client.new_id().await })
    }

    /// Stores what is in memory; as [`crate::Client::put`].
    ///
    /// # Errors
    /// Those of the same there.
    pub fn put(
        &self,
        id: ObjectId,
        body: impl Into<crate::Body>,
        options: PutOptions,
    ) -> Result<Arc<ObjectMeta>, Error> {
        let body = body.into();
        self.run(|client| async move { client.put(id, body, options).await })
    }

    /// Stores what `from` brings until its end, piece by piece; as [`crate::Client::put`]. `len` is
    /// how many bytes those are, where that is known. A time limit ends the call once `from` returns
    /// from the read it is in: nothing else can.
    ///
    /// # Errors
    /// Those of the same there; [`ErrorKind::IncompleteBody`] with the error of the reader as its
    /// source, when it fails.
    pub fn put_from(
        &self,
        id: ObjectId,
        from: impl Read,
        len: Option<u64>,
        options: PutOptions,
    ) -> Result<Arc<ObjectMeta>, Error> {
        self.send_from(from, len, |client, body| async move { client.put(id, body, options).await })
    }

    /// Gets an object's body, or a range of it; as [`crate::Client::get`]. The body blocks where it
    /// is read.
    ///
    /// # Errors
    /// Those of the same there.
    pub fn get(&self, id: ObjectId, options: GetOptions) -> Result<Object, Error> {
        let object = self.run(|client| async move { client.get(id, options).await })?;
        Ok(Object::new(object, &self.engine))
    }

    /// As [`crate::Client::head`].
    ///
    /// # Errors
    /// Those of the same there.
    pub fn head(&self, id: ObjectId) -> Result<Arc<ObjectMeta>, Error> {
        self.run(|client| async move { client.head(id).await })
    }

    /// As [`crate::Client::head_fetched`].
    ///
    /// # Errors
    /// Those of the same there.
    pub fn head_fetched(&self, id: ObjectId) -> Result<Arc<ObjectMeta>, Error> {
        self.run(|client| async move { client.head_fetched(id).await })
    }

    /// As [`crate::Client::delete`].
    ///
    /// # Errors
    /// Those of the same there.
    pub fn delete(&self, id: ObjectId, options: DeleteOptions) -> Result<Arc<ObjectMeta>, Error> {
        self.run(|client| async move { client.delete(id, options).await })
    }

    /// As [`crate::Client::set_level`].
    ///
    /// # Errors
    /// Those of the same there.
    pub fn set_level(
        &self,
        id: ObjectId,
        level: Level,
        write: WriteMode,
    ) -> Result<Arc<ObjectMeta>, Error> {
        self.run(|client| async move { client.set_level(id, level, write).await })
    }

    /// As [`crate::Client::list`].
    ///
    /// # Errors
    /// Those of the same there.
    pub fn list(&self, options: ListOptions) -> Result<Vec<Arc<ObjectMeta>>, Error> {
        self.run(|client| async move { client.list(options).await })
    }

    /// As [`crate::Client::get_key`]. The body blocks where it is read.
    ///
    /// # Errors
    /// Those of the same there.
    pub fn get_key(&self, key: &ObjectKey, options: GetOptions) -> Result<Object, Error> {
        let key = key.clone();
        let object = self.run(|client| async move { client.get_key(&key, options).await })?;
        Ok(Object::new(object, &self.engine))
    }

    /// As [`crate::Client::head_key`].
    ///
    /// # Errors
    /// Those of the same there.
    pub fn head_key(&self, key: &ObjectKey, options: GetOptions) -> Result<Arc<ObjectMeta>, Error> {
        let key = key.clone();
        self.run(|client| async move { client.head_key(&key, options).await })
    }

    /// Stores what is in memory; as [`crate::Client::put_key`].
    ///
    /// # Errors
    /// Those of the same there.
    pub fn put_key(
        &self,
        key: &ObjectKey,
        body: impl Into<crate::Body>,
        options: PutOptions,
    ) -> Result<Arc<ObjectMeta>, Error> {
        let (key, body) = (key.clone(), body.into());
        self.run(|client| async move { client.put_key(&key, body, options).await })
    }

    /// Stores what `from` brings until its end; as [`crate::Client::put_key`] and
    /// [`put_from`](Self::put_from).
    ///
    /// # Errors
    /// Those of the same there.
    pub fn put_key_from(
        &self,
        key: &ObjectKey,
        from: impl Read,
        len: Option<u64>,
        options: PutOptions,
    ) -> Result<Arc<ObjectMeta>, Error> {
        let key = key.clone();
        self.send_from(from, len, |client, body| async move {
            client.put_key(&key, body, options).await
        })
    }

    /// As [`crate::Client::delete_key`].
    ///
    /// # Errors
    /// Those of the same there.
    pub fn delete_key(&self, key: &ObjectKey, options: DeleteOptions) -> Result<(), Error> {
        let key = key.clone();
        self.run(|client| async move { client.delete_key(&key, options).await })
    }

    /// As [`crate::Client::copy_key`].
    ///
    /// # Errors
    /// Those of the same there.
    pub fn copy_key(
        &self,
        from: &ObjectKey,
        to: &ObjectKey,
        options: CopyOptions,
    ) -> Result<(), Error> {
        let (from, to) = (from.clone(), to.clone());
        self.run(|client| async move { client.copy_key(&from, &to, options).await })
    }

    /// As [`crate::Client::list_keys`].
    ///
    /// # Errors
    /// Those of the same there.
    pub fn list_keys(&self, options: KeyListOptions) -> Result<KeyPage, Error> {
        self.run(|client| async move { client.list_keys(options).await })
    }

    /// As [`crate::Client::uploads`].
    ///
    /// # Errors
    /// Those of the same there.
    pub fn uploads(&self) -> Result<UploadStats, Error> {
        self.run(|client| async move { client.uploads().await })
    }

    /// As [`crate::Client::retry_upload`].
    ///
    /// # Errors
    /// Those of the same there.
    pub fn retry_upload(&self, id: ObjectId) -> Result<(), Error> {
        self.run(|client| async move { client.retry_upload(id).await })
    }

    /// As [`crate::Client::drop_upload`].
    ///
    /// # Errors
    /// Those of the same there.
    pub fn drop_upload(&self, id: ObjectId) -> Result<(), Error> {
        self.run(|client| async move { client.drop_upload(id).await })
    }

    /// As [`crate::Client::forget`].
    ///
    /// # Errors
    /// Those of the same there.
    pub fn forget(&self, node_id: &str) -> Result<(), Error> {
        let node_id = node_id.to_owned();
        self.run(|client| async move { client.forget(&node_id).await })
    }

    /// As [`crate::Client::send`].
    ///
    /// # Errors
    /// Those of the same there.
    pub fn send(&self, payload: impl Into<Bytes>) -> Result<usize, Error> {
        let payload = payload.into();
        self.run(|client| async move { client.send(payload).await })
    }

    /// As [`crate::Client::subscribe`].
    ///
    /// # Errors
    /// Those of the same there.
    pub fn subscribe(&self) -> Result<Subscription, Error> {
        let messages = self.run(|client| async move { client.subscribe().await })?;
        Ok(Subscription::new(messages, &self.engine))
    }

    /// As [`crate::Client::stats`].
    ///
    /// # Errors
    /// Those of the same there.
    pub fn stats(&self) -> Result<Stats, Error> {
        self.run(|client| async move { client.stats().await })
    }

    /// As [`crate::Client::is_ready`].
    ///
    /// # Errors
    /// Those of the same there.
    pub fn is_ready(&self) -> Result<bool, Error> {
        self.run(|client| async move { client.is_ready().await })
    }

    /// As [`crate::Client::node_id`].
    ///
    /// # Errors
    /// Those of the same there.
    pub fn node_id(&self) -> Result<String, Error> {
        self.run(|client| async move { client.node_id().await })
    }

    /// As [`crate::Client::version`].
    ///
    /// # Errors
    /// Those of the same there.
    pub fn version(&self) -> Result<String, Error> {
        self.run(|client| async move { client.version().await })
    }

    /// A put whose body this thread reads while it is on its way.
    fn send_from<T: Send + 'static, F>(
        &self,
        mut from: impl Read,
        len: Option<u64>,
        put: impl FnOnce(crate::Client, crate::Body) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>> + Send + 'static,
    {
        let (mut to, mut pieces) = tokio::sync::mpsc::channel::<Result<Bytes, Error>>(1);
        let pieces = futures_util::stream::poll_fn(move |cx| pieces.poll_recv(cx));
        let body = crate::Body::from_stream(pieces, len);
        let put = self.engine.begin(put(self.client.clone(), body));
        let mut room = BytesMut::new();
        loop {
            room.resize(PIECE, 0);
            let piece = match from.read(&mut room) {
                Ok(0) => break,
                Ok(read) => Ok(room.split_to(read).freeze()),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => Err(Error::new(
                    ErrorKind::IncompleteBody,
                    "the body could not be read to its end; nothing was stored",
                )
                .with_source(e)),
            };
            let is_last = piece.is_err();
            // Whoever takes no more has an answer already.
            let sent =
                self.engine.run(async move { Ok(to.send(piece).await.map(|()| to).ok()) })?;
            match sent {
                Some(sender) if !is_last => to = sender,
                _ => return put.wait(),
            }
        }
        drop(to);
        put.wait()
    }
}
