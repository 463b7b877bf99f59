//! Requests to one node over HTTP/1.1, one at a time for each connection, over pooled connections.
//! What is done when one fails is decided elsewhere.

mod answer;
mod endpoint;
mod outgoing;
mod plain;
mod request;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

pub(crate) use answer::{Answer, chunk, silent, strange};
pub(crate) use endpoint::Endpoint;
pub(crate) use outgoing::{Outgoing, Sending, Turn};
pub(crate) use request::{Repeat, Request};

use crate::error::{Error, ErrorKind};
use plain::Plain;

/// The longest that is waited for a connection.
const CONNECT_MAX: Duration = Duration::from_secs(10);
/// A connection that nobody used for so long is closed.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// How often the system looks whether the other end of a silent connection is still there.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// After so many looks without an answer the connection is given up.
const KEEPALIVE_PROBES: u32 = 3;
/// So is one that has not acknowledged for so long what was sent (tcp(7), `TCP_USER_TIMEOUT`).
const UNACKNOWLEDGED_MAX: Duration = Duration::from_secs(30);

/// Longer than anybody waits, and short enough to be added to any moment.
pub(crate) const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Connections to nodes.
#[derive(Clone, Debug)]
pub(crate) struct Transport {
    plain: Plain,
    /// Where a node is reached so.
    tls: Option<reqwest::Client>,
}

/// How long a node may be silent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// While bytes go to it or are to come from it, and before it answers a read.
    pub(crate) stall: Duration,
    /// Before it answers a change that it has all of.
    pub(crate) answer: Duration,
}

/// Why there is no answer, or an error for one.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) error: Error,
    /// It is certain that the node did not do, and will not do, what was asked of it.
    pub(crate) not_done: bool,
}

impl Transport {
    /// Nodes over TLS are believed by `authorities`, each some PEM, or where there are none by those
    /// of the system, which are only looked for when they are needed.
    pub(crate) fn new(
        stall: Duration,
        over_tls: bool,
        authorities: &[Vec<u8>],
    ) -> Result<Self, Error> {
        let connect = stall.min(CONNECT_MAX);
        let needs_tls = over_tls || !authorities.is_empty();
        let tls = needs_tls.then(|| tls::client(connect, authorities)).transpose()?;
        Ok(Self { plain: plain::client(connect), tls })
    }

    /// Sends a request and waits for the head of the answer.
    pub(crate) async fn send(
        &self,
        endpoint: &Endpoint,
        request: &Request,
        common: &HeaderMap,
        sending: Option<&Arc<Sending>>,
        patience: Patience,
    ) -> Result<Answer, Failed> {
        let url = endpoint.url(request.path()).map_err(|error| Failed { error, not_done: true })?;
        let body = sending.map(|sending| Outgoing::of(Arc::clone(sending)));
        let answered = self.answered(request.to_send(url, common, body));
        let response = match sending {
            // A change may take long where nothing is to be seen of it.
            Some(sending) => tokio::select! {
                response = answered => response,
                turn = sending.silence(patience.stall, patience.answer) => {
                    let limit = if turn == Turn::Answer { patience.answer } else { patience.stall };
                    return Err(Failed::unknown(silent(limit)));
                }
            },
            None => {
                let limit = if request.is_read() { patience.stall } else { patience.answer };
                match tokio::time::timeout(limit, answered).await {
                    Ok(response) => response,
                    Err(_) => return Err(Failed::unknown(silent(limit))),
                }
            }
        };
        let response =
            response.map_err(|failed| match sending.and_then(|sending| sending.failed()) {
                Some(error) => Failed { error, not_done: true },
                None => failed,
            })?;
        Answer::read(response, patience.stall, request.is_conditional_read())
            .await
            .map_err(Failed::answered)
    }

    /// The node's answer, whatever it is.
    async fn answered(
        &self,
        request: reqwest::Request,
    ) -> Result<http::Response<reqwest::Body>, Failed> {
        match &self.tls {
            Some(tls) if request.url().scheme() == "https" => match tls.execute(request).await {
                Ok(response) => Ok(response.into()),
                Err(e) => Err(Failed::transport(e.is_connect(), e.without_url(), true)),
            },
            _ => {
                let request = http::Request::try_from(request)
                    .map_err(|e| Failed::transport(true, e.without_url(), false))?;
                match self.plain.request(request).await {
                    Ok(response) => Ok(response.map(reqwest::Body::wrap)),
                    Err(e) => Err(Failed::transport(e.is_connect(), e, false)),
                }
            }
        }
    }
}

impl Failed {
    /// Of a request with this body: a node that did not get all of it has done nothing.
    pub(crate) fn with_body(self, sending: Option<&Arc<Sending>>) -> Self {
        let is_partly_given = sending.is_some_and(|sending| !sending.is_given());
        Self { not_done: self.not_done || is_partly_given, ..self }
    }

    fn unknown(error: Error) -> Self {
        Self { error, not_done: false }
    }

    fn transport(
        not_done: bool,
        error: impl std::error::Error + Send + Sync + 'static,
        over_tls: bool,
    ) -> Self {
        let mut cause: &dyn std::error::Error = &error;
        while let Some(below) = cause.source() {
            cause = below;
        }
        let message = match (not_done, over_tls) {
            (true, false) => {
                format!("no connection ({cause}); is the node running, and is the address right?")
            }
            (true, true) => format!(
                "no connection ({cause}); is the node running, is the address right, and its certificate believed?"
            ),
            (false, _) => "the connection broke or did not speak HTTP".to_owned(),
        };
        let error = Error::new(ErrorKind::Transport, message).with_source(error);
        Self { error, not_done }
    }

    /// What a node answers these with it has not done, and has forgotten; of others it may be that
    /// it was done before something went wrong, or will turn out to have been.
    fn answered(error: Error) -> Self {
        let not_done =
            matches!(error.kind(), ErrorKind::Busy | ErrorKind::ClockSkew | ErrorKind::Timeout)
                || !error.kind().is_retryable();
        Self { error, not_done }
    }
}
