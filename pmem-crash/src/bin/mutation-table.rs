//! Every store, flush and drain of the workspace's operations, left out in turn: how many were found missing.
//!
//! The operations are in `tests/mutation.rs` of the crates that own media, since they depend on this crate and not the other
//! way round: this runs them through cargo, and adds up what they print. Arguments are passed on to `cargo test`
//! (`-p pmem-tx`; by default the whole workspace).

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    process::{Command, ExitCode, Stdio},
};

/// What became of the removals of one operation, over all states of the pool.
#[derive(Default)]
struct Row {
    states: u64,
    stores: u64,
    flushes: u64,
    drains: u64,
    found: u64,
    elsewhere: u64,
    harmless: u64,
    missed: u64,
}

impl Row {
    fn add(&mut self, other: &Row) {
        self.states += other.states;
        self.stores += other.stores;
        self.flushes += other.flushes;
        self.drains += other.drains;
        self.found += other.found;
        self.elsewhere += other.elsewhere;
        self.harmless += other.harmless;
        self.missed += other.missed;
    }

    fn print(&self, name: &str) {
        let Row { states, stores, flushes, drains, found, elsewhere, harmless, missed } = self;
        println!(
            "{name:<54} {states:>6} {stores:>7} {flushes:>8} {drains:>7} {found:>7} {elsewhere:>10} {harmless:>9} {missed:>7}"
        );
    }
}

/// Reads a line that a table printed: `mutation | TABLE | OPERATION | STATE | NUMBER WORD NUMBER WORD ... | ...`.
fn parse(line: &str) -> Option<(String, Row)> {
    let mut fields = line.strip_prefix("mutation | ")?.split('|').map(str::trim);
    let (table, operation, _state) = (fields.next()?, fields.next()?, fields.next()?);
    if operation == "in all" {
        return None;
    }
    let mut row = Row { states: 1, ..Row::default() };
    let words: Vec<&str> = fields.flat_map(str::split_whitespace).collect();
    for pair in words.chunks_exact(2) {
        let number = pair[0].parse().ok()?;
        match pair[1] {
            "stores" => row.stores = number,
            "flushes" => row.flushes = number,
            "drains" => row.drains = number,
            "found" => row.found = number,
            "elsewhere" => row.elsewhere = number,
            "harmless" => row.harmless = number,
            "missed" => row.missed = number,
            _ => {}
        }
    }
    Some((format!("{table}: {operation}"), row))
}

fn main() -> ExitCode {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.is_empty() {
        arguments.push("--workspace".to_owned());
    }
    let child = Command::new(cargo)
        .args(["test", "--release", "--test", "mutation"])
        .args(&arguments)
        .args(["--", "--nocapture"])
        .env("PMEM_MUTATION", "all")
        .env("RUST_BACKTRACE", "0")
        .stdout(Stdio::piped())
        // The panics of programs that were taken apart. What matters of them is printed below.
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            eprintln!("cannot run cargo: {error}");
            return ExitCode::FAILURE;
        }
    };
    let stderr = child.stderr.take().expect("piped");
    let complaints = std::thread::spawn(move || {
        let lines: Vec<String> = BufReader::new(stderr).lines().map_while(Result::ok).collect();
        lines
    });
    println!(
        "{:<54} {:>6} {:>7} {:>8} {:>7} {:>7} {:>10} {:>9} {:>7}",
        "operation", "states", "stores", "flushes", "drains", "found", "elsewhere", "harmless", "missed"
    );
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    for line in BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok) {
        if let Some((name, row)) = parse(&line) {
            rows.entry(name).or_default().add(&row);
        }
    }
    let mut totals = Row::default();
    for (name, row) in &rows {
        row.print(name);
        totals.add(row);
    }
    totals.print("in all");
    println!(
        "\nfound: an exploration, or the program's own reader, noticed. elsewhere: not from this state, but the same line of the\n\
         operation was found missing from another. harmless: listed in `tests/mutation.exceptions`, with a proof."
    );
    let succeeded = child.wait().is_ok_and(|status| status.success());
    let complaints = complaints.join().unwrap_or_default();
    if !succeeded || rows.is_empty() {
        let start = complaints.iter().rposition(|line| line.contains("every_step_that_is_left_out_is_found"));
        complaints[start.unwrap_or_default()..].iter().for_each(|line| eprintln!("{line}"));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_a_table_is_read() {
        let line = "mutation | pmem-tx | open | killed | 2 stores 3 flushes 4 drains | 9 tried 5 found \
                    1 elsewhere 2 harmless 1 missed";
        let (name, row) = parse(line).unwrap();
        assert_eq!(name, "pmem-tx: open");
        assert_eq!((row.states, row.stores, row.flushes, row.drains), (1, 2, 3, 4));
        assert_eq!((row.found, row.elsewhere, row.harmless, row.missed), (5, 1, 2, 1));
        assert!(parse("mutation | pmem-tx | in all | 3 lines | 2 stores").is_none());
        assert!(parse("test result: ok").is_none());
    }
}
