//! Would the explorations notice? Every store, flush and drain of an operation, left out in turn.
//!
//! A test that cannot fail proves nothing. So the program is broken on purpose, by a [`Fault`] in the mapping at a time, and
//! explored. Each source line of each operation has to be found missing from some state of the pool, or stand in a list,
//! with a proof that it is needed all the same. What nobody needs is to be taken out of the code.
//!
//! ```
//! use pmem_crash::{Exploration, Point, mutation::Table};
//! use pmem_map::{Error, Mapping};
//!
//! let mut table = Table::new("doc", "");
//! table.row("set", "fresh", |exploration: Exploration| {
//!     exploration.len(4096).run(
//!         |mut mapping, ops| {
//!             for n in 1..=2u8 {
//!                 ops.run("set", || {
//!                     mapping.write(64, &[n; 8])?;
//!                     mapping.persist(64..72)?;
//!                     mapping.write(0, &[n])?;
//!                     mapping.persist(0..1)
//!                 })?;
//!             }
//!             Ok::<(), Error>(())
//!         },
//!         Ok::<Mapping, Error>,
//!         |mapping, point: &Point<'_>| {
//!             let (n, data) = (mapping.as_slice()[0], mapping.as_slice()[64]);
//!             match point.range().contains(&n.into()) && data >= n {
//!                 true => Ok(()),
//!                 false => Err(format!("{n}, {data}")),
//!             }
//!         },
//!     )
//! });
//! table.finish(12); // two operations of two stores, two flushes and two drains: all found, or this panics
//! ```

use crate::{Config, Exploration, Fault, Report, Step, StepKind, Tear};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

/// Completes the exploration that it is given, and runs it.
type Explore<'a> = Box<dyn Fn(Exploration) -> Report + Sync + 'a>;

/// A structure's operations, of which each step is left out once.
///
/// With `PMEM_MUTATION=all` every step is, in every row; otherwise, which is much quicker, only as many as it takes until
/// each source line was found missing once. Work is shared among the processors.
pub struct Table<'a> {
    name: String,
    exceptions: Vec<Exception>,
    rows: Vec<Row<'a>>,
}

/// One operation, from one state of the pool.
struct Row<'a> {
    operation: String,
    state: String,
    explore: Explore<'a>,
    /// With their numbers.
    steps: Vec<(usize, Step)>,
}

/// A source line of one operation: kind, file, line.
type Site = (StepKind, &'static str, u32);

/// What became of the removals of a row, or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    stores: usize,
    flushes: usize,
    drains: usize,
    tried: usize,
    found: usize,
    /// Not found, but the same line was from another state.
    elsewhere: usize,
    /// Not found from any state, and excepted.
    excepted: usize,
    missed: usize,
}

impl Counts {
    fn of(steps: &[(usize, Step)]) -> Counts {
        let count = |kinds: &[StepKind]| steps.iter().filter(|(_, step)| kinds.contains(&step.kind)).count();
        Counts {
            stores: count(&[StepKind::Store, StepKind::StoreNontemporal]),
            flushes: count(&[StepKind::Flush]),
            drains: count(&[StepKind::Drain, StepKind::Sync]),
            ..Counts::default()
        }
    }

    /// Those that can be left out.
    fn steps(&self) -> usize {
        self.stores + self.flushes + self.drains
    }

    fn add(&mut self, other: &Counts) {
        self.stores += other.stores;
        self.flushes += other.flushes;
        self.drains += other.drains;
        self.tried += other.tried;
        self.found += other.found;
        self.elsewhere += other.elsewhere;
        self.excepted += other.excepted;
        self.missed += other.missed;
    }

    fn print(&self, name: &str, operation: &str, state: &str) {
        let Counts { stores, flushes, drains, tried, found, elsewhere, excepted, missed } = self;
        println!(
            "mutation | {name:<16} | {operation:<34} | {state:<32} | {stores:>5} stores {flushes:>5} flushes \
             {drains:>4} drains | {tried:>5} tried {found:>5} found {elsewhere:>4} elsewhere \
             {excepted:>3} harmless {missed:>2} missed",
        );
    }
}

