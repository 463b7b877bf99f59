//! Parts that stand in for a disk, with the same promises and a way to break them. They run in
//! [`crate::Builder::in_memory`] nodes too, so they are as real as their users.

mod memory_disk;
mod steps;

pub use memory_disk::MemoryDisk;
pub use steps::Steps;
