//! Stores by threads that hold what nobody else may want, and system calls that store.

use crate::kit::{P, Scene};
use pmem_map::{Dirtiness, Mapping};
use std::{
    io::Write,
    os::fd::AsRawFd,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
};

#[test]
fn a_thread_may_hold_the_lock_of_standard_output_while_it_stores() {
    let scene = Scene::new(64);
    let out = std::io::stdout();
    for round in 1..=50 {
        scene.stores.protect().unwrap().release();
        let mut locked = out.lock();
        (0..64).for_each(|page| scene.store(page, round));
        write!(locked, "{}", if round == 50 { "64 pages, 50 times, under the lock\n" } else { "" }).unwrap();
        drop(locked);
        assert_eq!(scene.handler.pages().len(), 64);
    }
}

#[test]
fn a_moment_is_taken_while_a_thread_that_waits_holds_the_lock_of_standard_output() {
    let scene = Scene::new(2);
    for round in 1..=200 {
        let storing = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let _locked = std::io::stdout().lock();
                storing.store(true, SeqCst);
                scene.store(0, round);
                scene.store(1, round);
            });
            while !storing.load(SeqCst) {
                std::thread::yield_now();
            }
            let protecting = scene.stores.protect().unwrap();
            let seen = (scene.load(0), scene.load(1));
            assert!(seen.0 >= seen.1, "{seen:?}");
            protecting.release();
        });
        assert_eq!((scene.load(0), scene.load(1)), (round, round));
    }
}

#[test]
fn a_system_call_that_stores_to_a_protected_page_fails_and_a_buffer_helps() {
    let mut mapping = Mapping::memfd(4 * P).unwrap();
    let stores = pmem_map::FirstStores::new();
    let handler = crate::kit::Counting::new(4);
    let pages = mapping.pages().unwrap();
    let _watched = stores.watch(&pages, 0..4 * P, Dirtiness::Unknown, handler.clone()).unwrap();
    stores.protect().unwrap().release();
    let mut source = tempfile::tempfile().unwrap();
    source.write_all(&[7; 3 * P as usize]).unwrap();
    // SAFETY: into bytes of the mapping, to which nothing refers now.
    let read =
        unsafe { libc::pread(source.as_raw_fd(), mapping.base().as_ptr().add(P as usize).cast(), 100, 0) };
    let error = std::io::Error::last_os_error();
    assert_eq!((read, error.raw_os_error()), (-1, Some(libc::EFAULT)));
    assert_eq!(handler.pages(), [], "the kernel asks nobody");
    std::io::Seek::rewind(&mut source).unwrap();
    assert_eq!(mapping.read_from(P + 8, 5000, &mut source).unwrap(), 5000);
    assert_eq!(handler.pages(), [1, 2]);
    assert!(mapping.as_slice()[P as usize + 8..][..5000].iter().all(|byte| *byte == 7));
}

#[test]
fn errno_is_kept_by_a_store_that_waits() {
    let scene = Scene::new(8);
    scene.stores.protect().unwrap().release();
    for page in 0..8 {
        // SAFETY: this thread's own.
        unsafe { *libc::__errno_location() = 1234 };
        scene.store(page, 1);
        // SAFETY: as above.
        assert_eq!(unsafe { *libc::__errno_location() }, 1234);
    }
}
