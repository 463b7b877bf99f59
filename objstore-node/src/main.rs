//! `objstore`: serves one node of the objstore near cache, and talks to a running one.
//!
//! Without a subcommand it is a node: [`serve`] starts `objstore_core::Node` with what [`config`]
//! merged from flags, environment and file, and stops it on a signal. With one it is a client:
//! each verb is a file below [`commands`]. Everything that stores or serves an object is in
//! `objstore-core`; here is only what a process needs.

#![forbid(unsafe_code)]

mod commands;
mod config;
mod failure;
mod flags;
mod logging;
mod metrics;
mod progress;
mod serve;
mod signals;

use std::process::ExitCode;

use failure::Failure;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run() -> Result<(), Failure> {
    let matches = flags::parse(std::env::args_os())?;
    match commands::chosen(&matches)? {
        Some(command) => commands::run(command),
        None => serve::run(config::Settings::gather(&matches)?),
    }
}
