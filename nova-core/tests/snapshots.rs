//! Snapshots: what calls promise, at random against copies, and beside threads that go on.

mod image;

use image::{ROOT_USER, assert_same, code, everything, quiet};
use nova_core::*;
use pmem_map::Mapping;
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering::SeqCst},
};

/// Says that threads are to end, also when a check fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

fn volume(bytes: u64) -> Nova {
    FormatOptions::new().stripes(2).format(Mapping::memfd(bytes).unwrap(), quiet()).unwrap()
}

fn clean(nova: &Nova) {
    let report = nova.fsck().unwrap();
    assert!(report.is_clean() && report.busy == 0, "{report}");
    assert_eq!(report.free_blocks, nova.statfs().free);
}

#[test]
fn names_of_snapshots_are_checked() {
    let nova = volume(4 << 20);
    nova.create_snapshot("a b.ä").unwrap();
    assert_eq!(code(nova.create_snapshot("a b.ä")), Code::Exists);
    for bad in ["", "a/b", "a\nb", "\0"] {
        assert_eq!(code(nova.create_snapshot(bad)), Code::Invalid, "{bad:?}");
    }
    nova.create_snapshot(&"n".repeat(255)).unwrap();
    assert_eq!(code(nova.create_snapshot(&"n".repeat(256))), Code::NameTooLong);
    assert_eq!(code(nova.mount_snapshot("b")), Code::NotFound);
    assert_eq!(code(nova.delete_snapshot("b")), Code::NotFound);
    assert_eq!(code(nova.snapshot("b")), Code::NotFound);
    assert_eq!(nova.snapshots().iter().map(|one| one.epoch).collect::<Vec<_>>(), [1, 2]);
    clean(&nova);
}

#[test]
fn unmounting_a_snapshot_leaves_the_live_volume_mounted() {
    let nova = volume(4 << 20);
    nova.create_snapshot("s").unwrap();
    let past = nova.mount_snapshot("s").unwrap();
    assert!(matches!(past.unmount(), Err(Error::InUse { handles: 1 })));
    nova.create_new("/f").unwrap();
    nova.delete_snapshot("s").unwrap();
    nova.create_snapshot("t").unwrap();
    let past = nova.mount_snapshot("t").unwrap();
    drop(nova);
    let nova = quiet().mount(past.unmount().unwrap()).unwrap();
    assert!(nova.mount_report().clean && nova.exists("/f"));
}

#[test]
fn a_snapshot_is_read_only_and_keeps_the_volume_mounted() {
    let nova = volume(4 << 20);
    nova.create_new("/f").unwrap().append(b"old").unwrap();
    nova.create_snapshot("s").unwrap();
    nova.open("/f").unwrap().append(b" and new").unwrap();
    let past = nova.mount_snapshot("s").unwrap();
    assert!(past.is_read_only() && past.snapshot_name().as_deref() == Some("s"));
    assert_eq!(nova.snapshot_name(), None);
    assert_eq!(past.read_file("/f").unwrap(), b"old");
    assert_eq!(code(past.create_new("/g").map(drop)), Code::ReadOnly);
    assert_eq!(code(past.open("/f").unwrap().write_at(0, b"x")), Code::ReadOnly);
    assert_eq!(code(past.open("/f").unwrap().map_read().map(drop)), Code::NotSupported);
    assert_eq!(code(past.create_snapshot("t")), Code::ReadOnly);
    assert_eq!(code(past.delete_snapshot("s")), Code::ReadOnly);
    assert_eq!(code(past.mount_snapshot("s").map(drop)), Code::NotSupported);
    assert_eq!(code(nova.delete_snapshot("s")), Code::Busy);
    clean(&past);
    let again = nova.mount_snapshot("s").unwrap();
    drop(past);
    assert_eq!(code(nova.delete_snapshot("s")), Code::Busy);
    let Err(Error::InUse { .. }) = nova.clone().unmount() else { panic!("it is in use") };
    drop(again);
    nova.delete_snapshot("s").unwrap();
    assert_eq!(nova.read_file("/f").unwrap(), b"old and new");
    clean(&nova);
}

