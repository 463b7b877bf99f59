//! Messages between the applications that the nodes are linked into.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use objstore_client::types::{Message, Received};
use objstore_client::wire::messages::{Messages as Page, WAIT_MAX_MS};
use objstore_client::wire::private::routes;
use objstore_client::{Error, ErrorKind};
use tokio::sync::watch;

use super::peers::{Peer, post};
use super::{Cluster, lock};
use crate::journal::NodeId;
use crate::node::Inner;

/// A node that has not taken a message by then is not counted.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Messages kept for those who are behind; with [`Message::MAX`], 2 MiB for all of them.
const KEPT: usize = 256;
/// The longest answer that is read, in bytes.
const ANSWER_MAX: usize = 1024;

/// The messages from other nodes since it was made; from
/// [`Node::subscribe`](crate::Node::subscribe).
#[derive(Debug)]
pub struct Subscription {
    messages: Arc<Messages>,
    changes: watch::Receiver<()>,
    at: u64,
}

impl Subscription {
    /// The next one, in the order in which they came; none once the node has stopped. Waits.
    ///
    /// # Cancellation
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Received> {
        loop {
            self.changes.mark_unchanged();
            if let Some(next) = self.look() {
                return next;
            }
            self.changes.changed().await.ok()?;
        }
    }

    /// What there is to give out, or that the end has come; none when it has to be waited for.
    fn look(&mut self) -> Option<Option<Received>> {
        let kept = lock(&self.messages.kept);
        let missed = kept.missed(self.at);
        if missed > 0 {
            self.at += missed;
            return Some(Some(Received::Missed(missed)));
        }
        if let Some(message) = kept.since(self.at).next() {
            self.at += 1;
            return Some(Some(Received::Message(message.clone())));
        }
        kept.ended.then_some(None)
    }
}

/// The messages that came last.
#[derive(Debug)]
pub(super) struct Messages {
    kept: Mutex<Kept>,
    /// Wakes those who wait for a message, when one has come or they are to wait no longer.
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Kept {
    messages: VecDeque<Message>,
    /// The number that the next message gets.
    next: u64,
    /// No message will come any more.
    ended: bool,
}

impl Kept {
    fn push(&mut self, message: Message) {
        if self.messages.len() == KEPT {
            self.messages.pop_front();
        }
        self.messages.push_back(message);
        self.next += 1;
    }

    fn first(&self) -> u64 {
        self.next - self.messages.len() as u64
    }

    /// How many of those from this number on are gone.
    fn missed(&self, at: u64) -> u64 {
        self.first().saturating_sub(at)
    }

    /// Those from this number on.
    fn since(&self, at: u64) -> impl Iterator<Item = &Message> {
        let gone = at.saturating_sub(self.first());
        self.messages.iter().skip(usize::try_from(gone).unwrap_or(usize::MAX))
    }
}

impl Messages {
    pub(super) fn new() -> Self {
        Self { kept: Mutex::default(), changed: watch::Sender::new(()) }
    }

    /// Every subscription ends once it has given out what it has.
    pub(super) fn stop(&self) {
        lock(&self.kept).ended = true;
        self.wake();
    }

    /// Those who wait for no longer than they have to are to look again.
    pub(super) fn wake(&self) {
        self.changed.send_replace(());
    }

    fn came(&self, message: Message) {
        lock(&self.kept).push(message);
        self.wake();
    }
}

impl Cluster {
    pub(crate) fn subscribe(&self) -> Subscription {
        let messages = Arc::clone(&self.messages);
        let at = lock(&messages.kept).next;
        Subscription { changes: messages.changed.subscribe(), messages, at }
    }
}

impl Inner {
    /// Sends to all other live nodes.
    pub(crate) async fn send_message(&self, payload: Bytes) -> Result<usize, Error> {
        self.check_running()?;
        Message::check(&payload)?;
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
        Message::check(&payload)?;
        self.cluster.messages.came(Message::new(from, payload));
        Ok(())
    }

    /// The messages since `after`, which an earlier page named; none for the place where the next
    /// will be. Waits for one for as long as the caller says, within bounds, and no longer than this
    /// node wants requests.
    pub(crate) async fn messages(
        &self,
        after: Option<Place>,
        wait: Duration,
    ) -> Result<Page, Error> {
        self.check_running()?;
        let messages = &self.cluster.messages;
        let life = (self.node_id, self.cluster.boot);
        let here = |next| Place { node: life.0, boot: life.1, next };
        let mut page =
            Page { next: String::new(), missed: 0, interrupted: false, messages: Vec::new() };
        let at = match after {
            Some(place) if (place.node, place.boot) == life => {
                Some(place.next.min(lock(&messages.kept).next))
            }
            Some(_) => {
                page.interrupted = true;
                None
            }
            None => None,
        };
        let Some(at) = at else {
            page.next = here(lock(&messages.kept).next).to_string();
            return Ok(page);
        };
        let mut changes = messages.changed.subscribe();
        let came = async {
            loop {
                changes.mark_unchanged();
                if lock(&messages.kept).next > at || self.is_draining() {
                    return;
                }
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(wait.min(Duration::from_millis(WAIT_MAX_MS)), came).await;
        let kept = lock(&messages.kept);
        page.missed = kept.missed(at);
        page.messages = kept.since(at).cloned().collect();
        page.next = here(kept.next).to_string();
        Ok(page)
    }

    /// An operator, or an application over HTTP, sends to every node, this one included.
    pub(crate) async fn spread_message(&self, payload: Bytes) -> Result<usize, Error> {
        self.take_message(self.node_id, payload.clone())?;
        Ok(self.send_message(payload).await? + 1)
    }
}

/// A place in the messages that come to a node, as the next page of them is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    node: NodeId,
    /// Drawn at each start of the node.
    boot: u32,
    next: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:x}-{}", self.node, self.boot, self.next)
    }
}

impl FromStr for Place {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let mut parts = text.splitn(3, '-');
        let mut part = || parts.next().unwrap_or_default();
        let (node, boot, next) = (part().parse(), u32::from_str_radix(part(), 16), part().parse());
        match (node, boot, next) {
            (Ok(node), Ok(boot), Ok(next)) => Ok(Self { node, boot, next }),
            _ => Err(Error::new(
                ErrorKind::InvalidRequest,
                "after is the next of an earlier answer; leave it out at first",
            )),
        }
    }
}
