//! Who has a body: first whoever wrote it and whoever is known to hold a copy, after a moment
//! without an answer the rest, then the node whose turn it is to ask the remote.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use objstore_client::types::ObjectId;
use objstore_client::wire::private::{headers, routes};
use objstore_client::{Body, Error, ErrorKind};
use quick_cache::sync::Cache;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};

use super::bodies::put;
use super::loans::Loans;
use super::owner;
use super::peers::Peer;
use crate::fills::{Origin, Others, OthersFuture, PeerReply, Search, Sought};
use crate::journal::{NodeId, Stamp};
use crate::node::Inner;
use crate::remote::codec::{parse_stamp, stamp_text};

/// Bodies on their way to other nodes at a time.
const SERVED: usize = 256;
/// Versions of which it is remembered who holds them.
const HINTS: usize = 100_000;
/// Holders remembered of one version.
const HOLDERS: usize = 4;
/// After so long without an answer the next is asked as well.
const HEDGE: Duration = Duration::from_millis(50);
/// A node is waited for this long when it is asked for what it has, and for what it has to ask the
/// remote for; there the second in turn is given twice as long, as it may wait for the first.
const HELD_DEADLINE: Duration = Duration::from_secs(2);
pub(super) const FETCH_DEADLINE: Duration = Duration::from_secs(3);
/// Others that are asked whether they have what the remote has too.
const AROUND: usize = 8;
/// Nodes that are asked to ask the remote before this one does.
const OWNERS: usize = 2;
/// A node that did not answer is asked last for this long, and one that sent wrong bytes not at all.
const SUSPECTED: Duration = Duration::from_secs(2);
const DISTRUSTED: Duration = Duration::from_secs(60);

/// What a node knows about bodies on others.
#[derive(Debug)]
pub(crate) struct Exchange {
    serving: Arc<Semaphore>,
    pub(super) loans: Arc<Loans>,
    /// Soft: a hint that is wrong costs a request, one that is forgotten a question to all.
    hints: Cache<ObjectId, (Stamp, Vec<NodeId>)>,
    /// Not to be asked until then, or asked last.
    shunned: Mutex<BTreeMap<NodeId, Shunned>>,
}

#[derive(Clone, Copy, Debug)]
struct Shunned {
    until: Instant,
    /// It did not answer, which says nothing of what it has.
    may_be_asked_last: bool,
}

impl Exchange {
    pub(crate) fn new() -> Self {
        Self {
            serving: Arc::new(Semaphore::new(SERVED)),
            loans: Arc::default(),
            hints: Cache::new(HINTS),
            shunned: Mutex::default(),
        }
    }

    /// Leave to send one more body to another node.
    pub(super) fn serve(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.serving).try_acquire_owned().ok()
    }

    /// A node has a version, or is about to.
    pub(crate) fn holds(&self, id: ObjectId, stamp: Stamp, node: NodeId) {
        let (known, mut nodes) = self.hints.get(&id).unwrap_or((stamp, Vec::new()));
        if known > stamp || (known == stamp && nodes.first() == Some(&node)) {
            return;
        }
        if known < stamp {
            nodes.clear();
        }
        nodes.retain(|other| *other != node);
        nodes.insert(0, node);
        nodes.truncate(HOLDERS);
        self.hints.insert(id, (stamp, nodes));
    }

    /// A node does not have it.
    fn holds_not(&self, id: ObjectId, stamp: Stamp, node: NodeId) {
        if let Some((known, mut nodes)) = self.hints.get(&id)
            && known == stamp
            && nodes.contains(&node)
        {
            nodes.retain(|other| *other != node);
            self.hints.insert(id, (known, nodes));
        }
    }

    fn holders(&self, id: ObjectId, stamp: Stamp) -> Vec<NodeId> {
        let hint = self.hints.get(&id).filter(|(known, _)| *known == stamp);
        hint.map(|(_, nodes)| nodes).unwrap_or_default()
    }

    fn shun(&self, node: NodeId, with: Shunned) {
        let mut shunned = self.shunned.lock().unwrap_or_else(PoisonError::into_inner);
        let known = shunned.entry(node).or_insert(with);
        if with.until > known.until {
            *known = with;
        }
    }

    fn shunned(&self, node: NodeId, now: Instant) -> Option<Shunned> {
        let mut shunned = self.shunned.lock().unwrap_or_else(PoisonError::into_inner);
        shunned.retain(|_, with| with.until > now);
        shunned.get(&node).copied()
    }

    fn is_shunned(&self, node: NodeId, now: Instant) -> bool {
        self.shunned(node, now).is_some()
    }
}

