//! Mapping, scrubbing and repairing: a power failure at any store of them. Content verifies afterwards, whatever it is.

use crate::{
    harness::{format_options, is_long, used_to_the_end},
    ops::content,
};
use nova_core::{AccessTimes, MountOptions, Nova, Rule, ScrubOptions};
use pmem_crash::{Config, Exploration, Image, Ops, Report};
use pmem_map::{MapOptions, Mapping, Observer};
use std::{
    path::Path,
    sync::{Arc, Mutex},
};

const BLOCKS: u64 = 64;

pub(crate) fn mount() -> MountOptions {
    MountOptions::new().threads(1).access_times(AccessTimes::Never)
}

fn config() -> Config {
    let config = Config::from_env();
    if is_long() {
        config.bound(1 << 10).samples(256).nested(64)
    } else {
        config.bound(32).samples(16).nested(4)
    }
}

/// The bytes of a volume with a file.
fn with_a_file(bytes: &[u8]) -> Vec<u8> {
    let mapping = Mapping::anonymous(BLOCKS * 4096).unwrap();
    let nova = format_options(true).stripes(1).journal(4 * 4096).format(mapping, mount()).unwrap();
    nova.write_file("/f", bytes).unwrap();
    nova.write_file("/other", &content(5000, 77)).unwrap();
    nova.unmount().unwrap().as_slice().to_vec()
}

fn open(path: &Path, observer: Arc<dyn Observer>) -> pmem_map::Result<Mapping> {
    let options = MapOptions::new().emulate_pmem(true).observer(observer);
    // SAFETY: the exploration's own file, which nobody else knows.
    unsafe { options.open(path) }
}

/// What is right of the file is judged by `judge`; the other one is as it was, and everything verifies.
fn explore(
    name: &str,
    start: Vec<u8>,
    rule: Option<Rule>,
    work: impl Fn(&Nova, &Ops) -> nova_core::Result<()>,
    judge: impl Fn(&[u8], usize) -> bool,
) -> Report {
    let options = rule.map_or(mount(), |rule| mount().without(rule));
    let report = Exploration::new(name).config(config()).start(Image::new(start)).run_files(
        |path, marks| -> nova_core::Result<()> {
            let nova = options.mount(open(path, marks.observer())?)?;
            work(&nova, marks)?;
            std::mem::forget(nova);
            Ok(())
        },
        |path, observer| options.mount(open(path, observer)?),
        |nova, point| {
            let text = |error: nova_core::Error| error.to_string();
            let found = nova.read_file("/f").map_err(text)?;
            if !point.range().any(|done| judge(&found, done)) {
                return Err(format!("content that is of no state of {:?}", point.range()));
            }
            if nova.read_file("/other").map_err(text)? != content(5000, 77) {
                return Err("the other file is not as it was".into());
            }
            let report = nova.scrub(&ScrubOptions::new()).map_err(text)?;
            if !report.damage.is_empty() || report.unprotected > 0 {
                return Err(format!("{report:?}"));
            }
            used_to_the_end(&nova)
        },
    );
    println!(
        "crash | {name}: {} images, {} recoveries, {} failures",
        report.images, report.recoveries, report.failures
    );
    report
}

/// Stores to a mapping between map and unmap, which need not be durable before it ends.
fn map_store_unmap(nova: &Nova, marks: &Ops) -> nova_core::Result<()> {
    let file = nova.open("/f")?;
    let mut mapping = marks.run("map", || file.map())?;
    marks.run("store", || mapping.write(4000, &[1; 300]).and_then(|()| mapping.write(9000, &[2; 8])))?;
    marks.run("unmap", || -> nova_core::Result<()> {
        drop(mapping);
        Ok(())
    })?;
    marks.run("write", || file.write_at(4100, &[3; 20]))
}

