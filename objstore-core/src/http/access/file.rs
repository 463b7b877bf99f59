use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use objstore_client::Error;

use crate::state_dir::configuration;

/// The longest file, in bytes.
const FILE_MAX: u64 = 256 * 1024;

/// What some files say, as they said it last.
#[derive(Debug)]
pub(super) struct Followed<T> {
    what: &'static str,
    paths: Vec<PathBuf>,
    understand: fn(&[Vec<u8>]) -> Result<T, String>,
    current: Mutex<Said<T>>,
}

#[derive(Debug)]
struct Said<T> {
    /// Of what the files hold: secrets are not kept twice.
    digest: blake3::Hash,
    value: Arc<T>,
}

impl<T> Followed<T> {
    /// Reads the files. Blocks.
    pub(super) fn new(
        what: &'static str,
        paths: Vec<PathBuf>,
        understand: fn(&[Vec<u8>]) -> Result<T, String>,
    ) -> Result<Self, Error> {
        let texts = read(what, &paths)?;
        let value = understand(&texts).map_err(|why| unusable(what, &paths, &why))?;
        let current = Mutex::new(Said { digest: digest(&texts), value: Arc::new(value) });
        Ok(Self { what, paths, understand, current })
    }

    /// Reads the files again, and puts in force what they say if it is something else. What cannot
    /// be used changes nothing. Blocks.
    pub(super) fn renew(&self) -> Result<(), Error> {
        let texts = read(self.what, &self.paths)?;
        let digest = digest(&texts);
        if self.lock().digest == digest {
            return Ok(());
        }
        let value =
            (self.understand)(&texts).map_err(|why| unusable(self.what, &self.paths, &why))?;
        *self.lock() = Said { digest, value: Arc::new(value) };
        tracing::info!("read again and in force: the {}", self.what);
        Ok(())
    }

    pub(super) fn current(&self) -> Arc<T> {
        Arc::clone(&self.lock().value)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Said<T>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(what: &str, paths: &[PathBuf]) -> Result<Vec<Vec<u8>>, Error> {
    let read = |path: &Path| {
        // A path of the operator's, which may well be a link.
        #[allow(clippy::disallowed_methods)]
        let file = std::fs::File::open(path)?;
        let mut text = Vec::new();
        file.take(FILE_MAX + 1).read_to_end(&mut text)?;
        Ok::<_, std::io::Error>(text)
    };
    let mut texts = Vec::new();
    for path in paths {
        let text = read(path).map_err(|e| {
            configuration(format!("the {what} {}: {e}", path.display())).with_source(e)
        })?;
        if text.len() as u64 > FILE_MAX {
            return Err(unusable(what, paths, "it is longer than 256 KiB"));
        }
        texts.push(text);
    }
    Ok(texts)
}

fn digest(texts: &[Vec<u8>]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for text in texts {
        hasher.update(&(text.len() as u64).to_le_bytes()).update(text);
    }
    hasher.finalize()
}

fn unusable(what: &str, paths: &[PathBuf], why: &str) -> Error {
    let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
    configuration(format!("the {what} {}: {why}", paths.join(" and ")))
}
