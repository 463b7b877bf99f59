//! The background task that does what is due in the remote.

use std::sync::{Arc, Weak};

use tokio::task::JoinSet;

use crate::env::Clock;
use crate::node::Inner;
use crate::remote::Uploads;

/// Works until the node is gone; dropping the future stops what is under way.
pub(crate) async fn run(node: Weak<Inner>, uploads: Arc<Uploads>, clock: Arc<dyn Clock>) {
    let mut running = JoinSet::new();
    loop {
        let wait = match uploads.next(clock.monotonic()) {
            Ok(task) => {
                let Some(inner) = node.upgrade() else { return };
                let ended = Ended(Arc::clone(&uploads));
                running.spawn(async move {
                    inner.work_off(task).await;
                    drop(ended);
                });
                continue;
            }
            Err(wait) => wait,
        };
        let later = async {
            match wait {
                Some(wait) => tokio::time::sleep(wait).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = uploads.more.notified() => {}
            () = later => {}
            Some(_) = running.join_next() => {}
        }
    }
}

/// Gives the place of a task free, however it ends.
struct Ended(Arc<Uploads>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.ended();
    }
}
