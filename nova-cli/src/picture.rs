//! What is where, as a picture: characters for a terminal, or one SVG file.

use crate::size::Size;
use anstyle::{AnsiColor, Color, Style};
use std::fmt::Write;

/// A sort of bytes that a picture tells from others.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sort {
    pub(crate) name: &'static str,
    pub(crate) letter: char,
    /// In an SVG. Those of one picture can be told apart by people who see fewer colours (Okabe and Ito's).
    pub(crate) fill: &'static str,
    pub(crate) ansi: AnsiColor,
}

/// Bytes side by side of one sort: its number in [`Picture::sorts`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) len: u64,
    pub(crate) sort: usize,
}

/// All of something, in parts without gaps.
pub(crate) struct Picture {
    pub(crate) title: String,
    /// The first is what is free: it is drawn only where there is nothing else.
    pub(crate) sorts: Vec<Sort>,
    pub(crate) parts: Vec<Part>,
    /// What a part has at least, and is a multiple of.
    pub(crate) unit: u64,
}

/// Characters in a line, and lines at most, of a terminal's picture.
const WIDTH: u64 = 64;
const LINES: u64 = 24;
/// Cells in a row, and rows at most, of an SVG.
const COLUMNS: u64 = 128;
const ROWS: u64 = 96;
/// Pixels of a cell.
const CELL: u64 = 8;

impl Picture {
    fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.len).sum()
    }

    fn bytes_of(&self, sort: usize) -> u64 {
        self.parts.iter().filter(|part| part.sort == sort).map(|part| part.len).sum()
    }

    /// Bytes of a cell, so that there are at most `most` cells; and each cell's sort: the one it has most of, what is free aside.
    fn cells(&self, most: u64) -> (u64, Vec<usize>) {
        let units = (self.bytes() / self.unit).max(1);
        let per = units.div_ceil(most) * self.unit;
        let mut cells = Vec::new();
        let (mut room, mut held) = (per, vec![0; self.sorts.len()]);
        let close = |held: &mut Vec<u64>, cells: &mut Vec<usize>| {
            let (sort, bytes) = held
                .iter()
                .copied()
                .enumerate()
                .skip(1)
                .rev()
                .max_by_key(|(_, bytes)| *bytes)
                .unwrap_or((0, 0));
            cells.push(if bytes == 0 { 0 } else { sort });
            held.fill(0);
        };
        for part in &self.parts {
            let mut left = part.len;
            while left > 0 {
                let here = left.min(room);
                held[part.sort] += here;
                left -= here;
                room -= here;
                if room == 0 {
                    close(&mut held, &mut cells);
                    room = per;
                }
            }
        }
        if room < per {
            close(&mut held, &mut cells);
        }
        (per, cells)
    }

    /// For a terminal, with colours (which the one who prints it takes away where there is none).
    pub(crate) fn text(&self) -> String {
        let (per, cells) = self.cells(WIDTH * LINES);
        let mut out = format!("each character is {}: the sort that it has most of\n", Size(per));
        for line in cells.chunks(WIDTH as usize) {
            out.push_str("  ");
            for run in line.chunk_by(|one, other| one == other) {
                let sort = self.sorts[run[0]];
                let letters: String = std::iter::repeat_n(sort.letter, run.len()).collect();
                let style = style(sort);
                let _ = write!(out, "{style}{letters}{style:#}");
            }
            out.push('\n');
        }
        for (index, sort) in self.sorts.iter().enumerate().filter(|(index, _)| self.bytes_of(*index) > 0) {
            let (bytes, style) = (self.bytes_of(index), style(*sort));
            let share = bytes as f64 * 100.0 / self.bytes() as f64;
            let size = Size(bytes).to_string();
            let _ =
                writeln!(out, "  {style}{}{style:#} {:<26} {size:>10} {share:>6.2}%", sort.letter, sort.name);
        }
        out
    }

    /// As one SVG file, with its legend and with `notes` below it.
    pub(crate) fn svg(&self, notes: &[String]) -> String {
        let (per, cells) = self.cells(COLUMNS * ROWS);
        let (left, top) = (20, 56);
        let columns = COLUMNS.min(cells.len() as u64);
        let rows = (cells.len() as u64).div_ceil(COLUMNS);
        let present: Vec<usize> = (0..self.sorts.len()).filter(|sort| self.bytes_of(*sort) > 0).collect();
        let legend = top + rows * CELL + 24;
        let width = left * 2 + (columns * CELL).max(620);
        let height = legend + (present.len() + notes.len()) as u64 * 20 + 16;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
             font-family=\"sans-serif\" font-size=\"13\" role=\"img\">\n<title>{title}</title>\n\
             <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
             <text x=\"{left}\" y=\"26\" font-size=\"17\" fill=\"#111111\">{title}</text>\n\
             <text x=\"{left}\" y=\"45\" fill=\"#444444\">{}; each cell is {}, row by row</text>\n",
            Size(self.bytes()),
            Size(per),
            title = escaped(&self.title),
        );
        for (row, line) in cells.chunks(COLUMNS as usize).enumerate() {
            let (mut column, y) = (0, top + row as u64 * CELL);
            for run in line.chunk_by(|one, other| one == other) {
                let (x, wide, sort) = (left + column * CELL, run.len() as u64 * CELL, self.sorts[run[0]]);
                let _ = writeln!(
                    out,
                    "<rect x=\"{x}\" y=\"{y}\" width=\"{wide}\" height=\"{CELL}\" fill=\"{}\"/>",
                    sort.fill
                );
                column += run.len() as u64;
            }
        }
        // Thin lines between cells.
        let (right, bottom) = (left + columns * CELL, top + rows * CELL);
        let mut lines = String::new();
        (0..=columns).for_each(|n| _ = write!(lines, "M{} {top}V{bottom}", left + n * CELL));
        (0..=rows).for_each(|n| _ = write!(lines, "M{left} {}H{right}", top + n * CELL));
        let _ = writeln!(out, "<path d=\"{lines}\" stroke=\"#ffffff\" stroke-width=\"0.6\" fill=\"none\"/>");
        for (n, index) in present.iter().enumerate() {
            let (y, sort, bytes) = (legend + n as u64 * 20, self.sorts[*index], self.bytes_of(*index));
            let share = bytes as f64 * 100.0 / self.bytes() as f64;
            let _ = writeln!(
                out,
                "<rect x=\"{left}\" y=\"{y}\" width=\"14\" height=\"14\" fill=\"{}\" stroke=\"#888888\"/>\
                 <text x=\"{}\" y=\"{}\" fill=\"#111111\">{}: {} ({share:.2}%)</text>",
                sort.fill,
                left + 22,
                y + 12,
                escaped(sort.name),
                Size(bytes),
            );
        }
        for (n, note) in notes.iter().enumerate() {
            let y = legend + (present.len() + n) as u64 * 20 + 12;
            let note = match note.split_once("  ") {
                Some((about, what)) => format!("{about}: {}", what.trim_start()),
                None => note.clone(),
            };
            let _ = writeln!(out, "<text x=\"{left}\" y=\"{y}\" fill=\"#444444\">{}</text>", escaped(&note));
        }
        out.push_str("</svg>\n");
        out
    }
}

