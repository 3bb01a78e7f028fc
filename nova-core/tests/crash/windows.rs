//! Bytes that are stored without a record, while records that a recovery would replay still name them: what each such store has to see to.

use crate::{
    harness::{Setting, explore_alone},
    ops::Op::*,
};
use nova_core::{Allocate, MountOptions, Nova, flags};
use pmem_map::{Granularity, MapOptions, Mapping};

#[test]
fn a_record_of_the_window_does_not_bring_back_what_was_behind_the_end_of_a_file() {
    // Junk behind the end, in a line that a record names; then the file grows over it.
    let before = [Create("/f"), Write("/f", 0, 4000, 1), Truncate("/f", 50)];
    let ops = [Write("/f", 40, 10, 2), Write("/f", 8192, 5000, 3), Write("/f", 3000, 10, 4)];
    explore_alone("behind the end", &Setting::default(), &before, &ops);
}

#[test]
fn overwriting_in_place_is_not_undone_by_a_record_that_zeroed_the_same_line() {
    let before = [Create("/f"), Write("/f", 0, 100, 1), Truncate("/f", 50)];
    let ops = [Truncate("/f", 200), Write("/f", 60, 8, 2), Write("/f", 80, 8, 3)];
    let setting = Setting { relaxed: true, ..Setting::default() };
    explore_alone("in place, over zeros", &setting, &before, &ops);
    // The same by a flag of the file, over what a small write has logged.
    let before = [Create("/f"), Write("/f", 0, 200, 1)];
    let ops =
        [Write("/f", 64, 16, 2), Flags("/f", flags::IN_PLACE), Write("/f", 64, 8, 3), Write("/f", 72, 8, 4)];
    explore_alone("in place, over a small write", &setting, &before, &ops);
    let setting = Setting { granularity: Granularity::Page, ..setting };
    explore_alone("in place, over a small write, on pages", &setting, &before, &ops);
}

#[test]
fn content_of_reserved_blocks_is_not_undone_by_a_record_from_before_they_were_reserved() {
    let before = [Create("/f"), Write("/f", 0, 4096, 1)];
    let ops = [
        Write("/f", 100, 30, 2),
        Allocate("/f", 0, 4096, Allocate::Zero),
        Write("/f", 0, 4096, 3),
        Write("/f", 2000, 8, 4),
    ];
    for granularity in [Granularity::CacheLine, Granularity::Page] {
        let setting = Setting { granularity, ..Setting::default() };
        explore_alone(&format!("reserved blocks, {granularity:?}"), &setting, &before, &ops);
    }
}

#[test]
fn zeroing_over_the_end_of_a_file_zeroes_all_of_it() {
    let before = [Create("/f"), Write("/f", 0, 4000, 1), Truncate("/f", 100)];
    // The range begins in the same line as the end, in a later one of the block, and before it.
    for start in [110, 200, 50, 100] {
        let ops = [Allocate("/f", start, 4800, Allocate::Zero), Append("/f", 10, 2)];
        explore_alone(&format!("zeroing from {start}"), &Setting::default(), &before, &ops);
    }
    for (start, len) in [(50, 200), (300, 100), (4096, 200)] {
        let ops = [Allocate("/f", start, len, Allocate::Zero), Append("/f", 10, 2)];
        explore_alone(&format!("zeroing {len} from {start}"), &Setting::default(), &before, &ops);
    }
}

#[test]
fn blocks_that_are_shared_once_more_with_the_same_file_are_freed_all_the_same() {
    let before = [Create("/f"), Write("/f", 0, 9000, 1), Create("/g"), Clone("/f", "/g")];
    let ops = [Clone("/f", "/g"), Unlink("/f"), Write("/g", 0, 4096, 2), Unlink("/g"), Create("/h")];
    explore_alone("shared twice", &Setting::default(), &before, &ops);
}

/// A volume in a file of memory, and what is in the file: as after a kill, when all stores are visible.
fn volume_in_a_file() -> (tempfile::TempDir, Nova) {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let options = MapOptions::new().len(64 * 4096).create(true).emulate_pmem(true);
    // SAFETY: nobody else knows the file; it is only ever read while it is mapped.
    let mapping = unsafe { options.open(dir.path().join("volume")) }.unwrap();
    let nova = crate::harness::format_options(crate::PROTECTED)
        .stripes(1)
        .format(mapping, MountOptions::new())
        .unwrap();
    (dir, nova)
}

fn after_a_kill(dir: &tempfile::TempDir) -> Nova {
    let bytes = std::fs::read(dir.path().join("volume")).unwrap();
    let mut mapping = Mapping::anonymous(bytes.len() as u64).unwrap();
    mapping.as_mut_slice().copy_from_slice(&bytes);
    Nova::mount(mapping).unwrap()
}

#[test]
fn what_a_mapping_has_persisted_is_not_undone_by_records_of_earlier_writes() {
    let (dir, nova) = volume_in_a_file();
    let f = nova.create_file("/f").unwrap();
    f.write_at(0, &[1; 600]).unwrap();
    let mut mapping = f.map().unwrap();
    mapping.write(64, b"stored by a program").unwrap();
    mapping.write(700, b"behind the end").unwrap();
    mapping.persist(64..720).unwrap();
    let found = after_a_kill(&dir).read_file("/f").unwrap();
    assert_eq!(found[64..83], *b"stored by a program");
    assert!(found[83..] == [1; 517], "the rest is as it was");
    // And once more: what the first mapping made room for is there, a small write comes between.
    drop(mapping);
    f.write_at(128, &[2; 64]).unwrap();
    let mut mapping = f.map().unwrap();
    mapping.write(130, b"again").unwrap();
    mapping.persist(128..192).unwrap();
    let found = after_a_kill(&dir).read_file("/f").unwrap();
    assert_eq!(found[128..138], *b"\x02\x02again\x02\x02\x02");
    // The write's record is retired, and still in the window of the newest one, which is another file's.
    drop(mapping);
    f.write_at(128, &[4; 64]).unwrap();
    nova.create_file("/other").unwrap();
    let mut mapping = f.map().unwrap();
    mapping.write(130, b"at last").unwrap();
    mapping.persist(128..192).unwrap();
    let found = after_a_kill(&dir).read_file("/f").unwrap();
    assert_eq!(found[128..139], *b"\x04\x04at last\x04\x04");
}

#[test]
fn a_mapping_that_grows_keeps_what_was_stored_around_the_files_end() {
    let (dir, nova) = volume_in_a_file();
    let f = nova.create_file("/f").unwrap();
    f.write_at(0, &[1; 100]).unwrap();
    let mut mapping = f.map().unwrap();
    mapping.write(90, &[2; 200]).unwrap();
    mapping.persist(90..290).unwrap();
    mapping.grow(8192).unwrap();
    mapping.write(95, &[3; 5]).unwrap();
    mapping.persist(95..100).unwrap();
    for found in [f.read_to_end().unwrap(), after_a_kill(&dir).read_file("/f").unwrap()] {
        assert_eq!(found.len(), 8192);
        assert!(found[90..95] == [2; 5] && found[95..100] == [3; 5] && found[100..290] == [2; 190]);
        assert!(found[290..].iter().all(|byte| *byte == 0));
    }
}
