//! A shell on a map from strings to strings in a pool: interactive, or fed with a script.
//!
//! ```text
//! kv_shell [FILE] < script        FILE is created if there is none; without one, the map is gone at the end
//!
//! put KEY VALUE     get KEY     del KEY     scan [FROM [TO]]
//! begin     commit     abort     stats     check     help     quit
//! ```
//!
//! A command is a durable transaction of its own, unless `begin` has opened one: then nothing is durable, and all can still be
//! undone, until `commit`. A script that met an error ends with status 1.

use pmem_collections::*;
use std::{
    error::Error as StdError,
    io::{self, BufRead, IsTerminal, Write as _},
    ops::Bound,
    path::Path,
    process::ExitCode,
};

const MAP: Named<PBTreeMap<String, String>> = Named::new("map");

const HELP: &str =
    "put KEY VALUE | get KEY | del KEY | scan [FROM [TO]] | begin | commit | abort | stats | check | quit";

struct Shell<'p> {
    pool: &'p Pool,
    /// What `begin` has opened.
    tx: Option<WriteTx<'p>>,
}

impl Shell<'_> {
    /// Runs one command; what it has to say. `None` ends the shell.
    fn run(&mut self, line: &str) -> Result<Option<String>, Box<dyn StdError>> {
        let (command, rest) = split(line);
        let answer = match (command, split(rest)) {
            ("" | "#", _) => String::new(),
            ("put", (key, value)) if !key.is_empty() => self.put(key, value)?,
            ("get", (key, "")) if !key.is_empty() => self.get(key)?,
            ("del", (key, "")) if !key.is_empty() => self.del(key)?,
            ("scan", (from, to)) => self.scan(from, to)?,
            ("begin", ("", "")) if self.tx.is_none() => {
                self.tx = Some(self.pool.begin()?);
                "begun".into()
            }
            ("begin", ("", "")) => return Err("a transaction is open already: commit or abort it".into()),
            ("commit", ("", "")) => {
                self.tx.take().ok_or("there is no transaction: begin one")?.commit()?;
                "durable".into()
            }
            ("abort", ("", "")) => {
                self.tx.take().ok_or("there is no transaction: begin one")?.abort();
                "nothing has happened".into()
            }
            ("stats", ("", "")) => self.stats()?,
            ("check", ("", "")) => self.check()?,
            ("help", _) => HELP.into(),
            ("quit" | "exit", _) => return Ok(None),
            _ => return Err(format!("not a command: {line:?}; {HELP}").into()),
        };
        Ok(Some(answer))
    }

    fn put(&self, key: &str, value: &str) -> Result<String> {
        let put = |tx: &WriteTx<'_>| Ok(tx.open(MAP)?.insert(key, value)?.is_some());
        Ok(if self.change(put)? { "replaced" } else { "new" }.into())
    }

    fn del(&self, key: &str) -> Result<String> {
        let del = |tx: &WriteTx<'_>| Ok(tx.open(MAP)?.remove(key)?.is_some());
        Ok(if self.change(del)? { "removed" } else { "(none)" }.into())
    }

    /// A change in the open transaction, or in one of its own.
    fn change<R>(&self, change: impl Fn(&WriteTx<'_>) -> Result<R>) -> Result<R> {
        match &self.tx {
            Some(tx) => change(tx),
            None => self.pool.write(|tx| change(tx)),
        }
    }

    fn get(&self, key: &str) -> Result<String> {
        let text = |value: Option<&str>| value.unwrap_or("(none)").to_string();
        match &self.tx {
            Some(tx) => Ok(text(tx.open(MAP)?.get(key)?)),
            None => Ok(text(self.pool.read()?.open(MAP)?.get(key)?)),
        }
    }

    fn scan(&self, from: &str, to: &str) -> Result<String> {
        match &self.tx {
            Some(tx) => list(&tx.open(MAP)?, from, to),
            None => list(&self.pool.read()?.open(MAP)?, from, to),
        }
    }

    fn stats(&self) -> Result<String, Box<dyn StdError>> {
        if self.tx.is_some() {
            return Err("commit or abort first: these are of what is committed".into());
        }
        let stats = self.pool.stats()?;
        let entries = self.pool.read()?.open(MAP)?.len();
        let spent = self.pool.region().counters();
        Ok(format!(
            "{entries} entries; {} of {} bytes used; {} lines and {} drains since it was opened",
            stats.used,
            stats.capacity,
            spent.lines(),
            spent.drains
        ))
    }

    fn check(&self) -> Result<String, Box<dyn StdError>> {
        if self.tx.is_some() {
            return Err("commit or abort first: what is committed is checked".into());
        }
        let report = self.pool.check()?;
        if !report.is_ok() {
            return Err(format!("the pool is damaged: {:?}", report.problems).into());
        }
        let summary = self.pool.read()?.open(MAP)?.check()?;
        Ok(format!("whole: {} entries in {} leaves", summary.entries, summary.leaves))
    }
}

/// The first word, and the rest.
fn split(line: &str) -> (&str, &str) {
    let line = line.trim();
    line.split_once(char::is_whitespace).map_or((line, ""), |(first, rest)| (first, rest.trim_start()))
}

/// Entries from one key to before another; either may be missing.
fn list<M: Mode>(map: &Guard<'_, PBTreeMap<String, String>, M>, from: &str, to: &str) -> Result<String> {
    let to = if to.is_empty() { Bound::Unbounded } else { Bound::Excluded(to) };
    let mut lines = Vec::new();
    for entry in map.range((Bound::Included(from), to))? {
        let (key, value) = entry?;
        lines.push(format!("{key} = {value}"));
    }
    Ok(if lines.is_empty() { "(none)".into() } else { lines.join("\n") })
}

fn open(path: Option<&Path>) -> Result<Pool> {
    let options = PoolOptions::new().layout("kv_shell").size(16 << 20);
    let Some(path) = path else { return Pool::anonymous(16 << 20) };
    // SAFETY: no other program changes the file; a second pool on it is refused by the lock.
    unsafe { if path.exists() { options.open(path) } else { options.create(path) } }
}

fn main() -> Result<ExitCode, Box<dyn StdError>> {
    let path = std::env::args_os().nth(1);
    let pool = open(path.as_deref().map(Path::new))?;
    pool.write(|tx| tx.open(MAP).map(drop))?;
    let interactive = io::stdin().is_terminal();
    let mut shell = Shell { pool: &pool, tx: None };
    let (mut failed, mut lines) = (false, io::stdin().lock().lines());
    loop {
        if interactive {
            print!("{} ", if shell.tx.is_some() { "tx>" } else { ">" });
            io::stdout().flush()?;
        }
        let Some(line) = lines.next() else { break };
        match shell.run(&line?) {
            Ok(None) => break,
            Ok(Some(answer)) if answer.is_empty() => {}
            Ok(Some(answer)) => println!("{answer}"),
            Err(error) => {
                println!("error: {error}");
                failed = true;
            }
        }
    }
    if shell.tx.take().is_some() {
        println!("the open transaction was rolled back");
    }
    drop(shell);
    pool.close()?;
    Ok(if failed && !interactive { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
