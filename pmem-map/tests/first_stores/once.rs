//! Who is asked, how often, and what an answer does.

use crate::kit::{P, Scene, dirtied};
use pmem_map::{
    Backing, Dirtiness, Durability, Error, Extent, FirstStore, FirstStores, Granularity, Mapping, Pages,
    RangeId, Watched,
};
use std::{
    fs::File,
    io,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU32, Ordering::SeqCst},
        mpsc,
    },
};

#[test]
fn the_first_store_to_a_page_after_each_protect_asks_and_no_other() {
    let scene = Scene::new(8);
    scene.store(1, 1);
    assert_eq!(scene.handler.pages(), [], "never protected");
    for round in 1..=3 {
        scene.stores.protect().unwrap().release();
        assert_eq!(scene.dirtied(), []);
        assert_eq!(scene.load(5), if round == 1 { 0 } else { round - 1 }, "loads do not ask");
        for page in [2, 5, 2, 6, 5] {
            scene.store(page, round);
        }
        assert_eq!(scene.handler.pages(), [2, 5, 6]);
        assert_eq!(scene.dirtied(), [2..3, 5..7]);
    }
}

#[test]
fn only_watched_pages_are_protected_and_two_ranges_are_told_apart() {
    struct Named(Mutex<Vec<(RangeId, u64)>>);
    impl FirstStore for Named {
        fn first_store(&self, range: RangeId, page: u64) -> io::Result<()> {
            self.0.lock().unwrap().push((range, page / P));
            Ok(())
        }
    }
    let mut mapping = Mapping::anonymous(8 * P).unwrap();
    let pages = mapping.pages().unwrap();
    let (stores, named) = (FirstStores::new(), Arc::new(Named(Mutex::default())));
    let watch = |range| stores.watch(&pages, range, Dirtiness::Faults, named.clone());
    let low = watch(P..2 * P).unwrap();
    let high = watch(4 * P + 1..5 * P + 1).unwrap(); // touches two pages
    assert!(low.id() != high.id());
    for overlap in [P..2 * P, 0..8 * P, 5 * P..6 * P] {
        let refused = watch(overlap).unwrap_err();
        assert!(matches!(refused, Error::Io { source, .. } if source.raw_os_error() == Some(libc::EEXIST)));
    }
    for page in 0..8 {
        mapping.write(page * P + 7, b"x").unwrap();
    }
    let expected = [(low.id(), 1), (high.id(), 4), (high.id(), 5)];
    assert_eq!(*named.0.lock().unwrap(), expected, "protected from the beginning");
    let protecting = stores.protect().unwrap();
    assert_eq!(protecting.pages(), 3);
    let mut dirty = Vec::new();
    protecting.dirtied(|id, run| dirty.push((id, run)));
    assert_eq!(dirty, [(low.id(), P..2 * P), (high.id(), 4 * P..6 * P)]);
    protecting.release();
    assert_eq!((dirtied(&low), dirtied(&high)), (vec![], vec![]));
    drop(high);
    mapping.write(4 * P, b"x").unwrap();
    assert_eq!(named.0.lock().unwrap().len(), 3);
    let _again = watch(5 * P..6 * P).unwrap();
}

#[test]
fn a_range_that_is_not_there_is_refused() {
    let mapping = Mapping::anonymous(2 * P).unwrap();
    let (pages, stores) = (mapping.pages().unwrap(), FirstStores::new());
    let handler = crate::kit::Counting::new(2);
    for range in [0..0, P..P, 0..3 * P, u64::MAX - 1..u64::MAX] {
        let refused = stores.watch(&pages, range, Dirtiness::Unknown, handler.clone()).unwrap_err();
        assert!(matches!(refused, Error::OutOfBounds { .. }), "{refused}");
    }
    drop(mapping);
    for dirtiness in [Dirtiness::Faults, Dirtiness::Scan, Dirtiness::Unknown] {
        assert!(stores.watch(&pages, 0..P, dirtiness, handler.clone()).is_err());
    }
    stores.protect().unwrap().release();
}

