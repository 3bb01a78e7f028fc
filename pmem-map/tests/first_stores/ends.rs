//! Watches that end while stores wait, more waiting threads than there are places, and children.

use crate::kit::Scene;
use std::sync::Barrier;

#[test]
fn more_threads_wait_than_the_handler_has_places_and_all_go_on() {
    const THREADS: u64 = 150;
    let scene = Scene::new(THREADS);
    for round in 1..=3 {
        let protecting = scene.stores.protect().unwrap();
        let barrier = Barrier::new(THREADS as usize + 1);
        std::thread::scope(|scope| {
            for page in 0..THREADS {
                let (scene, barrier) = (&scene, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    scene.store(page, round);
                });
            }
            barrier.wait();
            std::thread::yield_now();
            assert!((0..THREADS).all(|page| scene.load(page) < round), "nobody proceeds");
            protecting.release();
        });
        assert!((0..THREADS).all(|page| scene.load(page) == round));
        assert_eq!(scene.handler.pages(), (0..THREADS).collect::<Vec<_>>());
    }
}

#[test]
fn many_threads_meet_one_page_and_it_is_asked_for_once() {
    let scene = Scene::new(1);
    for round in 1..=200 {
        scene.stores.protect().unwrap().release();
        let barrier = Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    barrier.wait();
                    scene.store(0, round);
                });
            }
        });
        assert_eq!((scene.load(0), scene.handler.pages()), (round, vec![0]));
    }
}

#[test]
fn stores_that_wait_when_a_watch_ends_go_on() {
    const THREADS: u64 = 8;
    for round in 1..=300 {
        let mut scene = Scene::new(THREADS);
        let watched = scene.watched.take();
        let scene = &scene;
        // At various moments: the gate is closed, or open, or the threads are in the middle.
        let protecting = scene.stores.protect().unwrap();
        let barrier = &Barrier::new(THREADS as usize + 2);
        std::thread::scope(|scope| {
            for page in 0..THREADS {
                scope.spawn(move || {
                    barrier.wait();
                    scene.store(page, round);
                });
            }
            scope.spawn(move || {
                barrier.wait();
                (0..round % 50).for_each(|_| std::thread::yield_now());
                drop(watched);
            });
            barrier.wait();
            protecting.release();
        });
        assert!((0..THREADS).all(|page| scene.load(page) == round));
        assert!(scene.handler.pages().len() as u64 <= THREADS);
        scene.stores.protect().unwrap().release();
        scene.store(0, 0);
        assert_eq!(scene.handler.pages(), [], "nobody watches");
    }
}

/// Forks; the child does what is async-signal-safe, for at most 20 seconds.
fn fork(child: impl FnOnce() -> u8) -> i32 {
    // SAFETY: the child runs nothing but `alarm`, `child` and `_exit`.
    unsafe {
        match libc::fork() {
            0 => {
                libc::alarm(20);
                let code = child();
                libc::_exit(code.into())
            }
            -1 => panic!("fork: {}", std::io::Error::last_os_error()),
            pid => {
                let mut status = 0;
                assert_eq!(libc::waitpid(pid, &raw mut status, 0), pid);
                status
            }
        }
    }
}

#[test]
fn a_store_of_a_forked_child_waits_for_nobody_and_its_parent_is_not_asked() {
    let scene = Scene::new(4);
    scene.stores.protect().unwrap().release();
    let segfault = |status| libc::WIFSIGNALED(status) && libc::WTERMSIG(status) == libc::SIGSEGV;
    let status = fork(|| {
        scene.store(1, 1); // the page is not there
        0
    });
    assert!(segfault(status), "{status:#x}");
    // Also while nothing proceeds in the parent.
    let protecting = scene.stores.protect().unwrap();
    let status = fork(|| {
        scene.store(1, 1);
        0
    });
    protecting.release();
    assert!(segfault(status), "{status:#x}");
    assert_eq!((scene.handler.pages(), scene.load(1)), (vec![], 0));
    scene.store(1, 1);
    assert_eq!(scene.handler.pages(), [1]);
}

#[test]
fn a_forked_child_cannot_protect_and_drops_its_copy_of_a_watch_harmlessly() {
    let mut scene = Scene::new(4);
    let watched = scene.watched.take();
    scene.stores.protect().unwrap().release();
    let mut copy = watched;
    let status = fork(|| {
        drop(copy.take());
        u8::from(!matches!(scene.stores.protect(), Err(pmem_map::Error::Forked)))
    });
    assert_eq!(status, 0);
    scene.store(2, 1);
    assert_eq!(scene.handler.pages(), [2], "the parent watches on");
    assert!(copy.is_some());
}
