//! The HTTP APIs: the public one as a service for any hyper or tower server, and a server of our
//! own; the private one as a service for a network.

mod access;
mod answer;
mod delete;
mod framing;
mod get;
mod guard;
mod intake;
mod keys;
mod level;
mod list;
mod members;
mod messages;
mod metrics;
mod openapi;
mod operator;
mod pace;
mod private;
mod private_connection;
mod put;
mod query;
mod ranges;
mod request;
mod routes;
mod server;
mod service;
mod status;
mod tap;
mod uploads;

pub(crate) use access::{Access, run as run_access};
pub(crate) use private::{Caller, FRAME_MAX};
pub use private::{PrivateService, Sender};
pub(crate) use private_connection::{From, PrivateConnection};
pub use server::Server;
pub use service::PublicService;

pub(crate) use answer::json as private_json;
pub(crate) use guard::allowed_name;
pub(crate) use metrics::class;
pub(crate) use routes::Op;
