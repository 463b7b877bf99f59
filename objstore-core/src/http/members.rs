use http::{Response, StatusCode};
use objstore_client::{Body, Error, ErrorKind};

use super::answer;
use crate::journal::NodeId;
use crate::node::Node;

/// `POST /api/v1/forget/:node`.
pub(super) async fn forget(node: &Node, id: &str) -> Result<Response<Body>, Error> {
    let id = NodeId::parse(id)
        .ok_or_else(|| Error::new(ErrorKind::InvalidId, "not the id of a node, which is a ULID"))?;
    node.forget(id).await?;
    Ok(answer::empty(StatusCode::OK))
}
