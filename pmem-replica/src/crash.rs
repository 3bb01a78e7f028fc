//! Power failures at every store of the seam, explored: of a follower that applies records, and of a primary with its outbox.

use crate::{
    outbox::{Base, Outbox, Sealed},
    record::{self, Changes, LogPosition},
};
use parking_lot::Mutex;
use pmem_alloc::{Grown, Named, Pool, PoolOptions, Position, Replicator};
use pmem_collections::{PBTreeMap, PCell};
use pmem_crash::{Config, Exploration, Image, Report};
use pmem_map::{MapOptions, Mapping};
use pmem_tx::{Committed, Recovered, Refusal, Subscriber};
use std::{path::PathBuf, sync::Arc};

const SIZE: u64 = 256 << 10;
const OPERATIONS: u64 = 6;
const STREAM: u64 = 7;
const MAP: Named<'static, PBTreeMap<u64, u64>> = Named::new("map");
const COUNT: Named<'static, PCell<u64>> = Named::new("count");

fn config() -> Config {
    let config = Config::from_env();
    match std::env::var_os("PMEM_CRASH_LONG") {
        Some(_) => config.bound(1 << 12).samples(512).nested(256),
        None => config.bound(64).samples(16).nested(12),
    }
}

/// Entries come and go, and in the third one an object comes.
fn operation(pool: &Pool, number: u64) -> pmem_alloc::Result<()> {
    pool.write(|tx| {
        let mut map = tx.open(MAP)?;
        (0..4).try_for_each(|n| map.insert(number * 4 + n, number).map(drop))?;
        if number > 2 {
            map.remove((number - 2) * 4)?;
        }
        if number == 3 {
            tx.open(Named::<PCell<u64>>::new("another"))?.set(3)?;
        }
        tx.open(COUNT)?.set(number)
    })
}

fn count(pool: &Pool) -> pmem_alloc::Result<u64> {
    Ok(*pool.read()?.open(COUNT)?.get()?)
}

/// The primary's part, without a stream: an outbox, and what was told.
struct Told {
    outbox: Mutex<Outbox>,
    path: PathBuf,
    records: Mutex<Vec<Sealed>>,
    /// What the opening appended.
    missed: Mutex<Option<Sealed>>,
    /// The outbox's bytes when it was opened, and after each record.
    lengths: Mutex<Vec<u64>>,
}

impl Told {
    fn open(path: PathBuf) -> crate::Result<Arc<Told>> {
        let outbox = Mutex::new(Outbox::open(&path)?.0);
        let (records, missed, lengths) = Default::default();
        Ok(Arc::new(Told { outbox, path, records, missed, lengths }))
    }

    fn note_length(&self) {
        self.lengths.lock().push(self.path.metadata().unwrap().len());
    }
}

impl Subscriber for Told {
    fn committed(&self, record: &Committed<'_>) {
        let mut changes = Changes::default();
        record.for_each(|at, bytes| changes.add(at, bytes));
        let log = LogPosition { generation: record.generation(), seq: record.seq() };
        let sealed = self.outbox.lock().push(changes, log).unwrap();
        self.records.lock().push(sealed);
        self.note_length();
    }

    fn recovered(&self, recovered: &Recovered<'_>) -> Result<(), Refusal> {
        *self.missed.lock() = self.outbox.lock().catch_up(recovered)?;
        self.note_length();
        Ok(())
    }
}

impl Replicator for Told {
    fn admit(&self) -> Result<(), Refusal> {
        Ok(())
    }

    fn acknowledge(&self) -> Result<(), Refusal> {
        Ok(())
    }

    fn grown(&self, _: &[Grown], _: u64) {
        unreachable!("a pool of a fixed size");
    }

    fn position(&self) -> Position {
        at(self.outbox.lock().last().number)
    }
}

fn at(record: u64) -> Position {
    Position { stream: STREAM, record, message: record, term: 1 }
}

/// A primary before the operations, closed; its outbox; a seed of it.
struct World {
    folder: tempfile::TempDir,
    primary: Vec<u8>,
    outbox: Vec<u8>,
    seed: Vec<u8>,
}

