//! The numbers behind the plots, and the machine.

use super::escape;
use crate::compare::{
    results::{Outcome, Panel, Results},
    statistics::{Summary, median},
    table::{cost, date, quantiles, time},
};
use std::fmt::Write;

/// Rows without figures, and why.
pub(super) fn absent(panel: &Panel) -> String {
    let mut reasons: Vec<(String, Vec<String>)> = Vec::new();
    for row in &panel.rows {
        let why = match &row.outcome {
            Outcome::Measured(_) => continue,
            Outcome::NotRun(why) => format!("Not run ({why})"),
            Outcome::Failed(why) => format!("Failed ({why})"),
        };
        match reasons.iter_mut().find(|(reason, _)| *reason == why) {
            Some((_, names)) => names.push(row.name()),
            None => reasons.push((why, vec![row.name()])),
        }
    }
    let mut html = String::new();
    for (why, names) in reasons {
        write!(html, "<p class=\"absent\">{}: {}.</p>", escape(&why), escape(&names.join(", ")))
            .expect("text");
    }
    html
}

/// All figures of a panel. `data-ns` has the median exactly.
pub(super) fn numbers(panel: &Panel) -> String {
    let mut html = String::from(
        "<div class=\"scroll\"><table><thead><tr><th></th><th>median</th><th>quartiles</th><th>by the clock</th><th>CPU time</th><th>p50</th><th>p99</th>\
         <th>slowest</th><th>lines / drains (/ syncs)</th><th>after a crash</th></tr></thead><tbody>",
    );
    for row in &panel.rows {
        let Some(measured) = row.measured() else { continue };
        let summary = Summary::of(measured.samples(panel.clock));
        let wall = time(median(&measured.wall_ns));
        let cpu = measured.cpu_ns.as_deref().map_or("-".into(), |samples| time(median(samples)));
        let [p50, p99, longest] = quantiles(&measured.latencies_ns)
            .map_or_else(|| ["-"; 3].map(String::from), |times| times.map(time));
        let settings =
            row.settings.as_ref().map(|settings| format!("<br><small>{}</small>", escape(settings)));
        write!(
            html,
            "<tr data-panel=\"{}\" data-row=\"{}\" data-ns=\"{}\"><th>{}{}</th><td>{}</td><td>{} to {}</td><td>{wall}</td><td>{cpu}</td><td>{p50}</td>\
             <td>{p99}</td><td>{longest}</td><td>{}</td><td class=\"words\">{}</td></tr>",
            escape(&format!("{}: {}", panel.group, panel.title())),
            escape(&row.name()),
            summary.median,
            escape(&row.name()),
            settings.unwrap_or_default(),
            time(summary.median),
            time(summary.low),
            time(summary.high),
            cost(measured.cost),
            escape(&row.promise)
        )
        .expect("text");
    }
    let controls = &panel.controls;
    let spread = |samples: &[f64]| {
        let summary = Summary::of(samples);
        format!("{} ± {:.0} %", time(summary.median), summary.spread())
    };
    write!(
        html,
        "</tbody></table></div><p class=\"key\">Meanwhile the control loops took {} for a step of arithmetic and {} for a read in no \
         cache.</p>",
        spread(&controls.arithmetic_ns),
        spread(&controls.memory_ns)
    )
    .expect("text");
    html
}

/// What it ran on, and what that can do at all.
pub(super) fn machine(results: &Results) -> String {
    let Results { machine, run, limits, .. } = results;
    let gigabytes = |bytes: u64| format!("{:.1} GiB", bytes as f64 / (1u64 << 30) as f64);
    let unknown = || "unknown".to_owned();
    let yes_or_no = |is: bool| if is { "yes" } else { "no" }.to_owned();
    let facts = [
        ("CPU", machine.cpu.clone()),
        ("CPUs for this program", machine.cpus.to_string()),
        ("memory", machine.memory.map_or_else(unknown, gigabytes)),
        ("system", format!("{}, kernel {}", machine.system, machine.kernel)),
        ("a virtual machine", machine.is_virtual.map_or_else(unknown, yes_or_no)),
        ("lines are flushed by", machine.flush.clone()),
        ("mapped files", format!("{} in {}", machine.medium, machine.folder)),
        ("load when it began", machine.load.map_or_else(unknown, |load| format!("{load:.2}"))),
        ("commit", run.commit.clone().unwrap_or_else(unknown)),
        ("optimised", yes_or_no(run.optimised)),
        ("scale", format!("{}, {} rounds, seed {}", run.scale, run.rounds, run.seed)),
        ("pinned to CPU", run.cpu.map_or_else(|| "none".to_owned(), |cpu| cpu.to_string())),
        ("began", date(run.began)),
        ("took", format!("{:.0} s", run.seconds)),
    ];
    let mut html = String::from("<div class=\"two\"><table class=\"facts\"><tbody>");
    for (what, value) in facts {
        write!(html, "<tr><th>{what}</th><td>{}</td></tr>", escape(&value)).expect("text");
    }
    html += "</tbody></table><table class=\"facts\"><caption>The least that anything can cost here, measured in the same run</caption><tbody>";
    for (what, ns) in limits.named() {
        write!(html, "<tr><th>{what}</th><td>{}</td></tr>", time(ns)).expect("text");
    }
    html + "</tbody></table></div>\n"
}
