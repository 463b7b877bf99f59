use super::Client;
use crate::error::Error;
use crate::transport::Request;
use crate::types::Stats;
use crate::wire::routes;

/// Longer than the statistics of any node.
const STATS_MAX: usize = 16 * 1024 * 1024;

impl Client {
    /// What the node that answers can say about itself, the other members of its cluster among it.
    ///
    /// # Errors
    /// [`ErrorKind::Transport`](crate::ErrorKind::Transport) when no node answered.
    ///
    /// # Cancellation
    /// May be dropped at any time.
    pub async fn stats(&self) -> Result<Stats, Error> {
        self.ask(&Request::get(routes::STATS), |answer| answer.json(STATS_MAX)).await
    }
}
