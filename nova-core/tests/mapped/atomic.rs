//! Atomic mappings: what is stored becomes the file's at `msync`, all of it or none.

use crate::{format, pattern, volume};
use nova_core::{BLOCK, Code, Error, FormatOptions, MountOptions, Nova};
use pmem_map::{Dirtiness, Mapping};

/// The ways to know which pages are dirty. (The first is the second, where the kernel has no means for it.)
const BOTH: [Dirtiness; 2] = [Dirtiness::Scan, Dirtiness::Faults];

#[test]
fn stores_become_the_files_at_msync_and_not_before() {
    BOTH.into_iter().for_each(stores_become);
}

fn stores_become(dirtiness: Dirtiness) {
    let (memory, nova) = volume(16 << 20);
    let file = nova.create_file("/file").unwrap();
    let mut expected = pattern(10_000);
    file.write_at(0, &expected).unwrap();
    let mut mapping = file.map_atomic_with(dirtiness).unwrap();
    assert_eq!(*mapping, expected[..]);
    assert_eq!(mapping.msync().unwrap(), 0, "nothing was stored");
    for round in 1..=5u8 {
        mapping[5] = round;
        mapping[9_999] = round;
        assert_eq!(mapping.dirty_pages(), 2);
        assert_eq!(file.read_to_end().unwrap(), expected);
        assert_eq!(memory.mount_killed().read_file("/file").unwrap(), expected);
        let before = nova.counters();
        assert_eq!(mapping.msync().unwrap(), 2);
        assert_eq!((nova.counters() - before).drains, 2);
        (expected[5], expected[9_999]) = (round, round);
        assert_eq!((mapping.dirty_pages(), file.read_to_end().unwrap()), (0, expected.clone()));
        assert_eq!(memory.mount_killed().read_file("/file").unwrap(), expected);
    }
    mapping[77] = 99;
    drop(mapping);
    assert_eq!(file.read_to_end().unwrap(), expected, "what was not made durable is given up");
    file.write_at(0, b"free").unwrap();
    drop(file);
    assert!(nova.fsck().unwrap().is_clean());
    let nova = Nova::mount(nova.unmount().unwrap()).unwrap();
    expected[..4].copy_from_slice(b"free");
    assert_eq!(nova.read_file("/file").unwrap(), expected);
}

#[test]
fn two_atomic_mappings_of_a_file_and_other_kinds_beside_one_are_refused() {
    let (_, nova) = volume(16 << 20);
    let file = nova.create_file("/file").unwrap();
    assert_eq!(file.map_atomic().unwrap_err().code(), Some(Code::Invalid), "it is empty");
    file.write_at(0, &[1; 5000]).unwrap();
    let other = nova.create_file("/other").unwrap();
    other.write_at(0, &[1; 5000]).unwrap();
    let mut mapping = file.map_atomic().unwrap();
    let _other = other.map_atomic().unwrap();
    let again = nova.open("/file").unwrap();
    for refused in [
        again.map_atomic().map(drop),
        again.map().map(drop),
        again.map_read().map(drop),
        again.write_at(0, b"x"),
        again.set_len(1),
        again.clone_range(&other, 0, 0, 4096),
    ] {
        assert!(matches!(refused, Err(Error::Mapped)), "{refused:?}");
    }
    // A file without a name is one still.
    nova.remove_file("/file").unwrap();
    mapping[0] = 2;
    mapping.msync().unwrap();
    assert_eq!(again.read_to_end().unwrap()[..2], [2, 1]);
    drop(mapping);
    for mapping in [again.map().map(drop), again.map_read().map(drop)] {
        mapping.unwrap();
    }
    let mapping = again.map().unwrap();
    assert!(matches!(again.map_atomic(), Err(Error::Mapped)));
    drop(mapping);
}

#[test]
fn holes_reserved_and_shared_blocks_get_blocks_where_they_are_stored_to() {
    let (_, nova) = volume(16 << 20);
    let (file, source) = (nova.create_file("/file").unwrap(), nova.create_file("/source").unwrap());
    let bytes = pattern(4 * BLOCK as usize);
    source.write_at(0, &bytes).unwrap();
    file.clone_range(&source, 0, 2 * BLOCK, 4 * BLOCK).unwrap();
    file.allocate(8 * BLOCK, 2 * BLOCK, nova_core::Allocate::Grow).unwrap();
    file.set_len(20 * BLOCK).unwrap();
    let mut expected = file.read_to_end().unwrap();
    let mut mapping = file.map_atomic().unwrap();
    for block in [0, 3, 9, 15] {
        let at = (block * BLOCK + 100) as usize;
        mapping[at..at + 50].fill(7);
        expected[at..at + 50].fill(7);
    }
    assert_eq!(mapping.msync().unwrap(), 4);
    drop(mapping);
    assert_eq!((file.read_to_end().unwrap(), source.read_to_end().unwrap()), (expected.clone(), bytes));
    assert_eq!(nova.metadata("/file").unwrap().blocks, (4 + 2 + 2) * 8);
    assert!(nova.fsck().unwrap().is_clean());
    drop((file, source));
    let nova = Nova::mount(nova.unmount().unwrap()).unwrap();
    assert_eq!(nova.read_file("/file").unwrap(), expected);
}

