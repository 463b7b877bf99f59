//! Objects of which nothing is known here: the node whose turn it is asks the remote, and the others
//! ask that node. And what other nodes have of a key is forgotten when it changes.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use http::Response;
use http::header::HeaderMap;
use objstore_client::types::{ObjectId, ObjectKey};
use objstore_client::wire::private::{headers, routes};
use objstore_client::{Body, Error, ErrorKind};
use percent_encoding::percent_decode_str;
use tokio::time::timeout;

use super::bodies::put;
use super::locate::FETCH_DEADLINE;
use super::peers::{Peer, post};
use crate::bodies::UNIT;
use crate::fills::PeerReply;
use crate::journal::{Change, Record, decode_record};
use crate::node::Inner;
use crate::ops::{Arrived, ArrivedFrom, Found, Look, Turn, Wanted, first_range};
use crate::remote::codec::parse_stamp;

/// The longest record that is taken, in bytes.
const RECORD_MAX: usize = 64 * 1024;
/// Other nodes are waited for this long when a key has changed: what they have of it they take for
/// current no longer than its TTL in any case.
const CHANGED_DEADLINE: Duration = Duration::from_millis(500);

/// What the node whose turn it was says that the remote has.
pub(crate) struct FromOwner {
    pub(crate) record: Record,
    /// How long ago the remote said so.
    pub(crate) age: Duration,
    pub(crate) arrived: Option<Arrived>,
}

impl Inner {
    /// Asks the node whose turn it is what the remote has; none when it is this node's own.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] and [`ErrorKind::Deleted`], which are true of the whole cluster.
    pub(crate) async fn ask_owner(
        &self,
        id: ObjectId,
        key: Option<&str>,
        look: Look,
    ) -> Result<Option<FromOwner>, Error> {
        let first = look.bytes.and_then(|bytes| first_range(bytes, self.fills.block()));
        let units =
            first.map_or(0..0, |range| range.start / UNIT as u64..range.end.div_ceil(UNIT as u64));
        for (peer, behind) in self.owners(id) {
            let asked = self.ask_one_owner(&peer, behind, id, key, units.clone());
            let error = match timeout(FETCH_DEADLINE * (behind + 1), asked).await {
                Ok(Ok(answer)) => return Ok(Some(answer)),
                Ok(Err(error)) => error,
                Err(_) => Error::new(ErrorKind::Transport, "the node did not answer in time"),
            };
            match error.kind() {
                ErrorKind::NotFound | ErrorKind::Deleted => return Err(error),
                _ => {}
            }
            tracing::debug!(node = %peer.id, %error, "a node did not ask the bucket for this one");
        }
        Ok(None)
    }

    async fn ask_one_owner(
        &self,
        peer: &Peer,
        behind: u32,
        id: ObjectId,
        key: Option<&str>,
        units: Range<u64>,
    ) -> Result<FromOwner, Error> {
        let mut request = http::Request::get(format!("{}{id}", routes::GET))
            .body(Body::default())
            .map_err(|e| Error::new(ErrorKind::Internal, "not a private path").with_source(e))?;
        let fields = request.headers_mut();
        put(fields, headers::FETCH, "1")?;
        put(fields, headers::UNITS, &format!("{}-{}", units.start, units.end))?;
        if let Some(key) = key {
            put(fields, headers::KEY, &objstore_client::wire::routes::encode(key))?;
        }
        let answer = self.cluster.peers.call(peer, request).await?;
        let (head, mut body) = answer.into_parts();
        let field = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        let wrong = || Error::new(ErrorKind::Transport, "a node answered something else");
        let len: usize =
            field(headers::RECORD).and_then(|text| text.parse().ok()).ok_or_else(wrong)?;
        let stamp = field(headers::STAMP).and_then(parse_stamp).ok_or_else(wrong)?;
        let age = field(headers::AGE).and_then(|text| text.parse().ok()).unwrap_or(0);
        let (bytes, rest) = take_front(&mut body, len.min(RECORD_MAX)).await?;
        let record = decode_record(&bytes).map_err(|e| wrong().with_source(e))?;
        let live = record.live.as_ref().filter(|_| record.id == id && record.stamp == stamp);
        let live = live.ok_or_else(wrong)?;
        if key.is_some() && live.remote_etag.is_none() {
            return Err(wrong());
        }
        let unit = UNIT as u64;
        let range = units.start * unit..units.end.saturating_mul(unit).min(live.size);
        let arrived = (range.start < range.end).then(|| {
            let chunks = futures_util::stream::once(async move { Ok(rest) }).chain(body);
            let body = Body::from_stream(chunks, None);
            let reply = PeerReply { node: peer.id, stamp, held: u64::MAX, behind, body };
            Arrived { range, from: ArrivedFrom::Peer(reply) }
        });
        Ok(FromOwner { record, age: Duration::from_millis(age), arrived })
    }

