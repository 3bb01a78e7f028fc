//! Cost against the number of ranges of a transaction, against the size of what is worked on, and over time.

use super::{
    escape,
    figure::{Figure, Scale, apart, time_tick},
};
use crate::compare::{results::Panel, statistics::median, table::time, trace::Trace, variant::Variant};

const LEFT: f64 = 76.0;
const RIGHT: f64 = 230.0;
const TOP: f64 = 14.0;
const HEIGHT: f64 = 300.0;

/// A row over several panels.
struct Curve {
    name: String,
    variant: Variant,
    /// Where, and nanoseconds.
    points: Vec<(f64, f64)>,
}

/// The rows of panels as curves, if at least two of the panels have a place on the axis.
fn curves(panels: &[&Panel], place: impl Fn(&Panel) -> Option<f64>) -> Vec<Curve> {
    let mut curves: Vec<Curve> = Vec::new();
    for panel in panels {
        let Some(x) = place(panel) else { continue };
        for row in &panel.rows {
            let Some(measured) = row.measured() else { continue };
            let (name, y) = (row.name(), median(measured.samples(panel.clock)));
            match curves.iter_mut().find(|curve| curve.name == name) {
                Some(curve) => curve.points.push((x, y)),
                None => curves.push(Curve { name, variant: row.variant, points: vec![(x, y)] }),
            }
        }
    }
    curves.retain(|curve| curve.points.len() > 1);
    curves
}

/// What a group of panels shows best as curves.
pub(super) fn of_group(group: &str, panels: &[&Panel]) -> String {
    match group {
        "Ranges" => {
            let by_ranges = curves(panels, |panel| panel.ranges.map(|ranges| ranges as f64));
            let tick = |ranges: f64| format!("{ranges:.0}");
            let plot = plot(
                "Time of a transaction by the number of ranges it changes",
                "ranges in one transaction",
                &by_ranges,
                tick,
            );
            plot + &crossing(&by_ranges)
        }
        "Records" => {
            let of_size = |panel: &Panel| {
                let is_one = panel.workload == "record update" && panel.threads == 1;
                panel.bytes.filter(|_| is_one).map(|bytes| bytes as f64)
            };
            let title = "Time of a record update by the size of all records";
            plot(title, "all records together", &curves(panels, of_size), bytes)
        }
        _ => String::new(),
    }
}

fn bytes(number: f64) -> String {
    match number {
        ..1_048_576.0 => format!("{:.0} KiB", number / 1024.0),
        ..1_073_741_824.0 => format!("{:.0} MiB", number / 1_048_576.0),
        _ => format!("{:.0} GiB", number / 1_073_741_824.0),
    }
}

fn plot(title: &str, axis: &str, curves: &[Curve], tick: impl Fn(f64) -> String) -> String {
    let all = || curves.iter().flat_map(|curve| &curve.points);
    if all().count() == 0 {
        return String::new();
    }
    let least = |of: fn(&(f64, f64)) -> f64| all().map(of).fold(f64::INFINITY, f64::min);
    let most = |of: fn(&(f64, f64)) -> f64| all().map(of).fold(0.0, f64::max);
    let (bottom, right) = (TOP + HEIGHT, super::figure::WIDTH - RIGHT);
    let mut figure = Figure::new(bottom + 42.0, title);
    let across = Scale::logarithmic(least(|p| p.0), most(|p| p.0), LEFT, right);
    let up = Scale::logarithmic(least(|p| p.1), most(|p| p.1), bottom, TOP);
    for value in up.ticks() {
        figure.line((LEFT, up.at(value)), (right, up.at(value)), "grid");
        figure.text(LEFT - 8.0, up.at(value) + 4.0, "end", "tick", &time_tick(value));
    }
    let mut places: Vec<f64> = all().map(|(x, _)| *x).collect();
    places.sort_by(f64::total_cmp);
    places.dedup();
    for x in places {
        figure.line((across.at(x), TOP), (across.at(x), bottom), "grid");
        figure.text(across.at(x), bottom + 16.0, "middle", "tick", &tick(x));
    }
    figure.text(
        (LEFT + right) / 2.0,
        bottom + 34.0,
        "middle",
        "axis",
        &format!("{axis} (both axes logarithmic)"),
    );
    let ends: Vec<f64> = curves.iter().map(|curve| up.at(curve.points[curve.points.len() - 1].1)).collect();
    let labels = apart(&ends, 17.0, (TOP + 4.0, bottom));
    for ((curve, end), label) in curves.iter().zip(ends).zip(labels) {
        let class = curve.variant.class();
        let points: Vec<(f64, f64)> = curve.points.iter().map(|(x, y)| (across.at(*x), up.at(*y))).collect();
        figure.path(&points, &format!("curve s-{class}"));
        for (point, (_, ns)) in points.iter().zip(&curve.points) {
            figure.dot(*point, 4.0, &format!("f-{class}"), &format!("{}: {}", curve.name, time(*ns)));
        }
        let last = points[points.len() - 1].0;
        figure.line((last + 6.0, end), (right + 16.0, label), "leader");
        figure.text(right + 20.0, label + 4.0, "start", &format!("name t-{class}"), &curve.name);
    }
    format!("<article><h3>{}</h3>{}", escape(title), figure.end()) + "</article>\n"
}