fn style(sort: Sort) -> Style {
    Style::new().fg_color(Some(Color::Ansi(sort.ansi)))
}

/// Text for XML.
fn escaped(text: &str) -> String {
    let plain = text.chars().filter(|c| !c.is_control());
    plain.fold(String::new(), |mut out, c| {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(parts: &[(u64, usize)]) -> Picture {
        let sort = |letter| Sort { name: "a & b", letter, fill: "#000000", ansi: AnsiColor::Red };
        let parts = parts.iter().map(|&(blocks, sort)| Part { len: blocks * 4096, sort }).collect();
        Picture { title: "<t>".into(), sorts: ".ab".chars().map(sort).collect(), parts, unit: 4096 }
    }

    #[test]
    fn a_cell_is_free_only_if_all_of_it_is() {
        // 8 blocks in at most 4 cells: 2 blocks each.
        let (per, cells) = picture(&[(2, 0), (1, 0), (1, 1), (1, 1), (3, 2)]).cells(4);
        assert_eq!((per, cells), (8192, vec![0, 1, 1, 2]));
        assert_eq!(picture(&[(3, 0)]).cells(2).1, [0, 0], "the last cell may be a part of one");
        assert_eq!(picture(&[(2, 0), (1, 1)]).cells(1).1, [1]);
    }

    #[test]
    fn text_of_others_is_no_markup() {
        let svg = picture(&[(5, 1)]).svg(&["<script>".into()]);
        assert!(
            svg.contains("&lt;t&gt;") && svg.contains("a &amp; b") && svg.contains("&lt;script&gt;"),
            "{svg}"
        );
    }
}
