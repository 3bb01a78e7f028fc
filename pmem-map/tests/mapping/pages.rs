//! `Page` granularity: what is written back, by whom, and what an error means.

use crate::recorder::Recorder;
use pmem_map::{Backing, Durability, Error, Extent, Granularity, MapOptions, Mapping, PAGE, Result};
use std::{
    fs::File,
    io,
    ops::Range,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

/// A disk, as far as anybody can see: a nameless file whose write-backs are noted, and fail when told to.
#[derive(Clone)]
struct Disk {
    file: Arc<File>,
    synced: Arc<Mutex<Vec<Range<u64>>>>,
    fails: Arc<AtomicBool>,
    granularity: Granularity,
}

impl Disk {
    fn new(pages: u64, granularity: Granularity) -> Disk {
        let file = tempfile::tempfile_in(crate::folder::folder().path()).unwrap();
        file.set_len(pages * PAGE).unwrap();
        Disk { file: Arc::new(file), synced: Arc::default(), fails: Arc::default(), granularity }
    }
    fn synced(&self) -> Vec<Range<u64>> {
        std::mem::take(&mut self.synced.lock().unwrap())
    }
}

// SAFETY: a nameless file, known to this value and its clones in one test, and never shortened.
unsafe impl Backing for Disk {
    fn extents(&self) -> Vec<Extent> {
        vec![Extent { file: self.file.clone(), offset: 0, len: self.file.metadata().unwrap().len() }]
    }
    fn granularity(&self) -> Granularity {
        self.granularity
    }
    fn durability(&self) -> Durability {
        Durability::Power
    }
    fn sync(&self, range: Range<u64>) -> Result<()> {
        if self.fails.load(Relaxed) {
            let source = io::Error::from_raw_os_error(libc::EIO);
            return Err(Error::Io { action: "write back", path: "disk".into(), source });
        }
        self.synced.lock().unwrap().push(range);
        Ok(())
    }
}

const P: u64 = PAGE;

#[test]
fn a_drain_writes_back_the_pages_that_were_flushed_or_stored_past_the_caches() {
    let disk = Disk::new(10, Granularity::Page);
    let region = Mapping::from_backing(disk.clone()).unwrap().into_region();
    region.drain().unwrap();
    assert_eq!(disk.synced(), []);
    region.flush(5 * P - 1..5 * P + 1).unwrap();
    // SAFETY: no reference to the region's bytes is alive, and no other thread knows them.
    unsafe {
        region.store_nontemporal(2 * P, b"two");
        region.fill_nontemporal(8 * P, 1, P);
        region.store(0, b"neither");
    }
    assert_eq!(disk.synced(), [], "not before the drain");
    region.drain().unwrap();
    assert_eq!(disk.synced(), [2 * P..3 * P, 4 * P..6 * P, 8 * P..9 * P]);
    assert_eq!((region.counters().syncs, region.counters().drains), (3, 2));
    region.drain().unwrap();
    assert_eq!(disk.synced(), [], "once");
}

#[test]
fn a_drain_writes_back_what_this_thread_marked_and_nobody_elses() {
    let disk = Disk::new(10, Granularity::Page);
    let region = Mapping::from_backing(disk.clone()).unwrap().into_region();
    region.flush(0..1).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            region.flush(3 * P..3 * P + 1).unwrap();
            region.drain().unwrap();
        });
    });
    assert_eq!(disk.synced(), std::slice::from_ref(&(3 * P..4 * P)));
    region.drain().unwrap();
    assert_eq!(disk.synced(), std::slice::from_ref(&(0..P)));
}

#[test]
fn a_failed_write_back_poisons_the_region_for_good() {
    let disk = Disk::new(2, Granularity::Page);
    let recorder = Recorder::new();
    let mut mapping =
        MapOptions::new().max_len(10 * P).observer(recorder.clone()).from_backing(disk.clone()).unwrap();
    mapping.write(0, b"lost").unwrap();
    mapping.flush(0..4).unwrap();
    disk.fails.store(true, Relaxed);
    assert!(matches!(mapping.drain(), Err(Error::Io { action: "write back", .. })));
    assert_eq!(recorder.words(), ["store 0+4", "flush 0+4", "before drain"], "and no drain");
    assert!(mapping.is_poisoned());
    disk.fails.store(false, Relaxed);
    for _ in 0..3 {
        assert!(matches!(mapping.persist(0..4), Err(Error::Poisoned)));
        assert!(matches!(mapping.drain(), Err(Error::Poisoned)));
        assert!(matches!(mapping.grow(3 * P), Err(Error::Poisoned)));
    }
    std::thread::scope(|scope| {
        scope.spawn(|| assert!(matches!(mapping.drain(), Err(Error::Poisoned)), "for every thread"));
    });
    assert_eq!(disk.synced(), []);
    assert_eq!(mapping.counters().drains, 0);
}

