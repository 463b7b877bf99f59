//! The wire format of the public API: routes, headers, and the body of an error. It exists once,
//! here; the node's HTTP service and every client use it.

pub mod headers;
pub mod messages;
pub mod private;
pub mod routes;
mod status;

pub use status::ErrorBody;
