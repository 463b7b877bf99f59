//! The numbers that functions return. A number keeps its meaning for ever; one that is no longer
//! needed is not used again.
#![allow(non_camel_case_types, unsafe_code)] // as C names them; exports

use std::ffi::{CStr, c_char};

use objstore_core::ErrorKind;

/// What became of a call: OBJSTORE_OK or why not. See the constants OBJSTORE_….
pub type objstore_status = i32;

/// It is done.
pub const OBJSTORE_OK: objstore_status = 0;
/// An argument is null that must not be, out of its bounds, or not UTF-8. Nothing was done.
pub const OBJSTORE_INVALID_ARGUMENT: objstore_status = 1;
/// A handle is null, was freed or closed, or is of another type. Nothing was done.
pub const OBJSTORE_BAD_HANDLE: objstore_status = 2;
/// Another thread is at this very moment in a call on this reader, writer or subscription.
/// Nothing was done.
pub const OBJSTORE_IN_USE: objstore_status = 3;
/// A callback made a call that callbacks may not make. Nothing was done.
pub const OBJSTORE_REENTRANT: objstore_status = 4;
/// This process is a child of fork() of one that had used the library. Exec first. Nothing
/// was done.
pub const OBJSTORE_FORKED: objstore_status = 5;
/// This kind of store cannot do this. Nothing was done.
pub const OBJSTORE_UNSUPPORTED: objstore_status = 6;
/// The call was cancelled. Whether a change was made is not known.
pub const OBJSTORE_CANCELLED: objstore_status = 7;
/// The time that was given to this very call is over. (That of the setting timeout: OBJSTORE_TRANSPORT.)
pub const OBJSTORE_TIMED_OUT: objstore_status = 8;
/// It is over with this reader, writer or result: a reader failed before, a writer was finished or
/// failed, a result has nothing of the kind. Or not now: what was begun with …_async() is under way.
/// Nothing was done.
pub const OBJSTORE_FINISHED: objstore_status = 9;
/// There is no memory for a copy of the body. Nothing was done.
pub const OBJSTORE_OUT_OF_MEMORY: objstore_status = 10;
/// The condition says that the asker's copy is current.
pub const OBJSTORE_NOT_MODIFIED: objstore_status = 100;
/// The request contradicts itself or the protocol. Fix it.
pub const OBJSTORE_INVALID_REQUEST: objstore_status = 101;
/// Not a ULID of the years 2010 to 2100.
pub const OBJSTORE_INVALID_ID: objstore_status = 102;
/// Not a key of a bucket: empty, over 1,024 bytes, or with a NUL or dot segments.
pub const OBJSTORE_INVALID_KEY: objstore_status = 103;
/// The name is too long, not UTF-8, or has control characters.
pub const OBJSTORE_INVALID_NAME: objstore_status = 104;
/// A level other than 0, 1, 2.
pub const OBJSTORE_INVALID_LEVEL: objstore_status = 105;
/// User metadata that is not a JSON object of strings, or too long for its level.
pub const OBJSTORE_INVALID_USER_META: objstore_status = 106;
/// The body ended before its declared length. Nothing was stored.
pub const OBJSTORE_INCOMPLETE_BODY: objstore_status = 107;
/// The body has another digest than the request said. Nothing was stored.
pub const OBJSTORE_DIGEST_MISMATCH: objstore_status = 108;
/// The token may not do this, the key of the bucket is not for everyone, or the host named is not one
/// this node answers to.
pub const OBJSTORE_FORBIDDEN: objstore_status = 109;
/// No object has this id.
pub const OBJSTORE_NOT_FOUND: objstore_status = 110;
/// The object has been deleted; objstore_error_meta() has its tombstone.
pub const OBJSTORE_DELETED: objstore_status = 111;
/// The object is known, and its body is nowhere any more.
pub const OBJSTORE_BODY_LOST: objstore_status = 112;
/// There is no such route.
pub const OBJSTORE_NO_SUCH_ROUTE: objstore_status = 113;
/// The route does not take this method.
pub const OBJSTORE_METHOD_NOT_ALLOWED: objstore_status = 114;
/// The body stalled. Nothing was stored.
pub const OBJSTORE_TIMEOUT: objstore_status = 115;
/// A condition of the request does not hold. Nothing was changed.
pub const OBJSTORE_PRECONDITION_FAILED: objstore_status = 116;
/// The body is longer than this node takes.
pub const OBJSTORE_TOO_LARGE: objstore_status = 117;
/// The request target is longer than 8 KiB.
pub const OBJSTORE_TARGET_TOO_LONG: objstore_status = 118;
/// No byte of the range exists; objstore_error_size() has the object's size.
pub const OBJSTORE_RANGE_NOT_SATISFIABLE: objstore_status = 119;
/// An expectation other than 100-continue.
pub const OBJSTORE_EXPECTATION_FAILED: objstore_status = 120;
/// More than 100 fields or 32 KiB of head.
pub const OBJSTORE_HEAD_TOO_LARGE: objstore_status = 121;
/// A fault of this program. Please report it.
pub const OBJSTORE_INTERNAL: objstore_status = 122;
/// This is not built in, or not configured.
pub const OBJSTORE_NOT_IMPLEMENTED: objstore_status = 123;
/// The body here is damaged and no other copy was found. Other objects are unaffected.
pub const OBJSTORE_CORRUPT: objstore_status = 124;
/// The bucket refuses this, and will again; the node's log says why.
pub const OBJSTORE_REMOTE_REFUSED: objstore_status = 125;
/// As much is going on as this node takes. Retry later.
pub const OBJSTORE_BUSY: objstore_status = 126;
/// The node is stopping or has stopped. Ask another.
pub const OBJSTORE_STOPPING: objstore_status = 127;
/// The journal or the remote does not work at the moment. Whether the change was made is
/// unknown; sending the same again is safe.
pub const OBJSTORE_UNAVAILABLE: objstore_status = 128;
/// The clock of this node is more than 5 minutes ahead of those of the other nodes, which
/// would not take what it stamps. Set it right, or ask another node.
pub const OBJSTORE_CLOCK_SKEW: objstore_status = 129;
/// The disk or the quota is full. Nothing was acknowledged, though a change whose sync met the
/// full disk may turn out to have been made; reads and deletes go on.
pub const OBJSTORE_STORAGE_FULL: objstore_status = 130;
/// The connection could not be made, broke, or did not speak the protocol.
pub const OBJSTORE_TRANSPORT: objstore_status = 131;
/// A directory, file or setting given to this program does not work.
pub const OBJSTORE_CONFIGURATION: objstore_status = 132;
/// The node asks for a token, and there is none or one that is not valid.
pub const OBJSTORE_UNAUTHORIZED: objstore_status = 133;
/// The object is stored, and by then on fewer nodes than were asked for; the others get it in the
/// background. Sending it again changes nothing about that.
pub const OBJSTORE_TOO_FEW_REPLICAS: objstore_status = 134;
/// Something that this version of the library has no number for; the error says what.
pub const OBJSTORE_OTHER: objstore_status = 199;

