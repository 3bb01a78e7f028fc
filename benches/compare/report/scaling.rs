//! One thread and two: operations per second of all threads together.

use super::{
    escape,
    figure::{Figure, Scale},
};
use crate::compare::{
    results::{Panel, Row},
    statistics::median,
};
use std::fmt::Write;

const NAMES: f64 = 330.0;
const WORDS: f64 = 150.0;
const ROW: f64 = 25.0;
const TOP: f64 = 6.0;

struct Pair<'r> {
    name: String,
    row: &'r Row,
    one: f64,
    two: f64,
}

/// Rows that were measured with one thread and with two.
fn pairs<'r>(panels: &[&'r Panel]) -> Vec<Pair<'r>> {
    let mut pairs = Vec::new();
    for two in panels.iter().filter(|panel| panel.threads == 2) {
        let is_alike = |one: &&&Panel| {
            one.threads == 1
                && one.workload == two.workload
                && one.set == two.set
                && one.distribution == two.distribution
        };
        let Some(one) = panels.iter().find(is_alike) else { continue };
        for row in &two.rows {
            let alone = one.rows.iter().find(|alone| alone.name() == row.name());
            let (Some(both), Some(alone)) = (row.measured(), alone.and_then(Row::measured)) else { continue };
            let rate = |samples: &[f64]| 1e9 / median(samples);
            let name = format!("{}: {}", two.workload, row.name());
            pairs.push(Pair { name, row, one: rate(&alone.wall_ns), two: rate(&both.wall_ns) });
        }
    }
    pairs
}

/// Operations a second.
fn rate(number: f64) -> String {
    match number {
        ..1e3 => format!("{number:.0}/s"),
        ..1e6 => format!("{:.0} k/s", number / 1e3),
        _ => format!("{:.1} M/s", number / 1e6),
    }
}

/// A table's worth of arrows from one thread to two, if the group has both.
pub(super) fn of_group(panels: &[&Panel]) -> String {
    let pairs = pairs(panels);
    if pairs.is_empty() {
        return String::new();
    }
    let bottom = TOP + pairs.len() as f64 * ROW;
    let title = "One thread and two";
    let mut figure = Figure::new(bottom + 42.0, title);
    let rates = || pairs.iter().flat_map(|pair| [pair.one, pair.two]);
    let (least, most) = (rates().fold(f64::INFINITY, f64::min), rates().fold(0.0, f64::max));
    let scale = Scale::logarithmic(least, most, NAMES, figure.width - WORDS);
    for tick in scale.ticks() {
        figure.line((scale.at(tick), TOP), (scale.at(tick), bottom), "grid");
        figure.text(scale.at(tick), bottom + 16.0, "middle", "tick", &rate(tick));
    }
    let middle = (NAMES + figure.width - WORDS) / 2.0;
    figure.text(
        middle,
        bottom + 34.0,
        "middle",
        "axis",
        "operations per second of all threads together, logarithmic",
    );
    for (i, pair) in pairs.iter().enumerate() {
        let y = TOP + (i as f64 + 0.5) * ROW;
        let class = pair.row.variant.class();
        figure.text(NAMES - 10.0, y + 4.5, "end", "name", &pair.name);
        let (one, two) = (scale.at(pair.one), scale.at(pair.two));
        figure.line((one, y), (two, y), &format!("stem s-{class}"));
        figure.dot((one, y), 4.5, &format!("hollow s-{class}"), &format!("one thread: {}", rate(pair.one)));
        figure.dot((two, y), 6.0, &format!("f-{class}"), &format!("two threads: {}", rate(pair.two)));
        let gain = pair.two / pair.one;
        figure.text(figure.width - WORDS + 12.0, y + 4.5, "start", "value", &format!("{gain:.2} times"));
    }
    let mut article = String::new();
    writeln!(
        article,
        "<article><h3>{}</h3><p class=\"about\">Hollow: one thread. Filled: two threads, which share the operations. \
         Twice is the most that there is to gain.</p>{}</article>",
        escape(title),
        figure.end()
    )
    .expect("text");
    article
}
