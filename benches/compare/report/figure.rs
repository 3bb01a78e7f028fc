//! What plots are made of: scales, axes with their units, text.

use super::escape;
use crate::compare::table::time;
use std::fmt::Write;

/// A drawing of that many units across: CSS pixels where there is room.
pub(super) struct Figure {
    svg: String,
    pub(super) width: f64,
}

/// All drawings are as wide.
pub(super) const WIDTH: f64 = 860.0;

impl Figure {
    /// Of that height. `label` says to those who do not see it what it is.
    pub(super) fn new(height: f64, label: &str) -> Figure {
        let label = escape(label);
        let svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{label}\"><title>{label}</title>"
        );
        Figure { svg, width: WIDTH }
    }

    pub(super) fn end(self) -> String {
        format!("<figure>{}</svg></figure>\n", self.svg)
    }

    /// `anchor`: `start`, `middle` or `end`.
    pub(super) fn text(&mut self, x: f64, y: f64, anchor: &str, class: &str, text: &str) {
        let text = escape(text);
        write!(
            self.svg,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" class=\"{class}\">{text}</text>"
        )
        .expect("text");
    }

    pub(super) fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), class: &str) {
        write!(
            self.svg,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" class=\"{class}\"/>"
        )
        .expect("text");
    }

    pub(super) fn rect(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), class: &str) {
        write!(
            self.svg,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" class=\"{class}\"/>"
        )
        .expect("text");
    }

    /// A rectangle as opaque as `share` says, from 0 to 1.
    pub(super) fn shade(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), class: &str, share: f64) {
        write!(
            self.svg,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" class=\"{class}\" \
             fill-opacity=\"{share:.2}\"/>"
        )
        .expect("text");
    }

    pub(super) fn dot(&mut self, (x, y): (f64, f64), radius: f64, class: &str, tip: &str) {
        let tip = escape(tip);
        write!(
            self.svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" class=\"{class}\"><title>{tip}</title></circle>"
        )
        .expect("text");
    }

    /// Points joined by lines.
    pub(super) fn path(&mut self, points: &[(f64, f64)], class: &str) {
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        write!(self.svg, "<polyline points=\"{}\" class=\"{class}\"/>", points.join(" ")).expect("text");
    }
}

/// From values to places.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    pub(super) is_logarithmic: bool,
}

impl Scale {
    /// From 0 to a little more than `most`.
    pub(super) fn linear(most: f64, from: f64, to: f64) -> Scale {
        let high = if most > 0.0 { most } else { 1.0 };
        Scale { low: 0.0, high, from, to, is_logarithmic: false }
    }

    /// From a little below `least` to a little above `most`, both above 0.
    pub(super) fn logarithmic(least: f64, most: f64, from: f64, to: f64) -> Scale {
        let (low, high) = (least.max(0.1) / 1.15, most.max(0.1) * 1.15);
        Scale { low, high, from, to, is_logarithmic: true }
    }

    pub(super) fn at(&self, value: f64) -> f64 {
        let share = if self.is_logarithmic {
            (value.max(self.low) / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + share.clamp(0.0, 1.0) * (self.to - self.from)
    }

    /// Round values, not too many.
    pub(super) fn ticks(&self) -> Vec<f64> {
        if !self.is_logarithmic {
            let raw = self.high / 5.0;
            let power = 10f64.powf(raw.log10().floor());
            let step =
                [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|step| *step >= raw).unwrap_or(raw);
            return (0..).map(|i| f64::from(i) * step).take_while(|value| *value <= self.high).collect();
        }
        let decades = (self.high / self.low).log10();
        let parts: &[f64] = match decades {
            ..2.0 => &[1.0, 2.0, 5.0],
            ..3.5 => &[1.0, 3.0],
            _ => &[1.0],
        };
        let first = self.low.log10().floor() as i32;
        let mut ticks: Vec<f64> = (first..first + decades.ceil() as i32 + 2)
            .flat_map(|power| parts.iter().map(move |part| part * 10f64.powi(power)))
            .filter(|value| (self.low..=self.high).contains(value))
            .collect();
        if ticks.len() > 8 {
            ticks = ticks.into_iter().step_by(2).collect();
        }
        ticks
    }
}

/// An axis below a plot, of nanoseconds, with lines up to its top.
pub(super) fn time_axis(figure: &mut Figure, scale: &Scale, top: f64, bottom: f64, label: &str) {
    for tick in scale.ticks() {
        let x = scale.at(tick);
        figure.line((x, top), (x, bottom), "grid");
        figure.text(x, bottom + 16.0, "middle", "tick", &time_tick(tick));
    }
    let kind = if scale.is_logarithmic { ", logarithmic" } else { "" };
    figure.text((scale.from + scale.to) / 2.0, bottom + 34.0, "middle", "axis", &format!("{label}{kind}"));
}

/// A value of an axis: `0`, `200 ns`, `5 us`.
pub(super) fn time_tick(nanoseconds: f64) -> String {
    if nanoseconds == 0.0 {
        return "0".into();
    }
    let text = time(nanoseconds);
    let (number, unit) = text.split_once(' ').expect("a number and a unit");
    let number =
        if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { number };
    // Round ones alone, so thousands are whole.
    match (number.strip_suffix("000"), unit) {
        (Some(thousands), "ns") if !thousands.is_empty() => format!("{thousands} us"),
        _ => format!("{number} {unit}"),
    }
}

/// Moves values apart that are closer than `least`, keeping their order and staying within `range` as far as they can: for labels.
pub(super) fn apart(values: &[f64], least: f64, (low, high): (f64, f64)) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values[*a].total_cmp(&values[*b]));
    let mut placed = values.to_vec();
    let mut next = low;
    for &i in &order {
        placed[i] = placed[i].max(next);
        next = placed[i] + least;
    }
    let mut next = high;
    for &i in order.iter().rev() {
        placed[i] = placed[i].min(next);
        next = placed[i] - least;
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(Scale::linear(430.0, 0.0, 1.0).ticks(), [0.0, 100.0, 200.0, 300.0, 400.0]);
        assert_eq!(Scale::logarithmic(3.0, 900.0, 0.0, 1.0).ticks(), [3.0, 10.0, 30.0, 100.0, 300.0, 1000.0]);
        for (least, most) in [(1.0, 2.0), (3.0, 5e9), (200.0, 250.0), (0.5, 7.0)] {
            let ticks = Scale::logarithmic(least, most, 0.0, 1.0).ticks();
            assert!(ticks.len() <= 8, "{ticks:?}");
        }
        assert_eq!(
            [0.0, 5.0, 200.0, 5000.0, 20_000.0, 1e6].map(time_tick),
            ["0", "5 ns", "200 ns", "5 us", "20 us", "1 ms"]
        );
    }

    #[test]
    fn labels_are_moved_apart_and_stay_inside() {
        assert_eq!(apart(&[10.0, 11.0, 50.0], 15.0, (0.0, 60.0)), [10.0, 25.0, 50.0]);
        assert_eq!(apart(&[58.0, 59.0], 15.0, (0.0, 60.0)), [45.0, 60.0]);
    }
}