/// Whether content can be, when so many operations are done: bytes that the program may have stored are old or new.
fn of_a_map(before: &[u8], found: &[u8], done: usize) -> bool {
    let mut stored = before.to_vec();
    stored[4000..4300].fill(1);
    stored[9000..9008].fill(2);
    if done == 4 {
        stored[4100..4120].fill(3);
    }
    let free = |at: usize| (1..3).contains(&done) && found[at] == before[at];
    found.len() == before.len()
        && (0..found.len())
            .all(|at| if done == 0 { found[at] == before[at] } else { found[at] == stored[at] || free(at) })
}

#[test]
fn mapping_and_unmapping_may_be_cut_off_at_any_store() {
    let before = content(12_000, 5);
    explore("map, store, unmap", with_a_file(&before), None, map_store_unmap, |found, done| {
        of_a_map(&before, found, done)
    })
    .assert_ok();
}

#[test]
fn a_mapping_that_is_not_marked_or_unmarked_too_early_or_not_protected_again_is_found() {
    let before = content(12_000, 5);
    for rule in [Rule::MappedBeforeStores, Rule::ProtectionBeforeUnmapped, Rule::StoredPagesProtected] {
        let name = format!("without {rule:?}");
        let report = explore(&name, with_a_file(&before), Some(rule), map_store_unmap, |found, done| {
            of_a_map(&before, found, done)
        });
        let images = report.images_to_first_failure.unwrap_or_else(|| panic!("{name}: nothing was found"));
        println!("rule | {name} | map, store, unmap | {images} images");
    }
}

/// The place of content in a volume's bytes.
fn find(bytes: &[u8], wanted: &[u8]) -> usize {
    (0..bytes.len()).step_by(4096).find(|at| bytes[*at..].starts_with(&wanted[..512])).expect("it is there")
}

/// Damages of content and of what protects it, which are all repaired; whoever repairs them.
fn damaged(before: &[u8]) -> Vec<u8> {
    let mut bytes = with_a_file(before);
    let at = find(&bytes, before);
    // Over the end of a stripe; and a stripe of another block.
    bytes[at + 900..at + 1300].fill(0xaa);
    bytes[at + 4096 + 512..at + 4096 + 1024].fill(0);
    // Both copies of the third block's checksums. Of the blocks that can be owned, it is this one.
    let area = 2 * 4096 + 4 * 4096;
    let space = BLOCKS as usize - 1 - area / 4096;
    let blocks =
        (1..space).rev().find(|n| n + (n * 64).div_ceil(4096) + (n * 512).div_ceil(4096) <= space).unwrap();
    let index = at / 4096 + 2 - (BLOCKS as usize - 1 - blocks);
    bytes[area + index * 64..][..64].iter_mut().enumerate().for_each(|(at, byte)| *byte ^= at as u8 | 1);
    bytes
}

#[test]
fn a_repair_may_be_cut_off_at_any_store() {
    let before = content(12_000, 5);
    let scrub = |nova: &Nova, marks: &Ops| {
        let report = marks.run("scrub", || nova.scrub(&ScrubOptions::new()))?;
        assert!(
            report.damage.is_empty() && report.repairs.data == 3 && report.repairs.checksums == 1,
            "{report:?}"
        );
        Ok(())
    };
    explore("scrub", damaged(&before), None, scrub, |found, _| found == before).assert_ok();
    let changed = {
        let mut changed = before.clone();
        changed[1000..1050].fill(9);
        changed
    };
    // A read repairs, a write repairs what is around it, and goes on.
    let use_it = |nova: &Nova, marks: &Ops| {
        let read = Mutex::new(Vec::new());
        marks.run("write", || nova.open("/f")?.write_at(1000, &[9; 50]))?;
        marks.run("read", || nova.read_file("/f").map(|bytes| *read.lock().unwrap() = bytes))?;
        assert!(*read.lock().unwrap() == changed);
        Ok(())
    };
    explore("reads and writes that repair", damaged(&before), None, use_it, |found, done| {
        found == if done == 0 { &before } else { &changed }
    })
    .assert_ok();
}
