use std::fmt::Debug;
use std::future::Future;
use std::sync::Arc;

use crate::body::Body;
use crate::client::Client;
use crate::error::Error;
use crate::object::Object;
use crate::options::{
    CopyOptions, DeleteOptions, GetOptions, KeyListOptions, ListOptions, PutOptions,
};
use crate::types::{KeyPage, ObjectId, ObjectKey, ObjectMeta};

/// What gives access to the bucket's keys, and to objects by id, which parts of uploads are until
/// they are complete: a [`Client`], or a `Node` of objstore-core. Errors,
/// cancellation and bounds are those of the methods with the same names there.
pub trait Keys: Clone + Debug + Send + Sync + 'static {
    /// As [`Client::get_key`].
    fn get_key(
        &self,
        key: &ObjectKey,
        options: GetOptions,
    ) -> impl Future<Output = Result<Object, Error>> + Send;

    /// As [`Client::head_key`].
    fn head_key(
        &self,
        key: &ObjectKey,
        options: GetOptions,
    ) -> impl Future<Output = Result<Arc<ObjectMeta>, Error>> + Send;

    /// As [`Client::put_key`].
    fn put_key(
        &self,
        key: &ObjectKey,
        body: Body,
        options: PutOptions,
    ) -> impl Future<Output = Result<Arc<ObjectMeta>, Error>> + Send;

    /// As [`Client::delete_key`].
    fn delete_key(
        &self,
        key: &ObjectKey,
        options: DeleteOptions,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// As [`Client::copy_key`].
    fn copy_key(
        &self,
        from: &ObjectKey,
        to: &ObjectKey,
        options: CopyOptions,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// As [`Client::list_keys`].
    fn list_keys(
        &self,
        options: KeyListOptions,
    ) -> impl Future<Output = Result<KeyPage, Error>> + Send;

    /// As [`Client::get`].
    fn get(
        &self,
        id: ObjectId,
        options: GetOptions,
    ) -> impl Future<Output = Result<Object, Error>> + Send;

    /// As [`Client::head`].
    fn head(&self, id: ObjectId) -> impl Future<Output = Result<Arc<ObjectMeta>, Error>> + Send;

    /// As [`Client::put`].
    fn put(
        &self,
        id: ObjectId,
        body: Body,
        options: PutOptions,
    ) -> impl Future<Output = Result<Arc<ObjectMeta>, Error>> + Send;

    /// As [`Client::delete`].
    fn delete(
        &self,
        id: ObjectId,
        options: DeleteOptions,
    ) -> impl Future<Output = Result<Arc<ObjectMeta>, Error>> + Send;

    /// As [`Client::list`].
    fn list(
        &self,
        options: ListOptions,
    ) -> impl Future<Output = Result<Vec<Arc<ObjectMeta>>, Error>> + Send;
}

impl Keys for Client {
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
