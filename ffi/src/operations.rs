#![allow(unsafe_code)] // exports, and bytes and texts of the caller's

use std::ffi::c_char;
use std::sync::Arc;

use bytes::Bytes;
use objstore_core::types::{ObjectKey, ObjectMeta};

use crate::backend::{Backend, Target};
use crate::boundary::{Out, call, cleared, copied, place, text, wanted};
use crate::error::Failure;
use crate::handles;
use crate::ids;
use crate::meta::Meta;
use crate::options;
use crate::reader::Reader;
use crate::status::objstore_status;
use crate::store::Store;
use crate::types::{
    objstore_delete_options, objstore_error, objstore_get_options, objstore_id, objstore_meta,
    objstore_put_options, objstore_reader, objstore_store,
};

/// An object by C's id.
pub(crate) fn by_id(id: Option<&objstore_id>) -> Result<Target, Failure> {
    ids::id(id).map(Target::Id)
}

/// A key of C's.
///
/// # Safety
/// `key` is null or ends with a NUL.
pub(crate) unsafe fn key(key: *const c_char) -> Result<Target, Failure> {
    // SAFETY: as the caller says.
    Ok(Target::Key(ObjectKey::new(unsafe { text(key, "key") }?)?))
}

/// Hands a record out where one is wanted.
pub(crate) fn give_meta(meta: Out<'_, *mut objstore_meta>, record: Arc<ObjectMeta>) {
    if let Some(meta) = meta {
        *meta = handles::give(Meta::new(record));
    }
}

fn put(
    store: *const objstore_store,
    target: Result<Target, Failure>,
    body: Result<Bytes, Failure>,
    options: *const objstore_put_options,
    meta: Out<'_, *mut objstore_meta>,
) -> Result<(), Failure> {
    let meta = cleared(meta);
    let (target, body) = (target?, body?);
    let store = handles::get::<Store>(store)?;
    let (options, cancels) = options::of(options)?;
    let put = |backend: Backend| async move { backend.put(target, body.into(), options).await };
    give_meta(meta, store.run(cancels, put)?);
    Ok(())
}

fn get(
    store: *const objstore_store,
    target: Result<Target, Failure>,
    options: *const objstore_get_options,
    reader: Out<'_, *mut objstore_reader>,
) -> Result<(), Failure> {
    let reader = place(reader, "reader")?;
    let target = target?;
    let store = handles::get::<Store>(store)?;
    let (options, cancels) = options::of(options)?;
    let get = |backend: Backend| async move { backend.get(target, options).await };
    let object = store.run(cancels.clone(), get)?;
    *reader = handles::give(Reader::new(Arc::clone(&store.engine), object, cancels));
    Ok(())
}

fn head(
    store: *const objstore_store,
    target: Result<Target, Failure>,
    options: *const objstore_get_options,
    meta: Out<'_, *mut objstore_meta>,
) -> Result<(), Failure> {
    let meta = place(meta, "meta")?;
    let target = target?;
    let store = handles::get::<Store>(store)?;
    let (options, cancels) = options::of(options)?;
    let head = |backend: Backend| async move { backend.head(target, options).await };
    give_meta(Some(meta), store.run(cancels, head)?);
    Ok(())
}

fn delete(
    store: *const objstore_store,
    target: Result<Target, Failure>,
    options: *const objstore_delete_options,
) -> Result<(), Failure> {
    let target = target?;
    let store = handles::get::<Store>(store)?;
    let (options, cancels) = options::of(options)?;
    let delete = |backend: Backend| async move { backend.delete(target, options).await };
    store.run(cancels, delete).map(drop)
}

/// Makes a new id. Of a node in this process it does not block and does not fail.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_new_id(
    store: *mut objstore_store,
    id: Option<&mut objstore_id>,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || {
        let id = wanted(id, "id")?;
        let store = handles::get::<Store>(store)?;
        let new = |backend: Backend| async move { backend.new_id().await };
        *id = objstore_id::of(store.run(Vec::new(), new)?);
        Ok(())
    })
}

