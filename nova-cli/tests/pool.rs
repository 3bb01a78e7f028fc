//! Pools: made, filled, looked into, packed, by the command and by a program that has the types; each reads what the other wrote.

mod command;

use command::{fails, json, nova, works, write};
use pmem_collections::*;
use std::{collections::BTreeMap, fs};

#[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
struct Account {
    owner: u64,
    cents: i64,
}

impl Plain for Account {
    const NAME: &'static str = "bank.Account";
    const FIELDS: Option<&'static [PlainField]> = fields!(Account { owner: u64, cents: i64 });
}

fn open(path: &str) -> Pool {
    // SAFETY: a file of this test alone.
    unsafe { PoolOptions::new().open(path) }.unwrap()
}

/// A pool with objects of many types.
fn filled(folder: &tempfile::TempDir) -> String {
    let path = folder.path().join("test.pool").to_str().unwrap().to_owned();
    works(&["pool", "create", &path, "--size", "4M", "--max-size", "64M", "--layout", "test"]);
    let pool = open(&path);
    pool.write(|tx| {
        let mut scores = tx.open::<PBTreeMap<i64, String>>("scores")?;
        for n in -500..500 {
            scores.insert(n, format!("score {n}"))?;
        }
        let mut words = tx.open::<PBTreeMap<String, u64>>("words")?;
        let mut ids = tx.open::<PHashMap<u64, Vec<u8>>>("ids")?;
        for n in 0..300u64 {
            words.insert(format!("wort-ä{n:03}"), n)?;
            ids.insert(n, &n.to_le_bytes()[..3])?;
        }
        tx.open::<PBTreeSet<u32>>("set")?.insert(7)?;
        tx.open::<PHashSet<String>>("names")?.insert("ada")?;
        tx.open::<PHashMap<[u8; 16], f64>>("keys")?.insert([9; 16], 1.5)?;
        tx.open::<PBTreeMap<u64, Account>>("accounts")?.insert(1, Account { owner: 2, cents: -3 })?;
        tx.open::<PBTreeMap<u64, (String, u32)>>("pairs")?.insert(5, ("x", 6))?;
        tx.open::<PHashMap<String, bool>>("flags")?.insert("1", false)?;
        tx.open::<PVec<u64>>("vector")?.push(1)?;
        tx.open::<PDeque<String>>("deque")?.push_back("x")?;
        tx.open::<PString>("string")?.push_str("remark")
    })
    .unwrap();
    pool.close().unwrap();
    path
}

#[test]
fn a_value_is_found_by_its_key_whatever_the_types() {
    let folder = tempfile::tempdir().unwrap();
    let pool = filled(&folder);
    let get = |object: &str, key: &str| works(&["pool", "get", &pool, object, key]).trim_end().to_owned();
    assert_eq!(get("scores", "12"), "score 12");
    assert_eq!(works(&["pool", "get", &pool, "scores", "--", "-500"]), "score -500\n");
    assert_eq!(get("words", "wort-ä299"), "299");
    assert_eq!(get("ids", "258"), "0x020100");
    assert_eq!(get("set", "7"), "()");
    assert_eq!(get("names", "ada"), "()");
    assert_eq!(get("keys", "0x09090909090909090909090909090909"), "1.5");
    assert_eq!(get("accounts", "1"), "0x0200000000000000fdffffffffffffff");
    assert!(get("pairs", "5").starts_with("0x"));
    assert_eq!(json(&["pool", "get", "--json", &pool, "scores", "3"])["value"], "score 3");
    assert!(fails(&["pool", "get", &pool, "scores", "1000"]).contains("no key 1000"));
    assert!(fails(&["pool", "get", &pool, "scores", "x"]).contains("not a number"));
    assert!(fails(&["pool", "get", &pool, "missing", "x"]).contains("scores"), "it says what there is");
    assert!(fails(&["pool", "get", &pool, "vector", "0"]).contains("PVec"));
}

