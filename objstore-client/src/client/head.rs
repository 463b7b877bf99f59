use std::sync::Arc;

use super::Client;
use crate::error::{Error, ErrorKind};
use crate::transport::Request;
use crate::types::{ObjectId, ObjectMeta};
use crate::wire::{headers, routes};

/// Longer than the metadata of any object.
const META_MAX: usize = 1024 * 1024;

impl Client {
    /// What is known about an object, without its body.
    ///
    /// # Errors
    /// Those of `Node::head`: [`ErrorKind::NotFound`], [`ErrorKind::Deleted`] with the tombstone
    /// in [`Error::meta`]; [`ErrorKind::Transport`] when no node answered.
    ///
    /// # Cancellation
    /// May be dropped at any time.
    pub async fn head(&self, id: ObjectId) -> Result<Arc<ObjectMeta>, Error> {
        self.meta(Request::get(format!("{}{id}", routes::META))).await
    }

    /// The same, and when nothing is known there what the bucket has: its record is then kept by
    /// the node.
    ///
    /// # Errors
    /// As [`head`](Self::head).
    ///
    /// # Cancellation
    /// May be dropped at any time.
    pub async fn head_fetched(&self, id: ObjectId) -> Result<Arc<ObjectMeta>, Error> {
        self.meta(Request::get(format!("{}{id}", routes::META)).flag(headers::FETCH)).await
    }

    async fn meta(&self, request: Request) -> Result<Arc<ObjectMeta>, Error> {
        let meta: Arc<ObjectMeta> =
            Arc::new(self.ask(&request, |answer| answer.json(META_MAX)).await?);
        if meta.is_deleted {
            return Err(
                Error::new(ErrorKind::Deleted, "the object has been deleted").with_meta(meta)
            );
        }
        Ok(meta)
    }
}
