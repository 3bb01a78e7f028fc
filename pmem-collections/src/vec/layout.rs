//! Where things are in a leaf: computed from the size and alignment of an element alone. `format/vec.md` has the words.

use crate::stored::Shape;

/// Bytes before the slots, at least: the word that says which node it is.
pub(crate) const NODE_HEAD: usize = 8;
/// Children of an inner node.
pub(crate) const FANOUT: u64 = 63;
/// Bytes of an inner node.
pub(crate) const INNER: usize = NODE_HEAD + 8 * FANOUT as usize;
/// Most levels: with 63 children a node, far more than 2^32 leaves need.
pub(crate) const MAX_HEIGHT: u32 = 10;

const LEAF: usize = 1024;
const SMALLEST: usize = 64;
const MIN_SLOTS: usize = 4;
const MAX_LEAF: usize = 16 * 1024;
const MAX_ALIGN: usize = 64;

/// The leaves of elements of a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Where slot 0 is.
    pub(crate) slots: usize,
    /// Bytes of a slot.
    pub(crate) stride: usize,
    /// Slots of a full leaf; 0 if not even a few fit in the largest.
    pub(crate) full: u32,
}

impl Layout {
    pub(crate) const fn of(element: Shape) -> Layout {
        let slots = if element.align > NODE_HEAD { element.align } else { NODE_HEAD };
        let stride = element.size;
        if element.align > MAX_ALIGN {
            return Layout { slots, stride, full: 0 };
        }
        let mut full = Self::fit(LEAF, slots, stride);
        if full < MIN_SLOTS {
            full = MIN_SLOTS;
        }
        if slots + full * stride > MAX_LEAF {
            full = 0;
        }
        Layout { slots, stride, full: full as u32 }
    }

    /// Slots that fit in `bytes`. Of elements without bytes, as many as if they had one.
    const fn fit(bytes: usize, slots: usize, stride: usize) -> usize {
        if bytes <= slots { 0 } else { (bytes - slots) / if stride == 0 { 1 } else { stride } }
    }

    /// Bytes of a leaf of `capacity` slots.
    pub(crate) const fn bytes(&self, capacity: u32) -> usize {
        self.slots + capacity as usize * self.stride
    }

    /// Where a slot is.
    pub(crate) const fn slot(&self, slot: usize) -> usize {
        self.slots + slot * self.stride
    }

    /// The capacity of the first leaf, or of the one that takes the place of an only leaf of `capacity`.
    pub(crate) const fn next_capacity(&self, capacity: u32) -> u32 {
        let mut bytes = SMALLEST;
        while bytes < LEAF {
            let fit = Self::fit(bytes, self.slots, self.stride) as u32;
            if fit > capacity && fit < self.full {
                return fit;
            }
            bytes *= 2;
        }
        self.full
    }

    /// Whether an only leaf can have `capacity`.
    pub(crate) const fn is_capacity(&self, capacity: u32) -> bool {
        let mut possible = self.next_capacity(0);
        while possible < self.full && possible != capacity {
            possible = self.next_capacity(possible);
        }
        possible == capacity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_are_what_the_format_says() {
        let of = |size, align| Layout::of(Shape { size, align });
        assert_eq!(of(8, 8), Layout { slots: 8, stride: 8, full: 127 });
        assert_eq!(of(24, 8), Layout { slots: 8, stride: 24, full: 42 });
        assert_eq!(of(64, 64), Layout { slots: 64, stride: 64, full: 15 });
        assert_eq!(of(1000, 8).full, 4);
        assert_eq!(of(4088, 8).full, 4);
        assert_eq!(of(4096, 8).full, 0);
        assert_eq!(of(0, 1).full, 1016);
    }

    #[test]
    fn an_only_leaf_doubles_until_it_is_full() {
        for size in [0, 1, 3, 8, 24, 60, 300, 1000, 4000] {
            let layout = Layout::of(Shape { size, align: 1 });
            let (mut capacity, mut steps) = (0, 0);
            while capacity < layout.full {
                let next = layout.next_capacity(capacity);
                assert!(next > capacity && layout.is_capacity(next), "{size}: {capacity} to {next}");
                assert!(next == layout.full || layout.bytes(next) <= 512 || size == 0);
                (capacity, steps) = (next, steps + 1);
            }
            assert!(steps <= 5);
            assert!(!layout.is_capacity(0) && !layout.is_capacity(layout.full + 1));
        }
    }
}
