use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use objstore_client::{Error, ErrorKind};
use tokio::sync::oneshot;

/// Work that may wait for a disk.
pub type Job = Box<dyn FnOnce() + Send>;

/// Runs jobs that may wait for a disk, away from the threads that run futures.
pub trait Blocking: Send + Sync + Debug {
    /// Starts a job soon; does not block. A job that cannot be started is dropped. Callers wait for
    /// what they started, so that no more jobs are under way than callers.
    fn start(&self, job: Job);
}

/// The blocking threads of the tokio runtime that the caller runs on. As many as there are cores
/// take the jobs, one after the other from one queue, while jobs are short; up to 64 while they
/// wait for the disk.
///
/// What the page cache has takes microseconds, and then a thread that is woken for one job costs
/// more than the job does. A disk that has to be waited for wants many requests at once.
#[derive(Clone, Debug)]
pub struct TokioBlocking(Arc<Mutex<Pool>>);

struct Pool {
    waiting: VecDeque<Job>,
    /// Threads that take jobs from the queue, or are about to.
    runners: usize,
    /// As many runners as short jobs want.
    few: usize,
    /// How long jobs take, averaged over the last ones.
    usual: Duration,
    /// When a job was taken last.
    taken: Option<Instant>,
}

/// More disk requests than this at a time make no disk faster.
const MANY: usize = 64;
/// Jobs that take longer are waiting for something.
const SHORT: Duration = Duration::from_micros(100);

impl Default for TokioBlocking {
    fn default() -> Self {
        let few = std::thread::available_parallelism().map_or(2, |cores| cores.get().clamp(2, 8));
        let waiting = VecDeque::new();
        Self(Arc::new(Mutex::new(Pool {
            waiting,
            runners: 0,
            few,
            usual: Duration::ZERO,
            taken: None,
        })))
    }
}

impl Blocking for TokioBlocking {
    fn start(&self, job: Job) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            // A last handle dropped outside any runtime still has to clean up.
            return job();
        };
        let mut pool = self.pool();
        pool.waiting.push_back(job);
        if pool.wants_runner() {
            pool.runners += 1;
            drop(pool);
            let runner = Runner(self.clone());
            drop(runtime.spawn_blocking(move || drop(runner)));
        }
    }
}

impl TokioBlocking {
    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    fn wants_runner(&self) -> bool {
        let stalled = || self.taken.is_some_and(|taken| taken.elapsed() > SHORT);
        self.runners < self.few || (self.runners < MANY && (self.usual > SHORT || stalled()))
    }
}

impl Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (waiting, runners) = (self.waiting.len(), self.runners);
        f.debug_struct("Pool").field("waiting", &waiting).field("runners", &runners).finish()
    }
}

/// A thread's part in the pool. It does its work when it is dropped, because that also happens when
/// its runtime goes away before it began, and the queue may hold jobs of another runtime.
struct Runner(TokioBlocking);

impl Runner {
    /// The next job; at none this runner counts no more, so that the job that comes then gets one.
    #[allow(clippy::disallowed_methods)] // this is the replacement
    fn next(&mut self, last: Option<Duration>) -> Option<(Job, Instant)> {
        let mut pool = self.0.pool();
        if let Some(last) = last {
            pool.usual = pool.usual - pool.usual / 8 + last / 8;
        }
        let Some(job) = pool.waiting.pop_front() else {
            pool.runners -= 1;
            return None;
        };
        let now = Instant::now();
        pool.taken = Some(now);
        Some((job, now))
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        let mut last = None;
        while let Some((job, began)) = self.next(last) {
            // Whoever waits for it is told by its end; the others in the queue must not wait.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
            last = Some(began.elapsed());
        }
    }
}

/// Runs `work` and waits for what it returns. When the future is dropped before the work began, it
/// is not begun; after that it still ends, and its result is dropped.
pub(crate) async fn run<T: Send + 'static>(
    blocking: &dyn Blocking,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    start(blocking, work).await.map_err(|_| {
        Error::new(ErrorKind::Stopping, "the runtime that this node works on is shutting down")
    })
}

/// Starts `work` at once; its result comes through the channel, which closes when it cannot be
/// done. Otherwise as [`run`].
pub(crate) fn start<T: Send + 'static>(
    blocking: &dyn Blocking,
    work: impl FnOnce() -> T + Send + 'static,
) -> oneshot::Receiver<T> {
    let (sender, receiver) = oneshot::channel();
    blocking.start(Box::new(move || {
        if !sender.is_closed() {
            let _ = sender.send(work());
        }
    }));
    receiver
}
