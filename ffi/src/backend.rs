use std::sync::Arc;

use objstore_client::Client;
use objstore_core::options::{
    DeleteOptions, GetOptions, KeyListOptions, ListOptions, PutOptions, WriteMode,
};
use objstore_core::types::{KeyPage, Level, ObjectId, ObjectKey, ObjectMeta, Stats};
use objstore_core::{Body, Error, Node, Object};

use crate::error::Failure;
use crate::status::OBJSTORE_UNSUPPORTED;

/// What is behind a store. The verbs are the same for each.
#[derive(Clone)]
pub(crate) enum Backend {
    /// A node in this process.
    Node(Node),
    /// Nodes over HTTP.
    Remote(Client),
}

/// What a verb is about.
#[derive(Clone)]
pub(crate) enum Target {
    /// An object by its id.
    Id(ObjectId),
    /// An object of the bucket by its key.
    Key(ObjectKey),
}

impl Backend {
    pub(crate) async fn new_id(&self) -> Result<ObjectId, Error> {
        match self {
            Self::Node(node) => Ok(node.new_id()),
            Self::Remote(client) => client.new_id().await,
        }
    }

    pub(crate) async fn put(
        &self,
        target: Target,
        body: Body,
        options: PutOptions,
    ) -> Result<Arc<ObjectMeta>, Error> {
        match (self, target) {
            (Self::Node(node), Target::Id(id)) => node.put(id, body, options).await,
            (Self::Node(node), Target::Key(key)) => node.put_key(&key, body, options).await,
            (Self::Remote(client), Target::Id(id)) => client.put(id, body, options).await,
            (Self::Remote(client), Target::Key(key)) => client.put_key(&key, body, options).await,
        }
    }

    pub(crate) async fn get(&self, target: Target, options: GetOptions) -> Result<Object, Error> {
        match (self, target) {
            (Self::Node(node), Target::Id(id)) => node.get(id, options).await,
            (Self::Node(node), Target::Key(key)) => node.get_key(&key, options).await,
            (Self::Remote(client), Target::Id(id)) => client.get(id, options).await,
            (Self::Remote(client), Target::Key(key)) => client.get_key(&key, options).await,
        }
    }

    pub(crate) async fn head(
        &self,
        target: Target,
        options: GetOptions,
    ) -> Result<Arc<ObjectMeta>, Error> {
        match (self, target) {
            (Self::Node(node), Target::Id(id)) if options.fetch => node.head_fetched(id).await,
            (Self::Node(node), Target::Id(id)) => node.head(id).await,
            (Self::Node(node), Target::Key(key)) => node.head_key(&key, options).await,
            (Self::Remote(client), Target::Id(id)) if options.fetch => {
                client.head_fetched(id).await
            }
            (Self::Remote(client), Target::Id(id)) => client.head(id).await,
            (Self::Remote(client), Target::Key(key)) => client.head_key(&key, options).await,
        }
    }

    /// The tombstone; of a key there is none.
    pub(crate) async fn delete(
        &self,
        target: Target,
        options: DeleteOptions,
    ) -> Result<Option<Arc<ObjectMeta>>, Error> {
        match (self, target) {
            (Self::Node(node), Target::Id(id)) => node.delete(id, options).await.map(Some),
            (Self::Node(node), Target::Key(key)) => {
                node.delete_key(&key, options).await.map(|()| None)
            }
            (Self::Remote(client), Target::Id(id)) => client.delete(id, options).await.map(Some),
            (Self::Remote(client), Target::Key(key)) => {
                client.delete_key(&key, options).await.map(|()| None)
            }
        }
    }

    pub(crate) async fn set_level(
        &self,
        id: ObjectId,
        level: Level,
        write: WriteMode,
    ) -> Result<Arc<ObjectMeta>, Error> {
        match self {
            Self::Node(node) => node.set_level(id, level, write).await,
            Self::Remote(client) => client.set_level(id, level, write).await,
        }
    }

    pub(crate) async fn list(&self, options: ListOptions) -> Result<Vec<Arc<ObjectMeta>>, Error> {
        match self {
            Self::Node(node) => node.list(options).await,
            Self::Remote(client) => client.list(options).await,
        }
    }

    pub(crate) async fn list_keys(&self, options: KeyListOptions) -> Result<KeyPage, Error> {
        match self {
            Self::Node(node) => node.list_keys(options).await,
            Self::Remote(client) => client.list_keys(options).await,
        }
    }

    pub(crate) async fn stats(&self) -> Result<Stats, Error> {
        match self {
            Self::Node(node) => Ok(node.stats()),
            Self::Remote(client) => client.stats().await,
        }
    }

    pub(crate) async fn node_id(&self) -> Result<String, Error> {
        match self {
            Self::Node(node) => Ok(node.id().to_string()),
            Self::Remote(client) => client.node_id().await,
        }
    }

    pub(crate) async fn is_ready(&self) -> Result<bool, Error> {
        match self {
            Self::Node(node) => Ok(node.is_ready()),
            Self::Remote(client) => client.is_ready().await,
        }
    }

    /// The node, for what only one in this process can do.
    pub(crate) fn node(&self) -> Result<&Node, Failure> {
        match self {
            Self::Node(node) => Ok(node),
            Self::Remote(_) => Err(Failure::new(
                OBJSTORE_UNSUPPORTED,
                "only a store of objstore_open_node() can do this, not one of objstore_connect()",
            )),
        }
    }
}
