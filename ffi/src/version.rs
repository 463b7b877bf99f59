#![allow(unsafe_code)] // exports

use std::ffi::c_char;

/// The version of this header. A library works with a program that was compiled with a header of the
/// same or a lower one.
pub const OBJSTORE_ABI_VERSION: u32 = 1;

/// The version of the library that is linked; at least OBJSTORE_ABI_VERSION, or the program was
/// compiled with the header of a newer one. Functions, settings and status codes are only ever added
/// to. May be called at any time, in a child of fork() too.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_abi_version() -> u32 {
    OBJSTORE_ABI_VERSION
}

/// The version of objstore, such as "0.1.0". May be called at any time; lives as long as the process.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_version() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}
