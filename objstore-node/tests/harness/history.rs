//! What a client may expect: per id the state that was acknowledged last, and the one that was
//! under way when the connection broke.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;

use super::http::{Answer, Client, Framing};
use super::{Rng, bytes};

/// Bodies up to this long live in the journal, longer ones in files.
pub const INLINE_MAX: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum State {
    Absent,
    Live { seed: u64, len: usize },
    Deleted,
}

/// One id that one writer owns.
#[derive(Debug)]
pub struct Slot {
    pub id: String,
    pub acknowledged: State,
    pub under_way: Option<State>,
}

/// One writer: its ids and its chance.
pub struct Writer {
    pub slots: Vec<Slot>,
    rng: Rng,
    most_slots: usize,
    sizes: Sizes,
}

/// Which bodies a writer puts.
#[derive(Clone, Copy)]
pub enum Sizes {
    /// Mostly small ones, some at the bounds, some of up to 1 MiB.
    Mixed,
    /// What keeps the journal busiest: as long as may live there.
    Journal,
}

/// When the process is to be killed, counted in acknowledgements of all writers.
pub struct Moment {
    pub after: u64,
    pub seen: AtomicU64,
    pub reached: Sender<()>,
    /// The process may be gone from now on: a broken connection is no complaint.
    pub dying: AtomicBool,
}

/// Why a writer stopped.
pub enum Stop {
    /// The connection broke: right when the process was to be killed.
    Broken(String),
    /// A living process answered what it must not.
    Wrong(String),
}

impl Stop {
    fn into_text(self) -> String {
        match self {
            Self::Broken(why) | Self::Wrong(why) => why,
        }
    }
}

impl Moment {
    fn acknowledged(&self) {
        if self.seen.fetch_add(1, Ordering::SeqCst) + 1 == self.after {
            let _ = self.reached.send(());
        }
    }
}

impl State {
    fn file_name(self) -> String {
        match self {
            Self::Live { seed, .. } => format!("{seed:016x}.bin"),
            Self::Absent | Self::Deleted => String::new(),
        }
    }

    pub fn is_in_file(self) -> bool {
        matches!(self, Self::Live { len, .. } if len > INLINE_MAX)
    }

    /// Whether a read answered just this: the right bytes under the name they were put with, or
    /// the right absence.
    fn is_what(self, answer: &Answer) -> bool {
        match self {
            Self::Live { seed, len } => {
                answer.is_ok()
                    && answer.header("x-meta-name") == Some(&self.file_name())
                    && answer.body == bytes(seed, len)
            }
            Self::Deleted => {
                answer.status == 404 && answer.header("x-meta-deleted") == Some("true")
            }
            Self::Absent => answer.status == 404 && answer.header("x-meta-deleted").is_none(),
        }
    }
}

impl Slot {
    /// Reads the id and settles which state holds: the acknowledged one, or the one that was
    /// under way. Anything else is the complaint.
    pub fn settle(&mut self, client: &mut Client) -> Result<(), Stop> {
        let answer = whole(client.get(&self.id), self)?;
        let possible = [Some(self.acknowledged), self.under_way];
        match possible.into_iter().flatten().find(|state| state.is_what(&answer)) {
            Some(state) => {
                self.acknowledged = state;
                self.under_way = None;
                Ok(())
            }
            None => Err(Stop::Wrong(format!(
                "{self:?} reads as {} bytes under {}",
                answer.body.len(),
                answer.head.replace("\r\n", " | "),
            ))),
        }
    }
}

impl Writer {
    pub fn new(rng: Rng, most_slots: usize, sizes: Sizes) -> Self {
        Self { slots: Vec::new(), rng, most_slots, sizes }
    }

    /// Checks every id of this writer.
    pub fn settle(&mut self, addr: SocketAddr) -> Result<(), String> {
        let mut client = Client::new(addr);
        self.slots.iter_mut().try_for_each(|slot| slot.settle(&mut client).map_err(Stop::into_text))
    }

    /// Puts, overwrites, deletes, reads and abandons uploads until the process is gone.
    pub fn write(&mut self, addr: SocketAddr, moment: &Moment) -> Result<(), String> {
        let mut client = Client::new(addr);
        loop {
            match self.step(&mut client, moment) {
                Ok(()) => {}
                Err(Stop::Broken(_)) if moment.dying.load(Ordering::SeqCst) => return Ok(()),
                Err(Stop::Broken(why) | Stop::Wrong(why)) => return Err(why),
            }
        }
    }

    fn step(&mut self, client: &mut Client, moment: &Moment) -> Result<(), Stop> {
        let fresh =
            self.slots.is_empty() || (self.slots.len() < self.most_slots && self.rng.below(4) == 0);
        if fresh {
            let id = self.rng.id();
            self.slots.push(Slot { id, acknowledged: State::Absent, under_way: None });
        }
        let last = self.slots.len() - 1;
        let at = if fresh { last } else { self.rng.below(last + 1) };
        let framing = *self.rng.pick(&[Framing::Length, Framing::Chunked]);
        let put = State::Live { seed: self.rng.next(), len: self.length() };
        let choice = if fresh { 0 } else { self.rng.below(10) };
        let slot = &mut self.slots[at];
        match choice {
            0..=5 => {
                slot.under_way = Some(put);
                let answer = send_put(client, &slot.id, put, framing);
                acknowledge(slot, answer, moment)
            }
            6 | 7 if slot.acknowledged != State::Absent => {
                slot.under_way = Some(State::Deleted);
                let answer = client.delete(&slot.id);
                acknowledge(slot, answer, moment)
            }
            8 => {
                let State::Live { seed, len } = put else { return Ok(()) };
                client
                    .abandon_put(&slot.id, &bytes(seed, len), framing)
                    .map_err(|why| Stop::Broken(format!("abandoned put: {why}")))
            }
            _ => slot.settle(client),
        }
    }

    fn length(&mut self) -> usize {
        if let Sizes::Journal = self.sizes {
            return INLINE_MAX - self.rng.below(8 * 1024);
        }
        match self.rng.below(20) {
            0 => 0,
            1..=10 => 1 + self.rng.below(8 * 1024),
            11..=13 => *self.rng.pick(&[INLINE_MAX - 1, INLINE_MAX, INLINE_MAX + 1]),
            14 => 1 << 20,
            _ => 1 + self.rng.below(1 << 20),
        }
    }
}

fn send_put(client: &mut Client, id: &str, state: State, framing: Framing) -> io::Result<Answer> {
    match state {
        State::Live { seed, len } => {
            client.put_as(id, &state.file_name(), &bytes(seed, len), framing)
        }
        State::Absent | State::Deleted => client.delete(id),
    }
}

fn acknowledge(slot: &mut Slot, answer: io::Result<Answer>, moment: &Moment) -> Result<(), Stop> {
    let answer = whole(answer, slot)?;
    if answer.status != 200 {
        let said = format!("{slot:?} was answered {} {}", answer.status, answer.text());
        return Err(Stop::Wrong(said));
    }
    if let Some(state) = slot.under_way.take() {
        slot.acknowledged = state;
    }
    moment.acknowledged();
    Ok(())
}

fn whole(answer: io::Result<Answer>, slot: &Slot) -> Result<Answer, Stop> {
    match answer {
        Ok(answer) if answer.whole => Ok(answer),
        Ok(answer) => Err(Stop::Broken(format!("{slot:?}: a {} was cut", answer.status))),
        Err(why) => Err(Stop::Broken(format!("{slot:?}: {why}"))),
    }
}
