#![allow(non_camel_case_types, unsafe_code)] // as C names them; exports, callbacks

use std::cell::Cell;
use std::collections::VecDeque;
use std::ffi::c_void;
use std::future::Future;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use objstore_core::types::ObjectMeta;
use objstore_core::{Error, ErrorKind};

use crate::backend::Backend;
use crate::boundary::{bytes, call, quietly, set};
use crate::cancel::Cancel;
use crate::error::Failure;
use crate::handles::{self, Handle};
use crate::meta::Meta;
use crate::operations::by_id;
use crate::options;
use crate::reader::{self, Reader};
use crate::status::{
    OBJSTORE_FINISHED, OBJSTORE_OK, OBJSTORE_REENTRANT, OBJSTORE_TIMED_OUT, objstore_status,
};
use crate::store::{Store, time_limit};
use crate::types::{
    objstore_delete_options, objstore_error, objstore_get_options, objstore_id, objstore_meta,
    objstore_put_options, objstore_queue, objstore_reader, objstore_result, objstore_store,
};

/// Is told what became of an operation, by objstore_poll() and on the thread that polls. `result` is
/// valid until it returns. It may call everything but objstore_poll() and objstore_queue_free().
pub type objstore_done =
    Option<unsafe extern "C" fn(user_data: *mut c_void, result: *mut objstore_result)>;

/// What is done and was not reported yet, and a descriptor that is readable while there is some.
struct Queue {
    state: Mutex<State>,
    is_there: Condvar,
    readable: UnixStream,
    /// Ends what is under way when the queue is freed.
    own: Cancel,
}

struct State {
    done: VecDeque<Done>,
    signal: UnixStream,
}

struct Done {
    callback: Callback,
    outcome: Outcome,
}

/// Whom to tell. The number is the caller's pointer, of which only the caller knows what it is.
struct Callback {
    function: unsafe extern "C" fn(*mut c_void, *mut objstore_result),
    user_data: usize,
}

/// What became of an operation.
struct Outcome(Mutex<Parts>);

struct Parts {
    status: objstore_status,
    failure: Option<Failure>,
    meta: Option<Arc<ObjectMeta>>,
    reader: Option<Reader>,
}

impl Handle for Queue {
    type Opaque = objstore_queue;
}

impl Handle for Outcome {
    type Opaque = objstore_result;
}

thread_local! {
    static IN_CALLBACK: Cell<bool> = const { Cell::new(false) };
}

