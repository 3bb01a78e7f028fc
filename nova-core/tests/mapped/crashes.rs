//! What a program stored in a mapping and made durable stays, whatever the volume's journal replays; and the same for what is written in place.

use crate::{Memory, format, volume};
use nova_core::{Allocate, BLOCK, FormatOptions, MountOptions, Nova, SetAttr, flags};
use pmem_map::Granularity;

/// Both means of durability: by lines a record is replayed together with the one before it, by pages with many.
const BOTH: [Granularity; 2] = [Granularity::CacheLine, Granularity::Page];

fn on(granularity: Granularity) -> (Memory, Nova) {
    let (memory, mapping) = Memory::new(16 << 20, granularity);
    (memory, format(mapping))
}

/// A write of few bytes is in a record. The record must not come back over what the mapping's program stored.
#[test]
fn a_replayed_record_does_not_undo_what_was_stored_in_a_mapping() {
    for granularity in BOTH {
        let (memory, nova) = on(granularity);
        let file = nova.create_file("/file").unwrap();
        file.write_at(0, &[1; 4096]).unwrap();
        file.write_at(100, &[2; 300]).unwrap();
        let mut mapping = file.map().unwrap();
        mapping.write(0, &[3; 4096]).unwrap();
        mapping.persist(0..4096).unwrap();
        let found = memory.mount_killed().read_file("/file").unwrap();
        assert!(found == [3; 4096], "{granularity:?}: {:?}", &found[90..110]);
        // Nor when the mapping is gone, and others have written since.
        drop(mapping);
        nova.create_file("/other").unwrap();
        assert!(memory.mount_killed().read_file("/file").unwrap() == [3; 4096], "{granularity:?}");
    }
}

/// Mapping zeroes what is behind the file's end, in the line that the file ends in as well.
#[test]
fn a_replayed_zeroing_does_not_undo_what_was_stored_in_a_mapping() {
    for granularity in BOTH {
        let (memory, nova) = on(granularity);
        let file = nova.create_file("/file").unwrap();
        file.write_at(0, &[1; 8192]).unwrap();
        file.set_len(5000).unwrap();
        let mut mapping = file.map().unwrap();
        mapping.write(0, &[3; 8192]).unwrap();
        mapping.persist(0..8192).unwrap();
        let killed = memory.mount_killed();
        assert!(killed.read_file("/file").unwrap() == [3; 5000], "{granularity:?}");
    }
}

#[test]
fn a_replayed_record_does_not_undo_what_was_written_in_place() {
    for granularity in BOTH {
        let (memory, nova) = on(granularity);
        let file = nova.create_file("/file").unwrap();
        file.write_at(0, &[1; 4096]).unwrap();
        let who = &nova_core::Credentials::ROOT;
        let set = SetAttr { flags: Some(flags::IN_PLACE), ..SetAttr::default() };
        nova.setattr(file.ino(), &set, who).unwrap();
        file.allocate(100, 300, Allocate::PunchHole).unwrap(); // zeros, in a record
        file.write_at(50, &[3; 500]).unwrap(); // in place
        let found = memory.mount_killed().read_file("/file").unwrap();
        assert!(found[50..550] == [3; 500], "{granularity:?}");
    }
}

#[test]
fn a_replayed_record_does_not_undo_what_was_written_to_reserved_blocks() {
    for granularity in BOTH {
        let (memory, nova) = on(granularity);
        let file = nova.create_file("/file").unwrap();
        file.write_at(0, &[1; 4096]).unwrap();
        file.write_at(100, &[2; 300]).unwrap(); // in a record
        file.allocate(0, 4096, Allocate::Zero).unwrap(); // the same block, which reads as zeros now
        file.write_at(0, &[3; 4096]).unwrap(); // stored there before the record that says so
        let found = memory.mount_killed().read_file("/file").unwrap();
        assert!(found == [3; 4096], "{granularity:?}");
    }
}

#[test]
fn a_replayed_record_does_not_bring_back_bytes_behind_an_old_end() {
    for granularity in BOTH {
        let (memory, nova) = on(granularity);
        let file = nova.create_file("/file").unwrap();
        file.write_at(0, &[9; 4096]).unwrap();
        file.set_len(100).unwrap();
        file.append(&[1; 4]).unwrap(); // a record of whole lines, with what is behind the end
        file.write_at(2 * BLOCK, &[2; 8192]).unwrap();
        let found = memory.mount_killed().read_file("/file").unwrap();
        assert!(found[104..8192].iter().all(|byte| *byte == 0), "{granularity:?}: {:?}", &found[96..130]);
    }
}