/// Where undo and redo cross, in words.
fn crossing(curves: &[Curve]) -> String {
    let of = |variant| curves.iter().find(|curve| curve.variant == variant);
    let (Some(undo), Some(redo)) = (of(Variant::Undo), of(Variant::Redo)) else { return String::new() };
    let ratios: Vec<(f64, f64)> = undo
        .points
        .iter()
        .filter_map(|(x, ns)| {
            let other = redo.points.iter().find(|(other, _)| other == x)?;
            Some((*x, ns / other.1))
        })
        .collect();
    let from = ratios.iter().position(|(_, ratio)| *ratio < 1.0);
    let (Some(first), Some(last)) = (ratios.first(), ratios.last()) else { return String::new() };
    let said = match from {
        Some(0) => "Undo is the faster one for any number of ranges that was measured.".to_owned(),
        Some(at) => format!("Undo is the faster one from {:.0} ranges on.", ratios[at].0),
        None => format!("Redo is the faster one for up to {:.0} ranges: they do not cross here.", last.0),
    };
    format!(
        "<p>{said} Undo takes {:.2} times as long as redo for {:.0} range, and {:.2} times for {:.0}.</p>",
        first.1, first.0, last.1, last.0
    )
}

/// The slowest and the typical operation of each interval.
pub(super) fn over_time(traces: &[Trace]) -> String {
    const SHORT: f64 = 170.0;
    let mut page = String::from(
        "<p class=\"lead\">Operations one after the other. Of each interval, the line is the median and the dots are the slowest \
         one: what stands far above the line is a stall, by this program (a split, a checkpoint, a collection) or by the machine.</p>",
    );
    for trace in traces.iter().filter(|trace| !trace.intervals.is_empty()) {
        let class = trace.variant.class();
        let name = format!("{}, {} {}", trace.workload, trace.variant.name(), trace.what);
        let (bottom, right) = (TOP + SHORT, super::figure::WIDTH - 20.0);
        let mut figure = Figure::new(bottom + 42.0, &format!("Over time: {name}"));
        let intervals = &trace.intervals;
        let end = intervals.iter().map(|interval| interval.start_ns).max().unwrap_or(0) as f64;
        let across = Scale::linear(end, LEFT, right);
        let least = intervals.iter().map(|interval| interval.median_ns).min().unwrap_or(1) as f64;
        let most = intervals.iter().map(|interval| interval.longest_ns).max().unwrap_or(1) as f64;
        let up = Scale::logarithmic(least, most, bottom, TOP);
        for value in up.ticks() {
            figure.line((LEFT, up.at(value)), (right, up.at(value)), "grid");
            figure.text(LEFT - 8.0, up.at(value) + 4.0, "end", "tick", &time_tick(value));
        }
        for value in across.ticks() {
            figure.text(across.at(value), bottom + 16.0, "middle", "tick", &time_tick(value));
        }
        figure.line((LEFT, bottom), (right, bottom), "whisker");
        let axis = "time since the first operation; upwards, the time of one operation, logarithmic";
        figure.text((LEFT + right) / 2.0, bottom + 34.0, "middle", "axis", axis);
        let place = |ns: u64, start: u64| (across.at(start as f64), up.at(ns as f64));
        for interval in intervals {
            let tip =
                format!("{} after {}", time(interval.longest_ns as f64), time(interval.start_ns as f64));
            figure.dot(place(interval.longest_ns, interval.start_ns), 2.5, &format!("f-{class}"), &tip);
        }
        let medians: Vec<(f64, f64)> =
            intervals.iter().map(|interval| place(interval.median_ns, interval.start_ns)).collect();
        figure.path(&medians, &format!("curve s-{class}"));
        let about = format!("{} intervals of {} operations", intervals.len(), trace.operations);
        page += &format!(
            "<article><h3>{}</h3><p class=\"about\">{about}.</p>{}</article>\n",
            escape(&name),
            figure.end()
        );
    }
    page
}
