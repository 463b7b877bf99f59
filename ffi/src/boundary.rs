//! What comes in from C and what goes out to it.

use std::ffi::{CStr, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use crate::error::Failure;
use crate::handles::{self, Handle};
use crate::log;
use crate::status::{
    OBJSTORE_FORKED, OBJSTORE_INTERNAL, OBJSTORE_OK, OBJSTORE_OUT_OF_MEMORY, OBJSTORE_REENTRANT,
    OBJSTORE_TOO_LARGE, objstore_status,
};
use crate::types::objstore_error;

/// A pointer that is written to, or null.
pub(crate) type Out<'a, T> = Option<&'a mut T>;

/// Runs a call whose failures go into an error object when the caller wants one.
pub(crate) fn call(
    error: Out<'_, *mut objstore_error>,
    work: impl FnOnce() -> Result<(), Failure>,
) -> objstore_status {
    let failure = guarded(work).err();
    let status = failure.as_ref().map_or(OBJSTORE_OK, |failure| failure.status);
    if let Some(error) = error {
        *error = match failure {
            // The table of handles may be locked for ever in a child.
            Some(failure) if failure.status != OBJSTORE_FORKED => handles::give(failure),
            _ => std::ptr::null_mut(),
        };
    }
    status
}

/// Runs a call that has only a value to return, and a substitute for when it fails.
pub(crate) fn quietly<T>(otherwise: T, work: impl FnOnce() -> Result<T, Failure>) -> T {
    guarded(work).unwrap_or(otherwise)
}

/// Runs a call that returns a handle, null when it fails.
pub(crate) fn made<T: Handle>(work: impl FnOnce() -> Result<T, Failure>) -> *mut T::Opaque {
    quietly(std::ptr::null_mut(), || work().map(handles::give))
}

/// Runs a call that is only told its status.
pub(crate) fn set(work: impl FnOnce() -> Result<(), Failure>) -> objstore_status {
    guarded(work).map_or_else(|failure| failure.status, |()| OBJSTORE_OK)
}

/// Frees what a handle stands for; null is none.
pub(crate) fn free<T: Handle>(handle: *const T::Opaque) -> objstore_status {
    free_with::<T>(handle, |_| ())
}

/// The same, after something was done with it.
pub(crate) fn free_with<T: Handle>(
    handle: *const T::Opaque,
    first: impl FnOnce(&T),
) -> objstore_status {
    set(|| if handle.is_null() { Ok(()) } else { handles::take::<T>(handle).map(|it| first(&it)) })
}

/// No panic gets through, and no call in a child of fork().
fn guarded<T>(work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    if is_forked() {
        let why = "this process was forked from one that used objstore; exec first";
        return Err(Failure::new(OBJSTORE_FORKED, why));
    }
    if log::in_line() {
        let why = "a callback that takes lines of the log may not call the library";
        return Err(Failure::new(OBJSTORE_REENTRANT, why));
    }
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        // Its destructor may panic as well.
        std::mem::forget(payload);
        Err(Failure::new(OBJSTORE_INTERNAL, "a fault of objstore; please report it"))
    })
}

/// Whether this is another process than the one that made the first call: its threads are not here,
/// and what they had locked stays locked.
#[allow(unsafe_code)] // the C library's
fn is_forked() -> bool {
    static FORKED: AtomicBool = AtomicBool::new(false);
    static HOME: Once = Once::new();
    unsafe extern "C" fn in_child() {
        FORKED.store(true, Ordering::Relaxed);
    }
    HOME.call_once(|| {
        // SAFETY: what it does in the child may be done there. It fails for want of memory only.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
    FORKED.load(Ordering::Relaxed)
}

/// A pointer that must not be null.
pub(crate) fn wanted<'a, T>(out: Out<'a, T>, name: &str) -> Result<&'a mut T, Failure> {
    out.ok_or_else(|| Failure::argument(format!("{name} is null; it says where the result goes")))
}

/// Where a handle goes that nobody has to want: null until then.
pub(crate) fn cleared<T>(mut out: Out<'_, *mut T>) -> Out<'_, *mut T> {
    if let Some(out) = &mut out {
        **out = std::ptr::null_mut();
    }
    out
}

/// Where a handle goes, which must not be null: what is there is, until then.
pub(crate) fn place<'a, T>(out: Out<'a, *mut T>, name: &str) -> Result<&'a mut *mut T, Failure> {
    wanted(cleared(out), name)
}

/// A text of C's.
///
/// # Safety
/// `text` is null or ends with a NUL.
#[allow(unsafe_code)]
pub(crate) unsafe fn text<'a>(text: *const c_char, name: &str) -> Result<&'a str, Failure> {
    // SAFETY: as the caller says.
    unsafe { text_or_none(text, name) }?
        .ok_or_else(|| Failure::argument(format!("{name} is null; a text is wanted")))
}

/// A text of C's, where null stands for none.
///
/// # Safety
/// `text` is null or ends with a NUL.
#[allow(unsafe_code)]
pub(crate) unsafe fn text_or_none<'a>(
    text: *const c_char,
    name: &str,
) -> Result<Option<&'a str>, Failure> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: not null, and the caller says that it ends.
    let text = unsafe { CStr::from_ptr(text) };
    let text = text.to_str().map_err(|_| Failure::argument(format!("{name} is not UTF-8")))?;
    Ok(Some(text))
}

/// Bytes of C's, no more than any object can have.
///
/// # Safety
/// `data` is null or has `len` bytes.
#[allow(unsafe_code)]
pub(crate) unsafe fn bytes<'a>(data: *const u8, len: usize) -> Result<&'a [u8], Failure> {
    check_len(data, len)?;
    if len as u64 > BODY_MAX {
        let why = format!("{len} bytes are more than the 256 GiB that an object can have");
        return Err(Failure::new(OBJSTORE_TOO_LARGE, why));
    }
    if len == 0 {
        return Ok(&[]);
    }
    // SAFETY: not null, as long as that, and less than any address space has.
    Ok(unsafe { std::slice::from_raw_parts(data, len) })
}

/// A copy of bytes of C's.
///
/// # Safety
/// `data` is null or has `len` bytes.
#[allow(unsafe_code)]
pub(crate) unsafe fn copied(data: *const u8, len: usize) -> Result<Bytes, Failure> {
    // SAFETY: as the caller says.
    let bytes = unsafe { bytes(data, len) }?;
    let mut copy = Vec::new();
    copy.try_reserve_exact(len).map_err(|_| {
        let why = "there is no memory for a copy of the body; put it in pieces, with a writer";
        Failure::new(OBJSTORE_OUT_OF_MEMORY, why)
    })?;
    copy.extend_from_slice(bytes);
    Ok(copy.into())
}

/// The most bytes that a node takes for one object.
const BODY_MAX: u64 = 256 << 30;

/// Copies bytes to C.
///
/// # Safety
/// `to` has room for `from`.
#[allow(unsafe_code)]
pub(crate) unsafe fn copy_out(from: &[u8], to: *mut u8) {
    // SAFETY: as the caller says; memory of C's and memory of ours do not overlap.
    unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to, from.len()) }
}

pub(crate) fn check_len(data: *const u8, len: usize) -> Result<(), Failure> {
    if len > isize::MAX as usize {
        return Err(Failure::argument("the length is more than memory can be; was it negative?"));
    }
    if data.is_null() && len > 0 {
        return Err(Failure::argument("the data is null and its length is not 0"));
    }
    Ok(())
}