/// A removal: row, and index of the step in the row.
type Place = (usize, usize);

/// What became of the removals at one site.
struct Tried {
    operation: String,
    site: Site,
    found: Vec<Place>,
    unfound: Vec<Place>,
}

/// A removal that is not found, and why the line is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Exception {
    kind: String,
    file: String,
    /// Only in this one, if there is one.
    operation: Option<String>,
    line: String,
    why: String,
}

impl Exception {
    /// Reads a list: for each, `KIND FILE` or `KIND FILE in OPERATION`, then, indented, the source line as it is, and
    /// `why: ` with the proof, which may go on in more indented lines. Lines that begin with `#` are remarks.
    fn parse(text: &str) -> Vec<Exception> {
        let mut exceptions: Vec<Exception> = Vec::new();
        for line in text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
            if !line.starts_with(' ') {
                let (site, operation) = match line.split_once(" in ") {
                    Some((site, operation)) => (site, Some(operation.to_owned())),
                    None => (line, None),
                };
                let (kind, file) =
                    site.rsplit_once(' ').unwrap_or_else(|| panic!("no kind and file: {line}"));
                let (kind, file) = (kind.trim().to_owned(), file.to_owned());
                exceptions.push(Exception { kind, file, operation, line: String::new(), why: String::new() });
                continue;
            }
            let last = exceptions.last_mut().unwrap_or_else(|| panic!("no kind and file before: {line}"));
            let line = line.trim();
            match line.strip_prefix("why: ") {
                Some(why) => last.why = why.to_owned(),
                None if last.line.is_empty() => last.line = line.to_owned(),
                None => last.why = format!("{} {line}", last.why),
            }
        }
        for exception in &exceptions {
            let Exception { line, why, .. } = exception;
            assert!(!line.is_empty() && why.len() > 20, "no line, or no proof: {exception:?}");
        }
        exceptions
    }

    fn is_about(&self, operation: &str, kind: StepKind, file: &str, source: &str) -> bool {
        self.operation.as_ref().is_none_or(|only| only == operation)
            && self.kind == kind.to_string()
            && self.file == file
            && self.line == source
    }
}

/// Few images: most removals are found by them.
fn quick(config: Config) -> Config {
    config.bound(64).samples(16).nested(8)
}

/// More, for those that were not.
fn thorough(config: Config) -> Config {
    config.bound(512).samples(128).nested(96).tear(Tear::EightBytes)
}