impl Queue {
    fn new() -> Result<Self, Failure> {
        let failed = |e: std::io::Error| {
            let why = "no descriptor is to be had; raise the limit on open files";
            Error::new(ErrorKind::Configuration, why).with_source(e)
        };
        let (readable, signal) = UnixStream::pair().map_err(failed)?;
        readable.set_nonblocking(true).map_err(failed)?;
        let state = Mutex::new(State { done: VecDeque::new(), signal });
        Ok(Self { state, is_there: Condvar::new(), readable, own: Cancel::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, done: Done) {
        let mut state = self.state();
        if state.done.is_empty() {
            // One byte stands for any number, so it never blocks; its other end is ours.
            let _ = state.signal.write(&[1]);
        }
        state.done.push_back(done);
        self.is_there.notify_one();
    }

    /// All that is done, once there is something.
    fn take(&self, timeout_ms: i64) -> Result<VecDeque<Done>, Failure> {
        let end = time_limit(timeout_ms)?.and_then(|limit| Instant::now().checked_add(limit));
        let mut state = self.state();
        while state.done.is_empty() {
            state = match end {
                None => self.is_there.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(end) => {
                    let left = end.checked_duration_since(Instant::now()).ok_or_else(|| {
                        Failure::new(OBJSTORE_TIMED_OUT, "nothing was done in this time")
                    })?;
                    let waited = self.is_there.wait_timeout(state, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        let _ = (&self.readable).read(&mut [0]);
        Ok(std::mem::take(&mut state.done))
    }
}

impl Parts {
    fn of<T>(result: Result<T, Failure>, keep: impl FnOnce(&mut Self, T)) -> Self {
        let mut parts = Self { status: OBJSTORE_OK, failure: None, meta: None, reader: None };
        match result {
            Ok(value) => keep(&mut parts, value),
            Err(failure) => {
                parts.status = failure.status;
                parts.failure = Some(failure);
            }
        }
        parts
    }
}

impl Done {
    /// Calls back. The result is none any more when that returns.
    fn report(self) {
        let result = handles::give(self.outcome);
        let before = IN_CALLBACK.replace(true);
        // SAFETY: the header asks for a function that takes these.
        unsafe {
            (self.callback.function)(
                std::ptr::without_provenance_mut(self.callback.user_data),
                result,
            );
        }
        IN_CALLBACK.set(before);
        let _ = handles::take::<Outcome>(result);
    }
}

fn check_not_in_callback() -> Result<(), Failure> {
    if IN_CALLBACK.get() {
        let why = "a callback of objstore_poll() may not do this; do it after objstore_poll()";
        return Err(Failure::new(OBJSTORE_REENTRANT, why));
    }
    Ok(())
}

/// A queue for operations that nobody waits for. Null when no descriptor is to be had.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_queue_new() -> *mut objstore_queue {
    quietly(std::ptr::null_mut(), || Ok(handles::give(Queue::new()?)))
}

/// A descriptor that is readable (poll(), epoll, kqueue) while something is done; then call
/// objstore_poll(). It belongs to the queue: neither read nor close it. -1 when `queue` is none.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_queue_fd(queue: *const objstore_queue) -> i32 {
    quietly(-1, || Ok(handles::get::<Queue>(queue)?.readable.as_raw_fd()))
}

/// Waits until something is done, `timeout_ms` at most, and calls back for all that is, on this
/// thread. 0 does not wait, OBJSTORE_FOREVER waits for as long as it takes. `handled`, which may be
/// null, is how many there were. OBJSTORE_TIMED_OUT when there was none.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_poll(
    queue: *mut objstore_queue,
    timeout_ms: i64,
    mut handled: Option<&mut usize>,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || {
        if let Some(handled) = &mut handled {
            **handled = 0;
        }
        check_not_in_callback()?;
        let queue = handles::get::<Queue>(queue)?;
        let done = queue.take(timeout_ms)?;
        if let Some(handled) = handled {
            *handled = done.len();
        }
        done.into_iter().for_each(Done::report);
        Ok(())
    })
}

/// Frees a queue; null is fine. Operations that are not done are cancelled, and nobody is called back
/// any more.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_queue_free(queue: *mut objstore_queue) -> objstore_status {
    set(|| {
        check_not_in_callback()?;
        if !queue.is_null() {
            handles::take::<Queue>(queue)?.own.trigger();
        }
        Ok(())
    })
}

/// Where to report, from what C gave.
fn to(
    queue: *const objstore_queue,
    done: objstore_done,
    user_data: *mut c_void,
) -> Result<(Arc<Queue>, Callback), Failure> {
    let queue = handles::get::<Queue>(queue)?;
    let function =
        done.ok_or_else(|| Failure::argument("done is null; it is whom to call back"))?;
    // Only ever handed back, so where it points does not matter here.
    Ok((queue, Callback { function, user_data: user_data.expose_provenance() }))
}

/// Has an operation done, and reported there.
fn submit<T: Send + 'static, F: Future<Output = Result<T, Error>> + Send + 'static>(
    store: &Store,
    mut cancels: Vec<Cancel>,
    (queue, callback): (Arc<Queue>, Callback),
    work: impl FnOnce(Backend) -> F,
    keep: impl FnOnce(&mut Parts, T) + Send + 'static,
) -> Result<(), Failure> {
    cancels.push(queue.own.clone());
    let work = store.work(cancels, work)?;
    store.engine.spawn(work, move |result| {
        let outcome = Outcome(Mutex::new(Parts::of(result, keep)));
        queue.push(Done { callback, outcome });
    });
    Ok(())
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
        let (store, to) = (handles::get::<Store>(store)?, to(queue, done, user_data)?);
        // SAFETY: the header asks for `length` bytes.
        let body = Bytes::copy_from_slice(unsafe { bytes(data, length) }?);
        let target = by_id(id)?;
        let (options, cancels) = options::of(options)?;
        let put = |backend: Backend| async move { backend.put(target, body.into(), options).await };
        submit(&store, cancels, to, put, |parts, meta| parts.meta = Some(meta))
    })
}

