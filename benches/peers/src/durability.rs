//! The workload of the durability bench: threads that each insert one 64-byte value under a random u64 key, one durable
//! transaction each.
//!
//!     peers NAME FILE THREADS MILLISECONDS
//!
//! prints how many transactions were committed, and in how many seconds. `NAME` is one of `redb`. `FILE` is made anew.

use crate::Failure;
use redb::{Database, Durability, ReadableDatabase, TableDefinition};
use std::{
    path::Path,
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

/// Keys of one thread; those of the next follow.
const KEYS: u64 = 10_000;
const TABLE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("objects");

/// Runs it on a new file, and prints how it went.
pub(crate) fn run(name: &str, file: &str, threads: &str, milliseconds: &str) -> Result<(), Failure> {
    let (threads, time) = (threads.parse()?, Duration::from_millis(milliseconds.parse()?));
    let (commits, taken) = match name {
        "redb" => redb(Path::new(file), threads, time)?,
        _ => return Err(format!("no store {name:?}; there is redb").into()),
    };
    println!("{commits} {}", taken.as_secs_f64());
    Ok(())
}

fn redb(file: &Path, threads: u64, time: Duration) -> Result<(u64, Duration), Failure> {
    let database = Database::create(file)?;
    let transaction = database.begin_write()?;
    {
        let mut table = transaction.open_table(TABLE)?;
        for key in 0..threads * KEYS {
            table.insert(key, [0; 64].as_slice())?;
        }
    }
    transaction.commit()?;
    let start = Barrier::new(threads as usize);
    let results: Vec<Result<(u64, u64, Duration), Failure>> = thread::scope(|scope| {
        let handles: Vec<_> = (0..threads)
            .map(|thread| {
                let (database, start) = (&database, &start);
                scope.spawn(move || {
                    let mut random = fastrand::Rng::with_seed(thread);
                    let (mut commits, mut last) = (0u64, 0);
                    start.wait();
                    let began = Instant::now();
                    while began.elapsed() < time {
                        last = thread * KEYS + random.u64(0..KEYS);
                        commits += 1;
                        let mut value = [0u8; 64];
                        value[..8].copy_from_slice(&commits.to_le_bytes());
                        let mut transaction = database.begin_write()?;
                        transaction.set_durability(Durability::Immediate)?;
                        transaction.open_table(TABLE)?.insert(last, value.as_slice())?;
                        transaction.commit()?;
                    }
                    Ok((commits, last, began.elapsed()))
                })
            })
            .collect();
        handles.into_iter().map(|handle| handle.join().expect("no panic")).collect()
    });
    let (mut all, mut longest) = (0, Duration::ZERO);
    let transaction = database.begin_read()?;
    let table = transaction.open_table(TABLE)?;
    for result in results {
        let (commits, last, taken) = result?;
        let value = table.get(last)?.ok_or("a key is missing")?;
        if value.value()[..8] != commits.to_le_bytes() {
            return Err("a value is not the last one".into());
        }
        all += commits;
        longest = longest.max(taken);
    }
    Ok((all, longest))
}
