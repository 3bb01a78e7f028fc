//! Work that a power cut ends, and what has to be there afterwards (`tests/vm/run --power-cut N`).
//!
//! Each subject does one durable step after the other, on a thread of its own, and says `acknowledged NAME STEPS` when a
//! step has returned. At the next boot `VM_ACKNOWLEDGED` has the last of these (`pool=17,page=3`): so many steps must be
//! there, and those that are, as a whole and in order. `VM_LAST` ends the program after that comparison.

use crate::{Result, check, fsync, place};
use nova_core::{File, Nova};
use pmem_collections::{Named, PBTreeMap, Pool, PoolOptions};
use pmem_map::{Granularity, MapOptions, Mapping};
use std::{env, fs, os::unix::fs::MetadataExt, path::Path, thread};

/// Steps after which a subject is not made any larger.
const MOST: u64 = 100_000;
const NAMES: &str =
    "pool, volume, page, growth and block, and the controls control, control-growth and control-block";

pub(crate) fn run(names: &[&str]) -> Result<()> {
    let mut subjects = Vec::new();
    for &name in names {
        let acknowledged = acknowledged(name)?.unwrap_or(0);
        let opened = Subject::open(name).and_then(|subject| Ok((subject.steps()?, subject)));
        let (found, subject) = opened
            .map_err(|error| format!("{name}: LOST: {acknowledged} steps were acknowledged, and: {error}"))?;
        check(found >= acknowledged, || {
            format!("{name}: LOST: {acknowledged} steps were acknowledged, and {found} are there")
        })?;
        println!("checked {name}: {found} steps are there, {acknowledged} were acknowledged");
        subjects.push((name, subject, found));
    }
    if env::var_os("VM_LAST").is_some() {
        return Ok(());
    }
    for (name, _, found) in &subjects {
        println!("acknowledged {name} {found}");
    }
    thread::scope(|scope| {
        let workers: Vec<_> = subjects
            .iter()
            .map(|(name, subject, found)| {
                scope.spawn(|| work(name, subject, *found).map_err(|e| e.to_string()))
            })
            .collect();
        for worker in workers {
            worker.join().map_err(|_| "a worker panicked")??;
        }
        Ok(())
    })
}

/// Until the power is cut.
fn work(name: &str, subject: &Subject, from: u64) -> Result<()> {
    for step in from..MOST {
        subject.perform(step)?;
        println!("acknowledged {name} {}", step + 1);
    }
    wait_for_the_cut()
}

fn wait_for_the_cut() -> ! {
    loop {
        thread::park();
    }
}

/// What was heard of a subject before the power was cut; `None` if not even that it was made.
fn acknowledged(name: &str) -> Result<Option<u64>> {
    let all = env::var("VM_ACKNOWLEDGED").unwrap_or_default();
    let mut pairs = all.split(',').filter_map(|pair| pair.split_once('='));
    Ok(pairs.find(|(of, _)| *of == name).map(|(_, steps)| steps.parse()).transpose()?)
}

enum Subject {
    /// Each step is a commit.
    Pool(Pool),
    /// Each step appends a record to a file; every [`RECORDS`] there is a new one.
    Volume(Nova),
    /// Each step makes a file longer, as pools do, and stores nothing.
    Growth(Box<Mapping>),
}

impl Subject {
    fn open(name: &str) -> Result<Subject> {
        let disk = Path::new(place::DISK);
        match name {
            "pool" => Ok(Subject::Pool(pool(&place::dax_file("cut.pool")?, place::promised().0)?)),
            "page" => Ok(Subject::Pool(pool(&disk.join("cut.pool"), Granularity::Page)?)),
            "control" => Ok(Subject::Pool(without_fdatasync(&disk.join("control.pool"))?)),
            "growth" => Ok(Subject::Growth(Box::new(growing_file(&disk.join("cut.growth"))?))),
            "control-growth" => {
                let mapping = growing_file(&disk.join("control.growth"))?;
                fsync::skip(); // that the file is there is durable; how long it is from here on is not
                Ok(Subject::Growth(Box::new(mapping)))
            }
            "volume" => volume(name, place::map(&place::dax_file("cut.volume")?, 64 << 20)?),
            "block" => volume(name, place::map(&place::block_device()?, 0)?),
            // Lines are flushed, and nothing is written back.
            "control-block" => {
                let options = MapOptions::new().emulate_pmem(true);
                // SAFETY: nobody else in the guest uses this device.
                volume(name, unsafe { options.open(place::block_device()?) }?)
            }
            _ => Err(format!("{name} is no subject; there is {NAMES}").into()),
        }
    }

    /// The steps that are there, and nothing else; an error if there is one by half.
    fn steps(&self) -> Result<u64> {
        match self {
            Subject::Pool(pool) => steps_of_pool(pool),
            Subject::Volume(nova) => steps_of_volume(nova),
            Subject::Growth(mapping) => Ok(mapping.len() / GROWTH - 1),
        }
    }

