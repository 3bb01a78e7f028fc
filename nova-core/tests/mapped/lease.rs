//! Who may do what with a file while it is mapped.

use crate::{format, pattern, volume};
use nova_core::{Access, Allocate, Code, Credentials, Error, File, MountOptions, ROOT, SetAttr};
use pmem_map::Mapping;
use std::panic::{AssertUnwindSafe, catch_unwind};

const WHO: &Credentials = &Credentials::ROOT;

fn is_mapped<T: std::fmt::Debug>(result: nova_core::Result<T>) {
    assert!(matches!(result, Err(Error::Mapped)), "{result:?}");
}

fn assert_refused(file: &File, other: &File) {
    is_mapped(file.write_at(0, b"x"));
    is_mapped(file.write_at(1 << 20, b"x"));
    is_mapped(file.append(b"x"));
    is_mapped(file.set_len(0));
    is_mapped(file.set_len(1 << 20));
    for how in [Allocate::Grow, Allocate::PunchHole, Allocate::Zero, Allocate::Collapse, Allocate::Insert] {
        is_mapped(file.allocate(0, 4096, how));
    }
    is_mapped(file.nova().setattr(file.ino(), &SetAttr { size: Some(1), ..SetAttr::default() }, WHO));
    is_mapped(file.clone_range(other, 0, 0, 4096));
    is_mapped(other.clone_range(file, 0, 0, 4096));
    is_mapped(file.map().map(drop));
}

#[test]
fn a_mapped_file_is_its_programs_until_the_mapping_goes() {
    let (_, nova) = volume(16 << 20);
    let (file, other) = (nova.create_file("/file").unwrap(), nova.create_file("/other").unwrap());
    let bytes = pattern(10_000);
    file.write_at(0, &bytes).unwrap();
    other.write_at(0, &bytes).unwrap();
    let mut mapping = file.map().unwrap();
    assert_eq!(mapping.len(), 12_288);
    assert_eq!(mapping.as_slice()[..10_000], bytes);
    assert_refused(&file, &other);
    // SAFETY: nothing is mapped: it is refused.
    is_mapped(unsafe { file.map_shared() }.map(drop));
    // Another handle of the same file is no way around it.
    assert_refused(&nova.open("/file").unwrap(), &other);
    // Reading copies what the program stored, durable or not.
    mapping.as_mut_slice()[5000] = 77;
    let mut byte = [0];
    file.read_at(5000, &mut byte).unwrap();
    assert_eq!((byte, nova.read_file("/file").unwrap().len()), ([77], 10_000));
    let mut copy = nova.create_file("/copy").unwrap();
    assert_eq!(copy.copy_from(&file, 0, 0, 10_000).unwrap(), 10_000);
    assert_eq!(copy.read_to_end().unwrap()[5000], 77);
    // What is not its bytes goes on.
    nova.rename_path("/file", "/moved").unwrap();
    nova.hard_link("/moved", "/linked").unwrap();
    nova.setattr(file.ino(), &SetAttr { mode: Some(0o600), ..SetAttr::default() }, WHO).unwrap();
    assert_eq!(mapping.as_slice()[5000], 77);
    drop(mapping);
    file.write_at(0, b"mine again").unwrap();
    file.set_len(100_000).unwrap();
    copy = nova.open("/linked").unwrap();
    assert_eq!(copy.read_to_end().unwrap()[..10], *b"mine again");
    drop(file.map().unwrap());
}

#[test]
fn the_lease_ends_when_its_holder_panics() {
    let (_, nova) = volume(16 << 20);
    let file = nova.create_file("/file").unwrap();
    file.write_at(0, &[1; 4096]).unwrap();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let mut mapping = file.map().unwrap();
        mapping.as_mut_slice()[0] = 2;
        panic!("while the file is mapped");
    }));
    assert!(panicked.is_err());
    file.write_at(1, &[3]).unwrap();
    assert_eq!(file.read_to_end().unwrap()[..3], [2, 3, 1]);
}

