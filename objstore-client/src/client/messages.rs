use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::Method;

use super::Client;
use crate::body::Body;
use crate::error::Error;
use crate::transport::{Answer, Repeat, Request};
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
    /// [`ErrorKind::TooLarge`](crate::ErrorKind::TooLarge) for more than [`Message::MAX`] bytes; [`ErrorKind::Transport`](crate::ErrorKind::Transport) when no
    /// node answered: then it may have been sent, or not.
    ///
    /// # Cancellation
    /// Dropping the future leaves it to chance.
    pub async fn send(&self, payload: impl Into<Bytes>) -> Result<usize, Error> {
        let payload = payload.into();
        Message::check(&payload)?;
        let request = Request::new(Method::POST, routes::MESSAGES, Repeat::Unsafe);
        let answer = self.call(&request, Some(Body::from(payload))).await?;
        let node = answer.node;
        let sent = answer.json::<Sent>(SENT_MAX).await;
        sent.map(|sent| sent.nodes).map_err(|error| self.shared.unknown(node, error))
    }

    /// Follows the messages that come to the node which answers, from now on: those of
    /// `Node::send` at other nodes, and those that any client [sends](Self::send).
    ///
    /// It asks that node again and again, and is only told what comes to it: behind an address that
    /// leads to a different node each time, give the nodes' own addresses instead.
    ///
    /// # Errors
    /// [`ErrorKind::Transport`](crate::ErrorKind::Transport) when no node answered.
    ///
    /// # Cancellation
    /// May be dropped at any time.
    pub async fn subscribe(&self) -> Result<Subscription, Error> {
        let (node, begin) = self.ask(&Request::get(routes::MESSAGES), messages).await?;
        let (client, next) = (self.clone(), begin.next);
        Ok(Subscription { client, node, next, came: VecDeque::new(), asking: None })
    }
}

/// The messages since it was made; from [`Client::subscribe`].
pub struct Subscription {
    client: Client,
    /// The node that was asked last, and where its messages go on.
    node: usize,
    next: String,
    came: VecDeque<Received>,
    /// The question under way, which goes on when nobody waits for it any more.
    asking: Option<Asking>,
}

type Asking = Pin<Box<dyn Future<Output = Result<(usize, Messages), Error>> + Send>>;

impl Subscription {
    /// The next one, in the order in which they came to the node. Waits as long as it takes. A node
    /// keeps 256 messages for one who does not ask; who is further behind is told how many are gone,
    /// and who goes on with another node, because that one does not answer, that some may be.
    ///
    /// # Errors
    /// [`ErrorKind::Transport`](crate::ErrorKind::Transport) when no node answers, and whatever a node refuses with. Ask again,
    /// after a while, to go on from there.
    ///
    /// # Cancellation
    /// Dropping the future loses nothing, and the question that is under way is taken up by the next
    /// call.
    pub async fn next(&mut self) -> Result<Received, Error> {
        loop {
            if let Some(received) = self.came.pop_front() {
                return Ok(received);
            }
            let asking = match &mut self.asking {
                Some(asking) => asking,
                none => {
                    none.insert(Box::pin(page(self.client.clone(), self.node, self.next.clone())))
                }
            };
            let answer = asking.await;
            self.asking = None;
            let (node, Messages { next, missed, interrupted, messages }) = answer?;
            (self.node, self.next) = (node, next);
            self.came.extend(interrupted.then_some(Received::Interrupted));
            self.came.extend((missed > 0).then_some(Received::Missed(missed)));
            self.came.extend(messages.into_iter().map(Received::Message));
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("next", &self.next).finish_non_exhaustive()
    }
}

/// What came since then, and the node that says so: the same as before while it is well.
async fn page(client: Client, node: usize, after: String) -> Result<(usize, Messages), Error> {
    let wait = client.longest_wait().as_millis();
    let mut request = Request::get(format!("{}?after={after}&wait={wait}", routes::MESSAGES));
    request.prefer = Some(node);
    client.ask(&request, messages).await
}

async fn messages(answer: Answer) -> Result<(usize, Messages), Error> {
    Ok((answer.node, answer.json(MESSAGES_MAX).await?))
}

impl Client {
    /// How long a node may keep this client waiting without being taken for silent.
    fn longest_wait(&self) -> Duration {
        let nodes = u32::try_from(self.shared.endpoints.len()).unwrap_or(u32::MAX);
        let share = self.timeout.map_or(Duration::MAX, |timeout| timeout / nodes);
        (self.shared.patience.stall.min(share) / 2).min(Duration::from_millis(WAIT_MAX_MS))
    }
}
