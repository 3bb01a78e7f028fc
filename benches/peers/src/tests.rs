//! Each store under each workload, a little of it, verified.

use crate::{
    protocol::{Distribution, Open},
    round::Running,
    serve::serve,
    store::{Options, Session},
    stores, workload,
};
use serde_json::{Value, json};
use std::path::Path;

fn open(folder: &Path, workload: &str, threads: u64) -> Open {
    Open {
        peer: String::new(),
        workload: workload.into(),
        entries: 500,
        threads,
        seed: 7,
        folder: folder.into(),
        durable: true,
        distribution: Distribution::Zipfian,
    }
}

fn folder() -> tempfile::TempDir {
    let shm = Path::new("/dev/shm");
    if shm.is_dir() { tempfile::tempdir_in(shm) } else { tempfile::tempdir() }.expect("a folder")
}

fn every_workload(threads: u64) {
    for peer in stores::ALL {
        for workload in peer.workloads {
            let folder = folder();
            let said = || format!("{}, {workload}, {threads} threads", peer.name);
            println!("{}", said());
            let mut running = Running::new(peer, open(folder.path(), workload, threads))
                .unwrap_or_else(|failure| panic!("{}: {failure}", said()));
            for operations in [100, 301] {
                running.prepare(operations).unwrap_or_else(|failure| panic!("{}: {failure}", said()));
                let timed =
                    running.round(operations).unwrap_or_else(|failure| panic!("{}: {failure}", said()));
                assert_eq!((timed.operations, timed.latencies_ns.len() as u64), (operations, operations));
                assert!(timed.ns > 0);
            }
            running.close().unwrap_or_else(|failure| panic!("{}: {failure}", said()));
            assert_eq!(folder.path().read_dir().expect("a folder").count(), 0, "{} leaves files", said());
        }
    }
}

#[test]
fn every_store_holds_what_each_workload_of_one_thread_left() {
    every_workload(1);
}

#[test]
fn every_store_holds_what_each_workload_of_two_threads_left() {
    every_workload(2);
}

#[test]
fn a_queue_goes_on_where_it_was_after_it_was_opened_again() {
    for peer in stores::ALL.iter().filter(|peer| peer.workloads.contains(&"queue")) {
        let folder = folder();
        let options =
            Options { folder: folder.path(), durable: true, shape: workload::Shape::Sequence, entries: 10 };
        let element = |key| crate::value::Value::new(key, 0, 64);
        let pop = |session: &mut dyn Session| {
            let mut key = None;
            let found = session.pop(&mut |value| key = Some(crate::value::key_of(value))).expect("a pop");
            assert_eq!(found, key.is_some(), "{}", peer.name);
            key
        };
        let mut popped = Vec::new();
        for opened in [0, 1, 2] {
            let store = (peer.open)(&options).expect("a store");
            let mut session = store.session().expect("a session");
            (1..=3).for_each(|n| session.append(element(3 * opened + n).bytes()).expect("appended"));
            (0..2).for_each(|_| popped.extend(pop(&mut *session)));
            if opened == 2 {
                (0..4).for_each(|_| popped.extend(pop(&mut *session)));
            }
        }
        assert_eq!(popped, [1, 2, 3, 4, 5, 6, 7, 8, 9], "{}", peer.name);
    }
}

#[test]
fn a_store_that_has_another_value_or_none_is_found_out() {
    let folder = folder();
    let peer = &stores::ALL[0];
    for break_it in [
        |session: &mut dyn crate::store::Session, key| session.put(key, &[1; 100]),
        |session: &mut dyn crate::store::Session, key| session.delete(key).map(drop),
        |session: &mut dyn crate::store::Session, _| {
            session.put(3, crate::value::Value::new(3, 0, 100).bytes())
        },
    ] {
        let mut running = Running::new(peer, open(folder.path(), "insert", 1)).expect("a store");
        running.round(10).expect("inserted");
        let key = crate::value::key(7, 505);
        break_it(running.session(), key).expect("broken");
        assert!(running.close().is_err());
    }
}

/// Asks, and reads the answers.
fn ask(questions: &[Value]) -> Vec<Value> {
    let text: String = questions.iter().map(|question| format!("{question}\n")).collect();
    let mut answers = Vec::new();
    serve(text.as_bytes(), &mut answers).expect("served");
    let text = String::from_utf8(answers).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn a_session_of_questions_is_answered_line_by_line() {
    let folder = folder();
    let answers = ask(&[
        json!({"do": "list"}),
        json!({"do": "open", "peer": "redb", "workload": "ycsb-a", "entries": 1000, "threads": 1, "seed": 1, "folder": folder.path(),
               "durable": true, "distribution": "zipfian"}),
        json!({"do": "round", "operations": 2500}),
        json!({"do": "close"}),
    ]);
    let peers = answers[0]["peers"].as_array().expect("a list");
    assert!(
        peers.iter().any(|peer| peer["peer"] == "redb"
            && peer["version"].as_str().is_some_and(|v| v.starts_with("redb 4")))
    );
    assert_eq!(answers[1]["ok"], true);
    assert_eq!(answers[2]["operations"], 2500);
    let latencies = answers[2]["latencies_ns"].as_array().expect("latencies");
    assert!((500..=1000).contains(&latencies.len()), "{}", latencies.len());
    assert_eq!(answers[3], json!({"ok": true}));
}

#[test]
fn what_cannot_be_done_is_answered_with_what_to_do_and_the_next_question_is_heard() {
    let folder = folder();
    let question = |peer: &str, workload: &str, entries: u64| json!({"do": "open", "peer": peer, "workload": workload, "entries": entries, "folder": folder.path()});
    let cases = [
        (json!({"do": "dance"}), "list"),
        (json!({"do": "round", "operations": 1}), "open a store first"),
        (json!({"do": "close"}), "no store is open"),
        (question("none", "get", 10), "there are redb"),
        (question("redb", "none", 10), "there are record"),
        (question("redb", "get", 0), "entries"),
        (question("redb", "transfer", 7), "8 entries"),
        (json!({"do": "open", "peer": "redb", "workload": "get", "entries": 1, "folder": "/none"}), "folder"),
    ];
    let questions: Vec<Value> = cases.iter().map(|(question, _)| question.clone()).collect();
    for (answer, (question, says)) in ask(&questions).iter().zip(&cases) {
        let error = answer["error"].as_str().unwrap_or_else(|| panic!("{question}: {answer}"));
        assert!(error.contains(says), "{question}: {error}");
    }
    let delete = |operations: u64| json!({"do": "round", "operations": operations});
    let answers = ask(&[
        question("redb", "delete", 10),
        delete(11),
        question("redb", "get", 1),
        delete(10),
        delete(4),
        json!({"do": "close"}),
    ]);
    assert!(answers[1]["error"].as_str().is_some_and(|error| error.contains("fewer operations")));
    assert!(answers[2]["error"].as_str().is_some_and(|error| error.contains("close")));
    assert_eq!((&answers[3]["operations"], &answers[4]["operations"]), (&json!(10), &json!(4)));
    assert_eq!(answers[5], json!({"ok": true}));
}

#[test]
fn every_name_is_that_of_a_workload() {
    for peer in stores::ALL {
        for name in peer.workloads {
            assert!(workload::Workload::named(name).is_ok(), "{name}");
        }
    }
}
