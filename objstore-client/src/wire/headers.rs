//! Header fields of ours, in lower case as HTTP libraries want them.

/// The object's id (in and out).
pub const ID: &str = "x-meta-id";
/// The object's file name in UTF-8 (in and out).
pub const NAME: &str = "x-meta-name";
/// The object's level, 0, 1 or 2 (in and out).
pub const LEVEL: &str = "x-meta-consistencylevel";
/// User metadata, a JSON object of strings (in and out).
pub const USER_META: &str = "x-meta-usermeta";
/// `true` with the answers about a deleted object (out).
pub const DELETED: &str = "x-meta-deleted";
/// `back`: acknowledge a put before the remote has it; `through`: after (in).
pub const WRITE: &str = "x-meta-write";
/// At level 2, how many nodes must have a synced copy before a put is acknowledged (in).
pub const MIN_REPLICAS: &str = "x-meta-min-replicas";
/// `n/m` with a change at level 2: of m nodes n have a synced copy (out).
pub const REPLICAS: &str = "x-meta-replicas";
/// `1` with a delete: remove the object from the remote too (in).
pub const PURGE: &str = "x-meta-purge";
/// With a put by key: the key of the object in the bucket that is copied there, encoded as in a path,
/// in the place of a body (in).
pub const COPY_FROM: &str = "x-meta-copy-from";
/// `1` with a read: look in the remote for what is not known here (in).
pub const FETCH: &str = "x-meta-fetch";
/// `true` when the body came from the remote for this answer (out).
pub const FETCHED: &str = "x-meta-fetched";
/// `true` when the body is, or came from, another node (out).
pub const SYMLINK: &str = "x-meta-symlink";
/// `true` while the remote is yet to get the object (out).
pub const PENDING: &str = "x-meta-pending";
/// In, `1`: say everything that is known about the version the answer is about. Out: that, as the
/// JSON of `GET /api/v1/meta/:id`.
pub const JSON: &str = "x-meta-json";
/// [`ErrorKind::code`](crate::ErrorKind::code) with the error answer to a `HEAD`, which has no body
/// (out).
pub const ERROR: &str = "x-meta-error";
/// Names a request in the logs; comes back with the answer (in and out).
pub const REQUEST_ID: &str = "x-request-id";
/// The [trace](https://www.w3.org/TR/trace-context/) that a request belongs to (in).
pub const TRACEPARENT: &str = "traceparent";
