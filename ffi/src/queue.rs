#![allow(non_camel_case_types, unsafe_code)] // as C names them; exports, callbacks

use std::cell::Cell;
use std::collections::VecDeque;
use std::ffi::c_void;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use objstore_core::types::{ObjectId, ObjectMeta};
use objstore_core::{Error, ErrorKind};

use crate::boundary::{call, quietly, set, wanted};
use crate::cancel::Cancel;
use crate::error::Failure;
use crate::handles::{self, Handle};
use crate::meta::Meta;
use crate::pages::{KeyList, List};
use crate::reader::Reader;
use crate::status::{
    OBJSTORE_BAD_HANDLE, OBJSTORE_FINISHED, OBJSTORE_OK, OBJSTORE_REENTRANT, OBJSTORE_TIMED_OUT,
    objstore_status,
};
use crate::store::time_limit;
use crate::types::{
    objstore_error, objstore_id, objstore_key_list, objstore_list, objstore_meta, objstore_queue,
    objstore_reader, objstore_result,
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
    /// Whether anybody may be called back. Held, by as many threads as poll, while one is.
    calls_back: RwLock<bool>,
}

struct State {
    done: VecDeque<Done>,
    /// Nothing is reported any more.
    freed: bool,
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
    found: Found,
}

/// What an operation brought.
pub(crate) enum Found {
    Nothing,
    Id(ObjectId),
    Meta(Arc<ObjectMeta>),
    Reader(Reader),
    List(List),
    KeyList(KeyList),
}

/// Where an operation reports.
pub(crate) struct To {
    queue: Arc<Queue>,
    callback: Callback,
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
        let state = Mutex::new(State { done: VecDeque::new(), freed: false, signal });
        Ok(Self {
            state,
            is_there: Condvar::new(),
            readable,
            own: Cancel::new(),
            calls_back: RwLock::new(true),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, done: Done) {
        let mut state = self.state();
        if state.freed {
            return;
        }
        if state.done.is_empty() {
            // One byte stands for any number, so it never blocks; its other end is ours.
            let _ = state.signal.write(&[1]);
        }
        state.done.push_back(done);
        self.is_there.notify_one();
    }

    /// Ends what is under way, of which nobody is told any more.
    fn end(&self) {
        self.own.trigger();
        let mut state = self.state();
        state.freed = true;
        let untold = std::mem::take(&mut state.done);
        drop(state);
        self.is_there.notify_all();
        drop(untold);
        *self.calls_back.write().unwrap_or_else(PoisonError::into_inner) = false;
    }

    /// Calls back unless the queue was freed meanwhile.
    fn report(&self, done: Done) {
        let calls_back = self.calls_back.read().unwrap_or_else(PoisonError::into_inner);
        if *calls_back {
            done.report();
        }
    }

    /// All that is done, once there is something.
    fn take(&self, timeout_ms: i64) -> Result<VecDeque<Done>, Failure> {
        let end = time_limit(timeout_ms)?.and_then(|limit| Instant::now().checked_add(limit));
        let mut state = self.state();
        while state.done.is_empty() {
            if state.freed {
                let why = "the queue was freed by another thread meanwhile";
                return Err(Failure::new(OBJSTORE_BAD_HANDLE, why));
            }
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

impl To {
    /// From what C gave.
    pub(crate) fn of(
        queue: *const objstore_queue,
        done: objstore_done,
        user_data: *mut c_void,
    ) -> Result<Self, Failure> {
        let queue = handles::get::<Queue>(queue)?;
        let function =
            done.ok_or_else(|| Failure::argument("done is null; it is whom to call back"))?;
        // Only ever handed back, so where it points does not matter here.
        let user_data = user_data.expose_provenance();
        Ok(Self { queue, callback: Callback { function, user_data } })
    }

    /// Ends the operation when nobody can be told any more.
    pub(crate) fn cancel(&self) -> Cancel {
        self.queue.own.clone()
    }

    /// Has the next poll call back.
    pub(crate) fn report(self, result: Result<Found, Failure>) {
        let parts = match result {
            Ok(found) => Parts { status: OBJSTORE_OK, failure: None, found },
            Err(failure) => {
                let found = Found::Nothing;
                Parts { status: failure.status, failure: Some(failure), found }
            }
        };
        self.queue.push(Done { callback: self.callback, outcome: Outcome(Mutex::new(parts)) });
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
        done.into_iter().for_each(|done| queue.report(done));
        Ok(())
    })
}

/// Frees a queue; null is fine. Operations that are not done are cancelled, and nobody is called back
/// any more: what user_data points at may go when this returns. OBJSTORE_REENTRANT in a callback of
/// objstore_poll(). A thread that waits in objstore_poll() is told OBJSTORE_BAD_HANDLE; for a callback that
/// another thread is in this waits.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_queue_free(queue: *mut objstore_queue) -> objstore_status {
    set(|| {
        check_not_in_callback()?;
        if !queue.is_null() {
            handles::take::<Queue>(queue)?.end();
        }
        Ok(())
    })
}

/// What the result has of this kind, which it has no more then.
fn part<T>(
    result: *const objstore_result,
    none: T,
    which: impl FnOnce(&mut Parts) -> Option<T>,
) -> T {
    quietly(none, || {
        let outcome = handles::get::<Outcome>(result)?;
        let mut parts = outcome.0.lock().unwrap_or_else(PoisonError::into_inner);
        which(&mut parts).ok_or_else(there_is_none)
    })
}

fn there_is_none() -> Failure {
    Failure::new(OBJSTORE_FINISHED, "the result has none, or it was taken")
}

/// Takes out what was found where it is of this kind.
macro_rules! take {
    ($result:expr, $kind:ident, $value:ident => $handle:expr) => {
        part($result, std::ptr::null_mut(), |parts| {
            if !matches!(parts.found, Found::$kind(_)) {
                return None;
            }
            match std::mem::replace(&mut parts.found, Found::Nothing) {
                Found::$kind($value) => Some(handles::give($handle)),
                _ => None,
            }
        })
    };
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

/// The id that objstore_new_id_async() made. OBJSTORE_FINISHED when the operation was another one.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_result_id(
    result: *const objstore_result,
    id: Option<&mut objstore_id>,
) -> objstore_status {
    set(|| {
        let id = wanted(id, "id")?;
        let outcome = handles::get::<Outcome>(result)?;
        let parts = outcome.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Found::Id(found) = parts.found else { return Err(there_is_none()) };
        *id = objstore_id::of(found);
        Ok(())
    })
}

/// Takes the record out of the result, to be freed with objstore_meta_free(). Null when it was taken
/// or there is none.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_result_take_meta(result: *mut objstore_result) -> *mut objstore_meta {
    take!(result, Meta, meta => Meta::new(meta))
}

/// Takes the reader out of the result, to be freed with objstore_reader_free(). Null when it was
/// taken or there is none.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_result_take_reader(
    result: *mut objstore_result,
) -> *mut objstore_reader {
    take!(result, Reader, reader => reader)
}

/// Takes the page of objects out of the result, to be freed with objstore_list_free(). Null when it
/// was taken or there is none.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_result_take_list(result: *mut objstore_result) -> *mut objstore_list {
    take!(result, List, list => list)
}

/// Takes the page of keys out of the result, to be freed with objstore_key_list_free(). Null when it
/// was taken or there is none.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_result_take_key_list(
    result: *mut objstore_result,
) -> *mut objstore_key_list {
    take!(result, KeyList, list => list)
}
