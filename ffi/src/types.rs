//! The opaque types of the header. No value of them exists: a pointer to one is a number that was
//! given out (see `handles`).
#![allow(non_camel_case_types)] // as C names them

/// A node in this process, from objstore_open_node(), or nodes elsewhere, from objstore_connect(); ends
/// with objstore_close().
pub struct objstore_store {
    _opaque: (),
}

/// Settings by name. From objstore_config_new().
pub struct objstore_config {
    _opaque: (),
}

/// What went wrong: a status, a line that says what to do, whether to try again.
pub struct objstore_error {
    _opaque: (),
}

/// Ends calls early. From objstore_cancel_new(); may be given to any number of calls.
pub struct objstore_cancel {
    _opaque: (),
}

/// How to put. From objstore_put_options_new().
pub struct objstore_put_options {
    _opaque: (),
}

/// How to get. From objstore_get_options_new().
pub struct objstore_get_options {
    _opaque: (),
}

/// How to delete. From objstore_delete_options_new().
pub struct objstore_delete_options {
    _opaque: (),
}

/// Which objects to list. From objstore_list_options_new().
pub struct objstore_list_options {
    _opaque: (),
}

/// Which keys to list. From objstore_key_list_options_new().
pub struct objstore_key_list_options {
    _opaque: (),
}

/// What is known about one version of an object. Does not change.
pub struct objstore_meta {
    _opaque: (),
}

/// An object on its way out. For one thread at a time.
pub struct objstore_reader {
    _opaque: (),
}

/// An object on its way in. For one thread at a time.
pub struct objstore_writer {
    _opaque: (),
}

/// One page of objects.
pub struct objstore_list {
    _opaque: (),
}

/// One page of keys.
pub struct objstore_key_list {
    _opaque: (),
}

/// A text that was made for the caller, such as statistics as JSON.
pub struct objstore_text {
    _opaque: (),
}

/// Messages from other nodes. For one thread at a time.
pub struct objstore_subscription {
    _opaque: (),
}

/// A message from another node.
pub struct objstore_message {
    _opaque: (),
}

/// Where operations that nobody waits for report that they are done. From
/// objstore_queue_new().
pub struct objstore_queue {
    _opaque: (),
}

/// What became of an operation; only during the callback that is given it.
pub struct objstore_result {
    _opaque: (),
}

/// The id of an object, a ULID: 48 bits of milliseconds, 80 random bits, most significant byte
/// first, so that memcmp() orders ids by time.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct objstore_id {
    /// The bytes. All zero is no id, but OBJSTORE_INVALID_ID.
    pub bytes: [u8; 16],
}
