#![allow(unsafe_code)] // exports

use std::ffi::{CString, c_char};
use std::sync::Arc;

use objstore_core::types::ObjectMeta;

use crate::boundary::{free, quietly, set, wanted};
use crate::error::{Failure, c_string};
use crate::handles::{self, Handle};
use crate::status::objstore_status;
use crate::types::{objstore_id, objstore_meta};

/// A record, with its texts as C wants them.
pub(crate) struct Meta {
    record: Arc<ObjectMeta>,
    name: CString,
    etag: Option<CString>,
    content_type: Option<CString>,
    content_encoding: Option<CString>,
    blake3: Option<CString>,
    user: Vec<(CString, CString)>,
}

impl Meta {
    pub(crate) fn new(record: Arc<ObjectMeta>) -> Self {
        let text = |text: &Option<String>| text.as_deref().map(c_string);
        Self {
            name: c_string(record.name.as_str()),
            etag: record.etag.as_ref().map(|etag| c_string(etag.as_str())),
            content_type: text(&record.content_type),
            content_encoding: text(&record.content_encoding),
            blake3: text(&record.blake3),
            user: record.user_meta.iter().map(|(k, v)| (c_string(k), c_string(v))).collect(),
            record,
        }
    }
}

impl Handle for Meta {
    type Opaque = objstore_meta;
}

/// Reads from a record that lives as long as its handle, which the pointer handed out then does too.
fn text(
    meta: *const objstore_meta,
    which: impl FnOnce(&Meta) -> Option<&CString>,
) -> *const c_char {
    quietly(std::ptr::null(), || {
        let meta = handles::get::<Meta>(meta)?;
        Ok(which(&meta).map_or(std::ptr::null(), |text| text.as_ptr()))
    })
}

fn number<T>(meta: *const objstore_meta, none: T, which: impl FnOnce(&ObjectMeta) -> T) -> T {
    quietly(none, || Ok(which(&handles::get::<Meta>(meta)?.record)))
}

/// The object's id.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_meta_id(
    meta: *const objstore_meta,
    id: Option<&mut objstore_id>,
) -> objstore_status {
    set(|| {
        *wanted(id, "id")? = objstore_id::of(handles::get::<Meta>(meta)?.record.id);
        Ok(())
    })
}

/// The length of the body in bytes.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_meta_size(meta: *const objstore_meta) -> u64 {
    number(meta, 0, |record| record.size)
}

/// When the version was put, in nanoseconds since the Unix epoch.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_meta_timestamp(meta: *const objstore_meta) -> u64 {
    number(meta, 0, |record| record.timestamp)
}

/// The level: 0 on the node's disk, 1 in the bucket too, 2 on all nodes too.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_meta_level(meta: *const objstore_meta) -> i32 {
    number(meta, 0, |record| i32::from(u8::from(record.consistency)))
}

/// Whether this is what is left of an object that was deleted.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_meta_is_deleted(meta: *const objstore_meta) -> bool {
    number(meta, false, |record| record.is_deleted)
}

/// Whether the bucket is still to get this version.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_meta_is_pending(meta: *const objstore_meta) -> bool {
    number(meta, false, |record| record.is_pending)
}

/// The file name, "" when it has none. This and the texts below are UTF-8 and belong to the record;
/// null when there is none, or `meta` is no record.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_meta_name(meta: *const objstore_meta) -> *const c_char {
    text(meta, |meta| Some(&meta.name))
}

/// The tag of this version, for conditions, without quotes.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_meta_etag(meta: *const objstore_meta) -> *const c_char {
    text(meta, |meta| meta.etag.as_ref())
}

/// The content type.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_meta_content_type(meta: *const objstore_meta) -> *const c_char {
    text(meta, |meta| meta.content_type.as_ref())
}

/// The content encoding. The body is never decoded.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_meta_content_encoding(meta: *const objstore_meta) -> *const c_char {
    text(meta, |meta| meta.content_encoding.as_ref())
}

/// The BLAKE3 digest of the body in hexadecimal.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_meta_blake3(meta: *const objstore_meta) -> *const c_char {
    text(meta, |meta| meta.blake3.as_ref())
}

/// How many pairs of user metadata there are.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_meta_user_count(meta: *const objstore_meta) -> usize {
    quietly(0, || Ok(handles::get::<Meta>(meta)?.user.len()))
}

/// One pair of user metadata, in order of the names. OBJSTORE_INVALID_ARGUMENT beyond the last.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_meta_user_at(
    meta: *const objstore_meta,
    index: usize,
    name: Option<&mut *const c_char>,
    value: Option<&mut *const c_char>,
) -> objstore_status {
    set(|| {
        let meta = handles::get::<Meta>(meta)?;
        let (name, value) = (wanted(name, "name")?, wanted(value, "value")?);
        let (its_name, its_value) = meta
            .user
            .get(index)
            .ok_or_else(|| Failure::argument("there are not so many pairs of user metadata"))?;
        (*name, *value) = (its_name.as_ptr(), its_value.as_ptr());
        Ok(())
    })
}

/// Frees a record; null is fine.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_meta_free(meta: *mut objstore_meta) -> objstore_status {
    free::<Meta>(meta)
}
