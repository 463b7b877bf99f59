//! Parts that stand in for a disk, with the same promises and a way to break them. They run in
//! [`crate::Builder::in_memory`] nodes too, so they are as real as their users. And the checks that
//! a part has to pass to stand in for another.

mod memory_disk;
mod memory_network;
mod remote_adapters;
mod remote_call;
mod remote_suite;
mod steps;
mod task_blocking;

pub use memory_disk::MemoryDisk;
pub use memory_network::MemoryNetwork;
pub use remote_adapters::{
    BodyFault, CountingRemote, Counts, Delays, FailingRemote, Faults, SlowRemote,
};
pub use remote_call::{Adapted, Around, Call, CallKind};
pub use remote_suite::remote_suite;
pub use steps::Steps;
pub use task_blocking::TaskBlocking;