#[test]
fn making_a_snapshot_costs_two_drains_and_a_first_change_three_lines() {
    let nova = volume(64 << 20);
    for n in 0..2000 {
        nova.create_new(format!("/{n}")).unwrap().append(&[7; 5000]).unwrap();
    }
    let before = nova.counters();
    nova.create_snapshot("s").unwrap();
    let made = nova.counters() - before;
    assert!(made.drains == 2 && made.lines() <= 16, "{made:?}: whatever there is, it costs the same");
    let chmod_all = |mode| {
        let before = nova.counters();
        for n in 0..2000 {
            let set = SetAttr { mode: Some(mode), ..SetAttr::default() };
            nova.set_metadata(format!("/{n}"), &set).unwrap();
        }
        let cost = nova.counters() - before;
        (cost.lines() as f64 / 2000.0, cost.drains as f64 / 2000.0)
    };
    let (first, second) = (chmod_all(0o600), chmod_all(0o640));
    println!("budget | setattr, the first after a snapshot: {:.2} lines, {:.3} drains", first.0, first.1);
    println!("budget | setattr, later: {:.2} lines, {:.3} drains", second.0, second.1);
    assert!(first.1 < 1.01 && second.1 < 1.01, "no drain more");
    // In the record and in its place: the entry's three lines, and the snapshot's; a page now and then.
    assert!(first.0 - second.0 < 8.5, "{first:?}, {second:?}");
}

#[test]
fn what_snapshots_cost_is_said_and_comes_back() {
    let nova = volume(16 << 20);
    nova.create_new("/f").unwrap().write_at(0, &vec![1; 1 << 20]).unwrap();
    let free = nova.statfs().free;
    nova.create_snapshot("a").unwrap();
    assert_eq!(nova.snapshot("a").unwrap().unique, 0);
    nova.open("/f").unwrap().write_at(0, &[2; 40_960]).unwrap();
    nova.create_snapshot("b").unwrap();
    assert_eq!(nova.snapshot("a").unwrap().unique, 10);
    nova.remove_file("/f").unwrap();
    let (a, b) = (nova.snapshot("a").unwrap(), nova.snapshot("b").unwrap());
    // Blocks of the file, and its log's page; what both have is neither's alone.
    assert_eq!((a.unique, b.unique), (10, 10), "{a:?} {b:?}");
    nova.delete_snapshot("a").unwrap();
    assert_eq!(nova.snapshot("b").unwrap().unique, 257);
    let past = nova.mount_snapshot("b").unwrap();
    assert_eq!(past.read_file("/f").unwrap()[..40_960], [2; 40_960]);
    drop(past);
    nova.delete_snapshot("b").unwrap();
    nova.sync().unwrap();
    assert_eq!(nova.statfs().free, free + 257);
    clean(&nova);
}

#[test]
fn no_space_is_an_error_and_deleting_a_snapshot_helps() {
    let nova = volume(2 << 20);
    let file = nova.create_new("/f").unwrap();
    let mut len = 0;
    while file.append(&[3; 4096]).is_ok() {
        len += 4096;
    }
    file.set_len(len - 40_960).unwrap();
    nova.create_snapshot("s").unwrap();
    let mut overwritten = 0;
    while overwritten < len && file.write_at(overwritten, &[4; 4096]).is_ok() {
        overwritten += 4096;
    }
    assert!(overwritten < len / 2, "the snapshot has the other half");
    assert_eq!(code(file.write_at(overwritten, &[4; 4096])), Code::NoSpace);
    assert_eq!(nova.mount_snapshot("s").unwrap().read_file("/f").unwrap(), vec![3; len as usize - 40_960]);
    clean(&nova);
    nova.delete_snapshot("s").unwrap();
    file.write_at(overwritten, &[4; 4096]).unwrap();
    clean(&nova);
}

/// One random change of a small tree.
fn change(nova: &Nova, random: &mut fastrand::Rng) {
    let path = |random: &mut fastrand::Rng| {
        let dir = ["", "/a", "/b"][random.usize(..3)];
        format!("{dir}/{}", random.u8(..6))
    };
    let (one, other) = (path(random), path(random));
    // What cannot be done is not done: the copies are taken of what is there.
    let _ = match random.u8(..12) {
        0 | 1 => nova.create_new(&one).map(drop),
        2 => nova.create_dir(["/a", "/b"][random.usize(..2)]),
        3 => nova.remove_file(&one),
        4 => nova.rename_path(&one, &other),
        5 => nova.hard_link(&one, &other),
        6 => nova.open(&one).and_then(|file| file.set_len(random.u64(..30_000))),
        7 => nova.open(&one).and_then(|file| {
            let from = nova.open(&other)?;
            file.copy_from(&from, 0, 0, from.len()?).map(drop)
        }),
        8 => nova.metadata(&one).and_then(|stat| {
            let value = vec![random.u8(..); random.usize(..400)];
            nova.set_attribute(stat.ino, b"user.x", &value, AttributeMode::Set, ROOT_USER)
        }),
        9 => nova.open(&one).and_then(|file| {
            let how = [Allocate::Zero, Allocate::PunchHole, Allocate::Grow][random.usize(..3)];
            file.allocate(random.u64(..20_000), random.u64(1..9000), how)
        }),
        _ => nova.open(&one).and_then(|file| {
            let bytes = vec![random.u8(..); random.usize(1..9000)];
            file.write_at(random.u64(..20_000), &bytes)
        }),
    };
}