#[test]
fn it_grows_with_msync_and_not_before() {
    BOTH.into_iter().for_each(it_grows_with);
}

fn it_grows_with(dirtiness: Dirtiness) {
    let (memory, nova) = volume(32 << 20);
    let file = nova.create_file("/file").unwrap();
    file.write_at(0, &[9; 4096]).unwrap();
    file.set_len(100).unwrap(); // its block has bytes behind the end
    let mut mapping = file.map_atomic_with(dirtiness).unwrap();
    let mut expected = vec![9; 100];
    for len in [200, 4096, 5000, 1 << 20, (1 << 20) + 1, 9 << 20] {
        mapping.grow(len).unwrap();
        mapping.grow(10).unwrap();
        assert_eq!((mapping.len() as u64, file.len().unwrap()), (len, expected.len() as u64));
        let last = mapping.len() - 1;
        if len != 4096 {
            mapping[last] = 5;
        }
        mapping.msync().unwrap();
        expected.resize(len as usize, 0);
        if len != 4096 {
            expected[last] = 5;
        }
        assert!(file.read_to_end().unwrap() == expected, "{len}");
        assert!(*mapping == expected[..], "{len}");
        assert!(memory.mount_killed().read_file("/file").unwrap() == expected, "{len}");
        // In one range again: pages of both parts are known.
        (mapping[3], mapping[last]) = (len as u8, 6);
        assert_eq!(mapping.dirty_pages(), if last < 4096 { 1 } else { 2 });
        mapping.msync().unwrap();
        (expected[3], expected[last]) = (len as u8, 6);
        assert!(file.read_to_end().unwrap() == expected, "{len}");
    }
}

#[test]
fn without_space_nothing_changes_and_msync_can_be_repeated() {
    BOTH.into_iter().for_each(without_space);
}

fn without_space(dirtiness: Dirtiness) {
    let (memory, nova) = volume(16 << 20);
    let file = nova.create_file("/file").unwrap();
    let old = vec![1; 4 << 20];
    file.write_at(0, &old).unwrap();
    let mut mapping = file.map_atomic_with(dirtiness).unwrap();
    let filler = nova.create_file("/filler").unwrap();
    let mut filled = 0;
    while filler.write_at(filled, &[3; 4096]).is_ok() {
        filled += 4096;
    }
    let before = nova.statfs();
    for block in (0..1024).step_by(3) {
        mapping[block * 4096] = 2;
    }
    for _ in 0..3 {
        assert_eq!(mapping.msync().unwrap_err().code(), Some(Code::NoSpace));
        assert_eq!((nova.statfs(), mapping.dirty_pages()), (before, 342));
        assert!(file.read_to_end().unwrap() == old);
        assert!(memory.mount_killed().read_file("/file").unwrap() == old);
    }
    drop(filler);
    nova.remove_file("/filler").unwrap();
    mapping[4096] = 2; // stores go on between
    assert_eq!(mapping.msync().unwrap(), 343);
    assert!(file.read_to_end().unwrap() == *mapping);
    assert!(nova.fsck().unwrap().is_clean());
}

#[test]
fn an_allocation_that_fails_changes_nothing_whichever_it_is() {
    let (_, nova) = volume(16 << 20);
    let file = nova.create_file("/file").unwrap();
    file.set_len(1 << 20).unwrap();
    let mut mapping = file.map_atomic().unwrap();
    mapping.fill(4);
    let full = nova.statfs().free;
    // Every allocation that it makes may be the one that fails.
    for allocation in 0.. {
        nova.fail_allocation(Some(allocation));
        let result = mapping.msync();
        if nova.fail_allocation(None) {
            match result {
                Ok(pages) => assert_eq!(pages, 256, "repeated with fewer runs"),
                Err(error) => {
                    assert_eq!(error.code(), Some(Code::NoSpace));
                    assert_eq!((nova.statfs().free, mapping.dirty_pages()), (full, 256));
                    continue;
                }
            }
        } else {
            assert_eq!(result.unwrap(), 256);
        }
        break;
    }
    assert!(file.read_to_end().unwrap() == vec![4; 1 << 20]);
}

