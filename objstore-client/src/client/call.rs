//! How a request is carried out: which node is asked, and what is done when it fails.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

use super::endpoints::Pick;
use super::{Client, Shared};
use crate::body::Body;
use crate::error::{Error, ErrorKind};
use crate::random::random;
use crate::transport::{Answer, Failed, Patience, Repeat, Request, Sending};
use crate::types::ObjectMeta;
use crate::wire::routes;

/// The shortest pause between two rounds of tries; doubled with each.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// A node that was silent for so long when it was given up is not the first to be asked next.
const SILENT_FOR: Duration = Duration::from_millis(250);
/// The longest that is waited for a node to say whether it is well again.
const LOOK_MAX: Duration = Duration::from_secs(5);

impl Client {
    /// Sends a request until a node answers it, as often as it may be sent.
    pub(super) async fn call(
        &self,
        request: &Request,
        body: Option<Body>,
    ) -> Result<Answer, Error> {
        self.call_for(request, body, self.shared.tries, self.deadline()).await
    }

    /// The same, to each node once at most.
    pub(super) async fn call_once(&self, request: &Request) -> Result<Answer, Error> {
        self.call_for(request, None, 1, self.deadline()).await
    }

    /// Sends a read and takes in the whole answer; asks once more, where that can help, when the
    /// answer breaks off.
    pub(super) async fn ask<T, R>(
        &self,
        request: &Request,
        read: impl Fn(Answer) -> R,
    ) -> Result<T, Error>
    where
        R: Future<Output = Result<T, Error>>,
    {
        let deadline = self.deadline();
        let mut breaks = 0;
        loop {
            let answer = self.call_for(request, None, self.shared.tries, deadline).await?;
            let node = answer.node;
            let error = match read(answer).await {
                Err(error) if error.kind() == ErrorKind::Transport => error,
                other => return other,
            };
            breaks += 1;
            let is_late = deadline.is_some_and(|deadline| deadline <= Instant::now());
            if breaks >= self.shared.tries || is_late {
                return Err(self.shared.named(node, "", error));
            }
            tracing::debug!(%error, "an answer broke off, and is asked for again");
            self.pause_after_break(node, breaks).await;
        }
    }

    /// A change that is answered with what became of the object.
    pub(super) async fn change(
        &self,
        request: &Request,
        body: Option<Body>,
    ) -> Result<Arc<ObjectMeta>, Error> {
        let answer = self.call(request, body).await?;
        answer.meta().map_err(|error| self.shared.unknown(answer.node, error))
    }

    /// When a call that begins now has to be over.
    fn deadline(&self) -> Option<Instant> {
        self.timeout.map(|timeout| Instant::now() + timeout)
    }

