#![allow(unsafe_code)] // exports, and texts of the caller's

use std::ffi::c_char;

use objstore_core::types::ObjectId;

use crate::boundary::{copy_out, set, text, wanted};
use crate::error::Failure;
use crate::status::objstore_status;
use crate::types::objstore_id;

impl objstore_id {
    pub(crate) fn of(id: ObjectId) -> Self {
        Self { bytes: id.to_bytes() }
    }
}

/// An id that C gave.
pub(crate) fn id(id: Option<&objstore_id>) -> Result<ObjectId, Failure> {
    let id = id.ok_or_else(|| Failure::argument("the id is null"))?;
    Ok(ObjectId::from_bytes(id.bytes)?)
}

/// The room that the text of an id takes, its NUL included.
pub const OBJSTORE_ID_TEXT: usize = 27;

/// Reads an id from its 26 characters, in capitals or not. OBJSTORE_INVALID_ID when they are none; `id`
/// is as it was then.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_id_parse(
    text_of_id: *const c_char,
    id: Option<&mut objstore_id>,
) -> objstore_status {
    set(|| {
        let id = wanted(id, "id")?;
        // SAFETY: the header asks for a text.
        *id = objstore_id::of(unsafe { text(text_of_id, "text_of_id") }?.parse()?);
        Ok(())
    })
}

/// Writes an id as 26 characters, in capitals, and a NUL. `to` has room for OBJSTORE_ID_TEXT bytes; it is
/// "" when the id is none (OBJSTORE_INVALID_ID).
#[unsafe(no_mangle)]
pub extern "C" fn objstore_id_format(id: Option<&objstore_id>, to: *mut c_char) -> objstore_status {
    set(|| {
        if to.is_null() {
            return Err(Failure::argument("to is null; it says where the text goes"));
        }
        let mut text = [0; OBJSTORE_ID_TEXT];
        // SAFETY: the header asks for room for more than one byte.
        unsafe { copy_out(&text[..1], to.cast()) };
        let id = self::id(id)?;
        for (to, from) in text.iter_mut().zip(id.to_string().bytes()) {
            *to = from;
        }
        // SAFETY: the header asks for room for as many bytes.
        unsafe { copy_out(&text, to.cast()) };
        Ok(())
    })
}
