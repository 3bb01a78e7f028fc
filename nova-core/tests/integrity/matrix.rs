//! Every size of damage, of everything that there is of a file's content: what comes of it is what the documentation says, and never content that is wrong.

use crate::volume::{BLOCK, Memory, Protected, STRIPE, content, is_damaged, volume};
use nova_core::{Nova, ScrubOptions};

/// What is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// From the beginning of a stripe.
    Content,
    /// Over the end of a stripe.
    ContentAcross,
    FirstCopy,
    SecondCopy,
    /// From the middle of the first copy on, into the second; or all of both.
    BothCopies,
    Parity,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Whoever reads gets what was written, and so does the medium.
    Repaired,
    /// Whoever reads is told.
    Reported,
    /// Reading meets nothing, and the next scrub repairs it.
    Scrubbed,
}

const TARGETS: [Target; 6] = [
    Target::Content,
    Target::ContentAcross,
    Target::FirstCopy,
    Target::SecondCopy,
    Target::BothCopies,
    Target::Parity,
];

/// One bit, and so many bytes.
const SIZES: [u64; 6] = [0, 8, 32, 64, 512, 4096];

/// As documented: `integrity`, "What becomes of damage".
fn documented(protected: Protected, target: Target, size: u64) -> Outcome {
    use Outcome::*;
    let parity = protected == Protected::Parity;
    match target {
        Target::Content | Target::ContentAcross if parity && size <= STRIPE => Repaired,
        Target::Content | Target::ContentAcross => Reported,
        // The second copy is complemented: noise never hits both alike.
        Target::FirstCopy if size <= 32 => Repaired,
        // Readers look at the second copy only when the first is wrong.
        Target::SecondCopy if size <= 32 => Scrubbed,
        // Of no stripe both.
        Target::BothCopies if size <= 32 => Repaired,
        Target::FirstCopy | Target::SecondCopy | Target::BothCopies => {
            if parity {
                Repaired
            } else {
                Reported
            }
        }
        Target::Parity => Scrubbed,
    }
}

/// Where a target's bytes are; damage of the blocks' lines and parity goes on into those of the blocks behind.
fn place(memory: &Memory, target: Target, at: u64, size: u64) -> u64 {
    match target {
        Target::Content => at + 3 * STRIPE,
        Target::ContentAcross => (at + 4 * STRIPE - size / 2 - 1).max(at),
        Target::FirstCopy => memory.line(at),
        Target::SecondCopy => memory.line(at) + if size <= 32 { 32 } else { 0 },
        Target::BothCopies => memory.line(at) + if size <= 32 { 16 } else { 0 },
        Target::Parity => memory.parity(at),
    }
}

fn damage(memory: &Memory, at: u64, size: u64, random: &mut fastrand::Rng) {
    if size == 0 {
        let byte = memory.read(at..at + 1)[0];
        memory.write(at, &[byte ^ 1 << random.u8(..8)]);
        return;
    }
    let mut bytes = memory.read(at..at + size);
    bytes.iter_mut().for_each(|byte| *byte ^= random.u8(1..));
    memory.write(at, &bytes);
}

#[test]
fn damage_of_every_size_ends_as_documented_and_never_in_silence() {
    let mut random = fastrand::Rng::with_seed(3);
    for protected in [Protected::Checksums, Protected::Parity] {
        for target in TARGETS {
            if target == Target::Parity && protected == Protected::Checksums {
                continue;
            }
            for size in SIZES {
                one(protected, target, size, &mut random);
            }
        }
    }
}

