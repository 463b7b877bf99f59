//! An object that comes in parts: one put, whose body goes on as they come.

use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt, Shared};
use futures_util::stream;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::oneshot;

use super::Keys;
use crate::body::Body;
use crate::error::{Error, ErrorKind};
use crate::options::PutOptions;
use crate::types::{ObjectKey, ObjectMeta};

/// Given up when it is dropped before its end.
pub(super) struct Upload {
    /// What the put takes from. Its queue has no bound of its own: a part comes with a future that
    /// says when it was taken, and callers wait for some of these before they make more parts.
    parts: Option<UnboundedSender<Part>>,
    outcome: Shared<BoxFuture<'static, Result<Arc<ObjectMeta>, Error>>>,
}

enum Part {
    Bytes(Vec<Bytes>, oneshot::Sender<()>),
    End,
}

impl Upload {
    pub(super) fn start<K: Keys>(keys: K, key: ObjectKey, options: PutOptions) -> Self {
        let (parts, coming) = mpsc::unbounded_channel();
        // A task, because parts are taken whichever of their futures is waited for.
        let put = tokio::spawn(async move { keys.put_key(&key, body(coming), options).await });
        let outcome = async { put.await.unwrap_or_else(|e| Err(ended().with_source(e))) };
        Self { parts: Some(parts), outcome: outcome.boxed().shared() }
    }

    /// The next part. What comes back is ready when the put has taken all of it.
    pub(super) fn put_part(
        &self,
        bytes: Vec<Bytes>,
    ) -> impl Future<Output = Result<(), Error>> + Send + 'static {
        let (taken, is_taken) = oneshot::channel();
        if let Some(parts) = &self.parts {
            // A put that has failed takes nothing, and says why below.
            let _ = parts.send(Part::Bytes(bytes, taken));
        }
        let outcome = self.outcome.clone();
        async move {
            match is_taken.await {
                Ok(()) => Ok(()),
                Err(_) => outcome.await.and_then(|_| Err(ended())),
            }
        }
    }

    pub(super) async fn complete(&mut self) -> Result<Arc<ObjectMeta>, Error> {
        if let Some(parts) = self.parts.take() {
            let _ = parts.send(Part::End);
        }
        self.outcome.clone().await
    }

    /// Comes back when nothing is left of it.
    pub(super) async fn abort(&mut self) {
        if self.parts.take().is_some() {
            let _ = self.outcome.clone().await;
        }
    }
}

impl std::fmt::Debug for Upload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upload").finish_non_exhaustive()
    }
}

/// The parts as they come. Without an end to them it ends with an error, so that nothing is stored.
fn body(parts: UnboundedReceiver<Part>) -> Body {
    struct Coming {
        parts: UnboundedReceiver<Part>,
        bytes: std::vec::IntoIter<Bytes>,
        /// Whoever waits until all bytes are taken.
        waits: Option<oneshot::Sender<()>>,
    }

    let coming = Coming { parts, bytes: Vec::new().into_iter(), waits: None };
    let chunks = stream::try_unfold(coming, |mut coming| async move {
        loop {
            if let Some(bytes) = coming.bytes.next() {
                return Ok(Some((bytes, coming)));
            }
            if let Some(waits) = coming.waits.take() {
                let _ = waits.send(());
            }
            match coming.parts.recv().await {
                Some(Part::Bytes(bytes, waits)) => {
                    (coming.bytes, coming.waits) = (bytes.into_iter(), Some(waits));
                }
                Some(Part::End) => return Ok(None),
                None => {
                    let given_up = "the upload was given up; nothing was stored";
                    return Err(Error::new(ErrorKind::IncompleteBody, given_up));
                }
            }
        }
    });
    Body::from_stream(chunks, None)
}

fn ended() -> Error {
    Error::new(ErrorKind::Stopping, "the upload has ended; begin another")
}