#[test]
fn a_mapping_that_fails_leaves_the_file_free() {
    let nova = format(Mapping::anonymous(16 << 20).unwrap());
    let file = nova.create_file("/file").unwrap();
    file.write_at(0, &[1; 4096]).unwrap();
    let refused = file.map().map(drop);
    assert!(
        matches!(refused, Err(Error::Map(pmem_map::Error::CannotLend { .. }))),
        "a volume in anonymous memory: {refused:?}"
    );
    file.write_at(0, &[2; 4096]).unwrap();
    file.set_len(0).unwrap();
}

#[test]
fn what_cannot_be_mapped_is_refused() {
    let (_, nova) = volume(16 << 20);
    let empty = nova.create_file("/empty").unwrap();
    let directory = nova.open_inode(ROOT, Access::READ, WHO).unwrap();
    for file in [&empty, &directory] {
        assert_eq!(file.map().map(drop).unwrap_err().code(), Some(Code::Invalid));
    }
    empty.set_len(1 << 30).unwrap();
    let before = nova.statfs();
    assert_eq!(empty.map().map(drop).unwrap_err().code(), Some(Code::NoSpace));
    assert_eq!(nova.statfs(), before, "nothing of what was tried is left");
    empty.set_len(1).unwrap();
    drop((empty, directory));
    let mapping = nova.unmount().unwrap();
    let nova = MountOptions::new().read_only(true).mount(mapping).unwrap();
    let refused = nova.open("/empty").unwrap().map().map(drop);
    assert_eq!(refused.unwrap_err().code(), Some(Code::ReadOnly));
}

#[test]
fn a_file_that_is_removed_while_it_is_mapped_stays_until_the_mapping_goes() {
    let (_, nova) = volume(16 << 20);
    nova.create_dir("/folder").unwrap(); // the root's log and a segment of the inode table are there before we count
    let before = nova.statfs();
    let file = nova.create_file("/file").unwrap();
    file.write_at(0, &[1; 100_000]).unwrap();
    let mut mapping = file.map().unwrap();
    drop(file);
    nova.remove_file("/file").unwrap();
    assert!(!nova.exists("/file"));
    // Others get blocks, and none of these.
    let other = nova.create_file("/other").unwrap();
    other.write_at(0, &vec![2; 8 << 20]).unwrap();
    mapping.as_mut_slice()[99_999] = 3;
    mapping.persist(0..100_000).unwrap();
    assert!(mapping.as_slice()[..99_999].iter().all(|byte| *byte == 1));
    nova.remove_file("/other").unwrap();
    drop((other, mapping));
    nova.sync().unwrap();
    assert_eq!(nova.statfs().free, before.free);
}

#[test]
fn a_mapping_keeps_the_volume_mounted() {
    let (memory, nova) = volume(16 << 20);
    let file = nova.create_file("/file").unwrap();
    file.set_len(8192).unwrap();
    let mut mapping = file.map().unwrap();
    let again = nova.clone();
    drop(file);
    assert!(matches!(nova.unmount(), Err(Error::InUse { .. })));
    drop(again);
    mapping.write(4096, b"stored with nobody else there").unwrap();
    mapping.persist(4096..8192).unwrap();
    drop(mapping); // and with it the last who had the volume: it is unmounted
    let nova = nova_core::Nova::mount(memory.killed().1).unwrap();
    assert!(nova.mount_report().clean);
    assert_eq!(nova.read_file("/file").unwrap()[4096..4125], *b"stored with nobody else there");
}

