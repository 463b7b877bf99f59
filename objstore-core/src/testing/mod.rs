//! Parts that stand in for a disk, with the same promises and a way to break them. They run in
//! [`crate::Builder::in_memory`] nodes too, so they are as real as their users. And the checks that
//! a part has to pass to stand in for another.

mod journal_view;
mod memory_disk;
mod memory_network;
mod remote_adapters;
mod remote_call;
mod remote_suite;
mod seeded_entropy;
mod sim_clock;
mod sim_network;
mod steps;
mod task_blocking;
mod trace;

pub use journal_view::{SeenLive, SeenRecord, seen_horizon, seen_records, seen_waiting};
pub use memory_disk::MemoryDisk;
pub use memory_network::MemoryNetwork;
pub use remote_adapters::{
    BodyFault, CountingRemote, Counts, Delays, FailingRemote, Faults, SlowRemote,
};
pub use remote_call::{Adapted, Around, Call, CallKind};
pub use remote_suite::remote_suite;
pub use seeded_entropy::SeededEntropy;
pub use sim_clock::SimClock;
pub use sim_network::{Link, SimNetwork};
pub use steps::Steps;
pub use task_blocking::TaskBlocking;
pub use trace::Trace;
