use http::{Response, StatusCode};
use objstore_client::types::ObjectId;
use objstore_client::{Body, Error};

use super::answer;
use crate::node::Node;

/// `POST /api/v1/uploads/retry/:id`.
pub(super) async fn retry(node: &Node, id: ObjectId) -> Result<Response<Body>, Error> {
    node.retry_upload(id).await?;
    Ok(answer::empty(StatusCode::ACCEPTED))
}

/// `POST /api/v1/uploads/drop/:id`.
pub(super) async fn drop(node: &Node, id: ObjectId) -> Result<Response<Body>, Error> {
    node.drop_upload(id).await?;
    Ok(answer::empty(StatusCode::OK))
}
