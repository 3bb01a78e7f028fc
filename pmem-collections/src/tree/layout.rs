//! Where things are in a node: computed from the sizes and alignments of keys and values alone.
//!
//! `FORMAT.md` has the diagrams; this is the arithmetic behind them, at compile time.

use crate::stored::Shape;

/// Bytes of a cache line: what blocks are aligned to at least.
pub(crate) const LINE: usize = 64;
/// Most levels of a tree. With 4 children a node, which is less than the fullest half of the nodes has, that
/// is 2^40 leaves.
pub(crate) const MAX_HEIGHT: u32 = 20;
/// Largest node, bytes.
pub(crate) const MAX_NODE: usize = 16 * 1024;

const LEAF_UNIT: usize = 1024;
const MIN_SLOTS: usize = 4;
/// So that head, bitmap and fingerprints are one cache line: an insert changes that and its slot's.
const MAX_SLOTS: usize = 48;
const INNER_UNIT: usize = 512;
/// The smallest inner node whose keys are references, so that it has as many as one of 8-byte keys.
const INNER_OF_REFERENCES: usize = 1024;
const MIN_KEYS: usize = 8;

/// Bytes at the head of every node: magic, level, count.
pub(crate) const NODE_HEAD: usize = 8;
/// Where a leaf's bitmap of occupied slots is.
pub(crate) const OCCUPIED: usize = 8;
/// Where a leaf's fingerprints begin.
pub(crate) const FINGERPRINTS: usize = 16;

/// A leaf: where its slots are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeafLayout {
    /// Bytes of the node.
    pub(crate) size: usize,
    /// Number of slots; 0 if not even a few entries fit in the largest node.
    pub(crate) slots: usize,
    /// Where slot 0's key is, and the distance to the next.
    pub(crate) keys: usize,
    pub(crate) key_stride: usize,
    /// Where slot 0's value is, and the distance to the next.
    pub(crate) values: usize,
    pub(crate) value_stride: usize,
}

/// An inner node: where its keys and children are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InnerLayout {
    /// Bytes of the node.
    pub(crate) size: usize,
    /// Most keys; 0 if not even a few fit in the largest node.
    pub(crate) capacity: usize,
    /// Where key 0 is.
    pub(crate) keys: usize,
    /// Where child 0 is.
    pub(crate) children: usize,
}

const fn round_up(n: usize, to: usize) -> usize {
    n.div_ceil(to) * to
}

const fn larger(a: usize, b: usize) -> usize {
    if a > b { a } else { b }
}

impl LeafLayout {
    /// The leaf of entries of these shapes.
    pub(crate) const fn of(key: Shape, value: Shape) -> LeafLayout {
        let mut size = LEAF_UNIT;
        while size <= MAX_NODE && key.align <= LINE && value.align <= LINE {
            let mut slots = MAX_SLOTS;
            while slots >= MIN_SLOTS {
                let (layout, end) = LeafLayout::with(slots, size, key, value);
                if end <= size {
                    return LeafLayout { size: round_up(end, LINE), ..layout };
                }
                slots -= 1;
            }
            size += LEAF_UNIT;
        }
        LeafLayout { size: 0, slots: 0, keys: 0, key_stride: 0, values: 0, value_stride: 0 }
    }

    /// The leaf of `slots` slots, and where they end.
    const fn with(slots: usize, size: usize, key: Shape, value: Shape) -> (LeafLayout, usize) {
        let start = FINGERPRINTS + round_up(slots, 8);
        let align = larger(key.align, value.align);
        let beside = round_up(key.size, value.align);
        let stride = round_up(beside + value.size, align);
        if stride == key.size + value.size {
            let keys = round_up(start, align);
            let layout = LeafLayout {
                size,
                slots,
                keys,
                key_stride: stride,
                values: keys + beside,
                value_stride: stride,
            };
            (layout, keys + slots * stride)
        } else {
            let keys = round_up(start, key.align);
            let values = round_up(keys + slots * key.size, value.align);
            let layout =
                LeafLayout { size, slots, keys, key_stride: key.size, values, value_stride: value.size };
            (layout, values + slots * value.size)
        }
    }

    /// Whether key and value of a slot are side by side.
    pub(crate) const fn is_interleaved(&self) -> bool {
        self.values < self.keys + self.key_stride
    }

    /// Bytes of fingerprints that are looked at together: a whole number of words.
    pub(crate) const fn fingerprint_bytes(&self) -> usize {
        round_up(self.slots, 8)
    }

    /// A bitmap with every slot occupied.
    pub(crate) const fn full(&self) -> u64 {
        if self.slots == 0 { 0 } else { u64::MAX >> (64 - self.slots) }
    }

    pub(crate) const fn key(&self, slot: usize) -> usize {
        self.keys + slot * self.key_stride
    }

    pub(crate) const fn value(&self, slot: usize) -> usize {
        self.values + slot * self.value_stride
    }
}

