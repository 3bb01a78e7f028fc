//! Where things are in a bucket: computed from the sizes and alignments of keys and values alone.
//!
//! `format/hash.md` has the tables; this is the arithmetic behind them, at compile time.

use crate::stored::Shape;

/// Bytes of a cache line: what blocks and buckets are aligned to.
pub(crate) const LINE: usize = 64;
/// Bytes of a bucket's head.
pub(crate) const HEAD: usize = 32;
/// So many fingerprints have room in the head.
pub(crate) const MAX_SLOTS: usize = 14;
/// Buckets that an entry can be in: its home, and those whose numbers differ in the low two bits.
pub(crate) const GROUP: usize = 4;

const GOOD_SLOTS: usize = 8;
const MIN_SLOTS: usize = 4;
const GOOD_BUCKET: usize = 2 * 1024;
const MAX_BUCKET: usize = 16 * 1024;
const SEGMENT: usize = 8 * 1024;
const MIN_BITS: u32 = 2;
const MAX_BITS: u32 = 8;

/// A bucket, and how many make a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Bytes of a bucket: whole lines. 0 if not even a few entries fit in the largest.
    pub(crate) bucket: usize,
    pub(crate) slots: usize,
    /// Where slot 0's key is, and the distance to the next.
    pub(crate) keys: usize,
    pub(crate) key_stride: usize,
    /// Where slot 0's value is, and the distance to the next.
    pub(crate) values: usize,
    pub(crate) value_stride: usize,
    /// log2 of the number of buckets of a full segment.
    pub(crate) bits: u32,
}

impl Layout {
    const NONE: Layout =
        Layout { bucket: 0, slots: 0, keys: 0, key_stride: 0, values: 0, value_stride: 0, bits: 0 };

    /// The bucket of entries of these shapes.
    pub(crate) const fn of(key: Shape, value: Shape) -> Layout {
        let mut best = Layout::NONE;
        if key.align > LINE || value.align > LINE {
            return best;
        }
        let mut slots = MAX_SLOTS;
        while slots >= MIN_SLOTS {
            let layout = Layout::with(slots, key, value);
            if layout.bucket <= GOOD_BUCKET {
                if best.slots == 0 || layout.bucket * best.slots < best.bucket * layout.slots {
                    best = layout;
                }
                if slots <= GOOD_SLOTS {
                    break;
                }
            }
            slots -= 1;
        }
        if best.slots == 0 {
            best = Layout::with(MIN_SLOTS, key, value);
            if best.bucket > MAX_BUCKET {
                return Layout::NONE;
            }
        }
        let mut bits = MAX_BITS;
        while bits > MIN_BITS && best.bucket << bits > SEGMENT {
            bits -= 1;
        }
        Layout { bits, ..best }
    }

    const fn with(slots: usize, key: Shape, value: Shape) -> Layout {
        let align = if key.align > value.align { key.align } else { value.align };
        let beside = key.size.next_multiple_of(value.align);
        let stride = (beside + value.size).next_multiple_of(align);
        if stride == key.size + value.size {
            let keys = HEAD.next_multiple_of(align);
            let bucket = (keys + slots * stride).next_multiple_of(LINE);
            let values = keys + beside;
            Layout { bucket, slots, keys, key_stride: stride, values, value_stride: stride, bits: 0 }
        } else {
            let keys = HEAD.next_multiple_of(key.align);
            let values = (keys + slots * key.size).next_multiple_of(value.align);
            let bucket = (values + slots * value.size).next_multiple_of(LINE);
            Layout { bucket, slots, keys, key_stride: key.size, values, value_stride: value.size, bits: 0 }
        }
    }

    pub(crate) const fn key(&self, slot: usize) -> usize {
        self.keys + slot * self.key_stride
    }

    pub(crate) const fn value(&self, slot: usize) -> usize {
        self.values + slot * self.value_stride
    }

    /// Bytes of a segment of `1 << bits` buckets.
    pub(crate) const fn segment(&self, bits: u32) -> usize {
        self.bucket << bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<K: pmem_alloc::Stored, V: pmem_alloc::Stored>() -> (usize, usize, usize) {
        let layout = Layout::of(Shape::of::<K>(), Shape::of::<V>());
        (layout.bucket, layout.slots, 1 << layout.bits)
    }

    #[test]
    fn buckets_are_what_the_format_says() {
        assert_eq!(of::<u64, u64>(), (256, 14, 32));
        assert_eq!(of::<u64, [u8; 0]>(), (128, 12, 64));
        assert_eq!(of::<u64, u8>(), (128, 10, 64));
        assert_eq!(of::<u32, u32>(), (128, 12, 64));
        assert_eq!(of::<String, u64>(), (448, 13, 16));
        assert_eq!(of::<u64, [u64; 5]>(), (704, 14, 8));
        assert_eq!(of::<u64, [u8; 1000]>(), (4096, 4, 4));
        assert_eq!(of::<[u64; 400], [u8; 880]>(), (16384, 4, 4));
        assert_eq!(of::<[u64; 400], [u8; 1000]>().0, 0);
    }

    #[test]
    fn keys_and_values_of_a_bucket_are_aligned_and_overlap_nothing() {
        let shapes = || {
            [1usize, 2, 4, 8, 16, 32, 64]
                .into_iter()
                .flat_map(|align| (0..40).map(move |n| Shape { size: n * align, align }))
        };
        for key in shapes() {
            for value in shapes() {
                let layout = Layout::of(key, value);
                if layout == Layout::NONE {
                    assert!(Layout::with(MIN_SLOTS, key, value).bucket > MAX_BUCKET);
                    continue;
                }
                assert!(layout.slots >= MIN_SLOTS && layout.slots <= MAX_SLOTS, "{key:?} {value:?}");
                assert_eq!(layout.bucket % LINE, 0);
                let mut parts = vec![(0, HEAD)];
                for slot in 0..layout.slots {
                    assert_eq!(layout.key(slot) % key.align, 0);
                    assert_eq!(layout.value(slot) % value.align, 0);
                    parts.push((layout.key(slot), key.size));
                    parts.push((layout.value(slot), value.size));
                }
                parts.sort_unstable();
                assert!(parts.windows(2).all(|two| two[0].0 + two[0].1 <= two[1].0), "{layout:?}");
                assert!(parts.iter().all(|(at, len)| at + len <= layout.bucket), "{layout:?}");
            }
        }
    }
}