/// The other nodes, for the fills of this one.
#[derive(Debug)]
pub(crate) struct Locator(pub(crate) Weak<Inner>);

impl Others for Locator {
    fn seek<'a>(
        &'a self,
        origin: &'a Origin,
        units: Range<u64>,
        search: &'a mut Search,
    ) -> OthersFuture<'a, Sought> {
        Box::pin(async move {
            let Some(inner) = self.0.upgrade() else { return Sought::Remote };
            inner.seek(origin, units, search).await
        })
    }

    fn lied(&self, node: NodeId) {
        if let Some(inner) = self.0.upgrade() {
            tracing::error!(%node, "a node sent a body that is not what its record says");
            let until = inner.env.clock.monotonic() + DISTRUSTED;
            inner.exchange.shun(node, Shunned { until, may_be_asked_last: false });
        }
    }
}

/// One that was asked and gave nothing.
struct Failed {
    node: NodeId,
    why: Why,
}

enum Why {
    /// It does not have it.
    HasNot,
    /// It has too much to do or is stopping, which says nothing of what it has.
    CannotNow,
    /// It does not answer.
    Silent,
}

type Asking<'a> = FuturesUnordered<BoxFuture<'a, Result<PeerReply, Vec<Failed>>>>;

impl Inner {
    async fn seek(&self, origin: &Origin, units: Range<u64>, search: &mut Search) -> Sought {
        if let Some(reply) = self.seek_holder(origin, units.clone(), search).await {
            return Sought::Peer(reply);
        }
        if origin.etag.is_none() {
            if let Some(reply) = self.seek_suspected(origin, units, search).await {
                return Sought::Peer(reply);
            }
            let unreachable = search.unreachable || self.holder_is_away(origin);
            return Sought::Nowhere { unreachable };
        }
        match self.seek_owner(origin, units, search).await {
            Some(reply) => Sought::Peer(reply),
            None => Sought::Remote,
        }
    }

    /// One that has the first of these units.
    async fn seek_holder(
        &self,
        origin: &Origin,
        units: Range<u64>,
        search: &mut Search,
    ) -> Option<PeerReply> {
        let (id, stamp) = (origin.record.id, origin.record.stamp);
        let mut likely = self.exchange.holders(id, stamp);
        likely.push(NodeId::from_u128(stamp.node));
        let mut likely: VecDeque<_> = self
            .askable(likely.iter().copied())
            .filter(|p| !search.asked.contains(&p.id))
            .collect();
        let named: BTreeSet<_> = likely.iter().map(|peer| peer.id).collect();
        let mut rest = if search.around { self.around(origin) } else { Vec::new() };
        rest.retain(|peer| !search.asked.contains(&peer.id) && !named.contains(&peer.id));
        let mut rest = Some(rest).filter(|rest| !rest.is_empty());

        let mut asking: Asking<'_> = FuturesUnordered::new();
        loop {
            if let Some(peer) = likely.pop_front() {
                let units = units.clone();
                asking.push(Box::pin(async move {
                    let asked = self.ask_for(&peer, origin, units, None).await;
                    asked.map_err(|error| vec![Failed::of(peer.id, &error)])
                }));
            } else if let Some(rest) = rest.take() {
                asking.push(Box::pin(self.ask_around(rest, origin, units.clone())));
            }
            let more = !likely.is_empty() || rest.is_some();
            let hedge =
                async { if more { sleep(HEDGE).await } else { std::future::pending().await } };
            tokio::select! {
                biased;
                answer = asking.next() => match answer {
                    Some(Ok(reply)) => {
                        self.exchange.holds(id, stamp, reply.node);
                        return Some(reply);
                    }
                    Some(Err(failed)) => self.note_failed(origin, failed, search),
                    None if !more => return None,
                    None => {}
                },
                () = hedge => {}
            }
        }
    }