#[test]
fn sync_asks_the_owner_of_persistent_memory_too_and_its_error_poisons() {
    let disk = Disk::new(4, Granularity::CacheLine);
    let mapping = Mapping::from_backing(disk.clone()).unwrap();
    mapping.persist(0..P).unwrap();
    assert_eq!(disk.synced(), []);
    mapping.sync(P + 1..P + 2).unwrap();
    assert_eq!(disk.synced(), std::slice::from_ref(&(P..2 * P)));
    assert_eq!(mapping.counters().drains, 2);
    disk.fails.store(true, Relaxed);
    assert!(mapping.sync(0..1).is_err());
    assert!(matches!(mapping.persist(0..1), Err(Error::Poisoned)));
}

#[test]
fn a_file_on_a_disk_is_written_back_once_per_drain_however_many_pages() {
    let folder = crate::folder::folder();
    // SAFETY: a file of this test's own folder.
    let mut mapping = unsafe { Mapping::open(folder.path().join("file"), 10 * P) }.unwrap();
    if mapping.granularity() != Granularity::Page {
        return println!("skipped: {} has no pages to write back", mapping.medium());
    }
    for (pages, syncs) in [(&[][..], 0), (&[1][..], 1), (&[1, 2, 3][..], 1), (&[9, 1, 5, 5][..], 1)] {
        let before = mapping.counters();
        for page in pages {
            mapping.write(page * P, b"page").unwrap();
            mapping.flush(page * P..page * P + 4).unwrap();
        }
        mapping.drain().unwrap();
        let done = mapping.counters() - before;
        assert_eq!((done.syncs, done.drains, done.lines_flushed), (syncs, 1, pages.len() as u64));
    }
}

#[test]
fn what_is_written_through_is_written_back_at_once_and_what_was_flushed_waits() {
    let disk = Disk::new(10, Granularity::Page);
    let recorder = Recorder::new();
    let region = Mapping::from_backing(disk.clone()).unwrap().into_region();
    region.observe(recorder.clone()).ok().unwrap();
    region.flush(0..8).unwrap();
    // SAFETY: no reference to the region's bytes is alive, and no other thread knows them.
    unsafe { region.write_through(5 * P - 4, b"eight by") }.unwrap();
    assert_eq!(disk.synced(), std::slice::from_ref(&(4 * P..6 * P)));
    assert_eq!((region.counters().syncs, region.counters().drains), (1, 1));
    assert_eq!(recorder.words(), ["flush 0+8", "past 20476+8", "before drain", "write through 20476+8"]);
    region.drain().unwrap();
    assert_eq!(disk.synced(), std::slice::from_ref(&(0..P)));
    disk.fails.store(true, Relaxed);
    // SAFETY: as above.
    assert!(unsafe { region.write_through(0, b"lost") }.is_err() && region.is_poisoned());
    disk.fails.store(false, Relaxed);
    // SAFETY: as above.
    assert!(matches!(unsafe { region.write_through(0, b"lost") }, Err(Error::Poisoned)));
}

#[test]
fn what_is_written_through_a_files_descriptor_is_seen_in_its_mapping() {
    let folder = crate::folder::folder();
    let path = folder.path().join("file");
    // SAFETY: a file of this test's own folder.
    let mapping = unsafe { Mapping::open(&path, 4 * P) }.unwrap();
    let page = mapping.granularity() == Granularity::Page;
    let region = mapping.into_region();
    let bytes: Vec<u8> = (0..2 * P).map(|i| (i % 251) as u8).collect();
    // SAFETY: no reference to the region's bytes is alive, and no other thread knows them.
    unsafe { region.write_through(100, &bytes) }.unwrap();
    let mut seen = vec![0; bytes.len()];
    // SAFETY: nobody stores.
    unsafe { region.load(100, &mut seen) };
    assert_eq!(seen, bytes);
    assert_eq!(std::fs::read(&path).unwrap()[100..][..bytes.len()], bytes);
    assert_eq!(region.counters().syncs, u64::from(page), "one device flush");
}

#[test]
fn memory_can_play_a_disk() {
    let mapping = MapOptions::new().len(2 * P).granularity(pmem_map::Granularity::Page).anonymous().unwrap();
    assert_eq!((mapping.granularity(), mapping.durability()), (Granularity::Page, Durability::Process));
    mapping.persist(0..1).unwrap();
    mapping.drain().unwrap();
    assert_eq!(mapping.counters().syncs, 1, "counted where there is something to write back");
}
