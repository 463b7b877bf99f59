//! For version 0.14 of the crate [`object_store`](https://docs.rs/object_store/0.14).

use std::ops::Range;

use ::object_store_0_14 as object_store;
use object_store::{
    Attributes, Extensions, GetResult, GetResultPayload, ListResult, ObjectMeta, PutResult,
    path::Path,
};

#[path = "adapter.rs"]
mod adapter;

pub use adapter::KeyStore;

fn put_result(e_tag: Option<String>) -> PutResult {
    PutResult { e_tag, version: None, extensions: Extensions::default() }
}

fn get_result(
    payload: GetResultPayload,
    meta: ObjectMeta,
    range: Range<u64>,
    attributes: Attributes,
) -> GetResult {
    GetResult { payload, meta, range, attributes, extensions: Extensions::default() }
}

fn list_result(common_prefixes: Vec<Path>, objects: Vec<ObjectMeta>) -> ListResult {
    ListResult { common_prefixes, objects, extensions: Extensions::default() }
}
