//! Stores of a program to mapped files, which no call makes: the power fails at any moment of them, of the copies that snapshots have made of their pages, and of mapping and
//! unmapping. No snapshot has V without D, which was stored before it; and each has exactly what there was at its moment.
//!
//! The program's stores reach the explored bytes through addresses of their own, so they are found by comparing, before every drain: any subset of them may be lost. During
//! the making of a snapshot the program stores at each of its steps in turn, in a run of the exploration each.

#![allow(unsafe_code)]

use crate::harness::{format_options, is_long, used_to_the_end};
use nova_core::{AccessTimes, BLOCK, Cleaning, MountOptions, Nova, Rule, ScrubOptions};
use pmem_crash::{Config, Exploration, Image, Ops, Point, Report};
use pmem_map::{Decision, Event, MapOptions, Mapping, Observer, Region};
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread::ThreadId,
};

const BLOCKS: u64 = 160;
/// Where D is in its file, and V in its own.
const D: u64 = BLOCK + 64;
const V: u64 = 2 * BLOCK + 128;

fn mount() -> MountOptions {
    MountOptions::new().threads(1).access_times(AccessTimes::Never).cleaning(Cleaning::AtOnce)
}

/// Two files of three blocks each; D and V are 1.
fn two_files() -> Vec<u8> {
    let mapping = Mapping::anonymous(BLOCKS * BLOCK).unwrap();
    let options = format_options(crate::PROTECTED).stripes(1).journal(4 * BLOCK);
    let nova = options.format(mapping, mount()).unwrap();
    for (name, at) in [("/d", D), ("/v", V)] {
        let mut content = vec![7; 3 * BLOCK as usize];
        content[at as usize..][..8].copy_from_slice(&1u64.to_le_bytes());
        nova.write_file(name, &content).unwrap();
    }
    nova.unmount().unwrap().as_slice().to_vec()
}

/// D and V.
type Pair = (u64, u64);

