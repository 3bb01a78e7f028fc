//! The signal handler allocates nothing, not even when it sees an instruction or a caller for the first time.
#![cfg(target_arch = "x86_64")]

use pmem_crash::trace;
use pmem_map::Mapping;
use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: the system's allocator, and a number.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's.
        unsafe { System.dealloc(at, layout) }
    }
}

#[test]
fn the_handler_neither_allocates_nor_frees() {
    let mut mapping = Mapping::memfd(1 << 20).unwrap();
    let source = [7; 5000];
    let (allocations, trace) = trace::record(&mut mapping, |bytes| {
        let before = ALLOCATIONS.get();
        for (n, byte) in bytes[..200_000].iter_mut().step_by(97).enumerate() {
            *byte = n as u8; // one instruction again and again
        }
        for len in 0..300 {
            bytes[len * 300..][..len].copy_from_slice(&source[..len]); // every path of memcpy
        }
        bytes[..5000].copy_from_slice(&source);
        bytes[..4096].sort_unstable();
        bytes[4096..8192].sort_unstable_by(|a, b| b.cmp(a));
        bytes[..100].reverse();
        // SAFETY: 16 bytes of the mapping; this one is stepped.
        unsafe {
            std::arch::asm!("pcmpeqb xmm0, xmm0", "maskmovdqu xmm0, xmm0", in("rdi") bytes.as_mut_ptr(), out("xmm0") _)
        };
        ALLOCATIONS.get() - before
    })
    .unwrap();
    assert_eq!(allocations, 0);
    assert!(trace.stores().len() > 10_000);
}
