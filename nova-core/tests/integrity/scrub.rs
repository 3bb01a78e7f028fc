//! Scrubbing: what it reads, beside operations, at its rate; what it says.

use crate::volume::{BLOCK, Protected, content, volume};
use nova_core::{Nova, ScrubOptions};
use pmem_map::Mapping;
use std::time::Duration;

#[test]
fn a_scrub_goes_on_beside_operations_and_finds_nothing_wrong() {
    let (_, nova) = volume(4096, Protected::Parity);
    for n in 0..20 {
        nova.write_file(format!("/{n}"), &content(50_000, n)).unwrap();
    }
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for round in 0..40u64 {
                let path = format!("/{}", round % 20);
                nova.open(&path).unwrap().write_at(round * 100, &content(3000, round)).unwrap();
                nova.write_file("/new", &content(20_000, round)).unwrap();
                nova.remove_file("/new").unwrap();
            }
        });
        while !writer.is_finished() {
            let report = nova.scrub(&ScrubOptions::new()).unwrap();
            assert!(report.damage.is_empty() && report.repairs == Default::default(), "{report:?}");
            assert!(report.blocks >= 20 * 13, "{report:?}");
        }
    });
    assert!(nova.fsck().unwrap().is_clean());
}

#[test]
fn a_scrub_in_the_background_tells_how_far_it_is_and_can_be_stopped() {
    let (_, nova) = volume(2048, Protected::Checksums);
    nova.write_file("/f", &content(1 << 20, 1)).unwrap();
    let report = nova.scrub_in_background(&ScrubOptions::new()).wait().unwrap();
    assert!(report.blocks == 256 && !report.stopped, "{report:?}");
    // So slow that it is never done by itself.
    let slow = nova.scrub_in_background(&ScrubOptions::new().rate(1));
    while slow.progress().bytes == 0 {
        std::thread::yield_now();
    }
    let progress = slow.progress();
    assert!(progress.bytes <= 1 << 20 && progress.slots < progress.all_slots && !slow.is_done());
    let report = slow.stop().unwrap();
    assert!(report.stopped && report.blocks == progress.bytes / BLOCK, "{report:?}");
    nova.unmount().unwrap();
}

#[test]
fn a_scrub_takes_the_time_that_its_rate_says() {
    let (_, nova) = volume(2048, Protected::Checksums);
    nova.write_file("/f", &content(1 << 20, 1)).unwrap();
    let report = nova.scrub(&ScrubOptions::new().rate(4 << 20)).unwrap();
    assert!(report.took >= Duration::from_millis(250), "{report:?}");
}

#[test]
fn a_scrub_meets_damage_of_metadata_and_mends_superblocks() {
    let (memory, nova) = volume(512, Protected::Parity);
    let written = content(5000, 1);
    nova.write_file("/f", &written).unwrap();
    let before = memory.all();
    memory.write(0, &[0xff; 64]);
    let report = nova.scrub(&ScrubOptions::new()).unwrap();
    assert_eq!((report.superblocks, report.damage.len()), (1, 0), "{report:?}");
    assert!(memory.all() == before);
    // The inode's state line: the root's slot follows the segment's header, the file's follows the root's.
    let slot = memory.find(&written) / BLOCK; // some block behind the table
    let segment =
        (0..slot).rev().find(|block| memory.read(block * BLOCK + 4..block * BLOCK + 8) == b"SEGM").unwrap();
    memory.write(segment * BLOCK + 64 + 128 + 64 + 20, &[0xff; 8]);
    let report = nova.scrub(&ScrubOptions::new()).unwrap();
    assert_eq!(report.damage.len(), 1, "{report:?}");
    assert_eq!(report.damage[0].ino, nova.metadata("/f").unwrap().ino);
}

#[test]
fn without_protection_a_scrub_verifies_metadata() {
    let nova = Nova::format(Mapping::memfd(4 << 20).unwrap()).unwrap();
    nova.write_file("/f", &content(9000, 1)).unwrap();
    let report = nova.scrub(&ScrubOptions::new()).unwrap();
    assert_eq!((report.inodes, report.blocks, report.unprotected), (2, 0, 3), "{report:?}");
}