    /// One of those that did not answer others lately: nobody else has it, so it is worth the wait,
    /// and only who has been asked can be known to have nothing.
    async fn seek_suspected(
        &self,
        origin: &Origin,
        units: Range<u64>,
        search: &mut Search,
    ) -> Option<PeerReply> {
        let now = self.env.clock.monotonic();
        let live = self.cluster.peers.live();
        let last = live.iter().filter(|peer| {
            !search.asked.contains(&peer.id)
                && self.exchange.shunned(peer.id, now).is_some_and(|with| with.may_be_asked_last)
        });
        let last: Vec<Peer> = last.cloned().collect();
        if last.is_empty() {
            return None;
        }
        match self.ask_around(last, origin, units).await {
            Ok(reply) => {
                self.exchange.holds(origin.record.id, origin.record.stamp, reply.node);
                Some(reply)
            }
            Err(failed) => {
                self.note_failed(origin, failed, search);
                None
            }
        }
    }

    /// Asks these whether they have the first unit, and the first that does for all of them.
    async fn ask_around(
        &self,
        peers: Vec<Peer>,
        origin: &Origin,
        units: Range<u64>,
    ) -> Result<PeerReply, Vec<Failed>> {
        let mut failed = Vec::new();
        let ask = |peer: Peer| {
            let units = units.clone();
            async move {
                let answer = self.call_for(&peer, origin, units, None, http::Method::HEAD).await;
                (peer, answer)
            }
        };
        let mut asking: FuturesUnordered<_> = peers.into_iter().map(ask).collect();
        while let Some((peer, answer)) = asking.next().await {
            let answer = match answer {
                Ok(_) => self.ask_for(&peer, origin, units.clone(), None).await,
                Err(error) => Err(error),
            };
            match answer {
                Ok(reply) => return Ok(reply),
                Err(error) => failed.push(Failed::of(peer.id, &error)),
            }
        }
        Err(failed)
    }

    fn note_failed(&self, origin: &Origin, failed: Vec<Failed>, search: &mut Search) {
        let (id, stamp) = (origin.record.id, origin.record.stamp);
        for Failed { node, why } in failed {
            search.asked.insert(node);
            match why {
                Why::HasNot => self.exchange.holds_not(id, stamp, node),
                Why::CannotNow => search.unreachable = true,
                Why::Silent => {
                    search.unreachable = true;
                    self.suspect(node);
                }
            }
        }
    }

    /// One that asks the remote, when it is not for this node to do so.
    async fn seek_owner(
        &self,
        origin: &Origin,
        units: Range<u64>,
        search: &mut Search,
    ) -> Option<PeerReply> {
        for (peer, behind) in self.owners(origin.record.id) {
            if !search.asked_to_fetch.insert(peer.id) {
                continue;
            }
            match self.ask_for(&peer, origin, units.clone(), Some(behind)).await {
                Ok(reply) => return Some(reply),
                Err(error) => {
                    tracing::debug!(node = %peer.id, %error, "a node did not ask the bucket for this one");
                }
            }
        }
        None
    }

    /// Those whose turn it is to ask the remote for an object before this node does, each with the
    /// number of nodes that it may be waiting for itself.
    pub(super) fn owners(&self, id: ObjectId) -> Vec<(Peer, u32)> {
        let live = self.cluster.peers.live();
        let order = owner::order(id, live.iter().map(|peer| peer.id).chain([self.node_id]));
        let before = order.into_iter().take_while(|node| *node != self.node_id).zip(0..);
        let now = self.env.clock.monotonic();
        let askable = before.filter(|(node, _)| !self.exchange.is_shunned(*node, now));
        let peers = askable.filter_map(|(node, n)| Some((self.cluster.peers.get(node)?, n)));
        peers.take(OWNERS).collect()
    }

