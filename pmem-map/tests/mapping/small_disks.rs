//! Disks without room, files with holes, limits: an error that leaves everything as it was, and never a signal.

use crate::{
    children::{part, play},
    folder::folder,
    mounts::play_on,
};
use pmem_map::{Error, MapOptions, Mapping, PAGE};
use std::{
    fs,
    io::{ErrorKind, Write},
    path::Path,
};

const DISK: u64 = 1 << 20;

/// Runs the rest of a test in a process with a disk of [`DISK`] bytes; the path of it, in that process.
fn on_a_small_disk(name: &str) -> Option<std::path::PathBuf> {
    if let Some(path) = part() {
        return Some(path.into());
    }
    let folder = folder();
    let output = play_on(c"tmpfs", &format!("size={DISK}"), folder.path(), &format!("small_disks::{name}"))?;
    assert!(output.status.success(), "{output:?}");
    None
}

fn open(options: MapOptions, path: &Path) -> Result<Mapping, Error> {
    // SAFETY: files of this process's own disk.
    unsafe { options.open(path) }
}

/// Takes what the disk has left.
fn fill(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("filler");
    let mut file = fs::File::create(&path).unwrap();
    while file.write_all(&[1; PAGE as usize]).is_ok() {}
    path
}

fn free_bytes(folder: &Path) -> u64 {
    let path = std::ffi::CString::new(std::os::unix::ffi::OsStrExt::as_bytes(folder.as_os_str())).unwrap();
    // SAFETY: a string that ends with a zero, and room for the answer.
    unsafe {
        let mut facts: libc::statfs = std::mem::zeroed();
        assert_eq!(libc::statfs(path.as_ptr(), &raw mut facts), 0);
        facts.f_bfree * facts.f_bsize as u64
    }
}

#[track_caller]
fn assert_no_room<T: std::fmt::Debug>(result: Result<T, Error>, wanted: &str) {
    match result {
        Err(Error::Io { action, source, .. }) => {
            assert_eq!((action, source.kind()), (wanted, ErrorKind::StorageFull));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_that_does_not_fit_the_disk_is_neither_made_nor_extended_and_takes_nothing() {
    let name = "a_file_that_does_not_fit_the_disk_is_neither_made_nor_extended_and_takes_nothing";
    let Some(disk) = on_a_small_disk(name) else { return };
    let (path, other) = (disk.join("file"), disk.join("other"));
    let mut mapping = open(MapOptions::new().len(DISK / 2).max_len(64 * DISK).create(true), &path).unwrap();
    let free = free_bytes(&disk);
    assert!(free < DISK / 2 + PAGE);
    for len in [DISK / 2 + PAGE, DISK, 8 * DISK] {
        assert_no_room(open(MapOptions::new().len(len).create(true), &other), "extend");
        assert_no_room(mapping.grow(DISK / 2 + len), "extend");
        assert!(!other.exists());
        assert_eq!((mapping.len(), fs::metadata(&path).unwrap().len()), (DISK / 2, DISK / 2));
        assert_eq!(free_bytes(&disk), free);
    }
    mapping.write(0, b"goes on").unwrap();
    mapping.grow(DISK / 2 + free).unwrap();
    mapping.write(mapping.len() - 1, b"!").unwrap();
    mapping.persist(0..mapping.len()).unwrap();
}

#[test]
fn no_store_to_a_file_that_was_made_or_grown_meets_a_full_disk() {
    let name = "no_store_to_a_file_that_was_made_or_grown_meets_a_full_disk";
    let Some(disk) = on_a_small_disk(name) else { return };
    let options = MapOptions::new().len(DISK / 4).max_len(DISK).create(true);
    let mut mapping = open(options, &disk.join("file")).unwrap();
    mapping.grow(DISK / 2).unwrap();
    fill(&disk);
    assert!(free_bytes(&disk) < PAGE);
    mapping.as_mut_slice().fill(7); // not guarded: a signal would end the process
    mapping.persist(0..DISK / 2).unwrap();
    assert!(fs::read(disk.join("file")).unwrap().iter().all(|byte| *byte == 7));
}

#[test]
fn the_holes_of_a_file_get_blocks_when_asked_for_or_the_disk_is_said_to_be_full() {
    let name = "the_holes_of_a_file_get_blocks_when_asked_for_or_the_disk_is_said_to_be_full";
    let Some(disk) = on_a_small_disk(name) else { return };
    let path = disk.join("sparse");
    fs::File::create(&path).unwrap().set_len(DISK / 2).unwrap();
    let filler = fill(&disk);
    let mut mapping = open(MapOptions::new(), &path).unwrap();
    assert_no_room(mapping.fill_holes(), "allocate");
    // A store to a hole, on the way or by somebody who did not ask: an error where the library stores.
    let result = mapping.write(3 * PAGE + 7, b"nowhere");
    assert!(matches!(result, Err(Error::PageLost { offset }) if offset == 3 * PAGE), "{result:?}");
    assert!(mapping.is_poisoned());
    drop(mapping);
    fs::remove_file(filler).unwrap();
    let mut mapping = open(MapOptions::new(), &path).unwrap();
    mapping.fill_holes().unwrap();
    mapping.fill_holes().unwrap(); // nothing to do
    fill(&disk);
    mapping.as_mut_slice().fill(7);
    mapping.persist(0..DISK / 2).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), DISK / 2);
}

#[test]
fn a_limit_on_the_length_of_files_is_an_error_and_not_a_signal() {
    let name = "small_disks::a_limit_on_the_length_of_files_is_an_error_and_not_a_signal";
    let Some(path) = part() else {
        let folder = folder();
        let output = play(name, folder.path().to_str().unwrap());
        assert!(output.status.success(), "{output:?}");
        return;
    };
    let limit = libc::rlimit { rlim_cur: 16 * PAGE, rlim_max: 16 * PAGE };
    // SAFETY: a structure that lives through the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) }, 0);
    let (file, large) = (Path::new(&path).join("file"), Path::new(&path).join("large"));
    let options = |len| MapOptions::new().len(len).max_len(64 * PAGE).create(true);
    let too_large = |result: Result<(), Error>| match result {
        Err(Error::Io { action: "extend", source, .. }) => {
            assert_eq!(source.raw_os_error(), Some(libc::EFBIG))
        }
        other => panic!("{other:?}"),
    };
    too_large(open(options(17 * PAGE), &large).map(drop));
    assert!(!large.exists());
    let mapping = open(options(PAGE), &file).unwrap();
    too_large(mapping.grow(17 * PAGE));
    assert_eq!((mapping.len(), fs::metadata(&file).unwrap().len()), (PAGE, PAGE));
    mapping.grow(16 * PAGE).unwrap();
}
