use std::time::Duration;

use bytes::Bytes;
use http::Response;
use objstore_client::types::Message;
use objstore_client::wire::messages::Sent;
use objstore_client::{Body, Error, ErrorKind};

use super::intake::Pending;
use super::{answer, query};
use crate::node::Node;

/// `GET /api/v1/messages?after=NEXT&wait=MILLISECONDS`: those that came since an earlier answer.
pub(super) async fn messages(
    node: &Node,
    head: &http::request::Parts,
) -> Result<Response<Body>, Error> {
    let after = query::value(head, "after").map(|place| place.parse()).transpose()?;
    let wait = query::value(head, "wait").map(|wait| query::millis(&wait)).transpose()?;
    let page = node.inner.messages(after, Duration::from_millis(wait.unwrap_or_default())).await?;
    Ok(answer::json(&page))
}

/// `POST /api/v1/messages`: to every node, this one included.
pub(super) async fn send<B>(node: &Node, body: &mut Pending<B>) -> Result<Response<Body>, Error>
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let payload = body.take().collect(Message::MAX).await;
    let payload = payload.map_err(|error| match error.kind() {
        ErrorKind::TooLarge => Error::new(ErrorKind::TooLarge, "a message has 8 KiB at most"),
        _ => error,
    })?;
    let nodes = node.inner.spread_message(payload).await?;
    Ok(answer::json(&Sent { nodes }))
}
