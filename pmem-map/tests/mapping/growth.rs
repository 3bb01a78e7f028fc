//! Growth in place.

use crate::{folder::folder, recorder::Recorder};
use pmem_map::{Error, Granularity, MapOptions, Mapping, PAGE};
use std::{fs, os::unix::fs::MetadataExt};

const MANY: u64 = 5 << 20;

fn growing(what: &str, folder: &tempfile::TempDir, options: MapOptions) -> Mapping {
    match what {
        "anonymous" => options.anonymous(),
        "memfd" => options.memfd(),
        // SAFETY: a file of this test's own folder.
        _ => unsafe { options.create(true).open(folder.path().join("file")) },
    }
    .unwrap()
}

#[test]
fn growth_keeps_addresses_and_content_and_gives_zeroes() {
    for what in ["anonymous", "memfd", "file"] {
        let folder = folder();
        let mut mapping = growing(what, &folder, MapOptions::new().len(PAGE).max_len(MANY));
        let base = mapping.base();
        assert_eq!(base.as_ptr() as u64 % (2 << 20), 0);
        mapping.write(PAGE - 3, b"end").unwrap();
        for len in [PAGE + 1, 3 * PAGE, 3 * PAGE, PAGE, MANY] {
            mapping.grow(len).unwrap();
            assert!(mapping.len() >= len);
        }
        assert_eq!((mapping.len(), mapping.base()), (MANY, base));
        assert_eq!(&mapping.as_slice()[PAGE as usize - 3..PAGE as usize], b"end");
        assert!(mapping.as_slice()[PAGE as usize..].iter().all(|byte| *byte == 0));
        mapping.write(MANY - 1, b"!").unwrap();
        mapping.persist(0..MANY).unwrap();
        if what == "file" {
            drop(mapping);
            let metadata = fs::metadata(folder.path().join("file")).unwrap();
            assert_eq!(metadata.len(), MANY);
            assert!(metadata.blocks() * 512 >= MANY, "no holes");
            assert_eq!(fs::read(folder.path().join("file")).unwrap().last(), Some(&b'!'));
        }
    }
}

#[test]
fn growth_beyond_the_reserved_addresses_is_refused_and_changes_nothing() {
    for what in ["anonymous", "memfd", "file"] {
        let folder = folder();
        let mapping = growing(what, &folder, MapOptions::new().len(PAGE).max_len(4 * PAGE));
        assert_eq!(mapping.max_len(), 4 * PAGE);
        for wanted in [4 * PAGE + 1, 1 << 40, u64::MAX] {
            let result = mapping.grow(wanted);
            assert!(matches!(result, Err(Error::CannotGrow { wanted: w, .. }) if w == wanted), "{result:?}");
            assert_eq!(mapping.len(), PAGE);
        }
        mapping.grow(4 * PAGE).unwrap();
        mapping.persist(0..4 * PAGE).unwrap();
    }
}

#[test]
fn growth_on_a_full_disk_is_an_error_that_leaves_the_old_length() {
    let folder = folder();
    let path = folder.path().join("file");
    let options = MapOptions::new().len(PAGE).max_len(1 << 46).create(true);
    // SAFETY: a file of this test's own folder.
    let mut mapping = unsafe { options.open(&path) }.unwrap();
    assert!(matches!(mapping.grow(1 << 46), Err(Error::Io { action: "extend", .. })));
    assert_eq!((mapping.len(), fs::metadata(&path).unwrap().len()), (PAGE, PAGE));
    mapping.write(0, b"alive").unwrap();
    mapping.persist(0..5).unwrap();
    mapping.grow(2 * PAGE).unwrap();
    assert_eq!(mapping.len(), 2 * PAGE);
}

#[test]
fn a_file_that_does_not_end_with_a_page_grows_from_where_it_ends() {
    let folder = folder();
    let path = folder.path().join("file");
    fs::write(&path, vec![7; 5000]).unwrap();
    // SAFETY: a file of this test's own folder.
    let mut mapping = unsafe { MapOptions::new().max_len(4 * PAGE).open(&path) }.unwrap();
    mapping.grow(5001).unwrap();
    assert_eq!(mapping.len(), 2 * PAGE);
    mapping.grow(3 * PAGE).unwrap();
    assert!(mapping.as_slice()[..5000].iter().all(|byte| *byte == 7));
    assert!(mapping.as_slice()[5000..].iter().all(|byte| *byte == 0));
    mapping.write(5000, b"more").unwrap();
    mapping.persist(5000..5004).unwrap();
    drop(mapping);
    assert_eq!(&fs::read(&path).unwrap()[4999..5005], b"\x07more\0");
}

#[test]
fn growth_tells_of_the_length_then_of_its_sync_and_publishes_it_after_that() {
    for what in ["anonymous", "memfd", "file"] {
        let (folder, recorder) = (folder(), Recorder::new());
        let options = MapOptions::new().len(PAGE).max_len(4 * PAGE).observer(recorder.clone());
        let mapping = growing(what, &folder, options);
        recorder.words();
        let before = mapping.counters();
        mapping.grow(2 * PAGE).unwrap();
        assert_eq!(recorder.words(), ["resize 4096 8192 of 4096", "file sync"], "{what}");
        let synced = u64::from(mapping.granularity() == Granularity::Page);
        assert_eq!((mapping.counters() - before).syncs, synced);
        mapping.grow(PAGE).unwrap();
        assert_eq!(recorder.words(), Vec::<String>::new());
    }
}

#[test]
fn threads_that_grow_at_once_all_get_what_they_asked_for() {
    let mapping = MapOptions::new().len(PAGE).max_len(100 * PAGE).memfd().unwrap();
    std::thread::scope(|scope| {
        for pages in 1..=100 {
            let region = &*mapping;
            scope.spawn(move || {
                region.grow(pages * PAGE).unwrap();
                assert!(region.len() >= pages * PAGE);
            });
        }
    });
    assert_eq!(mapping.len(), 100 * PAGE);
    assert_eq!(mapping.as_slice(), vec![0; 100 * PAGE as usize]);
}
