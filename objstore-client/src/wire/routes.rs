//! Paths of the public API. Those ending in `/` take an id behind them.

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
/// `GET`: version of the program.
pub const VERSION: &str = "/api/v1/version";
/// `GET`: the node's id.
pub const PING: &str = "/api/v1/ping";
/// `GET`: [`crate::types::Stats`] as JSON.
pub const STATS: &str = "/api/v1/stats";
/// `GET`: whether the process is alive.
pub const HEALTHZ: &str = "/healthz";
/// `GET`: whether the node wants requests.
pub const READYZ: &str = "/readyz";
/// `GET`: metrics in the Prometheus text format.
pub const METRICS: &str = "/metrics";
