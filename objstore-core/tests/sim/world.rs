//! Nodes, their disks and clocks, the network between them and the bucket behind them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use objstore_core::env::{Env, Workers};
use objstore_core::journal::MemoryJournal;
use objstore_core::remote::MemoryRemote;
use objstore_core::testing::{
    MemoryDisk, SeededEntropy, SimClock, SimNetwork, Steps, TaskBlocking, Trace,
};
use objstore_core::types::PeerState;
use objstore_core::{Error, Node, NodeId, Settings};
use tokio::task::JoinHandle;

use crate::bucket::{self, Mood};
use crate::model::Model;

/// 2027-01-15, in nanoseconds since the Unix epoch.
const EPOCH: u64 = 1_800_000_000_000_000_000;

pub struct World {
    pub seed: u64,
    pub trace: Trace,
    /// Decides what happens next.
    pub dice: SeededEntropy,
    pub network: SimNetwork,
    /// The true time.
    pub clock: Arc<SimClock>,
    pub bucket: Arc<MemoryRemote>,
    pub mood: Arc<Mood>,
    pub machines: Vec<Machine>,
    /// Of every node that ever was.
    pub names: BTreeMap<String, NodeId>,
    pub model: Arc<Mutex<Model>>,
    running: Vec<Running>,
    write_back: bool,
    /// How long deletes are known at least, in milliseconds; longer than any story unless given.
    pub keeps_deletes: Option<u64>,
    tier: u64,
}

/// A request under way.
struct Running {
    machine: usize,
    life: u64,
    what: String,
    task: JoinHandle<()>,
}

pub struct Machine {
    pub node: Option<Node>,
    pub steps: Steps,
    pub disk: Arc<MemoryDisk>,
    pub journal: Arc<MemoryJournal>,
    pub clock: Arc<SimClock>,
    life: u64,
    /// It has found others: from then on it may be started without the address of one.
    met: bool,
    /// An older image of its disk.
    image: Option<Image>,
    /// Never to return.
    pub gone: bool,
}

struct Image {
    disk: Arc<MemoryDisk>,
    journal: Arc<MemoryJournal>,
    at: u64,
}

pub fn address(machine: usize) -> SocketAddr {
    ([10, 0, 0, u8::try_from(machine + 1).unwrap()], 11999).into()
}

impl World {
    pub fn new(seed: u64, keep_lines: bool, forgetful: bool) -> Self {
        let trace = Trace::new(keep_lines);
        let dice = SeededEntropy::new(seed);
        let clock = Arc::new(SimClock::new(EPOCH));
        let write_back = dice.chance(500);
        let tier = if dice.chance(500) { 0 } else { 64 << 20 };
        Self {
            seed,
            network: SimNetwork::new(seed ^ 0x6e65_7477, trace.clone()),
            trace,
            bucket: Arc::new(MemoryRemote::with_clock("sim", clock.clone())),
            clock,
            mood: Arc::default(),
            machines: Vec::new(),
            names: BTreeMap::new(),
            model: Arc::default(),
            running: Vec::new(),
            dice,
            write_back,
            keeps_deletes: forgetful.then_some(if seed.is_multiple_of(2) { 2_000 } else { 20_000 }),
            tier,
        }
    }

    pub fn model(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap()
    }

    pub fn now(&self) -> u64 {
        self.clock.elapsed_nanos()
    }

    /// One more machine, that is yet to be started.
    pub fn add_machine(&mut self) -> usize {
        let steps = Steps::count();
        self.machines.push(Machine {
            node: None,
            disk: Arc::new(MemoryDisk::with_steps(steps.clone())),
            journal: Arc::new(MemoryJournal::with_steps(steps.clone())),
            steps,
            clock: Arc::new(self.clock.another()),
            life: 0,
            met: false,
            image: None,
            gone: false,
        });
        self.machines.len() - 1
    }

