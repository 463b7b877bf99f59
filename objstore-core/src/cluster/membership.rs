//! Who is in the cluster right now: SWIM (Das, Gupta, Motivala 2002) as foca implements it. This is
//! its state and its timers; `gossip.rs` carries what it has to say.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::num::{NonZeroU8, NonZeroUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use foca::{
    AccumulatingRuntime, Config, Foca, Message, NoCustomBroadcast, OwnedNotification,
    PeriodicParams, PostcardCodec, State, Timer,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::peers::Peer;
use crate::env::Entropy;
use crate::journal::NodeId;

/// A member is asked whether it lives once in this time by each of the others, in turn.
const PROBE_PERIOD: Duration = Duration::from_secs(1);
/// Without an answer by then others are asked to ask it.
const PROBE_RTT: Duration = Duration::from_millis(500);
/// How long a member that did not answer has to say that it lives. With the period above, one that
/// is stopped for three seconds has at least two left when it goes on, and one that was killed is
/// gone within ten: some of a few members meets it within four.
const SUSPICION: Duration = Duration::from_secs(4);
/// A life that has ended is remembered for this long, so that late news of it are not believed.
const REMEMBER_ENDED: Duration = Duration::from_secs(3600);
const INDIRECT_PROBES: NonZeroUsize = NonZeroUsize::new(3).unwrap();
const TRANSMISSIONS: NonZeroU8 = NonZeroU8::new(8).unwrap();
const PACKET_MAX: NonZeroUsize = NonZeroUsize::new(8 * 1024).unwrap();
const GOSSIP_PERIOD: Duration = Duration::from_millis(200);
const ANNOUNCE_PERIOD: Duration = Duration::from_secs(30);
const ONE: NonZeroUsize = NonZeroUsize::new(1).unwrap();
/// Packets and events that wait to be taken; of more the oldest are dropped, as a network would.
const QUEUE: usize = 1024;

/// One life of a node at one place. Of two lives of a node the one of the higher generation counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Life {
    pub(super) node: u128,
    /// The time of its start in milliseconds, or one more than that of a life known to have ended.
    pub(super) generation: u64,
    pub(super) boot: u32,
    /// Where it is reached, `host:port`.
    pub(super) addr: String,
}

impl foca::Identity for Life {
    type Addr = u128;

    fn renew(&self) -> Option<Self> {
        Some(Self { generation: self.generation.saturating_add(1), ..self.clone() })
    }

    fn addr(&self) -> u128 {
        self.node
    }

    fn win_addr_conflict(&self, other: &Self) -> bool {
        self > other
    }
}

/// What one node says about a life: its own, or that of the one it speaks to.
pub(super) type Word = foca::Member<Life>;

/// What goes with one request, or with its answer.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Envelope {
    /// The sender's clock, in nanoseconds since the Unix epoch.
    pub(super) now: u64,
    pub(super) words: Vec<Word>,
    pub(super) packets: Vec<Vec<u8>>,
}

/// What has changed.
pub(super) type Event = OwnedNotification<Life>;

type Swim = Foca<Life, PostcardCodec, Chance, NoCustomBroadcast>;

/// The members as this node sees them.
pub(super) struct Membership {
    inner: Mutex<Inner>,
    /// There is something to be taken, or an earlier timer.
    pub(super) work: Notify,
}

struct Inner {
    swim: Swim,
    runtime: AccumulatingRuntime<Life>,
    timers: BTreeMap<(Instant, u64), Timer<Life>>,
    last_timer: u64,
    outgoing: VecDeque<(Life, Bytes)>,
    events: VecDeque<Event>,
    /// Who said that it leaves, until it is known to be gone.
    leaving: BTreeSet<u128>,
    left: bool,
}

