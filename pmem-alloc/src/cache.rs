//! Reserved blocks in store, so that threads that reserve small blocks seldom need the writer's turn.
//!
//! A few are reserved at once and kept in one of several stores; a thread uses the store of its number, so that threads seldom
//! meet. Nobody owns a store: what an ended thread left there, others use. All of it is volatile: on media a reserved
//! block is free. When space runs out, the stores are emptied first.

use crate::{
    classes,
    gate::thread_number,
    heap::{Block, Heap},
};
use parking_lot::Mutex;

const STORES: usize = 16;
/// Blocks that are reserved at once.
pub(crate) const BATCH: usize = 16;
/// Blocks of a class beyond which a store gives them back.
const MOST: usize = 4 * BATCH;
/// The largest block that is kept in store.
const LARGEST: u64 = 1 << 10;

/// All stores of a pool.
#[derive(Default)]
pub(crate) struct Caches([Mutex<Store>; STORES]);

/// Blocks by class.
#[derive(Default)]
struct Store(Vec<Vec<Block>>);

/// The class of blocks for `len` bytes at a multiple of `align`, if such are kept in store.
pub(crate) fn class_of(len: u64, align: u64) -> Option<u8> {
    if len > LARGEST || align > LARGEST || !align.is_power_of_two() {
        return None;
    }
    classes::for_len(len.next_multiple_of(align)).filter(|&class| classes::size(class) <= LARGEST)
}

impl Caches {
    fn mine(&self) -> &Mutex<Store> {
        &self.0[thread_number() as usize % STORES]
    }

    /// A block of a class.
    pub(crate) fn take(&self, class: u8) -> Option<Block> {
        self.mine().lock().0.get_mut(class as usize)?.pop()
    }

    /// Keeps a block, or returns it: there are enough.
    pub(crate) fn keep(&self, block: Block) -> Option<Block> {
        let Some(class) = classes::for_len(block.len).filter(|_| block.len <= LARGEST) else {
            return Some(block);
        };
        let mut store = self.mine().lock();
        if store.0.len() <= class as usize {
            store.0.resize(class as usize + 1, Vec::new());
        }
        let blocks = &mut store.0[class as usize];
        if blocks.len() >= MOST {
            return Some(block);
        }
        blocks.push(block);
        None
    }

    /// Gives everything back. Whether there was something.
    pub(crate) fn empty_into(&self, heap: &mut Heap) -> bool {
        let mut any = false;
        for store in &self.0 {
            let blocks = std::mem::take(&mut store.lock().0);
            for block in blocks.into_iter().flatten() {
                heap.cancel(block);
                any = true;
            }
        }
        any
    }
}
