#![allow(unsafe_code)] // exports, and bytes and texts of the caller's

use std::ffi::{c_char, c_void};
use std::future::Future;
use std::sync::Arc;

use bytes::Bytes;
use objstore_core::Error;

use crate::backend::{Backend, Target};
use crate::boundary::{call, copied};
use crate::cancel::Cancel;
use crate::error::Failure;
use crate::handles;
use crate::ids;
use crate::operations::{by_id, key};
use crate::options;
use crate::pages::{KeyList, List};
use crate::queue::{Found, To, objstore_done};
use crate::reader::{self, Reader};
use crate::status::objstore_status;
use crate::store::Store;
use crate::types::{
    objstore_delete_options, objstore_error, objstore_get_options, objstore_id,
    objstore_key_list_options, objstore_list_options, objstore_put_options, objstore_queue,
    objstore_reader, objstore_store,
};

/// Has an operation done, and reported there.
fn submit<T: Send + 'static, F: Future<Output = Result<T, Error>> + Send + 'static>(
    store: &Store,
    mut cancels: Vec<Cancel>,
    to: To,
    work: impl FnOnce(Backend) -> F,
    found: impl FnOnce(T) -> Found + Send + 'static,
) -> Result<(), Failure> {
    cancels.push(to.cancel());
    let work = store.work(cancels, work)?;
    store.engine.spawn(work, move |result| to.report(result.map(found)));
    Ok(())
}

fn put(
    store: *const objstore_store,
    target: Result<Target, Failure>,
    body: Result<Bytes, Failure>,
    options: *const objstore_put_options,
    to: Result<To, Failure>,
) -> Result<(), Failure> {
    let (target, body) = (target?, body?);
    let store = handles::get::<Store>(store)?;
    let (options, cancels) = options::of(options)?;
    let put = |backend: Backend| async move { backend.put(target, body.into(), options).await };
    submit(&store, cancels, to?, put, Found::Meta)
}

fn get(
    store: *const objstore_store,
    target: Result<Target, Failure>,
    options: *const objstore_get_options,
    to: Result<To, Failure>,
) -> Result<(), Failure> {
    let target = target?;
    let store = handles::get::<Store>(store)?;
    let (options, cancels) = options::of(options)?;
    let get = |backend: Backend| async move { backend.get(target, options).await };
    let (engine, of_reader) = (Arc::clone(&store.engine), cancels.clone());
    submit(&store, cancels, to?, get, |object| {
        Found::Reader(Reader::new(engine, object, of_reader))
    })
}

fn head(
    store: *const objstore_store,
    target: Result<Target, Failure>,
    options: *const objstore_get_options,
    to: Result<To, Failure>,
) -> Result<(), Failure> {
    let target = target?;
    let store = handles::get::<Store>(store)?;
    let (options, cancels) = options::of(options)?;
    let head = |backend: Backend| async move { backend.head(target, options).await };
    submit(&store, cancels, to?, head, Found::Meta)
}

fn delete(
    store: *const objstore_store,
    target: Result<Target, Failure>,
    options: *const objstore_delete_options,
    to: Result<To, Failure>,
) -> Result<(), Failure> {
    let target = target?;
    let store = handles::get::<Store>(store)?;
    let (options, cancels) = options::of(options)?;
    let delete = |backend: Backend| async move { backend.delete(target, options).await };
    submit(&store, cancels, to?, delete, |meta| meta.map_or(Found::Nothing, Found::Meta))
}

/// As objstore_new_id(), without waiting; the result has the id (objstore_result_id()).
#[unsafe(no_mangle)]
pub extern "C" fn objstore_new_id_async(
    store: *mut objstore_store,
    queue: *mut objstore_queue,
    done: objstore_done,
    user_data: *mut c_void,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || {
        let (store, to) = (handles::get::<Store>(store)?, To::of(queue, done, user_data)?);
        let new = |backend: Backend| async move { backend.new_id().await };
        submit(&store, Vec::new(), to, new, Found::Id)
    })
}

/// As objstore_put(), without waiting. The body is copied, so it may go when this returns.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_put_async(
    store: *mut objstore_store,
    id: Option<&objstore_id>,
    data: *const u8,
    length: usize,
    options: *const objstore_put_options,
    queue: *mut objstore_queue,
    done: objstore_done,
    user_data: *mut c_void,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || {
        // SAFETY: the header asks for `length` bytes.
        let body = unsafe { copied(data, length) };
        put(store, by_id(id), body, options, To::of(queue, done, user_data))
    })
}

/// As objstore_get(), without waiting; the result has the reader. Its first read may block, unless
/// objstore_reader_fetch_async() comes before.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_get_async(
    store: *mut objstore_store,
    id: Option<&objstore_id>,
    options: *const objstore_get_options,
    queue: *mut objstore_queue,
    done: objstore_done,
    user_data: *mut c_void,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || get(store, by_id(id), options, To::of(queue, done, user_data)))
}

/// As objstore_head(), without waiting; the result has the record.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_head_async(
    store: *mut objstore_store,
    id: Option<&objstore_id>,
    options: *const objstore_get_options,
    queue: *mut objstore_queue,
    done: objstore_done,
    user_data: *mut c_void,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || head(store, by_id(id), options, To::of(queue, done, user_data)))
}

