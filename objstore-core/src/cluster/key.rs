//! The key that the nodes of a cluster share.

use std::fmt::Write as _;
use std::str::FromStr;

use objstore_client::{Error, ErrorKind};

use crate::state_dir::configuration;

/// What all nodes of a cluster know and nobody else does: 256 random bits. As text one line,
/// `objstore-key-…`, which ends in a checksum, so that a mistyped or cut one is noticed.
///
/// Whoever has it can be any node of the cluster. Its `Debug` shows the
/// [fingerprint](Self::fingerprint) only.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterKey([u8; 32]);

const PREFIX: &str = "objstore-key-";
const CHECKSUM: usize = 4;
/// What a file of keys may hold. Two are enough to change a key.
const KEYS_MAX: usize = 16;

impl ClusterKey {
    /// A new one, from the random source of the system.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] when that source fails.
    pub fn generate() -> Result<Self, Error> {
        let mut bits = [0; 32];
        let random = rustls::crypto::aws_lc_rs::default_provider().secure_random;
        random.fill(&mut bits).map_err(|_| {
            Error::new(ErrorKind::Unavailable, "the system gives no random bytes at the moment")
        })?;
        Ok(Self(bits))
    }

    /// The key as the line that a file of keys holds.
    #[must_use]
    pub fn to_line(&self) -> String {
        let mut line = PREFIX.to_owned();
        hex(&mut line, &self.0);
        line.push('-');
        hex(&mut line, &self.checksum());
        line
    }

    /// Eight characters that tell keys apart and give nothing away, for logs.
    #[must_use]
    pub fn fingerprint(&self) -> String {
        let mut text = String::new();
        let mark = self.derive("objstore 2026-11 fingerprint of a cluster key");
        hex(&mut text, mark.get(..4).unwrap_or_default());
        text
    }

    /// The seed of the private key of this key's authority: the same on each node.
    pub(super) fn authority_seed(&self) -> [u8; 32] {
        self.derive("objstore 2026-11 private key of the authority of a cluster key")
    }

    fn checksum(&self) -> [u8; CHECKSUM] {
        let all = self.derive("objstore 2026-11 checksum of a cluster key");
        let mut checksum = [0; CHECKSUM];
        checksum.iter_mut().zip(all).for_each(|(to, from)| *to = from);
        checksum
    }

    fn derive(&self, context: &str) -> [u8; 32] {
        blake3::derive_key(context, &self.0)
    }
}

impl FromStr for ClusterKey {
    type Err = Error;

    /// Reads what [`to_line`](Self::to_line) wrote.
    fn from_str(line: &str) -> Result<Self, Error> {
        let bad = |why: &'static str| Err(Error::new(ErrorKind::Configuration, why));
        let Some((bits, checksum)) =
            line.strip_prefix(PREFIX).and_then(|rest| rest.split_once('-'))
        else {
            return bad("that is no cluster key; `objstore keygen` makes one");
        };
        let (mut key, mut sum) = ([0; 32], [0; CHECKSUM]);
        let read = unhex(bits, &mut key).and_then(|()| unhex(checksum, &mut sum));
        let key = Self(key);
        if read.is_none() || key.checksum() != sum {
            return bad("the cluster key is mistyped or cut: its checksum does not fit");
        }
        Ok(key)
    }
}

impl std::fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ClusterKey({}…)", self.fingerprint())
    }
}

/// The keys of a file: one a line, the first is the one that issues; empty lines and those that
/// begin with `#` are passed over.
pub(super) fn read_keys(text: &str) -> Result<Vec<ClusterKey>, Error> {
    let mut keys = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let key: ClusterKey =
            line.parse().map_err(|e: Error| configuration(format!("line {}: {e}", number + 1)))?;
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    match keys.len() {
        0 => Err(configuration("there is no key in it; `objstore keygen` makes one".to_owned())),
        1..=KEYS_MAX => Ok(keys),
        _ => Err(configuration(format!("there are more than {KEYS_MAX} keys in it"))),
    }
}

fn hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
}

fn unhex(text: &str, bytes: &mut [u8]) -> Option<()> {
    let digits = text.as_bytes();
    (digits.len() == bytes.len() * 2).then_some(())?;
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        let digit = |at: usize| char::from(*pair.get(at)?).to_digit(16);
        *byte = u8::try_from(digit(0)? * 16 + digit(1)?).ok()?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_anywhere_is_noticed() {
        let line = ClusterKey::generate().unwrap().to_line();
        let key: ClusterKey = line.parse().unwrap();
        assert_eq!(key.to_line(), line);
        for at in 0..line.len() {
            let mut typo = line.clone().into_bytes();
            typo[at] = if typo[at] == b'3' { b'4' } else { b'3' };
            let typo = String::from_utf8(typo).unwrap();
            assert!(typo.parse::<ClusterKey>().is_err(), "{at}");
            assert!(line[..at].parse::<ClusterKey>().is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_file_holds_keys_and_remarks() {
        let keys = [ClusterKey::generate().unwrap(), ClusterKey::generate().unwrap()];
        let file = format!("# new\n{}\r\n\n  {}  \n{0}\n", keys[0].to_line(), keys[1].to_line());
        assert_eq!(read_keys(&file).unwrap(), keys);
        for bad in ["", "# nothing\n", "objstore-key-12", "secret"] {
            assert!(read_keys(bad).is_err(), "{bad}");
        }
        let error = read_keys(&format!("\n{}x", keys[0].to_line())).unwrap_err().to_string();
        assert!(error.starts_with("line 2: ") && !error.contains(&keys[0].to_line()), "{error}");
        let many: String =
            (0..17).map(|_| ClusterKey::generate().unwrap().to_line() + "\n").collect();
        assert!(read_keys(&many).is_err());
    }

    #[test]
    fn debug_shows_no_secret() {
        let key = ClusterKey::generate().unwrap();
        let bits = key.to_line()[PREFIX.len()..][..16].to_owned();
        assert!(!format!("{key:?}").contains(&bits));
    }
}
