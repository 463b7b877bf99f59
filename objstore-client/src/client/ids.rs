use super::Client;
use crate::error::Error;
use crate::transport::{Answer, Request};
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
        self.ask(&Request::get(routes::ID), Answer::text).await?.parse()
    }
}
