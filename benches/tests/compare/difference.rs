//! Two runs, made by hand: a slow-down is found, noise and a slower machine are not; files that are no results.

use crate::{fails, nova_bench, text};
use benches::compare::{
    control::Controls,
    difference::{Change, compare},
    limits::Limits,
    machine::Machine,
    results::{Clock, Cost, FORMAT, Measured, Outcome, Panel, Results, Row, Run, VERSION},
    variant::Variant,
};
use std::path::Path;

/// A run with one panel, of rows with these samples.
pub(crate) fn run(rows: &[(&str, &[f64])]) -> Results {
    let row = |(name, samples): &(&str, &[f64])| Row {
        variant: Variant::Redo,
        what: (*name).to_owned(),
        promise: "all or nothing".into(),
        settings: None,
        outcome: Outcome::Measured(Measured {
            operations: 1000,
            wall_ns: samples.to_vec(),
            cpu_ns: Some(samples.to_vec()),
            latencies_ns: samples.iter().map(|ns| *ns as u64).collect(),
            cost: Some(Cost { lines: 3.0, drains: 1.0, syncs: 0.0 }),
        }),
    };
    let panel = Panel {
        group: "Records".into(),
        workload: "record update".into(),
        operation: "one record".into(),
        place: "memory".into(),
        set: "4 KiB".into(),
        bytes: Some(4096),
        entries: None,
        threads: 1,
        ranges: None,
        distribution: None,
        clock: Clock::Cpu,
        controls: Controls { arithmetic_ns: vec![1.0; 9], memory_ns: vec![90.0; 9], cpu_share: vec![1.0; 9] },
        rows: rows.iter().map(row).collect(),
    };
    let machine = Machine {
        cpu: "a CPU".into(),
        cpus: 2,
        memory: Some(1 << 30),
        system: "x86_64-linux".into(),
        kernel: "6.0".into(),
        flush: "clwb".into(),
        folder: "/dev/shm".into(),
        medium: "memory".into(),
        is_virtual: Some(false),
        load: Some(0.0),
    };
    let run = Run {
        scale: "quick".into(),
        rounds: 9,
        seed: 1,
        cpu: Some(1),
        commit: None,
        optimised: true,
        began: 0,
        seconds: 1.0,
    };
    let limits = Limits {
        drain_ns: 100.0,
        line_ns: 5.0,
        copy_4k_ns: 400.0,
        read_4k_ns: 300.0,
        dependent_read_ns: 90.0,
        clock_ns: 25.0,
    };
    Results {
        format: FORMAT.into(),
        version: VERSION,
        machine,
        run,
        limits,
        panels: vec![panel],
        traces: Vec::new(),
    }
}

/// Nine samples about 100, in an order of no meaning.
const ABOUT: [f64; 9] = [101.0, 99.0, 100.0, 104.0, 97.0, 102.0, 98.0, 100.5, 99.5];
/// The same, otherwise.
const AGAIN: [f64; 9] = [100.0, 103.0, 98.5, 101.5, 97.5, 99.0, 100.5, 102.0, 99.7];

fn times(samples: [f64; 9], factor: f64) -> [f64; 9] {
    samples.map(|ns| ns * factor)
}

fn changes(old: &Results, new: &Results) -> Vec<(String, Change)> {
    let mut rows: Vec<_> = compare(old, new)
        .rows
        .into_iter()
        .map(|row| (row.name.rsplit(' ').next().unwrap().to_owned(), row.change))
        .collect();
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    rows
}

#[test]
fn a_known_slow_down_is_found_and_noise_is_not() {
    let wild = [70.0, 160.0, 100.0, 130.0, 85.0, 95.0, 150.0, 75.0, 110.0];
    let wilder = [165.0, 80.0, 105.0, 140.0, 120.0, 72.0, 98.0, 133.0, 155.0];
    let old =
        run(&[("same", &ABOUT), ("slower", &ABOUT), ("faster", &ABOUT), ("wild", &wild), ("little", &ABOUT)]);
    let (slow, fast, little) = (times(AGAIN, 1.2), times(AGAIN, 0.8), times(AGAIN, 1.04));
    let new = run(&[
        ("same", &AGAIN),
        ("slower", &slow),
        ("faster", &fast),
        ("wild", &wilder),
        ("little", &little),
    ]);
    let name = |(name, change): (&str, Change)| (name.to_owned(), change);
    let expected = [
        ("faster", Change::Faster),
        ("little", Change::None),
        ("same", Change::None),
        ("slower", Change::Slower),
        ("wild", Change::None),
    ];
    assert_eq!(changes(&old, &new), expected.map(name));
}

#[test]
fn what_the_control_loops_lost_the_machine_lost() {
    let (old, mut new) = (run(&[("row", &ABOUT)]), run(&[("row", &times(AGAIN, 1.2))]));
    assert_eq!(changes(&old, &new)[0].1, Change::Slower);
    new.panels[0].controls.memory_ns = vec![90.0 * 1.2; 9];
    assert_eq!(changes(&old, &new)[0].1, Change::None);
}

