//! Bugs that others found in NOVA, PMFS, WineFS and SplitFS, by their names: the operations that showed each, explored here.
//!
//! N: Chipmunk's of NOVA (LeBlanc et al., EuroSys 2023). F: of NOVA-Fortis. V: Vinter's (Kalbfleisch et al., ATC 2022). P, W, S: of PMFS, WineFS and
//! SplitFS. `#n` is the number in the system's own list. What needs replicas or checksums of data is not here.

use crate::{
    harness::{Setting, explore_alone},
    ops::Op::{self, *},
    ops::{content, leaked},
};
use nova_core::{Allocate, MountOptions, Nova, Rename};
use pmem_map::Mapping;

const REPLACE: Rename = Rename::Replace;

fn explored(name: &str, before: &[Op], ops: &[Op]) {
    explore_alone(name, &Setting { nested: 4, ..Setting::default() }, before, ops);
}

#[test]
fn n1_a_volume_is_mounted_by_one_thread_as_by_many() {
    // NOVA #88: recovery on a machine with one processor read behind an array. Here, stripes and threads have nothing to do with each other.
    let nova = crate::harness::format_options(crate::PROTECTED)
        .stripes(3)
        .format(Mapping::memfd(1 << 20).unwrap(), MountOptions::new())
        .unwrap();
    for n in 0..100 {
        nova.write_file(format!("/f{n}"), &content(50, n)).unwrap();
    }
    let mut bytes = nova.unmount().unwrap().as_slice().to_vec();
    bytes[4096..4096 + 64].fill(0); // the state line: all is scanned
    let mut found = Vec::new();
    for threads in [1, 2, 7] {
        let mut mapping = Mapping::memfd(1 << 20).unwrap();
        mapping.as_mut_slice().copy_from_slice(&bytes);
        let nova = MountOptions::new().threads(threads).mount(mapping).unwrap();
        assert!((0..100).all(|n| nova.read_file(format!("/f{n}")).unwrap() == content(50, n)));
        found.push((nova.statfs(), nova.mount_report().scanned));
    }
    assert!(found.iter().all(|one| *one == found[0]), "{found:?}");
}

#[test]
fn n2_a_file_that_was_created_can_be_reached() {
    explored("N2 create", &[], &[Create("/foo"), Mkdir("/A"), Create("/A/foo")]);
}

#[test]
fn n3_the_first_page_of_a_log_and_its_tail_come_together() {
    // NOVA #94: head and tail were two stores.
    explored(
        "N3 first write",
        &[],
        &[Create("/foo"), Write("/foo", 0, 1000, 1), Create("/bar"), Rename("/bar", "/foo", REPLACE)],
    );
}

#[test]
fn n4_a_file_that_is_renamed_has_one_of_its_names() {
    // NOVA #116, Vinter's V4.
    let before = [Create("/foo"), Write("/foo", 0, 100, 1), Create("/bar"), Write("/bar", 0, 200, 2)];
    explored("N4, V4 rename", &before, &[Rename("/foo", "/new", REPLACE), Rename("/new", "/bar", REPLACE)]);
}

#[test]
fn n5_a_file_that_leaves_a_directory_can_be_reached_and_the_directory_removed() {
    explored(
        "N5 rename out",
        &[Mkdir("/A"), Create("/A/foo")],
        &[Rename("/A/foo", "/bar", REPLACE), Rmdir("/A")],
    );
}

#[test]
fn n6_a_link_that_fails_or_is_made_counts_what_is_there() {
    // NOVA #119: the link was absent, and counted.
    let ops =
        [Rename("/bar", "/A/bar", REPLACE), Link("/A/bar", "/bar"), Unlink("/A/bar"), Link("/bar", "/A/bar")];
    explored("N6 link", &[Create("/bar"), Mkdir("/A")], &ops);
}