    /// Starts what is on a machine's disk. It may lose power before any step of its life.
    pub async fn start(&mut self, number: usize, may_fail: bool) {
        let keep = self.dice.chance(500);
        let last = match may_fail && self.dice.chance(400) {
            true => self.dice.below(400),
            false => u64::MAX,
        };
        let alone = !self.machines[number].met;
        let mut seeds = Vec::new();
        if alone || self.dice.chance(500) {
            let others: Vec<_> = (0..self.machines.len())
                .filter(|other| *other != number && !self.machines[*other].gone)
                .collect();
            if !others.is_empty() {
                let other = others[self.dice.below(others.len() as u64) as usize];
                seeds.push(address(other).to_string());
            }
        }
        let machine = &mut self.machines[number];
        machine.life += 1;
        machine.steps = Steps::stop_before(last, keep);
        machine.disk = Arc::new(machine.disk.after_power_cut(machine.steps.clone()));
        machine.journal = Arc::new(machine.journal.after_power_cut(machine.steps.clone()));
        let life_seed = self.seed.wrapping_mul(1_000_003) ^ (number as u64) << 32 ^ machine.life;

        let mut env = Env::default();
        env.clock = machine.clock.clone();
        env.entropy = Arc::new(SeededEntropy::new(life_seed));
        let slow = Arc::new(SeededEntropy::new(life_seed ^ 0x626c_6f63));
        env.blocking = Arc::new(TaskBlocking::new(slow, Duration::from_millis(2)));
        env.workers = Workers::Tasks;
        env.disk = Some(machine.disk.clone());
        env.journal = Some(machine.journal.clone());
        env.network = Some(self.network.host(number, machine.steps.clone()));

        let mut settings = Settings::default();
        settings.cluster.private_addr = Some(address(number).to_string());
        settings.cluster.nodes = seeds.clone();
        settings.memory_bytes = Some(self.tier);
        settings.inline_max_bytes = 4096;
        if let Some(keep) = self.keeps_deletes {
            settings.cluster.tombstone_keep_ms = keep;
        }
        settings.uploads.write_back = self.write_back;
        let remote = bucket::seen_from(
            number,
            self.bucket.clone(),
            self.mood.clone(),
            machine.steps.clone(),
            life_seed ^ 0x6275_636b,
            self.trace.clone(),
        );
        let started = Node::builder().settings(settings).remote(remote).env(env).start().await;
        let machine = &mut self.machines[number];
        match started {
            Ok(node) => {
                self.trace
                    .note(format_args!("{number} is started as {} with {seeds:?}", node.id()));
                self.names.insert(node.id().to_string(), node.id());
                machine.node = Some(node);
            }
            Err(error) => {
                self.trace.note(format_args!("{number} does not start: {error}"));
                assert!(machine.steps.stopped(), "node {number} does not start: {error:?}");
            }
        }
    }

    /// A machine loses power now.
    pub fn cut_power(&mut self, number: usize) {
        self.machines[number].steps.stop();
        self.reap();
    }

    /// Stops who has nobody: all it knew of have left for good. It needs to be told of another.
    pub async fn stop_islands(&mut self) {
        for number in self.up() {
            let peers = self.machines[number].node.as_ref().map(Node::peers).unwrap_or_default();
            if peers.iter().all(|peer| peer.state != PeerState::Alive) {
                self.machines[number].met = false;
                // It may have been told to stop already.
                let _ = self.shut_down(number).await;
            }
        }
    }

    /// Clears away what machines without power were doing.
    pub fn reap(&mut self) {
        // Who only knows nodes that came through it, and never got an answer itself, is not in yet.
        let inside: Vec<String> = (0..self.machines.len())
            .filter(|number| *number == 0 || self.machines[*number].met)
            .map(|number| address(number).to_string())
            .collect();
        for (number, machine) in self.machines.iter_mut().enumerate() {
            let peers = machine.node.as_ref().map(Node::peers).unwrap_or_default();
            machine.met |= peers.iter().any(|peer| inside.contains(&peer.private_addr));
            if machine.steps.stopped() && machine.node.take().is_some() {
                self.trace.note(format_args!("{number} has lost power"));
            }
        }
        self.running.retain(|running| {
            let machine = &self.machines[running.machine];
            let over = machine.life != running.life || machine.steps.stopped();
            if over {
                running.task.abort();
            }
            !over && !running.task.is_finished()
        });
    }

    /// Stops a node in order.
    pub async fn shut_down(&mut self, number: usize) -> Result<(), Error> {
        let Some(node) = self.machines[number].node.take() else { return Ok(()) };
        self.trace.note(format_args!("{number} is stopped"));
        let steps = self.machines[number].steps.clone();
        node.drain();
        let ended = node.shutdown().await;
        drop(node);
        // What its clients have not been told by now they never will be.
        steps.stop();
        self.reap();
        ended
    }

