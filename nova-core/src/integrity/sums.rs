//! The line of a block: what the checksums of its eight stripes are, twice.
//!
//! The second copy is complemented, so that no line of equal words says the same twice. A stripe that nobody wrote since the block was
//! allocated is *absent*: both copies are the block's mark, which no checksum and its complement can be. It counts as zeros.

use crate::integrity::{STRIPES, crc, parity::Stripe};
use bytemuck::{Pod, Zeroable};

/// A line as it is on media.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Line {
    first: [u32; STRIPES],
    second: [u32; STRIPES],
}

const _: () = assert!(size_of::<Line>() == 64);

/// What a line says of a stripe's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// They are right.
    Right,
    /// The stripe is absent, whatever is there.
    Absent,
    /// They are wrong, and both copies say so.
    Wrong,
    /// The copies contradict each other, and neither agrees with the bytes.
    Unknown,
}

impl Line {
    /// Nothing of the block was written.
    pub(crate) fn absent(mark: u32) -> Line {
        Line { first: [mark; STRIPES], second: [mark; STRIPES] }
    }

    pub(crate) fn set(&mut self, stripe: usize, sum: u32) {
        (self.first[stripe], self.second[stripe]) = (sum, !sum);
    }

    pub(crate) fn set_absent(&mut self, stripe: usize, mark: u32) {
        (self.first[stripe], self.second[stripe]) = (mark, mark);
    }

    /// Whether the first copy is this sum: what nearly every reader needs to know.
    #[inline]
    pub(crate) fn is(&self, stripe: usize, sum: u32) -> bool {
        self.first[stripe] == sum
    }

    /// Whether the first copy is these sums, of stripes from `first` on.
    #[inline]
    pub(crate) fn are(&self, first: usize, sums: &[u32]) -> bool {
        self.first[first..first + sums.len()] == *sums
    }

    /// Whether both copies say the same of the stripe, and what that is: absent, or a checksum.
    pub(crate) fn agrees(&self, stripe: usize, mark: u32) -> bool {
        let (first, second) = (self.first[stripe], self.second[stripe]);
        first == !second || first == mark && second == mark
    }

    /// Whether the stripe is absent by both copies.
    pub(crate) fn is_absent(&self, stripe: usize, mark: u32) -> bool {
        self.first[stripe] == mark && self.second[stripe] == mark
    }

    /// Whether these are the stripe's bytes, by either copy.
    pub(crate) fn matches(&self, stripe: usize, sum: u32) -> bool {
        self.first[stripe] == sum || self.second[stripe] == !sum
    }

    /// What to think of a stripe whose bytes have this sum.
    pub(crate) fn verdict(&self, stripe: usize, sum: u32, mark: u32) -> Verdict {
        let (first, second) = (self.first[stripe], self.second[stripe]);
        if first == !second {
            return if first == sum { Verdict::Right } else { Verdict::Wrong };
        }
        if self.matches(stripe, sum) {
            Verdict::Right
        } else if first == mark || second == mark {
            Verdict::Absent
        } else {
            Verdict::Unknown
        }
    }
}

/// The checksum of a stripe's bytes. `place`, of volume and stripe, is where it begins: so bytes of another place do not pass.
#[inline]
pub(crate) fn sum(place: u32, bytes: &Stripe) -> u32 {
    crc::stripes(|_| place, std::slice::from_ref(bytes))[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_copy_decides_and_equal_words_never_do() {
        let mark = 0x1234_5678;
        let mut line = Line::absent(mark);
        assert_eq!(line.verdict(3, 7, mark), Verdict::Absent);
        line.set(3, 7);
        assert_eq!(line.verdict(3, 7, mark), Verdict::Right);
        assert_eq!(line.verdict(3, 8, mark), Verdict::Wrong);
        for broken in [Line { first: [9; 8], ..line }, Line { second: [9; 8], ..line }] {
            assert_eq!(broken.verdict(3, 7, mark), Verdict::Right);
            assert_eq!(broken.verdict(3, 8, mark), Verdict::Unknown);
            assert_eq!(broken.verdict(2, 8, mark), Verdict::Absent);
            assert!(!broken.agrees(3, mark) && !broken.agrees(2, mark));
        }
        for word in [0, u32::MAX, 0x5555_5555, mark ^ 1] {
            let filled = Line { first: [word; 8], second: [word; 8] };
            assert!(!filled.agrees(0, mark));
            assert_eq!(filled.verdict(0, 8, mark), Verdict::Unknown);
        }
    }
}