#[test]
fn a_cancelled_protect_changes_nothing() {
    for dirtiness in [Dirtiness::Faults, Dirtiness::Scan, Dirtiness::Unknown] {
        let scene = Scene::of(Mapping::memfd(8 * P).unwrap(), dirtiness);
        let stored = [2, 3, 6];
        stored.iter().for_each(|page| scene.store(*page, 1));
        let (dirty, asked) = (scene.dirtied(), scene.handler.pages());
        scene.stores.protect().unwrap().cancel();
        drop(scene.stores.protect().unwrap());
        assert_eq!(scene.dirtied(), dirty);
        stored.iter().for_each(|page| scene.store(*page, 2));
        assert_eq!(scene.handler.pages(), [], "{asked:?} was asked before");
        scene.store(7, 2);
        assert_eq!(scene.handler.pages(), if dirtiness == Dirtiness::Faults { vec![7] } else { vec![] });
    }
}

#[test]
fn a_store_that_waits_for_a_protect_that_is_cancelled_goes_on() {
    for dirtiness in [Dirtiness::Faults, Dirtiness::Unknown] {
        let scene = Scene::of(Mapping::memfd(4 * P).unwrap(), dirtiness);
        for round in 1..200 {
            let protecting = scene.stores.protect().unwrap();
            std::thread::scope(|scope| {
                let storing = scope.spawn(|| scene.store(1, round));
                if round % 2 == 0 {
                    std::thread::yield_now();
                }
                assert!(scene.load(1) < round, "nothing proceeds");
                protecting.cancel();
                storing.join().unwrap();
            });
            assert_eq!(scene.load(1), round);
        }
    }
}

#[test]
fn an_error_of_a_handler_is_kept_and_the_store_goes_on() {
    let scene = Scene::new(8);
    scene.stores.protect().unwrap().release();
    assert!(scene.stores.take_failure().is_none());
    scene.handler.error.store(libc::ENOSPC, SeqCst);
    scene.store(3, 1);
    scene.store(5, 1);
    scene.store(3, 2);
    scene.handler.error.store(0, SeqCst);
    scene.store(6, 1);
    assert_eq!((scene.load(3), scene.load(5), scene.handler.pages()), (2, 1, vec![3, 5, 6]));
    let failure = scene.stores.take_failure().unwrap();
    assert_eq!((failure.range, failure.page), (scene.watched.as_ref().unwrap().id(), 3 * P));
    assert_eq!((failure.error.raw_os_error(), failure.failures), (Some(libc::ENOSPC), 2));
    assert!(scene.stores.take_failure().is_none());
}

#[test]
fn a_handler_that_calls_back_is_refused_and_does_not_hang() {
    struct CallsBack(FirstStores, Pages, Mutex<Vec<Option<i32>>>);
    impl FirstStore for CallsBack {
        fn first_store(&self, _: RangeId, _: u64) -> io::Result<()> {
            let number = |error: Error| match error {
                Error::Io { source, .. } => source.raw_os_error(),
                _ => None,
            };
            let handler = crate::kit::Counting::new(1);
            let said = [
                self.0.protect().err().and_then(number),
                self.0.watch(&self.1, 0..1, Dirtiness::Unknown, handler).err().and_then(number),
            ];
            self.2.lock().unwrap().extend(said);
            Ok(())
        }
    }
    let mut mapping = Mapping::anonymous(2 * P).unwrap();
    let (pages, stores) = (mapping.pages().unwrap(), FirstStores::new());
    let handler = Arc::new(CallsBack(stores.clone(), pages.clone(), Mutex::default()));
    let _watched = stores.watch(&pages, P..2 * P, Dirtiness::Faults, handler.clone()).unwrap();
    mapping.write(P, b"x").unwrap();
    assert_eq!(*handler.2.lock().unwrap(), [Some(libc::EDEADLK); 2]);
}

