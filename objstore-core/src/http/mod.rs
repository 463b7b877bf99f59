//! The public HTTP API: a service for any hyper or tower server, and a server of our own.

mod answer;
mod delete;
mod framing;
mod get;
mod guard;
mod intake;
mod keys;
mod level;
mod list;
mod metrics;
mod pace;
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

pub use server::Server;
pub use service::PublicService;
