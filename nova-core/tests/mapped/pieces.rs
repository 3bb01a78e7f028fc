//! Files in more pieces than a process can map.

use crate::{Memory, extents};
use nova_core::{BLOCK, Error, File, FormatOptions, MountOptions, Nova, ScrubOptions};
use pmem_map::Granularity;

const MOST: u64 = 16_384;
const BLOCKS: u64 = MOST + 6;

fn word(block: u64) -> [u8; 8] {
    (block * 7 + 1).to_le_bytes()
}

/// A volume with a file of which no block is beside the next.
fn scattered(len: u64, checksums: bool) -> (Memory, Nova, File) {
    let (memory, mapping) = Memory::new(len, Granularity::CacheLine);
    let nova = FormatOptions::new().checksums(checksums).format(mapping, MountOptions::new()).unwrap();
    let (file, other) = (nova.create_file("/file").unwrap(), nova.create_file("/other").unwrap());
    let mut content = [3; BLOCK as usize];
    // Each second one first.
    for block in (0..BLOCKS).step_by(2).chain((1..BLOCKS).step_by(2)) {
        content[..8].copy_from_slice(&word(block));
        file.write_at(block * BLOCK, &content).unwrap();
        other.write_at(block * BLOCK, &content).unwrap();
    }
    (memory, nova, file)
}

fn assert_content(bytes: &[u8]) {
    assert_eq!(bytes.len() as u64, BLOCKS * BLOCK);
    for (block, bytes) in bytes.chunks(BLOCK as usize).enumerate() {
        assert!(bytes[..8] == word(block as u64) && bytes[8..].iter().all(|byte| *byte == 3), "{block}");
    }
}

#[test]
fn a_file_in_more_pieces_than_can_be_mapped_is_made_contiguous_first() {
    let (memory, nova, file) = scattered(256 << 20, false);
    let before = nova.statfs();
    let refused = file.map_read().unwrap_err();
    assert!(
        matches!(refused, Error::TooManyExtents { extents: MOST..=BLOCKS, limit: MOST }),
        "to read, nothing is changed: {refused}"
    );
    let mut mapping = file.map().unwrap();
    println!("{} pieces", extents(&mapping).len());
    assert!(extents(&mapping).len() <= 128, "{}", extents(&mapping).len());
    assert_content(mapping.as_slice());
    mapping.write(BLOCK, &word(1)).unwrap();
    mapping.persist(BLOCK..BLOCK + 8).unwrap();
    drop(mapping);
    nova.sync().unwrap();
    assert!(nova.statfs().free >= before.free, "the old blocks are free");
    assert_content(&file.map_read().unwrap());
    assert_content(&memory.mount_killed().read_file("/file").unwrap());
    assert!(nova.fsck().unwrap().is_clean());
}

#[test]
fn without_space_for_a_copy_it_is_refused_with_the_number_of_its_pieces_and_nothing_changes() {
    let (_, nova, file) = scattered(143 << 20, true);
    let before = nova.statfs();
    for refused in [
        file.map().map(drop),
        // SAFETY: nothing is mapped.
        unsafe { file.map_shared() }.map(drop),
        file.map_read().map(drop),
    ] {
        let refused = refused.unwrap_err();
        let Error::TooManyExtents { extents, limit } = refused else { panic!("{refused}") };
        assert!((limit, (MOST + 1..=BLOCKS).contains(&extents)) == (MOST, true), "{extents}");
        assert!(refused.to_string().contains(&extents.to_string()) && refused.errno() == libc::ENOMEM);
    }
    assert_eq!((nova.statfs().free, nova.statfs().blocks), (before.free, before.blocks));
    assert_content(&file.read_to_end().unwrap());
    let scrubbed = nova.scrub(&ScrubOptions::new()).unwrap();
    assert_eq!(scrubbed.unprotected, 0, "what was marked before it was refused is so no longer");
    // Its lease is nobody's; and a copy in memory has no pieces.
    file.write_at(0, &word(0)).unwrap();
    assert_content(&file.map_atomic().unwrap());
    nova.remove_file("/other").unwrap();
    nova.sync().unwrap();
    assert_content(file.map().unwrap().as_slice());
    assert!(nova.fsck().unwrap().is_clean());
}
