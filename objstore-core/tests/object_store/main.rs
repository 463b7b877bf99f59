//! Nodes and clients as stores of the crate `object_store`, in each version of it: `suite.rs` is
//! compiled against each of them.
#![allow(
    clippy::duplicate_mod,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::large_futures
)]

#[cfg(feature = "s3")]
#[path = "../support/s3_server.rs"]
mod s3_server;
#[path = "../support/mod.rs"]
mod support;

mod v0_13;
mod v0_14;
