use std::fmt::Debug;

use rand::RngCore;

/// Gives random bytes. Does not block.
pub trait Entropy: Send + Sync + Debug {
    /// 128 random bits.
    fn random(&self) -> u128;
}

/// The thread's generator, seeded by the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEntropy;

impl Entropy for OsEntropy {
    #[allow(clippy::disallowed_methods)] // this is the replacement
    fn random(&self) -> u128 {
        let mut rng = rand::rng();
        (u128::from(rng.next_u64()) << 64) | u128::from(rng.next_u64())
    }
}