    /// What this node finds for another whose turn it is not.
    pub(super) async fn find_for_peer(
        &self,
        id: ObjectId,
        fields: &HeaderMap,
        units: &Range<u64>,
    ) -> Result<Found<'_>, Error> {
        let unit = UNIT as u64;
        let (first, end) = (units.start.saturating_mul(unit), units.end.saturating_mul(unit));
        let bytes = (first < end)
            .then(|| Wanted::Range(objstore_client::options::ByteRange::FromTo(first, end - 1)));
        let look = Look { fetch: true, no_cache: false, bytes };
        let Some(key) = fields.get(headers::KEY) else {
            if id.is_derived() {
                return Err(Error::new(ErrorKind::InvalidId, "this id stands for a key"));
            }
            return self.fetch(id, look, Turn::Ours).await;
        };
        let invalid = || Error::new(ErrorKind::InvalidKey, "this is no key, or not that of the id");
        let text = key.to_str().map_err(|_| invalid())?;
        let text = percent_decode_str(text).decode_utf8().map_err(|_| invalid())?;
        let key = ObjectKey::new(&text)?;
        if self.key_id(key.as_str()) != id {
            return Err(invalid());
        }
        self.find_key_by(&Arc::from(key.as_str()), look, Turn::Ours).await
    }

    /// A key was changed from here: what is here and on other nodes of it is old.
    pub(crate) async fn key_changed(&self, id: ObjectId) {
        self.seen.is_changed_here(id, self.env.clock.monotonic());
        let live = self.cluster.peers.live();
        let tell = |peer: Peer| async move {
            let told = async {
                self.cluster.peers.call(&peer, post(&format!("{}{id}", routes::DELETE), "")?).await
            };
            if let Err(error) = told.await {
                tracing::debug!(node = %peer.id, %error, "a node was not told that a key has changed");
            }
        };
        let telling: FuturesUnordered<_> = live.iter().cloned().map(tell).collect();
        let _ = timeout(CHANGED_DEADLINE, telling.collect::<Vec<()>>()).await;
    }

    /// Another node has changed a key.
    pub(crate) async fn answer_changed(&self, id: ObjectId) -> Result<Response<Body>, Error> {
        self.seen.is_changed(id, self.env.clock.monotonic());
        if let Some(old) = self.lookup(id, false).await? {
            self.commit(Change::Uncache { id, stamp: old.entry.record.stamp }).await?;
        }
        Ok(Response::new(Body::default()))
    }
}

/// The first bytes of a body, and what came with the last of them.
async fn take_front(body: &mut Body, len: usize) -> Result<(Bytes, Bytes), Error> {
    let mut front = bytes::BytesMut::new();
    while front.len() < len {
        let short = || Error::new(ErrorKind::Transport, "a node's answer ended too early");
        front.extend_from_slice(&body.chunk().await.ok_or_else(short)??);
    }
    let rest = front.split_off(len);
    Ok((front.freeze(), rest.freeze()))
}
