//! Other stores, by a program that speaks their protocol and stores nothing.

use crate::{fails, nova_bench, read, text};
use benches::compare::{
    results::{Outcome, Row},
    variant::Variant,
};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// A peer in shell. `round` answers a round, `operations` being how many were asked for.
fn peer(folder: &Path, round: &str) -> PathBuf {
    let script = format!(
        r#"#!/bin/bash
[ "$1" = serve ] || exit 9
while read -r request; do
    case "$request" in
    *'"do":"list"'*)
        echo '{{"peers":[{{"peer":"fake","version":"1.2","settings":"sync=always","workloads":["insert","get","ycsb-a"]}},{{"peer":"other","absent":"it was not compiled in"}}]}}' ;;
    *'"do":"open"'*)
        case "$request" in
        *'"peer":"fake"'*) echo '{{"ok":true}}' ;;
        *) echo '{{"error":"no such peer"}}' ;;
        esac ;;
    *'"do":"round"'*)
        operations="${{request##*\"operations\":}}"; operations="${{operations%%[!0-9]*}}"
        {round} ;;
    *'"do":"close"'*) echo '{{"ok":true}}' ;;
    *) echo '{{"error":"what?"}}' ;;
    esac
done
"#
    );
    let path = folder.join("peers");
    fs::write(&path, script).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// The peer's rows of a run of the inserts and gets, and whether the run succeeded.
fn rows(round: &str) -> (Vec<(String, Row)>, bool) {
    let folder = tempfile::tempdir().unwrap();
    let program = peer(folder.path(), round);
    let json = folder.path().join("b.json");
    let output = nova_bench(&[
        "--smoke",
        "--only",
        "maps",
        "--peers",
        text(&program),
        "--json",
        text(&json),
        "--disk",
        "/dev/shm",
    ]);
    let results = read(&json);
    let rows = results.panels.into_iter().flat_map(|panel| {
        let workload = panel.workload;
        panel.rows.into_iter().map(move |row| (workload.clone(), row))
    });
    (rows.filter(|(_, row)| row.variant == Variant::Peer).collect(), output.status.success())
}

#[test]
fn a_peer_stands_beside_the_others_with_version_and_settings() {
    let (rows, succeeded) = rows(
        r#"echo "{\"operations\":$operations,\"ns\":$((operations * 500)),\"latencies_ns\":[400,600]}""#,
    );
    assert!(succeeded);
    assert!(!rows.is_empty());
    let (absent, rows): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(_, row)| row.name() == "other");
    assert_eq!(absent.len(), rows.len());
    for (_, row) in absent {
        assert_eq!(row.outcome, Outcome::NotRun("it was not compiled in".into()));
    }
    for (workload, row) in rows {
        assert_eq!(row.name(), "fake");
        if ["insert", "get"].contains(&workload.as_str()) {
            let measured = row.measured().unwrap();
            assert_eq!(measured.wall_ns, [500.0; 3]);
            assert_eq!(measured.latencies_ns, [400, 600, 400, 600, 400, 600]);
            assert_eq!((measured.cpu_ns.as_ref(), measured.cost), (None, None));
            assert_eq!(row.settings.as_deref(), Some("1.2: sync=always"));
        } else {
            assert_eq!(row.outcome, Outcome::NotRun("it does not do this".into()));
        }
    }
}

#[test]
fn a_peer_that_fails_lies_or_ends_fails_its_own_row_alone() {
    for (round, words) in [
        (r#"echo '{"error":"the disk is full"}'"#, "the disk is full"),
        (r#"echo '{"operations":1,"ns":5,"latencies_ns":[]}'"#, "were asked for"),
        ("echo nonsense", "is none"),
        ("exit 3", "has ended"),
    ] {
        let (rows, succeeded) = rows(round);
        assert!(!succeeded, "a run with a row that failed is no success");
        let is_asked = |workload: &str, row: &Row| workload == "insert" && row.name() == "fake";
        let failed: Vec<&Row> =
            rows.iter().filter(|(workload, row)| is_asked(workload, row)).map(|(_, row)| row).collect();
        assert!(!failed.is_empty());
        for row in failed {
            let Outcome::Failed(why) = &row.outcome else { panic!("{row:?}") };
            assert!(why.contains(words), "{words}: {why}");
        }
    }
}

#[test]
fn a_program_that_is_no_peer_is_an_error_before_anything_is_measured() {
    assert!(fails(&["--smoke", "--peers", "/nowhere/peers"]).contains("/nowhere/peers cannot be run"));
    assert!(fails(&["--smoke", "--peers", "/bin/true"]).contains("the peer has ended"));
}
