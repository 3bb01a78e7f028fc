//! Bytes of another owner: side by side, checked, kept alive, grown.

use pmem_map::{Backing, Durability, Error, Extent, Granularity, MapOptions, Mapping, PAGE, Pages, Result};
use std::{
    fs::File,
    os::unix::fs::FileExt,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

const P: u64 = PAGE;

/// A nameless file in which page n begins with the number n.
fn numbered(pages: u64) -> Arc<File> {
    let file = tempfile::tempfile_in(crate::folder::folder().path()).unwrap();
    for page in 0..pages {
        file.write_all_at(&[page as u8; 4096], page * P).unwrap();
    }
    Arc::new(file)
}

fn extent(file: &Arc<File>, page: u64, pages: u64) -> Extent {
    Extent { file: file.clone(), offset: page * P, len: pages * P }
}

/// Lends what it is told to, first at once, then at growth.
#[derive(Default)]
struct Lender {
    now: Vec<Extent>,
    later: Mutex<Vec<Vec<Extent>>>,
    _dropped: Dropped,
}

/// Notes that it was dropped.
#[derive(Default)]
struct Dropped(Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

// SAFETY: nameless files of one test, never shortened.
unsafe impl Backing for Lender {
    fn extents(&self) -> Vec<Extent> {
        self.now.clone()
    }
    fn granularity(&self) -> Granularity {
        Granularity::CacheLine
    }
    fn durability(&self) -> Durability {
        Durability::Process
    }
    fn name(&self) -> &'static str {
        "a test's bytes"
    }
    fn grow(&self, wanted: u64) -> Result<Vec<Extent>> {
        let refused = Error::CannotGrow { wanted, why: "nothing left" };
        self.later.lock().unwrap().pop().ok_or(refused)
    }
}

fn first_bytes(mapping: &Mapping) -> Vec<u8> {
    mapping.as_slice().chunks(PAGE as usize).map(|page| page[0]).collect()
}

#[test]
fn extents_of_several_files_appear_side_by_side_in_their_order() {
    let (one, other) = (numbered(10), numbered(10));
    let now = vec![
        extent(&one, 7, 2),
        extent(&other, 0, 1),
        extent(&one, 1, 1),
        extent(&one, 2, 3),
        extent(&one, 0, 1),
    ];
    let mut mapping = Mapping::from_backing(Lender { now, ..Lender::default() }).unwrap();
    assert_eq!(first_bytes(&mapping), [7, 8, 0, 1, 2, 3, 4, 0]);
    assert_eq!((mapping.len(), mapping.medium().to_string()), (8 * P, "a test's bytes".into()));
    mapping.write(P + 4000, &[0xee; 200]).unwrap(); // across two files
    mapping.persist(P + 4000..P + 4200).unwrap();
    let (mut end, mut start) = ([0; 96], [0; 104]);
    one.read_exact_at(&mut end, 8 * P + 4000).unwrap();
    other.read_exact_at(&mut start, 0).unwrap();
    assert_eq!((end, start), ([0xee; 96], [0xee; 104]));
}

#[test]
fn the_owner_lives_as_long_as_the_mapping_in_whatever_form() {
    let dropped = Arc::new(AtomicBool::new(false));
    let lender = Lender {
        now: vec![extent(&numbered(1), 0, 1)],
        _dropped: Dropped(dropped.clone()),
        ..Lender::default()
    };
    let region = Mapping::from_backing(lender).unwrap().into_region();
    assert!(!dropped.load(Relaxed));
    drop(region);
    assert!(dropped.load(Relaxed));
}

/// What the owner sees of its mapping's end.
struct Leaving {
    lender: Lender,
    pages: OnceLock<Pages>,
    seen: Arc<Mutex<Vec<&'static str>>>,
}

// SAFETY: as `Lender`.
unsafe impl Backing for Leaving {
    fn extents(&self) -> Vec<Extent> {
        self.lender.extents()
    }
    fn granularity(&self) -> Granularity {
        self.lender.granularity()
    }
    fn durability(&self) -> Durability {
        self.lender.durability()
    }
    fn attached(&self, pages: Pages) {
        assert!(self.pages.set(pages).is_ok());
    }
    fn detaching(&self) {
        // Mapped still: its pages can be protected.
        self.pages.get().unwrap().protect(0..P).unwrap();
        self.seen.lock().unwrap().push("detaching");
    }
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if let Some(pages) = self.pages.get() {
            assert!(pages.protect(0..P).is_err(), "not mapped any more");
        }
        self.seen.lock().unwrap().push("drop");
    }
}

#[test]
fn the_owner_is_asked_once_more_before_its_pages_are_unmapped() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let leaving = |now| Leaving {
        lender: Lender { now, ..Lender::default() },
        pages: OnceLock::new(),
        seen: seen.clone(),
    };
    drop(Mapping::from_backing(leaving(vec![extent(&numbered(1), 0, 1)])).unwrap());
    assert_eq!(std::mem::take(&mut *seen.lock().unwrap()), ["detaching", "drop"]);
    assert!(Mapping::from_backing(leaving(Vec::new())).is_err());
    assert_eq!(*seen.lock().unwrap(), ["drop"], "what was never mapped");
}

