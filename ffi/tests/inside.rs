//! The library called by threads that run a Rust runtime of their own: it waits there as anywhere else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, unsafe_code)]

// Links the library, whose functions have no names in Rust.
use objstore as _;

use std::ffi::{CStr, c_char, c_void};
use std::ptr::{null, null_mut};

unsafe extern "C" {
    fn objstore_config_new() -> *mut c_void;
    fn objstore_config_set(
        c: *mut c_void,
        n: *const c_char,
        v: *const c_char,
        e: *mut *mut c_void,
    ) -> i32;
    fn objstore_config_free(config: *mut c_void) -> i32;
    fn objstore_open_node(
        config: *const c_void,
        store: *mut *mut c_void,
        e: *mut *mut c_void,
    ) -> i32;
    fn objstore_new_id(store: *mut c_void, id: *mut [u8; 16], error: *mut *mut c_void) -> i32;
    fn objstore_put(
        store: *mut c_void,
        id: *const [u8; 16],
        data: *const u8,
        length: usize,
        options: *const c_void,
        meta: *mut *mut c_void,
        error: *mut *mut c_void,
    ) -> i32;
    fn objstore_get(
        store: *mut c_void,
        id: *const [u8; 16],
        options: *const c_void,
        reader: *mut *mut c_void,
        error: *mut *mut c_void,
    ) -> i32;
    fn objstore_reader_read(
        reader: *mut c_void,
        to: *mut u8,
        length: usize,
        got: *mut usize,
        error: *mut *mut c_void,
    ) -> i32;
    fn objstore_reader_free(reader: *mut c_void) -> i32;
    fn objstore_close(store: *mut c_void, timeout_ms: i64, error: *mut *mut c_void) -> i32;
}

/// Opens a node in memory, puts, gets in part, and closes.
fn a_round() {
    const ONE: &CStr = c"1";
    let (mut store, mut reader, mut id, mut got) = (null_mut(), null_mut(), [0; 16], 0);
    let (body, mut buffer) = (vec![7_u8; 300_000], vec![0_u8; 1000]);
    let none: *mut *mut c_void = null_mut();
    // SAFETY: as the header says.
    unsafe {
        let config = objstore_config_new();
        for name in [c"in-memory", c"threads"] {
            assert_eq!(objstore_config_set(config, name.as_ptr(), ONE.as_ptr(), none), 0);
        }
        assert_eq!(objstore_open_node(config, &raw mut store, none), 0);
        assert_eq!(objstore_config_free(config), 0);
        assert_eq!(objstore_new_id(store, &raw mut id, none), 0);
        let (data, length) = (body.as_ptr(), body.len());
        assert_eq!(objstore_put(store, &raw const id, data, length, null(), none, none), 0);
        assert_eq!(objstore_get(store, &raw const id, null(), &raw mut reader, none), 0);
        let to = buffer.as_mut_ptr();
        assert_eq!(objstore_reader_read(reader, to, buffer.len(), &raw mut got, none), 0);
        assert_eq!(objstore_close(store, -1, none), 0);
        assert_eq!(objstore_reader_free(reader), 0);
    }
    assert_eq!((got, buffer.as_slice()), (1000, &body[..1000]));
}

#[test]
fn it_works_on_the_threads_of_a_runtime() {
    let one = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    one.block_on(async { a_round() });
    let many = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    many.block_on(async {
        let rounds: Vec<_> = (0..4).map(|_| tokio::spawn(async { a_round() })).collect();
        for round in rounds {
            round.await.unwrap();
        }
        tokio::task::spawn_blocking(a_round).await.unwrap();
    });
}
