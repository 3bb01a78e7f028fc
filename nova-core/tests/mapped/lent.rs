//! Files that are lent to other processes, which store to the volume's file behind the volume's back.

use crate::{Memory, pattern};
use nova_core::{Allocate, Error, File, FormatOptions, LentFile, MountOptions, Nova};
use pmem_map::{Extent, Granularity};
use std::os::unix::fs::FileExt;

fn protected(len: u64) -> Nova {
    let (_, mapping) = Memory::new(len, Granularity::CacheLine);
    FormatOptions::new().checksums(true).parity(true).format(mapping, MountOptions::new()).unwrap()
}

/// Stores as another process would.
fn store(extents: &[Extent], mut at: u64, bytes: &[u8]) {
    for extent in extents {
        if at < extent.len {
            assert!(at + bytes.len() as u64 <= extent.len, "across two extents");
            return extent.file.write_all_at(bytes, extent.offset + at).unwrap();
        }
        at -= extent.len;
    }
    panic!("behind the end");
}

fn places(lent: &LentFile) -> Vec<(u64, u64)> {
    lent.extents().iter().map(|extent| (extent.offset, extent.len)).collect()
}

fn is_protected(file: &File) -> Option<bool> {
    file.nova().file_anatomy(file.ino()).unwrap().protected
}

#[test]
fn a_lent_file_is_stored_to_from_outside_and_protected_again_afterwards() {
    let nova = protected(16 << 20);
    let file = nova.create_file("/file").unwrap();
    file.write_at(0, &pattern(20_000)).unwrap();
    file.set_len(50_000).unwrap();
    assert_eq!(is_protected(&file), Some(true));
    let lent = file.lend(None).unwrap();
    assert_eq!((lent.len(), is_protected(&file)), (50_000, Some(false)));
    let extents = lent.extents();
    assert_eq!(extents.iter().map(|extent| extent.len).sum::<u64>(), 53_248, "holes have blocks");
    store(&extents, 5000, b"from outside");
    store(&extents, 45_000, b"where a hole was");
    let mut bytes = [0; 12];
    file.read_at(5000, &mut bytes).unwrap();
    assert_eq!(&bytes, b"from outside");
    // Through the volume, in place.
    file.write_at(5005, b"INSIDE!").unwrap();
    let mut bytes = [0; 12];
    extents[0].file.read_exact_at(&mut bytes, extents[0].offset + 5000).unwrap();
    assert_eq!(&bytes, b"from INSIDE!");
    assert_eq!(places(&lent), extents.iter().map(|extent| (extent.offset, extent.len)).collect::<Vec<_>>());
    drop(lent);
    assert_eq!(is_protected(&file), Some(true));
    let content = file.read_to_end().unwrap();
    assert_eq!(
        (&content[5000..5012], &content[45_000..45_016]),
        (&b"from INSIDE!"[..], &b"where a hole was"[..])
    );
    drop(file);
    assert!(nova.fsck().unwrap().is_clean());
    let nova = Nova::mount(nova.unmount().unwrap()).unwrap();
    assert_eq!(nova.read_file("/file").unwrap(), content);
}

#[test]
fn what_would_move_or_free_lent_blocks_is_refused() {
    let nova = protected(16 << 20);
    let file = nova.create_file("/file").unwrap();
    file.write_at(0, &pattern(20_000)).unwrap();
    let lent = file.lend(None).unwrap();
    let before = places(&lent);
    let is_mapped = |result: nova_core::Result<()>| {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Mapped) && error.errno() == 26, "{error:?}"); // ETXTBSY
    };
    is_mapped(file.lend(None).map(drop));
    is_mapped(file.map().map(drop));
    is_mapped(file.map_read().map(drop));
    is_mapped(file.map_atomic().map(drop));
    // SAFETY: it is refused.
    is_mapped(unsafe { file.map_shared() }.map(drop));
    is_mapped(file.set_len(0));
    for how in [Allocate::Grow, Allocate::PunchHole, Allocate::Zero, Allocate::Collapse, Allocate::Insert] {
        is_mapped(file.allocate(0, 4096, how));
    }
    let refused = nova.create_snapshot("refused").unwrap_err();
    assert!(matches!(refused, Error::Lent { files: 1 }) && refused.errno() == 16, "{refused:?}"); // EBUSY
    assert!(nova.snapshots().is_empty());
    // Its last name may go: its blocks stay as long as it is lent.
    nova.remove_file("/file").unwrap();
    drop(file);
    let other = nova.create_file("/other").unwrap();
    while other.append(&[1; 4096]).is_ok() {}
    store(&lent.extents(), 0, b"still its own");
    assert_eq!(places(&lent), before);
    assert!(other.read_to_end().unwrap().iter().all(|byte| *byte == 1));
    drop(lent);
    other.append(&[1; 4096]).unwrap(); // its blocks are free now
    drop(other);
    assert!(nova.fsck().unwrap().is_clean());
}

