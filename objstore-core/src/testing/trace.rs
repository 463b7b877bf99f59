use std::fmt::Arguments;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Everything that happened in a simulation, in order: as one hash, and as lines where they are
/// kept. Clones are one trace.
#[derive(Clone, Debug)]
pub struct Trace(Arc<Mutex<Events>>);

#[derive(Debug)]
struct Events {
    hash: blake3::Hasher,
    count: u64,
    lines: Option<Vec<String>>,
    start: tokio::time::Instant,
}

impl Trace {
    /// An empty trace that begins now, and keeps its lines or not.
    #[must_use]
    pub fn new(keep_lines: bool) -> Self {
        Self(Arc::new(Mutex::new(Events {
            hash: blake3::Hasher::new(),
            count: 0,
            lines: keep_lines.then(Vec::new),
            start: tokio::time::Instant::now(),
        })))
    }

    /// Something happened now.
    pub fn note(&self, what: Arguments<'_>) {
        let mut events = self.events();
        let at = events.start.elapsed();
        let line = format!("{:10.6} {what}", at.as_secs_f64());
        events.hash.update(line.as_bytes()).update(b"\n");
        events.count += 1;
        if let Some(lines) = &mut events.lines {
            lines.push(line);
        }
    }

    /// The hash of what happened so far, in hexadecimal, and of how much.
    #[must_use]
    pub fn digest(&self) -> (String, u64) {
        let events = self.events();
        (events.hash.finalize().to_hex().to_string(), events.count)
    }

    /// The lines, if they are kept.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.events().lines.clone().unwrap_or_default()
    }

    fn events(&self) -> MutexGuard<'_, Events> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
