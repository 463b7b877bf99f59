//! What happens to a cluster: drawn from the seed.

use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::Duration;

use objstore_core::env::Entropy;
use objstore_core::options::{DeleteOptions, GetOptions, PutOptions, WriteMode};
use objstore_core::testing::{Link, SeededEntropy};
use objstore_core::types::{Level, ObjectId, ObjectKey, ObjectMeta};
use objstore_core::{Error, Object};

use crate::model::{Kind, Raised};
use crate::world::World;

/// How wrong clocks are, in nanoseconds: within the bound between nodes mostly, then beyond it.
const SKEW: i64 = 120_000_000_000;
const FAR: i64 = 600_000_000_000;

pub fn level(world: &World) -> Level {
    match world.dice.below(4) {
        0 | 1 => Level::Local,
        2 => Level::Remote,
        _ => Level::Full,
    }
}

/// A body that no other put has.
fn body(world: &World) -> Vec<u8> {
    let longest = match world.dice.below(10) {
        0..=5 => 500,
        6..=8 => 12_000,
        _ => 200_000,
    };
    let len = 16 + world.dice.below(longest) as usize;
    let bytes = SeededEntropy::new(world.dice.below(u64::MAX));
    let mut body = Vec::with_capacity(len + 16);
    while body.len() < len {
        body.extend_from_slice(&bytes.random().to_le_bytes());
    }
    body.truncate(len);
    body
}

fn digest(body: &[u8]) -> [u8; 32] {
    *blake3::hash(body).as_bytes()
}

/// An object that was put before, mostly.
fn some_id(world: &World) -> Option<ObjectId> {
    let model = world.model();
    let known = model.ops.len() as u64;
    if known == 0 {
        return None;
    }
    // The last ones are what things happen to.
    let back = world.dice.below(known.min(12));
    model.ops.keys().nth((known - 1 - back) as usize).copied()
}

fn said(result: Result<&ObjectMeta, &Error>) -> String {
    match result {
        Ok(meta) => format!("{} level {}", meta.timestamp, meta.consistency),
        Err(error) => format!("{} {error}", error.kind().code()),
    }
}

async fn whole(
    result: Result<Object, Error>,
) -> Result<(std::sync::Arc<ObjectMeta>, [u8; 32]), Error> {
    let object = result?;
    let bytes = object.body.collect(usize::MAX).await?;
    Ok((object.meta, digest(&bytes)))
}

pub fn put(world: &mut World, number: usize) {
    let node = world.machines[number].node.clone();
    let Some(node) = node else { return };
    let fresh = world.dice.chance(500);
    let id = some_id(world).filter(|_| !fresh).unwrap_or_else(|| node.new_id());
    drop(node);
    let (level, body) = (level(world), body(world));
    let digest = digest(&body);
    let op = world.model().begin(id, Kind::Put { digest, level }, number);
    let what = format!(
        "put {id} at level {level} with {} bytes of {:02x}{:02x}",
        body.len(),
        digest[0],
        digest[1]
    );
    world.ask(number, what, async move |node, told| {
        let result = node.put(id, body, PutOptions::default().level(level)).await;
        let result = result.as_deref();
        if let Some((mut model, at)) = told.now() {
            model.end(id, op, result, at);
        }
        said(result)
    });
}

pub fn delete(world: &mut World, number: usize) {
    let Some(id) = some_id(world) else { return };
    let purge = world.dice.chance(200);
    let op = world.model().begin(id, Kind::Delete { purge }, number);
    world.ask(number, format!("delete {id}, purge {purge}"), async move |node, told| {
        let mut options = DeleteOptions::default();
        options.purge = purge;
        let result = node.delete(id, options).await;
        let result = result.as_deref();
        if let Some((mut model, at)) = told.now() {
            model.end(id, op, result, at);
        }
        said(result)
    });
}

pub fn raise(world: &mut World, number: usize) {
    let Some(id) = some_id(world) else { return };
    let level = if world.dice.chance(500) { Level::Remote } else { Level::Full };
    world.ask(number, format!("raise {id} to level {level}"), async move |node, told| {
        let result = node.set_level(id, level, WriteMode::Default).await;
        if let (Ok(meta), Some((mut model, at))) = (&result, told.now()) {
            model.raised.push(Raised { id, stamp: meta.timestamp, level, node: number, at });
        }
        said(result.as_deref())
    });
}

pub fn get(world: &mut World, number: usize) {
    let Some(id) = some_id(world) else { return };
    let fetch = world.dice.chance(200);
    let floor = world.model().floor(id, number);
    world.ask(number, format!("get {id}, fetch {fetch}"), async move |node, told| {
        let options = if fetch { GetOptions::default().fetch() } else { GetOptions::default() };
        let result = whole(node.get(id, options).await).await;
        let seen = result.as_ref().map(|(meta, digest)| (meta.as_ref(), *digest));
        if let Some((mut model, _)) = told.now() {
            model.read(id, number, floor, seen);
        }
        said(seen.map(|(meta, _)| meta))
    });
}

/// A body is let go that should be elsewhere. What it leads to shows when it is read.
pub fn evict(world: &mut World, number: usize) {
    let Some(id) = some_id(world) else { return };
    world.ask(number, format!("evict {id}"), async move |node, _| match node.evict(id).await {
        Ok(went) => format!("went {went}"),
        Err(error) => said(Err(&error)),
    });
}

