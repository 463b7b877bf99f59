//! Messages between the applications that the nodes are linked into.

use std::sync::Mutex;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use objstore_client::wire::private::routes;
use objstore_client::{Error, ErrorKind};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::peers::{Peer, post};
use super::{Cluster, lock};
use crate::journal::NodeId;
use crate::node::Inner;

/// A node that has not taken a message by then is not counted.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Messages kept for a subscriber that is behind; with [`Message::MAX`], 2 MiB for all of them.
const KEPT: usize = 256;
/// The longest answer that is read, in bytes.
const ANSWER_MAX: usize = 1024;

/// What an application on another node sent with [`Node::send`](crate::Node::send).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message {
    /// The node it was sent from.
    pub from: NodeId,
    /// What was sent, as it was given.
    pub payload: Bytes,
}

impl Message {
    /// The longest payload, in bytes.
    pub const MAX: usize = 8 * 1024;
}

/// What comes to a [`Subscription`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Received {
    /// A message.
    Message(Message),
    /// So many messages are gone that came before the next one: this subscriber was further behind
    /// than the 256 that are kept.
    Missed(u64),
}

/// The messages from other nodes since it was made; from
/// [`Node::subscribe`](crate::Node::subscribe).
#[derive(Debug)]
pub struct Subscription(broadcast::Receiver<Message>);

impl Subscription {
    /// The next one, in the order in which they came; none once the node has stopped. Waits.
    ///
    /// # Cancellation
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Received> {
        match self.0.recv().await {
            Ok(message) => Some(Received::Message(message)),
            Err(RecvError::Lagged(missed)) => Some(Received::Missed(missed)),
            Err(RecvError::Closed) => None,
        }
    }
}

/// Those who want to hear of messages.
#[derive(Debug)]
pub(super) struct Messages(Mutex<Option<broadcast::Sender<Message>>>);

impl Messages {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Some(broadcast::Sender::new(KEPT))))
    }

    /// Every subscription ends once it has given out what it has.
    pub(super) fn stop(&self) {
        lock(&self.0).take();
    }

    fn came(&self, from: NodeId, payload: Bytes) {
        if let Some(subscribers) = &*lock(&self.0) {
            // Nobody may be listening, which is no fault.
            let _ = subscribers.send(Message { from, payload });
        }
    }
}

impl Cluster {
    pub(crate) fn subscribe(&self) -> Subscription {
        let messages = lock(&self.messages.0);
        Subscription(match &*messages {
            Some(subscribers) => subscribers.subscribe(),
            None => broadcast::Sender::new(1).subscribe(),
        })
    }
}

impl Inner {
    /// Sends to all other live nodes.
    pub(crate) async fn send_message(&self, payload: Bytes) -> Result<usize, Error> {
        self.check_running()?;
        check_size(&payload)?;
        let live = self.cluster.peers.live();
        let sent = join_all(live.iter().map(|peer| self.send_one(peer, payload.clone()))).await;
        Ok(sent.into_iter().filter(Result::is_ok).count())
    }

    async fn send_one(&self, peer: &Peer, payload: Bytes) -> Result<(), Error> {
        let sending = async {
            let answer = self.cluster.peers.call(peer, post(routes::MESSAGE, payload)?).await?;
            answer.into_body().collect(ANSWER_MAX).await.map(drop)
        };
        tokio::time::timeout(TIMEOUT, sending).await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Transport, "the node did not answer in time"))
        })
    }

    /// A message has come from a node.
    pub(crate) fn take_message(&self, from: NodeId, payload: Bytes) -> Result<(), Error> {
        check_size(&payload)?;
        self.cluster.messages.came(from, payload);
        Ok(())
    }

    /// An operator sends to every node, this one included.
    pub(crate) async fn spread_message(&self, payload: Bytes) -> Result<usize, Error> {
        self.take_message(self.node_id, payload.clone())?;
        Ok(self.send_message(payload).await? + 1)
    }
}

fn check_size(payload: &Bytes) -> Result<(), Error> {
    if payload.len() > Message::MAX {
        return Err(Error::new(ErrorKind::TooLarge, "a message has 8 KiB at most"));
    }
    Ok(())
}
