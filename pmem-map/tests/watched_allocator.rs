//! The allocator's own memory is watched: no thread that serves a fault may allocate, for the thread that waits holds the
//! allocator's lock. That includes its start: a thread that has just begun allocates.

#![cfg(not(miri))]

use pmem_map::{Dirtiness, FirstStore, FirstStores, Mapping, PAGE, RangeId};
use std::{
    alloc::{GlobalAlloc, Layout, System},
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering::SeqCst},
    },
};

const PAGES: u64 = 16;

/// The system's, with a book of its own behind a lock, once there is memory for it.
struct Booked {
    lock: AtomicBool,
    book: AtomicPtr<u8>,
}

#[global_allocator]
static ALLOCATOR: Booked =
    Booked { lock: AtomicBool::new(false), book: AtomicPtr::new(std::ptr::null_mut()) };

impl Booked {
    /// Notes an allocation in a page of the book, with the lock held.
    fn note(&self, size: usize) {
        let book = self.book.load(SeqCst);
        if book.is_null() {
            return;
        }
        while self.lock.swap(true, SeqCst) {
            std::thread::yield_now();
        }
        let page = size % PAGES as usize;
        // SAFETY: the book is `PAGES` pages that stay mapped, and the lock excludes others.
        unsafe {
            let count = book.add(page * PAGE as usize).cast::<u64>();
            count.write_volatile(count.read_volatile() + 1);
        }
        self.lock.store(false, SeqCst);
    }
}

// SAFETY: the system's allocator does it.
unsafe impl GlobalAlloc for Booked {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.note(layout.size());
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        self.note(layout.size());
        // SAFETY: the caller's.
        unsafe { System.dealloc(at, layout) }
    }
}

#[derive(Default)]
struct Count(AtomicU64);

impl FirstStore for Count {
    fn first_store(&self, _: RangeId, _: u64) -> io::Result<()> {
        self.0.fetch_add(1, SeqCst);
        Ok(())
    }
}

#[test]
fn first_stores_inside_the_allocator_are_served() {
    const MOMENTS: u64 = 300;
    let mapping = Mapping::memfd(PAGES * PAGE).unwrap();
    let (stores, count) = (FirstStores::new(), Arc::new(Count::default()));
    let pages = mapping.pages().unwrap();
    let watched = stores.watch(&pages, 0..PAGES * PAGE, Dirtiness::Unknown, count.clone()).unwrap();
    let region = mapping.into_region();
    ALLOCATOR.book.store(region.base().as_ptr(), SeqCst);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let stop = &stop;
            scope.spawn(move || {
                let mut size = thread;
                while !stop.load(SeqCst) {
                    size = (size + 7) % 100;
                    std::hint::black_box(vec![1u8; size + 1]);
                }
            });
        }
        for _ in 0..MOMENTS {
            stores.protect().unwrap().release();
            // This thread allocates too, and watches come and go meanwhile.
            let other = Mapping::anonymous(PAGE).unwrap();
            let pages = other.pages().unwrap();
            drop(stores.watch(&pages, 0..PAGE, Dirtiness::Faults, count.clone()).unwrap());
        }
        stop.store(true, SeqCst);
    });
    let calls = count.0.load(SeqCst);
    println!("{MOMENTS} moments, {calls} first stores inside the allocator");
    assert!(calls >= MOMENTS, "{calls}");
    drop(watched);
    ALLOCATOR.book.store(std::ptr::null_mut(), SeqCst);
    std::mem::forget(region); // a thread of the test runner may be about to note something
}