    /// Of these nodes those that can be asked.
    fn askable<'a>(
        &'a self,
        nodes: impl Iterator<Item = NodeId> + 'a,
    ) -> impl Iterator<Item = Peer> + 'a {
        let now = self.env.clock.monotonic();
        nodes
            .filter(move |node| !self.exchange.is_shunned(*node, now))
            .filter_map(|node| self.cluster.peers.get(node))
    }

    /// All that may have a copy: of what the remote has too, those that most likely do.
    fn around(&self, origin: &Origin) -> Vec<Peer> {
        let live = self.cluster.peers.live();
        let order = owner::order(origin.record.id, live.iter().map(|peer| peer.id));
        let most = if origin.etag.is_some() { AROUND } else { usize::MAX };
        self.askable(order.into_iter()).take(most).collect()
    }

    /// Whether one that most likely has the body is not here at the moment.
    fn holder_is_away(&self, origin: &Origin) -> bool {
        self.others_that_may_have(origin)
            .any(|node| self.cluster.peers.get(node).is_none() && self.may_return(node))
    }

    /// Whether a node that is known or likely to hold it may be able to say so later: it is away, or
    /// did not answer lately.
    pub(crate) fn holder_may_answer_later(&self, origin: &Origin) -> bool {
        let now = self.env.clock.monotonic();
        self.holder_is_away(origin)
            || self.others_that_may_have(origin).any(|node| {
                self.exchange.shunned(node, now).is_some_and(|with| with.may_be_asked_last)
            })
    }

    /// The other nodes that are known to hold a version, and the one that wrote it.
    fn others_that_may_have(&self, origin: &Origin) -> impl Iterator<Item = NodeId> + use<> {
        let (id, stamp, me) = (origin.record.id, origin.record.stamp, self.node_id);
        let mut holders = self.exchange.holders(id, stamp);
        holders.push(NodeId::from_u128(stamp.node));
        holders.into_iter().filter(move |node| *node != me)
    }

    /// Whether a node that cannot be asked may be there again.
    fn may_return(&self, node: NodeId) -> bool {
        let member = self.cluster.members.get(node);
        member.is_some_and(|member| member.forgotten.is_none())
    }

    /// A node does not answer.
    pub(super) fn suspect(&self, node: NodeId) {
        let until = self.env.clock.monotonic() + SUSPECTED;
        self.exchange.shun(node, Shunned { until, may_be_asked_last: true });
    }

    /// Asks a node for what it has, or to ask the remote, when it may be waiting for so many others.
    async fn ask_for(
        &self,
        peer: &Peer,
        origin: &Origin,
        units: Range<u64>,
        fetch: Option<u32>,
    ) -> Result<PeerReply, Error> {
        let answer = self.call_for(peer, origin, units, fetch, http::Method::GET).await?;
        let stamp = answer.headers().get(headers::STAMP);
        let stamp = stamp.and_then(|value| value.to_str().ok()).and_then(parse_stamp);
        let stamp =
            stamp.filter(|stamp| origin.record.id.is_derived() || *stamp == origin.record.stamp);
        let Some(stamp) = stamp else {
            return Err(Error::new(ErrorKind::Transport, "a node answered with another version"));
        };
        let held = answer.headers().get(headers::HELD);
        let held = held.and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(u64::MAX);
        let behind = fetch.unwrap_or(0);
        Ok(PeerReply { node: peer.id, stamp, held, behind, body: answer.into_body() })
    }

    async fn call_for(
        &self,
        peer: &Peer,
        origin: &Origin,
        units: Range<u64>,
        fetch: Option<u32>,
        method: http::Method,
    ) -> Result<http::Response<Body>, Error> {
        let path = format!("{}{}", routes::GET, origin.record.id);
        let request = http::Request::builder().method(method).uri(path).body(Body::default());
        let mut request = request
            .map_err(|e| Error::new(ErrorKind::Internal, "not a private path").with_source(e))?;
        let fields = request.headers_mut();
        match &origin.etag {
            Some(etag) if origin.record.id.is_derived() => put(fields, headers::ETAG, etag)?,
            _ => put(fields, headers::STAMP, &stamp_text(origin.record.stamp))?,
        }
        put(fields, headers::UNITS, &format!("{}-{}", units.start, units.end))?;
        if fetch.is_some() {
            put(fields, headers::FETCH, "1")?;
        }
        let deadline = fetch.map_or(HELD_DEADLINE, |behind| FETCH_DEADLINE * (behind + 1));
        match timeout(deadline, self.cluster.peers.call(peer, request)).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::new(ErrorKind::Transport, "the node did not answer in time")),
        }
    }
}

impl Failed {
    fn of(node: NodeId, error: &Error) -> Self {
        let why = match error.kind() {
            ErrorKind::NotFound => Why::HasNot,
            ErrorKind::Transport => Why::Silent,
            _ => Why::CannotNow,
        };
        Self { node, why }
    }
}
