use std::sync::Arc;

use http::Method;

use super::Client;
use crate::error::Error;
use crate::options::WriteMode;
use crate::transport::{Repeat, Request};
use crate::types::{Level, ObjectId, ObjectMeta};
use crate::wire::routes;

impl Client {
    /// Raises the level of an object without sending its body again, and returns its metadata once
    /// the new level holds. A level is never lowered.
    ///
    /// # Errors
    /// Those of `Node::set_level`; [`ErrorKind::Transport`](crate::ErrorKind::Transport) when no
    /// node answered: then it may have been raised, or not.
    ///
    /// # Cancellation
    /// Dropping the future leaves the old level or the new one.
    pub async fn set_level(
        &self,
        id: ObjectId,
        level: Level,
        write: WriteMode,
    ) -> Result<Arc<ObjectMeta>, Error> {
        let path = format!("{}{id}", routes::LEVEL);
        let mut request = Request::new(Method::POST, path, Repeat::Safe).describing();
        request.level(level);
        request.write(write);
        self.change(&request, None).await
    }
}
