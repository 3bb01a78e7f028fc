//! Files on disk and in memory: made, found, judged, refused.

use crate::{folder::folder, recorder::Recorder};
use pmem_map::{
    Durability, Error, Filesystem, FlushMethod, Granularity, Lock, MapOptions, Mapping, Medium, PAGE,
};
use std::{fs, io::ErrorKind, path::Path};

fn open(options: &MapOptions, path: &Path) -> Result<Mapping, Error> {
    // SAFETY: files of this test's own folder, which nobody else knows.
    unsafe { options.open(path) }
}

fn create(path: &Path, len: u64) -> Mapping {
    open(&MapOptions::new().len(len).create(true), path).unwrap()
}

#[track_caller]
fn assert_io(result: Result<Mapping, Error>, action: &str, kind: ErrorKind) {
    match result {
        Err(Error::Io { action: found, source, .. }) => assert_eq!((found, source.kind()), (action, kind)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_written_and_persisted_is_there_when_the_file_is_mapped_again() {
    let folder = folder();
    let path = folder.path().join("file");
    let mut mapping = create(&path, 10_000);
    assert_eq!(mapping.len(), 3 * PAGE, "whole pages");
    assert!(mapping.as_slice().iter().all(|byte| *byte == 0));
    mapping.write(5000, b"hello").unwrap();
    mapping.persist(5000..5005).unwrap();
    drop(mapping);
    assert_eq!(&fs::read(&path).unwrap()[5000..5005], b"hello");
    let mapping = open(&MapOptions::new(), &path).unwrap();
    assert_eq!(&mapping.as_slice()[5000..5005], b"hello");
}

#[test]
fn the_convenient_open_makes_a_missing_file_and_keeps_an_existing_one_as_it_is() {
    let folder = folder();
    let path = folder.path().join("file");
    for len in [PAGE, 7 * PAGE, 1] {
        // SAFETY: a file of this test's own folder.
        let mapping = unsafe { Mapping::open(&path, len) }.unwrap();
        assert_eq!(mapping.len(), PAGE);
    }
}

#[test]
fn an_existing_file_is_mapped_with_its_own_length_and_left_untouched() {
    let folder = folder();
    let path = folder.path().join("file");
    let content: Vec<u8> = (0..9001).map(|i| i as u8).collect();
    fs::write(&path, &content).unwrap();
    let mapping = open(&MapOptions::new().len(1 << 20).create(true), &path).unwrap();
    assert_eq!(mapping.as_slice(), content);
    mapping.check(9000, 1).unwrap();
    assert!(matches!(mapping.check(9000, 2), Err(Error::OutOfBounds { start: 9000, end: 9002, len: 9001 })));
    mapping.persist(8999..9001).unwrap();
    drop(mapping);
    assert_eq!(fs::read(&path).unwrap(), content);
}

#[test]
fn the_medium_of_the_test_folder_is_what_the_kernel_says_it_is() {
    let folder = folder();
    let mapping = create(&folder.path().join("file"), PAGE);
    let name = mapping.medium().to_string();
    println!("{name}: {:?}, {:?}, {}", mapping.granularity(), mapping.durability(), mapping.flush_method());
    let expected = match name.as_str() {
        "tmpfs" | "ramfs" | "hugetlbfs" => (Granularity::CacheLine, Durability::Process),
        "ext4" | "XFS" | "Btrfs" => (Granularity::Page, Durability::Power),
        dax if dax.starts_with("DAX") => {
            assert!(
                mapping.granularity() != Granularity::Page && mapping.durability() >= Durability::Claimed
            );
            return;
        }
        _ => (Granularity::Page, Durability::Unknown),
    };
    assert_eq!((mapping.granularity(), mapping.durability()), expected);
}

#[test]
fn a_file_on_shared_memory_is_flushed_by_lines_and_survives_the_process() {
    let shared_memory = Path::new("/dev/shm");
    if !shared_memory.is_dir() {
        return println!("skipped: no /dev/shm here");
    }
    let folder = tempfile::tempdir_in(shared_memory).unwrap();
    let mapping = create(&folder.path().join("file"), PAGE);
    assert_eq!(mapping.medium().to_string(), "tmpfs");
    assert_eq!((mapping.granularity(), mapping.durability()), (Granularity::CacheLine, Durability::Process));
    mapping.persist(0..PAGE).unwrap();
    assert_eq!((mapping.counters().lines_flushed, mapping.counters().syncs), (64, 0));
}

#[test]
fn memory_says_that_it_is_memory() {
    for (mapping, name) in
        [(Mapping::anonymous(1).unwrap(), "anonymous memory"), (Mapping::memfd(1).unwrap(), "memfd")]
    {
        assert_eq!(mapping.medium().to_string(), name);
        assert_eq!(
            (mapping.granularity(), mapping.durability()),
            (Granularity::CacheLine, Durability::Process)
        );
        assert_eq!(mapping.as_slice(), vec![0; PAGE as usize]);
    }
}

#[test]
fn emulated_persistent_memory_is_flushed_by_lines_and_promises_the_process_only() {
    let folder = folder();
    let options = MapOptions::new().len(PAGE).create(true).emulate_pmem(true);
    let mapping = open(&options, &folder.path().join("file")).unwrap();
    assert!(matches!(mapping.medium(), Medium::EmulatedPmem(_)));
    assert_eq!((mapping.granularity(), mapping.durability()), (Granularity::CacheLine, Durability::Process));
    assert_eq!(mapping.flush_method(), FlushMethod::detect());
    mapping.persist(0..1).unwrap();
    assert_eq!(mapping.counters().syncs, 0);
}

#[test]
fn a_creation_tells_its_observer_what_it_did_in_order() {
    let folder = folder();
    let recorder = Recorder::new();
    let options = MapOptions::new().len(PAGE).create(true).observer(recorder.clone());
    let mapping = open(&options, &folder.path().join("file")).unwrap();
    let words = recorder.words();
    let at = |word: &str| words.iter().position(|found| found.starts_with(word)).unwrap();
    assert_eq!(words.len(), 4, "{words:?}");
    assert!(at("resize 0 4096") < at("file sync") && at("file sync") < at("directory sync"));
    assert!(at("name") < at("directory sync"));
    drop(mapping);
    let _mapping = open(&options, &folder.path().join("file")).unwrap();
    assert_eq!(
        recorder.words(),
        ["directory sync"],
        "an existing file is only mapped, and its name made durable"
    );
}

#[test]
fn opening_a_file_to_write_syncs_its_folder_and_a_shared_view_does_not() {
    let folder = folder();
    let path = folder.path().join("file");
    drop(create(&path, PAGE));
    let link = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for path in [&path, &link] {
        let recorder = Recorder::new();
        drop(open(&MapOptions::new().observer(recorder.clone()), path).unwrap());
        assert_eq!(recorder.words(), ["directory sync"]);
        let view = MapOptions::new().lock(Lock::Shared).observer(recorder.clone());
        drop(open(&view, path).unwrap());
        assert!(recorder.words().is_empty());
    }
}

#[test]
fn no_length_that_a_mapping_cannot_have_is_tried() {
    let folder = folder();
    let path = folder.path().join("file");
    for len in [u64::MAX, u64::MAX - PAGE, i64::MAX as u64] {
        let options = MapOptions::new().len(len).create(true);
        assert!(matches!(open(&options, &path), Err(Error::BadLength { .. })));
        assert!(matches!(options.anonymous(), Err(Error::BadLength { .. })));
        assert!(matches!(options.memfd(), Err(Error::BadLength { .. })));
        let growing = MapOptions::new().len(1).max_len(len).create(true);
        assert!(open(&growing, &path).is_err());
        assert!(growing.anonymous().is_err());
    }
    // More than the address space, yet a length.
    assert!(matches!(open(&MapOptions::new().len(1 << 60).create(true), &path), Err(Error::Io { .. })));
    assert!(matches!(Mapping::anonymous(1 << 60), Err(Error::Io { .. })));
    assert!(!path.exists(), "a creation that fails leaves no file");
}

#[test]
fn a_file_larger_than_the_disk_is_not_made() {
    let folder = folder();
    let path = folder.path().join("file");
    match open(&MapOptions::new().len(1 << 46).create(true), &path) {
        Err(Error::Io { action: "extend", path: found, .. }) => assert_eq!(found, path),
        other => panic!("{other:?}"),
    }
    assert!(!path.exists());
}

#[test]
fn a_missing_file_is_not_found_unless_it_is_to_be_made() {
    let folder = folder();
    assert_io(open(&MapOptions::new().len(PAGE), &folder.path().join("none")), "open", ErrorKind::NotFound);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_file_in_a_missing_directory_cannot_be_made() {
    let folder = folder();
    let path = folder.path().join("none").join("file");
    assert_io(open(&MapOptions::new().len(PAGE).create(true), &path), "create", ErrorKind::NotFound);
}

#[test]
fn an_empty_file_is_refused_and_left_alone() {
    let folder = folder();
    let path = folder.path().join("file");
    fs::write(&path, "").unwrap();
    let result = open(&MapOptions::new().len(PAGE).create(true), &path);
    assert!(matches!(result, Err(Error::BadLength { len: 0, .. })), "{result:?}");
    assert_eq!(fs::metadata(&path).unwrap().len(), 0);
}

#[test]
fn what_is_not_a_file_is_refused() {
    let folder = folder();
    let create = MapOptions::new().len(PAGE).create(true);
    assert_io(open(&create, folder.path()), "open", ErrorKind::IsADirectory);
    let shared = MapOptions::new().lock(Lock::Shared);
    assert_io(open(&shared, folder.path()), "map", ErrorKind::IsADirectory);
    assert_io(open(&create, Path::new("/dev/null")), "map", ErrorKind::InvalidInput);
}

#[test]
fn a_file_without_permission_is_refused() {
    // SAFETY: a system call without arguments.
    if unsafe { libc::geteuid() } == 0 {
        return println!("skipped: root is permitted everything");
    }
    let folder = folder();
    let path = folder.path().join("file");
    fs::write(&path, vec![0; PAGE as usize]).unwrap();
    let mut permissions = fs::metadata(&path).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&path, permissions).unwrap();
    assert_io(open(&MapOptions::new(), &path), "open", ErrorKind::PermissionDenied);
    open(&MapOptions::new().lock(Lock::Shared), &path).unwrap();
}

#[test]
fn a_memmap2_mapping_is_written_back_through_itself() {
    let folder = folder();
    let path = folder.path().join("file");
    fs::write(&path, vec![0; 3 * PAGE as usize]).unwrap();
    let file = fs::File::options().read(true).write(true).open(&path).unwrap();
    // SAFETY: a file of this test's own folder.
    let map = unsafe { memmap2::MmapMut::map_mut(&file) }.unwrap();
    let mut mapping = Mapping::from_mmap(map).unwrap();
    assert_eq!(mapping.medium(), Medium::Memmap);
    assert_eq!((mapping.granularity(), mapping.durability()), (Granularity::Page, Durability::Unknown));
    mapping.write(PAGE, b"through").unwrap();
    mapping.flush(PAGE..PAGE + 7).unwrap();
    mapping.flush(3 * PAGE - 1..3 * PAGE).unwrap();
    mapping.flush(0..1).unwrap();
    mapping.drain().unwrap();
    assert_eq!(mapping.counters().syncs, 1, "three pages in a row");
    assert_eq!(&fs::read(&path).unwrap()[PAGE as usize..][..7], b"through");
    assert!(matches!(mapping.grow(4 * PAGE), Err(Error::CannotGrow { .. })));
}

#[test]
fn a_memmap2_mapping_that_does_not_begin_at_a_page_is_refused() {
    let file = tempfile::tempfile_in(folder().path()).unwrap();
    file.set_len(2 * PAGE).unwrap();
    // SAFETY: a nameless file.
    let map = unsafe { memmap2::MmapOptions::new().offset(64).map_mut(&file) }.unwrap();
    assert!(matches!(Mapping::from_mmap(map), Err(Error::BadLength { .. })));
}

/// With a device to spare, of which the content is lost: `PMEM_TEST_DAX_DEVICE=/dev/dax0.0`.
#[test]
fn a_dax_device_keeps_what_was_persisted_and_its_length() {
    let Some(path) = std::env::var_os("PMEM_TEST_DAX_DEVICE") else {
        return println!("skipped: PMEM_TEST_DAX_DEVICE names no device");
    };
    let path = Path::new(&path);
    let mut mapping = open(&MapOptions::new(), path).unwrap();
    println!("{} bytes, {:?}, {:?}", mapping.len(), mapping.granularity(), mapping.durability());
    let (medium, granularity, len) = (mapping.medium(), mapping.granularity(), mapping.len());
    assert!(medium == Medium::DaxDevice && granularity != Granularity::Page);
    mapping.write(len - 5, b"there").unwrap();
    mapping.persist(len - 5..len).unwrap();
    assert!(matches!(mapping.grow(len + 1), Err(Error::CannotGrow { .. })));
    assert!(matches!(open(&MapOptions::new(), path), Err(Error::Locked { .. })));
    drop(mapping);
    assert_io(open(&MapOptions::new().lock(Lock::Shared), path), "map", ErrorKind::InvalidInput);
    assert_eq!(&open(&MapOptions::new(), path).unwrap().as_slice()[len as usize - 5..], b"there");
}

/// With a device to spare, of which the content is lost: `PMEM_TEST_BLOCK_DEVICE=/dev/pmem0`.
#[test]
fn a_block_device_is_written_back_by_pages_and_keeps_its_length() {
    let Some(path) = std::env::var_os("PMEM_TEST_BLOCK_DEVICE") else {
        return println!("skipped: PMEM_TEST_BLOCK_DEVICE names no device");
    };
    let path = Path::new(&path);
    let mut mapping = open(&MapOptions::new(), path).unwrap();
    println!("{}: {} bytes, {:?}", mapping.medium(), mapping.len(), mapping.durability());
    let (medium, granularity, len) = (mapping.medium(), mapping.granularity(), mapping.len());
    // What is at its path is on a tmpfs, `/dev`, which it has nothing to do with.
    assert!(medium == Medium::File(Filesystem::BlockDevice) && granularity == Granularity::Page, "{medium}");
    assert!(mapping.durability() != Durability::Process);
    mapping.write(len - 5, b"there").unwrap();
    mapping.persist(len - 5..len).unwrap();
    assert_eq!((mapping.counters().syncs, mapping.counters().lines_flushed), (1, 1));
    // SAFETY: nobody else knows these bytes.
    unsafe { mapping.write_through(4090, b"through") }.unwrap();
    assert_eq!(&mapping.as_slice()[4090..4097], b"through");
    assert!(matches!(mapping.grow(len + 1), Err(Error::CannotGrow { .. })));
    assert!(matches!(open(&MapOptions::new(), path), Err(Error::Io { .. } | Error::Locked { .. })));
    drop(mapping);
    let mut view = open(&MapOptions::new().lock(Lock::Shared), path).unwrap();
    assert_eq!(view.medium(), Medium::PrivateView(Filesystem::BlockDevice));
    view.write(len - 5, b"stays").unwrap();
    drop(view);
    assert_eq!(&open(&MapOptions::new(), path).unwrap().as_slice()[len as usize - 5..], b"there");
    let emulated = open(&MapOptions::new().emulate_pmem(true), path).unwrap();
    assert_eq!(
        (emulated.granularity(), emulated.durability()),
        (Granularity::CacheLine, Durability::Process)
    );
}