#[test]
fn more_scattered_pages_than_a_record_has_room_for_are_one_record_all_the_same() {
    BOTH.into_iter().for_each(more_scattered_pages);
}

fn more_scattered_pages(dirtiness: Dirtiness) {
    let format = FormatOptions::new().stripes(1).journal(16 << 10);
    let nova = format.format(Mapping::memfd(32 << 20).unwrap(), MountOptions::new()).unwrap();
    let file = nova.create_file("/file").unwrap();
    file.write_at(0, &vec![1; 8 << 20]).unwrap();
    let mut mapping = file.map_atomic_with(dirtiness).unwrap();
    let mut random = fastrand::Rng::with_seed(3);
    for round in 2..6u8 {
        for _ in 0..700 {
            let at = random.usize(..mapping.len());
            mapping[at] = round;
        }
        let pages = mapping.dirty_pages();
        assert!(pages > 500, "{pages}");
        let before = nova.counters();
        assert_eq!(mapping.msync().unwrap(), pages);
        assert!((nova.counters() - before).drains <= 8, "{:?}", nova.counters() - before);
        assert!(file.read_to_end().unwrap() == *mapping);
    }
    drop(mapping);
    assert!(nova.fsck().unwrap().is_clean());
}

#[test]
fn a_volume_in_anonymous_memory_will_do() {
    let nova = format(Mapping::anonymous(8 << 20).unwrap());
    let file = nova.create_file("/file").unwrap();
    file.set_len(3 * BLOCK).unwrap();
    let mut mapping = file.map_atomic().unwrap();
    mapping[5000..5004].copy_from_slice(b"here");
    mapping.msync().unwrap();
    assert_eq!(file.read_to_end().unwrap()[5000..5004], *b"here");
    assert!(matches!(file.map(), Err(Error::Mapped)));
}

#[test]
fn a_quota_that_is_used_up_changes_nothing() {
    let (_, nova) = volume(16 << 20);
    let file = nova.create_file("/file").unwrap();
    file.set_len(100 * BLOCK).unwrap();
    let alice = nova_core::Quota::User(77);
    let set = nova_core::SetAttr { uid: Some(77), gid: Some(77), ..nova_core::SetAttr::default() };
    nova.setattr(file.ino(), &set, &nova_core::Credentials::ROOT).unwrap();
    nova.set_quota(alice, 20, 0).unwrap();
    let mut mapping = file.map_atomic().unwrap();
    mapping[..21 * BLOCK as usize].fill(1);
    let before = nova.statfs();
    assert_eq!(mapping.msync().unwrap_err().code(), Some(Code::QuotaExceeded));
    assert_eq!((nova.statfs(), mapping.dirty_pages(), nova.quota(alice).blocks), (before, 21, 0));
    assert_eq!(file.read_to_end().unwrap(), vec![0; 100 * BLOCK as usize]);
    nova.set_quota(alice, 21, 0).unwrap();
    assert_eq!(mapping.msync().unwrap(), 21);
    mapping[0] = 2; // a block for a block
    assert_eq!((mapping.msync().unwrap(), nova.quota(alice).blocks), (1, 21));
}

#[test]
fn the_kernel_stores_to_it_unless_its_pages_are_known_by_faults() {
    use std::io::{Read, Seek, Write};
    let (_, nova) = volume(16 << 20);
    let mut source = tempfile::tempfile().unwrap();
    source.write_all(&[8; 10_000]).unwrap();
    for dirtiness in BOTH {
        let file = nova.create_file(format!("/{dirtiness:?}")).unwrap();
        file.set_len(10_000).unwrap();
        let mut mapping = file.map_atomic_with(dirtiness).unwrap();
        source.rewind().unwrap();
        match source.read_exact(&mut mapping) {
            Ok(()) => {
                assert_eq!((mapping.dirty_pages(), mapping.msync().unwrap()), (3, 3));
                assert_eq!(file.read_to_end().unwrap(), [8; 10_000]);
            }
            // As documented: also where the kernel has no means to know it otherwise.
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EFAULT), "{dirtiness:?}: {error}"),
        }
        println!("{dirtiness:?}: {} bytes were read", mapping.iter().filter(|byte| **byte == 8).count());
    }
}
