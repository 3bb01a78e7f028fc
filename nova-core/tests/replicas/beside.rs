//! Scrubs and checks beside operations of other threads: what is being changed is never taken for damage, and damage that comes meanwhile is repaired.

use crate::volume::{BLOCK, BLOCKS, Memory, options};
use nova_core::{FormatOptions, Nova, ScrubOptions};
use pmem_map::{Granularity, MapOptions};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

const THREADS: u64 = 3;

/// Creates, writes, renames, and removes: in a directory of its own, and in one that all have.
fn operate(nova: &Nova, thread: u64) {
    let own = format!("/own-{thread}");
    nova.create_dir(&own).unwrap();
    for n in 0..150 {
        let name = format!("/shared/{thread}-{n}");
        nova.write_file(&name, &[n as u8; 300]).unwrap();
        nova.rename_path(&name, format!("{own}/{n}")).unwrap();
        if n % 10 != 0 {
            nova.remove_file(format!("{own}/{n}")).unwrap();
        }
    }
}

fn volume(granularity: Granularity) -> (Memory, Nova) {
    let mapping = MapOptions::new().len(BLOCKS * BLOCK).granularity(granularity).memfd().unwrap();
    let memory = Memory::of(&mapping);
    let nova = FormatOptions::new().stripes(2).replicas(true).format(mapping, options()).unwrap();
    nova.create_dir("/shared").unwrap();
    (memory, nova)
}

/// Runs the operations, and `beside` again and again, until they are done.
fn run(nova: &Nova, mut beside: impl FnMut()) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..THREADS).map(|n| scope.spawn(move || operate(nova, n))).collect();
        let done = &done;
        scope.spawn(move || {
            let results: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
            done.store(true, SeqCst);
            results.into_iter().for_each(|result| result.unwrap());
        });
        beside();
        while !done.load(SeqCst) {
            beside();
        }
    });
    for thread in 0..THREADS {
        assert!(nova.read_dir(format!("/own-{thread}")).unwrap().len() == 15);
        for n in (0..150).step_by(10) {
            assert_eq!(nova.read_file(format!("/own-{thread}/{n}")).unwrap(), [n as u8; 300]);
        }
    }
}

#[test]
fn what_operations_are_changing_is_not_taken_for_damage() {
    for granularity in [Granularity::CacheLine, Granularity::Page] {
        let (_memory, nova) = volume(granularity);
        run(&nova, || {
            let report = nova.scrub(&ScrubOptions::new()).unwrap();
            assert!(report.damage.is_empty() && report.repairs.metadata == 0, "{granularity:?}: {report:?}");
            let found = nova.fsck().unwrap();
            assert!(found.is_clean(), "{granularity:?}: {found}");
        });
        assert_eq!(nova.repairs().metadata, 0);
    }
}

#[test]
fn copies_that_are_damaged_meanwhile_are_repaired_and_nothing_is_lost() {
    let (memory, nova) = volume(Granularity::CacheLine);
    let shared = nova.file_anatomy(nova.metadata("/shared").unwrap().ino).unwrap();
    let places = [shared.identity.start, shared.state.start, BLOCK, nova.stripe_line(0).start];
    run(&nova, || {
        places.into_iter().for_each(|at| memory.write(at + BLOCK + 8, &[0x5a; 48]));
        let report = nova.scrub(&ScrubOptions::new()).unwrap();
        assert!(report.damage.is_empty(), "{report:?}");
    });
    assert!(nova.repairs().metadata > 0);
    nova.scrub(&ScrubOptions::new()).unwrap();
    let found = nova.fsck().unwrap();
    assert!(found.is_clean(), "{found}");
}
