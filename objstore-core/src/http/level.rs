use http::Response;
use objstore_client::types::ObjectId;
use objstore_client::{Body, Error};

use super::{answer, query, request};
use crate::node::Node;

/// `POST /api/v1/level/:id`, the level in `X-Meta-ConsistencyLevel` or `?level=`.
pub(super) async fn level(
    node: &Node,
    id: ObjectId,
    head: &http::request::Parts,
) -> Result<Response<Body>, Error> {
    let level = match request::level(&head.headers)? {
        Some(level) => level,
        None => query::value(head, "level").as_deref().unwrap_or_default().parse()?,
    };
    let meta = node.set_level(id, level, request::write_mode(&head.headers)?).await?;
    let mut response = answer::empty(answer::made(&meta));
    answer::put_validators(response.headers_mut(), &meta);
    answer::put_meta(response.headers_mut(), &meta);
    answer::put_json(response.headers_mut(), &head.headers, &meta);
    Ok(response)
}