#[test]
fn n7_writes_and_truncations_through_two_handles_are_the_same_after_a_mount() {
    // NOVA #132; the harness mounts after each operation, and compares.
    let ops = [
        Write("/f", 0, 3000, 1),
        Write("/f", 2000, 4000, 2),
        Truncate("/f", 2500),
        Write("/f", 2400, 9000, 3),
    ];
    explored("N7 two handles", &[Create("/f"), Open("/f")], &ops);
}

#[test]
fn n8_reserving_and_truncating_keep_contents_over_a_mount() {
    // NOVA #134.
    let ops = [
        Allocate("/f", 0, 12_000, Allocate::Grow),
        Write("/f", 100, 5000, 1),
        Truncate("/f", 0),
        Write("/f", 4000, 500, 2),
        Truncate("/f", 4100),
        Allocate("/f", 4000, 5000, Allocate::KeepSize),
        Truncate("/f", 9000),
        Write("/f", 8990, 10, 3),
    ];
    explored("N8 reserved and truncated", &[Create("/f")], &ops);
}

#[test]
fn f1_removing_names_is_one_step() {
    // NOVA #120, #118, #127.
    let before =
        [Mkdir("/A"), Mkdir("/A/B"), Create("/f"), Link("/f", "/A/f"), Create("/g"), Write("/g", 0, 4096, 1)];
    let ops = [
        Unlink("/f"),
        Rmdir("/A/B"),
        Allocate("/g", 0, 8192, Allocate::KeepSize),
        Link("/g", "/h"),
        Truncate("/g", 0),
    ];
    explored("F1 names", &before, &ops);
}

#[test]
fn f3_a_truncated_file_is_freed_once() {
    // NOVA #110: a block was freed twice.
    let ops = [
        Mkdir("/A"),
        Create("/A/foo"),
        Write("/A/foo", 0, 4096, 1),
        Truncate("/A/foo", 0),
        Unlink("/A/foo"),
        Rmdir("/A"),
    ];
    explored("F3 truncated", &[], &ops);
}

#[test]
fn f5_bytes_that_a_truncation_cut_off_are_gone() {
    // NOVA #131.
    let ops = [Write("/f", 0, 32, 1), Truncate("/f", 1), Truncate("/f", 64), Append("/f", 3, 2)];
    explored("F5 truncated in a line", &[Create("/f")], &ops);
}

#[test]
fn v1_no_byte_of_an_unaligned_write_is_lost() {
    // NOVA #105: the ends of a copy that are no whole words were not flushed. Writes beside the record, and in place, of all alignments.
    for relaxed in [false, true] {
        let mut ops = Vec::new();
        for at in [0, 1, 3, 4, 7, 8, 63] {
            for len in [1025, 1027, 1028, 1031, 1099] {
                ops.push(Write("/f", at, len, (at as usize + len) as u8));
            }
        }
        for part in ops.chunks(6) {
            let setting = Setting { relaxed, bound: 4, samples: 1, depth: 1, ..Setting::default() };
            let name = format!("V1 unaligned, {}", if relaxed { "in place" } else { "beside" });
            explore_alone(&name, &setting, &[Create("/f"), Write("/f", 0, 3000, 200)], part);
        }
    }
}

#[test]
fn v2_a_name_and_its_count_go_together() {
    // NOVA #125.
    explored("V2 links", &[Create("/f"), Link("/f", "/g")], &[Unlink("/f"), Link("/g", "/f"), Unlink("/g")]);
}

#[test]
fn v3_a_symbolic_link_has_all_of_its_target() {
    // NOVA #124: lengths that are no whole words; in the record, and beside it.
    for len in [1, 7, 9, 63, 65, 1023, 1025, 4095] {
        explored("V3 targets", &[], &[Symlink("/l", len), Rename("/l", "/m", REPLACE)]);
    }
}