impl World {
    #[expect(unsafe_code, reason = "files of this test alone")]
    fn new() -> World {
        let shm = std::path::Path::new("/dev/shm");
        let folder = if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() }.unwrap();
        let [path, outbox, seed] = ["primary", "outbox", "seed"].map(|name| folder.path().join(name));
        // SAFETY: files of this test alone.
        let pool = unsafe { PoolOptions::new().size(SIZE).identity(3).create(&path) }.unwrap();
        operation(&pool, 0).unwrap();
        let (generation, seq) = pool.log_position().unwrap();
        let (pool_identity, log) = (pool.identity().unwrap(), LogPosition { generation, seq });
        drop(Outbox::create(&outbox, Base { stream: STREAM, pool: pool_identity, number: 0, log }).unwrap());
        pool.close().unwrap();
        let told = Told::open(outbox.clone()).unwrap();
        // SAFETY: as above.
        let pool = unsafe { PoolOptions::new().replicator(told).open(&path) }.unwrap();
        // SAFETY: as above.
        unsafe { pool.backup(&seed) }.unwrap();
        pool.close().unwrap();
        let [primary, outbox, seed] = [path, outbox, seed].map(|path| std::fs::read(path).unwrap());
        World { folder, primary, outbox, seed }
    }

    /// Opens a primary with the first bytes of an outbox.
    fn open(&self, mapping: Mapping, outbox: &[u8]) -> Result<(Pool, Arc<Told>), String> {
        let path = self.folder.path().join(format!("outbox-{:?}", std::thread::current().id()));
        std::fs::write(&path, outbox).unwrap();
        let told = Told::open(path).map_err(|error| error.to_string())?;
        let opened = PoolOptions::new().replicator(told.clone()).open_on(mapping);
        opened.map(|pool| (pool, told)).map_err(|error| error.to_string())
    }

    fn follower(&self) -> Pool {
        Pool::on(memory(&self.seed)).unwrap()
    }
}

fn memory(bytes: &[u8]) -> Mapping {
    let mut mapping = MapOptions::new().len(bytes.len() as u64).anonymous().unwrap();
    mapping.write(0, bytes).unwrap();
    mapping
}

fn follow(pool: &Pool, sealed: &Sealed) -> pmem_alloc::Result<()> {
    let (record, changes, _) = record::decode(&sealed.bytes).expect("a record");
    assert_eq!(pool.following().unwrap().record + 1, record.number, "one after the other");
    pool.follow(&changes, at(record.number)).map(drop)
}

/// The records of all operations, and a follower's digest before the first and after each.
fn history(world: &World) -> (Vec<Sealed>, Vec<u64>) {
    let (pool, told) = world.open(memory(&world.primary), &world.outbox).unwrap();
    (1..=OPERATIONS).for_each(|number| operation(&pool, number).unwrap());
    let records = told.records.lock().clone();
    assert_eq!(records.len() as u64, OPERATIONS);
    let follower = world.follower();
    let mut digests = vec![follower.digest().unwrap()];
    for sealed in &records {
        follow(&follower, sealed).unwrap();
        follower.sync().unwrap();
        digests.push(follower.digest().unwrap());
    }
    assert_eq!(pool.digest().unwrap(), digests[digests.len() - 1]);
    (records, digests)
}

fn survived(name: &str, report: &Report) {
    println!("crash | {name} | {} images, {} recoveries", report.images, report.recoveries);
    println!("{report:#}");
    report.assert_ok();
    assert!(report.images > 100 && report.recoveries >= report.images, "{name}: little was explored");
}

