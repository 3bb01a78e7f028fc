//! What is mapped, and what the mount shows of it.

use crate::{leases, map, mounted, report};
use nova_fuse::Options;
use pmem_map::{
    Durability, Filesystem, Granularity, MapOptions, Medium,
    lease::{LEASE, Page, TAKE},
};
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::{fd::AsRawFd, unix::fs::FileExt},
    path::Path,
};

fn open(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}

/// What the ioctl says of an open file.
fn asked(file: &File) -> io::Result<Box<Page>> {
    let mut page = Page::asking(TAKE, 0, 0);
    // SAFETY: a descriptor that is open, and a page to read from and write to.
    match unsafe { libc::ioctl(file.as_raw_fd(), LEASE as libc::Ioctl, &raw mut *page) } {
        0 => Ok(page),
        _ => Err(io::Error::last_os_error()),
    }
}

#[test]
fn a_file_of_a_mount_is_mapped_in_the_image_and_stores_are_no_requests() {
    let Some(mount) = mounted(&Options::new()) else { return };
    let path = mount.path("file");
    // SAFETY: a file of this test's own.
    let mut mapping = unsafe { MapOptions::new().len(1 << 20).create(true).open(&path) }.unwrap();
    assert_eq!(mapping.medium(), Medium::Leased(Filesystem::Tmpfs));
    assert_eq!((mapping.granularity(), mapping.durability()), (Granularity::CacheLine, Durability::Process));
    assert_eq!(mapping.len(), 1 << 20);
    let before = mount.writes();
    for page in 0..256 {
        mapping.write(page * 4096 + 77, b"stored").unwrap();
        mapping.persist(page * 4096 + 77..page * 4096 + 83).unwrap();
    }
    assert_eq!((mapping.counters().syncs, mapping.counters().drains), (0, 256));
    // In the volume at once, and read so by everybody.
    assert_eq!(mount.nova().read_file("/file").unwrap()[255 * 4096 + 77..][..6], *b"stored");
    assert_eq!(fs::read(&path).unwrap()[77..83], *b"stored");
    assert_eq!(mount.writes(), before);
    let lease = &leases(&path)[..];
    assert!(
        matches!(lease, [lease] if lease.pid == std::process::id() && lease.bytes == 1 << 20),
        "{lease:?}"
    );
    assert_eq!(report(&path).protected, Some(false));
    drop(mapping);
    // It was given back: no waiting for the kernel.
    assert_eq!((leases(&path), report(&path).protected), (vec![], Some(true)));
    assert_eq!(fs::read(&path).unwrap()[77..83], *b"stored");
    mount.check();
}

#[test]
fn reads_and_writes_through_the_mount_and_stores_see_each_other() {
    let Some(mount) = mounted(&Options::new()) else { return };
    let path = mount.file("file", 300_000, 1);
    let mut mapping = map(&path);
    let file = open(&path);
    let mut model = vec![1; 300_000];
    let mut random = fastrand::Rng::with_seed(11);
    for step in 0..500u32 {
        let len = random.usize(1..9000);
        let at = random.usize(..model.len() - len);
        let bytes = vec![step as u8; len];
        model[at..at + len].copy_from_slice(&bytes);
        match step % 2 {
            0 => mapping.write(at as u64, &bytes).unwrap(),
            _ => file.write_all_at(&bytes, at as u64).unwrap(),
        }
        let from = at.saturating_sub(5000);
        let mut read = vec![0; (len + 10_000).min(model.len() - from)];
        file.read_exact_at(&mut read, from as u64).unwrap();
        assert!(read == model[from..from + read.len()], "read after step {step}");
        assert!(mapping.as_slice()[from..from + read.len()] == read, "loaded after step {step}");
    }
    drop((mapping, file));
    assert!(fs::read(&path).unwrap() == model);
    mount.check();
}

#[test]
fn a_mapping_grows_with_its_file_and_stays_where_it_is() {
    let Some(mount) = mounted(&Options::new()) else { return };
    // Not of whole pages at first.
    let path = mount.file("file", 10_000, 1);
    let mut mapping = map(&path);
    let base = mapping.base();
    assert_eq!(mapping.len(), 10_000);
    for len in [10_001u64, 50_000, 3 << 20] {
        mapping.grow(len).unwrap();
        assert!(mapping.len() >= len && mapping.base() == base);
        assert_eq!(fs::metadata(&path).unwrap().len(), mapping.len());
        mapping.write(len - 1, b"x").unwrap();
        mapping.persist(len - 1..len).unwrap();
    }
    let content = fs::read(&path).unwrap();
    assert!(
        content[..10_000].iter().all(|byte| *byte == 1)
            && content[10_001..49_999].iter().all(|byte| *byte == 0)
    );
    assert_eq!((content[10_000], content[49_999], content[(3 << 20) - 1]), (b'x', b'x', b'x'));
    let full = mapping.grow(1 << 29).unwrap_err();
    assert!(full.to_string().contains("No space left"), "{full}");
    assert_eq!(fs::metadata(&path).unwrap().len(), mapping.len());
    drop(mapping);
    mount.check();
}

