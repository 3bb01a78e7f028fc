//! What went wrong in NOVA-Fortis, with its protections on, by the numbers that Chipmunk gave it (LeBlanc et al., EuroSys 2023), and by those of NOVA's issues.

use crate::{
    harness::{Setting, explore_alone},
    ops::Op::{self, *},
};
use nova_core::{Allocate, Rename};
use pmem_crash::Tear;

fn explored(name: &str, before: &[Op], ops: &[Op]) {
    // Each line of protection may be torn at any word, too.
    for tear in [Tear::Line, Tear::EightBytes] {
        let setting = Setting { tear, nested: 8, protected: true, ..Setting::default() };
        explore_alone(&format!("{name}, {tear:?}"), &setting, before, ops);
    }
}

#[test]
fn f1_primary_and_second_copy_are_of_one_record() {
    // NOVA #118, #120, #127, #129: no fence between the copies of what protects an entry.
    explored("F1 unlink", &[Create("/f"), Write("/f", 0, 4096, 1)], &[Unlink("/f"), Create("/f")]);
    explored("F1 rmdir", &[Mkdir("/A"), Mkdir("/A/B")], &[Rmdir("/A/B"), Rmdir("/A"), Mkdir("/A")]);
    explored("F1 link, unlink", &[Create("/f")], &[Link("/f", "/g"), Unlink("/f"), Write("/g", 0, 100, 1)]);
    explored(
        "F1 fallocate",
        &[Create("/f")],
        &[Write("/f", 0, 4096, 1), Allocate("/f", 0, 9000, Allocate::KeepSize), Write("/f", 4000, 300, 2)],
    );
    explored(
        "F1 truncate of a link",
        &[Create("/f"), Write("/f", 0, 5000, 1), Link("/f", "/g")],
        &[Truncate("/f", 0), Append("/g", 100, 2)],
    );
}

#[test]
fn f2_a_file_that_was_just_made_can_be_written_and_removed() {
    // NOVA #100, #109: only the primary log was there. `used_to_the_end` removes whatever a crash left.
    explored("F2 create, write, unlink", &[], &[Create("/f"), Write("/f", 0, 5000, 1), Unlink("/f")]);
}

#[test]
fn f3_what_was_truncated_before_a_crash_is_freed_once() {
    // NOVA #110, open.
    let ops =
        [Mkdir("/A"), Create("/A/foo"), Write("/A/foo", 0, 4096, 1), Truncate("/A/foo", 0), Unlink("/A/foo")];
    explored("F3 truncate to nothing", &[], &ops);
}

#[test]
fn f4_what_is_written_is_read_after_recovery() {
    // NOVA #126, open.
    let ops = [
        Write("/f", 0, 1000, 1),
        Append("/f", 700, 2),
        Write("/f", 500, 100, 3),
        Write("/f", 4000, 9000, 4),
        Write("/f", 100, 2000, 5),
        Rename("/f", "/g", Rename::Replace),
        Append("/g", 20, 6),
    ];
    explored("F4 writes of every kind", &[Create("/f"), Create("/g")], &ops);
}

#[test]
fn f5_checksums_hold_whatever_the_size_says() {
    // NOVA #131, open: the checksum covered bytes that the size says are gone.
    let ops = [
        Write("/f", 0, 32, 1),
        Truncate("/f", 1),
        Truncate("/f", 600),
        Write("/f", 300, 10, 2),
        Truncate("/f", 3),
    ];
    explored("F5 truncate to a byte", &[Create("/f")], &ops);
}

#[test]
fn v9_a_write_into_the_middle_after_an_append_reads_back() {
    // NOVA #121, open: both copies were wrong after an update in place.
    let ops =
        [Append("/f", 3000, 1), Write("/f", 1000, 64, 2), Append("/f", 3000, 3), Write("/f", 2990, 30, 4)];
    explored("V9 append, overwrite", &[Create("/f"), Write("/f", 0, 2000, 9)], &ops);
}
