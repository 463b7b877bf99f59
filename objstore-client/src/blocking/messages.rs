use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;

use super::engine::Engine;
use crate::error::Error;
use crate::types::Received;

/// The messages since it was made; from [`Client::subscribe`](super::Client::subscribe).
#[derive(Debug)]
pub struct Subscription {
    messages: Arc<Mutex<crate::Subscription>>,
    engine: Arc<Engine>,
}

impl Subscription {
    pub(super) fn new(messages: crate::Subscription, engine: &Arc<Engine>) -> Self {
        Self { messages: Arc::new(Mutex::new(messages)), engine: Arc::clone(engine) }
    }

    /// The next one; as [`crate::Subscription::next`]. Blocks as long as it takes.
    ///
    /// # Errors
    /// Those of the same there.
    pub fn wait(&mut self) -> Result<Received, Error> {
        let messages = Arc::clone(&self.messages);
        self.engine.run(async move { messages.lock().await.next().await })
    }

    /// The next one, if it comes within this time; none has been lost when it does not.
    ///
    /// # Errors
    /// Those of [`wait`](Self::wait).
    pub fn wait_within(&mut self, timeout: Duration) -> Result<Option<Received>, Error> {
        let messages = Arc::clone(&self.messages);
        self.engine.run(async move {
            let mut messages = messages.lock().await;
            let next = tokio::time::timeout(timeout, messages.next()).await;
            next.ok().transpose()
        })
    }
}
