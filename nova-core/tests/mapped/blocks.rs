//! What is behind the bytes of a mapping: blocks of the file's own, with content, at places that large pages like.

use crate::{extents, pattern, volume};
use nova_core::{Allocate, BLOCK, Nova};
use pmem_map::Mapping;

const HUGE: u64 = 2 << 20;

/// Where the mapping's bytes are in the volume: offset in the mapping, offset there, length.
fn places(mapping: &Mapping) -> Vec<(u64, u64, u64)> {
    let mut at = 0;
    let place = |extent: pmem_map::Extent| {
        at += extent.len;
        (at - extent.len, extent.offset, extent.len)
    };
    extents(mapping).into_iter().map(place).collect()
}

fn assert_aligned(mapping: &Mapping, what: &str) {
    for (at, offset, len) in places(mapping) {
        assert_eq!(at % HUGE, offset % HUGE, "{what}: {len} bytes at {at} are at {offset}");
    }
}

/// Files of a few blocks come and go, until the volume is more than half full of what is left.
fn age(nova: &Nova) {
    let mut random = fastrand::Rng::with_seed(1);
    let mut files: Vec<String> = Vec::new();
    let full = nova.statfs().blocks * 6 / 10;
    nova.create_dir("/aged").unwrap();
    for n in 0.. {
        let statfs = nova.statfs();
        if n > 4000 && statfs.blocks - statfs.free >= full {
            break;
        }
        if !files.is_empty() && (random.u8(..10) < 3 || statfs.blocks - statfs.free >= full) {
            nova.remove_file(files.swap_remove(random.usize(..files.len()))).unwrap();
        } else {
            let name = format!("/aged/{n}");
            nova.write_file(&name, &vec![1; random.usize(1..80_000)]).unwrap();
            files.push(name);
        }
    }
}

#[test]
fn large_files_are_aligned_for_large_pages() {
    let (_, nova) = volume(64 << 20);
    for (name, len) in [("/hole", 4 << 20), ("/uneven", (2 << 20) + 12_288)] {
        let file = nova.create_file(name).unwrap();
        file.set_len(len).unwrap();
        assert_aligned(&file.map().unwrap(), name);
    }
    let file = nova.create_file("/written").unwrap();
    file.write_at(0, &vec![1; 4 << 20]).unwrap();
    assert_aligned(&file.map().unwrap(), "written at once");
    let file = nova.create_file("/reserved").unwrap();
    file.allocate(0, 6 << 20, Allocate::Grow).unwrap();
    assert_aligned(&file.map().unwrap(), "reserved");
}

// WineFS: other filesystems lose their large pages as they age.
#[test]
fn large_files_are_aligned_in_a_volume_that_has_aged() {
    let (memory, nova) = volume(128 << 20);
    age(&nova);
    let check = |nova: &Nova, name: &str| {
        let file = nova.create_file(name).unwrap();
        file.set_len(16 << 20).unwrap();
        assert_aligned(&file.map().unwrap(), name);
    };
    check(&nova, "/as-it-aged");
    nova.sync().unwrap();
    check(&memory.mount_killed(), "/after-a-crash");
    let nova = Nova::mount(nova.unmount().unwrap()).unwrap();
    check(&nova, "/after-a-mount");
}

#[test]
fn holes_reserved_and_shared_blocks_become_the_files_own() {
    let (_, nova) = volume(32 << 20);
    let (file, source) = (nova.create_file("/file").unwrap(), nova.create_file("/source").unwrap());
    let bytes = pattern(5 * BLOCK as usize);
    source.write_at(0, &bytes).unwrap();
    // A hole, written blocks, reserved ones, a hole, shared ones, a hole to the end.
    file.write_at(2 * BLOCK, &bytes[..BLOCK as usize]).unwrap();
    file.allocate(3 * BLOCK, 2 * BLOCK, Allocate::Grow).unwrap();
    file.clone_range(&source, 0, 7 * BLOCK, 5 * BLOCK).unwrap();
    file.set_len(20 * BLOCK + 1).unwrap();
    let mut expected = file.read_to_end().unwrap();
    let mut mapping = file.map().unwrap();
    assert_eq!(mapping.len(), 21 * BLOCK);
    assert_eq!(mapping.as_slice()[..expected.len()], expected);
    mapping.as_mut_slice().fill(9);
    expected.fill(9);
    mapping.persist(0..mapping.len()).unwrap();
    drop(mapping);
    assert_eq!(file.read_to_end().unwrap(), expected);
    assert_eq!(source.read_to_end().unwrap(), bytes, "what the blocks were shared with is as it was");
    drop((file, source));
    let nova = Nova::mount(nova.unmount().unwrap()).unwrap();
    assert_eq!(nova.read_file("/file").unwrap(), expected);
    assert_eq!(nova.metadata("/file").unwrap().blocks, 21 * 8);
}

