//! Faults from outside, tried on the built binary: a clear error or healing, nothing lost, never
//! a wrong byte. One file, one kind of fault.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::print_stdout)]

#[path = "../harness/mod.rs"]
mod harness;

mod damaged_bodies;
mod damaged_journal;
mod failing_sync;
mod file_size_limit;
mod full_disk;
mod quota;
mod refused_starts;
