//! Copies that count: bodies of level 2 on every node, and what a node that leaves hands over.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use http::Response;
use http::header::HeaderMap;
use objstore_client::types::{Level, ObjectId, ObjectMeta, Replicas};
use objstore_client::wire::private::{headers, routes};
use objstore_client::{Body, Error, ErrorKind};
use tokio::time::timeout;

use super::bodies::put;
use super::peers::{Peer, post};
use crate::fills::{FillError, NotSettled};
use crate::journal::{Change, HeldBody, Stamp, decode_record, encode_record};
use crate::node::Inner;

use crate::ops::{body_lost, remote_error};

/// A put of level 2 waits for the other nodes at most this long.
const COPIES_WITHIN: Duration = Duration::from_secs(2);
/// A node that is asked for a copy answers within this time, with or without it.
const HELD_WITHIN: Duration = Duration::from_millis(1800);
/// The longest answer that is read, in bytes.
const ANSWER_MAX: usize = 1024;
const HELD: &str = "held";
/// It is on its way, and takes longer than an answer may.
const QUEUED: &str = "queued";
const NOT_HELD: &str = "not-held";

/// What came of asking a node for a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copied {
    Held,
    /// It goes on where it is when it is asked again.
    UnderWay,
    No,
}

impl Inner {
    /// Waits until the other nodes have copies of an object of level 2 that was just changed here,
    /// or have noted that they are to have them.
    ///
    /// # Errors
    /// [`ErrorKind::TooFewReplicas`] when fewer nodes than asked for have one in time.
    pub(crate) async fn replicated(
        &self,
        mut meta: Arc<ObjectMeta>,
        least: Option<u32>,
    ) -> Result<Arc<ObjectMeta>, Error> {
        // What waits for the bucket is answered at once, unless copies are asked for.
        let waits = least.is_some_and(|least| least > 1) || !meta.is_pending;
        if meta.consistency < Level::Full || !waits {
            return Ok(meta);
        }
        let Some(hot) = self.lookup(meta.id, false).await? else { return Ok(meta) };
        if hot.entry.record.level() < Level::Full {
            return Ok(meta);
        }
        let frame = encode_record(&hot.entry.record);
        let live = self.cluster.peers.live();
        let mut asking: FuturesUnordered<BoxFuture<'_, bool>> =
            live.iter().map(|peer| self.is_copied(peer, frame.clone()).boxed()).collect();
        // One that was raised here may have its body elsewhere.
        let (id, stamp) = (meta.id, hot.entry.record.stamp);
        asking.push(async move { matches!(self.hold(id, stamp).await, Ok(true)) }.boxed());
        let mut synced = 0;
        let all = async {
            while let Some(copied) = asking.next().await {
                synced += u32::from(copied);
            }
        };
        let _ = timeout(COPIES_WITHIN, all).await;
        let live = u32::try_from(live.len()).unwrap_or(u32::MAX).saturating_add(1);
        if let Some(least) = least.filter(|least| synced < *least) {
            let why = if least > live {
                format!("{least} nodes were to have a copy, and only {live} are there")
            } else {
                format!(
                    "only {synced} of {live} nodes have a copy so far; the others get it in the background"
                )
            };
            let why = format!("the object is stored, but {why}");
            return Err(Error::new(ErrorKind::TooFewReplicas, why));
        }
        Arc::make_mut(&mut meta).replicas = Some(Replicas { synced, live });
        Ok(meta)
    }

    async fn is_copied(&self, peer: &Peer, record: Bytes) -> bool {
        self.have_copied(peer, record, false).await == Copied::Held
    }

    /// Whether a node has a synced copy of this version by now, and will store it in the remote if
    /// it is to.
    pub(super) async fn have_copied(&self, peer: &Peer, record: Bytes, upload: bool) -> Copied {
        let asked = async {
            let mut request = post(routes::PUT, record)?;
            if upload {
                put(request.headers_mut(), headers::UPLOAD, "1")?;
            }
            let answer = self.cluster.peers.call(peer, request).await?;
            answer.into_body().collect(ANSWER_MAX).await
        };
        match asked.await {
            Ok(answer) if answer == HELD => Copied::Held,
            Ok(answer) if answer == QUEUED => Copied::UnderWay,
            Ok(_) => Copied::No,
            Err(error) => {
                tracing::debug!(node = %peer.id, %error, "a node could not be asked for a copy");
                Copied::No
            }
        }
    }

