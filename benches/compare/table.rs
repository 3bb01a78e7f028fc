//! The results for a terminal.

use super::{
    results::{Clock, Cost, Outcome, Panel, Results, Row},
    statistics::{Summary, median, quantile},
};
use std::fmt;

/// Shows results.
pub struct Table<'r>(pub &'r Results);

/// Nanoseconds in a unit that suits them.
pub fn time(nanoseconds: f64) -> String {
    match nanoseconds {
        ..10.0 => format!("{nanoseconds:.1} ns"),
        ..10_000.0 => format!("{nanoseconds:.0} ns"),
        ..1e6 => format!("{:.1} us", nanoseconds / 1e3),
        ..1e9 => format!("{:.2} ms", nanoseconds / 1e6),
        _ => format!("{:.2} s", nanoseconds / 1e9),
    }
}

/// Date and time of so many seconds since 1970, in UTC. They may come from a file: of what is no time, the number.
pub fn date(seconds: u64) -> String {
    let timestamp =
        i64::try_from(seconds).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    timestamp.map_or_else(
        || format!("{seconds} s after 1970 began"),
        |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
    )
}

/// A count of lines or drains for one operation.
pub fn count(number: f64) -> String {
    let text = format!("{number:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Lines and drains, and syncs where there are any.
pub fn cost(cost: Option<Cost>) -> String {
    match cost {
        None => "-".into(),
        Some(Cost { lines, drains, syncs }) if syncs > 0.0 => {
            format!("{} / {} / {}", count(lines), count(drains), count(syncs))
        }
        Some(Cost { lines, drains, .. }) => format!("{} / {}", count(lines), count(drains)),
    }
}

/// Latencies' quantiles.
pub fn quantiles(latencies: &[u64]) -> Option<[f64; 3]> {
    let times: Vec<f64> = latencies.iter().map(|ns| *ns as f64).collect();
    (!times.is_empty()).then(|| [0.5, 0.99, 1.0].map(|share| quantile(&times, share)))
}

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Results { machine, run, limits, panels, traces, .. } = self.0;
        writeln!(f, "{}, {} CPUs, {} {}", machine.cpu, machine.cpus, machine.system, machine.kernel)?;
        writeln!(f, "{} in {}, lines by {}", machine.medium, machine.folder, machine.flush)?;
        writeln!(f, "{} rounds ({}), {}, {:.0} s", run.rounds, run.scale, date(run.began), run.seconds)?;
        if !run.optimised {
            writeln!(f, "NOT OPTIMISED: these times mean nothing; cargo run --release")?;
        }
        for doubt in doubts(self.0) {
            writeln!(f, "{doubt}")?;
        }
        for (what, ns) in limits.named() {
            writeln!(f, "  limit: {what}: {}", time(ns))?;
        }
        for panel in panels {
            show(f, panel)?;
        }
        if !traces.is_empty() {
            writeln!(f, "\nOver time: the slowest of all operations, one by one")?;
        }
        for trace in traces {
            let longest = trace.intervals.iter().map(|interval| interval.longest_ns).max().unwrap_or(0);
            let operations = trace.operations * trace.intervals.len() as u64;
            let (what, variant) = (&trace.what, trace.variant.name());
            writeln!(f, "  {}, {variant} {what}: {} of {operations}", trace.workload, time(longest as f64))?;
        }
        Ok(())
    }
}

fn show(f: &mut fmt::Formatter<'_>, panel: &Panel) -> fmt::Result {
    writeln!(f, "\n{}: {} ({})", panel.group, panel.title(), panel.place)?;
    writeln!(f, "  {}", panel.operation)?;
    let (head, other) = match panel.clock {
        Clock::Cpu => ("CPU time", "clock"),
        Clock::Wall => ("clock", "CPU time"),
    };
    writeln!(
        f,
        "  {:<40} {:>9} {:>8} {:>9} {:>9} {:>9} {:>9}  lines / drains (/ syncs)",
        "", head, "spread", other, "p50", "p99", "max"
    )?;
    let mut absent: Vec<(&str, Vec<String>)> = Vec::new();
    for row in &panel.rows {
        match &row.outcome {
            Outcome::NotRun(why) => match absent.iter_mut().find(|(reason, _)| *reason == why.as_str()) {
                Some((_, names)) => names.push(row.name()),
                None => absent.push((why.as_str(), vec![row.name()])),
            },
            Outcome::Failed(why) => writeln!(f, "  {:<40} FAILED: {why}", row.name())?,
            Outcome::Measured(_) => writeln!(f, "  {}", line(row, panel.clock))?,
        }
    }
    for (why, names) in absent {
        writeln!(f, "  not run: {} ({why})", names.join(", "))?;
    }
    Ok(())
}

fn line(row: &Row, clock: Clock) -> String {
    let measured = row.measured().expect("it was measured");
    let summary = Summary::of(measured.samples(clock));
    let other = match clock {
        Clock::Cpu => Some(measured.wall_ns.as_slice()),
        Clock::Wall => measured.cpu_ns.as_deref(),
    };
    let other = other.map_or("-".into(), |samples| time(median(samples)));
    let [p50, p99, max] =
        quantiles(&measured.latencies_ns).map_or_else(|| ["-"; 3].map(String::from), |times| times.map(time));
    format!(
        "{:<40} {:>9} {:>7.1}% {other:>9} {p50:>9} {p99:>9} {max:>9}  {}",
        row.name(),
        time(summary.median),
        summary.spread(),
        cost(measured.cost)
    )
}

/// What speaks against believing the figures: for tables and pages.
pub fn doubts(results: &Results) -> Vec<String> {
    let all = |samples: fn(&super::control::Controls) -> &Vec<f64>| {
        results.panels.iter().flat_map(|panel| samples(&panel.controls).iter().copied()).collect::<Vec<f64>>()
    };
    let mut doubts = Vec::new();
    let shares = all(|controls| &controls.cpu_share);
    let had = if shares.is_empty() { 1.0 } else { quantile(&shares, 0.1) };
    if had < 0.95 {
        doubts.push(format!(
            "the machine was busy: in a tenth of the rounds the control loops had a CPU for less than {:.0} % of their time",
            had * 100.0
        ));
    }
    for (what, samples) in [
        ("arithmetic", all(|controls| &controls.arithmetic_ns)),
        ("memory", all(|controls| &controls.memory_ns)),
    ] {
        let summary = Summary::of(&samples);
        if summary.spread() > 10.0 {
            doubts.push(format!(
                "the control loop of {what}, which never changes, varied by {:.0} % about its median",
                summary.spread()
            ));
        }
    }
    doubts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_began_at_a_date() {
        assert_eq!(date(1_735_689_599), "2024-12-31 23:59:59 UTC");
        assert_eq!(date(u64::MAX), format!("{} s after 1970 began", u64::MAX));
    }

    #[test]
    fn times_are_shown_in_a_unit_that_suits_them() {
        let shown = [3.24, 219.4, 12_345.0, 2_500_000.0, 3e9].map(time);
        assert_eq!(shown, ["3.2 ns", "219 ns", "12.3 us", "2.50 ms", "3.00 s"]);
        assert_eq!([1.0, 1.02, 0.0, 18.5].map(count), ["1", "1.02", "0", "18.5"]);
    }
}
