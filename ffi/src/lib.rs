//! libobjstore: a node of objstore, or a client of one, behind a C ABI. What a C program sees is
//! `include/objstore.h`, which is made from this crate; its first comment has the conventions.
//!
//! * `handles`: what a handle is: a number that was given out, never an address, so that one that is
//!   null, freed or of another kind is told from one that is not
//! * `boundary`: what comes in and goes out; everything unsafe about memory of the caller's
//! * `engine`: runs what is asynchronous for a thread that waits
//! * `backend`: the node in this process or far away behind a store
//! * `completions`: the verbs that report to a queue instead of being waited for
//! * the rest: one file per noun of the header

// What C sees is exported to the linker, not to Rust.
#![allow(unreachable_pub)]

#[cfg(not(unix))]
compile_error!("libobjstore is for Unix");

mod backend;
mod boundary;
mod cancel;
mod cluster;
mod completions;
mod config;
mod engine;
mod error;
mod handles;
mod ids;
mod log;
mod meta;
mod operations;
mod options;
mod pages;
mod queue;
mod reader;
mod status;
mod store;
mod types;
mod version;
mod writer;
