//! How latencies are distributed: a strip for each row, darker where more operations are; the median, 99 of 100, and the slowest.

use super::figure::{Figure, Scale, time_axis};
use crate::compare::{
    results::{Panel, Row},
    table::{quantiles, time},
};

const NAMES: f64 = 290.0;
const WORDS: f64 = 230.0;
const ROW: f64 = 26.0;
const TOP: f64 = 6.0;
const BINS: usize = 90;

pub(super) fn plot(panel: &Panel) -> String {
    let rows: Vec<(&Row, &[u64], [f64; 3])> = panel
        .rows
        .iter()
        .filter_map(|row| {
            let latencies = &row.measured()?.latencies_ns;
            Some((row, latencies.as_slice(), quantiles(latencies)?))
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let bottom = TOP + rows.len() as f64 * ROW;
    let mut figure = Figure::new(bottom + 42.0, &format!("Distribution of latencies: {}", panel.title()));
    let all = || rows.iter().flat_map(|(_, latencies, _)| latencies.iter().map(|ns| *ns as f64));
    let (least, most) = (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
    let scale = Scale::logarithmic(least, most, NAMES, figure.width - WORDS);
    time_axis(&mut figure, &scale, TOP, bottom, "latency of a single operation");
    let width = (figure.width - WORDS - NAMES) / BINS as f64;
    for (i, (row, latencies, [p50, p99, longest])) in rows.iter().enumerate() {
        let y = TOP + i as f64 * ROW;
        let class = row.variant.class();
        figure.text(NAMES - 10.0, y + ROW / 2.0 + 4.5, "end", "name", &row.name());
        let mut bins = [0u64; BINS];
        for ns in *latencies {
            let bin = (scale.at(*ns as f64) - NAMES) / width;
            bins[(bin as usize).min(BINS - 1)] += 1;
        }
        let fullest = bins.iter().copied().max().unwrap_or(1).max(1) as f64;
        for (bin, found) in bins.into_iter().enumerate().filter(|(_, found)| *found > 0) {
            // A single one of a thousand has to be seen: the square root of the share.
            let share = (found as f64 / fullest).sqrt().max(0.18);
            let at = (NAMES + bin as f64 * width, y + 4.0);
            figure.shade(at, (width + 0.2, ROW - 8.0), &format!("f-{class}"), share);
        }
        for x in [p50, p99].map(|ns| scale.at(*ns)) {
            figure.line((x, y + 1.0), (x, y + ROW - 1.0), "whisker");
        }
        let words = format!("{} · {} · {}", time(*p50), time(*p99), time(*longest));
        figure.text(figure.width - WORDS + 12.0, y + ROW / 2.0 + 4.5, "start", "value", &words);
    }
    figure.end()
        + "<p class=\"key\">At the right: the median, 99 of 100, and the slowest. The two strokes are the first two.</p>"
}