/// Objects of the bucket by key: put, read, deleted.
pub fn key(world: &mut World, number: usize) {
    let key = ObjectKey::new(&format!("folder/{}", world.dice.below(3))).unwrap();
    match world.dice.below(5) {
        0 | 1 => {
            let body = body(world);
            let what = format!("put {} bytes under {}", body.len(), key.as_str());
            world.ask(number, what, async move |node, _| {
                said(node.put_key(&key, body, PutOptions::default()).await.as_deref())
            });
        }
        2 => world.ask(number, format!("delete {}", key.as_str()), async move |node, _| {
            format!("{:?}", node.delete_key(&key, DeleteOptions::default()).await.is_ok())
        }),
        _ => world.ask(number, format!("get {}", key.as_str()), async move |node, _| {
            let result = whole(node.get_key(&key, GetOptions::default()).await).await;
            said(result.as_ref().map(|(meta, _)| meta.as_ref()))
        }),
    }
}

/// Splits the network, or cuts single directions.
pub fn partition(world: &mut World) {
    let count = world.machines.len();
    let one_way = world.dice.chance(300);
    let sides: Vec<bool> = (0..count).map(|_| world.dice.chance(500)).collect();
    world.trace.note(format_args!("the network is split, one way {one_way}: {sides:?}"));
    for from in 0..count {
        for to in 0..count {
            if sides[from] != sides[to] && (!one_way || sides[from]) {
                let link = Link { cut: true, ..world.network.link(from, to) };
                world.network.set(from, to, link);
            }
        }
    }
}

/// Other weather everywhere, with all cuts mended.
pub fn weather(world: &mut World) {
    let mut link = Link::default();
    if world.dice.chance(600) {
        link.loss = world.dice.below(150) as u32;
        link.duplicates = world.dice.below(200) as u32;
        link.broken_bodies = world.dice.below(60) as u32;
        link.jitter = Duration::from_millis(1 + world.dice.below(300));
    }
    if world.dice.chance(150) {
        link.bytes_per_second = 20_000;
    }
    world.trace.note(format_args!("the network is {link:?}"));
    world.network.set_all(link);
}

pub fn jump(world: &mut World, number: usize) {
    let most = if world.dice.chance(700) { SKEW } else { FAR };
    let ahead = world.dice.below(2 * most as u64) as i64 - most;
    let drift = world.dice.below(400_000) as i64 - 200_000;
    world.machines[number].clock.set(ahead, drift);
    world
        .trace
        .note(format_args!("the clock of {number} is {ahead} ahead, and {drift} more each second"));
}

fn one_of(world: &World, numbers: &[usize]) -> Option<usize> {
    let count = numbers.len() as u64;
    (count > 0).then(|| numbers[world.dice.below(count) as usize])
}

/// The whole story of a seed up to the moment when all is healed, with so many machines at first
/// and at most, and faults in so many out of a thousand seeds. With old disks, the first machine
/// comes back with one now and then, long after.
pub async fn run(world: &mut World, first: Range<u64>, most: usize, rough: u32, old_disks: bool) {
    let machines = first.start + world.dice.below(first.end - first.start);
    for _ in 0..machines {
        let number = world.add_machine();
        // No two clocks agree to the nanosecond.
        let ahead = world.dice.below(1_000_000_000) as i64;
        world.machines[number].clock.set(ahead, 0);
        world.start(number, false).await;
    }
    let rough = world.dice.chance(rough);
    let steps = 60 + world.dice.below(100);
    for _ in 0..steps {
        let pause = match world.dice.below(10) {
            0..=5 => world.dice.below(50),
            6..=8 => world.dice.below(1_000),
            _ => world.dice.below(10_000),
        };
        tokio::time::sleep(Duration::from_millis(pause)).await;
        world.reap();
        if let Some(number) = one_of(world, &world.down()).filter(|_| world.dice.chance(150)) {
            world.start(number, rough).await;
        }
        let Some(number) = one_of(world, &world.up()) else { continue };
        // What the disks of several nodes knew and no longer know, nobody may know any more.
        if old_disks && number == 0 && world.dice.chance(400) {
            if !world.has_image(number) || world.dice.chance(300) {
                world.take_image(number);
            } else {
                // All the others may have forgotten what was deleted.
                let long = 30 + world.dice.below(90);
                tokio::time::sleep(Duration::from_secs(long)).await;
                world.roll_back(number, false);
                world.start(number, false).await;
            }
            continue;
        }
        match world.dice.below(100) {
            0..=34 => put(world, number),
            35..=51 => get(world, number),
            52..=54 => evict(world, number),
            55..=66 => delete(world, number),
            67..=73 => raise(world, number),
            74..=79 => key(world, number),
            _ if !rough => {}
            80..=83 => partition(world),
            84..=87 => weather(world),
            88..=90 => world.cut_power(number),
            91..=93 => jump(world, number),
            94 => world.take_image(number),
            95 => {
                let wipe = world.dice.chance(200);
                world.roll_back(number, wipe);
            }
            96 => {
                let _ = world.shut_down(number).await;
            }
            97 if world.machines.len() < most => {
                let number = world.add_machine();
                world.start(number, true).await;
            }
            98 if world.up().len() > 2 && world.machines.iter().all(|m| !m.gone) => {
                world.lose(number)
            }
            99 => {
                let failing =
                    if world.dice.chance(500) { 0 } else { world.dice.below(1000) as u32 };
                world.trace.note(format_args!("the bucket fails {failing} times out of 1000"));
                world.mood.failing.store(failing, Ordering::Relaxed);
            }
            _ => {}
        }
    }
}
