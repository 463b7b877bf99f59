//! Types, wire format, errors and transport of [objstore](https://docs.rs/objstore-core), a
//! multi-master near cache for cloud object storage.
//!
//! This crate is the leaf that everything else stands on: it knows what an object, an error and a
//! request are, and how to carry them over HTTP. It holds no storage. Programs that embed a node
//! use `objstore-core`, which re-exports the types here.
//!
//! * [`types`]: the nouns: [`types::ObjectId`], [`types::ObjectMeta`], [`types::Level`] …
//! * [`options`]: what a caller may ask: ranges, conditions, metadata
//! * [`Body`]: bytes on their way in or out
//! * [`Error`], [`ErrorKind`]: what went wrong and what to do, with the status it becomes
//! * [`wire`]: routes, headers and error bodies of the public API
//! * [`Transport`]: sends requests to one node over HTTP/1.1

mod body;
mod error;
pub mod options;
mod transport;
pub mod types;
pub mod wire;

pub use body::Body;
pub use error::{Error, ErrorKind};
pub use transport::{Request, Response, Transport};