#[test]
fn shared_mappings_see_each_other_and_what_is_written_and_keep_their_blocks() {
    let (_, nova) = volume(16 << 20);
    let file = nova.create_file("/file").unwrap();
    file.write_at(0, &[1; 20_000]).unwrap();
    // SAFETY: no reference into either is alive while somebody stores.
    let (one, two) = unsafe { (file.map_shared().unwrap(), file.map_shared().unwrap()) };
    is_mapped(file.map().map(drop)); // not exclusively
    let load = |mapping: &Mapping, at: u64| {
        let mut bytes = [0; 4];
        // SAFETY: this thread stores nothing meanwhile, and there is no other.
        unsafe { mapping.load(at, &mut bytes) };
        bytes
    };
    // SAFETY: no reference to these bytes is alive.
    unsafe { one.store(5000, &[2; 4]) };
    assert_eq!(load(&two, 5000), [2; 4]);
    // A write goes in place: small ones, large ones, and across blocks.
    file.write_at(4094, &[3; 4]).unwrap();
    file.write_at(8192, &[4; 9000]).unwrap();
    for mapping in [&one, &two] {
        assert_eq!((load(mapping, 4094), load(mapping, 17_000)), ([3; 4], [4; 4]));
    }
    let mut bytes = [0; 4];
    file.read_at(5000, &mut bytes).unwrap();
    assert_eq!(bytes, [2; 4]);
    is_mapped(file.set_len(0));
    is_mapped(file.allocate(0, 4096, Allocate::PunchHole));
    is_mapped(file.allocate(0, 4096, Allocate::Zero));
    // Within the last block, and then behind everything that is mapped, it can grow.
    file.write_at(20_000, &[5; 480]).unwrap();
    assert_eq!(load(&one, 20_400), [5; 4]);
    file.append(&[6; 5000]).unwrap();
    assert_eq!(file.len().unwrap(), 25_480);
    assert_eq!(one.len(), 20_480);
    assert!(matches!(one.grow(40_960), Err(pmem_map::Error::CannotGrow { .. })), "others map it, too");
    drop(one);
    is_mapped(file.set_len(0));
    drop(two);
    assert_eq!(file.read_to_end().unwrap()[20_480..], [6; 5000]);
    file.set_len(0).unwrap();
}

#[test]
fn mapping_takes_the_drains_that_it_says() {
    let (_, nova) = volume(16 << 20);
    let file = nova.create_file("/file").unwrap();
    let drains = |what: &str, expected: u64| {
        let before = nova.counters().drains;
        let mapping = file.map().unwrap();
        assert_eq!(nova.counters().drains - before, expected, "{what}");
        let before = nova.counters().drains;
        drop(mapping);
        assert_eq!(nova.counters().drains - before, 1, "{what}: the end of the lease");
    };
    file.write_at(0, &[1; 8192]).unwrap();
    drains("all blocks are the file's own", 0);
    file.write_at(100, &[2; 10]).unwrap();
    drains("bytes are in a record", 2);
    drains("the record is retired", 0);
    file.set_len(100_000).unwrap();
    drains("holes get blocks, and the end is in one", 3);
    file.set_len(8192).unwrap();
    file.set_len(5000).unwrap();
    drains("the file ends in a block", 1);
}

#[test]
fn a_file_is_read_by_many_mappings_and_its_holes_are_zeros_that_take_no_space() {
    let (_, nova) = volume(16 << 20);
    let (file, other) = (nova.create_file("/file").unwrap(), nova.create_file("/other").unwrap());
    let bytes = pattern(10_000);
    file.write_at(8192, &bytes).unwrap();
    file.allocate(40_000, 20_000, Allocate::Grow).unwrap();
    file.write_at(70_001, &bytes).unwrap();
    other.write_at(0, &bytes).unwrap();
    let (content, free) = (file.read_to_end().unwrap(), nova.statfs().free);
    let first = file.map_read().unwrap();
    let second = nova.open("/file").unwrap().map_read().unwrap();
    assert!(first[..] == content && second[..] == content);
    assert_eq!(nova.statfs().free, free);
    assert_refused(&file, &other);
    drop(first);
    assert_refused(&file, &other);
    // Without a name it is there as long as it is mapped.
    nova.remove_file("/file").unwrap();
    assert!(second[..] == content);
    drop(second);
    file.write_at(0, b"now").unwrap();
    drop(file.map().unwrap());
}

#[test]
fn who_reads_by_a_mapping_shares_with_no_writer_and_reads_a_read_only_volume_too() {
    let (image, nova) = volume(16 << 20);
    let file = nova.create_file("/file").unwrap();
    file.write_at(0, &pattern(5000)).unwrap();
    let written = file.map().unwrap();
    is_mapped(file.map_read());
    drop(written);
    assert!(matches!(nova.create_file("/empty").unwrap().map_read(), Err(Error::Posix(Code::Invalid))));
    drop(file);
    let mapping = nova.unmount().unwrap();
    let nova = MountOptions::new().read_only(true).mount(mapping).unwrap();
    assert!(nova.open("/file").unwrap().map_read().unwrap()[..] == pattern(5000));
    drop(image);
}
