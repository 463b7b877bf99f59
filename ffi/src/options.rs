#![allow(unsafe_code)] // exports, and texts of the caller's

use std::ffi::c_char;
use std::sync::{Mutex, MutexGuard, PoisonError};

use objstore_core::options::{
    ByteRange, Conditions, DeleteOptions, ETagSet, GetOptions, KeyListOptions, ListOptions,
    PutOptions, WriteMode,
};
use objstore_core::types::{ETag, Level, ObjectName, UserMeta};

use crate::boundary::{free, made, set, text, text_or_none};
use crate::cancel::Cancel;
use crate::error::Failure;
use crate::handles::{self, Handle};
use crate::ids;
use crate::status::objstore_status;
use crate::types::{
    objstore_cancel, objstore_delete_options, objstore_get_options, objstore_id,
    objstore_key_list_options, objstore_list_options, objstore_put_options,
};

/// Options of one kind, and what ends the call they are given to.
pub(crate) struct Options<T>(Mutex<(T, Vec<Cancel>)>);

impl<T: Default + Clone> Options<T> {
    fn new() -> Self {
        Self(Mutex::new((T::default(), Vec::new())))
    }

    fn inner(&self) -> MutexGuard<'_, (T, Vec<Cancel>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The options behind a handle, the defaults for null.
pub(crate) fn of<T>(
    handle: *const <Options<T> as Handle>::Opaque,
) -> Result<(T, Vec<Cancel>), Failure>
where
    T: Default + Clone,
    Options<T>: Handle,
{
    let options = handles::get_or_none::<Options<T>>(handle)?;
    Ok(options.map_or_else(Default::default, |options| options.inner().clone()))
}

fn change<T>(
    handle: *const <Options<T> as Handle>::Opaque,
    work: impl FnOnce(&mut T) -> Result<(), Failure>,
) -> objstore_status
where
    T: Default + Clone,
    Options<T>: Handle,
{
    set(|| work(&mut handles::get::<Options<T>>(handle)?.inner().0))
}

fn cancel<T>(
    handle: *const <Options<T> as Handle>::Opaque,
    cancel: *const objstore_cancel,
) -> objstore_status
where
    T: Default + Clone,
    Options<T>: Handle,
{
    set(|| {
        let cancel = handles::get_or_none::<Cancel>(cancel)?;
        let cancels = cancel.iter().map(|cancel| Cancel::clone(cancel)).collect();
        handles::get::<Options<T>>(handle)?.inner().1 = cancels;
        Ok(())
    })
}

/// Sets which version there must be, or that there must be none of it.
fn condition(
    conditions: &mut Conditions,
    etag: *const c_char,
    wanted: bool,
) -> Result<(), Failure> {
    // SAFETY: the header asks for a text or null.
    let tags = match unsafe { text_or_none(etag, "etag") }? {
        None => None,
        Some("*") => Some(ETagSet::Any),
        Some(etag) => Some(ETagSet::one(ETag::new(etag.trim_matches('"'))?)),
    };
    *(if wanted { &mut conditions.if_match } else { &mut conditions.if_none_match }) = tags;
    Ok(())
}

/// A level as C gives it.
pub(crate) fn level(level: i32) -> Result<Level, Failure> {
    Ok(Level::try_from(u8::try_from(level).unwrap_or(u8::MAX))?)
}

/// A way to write as C gives it.
pub(crate) fn write_mode(mode: i32) -> Result<WriteMode, Failure> {
    match mode {
        OBJSTORE_WRITE_DEFAULT => Ok(WriteMode::Default),
        OBJSTORE_WRITE_THROUGH => Ok(WriteMode::Through),
        OBJSTORE_WRITE_BACK => Ok(WriteMode::Back),
        _ => Err(Failure::argument("the write mode is none of OBJSTORE_WRITE_…")),
    }
}

/// A change is acknowledged as the node is set.
pub const OBJSTORE_WRITE_DEFAULT: i32 = 0;
/// A change is acknowledged once the bucket has confirmed it; when it does not, nothing is changed.
pub const OBJSTORE_WRITE_THROUGH: i32 = 1;
/// A change is acknowledged once it is durable on the node, which then sees to it that the bucket
/// gets it.
pub const OBJSTORE_WRITE_BACK: i32 = 2;

impl Handle for Options<PutOptions> {
    type Opaque = objstore_put_options;
}

/// Options of a put: level 0, no name.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_put_options_new() -> *mut objstore_put_options {
    made(|| Ok(Options::<PutOptions>::new()))
}

