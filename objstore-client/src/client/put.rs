use std::sync::Arc;

use http::Method;
use http::header::{HeaderName, HeaderValue};

use super::Client;
use crate::body::Body;
use crate::error::Error;
use crate::options::PutOptions;
use crate::transport::{Repeat, Request};
use crate::types::{ObjectId, ObjectMeta};
use crate::wire::{headers, routes};

impl Client {
    /// Stores a body under an id, as a new object or a new version of one, and returns its
    /// metadata once the node that took it has made it as durable as its level asks for.
    ///
    /// The body is streamed, whatever its length. Is it [`restartable`](Body::restartable) or in
    /// memory, another node is tried where one fails; see [`Client`], Tries.
    ///
    /// # Errors
    /// Those of `Node::put`, errors of the body's stream, and [`ErrorKind::Transport`] when no node
    /// answered: then the object may have been stored, or not.
    ///
    /// [`ErrorKind::Transport`]: crate::ErrorKind::Transport
    ///
    /// # Cancellation
    /// Dropping the future closes the connection, and leaves the old version or, where the node had
    /// all of the body, perhaps the new one.
    pub async fn put(
        &self,
        id: ObjectId,
        body: impl Into<Body>,
        options: PutOptions,
    ) -> Result<Arc<ObjectMeta>, Error> {
        let repeat = repeat(options.conditions.is_empty());
        let mut request = Request::new(Method::POST, routes::PUT, repeat).describing();
        let value = HeaderValue::try_from(id.to_string()).map_err(super::call::unsendable)?;
        request.push(HeaderName::from_static(headers::ID), value);
        request.put_options_of_id(&options)?;
        self.change(&request, Some(body.into())).await
    }
}

/// Of a change that does the same when it is made twice, but for what its conditions make of it.
pub(super) fn repeat(unconditional: bool) -> Repeat {
    if unconditional { Repeat::Safe } else { Repeat::Unsafe }
}