impl InnerLayout {
    /// The inner node of keys of this shape.
    pub(crate) const fn of(key: Shape, references: bool) -> InnerLayout {
        let mut size = if references { INNER_OF_REFERENCES } else { INNER_UNIT };
        while size <= MAX_NODE && key.align <= LINE {
            let keys = round_up(NODE_HEAD, key.align);
            let mut capacity = (size - keys) / (key.size + 8);
            while capacity >= MIN_KEYS {
                let children = round_up(keys + capacity * key.size, 8);
                if children + (capacity + 1) * 8 <= size {
                    return InnerLayout { size, capacity, keys, children };
                }
                capacity -= 1;
            }
            size += INNER_UNIT;
        }
        InnerLayout { size: 0, capacity: 0, keys: 0, children: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pmem_alloc::Stored;

    fn shapes() -> impl Iterator<Item = Shape> {
        [0, 1, 2, 4, 8, 16, 32, 64].into_iter().flat_map(|align: usize| {
            let align = align.max(1);
            (0..40).map(move |n| Shape { size: n * align, align })
        })
    }

    #[test]
    fn keys_and_values_of_a_leaf_are_aligned_and_overlap_nothing() {
        for key in shapes() {
            for value in shapes() {
                let leaf = LeafLayout::of(key, value);
                if leaf.slots == 0 {
                    let (_, end) = LeafLayout::with(MIN_SLOTS, MAX_NODE, key, value);
                    assert!(end > MAX_NODE);
                    continue;
                }
                let mut parts = vec![(0, FINGERPRINTS), (FINGERPRINTS, leaf.fingerprint_bytes())];
                for slot in 0..leaf.slots {
                    assert_eq!((leaf.key(slot) % key.align, leaf.value(slot) % value.align), (0, 0));
                    parts.push((leaf.key(slot), key.size));
                    parts.push((leaf.value(slot), value.size));
                }
                parts.sort_unstable();
                for pair in parts.windows(2) {
                    assert!(pair[0].0 + pair[0].1 <= pair[1].0, "{leaf:?}");
                }
                let last = parts.last().unwrap();
                assert!(last.0 + last.1 <= leaf.size, "{leaf:?}");
            }
        }
    }

    #[test]
    fn keys_and_children_of_an_inner_node_are_aligned_and_overlap_nothing() {
        for key in shapes() {
            let inner = InnerLayout::of(key, false);
            if inner.capacity == 0 {
                assert!(key.size * MIN_KEYS + 8 * MIN_KEYS + NODE_HEAD > MAX_NODE - LINE - 8);
                continue;
            }
            assert_eq!((inner.keys % key.align, inner.children % 8), (0, 0));
            assert!(NODE_HEAD <= inner.keys && inner.keys + inner.capacity * key.size <= inner.children);
            assert!(inner.children + 8 * (inner.capacity + 1) <= inner.size);
        }
    }

    #[test]
    fn the_table_of_the_format_is_what_is_computed() {
        fn leaf<K: Stored, V: Stored>() -> (usize, usize, usize, usize, usize, bool) {
            let l = LeafLayout::of(Shape::of::<K>(), Shape::of::<V>());
            (l.size, l.slots, l.keys, l.key_stride, l.value_stride, l.is_interleaved())
        }
        assert_eq!(leaf::<u64, u64>(), (832, 48, 64, 16, 16, true));
        assert_eq!(leaf::<u64, u8>(), (512, 48, 64, 8, 1, false));
        assert_eq!(leaf::<u8, u128>(), (896, 48, 64, 1, 16, false));
        assert_eq!(leaf::<u64, [u64; 5]>(), (1024, 20, 40, 48, 48, true));
        assert_eq!(leaf::<[u8; 3], u8>(), (256, 48, 64, 4, 4, true));
        assert_eq!(leaf::<u64, [u8; 1000]>(), (4096, 4, 24, 1008, 1008, true));
        assert_eq!(leaf::<String, u64>(), (1024, 30, 48, 32, 32, true));
        assert_eq!(leaf::<String, Vec<u8>>(), (1024, 20, 40, 48, 48, true));
        assert_eq!(leaf::<u64, String>(), (1024, 30, 48, 32, 32, true));
        let inner = |key, references| {
            let l = InnerLayout::of(key, references);
            (l.size, l.capacity, l.keys, l.children)
        };
        assert_eq!(inner(Shape::of::<u64>(), false), (512, 31, 8, 256));
        assert_eq!(inner(Shape::of::<String>(), true), (1024, 31, 8, 752));
    }

    #[test]
    fn what_is_too_large_has_no_layout() {
        let byte = Shape::of::<u8>();
        assert_eq!(LeafLayout::of(byte, Shape { size: MAX_NODE / 4, align: 1 }).slots, 0);
        assert_eq!(LeafLayout::of(byte, Shape { size: 128, align: 128 }).slots, 0);
        assert_eq!(InnerLayout::of(Shape { size: MAX_NODE / 8, align: 1 }, false).capacity, 0);
    }
}