/// The file name; its extension decides the content type over HTTP. UTF-8, at most 255 bytes, no control
/// characters, else OBJSTORE_INVALID_NAME; "" for none.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_put_options_set_name(
    options: *mut objstore_put_options,
    name: *const c_char,
) -> objstore_status {
    change::<PutOptions>(options, |options| {
        // SAFETY: the header asks for a text.
        options.name = ObjectName::new(unsafe { text(name, "name") }?)?;
        Ok(())
    })
}

/// How far the body has to be kept before the put is acknowledged: 0 on the node's disk, 1 in the
/// bucket too, 2 on all nodes too. OBJSTORE_INVALID_LEVEL for anything else.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_put_options_set_level(
    options: *mut objstore_put_options,
    level: i32,
) -> objstore_status {
    change::<PutOptions>(options, |options| {
        options.level = self::level(level)?;
        Ok(())
    })
}

/// The content type, kept as it is; over HTTP an extension of the name that is known comes first. Null
/// for none.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_put_options_set_content_type(
    options: *mut objstore_put_options,
    content_type: *const c_char,
) -> objstore_status {
    change::<PutOptions>(options, |options| {
        // SAFETY: the header asks for a text.
        options.content_type =
            unsafe { text_or_none(content_type, "content_type") }?.map(ToOwned::to_owned);
        Ok(())
    })
}

/// The content encoding, kept as it is; null for none.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_put_options_set_content_encoding(
    options: *mut objstore_put_options,
    content_encoding: *const c_char,
) -> objstore_status {
    change::<PutOptions>(options, |options| {
        // SAFETY: the header asks for a text.
        options.content_encoding =
            unsafe { text_or_none(content_encoding, "content_encoding") }?.map(ToOwned::to_owned);
        Ok(())
    })
}

/// Adds a pair of user metadata; a name given again replaces. 16 KiB in all, 2 KiB from level 1 on.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_put_options_add_user(
    options: *mut objstore_put_options,
    name: *const c_char,
    value: *const c_char,
) -> objstore_status {
    change::<PutOptions>(options, |options| {
        // SAFETY: the header asks for texts.
        let (name, value) = unsafe { (text(name, "name")?, text(value, "value")?) };
        let pairs = options.user_meta.iter().chain([(name, value)]);
        options.user_meta = UserMeta::new(pairs)?;
        Ok(())
    })
}

/// One of OBJSTORE_WRITE_…: when a put of level 1 or 2 is acknowledged.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_put_options_set_write(
    options: *mut objstore_put_options,
    mode: i32,
) -> objstore_status {
    change::<PutOptions>(options, |options| {
        options.write = write_mode(mode)?;
        Ok(())
    })
}

/// At level 2, how many nodes must have a copy when the put is acknowledged, this one included; 0
/// for those that are quick. With fewer the object is stored and the put OBJSTORE_TOO_FEW_REPLICAS.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_put_options_set_min_replicas(
    options: *mut objstore_put_options,
    replicas: u32,
) -> objstore_status {
    change::<PutOptions>(options, |options| {
        options.min_replicas = Some(replicas).filter(|replicas| *replicas > 0);
        Ok(())
    })
}

/// The current version must have this tag, "*" for any; null for no condition.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_put_options_set_if_match(
    options: *mut objstore_put_options,
    etag: *const c_char,
) -> objstore_status {
    change::<PutOptions>(options, |options| {
        condition(&mut options.conditions, etag, true)?;
        Ok(())
    })
}

/// The current version must not have this tag; with "*" there must be none, so nothing is
/// overwritten. Null for no condition.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_put_options_set_if_none_match(
    options: *mut objstore_put_options,
    etag: *const c_char,
) -> objstore_status {
    change::<PutOptions>(options, |options| {
        condition(&mut options.conditions, etag, false)?;
        Ok(())
    })
}

/// What ends the call early; null for nothing. The cancel may be freed after this.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_put_options_set_cancel(
    options: *mut objstore_put_options,
    cancel: *const objstore_cancel,
) -> objstore_status {
    self::cancel::<PutOptions>(options, cancel)
}

