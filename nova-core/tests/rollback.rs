//! Rolling back to snapshots: what is promised, and at random against copies.

#[path = "change/mod.rs"]
mod change;
mod image;

use change::{change, volume};
use image::{assert_same, code, everything, quiet};
use nova_core::*;
use std::collections::BTreeMap;

fn clean(nova: &Nova) {
    let report = nova.fsck().unwrap();
    assert!(report.is_clean() && report.busy == 0, "{report}");
    assert_eq!(report.free_blocks, nova.statfs().free);
}

#[test]
fn the_live_files_are_the_snapshots_again() {
    let nova = volume(8 << 20);
    nova.write_file("/kept", &[1; 50_000]).unwrap();
    nova.write_file("/gone", b"gone").unwrap();
    nova.create_snapshot("s").unwrap();
    let (then, free) = (everything(&nova), nova.statfs().free);
    nova.open("/kept").unwrap().write_at(10_000, &[2; 20_000]).unwrap();
    nova.remove_file("/gone").unwrap();
    nova.create_dir("/new").unwrap();
    let nova = nova.rollback("s").unwrap();
    assert_same(&everything(&nova), &then, "rolled back");
    clean(&nova);
    // Nothing was copied: the snapshot has its log, and the volume no block more. (New logs may have fewer pages.)
    assert!(nova.statfs().free + 4 >= free, "{} of {free}", nova.statfs().free);
    assert_eq!(nova.diff("s", None).unwrap(), []);
    nova.delete_snapshot("s").unwrap();
    assert_same(&everything(&nova), &then, "without the snapshot");
    clean(&nova);
}

#[test]
fn what_cannot_be_rolled_back_is_as_it_was() {
    let image = image::Image::new(4 << 20);
    let nova = image.format(FormatOptions::new());
    let file = nova.create_new("/f").unwrap();
    nova.create_snapshot("s").unwrap();
    assert!(matches!(nova.clone().rollback("s"), Err(Error::InUse { .. })));
    file.append(b"text").unwrap();
    drop(file);
    let past = nova.mount_snapshot("s").unwrap();
    assert_eq!(code(past.rollback("s")), Code::ReadOnly);
    assert_eq!(code(nova.rollback("t")), Code::NotFound);
    let nova = image.mount();
    assert_eq!(nova.read_file("/f").unwrap(), b"text");
    clean(&nova);
}

#[test]
fn without_space_for_copies_nothing_is_rolled_back() {
    let image = image::Image::new(2 << 20);
    let nova = image.format(FormatOptions::new());
    let file = nova.create_new("/f").unwrap();
    file.write_at(0, &[1; 400_000]).unwrap();
    nova.create_snapshot("a").unwrap();
    file.write_at(0, &[2; 400_000]).unwrap();
    nova.create_snapshot("b").unwrap();
    while file.append(&[3; 4096]).is_ok() {}
    drop(file);
    let live = everything(&nova);
    assert_eq!(code(nova.rollback("a")), Code::NoSpace);
    let nova = image.mount();
    assert_same(&everything(&nova), &live, "as it was");
    clean(&nova);
    // The newest needs no copies.
    let nova = nova.rollback("b").unwrap();
    assert_eq!(nova.read_file("/f").unwrap(), [2; 400_000]);
    let nova = nova.rollback("a").unwrap();
    assert_eq!(nova.read_file("/f").unwrap(), [1; 400_000]);
    assert_eq!(nova.mount_snapshot("b").unwrap().read_file("/f").unwrap(), [2; 400_000]);
    clean(&nova);
}

#[test]
fn a_volume_in_the_middle_of_it_can_be_looked_at() {
    // Its word in the state line is all that a crash right after the first record leaves.
    let image = image::Image::new(4 << 20);
    let nova = image.format(FormatOptions::new());
    nova.write_file("/f", b"old").unwrap();
    nova.create_snapshot("s").unwrap();
    nova.write_file("/f", b"new").unwrap();
    nova.sync().unwrap();
    let mut bytes = image.bytes();
    let identity: [u8; 16] = bytes[40..56].try_into().unwrap();
    for at in [4096usize, 4096 + 63 * 64] {
        bytes[at + 40..at + 48].copy_from_slice(&1u64.to_le_bytes());
        let seed = crc32c::crc32c(&identity);
        let sum = crc32c::crc32c_append(seed, &bytes[at + 4..at + 64]);
        let sum = crc32c::crc32c_append(sum, &(at as u64).to_le_bytes());
        bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes());
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &bytes).unwrap();
    let options = pmem_map::MapOptions::new().lock(pmem_map::Lock::Shared);
    // SAFETY: the file is this test's own.
    let view = unsafe { options.open(file.path()) }.unwrap();
    let nova = quiet().read_only(true).mount(view).unwrap();
    assert!(nova.is_read_only());
    assert_eq!(nova.read_file("/f").unwrap(), b"old");
    drop(nova);
    assert!(std::fs::read(file.path()).unwrap() == bytes, "the file is as it was");
    assert_eq!(image::after_crash(&bytes).read_file("/f").unwrap(), b"old");
}

#[test]
fn roll_backs_agree_with_copies_over_crashes() {
    let mut rolled = 0;
    for seed in 0..10 {
        let mut random = fastrand::Rng::with_seed(seed);
        let image = image::Image::new(16 << 20);
        let mut nova = image.format(FormatOptions::new().stripes(2));
        let mut copies: BTreeMap<String, image::Everything> = BTreeMap::new();
        for step in 0..1200 {
            match random.u16(..300) {
                0..8 if copies.len() < 5 => {
                    let name = format!("s{step}");
                    nova.create_snapshot(&name).unwrap();
                    copies.insert(name, everything(&nova));
                }
                8..12 if !copies.is_empty() => {
                    let name = copies.keys().nth(random.usize(..copies.len())).unwrap().clone();
                    nova.delete_snapshot(&name).unwrap();
                    copies.remove(&name);
                }
                12..20 if !copies.is_empty() => {
                    let name = copies.keys().nth(random.usize(..copies.len())).unwrap();
                    nova = nova.rollback(name).unwrap();
                    assert_same(
                        &everything(&nova),
                        &copies[name],
                        &format!("seed {seed}, step {step}: {name}"),
                    );
                    clean(&nova);
                    rolled += 1;
                }
                20..23 => {
                    let live = everything(&nova);
                    nova.unmount().unwrap();
                    nova = image.mount();
                    assert_same(&everything(&nova), &live, "mounted again");
                }
                23..26 => {
                    let crashed = image::after_crash(&image.bytes());
                    assert_same(&everything(&crashed), &everything(&nova), "after a crash");
                    clean(&crashed);
                }
                26..32 => {
                    clean(&nova);
                    for (name, copy) in &copies {
                        let past = nova.mount_snapshot(name).unwrap();
                        assert_same(
                            &everything(&past),
                            copy,
                            &format!("seed {seed}, step {step}: snapshot {name}"),
                        );
                    }
                }
                _ => change(&nova, &mut random),
            }
        }
    }
    println!("{rolled} roll backs");
    assert!(rolled > 100);
}
