//! objstore: a near cache for cloud objects, as a library. This crate is the node.
mod bodies;
mod builder;
mod cache;
mod digest;
pub mod env;
mod http;
mod janitor;
pub mod journal;
mod memory;
mod node;
mod ops;
mod remote;
mod settings;
mod state_dir;
pub mod testing;
mod usage;

pub use builder::Builder;
pub use http::{PublicService, Server};
pub use journal::NodeId;
pub use node::Node;
pub use objstore_client::{Body, Error, ErrorKind, options, types, wire};
pub use ops::Object;
pub use settings::{HttpSettings, Settings};
