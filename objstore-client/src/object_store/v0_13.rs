//! For version 0.13 of the crate [`object_store`](https://docs.rs/object_store/0.13).

use std::ops::Range;

use ::object_store_0_13 as object_store;
use async_trait::async_trait;
use object_store::{
    Attributes, GetResult, GetResultPayload, ListResult, MultipartId, ObjectMeta,
    PutMultipartOptions, PutPayload, PutResult, Result,
    multipart::{MultipartStore, PartId},
    path::Path,
};

#[path = "adapter.rs"]
mod adapter;

pub use adapter::KeyStore;

use super::Keys;

#[async_trait]
impl<K: Keys> MultipartStore for KeyStore<K> {
    async fn create_multipart(&self, path: &Path) -> Result<MultipartId> {
        self.begin(path, PutMultipartOptions::default()).await
    }

    async fn put_part(
        &self,
        path: &Path,
        id: &MultipartId,
        part_idx: usize,
        data: PutPayload,
    ) -> Result<PartId> {
        self.put_one(path, id, part_idx, data).await
    }

    async fn complete_multipart(
        &self,
        path: &Path,
        id: &MultipartId,
        parts: Vec<PartId>,
    ) -> Result<PutResult> {
        self.complete(path, id, parts).await
    }

    async fn abort_multipart(&self, path: &Path, id: &MultipartId) -> Result<()> {
        self.abort(path, id).await
    }
}

fn put_result(e_tag: Option<String>) -> PutResult {
    PutResult { e_tag, version: None }
}

fn get_result(
    payload: GetResultPayload,
    meta: ObjectMeta,
    range: Range<u64>,
    attributes: Attributes,
) -> GetResult {
    GetResult { payload, meta, range, attributes }
}

fn list_result(common_prefixes: Vec<Path>, objects: Vec<ObjectMeta>) -> ListResult {
    ListResult { common_prefixes, objects }
}
