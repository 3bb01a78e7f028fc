//! What is faster or slower in one run than in another, beyond noise.
//!
//! A row counts as changed if all of this holds:
//!
//! 1. its rounds differ in rank by Mann and Whitney's test, among all rows at a false discovery rate of 5 % (Benjamini and
//!    Hochberg), for with two hundred rows one in a hundred is found by chance alone;
//! 2. the medians differ by more than 5 %;
//! 3. they differ by 5 % more than the control loops beside them, which are the same code in both runs: what the controls lost,
//!    the machine lost.
//!
//! Rounds of one run have their place in memory and their neighbours in common, so two runs of one program differ by more than
//! the rounds do. Repeat both runs before believing a change of less than a tenth.

use super::{
    control::Controls,
    results::{Clock, Measured, Panel, Results, Row},
    statistics::{believable, median, rank_test},
    table::time,
};
use std::fmt;

/// Changes that are smaller are none.
pub const LEAST: f64 = 1.05;
/// The share of false findings among all.
pub const RATE: f64 = 0.05;

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It takes less time.
    Faster,
    /// It takes more.
    Slower,
    /// Nothing that can be told from noise.
    None,
}

/// A row in both runs.
#[derive(Clone, Debug)]
pub struct Compared {
    /// The panel's group and title, and the row's name.
    pub name: String,
    /// The medians: nanoseconds of an operation.
    pub old: f64,
    /// The same.
    pub new: f64,
    /// How probable so large a difference in rank is if nothing changed.
    pub probability: f64,
    /// By which factor the controls changed: the least and the most.
    pub machine: (f64, f64),
    /// The verdict.
    pub change: Change,
    /// Lines and drains, if they are others now: that is exact, and no noise.
    pub cost: Option<String>,
}

impl Compared {
    /// The new time over the old one.
    pub fn ratio(&self) -> f64 {
        self.new / self.old
    }
}

/// Two runs.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Rows that are in both.
    pub rows: Vec<Compared>,
    /// Rows that were measured in one alone.
    pub unmatched: Vec<String>,
    /// What speaks against comparing them at all.
    pub doubts: Vec<String>,
}

/// Compares two runs.
pub fn compare(old: &Results, new: &Results) -> Comparison {
    let mut rows = Vec::new();
    let mut unmatched = Vec::new();
    let new_rows = all(new);
    let mut found = vec![false; new_rows.len()];
    for (name, panel, measured) in all(old) {
        match new_rows.iter().position(|(other, ..)| *other == name) {
            None => unmatched.push(format!("{name}: in the old run alone")),
            Some(at) => {
                found[at] = true;
                let (_, new_panel, new_measured) = &new_rows[at];
                rows.push(pair(name, (panel, measured), (new_panel, new_measured)));
            }
        }
    }
    let alone = new_rows.iter().zip(found).filter(|(_, found)| !found);
    unmatched.extend(alone.map(|((name, ..), _)| format!("{name}: in the new run alone")));
    let limit = believable(rows.iter().map(|row| row.probability).collect(), RATE);
    for row in &mut rows {
        let (least, most) = row.machine;
        row.change = match row.ratio() {
            _ if row.probability > limit => Change::None,
            ratio if ratio > LEAST * most.max(1.0) => Change::Slower,
            ratio if ratio * LEAST < least.min(1.0) => Change::Faster,
            _ => Change::None,
        };
    }
    rows.sort_by(|a, b| b.ratio().total_cmp(&a.ratio()));
    Comparison { rows, unmatched, doubts: doubts(old, new) }
}

/// All measured rows by name. A name that comes again is numbered.
fn all(results: &Results) -> Vec<(String, &Panel, &Measured)> {
    let mut rows: Vec<(String, &Panel, &Measured)> = Vec::new();
    let of = |panel: &Panel, row: &Row| format!("{}: {}: {}", panel.group, panel.title(), row.name());
    for panel in &results.panels {
        for row in &panel.rows {
            let Some(measured) = row.measured() else { continue };
            let name = of(panel, row);
            let before =
                rows.iter().filter(|(other, ..)| other.split(" #").next() == Some(name.as_str())).count();
            rows.push((if before == 0 { name } else { format!("{name} #{}", before + 1) }, panel, measured));
        }
    }
    rows
}

