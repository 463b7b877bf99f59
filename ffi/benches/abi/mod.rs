//! What the benches of the C ABI share: its functions, a store, and how figures are told.

#![allow(dead_code, unreachable_pub)] // each bench takes what it needs

use std::ffi::{CString, c_char, c_void};
use std::ptr::null_mut;

pub type Error = *mut *mut c_void;

unsafe extern "C" {
    pub fn objstore_config_new() -> *mut c_void;
    pub fn objstore_config_set(
        config: *mut c_void,
        name: *const c_char,
        value: *const c_char,
        error: Error,
    ) -> i32;
    pub fn objstore_open_node(config: *const c_void, store: *mut *mut c_void, error: Error) -> i32;
    pub fn objstore_put(
        store: *mut c_void,
        id: *const [u8; 16],
        data: *const u8,
        length: usize,
        options: *const c_void,
        meta: *mut *mut c_void,
        error: Error,
    ) -> i32;
    pub fn objstore_get(
        store: *mut c_void,
        id: *const [u8; 16],
        options: *const c_void,
        reader: *mut *mut c_void,
        error: Error,
    ) -> i32;
    pub fn objstore_reader_next(
        reader: *mut c_void,
        data: *mut *const u8,
        length: *mut usize,
        error: Error,
    ) -> i32;
    pub fn objstore_reader_read(
        reader: *mut c_void,
        to: *mut u8,
        length: usize,
        got: *mut usize,
        error: Error,
    ) -> i32;
    pub fn objstore_reader_free(reader: *mut c_void) -> i32;
    pub fn objstore_close(store: *mut c_void, timeout_ms: i64, error: Error) -> i32;
}

pub const NONE: Error = null_mut();

pub fn open(settings: &[(&str, &str)]) -> *mut c_void {
    let mut store = null_mut();
    // SAFETY: as the header says.
    unsafe {
        let config = objstore_config_new();
        for (name, value) in settings {
            let (name, value) = (CString::new(*name).unwrap(), CString::new(*value).unwrap());
            assert_eq!(objstore_config_set(config, name.as_ptr(), value.as_ptr(), NONE), 0);
        }
        assert_eq!(objstore_open_node(config, &raw mut store, NONE), 0);
    }
    store
}

/// Median, least and most.
pub fn spread(mut samples: Vec<f64>) -> String {
    samples.sort_by(f64::total_cmp);
    let (min, max) = (samples.first().unwrap(), samples.last().unwrap());
    let median = samples.get(samples.len() / 2).unwrap();
    format!("{{\"median\":{median:.2},\"min\":{min:.2},\"max\":{max:.2}}}")
}
