//! Where things are: what `Nova::anatomy` and `Nova::file_anatomy` say is what is on the medium.

use nova_core::{Allocate, BLOCK, FormatOptions, Holds, MountOptions, Nova};
use pmem_map::Mapping;
use std::ops::Range;

fn volume() -> Nova {
    let mapping = Mapping::memfd(16 << 20).unwrap();
    FormatOptions::new().stripes(2).format(mapping, MountOptions::new()).unwrap()
}

fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|n| ((n * 31) >> 3) as u8 ^ seed).collect()
}

fn blocks(range: Range<u64>, of: &nova_core::Anatomy) -> Vec<Holds> {
    (range.start / BLOCK..range.end.div_ceil(BLOCK))
        .map(|block| {
            let within = |stretch: &&nova_core::Stretch| {
                (stretch.offset..stretch.offset + stretch.len).contains(&(block * BLOCK))
            };
            of.stretches.iter().find(within).unwrap().holds
        })
        .collect()
}

#[test]
fn a_volume_has_no_gaps_and_its_numbers_are_those_of_the_check() {
    let nova = volume();
    nova.create_dir("/d").unwrap();
    nova.write_file("/d/a", &pattern(100_000, 1)).unwrap();
    nova.write_file("/b", &pattern(5000, 2)).unwrap();
    let (a, copy) = (nova.open("/d/a").unwrap(), nova.create_file("/d/copy").unwrap());
    copy.copy_from(&a, 0, 0, 40_960).unwrap();
    drop((a, copy));
    let (anatomy, report) = (nova.anatomy().unwrap(), nova.fsck().unwrap());
    let mut end = 0;
    for stretch in &anatomy.stretches {
        assert_eq!(stretch.offset, end);
        end += stretch.len;
    }
    assert_eq!(end, nova.size());
    assert_eq!(anatomy.bytes(Holds::Free), report.free_blocks * BLOCK);
    assert_eq!(anatomy.bytes(Holds::Shared), report.shared_blocks * BLOCK);
    assert_eq!(anatomy.bytes(Holds::Data) + anatomy.bytes(Holds::Shared), report.data_blocks * BLOCK);
    assert_eq!(anatomy.bytes(Holds::InodeTable) + anatomy.bytes(Holds::Log), report.metadata_blocks * BLOCK);
    assert_eq!((anatomy.bytes(Holds::Superblock), anatomy.bytes(Holds::Other)), (2 * BLOCK, 0));
    assert_eq!(anatomy.files, 3);
    let (count, longest) = anatomy.free_stretches();
    assert!(count >= 1 && longest <= anatomy.bytes(Holds::Free));
}

#[test]
fn the_parts_of_a_file_are_where_it_says() {
    let nova = volume();
    let bytes = pattern(50_000, 7);
    let file = nova.create_file("/f").unwrap();
    file.write_at(0, &bytes).unwrap();
    file.allocate(1 << 20, 8192, Allocate::KeepSize).unwrap();
    let parts = nova.file_anatomy(file.ino()).unwrap();
    let anatomy = nova.anatomy().unwrap();
    assert_eq!(blocks(parts.identity.clone(), &anatomy), [Holds::InodeTable]);
    assert_eq!(parts.state.start, parts.identity.end);
    assert!(parts.log.iter().all(|page| blocks(page.clone(), &anatomy) == [Holds::Log]));
    let reserved = parts.extents.last().unwrap();
    assert!(reserved.unwritten && reserved.file_offset == 1 << 20 && reserved.len == 8192, "{reserved:?}");
    let number = file.ino();
    drop(file);
    let mapping = nova.unmount().unwrap();
    let media = mapping.as_slice();
    let at = parts.identity.start as usize;
    assert_eq!(media[at + 8..at + 16], number.to_le_bytes());
    let mut found = vec![0; bytes.len()];
    for part in parts.extents.iter().filter(|part| !part.unwritten) {
        let (to, from) = (part.file_offset as usize, part.offset as usize);
        let len = (part.len as usize).min(bytes.len() - to);
        found[to..to + len].copy_from_slice(&media[from..from + len]);
        assert!(!part.shared);
    }
    assert!(found == bytes);
}

#[test]
fn a_file_that_threads_write_in_turns_is_in_few_pieces() {
    let nova = FormatOptions::new().format(Mapping::memfd(64 << 20).unwrap(), MountOptions::new()).unwrap();
    let file = nova.create_file("/f").unwrap();
    // Each thread's allocations begin in a part of the volume of its own. Small writes are in records, large ones are not.
    for (turn, len) in (0..64).zip([4096, 16_384, 1024, 512].into_iter().cycle()) {
        let append = || {
            for _ in 0..16_384 / len {
                file.append(&pattern(len, turn)).unwrap();
            }
        };
        std::thread::scope(|scope| scope.spawn(append).join().unwrap());
    }
    let extents = nova.file_anatomy(file.ino()).unwrap().extents;
    assert_eq!(extents.iter().map(|part| part.len).sum::<u64>(), 1 << 20);
    let pieces = 1 + extents.windows(2).filter(|pair| pair[0].offset + pair[0].len != pair[1].offset).count();
    assert!(pieces <= 12, "a page of the log may lie between two: {pieces} pieces, {extents:?}");
}
