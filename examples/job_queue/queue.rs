//! The queue: four objects in one pool, changed together.
//!
//! | object | type | says |
//! |---|---|---|
//! | `waiting` | ordered set of jobs | what is to be taken, the oldest first |
//! | `taken` | job → worker | what somebody works on, or did when the process was killed |
//! | `results` | job → result | what is done |
//! | `starts` | job → count | how often it was taken |
//!
//! A job is in exactly one of the first three, at all times: each transaction moves it from one to the next.

use pmem_collections::*;
use std::path::Path;

const WAITING: Named<PBTreeSet<u64>> = Named::new("waiting");
const TAKEN: Named<PHashMap<u64, u32>> = Named::new("taken");
pub(crate) const RESULTS: Named<PBTreeMap<u64, u64>> = Named::new("results");
const STARTS: Named<PHashMap<u64, u32>> = Named::new("starts");

fn options() -> PoolOptions {
    PoolOptions::new().layout("job_queue")
}

/// A new pool with the jobs 0 to `jobs`.
pub(crate) fn create(path: &Path, jobs: u64) -> Result<()> {
    // SAFETY: a file that this program makes, and which no other changes.
    let pool = unsafe { options().size((4 << 20) + jobs * 512).create(path) }?;
    for first in (0..jobs).step_by(500) {
        pool.write(|tx| tx.open(WAITING)?.extend(first..jobs.min(first + 500)))?;
    }
    pool.write(|tx| {
        tx.open(TAKEN)?;
        tx.open(RESULTS)?;
        tx.open(STARTS).map(drop)
    })?;
    pool.close()
}

pub(crate) fn open(path: &Path) -> Result<Pool> {
    // SAFETY: as above; two processes of this program are kept apart by the pool's lock.
    unsafe { options().open(path) }
}

/// Puts back what a process that is no more had taken.
pub(crate) fn put_back(pool: &Pool) -> Result<()> {
    pool.write(|tx| {
        let (mut taken, mut waiting) = (tx.open(TAKEN)?, tx.open(WAITING)?);
        for (job, _) in taken.drain()?.collect::<Result<Vec<_>>>()? {
            waiting.insert(job)?;
        }
        Ok(())
    })
}

/// Takes the oldest job for `worker`. `None`: there is none.
pub(crate) fn take(pool: &Pool, worker: u32) -> Result<Option<u64>> {
    pool.write(|tx| {
        let Some(job) = tx.open(WAITING)?.pop_first()? else { return Ok(None) };
        tx.open(TAKEN)?.insert(job, worker)?;
        *tx.open(STARTS)?.entry(job).or_insert(0)? += 1;
        Ok(Some(job))
    })
}

/// The job is done, and this is its result.
pub(crate) fn complete(pool: &Pool, job: u64, result: u64) -> Result<()> {
    pool.write(|tx| {
        if tx.open(TAKEN)?.remove(job)?.is_none() {
            return Err(Error::abort(format!("job {job} is completed, and nobody had taken it")));
        }
        if tx.open(RESULTS)?.insert(job, result)?.is_some() {
            return Err(Error::abort(format!("job {job} has a second result")));
        }
        Ok(())
    })
}

/// What is in a queue.
pub(crate) struct Found {
    pub(crate) waiting: u64,
    pub(crate) taken: u64,
    pub(crate) results: u64,
    /// Jobs that were taken more than once.
    pub(crate) started_again: u64,
}

/// Looks at everything: the pool itself, each job in exactly one place, each result the right one, each start counted.
pub(crate) fn audit(pool: &Pool, jobs: u64) -> Result<Found> {
    let tx = pool.read()?;
    let (waiting, taken) = (tx.open(WAITING)?, tx.open(TAKEN)?);
    let (results, starts) = (tx.open(RESULTS)?, tx.open(STARTS)?);
    let mut started_again = 0;
    for job in 0..jobs {
        let result = results.get(job)?.copied();
        let places = [waiting.contains(job)?, taken.contains_key(job)?, result.is_some()];
        if places.iter().filter(|is_there| **is_there).count() != 1 {
            return Err(Error::abort(format!("job {job} is waiting, taken, done: {places:?}")));
        }
        if result.is_some_and(|result| result != work(job)) {
            return Err(Error::abort(format!("job {job} has the result {result:?}, not {}", work(job))));
        }
        let started = starts.get(job)?.copied().unwrap_or(0);
        if started == 0 && !places[0] {
            return Err(Error::abort(format!("job {job} was never started: {places:?}")));
        }
        started_again += u64::from(started > 1);
    }
    let found = Found {
        waiting: waiting.len() as u64,
        taken: taken.len() as u64,
        results: results.len() as u64,
        started_again,
    };
    if found.waiting + found.taken + found.results != jobs {
        return Err(Error::abort(format!("there are jobs beyond {jobs}")));
    }
    drop(tx);
    let report = pool.check()?;
    if report.is_ok() { Ok(found) } else { Err(Error::abort(format!("the pool: {report}"))) }
}

/// What a job is: how many steps Collatz's sequence takes to 1, for numbers from this one on. A while of pure thought.
pub(crate) fn work(job: u64) -> u64 {
    (1..=200)
        .map(|n| {
            let (mut n, mut steps) = (job * 200 + n, 0);
            while n != 1 {
                n = if n.is_multiple_of(2) { n / 2 } else { 3 * n + 1 };
                steps += 1;
            }
            steps
        })
        .sum()
}
