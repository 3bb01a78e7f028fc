//! Files that are mapped: protection is off meanwhile, and back afterwards. The table is in `nova_core::integrity::mapped`.

use crate::volume::{BLOCK, Memory, Protected, content, is_damaged, options, volume};
use nova_core::{Error, FormatOptions, Nova, Rule, ScrubOptions};
use pmem_map::{Dirtiness, MapOptions};

const LEN: usize = 8 * BLOCK as usize;

/// A file, and where its content is.
fn file(protected: Protected) -> (Memory, Nova, Vec<u8>, u64) {
    let (memory, nova) = volume(512, protected);
    let written = content(LEN, 11);
    nova.write_file("/f", &written).unwrap();
    let at = memory.find(&written);
    (memory, nova, written, at)
}

#[test]
fn damage_before_mapping_is_repaired_by_mapping_or_reported() {
    let (memory, nova, written, at) = file(Protected::Parity);
    memory.write(at + 5000, &[0; 400]);
    let mapping = nova.open("/f").unwrap().map().unwrap();
    assert!(mapping.as_slice() == written);
    drop(mapping);
    assert_eq!(nova.repairs().data, 2, "over the end of a stripe");

    let (memory, nova, _, at) = file(Protected::Checksums);
    memory.write(at + 5000, &[0; 400]);
    let f = nova.open("/f").unwrap();
    let refused = f.map();
    assert!(matches!(refused, Err(Error::Damaged { .. })), "{refused:?}");
    assert!(matches!(f.map_read(), Err(Error::Damaged { .. })));
    // It is not mapped, and not marked: what is right of it is still verified.
    let mut block = vec![0; BLOCK as usize];
    assert!(is_damaged(&f.read_at(BLOCK, &mut block)));
    f.read_at(0, &mut block).unwrap();
}

/// Each way of knowing which pages are stored to.
const MEANS: [Dirtiness; 2] = [Dirtiness::Scan, Dirtiness::Faults];

/// A mounted copy of what `file` makes, with one of the means.
fn file_known_by(protected: Protected, means: Dirtiness) -> (Memory, Nova, Vec<u8>, u64) {
    let (memory, nova, written, at) = file(protected);
    let nova = options().stores_known_by(means).mount(nova.unmount().unwrap()).unwrap();
    (memory, nova, written, at)
}

#[test]
fn damage_while_mapped_is_accepted_in_pages_that_are_stored_to() {
    for (protected, means) in [Protected::Checksums, Protected::Parity].into_iter().zip(MEANS) {
        let (memory, nova, mut written, at) = file_known_by(protected, means);
        let f = nova.open("/f").unwrap();
        let mut mapping = f.map().unwrap();
        memory.write(at + 17_000, &[1; 40]);
        memory.write(at + 20_000, &[2; 40]);
        mapping.write(20_000, &[3; 40]).unwrap();
        mapping.persist(20_000..20_040).unwrap();
        written[17_000..17_040].fill(1);
        written[20_000..20_040].fill(3);
        // Reads meanwhile see what the program does.
        assert!(f.read_to_end().unwrap() == written);
        let scrubbed = nova.scrub(&ScrubOptions::new()).unwrap();
        assert_eq!((scrubbed.blocks, scrubbed.unprotected), (0, 8));
        drop(mapping);
        assert!(f.read_to_end().unwrap() == written, "{means:?}");
        let scrubbed = nova.scrub(&ScrubOptions::new()).unwrap();
        assert_eq!((scrubbed.blocks, scrubbed.unprotected), (8, 0));
        assert!(scrubbed.damage.is_empty() && nova.repairs() == Default::default());
    }
}

#[test]
fn damage_while_mapped_is_found_in_pages_that_nobody_stored_to() {
    for means in MEANS {
        let damage = |protected| {
            let (memory, nova, mut written, at) = file_known_by(protected, means);
            let f = nova.open("/f").unwrap();
            let mut mapping = f.map().unwrap();
            memory.write(at + 5000, &[1; 40]);
            mapping.write(20_000, &[3; 40]).unwrap();
            assert!(mapping.as_slice()[5000..5040] == [1; 40], "the program sees it");
            drop(mapping);
            written[20_000..20_040].fill(3);
            (f.read_to_end(), written, nova)
        };
        let (found, _, nova) = damage(Protected::Checksums);
        assert!(is_damaged(&found), "{means:?}");
        assert_eq!(nova.scrub(&ScrubOptions::new()).unwrap().damage.len(), 1);
        let (found, written, nova) = damage(Protected::Parity);
        assert!(found.unwrap() == written, "{means:?}");
        assert_eq!(nova.repairs().data, 1);
    }
}

