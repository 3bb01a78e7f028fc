//! Rows that can be compared: measured in turn, round after round, so that all of them see the same machine.
//!
//! Criterion measures one row after the other, and half a minute lies between the first and the last: on a shared
//! machine that is enough to make a ratio meaningless. So the closing tables come from here. A row's time is the
//! median over the rounds; a ratio is the median of the rounds' ratios.

use crate::{
    cpu_time::{self, CpuTime},
    stream::WorkingSet,
};
use criterion::Criterion;
use pmem_map::Counters;
use std::time::Duration;

/// Operations that can be repeated.
pub trait Work {
    /// Does so many.
    fn run(&mut self, operations: u64);
    /// Lines and drains so far.
    fn counters(&self) -> Counters;
    /// Panics unless what all the operations wrote is there.
    fn verify(self: Box<Self>);
}

/// A row of a table.
pub struct Row {
    /// What is done.
    pub what: String,
    /// To what.
    pub set: WorkingSet,
    make: Box<dyn Fn() -> Box<dyn Work>>,
}

impl Row {
    /// `make` sets up a new place for the work.
    pub fn new(what: &str, set: WorkingSet, make: impl Fn() -> Box<dyn Work> + 'static) -> Row {
        Row { what: what.to_owned(), set, make: Box::new(make) }
    }

    /// A new place for the work.
    pub fn work(&self) -> Box<dyn Work> {
        (self.make)()
    }

    /// What criterion's filter matches.
    pub fn id(&self) -> String {
        format!("{}, {}", self.what, self.set.name)
    }
}

/// A measured row.
pub struct Measured {
    /// As the row's.
    pub what: String,
    /// As the row's.
    pub set: &'static str,
    /// Cache lines flushed or written past the caches, for one operation.
    pub lines: f64,
    /// Drains for one operation.
    pub drains: f64,
    /// Nanoseconds of CPU time for one operation, by round.
    rounds: Vec<f64>,
}

impl Measured {
    /// Nanoseconds of CPU time for one operation: the median.
    pub fn nanoseconds(&self) -> f64 {
        median(self.rounds.clone())
    }

    /// How many times the other row's time it takes.
    pub fn over(&self, other: &Measured) -> f64 {
        median(self.rounds.iter().zip(&other.rounds).map(|(own, others)| own / others).collect())
    }
}

/// The middle one of the values, of which there is at least one.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Measures all rows in each of `rounds` rounds, and verifies what they wrote.
pub fn measure(rows: &[&Row], rounds: usize) -> Vec<Measured> {
    let mut works: Vec<_> = rows
        .iter()
        .map(|row| {
            let mut work = (row.make)();
            work.run(2000); // caches and branch predictors
            let probe = cpu_time::of(|| work.run(2000)) as f64 / 2000.0;
            let batch = (row.set.milliseconds as f64 * 1e6 / probe) as u64;
            (work, batch.max(100), Vec::new())
        })
        .collect();
    let before: Vec<_> = works.iter().map(|(work, ..)| work.counters()).collect();
    for _ in 0..rounds {
        for (work, batch, times) in &mut works {
            work.run(*batch / 20);
            times.push(cpu_time::of(|| work.run(*batch)) as f64 / *batch as f64);
        }
    }
    let mut measured = Vec::new();
    for ((row, before), (work, batch, times)) in rows.iter().zip(before).zip(works) {
        let spent = work.counters() - before;
        let operations = ((batch + batch / 20) * rounds as u64) as f64;
        work.verify();
        measured.push(Measured {
            what: row.what.clone(),
            set: row.set.name,
            lines: spent.lines() as f64 / operations,
            drains: spent.drains as f64 / operations,
            rounds: times,
        });
    }
    measured
}

/// Criterion as every bench has it: CPU time, a quarter of a second for each case, and the command line's wishes.
pub fn criterion() -> Criterion<CpuTime> {
    Criterion::default()
        .with_measurement(CpuTime)
        .sample_size(10)
        .warm_up_time(Duration::from_millis(50))
        .measurement_time(Duration::from_millis(200))
        .nresamples(2000)
        .configure_from_args()
}

/// Gives a row to criterion, and verifies what it wrote. Whether criterion's filter let it through.
pub fn bench(criterion: &mut Criterion<CpuTime>, row: &Row) -> bool {
    let mut work = None;
    criterion.bench_function(&row.id(), |bencher| {
        let work = work.get_or_insert_with(|| (row.make)());
        bencher.iter_custom(|operations| cpu_time::of(|| work.run(operations)));
    });
    work.map(Work::verify).is_some()
}
