//! What one node may ask of this one at a time, so that none can take it all.

use std::time::Duration;

use bytes::Bytes;
use objstore_client::{Body, Error, ErrorKind};

use super::counts::{Counted, Counts};
use crate::journal::NodeId;

/// Requests of one node under way at a time. Bodies that are
/// streamed are bounded by its connections.
const REQUESTS_OF_ONE: usize = 64;
/// Bytes of the frames of one node, and of all, that may be in memory before they are dealt with.
const BYTES_OF_ONE: usize = 4 << 20;
const BYTES: usize = 12 << 20;
/// The time within which a frame has to come.
const FRAME_TIMEOUT: Duration = Duration::from_secs(10);
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Counts what is under way, by who asked for it.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    requests: Counts<NodeId>,
    bytes: Counts<NodeId>,
    all_bytes: Counts<()>,
}

/// The part of a request's body in the budget, until it is dropped.
pub(crate) type InMemory = (Counted<NodeId>, Counted<()>);

impl Budget {
    /// A request is under way until what is returned is dropped.
    pub(crate) fn request(&self, from: NodeId) -> Result<Counted<NodeId>, Error> {
        self.requests.one_more(from, REQUESTS_OF_ONE).ok_or_else(busy)
    }

    /// Receives the body of a request.
    ///
    /// # Errors
    /// [`ErrorKind::TooLarge`] beyond `max`, before a byte of it is read where it says how long it
    /// is; [`ErrorKind::Busy`]; [`ErrorKind::Timeout`].
    pub(crate) async fn frame(
        &self,
        from: NodeId,
        body: Body,
        max: usize,
    ) -> Result<(Bytes, InMemory), Error> {
        let len = body.len().map_or(max, |len| usize::try_from(len).unwrap_or(usize::MAX));
        // Refused by its length, without a part in the budget.
        let counted = if len > max { 0 } else { len };
        let of_one = self.bytes.add(from, counted, BYTES_OF_ONE).ok_or_else(busy)?;
        let of_all = self.all_bytes.add((), counted, BYTES).ok_or_else(busy)?;
        let bytes = tokio::time::timeout(FRAME_TIMEOUT, body.collect(max))
            .await
            .map_err(|_| Error::new(ErrorKind::Timeout, "the request did not arrive in time"))??;
        Ok((bytes, (of_one, of_all)))
    }
}

fn busy() -> Error {
    Error::new(
        ErrorKind::Busy,
        "this node deals with as many requests of yours as it takes; try again soon",
    )
    .with_retry_after(RETRY_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::FRAME_MAX;

    #[tokio::test]
    async fn one_node_cannot_take_it_all() {
        let (budget, a, b) = (Budget::default(), NodeId::from_u128(1), NodeId::from_u128(2));
        let taken: Vec<_> = (0..REQUESTS_OF_ONE).map(|_| budget.request(a).unwrap()).collect();
        assert_eq!(budget.request(a).unwrap_err().kind(), ErrorKind::Busy);
        assert!(budget.request(b).is_ok());
        drop(taken);
        assert!(budget.request(a).is_ok());

        let frame = |of| budget.frame(of, vec![0; FRAME_MAX].into(), FRAME_MAX);
        let mut held = Vec::new();
        for _ in 0..BYTES_OF_ONE / FRAME_MAX {
            held.push(frame(a).await.unwrap());
        }
        assert_eq!(frame(a).await.unwrap_err().kind(), ErrorKind::Busy);
        held.push(frame(b).await.unwrap());
        held.clear();
        assert!(frame(a).await.is_ok());
    }

    #[tokio::test]
    async fn a_frame_that_says_it_is_too_long_is_not_read() {
        let never = futures_util::stream::pending();
        let body = Body::from_stream(never, Some(FRAME_MAX as u64 + 1));
        let refused = Budget::default().frame(NodeId::from_u128(1), body, FRAME_MAX).await;
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::TooLarge);
    }
}