/// Frees options; null is fine. Calls that were given them have what they need.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_put_options_free(options: *mut objstore_put_options) -> objstore_status {
    free::<Options<PutOptions>>(options)
}

impl Handle for Options<GetOptions> {
    type Opaque = objstore_get_options;
}

/// Options of a get: the whole body, no conditions.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_get_options_new() -> *mut objstore_get_options {
    made(|| Ok(Options::<GetOptions>::new()))
}

/// Only these bytes: from the first position to the last, inclusive; both may lie past the end.
/// UINT64_MAX as the last is to the end.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_get_options_set_range(
    options: *mut objstore_get_options,
    first: u64,
    last: u64,
) -> objstore_status {
    change::<GetOptions>(options, |options| {
        if first > last {
            return Err(Failure::argument("the range ends before it begins"));
        }
        options.range = Some(if last == u64::MAX {
            ByteRange::From(first)
        } else {
            ByteRange::FromTo(first, last)
        });
        Ok(())
    })
}

/// Only this many bytes at the end.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_get_options_set_last(
    options: *mut objstore_get_options,
    count: u64,
) -> objstore_status {
    change::<GetOptions>(options, |options| {
        options.range = Some(ByteRange::Last(count));
        Ok(())
    })
}

/// Whether to look in the bucket for an object of which nothing is known here.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_get_options_set_fetch(
    options: *mut objstore_get_options,
    fetch: bool,
) -> objstore_status {
    change::<GetOptions>(options, |options| {
        options.fetch = fetch;
        Ok(())
    })
}

/// Whether to ask the bucket if what is here of a key is still current.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_get_options_set_no_cache(
    options: *mut objstore_get_options,
    no_cache: bool,
) -> objstore_status {
    change::<GetOptions>(options, |options| {
        options.no_cache = no_cache;
        Ok(())
    })
}

/// The version must have this tag, "*" for any; null for no condition.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_get_options_set_if_match(
    options: *mut objstore_get_options,
    etag: *const c_char,
) -> objstore_status {
    change::<GetOptions>(options, |options| {
        condition(&mut options.conditions, etag, true)?;
        Ok(())
    })
}

/// The version must not have this tag, else OBJSTORE_NOT_MODIFIED; null for no condition.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_get_options_set_if_none_match(
    options: *mut objstore_get_options,
    etag: *const c_char,
) -> objstore_status {
    change::<GetOptions>(options, |options| {
        condition(&mut options.conditions, etag, false)?;
        Ok(())
    })
}

/// What ends the call early; null for nothing. The cancel may be freed after this.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_get_options_set_cancel(
    options: *mut objstore_get_options,
    cancel: *const objstore_cancel,
) -> objstore_status {
    self::cancel::<GetOptions>(options, cancel)
}

/// Frees options; null is fine. Calls that were given them have what they need.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_get_options_free(options: *mut objstore_get_options) -> objstore_status {
    free::<Options<GetOptions>>(options)
}

impl Handle for Options<DeleteOptions> {
    type Opaque = objstore_delete_options;
}

/// Options of a delete: no conditions.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_delete_options_new() -> *mut objstore_delete_options {
    made(|| Ok(Options::<DeleteOptions>::new()))
}

/// Whether to remove it from the bucket too.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_delete_options_set_purge(
    options: *mut objstore_delete_options,
    purge: bool,
) -> objstore_status {
    change::<DeleteOptions>(options, |options| {
        options.purge = purge;
        Ok(())
    })
}

/// The current version must have this tag, "*" for any; null for no condition.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_delete_options_set_if_match(
    options: *mut objstore_delete_options,
    etag: *const c_char,
) -> objstore_status {
    change::<DeleteOptions>(options, |options| {
        condition(&mut options.conditions, etag, true)?;
        Ok(())
    })
}

/// What ends the call early; null for nothing. The cancel may be freed after this.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_delete_options_set_cancel(
    options: *mut objstore_delete_options,
    cancel: *const objstore_cancel,
) -> objstore_status {
    self::cancel::<DeleteOptions>(options, cancel)
}

