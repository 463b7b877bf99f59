#![allow(non_camel_case_types, unsafe_code)] // as C names them; exports, callbacks

use std::cell::Cell;
use std::ffi::{c_char, c_void};
use std::fmt::{self, Write};
use std::sync::{Once, PoisonError, RwLock};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};

use crate::boundary::set;
use crate::error::{Failure, c_string};
use crate::status::objstore_status;

/// Takes a line of the log: `level` is one of OBJSTORE_LOG_…, `line` is UTF-8 that is gone when it
/// returns. It is called from threads of the library, and from the caller's own, several at a time.
/// Calls of the library in it return OBJSTORE_REENTRANT.
pub type objstore_log_line =
    Option<unsafe extern "C" fn(user_data: *mut c_void, level: i32, line: *const c_char)>;

/// Something does not work.
pub const OBJSTORE_LOG_ERROR: i32 = 1;
/// Something is not as it should be.
pub const OBJSTORE_LOG_WARN: i32 = 2;
/// Something happened that is worth knowing.
pub const OBJSTORE_LOG_INFO: i32 = 3;
/// Details, such as every request that comes over HTTP.
pub const OBJSTORE_LOG_DEBUG: i32 = 4;
/// All there is.
pub const OBJSTORE_LOG_TRACE: i32 = 5;

struct Target {
    function: unsafe extern "C" fn(*mut c_void, i32, *const c_char),
    user_data: usize,
    level: i32,
}

static TARGET: RwLock<Option<Target>> = RwLock::new(None);

thread_local! {
    static IN_LINE: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread is in a callback that takes a line.
pub(crate) fn in_line() -> bool {
    IN_LINE.get()
}

fn number(level: Level) -> i32 {
    match level {
        Level::ERROR => OBJSTORE_LOG_ERROR,
        Level::WARN => OBJSTORE_LOG_WARN,
        Level::INFO => OBJSTORE_LOG_INFO,
        Level::DEBUG => OBJSTORE_LOG_DEBUG,
        Level::TRACE => OBJSTORE_LOG_TRACE,
    }
}

/// Hands events to the callback; knows no spans.
struct Lines;

impl Subscriber for Lines {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // The level may change.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let level = number(*metadata.level());
        // Libraries below are heard when something is wrong: their details drown ours.
        let ours = metadata.target().starts_with("objstore");
        let target = TARGET.read().unwrap_or_else(PoisonError::into_inner);
        target.as_ref().is_some_and(|target| {
            level <= target.level && (ours || level <= OBJSTORE_LOG_WARN) && !metadata.is_span()
        })
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        if in_line() {
            return;
        }
        let mut line = Line::default();
        event.record(&mut line);
        let text = c_string(&(line.message + &line.fields));
        let target = TARGET.read().unwrap_or_else(PoisonError::into_inner);
        let Some(target) = &*target else { return };
        IN_LINE.set(true);
        // SAFETY: the header asks for a function that takes these.
        unsafe {
            (target.function)(
                std::ptr::without_provenance_mut(target.user_data),
                number(*event.metadata().level()),
                text.as_ptr(),
            );
        }
        IN_LINE.set(false);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// `message field=value`.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

/// Has a function take the lines of the log, of this level (OBJSTORE_LOG_…) and those above, for all
/// stores of the process; null, which is how it begins, for silence. When this returns, the function
/// before is not called any more.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_log_set(
    line: objstore_log_line,
    user_data: *mut c_void,
    level: i32,
) -> objstore_status {
    set(|| {
        if !(OBJSTORE_LOG_ERROR..=OBJSTORE_LOG_TRACE).contains(&level) {
            return Err(Failure::argument("the level is none of OBJSTORE_LOG_…"));
        }
        static INSTALLED: Once = Once::new();
        // In a program that is Rust itself and listens to events, that has come first and stays.
        INSTALLED.call_once(|| drop(tracing::subscriber::set_global_default(Lines)));
        let user_data = user_data.expose_provenance();
        *TARGET.write().unwrap_or_else(PoisonError::into_inner) =
            line.map(|function| Target { function, user_data, level });
        Ok(())
    })
}
