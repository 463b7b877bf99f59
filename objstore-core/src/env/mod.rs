//! The seams: everything a node gets from outside, behind small object-safe traits, so that a
//! whole node can run on simulated parts.

mod blocking;
mod clock;
mod disk;
mod entropy;
mod network;
mod real_disk;
mod workers;

use std::sync::Arc;

pub use blocking::{Blocking, Job, TokioBlocking};
pub(crate) use blocking::{run, run_short, start};
pub use clock::{Clock, SystemClock};
pub use disk::{Disk, DiskFile, DiskSpace};
pub use entropy::{Entropy, OsEntropy};
pub use network::{Listening, Network, NetworkFuture};
pub use real_disk::DirectoryDisk;
pub(crate) use real_disk::{directory_bytes, file_bytes, make_private_dir, sync_directory};

pub use workers::Workers;

use crate::journal::JournalStore;

/// What a node runs on. The default is the real thing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Env {
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Gives random bytes.
    pub entropy: Arc<dyn Entropy>,
    /// Runs work that may wait for a disk.
    pub blocking: Arc<dyn Blocking>,
    /// Runs what writes the journal and what cleans up.
    pub workers: Workers,
    /// Holds large bodies; none for the files directory of the settings. Replaced together with
    /// the journal, in which such a node keeps its id too; its remote is in memory unless one is
    /// given.
    pub disk: Option<Arc<dyn Disk>>,
    /// Holds records and small bodies; none for a fjall database in the state directory of the
    /// settings.
    pub journal: Option<Arc<dyn JournalStore>>,
    /// Carries what nodes tell each other; none for TCP.
    pub network: Option<Arc<dyn Network>>,
}

impl Default for Env {
    fn default() -> Self {
        Self {
            clock: Arc::new(SystemClock),
            entropy: Arc::new(OsEntropy),
            blocking: Arc::new(TokioBlocking::default()),
            workers: Workers::default(),
            disk: None,
            journal: None,
            network: None,
        }
    }
}
