//! Deleting a snapshot hides it; what it leaves is cleaned up in the background, step by step, or by whoever needs the space.
#![allow(missing_docs)]

use nova_core::{BLOCK, Cleaning, Code, FormatOptions, MountOptions, Nova, StatFs};
use pmem_map::Mapping;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

fn options(cleaning: Cleaning) -> MountOptions {
    MountOptions::new().cleaning(cleaning)
}

fn volume(blocks: u64, cleaning: Cleaning) -> Nova {
    FormatOptions::new().format(Mapping::memfd(blocks * BLOCK).unwrap(), options(cleaning)).unwrap()
}

fn clean(nova: &Nova) -> StatFs {
    let report = nova.fsck().unwrap();
    assert!(report.is_clean(), "{report}");
    let now = nova.statfs();
    assert_eq!(report.free_blocks, now.free);
    now
}

fn file(nova: &Nova, path: &str, blocks: u64, what: u8) {
    nova.write_file(path, &vec![what; (blocks * BLOCK) as usize]).unwrap();
}

/// Snapshots `0` to `n`, between which a file of 50 blocks is overwritten and another changes its attributes.
fn history(nova: &Nova, n: u8) {
    for number in 0..n {
        file(nova, "/f", 50, number);
        file(nova, &format!("/g{number}"), 1, number);
        nova.create_snapshot(&number.to_string()).unwrap();
    }
}

#[test]
fn deleting_hides_and_steps_free_what_was_said_to_be_freeing() {
    let nova = volume(2048, Cleaning::ByHand);
    history(&nova, 5);
    nova.sync().unwrap();
    let before = nova.statfs();
    assert_eq!(before.freeing, 0);
    for name in ["1", "3", "2"] {
        nova.delete_snapshot(name).unwrap();
        assert_eq!(nova.snapshot(name).unwrap_err().code(), Some(Code::NotFound));
        assert_eq!(nova.mount_snapshot(name).unwrap_err().code(), Some(Code::NotFound));
    }
    let hidden = nova.statfs();
    assert!(hidden.free <= before.free && hidden.freeing >= 150, "{hidden:?}");
    let mut steps = 0;
    while nova.clean().unwrap() {
        steps += 1;
    }
    nova.sync().unwrap();
    let after = clean(&nova);
    println!("{steps} steps freed {} blocks of {}", after.free - before.free, hidden.freeing);
    assert!(steps >= 4, "what was held, and each snapshot: {steps}");
    assert_eq!(after.freeing, 0);
    // What is merged may take a page of a log more or less.
    assert!((after.free - hidden.free).abs_diff(hidden.freeing) <= 6, "{hidden:?}, {after:?}");
    for (name, what) in [("0", 0), ("4", 4)] {
        let past = nova.mount_snapshot(name).unwrap();
        assert!(past.read_file("/f").unwrap() == vec![what; 50 * BLOCK as usize]);
    }
}

#[test]
fn in_the_background_all_of_it_becomes_free() {
    let free: Vec<u64> = [Cleaning::AtOnce, Cleaning::Background]
        .map(|cleaning| {
            let nova = volume(2048, cleaning);
            history(&nova, 6);
            ["0", "2", "3", "5", "4", "1"].into_iter().for_each(|name| nova.delete_snapshot(name).unwrap());
            nova.sync().unwrap();
            assert!(nova.snapshots().is_empty() && nova.statfs().freeing == 0);
            clean(&nova).free
        })
        .to_vec();
    assert_eq!(free[0], free[1]);
}

#[test]
fn an_unmount_leaves_the_rest_to_the_next_mount() {
    let nova = volume(2048, Cleaning::ByHand);
    history(&nova, 4);
    nova.delete_snapshot("1").unwrap();
    nova.delete_snapshot("2").unwrap();
    nova.clean().unwrap();
    let mapping = nova.unmount().unwrap();
    // One that cleans up by itself: nothing else is to be done for it.
    let nova = options(Cleaning::Background).mount(mapping).unwrap();
    assert!(nova.mount_report().clean);
    while nova.statfs().freeing > 0 {
        std::thread::yield_now();
    }
    nova.sync().unwrap();
    assert!(!nova.clean().unwrap());
    clean(&nova);
    assert_eq!(nova.mount_snapshot("0").unwrap().read_file("/f").unwrap()[0], 0);
    // In the middle of it, whenever that is.
    for name in ["0", "3"] {
        nova.delete_snapshot(name).unwrap();
    }
    let nova = options(Cleaning::AtOnce).mount(nova.unmount().unwrap()).unwrap();
    assert!(nova.snapshots().is_empty() && nova.statfs().freeing == 0);
    nova.sync().unwrap();
    clean(&nova);
}

#[test]
fn whoever_has_no_space_cleans_up_first() {
    let nova = volume(1024, Cleaning::ByHand);
    // What only a deleted snapshot has.
    file(&nova, "/f", 600, 1);
    nova.create_snapshot("a").unwrap();
    nova.remove_file("/f").unwrap();
    nova.sync().unwrap();
    let full = nova.write_file("/g", &vec![2; 600 * BLOCK as usize]).unwrap_err();
    assert_eq!(full.code(), Some(Code::NoSpace));
    nova.delete_snapshot("a").unwrap();
    file(&nova, "/g", 600, 2);
    clean(&nova);
    nova.remove_file("/g").unwrap();
    // Copies of mapped pages, which a step frees that merges; of an operation, and of a snapshot.
    let f = nova.create_file("/f").unwrap();
    f.set_len(300 * BLOCK).unwrap();
    for turn in 0..4 {
        let mut mapping = f.map().unwrap();
        nova.create_snapshot("b").unwrap();
        (0..300).for_each(|page| mapping.write(page * BLOCK, &[turn; 8]).unwrap());
        nova.delete_snapshot("b").unwrap();
        if turn % 2 == 0 {
            drop(mapping);
            file(&nova, "/h", 400, 3);
            nova.remove_file("/h").unwrap();
        } else {
            file(&nova, "/i", 60, 4);
            nova.create_snapshot("c").unwrap();
            drop(mapping);
            nova.delete_snapshot("c").unwrap();
        }
    }
    while nova.clean().unwrap() {}
    nova.sync().unwrap();
    clean(&nova);
}

#[test]
fn threads_write_while_snapshots_come_and_go() {
    let nova = volume(8192, Cleaning::Background);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..3u8 {
            let (nova, stop) = (&nova, &stop);
            scope.spawn(move || {
                let mut round = 0u64;
                while !stop.load(SeqCst) {
                    let path = format!("/{thread}-{}", round % 20);
                    file(nova, &path, round % 7, thread);
                    if round % 5 == 0 {
                        let _ = nova.remove_file(format!("/{thread}-{}", (round + 3) % 20));
                    }
                    round += 1;
                }
            });
        }
        for round in 0..150 {
            nova.create_snapshot(&round.to_string()).unwrap();
            if round >= 4 {
                let name = [round - 4, round - 2, round - 3, round - 1][round % 4];
                let _ = nova.delete_snapshot(&name.to_string());
            }
        }
        stop.store(true, SeqCst);
    });
    for one in nova.snapshots() {
        nova.delete_snapshot(&one.name).unwrap();
    }
    nova.sync().unwrap();
    assert_eq!(clean(&nova).freeing, 0);
    let nova = Nova::mount(nova.unmount().unwrap()).unwrap();
    clean(&nova);
}
