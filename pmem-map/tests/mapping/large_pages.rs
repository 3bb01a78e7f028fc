//! Huge pages, their alignment, and faults taken ahead.

use crate::{children::part, folder::folder, mounts::play_on};
use pmem_map::{Durability, Error, Filesystem, Granularity, Lock, MapOptions, Mapping, Medium, PAGE};
use std::{fs, ops::Range, os::unix::fs::FileExt, path::Path};

const HUGE: u64 = 2 << 20;

/// What `/proc/self/smaps` says of the mapping that begins at the region's base: a line that starts with `key`.
fn smaps(mapping: &Mapping, key: &str) -> String {
    let smaps = fs::read_to_string("/proc/self/smaps").unwrap();
    let start = format!("{:x}-", mapping.base().as_ptr() as usize);
    let mut lines = smaps.lines().skip_while(|line| !line.starts_with(&start));
    let line = lines.find(|line| line.starts_with(key)).unwrap_or_else(|| panic!("no {key} at {start}"));
    line[key.len()..].trim().to_owned()
}

/// Bytes of a range that can be touched without a fault. (`Rss` of smaps leaves out the pages of persistent memory.)
fn resident_in(mapping: &Mapping, range: Range<u64>) -> u64 {
    const PRESENT: u64 = 1 << 63; // Documentation/admin-guide/mm/pagemap.rst
    let mut entries = vec![0; ((range.end - range.start) / PAGE * 8) as usize];
    let pagemap = fs::File::open("/proc/self/pagemap").unwrap();
    let start = mapping.base().as_ptr() as u64 + range.start;
    pagemap.read_exact_at(&mut entries, start / PAGE * 8).unwrap();
    let is_present = |entry: &&[u8]| u64::from_le_bytes((*entry).try_into().unwrap()) & PRESENT != 0;
    entries.chunks_exact(8).filter(is_present).count() as u64 * PAGE
}

fn file(options: MapOptions, path: &Path) -> Mapping {
    // SAFETY: a file of this test's own folder.
    unsafe { options.create(true).open(path) }.unwrap()
}

fn resident(mapping: &Mapping) -> u64 {
    resident_in(mapping, 0..mapping.len())
}

#[test]
fn mappings_of_2_mib_and_more_begin_at_a_multiple_of_2_mib() {
    let folder = folder();
    for (number, len) in [HUGE, HUGE + PAGE, 3 * HUGE].into_iter().enumerate() {
        let options = MapOptions::new().len(len);
        let path = folder.path().join(number.to_string());
        let made = file(options.clone(), &path);
        assert_eq!(made.base().as_ptr() as u64 % HUGE, 0);
        drop(made);
        // SAFETY: as in `file`.
        let view = unsafe { MapOptions::new().lock(Lock::Shared).open(&path) }.unwrap();
        for mapping in [view, options.anonymous().unwrap(), options.memfd().unwrap()] {
            assert_eq!(mapping.base().as_ptr() as u64 % HUGE, 0);
        }
        let small = MapOptions::new().len(PAGE).max_len(len).anonymous().unwrap();
        assert_eq!(small.base().as_ptr() as u64 % HUGE, 0, "with room to grow to them");
    }
}

#[test]
fn pages_that_were_asked_for_ahead_are_there_also_after_growth() {
    const LEN: u64 = 64 * PAGE;
    let folder = folder();
    let options = MapOptions::new().len(LEN).max_len(2 * LEN).prefault(true);
    for mapping in [
        options.anonymous().unwrap(),
        options.memfd().unwrap(),
        file(options.clone(), &folder.path().join("file")),
    ] {
        assert_eq!(resident(&mapping), LEN, "{}", mapping.medium());
        mapping.grow(2 * LEN).unwrap();
        let new = resident_in(&mapping, LEN..2 * LEN);
        assert_eq!(new, LEN, "{}", mapping.medium());
        // On DAX, XFS takes the pages of a file out of all mappings whenever it allocates blocks.
        if mapping.medium() != Medium::DaxFile(Filesystem::Xfs) {
            assert_eq!(resident(&mapping), 2 * LEN, "{}", mapping.medium());
        }
    }
    // SAFETY: as in `file`.
    let view = unsafe { options.lock(Lock::Shared).open(folder.path().join("file")) }.unwrap();
    assert_eq!(resident(&view), 2 * LEN);
    assert_eq!(smaps(&view, "Anonymous:"), "0 kB", "nothing was copied");
    let lazy = MapOptions::new().len(LEN).anonymous().unwrap();
    assert_eq!(resident(&lazy), 0);
}