/// Frees options; null is fine. Calls that were given them have what they need.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_delete_options_free(
    options: *mut objstore_delete_options,
) -> objstore_status {
    free::<Options<DeleteOptions>>(options)
}

impl Handle for Options<ListOptions> {
    type Opaque = objstore_list_options;
}

/// Options of a listing of objects: the first 1,000 objects.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_list_options_new() -> *mut objstore_list_options {
    made(|| Ok(Options::<ListOptions>::new()))
}

/// Only ids above this one, such as the last of the page before; null for all.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_list_options_set_after(
    options: *mut objstore_list_options,
    id: Option<&objstore_id>,
) -> objstore_status {
    change::<ListOptions>(options, |options| {
        options.after = id.map(|id| ids::id(Some(id))).transpose()?;
        Ok(())
    })
}

/// The most objects of the page, 1 to 1,000; more is taken as that.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_list_options_set_limit(
    options: *mut objstore_list_options,
    limit: usize,
) -> objstore_status {
    change::<ListOptions>(options, |options| {
        if limit == 0 {
            return Err(Failure::argument("a page has at least one object"));
        }
        options.limit = limit;
        Ok(())
    })
}

/// Whether to list deleted objects too.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_list_options_set_deleted(
    options: *mut objstore_list_options,
    deleted: bool,
) -> objstore_status {
    change::<ListOptions>(options, |options| {
        options.include_deleted = deleted;
        Ok(())
    })
}

/// What ends the call early; null for nothing. The cancel may be freed after this.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_list_options_set_cancel(
    options: *mut objstore_list_options,
    cancel: *const objstore_cancel,
) -> objstore_status {
    self::cancel::<ListOptions>(options, cancel)
}

/// Frees options; null is fine. Calls that were given them have what they need.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_list_options_free(
    options: *mut objstore_list_options,
) -> objstore_status {
    free::<Options<ListOptions>>(options)
}

impl Handle for Options<KeyListOptions> {
    type Opaque = objstore_key_list_options;
}

/// Options of a listing of keys: the first 1,000 keys.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_key_list_options_new() -> *mut objstore_key_list_options {
    made(|| Ok(Options::<KeyListOptions>::new()))
}

/// Only keys that begin so.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_key_list_options_set_prefix(
    options: *mut objstore_key_list_options,
    prefix: *const c_char,
) -> objstore_status {
    change::<KeyListOptions>(options, |options| {
        // SAFETY: the header asks for a text.
        options.prefix = unsafe { text(prefix, "prefix") }?.to_owned();
        Ok(())
    })
}

/// Keys that have this behind the prefix are rolled up to it; null for none.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_key_list_options_set_delimiter(
    options: *mut objstore_key_list_options,
    delimiter: *const c_char,
) -> objstore_status {
    change::<KeyListOptions>(options, |options| {
        // SAFETY: the header asks for a text.
        options.delimiter = unsafe { text_or_none(delimiter, "delimiter") }?.map(ToOwned::to_owned);
        Ok(())
    })
}

/// Only keys above this one, from objstore_key_list_next(); null for all.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_key_list_options_set_after(
    options: *mut objstore_key_list_options,
    key: *const c_char,
) -> objstore_status {
    change::<KeyListOptions>(options, |options| {
        // SAFETY: the header asks for a text.
        options.after = unsafe { text_or_none(key, "key") }?.map(ToOwned::to_owned);
        Ok(())
    })
}

/// The most keys and prefixes of the page, 1 to 1,000; more is taken as that.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_key_list_options_set_limit(
    options: *mut objstore_key_list_options,
    limit: usize,
) -> objstore_status {
    change::<KeyListOptions>(options, |options| {
        if limit == 0 {
            return Err(Failure::argument("a page has at least one key"));
        }
        options.limit = limit;
        Ok(())
    })
}

/// What ends the call early; null for nothing. The cancel may be freed after this.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_key_list_options_set_cancel(
    options: *mut objstore_key_list_options,
    cancel: *const objstore_cancel,
) -> objstore_status {
    self::cancel::<KeyListOptions>(options, cancel)
}

/// Frees options; null is fine. Calls that were given them have what they need.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_key_list_options_free(
    options: *mut objstore_key_list_options,
) -> objstore_status {
    free::<Options<KeyListOptions>>(options)
}
