#![allow(unsafe_code)] // exports

use std::future::{Future, poll_fn};
use std::task::Poll;

use tokio::sync::watch;

use crate::boundary::{free, made, set};
use crate::error::Failure;
use crate::handles::{self, Handle};
use crate::status::{OBJSTORE_CANCELLED, objstore_status};
use crate::types::objstore_cancel;

/// What ends calls early: cheap to clone, all clones are the same.
#[derive(Clone)]
pub(crate) struct Cancel(watch::Sender<bool>);

impl Cancel {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(false))
    }

    pub(crate) fn trigger(&self) {
        self.0.send_replace(true);
    }

    pub(crate) fn is_triggered(&self) -> bool {
        *self.0.borrow()
    }

    pub(crate) fn failure() -> Failure {
        Failure::new(OBJSTORE_CANCELLED, "the call was cancelled")
    }

    /// Waits for work unless one of these cancels comes first. They are asked first, so nothing that
    /// was given one which is triggered already is begun.
    pub(crate) async fn or<T>(
        cancels: Vec<Self>,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        if cancels.iter().any(Self::is_triggered) {
            return Err(Self::failure());
        }
        let mut work = std::pin::pin!(work);
        // Most of what comes from memory is there at once, and nothing has to wait for a cancel then.
        let at_once = poll_fn(|context| Poll::Ready(work.as_mut().poll(context)));
        if let Poll::Ready(done) = at_once.await {
            return done;
        }
        if cancels.is_empty() {
            return work.await;
        }
        let mut waits: Vec<_> = cancels.iter().map(|cancel| cancel.0.subscribe()).collect();
        let cancelled = futures_util::future::select_all(
            waits.iter_mut().map(|wait| Box::pin(wait.wait_for(|cancelled| *cancelled))),
        );
        tokio::select! {
            biased;
            _ = cancelled => Err(Self::failure()),
            done = work => done,
        }
    }
}

impl Handle for Cancel {
    type Opaque = objstore_cancel;
}

/// A cancel, to be given to calls through their options. Freed with objstore_cancel_free(), which
/// cancels nothing.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_cancel_new() -> *mut objstore_cancel {
    made(|| Ok(Cancel::new()))
}

/// Ends the calls that this cancel was given to, and those it will be given to: they return
/// OBJSTORE_CANCELLED. From any thread, at any time; does not block.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_cancel_trigger(cancel: *mut objstore_cancel) -> objstore_status {
    set(|| {
        handles::get::<Cancel>(cancel)?.trigger();
        Ok(())
    })
}

/// Frees a cancel; null is fine.
#[unsafe(no_mangle)]
pub extern "C" fn objstore_cancel_free(cancel: *mut objstore_cancel) -> objstore_status {
    free::<Cancel>(cancel)
}