#[test]
fn v5_v10_a_directory_that_moves_keeps_its_content_and_its_parent() {
    let before = [Mkdir("/A"), Create("/A/f"), Write("/A/f", 0, 20, 1), Mkdir("/B")];
    explored(
        "V5, V10 directories",
        &before,
        &[Rename("/A", "/B/A", REPLACE), Rename("/B/A", "/C", REPLACE), Rmdir("/B")],
    );
}

#[test]
fn v6_v7_v11_long_names_are_whole_or_not_there() {
    // Names over several lines: NOVA showed the first part of one.
    let names: Vec<&str> =
        [24, 25, 67, 88, 90, 255].iter().map(|len| leaked(format!("/{}", "n".repeat(*len)))).collect();
    let mut ops = vec![Create("/short")];
    ops.extend(names.iter().map(|name| Create(name)));
    ops.extend([
        Rename("/short", names[3], REPLACE),
        Rename(names[4], "/x", REPLACE),
        Write(names[2], 0, 10, 1),
    ]);
    explored("V6, V7, V11 long names", &[], &ops);
}

#[test]
fn v8_after_a_write_other_files_can_be_written() {
    let before = [Create("/f"), Create("/g"), Write("/g", 0, 100, 1)];
    explored(
        "V8 another file",
        &before,
        &[Write("/f", 0, 5000, 1), Write("/g", 50, 5000, 2), Write("/f", 100, 50, 3)],
    );
}

#[test]
fn v9_updating_the_middle_of_a_file_keeps_the_rest() {
    // NOVA #121.
    let before = [Create("/f"), Write("/f", 0, 12_000, 1)];
    explored(
        "V9 the middle",
        &before,
        &[Append("/f", 100, 2), Write("/f", 5000, 1500, 3), Write("/f", 6000, 100, 4)],
    );
}

#[test]
fn v12_a_log_may_be_extended_at_any_store() {
    // NOVA #123: a kernel panic at the next append.
    let before: Vec<Op> = [Create("/f")].into_iter().chain((0..62).map(|n| Append("/f", 4096, n))).collect();
    let setting = Setting { blocks: 128, ..Setting::default() };
    explore_alone(
        "V12 extended log",
        &setting,
        &before,
        &[Append("/f", 4096, 1), Append("/f", 4096, 2), Append("/f", 100, 3)],
    );
}

#[test]
fn p1_w3_truncation_is_recovered_with_the_rest() {
    // PMFS #6, and WineFS: truncation was replayed before what it needed was there.
    let before = [Create("/f"), Write("/f", 0, 30_000, 1), Create("/g"), Write("/g", 0, 9000, 2)];
    let ops = [Truncate("/f", 10_000), Truncate("/g", 1), Truncate("/f", 0), Write("/g", 0, 30_000, 3)];
    explored("P1, W3 truncation", &before, &ops);
}

#[test]
fn p2_w2_p4_the_second_small_write_is_durable_too() {
    // PMFS #8 and #9, WineFS #1: an inode's line, or the end of a write, was not flushed. Offsets whose first and last lines are alike.
    let ops = [
        Write("/f", 0, 10, 1),
        Write("/f", 10, 10, 2),
        Write("/f", 60, 64, 3),
        Write("/f", 60, 128, 4),
        Write("/f", 4, 2048, 5),
        Write("/f", 60, 4096, 6),
    ];
    explored("P2, P4, W2 small writes", &[Create("/f")], &ops);
}

