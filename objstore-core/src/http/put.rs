use bytes::Bytes;
use http::Response;
use http::header::CONTENT_RANGE;
use objstore_client::options::PutOptions;
use objstore_client::{Body, Error};

use super::intake::Pending;
use super::{answer, request};
use crate::node::Node;

/// `POST` and `PUT /api/v1/put`.
pub(super) async fn put<B>(
    node: &Node,
    head: &http::request::Parts,
    body: &mut Pending<B>,
) -> Result<Response<Body>, Error>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let headers = &head.headers;
    // RFC 9110 §14.5: a server that does not take partial puts must not take this for a whole one.
    if headers.contains_key(CONTENT_RANGE) {
        return Err(request::invalid("a put takes whole objects; leave Content-Range out"));
    }
    let id = request::object_id(headers)?;
    let mut options = PutOptions::default();
    options.name = request::name(headers)?;
    options.level = request::level(headers)?.unwrap_or_default();
    options.user_meta = request::user_meta(headers)?;
    options.content_type = request::content_type(headers)?;
    options.content_encoding = request::content_encoding(headers)?;
    options.conditions = request::conditions(headers)?;
    options.digests = request::digests(headers)?;

    options.write = request::write_mode(headers)?;
    options.min_replicas = request::min_replicas(headers)?;

    let meta = node.put(id, body.take(), options).await?;
    let mut response = answer::empty(answer::made(&meta));
    answer::put_validators(response.headers_mut(), &meta);
    answer::put_meta(response.headers_mut(), &meta);
    answer::put_json(response.headers_mut(), headers, &meta);
    Ok(response)
}