/// Blocks of a copy are the file's own once the source is gone: a record of the source's knows them still.
#[test]
fn a_replayed_record_of_a_source_does_not_undo_what_was_stored_in_its_copy() {
    for granularity in BOTH {
        let (memory, nova) = on(granularity);
        let (source, copy) = (nova.create_file("/source").unwrap(), nova.create_file("/copy").unwrap());
        source.write_at(0, &[1; 4096]).unwrap();
        source.write_at(100, &[2; 300]).unwrap();
        copy.clone_range(&source, 0, 0, 4096).unwrap();
        drop(source);
        nova.remove_file("/source").unwrap();
        let mut mapping = copy.map().unwrap();
        mapping.write(0, &[3; 4096]).unwrap();
        mapping.persist(0..4096).unwrap();
        assert!(memory.mount_killed().read_file("/copy").unwrap() == [3; 4096], "{granularity:?}");
    }
}

#[test]
fn on_pages_a_mapping_is_written_back_and_its_grown_part_too() {
    let (_, nova) = on(Granularity::Page);
    let file = nova.create_file("/file").unwrap();
    file.set_len(8192).unwrap();
    let mut mapping = file.map().unwrap();
    assert_eq!((mapping.granularity(), mapping.durability()), (nova.granularity(), nova.durability()));
    mapping.grow(1 << 20).unwrap();
    for at in [0, 4096, 8192, (1 << 20) - 4096] {
        let before = nova.counters().syncs;
        mapping.write(at, &[1; 64]).unwrap();
        mapping.persist(at..at + 64).unwrap();
        assert!(nova.counters().syncs > before, "nothing of the volume was written back for {at}");
    }
}

#[test]
fn a_mapping_has_the_volumes_means_of_durability() {
    let (_, nova) = volume(16 << 20);
    let file = nova.create_file("/file").unwrap();
    file.set_len(8192).unwrap();
    let mut mapping = file.map().unwrap();
    assert_eq!((mapping.granularity(), mapping.durability()), (nova.granularity(), nova.durability()));
    let before = mapping.counters();
    mapping.write(4096, &[1; 128]).unwrap();
    mapping.persist(4096..4224).unwrap();
    let spent = mapping.counters() - before;
    assert_eq!((spent.lines(), spent.drains, spent.syncs), (2, 1, 0));
}

/// Blocks and the size that a growing mapping got are there after a kill, and so is what was stored in them.
#[test]
fn what_a_mapping_grew_by_survives_a_kill() {
    for granularity in BOTH {
        let (memory, mapping) = Memory::new(32 << 20, granularity);
        let nova = FormatOptions::new().stripes(2).format(mapping, MountOptions::new()).unwrap();
        let file = nova.create_file("/file").unwrap();
        file.set_len(10_000).unwrap();
        let mut mapping = file.map().unwrap();
        for len in [100_000, 3 << 20, 8 << 20] {
            mapping.grow(len).unwrap();
            mapping.write(len - 100, &[7; 100]).unwrap();
            mapping.persist(len - 100..len).unwrap();
            let found = memory.mount_killed().read_file("/file").unwrap();
            assert_eq!(found.len() as u64, mapping.len(), "{granularity:?}");
            assert!(found[len as usize - 100..len as usize] == [7; 100], "{granularity:?}");
        }
    }
}

#[test]
fn a_volume_in_a_file_of_a_volume_writes_back_through_both() {
    for granularity in BOTH {
        let (memory, mapping) = Memory::new(32 << 20, granularity);
        let outer = format(mapping);
        outer.write_file("/before", &[1; 50_000]).unwrap(); // so that offsets differ
        let image = outer.create_file("/image").unwrap();
        image.set_len(8 << 20).unwrap();
        let inner = format(image.map().unwrap());
        inner.write_file("/before", &[1; 30_000]).unwrap();
        let file = inner.create_file("/file").unwrap();
        file.write_at(0, &[2; 10_000]).unwrap();
        let mut mapping = file.map().unwrap();
        let before = outer.counters().syncs;
        mapping.write(8192, &[3; 64]).unwrap();
        mapping.persist(8192..8256).unwrap();
        assert_eq!(outer.counters().syncs > before, granularity == Granularity::Page);
        let killed = memory.mount_killed();
        let inner = Nova::mount(killed.open("/image").unwrap().map().unwrap()).unwrap();
        let found = inner.read_file("/file").unwrap();
        assert!(found[..8192] == [2; 8192] && found[8192..8256] == [3; 64]);
    }
}