/// Snapshots ask the same watches which pages were stored to, and begin anew.
#[test]
fn pages_stored_to_before_and_after_a_snapshot_are_protected_again() {
    for means in MEANS {
        let (memory, nova, mut written, at) = file_known_by(Protected::Parity, means);
        let f = nova.open("/f").unwrap();
        let mut mapping = f.map().unwrap();
        mapping.write(5000, &[1; 40]).unwrap();
        nova.create_snapshot("a").unwrap();
        mapping.write(9000, &[2; 40]).unwrap();
        mapping.grow(LEN as u64 + 3 * BLOCK).unwrap();
        mapping.write(LEN as u64 + BLOCK, &[3; 40]).unwrap();
        nova.create_snapshot("b").unwrap();
        mapping.write(17_000, &[4; 40]).unwrap();
        memory.write(at + 30_000, &[5; 10]); // not accepted
        drop(mapping);
        written.resize(LEN + 3 * BLOCK as usize, 0);
        for (at, byte) in [(5000, 1), (9000, 2), (LEN + BLOCK as usize, 3), (17_000, 4)] {
            written[at..at + 40].fill(byte);
        }
        assert!(f.read_to_end().unwrap() == written, "{means:?}");
        let scrubbed = nova.scrub(&ScrubOptions::new()).unwrap();
        assert!(scrubbed.damage.is_empty() && scrubbed.unprotected == 0, "{scrubbed:?}");
        assert_eq!(nova.repairs().data, 1);
        assert!(nova.mount_snapshot("a").unwrap().read_file("/f").unwrap()[9000..9040] != [2; 40]);
    }
}

/// Where it cannot be known which pages are stored to, all of them count.
#[test]
fn of_a_mapping_that_cannot_be_watched_all_pages_are_protected_again() {
    let (memory, nova, mut written, at) = file_known_by(Protected::Parity, Dirtiness::Unknown);
    let f = nova.open("/f").unwrap();
    let mut mapping = f.map().unwrap();
    mapping.write(20_000, &[3; 40]).unwrap();
    memory.write(at + 5000, &[1; 40]);
    drop(mapping);
    written[20_000..20_040].fill(3);
    written[5000..5040].fill(1);
    assert!(f.read_to_end().unwrap() == written && nova.repairs() == Default::default());
}

#[test]
fn a_stored_page_that_is_left_out_is_found() {
    let (_, nova, _, _) = file(Protected::Checksums);
    let options = options().without(Rule::StoredPagesProtected);
    let nova = options.mount(nova.unmount().unwrap()).unwrap();
    let f = nova.open("/f").unwrap();
    let mut mapping = f.map().unwrap();
    mapping.write(0, &[1; 8]).unwrap();
    mapping.write(20_000, &[3; 40]).unwrap();
    drop(mapping);
    assert!(is_damaged(&f.read_to_end()));
}

/// Of a file of 64 MiB, three pages are stored to: unmapping costs three pages, not 16,384.
#[test]
fn unmapping_costs_the_pages_that_were_stored_to() {
    for means in MEANS {
        let mapping = MapOptions::new().len(100 << 20).memfd().unwrap();
        let options = options().stores_known_by(means);
        let nova = FormatOptions::new().parity(true).format(mapping, options).unwrap();
        let f = nova.create_file("/f").unwrap();
        f.set_len(64 << 20).unwrap();
        let mut mapping = f.map().unwrap();
        for at in [5000, 20 << 20, (64 << 20) - 100] {
            mapping.write(at, &[7; 50]).unwrap();
        }
        let before = nova.counters();
        drop(mapping);
        let spent = nova.counters() - before;
        println!(
            "unmap after stores to 3 pages of 16,384, known by {means:?}: {} lines, {} drains",
            spent.lines(),
            spent.drains
        );
        // A page, its checksums and its parity; and the record.
        assert!((3 * 73..3 * 73 + 16).contains(&spent.lines()), "{means:?}: {}", spent.lines());
        assert_eq!(spent.drains, 2);
        let mut expected = vec![0; 64 << 20];
        for at in [5000, 20 << 20, (64 << 20) - 100] {
            expected[at..at + 50].fill(7);
        }
        assert!(f.read_to_end().unwrap() == expected);
    }
}