/// As objstore_get(), without waiting; the result has the reader.
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
    call(error, || {
        let (store, to) = (handles::get::<Store>(store)?, to(queue, done, user_data)?);
        let target = by_id(id)?;
        let (options, cancels) = options::of(options)?;
        let get = |backend: Backend| async move { backend.get(target, options).await };
        let (engine, of_reader) = (Arc::clone(&store.engine), cancels.clone());
        submit(&store, cancels, to, get, move |parts, object| {
            parts.reader = Some(Reader::new(engine, object, of_reader));
        })
    })
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
    call(error, || {
        let (store, to) = (handles::get::<Store>(store)?, to(queue, done, user_data)?);
        let target = by_id(id)?;
        let (options, cancels) = options::of(options)?;
        let head = |backend: Backend| async move { backend.head(target, options).await };
        submit(&store, cancels, to, head, |parts, meta| parts.meta = Some(meta))
    })
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
    call(error, || {
        let (store, to) = (handles::get::<Store>(store)?, to(queue, done, user_data)?);
        let target = by_id(id)?;
        let (options, cancels) = options::of(options)?;
        let delete = |backend: Backend| async move { backend.delete(target, options).await };
        submit(&store, cancels, to, delete, |parts, meta| parts.meta = meta)
    })
}

/// Has the next bytes brought to a reader: once this is done, the next objstore_reader_read() or
/// objstore_reader_next() does not block. Until then the reader cannot be read
/// (OBJSTORE_FINISHED); it may be freed.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_reader_fetch_async(
    reader: *mut objstore_reader,
    queue: *mut objstore_queue,
    done: objstore_done,
    user_data: *mut c_void,
    error: Option<&mut *mut objstore_error>,
) -> objstore_status {
    call(error, || {
        let (queue, callback) = to(queue, done, user_data)?;
        let reader = handles::get::<Reader>(reader)?;
        let body = reader.begin()?;
        let cancels = reader.cancels().into_iter().chain([queue.own.clone()]).collect();
        let look = async move {
            match body {
                Some(body) => reader::next(body, cancels).await.map(Some),
                None => Ok(None),
            }
        };
        reader.engine().spawn(look, move |next| {
            let result = next.and_then(|next| next.map_or(Ok(()), |next| reader.end(next)));
            let outcome = Outcome(Mutex::new(Parts::of(result, |_, ()| {})));
            queue.push(Done { callback, outcome });
        });
        Ok(())
    })
}

fn part<T>(
    result: *const objstore_result,
    none: T,
    which: impl FnOnce(&mut Parts) -> Option<T>,
) -> T {
    quietly(none, || {
        let outcome = handles::get::<Outcome>(result)?;
        let mut parts = outcome.0.lock().unwrap_or_else(PoisonError::into_inner);
        which(&mut parts).ok_or_else(|| Failure::new(OBJSTORE_FINISHED, "there is none"))
    })
}

/// What became of the operation. OBJSTORE_BAD_HANDLE when `result` is none.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_result_status(result: *const objstore_result) -> objstore_status {
    let mut status = OBJSTORE_OK;
    match set(|| {
        let outcome = handles::get::<Outcome>(result)?;
        status = outcome.0.lock().unwrap_or_else(PoisonError::into_inner).status;
        Ok(())
    }) {
        OBJSTORE_OK => status,
        failed => failed,
    }
}

/// Takes the error out of the result, to be freed with objstore_error_free(). Null when it was taken
/// or there is none.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_result_take_error(result: *mut objstore_result) -> *mut objstore_error {
    part(result, std::ptr::null_mut(), |parts| parts.failure.take().map(handles::give))
}

/// Takes the record out of the result, to be freed with objstore_meta_free(). Null when it was taken
/// or there is none.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_result_take_meta(result: *mut objstore_result) -> *mut objstore_meta {
    let give = |meta| handles::give(Meta::new(meta));
    part(result, std::ptr::null_mut(), |parts| parts.meta.take().map(give))
}

/// Takes the reader out of the result, to be freed with objstore_reader_free(). Null when it was
/// taken or there is none.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_result_take_reader(
    result: *mut objstore_result,
) -> *mut objstore_reader {
    part(result, std::ptr::null_mut(), |parts| parts.reader.take().map(handles::give))
}
