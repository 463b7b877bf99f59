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

    /// Takes a job that is short most of the time. Where it is worth while to start it together with
    /// those that other tasks are about to bring this returns true, and [`start_taken`] is called a
    /// moment later; else it is started at once, which is the default.
    ///
    /// [`start_taken`]: Self::start_taken
    fn take(&self, job: Job) -> bool {
        self.start(job);
        false
    }

    /// Starts what was [taken](Self::take) and not started yet.
    fn start_taken(&self) {}
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
    /// Somebody will start a runner in a moment.
    starting: bool,
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
            starting: false,
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
        self.start_runner(pool, &runtime);
    }

    fn take(&self, job: Job) -> bool {
        if tokio::runtime::Handle::try_current().is_err() {
            job();
            return false;
        }
        let mut pool = self.pool();
        pool.waiting.push_back(job);
        let starts = !pool.starting && pool.wants_runner();
        pool.starting |= starts;
        starts
    }

    fn start_taken(&self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return drop(Runner::outside(self.clone()));
        };
        let mut pool = self.pool();
        pool.starting = false;
        if !pool.waiting.is_empty() {
            self.start_runner(pool, &runtime);
        }
    }
}

impl TokioBlocking {
    fn start_runner(&self, mut pool: MutexGuard<'_, Pool>, runtime: &tokio::runtime::Handle) {
        if pool.wants_runner() {
            pool.runners += 1;
            drop(pool);
            let runner = Runner(self.clone());
            drop(runtime.spawn_blocking(move || drop(runner)));
        }
    }

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
    /// One that works on the calling thread.
    fn outside(of: TokioBlocking) -> Self {
        let mut pool = of.pool();
        (pool.starting, pool.runners) = (false, pool.runners + 1);
        drop(pool);
        Self(of)
    }

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
    start(blocking, work).await.map_err(|_| stopping())
}

fn stopping() -> Error {
    Error::new(ErrorKind::Stopping, "the runtime that this node works on is shutting down")
}

/// As [`run`], for work that is short most of the time and that many do at once: those that come
/// together are done together, so that a thread need not be woken for each.
pub(crate) async fn run_short<T: Send + 'static>(
    blocking: &dyn Blocking,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Error> {
    struct Starts<'a>(&'a dyn Blocking);
    impl Drop for Starts<'_> {
        fn drop(&mut self) {
            self.0.start_taken();
        }
    }
    let (job, done) = job(work);
    if blocking.take(job) {
        let starts = Starts(blocking);
        // Every task that is ready has its turn first.
        tokio::task::yield_now().await;
        drop(starts);
    }
    done.await.map_err(|_| stopping())
}

/// Starts `work` at once; its result comes through the channel, which closes when it cannot be
/// done. Otherwise as [`run`].
pub(crate) fn start<T: Send + 'static>(
    blocking: &dyn Blocking,
    work: impl FnOnce() -> T + Send + 'static,
) -> oneshot::Receiver<T> {
    let (job, done) = job(work);
    blocking.start(job);
    done
}

/// A job, and where its result comes.
fn job<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> (Job, oneshot::Receiver<T>) {
    let (sender, receiver) = oneshot::channel();
    let job = move || {
        if !sender.is_closed() {
            let _ = sender.send(work());
        }
    };
    (Box::new(job), receiver)
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Waker};

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn short_jobs_that_come_together_are_all_done() {
        let blocking = TokioBlocking::default();
        let short = (0..1000).map(|n| run_short(&blocking, move || n));
        let done: Vec<_> = join_all(short).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(done, (0..1000).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn who_came_first_may_leave_before_the_others_jobs_are_started() {
        let blocking = TokioBlocking::default();
        let begun = Arc::new(AtomicUsize::new(0));
        let count = |begun: &Arc<AtomicUsize>| {
            let begun = Arc::clone(begun);
            move || begun.fetch_add(1, Ordering::Relaxed)
        };
        let mut context = Context::from_waker(Waker::noop());
        let mut second = pin!(run_short(&blocking, count(&begun)));
        {
            let mut first = pin!(run_short(&blocking, count(&begun)));
            assert!(first.as_mut().poll(&mut context).is_pending());
            assert!(second.as_mut().poll(&mut context).is_pending());
            assert_eq!(begun.load(Ordering::Relaxed), 0);
        }
        second.await.unwrap();
        // The first is gone, and so is its job.
        assert_eq!(begun.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn outside_any_runtime_a_job_is_done_at_once() {
        let blocking = TokioBlocking::default();
        let (job, mut done) = job(|| 7);
        assert!(!blocking.take(job));
        assert_eq!(done.try_recv(), Ok(7));
    }

    #[test]
    fn what_was_taken_is_started_when_its_runtime_is_gone() {
        let blocking = TokioBlocking::default();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (job, mut done) = job(|| 7);
        let starts = runtime.block_on(async { blocking.take(job) });
        assert!(starts);
        drop(runtime);
        blocking.start_taken();
        assert_eq!(done.try_recv(), Ok(7));
    }
}