#[test]
fn a_drain_more_is_told_although_it_takes_no_time() {
    let (old, mut new) = (run(&[("row", &ABOUT)]), run(&[("row", &AGAIN)]));
    let Outcome::Measured(measured) = &mut new.panels[0].rows[0].outcome else { panic!("it was measured") };
    measured.cost = Some(Cost { lines: 3.0, drains: 2.0, syncs: 0.0 });
    let comparison = compare(&old, &new);
    assert_eq!(comparison.rows[0].change, Change::None);
    assert!(comparison.to_string().contains("lines / drains 3 / 1 -> 3 / 2"), "{comparison}");
}

#[test]
fn rows_of_one_run_alone_and_other_machines_are_told() {
    let (old, mut new) =
        (run(&[("old", &ABOUT), ("both", &ABOUT)]), run(&[("new", &ABOUT), ("both", &ABOUT)]));
    new.machine.cpu = "another CPU".into();
    new.panels[0].controls.cpu_share = vec![0.5; 9];
    let comparison = compare(&old, &new);
    let said = comparison.to_string();
    for words in
        ["old: in the old run alone", "new: in the new run alone", "another CPU now", "the machine was busy"]
    {
        assert!(said.contains(words), "{said}");
    }
    assert_eq!(comparison.rows.len(), 1);
}

fn write(folder: &Path, name: &str, results: &Results) -> String {
    let path = folder.join(name);
    std::fs::write(&path, results.to_json()).unwrap();
    text(&path).to_owned()
}

#[test]
fn the_command_ends_with_4_if_something_is_slower_and_else_with_0() {
    let folder = tempfile::tempdir().unwrap();
    let old = write(folder.path(), "old.json", &run(&[("row", &ABOUT)]));
    let new = write(folder.path(), "new.json", &run(&[("row", &times(AGAIN, 1.5))]));
    let output = nova_bench(&["--compare", &old, &new]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert!(
        said.contains("Slower: 1 of 1") && said.contains("1.50x") && said.contains("Mann-Whitney"),
        "{said}"
    );
    assert_eq!(nova_bench(&["--compare", &new, &old]).status.code(), Some(0));
    assert_eq!(nova_bench(&["--compare", &old, &old]).status.code(), Some(0));
}

#[test]
fn what_is_written_is_read_again() {
    let results = run(&[("row", &ABOUT)]);
    assert_eq!(Results::parse(Path::new("x"), results.to_json().as_bytes()).unwrap(), results);
}

#[test]
fn files_that_are_no_results_are_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let good = run(&[("row", &ABOUT)]).to_json();
    let ok = write(folder.path(), "ok.json", &run(&[("row", &ABOUT)]));
    let cases: [(&str, String, &str); 9] = [
        ("empty", String::new(), "damaged or cut short"),
        ("cut", good[..good.len() / 2].to_owned(), "damaged or cut short"),
        ("text", "hello".to_owned(), "damaged or cut short"),
        ("foreign", "{\"benchmarks\": []}".to_owned(), "not of this program"),
        ("list", "[1, 2]".to_owned(), "not of this program"),
        ("newer", good.replacen("\"version\":1", "\"version\":7", 1), "use the newer program"),
        ("older", good.replacen("\"version\":1", "\"version\":0", 1), "measure again with this program"),
        ("field", good.replacen("\"panels\"", "\"panel\"", 1), "missing field `panels`"),
        ("negative", good.replacen("101.0", "-101.0", 1), "a sample that is no time"),
    ];
    for (name, text_of_file, words) in cases {
        let path = folder.path().join(name);
        std::fs::write(&path, text_of_file).unwrap();
        for arguments in [["--compare", text(&path), &ok], ["--compare", &ok, text(&path)]] {
            let said = fails(&arguments);
            assert!(said.contains(words) && said.contains(text(&path)), "{name}: {said}");
        }
    }
    let said = fails(&["--compare", &ok, "/nowhere/x.json"]);
    assert!(said.contains("/nowhere/x.json cannot be read"), "{said}");
    let deep = folder.path().join("deep");
    std::fs::write(&deep, "[".repeat(1_000_000)).unwrap();
    assert!(fails(&["--compare", &ok, text(&deep)]).contains("damaged or cut short"));
}

#[test]
fn a_run_without_samples_is_damaged() {
    let mut results = run(&[("row", &ABOUT)]);
    let Outcome::Measured(measured) = &mut results.panels[0].rows[0].outcome else {
        panic!("it was measured")
    };
    measured.wall_ns.clear();
    let error = Results::parse(Path::new("x"), results.to_json().as_bytes()).unwrap_err();
    assert!(error.to_string().contains("has no samples"), "{error}");
}