fn pair(name: String, old: (&Panel, &Measured), new: (&Panel, &Measured)) -> Compared {
    let clock = if old.0.clock == new.0.clock { old.0.clock } else { Clock::Wall };
    let (old_ns, new_ns) = (old.1.samples(clock), new.1.samples(clock));
    let ratios = [
        |controls: &Controls| median(&controls.arithmetic_ns),
        |controls: &Controls| median(&controls.memory_ns),
    ]
    .map(|of| of(&new.0.controls) / of(&old.0.controls));
    let is_ratio = ratios.iter().all(|ratio| ratio.is_finite());
    let machine = if is_ratio { (ratios[0].min(ratios[1]), ratios[0].max(ratios[1])) } else { (1.0, 1.0) };
    let cost = match (old.1.cost, new.1.cost) {
        (Some(a), Some(b)) if differ(a.lines, b.lines) || differ(a.drains, b.drains) => {
            let show = |cost| super::table::cost(Some(cost));
            Some(format!("lines / drains {} -> {}", show(a), show(b)))
        }
        _ => None,
    };
    Compared {
        name,
        old: median(old_ns),
        new: median(new_ns),
        probability: rank_test(old_ns, new_ns),
        machine,
        change: Change::None,
        cost,
    }
}

/// Averages over random operations vary in the second digit after the point.
fn differ(a: f64, b: f64) -> bool {
    (a - b).abs() > 0.02_f64.max(0.02 * a)
}

fn doubts(old: &Results, new: &Results) -> Vec<String> {
    let mut doubts = Vec::new();
    let mut differs = |what: &str, a: &str, b: &str| {
        if a != b {
            doubts.push(format!("{what}: {a} then, {b} now"));
        }
    };
    let (a, b) = (&old.machine, &new.machine);
    differs("the CPU is another one", &a.cpu, &b.cpu);
    differs("the number of CPUs differs", &a.cpus.to_string(), &b.cpus.to_string());
    differs("the kernel is another one", &a.kernel, &b.kernel);
    differs("the medium is another one", &a.medium, &b.medium);
    differs("lines are flushed otherwise", &a.flush, &b.flush);
    differs("the scale is another one", &old.run.scale, &new.run.scale);
    for (which, results) in [("old", old), ("new", new)] {
        doubts.extend(super::table::doubts(results).into_iter().map(|doubt| format!("{which} run: {doubt}")));
        if !results.run.optimised {
            doubts.push(format!("{which} run: not optimised, its times mean nothing"));
        }
        if results.run.rounds < 9 {
            doubts.push(format!(
                "{which} run: {} rounds, too few to tell a change from noise",
                results.run.rounds
            ));
        }
    }
    doubts
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for doubt in &self.doubts {
            writeln!(f, "doubt: {doubt}")?;
        }
        for (change, head) in [(Change::Slower, "Slower"), (Change::Faster, "Faster")] {
            let rows: Vec<&Compared> = self.rows.iter().filter(|row| row.change == change).collect();
            writeln!(f, "{head}: {} of {}", rows.len(), self.rows.len())?;
            for row in rows {
                let Compared { name, old, new, probability, machine, .. } = row;
                writeln!(
                    f,
                    "  {:.2}x  {} -> {}  {name}  (p = {probability:.1e}; controls {:.2}x to {:.2}x)",
                    row.ratio(),
                    time(*old),
                    time(*new),
                    machine.0,
                    machine.1
                )?;
            }
        }
        let costs: Vec<_> =
            self.rows.iter().filter_map(|row| Some((&row.name, row.cost.as_ref()?))).collect();
        if !costs.is_empty() {
            writeln!(f, "Other lines or drains, which is no noise: {}", costs.len())?;
            costs.iter().try_for_each(|(name, cost)| writeln!(f, "  {name}: {cost}"))?;
        }
        for row in &self.unmatched {
            writeln!(f, "not compared: {row}")?;
        }
        writeln!(
            f,
            "Method: Mann-Whitney rank test of the rounds, {:.0} % false discoveries (Benjamini-Hochberg); medians more than {:.0} % \
             apart, and that beyond what the control loops changed.",
            RATE * 100.0,
            (LEAST - 1.0) * 100.0
        )
    }
}
