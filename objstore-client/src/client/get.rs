use super::Client;
use super::download;
use crate::error::Error;
use crate::object::Object;
use crate::options::GetOptions;
use crate::transport::Request;
use crate::types::ObjectId;
use crate::wire::routes;

impl Client {
    /// Gets an object's body, or a range of it.
    ///
    /// The body comes as it is consumed. Should the connection break, or the node end or fall
    /// silent, it goes on from another connection or node where it broke off, with the same
    /// version: a body never has other bytes than those of the version in
    /// [`Object::meta`](Object::meta), and never ends well before its end. When it cannot go on, or
    /// the version is not to be had any more, it yields an error and ends.
    ///
    /// # Errors
    /// Those of `Node::get`; [`ErrorKind::Transport`](crate::ErrorKind::Transport) when no node
    /// answered.
    ///
    /// # Cancellation
    /// May be dropped at any time; so may the body.
    pub async fn get(&self, id: ObjectId, options: GetOptions) -> Result<Object, Error> {
        self.get_at(format!("{}{id}", routes::GET), &options).await
    }

    pub(super) async fn get_at(&self, path: String, options: &GetOptions) -> Result<Object, Error> {
        let mut request = Request::get(path).describing();
        request.get_options(options)?;
        self.ask(&request, |answer| {
            let (client, request) = (self.clone(), request.clone());
            async move { download::start(client, request, answer, options.range) }
        })
        .await
    }
}
