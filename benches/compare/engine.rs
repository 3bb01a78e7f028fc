//! Measures a panel: its rows take turns, round after round, so that all of them see the same machine.
//!
//! Each row runs a twentieth of its operations before each batch, for the row before it left the caches full of other
//! bytes; then the batch is timed as a whole, and some more operations one by one. Before every round the control loops run.

use super::{
    Outcome,
    control::{Control, Controls},
    results::{self, Cost, Measured},
    statistics::thousandths,
    subject::Subject,
    variant::Variant,
};
use pmem_map::Counters;

/// Makes a subject.
pub type Make = Box<dyn FnOnce() -> Outcome<Box<dyn Subject>>>;

/// A row that is to be measured.
pub struct RowPlan {
    /// How it makes changes durable.
    pub variant: Variant,
    /// With what.
    pub what: String,
    /// What is there after a crash; empty: what the variant promises.
    pub promise: String,
    /// Version and settings, of a peer.
    pub settings: Option<String>,
    /// The subject, or why there is none.
    pub make: Result<Make, String>,
}

impl RowPlan {
    /// A row of that variant.
    pub fn new<S: Subject + 'static>(
        variant: Variant,
        what: &str,
        make: impl FnOnce() -> Outcome<S> + 'static,
    ) -> RowPlan {
        let make: Make = Box::new(move || Ok(Box::new(make()?)));
        RowPlan { variant, what: what.to_owned(), promise: String::new(), settings: None, make: Ok(make) }
    }

    /// With a promise of its own.
    pub fn promise(mut self, promise: &str) -> RowPlan {
        self.promise = promise.to_owned();
        self
    }
}

/// Rows that are to be measured side by side. As [`results::Panel`].
#[allow(missing_docs, reason = "as the results' fields")]
pub struct PanelPlan {
    pub group: &'static str,
    pub workload: String,
    pub operation: &'static str,
    pub place: String,
    pub set: String,
    pub bytes: Option<u64>,
    pub entries: Option<u64>,
    pub threads: u64,
    pub ranges: Option<u64>,
    pub distribution: Option<&'static str>,
    /// Whether rows wait for a device.
    pub waits: bool,
    /// Operations of each row in a round.
    pub operations: u64,
    pub rows: Vec<RowPlan>,
}

/// How much is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Effort {
    /// Rounds of a panel.
    pub rounds: u64,
    /// Operations of a row, in a round, that are timed one by one.
    pub latencies: u64,
    /// Nanoseconds that a batch of a row may take: a slower one has fewer operations.
    pub longest_batch: u64,
}

struct Live {
    subject: Box<dyn Subject>,
    operations: u64,
    measured: Measured,
    cpu: Option<Vec<f64>>,
    spent: Counters,
}

impl Live {
    fn start(make: Make, operations: u64, effort: Effort) -> Outcome<Live> {
        let mut subject = make()?;
        // Fills caches, indexes and the branch predictor, and shows how long a batch will take.
        let probe = (operations / 10).clamp(1, 1000);
        subject.prepare(probe)?;
        let each = subject.batch(probe)?.wall / probe;
        let operations = operations.min(effort.longest_batch / each.max(1)).max(1);
        let measured =
            Measured { operations, wall_ns: Vec::new(), cpu_ns: None, latencies_ns: Vec::new(), cost: None };
        Ok(Live { subject, operations, measured, cpu: Some(Vec::new()), spent: Counters::default() })
    }

    fn round(&mut self, effort: Effort) -> Outcome<()> {
        let warm = self.operations / 20;
        if warm > 0 {
            self.subject.prepare(warm)?;
            self.subject.batch(warm)?;
        }
        self.subject.prepare(self.operations)?;
        let before = self.subject.counters();
        let timing = self.subject.batch(self.operations)?;
        if let (Some(before), Some(after)) = (before, self.subject.counters()) {
            self.spent = sum(self.spent, after - before);
        }
        let each = |nanoseconds: u64| thousandths(nanoseconds as f64 / self.operations as f64);
        self.measured.wall_ns.push(each(timing.wall));
        match (&mut self.cpu, timing.cpu) {
            (Some(samples), Some(cpu)) => samples.push(each(cpu)),
            _ => self.cpu = None,
        }
        let count = effort.latencies.min(self.operations);
        self.subject.prepare(count)?;
        self.measured.latencies_ns.extend(self.subject.latencies(count)?);
        Ok(())
    }

    fn finish(self) -> Outcome<Measured> {
        let Live { subject, operations, mut measured, cpu, spent } = self;
        if subject.counters().is_some() {
            let all = (operations * measured.wall_ns.len() as u64) as f64;
            let average = |count: u64| if count == 0 { 0.0 } else { thousandths(count as f64 / all) };
            measured.cost = Some(Cost {
                lines: average(spent.lines()),
                drains: average(spent.drains),
                syncs: average(spent.syncs),
            });
        }
        measured.cpu_ns = cpu;
        subject.finish()?;
        Ok(measured)
    }
}

fn sum(a: Counters, b: Counters) -> Counters {
    Counters {
        lines_flushed: a.lines_flushed + b.lines_flushed,
        lines_nontemporal: a.lines_nontemporal + b.lines_nontemporal,
        bytes_nontemporal: a.bytes_nontemporal + b.bytes_nontemporal,
        drains: a.drains + b.drains,
        syncs: a.syncs + b.syncs,
    }
}

