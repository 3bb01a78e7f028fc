//! Blocks that are bad are not used any more, whoever says so, and whatever the volume's lives are.

use crate::volume::{BLOCK, Memory, Protected, content, options, volume};
use nova_core::{Code, Error, FormatOptions, MountOptions, Nova, ScrubOptions};
use pmem_map::MapOptions;
use std::fs::OpenOptions;

/// Fills the volume; whether any file has content in one of `blocks`, which are of noise that nobody else stores.
fn fills_without(nova: &Nova, memory: &Memory, blocks: &[u64]) {
    let before: Vec<Vec<u8>> = blocks.iter().map(|n| memory.read(n * BLOCK..(n + 1) * BLOCK)).collect();
    let mut written = 0;
    for n in 0..100_000 {
        match nova.write_file(format!("/fill-{n}"), &content(20 * BLOCK as usize, n)) {
            Ok(()) => written += 1,
            Err(error) => {
                assert_eq!(error.code(), Some(Code::NoSpace), "{error}");
                break;
            }
        }
    }
    assert!(written > 5);
    let after: Vec<Vec<u8>> = blocks.iter().map(|n| memory.read(n * BLOCK..(n + 1) * BLOCK)).collect();
    assert!(before == after, "a bad block was stored to");
    let report = nova.fsck().unwrap();
    assert!(report.is_clean(), "{report}");
    assert_eq!(report.free_blocks, nova.statfs().free);
    (0..=written).for_each(|n| drop(nova.remove_file(format!("/fill-{n}"))));
}

#[test]
fn a_bad_block_that_is_free_is_never_handed_out_again() {
    let (memory, nova) = volume(512, Protected::Parity);
    let free = nova.statfs().free;
    // Somewhere in the middle of what is free, side by side and alone.
    let bad = [300, 301, 400];
    let nova = options().bad_blocks(bad).mount(nova.unmount().unwrap()).unwrap();
    assert!(!nova.is_read_only());
    // The list itself takes a page of the root's log.
    assert_eq!(nova.statfs().free, free - 4);
    fills_without(&nova, &memory, &bad);
    // A clean mount knows it, one after a kill too, and one that is told of another.
    let nova = options().mount(nova.unmount().unwrap()).unwrap();
    assert!(nova.mount_report().clean);
    fills_without(&nova, &memory, &bad);
    let killed = options().bad_blocks([350, 300]).mount(memory.killed()).unwrap();
    assert!(!killed.mount_report().clean && killed.mount_report().damage.is_empty());
    assert_eq!(killed.statfs().free, nova.statfs().free - 1);
    assert!(killed.fsck().unwrap().is_clean());
}

#[test]
fn a_scrub_moves_content_away_from_bad_blocks() {
    for protected in [Protected::Checksums, Protected::Parity] {
        let (memory, nova) = volume(512, protected);
        let written = content(20 * BLOCK as usize, 1);
        nova.write_file("/f", &written).unwrap();
        nova.open("/f").unwrap().allocate(30 * BLOCK, 4 * BLOCK, nova_core::Allocate::KeepSize).unwrap();
        nova.create_file("/g")
            .unwrap()
            .clone_range(&nova.open("/f").unwrap(), 0, 0, 80_000 / BLOCK * BLOCK)
            .unwrap();
        let at = memory.find(&written) / BLOCK;
        let bad = [at, at + 7, at + 19];
        let nova = options().bad_blocks(bad).mount(nova.unmount().unwrap()).unwrap();
        let free = nova.statfs().free;
        let report = nova.scrub(&ScrubOptions::new()).unwrap();
        // Twice what both files have.
        assert_eq!((report.moved, report.damage.len()), (5, 0), "{report:?}");
        nova.sync().unwrap(); // what was moved is not on its way any more
        assert!(nova.statfs().free <= free - 5);
        assert!(nova.read_file("/f").unwrap() == written);
        assert!(nova.read_file("/g").unwrap() == written[..19 * BLOCK as usize]);
        assert_eq!(nova.scrub(&ScrubOptions::new()).unwrap().moved, 0);
        nova.remove_file("/f").unwrap();
        nova.remove_file("/g").unwrap();
        fills_without(&nova, &memory, &bad);
    }
}

#[test]
fn a_bad_block_of_what_cannot_be_elsewhere_leaves_a_volume_to_read() {
    let (memory, nova) = volume(512, Protected::Parity);
    let written = content(9000, 1);
    nova.write_file("/f", &written).unwrap();
    let line = memory.line(memory.find(&written)) / BLOCK;
    let mut mapping = nova.unmount().unwrap();
    for block in [0, 3, line, 511] {
        let nova = options().bad_blocks([block]).mount(mapping).unwrap();
        assert!(nova.is_read_only() && nova.mount_report().damage.len() == 1, "{block}");
        assert!(nova.read_file("/f").unwrap() == written);
        mapping = nova.unmount().unwrap();
    }
    assert!(
        !options().bad_blocks([512, u64::MAX]).mount(mapping).unwrap().is_read_only(),
        "not the volume's"
    );
}

/// A page that is lost is an error that names it: what the next mount is told.
#[test]
fn a_page_that_was_lost_is_retired_by_the_next_mount() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("volume");
    let len = 256 * BLOCK;
    // SAFETY: the file is this test's alone, and what becomes of it is what the test is about.
    let open = || unsafe { MapOptions::new().create(true).len(len).emulate_pmem(true).open(&path) }.unwrap();
    let nova = FormatOptions::new().stripes(1).parity(true).format(open(), MountOptions::new()).unwrap();
    // Logs before content: what is lost is content.
    let f = nova.create_file("/f").unwrap();
    f.append(&content(10, 0)).unwrap();
    nova.write_file("/g", &content(5000, 2)).unwrap();
    f.append(&content(120 * BLOCK as usize, 1)).unwrap();
    drop(f);
    drop(nova.unmount().unwrap());
    let nova = options().mount(open()).unwrap();
    let cut = |len| OpenOptions::new().write(true).open(&path).unwrap().set_len(len).unwrap();
    let whole = std::fs::read(&path).unwrap();
    cut(100 * BLOCK);
    let lost = match nova.read_file("/f") {
        Err(Error::At { source, .. }) => match *source {
            Error::Map(pmem_map::Error::PageLost { offset }) => offset,
            other => panic!("{other}"),
        },
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("its bytes are gone"),
    };
    drop(nova);
    // The page that was named is zeros from now on; the others were only out of reach.
    let mut bytes = whole;
    bytes[lost as usize..][..BLOCK as usize].fill(0);
    std::fs::write(&path, bytes).unwrap();
    let nova = options().bad_blocks([lost / BLOCK]).mount(open()).unwrap();
    assert!(!nova.is_read_only(), "{lost}: {:?}", nova.mount_report());
    let report = nova.scrub(&ScrubOptions::new()).unwrap();
    assert_eq!((report.damage.len(), report.damage[0].offset), (1, lost), "{report:?}");
    assert!(nova.read_file("/f").is_err() && nova.read_file("/g").unwrap() == content(5000, 2));
    nova.remove_file("/f").unwrap();
    nova.sync().unwrap();
    nova.write_file("/f", &content(119 * BLOCK as usize, 3)).unwrap();
    let at = lost as usize;
    assert!(std::fs::read(&path).unwrap()[at..at + BLOCK as usize].iter().all(|byte| *byte == 0));
    assert!(nova.scrub(&ScrubOptions::new()).unwrap().damage.is_empty());
    assert!(nova.fsck().unwrap().is_clean());
}
