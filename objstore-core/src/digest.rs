use md5::Md5;
use objstore_client::options::ExpectedDigest;
use objstore_client::{Error, ErrorKind};
use sha2::{Digest, Sha256, Sha512};

/// All digests of a body in one pass: always BLAKE3, the others only where they are expected.
#[derive(Default)]
pub(crate) struct Digests {
    blake3: blake3::Hasher,
    md5: Option<Md5>,
    sha256: Option<Sha256>,
    sha512: Option<Sha512>,
}

impl Digests {
    pub(crate) fn new(expected: &[ExpectedDigest]) -> Self {
        let mut digests = Self::default();
        for digest in expected {
            match digest {
                ExpectedDigest::Md5(_) => digests.md5 = Some(Md5::new()),
                ExpectedDigest::Sha256(_) => digests.sha256 = Some(Sha256::new()),
                ExpectedDigest::Sha512(_) => digests.sha512 = Some(Sha512::new()),
                _ => {}
            }
        }
        digests
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.blake3.update(bytes);
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
        if let Some(sha512) = &mut self.sha512 {
            sha512.update(bytes);
        }
    }

    /// The BLAKE3 digest, when all others are as expected.
    pub(crate) fn finish(&self, expected: &[ExpectedDigest]) -> Result<[u8; 32], Error> {
        let same = |digest: &ExpectedDigest| match digest {
            ExpectedDigest::Md5(value) => {
                self.md5.as_ref().is_some_and(|d| d.clone().finalize().as_slice() == value)
            }
            ExpectedDigest::Sha256(value) => {
                self.sha256.as_ref().is_some_and(|d| d.clone().finalize().as_slice() == value)
            }
            ExpectedDigest::Sha512(value) => {
                self.sha512.as_ref().is_some_and(|d| d.clone().finalize().as_slice() == value)
            }
            _ => false,
        };
        if expected.iter().all(same) {
            Ok(*self.blake3.finalize().as_bytes())
        } else {
            Err(Error::new(
                ErrorKind::DigestMismatch,
                "the body does not have the digest it was said to have; nothing was stored, send it again",
            ))
        }
    }
}
