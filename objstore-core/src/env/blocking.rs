use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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

/// The blocking threads of the tokio runtime that the caller runs on, one for
/// each core at a time while jobs are short, up to 64 while they wait for the disk.
///
/// What the page cache has takes microseconds, and then every further thread that is woken costs
/// more than the job: 32 readers of 4 KiB values took 24 to 28 µs of CPU each with 64 threads and 18
/// to 20 with two, on two cores. A disk that has to be waited for wants many requests at once.
#[derive(Clone, Debug)]
pub struct TokioBlocking {
    few: Arc<Semaphore>,
    more: Arc<Semaphore>,
    /// Nanoseconds that jobs take, averaged over the last ones.
    usual: Arc<AtomicU64>,
}

/// More disk requests than this at a time make no disk faster.
const MANY: usize = 64;
/// Jobs that take longer are waiting for something.
const SHORT_NANOS: u64 = 100_000;

impl Default for TokioBlocking {
    fn default() -> Self {
        let few = std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 8));
        Self {
            few: Arc::new(Semaphore::new(few)),
            more: Arc::new(Semaphore::new(MANY - few)),
            usual: Arc::default(),
        }
    }
}

impl Blocking for TokioBlocking {
    #[allow(clippy::disallowed_methods)] // this is the replacement
    fn start(&self, job: Job) {
        let usual = Arc::clone(&self.usual);
        let timed = move || {
            let began = std::time::Instant::now();
            job();
            let took = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
            let before = usual.load(Ordering::Relaxed);
            usual.store(before - before / 8 + took / 8, Ordering::Relaxed);
        };
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(timed)),
            // A last handle dropped outside any runtime still has to clean up.
            Err(_) => timed(),
        }
    }

    fn admission(&self) -> Option<Arc<Semaphore>> {
        let waiting = self.usual.load(Ordering::Relaxed) > SHORT_NANOS;
        let which =
            if waiting && self.few.available_permits() == 0 { &self.more } else { &self.few };
        Some(Arc::clone(which))
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
