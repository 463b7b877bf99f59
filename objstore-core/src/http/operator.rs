//! The private API as whoever looks after a node sees it, in the clear on loopback: what a person
//! can ask with curl. What only a node can say is refused.

use std::sync::Arc;

use http::{Method, Response};
use objstore_client::types::Message;
use objstore_client::wire::messages::Sent;
use objstore_client::wire::private::routes;
use objstore_client::{Body, Error, ErrorKind};

use super::answer;
use super::private::{allowed, delete, no_such_route, takes};
use crate::node::Inner;

pub(super) async fn dispatch(
    inner: &Arc<Inner>,
    head: &http::request::Parts,
    body: Body,
) -> Result<Response<Body>, Error> {
    match (head.uri.path(), &head.method) {
        (routes::PING, &Method::GET) => Ok(answer::text(format!("{}\n", inner.node_id))),
        (routes::NODES, &Method::GET) => Ok(answer::json(&inner.all_infos())),
        (routes::MESSAGE, &Method::POST) => {
            let nodes = inner.spread_message(body.collect(Message::MAX).await?).await?;
            Ok(answer::json(&Sent { nodes }))
        }
        (path, &Method::POST) if path.starts_with(routes::DELETE) => delete(inner, path).await,
        (path, &Method::GET | &Method::HEAD) if path.starts_with(routes::GET) => {
            inner.answer_held(path.strip_prefix(routes::GET).unwrap_or_default(), head).await
        }
        (path, method) => match allowed(path) {
            None => Err(no_such_route()),
            Some(allow) if !takes(allow, method) => Ok(answer::wrong_method(allow)),
            Some(_) => Err(Error::new(
                ErrorKind::Forbidden,
                "only another node can ask this; the public API is for everybody else",
            )),
        },
    }
}