#[test]
fn what_the_command_puts_a_program_with_the_types_reads() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(&folder);
    assert_eq!(works(&["pool", "put", &path, "scores", "7", "seven"]), "replaced 7\n");
    assert_eq!(works(&["pool", "put", &path, "scores", "--", "-1000", "least"]), "added -1000\n");
    assert_eq!(works(&["pool", "put", &path, "set", "8"]), "added 8\n");
    assert_eq!(works(&["pool", "put", &path, "names", "grace"]), "added grace\n");
    works(&["pool", "put", &path, "ids", "1000", "0xffee"]);
    works(&["pool", "put", &path, "flags", "2.5", "true"]);
    // Into every part of a tree of strings: splits take separators.
    for n in 0..150 {
        works(&["pool", "put", &path, "words", &format!("{}ü{n}", n % 7), &n.to_string()]);
    }
    assert!(fails(&["pool", "put", &path, "accounts", "1", "x"]).contains("bank.Account"));
    assert!(
        fails(&["pool", "put", &path, "keys", "0x00000000000000000000000000000001", "2.5"])
            .contains("[u8; 16]")
    );
    assert!(fails(&["pool", "put", &path, "set", "9", "value"]).contains("nothing"));
    let pool = open(&path);
    let tx = pool.read().unwrap();
    let scores = tx.open::<PBTreeMap<i64, String>>("scores").unwrap();
    assert_eq!((scores.get(7).unwrap(), scores.first().unwrap()), (Some("seven"), Some((&-1000, "least"))));
    assert_eq!(scores.len(), 1001);
    scores.check().unwrap();
    let words = tx.open::<PBTreeMap<String, u64>>("words").unwrap();
    words.check().unwrap();
    let found: BTreeMap<String, u64> =
        words.iter().map(|entry| entry.unwrap()).map(|(k, v)| (k.to_owned(), *v)).collect();
    let right =
        (0..300).map(|n| (format!("wort-ä{n:03}"), n)).chain((0..150).map(|n| (format!("{}ü{n}", n % 7), n)));
    assert_eq!(found, right.collect());
    assert!(tx.open::<PBTreeSet<u32>>("set").unwrap().contains(8).unwrap());
    assert!(tx.open::<PHashSet<String>>("names").unwrap().contains("grace").unwrap());
    assert_eq!(tx.open::<PHashMap<u64, Vec<u8>>>("ids").unwrap().get(1000).unwrap(), Some(&[0xff, 0xee][..]));
    assert_eq!(tx.open::<PHashMap<String, bool>>("flags").unwrap().get("2.5").unwrap(), Some(&true));
}

#[test]
fn a_scan_is_in_order_from_a_key_on() {
    let folder = tempfile::tempdir().unwrap();
    let pool = filled(&folder);
    let lines = works(&["pool", "scan", &pool, "scores", "--from=-2", "--limit", "4"]);
    assert_eq!(lines, "-2\tscore -2\n-1\tscore -1\n0\tscore 0\n1\tscore 1\n");
    assert_eq!(works(&["pool", "scan", &pool, "scores"]).lines().count(), 1000);
    assert_eq!(works(&["pool", "scan", &pool, "words", "--from", "wort-ä298"]).lines().count(), 2);
    assert_eq!(works(&["pool", "scan", &pool, "set"]), "7\n");
    let entries = json(&["pool", "scan", "--json", &pool, "ids"]);
    assert_eq!(entries.as_array().unwrap().len(), 300);
    assert!(fails(&["pool", "scan", &pool, "ids", "--from", "3"]).contains("no order"));
    assert_eq!(works(&["pool", "scan", &pool, "scores", "--limit", "0"]), "");
}

#[test]
fn a_dump_has_every_object_and_the_fields_of_its_types() {
    let folder = tempfile::tempdir().unwrap();
    let pool = filled(&folder);
    let dump = works(&["pool", "dump", &pool]);
    for part in [
        "scores: PBTreeMap<i64, str>",
        "  -500\tscore -500",
        "cents: i64 @8",
        "vector: PVec<u64>",
        "not shown",
    ] {
        assert!(dump.contains(part), "{part}");
    }
    let all = json(&["pool", "dump", "--json", "--limit", "5", &pool]);
    let scores = all.as_array().unwrap().iter().find(|object| object["name"] == "scores").unwrap();
    assert_eq!(scores["entries"].as_array().unwrap().len(), 5);
    assert_eq!(json(&["pool", "dump", "--json", &pool, "set"])[0]["entries"][0]["key"], 7);
}