impl<'a> Table<'a> {
    /// A table of this name. `exceptions` lists, by source line, the removals that are not found, each with a proof that
    /// the line is needed all the same: the content of a file that is checked in.
    ///
    /// ```text
    /// flush pmem-tx/src/engine/log.rs in open
    ///     self.region.flush(at..at + 8)?;
    ///     why: the record of the same commit is drained with it, and ...
    /// ```
    ///
    /// # Panics
    ///
    /// When an exception has no line or no proof.
    pub fn new(name: &str, exceptions: &str) -> Table<'a> {
        Table { name: name.to_owned(), exceptions: Exception::parse(exceptions), rows: Vec::new() }
    }

    /// Adds one operation, from one state of the pool.
    ///
    /// `explore` completes the exploration that it is given, and runs it. Its workload has to be the same each time; it
    /// should look at what it did, as a user would, and go on after the operation with others (a lost flush may show only
    /// there). The steps that are left out are those in an [`Ops::run`](crate::Ops::run) with a label that
    /// is `operation`. Rows that show the most come first.
    pub fn row(
        &mut self,
        operation: impl Into<String>,
        state: impl Into<String>,
        explore: impl Fn(Exploration) -> Report + Sync + 'a,
    ) {
        let (operation, state) = (operation.into(), state.into());
        self.rows.push(Row { operation, state, explore: Box::new(explore), steps: Vec::new() });
    }

    /// Fills the table in and prints it. Passes if there were at least `minimum` steps to leave out (a number that is not
    /// to shrink), and every line of every operation was found missing, or is excepted, and every exception was needed.
    ///
    /// # Panics
    ///
    /// Otherwise, with what is wrong; and when an exploration without a fault fails.
    #[track_caller]
    pub fn finish(mut self, minimum: usize) {
        let all = match std::env::var("PMEM_MUTATION").as_deref() {
            Err(_) => false,
            Ok("all") => true,
            Ok(other) => panic!("PMEM_MUTATION={other}: only `all` means something"),
        };
        self.run_without_faults(all);
        let sites = self.sites();
        let tried =
            in_parallel(&sites, |(operation, site), places| self.leave_out(operation, *site, places, all));
        let mut counts: Vec<Counts> = self.rows.iter().map(|row| Counts::of(&row.steps)).collect();
        let (mut used, mut missed) = (BTreeSet::new(), Vec::new());
        for Tried { operation, site, found, unfound } in tried {
            let excepted = self.exception(&operation, site);
            for &(row, _) in &found {
                counts[row].tried += 1;
                counts[row].found += 1;
            }
            for &(row, _) in &unfound {
                counts[row].tried += 1;
                match (found.is_empty(), excepted) {
                    (false, _) => counts[row].elsewhere += 1,
                    (true, Some(exception)) => {
                        counts[row].excepted += 1;
                        used.insert(exception);
                    }
                    (true, None) => counts[row].missed += 1,
                }
            }
            if found.is_empty() && excepted.is_none() {
                let (kind, file, line) = site;
                missed.push(format!("{operation}: {kind} {file}:{line}\n      {}", source_line(file, line)));
            }
        }
        let mut totals = Counts::default();
        for (row, counts) in self.rows.iter().zip(&counts) {
            counts.print(&self.name, &row.operation, &row.state);
            totals.add(counts);
        }
        totals.print(&self.name, "in all", &format!("{} lines of operations", sites.len()));
        let steps = totals.steps();
        assert!(steps >= minimum, "{}: {steps} steps, there were {minimum}", self.name);
        let missed = missed.join("\n  ");
        assert!(missed.is_empty(), "{}: nothing notices that these are left out:\n  {missed}", self.name);
        let idle = self.exceptions.iter().enumerate().filter(|(index, _)| !used.contains(index));
        let idle: Vec<_> =
            idle.map(|(_, exception)| format!("{} {}", exception.file, exception.line)).collect();
        assert!(idle.is_empty(), "{}: exceptions that nothing needs:\n  {}", self.name, idle.join("\n  "));
    }

    /// Each row as it is: no failure, with the configurations that are used later. Finds the steps.
    fn run_without_faults(&mut self, all: bool) {
        let rows = (0..self.rows.len()).map(|index| (index, vec![(index, 0)]));
        let steps = in_parallel(&rows.collect(), |&index, _| {
            let row = &self.rows[index];
            if all {
                row.run(thorough, None).assert_ok();
            }
            let sound = row.run(quick, None);
            sound.assert_ok();
            let steps = sound.steps.into_iter().enumerate();
            let steps: Vec<_> = steps.filter(|(_, step)| *step.operation == *row.operation).collect();
            assert!(!steps.is_empty(), "{}, {}: no step could be left out", row.operation, row.state);
            (index, steps)
        });
        for (index, steps) in steps {
            self.rows[index].steps = steps;
        }
    }

    /// The source lines of each operation, and where they are reached: each row's first, before the others.
    fn sites(&self) -> BTreeMap<(String, Site), Vec<Place>> {
        let mut sites: BTreeMap<(String, Site), Vec<(usize, Place)>> = BTreeMap::new();
        for (index, row) in self.rows.iter().enumerate() {
            for (position, (_, step)) in row.steps.iter().enumerate() {
                let site = (step.kind, step.caller.file(), step.caller.line());
                let places = sites.entry((row.operation.clone(), site)).or_default();
                let turn = places.iter().filter(|(_, (other, _))| *other == index).count();
                places.push((turn, (index, position)));
            }
        }
        let in_turn = |mut places: Vec<(usize, Place)>| {
            places.sort();
            places.into_iter().map(|(_, place)| place).collect()
        };
        sites.into_iter().map(|(site, places)| (site, in_turn(places))).collect()
    }

    /// Leaves out the steps of one source line, until one was found; or all of them.
    fn leave_out(&self, operation: &str, site: Site, places: &[Place], all: bool) -> Tried {
        let (mut found, mut unfound) = (Vec::new(), Vec::new());
        // What is excepted was argued for. That it still is not found, the complete table shows.
        let argued = !all && self.exception(operation, site).is_some();
        let limit = if argued { 1 } else { places.len() };
        let configs: [fn(Config) -> Config; 2] = [quick, thorough];
        for config in &configs[..if argued { 1 } else { 2 }] {
            for &place in places.iter().take(limit) {
                let row = &self.rows[place.0];
                let number = row.steps[place.1].0;
                let report = row.run(*config, Some(Fault::Dropped(number)));
                if report.failures > 0 {
                    found.push(place);
                    unfound.retain(|other| *other != place);
                } else if !unfound.contains(&place) {
                    unfound.push(place);
                }
                if !found.is_empty() && !all {
                    break;
                }
            }
            if !found.is_empty() {
                break;
            }
        }
        Tried { operation: operation.to_owned(), site, found, unfound }
    }

    /// Which exception is about a site.
    fn exception(&self, operation: &str, (kind, file, line): Site) -> Option<usize> {
        let source = source_line(file, line);
        self.exceptions.iter().position(|exception| exception.is_about(operation, kind, file, &source))
    }
}

