use std::collections::HashMap;

/// Units of which the table is read at a time: 32 MiB of body, one page of table.
pub(super) const WINDOW: u64 = 512;

/// Which units are in the body file, with their checksums. Read from the file's table where a
/// reader comes by.
#[derive(Debug, Default)]
pub(super) struct Presence {
    windows: HashMap<u64, Window>,
    /// There was no file: what is not known here is absent.
    fresh: bool,
}

#[derive(Debug, Default)]
struct Window {
    read: bool,
    checks: Vec<Option<u32>>,
    /// How many of them are there.
    here: u64,
}

/// What is known of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    /// In the file, with this checksum.
    Here(u32),
    Absent,
    /// The table has to be read from this unit on.
    Unread(u64),
}

fn place(unit: u64) -> (u64, usize) {
    (unit / WINDOW, usize::try_from(unit % WINDOW).unwrap_or(0))
}

impl Presence {
    pub(super) fn of(&self, unit: u64) -> Known {
        let (number, index) = place(unit);
        let window = self.windows.get(&number);
        let check = window.and_then(|w| w.checks.get(index).copied().flatten());
        match (check, window) {
            (Some(check), _) => Known::Here(check),
            (None, Some(window)) if window.read || self.fresh => Known::Absent,
            (None, None) if self.fresh => Known::Absent,
            (None, _) => Known::Unread(number * WINDOW),
        }
    }

    /// The first unit from this one on that is not known to be here.
    pub(super) fn end_of_run(&self, unit: u64) -> u64 {
        let mut unit = unit;
        loop {
            let whole = self.windows.get(&place(unit).0).filter(|window| window.here == WINDOW);
            match (whole, self.of(unit)) {
                (Some(_), _) => unit = (unit / WINDOW + 1) * WINDOW,
                (None, Known::Here(_)) => unit += 1,
                (None, _) => return unit,
            }
        }
    }

    /// There is no file yet.
    pub(super) fn nothing_there(&mut self) {
        self.fresh = true;
    }

    /// What the table says from `first` on. What was written meanwhile stands.
    pub(super) fn read(&mut self, first: u64, table: Vec<Option<u32>>) {
        let window = self.windows.entry(place(first).0).or_default();
        if window.read {
            return;
        }
        let written = std::mem::replace(&mut window.checks, table);
        window.checks.resize(window.checks.len().max(written.len()), None);
        for (here, written) in window.checks.iter_mut().zip(written) {
            *here = written.or(*here);
        }
        window.here = window.checks.iter().flatten().count() as u64;
        window.read = true;
    }

    pub(super) fn set(&mut self, unit: u64, check: Option<u32>) {
        let (number, index) = place(unit);
        let Window { checks, here, .. } = self.windows.entry(number).or_default();
        if checks.len() <= index {
            checks.resize(index + 1, None);
        }
        if let Some(place) = checks.get_mut(index) {
            let before = std::mem::replace(place, check);
            *here = *here + u64::from(check.is_some()) - u64::from(before.is_some());
        }
    }
}