    fn perform(&self, step: u64) -> Result<()> {
        match self {
            Subject::Pool(pool) => Ok(pool.write(|tx| {
                let mut squares = tx.open(SQUARES)?;
                for n in step * ENTRIES..(step + 1) * ENTRIES {
                    squares.insert(n, [n * n; 8])?;
                }
                Ok(())
            })?),
            Subject::Volume(nova) => {
                let path = log(step / RECORDS);
                let file: File = if step % RECORDS == 0 { nova.create_file(path)? } else { nova.open(path)? };
                file.append(&record(step))?;
                Ok(())
            }
            // Not all of the disk.
            Subject::Growth(_) if step >= MOST_GROWTH => wait_for_the_cut(),
            Subject::Growth(mapping) => Ok(mapping.grow((step + 2) * GROWTH)?),
        }
    }
}

/// Squares, eight times, by their roots.
const SQUARES: Named<PBTreeMap<u64, [u64; 8]>> = Named::new("squares");
/// Entries that a commit inserts.
const ENTRIES: u64 = 5;

fn growing() -> PoolOptions {
    PoolOptions::new().size(1 << 20).max_size(100 << 20).auto_grow(true)
}

fn pool(path: &Path, granularity: Granularity) -> Result<Pool> {
    // SAFETY: nobody else in the guest uses this file.
    let pool = unsafe { growing().open_or_create(path) }?;
    let found = pool.region().granularity();
    check(found == granularity, || format!("{} has {found:?}", pool.region().medium()))?;
    pool.write(|tx| tx.open(SQUARES).map(drop))?;
    Ok(pool)
}

/// The control: a file on a disk, made as such, but then taken for persistent memory. Its commits flush lines, and do not
/// ask the disk for anything, so a power cut has to lose them. (It does not grow, for which the file would be synced.)
fn without_fdatasync(path: &Path) -> Result<Pool> {
    let options = PoolOptions::new().size(64 << 20);
    // SAFETY: nobody else in the guest uses this file.
    let pool = unsafe { options.open_or_create(path) }?;
    pool.write(|tx| tx.open(SQUARES).map(drop))?;
    drop(pool);
    // SAFETY: as above.
    Ok(unsafe { options.mapping(MapOptions::new().emulate_pmem(true)).open(path) }?)
}

fn steps_of_pool(pool: &Pool) -> Result<u64> {
    let report = pool.check()?;
    check(report.is_ok(), || report.to_string())?;
    let tx = pool.read()?;
    let squares = tx.open(SQUARES)?;
    let entries = squares.len() as u64;
    for (n, entry) in (0..).zip(squares.iter()) {
        let (key, value) = entry?;
        check((*key, *value) == (n, [n * n; 8]), || format!("entry {n} is {key}: {value:?}"))?;
    }
    check(entries.is_multiple_of(ENTRIES), || format!("{entries} entries: a commit is there by half"))?;
    Ok(entries / ENTRIES)
}

/// Bytes of a step of [`Subject::Growth`]; the file is made with as many.
const GROWTH: u64 = 4 << 10;
const MOST_GROWTH: u64 = 20_000;

fn growing_file(path: &Path) -> Result<Mapping> {
    let options = MapOptions::new().len(GROWTH).max_len((MOST_GROWTH + 2) * GROWTH).create(true);
    // SAFETY: nobody else in the guest uses this file.
    let mapping = unsafe { options.open(path) }?;
    let blocks = fs::metadata(path)?.blocks() * 512;
    check(blocks >= mapping.len(), || format!("{blocks} bytes of blocks for {} bytes", mapping.len()))?;
    Ok(mapping)
}

fn volume(name: &str, mapping: Mapping) -> Result<Subject> {
    // A cut while it was formatted leaves no volume: then nobody heard of it.
    let made = acknowledged(name)?.is_some();
    Ok(Subject::Volume(if made { Nova::mount(mapping)? } else { Nova::format(mapping)? }))
}

/// Records of a file.
const RECORDS: u64 = 50;
const RECORD: usize = 100;

fn log(number: u64) -> String {
    format!("/{number}.log")
}

fn record(step: u64) -> Vec<u8> {
    format!("{step:>width$}\n", width = RECORD - 1).into_bytes()
}

fn steps_of_volume(nova: &Nova) -> Result<u64> {
    let report = nova.fsck()?;
    check(report.is_clean(), || report.to_string())?;
    let files = nova.read_dir("/")?.iter().filter(|entry| entry.name.ends_with(b".log")).count() as u64;
    let mut step = 0;
    for number in 0..files {
        let content = nova.read_file(log(number))?;
        for found in content.chunks(RECORD) {
            check(found == record(step), || {
                format!("record {step} is {:?}", String::from_utf8_lossy(found))
            })?;
            step += 1;
        }
        // The last one may have been made, and nothing appended to it.
        check(number + 1 == files || step == (number + 1) * RECORDS, || {
            format!("file {number} ends with {step}")
        })?;
    }
    Ok(step)
}
