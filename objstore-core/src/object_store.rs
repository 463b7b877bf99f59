use std::sync::Arc;

use objstore_client::options::{
    CopyOptions, DeleteOptions, GetOptions, KeyListOptions, PutOptions,
};
use objstore_client::types::{KeyPage, ObjectKey, ObjectMeta};
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
}