/// As objstore_delete(), without waiting; the result has the tombstone.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_delete_async(
    store: *mut objstore_store,
    id: Option<&objstore_id>,
    options: *const objstore_delete_options,
    queue: *mut objstore_queue,
    done: objstore_done,
    user_data: *mut c_void,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || delete(store, by_id(id), options, To::of(queue, done, user_data)))
}

/// As objstore_put_async(), by the key of the bucket.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_put_key_async(
    store: *mut objstore_store,
    key: *const c_char,
    data: *const u8,
    length: usize,
    options: *const objstore_put_options,
    queue: *mut objstore_queue,
    done: objstore_done,
    user_data: *mut c_void,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || {
        // SAFETY: the header asks for `length` bytes and a text.
        let (body, key) = unsafe { (copied(data, length), self::key(key)) };
        put(store, key, body, options, To::of(queue, done, user_data))
    })
}

/// As objstore_get_async(), by the key of the bucket.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_get_key_async(
    store: *mut objstore_store,
    key: *const c_char,
    options: *const objstore_get_options,
    queue: *mut objstore_queue,
    done: objstore_done,
    user_data: *mut c_void,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    // SAFETY: the header asks for a text.
    call(error, || get(store, unsafe { self::key(key) }, options, To::of(queue, done, user_data)))
}

/// As objstore_head_async(), by the key of the bucket.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_head_key_async(
    store: *mut objstore_store,
    key: *const c_char,
    options: *const objstore_get_options,
    queue: *mut objstore_queue,
    done: objstore_done,
    user_data: *mut c_void,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    // SAFETY: the header asks for a text.
    call(error, || head(store, unsafe { self::key(key) }, options, To::of(queue, done, user_data)))
}

/// As objstore_delete_async(), by the key of the bucket; there is no tombstone.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_delete_key_async(
    store: *mut objstore_store,
    key: *const c_char,
    options: *const objstore_delete_options,
    queue: *mut objstore_queue,
    done: objstore_done,
    user_data: *mut c_void,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    // SAFETY: the header asks for a text.
    call(error, || {
        delete(store, unsafe { self::key(key) }, options, To::of(queue, done, user_data))
    })
}

/// As objstore_set_level(), without waiting; the result has the record.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_set_level_async(
    store: *mut objstore_store,
    id: Option<&objstore_id>,
    level: i32,
    write_mode: i32,
    queue: *mut objstore_queue,
    done: objstore_done,
    user_data: *mut c_void,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || {
        let (store, to) = (handles::get::<Store>(store)?, To::of(queue, done, user_data)?);
        let id = ids::id(id)?;
        let (level, write) = (options::level(level)?, options::write_mode(write_mode)?);
        let raise = |backend: Backend| async move { backend.set_level(id, level, write).await };
        submit(&store, Vec::new(), to, raise, Found::Meta)
    })
}

/// As objstore_list_objects(), without waiting; the result has the page.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_list_objects_async(
    store: *mut objstore_store,
    options: *const objstore_list_options,
    queue: *mut objstore_queue,
    done: objstore_done,
    user_data: *mut c_void,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || {
        let (store, to) = (handles::get::<Store>(store)?, To::of(queue, done, user_data)?);
        let (options, cancels) = options::of(options)?;
        let page = |backend: Backend| async move { backend.list(options).await };
        submit(&store, cancels, to, page, |page| Found::List(List(page)))
    })
}

/// As objstore_list_keys(), without waiting; the result has the page.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_list_keys_async(
    store: *mut objstore_store,
    options: *const objstore_key_list_options,
    queue: *mut objstore_queue,
    done: objstore_done,
    user_data: *mut c_void,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || {
        let (store, to) = (handles::get::<Store>(store)?, To::of(queue, done, user_data)?);
        let (options, cancels) = options::of(options)?;
        let page = |backend: Backend| async move { backend.list_keys(options).await };
        submit(&store, cancels, to, page, |page| Found::KeyList(KeyList::of(&page)))
    })
}

/// Has the next bytes brought to a reader: once this is done, the next objstore_reader_read() or
/// objstore_reader_next() does not block, and at the end of the object gives none. Until then the reader
/// cannot be read (OBJSTORE_FINISHED); it may be freed. What went wrong is told here, once.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_reader_fetch_async(
    reader: *mut objstore_reader,
    queue: *mut objstore_queue,
    done: objstore_done,
    user_data: *mut c_void,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || {
        let to = To::of(queue, done, user_data)?;
        let reader = handles::get::<Reader>(reader)?;
        let body = reader.begin()?;
        let cancels = reader.cancels().into_iter().chain([to.cancel()]).collect();
        let look = async move {
            match body {
                Some(body) => reader::next(body, cancels).await.map(Some),
                None => Ok(None),
            }
        };
        reader.engine().spawn(look, move |next| {
            let arrived = next.and_then(|next| next.map_or(Ok(()), |next| reader.end(next)));
            to.report(arrived.map(|()| Found::Nothing));
        });
        Ok(())
    })
}
