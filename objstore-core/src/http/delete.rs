use http::{Response, StatusCode};
use objstore_client::options::DeleteOptions;
use objstore_client::types::ObjectId;
use objstore_client::wire::headers;
use objstore_client::{Body, Error};

use super::{answer, request};
use crate::node::Node;

/// `POST /api/v1/delete/:id` and `DELETE /api/v1/get/:id`.
pub(super) async fn delete(
    node: &Node,
    id: ObjectId,
    head: &http::request::Parts,
) -> Result<Response<Body>, Error> {
    let mut options = DeleteOptions::default();
    options.conditions = request::conditions(&head.headers)?;
    options.purge = request::flag(&head.headers, headers::PURGE)?;
    let meta = node.delete(id, options).await?;
    let mut response = answer::empty(StatusCode::OK);
    answer::put_meta(response.headers_mut(), &meta);
    answer::put_json(response.headers_mut(), &head.headers, &meta);
    Ok(response)
}