/// Every number and its name.
const NAMES: &[(objstore_status, &CStr)] = &[
    (OBJSTORE_OK, c"ok"),
    (OBJSTORE_INVALID_ARGUMENT, c"invalid-argument"),
    (OBJSTORE_BAD_HANDLE, c"bad-handle"),
    (OBJSTORE_IN_USE, c"in-use"),
    (OBJSTORE_REENTRANT, c"reentrant"),
    (OBJSTORE_FORKED, c"forked"),
    (OBJSTORE_UNSUPPORTED, c"unsupported"),
    (OBJSTORE_CANCELLED, c"cancelled"),
    (OBJSTORE_TIMED_OUT, c"timed-out"),
    (OBJSTORE_FINISHED, c"finished"),
    (OBJSTORE_OUT_OF_MEMORY, c"out-of-memory"),
    (OBJSTORE_NOT_MODIFIED, c"not-modified"),
    (OBJSTORE_INVALID_REQUEST, c"invalid-request"),
    (OBJSTORE_INVALID_ID, c"invalid-id"),
    (OBJSTORE_INVALID_KEY, c"invalid-key"),
    (OBJSTORE_INVALID_NAME, c"invalid-name"),
    (OBJSTORE_INVALID_LEVEL, c"invalid-level"),
    (OBJSTORE_INVALID_USER_META, c"invalid-user-meta"),
    (OBJSTORE_INCOMPLETE_BODY, c"incomplete-body"),
    (OBJSTORE_DIGEST_MISMATCH, c"digest-mismatch"),
    (OBJSTORE_FORBIDDEN, c"forbidden"),
    (OBJSTORE_NOT_FOUND, c"not-found"),
    (OBJSTORE_DELETED, c"deleted"),
    (OBJSTORE_BODY_LOST, c"body-lost"),
    (OBJSTORE_NO_SUCH_ROUTE, c"no-such-route"),
    (OBJSTORE_METHOD_NOT_ALLOWED, c"method-not-allowed"),
    (OBJSTORE_TIMEOUT, c"timeout"),
    (OBJSTORE_PRECONDITION_FAILED, c"precondition-failed"),
    (OBJSTORE_TOO_LARGE, c"too-large"),
    (OBJSTORE_TARGET_TOO_LONG, c"target-too-long"),
    (OBJSTORE_RANGE_NOT_SATISFIABLE, c"range-not-satisfiable"),
    (OBJSTORE_EXPECTATION_FAILED, c"expectation-failed"),
    (OBJSTORE_HEAD_TOO_LARGE, c"head-too-large"),
    (OBJSTORE_INTERNAL, c"internal"),
    (OBJSTORE_NOT_IMPLEMENTED, c"not-implemented"),
    (OBJSTORE_CORRUPT, c"corrupt"),
    (OBJSTORE_REMOTE_REFUSED, c"remote-refused"),
    (OBJSTORE_BUSY, c"busy"),
    (OBJSTORE_STOPPING, c"stopping"),
    (OBJSTORE_UNAVAILABLE, c"unavailable"),
    (OBJSTORE_CLOCK_SKEW, c"clock-skew"),
    (OBJSTORE_STORAGE_FULL, c"storage-full"),
    (OBJSTORE_TRANSPORT, c"transport"),
    (OBJSTORE_CONFIGURATION, c"configuration"),
    (OBJSTORE_UNAUTHORIZED, c"unauthorized"),
    (OBJSTORE_TOO_FEW_REPLICAS, c"too-few-replicas"),
    (OBJSTORE_OTHER, c"other"),
];

