use super::Client;
use crate::error::Error;
use crate::types::NodeId;
use crate::wire::routes;

impl Client {
    /// Gives up a member of the cluster that will not come back, by the id that
    /// [`stats`](Self::stats) shows.
    ///
    /// # Errors
    /// Those of `Node::forget`, [`ErrorKind::InvalidId`](crate::ErrorKind::InvalidId) for what is no ULID;
    /// [`ErrorKind::Transport`](crate::ErrorKind::Transport) when no node answered.
    ///
    /// # Cancellation
    /// Dropping the future leaves it to chance.
    pub async fn forget(&self, node_id: &str) -> Result<(), Error> {
        let node: NodeId = node_id.parse()?;
        self.post(format!("{}{node}", routes::FORGET)).await
    }
}