#[test]
fn a_handler_that_takes_long_holds_up_its_page_and_the_next_protect() {
    struct Slow {
        began: mpsc::Sender<()>,
        go_on: Mutex<mpsc::Receiver<()>>,
        begun: AtomicU32,
        calls: AtomicU32,
    }
    impl FirstStore for Slow {
        fn first_store(&self, _: RangeId, _: u64) -> io::Result<()> {
            self.begun.fetch_add(1, SeqCst);
            self.began.send(()).unwrap();
            self.go_on.lock().unwrap().recv().unwrap();
            self.calls.fetch_add(1, SeqCst);
            Ok(())
        }
    }
    let (began, has_begun) = mpsc::channel();
    let (go, go_on) = mpsc::channel();
    let slow = Arc::new(Slow {
        began,
        go_on: Mutex::new(go_on),
        begun: AtomicU32::new(0),
        calls: AtomicU32::new(0),
    });
    let mapping = Mapping::anonymous(2 * P).unwrap();
    let stores = FirstStores::new();
    let watched = stores.watch(&mapping.pages().unwrap(), 0..2 * P, Dirtiness::Faults, slow.clone()).unwrap();
    let region = mapping.into_region();
    let load = |page: u64| {
        // SAFETY: words of which each is stored to by one thread.
        unsafe { region.load_word(page * P) }
    };
    std::thread::scope(|scope| {
        let store = |page: u64| {
            let region = &region;
            scope.spawn(move || {
                // SAFETY: as above.
                unsafe { region.store_word(page * P, 1) }
            })
        };
        let first = store(0);
        has_begun.recv().unwrap();
        let second = store(1);
        let protecting = scope.spawn(|| {
            let protecting = stores.protect().unwrap();
            let (begun, over) = (slow.begun.load(SeqCst), slow.calls.load(SeqCst));
            assert!(over >= 1 && begun == over, "no call runs: {over} of {begun}");
            protecting.release();
        });
        assert_eq!((load(0), load(1)), (0, 0), "not before the handler returns");
        // The second store comes before or after the moment: the first page may be asked for again.
        (0..4).for_each(|_| go.send(()).unwrap());
        protecting.join().unwrap();
        first.join().unwrap();
        second.join().unwrap();
    });
    assert_eq!((load(0), load(1)), (1, 1));
    let calls = slow.calls.load(SeqCst);
    assert!((2..=3).contains(&calls), "{calls}");
    drop(watched);
}

/// An owner of bytes who watches them by the handle that it is given.
struct Watching {
    file: Arc<File>,
    stores: FirstStores,
    handler: Arc<crate::kit::Counting>,
    watched: Arc<OnceLock<Watched>>,
}

// SAFETY: a new memfd, known to this value alone, and never shortened.
unsafe impl Backing for Watching {
    fn extents(&self) -> Vec<Extent> {
        vec![Extent { file: self.file.clone(), offset: 0, len: self.file.metadata().unwrap().len() }]
    }
    fn granularity(&self) -> Granularity {
        Granularity::CacheLine
    }
    fn durability(&self) -> Durability {
        Durability::Process
    }
    fn attached(&self, pages: Pages) {
        let watched = self.stores.watch(&pages, 0..4 * P, Dirtiness::Unknown, self.handler.clone());
        assert!(self.watched.set(watched.unwrap()).is_ok(), "attached once");
    }
}

#[test]
fn an_owner_of_bytes_watches_what_it_lends_until_after_it_is_unmapped() {
    use std::os::fd::FromRawFd;
    // SAFETY: a new descriptor, owned by one file.
    let file = unsafe { File::from_raw_fd(libc::memfd_create(c"lent".as_ptr(), libc::MFD_CLOEXEC)) };
    file.set_len(4 * P).unwrap();
    let (stores, handler) = (FirstStores::new(), crate::kit::Counting::new(4));
    let watched = Arc::new(OnceLock::new());
    let owner = Watching {
        file: Arc::new(file),
        stores: stores.clone(),
        handler: handler.clone(),
        watched: watched.clone(),
    };
    let mut mapping = Mapping::from_backing(owner).unwrap();
    stores.protect().unwrap().release();
    mapping.write(2 * P, b"asked").unwrap();
    assert_eq!(handler.pages(), [2]);
    drop(mapping);
    // Between the end of the mapping and that of the watch.
    let protecting = stores.protect().unwrap();
    let mut dirty = Vec::new();
    protecting.dirtied(|_, run| dirty.push(run));
    assert_eq!(dirty, std::slice::from_ref(&(2 * P..3 * P)));
    protecting.release();
    assert_eq!(dirtied(watched.get().unwrap()), []);
}
