//! The rules of the protocol, each left out on purpose: the exploration of the real code must find every one.
//!
//! Prints rule, workload, and how many images it took to the first failure.

#![allow(dead_code, reason = "the harness has more than is used here")]

#[path = "crash/harness.rs"]
mod harness;
#[path = "crash/ops.rs"]
mod ops;
#[path = "crash/tree.rs"]
mod tree;

/// Unless a rule needs it, content is not protected.
const PROTECTED: bool = false;
const REPLICAS: bool = false;

use harness::{Setting, Totals, explore_lives, is_long};
use nova_core::{FormatOptions, Rule};
use ops::{
    Op::{self, *},
    leaked,
};
use pmem_crash::{Config, Exploration, Image};
use pmem_map::Granularity;

/// A rule, in words, and what shows that it is needed: what is there before, a life, and what may come in a second one.
struct Broken {
    rule: Rule,
    words: &'static str,
    before: Vec<Op>,
    ops: Vec<Op>,
    later: Vec<Op>,
    setting: Setting,
}

fn broken(rule: Rule, words: &'static str, before: &[Op], ops: &[Op], later: &[Op]) -> Broken {
    let (before, ops, later) = (before.to_vec(), ops.to_vec(), later.to_vec());
    Broken { rule, words, before, ops, later, setting: Setting { broken: Some(rule), ..Setting::default() } }
}

fn rules() -> Vec<Broken> {
    let junk = [Create("/old"), Write("/old", 0, 9000, 200), Unlink("/old"), Create("/f"), Create("/g")];
    let file = [Create("/f"), Write("/f", 0, 4000, 1), Truncate("/f", 50)];
    let many: Vec<Op> = (0..28).map(|n| Create(leaked(format!("/c{n}")))).collect();
    let links = |range: std::ops::Range<usize>| range.map(|n| Link("/f", leaked(format!("/n{n}"))));
    let unlinks = (0..250).filter(|n| n % 25 != 3).map(|n| Unlink(leaked(format!("/n{n}"))));
    let long: Vec<Op> = [Create("/f")].into_iter().chain(links(0..250)).chain(unlinks).collect();
    let more: Vec<Op> = links(300..303).collect();
    let pages = |broken: Broken| {
        let setting = Setting { granularity: Granularity::Page, ..broken.setting.clone() };
        Broken { setting, ..broken }
    };
    let protected = |broken: Broken| {
        let setting = Setting { protected: true, ..broken.setting.clone() };
        Broken { setting, ..broken }
    };
    vec![
        broken(
            Rule::DataBeforeRecord,
            "content beside the record is drained before it",
            &junk,
            &[Write("/f", 0, 6000, 1)],
            &[],
        ),
        pages(broken(
            Rule::FreedBlocksWait,
            "freed blocks wait until no window reaches them",
            &[Create("/f"), Write("/f", 0, 5000, 1), Create("/g")],
            &[Write("/f", 10, 50, 2), Unlink("/f"), Write("/g", 0, 9000, 3)],
            &[],
        )),
        broken(
            Rule::NewLinesWhole,
            "new log lines are logged whole",
            &junk,
            &[Write("/f", 0, 4196, 1)],
            &[Write("/g", 0, 500, 3), Write("/g", 4096, 100, 2)],
        ),
        broken(
            Rule::DataWhole,
            "content is logged whole",
            &junk,
            &[Write("/f", 0, 4196, 1)],
            &[Write("/g", 0, 500, 1)],
        ),
        broken(
            Rule::OrphansEnd,
            "a mount ends files without names",
            &[Create("/f"), Write("/f", 0, 5000, 1)],
            &[Open("/f"), Unlink("/f")],
            &[],
        ),
        broken(
            Rule::RollbackFinished,
            "a mount finishes a roll back",
            &[Create("/f"), Write("/f", 0, 5000, 1), Create("/g"), Snapshot("s"), Unlink("/f"), Create("/h")],
            &[Rollback("s")],
            &[],
        ),
        broken(
            Rule::RollbackCopies,
            "a roll back copies what later snapshots do not have",
            &[
                &[Create("/f"), Write("/f", 0, 9000, 1), Snapshot("a"), Write("/f", 0, 4096, 2)][..],
                &[Snapshot("b"), Write("/f", 0, 4096, 3), Snapshot("c")],
            ]
            .concat(),
            &[Rollback("b"), Unlink("/f")],
            &[],
        ),
        broken(
            Rule::CheckpointVoid,
            "a mount voids the checkpoint first",
            &file,
            &[Create("/g"), Write("/g", 0, 5000, 1)],
            &[Unlink("/g")],
        ),
        broken(
            Rule::CheckpointBeforeRecord,
            "a checkpoint is drained before the state line leads to it",
            &junk,
            &[Remount, Create("/h"), Remount],
            &[Remount],
        ),
        broken(
            Rule::SegmentZeroed,
            "slots of a new segment are zeroed and drained",
            &[&junk[..], &many].concat(),
            &[Create("/x"), Create("/y"), Create("/z")],
            &[Create("/x"), Create("/y")],
        ),
        broken(
            Rule::RewriteBeforeRecord,
            "a log that is written anew is drained before the switch",
            &long,
            &more,
            &[],
        ),
        pages(broken(
            Rule::StoresAfterPatches,
            "stores without a record come after patches are retired",
            &[Create("/f"), Write("/f", 0, 4096, 1)],
            &[
                Write("/f", 100, 30, 2),
                Allocate("/f", 0, 4096, nova_core::Allocate::Zero),
                Write("/f", 0, 4096, 3),
            ],
            &[],
        )),
        protected(broken(
            Rule::ProtectionBeforeRecord,
            "checksums and parity are drained with their content",
            &junk,
            &[Write("/f", 0, 6000, 1)],
            &[],
        )),
        protected(broken(
            Rule::ChecksumsInRecord,
            "checksums of content in the record are in it, too",
            &[Create("/f"), Write("/f", 0, 4000, 1)],
            &[Write("/f", 40, 10, 2), Append("/f", 50, 3)],
            &[],
        )),
        broken(
            Rule::ZerosInRecord,
            "zeros behind the end are part of the record",
            &file,
            &[Write("/f", 40, 10, 2), Write("/f", 8192, 5000, 3)],
            &[],
        ),
        broken(
            Rule::SnapshotsShare,
            "what a snapshot has is not stored to in place",
            &file,
            &[Snapshot("s"), Write("/f", 10, 20, 2)],
            &[],
        ),
        broken(
            Rule::LinesSaved,
            "the first change of an inode saves its lines",
            &file,
            &[Snapshot("s"), Append("/f", 10, 2)],
            &[],
        ),
        broken(
            Rule::SnapshotsHold,
            "blocks that a snapshot has are not handed out again",
            &[Create("/f"), Write("/f", 0, 9000, 1), Create("/g")],
            &[Snapshot("s"), Unlink("/f"), Sync, Write("/g", 0, 36_000, 3)],
            &[],
        ),
        broken(
            Rule::SnapshotBeforeRecord,
            "a snapshot's block is drained before the state line leads to it",
            &junk,
            &[Snapshot("s")],
            &[],
        ),
    ]
}

