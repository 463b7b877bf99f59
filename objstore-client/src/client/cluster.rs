use super::Client;
use crate::error::{Error, ErrorKind};
use crate::wire::routes;

impl Client {
    /// Gives up a member of the cluster that will not come back, by the id that
    /// [`stats`](Self::stats) shows.
    ///
    /// # Errors
    /// Those of `Node::forget`, [`ErrorKind::InvalidId`] for what is no ULID;
    /// [`ErrorKind::Transport`] when no node answered.
    ///
    /// # Cancellation
    /// Dropping the future leaves it to chance.
    pub async fn forget(&self, node_id: &str) -> Result<(), Error> {
        if node_id.len() != 26 || !node_id.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(Error::new(ErrorKind::InvalidId, "not the id of a node, which is a ULID"));
        }
        self.post(format!("{}{node_id}", routes::FORGET)).await
    }
}
