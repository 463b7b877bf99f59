use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use objstore_core::{Error, ErrorKind};
use tokio::runtime::{Builder, Handle, Runtime};

use crate::error::Failure;
use crate::status::{OBJSTORE_INTERNAL, OBJSTORE_STOPPING};

/// Runs what is asynchronous, on threads of the library, for threads that wait.
///
/// No thread of the caller's waits inside the runtime, so it works from within another one, and no
/// socket is written by a thread on which a signal may arrive.
pub(crate) struct Engine {
    handle: Handle,
    runtime: Option<Runtime>,
}

pub(crate) type Work<T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send>>;

impl Engine {
    pub(crate) fn start(threads: Option<usize>, name: &str) -> Result<Self, Failure> {
        // Threads take the mask over from who starts them.
        let _blocked = SignalsBlocked::begin();
        let mut builder = Builder::new_multi_thread();
        if let Some(threads) = threads {
            builder.worker_threads(threads);
        }
        let runtime = builder
            .enable_all()
            .thread_name(name)
            // One that a thread of the caller's sets off has that thread's mask.
            .on_thread_start(|| SignalsBlocked::begin().for_good())
            .build()
            .map_err(|e| {
                let why = "no threads can be started; raise the limit on threads";
                Error::new(ErrorKind::Configuration, why).with_source(e)
            })?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// Waits for work on the calling thread. It is looked at here once, because most of what comes
    /// from memory is there at once; what is not goes on on a thread of the library.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Result<T, Failure> {
        self.run_boxed(Box::pin(work))
    }

    /// The same for work that has its box.
    pub(crate) fn run_boxed<T: Send + 'static>(&self, mut work: Work<T>) -> Result<T, Failure> {
        if let Poll::Ready(done) = self.within(|| Self::look(work.as_mut())) {
            return done;
        }
        let slot = Arc::new(Slot::default());
        self.spawn_into(work, Arc::clone(&slot));
        slot.wait()
    }

    /// The same for at most so long; none when the time is over. The work goes on then.
    pub(crate) fn run_within<T: Send + 'static>(
        &self,
        limit: Option<Duration>,
        work: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Option<Result<T, Failure>> {
        let slot = Arc::new(Slot::default());
        self.spawn_into(Box::pin(work), Arc::clone(&slot));
        slot.wait_within(limit)
    }

    /// Has work done by the library, and `then` told what came of it, on a thread of the library.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Failure>> + Send + 'static,
        then: impl FnOnce(Result<T, Failure>) + Send + 'static,
    ) {
        let mut report = Report { then: Some(Box::new(then)) };
        self.handle.spawn(async move {
            let done = work.await;
            report.tell(done);
        });
    }

    fn spawn_into<T: Send + 'static>(&self, work: Work<T>, slot: Arc<Slot<T>>) {
        self.spawn(work, move |done| slot.set(done));
    }

    /// Looks on the calling thread, which is inside the runtime, whether something is there, which is
    /// asked again later if not.
    ///
    /// Signals are not blocked for this, which would take longer than most of it: connections are
    /// written by tasks of their own, on threads of the library, and so is all that a first look sets
    /// off.
    pub(crate) fn look<T>(work: Pin<&mut (impl Future<Output = T> + ?Sized)>) -> Poll<T> {
        work.poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Inside the runtime, for what wants to know it.
    pub(crate) fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        let _inside = self.handle.enter();
        work()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Waits for nobody, so it may be dropped anywhere, by a thread of its own too.
            runtime.shutdown_background();
        }
    }
}

/// Tells what came of work even when nothing does: a panic, or a runtime that has ended.
struct Report<T> {
    then: Option<Then<T>>,
}

type Then<T> = Box<dyn FnOnce(Result<T, Failure>) + Send>;

impl<T> Report<T> {
    fn tell(&mut self, result: Result<T, Failure>) {
        if let Some(then) = self.then.take() {
            then(result);
        }
    }
}

impl<T> Drop for Report<T> {
    fn drop(&mut self) {
        let failure = if std::thread::panicking() {
            Failure::new(OBJSTORE_INTERNAL, "a fault of objstore; please report it")
        } else {
            Failure::new(OBJSTORE_STOPPING, "the store was closed; open it again")
        };
        self.tell(Err(failure));
    }
}

/// A result that a thread waits for.
struct Slot<T> {
    result: Mutex<Option<Result<T, Failure>>>,
    is_there: Condvar,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { result: Mutex::new(None), is_there: Condvar::new() }
    }
}

impl<T> Slot<T> {
    fn set(&self, result: Result<T, Failure>) {
        *self.result.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        self.is_there.notify_one();
    }

    fn wait(&self) -> Result<T, Failure> {
        let mut result = self.result.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(result) = result.take() {
                return result;
            }
            result = self.is_there.wait(result).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn wait_within(&self, limit: Option<Duration>) -> Option<Result<T, Failure>> {
        let Some(end) = limit.and_then(|limit| Instant::now().checked_add(limit)) else {
            return Some(self.wait());
        };
        let mut result = self.result.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if result.is_some() {
                return result.take();
            }
            let left = end.checked_duration_since(Instant::now())?;
            result =
                self.is_there.wait_timeout(result, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// While it lives no signal is handled on this thread, and none on those that it starts.
struct SignalsBlocked {
    before: libc::sigset_t,
    lasting: bool,
}

#[allow(unsafe_code)] // the C library's
impl SignalsBlocked {
    fn begin() -> Self {
        let mut all = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        let mut before = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigfillset() fills the first in, and pthread_sigmask(), which only fails for a
        // first argument that is not known, the second.
        let before = unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
            before.assume_init()
        };
        Self { before, lasting: false }
    }

    fn for_good(mut self) {
        self.lasting = true;
    }
}

#[allow(unsafe_code)] // the C library's
impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        if self.lasting {
            return;
        }
        // SAFETY: the mask is one that pthread_sigmask() gave out.
        unsafe {
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, std::ptr::null_mut());
        }
    }
}
