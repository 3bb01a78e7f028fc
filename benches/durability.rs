//! Small durable transactions on an ordinary file: commits per second, with real device flushes.
//!
//!     cargo bench -p benches --bench durability -- [--build-peers | --peers PATH]
//!
//! Each thread sets 64-byte objects of its own, at random, one durable transaction each. Rows take turns, round after
//! round. The floor is what a careful programmer's own log would take: one `pwrite` and one `fdatasync` for each commit.
//! Files are made in `PMEM_TEST_DIR`, or in the temporary folder: give one on the disk that is to be measured.
//!
//! Peers are other stores, in a package of their own (`benches/peers`), so that nobody compiles them to run a test.

use benches::{compare::subjects::peer, rounds::median};
use pmem_collections::{Named, PBTreeMap, Pool, PoolOptions};
use pmem_map::{Granularity, MapOptions, Mapping};
use pmem_tx::{Journal, JournalOptions};
use std::{
    env,
    error::Error,
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::Command,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

type Failure = Box<dyn Error + Send + Sync>;

/// Objects of one thread.
const OBJECTS: u64 = 10_000;
const MOST_THREADS: u64 = 8;
const LOG: u64 = 1 << 20;
const MAP: Named<PBTreeMap<u64, [u64; 8]>> = Named::new("objects");
const LEN: u64 = LOG + MOST_THREADS * OBJECTS * 64;
const POOL: u64 = 64 << 20;

/// What was measured once.
struct Sample {
    commits: u64,
    seconds: f64,
    /// Device flushes; `None` where nobody counts them.
    flushes: Option<u64>,
}

#[derive(Clone)]
enum Store {
    Floor,
    Journal { group: bool },
    Pool { group: bool },
    Peer { name: &'static str, program: PathBuf },
}

impl Store {
    fn name(&self) -> String {
        let how = |group: &bool| if *group { "group commit" } else { "strict" };
        match self {
            Store::Floor => "floor: pwrite + fdatasync".into(),
            Store::Journal { group } => format!("Journal, one object, {}", how(group)),
            Store::Pool { group } => format!("Pool, PBTreeMap insert, {}", how(group)),
            Store::Peer { name, .. } => format!("{name}, insert"),
        }
    }

    fn run(&self, folder: &Path, threads: u64, time: Duration) -> Result<Sample, Failure> {
        match self {
            Store::Floor => floor(folder, threads, time),
            Store::Journal { group } => journal(folder, threads, time, *group),
            Store::Pool { group } => pool(folder, threads, time, *group),
            Store::Peer { name, program } => peer(name, program, folder, threads, time),
        }
    }
}

fn map(path: &Path, len: u64) -> Result<Mapping, Failure> {
    let options = MapOptions::new().len(len).create(true);
    // SAFETY: a new file in a folder of this program's own.
    let mapping = unsafe { options.open(path) }?;
    if mapping.granularity() != Granularity::Page {
        return Err(format!("{} is no disk; set PMEM_TEST_DIR", mapping.medium()).into());
    }
    Ok(mapping)
}

/// Runs `commit` (thread, object, number of the commit) on so many threads for a while. How many commits each thread made,
/// which object it set last, and the seconds.
fn threads(
    count: u64,
    time: Duration,
    commit: impl Fn(u64, u64, u64) -> Result<(), Failure> + Sync,
) -> Result<(Vec<(u64, u64)>, f64), Failure> {
    let start = Barrier::new(count as usize);
    let results: Vec<Result<(u64, u64, f64), Failure>> = thread::scope(|scope| {
        let handles: Vec<_> = (0..count)
            .map(|thread| {
                let (start, commit) = (&start, &commit);
                scope.spawn(move || {
                    let mut random = fastrand::Rng::with_seed(thread);
                    let (mut commits, mut object) = (0, 0);
                    start.wait();
                    let began = Instant::now();
                    while began.elapsed() < time {
                        object = thread * OBJECTS + random.u64(0..OBJECTS);
                        commits += 1;
                        commit(thread, object, commits)?;
                    }
                    Ok((commits, object, began.elapsed().as_secs_f64()))
                })
            })
            .collect();
        handles.into_iter().map(|handle| handle.join().expect("no panic")).collect()
    });
    let results = results.into_iter().collect::<Result<Vec<_>, _>>()?;
    let longest = results.iter().map(|(.., seconds)| *seconds).fold(0.0, f64::max);
    Ok((results.iter().map(|&(commits, object, _)| (commits, object)).collect(), longest))
}

fn sample(done: &[(u64, u64)], seconds: f64, flushes: Option<u64>) -> Sample {
    Sample { commits: done.iter().map(|(commits, _)| commits).sum(), seconds, flushes }
}

fn floor(folder: &Path, count: u64, time: Duration) -> Result<Sample, Failure> {
    let file = File::create_new(folder.join("floor"))?;
    file.write_all_at(&vec![0; LOG as usize], 0)?; // with blocks behind it
    file.sync_all()?;
    let (done, seconds) = threads(count, time, |thread, object, commits| {
        let mut record = [0u8; 128];
        record[..8].copy_from_slice(&object.to_le_bytes());
        record[8..16].copy_from_slice(&commits.to_le_bytes());
        let slots = LOG / 256 / count;
        file.write_all_at(&record, (thread * slots + commits % slots) * 256)?;
        Ok(file.sync_data()?)
    })?;
    Ok(sample(&done, seconds, None))
}

fn journal(folder: &Path, count: u64, time: Duration, group: bool) -> Result<Sample, Failure> {
    let path = folder.join("journal");
    let journal = JournalOptions::new().group_commit(group).create(map(&path, LEN)?, 0..LOG)?;
    let before = journal.region().counters();
    let (done, seconds) = threads(count, time, |_, object, commits| {
        Ok(journal.write(|tx| tx.write(LOG + object * 64, &[commits; 8]))?)
    })?;
    let flushes = (journal.region().counters() - before).syncs;
    drop(journal);
    let journal = Journal::open(map(&path, LEN)?, 0..LOG)?;
    let tx = journal.begin()?;
    for &(commits, object) in &done {
        assert_eq!(tx.read::<[u64; 8]>(LOG + object * 64)?, &[commits; 8], "the last commit of a thread");
    }
    Ok(sample(&done, seconds, Some(flushes)))
}

fn pool(folder: &Path, count: u64, time: Duration, group: bool) -> Result<Sample, Failure> {
    let path = folder.join("pool");
    let pool = PoolOptions::new().group_commit(group).create_on(map(&path, POOL)?)?;
    for first in (0..count * OBJECTS).step_by(1000) {
        pool.write(|tx| tx.open(MAP)?.extend((first..first + 1000).map(|key| (key, [0; 8]))))?;
    }
    pool.checkpoint()?;
    let before = pool.region().counters();
    let (done, seconds) = threads(count, time, |_, object, commits| {
        Ok(pool.write(|tx| tx.open(MAP)?.insert(object, [commits; 8]).map(drop))?)
    })?;
    let flushes = (pool.region().counters() - before).syncs;
    drop(pool);
    let pool = Pool::on(map(&path, POOL)?)?;
    let tx = pool.read()?;
    let objects = tx.open(MAP)?;
    for &(commits, object) in &done {
        assert_eq!(objects.get(object)?, Some(&[commits; 8]), "the last commit of a thread");
    }
    Ok(sample(&done, seconds, Some(flushes)))
}

fn peer(name: &str, program: &Path, folder: &Path, threads: u64, time: Duration) -> Result<Sample, Failure> {
    let output = Command::new(program)
        .args([name.as_ref(), folder.join(name).as_os_str()])
        .args([threads.to_string(), time.as_millis().to_string()])
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let text = String::from_utf8(output.stdout)?;
    let (commits, seconds) = text.trim().split_once(' ').ok_or("two numbers were expected")?;
    Ok(Sample { commits: commits.parse()?, seconds: seconds.parse()?, flushes: None })
}

/// What the command line asks for.
struct Arguments {
    /// Says which cases criterion has: none.
    list: bool,
    peers: Option<PathBuf>,
    /// `cargo test`: every row once, as short as can be.
    test: bool,
    rounds: usize,
}

fn arguments() -> Result<Arguments, Failure> {
    use lexopt::prelude::*;
    let mut parsed = Arguments { list: false, peers: None, test: true, rounds: 7 };
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("bench") => parsed.test = false, // cargo bench says so
            Long("list") => parsed.list = true,
            Long("peers") => parsed.peers = Some(arguments.value()?.into()),
            Long("build-peers") => parsed.peers = Some(peer::build()?),
            Long("rounds") => parsed.rounds = arguments.value()?.parse::<usize>()?.max(1),
            Value(_) | Long("nocapture" | "quiet" | "test-threads") => {} // cargo's, for other benches
            other => return Err(other.unexpected().into()),
        }
    }
    Ok(parsed)
}

