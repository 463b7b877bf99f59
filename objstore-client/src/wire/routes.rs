//! Paths of the public API. Those ending in `/` take an id behind them.

use std::fmt::Write;

use crate::types::ObjectKey;

/// `GET`: a fresh id as text.
pub const ID: &str = "/api/v1/id";
/// `POST` or `PUT`: stores a body; the id comes in [`super::headers::ID`].
pub const PUT: &str = "/api/v1/put";
/// `GET`, `HEAD`, `DELETE`: the body of an object.
pub const GET: &str = "/api/v1/get/";
/// `GET`: the metadata of an object as JSON.
pub const META: &str = "/api/v1/meta/";
/// `POST`: deletes an object.
pub const DELETE: &str = "/api/v1/delete/";
/// `POST`: raises the level of an object.
pub const LEVEL: &str = "/api/v1/level/";
/// `GET`: JSON lines in order of id; `?after=ID&limit=N&deleted=1`.
pub const LIST: &str = "/api/v1/list";
/// `GET`, `HEAD`, `PUT`, `DELETE`: an object by its key in the bucket, which is the rest of the path.
pub const KEY: &str = "/api/v1/key/";
/// `GET`: JSON lines in order of key; `?prefix=&delimiter=&after=&limit=`.
pub const KEYS: &str = "/api/v1/keys";
/// `GET`: what waits for the remote, [`crate::types::UploadStats`] as JSON.
pub const UPLOADS: &str = "/api/v1/uploads";
/// `POST`: tries at once to store an object that waits for the remote.
pub const RETRY_UPLOAD: &str = "/api/v1/uploads/retry/";
/// `POST`: gives up storing an object that waits for the remote.
pub const DROP_UPLOAD: &str = "/api/v1/uploads/drop/";
/// `POST`: gives up a member of the cluster that will not come back, by the id of that node.
pub const FORGET: &str = "/api/v1/forget/";
/// `GET`: [`super::messages::Messages`] as JSON; `?after=NEXT&wait=MILLISECONDS`. `POST`: sends one.
pub const MESSAGES: &str = "/api/v1/messages";
/// `GET`: version of the program.
pub const VERSION: &str = "/api/v1/version";
/// `GET`: the node's id.
pub const PING: &str = "/api/v1/ping";
/// `GET`: [`crate::types::Stats`] as JSON.
pub const STATS: &str = "/api/v1/stats";
/// `GET`: this API as an OpenAPI document, in JSON.
pub const OPENAPI: &str = "/api/v1/openapi.json";
/// `GET`: whether the process is alive.
pub const HEALTHZ: &str = "/healthz";
/// `GET`: whether the node wants requests.
pub const READYZ: &str = "/readyz";
/// `GET`: metrics in the Prometheus text format.
pub const METRICS: &str = "/metrics";

/// The path of an object by its key.
#[must_use]
pub fn key(key: &ObjectKey) -> String {
    format!("{KEY}{}", encode_key(key))
}

/// A key as it stands in a path and in [`super::headers::COPY_FROM`].
#[must_use]
pub fn encode_key(key: &ObjectKey) -> String {
    let encoded: Vec<String> = key.as_str().split('/').map(encode).collect();
    encoded.join("/")
}

/// Text as it may stand in a query or between the slashes of a path (RFC 3986 §2).
#[must_use]
pub fn encode(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String does not fail.
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_a_path_that_is_decoded_once() {
        for (text, path) in [
            ("a/b c", "/api/v1/key/a/b%20c"),
            ("/a//b/", "/api/v1/key//a//b/"),
            ("50%?#&+", "/api/v1/key/50%25%3F%23%26%2B"),
            ("ü\\", "/api/v1/key/%C3%BC%5C"),
        ] {
            assert_eq!(key(&ObjectKey::new(text).expect("a key")), path);
        }
    }
}