impl Row<'_> {
    fn run(&self, config: fn(Config) -> Config, fault: Option<Fault>) -> Report {
        let exploration = Exploration::new(format!("{}, {}", self.operation, self.state)).configure(config);
        (self.explore)(match fault {
            Some(fault) => exploration.fault(fault),
            None => exploration,
        })
    }
}

/// Does each job once, on all processors.
fn in_parallel<K: Sync, R: Send>(
    jobs: &BTreeMap<K, Vec<Place>>,
    work: impl Fn(&K, &[Place]) -> R + Sync,
) -> Vec<R> {
    let mut jobs: Vec<(&K, &Vec<Place>)> = jobs.iter().collect();
    jobs.sort_by_key(|(_, places)| std::cmp::Reverse(places.len()));
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some((key, places)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = work(key, places);
                    results.lock().unwrap_or_else(PoisonError::into_inner).push(result);
                }
            });
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Table<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table")
            .field("name", &self.name)
            .field("rows", &self.rows.len())
            .finish_non_exhaustive()
    }
}

/// A source line, trimmed.
fn source_line(file: &str, line: u32) -> String {
    // Paths are relative to the workspace; tests run in the folder of their package.
    let here = std::env::current_dir().unwrap_or_default();
    let text = here.ancestors().find_map(|folder| fs::read_to_string(folder.join(Path::new(file))).ok());
    let line_of = |text: String| text.lines().nth(line as usize - 1).map(|line| line.trim().to_owned());
    text.and_then(line_of).unwrap_or_else(|| format!("(no source: {file}:{line})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exception_is_kind_file_line_and_proof() {
        let text = "# remark\nflush a/b.rs in open it\n    region.flush(x);\n    why: it is drained with\n    the next\n\n\
                    store past the caches c.rs\n  s();\n  why: nobody reads it before it is set\n";
        let exceptions = Exception::parse(text);
        assert_eq!(exceptions.len(), 2);
        assert_eq!(exceptions[0].why, "it is drained with the next");
        assert_eq!(exceptions[0].operation.as_deref(), Some("open it"));
        assert!(exceptions[0].is_about("open it", StepKind::Flush, "a/b.rs", "region.flush(x);"));
        assert!(!exceptions[0].is_about("open", StepKind::Flush, "a/b.rs", "region.flush(x);"));
        assert_eq!((&*exceptions[1].kind, &*exceptions[1].file), ("store past the caches", "c.rs"));
    }

    #[test]
    #[should_panic(expected = "no proof")]
    fn an_exception_without_a_proof_is_refused() {
        Exception::parse("flush a/b.rs\n    region.flush(x);\n");
    }
}