#[test]
fn every_rule_that_is_left_out_is_found() {
    let mut missed = Vec::new();
    for Broken { rule, words, before, ops, later, setting } in rules() {
        let setting = Setting { samples: 32, ..setting };
        let mut totals = Totals::default();
        let name = format!("without {rule:?}");
        let report = explore_lives(&mut totals, &name, &setting, &before, &ops, &later);
        match (&report.first_failure, report.images_to_first_failure) {
            (Some(failure), Some(images)) => println!(
                "rule | {words:<60} | {:.30} | {images} images in the last of {} workloads",
                failure.operation, totals.workloads
            ),
            _ => missed.push(words),
        }
        // And with it, nothing is found.
        let setting = Setting { broken: None, ..setting };
        let later = if is_long() { &later[..] } else { &[] };
        explore_lives(&mut totals, &format!("with {rule:?}"), &setting, &before, &ops, later).assert_ok();
    }
    for (rule, words) in [
        (Rule::MagicLast, "magics are stored when everything else is durable"),
        (Rule::MagicsAway, "old superblocks are void before anything is overwritten"),
    ] {
        match format_without(rule) {
            Some(images) => println!("rule | {words:<60} | format | {images} images"),
            None => missed.push(words),
        }
    }
    assert!(missed.is_empty(), "explorations did not notice that these rules were left out: {missed:#?}");
}

/// Formats over a smaller volume. Images to the first failure.
fn format_without(rule: Rule) -> Option<u64> {
    let setting = Setting { blocks: 40, ..Setting::default() };
    let mut start = setting.prepare(&[Create("/f"), Write("/f", 0, 5000, 1)]);
    let old = setting.states(&start, &[]).remove(0);
    start.resize(48 * 4096, 0);
    let options = setting.mount();
    let config = Config::from_env().bound(64).samples(64).nested(4);
    let report = Exploration::new(format!("without {rule:?}")).config(config).start(Image::new(start)).run(
        |mapping, marks| -> nova_core::Result<()> {
            let format = FormatOptions::new().stripes(1).label("new");
            let nova = marks.run("format", || format.format(mapping, options.clone().without(rule)))?;
            std::mem::forget(nova);
            Ok(())
        },
        |mapping| match options.mount(mapping) {
            Ok(nova) => Ok(Some(nova)),
            Err(nova_core::Error::NotAVolume { .. }) => Ok(None),
            Err(error) => Err(error),
        },
        |nova: Option<nova_core::Nova>, point| match nova {
            None if point.acknowledged == 0 => Ok(()),
            None => Err("no volume".into()),
            Some(nova) if nova.label() == "new" => harness::used_to_the_end(&nova),
            Some(nova) if tree::Tree::of(&nova)? == old => Ok(()),
            Some(_) => Err("neither the old volume nor the new one".into()),
        },
    );
    report.images_to_first_failure
}

/// Without the rule the copies are not what they are copies of. Images to the first that shows it; and how many of the same exploration do with it.
fn copies(rule: Option<Rule>) -> (Option<u64>, u64) {
    let setting = Setting { replicas: true, ..Setting::default() };
    let start = setting.prepare(&[Create("/f"), Write("/f", 0, 100, 1)]);
    let options = setting.mount();
    let broken = rule.map_or(options.clone(), |rule| options.clone().without(rule));
    let config = Config::from_env().bound(24).samples(8).nested(2);
    let report =
        Exploration::new(format!("copies without {rule:?}")).config(config).start(Image::new(start)).run(
            |mapping, marks| -> nova_core::Result<()> {
                let nova = broken.mount(mapping)?;
                marks.run("link", || nova.hard_link("/f", "/g"))?;
                std::mem::forget(nova);
                Ok(())
            },
            |mapping| options.mount(mapping),
            |nova: nova_core::Nova, _| {
                let found = nova.fsck().map_err(|error| error.to_string())?;
                if found.is_clean() { Ok(()) } else { Err(found.to_string()) }
            },
        );
    (report.images_to_first_failure, report.failures)
}

#[test]
fn a_record_that_leaves_copies_out_is_found() {
    assert_eq!(copies(None), (None, 0));
    let (images, _) = copies(Some(Rule::CopiesInRecord));
    let images = images.expect("the check notices");
    let words = "metadata is changed in both places by one record";
    println!("rule | {words:<60} | link | {images} images");
}
