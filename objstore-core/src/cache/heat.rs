use std::sync::atomic::{AtomicU16, Ordering};

use objstore_client::types::ObjectId;

/// Places of the table; two bytes each.
const PLACES: usize = 1 << 18;

/// Which objects were wanted lately, in half a MiB however many there are.
///
/// Time is counted in rounds, one for each time the evictor goes to work. An object's place keeps
/// the last round in which any object of that place was wanted, so one that was wanted never looks
/// older than it is; one that shares a place may look younger, and so may one that was wanted tens of
/// thousands of rounds ago.
#[derive(Debug)]
pub(crate) struct Heat {
    round: AtomicU16,
    places: Box<[AtomicU16]>,
}

impl Default for Heat {
    fn default() -> Self {
        // Far enough on that what was never wanted since the start is old.
        let round = AtomicU16::new(Self::OLDEST);
        Self { round, places: (0..PLACES).map(|_| AtomicU16::new(0)).collect() }
    }
}

impl Heat {
    /// The greatest age that is told apart.
    pub(crate) const OLDEST: u16 = 16;

    fn place(&self, id: ObjectId) -> Option<&AtomicU16> {
        let hash = u128::from_be_bytes(id.to_bytes())
            .wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
        let place = usize::try_from(hash >> 110).unwrap_or(0) % PLACES;
        self.places.get(place)
    }

    /// Somebody wants it.
    pub(crate) fn touch(&self, id: ObjectId) {
        let round = self.round.load(Ordering::Relaxed);
        if let Some(place) = self.place(id)
            && place.load(Ordering::Relaxed) != round
        {
            place.store(round, Ordering::Relaxed);
        }
    }

    /// The rounds since it was last wanted, at most [`Self::OLDEST`].
    pub(super) fn age(&self, id: ObjectId) -> u16 {
        let round = self.round.load(Ordering::Relaxed);
        let last = self.place(id).map_or(0, |place| place.load(Ordering::Relaxed));
        round.wrapping_sub(last).min(Self::OLDEST)
    }

    /// Whether somebody wanted it lately.
    pub(crate) fn was_touched(&self, id: ObjectId) -> bool {
        self.age(id) < Self::OLDEST
    }

    pub(super) fn next_round(&self) {
        self.round.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_wanted_is_young_and_grows_old_by_rounds() {
        let heat = Heat::default();
        let (wanted, other) = (ObjectId::derived(7), ObjectId::derived(8));
        assert_eq!((heat.age(wanted), heat.age(other)), (Heat::OLDEST, Heat::OLDEST));
        heat.touch(wanted);
        assert_eq!((heat.age(wanted), heat.age(other)), (0, Heat::OLDEST));
        heat.next_round();
        heat.next_round();
        assert_eq!(heat.age(wanted), 2);
        heat.touch(wanted);
        assert_eq!(heat.age(wanted), 0);
        // More rounds than the count has numbers for.
        for _ in 0..u32::from(u16::MAX) {
            heat.touch(wanted);
            heat.next_round();
            assert_eq!(heat.age(wanted), 1);
        }
    }
}