#[test]
fn a_follower_whose_power_fails_at_any_store_has_a_prefix_and_applies_each_record_once() {
    let world = World::new();
    let (records, digests) = history(&world);
    for together in [1, 3] {
        let name = format!("a follower, {together} records to a drain");
        let report = Exploration::new(&name).config(config()).start(Image::new(world.seed.clone())).run(
            |mapping, ops| {
                let pool = ops.run("open", || Pool::on(mapping))?;
                for records in records.chunks(together) {
                    ops.run("apply", || {
                        records.iter().try_for_each(|sealed| follow(&pool, sealed))?;
                        pool.sync()
                    })?;
                }
                std::mem::forget(pool); // the power fails: nothing is closed
                Ok::<_, pmem_alloc::Error>(())
            },
            Pool::on,
            |pool, point| {
                let record = pool.following().ok_or("it follows nobody")?.record as usize;
                let least = together * point.acknowledged.saturating_sub(1);
                let most = together * point.begun.saturating_sub(1);
                if !(least..=most).contains(&record) {
                    return Err(format!("record {record}, not {least} to {most}"));
                }
                let digest = |pool: &Pool| pool.digest().map_err(|error| error.to_string());
                if digest(&pool)? != digests[record] {
                    return Err(format!("its content is not that of record {record}"));
                }
                for sealed in &records[record..] {
                    follow(&pool, sealed).map_err(|error| error.to_string())?;
                }
                pool.sync().map_err(|error| error.to_string())?;
                match digest(&pool)? == digests[records.len()]
                    && pool.check().is_ok_and(|check| check.is_ok())
                {
                    true => Ok(()),
                    false => Err(format!("it does not go on from record {record}")),
                }
            },
        );
        survived(&name, &report);
    }
}

#[test]
fn a_primary_whose_power_fails_at_any_store_tells_each_commit_once_or_says_that_it_cannot() {
    let world = World::new();
    let run = world.folder.path().join("run");
    std::fs::write(&run, &world.outbox).unwrap();
    let told = Told::open(run.clone()).unwrap();
    let (told_all, told_late, gaps) = (Mutex::new(0), Mutex::new(0), Mutex::new(0));
    let judge = |bytes: &[u8], kept: usize, all: bool| -> Result<(), String> {
        let text = |error: pmem_alloc::Error| error.to_string();
        let outbox = std::fs::read(&run).unwrap();
        let opened = world.open(memory(bytes), &outbox[..told.lengths.lock()[kept] as usize]);
        let (pool, again) = match opened {
            // What the file lost with the power is noticed.
            Err(error) if !all && error.contains("does not continue its outbox") => {
                *gaps.lock() += 1;
                return Ok(());
            }
            opened => opened?,
        };
        // A follower that has what the outbox had, and then what was told on opening.
        let follower = world.follower();
        let missed = again.missed.lock().clone();
        for sealed in told.records.lock()[..kept].iter().chain(&missed) {
            follow(&follower, sealed).map_err(text)?;
        }
        *if missed.is_some() { told_late.lock() } else { told_all.lock() } += 1;
        follower.sync().map_err(text)?;
        if follower.digest().map_err(text)? != pool.digest().map_err(text)? {
            return Err(format!("with {kept} records in the outbox the follower is another pool"));
        }
        let number = count(&pool).map_err(text)? + 1;
        operation(&pool, number).map_err(text)?;
        follow(&follower, again.records.lock().last().ok_or("it was not told")?).map_err(text)?;
        follower.sync().map_err(text)?;
        match follower.digest().map_err(text)? == pool.digest().map_err(text)? {
            true => Ok(()),
            false => Err("the follower does not go on".into()),
        }
    };
    let report = Exploration::new("a primary")
        .config(config().nested(0))
        .start(Image::new(world.primary.clone()))
        .run(
            |mapping, ops| {
                let told = told.clone();
                let pool = ops.run("open", || PoolOptions::new().replicator(told).open_on(mapping))?;
                (1..=OPERATIONS).try_for_each(|number| ops.run("commit", || operation(&pool, number)))?;
                std::mem::forget(pool);
                Ok::<_, pmem_alloc::Error>(())
            },
            Ok::<Mapping, String>,
            |mapping, point| {
                let acknowledged = point.acknowledged.saturating_sub(1);
                // A process that is killed leaves all that was told in its outbox; after a power failure there may be less.
                for kept in 0..=acknowledged {
                    judge(mapping.as_slice(), kept, kept == acknowledged)?;
                }
                Ok(())
            },
        );
    survived("a primary", &report);
    let (told_all, told_late, gaps) = (told_all.into_inner(), told_late.into_inner(), gaps.into_inner());
    println!(
        "{told_all} openings had nothing to tell, {told_late} told what the outbox had not, {gaps} said that they cannot"
    );
    assert!(told_all > 0 && told_late > 0);
}
