//! Two nodes tell each other who they are.

use bytes::Bytes;
use http::Response;
use objstore_client::wire::private::{Hello, PROTOCOL};
use objstore_client::{Body, Error, ErrorKind};

use crate::http::{Caller, private_json};
use crate::node::Inner;

impl Inner {
    /// Who this node is.
    pub(crate) fn hello(&self) -> Hello {
        let mut hello = Hello::default();
        hello.protocol = PROTOCOL;
        hello.tag.clone_from(&self.settings.cluster.tag);
        hello.node = self.node_id.to_string();
        hello.boot = self.cluster.boot;
        hello.remote = self.remote.identity();
        hello.addr = self.cluster.addr().unwrap_or_default();
        hello.public_addr = self.cluster.public_addr();
        hello.version = env!("CARGO_PKG_VERSION").to_owned();
        hello.now = self.env.clock.wall_nanos();
        hello
    }

    pub(crate) fn answer_hello(
        &self,
        caller: Caller,
        frame: Bytes,
    ) -> Result<Response<Body>, Error> {
        let hello: Hello = serde_json::from_slice(&frame).map_err(|e| {
            Error::new(ErrorKind::InvalidRequest, "this is not how a node introduces itself")
                .with_source(e)
        })?;
        if hello.node != caller.node.to_string() {
            return Err(Error::new(ErrorKind::Forbidden, "a node speaks for itself only"));
        }
        self.cluster.met(&hello);
        Ok(private_json(&self.hello()))
    }
}