#[test]
fn behind_the_end_of_the_file_a_mapping_has_zeros() {
    let (_, nova) = volume(16 << 20);
    let file = nova.create_file("/file").unwrap();
    file.write_at(0, &[7; 8192]).unwrap();
    for end in [8191, 5000, 4097, 4096, 4095, 63, 1] {
        file.set_len(end).unwrap();
        let mut mapping = file.map().unwrap();
        let (content, tail) = mapping.as_slice().split_at(end as usize);
        assert!(content.iter().all(|byte| *byte == 7), "{end}");
        assert!(tail.iter().all(|byte| *byte == 0), "{end}");
        // What is stored there is nobody's, the next time too.
        mapping.as_mut_slice()[end as usize..].fill(8);
        drop(mapping);
        assert_eq!(file.map().unwrap().as_slice()[end as usize..], vec![0; tail_of(end)]);
    }
    file.set_len(4096).unwrap();
    assert_eq!(file.read_to_end().unwrap()[1..], [0; 4095], "nor when the file grows");
}

fn tail_of(end: u64) -> usize {
    (end.next_multiple_of(BLOCK) - end) as usize
}

#[test]
fn extents_that_are_apart_are_mapped_side_by_side() {
    let (_, nova) = volume(32 << 20);
    let (file, other) = (nova.create_file("/file").unwrap(), nova.create_file("/other").unwrap());
    let mut expected = Vec::new();
    for n in 0..100u8 {
        // In turns, and each write makes the blocks anew: no two of them stay neighbours.
        file.append(&[n; 4096]).unwrap();
        other.append(&[n; 4096]).unwrap();
        expected.extend([n; 4096]);
    }
    let mut random = fastrand::Rng::with_seed(2);
    for _ in 0..200 {
        let block = random.u64(..100);
        file.write_at(block * BLOCK, &expected[(block * BLOCK) as usize..][..BLOCK as usize]).unwrap();
    }
    let mut mapping = file.map().unwrap();
    assert!(places(&mapping).len() > 50, "{} extents", places(&mapping).len());
    assert_eq!(mapping.as_slice(), expected);
    for _ in 0..300 {
        let (at, len) = (random.usize(..expected.len() - 6000), random.usize(1..6000));
        let bytes = vec![random.u8(..); len];
        expected[at..at + len].copy_from_slice(&bytes);
        mapping.write(at as u64, &bytes).unwrap();
        mapping.persist(at as u64..(at + len) as u64).unwrap();
    }
    assert_eq!(nova.read_file("/file").unwrap(), expected);
    drop((mapping, file, other));
    let nova = Nova::mount(nova.unmount().unwrap()).unwrap();
    assert_eq!(nova.read_file("/file").unwrap(), expected);
}

#[test]
fn a_mapping_grows_and_the_file_with_it() {
    let (_, nova) = volume(32 << 20);
    let file = nova.create_file("/file").unwrap();
    file.write_at(0, &[1; 5000]).unwrap();
    let mapping = file.map().unwrap();
    // SAFETY: no reference to the bytes is alive, and only this thread uses them.
    unsafe { mapping.store(6000, &[2; 4]) };
    mapping.grow(1 << 20).unwrap();
    assert_eq!((mapping.len(), file.len().unwrap()), (1 << 20, 1 << 20));
    assert!(mapping.as_slice()[8192..].iter().all(|byte| *byte == 0));
    // The mapping's bytes behind the old end were its program's already.
    assert_eq!(mapping.as_slice()[5998..6006], [0, 0, 2, 2, 2, 2, 0, 0]);
    mapping.grow(9 << 20).unwrap();
    let before = nova.statfs();
    assert!(matches!(mapping.grow(64 << 20), Err(pmem_map::Error::CannotGrow { .. })));
    assert_eq!((nova.statfs(), mapping.len()), (before, 9 << 20));
    mapping.grow(10 << 20).unwrap();
    let mut mapping = mapping;
    mapping.write((10 << 20) - 4, &[3; 4]).unwrap();
    mapping.persist((10 << 20) - 4..10 << 20).unwrap();
    drop(mapping);
    let bytes = file.read_to_end().unwrap();
    assert_eq!(
        (bytes[..5000].to_vec(), &bytes[6000..6004], &bytes[(10 << 20) - 4..]),
        (vec![1; 5000], &[2; 4][..], &[3; 4][..])
    );
}
