//! Disks without room, limits, files with holes, what is no file, and files that are cut off while they are open.

use crate::{
    cell::Cell,
    children::{part, play},
    mounts::play_on,
    pools::*,
};
use pmem_alloc::*;
use pmem_map::PAGE;
use std::{
    fs::File,
    io::{ErrorKind::StorageFull, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

const DISK: u64 = 4 << 20;

/// Runs the rest of a test in a process with a disk of [`DISK`] bytes; the path of it, in that process.
fn on_a_small_disk(name: &str) -> Option<PathBuf> {
    if let Some(path) = part() {
        return Some(path.into());
    }
    let folder = folder();
    let output = play_on(c"tmpfs", &format!("size={DISK}"), folder.path(), &format!("disks::{name}"))?;
    assert!(output.status.success(), "{output:?}");
    None
}

/// Takes what the disk has left, but for `rest` bytes.
fn fill_disk(disk: &Path, rest: u64) -> PathBuf {
    let path = disk.join("filler");
    let mut file = File::create(&path).unwrap();
    let mut len = 0;
    while file.write_all(&[1; PAGE as usize]).is_ok() {
        len += PAGE;
    }
    file.set_len(len - rest).unwrap();
    path
}

fn is_full<T>(result: &Result<T>, wanted: &str) -> bool {
    let Err(e) = result else { return false };
    matches!(e.kind(), ErrorKind::Map(pmem_map::Error::Io { action, source, .. })
        if *action == wanted && source.kind() == StorageFull)
}

fn growing(size: u64) -> PoolOptions {
    PoolOptions::new().size(size).max_size(64 << 20)
}

fn alloc(pool: &Pool, len: u64) -> Result<Ptr<u8>> {
    pool.write(|tx| {
        let mut heap = tx.open::<PHeap<u64>>("heap")?;
        let at = heap.alloc_aligned(len, 8)?;
        heap.bytes_mut(at, len)?.fill(7);
        Ok(at)
    })
}

#[test]
fn a_pool_that_does_not_fit_the_disk_is_not_made() {
    let Some(disk) = on_a_small_disk("a_pool_that_does_not_fit_the_disk_is_not_made") else { return };
    let path = disk.join("pool");
    let options = PoolOptions::new().size(2 * DISK);
    // SAFETY: (each) a file of this process alone.
    for result in [unsafe { options.create(&path) }, unsafe { options.open_or_create(&path) }] {
        assert!(is_full(&result, "extend"), "{result:?}");
        assert!(!path.exists());
    }
    // SAFETY: as above.
    unsafe { PoolOptions::new().size(DISK / 2).create(&path) }.unwrap();
}

#[test]
fn a_pool_on_a_disk_that_is_full_later_can_be_filled_and_opened_again() {
    let name = "a_pool_on_a_disk_that_is_full_later_can_be_filled_and_opened_again";
    let Some(disk) = on_a_small_disk(name) else { return };
    let path = disk.join("pool");
    let pool = create(&path).unwrap();
    pool.write(|tx| tx.open::<Cell<u64>>("c")?.set(7)).unwrap();
    fill_disk(&disk, 0);
    let full = loop {
        if let Err(e) = alloc(&pool, 5000) {
            break e;
        }
    };
    assert!(matches!(full.kind(), ErrorKind::NoSpace { .. }), "{full}");
    drop(pool);
    let pool = open(&path).unwrap();
    pool.write(|tx| tx.open::<Cell<u64>>("c")?.set(8)).unwrap();
    assert!(pool.check().unwrap().is_ok());
}

#[test]
fn growth_on_a_full_disk_is_an_error_and_takes_a_smaller_step_if_that_is_enough() {
    let name = "growth_on_a_full_disk_is_an_error_and_takes_a_smaller_step_if_that_is_enough";
    let Some(disk) = on_a_small_disk(name) else { return };
    let path = disk.join("pool");
    // SAFETY: a file of this process alone.
    let pool = unsafe { growing(SIZE).auto_grow(true).create(&path) }.unwrap();
    alloc(&pool, 800_000).unwrap();
    let filler = fill_disk(&disk, 200 << 10);
    let before = std::fs::read(&path).unwrap();
    let result = pool.grow(1 << 20);
    assert!(is_full(&result, "extend"), "{result:?}");
    assert_eq!(pool.stats().unwrap().size, SIZE);
    assert!(std::fs::read(&path).unwrap() == before);
    // The usual step, 512 KiB, does not fit the disk; what is needed does.
    alloc(&pool, 100_000).unwrap();
    alloc(&pool, 60_000).unwrap();
    let size = pool.stats().unwrap().size;
    assert!(size > SIZE && size < SIZE + (200 << 10), "{size}");
    // And then nothing does. The transaction may go on.
    pool.write(|tx| {
        let mut heap = tx.open::<PHeap<u64>>("heap")?;
        let result = heap.alloc_aligned(400_000, 8);
        assert!(is_full(&result, "extend"), "{result:?}");
        *heap.root_mut()? = 5;
        Ok(())
    })
    .unwrap();
    assert_eq!((pool.stats().unwrap().size, std::fs::metadata(&path).unwrap().len()), (size, size));
    assert!(pool.check().unwrap().problems.is_empty());
    std::fs::remove_file(filler).unwrap();
    alloc(&pool, 400_000).unwrap();
    assert!(pool.stats().unwrap().size > size);
    drop(pool);
    assert!(open(&path).unwrap().check().unwrap().problems.is_empty());
}

#[test]
fn a_sparse_copy_of_a_pool_gets_blocks_when_it_is_opened_or_stays_as_it_is() {
    let name = "a_sparse_copy_of_a_pool_gets_blocks_when_it_is_opened_or_stays_as_it_is";
    let Some(disk) = on_a_small_disk(name) else { return };
    let path = disk.join("sparse");
    let bytes = sample();
    let mut copy = File::create(&path).unwrap();
    for (number, page) in bytes.chunks(PAGE as usize).enumerate() {
        if page.iter().any(|&byte| byte != 0) {
            copy.seek(SeekFrom::Start(number as u64 * PAGE)).unwrap();
            copy.write_all(page).unwrap();
        }
    }
    copy.set_len(SIZE).unwrap();
    let filler = fill_disk(&disk, 0);
    let result = open(&path);
    assert!(is_full(&result, "allocate"), "{result:?}");
    assert!(std::fs::read(&path).unwrap() == bytes);
    // tmpfs takes memory for a hole that is read, too.
    // SAFETY: a file of this process alone.
    assert_kind!(unsafe { ReadPool::open(&path) }, ErrorKind::Map(pmem_map::Error::PageLost { .. }));
    std::fs::remove_file(filler).unwrap();
    let pool = open(&path).unwrap();
    fill_disk(&disk, 0);
    while alloc(&pool, 5000).is_ok() {}
    assert_eq!((value(&pool), pool.check().unwrap().is_ok()), (7, true));
}

#[test]
fn a_limit_on_the_length_of_files_is_an_error_and_not_a_signal() {
    let Some(path) = part() else {
        let folder = folder();
        let name = "disks::a_limit_on_the_length_of_files_is_an_error_and_not_a_signal";
        let output = play(name, folder.path().to_str().unwrap());
        assert!(output.status.success(), "{output:?}");
        return;
    };
    let limit = libc::rlimit { rlim_cur: 2 * SIZE, rlim_max: 2 * SIZE };
    // SAFETY: a structure that lives through the call.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit) }, 0);
    let (large, path) = (Path::new(&path).join("large"), Path::new(&path).join("pool"));
    // SAFETY: a file of this process alone.
    let result = unsafe { PoolOptions::new().size(3 * SIZE).create(&large) };
    let message = assert_kind!(result, ErrorKind::Map(pmem_map::Error::Io { action: "extend", .. }));
    assert!(!large.exists() && message.contains("large"), "{message}");
    // SAFETY: as above.
    let pool = unsafe { growing(SIZE).create(&path) }.unwrap();
    assert_kind!(pool.grow(2 * SIZE), ErrorKind::Map(pmem_map::Error::Io { action: "extend", .. }));
    assert_eq!(pool.grow(SIZE).unwrap(), 2 * SIZE);
    alloc(&pool, 900_000).unwrap();
}

#[test]
fn what_is_no_file_is_no_pool_and_nobody_waits_for_it() {
    // PMDK scenario 7
    let folder = folder();
    let (fifo, socket) = (folder.path().join("fifo"), folder.path().join("socket"));
    let name = std::ffi::CString::new(fifo.to_str().unwrap()).unwrap();
    // SAFETY: a string that ends with a zero.
    assert_eq!(unsafe { libc::mkfifo(name.as_ptr(), 0o600) }, 0);
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for path in [folder.path(), &fifo, &socket, Path::new("/dev/null"), Path::new("/dev/full")] {
        for result in [open(path), open_or_create(path)] {
            let message = assert_kind!(result, ErrorKind::Map(pmem_map::Error::Io { .. }));
            assert!(message.contains(path.to_str().unwrap()), "{message}");
        }
        assert_kind!(create(path), ErrorKind::AlreadyExists { .. });
        // SAFETY: nobody's.
        assert_kind!(unsafe { ReadPool::open(path) }, ErrorKind::Map(pmem_map::Error::Io { .. }));
    }
    let kept = std::fs::symlink_metadata(&fifo).unwrap();
    assert!(std::os::unix::fs::FileTypeExt::is_fifo(&kept.file_type()));
}

#[test]
fn a_pool_whose_file_is_cut_off_while_it_is_open_commits_nothing_and_ends_nobody() {
    let folder = folder();
    let path = folder.path().join("pool");
    for keep in [0, 3 * PAGE] {
        _ = std::fs::remove_file(&path);
        let pool = create(&path).unwrap();
        pool.write(|tx| tx.open::<Cell<u64>>("c")?.set(7)).unwrap();
        let tx = pool.begin().unwrap();
        tx.open::<Cell<u64>>("c").unwrap().set(8).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(keep).unwrap();
        let message = assert_kind!(tx.commit(), ErrorKind::Map(pmem_map::Error::PageLost { .. }));
        assert!(message.contains("truncated"), "{message}");
        // Nothing of it is believed from now on.
        assert_kind!(pool.read().map(drop), ErrorKind::Tx(pmem_tx::Error::Poisoned));
        assert_kind!(pool.check(), ErrorKind::Map(pmem_map::Error::PageLost { .. }));
        assert_kind!(pool.grow(SIZE), ErrorKind::Map(pmem_map::Error::PageLost { .. }));
        assert!(pool.begin().is_err() || pool.write(|_| Ok(())).is_err());
        drop(pool);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), keep);
    }
}

#[test]
fn a_check_of_a_pool_whose_file_is_cut_off_says_where() {
    let folder = folder();
    let path = folder.path().join("pool");
    let pool = create(&path).unwrap();
    pool.write(|tx| tx.open::<Cell<u64>>("c")?.set(7)).unwrap();
    File::options().write(true).open(&path).unwrap().set_len(PAGE).unwrap();
    assert_kind!(pool.check(), ErrorKind::Map(pmem_map::Error::PageLost { offset: PAGE.. }));
    drop(pool);
    assert_kind!(open(&path), ErrorKind::Truncated { expected: SIZE, found: PAGE });
}