/// Puts an object whose body is in memory; it is copied, which takes as much memory again: large ones
/// are better put with objstore_put_begin(). An object that has this id is replaced at once as a whole,
/// for everybody; one that was deleted may be put again. The id is one from objstore_new_id(), or any
/// other ULID of the years 2010 to 2100, else OBJSTORE_INVALID_ID.
///
/// Blocks until it is acknowledged: durable on the node at level 0, in the bucket from level 1 on unless
/// written back. `options` may be null, and so may `meta`, which is what was stored and is freed with
/// objstore_meta_free(). Where it fails nothing has changed, unless the status says otherwise.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_put(
    store: *mut objstore_store,
    id: Option<&objstore_id>,
    data: *const u8,
    length: usize,
    options: *const objstore_put_options,
    meta: Option<&mut *mut objstore_meta>,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || {
        // SAFETY: the header asks for `length` bytes.
        put(store, by_id(id), unsafe { copied(data, length) }, options, meta)
    })
}

/// Gets an object. Blocks until its first bytes are on their way; the reader is freed with
/// objstore_reader_free(). It gives the version there is now, whatever is put or deleted meanwhile.
/// `options` may be null. OBJSTORE_NOT_FOUND, OBJSTORE_DELETED when there is none; OBJSTORE_UNAVAILABLE
/// while none of the nodes that have it can be reached.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_get(
    store: *mut objstore_store,
    id: Option<&objstore_id>,
    options: *const objstore_get_options,
    reader: Option<&mut *mut objstore_reader>,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || get(store, by_id(id), options, reader))
}

/// What is known about an object; blocks while it is looked up. Of the options only the fetch and the
/// cancel count; they may be null. `meta` is freed with objstore_meta_free(). OBJSTORE_NOT_FOUND,
/// OBJSTORE_DELETED when there is none.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_head(
    store: *mut objstore_store,
    id: Option<&objstore_id>,
    options: *const objstore_get_options,
    meta: Option<&mut *mut objstore_meta>,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || head(store, by_id(id), options, meta))
}

/// Deletes an object, for all nodes; blocks until that is durable. `options` may be null.
/// OBJSTORE_NOT_FOUND when there never was one; of one that is deleted already it is OBJSTORE_OK.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_delete(
    store: *mut objstore_store,
    id: Option<&objstore_id>,
    options: *const objstore_delete_options,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || delete(store, by_id(id), options))
}

/// Raises the level of an object; one that is as high already is left as it is. `write_mode` is one
/// of OBJSTORE_WRITE_…. `meta` may be null.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_set_level(
    store: *mut objstore_store,
    id: Option<&objstore_id>,
    level: i32,
    write_mode: i32,
    meta: Option<&mut *mut objstore_meta>,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || {
        let meta = cleared(meta);
        let store = handles::get::<Store>(store)?;
        let id = ids::id(id)?;
        let (level, write) = (options::level(level)?, options::write_mode(write_mode)?);
        let raise = |backend: Backend| async move { backend.set_level(id, level, write).await };
        give_meta(meta, store.run(Vec::new(), raise)?);
        Ok(())
    })
}

/// As objstore_put(), by the key of the bucket, which has it when this is acknowledged unless written
/// back; the level of the options does not count. Its id is that of the copy here, which objstore_get()
/// does not find. A key is 1 to 1,024 bytes of UTF-8 without "." and ".." between slashes, else
/// OBJSTORE_INVALID_KEY.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_put_key(
    store: *mut objstore_store,
    key: *const c_char,
    data: *const u8,
    length: usize,
    options: *const objstore_put_options,
    meta: Option<&mut *mut objstore_meta>,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || {
        // SAFETY: the header asks for `length` bytes and a text.
        let (body, key) = unsafe { (copied(data, length), self::key(key)) };
        put(store, key, body, options, meta)
    })
}

/// As objstore_get(), by the key of the bucket.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_get_key(
    store: *mut objstore_store,
    key: *const c_char,
    options: *const objstore_get_options,
    reader: Option<&mut *mut objstore_reader>,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    // SAFETY: the header asks for a text.
    call(error, || get(store, unsafe { self::key(key) }, options, reader))
}

/// As objstore_head(), by the key of the bucket.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_head_key(
    store: *mut objstore_store,
    key: *const c_char,
    options: *const objstore_get_options,
    meta: Option<&mut *mut objstore_meta>,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    // SAFETY: the header asks for a text.
    call(error, || head(store, unsafe { self::key(key) }, options, meta))
}

/// As objstore_delete(), by the key of the bucket, from which it is deleted.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_delete_key(
    store: *mut objstore_store,
    key: *const c_char,
    options: *const objstore_delete_options,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    // SAFETY: the header asks for a text.
    call(error, || delete(store, unsafe { self::key(key) }, options))
}