#[test]
fn w1_every_stripe_and_every_thread_recovers() {
    // WineFS: recovery took the first processor's journal for all.
    let nova = crate::harness::format_options(crate::PROTECTED)
        .stripes(4)
        .format(Mapping::memfd(1 << 20).unwrap(), MountOptions::new())
        .unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let nova = &nova;
            scope.spawn(move || {
                nova.create_dir(format!("/{thread}")).unwrap();
                for n in 0..20 {
                    nova.write_file(format!("/{thread}/{n}"), &content(100 * n, thread)).unwrap();
                }
            });
        }
    });
    let mut bytes = nova.unmount().unwrap().as_slice().to_vec();
    bytes[4096..4096 + 64].fill(0);
    let mut mapping = Mapping::memfd(1 << 20).unwrap();
    mapping.as_mut_slice().copy_from_slice(&bytes);
    let nova = Nova::mount(mapping).unwrap();
    assert!(!nova.mount_report().clean && nova.fsck().unwrap().is_clean());
    for (thread, n) in (0..4).flat_map(|thread| (0..20).map(move |n| (thread, n))) {
        assert_eq!(nova.read_file(format!("/{thread}/{n}")).unwrap(), content(100 * n, thread));
    }
}

#[test]
fn w4_overwriting_a_file_of_one_block_is_atomic() {
    // WineFS #5, #6.
    let before = [Create("/f"), Write("/f", 0, 4096, 1)];
    explored(
        "W4 one block",
        &before,
        &[Write("/f", 0, 4096, 2), Write("/f", 10, 4000, 3), Write("/f", 4000, 200, 4)],
    );
}

#[test]
fn w9_w20_truncation_through_handles_keeps_times_that_were_set() {
    // WineFS #9, #20: replaying a truncation set new times.
    let ops = [
        Times("/f", 1000),
        Truncate("/f", 100),
        Times("/f", 2000),
        Rename("/f", "/g", REPLACE),
        Times("/g", 3000),
    ];
    explored("W9, W20 times", &[Create("/f"), Write("/f", 0, 5000, 1), Open("/f")], &ops);
}

#[test]
fn s66_an_append_goes_to_the_file_that_has_the_name_now() {
    // SplitFS #66: stale inode numbers after a file was made again.
    let ops = [Append("/f", 600, 1), Unlink("/f"), Create("/f"), Append("/f", 700, 2), Append("/f", 5000, 3)];
    explored("S66 made again", &[Create("/f")], &ops);
}

#[test]
fn s67_a_rename_over_a_new_file_leaves_one_name() {
    explored("S67 create, create, rename", &[], &[Create("/f"), Create("/g"), Rename("/f", "/g", REPLACE)]);
}

#[test]
fn nova_58_117_no_space_and_blocks_counted_are_the_same_after_a_mount() {
    // NOVA #58: mkdir ignored that there was no space. #117: blocks of directories and links differed after a mount.
    let setting = Setting { blocks: 24, journal: 8192, ..Setting::default() };
    let nova = crate::harness::format_options(crate::PROTECTED)
        .stripes(1)
        .journal(crate::harness::journal(8192))
        .format(Mapping::memfd(24 * 4096).unwrap(), setting.mount())
        .unwrap();
    let full = (0..1000).find_map(|n| {
        let made = nova.create_dir(format!("/d{n}")).and_then(|()| nova.create_dir(format!("/d{n}/below")));
        made.err()
    });
    let full = full.expect("24 blocks do not take a thousand directories");
    assert_eq!(full.code(), Some(nova_core::Code::NoSpace));
    assert!(nova.fsck().unwrap().is_clean());
    let before = nova.read_dir("/").unwrap();
    let stats: Vec<_> = before.iter().map(|entry| nova.getattr(entry.ino).unwrap()).collect();
    let nova = setting.mount().mount(nova.unmount().unwrap()).unwrap();
    assert_eq!(nova.read_dir("/").unwrap(), before);
    assert!(stats.iter().all(|stat| nova.getattr(stat.ino).unwrap() == *stat));
}

#[test]
fn nova_91_an_inode_number_is_used_again_after_a_crash_as_a_new_file() {
    let before = [Create("/f"), Write("/f", 0, 5000, 1), Attribute("/f", "user.a", 100, 1)];
    explored(
        "NOVA #91 number used again",
        &before,
        &[Unlink("/f"), Mkdir("/d"), Rmdir("/d"), Create("/g"), Write("/g", 0, 10, 2)],
    );
}
