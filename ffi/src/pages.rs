#![allow(unsafe_code)] // exports

use std::ffi::{CString, c_char};
use std::sync::Arc;

use objstore_core::types::{KeyPage, ObjectMeta};

use crate::backend::Backend;
use crate::boundary::{call, free, place, quietly, set, wanted};
use crate::error::{Failure, c_string};
use crate::handles::{self, Handle};
use crate::meta::Meta;
use crate::options;
use crate::status::{OBJSTORE_INTERNAL, objstore_status};
use crate::store::Store;
use crate::types::{
    objstore_error, objstore_key_list, objstore_key_list_options, objstore_list,
    objstore_list_options, objstore_meta, objstore_store, objstore_text,
};

/// One page of objects.
pub(crate) struct List(pub(crate) Vec<Arc<ObjectMeta>>);

/// One page of keys.
pub(crate) struct KeyList {
    keys: Vec<(CString, u64)>,
    prefixes: Vec<CString>,
    next: Option<CString>,
}

/// A text for the caller.
pub(crate) struct Text(pub(crate) CString);

impl KeyList {
    pub(crate) fn of(page: &KeyPage) -> Self {
        let keys = page.entries.iter().map(|entry| (c_string(&entry.key), entry.size)).collect();
        let prefixes = page.prefixes.iter().map(|prefix| c_string(prefix)).collect();
        let next = page.next.as_deref().map(c_string);
        Self { keys, prefixes, next }
    }
}

impl Handle for List {
    type Opaque = objstore_list;
}

impl Handle for KeyList {
    type Opaque = objstore_key_list;
}

impl Handle for Text {
    type Opaque = objstore_text;
}

/// Lists objects in order of their ids, one page. `options` may be null. The next page begins after
/// the last id of this one; an empty page is the end. Freed with objstore_list_free().
#[unsafe(no_mangle)]
pub extern "C" fn objstore_list_objects(
    store: *mut objstore_store,
    options: *const objstore_list_options,
    list: Option<&mut *mut objstore_list>,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || {
        let list = place(list, "list")?;
        let store = handles::get::<Store>(store)?;
        let (options, cancels) = options::of(options)?;
        let page = |backend: Backend| async move { backend.list(options).await };
        *list = handles::give(List(store.run(cancels, page)?));
        Ok(())
    })
}

/// How many objects the page has.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_list_count(list: *const objstore_list) -> usize {
    quietly(0, || Ok(handles::get::<List>(list)?.0.len()))
}

/// One object of the page; freed with objstore_meta_free(). Null beyond the last.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_list_at(list: *const objstore_list, index: usize) -> *mut objstore_meta {
    quietly(std::ptr::null_mut(), || {
        let record = handles::get::<List>(list)?.0.get(index).map(Arc::clone);
        Ok(record.map_or(std::ptr::null_mut(), |record| handles::give(Meta::new(record))))
    })
}

/// Frees a page; null is fine.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_list_free(list: *mut objstore_list) -> objstore_status {
    free::<List>(list)
}

/// Lists keys of the bucket in order of their bytes, one page, as the bucket has them now. `options`
/// may be null. Freed with objstore_key_list_free().
#[unsafe(no_mangle)]
pub extern "C" fn objstore_list_keys(
    store: *mut objstore_store,
    options: *const objstore_key_list_options,
    list: Option<&mut *mut objstore_key_list>,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || {
        let list = place(list, "list")?;
        let store = handles::get::<Store>(store)?;
        let (options, cancels) = options::of(options)?;
        let page = |backend: Backend| async move { backend.list_keys(options).await };
        *list = handles::give(KeyList::of(&store.run(cancels, page)?));
        Ok(())
    })
}

/// How many keys the page has.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_key_list_count(list: *const objstore_key_list) -> usize {
    quietly(0, || Ok(handles::get::<KeyList>(list)?.keys.len()))
}

/// One key of the page, which it belongs to, and the size of its object; `size` may be null.
/// OBJSTORE_INVALID_ARGUMENT beyond the last.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_key_list_at(
    list: *const objstore_key_list,
    index: usize,
    key: Option<&mut *const c_char>,
    size: Option<&mut u64>,
) -> objstore_status {
    set(|| {
        let list = handles::get::<KeyList>(list)?;
        let key = wanted(key, "key")?;
        let (its_key, its_size) = list
            .keys
            .get(index)
            .ok_or_else(|| Failure::argument("the page does not have so many keys"))?;
        *key = its_key.as_ptr();
        if let Some(size) = size {
            *size = *its_size;
        }
        Ok(())
    })
}

/// How many prefixes the page has, to which keys were rolled up.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_key_list_prefix_count(list: *const objstore_key_list) -> usize {
    quietly(0, || Ok(handles::get::<KeyList>(list)?.prefixes.len()))
}

/// One prefix of the page, which it belongs to. Null beyond the last.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_key_list_prefix_at(
    list: *const objstore_key_list,
    index: usize,
) -> *const c_char {
    quietly(std::ptr::null(), || {
        let list = handles::get::<KeyList>(list)?;
        Ok(list.prefixes.get(index).map_or(std::ptr::null(), |prefix| prefix.as_ptr()))
    })
}

/// What the next page begins after, which belongs to this one. Null when this is the last.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_key_list_next(list: *const objstore_key_list) -> *const c_char {
    quietly(std::ptr::null(), || {
        let list = handles::get::<KeyList>(list)?;
        Ok(list.next.as_ref().map_or(std::ptr::null(), |next| next.as_ptr()))
    })
}

/// Frees a page; null is fine.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_key_list_free(list: *mut objstore_key_list) -> objstore_status {
    free::<KeyList>(list)
}

/// Counters and gauges of the node as one line of JSON, the same as GET /api/v1/stats. Fields are
/// added in time and keep their meaning. Freed with objstore_text_free().
#[unsafe(no_mangle)]
pub extern "C" fn objstore_stats(
    store: *mut objstore_store,
    json: Option<&mut *mut objstore_text>,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || {
        let json = place(json, "json")?;
        let store = handles::get::<Store>(store)?;
        let stats = |backend: Backend| async move { backend.stats().await };
        *json = give_json(&store.run(Vec::new(), stats)?)?;
        Ok(())
    })
}

/// Hands something out as JSON.
pub(crate) fn give_json<T: serde::Serialize>(value: &T) -> Result<*mut objstore_text, Failure> {
    let json = serde_json::to_string(value)
        .map_err(|e| Failure::new(OBJSTORE_INTERNAL, format!("cannot be said in JSON: {e}")))?;
    Ok(handles::give(Text(c_string(&json))))
}

/// The characters of a text, UTF-8 with a NUL, which belong to it. Null when `text` is none.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_text_chars(text: *const objstore_text) -> *const c_char {
    quietly(std::ptr::null(), || Ok(handles::get::<Text>(text)?.0.as_ptr()))
}

/// Frees a text; null is fine.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_text_free(text: *mut objstore_text) -> objstore_status {
    free::<Text>(text)
}
