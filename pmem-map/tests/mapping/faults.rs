//! Stores to protected pages, pages that lost their memory, and faults that are nobody's.

use crate::children::{part, play};
use pmem_map::{Backing, Durability, Extent, Granularity, Mapping, PAGE, Pages};
use std::{
    fs::File,
    ops::Range,
    os::{fd::FromRawFd, unix::process::ExitStatusExt},
    sync::{Arc, Mutex, OnceLock},
};

const P: u64 = PAGE;

/// An owner that sees which pages are stored to.
#[derive(Clone)]
struct Watcher(Arc<Watched>);

struct Watched {
    file: Arc<File>,
    pages: OnceLock<Pages>,
    faults: Mutex<Vec<u64>>,
    lost: Mutex<Vec<u64>>,
    serves: bool,
}

impl Watcher {
    fn new(pages: u64, serves: bool) -> Watcher {
        // SAFETY: a new descriptor, owned by one file.
        let file = unsafe { File::from_raw_fd(libc::memfd_create(c"watched".as_ptr(), libc::MFD_CLOEXEC)) };
        file.set_len(pages * P).unwrap();
        let (pages, faults, lost) = (OnceLock::new(), Mutex::default(), Mutex::default());
        Watcher(Arc::new(Watched { file: Arc::new(file), pages, faults, lost, serves }))
    }
    fn faults(&self) -> Vec<u64> {
        std::mem::take(&mut self.0.faults.lock().unwrap())
    }
}

// SAFETY: a memfd of one test. It is shortened by one of them, which touches the lost page only through
// volatile accesses and gives it back with the content that it had, zeroes, before anything is read.
unsafe impl Backing for Watcher {
    fn extents(&self) -> Vec<Extent> {
        vec![Extent { file: self.0.file.clone(), offset: 0, len: self.0.file.metadata().unwrap().len() }]
    }
    fn granularity(&self) -> Granularity {
        Granularity::CacheLine
    }
    fn durability(&self) -> Durability {
        Durability::Process
    }
    fn attached(&self, pages: Pages) {
        assert!(self.0.pages.set(pages).is_ok(), "attached once");
    }
    fn write_fault(&self, page: Range<u64>) -> bool {
        assert_eq!((page.start % P, page.end - page.start), (0, P));
        self.0.faults.lock().unwrap().push(page.start / P);
        self.0.serves && self.0.pages.get().unwrap().unprotect(page).is_ok()
    }
    fn page_lost(&self, page: Range<u64>) -> bool {
        self.0.lost.lock().unwrap().push(page.start / P);
        self.0.file.set_len(page.end).is_ok()
    }
}

#[test]
fn a_store_to_a_protected_page_asks_the_owner_once_and_then_goes_through() {
    let watcher = Watcher::new(8, true);
    let mut mapping = Mapping::from_backing(watcher.clone()).unwrap();
    mapping.write(0, b"free").unwrap();
    assert_eq!(watcher.faults(), []);
    mapping.protect(P..4 * P).unwrap();
    assert_eq!(mapping.as_slice()[P as usize], 0, "loads do not ask");
    assert_eq!(watcher.faults(), []);
    mapping.write(2 * P + 5, b"asked").unwrap();
    mapping.write(2 * P + 99, b"not again").unwrap();
    mapping.write(4 * P, b"never protected").unwrap();
    mapping.write(2 * P - 1, b"xx").unwrap(); // the last byte of page 1
    assert_eq!(watcher.faults(), [2, 1]);
    assert_eq!(&mapping.as_slice()[2 * P as usize + 5..][..5], b"asked");
    mapping.unprotect(0..8 * P).unwrap();
    mapping.write(3 * P, b"free again").unwrap();
    assert_eq!(watcher.faults(), []);
}

#[test]
fn the_owner_protects_through_its_own_handle_too() {
    let watcher = Watcher::new(2, true);
    let mut mapping = Mapping::from_backing(watcher.clone()).unwrap();
    let pages = watcher.0.pages.get().unwrap().clone();
    pages.protect(0..1).unwrap();
    mapping.write(0, b"asked").unwrap();
    assert_eq!(watcher.faults(), [0]);
    drop(mapping);
    assert!(pages.protect(0..1).is_err(), "nothing is mapped any more");
}

#[test]
fn stores_of_many_threads_to_protected_pages_all_arrive() {
    const THREADS: u64 = 8;
    const ROUNDS: u64 = 50;
    let watcher = Watcher::new(THREADS, true);
    let region = Mapping::from_backing(watcher.clone()).unwrap().into_region();
    for round in 1..=ROUNDS {
        region.protect(0..THREADS * P).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let region = &region;
                scope.spawn(move || {
                    // Every thread stores to every page, in its own order: most pages are met by several.
                    for page in 0..THREADS {
                        let page = (page + thread) % THREADS;
                        // SAFETY: word `thread` of each page is this thread's alone.
                        unsafe { region.store_word(page * P + thread * 8, round) };
                    }
                });
            }
        });
        for word in (0..THREADS).flat_map(|page| (0..THREADS).map(move |thread| page * P + thread * 8)) {
            // SAFETY: the threads are done.
            assert_eq!(unsafe { region.load_word(word) }, round);
        }
    }
    let faults = watcher.faults();
    assert!(faults.len() as u64 >= THREADS * ROUNDS, "each page faulted in each round: {}", faults.len());
}

