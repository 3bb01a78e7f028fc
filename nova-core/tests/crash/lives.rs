//! A volume's life: format, unmount, mount, and what a mount does after a crash.

use crate::{
    ace::BEFORE,
    harness::{self, Setting, Totals, explore, explore_alone, explore_lives, is_long, used_to_the_end},
    ops::Op::{self, *},
    tree::Tree,
};
use nova_core::{AccessTimes, Error, MountOptions, Nova};
use pmem_crash::{Config, Exploration, Image};

const BLOCK: u64 = 4096;

fn config() -> Config {
    let config = Config::from_env();
    if is_long() {
        config.bound(1 << 12).samples(512).nested(128)
    } else {
        config.bound(64).samples(24).nested(8)
    }
}

/// Formats what `start` has. Until that is acknowledged, there is no volume, or the one that was there, or the new one; whole.
fn explore_format(name: &str, start: Vec<u8>, old: Option<&Tree>) {
    let len = start.len() as u64;
    let mount = MountOptions::new().threads(1).access_times(AccessTimes::Never);
    // NOVA #72: a volume that was just made has to be one at every moment.
    let report = Exploration::new(name).config(config()).start(Image::new(start)).run(
        |mapping, marks| -> nova_core::Result<()> {
            let format = harness::format_options(crate::PROTECTED)
                .stripes(2)
                .journal(harness::journal(2 * BLOCK))
                .label("new");
            let nova = marks.run("format", || format.format(mapping, mount.clone()))?;
            marks.run("create", || nova.create_new("/first").map(drop))?;
            std::mem::forget(nova);
            Ok(())
        },
        |mapping| match mount.mount(mapping) {
            Ok(nova) => Ok(Some(nova)),
            Err(Error::NotAVolume { .. }) => Ok(None),
            Err(error) => Err(error),
        },
        |nova: Option<Nova>, point| {
            let Some(nova) = nova else {
                return if point.acknowledged == 0 { Ok(()) } else { Err("there is no volume".into()) };
            };
            let tree = Tree::of(&nova)?;
            if !nova.mount_report().damage.is_empty() {
                return Err(format!("{:?}", nova.mount_report()));
            }
            if nova.label() != "new" {
                return match old {
                    Some(old) if point.acknowledged == 0 && *old == tree => Ok(()),
                    _ => Err("a volume that is neither the old one nor the new one".into()),
                };
            }
            let files = tree.names.len() - 1;
            if !point.range().any(|done| done.saturating_sub(1) == files) {
                return Err(format!("{files} files, of {:?}", point.range()));
            }
            if nova.statfs().blocks * BLOCK > len {
                Err("it is too large".into())
            } else {
                used_to_the_end(&nova)
            }
        },
    );
    println!(
        "crash | {name}: {} images, {} recoveries, {} failures",
        report.images, report.recoveries, report.failures
    );
    report.assert_ok();
}

#[test]
fn formatting_leaves_nothing_or_a_whole_volume() {
    explore_format("format: of zeros", vec![0; 40 * BLOCK as usize], None);
    explore_format("format: of junk", (0..40 * BLOCK).map(|at| ((at * 31) >> 3) as u8).collect(), None);
}

#[test]
fn formatting_a_volume_leaves_it_as_it_was_or_a_whole_new_one() {
    let setting = Setting { blocks: 40, ..Setting::default() };
    let old = setting.prepare(BEFORE);
    let tree = setting.states(&old, &[]).remove(0);
    explore_format("format: of a volume", old.clone(), Some(&tree));
    // A smaller volume was there: its replica is not where the new one's will be.
    let mut longer = old;
    longer.resize(48 * BLOCK as usize, 0);
    explore_format("format: of a smaller volume", longer, Some(&tree));
}

#[test]
fn a_volume_may_be_unmounted_and_mounted_at_any_store() {
    let ops = [
        Write("/foo", 0, 4096, 1),
        Remount,
        Unlink("/foo"),
        Remount,
        Append("/A/bar", 3000, 2),
        Remount,
        Remount,
    ];
    explore_alone("unmount and mount", &Setting { nested: 8, ..Setting::default() }, BEFORE, &ops);
}

#[test]
fn what_a_killed_process_left_undrained_misleads_no_later_one() {
    // Content that is visible and not durable is in free blocks; the next life uses them for a file and its log, with bytes that are partly the
    // same, over others that are durable.
    let before = [Create("/old"), Write("/old", 0, 9000, 200), Unlink("/old"), Create("/f"), Create("/g")];
    let workloads: [(&[Op], &[Op]); 3] = [
        (
            &[Write("/f", 0, 4196, 1)],
            &[
                Write("/g", 0, 500, 1),
                Write("/g", 4096, 100, 2),
                Rename("/g", "/f", nova_core::Rename::Replace),
            ],
        ),
        (
            &[Write("/f", 0, 600, 1), Write("/f", 0, 5000, 2)],
            &[Write("/f", 0, 300, 2), Append("/f", 5000, 3), Unlink("/f")],
        ),
        (
            &[Unlink("/g"), Append("/f", 5000, 1), Rename("/f", "/h", nova_core::Rename::Replace)],
            &[Create("/g"), Append("/g", 700, 1)],
        ),
    ];
    let mut totals = Totals::default();
    for (number, (ops, later)) in workloads.into_iter().enumerate() {
        let setting =
            Setting { bound: 16, samples: 4, depth: if is_long() { 2 } else { 1 }, ..Setting::default() };
        explore_lives(&mut totals, &format!("lives {number}"), &setting, &before, ops, later).assert_ok();
    }
    totals.print("a life after a kill, or a power failure");
}

#[test]
fn a_file_that_is_open_when_its_name_goes_is_reclaimed_after_a_crash() {
    let open: &[Op] = &[Open("/foo"), Open("/A/bar"), Open("/A/C")];
    let workloads: [&[Op]; 4] = [
        &[
            Unlink("/foo"),
            Unlink("/B/foo"),
            Rmdir("/A/C"),
            CloseAll,
            Create("/new"),
            Write("/new", 0, 9000, 3),
        ],
        &[
            Rename("/A/bar", "/foo", nova_core::Rename::Replace),
            Unlink("/B/foo"),
            CloseAll,
            Write("/foo", 0, 4096, 4),
        ],
        &[Tmpfile(5000), WriteOpen(100, 20, 6), TruncateOpen(3000), CloseAll, Append("/foo", 4096, 1)],
        &[Tmpfile(5000), LinkOpen("/A/C/named"), WriteOpen(0, 4096, 7), CloseAll, Unlink("/A/C/named")],
    ];
    let mut totals = Totals::default();
    for (number, ops) in workloads.into_iter().enumerate() {
        let setting = Setting { nested: 8, ..Setting::default() };
        let name = format!("orphans {number}");
        explore(&mut totals, &name, &setting, BEFORE, &[open, ops].concat()).assert_ok();
    }
    totals.print("open files without names");
}
