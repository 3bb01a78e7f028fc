//! The process that kills: starts workers, ends each at a random moment, and looks at what is left.

use crate::{
    Arguments, Result,
    queue::{self, Found, RESULTS},
};
use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let &Arguments { kills, jobs, .. } = arguments;
    let start = Instant::now();
    let (folder, path) = place(arguments)?;
    let done = kill_and_look(&path, kills, jobs);
    if done.is_err() {
        let kept = folder.map_or(path, |folder| folder.keep().join("queue.pool"));
        eprintln!("job_queue: the pool is kept: {}", kept.display());
    } else if folder.is_none() {
        fs::remove_file(&path)?;
    }
    println!("time     {:.1} s", start.elapsed().as_secs_f64());
    done
}

/// Makes the pool where the arguments say, else in shared memory, else in the temporary folder.
fn place(arguments: &Arguments) -> Result<(Option<TempDir>, PathBuf)> {
    if let Some(path) = &arguments.pool {
        queue::create(path, arguments.jobs)?;
        return Ok((None, path.clone()));
    }
    let make = |parent: &Path| -> Result<_> {
        let folder = TempDir::with_prefix_in("pmem-job-queue-", parent)?;
        let path = folder.path().join("queue.pool");
        queue::create(&path, arguments.jobs)?;
        Ok((Some(folder), path))
    };
    make(Path::new("/dev/shm")).or_else(|_| make(&std::env::temp_dir()))
}

fn kill_and_look(path: &Path, kills: u32, jobs: u64) -> Result<()> {
    let mut random = fastrand::Rng::new();
    let mut acknowledged = BTreeSet::new();
    let (mut put_back, mut unheard) = (0, 0);
    for kill in 0..kills {
        // So that the jobs last: each process may do about its share of what is left.
        let share = (jobs - acknowledged.len() as u64) / u64::from(kills - kill + 1);
        let delay = Duration::from_micros(random.u64(..200));
        life(path, Some((random.u64(..=share), delay)), &mut acknowledged)?;
        let heard = acknowledged.len() as u64;
        let found = look(path, jobs, &mut acknowledged)?;
        put_back += found.taken;
        unheard += found.results - heard;
    }
    life(path, None, &mut acknowledged)?;
    let Found { waiting, taken, results, started_again } = look(path, jobs, &mut acknowledged)?;
    println!("jobs     {results} of {jobs} have exactly one result, {waiting} wait, {taken} are taken");
    println!("kills    {kills}; found {put_back} jobs taken and not done, which were put back");
    println!("started  {started_again} jobs more than once");
    println!("results  none lost; {unheard} were committed so shortly before a kill that nobody heard of it");
    if results == jobs { Ok(()) } else { Err(format!("{} jobs have no result", jobs - results).into()) }
}

/// A worker process from its start to its end: killed, after so many done jobs and so long; or, without that, of itself.
fn life(path: &Path, kill: Option<(u64, Duration)>, acknowledged: &mut BTreeSet<u64>) -> Result<()> {
    let mut process = Command::new(std::env::current_exe()?)
        .arg("--worker")
        .arg("--pool")
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let (stdin, stdout) = (process.stdin.take(), process.stdout.take().ok_or("a worker without a pipe")?);
    // Open, a worker that has nothing left to do waits for the kill; closed, it ends.
    let stdin = stdin.filter(|_| kill.is_some());
    let mut heard = 0;
    for line in BufReader::new(stdout).lines() {
        if let Some(job) = line?.strip_prefix("done ") {
            acknowledged.insert(job.parse()?);
            heard += 1;
        }
        // What it said before it died is still to be read.
        if let Some((done, delay)) = kill
            && heard == done
        {
            let start = Instant::now();
            while start.elapsed() < delay {
                std::hint::spin_loop(); // far less than a scheduler's tick, so without sleeping
            }
            process.kill()?;
        }
    }
    drop(stdin);
    let status = process.wait()?;
    let as_planned = if kill.is_some() { status.signal() == Some(9) } else { status.success() };
    if as_planned { Ok(()) } else { Err(format!("a worker ended unasked: {status}").into()) }
}

/// Opens the pool, which recovers it, and checks all of it, and that nothing is lost that was acknowledged. Adds what was done
/// and not heard of: it is durable as well, and has to stay.
fn look(path: &Path, jobs: u64, acknowledged: &mut BTreeSet<u64>) -> Result<Found> {
    let pool = queue::open(path)?;
    let found = queue::audit(&pool, jobs)?;
    let tx = pool.read()?;
    let results = tx.open(RESULTS)?;
    for &job in &*acknowledged {
        if !results.contains_key(job)? {
            return Err(format!("the result of job {job} was acknowledged, and is lost").into());
        }
    }
    for job in results.keys() {
        acknowledged.insert(*job?);
    }
    drop(tx);
    pool.close()?;
    Ok(found)
}