    async fn call_for(
        &self,
        request: &Request,
        body: Option<Body>,
        rounds: u32,
        deadline: Option<Instant>,
    ) -> Result<Answer, Error> {
        let mut met = Met::default();
        let rounds = self.rounds(request, body, rounds, deadline, &mut met);
        let Some(deadline) = deadline else { return rounds.await };
        match tokio::time::timeout_at(deadline, rounds).await {
            Ok(Ok(answer)) => Ok(answer.until(deadline)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(self.late(request, met)),
        }
    }

    /// Tries each node, and all of them again after a pause.
    async fn rounds(
        &self,
        request: &Request,
        mut body: Option<Body>,
        rounds: u32,
        deadline: Option<Instant>,
        met: &mut Met,
    ) -> Result<Answer, Error> {
        let mut round = 1;
        let mut tried = Vec::new();
        loop {
            let Some(node) = self.pick(&tried, request.prefer) else {
                let pause = self.pause(round, std::mem::take(&mut met.asked_for));
                let late = deadline.is_some_and(|deadline| deadline <= Instant::now() + pause);
                if round >= rounds || late {
                    return Err(met.last.take().unwrap_or_else(nobody));
                }
                round += 1;
                tried.clear();
                tokio::time::sleep(pause).await;
                continue;
            };
            let sending = body.take().map(Sending::new);
            met.asking = Some(node);
            let left = self.shared.endpoints.len() - tried.len();
            let patience = self.patience(request, deadline, left);
            let sent =
                self.shared.send(node, request, &self.common, sending.as_ref(), patience).await;
            let failed = match sent {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            met.asking = None;
            // A fault of one node need not be one of the next.
            let is_its_own = failed.error.kind() == ErrorKind::Internal && request.is_read();
            let may_help = failed.error.kind().is_retryable() || (is_its_own && left > 1);
            let may_repeat = failed.not_done || request.repeat == Repeat::Safe;
            let error = self.shared.explain(node, request, failed);
            body = match sending {
                _ if !may_help || !may_repeat => return Err(error),
                None => None,
                Some(sending) => match sending.again() {
                    Some(body) => Some(body),
                    None => return Err(error),
                },
            };
            tracing::debug!(%error, "a node failed a request, which is tried again");
            met.asked_for = met.asked_for.max(error.retry_after().unwrap_or_default());
            met.last = Some(error);
            tried.push(node);
        }
    }

    /// How long a node is waited for. Where others are left who can be asked as well, it is not to
    /// use up the time that there is for all of them.
    fn patience(&self, request: &Request, deadline: Option<Instant>, left: usize) -> Patience {
        let mut patience = self.shared.patience;
        if let Some(deadline) = deadline.filter(|_| request.repeat == Repeat::Safe && left > 1) {
            let left = u32::try_from(left).unwrap_or(u32::MAX);
            let share = deadline.saturating_duration_since(Instant::now()) / left;
            patience.stall = patience.stall.min(share);
        }
        patience
    }

    /// The node to try next; none when all were.
    fn pick(&self, tried: &[usize], prefer: Option<usize>) -> Option<usize> {
        let Pick { node, look_at } = self.shared.endpoints.pick(tried, prefer, Instant::now())?;
        if let Some(ill) = look_at {
            let looking = Looking { shared: Arc::clone(&self.shared), node: ill };
            tokio::spawn(async move { looking.shared.look_at(looking.node).await });
        }
        Some(node)
    }

    /// How long to wait before the nodes are tried again: longer each time, never exactly as long
    /// as others wait, and as long as any of them asked for, within bounds.
    fn pause(&self, round: u32, asked: Duration) -> Duration {
        let max = self.shared.pause_max;
        let longest = PAUSE_FIRST.saturating_mul(1 << (round - 1).min(16));
        asked.saturating_add(longest.mul_f64(0.5 + jitter() / 2.0)).min(max)
    }

    /// After a body broke off for the `breaks`th time in a row.
    pub(super) async fn pause_after_break(&self, node: usize, breaks: u32) {
        self.shared.endpoints.is_ill(node, Instant::now(), jitter());
        if breaks > 1 {
            tokio::time::sleep(self.pause(breaks - 1, Duration::ZERO)).await;
        }
    }

    fn late(&self, request: &Request, met: Met) -> Error {
        let outcome = if request.is_read() { "" } else { UNKNOWN };
        let timeout = self.timeout.unwrap_or_default();
        let node = met.asking.and_then(|node| self.shared.endpoints.get(node));
        let from = node.map_or_else(String::new, |node| format!(" from {node}"));
        match met.last {
            Some(last) => {
                let what =
                    format!("no answer{from} within {timeout:?}{outcome}; before that: {last}");
                Error::new(ErrorKind::Transport, what).with_source(last)
            }
            None => {
                let what = format!("no answer{from} within {timeout:?}{outcome}");
                Error::new(ErrorKind::Transport, what)
            }
        }
    }
}

/// What a call has met so far.
#[derive(Default)]
struct Met {
    /// The last error.
    last: Option<Error>,
    /// The node that is waited for.
    asking: Option<usize>,
    /// The longest that a node asked to be left alone for in this round.
    asked_for: Duration,
}

/// Somebody looks whether a node is well again. When that ends early, as it does with the runtime it
/// is on, somebody else may.
struct Looking {
    shared: Arc<Shared>,
    node: usize,
}

impl Drop for Looking {
    fn drop(&mut self) {
        self.shared.endpoints.is_unwatched(self.node);
    }
}

/// A node that has not answered yet. Whoever gives up waiting before it has, a deadline or a caller,
/// has learnt something about it.
struct Waiting<'a> {
    shared: &'a Shared,
    node: usize,
    sending: Option<&'a Arc<Sending>>,
    since: Instant,
    answered: bool,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        let now = Instant::now();
        let silent = self.sending.map_or(Some(self.since), |sending| sending.silent_since());
        if silent.is_some_and(|since| now.saturating_duration_since(since) >= SILENT_FOR) {
            self.shared.endpoints.is_ill(self.node, now, jitter());
        }
    }
}