impl Membership {
    pub(super) fn new(me: Life, entropy: Arc<dyn Entropy>) -> Self {
        let config = Config {
            probe_period: PROBE_PERIOD,
            probe_rtt: PROBE_RTT,
            num_indirect_probes: INDIRECT_PROBES,
            max_transmissions: TRANSMISSIONS,
            suspect_to_down_after: SUSPICION,
            remove_down_after: Some(REMEMBER_ENDED),
            max_packet_size: PACKET_MAX,
            notify_down_members: true,
            periodic_announce: Some(PeriodicParams {
                frequency: ANNOUNCE_PERIOD,
                num_members: ONE,
            }),
            // `join.rs` greets those that are gone: it knows more than foca does.
            periodic_announce_to_down_members: None,
            periodic_gossip: Some(PeriodicParams {
                frequency: GOSSIP_PERIOD,
                num_members: INDIRECT_PROBES,
            }),
        };
        Self {
            inner: Mutex::new(Inner {
                swim: Foca::new(me, config, Chance(entropy), PostcardCodec),
                runtime: AccumulatingRuntime::new(),
                timers: BTreeMap::new(),
                last_timer: 0,
                outgoing: VecDeque::new(),
                events: VecDeque::new(),
                leaving: BTreeSet::new(),
                left: false,
            }),
            work: Notify::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This node's own life.
    pub(super) fn me(&self) -> Life {
        self.lock().swim.identity().clone()
    }

    /// The others that are taken to live.
    pub(super) fn live(&self) -> Vec<Peer> {
        let inner = self.lock();
        let members = inner.swim.iter_members();
        members
            .map(|m| Peer { id: NodeId::from_u128(m.id().node), addr: m.id().addr.as_str().into() })
            .collect()
    }

    /// What is known of a node's last life.
    pub(super) fn known(&self, node: NodeId) -> Option<Word> {
        let inner = self.lock();
        inner.swim.iter_membership_state().find(|m| m.id().node == node.to_u128()).cloned()
    }

    /// A life of a node that answered; whether it counts as alive now.
    pub(super) fn meet(&self, life: &Life) -> bool {
        self.apply([Word::alive(life.clone())]);
        self.known(NodeId::from_u128(life.node))
            .is_some_and(|m| m.id() == life && m.state() != State::Down)
    }

    /// Goes on as a life above this generation, if it is not one already.
    pub(super) fn renew_above(&self, generation: u64) {
        let mut inner = self.lock();
        let me = inner.swim.identity().clone();
        if me.generation <= generation {
            let next = Life { generation: generation.saturating_add(1), ..me };
            inner.act(|swim, runtime| swim.change_identity(next, runtime));
            self.work.notify_one();
        }
    }

    /// What a life of a node sends. It speaks for itself only: that it leaves, that this node is
    /// under its suspicion, and packets in its own name.
    pub(super) fn receive(&self, from: NodeId, boot: u32, envelope: Envelope) {
        let me = self.me().node;
        let leaves = |word: &Word| {
            word.state() == State::Down
                && word.id().node == from.to_u128()
                && word.id().boot == boot
        };
        if envelope.words.iter().any(leaves) {
            self.lock().leaving.insert(from.to_u128());
        }
        self.apply(envelope.words.into_iter().filter(|word| match word.state() {
            State::Down => word.id().node == from.to_u128(),
            State::Suspect => word.id().node == me,
            State::Alive => false,
        }));
        let mut inner = self.lock();
        for packet in envelope.packets {
            let header = foca::Codec::<Life>::decode_header(&mut PostcardCodec, &packet[..]);
            if header
                .is_ok_and(|header| (header.src.node, header.src.boot) == (from.to_u128(), boot))
            {
                inner.act(|swim, runtime| swim.handle_data(&packet, runtime));
            }
        }
        self.work.notify_one();
    }

    fn apply(&self, words: impl IntoIterator<Item = Word>) {
        let mut inner = self.lock();
        inner.act(|swim, runtime| swim.apply_many(words.into_iter(), true, runtime));
        self.work.notify_one();
    }

    /// What is to be sent next.
    pub(super) fn next_outgoing(&self) -> Option<(Life, Bytes)> {
        self.lock().outgoing.pop_front()
    }

    /// What is to be sent to a node, which is being answered anyway.
    pub(super) fn outgoing_to(&self, node: NodeId) -> Vec<Vec<u8>> {
        let mut inner = self.lock();
        let queued = std::mem::take(&mut inner.outgoing);
        let (here, rest) =
            queued.into_iter().partition::<VecDeque<_>, _>(|(to, _)| to.node == node.to_u128());
        inner.outgoing = rest;
        here.into_iter().map(|(_, packet)| packet.to_vec()).collect()
    }

    /// What a node should be told about itself whenever it is spoken to: that it is under
    /// suspicion. foca spreads this a few times only, all of which may be lost on one that sleeps.
    pub(super) fn doubt(&self, node: NodeId) -> Option<Word> {
        self.known(node).filter(|member| member.state() == State::Suspect)
    }

    pub(super) fn next_event(&self) -> Option<Event> {
        self.lock().events.pop_front()
    }

    /// Whether a node that is gone had said that it leaves.
    pub(super) fn had_left(&self, node: NodeId) -> bool {
        self.lock().leaving.remove(&node.to_u128())
    }

    /// Does what is due; the time of what is due next.
    pub(super) fn tick(&self) -> Option<Instant> {
        let mut inner = self.lock();
        let now = Instant::now();
        let mut due = Vec::new();
        while let Some(entry) = inner.timers.first_entry() {
            if entry.key().0 > now {
                break;
            }
            due.push(entry.remove());
        }
        // What foca wants to see first comes first, when several are late.
        due.sort();
        for timer in due {
            inner.act(|swim, runtime| swim.handle_timer(timer, runtime));
        }
        inner.timers.first_key_value().map(|((at, _), _)| *at)
    }

    /// Takes part no more; the word to spread about that. None the second time.
    pub(super) fn leave(&self) -> Option<Word> {
        let mut inner = self.lock();
        if std::mem::replace(&mut inner.left, true) {
            return None;
        }
        let me = inner.swim.identity().clone();
        inner.act(|swim, runtime| swim.leave_cluster(runtime));
        inner.outgoing.clear();
        inner.timers.clear();
        Some(Word::down(me))
    }

    pub(super) fn has_left(&self) -> bool {
        self.lock().left
    }
}

impl Inner {
    /// One step of the protocol. What foca refuses is noise of a network: packets to an earlier
    /// life, or broken ones.
    fn act(
        &mut self,
        step: impl FnOnce(&mut Swim, &mut AccumulatingRuntime<Life>) -> Result<(), foca::Error>,
    ) {
        if self.left {
            return;
        }
        if let Err(error) = step(&mut self.swim, &mut self.runtime) {
            tracing::debug!(%error, "the membership protocol passed something over");
        }
        while let Some((after, timer)) = self.runtime.to_schedule() {
            self.last_timer += 1;
            self.timers.insert((Instant::now() + after, self.last_timer), timer);
        }
        while let Some((to, packet)) = self.runtime.to_send() {
            if !self.is_false_alarm(&to, &packet) {
                push(&mut self.outgoing, (to, packet));
            }
        }
        while let Some(event) = self.runtime.to_notify() {
            push(&mut self.events, event);
        }
    }
}

impl Inner {
    /// foca tells a member that it is taken for gone when the time for its answer is over, even if
    /// it has answered.
    fn is_false_alarm(&self, to: &Life, mut packet: &[u8]) -> bool {
        let header = foca::Codec::<Life>::decode_header(&mut PostcardCodec, &mut packet);
        header.is_ok_and(|header| header.message == Message::TurnUndead)
            && self
                .swim
                .iter_membership_state()
                .any(|member| member.id() == to && member.state() != State::Down)
    }
}

fn push<T>(queue: &mut VecDeque<T>, item: T) {
    if queue.len() >= QUEUE {
        queue.pop_front();
    }
    queue.push_back(item);
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Membership").finish_non_exhaustive()
    }
}

/// The node's entropy, as foca wants it.
struct Chance(Arc<dyn Entropy>);

impl rand_core::TryRng for Chance {
    type Error = Infallible;

    #[allow(clippy::cast_possible_truncation)] // any bits do
    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.0.random() as u32)
    }

    #[allow(clippy::cast_possible_truncation)] // any bits do
    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.random() as u64)
    }

    fn try_fill_bytes(&mut self, to: &mut [u8]) -> Result<(), Infallible> {
        for chunk in to.chunks_mut(16) {
            let random = self.0.random().to_le_bytes();
            chunk.iter_mut().zip(random).for_each(|(to, from)| *to = from);
        }
        Ok(())
    }
}
