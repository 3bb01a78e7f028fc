//! A power failure at any store of an `msync` of an atomic mapping: all of it, or none.

use nova_core::{AccessTimes, FormatOptions, MountOptions, Nova, Rule};
use pmem_crash::{Config, Exploration, Image, Report};
use pmem_map::{Granularity, MapOptions};

const BLOCKS: u64 = 96;
const BLOCK: usize = 4096;

fn options(broken: Option<Rule>) -> MountOptions {
    let options = MountOptions::new().threads(1).access_times(AccessTimes::Never);
    broken.map_or(options.clone(), |rule| options.without(rule))
}

/// What each `msync` makes of the file: from bytes, in place; longer, in two cases.
fn change(step: u8, bytes: &mut Vec<u8>) {
    match step {
        0 => [0, 2, 5].into_iter().for_each(|block| bytes[block * BLOCK + 8..][..600].fill(10)), // scattered
        1 => bytes[BLOCK - 4..3 * BLOCK].fill(11), // side by side
        2 => {
            bytes.resize(9 * BLOCK + 100, 0);
            bytes[9 * BLOCK + 50] = 12;
            bytes[7] = 12;
        }
        _ => {
            bytes.resize(10 * BLOCK, 0); // longer, and nothing else
        }
    }
}

const STEPS: u8 = 4;

fn start(granularity: Granularity, journal: u64) -> Vec<u8> {
    let mapping = MapOptions::new().len(BLOCKS * BLOCK as u64).granularity(granularity).anonymous().unwrap();
    let nova = FormatOptions::new().stripes(1).journal(journal).format(mapping, options(None)).unwrap();
    // Blocks with something in them, that will be free.
    nova.write_file("/junk", &[200; 30 * BLOCK]).unwrap();
    nova.remove_file("/junk").unwrap();
    nova.write_file("/file", &[1; 8 * BLOCK]).unwrap();
    nova.open("/file").unwrap().set_len(7 * BLOCK as u64 + 5).unwrap();
    nova.unmount().unwrap().as_slice().to_vec()
}

fn explore(name: &str, granularity: Granularity, broken: Option<Rule>) -> Report {
    let mut states = vec![[1; 7 * BLOCK + 5].to_vec()];
    for step in 0..STEPS {
        let mut next = states[step as usize].clone();
        change(step, &mut next);
        states.push(next);
    }
    let config = Config::from_env().granularity(granularity).bound(64).samples(48).nested(4).depth(2);
    let image = Image::new(start(granularity, 16 << 10));
    let report = Exploration::new(name).config(config).start(image).run(
        |mapping, marks| -> nova_core::Result<()> {
            let nova = options(broken).mount(mapping)?;
            let mut atomic = nova.open("/file")?.map_atomic()?;
            for step in 0..STEPS {
                let mut next = atomic.to_vec();
                change(step, &mut next);
                atomic.grow(next.len() as u64)?;
                // Of the copy, only what differs is stored to.
                for (at, byte) in next.into_iter().enumerate() {
                    if atomic[at] != byte {
                        atomic[at] = byte;
                    }
                }
                marks.run(format!("msync {step}"), || atomic.msync())?;
            }
            std::mem::forget((nova, atomic));
            Ok(())
        },
        |mapping| options(broken).mount(mapping),
        |nova: Nova, point| {
            let text = |error: nova_core::Error| error.to_string();
            let found = nova.read_file("/file").map_err(text)?;
            if !point.range().any(|state| states[state] == found) {
                return Err(format!("{} bytes that are no state of {:?}", found.len(), point.range()));
            }
            let report = nova.fsck().map_err(text)?;
            if !report.is_clean() {
                return Err(report.to_string());
            }
            // It is mapped and changed again.
            let mut atomic = nova.open("/file").and_then(|file| file.map_atomic()).map_err(text)?;
            atomic[BLOCK] = 99;
            atomic.msync().map_err(text)?;
            drop(atomic);
            match nova.read_file("/file").map_err(text)?[BLOCK] {
                99 => Ok(()),
                other => Err(format!("{other} after another msync")),
            }
        },
    );
    let (images, failures) = (report.images, report.failures);
    println!("crash | {name:<50} | {:>3} operations | {images:>6} images | {failures} failures", STEPS);
    report
}

#[test]
fn a_crash_leaves_all_that_an_msync_had_to_do_or_nothing() {
    for granularity in [Granularity::CacheLine, Granularity::Page] {
        explore(&format!("msync of an atomic mapping, {granularity:?}"), granularity, None).assert_ok();
    }
}

#[test]
fn the_exploration_notices_an_msync_that_is_several_records_or_links_before_it_drains() {
    for rule in [Rule::MsyncInOneRecord, Rule::DataBeforeRecord] {
        let report = explore(&format!("msync, without {rule:?}"), Granularity::CacheLine, Some(rule));
        assert!(report.failures > 0, "{rule:?} was left out, and nobody noticed");
        println!("rule | {rule:?} | {:?} images to the first failure", report.images_to_first_failure);
    }
}