/// Each extent is asked for: a page of the answer has a thousand.
#[test]
fn a_file_in_more_pieces_than_an_answer_has_room_for_is_mapped() {
    let Some(mount) = mounted(&Options::new()) else { return };
    let nova = mount.nova();
    let file = nova.create_file("/file").unwrap();
    // Each second block first: neighbours in the file are none in the volume.
    for n in (0..2300u64).step_by(2).chain((1..2300).step_by(2)) {
        file.write_at(n * 4096, &[n as u8; 4096]).unwrap();
    }
    let path = mount.path("file");
    assert!(report(&path).extents > 2 * 1000, "{:?}", report(&path));
    let mut mapping = map(&path);
    assert!((0..2300).all(|n| mapping.as_slice()[n * 4096..][..4096] == [n as u8; 4096]));
    mapping.write(2299 * 4096, b"last").unwrap();
    assert_eq!(file.read_to_end().unwrap()[2299 * 4096..][..4], *b"last");
    drop((mapping, file));
    mount.check();
}

#[test]
fn what_cannot_be_had_while_a_file_is_lent_is_refused() {
    let Some(mount) = mounted(&Options::new()) else { return };
    let path = mount.file("file", 100_000, 1);
    let mapping = map(&path);
    let file = open(&path);
    let busy = |result: io::Result<()>| assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::ETXTBSY));
    busy(file.set_len(5));
    busy(file.set_len(1 << 20));
    busy(fs::write(&path, b"truncates").map(drop));
    // SAFETY: a call of the system with a descriptor that is open.
    let punched = unsafe {
        let how = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        libc::fallocate(file.as_raw_fd(), how, 0, 4096)
    };
    busy(if punched == 0 { Ok(()) } else { Err(io::Error::last_os_error()) });
    busy(asked(&file).map(drop));
    // SAFETY: it is refused.
    let second = unsafe { MapOptions::new().open(&path) }.unwrap_err();
    assert!(matches!(second, pmem_map::Error::Locked { .. }), "{second}");
    drop(mapping);
    file.set_len(5).unwrap();
    drop(file);
    mount.check();
}

#[test]
fn a_mount_with_kernel_pages_lends_nothing_and_is_mapped_through_them() {
    let Some(mount) = mounted(&Options::new().page_cache(true)) else { return };
    let path = mount.file("file", 100_000, 1);
    assert_eq!(asked(&open(&path)).unwrap_err().raw_os_error(), Some(libc::EBUSY));
    // SAFETY: a file of this test's own.
    let mut mapping = unsafe { MapOptions::new().open(&path) }.unwrap();
    assert_eq!(mapping.medium(), Medium::File(Filesystem::Fuse));
    assert_eq!((mapping.granularity(), mapping.durability()), (Granularity::Page, Durability::Unknown));
    mapping.write(5000, b"stored").unwrap();
    mapping.persist(5000..5006).unwrap();
    assert_eq!(mount.nova().read_file("/file").unwrap()[5000..5006], *b"stored");
    drop(mapping);
    mount.check();
}

#[test]
fn who_does_not_want_a_lease_or_to_write_gets_none() {
    let Some(mount) = mounted(&Options::new()) else { return };
    let path = mount.file("file", 100_000, 1);
    // SAFETY: a file of this test's own.
    let mapping = unsafe { MapOptions::new().lease(false).open(&path) }.unwrap();
    assert_eq!(
        (mapping.medium(), mapping.granularity()),
        (Medium::File(Filesystem::Fuse), Granularity::Page)
    );
    assert_eq!(leases(&path), []);
    drop(mapping);
    let read_only = File::open(&path).unwrap();
    assert_eq!(asked(&read_only).unwrap_err().raw_os_error(), Some(libc::EACCES));
    let folder = File::open(mount.folder.path()).unwrap();
    assert!(asked(&folder).is_err());
    drop((read_only, folder));
    mount.check();
}
