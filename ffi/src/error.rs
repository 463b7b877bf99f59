#![allow(unsafe_code)] // exports

use std::borrow::Cow;
use std::ffi::{CString, c_char};
use std::sync::Arc;

use objstore_core::Error;
use objstore_core::types::ObjectMeta;

use crate::boundary::{free, quietly};
use crate::handles::{self, Handle};
use crate::meta::Meta;
use crate::status::{self, OBJSTORE_INVALID_ARGUMENT, OBJSTORE_OK, objstore_status};
use crate::types::{objstore_error, objstore_meta};

/// Why a call did not do what it was to do.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) status: objstore_status,
    message: CString,
    retryable: bool,
    retry_after_ms: i64,
    size: Option<u64>,
    meta: Option<Arc<ObjectMeta>>,
}

impl Failure {
    pub(crate) fn new<'a>(status: objstore_status, message: impl Into<Cow<'a, str>>) -> Self {
        Self {
            status,
            message: c_string(&message.into()),
            retryable: false,
            retry_after_ms: -1,
            size: None,
            meta: None,
        }
    }

    /// An argument that cannot be.
    pub(crate) fn argument<'a>(message: impl Into<Cow<'a, str>>) -> Self {
        Self::new(OBJSTORE_INVALID_ARGUMENT, message)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        // What was met below is for the caller too: there may be nobody who reads a log.
        let mut message = error.to_string();
        let mut below = std::error::Error::source(&error);
        while let Some(source) = below {
            let source_says = source.to_string();
            if !message.contains(&source_says) {
                message = format!("{message}: {source_says}");
            }
            below = source.source();
        }
        let after = |delay: std::time::Duration| i64::try_from(delay.as_millis()).ok();
        Self {
            status: status::of(error.kind()),
            message: c_string(&message),
            retryable: error.kind().is_retryable(),
            retry_after_ms: error.retry_after().and_then(after).unwrap_or(-1),
            size: error.size(),
            meta: error.meta().map(Arc::clone),
        }
    }
}

/// As C has it: on one line, up to the first NUL.
pub(crate) fn c_string(text: &str) -> CString {
    let text = text.split('\0').next().unwrap_or_default().replace('\n', " ");
    CString::new(text).unwrap_or_default()
}

impl Handle for Failure {
    type Opaque = objstore_error;
}

/// The status of an error. OBJSTORE_OK for null.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_error_status(error: *const objstore_error) -> objstore_status {
    quietly(OBJSTORE_OK, || {
        Ok(handles::get_or_none::<Failure>(error)?.map_or(OBJSTORE_OK, |error| error.status))
    })
}

/// What happened and what to do about it, on one line of UTF-8. Never null: "" for null. Belongs to
/// the error.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_error_message(error: *const objstore_error) -> *const c_char {
    quietly(c"".as_ptr(), || {
        let error = handles::get::<Failure>(error)?;
        Ok(error.message.as_ptr())
    })
}

/// Whether the very same call may succeed later: when the load is less, the node is back, there is room.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_error_is_retryable(error: *const objstore_error) -> bool {
    quietly(false, || Ok(handles::get::<Failure>(error)?.retryable))
}

/// The milliseconds after which a retry makes sense; -1 where nobody said.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_error_retry_after_ms(error: *const objstore_error) -> i64 {
    quietly(-1, || Ok(handles::get::<Failure>(error)?.retry_after_ms))
}

/// The size of the object that a range missed (OBJSTORE_RANGE_NOT_SATISFIABLE); -1 where it is not
/// known.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_error_size(error: *const objstore_error) -> i64 {
    quietly(-1, || {
        let size = handles::get::<Failure>(error)?.size;
        Ok(size.and_then(|size| i64::try_from(size).ok()).unwrap_or(-1))
    })
}

/// The version (or tombstone) that the error is about, with OBJSTORE_DELETED and OBJSTORE_NOT_MODIFIED,
/// and of a get OBJSTORE_PRECONDITION_FAILED; null where it is not known. To be freed with
/// objstore_meta_free().
#[unsafe(no_mangle)]
pub extern "C" fn objstore_error_meta(error: *const objstore_error) -> *mut objstore_meta {
    quietly(std::ptr::null_mut(), || {
        let meta = handles::get::<Failure>(error)?.meta.as_ref().map(Arc::clone);
        Ok(meta.map_or(std::ptr::null_mut(), |meta| handles::give(Meta::new(meta))))
    })
}

/// Frees an error; null is fine.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_error_free(error: *mut objstore_error) -> objstore_status {
    free::<Failure>(error)
}
