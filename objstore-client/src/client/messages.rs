use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use http::Method;

use super::Client;
use crate::body::Body;
use crate::error::{Error, ErrorKind};
use crate::transport::{Repeat, Request};
use crate::types::{Message, Received};
use crate::wire::messages::{Messages, Sent, WAIT_MAX_MS};
use crate::wire::routes;

/// Longer than the answer with as many of the longest messages as a node keeps.
const MESSAGES_MAX: usize = 4 * 1024 * 1024;
const SENT_MAX: usize = 1024;

impl Client {
    /// Sends a message to the applications at all live nodes: those they embed a node in, and those
    /// that follow messages over HTTP. At most once to each, in no order. Returns how many nodes
    /// took it, the one that was asked among them; those that do not within two seconds are not
    /// counted, and may have it all the same.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] for more than [`Message::MAX`] bytes; [`ErrorKind::Transport`] when no
    /// node answered: then it may have been sent, or not.
    ///
    /// # Cancellation
    /// Dropping the future leaves it to chance.
    pub async fn send(&self, payload: impl Into<Bytes>) -> Result<usize, Error> {
        let payload = payload.into();
        if payload.len() > Message::MAX {
            return Err(Error::new(ErrorKind::TooLarge, "a message has 8 KiB at most"));
        }
        let request = Request::new(Method::POST, routes::MESSAGES, Repeat::Unsafe);
        let answer = self.call(&request, Some(Body::from(payload))).await?;
        Ok(answer.json::<Sent>(SENT_MAX).await?.nodes)
    }

    /// Follows the messages that come to the node which answers, from now on: those of
    /// `Node::send` at other nodes, and those that any client [sends](Self::send).
    ///
    /// It asks that node again and again, and is only told what comes to it: behind an address that
    /// leads to a different node each time, give the nodes' own addresses instead.
    ///
    /// # Errors
    /// [`ErrorKind::Transport`] when no node answered.
    ///
    /// # Cancellation
    /// May be dropped at any time.
    pub async fn subscribe(&self) -> Result<Subscription, Error> {
        let request = Request::get(routes::MESSAGES);
        let begin: Messages = self.ask(&request, |answer| answer.json(MESSAGES_MAX)).await?;
        Ok(Subscription { client: self.clone(), next: begin.next, came: VecDeque::new() })
    }
}

/// The messages since it was made; from [`Client::subscribe`].
#[derive(Debug)]
pub struct Subscription {
    client: Client,
    next: String,
    came: VecDeque<Received>,
}

impl Subscription {
    /// The next one, in the order in which they came to the node. Waits as long as it takes. A node
    /// keeps 256 messages for one who does not ask; who is further behind is told how many are gone,
    /// and who goes on with another node that some may be.
    ///
    /// # Errors
    /// [`ErrorKind::Transport`] when no node answers, and whatever a node refuses with. Ask again,
    /// after a while, to go on from there.
    ///
    /// # Cancellation
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Received, Error> {
        loop {
            if let Some(received) = self.came.pop_front() {
                return Ok(received);
            }
            let wait = self.client.longest_wait().as_millis();
            let path = format!("{}?after={}&wait={wait}", routes::MESSAGES, self.next);
            let request = Request::get(path);
            let page = self.client.ask(&request, |answer| answer.json(MESSAGES_MAX));
            let Messages { next, missed, interrupted, messages } = page.await?;
            self.next = next;
            self.came.extend(interrupted.then_some(Received::Interrupted));
            self.came.extend((missed > 0).then_some(Received::Missed(missed)));
            self.came.extend(messages.into_iter().map(Received::Message));
        }
    }
}

impl Client {
    /// How long a node may keep this client waiting without being taken for silent.
    fn longest_wait(&self) -> Duration {
        let nodes = u32::try_from(self.shared.endpoints.len()).unwrap_or(u32::MAX);
        let share = self.timeout.map_or(Duration::MAX, |timeout| timeout / nodes);
        (self.shared.patience.stall.min(share) / 2).min(Duration::from_millis(WAIT_MAX_MS))
    }
}
