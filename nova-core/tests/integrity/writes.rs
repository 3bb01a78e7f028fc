//! Content that is written in every way there is: its checksums are right, by all that reads them.

use crate::volume::{BLOCK, Protected, content, is_damaged, options, volume};
use nova_core::{Allocate, ScrubOptions};

#[test]
fn whatever_is_written_verifies_before_and_after_a_kill() {
    for (seed, protected) in (0..6).flat_map(|seed| [(seed, Protected::Checksums), (seed, Protected::Parity)])
    {
        let mut random = fastrand::Rng::with_seed(seed);
        let (memory, nova) = volume(2048, protected);
        let (f, g) = (nova.create_file("/f").unwrap(), nova.create_file("/g").unwrap());
        let mut model = Vec::new();
        for step in 0..120 {
            let (at, len) = (random.usize(..60_000), *random.choice(&[1, 60, 500, 2000, 9000]).unwrap());
            match random.u8(..12) {
                0..6 => {
                    let bytes = content(len, step);
                    model.resize(model.len().max(at + len), 0);
                    model[at..at + len].copy_from_slice(&bytes);
                    f.write_at(at as u64, &bytes).unwrap();
                }
                6..8 => {
                    model.extend_from_slice(&content(len, step));
                    f.append(&content(len, step)).unwrap();
                }
                8 => {
                    model.resize(at, 0);
                    f.set_len(at as u64).unwrap();
                }
                9 => {
                    let end = (at + len).min(model.len());
                    model[at.min(end)..end].fill(0);
                    let how = if step % 2 == 0 { Allocate::PunchHole } else { Allocate::ZeroKeepSize };
                    f.allocate(at as u64, len as u64, how).unwrap();
                }
                10 => {
                    g.set_len(0).unwrap();
                    if !model.is_empty() {
                        g.clone_range(&f, 0, 0, model.len() as u64).unwrap();
                    }
                }
                _ => f.allocate(at as u64, len as u64, Allocate::KeepSize).unwrap(),
            }
            assert!(f.read_to_end().unwrap() == model, "seed {seed}, step {step}");
        }
        assert_eq!(nova.repairs(), Default::default());
        for nova in [nova.clone(), options().mount(memory.killed()).unwrap()] {
            assert!(nova.read_file("/f").unwrap() == model);
            let report = nova.scrub(&ScrubOptions::new()).unwrap();
            assert!(report.damage.is_empty() && report.repairs == Default::default(), "{report:?}");
        }
    }
}

#[test]
fn a_small_write_into_a_damaged_stripe_repairs_it_first_or_is_refused() {
    for protected in [Protected::Checksums, Protected::Parity] {
        let (memory, nova) = volume(256, protected);
        let mut written = content(BLOCK as usize, 9);
        let f = nova.create_file("/f").unwrap();
        f.write_at(0, &written).unwrap();
        let at = memory.find(&written);
        memory.write(at + 1030, &[0; 40]);
        let result = f.write_at(1100, &[7; 20]);
        match protected {
            Protected::Checksums => assert!(is_damaged(&result), "{result:?}"),
            Protected::Parity => {
                result.unwrap();
                written[1100..1120].fill(7);
                assert!(f.read_to_end().unwrap() == written);
            }
        }
        assert!(nova.fsck().unwrap().is_clean());
    }
}

#[test]
fn readers_that_meet_the_same_damage_are_all_given_what_is_right() {
    let (memory, nova) = volume(512, Protected::Parity);
    let written = content(40 * BLOCK as usize, 1);
    nova.write_file("/f", &written).unwrap();
    let at = memory.find(&written);
    // Files that share the blocks have locks of their own.
    for n in 0..3 {
        let clone = nova.create_file(format!("/{n}")).unwrap();
        clone.clone_range(&nova.open("/f").unwrap(), 0, 0, written.len() as u64).unwrap();
    }
    for round in 0..20 {
        (0..40).for_each(|block| memory.write(at + block * BLOCK + 300 + 20 * round, &[round as u8; 500]));
        std::thread::scope(|scope| {
            for name in ["/f", "/0", "/1", "/2"] {
                let (nova, written) = (&nova, &written);
                scope.spawn(move || assert!(nova.read_file(name).unwrap() == *written));
            }
        });
        assert!(memory.read(at..at + written.len() as u64) == written, "round {round}");
    }
    assert_eq!(nova.repairs().damaged, 0);
}

#[test]
fn a_repair_of_metadata_leaves_content_protected() {
    let (memory, nova) = volume(512, Protected::Parity);
    let (one, other) = (content(9000, 1), content(12_000, 2));
    nova.write_file("/one", &one).unwrap();
    nova.write_file("/other", &other).unwrap();
    let mut mapping = nova.open("/other").unwrap().map().unwrap();
    mapping.write(5000, &[5; 100]).unwrap();
    let at = memory.find(&one);
    let killed = memory.killed();
    let mut bytes = killed;
    // The state line: everything is found again.
    bytes.as_mut_slice()[BLOCK as usize..][..64].fill(0xee);
    bytes.as_mut_slice()[at as usize + 10..][..100].fill(0);
    let (nova, report) = options().repair(bytes).unwrap();
    assert!(report.left.is_empty() && !report.problems.is_empty(), "{report}");
    assert!(nova.read_file("/one").unwrap() == one);
    let mut mapped = other;
    mapped[5000..5100].fill(5);
    assert!(nova.read_file("/other").unwrap() == mapped);
    let scrubbed = nova.scrub(&ScrubOptions::new()).unwrap();
    assert_eq!((scrubbed.damage.len(), scrubbed.unprotected), (0, 0), "{scrubbed:?}");
}

#[test]
fn targets_of_links_are_content_too() {
    let (memory, nova) = volume(256, Protected::Parity);
    let short: String = "target of a link".repeat(4);
    let long: String = "a long target of a link ".repeat(150);
    nova.symlink_path(&short, "/short").unwrap();
    nova.symlink_path(&long, "/long").unwrap();
    for (target, path) in [(&short, "/short"), (&long, "/long")] {
        let at = memory.find(target.as_bytes());
        memory.write(at + 3, b"???");
        let ino = nova.symlink_metadata(path).unwrap().ino;
        assert_eq!(nova.readlink(ino).unwrap(), target.as_bytes());
    }
    assert_eq!(nova.repairs().data, 2);
}

#[test]
fn relaxed_writes_are_atomic_where_content_is_protected() {
    let (memory, nova) = volume(256, Protected::Parity);
    let nova = options().in_place(true).mount({
        drop(memory);
        nova.unmount().unwrap()
    });
    let nova = nova.unwrap();
    nova.write_file("/f", &content(9000, 1)).unwrap();
    nova.open("/f").unwrap().write_at(100, &content(5000, 2)).unwrap();
    assert!(nova.read_file("/f").unwrap()[100..5100] == content(5000, 2));
    assert!(nova.scrub(&ScrubOptions::new()).unwrap().damage.is_empty());
}
