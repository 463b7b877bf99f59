use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A transfer that is over sooner needs no bar.
const DELAY: Duration = Duration::from_secs(1);

/// How far a transfer has come: a bar on standard error where that is a terminal, nothing in
/// pipes. Clones are the same bar.
#[derive(Clone)]
pub(crate) struct Progress {
    bar: ProgressBar,
    silent: bool,
}

impl Progress {
    /// Of a transfer of `total` bytes, where that is known.
    pub(crate) fn new(name: &str, total: Option<u64>) -> Self {
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::hidden());
        let template = match total {
            Some(_) => "{msg} {bytes} of {total_bytes} [{bar:24}] {bytes_per_sec}, {eta} left",
            None => "{msg} {bytes}, {bytes_per_sec}, {elapsed}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(shortened(name));
        Self { bar, silent: false }
    }

    /// Nothing is ever shown, because something else is written to the terminal.
    pub(crate) fn silent() -> Self {
        Self { bar: ProgressBar::hidden(), silent: true }
    }

    /// So many more bytes have gone. Appears with the first of them after the delay.
    pub(crate) fn add(&self, bytes: usize) {
        self.bar.inc(bytes as u64);
        if !self.silent && self.bar.is_hidden() && self.bar.elapsed() > DELAY {
            // Draws nothing where standard error is no terminal.
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    /// The transfer begins again.
    pub(crate) fn restart(&self) {
        self.bar.set_position(0);
    }

    /// Takes the bar off the terminal, before anything is printed.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

fn shortened(name: &str) -> String {
    const MOST: usize = 32;
    if name.chars().count() <= MOST {
        return name.to_owned();
    }
    name.chars().take(MOST - 1).chain(['…']).collect()
}