#[test]
fn huge_pages_are_asked_for_when_wanted() {
    if !Path::new("/sys/kernel/mm/transparent_hugepage").exists() {
        return println!("skipped: this kernel has no transparent huge pages");
    }
    let flags = |options: MapOptions| smaps(&options.len(2 * HUGE).anonymous().unwrap(), "VmFlags:");
    assert!(flags(MapOptions::new().huge_pages(true)).contains("hg"));
    assert!(!flags(MapOptions::new()).contains("hg"));
}

/// On hugetlbfs, if the machine has huge pages to spare (`/proc/sys/vm/nr_hugepages`).
#[test]
fn a_file_on_hugetlbfs_is_mapped_and_grows_in_huge_pages() {
    let name = "large_pages::a_file_on_hugetlbfs_is_mapped_and_grows_in_huge_pages";
    let Some(path) = part() else {
        let facts = fs::read_to_string("/proc/meminfo").unwrap();
        let free = facts.lines().find_map(|line| line.strip_prefix("HugePages_Free:"));
        if free.is_none_or(|free| free.trim().parse::<u64>().unwrap() < 4) {
            return println!("skipped: fewer than 4 free huge pages");
        }
        let folder = folder();
        let output = play_on(c"hugetlbfs", "pagesize=2M,size=8M", folder.path(), name);
        assert!(output.is_none_or(|output| {
            println!("{}", String::from_utf8_lossy(&output.stdout));
            output.status.success()
        }));
        return;
    };
    let path = Path::new(&path).join("file");
    let mut mapping = file(MapOptions::new().len(1).max_len(64 << 20).prefault(true), &path);
    assert_eq!((mapping.len(), mapping.medium().to_string()), (HUGE, "hugetlbfs".into()));
    assert_eq!((mapping.granularity(), mapping.durability()), (Granularity::CacheLine, Durability::Process));
    assert_eq!(smaps(&mapping, "KernelPageSize:"), "2048 kB");
    mapping.write(HUGE - 5, b"first").unwrap();
    mapping.persist(HUGE - 5..HUGE).unwrap();
    mapping.grow(HUGE + 1).unwrap();
    assert_eq!((mapping.len(), mapping.counters().syncs), (2 * HUGE, 0));
    mapping.write(2 * HUGE - 6, b"second").unwrap();
    mapping.fill_holes().unwrap();
    // More than the filesystem has, though there are addresses for it.
    assert!(matches!(mapping.grow(16 * HUGE), Err(Error::Io { .. })));
    assert_eq!((mapping.len(), fs::metadata(&path).unwrap().len()), (2 * HUGE, 2 * HUGE));
    drop(mapping);
    // SAFETY: as in `file`.
    let mut mapping = unsafe { MapOptions::new().open(&path) }.unwrap();
    assert_eq!(&mapping.as_slice()[HUGE as usize - 5..HUGE as usize], b"first");
    assert_eq!(&mapping.as_slice()[2 * HUGE as usize - 6..], b"second");
    // A page of it that is gone is a huge one.
    fs::File::options().write(true).open(&path).unwrap().set_len(HUGE).unwrap();
    let result = mapping.write(HUGE + 3 * PAGE, b"gone");
    assert!(matches!(result, Err(Error::PageLost { offset: HUGE })), "{result:?}");
    drop(mapping);
    // SAFETY: as in `file`.
    let view = unsafe { MapOptions::new().lock(Lock::Shared).open(&path) }.unwrap();
    assert_eq!(&view.as_slice()[HUGE as usize - 5..], b"first");
}