impl Shared {
    /// Sends a request to one node, and learns how that node is.
    async fn send(
        &self,
        node: usize,
        request: &Request,
        common: &HeaderMap,
        sending: Option<&Arc<Sending>>,
        patience: Patience,
    ) -> Result<Answer, Failed> {
        let Some(endpoint) = self.endpoints.get(node) else {
            return Err(Failed { error: nobody(), not_done: true });
        };
        let since = Instant::now();
        let mut waiting = Waiting { shared: self, node, sending, since, answered: false };
        let sent = self.transport.send(endpoint, request, common, sending, patience).await;
        waiting.answered = true;
        let sent = sent.map_err(|failed| failed.with_body(sending));
        match &sent {
            Ok(_) => self.endpoints.is_well(node),
            Err(failed) => self.judge(node, &failed.error),
        }
        // Whatever share of a call's time it had: the body may take longer.
        sent.map(|answer| answer.of(node, self.patience.stall))
    }

    fn judge(&self, node: usize, error: &Error) {
        let now = Instant::now();
        match error.kind() {
            ErrorKind::Transport | ErrorKind::Stopping => {
                self.endpoints.is_ill(node, now, jitter());
            }
            ErrorKind::Busy => {
                let pause = error.retry_after().unwrap_or(PAUSE_FIRST).min(self.pause_max);
                self.endpoints.is_busy(node, now + pause);
            }
            // About the request, or about what only some requests meet.
            _ => self.endpoints.is_well(node),
        }
    }

    /// Finds out whether a node is well again.
    async fn look_at(&self, node: usize) {
        let stall = self.patience.stall.min(LOOK_MAX);
        let patience = Patience { stall, answer: stall };
        let (request, none) = (Request::get(routes::READYZ), HeaderMap::new());
        let Some(endpoint) = self.endpoints.get(node) else { return };
        match self.transport.send(endpoint, &request, &none, None, patience).await {
            Ok(_) => self.endpoints.is_well(node),
            Err(_) => self.endpoints.is_ill(node, Instant::now(), jitter()),
        }
    }

    /// What to tell the caller: of errors that no node gave, which node it was about, and whether
    /// what was asked for may have been done.
    fn explain(&self, node: usize, request: &Request, failed: Failed) -> Error {
        let Failed { error, not_done } = failed;
        if error.kind() != ErrorKind::Transport {
            return error;
        }
        self.named(node, if not_done || request.is_read() { "" } else { UNKNOWN }, error)
    }

    /// The error with the node that was to change something.
    pub(super) fn unknown(&self, node: usize, error: Error) -> Error {
        self.named(node, UNKNOWN, error)
    }

    /// The error with the node that it was about.
    fn named(&self, node: usize, outcome: &str, error: Error) -> Error {
        let node = self.endpoints.get(node).map(ToString::to_string).unwrap_or_default();
        let message = format!("{node}: {error}{outcome}");
        error.saying(message)
    }
}

/// What a value that cannot be in a header field becomes.
pub(super) fn unsendable(error: http::header::InvalidHeaderValue) -> Error {
    Error::new(ErrorKind::InvalidRequest, "this cannot be sent").with_source(error)
}

const UNKNOWN: &str = "; whether it was done is not known";

fn nobody() -> Error {
    Error::new(ErrorKind::Transport, "there is no node to ask")
}

/// Between 0 and 1, so that those who failed together do not try again together.
fn jitter() -> f64 {
    let random = u32::try_from(random() >> 32).unwrap_or_default();
    f64::from(random) / f64::from(u32::MAX)
}
