use http::Method;

use super::Client;
use crate::error::Error;
use crate::transport::{Repeat, Request};
use crate::types::{ObjectId, UploadStats};
use crate::wire::routes;

/// Longer than what a node tells of its queue.
const UPLOADS_MAX: usize = 1024 * 1024;

impl Client {
    /// What the node that answers has yet to store in the bucket.
    ///
    /// # Errors
    /// [`ErrorKind::Transport`](crate::ErrorKind::Transport) when no node answered.
    ///
    /// # Cancellation
    /// May be dropped at any time.
    pub async fn uploads(&self) -> Result<UploadStats, Error> {
        self.ask(&Request::get(routes::UPLOADS), |answer| answer.json(UPLOADS_MAX)).await
    }

    /// Has the node try at once to store a version that waits for the bucket, also one that the
    /// bucket refused before. Comes back before it is tried; [`uploads`](Self::uploads) shows the
    /// outcome. Each node has a queue of its own: ask the one where it waits.
    ///
    /// # Errors
    /// Those of `Node::retry_upload`; [`ErrorKind::Transport`](crate::ErrorKind::Transport) when no
    /// node answered.
    ///
    /// # Cancellation
    /// Dropping the future leaves it to chance.
    pub async fn retry_upload(&self, id: ObjectId) -> Result<(), Error> {
        self.post(format!("{}{id}", routes::RETRY_UPLOAD)).await
    }

    /// Has the node give up storing a version that waits for the bucket. The object stays on the
    /// node, with the level it has.
    ///
    /// # Errors
    /// As [`retry_upload`](Self::retry_upload).
    ///
    /// # Cancellation
    /// Dropping the future leaves it to chance.
    pub async fn drop_upload(&self, id: ObjectId) -> Result<(), Error> {
        self.post(format!("{}{id}", routes::DROP_UPLOAD)).await
    }

    /// A change that says nothing when it is made.
    pub(super) async fn post(&self, path: String) -> Result<(), Error> {
        self.call(&Request::new(Method::POST, path, Repeat::Unsafe), None).await.map(drop)
    }
}
