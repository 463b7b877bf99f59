use std::fmt::Debug;
use std::sync::Arc;

use objstore_client::{Error, ErrorKind};
use tokio::sync::{Semaphore, oneshot};

/// Work that may wait for a disk.
pub type Job = Box<dyn FnOnce() + Send>;

/// Runs jobs that may wait for a disk, away from the threads that run futures.
pub trait Blocking: Send + Sync + Debug {
    /// Starts a job soon; does not block. A job that cannot be started is dropped.
    fn start(&self, job: Job);

    /// Admits one job; what comes out is held until it ended. None when no bound applies.
    fn admission(&self) -> Option<Arc<Semaphore>>;
}

/// The blocking threads of the tokio runtime that the caller runs on, at most 64 jobs at a time.
#[derive(Clone, Debug)]
pub struct TokioBlocking {
    admission: Arc<Semaphore>,
}

/// More disk requests than this at a time make no disk faster.
const MAX_JOBS: usize = 64;

impl Default for TokioBlocking {
    fn default() -> Self {
        Self { admission: Arc::new(Semaphore::new(MAX_JOBS)) }
    }
}

impl Blocking for TokioBlocking {
    #[allow(clippy::disallowed_methods)] // this is the replacement
    fn start(&self, job: Job) {
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(job)),
            // A last handle dropped outside any runtime still has to clean up.
            Err(_) => job(),
        }
    }

    fn admission(&self) -> Option<Arc<Semaphore>> {
        Some(Arc::clone(&self.admission))
    }
}

/// Runs `work` and waits for what it returns. When the future is dropped the work still ends, its
/// result is dropped.
pub(crate) async fn run<T: Send + 'static>(
    blocking: &dyn Blocking,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    let permit = match blocking.admission() {
        Some(semaphore) => Some(semaphore.acquire_owned().await.map_err(|_| stopped())?),
        None => None,
    };
    let (sender, receiver) = oneshot::channel();
    blocking.start(Box::new(move || {
        let _ = sender.send(work());
        drop(permit);
    }));
    receiver.await.map_err(|_| stopped())
}

fn stopped() -> Error {
    Error::new(ErrorKind::Stopping, "the runtime that this node works on is shutting down")
}
