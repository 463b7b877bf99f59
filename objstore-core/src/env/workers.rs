/// What a node's two workers run on: the one that writes the journal, and the one that removes files
/// and measures the disk. Both wait for the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Workers {
    /// A thread each.
    #[default]
    Threads,
    /// A task each on the runtime that the node is started on, which they hold up while the disk
    /// works: for disks in memory, and for whole clusters in one thread.
    Tasks,
}
