//! The process that is killed: four threads take jobs, do them, and store the results.

use crate::{Result, queue};
use pmem_collections::Pool;
use std::{
    io::{self, Read, Write},
    path::Path,
    thread,
};

/// Works until there is no job left, and then waits to be killed, or to be told to end (its standard input is closed). Says
/// on standard output that it has begun, and which jobs are done.
pub(crate) fn run(path: &Path) -> Result<()> {
    let pool = queue::open(path)?;
    queue::put_back(&pool)?;
    say("begun")?;
    thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|worker| (worker, &pool)).collect();
        let threads: Vec<_> = workers
            .into_iter()
            .map(|(worker, pool)| scope.spawn(move || work_on(pool, worker).map_err(|e| e.to_string())))
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a worker does not panic"))
    })?;
    io::stdin().read_to_end(&mut Vec::new())?;
    pool.close()?;
    Ok(())
}

fn work_on(pool: &Pool, worker: u32) -> Result<()> {
    while let Some(job) = queue::take(pool, worker)? {
        queue::complete(pool, job, queue::work(job))?;
        say(&format!("done {job}"))?; // durable: from here on, the result must never be lost
    }
    Ok(())
}

/// One line, by one `write`: it arrives as a whole or not at all.
fn say(what: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(format!("{what}\n").as_bytes())?;
    out.flush()
}