#[test]
fn damage_after_the_mapping_has_ended_is_repaired_or_reported() {
    for protected in [Protected::Checksums, Protected::Parity] {
        let (memory, nova, mut written, at) = file(protected);
        let f = nova.open("/f").unwrap();
        let mut mapping = f.map().unwrap();
        // Not flushed by the program: content all the same.
        mapping.as_mut_slice()[100..200].fill(5);
        written[100..200].fill(5);
        drop(mapping);
        memory.write(at + 120, &[0; 8]);
        let found = f.read_to_end();
        match protected {
            Protected::Checksums => assert!(is_damaged(&found)),
            Protected::Parity => assert!(found.unwrap() == written),
        }
    }
}

#[test]
fn a_mount_after_a_kill_protects_what_was_mapped() {
    for protected in [Protected::Checksums, Protected::Parity] {
        let (memory, nova, mut written, at) = file(protected);
        let f = nova.open("/f").unwrap();
        let mut mapping = f.map().unwrap();
        mapping.write(9000, &[4; 3000]).unwrap();
        mapping.grow(LEN as u64 + BLOCK).unwrap();
        mapping.write(LEN as u64, &[5; 100]).unwrap();
        memory.write(at + 30_000, &[6; 10]); // accepted
        written[9000..12_000].fill(4);
        written[30_000..30_010].fill(6);
        written.extend([5; 100]);
        written.resize(LEN + BLOCK as usize, 0);
        let killed = options().mount(memory.killed()).unwrap();
        let report = killed.mount_report();
        assert!(report.mapped == 1 && report.damage.is_empty(), "{report:?}");
        assert!(killed.read_file("/f").unwrap() == written);
        let scrubbed = killed.scrub(&ScrubOptions::new()).unwrap();
        assert_eq!((scrubbed.blocks, scrubbed.damage.len(), scrubbed.unprotected), (9, 0, 0));
        // And the next one has nothing to do.
        let killed = options().mount(killed.unmount().unwrap()).unwrap();
        assert_eq!(killed.mount_report().mapped, 0);
        assert!(killed.fsck().unwrap().is_clean());
    }
}

#[test]
fn a_file_that_several_map_is_protected_again_by_the_last() {
    let (memory, nova, mut written, at) = file(Protected::Parity);
    let f = nova.open("/f").unwrap();
    // SAFETY: no references into either are kept.
    let (mut one, other) = unsafe { (f.map_shared().unwrap(), f.map_shared().unwrap()) };
    one.write(10, b"one").unwrap();
    written[10..13].copy_from_slice(b"one");
    drop(other);
    assert_eq!(nova.scrub(&ScrubOptions::new()).unwrap().unprotected, 8);
    f.write_at(300, b"in place").unwrap();
    f.append(&[9; 5000]).unwrap();
    written[300..308].copy_from_slice(b"in place");
    written.extend([9; 5000]);
    drop(one);
    assert_eq!(nova.scrub(&ScrubOptions::new()).unwrap().unprotected, 0);
    memory.write(at + 8, &[0; 8]);
    assert!(f.read_to_end().unwrap() == written);
    assert_eq!(nova.repairs().data, 1);
}

#[test]
fn mapping_to_read_keeps_protection_on() {
    let (memory, nova, written, at) = file(Protected::Parity);
    let f = nova.open("/f").unwrap();
    let mapping = f.map_read().unwrap();
    memory.write(at + 8, &[0; 8]);
    assert!(f.read_to_end().unwrap() == written);
    // Who has references keeps what is there; when they are gone, the medium gets what is right.
    assert!(mapping[8..16] == [0; 8] && mapping[16..] == written[16..]);
    let other = f.map_read();
    assert!(other.is_ok_and(|other| other[8..16] == [0; 8]) && f.read_to_end().unwrap() == written);
    drop(mapping);
    assert!(f.read_to_end().unwrap() == written);
    assert!(memory.read(at..at + 64) == written[..64]);
}
