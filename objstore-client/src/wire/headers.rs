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