#[test]
fn a_pool_grows_and_is_packed_with_all_that_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(&folder);
    works(&["pool", "grow", &path, "16M"]);
    assert!(fails(&["pool", "grow", &path, "1G"]).contains("max_size"));
    works(&["pool", "grow", &path, "1M", "--max-size", "128M"]);
    let before = json(&["pool", "info", "--json", &path]);
    assert!(before["size"].as_u64().unwrap() >= 21 << 20 && before["max_size"] == 128 << 20, "{before}");
    let dump = works(&["pool", "dump", &path]);
    let done = json(&["pool", "compact", "--json", &path]);
    let len = fs::metadata(&path).unwrap().len();
    assert!(done["before"] == before["size"] && done["after"] == len && len < 4 << 20, "{done}");
    assert_eq!(works(&["pool", "dump", &path]), dump);
    let pool = open(&path);
    pool.register::<PBTreeMap<u64, Account>>();
    let report = pool.check().unwrap();
    assert!(report.is_ok(), "{report}");
    let tx = pool.read().unwrap();
    let account = *tx.open::<PBTreeMap<u64, Account>>("accounts").unwrap().get(1).unwrap().unwrap();
    assert_eq!(account, Account { owner: 2, cents: -3 });
    tx.open::<PBTreeMap<String, u64>>("words").unwrap().check().unwrap();
}

#[test]
fn a_check_follows_maps_whose_types_only_the_pool_knows() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(&folder);
    let said = json(&["pool", "check", "--json", &path]);
    let untraced = |name: &str| {
        let objects = said["objects"].as_array().unwrap();
        let object = objects.iter().find(|object| object["name"] == name).unwrap();
        !object["not_traced"].as_array().unwrap().is_empty()
    };
    for name in [
        "scores", "words", "ids", "set", "names", "keys", "accounts", "pairs", "flags", "vector", "deque",
        "string",
    ] {
        assert!(!untraced(name), "{name}: {said}");
    }
    assert!(said["ok"] == true && said["leaks"].as_array().unwrap().is_empty());
    assert!(works(&["pool", "check", &path]).contains("12 objects"));
}

#[test]
fn a_pool_is_drawn_and_its_figures_are_those_of_its_heap() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(&folder);
    let svg = folder.path().join("pool.svg");
    let drawn = works(&["pool", "map", &path, "--svg", svg.to_str().unwrap()]);
    assert!(drawn.contains("small blocks, most in use") && drawn.contains("OO"), "{drawn}");
    assert!(fs::read_to_string(svg).unwrap().contains("free: "));
    let (map, info) = (json(&["pool", "map", "--json", &path]), json(&["pool", "info", "--json", &path]));
    let of = |holds: &str| -> u64 {
        let stretches =
            map["stretches"].as_array().unwrap().iter().filter(|stretch| stretch["holds"] == holds);
        stretches.map(|stretch| stretch["len"].as_u64().unwrap()).sum()
    };
    assert_eq!(of("free"), info["free_pages"].as_u64().unwrap() * 4096);
    assert_eq!(of("free") + of("run") + of("large"), info["capacity"].as_u64().unwrap());
    let text = works(&["pool", "info", &path]);
    assert!(text.contains("nothing to replay") && text.contains("blocks of"), "{text}");
}

#[test]
fn no_pool_is_made_over_something_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = filled(&folder);
    assert!(fails(&["pool", "create", &path]).contains("pool"));
    let foreign = write(&folder, "db", &[b"SQLite format 3\0".to_vec(), vec![0; 1 << 20]].concat());
    let foreign = foreign.to_str().unwrap();
    assert!(fails(&["pool", "create", foreign]).contains("SQLite"));
    works(&["pool", "create", foreign, "--force"]);
    assert!(works(&["pool", "check", foreign]).contains("0 objects"));
    assert!(fails(&["pool", "create", &format!("{path}2")]).contains("--size"));
    let blank = write(&folder, "blank", &vec![0; 1 << 20]);
    assert!(fails(&["pool", "create", blank.to_str().unwrap(), "--size", "2M"]).contains("already"));
    works(&["pool", "create", blank.to_str().unwrap()]);
    assert_eq!(nova(&["pool", "check", blank.to_str().unwrap()]).status.code(), Some(0));
}