#[test]
fn mappings_come_and_go_while_others_fault() {
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..50 {
                    let watcher = Watcher::new(3, true);
                    let mut mapping = Mapping::from_backing(watcher.clone()).unwrap();
                    mapping.protect(0..3 * P).unwrap();
                    mapping.write(P, b"here").unwrap();
                    assert_eq!(watcher.faults(), [1]);
                }
            });
        }
    });
}

#[test]
fn a_page_that_lost_its_memory_can_be_given_back() {
    let watcher = Watcher::new(2, true);
    let mapping = Mapping::from_backing(watcher.clone()).unwrap();
    let page = mapping.base().as_ptr().wrapping_add(P as usize);
    watcher.0.file.set_len(P).unwrap();
    // SAFETY: mapped; the owner answers the SIGBUS.
    assert_eq!(unsafe { page.read_volatile() }, 0);
    assert_eq!(*watcher.0.lost.lock().unwrap(), [1]);
}

/// What this test ends by when it plays `part` in a process of its own.
fn signal_of(name: &str, part: &str) -> Option<i32> {
    let child = play(name, part);
    println!("{part}: {:?} {}", child.status, String::from_utf8_lossy(&child.stderr));
    child.status.signal()
}

/// An address that nobody mapped, in the middle of a reservation that is gone.
fn nobodys_address() -> *mut u8 {
    Mapping::anonymous(64 * P).unwrap().base().as_ptr()
}

#[test]
fn a_fault_that_nobody_serves_ends_the_process_as_ever() {
    const NAME: &str = "faults::a_fault_that_nobody_serves_ends_the_process_as_ever";
    if let Some(part) = part() {
        if part.ends_with("by default") {
            // The standard library's handler, which looks for stack overflows, out of the way.
            // SAFETY: no handler at all is async-signal-safe.
            unsafe { libc::signal(libc::SIGSEGV, libc::SIG_DFL) };
        }
        let mut mapping = Mapping::from_backing(Watcher::new(2, false)).unwrap();
        match part.as_str() {
            // SAFETY: SIGSEGV is what is asked for.
            "unmapped" | "unmapped by default" => unsafe { nobodys_address().write_volatile(1) },
            "refused" => {
                mapping.protect(0..1).unwrap();
                mapping.write(0, b"no").unwrap();
            }
            "truncated" => {
                let folder = crate::folder::folder();
                let path = folder.path().join("file");
                // SAFETY: a file of this test's own folder. The contract is broken below on purpose: this is
                // what the documentation says happens then.
                let file = unsafe { Mapping::open(&path, 2 * P) }.unwrap();
                File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
                // SAFETY: SIGBUS is what is asked for.
                unsafe { file.base().as_ptr().read_volatile() };
            }
            "sent by default" => {
                // SAFETY: sends this process a signal.
                unsafe { libc::raise(libc::SIGSEGV) };
            }
            other => panic!("{other}"),
        }
        return;
    }
    assert_eq!(signal_of(NAME, "unmapped"), Some(libc::SIGSEGV));
    assert_eq!(signal_of(NAME, "unmapped by default"), Some(libc::SIGSEGV));
    assert_eq!(signal_of(NAME, "refused"), Some(libc::SIGSEGV));
    assert_eq!(signal_of(NAME, "truncated"), Some(libc::SIGBUS));
    assert_eq!(signal_of(NAME, "sent by default"), Some(libc::SIGSEGV));
}

const SEEN_BY_THE_FIRST_HANDLER: i32 = 42;

extern "C" fn first_handler(_: i32) {
    // SAFETY: ends the process; async-signal-safe.
    unsafe { libc::_exit(SEEN_BY_THE_FIRST_HANDLER) };
}

#[test]
fn a_handler_that_was_there_before_still_gets_what_is_not_ours() {
    const NAME: &str = "faults::a_handler_that_was_there_before_still_gets_what_is_not_ours";
    if part().is_some() {
        // SAFETY: the handler only ends the process.
        unsafe { libc::signal(libc::SIGSEGV, first_handler as extern "C" fn(i32) as usize) };
        let watcher = Watcher::new(1, true);
        let mut mapping = Mapping::from_backing(watcher.clone()).unwrap();
        mapping.protect(0..1).unwrap();
        mapping.write(0, b"ours").unwrap();
        assert_eq!(watcher.faults(), [0]);
        // SAFETY: SIGSEGV is what is asked for.
        unsafe { nobodys_address().write_volatile(1) };
        return;
    }
    assert_eq!(play(NAME, "child").status.code(), Some(SEEN_BY_THE_FIRST_HANDLER));
}

#[test]
fn a_forked_child_serves_the_faults_of_its_own_mappings() {
    const NAME: &str = "faults::a_forked_child_serves_the_faults_of_its_own_mappings";
    if part().is_none() {
        let child = play(NAME, "child");
        assert!(child.status.success(), "{child:?}");
        return;
    }
    let asked = |watcher: &Watcher| {
        let mut mapping = Mapping::from_backing(watcher.clone()).unwrap();
        mapping.protect(0..P).unwrap();
        mapping.write(0, b"asked").unwrap();
        watcher.faults() == [0]
    };
    let parents = Watcher::new(1, true);
    let _mapping = Mapping::from_backing(parents.clone()).unwrap();
    assert!(asked(&Watcher::new(1, true)));
    let status = crate::children::fork(|| {
        let served = asked(&Watcher::new(1, true));
        u8::from(!served)
    });
    assert_eq!(status, 0);
}
