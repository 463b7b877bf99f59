//! The two workers of a node: the writer of its journal and its janitor.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use objstore_client::{Error, ErrorKind};
use tokio::sync::watch;

use crate::env::Workers;
use crate::janitor::{Janitor, Rooms, Waiting};
use crate::journal::{Change, Committed, Queue, Writer, WriterHandle};

/// A running writer and a running janitor.
pub(crate) struct Crew {
    writer: WriterHandle,
    janitor: Janitor,
    running: Running,
}

enum Running {
    Threads(Mutex<Option<[JoinHandle<()>; 2]>>),
    /// Closed once both tasks have ended.
    Tasks(watch::Receiver<()>),
}

impl Crew {
    /// Sets them to work. Must be called on a tokio runtime.
    pub(crate) fn start(
        workers: Workers,
        (handle, queue): (WriterHandle, Queue),
        writer: Writer,
        (janitor, waiting): (Janitor, Waiting),
        rooms: Rooms,
    ) -> Result<Self, Error> {
        let cleaner = janitor.clone();
        let shared = Arc::clone(&rooms.shared);
        let running = match workers {
            Workers::Threads => Running::Threads(Mutex::new(Some([
                spawn("objstore-writer", move || {
                    let _said = shared.broken_on_panic();
                    writer.run(queue);
                })?,
                spawn("objstore-janitor", move || cleaner.run(waiting, &rooms))?,
            ]))),
            Workers::Tasks => {
                let (working, ended) = watch::channel(());
                let (also_working, stop) = (working.clone(), janitor.clone());
                tokio::spawn(async move {
                    let _said = shared.broken_on_panic();
                    writer.run_as_task(queue).await;
                    stop.stop();
                    drop(working);
                });
                tokio::spawn(async move {
                    cleaner.run_as_task(waiting, rooms).await;
                    drop(also_working);
                });
                Running::Tasks(ended)
            }
        };
        Ok(Self { writer: handle, janitor, running })
    }

    /// Hands a change to the writer, and waits until it is durable.
    pub(crate) async fn commit(&self, change: Change) -> Result<Committed, Error> {
        self.writer.commit(change).await
    }

    /// Waits until the janitor has removed what it was given, and measured the disk; with `small` also
    /// until it has given the space of small bodies back.
    pub(crate) async fn caught_up(&self, small: bool) {
        self.janitor.caught_up(small).await;
    }

    /// Tells them to end; does not wait.
    pub(crate) fn tell(&self) {
        self.writer.stop();
    }

    /// Waits for threads to end, which blocks. Tasks end by themselves: waiting for them here
    /// would hold up the thread that they need.
    pub(crate) fn join(&self) {
        let Running::Threads(running) = &self.running else { return };
        let mut running = running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some([writer, janitor]) = running.take() {
            // The writer first: its last answers leave chores for the janitor.
            let _ = writer.join();
            self.janitor.stop();
            let _ = janitor.join();
        }
    }

    /// Waits for tasks to end.
    pub(crate) async fn ended(&self) {
        if let Running::Tasks(ended) = &self.running {
            let mut ended = ended.clone();
            while ended.changed().await.is_ok() {}
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(|e| {
        Error::new(ErrorKind::Unavailable, "no thread could be started").with_source(e)
    })
}