#[test]
fn snapshots_agree_with_copies_over_unmounts_and_crashes() {
    for seed in 0..6 {
        let mut random = fastrand::Rng::with_seed(seed);
        let image = image::Image::new(8 << 20);
        let mut nova = image.format(FormatOptions::new().stripes(2));
        let mut copies = BTreeMap::new();
        let mut number = 0;
        for step in 0..1500 {
            match random.u16(..600) {
                0..12 if copies.len() < 6 => {
                    number += 1;
                    let name = format!("s{number}");
                    nova.create_snapshot(&name).unwrap();
                    copies.insert(name, everything(&nova));
                }
                12..20 if !copies.is_empty() => {
                    let name = copies.keys().nth(random.usize(..copies.len())).unwrap().clone();
                    nova.delete_snapshot(&name).unwrap();
                    copies.remove(&name);
                }
                20..24 => {
                    nova.unmount().unwrap();
                    nova = image.mount();
                    assert!(nova.mount_report().clean);
                }
                24..28 => {
                    let bytes = image.bytes();
                    let crashed = image::after_crash(&bytes);
                    compare(&crashed, &copies, &format!("seed {seed}, step {step}, after a crash"));
                    assert_same(&everything(&nova), &everything(&crashed), "the live files after a crash");
                }
                28..40 => compare(&nova, &copies, &format!("seed {seed}, step {step}")),
                _ => change(&nova, &mut random),
            }
        }
        compare(&nova, &copies, "at the end");
    }
}

fn compare(nova: &Nova, copies: &BTreeMap<String, image::Everything>, when: &str) {
    clean(nova);
    let names: Vec<String> = nova.snapshots().into_iter().map(|one| one.name).collect();
    assert!(
        names.len() == copies.len() && names.iter().all(|name| copies.contains_key(name)),
        "{when}: {names:?}"
    );
    for (name, copy) in copies {
        assert_same(
            &everything(&nova.mount_snapshot(name).unwrap()),
            copy,
            &format!("{when}: snapshot {name}"),
        );
    }
}

#[test]
fn snapshots_are_read_while_threads_go_on() {
    let nova = volume(32 << 20);
    for n in 0..40 {
        nova.create_new(format!("/{n}")).unwrap().append(&[n; 6000]).unwrap();
    }
    let (stop, made) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let _stop = Stop(&stop);
        for thread in 0..2u64 {
            let (nova, stop) = (&nova, &stop);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(thread);
                while !stop.load(SeqCst) {
                    let n = random.u8(..40);
                    // Both halves of a file say the same, or it is not there.
                    if n % 8 == 7 {
                        let _ = nova.rename_path(format!("/{n}"), format!("/{}", 100 + n));
                        let _ = nova.rename_path(format!("/{}", 100 + n), format!("/{n}"));
                    } else if let Ok(file) = nova.open(format!("/{n}")) {
                        file.write_at(0, &vec![random.u8(..); 6000]).unwrap();
                    }
                }
            });
        }
        for round in 0..150 {
            let name = format!("s{round}");
            nova.create_snapshot(&name).unwrap();
            made.store(true, SeqCst);
            let past = nova.mount_snapshot(&name).unwrap();
            let first = everything(&past);
            for (path, seen) in &first {
                for (_, bytes) in &seen.data {
                    assert!(bytes.iter().all(|byte| *byte == bytes[0]), "{path:?} in {name} is torn");
                }
            }
            assert_eq!(first.len(), 41, "{name}: no file is missing, or there twice");
            std::thread::yield_now();
            drop(past);
            assert_same(&first, &everything(&nova.mount_snapshot(&name).unwrap()), "the same again");
            if round > 3 {
                nova.delete_snapshot(&format!("s{}", round - 3)).unwrap();
            }
        }
    });
    clean(&nova);
}
