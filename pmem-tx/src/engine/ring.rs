//! Which slots of the ring are still needed, and where the next record goes.

use std::collections::VecDeque;

struct Live {
    seq: u64,
    first: u64,
    count: u64,
}

/// Volatile view of the ring's slots.
pub(super) struct Ring {
    slots: u64,
    next: u64,
    /// Records that a recovery may need, oldest first.
    live: VecDeque<Live>,
    /// Records below this seq are needed no more, and may be in `live` until a place is looked for.
    releasable: u64,
}

impl Ring {
    pub(super) fn new(slots: u64) -> Ring {
        Ring { slots, next: 0, live: VecDeque::with_capacity(64), releasable: 0 }
    }

    /// No record is needed any more: a new generation begins.
    pub(super) fn release_all(&mut self) {
        self.live.clear();
        self.releasable = 0;
    }

    /// As [`release_below`](Ring::release_below), when there is time.
    #[inline]
    pub(super) fn release_later(&mut self, seq: u64) {
        self.releasable = seq;
    }

    /// Records below `seq` are needed no more.
    #[inline]
    pub(super) fn release_below(&mut self, seq: u64) {
        while self.live.front().is_some_and(|oldest| oldest.seq < seq) {
            self.live.pop_front();
        }
    }

    /// First slot for a record of `count` slots, or `None` if live records are in the way. They are one arc of the ring,
    /// from the oldest's first slot to `next`.
    #[inline]
    pub(super) fn place(&mut self, count: u64) -> Option<u64> {
        self.release_below(self.releasable);
        let Some(oldest) = self.live.front() else { return Some(self.place_regardless(count)) };
        if self.next <= oldest.first {
            return (self.next + count <= oldest.first).then_some(self.next);
        }
        if self.next + count <= self.slots {
            return Some(self.next);
        }
        (count <= oldest.first).then_some(0)
    }

    /// Whether records of `counts` slots can be placed one after the other.
    pub(super) fn has_room(&mut self, counts: impl Iterator<Item = u64>) -> bool {
        self.release_below(self.releasable);
        let mut next = self.next;
        let mut oldest = self.live.front().map(|live| live.first);
        for count in counts {
            let first = match oldest {
                Some(oldest) if next <= oldest && next + count <= oldest => next,
                Some(oldest) if next <= oldest => return next + count <= oldest,
                _ if next + count <= self.slots => next,
                Some(oldest) if count > oldest => return false,
                None if count > self.slots => return false,
                _ => 0,
            };
            oldest.get_or_insert(first);
            next = first + count;
        }
        true
    }

    /// As [`place`](Ring::place), whatever is in the way.
    pub(super) fn place_regardless(&self, count: u64) -> u64 {
        if self.next + count <= self.slots { self.next } else { 0 }
    }

    /// The record `seq` was written there.
    pub(super) fn took(&mut self, seq: u64, first: u64, count: u64) {
        self.next = first + count;
        self.live.push_back(Live { seq, first, count });
    }

    /// Slots of records that are needed.
    pub(super) fn slots_in_use(&self) -> u64 {
        self.live.iter().filter(|live| live.seq >= self.releasable).map(|live| live.count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_placed_over_only_when_its_record_was_released() {
        let mut ring = Ring::new(15);
        for seq in 1..=3 {
            let first = ring.place(5).unwrap();
            assert_eq!(first, (seq - 1) * 5);
            ring.took(seq, first, 5);
        }
        assert_eq!(ring.place(1), None);
        ring.release_below(2);
        assert_eq!(ring.place(6), None);
        let first = ring.place(5).unwrap();
        assert_eq!(first, 0);
        ring.took(4, first, 5);
        assert_eq!(ring.place(1), None);
        ring.release_below(3);
        assert_eq!(ring.place(1), Some(5));
        assert_eq!(ring.slots_in_use(), 10);
    }

    #[test]
    fn there_is_room_exactly_if_all_can_be_placed() {
        for seed in 0..300 {
            println!("seed {seed}");
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut ring = Ring::new(15);
            let mut seq = 0;
            for _ in 0..40 {
                let counts: Vec<u64> = (0..rng.usize(1..5)).map(|_| rng.u64(1..6)).collect();
                let room = ring.has_room(counts.iter().copied());
                let mut placed = true;
                for &count in &counts {
                    let Some(first) = ring.place(count) else {
                        placed = false;
                        break;
                    };
                    seq += 1;
                    ring.took(seq, first, count);
                }
                assert_eq!(room, placed, "{counts:?}");
                ring.release_below(seq.saturating_sub(rng.u64(0..5)));
            }
        }
    }
}
