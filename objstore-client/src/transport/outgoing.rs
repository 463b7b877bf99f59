use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::Stream;
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

use crate::body::Body;
use crate::error::{Error, ErrorKind};

/// The most that is handed to the connection at once, so that a slow one is seen to make progress.
const PIECE: usize = 256 * 1024;

/// The body of a request on its way to a node, as the one who sends it sees it.
#[derive(Debug)]
pub(crate) struct Sending {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Until the first byte is asked for.
    untouched: Option<Body>,
    /// What the same bytes can be had from once more.
    again: Option<Body>,
    turn: Turn,
    since: Instant,
    /// It is sent in another try: nothing more goes out with this one.
    revoked: bool,
    /// What the caller's stream met, or was found wrong with it.
    failed: Option<Error>,
    /// The connection has all of it.
    given: bool,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The caller's, to come up with more bytes.
    Source,
    /// The node's, to take them.
    Node,
    /// The node's, to answer: everything is sent.
    Answer,
}

impl Sending {
    pub(crate) fn new(body: Body) -> Arc<Self> {
        let state = State {
            again: body.try_clone(),
            turn: if body.is_empty() { Turn::Answer } else { Turn::Node },
            given: body.is_empty(),
            untouched: Some(body),
            since: Instant::now(),
            revoked: false,
            failed: None,
        };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// The body, for another try: as it is where nothing of it was taken, else from its beginning
    /// where that can be had again.
    pub(crate) fn again(&self) -> Option<Body> {
        let mut state = self.lock();
        state.revoked = true;
        state.untouched.take().or_else(|| state.again.take())
    }

    /// What is wrong with the body itself.
    pub(crate) fn failed(&self) -> Option<Error> {
        self.lock().failed.clone()
    }

    /// Whether the node may have all of it. One that does not stores nothing.
    pub(crate) fn is_given(&self) -> bool {
        self.lock().given
    }

    /// Since when the node has shown no sign of life, where it is its turn.
    pub(crate) fn silent_since(&self) -> Option<Instant> {
        let state = self.lock();
        (state.turn != Turn::Source).then_some(state.since)
    }

    /// Comes back when the node has been silent for too long: `stall` while there are bytes for it
    /// to take, `answer` once it has them all.
    pub(crate) async fn silence(&self, stall: Duration, answer: Duration) -> Turn {
        loop {
            let (turn, since) = {
                let state = self.lock();
                (state.turn, state.since)
            };
            let until = match turn {
                // Looked at again, for the node may have its turn by then.
                Turn::Source => Instant::now() + stall,
                Turn::Node => since + stall,
                Turn::Answer => since + answer,
            };
            tokio::time::sleep_until(until).await;
            let state = self.lock();
            if turn != Turn::Source && state.turn == turn && state.since == since {
                return turn;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What hyper sends.
#[derive(Debug)]
pub(crate) struct Outgoing {
    sending: Arc<Sending>,
    /// Never locked: so it may be shared, which the HTTP client wants of it.
    body: Mutex<Option<Body>>,
    piece: Bytes,
    len: Option<u64>,
    /// Of the source.
    taken: u64,
    ended: bool,
}

impl Outgoing {
    pub(crate) fn of(sending: Arc<Sending>) -> Self {
        let len = sending.lock().untouched.as_ref().and_then(Body::len);
        Self {
            sending,
            body: Mutex::default(),
            piece: Bytes::new(),
            len,
            taken: 0,
            ended: len == Some(0),
        }
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Error>>> {
        if self.sending.lock().revoked {
            let revoked = "it is sent in another try";
            return Poll::Ready(Some(Err(Error::new(ErrorKind::Transport, revoked))));
        }
        // What seems to be the last is held back until the source has ended well: a node that has
        // all bytes stores them.
        while !self.ended && (self.piece.is_empty() || self.left() == Some(0)) {
            let body = match self.body.get_mut().unwrap_or_else(PoisonError::into_inner) {
                Some(body) => body,
                none => none.insert(self.sending.lock().untouched.take().unwrap_or_default()),
            };
            let polled = Pin::new(body).poll_next(cx);
            if polled.is_pending() {
                self.sending.lock().turn = Turn::Source;
            }
            match ready!(polled) {
                Some(Ok(chunk)) if chunk.is_empty() => {}
                Some(Ok(chunk)) => {
                    self.taken += chunk.len() as u64;
                    if self.len.is_some_and(|len| self.taken > len) {
                        return Poll::Ready(Some(Err(self.fail(incomplete()))));
                    }
                    self.piece = chunk;
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(self.fail(error)))),
                None if self.left().is_some_and(|left| left > 0) => {
                    return Poll::Ready(Some(Err(self.fail(incomplete()))));
                }
                None => self.ended = true,
            }
        }
        let piece = self.piece.split_to(self.piece.len().min(PIECE));
        let mut state = self.sending.lock();
        // The connection does not ask for what it knows is not there.
        let over = self.ended && self.piece.is_empty();
        state.turn = if over { Turn::Answer } else { Turn::Node };
        state.given = over;
        state.since = Instant::now();
        Poll::Ready((!piece.is_empty()).then_some(Ok(piece)))
    }

    /// What is yet to come from the source, where that is known.
    fn left(&self) -> Option<u64> {
        self.len.map(|len| len.saturating_sub(self.taken))
    }

    fn fail(&self, error: Error) -> Error {
        self.sending.lock().failed = Some(error.clone());
        error
    }
}

/// What the node would say.
fn incomplete() -> Error {
    Error::new(
        ErrorKind::IncompleteBody,
        "the body is not as long as it was said to be; nothing was stored, send it again",
    )
}

impl http_body::Body for Outgoing {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        self.poll_piece(cx).map(|piece| piece.map(|piece| piece.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        self.ended && self.piece.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        let left = self.left().map(|left| left + self.piece.len() as u64);
        left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