fn main() -> Result<(), Failure> {
    let Arguments { list, peers, test, rounds } = arguments()?;
    if list {
        return Ok(());
    }
    let parent = env::var_os("PMEM_TEST_DIR").map_or_else(env::temp_dir, PathBuf::from);
    let scratch = || tempfile::Builder::new().prefix("pmem-durability-").tempdir_in(&parent);
    if let Err(why) = map(&scratch()?.path().join("probe"), 4096) {
        println!("durability: not run: {why}");
        return Ok(());
    }
    let (rounds, time) =
        if test { (1, Duration::from_millis(20)) } else { (rounds, Duration::from_millis(700)) };
    let mut stores = vec![
        Store::Floor,
        Store::Journal { group: false },
        Store::Journal { group: true },
        Store::Pool { group: false },
        Store::Pool { group: true },
    ];
    stores.extend(peers.clone().map(|program| Store::Peer { name: "redb", program }));
    let rows: Vec<(Store, u64)> =
        stores.iter().flat_map(|store| [1, MOST_THREADS].map(|threads| (store.clone(), threads))).collect();
    let mut samples: Vec<Vec<Sample>> = rows.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for ((store, threads), samples) in rows.iter().zip(&mut samples) {
            samples.push(store.run(scratch()?.path(), *threads, time)?);
        }
    }
    println!("durability: an ordinary file in {}, {rounds} rounds of {time:?}", parent.display());
    println!(
        "| transactions of one 64 B object | threads | commits/s | lowest to highest | of the floor | device flushes per commit |"
    );
    println!("|---|---|---|---|---|---|");
    let rates = |samples: &[Sample]| -> Vec<f64> {
        samples.iter().map(|sample| sample.commits as f64 / sample.seconds).collect()
    };
    for (i, (store, threads)) in rows.iter().enumerate() {
        let own = rates(&samples[i]);
        let of_floor = own.iter().zip(rates(&samples[i % 2])).map(|(own, floor)| own / floor).collect();
        let (lowest, highest) = own.iter().fold((f64::MAX, 0f64), |(l, h), &x| (l.min(x), h.max(x)));
        let commits: u64 = samples[i].iter().map(|sample| sample.commits).sum();
        let flushes: Option<u64> = samples[i].iter().map(|sample| sample.flushes).sum();
        println!(
            "| {} | {threads} | {:.0} | {lowest:.0} to {highest:.0} | {:.2} | {} |",
            store.name(),
            median(own),
            median(of_floor),
            flushes.map_or("-".into(), |flushes| format!("{:.3}", flushes as f64 / commits as f64)),
        );
    }
    if peers.is_none() {
        println!("| redb, insert | | not run: --build-peers, or --peers PATH | | | |");
    }
    Ok(())
}