    /// `POST /private/v1/put`: this node is to have a synced copy of a version. Of one of level 2
    /// it has noted that when it answers.
    pub(crate) async fn answer_copy(
        &self,
        fields: &HeaderMap,
        frame: Bytes,
    ) -> Result<Response<Body>, Error> {
        let wrong = |why: &'static str| Error::new(ErrorKind::InvalidRequest, why);
        let record =
            decode_record(&frame).map_err(|e| wrong("this is no record").with_source(e))?;
        if record.live.is_none() || record.id.is_derived() {
            return Err(wrong("only a live object of this cluster is copied"));
        }
        let (id, stamp, level) = (record.id, record.stamp, record.level());
        self.merge(vec![record]).await?;
        let held = timeout(HELD_WITHIN, self.hold(id, stamp)).await;
        if let Ok(Err(error)) = &held {
            tracing::debug!(%id, %error, "a copy could not be made yet");
        }
        let mut is_held = matches!(held, Ok(Ok(true)));
        if is_held && level > Level::Local && fields.contains_key(headers::UPLOAD) {
            is_held = self.take_over_upload(id, stamp, level).await.is_ok();
        }
        let answer = match held {
            _ if is_held => HELD,
            Err(_) => QUEUED,
            Ok(_) => NOT_HELD,
        };
        Ok(Response::new(answer.into()))
    }

    /// Stores a version in the remote in place of the node that was to.
    async fn take_over_upload(
        &self,
        id: ObjectId,
        stamp: Stamp,
        level: Level,
    ) -> Result<(), Error> {
        let _turn = self.uploads.turn(id).await;
        let current = self.lookup(id, false).await?;
        let current = current.filter(|hot| hot.entry.record.stamp == stamp);
        match current.as_ref().and_then(|hot| hot.entry.live()) {
            Some(live) if live.remote_etag.is_none() => {
                let change = Change::Raise { id, stamp, level, remote_etag: None };
                self.commit(change).await?.made().map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Brings the body of this version here, as durable as if it had been put here; false when the
    /// version is not current any more.
    pub(crate) async fn hold(&self, id: ObjectId, stamp: Stamp) -> Result<bool, Error> {
        let current = self.lookup(id, false).await?;
        let current = current.filter(|hot| hot.entry.record.stamp == stamp);
        let Some(hot) = current else { return Ok(false) };
        if hot.entry.presence.is_held() {
            return Ok(true);
        }
        let Some(origin) = hot.entry.origin() else { return Ok(false) };
        let size = origin.size;
        let mut room = self.usage.no_room_yet();
        room.make_room(size).await?;
        let fill = self.fills.open(origin);
        // A removal that came before the fill was opened would be undone by it.
        let now = self.lookup(id, false).await?;
        if now.is_none_or(|now| now.entry.record.stamp != stamp) {
            return Ok(false);
        }
        let body = if size <= self.settings.inline_max_bytes as u64 {
            HeldBody::Inline(fill.whole().await.map_err(not_brought)?.into())
        } else {
            let physical = fill.settle().await.map_err(|error| match error {
                NotSettled::Fill(error) => not_brought(error),
                NotSettled::Disk(error) => error,
            })?;
            HeldBody::File { physical }
        };
        self.commit(Change::Hold { id, stamp, body }).await?.made().map(|_| true)
    }
}

fn not_brought(error: FillError) -> Error {
    match error {
        FillError::Stopping(error) => error,
        FillError::Remote(error) => remote_error(error),
        FillError::Nowhere { unreachable: false } => body_lost(),
        other => Error::new(ErrorKind::Unavailable, "the body cannot be had at the moment")
            .with_source(other),
    }
}
