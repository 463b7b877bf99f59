//! How a request is carried out: which node is asked, and what is done when it fails.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method};
use tokio::time::Instant;

use super::endpoints::Pick;
use super::{Client, Shared};
use crate::body::Body;
use crate::error::{Error, ErrorKind};
use crate::random::random;
use crate::transport::{Answer, Failed, Patience, Repeat, Request, Sending};
use crate::wire::routes;

/// The shortest pause between two rounds of tries; doubled with each.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
/// The longest that is waited for a node to say whether it is well again.
const LOOK_MAX: Duration = Duration::from_secs(5);

impl Client {
    /// Sends a request until a node answers it, as often as it may be sent.
    pub(super) async fn call(
        &self,
        request: &Request,
        body: Option<Body>,
    ) -> Result<Answer, Error> {
        self.call_for(request, body, self.shared.tries).await
    }

    /// The same, to each node once at most.
    pub(super) async fn call_once(&self, request: &Request) -> Result<Answer, Error> {
        self.call_for(request, None, 1).await
    }

    async fn call_for(
        &self,
        request: &Request,
        body: Option<Body>,
        rounds: u32,
    ) -> Result<Answer, Error> {
        let Some(timeout) = self.timeout else {
            return self.rounds(request, body, rounds, None, &mut None).await;
        };
        let deadline = Instant::now() + timeout;
        let mut last = None;
        let rounds = self.rounds(request, body, rounds, Some(deadline), &mut last);
        match tokio::time::timeout_at(deadline, rounds).await {
            Ok(Ok(answer)) => Ok(answer.until(deadline)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(late(timeout, request, last)),
        }
    }

    /// Tries each node, and all of them again after a pause. `last` is what was met last.
    async fn rounds(
        &self,
        request: &Request,
        mut body: Option<Body>,
        rounds: u32,
        deadline: Option<Instant>,
        last: &mut Option<Error>,
    ) -> Result<Answer, Error> {
        let mut round = 1;
        let mut tried = Vec::new();
        loop {
            let Some(node) = self.pick(&tried) else {
                let pause = self.pause(round, last.as_ref());
                let late = deadline.is_some_and(|deadline| deadline <= Instant::now() + pause);
                if round >= rounds || late {
                    return Err(last.take().unwrap_or_else(nobody));
                }
                round += 1;
                tried.clear();
                tokio::time::sleep(pause).await;
                continue;
            };
            let sending = body.take().map(Sending::new);
            let failed = match self.shared.send(node, request, &self.common, sending.as_ref()).await
            {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            let may_help = failed.error.kind().is_retryable();
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
            *last = Some(error);
            tried.push(node);
        }
    }

    /// The node to try next; none when all were.
    fn pick(&self, tried: &[usize]) -> Option<usize> {
        let Pick { node, look_at } = self.shared.endpoints.pick(tried, Instant::now())?;
        if let Some(ill) = look_at {
            let shared = Arc::clone(&self.shared);
            tokio::spawn(async move { shared.look_at(ill).await });
        }
        Some(node)
    }

    /// How long to wait before the nodes are tried again: longer each time, never exactly as long
    /// as others wait, and as long as the last node asked for, within bounds.
    fn pause(&self, round: u32, last: Option<&Error>) -> Duration {
        let max = self.shared.pause_max;
        let longest = PAUSE_FIRST.saturating_mul(1 << (round - 1).min(16));
        let asked = last.and_then(Error::retry_after).unwrap_or_default();
        (asked + longest.mul_f64(0.5 + jitter() / 2.0)).min(max)
    }

    /// After a body broke off for the `breaks`th time in a row.
    pub(super) async fn pause_after_break(&self, node: usize, breaks: u32) {
        self.shared.endpoints.is_ill(node, Instant::now(), jitter());
        if breaks > 1 {
            tokio::time::sleep(self.pause(breaks - 1, None)).await;
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
    ) -> Result<Answer, Failed> {
        let Some(endpoint) = self.endpoints.get(node) else {
            return Err(Failed { error: nobody(), not_done: true });
        };
        let sent = self.transport.send(endpoint, request, common, sending, self.patience).await;
        match &sent {
            Ok(_) => self.endpoints.is_well(node),
            Err(failed) => self.judge(node, &failed.error),
        }
        sent.map(|answer| answer.of(node))
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
        let node = self.endpoints.get(node).map(ToString::to_string).unwrap_or_default();
        let outcome = if not_done || is_read(request) { "" } else { UNKNOWN };
        let message = format!("{node}: {error}{outcome}");
        error.saying(message)
    }
}

/// What a value that cannot be in a header field becomes.
pub(super) fn unsendable(error: http::header::InvalidHeaderValue) -> Error {
    Error::new(ErrorKind::InvalidRequest, "this cannot be sent").with_source(error)
}

const UNKNOWN: &str = "; whether it was done is not known";

fn is_read(request: &Request) -> bool {
    matches!(request.method, Method::GET | Method::HEAD)
}

fn late(timeout: Duration, request: &Request, last: Option<Error>) -> Error {
    let outcome = if is_read(request) { "" } else { UNKNOWN };
    let message = match &last {
        Some(last) => format!("not done within {timeout:?}{outcome}; the last try: {last}"),
        None => format!("no answer within {timeout:?}{outcome}"),
    };
    let error = Error::new(ErrorKind::Transport, message);
    match last {
        Some(last) => error.with_source(last),
        None => error,
    }
}

fn nobody() -> Error {
    Error::new(ErrorKind::Transport, "there is no node to ask")
}

/// Between 0 and 1, so that those who failed together do not try again together.
fn jitter() -> f64 {
    let random = u32::try_from(random() >> 32).unwrap_or_default();
    f64::from(random) / f64::from(u32::MAX)
}
