//! Memory for shadows: bump-allocated, never moved, freed or reused before [`Arena::reset`].

use std::{
    alloc::{Layout, alloc, dealloc, handle_alloc_error},
    ptr::NonNull,
};

const CHUNK: usize = 256 << 10;
/// Shadows have the alignment of the bytes that they stand for, up to this.
const ALIGN: usize = 4096;

struct Chunk {
    base: NonNull<u8>,
    layout: Layout,
}

impl Chunk {
    fn new(len: usize) -> Chunk {
        let layout = Layout::from_size_align(len, ALIGN).expect("a shadow's length was checked");
        // SAFETY: the layout is not empty.
        let base = NonNull::new(unsafe { alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout));
        Chunk { base, layout }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: from `alloc` with this layout.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}

/// Raw allocations rather than `Box`es: moving a box asserts that nobody else points into it.
pub(super) struct Arena {
    chunks: Vec<Chunk>,
    /// Bytes used of the last chunk.
    used: usize,
}

// SAFETY: owns its memory, as a `Vec<Box<[u8]>>` would.
unsafe impl Send for Arena {}
// SAFETY: `&Arena` does nothing.
unsafe impl Sync for Arena {}

impl Arena {
    pub(super) fn new() -> Arena {
        Arena { chunks: vec![Chunk::new(CHUNK)], used: 0 }
    }

    /// `len` uninitialised bytes whose address is `phase` modulo 64, and modulo the power of two from `len` up to `ALIGN`: so
    /// that a block's shadow has whatever alignment the block has.
    pub(super) fn take(&mut self, len: usize, phase: u64) -> NonNull<u8> {
        let align = len.next_power_of_two().clamp(64, ALIGN);
        let phase = phase as usize % align;
        let last = self.chunks.last().expect("never empty");
        let mut start = self.used.next_multiple_of(align) + phase;
        if start + len > last.layout.size() {
            let size = (len + ALIGN).next_multiple_of(ALIGN).max(CHUNK);
            self.chunks.push(Chunk::new(size));
            start = phase;
        }
        self.used = start + len;
        let base = self.chunks.last().expect("just pushed").base;
        // SAFETY: `start + len` is at most the chunk's size.
        unsafe { base.add(start) }
    }

    /// Takes everything back. Nobody may use what was taken any more.
    pub(super) fn reset(&mut self) {
        self.chunks.truncate(1);
        self.used = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_has_the_phase_asked_for_and_does_not_overlap() {
        let mut arena = Arena::new();
        let mut taken: Vec<(usize, usize)> = Vec::new();
        for i in 0..2000u64 {
            let (len, phase) = (1 + (i * 37 % 5000) as usize, i * 8);
            let at = arena.take(len, phase).as_ptr() as usize;
            assert_eq!(at % 64, phase as usize % 64);
            let align = len.next_power_of_two().clamp(64, ALIGN);
            assert_eq!(at % align, phase as usize % align);
            taken.push((at, len));
        }
        taken.push((arena.take(3 << 20, 8).as_ptr() as usize, 3 << 20));
        taken.sort_unstable();
        assert!(taken.windows(2).all(|w| w[0].0 + w[0].1 <= w[1].0));
        arena.reset();
        assert_eq!(arena.chunks.len(), 1);
    }
}
