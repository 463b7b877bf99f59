use std::sync::mpsc::{Receiver, sync_channel};

use tokio::runtime::{Builder, Runtime};

use crate::error::{Error, ErrorKind};

/// A thread on which futures are driven for threads that wait.
#[derive(Debug)]
pub(super) struct Engine(Option<Runtime>);

/// What is under way on it.
pub(super) struct UnderWay<T>(Receiver<Result<T, Error>>);

impl Engine {
    pub(super) fn start() -> Result<Self, Error> {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(1).thread_name("objstore-client").enable_all();
        builder.build().map(|runtime| Self(Some(runtime))).map_err(|e| {
            let why = "no thread can be started; raise the limit on threads";
            Error::new(ErrorKind::Configuration, why).with_source(e)
        })
    }

    /// Waits for what comes of it, wherever the calling thread is.
    pub(super) fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        self.begin(work).wait()
    }

    pub(super) fn begin<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> UnderWay<T> {
        let (done, wait) = sync_channel(1);
        if let Some(runtime) = &self.0 {
            let here = tokio::runtime::Handle::try_current().map(|here| here.id());
            if here.is_ok_and(|here| here == runtime.handle().id()) {
                let why = "a blocking client is called from a body that it sends, and would wait for \
                           itself; have that body read by another client, or beforehand";
                let _ = done.send(Err(Error::new(ErrorKind::InvalidRequest, why)));
                return UnderWay(wait);
            }
            runtime.spawn(async move {
                // Nobody may be waiting any more.
                let _ = done.send(work.await);
            });
        }
        UnderWay(wait)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // Waits for nobody, so it may happen on a thread of another runtime too.
            runtime.shutdown_background();
        }
    }
}

impl<T> UnderWay<T> {
    pub(super) fn wait(self) -> Result<T, Error> {
        self.0.recv().unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Internal, "the client's thread ended; please report it"))
        })
    }
}
