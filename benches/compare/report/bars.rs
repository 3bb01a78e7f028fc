//! A bar for each row: the time of one operation, how it varied, and its lines and drains in words.

use super::figure::{Figure, Scale, time_axis};
use crate::compare::{
    results::{Measured, Panel, Row},
    statistics::Summary,
    table::{count, time},
    variant::Variant,
};

/// What is left of the bars, and what is right of them.
const NAMES: f64 = 285.0;
const WORDS: f64 = 240.0;
const ROW: f64 = 28.0;
const TOP: f64 = 6.0;

/// Bars begin at nothing, unless some would be too short to see: then marks on a logarithmic axis take their place. The
/// ceilings may be short: that they are is what they are there to show.
const MOST_TIMES: f64 = 40.0;

pub(super) fn plot(panel: &Panel) -> String {
    let rows: Vec<(&Row, &Measured, Summary)> = panel
        .rows
        .iter()
        .filter_map(|row| {
            row.measured().map(|measured| (row, measured, Summary::of(measured.samples(panel.clock))))
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let bottom = TOP + rows.len() as f64 * ROW;
    let label = format!("Time of one operation: {}", panel.title());
    let mut figure = Figure::new(bottom + 42.0, &label);
    let lowest = |of: &dyn Fn(&Row) -> bool| {
        let rows = rows.iter().filter(|(row, ..)| of(row));
        rows.map(|(_, _, summary)| summary.low).fold(f64::INFINITY, f64::min)
    };
    let least = lowest(&|_| true);
    let least_of_rivals = lowest(&|row| !matches!(row.variant, Variant::Dram | Variant::Unordered));
    let typical = rows.iter().map(|(_, _, summary)| summary.median).fold(0.0, f64::max);
    // The spread of one row that was interrupted does not make the others' bars short.
    let most = rows.iter().map(|(_, _, summary)| summary.high).fold(0.0, f64::max).min(typical * 1.5);
    let (from, to) = (NAMES, figure.width - WORDS);
    let scale = if most > MOST_TIMES * least_of_rivals {
        Scale::logarithmic(least, most, from, to)
    } else {
        Scale::linear(most * 1.02, from, to)
    };
    time_axis(&mut figure, &scale, TOP, bottom, &format!("time of one operation, {}", panel.clock.name()));
    for (i, (row, measured, summary)) in rows.into_iter().enumerate() {
        let y = TOP + i as f64 * ROW;
        let (middle, class) = (y + ROW / 2.0, row.variant.class());
        figure.text(NAMES - 10.0, middle + 4.5, "end", "name", &row.name());
        let x = scale.at(summary.median);
        if scale.is_logarithmic {
            figure.line((from, middle), (x, middle), &format!("stem s-{class}"));
            figure.dot((x, middle), 6.0, &format!("f-{class}"), &row.promise);
        } else {
            figure.rect((from, y + 5.0), ((x - from).max(1.0), ROW - 10.0), &format!("f-{class}"));
        }
        let (low, high) = (scale.at(summary.low), scale.at(summary.high));
        figure.line((low, middle), (high, middle), "whisker");
        figure.line((low, middle - 4.0), (low, middle + 4.0), "whisker");
        figure.line((high, middle - 4.0), (high, middle + 4.0), "whisker");
        figure.text(
            to + 12.0,
            middle + 4.5,
            "start",
            "value",
            &format!("{}{}", time(summary.median), drains(measured)),
        );
    }
    figure.end()
}

/// How an operation was made durable, in words.
fn drains(measured: &Measured) -> String {
    let plural = |number: f64, word: &str| {
        let shown = if number < 10.0 { count(number) } else { count((number * 10.0).round() / 10.0) };
        if shown == "1" { format!("1 {word}") } else { format!("{shown} {word}s") }
    };
    match measured.cost {
        None => String::new(),
        Some(cost) if cost.syncs > 0.0 => format!(" · {}", plural(cost.syncs, "sync")),
        Some(cost) => format!(" · {}, {}", plural(cost.lines, "line"), plural(cost.drains, "drain")),
    }
}