#[test]
fn a_lent_file_grows_behind_what_is_mapped() {
    let nova = protected(16 << 20);
    let file = nova.create_file("/file").unwrap();
    file.write_at(0, &pattern(5000)).unwrap();
    let lent = file.lend(None).unwrap();
    let before = places(&lent);
    // Somebody appends: that is not lent, before it is asked for.
    file.write_at(8192, b"appended").unwrap();
    assert_eq!((lent.len(), places(&lent)), (5000, before.clone()));
    lent.grow(100_000).unwrap();
    assert_eq!((lent.len(), file.len().unwrap()), (102_400, 102_400));
    assert_eq!(places(&lent)[..before.len()], before);
    let mut bytes = [0; 8];
    let extents = lent.extents();
    let second = &extents[before.len()];
    second.file.read_exact_at(&mut bytes, second.offset).unwrap();
    assert_eq!(&bytes, b"appended");
    lent.grow(100_000).unwrap();
    lent.grow(1).unwrap();
    let error = lent.grow(1 << 40).unwrap_err();
    assert_eq!(error.errno(), 28, "{error}"); // ENOSPC
    assert_eq!(lent.len(), 102_400);
    drop((lent, file, extents));
    assert!(nova.fsck().unwrap().is_clean());
}

/// A file's blocks that a snapshot has are not the ones that are lent.
#[test]
fn a_snapshot_from_before_keeps_what_it_has_and_one_from_after_has_what_was_stored() {
    let nova = protected(16 << 20);
    let file = nova.create_file("/file").unwrap();
    file.write_at(0, &[1; 20_000]).unwrap();
    nova.create_snapshot("before").unwrap();
    let lent = file.lend(None).unwrap();
    for page in 0..5 {
        store(&lent.extents(), page * 4096, &[2; 100]);
    }
    drop(lent);
    nova.create_snapshot("after").unwrap();
    let lent = file.lend(None).unwrap();
    store(&lent.extents(), 0, &[3; 100]);
    let content = |name: &str| nova.mount_snapshot(name).unwrap().read_file("/file").unwrap();
    assert!(content("before").iter().all(|byte| *byte == 1));
    let after = content("after");
    assert!((0..5).all(|page| after[page * 4096..][..100] == [2; 100]));
    drop((lent, file));
    assert!(nova.fsck().unwrap().is_clean());
}

#[test]
fn a_lent_file_is_protected_again_by_the_mount_after_a_kill() {
    let (memory, mapping) = Memory::new(16 << 20, Granularity::CacheLine);
    let nova =
        FormatOptions::new().checksums(true).parity(true).format(mapping, MountOptions::new()).unwrap();
    let file = nova.create_file("/file").unwrap();
    file.write_at(0, &pattern(20_000)).unwrap();
    let lent = file.lend(None).unwrap();
    store(&lent.extents(), 4096, b"stored");
    let after = memory.mount_killed();
    assert_eq!(after.mount_report().mapped, 1);
    assert_eq!(after.read_file("/file").unwrap()[4096..4102], *b"stored");
    assert_eq!(is_protected(&after.open("/file").unwrap()), Some(true));
    assert!(after.fsck().unwrap().is_clean());
    drop(lent);
}

/// The check took the mark of a mapped file for damage, on a volume in use and after a kill.
#[test]
fn a_file_that_is_mapped_is_no_damage_to_the_check() {
    let nova = protected(16 << 20);
    let file = nova.create_file("/file").unwrap();
    file.write_at(0, &pattern(20_000)).unwrap();
    let lent = file.lend(None).unwrap();
    store(&lent.extents(), 0, b"not what the checksum says");
    let report = nova.fsck().unwrap();
    assert!(report.is_clean(), "{report}");
    drop(lent);
    let mapping = file.map().unwrap();
    let report = nova.fsck().unwrap();
    assert!(report.is_clean(), "{report}");
    drop((mapping, file));
}
