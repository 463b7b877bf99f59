use super::Client;
use crate::error::Error;
use crate::transport::{Request, strange};
use crate::types::ObjectId;
use crate::wire::routes;

impl Client {
    /// A fresh id, above every id that the node which answers has made since it started.
    ///
    /// # Errors
    /// [`ErrorKind::Transport`](crate::ErrorKind::Transport) when no node answered.
    ///
    /// # Cancellation
    /// May be dropped at any time.
    pub async fn new_id(&self) -> Result<ObjectId, Error> {
        self.ask(&Request::get(routes::ID), |answer| async move {
            answer
                .text()
                .await?
                .parse()
                .map_err(|e: Error| strange("the answer is not an id").with_source(e))
        })
        .await
    }
}