fn pair(nova: &Nova) -> nova_core::Result<Pair> {
    let word = |name: &str, at: u64| -> nova_core::Result<u64> {
        let mut bytes = [0; 8];
        nova.open(name)?.read_at(at, &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    };
    Ok((word("/d", D)?, word("/v", V)?))
}

/// The program: both files mapped.
struct Program {
    d: Region,
    v: Region,
}

impl Program {
    fn start(nova: &Nova) -> nova_core::Result<Program> {
        Ok(Program { d: nova.open("/d")?.map()?.into_region(), v: nova.open("/v")?.map()?.into_region() })
    }

    /// D, and then V.
    fn store(&self, value: u64) {
        // SAFETY: nobody has references to these bytes.
        unsafe {
            self.d.store_word(D, value);
            self.v.store_word(V, value);
        }
    }
}

/// Lets the program store at a step of its own thread's: in the middle of a call.
struct Interrupt {
    inner: Arc<dyn Observer>,
    thread: ThreadId,
    /// Steps until it happens; how many there were.
    steps: AtomicUsize,
    due: AtomicUsize,
    program: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Interrupt {
    /// `program` runs at the step `due` from now on.
    fn arm(&self, due: usize, program: impl FnOnce() + Send + 'static) {
        *self.program.lock().unwrap() = Some(Box::new(program));
        self.steps.store(0, SeqCst);
        self.due.store(due, SeqCst);
    }

    /// How many steps there were. What did not happen, does not.
    fn disarm(&self) -> usize {
        self.due.store(usize::MAX, SeqCst);
        self.program.lock().unwrap().take();
        self.steps.load(SeqCst)
    }
}

impl Observer for Interrupt {
    fn event(&self, region: &Region, event: Event<'_>) {
        self.inner.event(region, event);
    }

    fn decide(&self, region: &Region, event: &Event<'_>) -> Decision {
        // Not of the thread that copies pages, for which the program waits.
        if std::thread::current().id() == self.thread
            && self.steps.fetch_add(1, SeqCst) == self.due.load(SeqCst)
        {
            let program = self.program.lock().unwrap().take();
            program.into_iter().for_each(|store| store());
        }
        self.inner.decide(region, event)
    }

    fn attached(&self, region: &Region) {
        self.inner.attached(region);
    }

    fn detached(&self, region: &Region) {
        self.inner.detached(region);
    }
}

fn open(path: &Path, options: &MountOptions, observer: Arc<dyn Observer>) -> nova_core::Result<Nova> {
    let map = MapOptions::new().emulate_pmem(true).observer(observer);
    // SAFETY: the exploration's own file, which nobody else knows.
    options.mount(unsafe { map.open(path) }?)
}

/// What the run saw of each snapshot when it was made, and how many steps the making of the first had.
#[derive(Default)]
struct Seen {
    snapshots: BTreeMap<&'static str, Pair>,
    steps: usize,
}

/// Operations of the workload, by their numbers.
const MADE_A: usize = 2;
const MADE_B: usize = 3;
const DELETED_A: usize = 4;
const UNMAPPED: usize = 5;

/// The program stores D = n and then V = n for n = 2, 3, ...: before the first snapshot, at step `due` of its making, between it and the second one, after that, and after the
/// first is deleted.
fn work(
    nova: &Nova,
    marks: &Ops,
    interrupt: &Interrupt,
    due: usize,
    seen: &Mutex<Seen>,
) -> nova_core::Result<()> {
    let program = Arc::new(marks.run("map", || Program::start(nova))?);
    program.store(2);
    let interrupting = program.clone();
    interrupt.arm(due, move || interrupting.store(3));
    marks.run("snapshot a", || nova.create_snapshot("a"))?;
    let steps = interrupt.disarm();
    let note = |name| -> nova_core::Result<()> {
        let pair = pair(&nova.mount_snapshot(name)?)?;
        seen.lock().unwrap().snapshots.insert(name, pair);
        Ok(())
    };
    note("a")?;
    seen.lock().unwrap().steps = steps;
    program.store(4);
    marks.run("snapshot b", || nova.create_snapshot("b"))?;
    note("b")?;
    program.store(5);
    marks.run("delete a", || nova.delete_snapshot("a"))?;
    program.store(6);
    marks.run("unmap", || {
        drop(program);
        Ok::<(), nova_core::Error>(())
    })
}

fn judge(nova: &Nova, point: &Point<'_>, seen: &Seen) -> Result<(), String> {
    let text = |error: nova_core::Error| error.to_string();
    let (begun, done) = (*point.range().end(), *point.range().start());
    let names: Vec<String> = nova.snapshots().into_iter().map(|one| one.name).collect();
    let (mut least, mut made) = ((1, 1), Vec::new());
    for (name, at, until) in [("a", MADE_A, DELETED_A), ("b", MADE_B, usize::MAX)] {
        let is_there = names.iter().any(|found| found == name);
        let is_right =
            if begun < at || done >= until { !is_there } else { is_there || done < at || begun >= until };
        if !is_right {
            return Err(format!("snapshots {names:?}, when {done} to {begun} operations are done"));
        }
        let then = seen.snapshots[name];
        if is_there {
            made.push(name);
            let found = pair(&nova.mount_snapshot(name).map_err(text)?).map_err(text)?;
            if found.1 > found.0 {
                return Err(format!("{name} has V = {} without D, which is {}", found.1, found.0));
            }
            if found != then {
                return Err(format!("{name} has D, V = {found:?}, and not {then:?}, as when it was made"));
            }
        }
        if done >= at {
            least = then; // what a snapshot has is durable in the live files, too
        }
    }
    if done >= UNMAPPED && crate::PROTECTED {
        least = (6, 6); // content lasts as long as its checksums
    }
    let (d, v) = pair(nova).map_err(text)?;
    if !(least.0..=6).contains(&d) || !(least.1..=6).contains(&v) {
        return Err(format!("D, V = {:?}, and not from {least:?} on", (d, v)));
    }
    let checked = nova.fsck().map_err(text)?;
    if !checked.is_clean() {
        return Err(checked.to_string());
    }
    let scrubbed = nova.scrub(&ScrubOptions::new()).map_err(text)?;
    if !scrubbed.damage.is_empty() || crate::PROTECTED && scrubbed.unprotected > 0 {
        return Err(format!("{scrubbed:?}"));
    }
    used_to_the_end(nova)
}

/// Explores the workload with the program's stores at step `due`. How many steps there are.
fn explore(rule: Option<Rule>, due: usize) -> (Report, usize) {
    let options = rule.map_or(mount(), |rule| mount().without(rule));
    let config = Config::from_env();
    let config = match is_long() {
        true => config.bound(1 << 8).samples(64).nested(16),
        false => config.bound(12).samples(4).nested(1),
    };
    let seen = Mutex::new(Seen::default());
    let report = Exploration::new(format!("stores to mapped files, {due}, {rule:?}"))
        .config(config)
        .start(Image::new(two_files()))
        .run_files(
            |path, marks| -> nova_core::Result<()> {
                let interrupt = Arc::new(Interrupt {
                    inner: marks.observer(),
                    thread: std::thread::current().id(),
                    steps: AtomicUsize::new(0),
                    due: AtomicUsize::new(usize::MAX),
                    program: Mutex::new(None),
                });
                let nova = open(path, &options, interrupt.clone())?;
                work(&nova, marks, &interrupt, due, &seen)?;
                std::mem::forget(nova);
                Ok(())
            },
            |path, observer| open(path, &mount(), observer),
            |nova, point| judge(&nova, point, &seen.lock().unwrap()),
        );
    (report, seen.into_inner().unwrap().steps)
}

#[test]
fn a_program_stores_to_mapped_files_and_no_snapshot_has_v_without_d() {
    let (first, steps) = explore(None, usize::MAX - 1);
    first.assert_ok();
    let (mut images, mut recoveries, mut runs) = (first.images, first.recoveries, 1);
    // A prime: in time, all kinds of steps.
    for due in (0..steps).step_by(if is_long() { 1 } else { 7 }) {
        let (report, _) = explore(None, due);
        report.assert_ok();
        (images, recoveries, runs) = (images + report.images, recoveries + report.recoveries, runs + 1);
    }
    println!(
        "crash | stores to mapped files, at {runs} of {steps} steps of a snapshot: {images} images, {recoveries} recoveries"
    );
}

#[test]
fn without_a_rule_a_snapshot_loses_what_a_program_stored() {
    for rule in [Rule::StoresBeforeRecord, Rule::CopiesBeforeStores] {
        let (report, _) = explore(Some(rule), usize::MAX - 1);
        let images =
            report.images_to_first_failure.unwrap_or_else(|| panic!("without {rule:?}, nothing was found"));
        println!("rule | {rule:?} | stores to mapped files | {images} images");
    }
}