    /// Keeps an image of a machine's disk as it is.
    pub fn take_image(&mut self, number: usize) {
        let at = self.now();
        let machine = &mut self.machines[number];
        let disk = Arc::new(machine.disk.after_power_cut(Steps::count()));
        let journal = Arc::new(machine.journal.after_power_cut(Steps::count()));
        machine.image = Some(Image { disk, journal, at });
        self.trace.note(format_args!("{number} is backed up"));
    }

    pub fn has_image(&self, number: usize) -> bool {
        self.machines[number].image.is_some()
    }

    /// A machine loses power, and comes back with an older disk, or with an empty one.
    pub fn roll_back(&mut self, number: usize, wipe: bool) {
        self.cut_power(number);
        let now = self.now();
        let machine = &mut self.machines[number];
        let image = machine.image.as_ref().filter(|_| !wipe);
        let from = image.map_or(0, |image| image.at);
        let steps = Steps::count();
        (machine.disk, machine.journal) = match image {
            Some(image) => (
                Arc::new(image.disk.after_power_cut(steps.clone())),
                Arc::new(image.journal.after_power_cut(steps)),
            ),
            None => (
                Arc::new(MemoryDisk::with_steps(steps.clone())),
                Arc::new(MemoryJournal::with_steps(steps)),
            ),
        };
        machine.met = false;
        if wipe {
            machine.image = None;
        }
        self.model().lost(number, from, now);
        self.trace.note(format_args!("{number} has the disk of {from}"));
    }

    /// A machine is lost for good.
    pub fn lose(&mut self, number: usize) {
        self.cut_power(number);
        self.machines[number].gone = true;
        self.model().lost(number, 0, u64::MAX);
        self.trace.note(format_args!("{number} is lost"));
    }

    pub fn up(&self) -> Vec<usize> {
        let up = |machine: &Machine| machine.node.is_some() && !machine.steps.stopped();
        (0..self.machines.len()).filter(|number| up(&self.machines[*number])).collect()
    }

    pub fn down(&self) -> Vec<usize> {
        let down = |machine: &Machine| machine.node.is_none() && !machine.gone;
        (0..self.machines.len()).filter(|number| down(&self.machines[*number])).collect()
    }

    /// A client asks a node for something, and is told unless the node loses power.
    pub fn ask<F: Future<Output = String> + Send + 'static>(
        &mut self,
        number: usize,
        what: String,
        work: impl FnOnce(Node, Told) -> F,
    ) {
        let machine = &self.machines[number];
        let Some(node) = machine.node.clone() else { return };
        self.trace.note(format_args!("{number} is asked to {what}"));
        let (power, trace) = (machine.steps.clone(), self.trace.clone());
        let told =
            Told { power: power.clone(), clock: self.clock.clone(), model: self.model.clone() };
        let life = machine.life;
        let asked = work(node, told);
        let question = what.clone();
        let task = tokio::spawn(async move {
            let answer = asked.await;
            if !power.stopped() {
                trace.note(format_args!("{number} answers {question}: {answer}"));
            }
        });
        self.running.push(Running { machine: number, life, what, task });
    }

    /// What is not answered.
    pub fn unanswered(&mut self) -> Vec<String> {
        self.reap();
        self.running.iter().map(|r| format!("{} to {}", r.machine, r.what)).collect()
    }

    /// Ends all faults.
    pub fn heal(&mut self) {
        self.network.set_all(objstore_core::testing::Link::default());
        self.mood.failing.store(0, Ordering::Relaxed);
        for machine in &self.machines {
            machine.clock.set(0, 0);
            machine.steps.stop_no_more();
        }
        self.trace.note(format_args!("all is healed"));
    }
}

/// What a client needs to say what it was told.
#[derive(Clone)]
pub struct Told {
    power: Steps,
    clock: Arc<SimClock>,
    model: Arc<Mutex<Model>>,
}

impl Told {
    /// The model and the moment, if the answer reaches the client.
    pub fn now(&self) -> Option<(MutexGuard<'_, Model>, u64)> {
        (!self.power.stopped()).then(|| (self.model.lock().unwrap(), self.clock.elapsed_nanos()))
    }
}
