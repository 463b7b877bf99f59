use super::Client;
use crate::error::{Error, ErrorKind};
use crate::transport::{Request, strange};
use crate::types::NodeId;
use crate::wire::routes;

impl Client {
    /// Whether the node that is asked wants requests: `/readyz`. Of several it is the preferred
    /// one that is up.
    ///
    /// # Errors
    /// [`ErrorKind::Transport`] when no node answered.
    ///
    /// # Cancellation
    /// May be dropped at any time.
    pub async fn is_ready(&self) -> Result<bool, Error> {
        match self.call_once(&Request::get(routes::READYZ)).await {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::Transport => Err(error),
            Err(_) => Ok(false),
        }
    }

    /// The id of the node that answers, a ULID: `/api/v1/ping`.
    ///
    /// # Errors
    /// [`ErrorKind::Transport`] when no node answered.
    ///
    /// # Cancellation
    /// May be dropped at any time.
    pub async fn node_id(&self) -> Result<String, Error> {
        self.ask(&Request::get(routes::PING), |answer| async move {
            let id = answer.text().await?;
            let known: Result<NodeId, Error> = id.parse();
            known
                .map(|_| id)
                .map_err(|e| strange("the answer is not the id of a node").with_source(e))
        })
        .await
    }

    /// The version of the program of the node that answers, such as `objstore 0.1.0 (0464580)`:
    /// version and commit.
    ///
    /// # Errors
    /// [`ErrorKind::Transport`] when no node answered.
    ///
    /// # Cancellation
    /// May be dropped at any time.
    pub async fn version(&self) -> Result<String, Error> {
        self.ask(&Request::get(routes::VERSION), |answer| async move {
            let version = answer.text().await?;
            if version.is_empty() { Err(strange("the answer is empty")) } else { Ok(version) }
        })
        .await
    }
}
