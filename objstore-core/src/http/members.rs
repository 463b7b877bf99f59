use http::{Response, StatusCode};
use objstore_client::{Body, Error};

use super::answer;
use crate::node::Node;

/// `POST /api/v1/forget/:node`.
pub(super) async fn forget(node: &Node, id: &str) -> Result<Response<Body>, Error> {
    node.forget(id.parse()?).await?;
    Ok(answer::empty(StatusCode::OK))
}
