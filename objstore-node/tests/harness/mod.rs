//! What the tests and benches of the built binary share: a server under control, a raw client,
//! bodies that can be made again from a seed, and a look at the directories.

#![allow(dead_code, unreachable_pub)] // Each test takes what it needs.

pub mod cluster;
pub mod disk;
pub mod history;
pub mod http;
pub mod netns;
pub mod proxy;
pub mod server;
pub mod strace;

use std::time::{Duration, Instant};

/// How long anything that has no deadline of its own may take before a test gives up on it. Only
/// ever reached by a test that fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// SplitMix64: small, seeded, good enough to choose and to fill.
#[derive(Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The seed in this environment variable, else a fresh one; printed so that a failure can be
    /// repeated.
    pub fn from_env(name: &str) -> Self {
        let seed = number_from_env(name).unwrap_or_else(|| {
            std::time::UNIX_EPOCH.elapsed().map_or(1, |d| d.as_nanos() as u64 & 0xffff_ffff)
        });
        println!("repeat with {name}={seed}");
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// A fresh object id: a ULID of this millisecond.
    pub fn id(&mut self) -> String {
        let ms = std::time::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_millis());
        let random =
            (u128::from(self.next()) << 16 | u128::from(self.next() & 0xffff)) & !(!0 << 80);
        ulid_text(ms << 80 | random)
    }
}

/// Crockford's base 32, 26 characters.
pub fn ulid_text(number: u128) -> String {
    const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    (0..26).rev().map(|i| char::from(ALPHABET[(number >> (5 * i)) as usize & 31])).collect()
}

/// A body that can be made again from its seed.
pub fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    let mut body = Vec::with_capacity(len + 8);
    while body.len() < len {
        body.extend_from_slice(&rng.next().to_le_bytes());
    }
    body.truncate(len);
    body
}

pub fn number_from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Asks again and again until the answer is good; gives up with the last complaint.
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        match probe() {
            Ok(value) => return value,
            Err(why) if Instant::now() > end => panic!("{what}: {why}"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}
