//! The allocator's own memory is in a mapped file of a volume, of which snapshots are made: whoever waits for a copy of its page holds the allocator's lock. So
//! no step of a snapshot may allocate while stores wait, nor hold what who copies pages waits for.
#![allow(missing_docs, unsafe_code)]

use nova_core::{BLOCK, Nova};
use pmem_map::Mapping;
use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering::SeqCst},
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
    /// Notes an allocation, with the lock held, in the first page of the book, and then in another one.
    fn note(&self, size: usize) {
        while self.lock.swap(true, SeqCst) {
            std::thread::yield_now();
        }
        let book = self.book.load(SeqCst);
        if !book.is_null() {
            let page = 1 + size % (PAGES as usize - 1);
            // SAFETY: the book is `PAGES` pages that stay mapped as long as it is one, and the lock excludes others.
            unsafe {
                for page in [0, page] {
                    let count = book.add(page * BLOCK as usize).cast::<u64>();
                    count.write_volatile(count.read_volatile() + 1);
                }
            }
        }
        self.lock.store(false, SeqCst);
    }

    /// Nobody is at the book when this returns.
    fn keep(&self, book: *mut u8) {
        while self.lock.swap(true, SeqCst) {
            std::thread::yield_now();
        }
        self.book.store(book, SeqCst);
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

#[test]
fn snapshots_are_made_while_the_allocator_stores_to_a_mapped_file() {
    let nova = Nova::format(Mapping::memfd(8 << 20).unwrap()).unwrap();
    let file = nova.create_file("/book").unwrap();
    file.set_len(PAGES * BLOCK).unwrap();
    let region = file.map().unwrap().into_region();
    ALLOCATOR.keep(region.base().as_ptr());
    let (stop, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut last = 0;
    std::thread::scope(|scope| {
        for thread in 0..3usize {
            let (stop, rounds) = (&stop, &rounds);
            scope.spawn(move || {
                let mut size = thread;
                while !stop.load(SeqCst) {
                    size = (size * 7 + 1) % 5000;
                    std::hint::black_box(vec![0u8; size + 1]);
                    rounds.fetch_add(1, SeqCst);
                }
            });
        }
        // On a busy machine sixty snapshots may be made before another thread is run at all.
        while rounds.load(SeqCst) == 0 {
            std::thread::yield_now();
        }
        for round in 0..60 {
            let name = format!("s{round}");
            nova.create_snapshot(&name).unwrap();
            let bytes = nova.mount_snapshot(&name).unwrap().read_file("/book").unwrap();
            let count =
                |page: u64| u64::from_le_bytes(bytes[(page * BLOCK) as usize..][..8].try_into().unwrap());
            // The first page is stored to before the others: one allocation may be in between.
            let others: u64 = (1..PAGES).map(count).sum();
            assert!(count(0) == others || count(0) == others + 1, "{} and {others}", count(0));
            assert!(count(0) > last, "later than the one before");
            last = count(0);
            if round > 1 {
                nova.delete_snapshot(&format!("s{}", round - 2)).unwrap();
            }
        }
        stop.store(true, SeqCst);
    });
    ALLOCATOR.keep(std::ptr::null_mut());
    drop(region);
    nova.sync().unwrap();
    assert!(nova.fsck().unwrap().is_clean());
}
