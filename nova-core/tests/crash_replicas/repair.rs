//! Mounting, reading and scrubbing repair metadata from its copies, and copies from what they are of: a power failure at any store of it. Nothing is lost, and the
//! next repair ends it.

use crate::{
    harness::{format_options, is_long, used_to_the_end},
    ops::content,
};
use nova_core::{AccessTimes, MountOptions, Nova, ScrubOptions};
use pmem_crash::{Config, Exploration, Image};
use pmem_map::Mapping;

const BLOCKS: u64 = 64;
const BLOCK: usize = 4096;

fn mount() -> MountOptions {
    MountOptions::new().threads(1).access_times(AccessTimes::Never)
}

fn config() -> Config {
    let config = Config::from_env();
    if is_long() {
        config.bound(1 << 10).samples(256).nested(64)
    } else {
        config.bound(48).samples(24).nested(6)
    }
}

/// A volume in which every kind of structure is damaged, each in one of its two places.
fn damaged() -> Vec<u8> {
    let mapping = Mapping::anonymous(BLOCKS * BLOCK as u64).unwrap();
    let nova = format_options(false).stripes(1).journal(8 * 4096).format(mapping, mount()).unwrap();
    nova.create_dir("/d").unwrap();
    nova.write_file("/d/f", &content(5000, 77)).unwrap();
    nova.create_snapshot("before").unwrap();
    nova.write_file("/d/g", &content(3000, 78)).unwrap();
    let [d, f, g] =
        ["/d", "/d/f", "/d/g"].map(|path| nova.file_anatomy(nova.metadata(path).unwrap().ino).unwrap());
    let mut bytes = nova.unmount().unwrap().as_slice().to_vec();
    let table = f.identity.start as usize / BLOCK * BLOCK;
    let first = [f.identity.start as usize, d.log[0].start as usize, g.log[0].start as usize + 64, table];
    let copy = [g.state.start as usize, d.log[0].start as usize + 64, BLOCK + 64];
    let places = first.into_iter().chain(copy.into_iter().map(|at| at + BLOCK));
    for at in places {
        bytes[at + 4..at + 40].iter_mut().for_each(|byte| *byte ^= 0x5a);
    }
    bytes
}

#[test]
fn a_repair_of_metadata_may_be_cut_off_at_any_store() {
    let report = Exploration::new("repair of metadata").config(config()).start(Image::new(damaged())).run(
        |mapping, marks| -> nova_core::Result<()> {
            let nova = marks.run("mount", || mount().mount(mapping))?;
            marks.run("read", || nova.read_file("/d/f"))?;
            marks.run("write", || nova.write_file("/d/g", &content(3000, 79)))?;
            let report = marks.run("scrub", || nova.scrub(&ScrubOptions::new()))?;
            assert!(report.damage.is_empty(), "{report:?}");
            assert!(nova.repairs().metadata >= 6, "{:?}", nova.repairs());
            std::mem::forget(nova);
            Ok(())
        },
        |mapping| mount().mount(mapping),
        |nova: Nova, point| {
            let text = |error: nova_core::Error| error.to_string();
            if !nova.mount_report().damage.is_empty() {
                return Err(format!("{:?}", nova.mount_report().damage));
            }
            if nova.read_file("/d/f").map_err(text)? != content(5000, 77) {
                return Err("a file is not as it was".into());
            }
            let found = nova.read_file("/d/g").map_err(text)?;
            // `write_file` empties the file first.
            let right = point.range().any(|done| match done {
                0..3 => found == content(3000, 78),
                _ => found == content(3000, 79),
            });
            let is_being_written = point.range().contains(&2) && point.range().contains(&3);
            if !(right || is_being_written && found.is_empty()) {
                return Err(format!("content of no state of {:?}", point.range()));
            }
            let report = nova.scrub(&ScrubOptions::new()).map_err(text)?;
            if !report.damage.is_empty() {
                return Err(format!("{report:?}"));
            }
            used_to_the_end(&nova)
        },
    );
    println!(
        "crash | repair of metadata | {} images, {} recoveries, {} failures",
        report.images, report.recoveries, report.failures
    );
    report.assert_ok();
}
