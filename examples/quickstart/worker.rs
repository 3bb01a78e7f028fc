//! The process that is killed: indexes one file per transaction, round after round.

use crate::{
    Result,
    corpus::{Corpus, File},
    hold::{Hold, Holder},
    index::{self, FILES},
    messages::Message,
};
use pmem_collections::Pool;
use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::Path,
    sync::Arc,
    time::Instant,
};

/// Works until it is killed, or, to `finish`, until all files are in the same round. Which files is read from
/// standard input; messages go to standard output. Stands still in a commit, if told so.
pub(crate) fn run(path: &Path, root: &Path, finish: bool, mut hold: Option<Hold>) -> Result<()> {
    let files = Corpus::read_names(io::stdin())?;
    let pool = index::open(path)?;
    let holder = Arc::new(Holder::default());
    if hold.is_some() && pool.region().observe(holder.clone()).is_err() {
        return Err("the pool is observed already".into());
    }
    let mut rounds = rounds(&pool)?;
    loop {
        let newest = rounds.values().copied().max().unwrap_or(1);
        let late = |id: &u32| rounds.get(id).is_none_or(|round| *round < newest);
        let mut todo: Vec<u32> = (0..files.len() as u32).filter(late).collect();
        let mut round = newest;
        if todo.is_empty() {
            if finish {
                break;
            }
            todo = (0..files.len() as u32).collect();
            round += 1;
        }
        for id in todo {
            let events = match &mut hold {
                Some(Hold { commits: 0, events }) => *events,
                Some(hold) => {
                    hold.commits -= 1;
                    0
                }
                None => 0,
            };
            replace(&pool, root, id, &files[id as usize], round, || holder.arm(events))?;
            rounds.insert(id, round);
        }
    }
    say(Message::Closing)?;
    pool.close()?;
    Ok(())
}

/// How often each file in the index has been indexed: where the life before this one came to.
fn rounds(pool: &Pool) -> Result<BTreeMap<u32, u32>> {
    let tx = pool.read()?;
    let files = tx.open(FILES)?;
    Ok(files.iter().map(|item| item.map(|(id, entry)| (*id, entry.round))).collect::<Result<_, _>>()?)
}

/// One file, one transaction. `committing` is called right before the commit.
fn replace(
    pool: &Pool,
    root: &Path,
    id: u32,
    file: &File,
    round: u32,
    committing: impl FnOnce(),
) -> Result<()> {
    let text = file.read(root)?;
    let before = pool.region().counters();
    say(Message::Working { file: id, round })?;
    let tx = pool.begin()?;
    index::put(&tx, id, file, &text, round)?;
    say(Message::Committing { file: id, round })?;
    committing();
    let start = Instant::now();
    tx.commit()?;
    let nanoseconds = start.elapsed().as_nanos() as u64;
    let spent = pool.region().counters() - before;
    say(Message::Committed { file: id, round, lines: spent.lines(), drains: spent.drains, nanoseconds })?;
    Ok(())
}

fn say(message: Message) -> io::Result<()> {
    let line = format!("{message}\n");
    let mut out = io::stdout().lock();
    out.write_all(line.as_bytes())?;
    out.flush()
}
