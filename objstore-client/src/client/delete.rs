use std::sync::Arc;

use http::Method;

use super::Client;
use super::put::repeat;
use crate::error::Error;
use crate::options::DeleteOptions;
use crate::transport::Request;
use crate::types::{ObjectId, ObjectMeta};
use crate::wire::{headers, routes};

impl Client {
    /// Deletes an object and returns its tombstone. Deleting a deleted object succeeds, and makes the
    /// tombstone that of now. The bucket keeps what it has unless
    /// [`DeleteOptions::purge`] says otherwise.
    ///
    /// # Errors
    /// Those of `Node::delete`; [`ErrorKind::Transport`](crate::ErrorKind::Transport) when no node
    /// answered: then it may have been deleted, or not.
    ///
    /// # Cancellation
    /// Dropping the future leaves the object as it was or deleted.
    pub async fn delete(
        &self,
        id: ObjectId,
        options: DeleteOptions,
    ) -> Result<Arc<ObjectMeta>, Error> {
        let repeat = repeat(options.conditions.is_empty());
        let path = format!("{}{id}", routes::DELETE);
        let mut request = Request::new(Method::POST, path, repeat).describing();
        request.conditions(&options.conditions)?;
        if options.purge {
            request = request.flag(headers::PURGE);
        }
        self.change(&request, None).await
    }
}
