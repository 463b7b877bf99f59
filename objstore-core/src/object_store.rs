use std::sync::Arc;

use objstore_client::options::{
    CopyOptions, DeleteOptions, GetOptions, KeyListOptions, ListOptions, PutOptions,
};
use objstore_client::types::{KeyPage, ObjectId, ObjectKey, ObjectMeta};
use objstore_client::{Body, Error, Keys, Object};

use crate::node::Node;

impl Keys for Node {
    async fn get_key(&self, key: &ObjectKey, options: GetOptions) -> Result<Object, Error> {
        self.get_key(key, options).await
    }

    async fn head_key(
        &self,
        key: &ObjectKey,
        options: GetOptions,
    ) -> Result<Arc<ObjectMeta>, Error> {
        self.head_key(key, options).await
    }

    async fn put_key(
        &self,
        key: &ObjectKey,
        body: Body,
        options: PutOptions,
    ) -> Result<Arc<ObjectMeta>, Error> {
        self.put_key(key, body, options).await
    }

    async fn delete_key(&self, key: &ObjectKey, options: DeleteOptions) -> Result<(), Error> {
        self.delete_key(key, options).await
    }

    async fn copy_key(
        &self,
        from: &ObjectKey,
        to: &ObjectKey,
        options: CopyOptions,
    ) -> Result<(), Error> {
        self.copy_key(from, to, options).await
    }

    async fn list_keys(&self, options: KeyListOptions) -> Result<KeyPage, Error> {
        self.list_keys(options).await
    }

    async fn get(&self, id: ObjectId, options: GetOptions) -> Result<Object, Error> {
        self.get(id, options).await
    }

    async fn head(&self, id: ObjectId) -> Result<Arc<ObjectMeta>, Error> {
        self.head(id).await
    }

    async fn put(
        &self,
        id: ObjectId,
        body: Body,
        options: PutOptions,
    ) -> Result<Arc<ObjectMeta>, Error> {
        self.put(id, body, options).await
    }

    async fn delete(&self, id: ObjectId, options: DeleteOptions) -> Result<Arc<ObjectMeta>, Error> {
        self.delete(id, options).await
    }

    async fn list(&self, options: ListOptions) -> Result<Vec<Arc<ObjectMeta>>, Error> {
        self.list(options).await
    }
}