fn one(protected: Protected, target: Target, size: u64, random: &mut fastrand::Rng) {
    let (memory, nova) = volume(1024, protected);
    let written = content(100 * BLOCK as usize, 7);
    nova.write_file("/f", &written).unwrap();
    let at = memory.find(&written);
    assert_eq!(memory.read(at..at + written.len() as u64), written, "side by side");
    let before = memory.all();
    damage(&memory, place(&memory, target, at, size), size, random);
    let name = format!("{protected:?} {target:?} {size}");
    let found = nova.read_file("/f");
    let outcome = match &found {
        Ok(bytes) => {
            assert!(*bytes == written, "{name}: wrong bytes");
            if memory.all() == before { Outcome::Repaired } else { Outcome::Scrubbed }
        }
        Err(_) if is_damaged(&found) => Outcome::Reported,
        Err(error) => panic!("{name}: {error}"),
    };
    println!("damage | {protected:?} | {target:?} | {size} bytes (0: a bit) | {outcome:?}");
    assert_eq!(outcome, documented(protected, target, size), "{name}");
    let repairs = nova.repairs();
    match outcome {
        Outcome::Repaired => assert!(repairs.data + repairs.checksums > 0 && repairs.damaged == 0, "{name}"),
        Outcome::Reported => assert!(repairs.damaged > 0, "{name}"),
        Outcome::Scrubbed => assert_eq!(repairs, Default::default(), "{name}"),
    }
    after_a_scrub(&nova, &memory, &before, outcome, &name);
}

/// A scrub leaves nothing to repair, and says what it cannot.
fn after_a_scrub(nova: &Nova, memory: &Memory, before: &[u8], outcome: Outcome, name: &str) {
    let report = nova.scrub(&ScrubOptions::new()).unwrap();
    assert_eq!(report.blocks, 100, "{name}: {report:?}");
    assert_eq!(report.damage.is_empty(), outcome != Outcome::Reported, "{name}: {report:?}");
    if outcome == Outcome::Scrubbed {
        assert!(report.repairs.checksums + report.repairs.parity > 0, "{name}: {report:?}");
    }
    if outcome != Outcome::Reported {
        assert!(memory.all() == before, "{name}: the medium is as it was");
        let again = nova.scrub(&ScrubOptions::new()).unwrap();
        assert_eq!(again.repairs, Default::default(), "{name}");
    } else {
        // The rest of the file is there, and the file can be written anew.
        assert!(report.damage.iter().all(|damage| damage.ino == nova.metadata("/f").unwrap().ino));
        nova.write_file("/f", b"new").unwrap();
        assert_eq!(nova.read_file("/f").unwrap(), b"new");
        assert!(nova.scrub(&ScrubOptions::new()).unwrap().damage.is_empty(), "{name}");
    }
    assert!(nova.fsck().unwrap().is_clean(), "{name}");
}

#[test]
fn content_and_what_protects_it_damaged_together_is_reported() {
    let mut random = fastrand::Rng::with_seed(4);
    for (sums, parity) in [(true, false), (false, true), (true, true)] {
        let (memory, nova) = volume(256, Protected::Parity);
        let written = content(BLOCK as usize, 9);
        nova.write_file("/f", &written).unwrap();
        let at = memory.find(&written);
        damage(&memory, at + 512, 8, &mut random);
        if sums {
            damage(&memory, memory.line(at), 64, &mut random);
        }
        if parity {
            damage(&memory, memory.parity(at), 512, &mut random);
        }
        assert!(is_damaged(&nova.read_file("/f")), "checksums {sums}, parity {parity}");
    }
}

#[test]
fn a_line_that_was_filled_with_one_word_is_not_believed() {
    for protected in [Protected::Checksums, Protected::Parity] {
        for word in [0u8, 0xff, 0x55] {
            let (memory, nova) = volume(256, protected);
            let written = content(3 * BLOCK as usize, 9);
            nova.write_file("/f", &written).unwrap();
            let at = memory.find(&written);
            memory.write(memory.line(at), &[word; 64]);
            let found = nova.read_file("/f");
            match protected {
                Protected::Checksums => assert!(is_damaged(&found)),
                Protected::Parity => assert!(found.unwrap() == written),
            }
        }
    }
}

#[test]
fn a_volume_that_is_mounted_read_only_returns_repaired_bytes_and_stays_as_it_is() {
    let (memory, nova) = volume(256, Protected::Parity);
    let written = content(2 * BLOCK as usize, 9);
    nova.write_file("/f", &written).unwrap();
    let at = memory.find(&written);
    memory.write(at + 700, &[0; 300]);
    let nova = crate::volume::options().read_only(true).mount(nova.unmount().unwrap()).unwrap();
    let before = memory.all();
    assert!(nova.read_file("/f").unwrap() == written);
    assert!(memory.all() == before);
    assert_eq!(nova.repairs().data, 1);
}