#[test]
fn the_owner_is_dropped_when_its_bytes_cannot_be_mapped() {
    let dropped = Arc::new(AtomicBool::new(false));
    let lender = Lender { _dropped: Dropped(dropped.clone()), ..Lender::default() };
    assert!(matches!(Mapping::from_backing(lender), Err(Error::BadLength { len: 0, .. })));
    assert!(dropped.load(Relaxed));
}

#[test]
fn an_extent_that_cannot_be_mapped_is_named() {
    let file = numbered(10);
    let of = |offset, len| Extent { file: file.clone(), offset, len };
    for (bad, why) in [
        (of(0, 0), "empty"),
        (of(1, P), "whole pages"),
        (of(0, P + 1), "whole pages"),
        (of(10 * P, P), "beyond its file"),
        (of(9 * P, 2 * P), "beyond its file"),
        (of(u64::MAX - P + 1, P), "beyond the largest file"),
        (of(0, u64::MAX - P + 1), "beyond the largest file"),
        (of(4 * P, P), "another extent"),
        (of(2 * P, 8 * P), "another extent"),
    ] {
        let lender = Lender { now: vec![of(4 * P, 2 * P), bad.clone()], ..Lender::default() };
        match Mapping::from_backing(lender) {
            Err(Error::BadExtent { index, offset, len, why: found }) => {
                assert!(found.contains(why), "{found} is not {why}");
                // Of two that overlap, the one that begins later is named.
                assert!((index, offset, len) == (1, bad.offset, bad.len) || why == "another extent");
            }
            other => panic!("{bad:?}: {other:?}"),
        }
    }
}

#[test]
fn one_file_by_two_descriptors_cannot_be_lent_twice() {
    let folder = crate::folder::folder();
    let path = folder.path().join("file");
    std::fs::write(&path, [0; 4096]).unwrap();
    let open = || Arc::new(File::options().read(true).write(true).open(&path).unwrap());
    let now = vec![extent(&open(), 0, 1), extent(&open(), 0, 1)];
    let result = Mapping::from_backing(Lender { now, ..Lender::default() });
    assert!(matches!(result, Err(Error::BadExtent { .. })), "{result:?}");
}

#[test]
fn a_file_that_cannot_be_written_cannot_be_lent() {
    let folder = crate::folder::folder();
    let path = folder.path().join("file");
    std::fs::write(&path, [0; 4096]).unwrap();
    let now = vec![extent(&Arc::new(File::open(&path).unwrap()), 0, 1)];
    let result = Mapping::from_backing(Lender { now, ..Lender::default() });
    assert!(matches!(result, Err(Error::Io { action: "map", .. })), "{result:?}");
}

#[test]
fn a_backing_grows_in_place_by_the_extents_it_adds() {
    let file = numbered(20);
    let later = Mutex::new(vec![vec![extent(&file, 9, 2), extent(&file, 3, 1)], vec![extent(&file, 5, 1)]]);
    let lender = Lender { now: vec![extent(&file, 0, 2)], later, ..Lender::default() };
    let mapping = MapOptions::new().max_len(10 * P).from_backing(lender).unwrap();
    let base = mapping.base();
    mapping.grow(3 * P).unwrap();
    assert_eq!(first_bytes(&mapping), [0, 1, 5]);
    mapping.grow(5 * P).unwrap(); // and gets one page more
    assert_eq!(first_bytes(&mapping), [0, 1, 5, 9, 10, 3]);
    assert_eq!((mapping.len(), mapping.base()), (6 * P, base));
    assert!(matches!(mapping.grow(7 * P), Err(Error::CannotGrow { why: "nothing left", .. })));
    assert!(matches!(mapping.grow(11 * P), Err(Error::CannotGrow { .. })));
}

#[test]
fn extents_added_at_growth_are_checked_as_the_first_ones_are() {
    let file = numbered(20);
    for (added, what) in [
        (vec![extent(&file, 1, 2)], "bytes that are mapped already"),
        (vec![extent(&file, 19, 2)], "bytes beyond the file"),
        (vec![extent(&file, 4, 1)], "too few"),
        (vec![extent(&file, 4, 9)], "too many"),
        (vec![], "none"),
    ] {
        let lender =
            Lender { now: vec![extent(&file, 0, 2)], later: Mutex::new(vec![added]), ..Lender::default() };
        let mapping = MapOptions::new().max_len(8 * P).from_backing(lender).unwrap();
        assert!(mapping.grow(4 * P).is_err(), "{what}");
        assert_eq!(first_bytes(&mapping), [0, 1], "{what}");
    }
}