/// Measures a panel, and checks what its rows wrote. A row that fails does not take the others with it.
pub fn measure(panel: PanelPlan, effort: Effort, control: &mut Control) -> results::Panel {
    let mut rows: Vec<(results::Row, Option<Live>)> = Vec::new();
    for plan in panel.rows {
        let started = match plan.make {
            Ok(make) => Live::start(make, panel.operations, effort)
                .map_err(|error| results::Outcome::Failed(error.to_string())),
            Err(why) => Err(results::Outcome::NotRun(why)),
        };
        let (outcome, live) = match started {
            Ok(live) => (results::Outcome::NotRun(String::new()), Some(live)),
            Err(outcome) => (outcome, None),
        };
        let promise = if plan.promise.is_empty() { plan.variant.promise().to_owned() } else { plan.promise };
        let (variant, what, settings) = (plan.variant, plan.what, plan.settings);
        rows.push((results::Row { variant, what, promise, settings, outcome }, live));
    }
    let mut controls = Controls::default();
    for _ in 0..effort.rounds {
        control.round(&mut controls);
        for (row, live) in &mut rows {
            let Some(running) = live else { continue };
            if let Err(error) = running.round(effort) {
                row.outcome = results::Outcome::Failed(error.to_string());
                *live = None;
            }
        }
    }
    for (row, live) in &mut rows {
        if let Some(live) = live.take() {
            row.outcome = match live.finish() {
                Ok(measured) => results::Outcome::Measured(measured),
                Err(error) => results::Outcome::Failed(error.to_string()),
            };
        }
    }
    let rows: Vec<results::Row> = rows.into_iter().map(|(row, _)| row).collect();
    let has_cpu_time =
        rows.iter().filter_map(results::Row::measured).all(|measured| measured.cpu_ns.is_some());
    // What another process does is told by the clock: its CPU time has threads in it that nobody waited for.
    let is_elsewhere = rows.iter().any(|row| row.variant == Variant::Peer && row.measured().is_some());
    let is_cpu = panel.threads == 1 && !panel.waits && has_cpu_time && !is_elsewhere;
    results::Panel {
        clock: if is_cpu { results::Clock::Cpu } else { results::Clock::Wall },
        group: panel.group.to_owned(),
        workload: panel.workload,
        operation: panel.operation.to_owned(),
        place: panel.place,
        set: panel.set,
        bytes: panel.bytes,
        entries: panel.entries,
        threads: panel.threads,
        ranges: panel.ranges,
        distribution: panel.distribution.map(str::to_owned),
        controls,
        rows,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::subject::Timing;
    use std::{cell::RefCell, rc::Rc};

    /// Notes when its batches run; each operation takes 10 ns, a line and two drains.
    struct Noted(char, Rc<RefCell<String>>, u64);

    impl Subject for Noted {
        fn batch(&mut self, operations: u64) -> Outcome<Timing> {
            if operations == 100 {
                self.1.borrow_mut().push(self.0);
            }
            self.2 += operations;
            Ok(Timing { wall: operations * 10, cpu: Some(operations * 9) })
        }
        fn latencies(&mut self, operations: u64) -> Outcome<Vec<u64>> {
            self.2 += operations;
            Ok(vec![11; operations as usize])
        }
        fn counters(&self) -> Option<Counters> {
            Some(Counters { lines_flushed: self.2, drains: 2 * self.2, ..Counters::default() })
        }
        fn finish(self: Box<Self>) -> Outcome<()> {
            if self.0 == 'c' { Err("found what was not written".into()) } else { Ok(()) }
        }
    }

    #[test]
    fn rows_take_turns_and_one_that_fails_does_not_stop_the_others() {
        let order = Rc::new(RefCell::new(String::new()));
        let row = |name: char| {
            let order = order.clone();
            RowPlan::new(Variant::Redo, &name.to_string(), move || Ok(Noted(name, order, 0)))
        };
        let absent = RowPlan { make: Err("not asked for".into()), ..row('d') };
        let rows = vec![row('a'), row('b'), row('c'), absent];
        let panel = PanelPlan {
            group: "test",
            workload: "none".into(),
            operation: "none",
            place: "nowhere".into(),
            set: "nothing".into(),
            bytes: None,
            entries: None,
            threads: 1,
            ranges: None,
            distribution: None,
            waits: false,
            operations: 100,
            rows,
        };
        let effort = Effort { rounds: 3, latencies: 5, longest_batch: 1_000_000 };
        let panel = measure(panel, effort, &mut Control::new(100));
        assert_eq!(order.borrow().as_str(), "abcabcabc");
        let measured = panel.rows[1].measured().unwrap();
        assert_eq!(measured.wall_ns, [10.0; 3]);
        assert_eq!(panel.clock, results::Clock::Cpu);
        assert_eq!(measured.cpu_ns, Some(vec![9.0; 3]));
        assert_eq!(measured.latencies_ns, [11; 15]);
        assert_eq!(measured.cost, Some(Cost { lines: 1.0, drains: 2.0, syncs: 0.0 }));
        assert_eq!(panel.rows[2].outcome, results::Outcome::Failed("found what was not written".into()));
        assert_eq!(panel.rows[3].outcome, results::Outcome::NotRun("not asked for".into()));
        assert_eq!(panel.controls.memory_ns.len(), 3);
    }

    #[test]
    fn a_slow_row_has_fewer_operations_in_a_batch() {
        let order = Rc::new(RefCell::new(String::new()));
        let make: Make = Box::new(move || Ok(Box::new(Noted('a', order, 0))));
        let live = Live::start(make, 100, Effort { rounds: 1, latencies: 1, longest_batch: 500 }).unwrap();
        assert_eq!(live.operations, 50);
    }
}