/// The number of what core reports.
pub(crate) fn of(kind: ErrorKind) -> objstore_status {
    match kind {
        ErrorKind::NotModified => OBJSTORE_NOT_MODIFIED,
        ErrorKind::InvalidRequest => OBJSTORE_INVALID_REQUEST,
        ErrorKind::InvalidId => OBJSTORE_INVALID_ID,
        ErrorKind::InvalidKey => OBJSTORE_INVALID_KEY,
        ErrorKind::InvalidName => OBJSTORE_INVALID_NAME,
        ErrorKind::InvalidLevel => OBJSTORE_INVALID_LEVEL,
        ErrorKind::InvalidUserMeta => OBJSTORE_INVALID_USER_META,
        ErrorKind::IncompleteBody => OBJSTORE_INCOMPLETE_BODY,
        ErrorKind::DigestMismatch => OBJSTORE_DIGEST_MISMATCH,
        ErrorKind::Unauthorized => OBJSTORE_UNAUTHORIZED,
        ErrorKind::Forbidden => OBJSTORE_FORBIDDEN,
        ErrorKind::NotFound => OBJSTORE_NOT_FOUND,
        ErrorKind::Deleted => OBJSTORE_DELETED,
        ErrorKind::BodyLost => OBJSTORE_BODY_LOST,
        ErrorKind::NoSuchRoute => OBJSTORE_NO_SUCH_ROUTE,
        ErrorKind::MethodNotAllowed => OBJSTORE_METHOD_NOT_ALLOWED,
        ErrorKind::Timeout => OBJSTORE_TIMEOUT,
        ErrorKind::PreconditionFailed => OBJSTORE_PRECONDITION_FAILED,
        ErrorKind::TooLarge => OBJSTORE_TOO_LARGE,
        ErrorKind::TargetTooLong => OBJSTORE_TARGET_TOO_LONG,
        ErrorKind::RangeNotSatisfiable => OBJSTORE_RANGE_NOT_SATISFIABLE,
        ErrorKind::ExpectationFailed => OBJSTORE_EXPECTATION_FAILED,
        ErrorKind::HeadTooLarge => OBJSTORE_HEAD_TOO_LARGE,
        ErrorKind::Internal => OBJSTORE_INTERNAL,
        ErrorKind::NotImplemented => OBJSTORE_NOT_IMPLEMENTED,
        ErrorKind::Corrupt => OBJSTORE_CORRUPT,
        ErrorKind::RemoteRefused => OBJSTORE_REMOTE_REFUSED,
        ErrorKind::Busy => OBJSTORE_BUSY,
        ErrorKind::Stopping => OBJSTORE_STOPPING,
        ErrorKind::Unavailable => OBJSTORE_UNAVAILABLE,
        ErrorKind::TooFewReplicas => OBJSTORE_TOO_FEW_REPLICAS,
        ErrorKind::ClockSkew => OBJSTORE_CLOCK_SKEW,
        ErrorKind::StorageFull => OBJSTORE_STORAGE_FULL,
        ErrorKind::Transport => OBJSTORE_TRANSPORT,
        ErrorKind::Configuration => OBJSTORE_CONFIGURATION,
        _ => OBJSTORE_OTHER,
    }
}

/// The name of a status, such as "not-found", for logs; "unknown" for a number that is none. Never
/// null; lives as long as the process.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_status_name(status: objstore_status) -> *const c_char {
    let name = NAMES.iter().find(|(number, _)| *number == status);
    name.map_or(c"unknown", |(_, name)| name).as_ptr()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_kind_of_error_has_its_own_number_and_a_name() {
        let numbers: HashSet<_> = ErrorKind::ALL.iter().map(|kind| of(*kind)).collect();
        assert_eq!(numbers.len(), ErrorKind::ALL.len());
        assert!(!numbers.contains(&OBJSTORE_OTHER), "a kind of error without a number");
        for kind in ErrorKind::ALL {
            let (_, name) = NAMES.iter().find(|(number, _)| *number == of(*kind)).unwrap();
            assert_eq!(name.to_str().unwrap(), kind.code());
        }
        let all: HashSet<_> = NAMES.iter().map(|(number, _)| number).collect();
        assert_eq!(all.len(), NAMES.len());
    }
}
