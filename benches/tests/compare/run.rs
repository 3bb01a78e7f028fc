//! A whole run.

use crate::{nova_bench, read, text, works};
use benches::compare::{
    results::{Outcome, Results},
    variant::Variant,
};
use std::collections::BTreeSet;

/// Everything, as short as can be: results, the page, and what was printed.
fn smoke() -> (Results, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let (json, html) = (folder.path().join("b.json"), folder.path().join("b.html"));
    let said = works(&["--smoke", "--json", text(&json), "--html", text(&html), "--seed", "3"]);
    (read(&json), std::fs::read_to_string(html).unwrap(), said)
}

#[test]
fn everything_runs_is_verified_and_is_in_table_json_and_page() {
    let (results, page, said) = smoke();
    let failures: Vec<String> = results
        .panels
        .iter()
        .flat_map(|panel| panel.rows.iter().map(move |row| (panel, row)))
        .filter_map(|(panel, row)| match &row.outcome {
            Outcome::Failed(why) => Some(format!("{}: {}: {why}", panel.title(), row.name())),
            _ => None,
        })
        .collect();
    assert!(failures.is_empty(), "{failures:#?}");

    let workloads: BTreeSet<&str> = results.panels.iter().map(|panel| panel.workload.as_str()).collect();
    for workload in [
        "counter",
        "record update",
        "transfer",
        "transaction",
        "insert",
        "get",
        "scan",
        "delete",
        "ycsb-a",
        "ycsb-b",
        "ycsb-c",
        "ycsb-d",
        "ycsb-e",
        "ycsb-f",
        "log append",
        "queue",
        "create",
        "append",
        "overwrite",
        "read",
        "rename",
    ] {
        assert!(workloads.contains(workload), "{workload} of {workloads:?}");
    }
    let measured =
        || results.panels.iter().flat_map(|panel| &panel.rows).filter(|row| row.measured().is_some());
    let variants: BTreeSet<Variant> = measured().map(|row| row.variant).collect();
    let missing: Vec<Variant> =
        Variant::ALL.into_iter().filter(|variant| !variants.contains(variant)).collect();
    assert_eq!(missing, [Variant::Peer], "peers were not asked for, the others have to be there");
    let ranges: Vec<u64> = results.panels.iter().filter_map(|panel| panel.ranges).collect();
    assert_eq!(ranges, [1, 2, 4, 8, 16, 32, 64]);
    assert!(results.panels.iter().any(|panel| panel.threads == 2));
    assert_eq!((results.run.seed, results.run.rounds, results.traces.len()), (3, 3, 6));
    for measured in measured().filter_map(|row| row.measured()) {
        assert_eq!(measured.wall_ns.len(), 3);
        assert!(!measured.latencies_ns.is_empty());
    }

    // The numbers of the page are those of the JSON, and the table has the same rows.
    crate::page::agrees(&page, &results);
    for row in measured() {
        assert!(said.contains(&row.name()), "{} is not in the table", row.name());
    }
    assert!(said.contains("not run: redb"), "{said}");
    crate::page::stands_alone(&page);
    crate::page::opens_in_a_browser(&page);
}

#[test]
fn lines_and_drains_are_those_that_are_promised() {
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("b.json");
    works(&["--smoke", "--only", "records", "--json", text(&json)]);
    let results = read(&json);
    let costs = |workload: &str, variant| {
        let panels = results.panels.iter().filter(|panel| panel.workload == workload && panel.threads == 1);
        let rows = panels.flat_map(|panel| &panel.rows).filter(move |row| row.variant == variant);
        rows.filter_map(|row| row.measured()).map(|measured| measured.cost.unwrap()).collect::<Vec<_>>()
    };
    for (workload, variant, drains) in [
        ("record update", Variant::Unordered, 0.0),
        ("record update", Variant::HandOrdered, 2.0),
        ("record update", Variant::Slot, 1.0),
        ("record update", Variant::Redo, 1.0),
        ("record update", Variant::Undo, 3.0),
        ("transfer", Variant::Redo, 1.0),
        ("transfer", Variant::Undo, 3.0),
        ("counter", Variant::Redo, 1.0),
    ] {
        let costs = costs(workload, variant);
        assert!(!costs.is_empty());
        for cost in costs {
            // A checkpoint now and then takes two drains more.
            assert!((drains..drains + 0.1).contains(&cost.drains), "{workload}, {variant:?}: {cost:?}");
        }
    }
}

#[test]
fn help_and_wrong_arguments() {
    assert!(works(&["--help"]).contains("--build-peers"));
    for arguments in [&["--nothing"][..], &["--compare", "one"], &["--seed", "many"]] {
        assert_eq!(nova_bench(arguments).status.code(), Some(2), "{arguments:?}");
    }
    let said = crate::fails(&["--smoke", "--html", "/nowhere/at/all.html"]);
    assert!(said.contains("/nowhere/at/all.html cannot be written"), "{said}");
}
