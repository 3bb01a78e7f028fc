//! Damaged volumes: more than twenty thousand, each mounted, read, checked, changed and repaired.
//!
//! Four volumes with every structure in use (of one stripe and of three, unmounted and as a power failure left them) are damaged by bytes
//! anywhere, by fields that are aimed at, and by fields whose checksums are made right again, so that the checks behind the checksums are
//! reached. Whatever is done then ends in a value or an error: without a panic, and within bounds of time and memory. Where there are
//! checksums, what is read without an error is what was stored. Data blocks have none: what changes in them is counted apart.
//!
//! `NOVA_CORRUPTION_CASES` and `NOVA_CORRUPTION_SEED` say how many cases, and which is the first. A failure names the seed that repeats it
//! alone. With `NOVA_CORRUPTION_TRACE`, every case is told.
#![allow(missing_docs)]

mod anatomy;
mod damage;
mod found;
mod images;
mod memory;
mod repair;

use anatomy::{Anatomy, Structure};
use damage::Way;
use fastrand::Rng;
use images::{Content, Entry, Image, LEN, mapping, options};
use nova_core::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{self, RecvTimeoutError},
    },
    time::Duration,
};

/// What a damaged volume came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// An error of mounting.
    Mounting,
    /// Damage that mounting reports, or an error of reading.
    Reading,
    /// Everything was read, and right; the check finds damage.
    Check,
    /// Nothing is found, and nothing is wrong.
    Harmless,
    /// As it was before the newest record.
    Earlier,
    /// Bytes of a file's data differ.
    Data,
    /// Something else was read, without an error, and the check finds damage.
    WrongFound,
    /// Something else was read, and nothing finds it.
    Wrong,
}

use Outcome::*;

#[derive(Clone, Copy, Default)]
struct Counts([u64; 8]);

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|count| write!(f, "{count:>9}"))
    }
}

/// Whether what was read is what was stored, as far as it was read; bytes of data aside.
fn agrees(found: &Content, errors: &[Error], right: &Content, bytes_too: bool) -> bool {
    let same = |one: &Entry, other: &Entry| agrees_one(one, other, bytes_too);
    let found_is_right =
        found.iter().all(|(path, entry)| right.get(path).is_some_and(|right| same(entry, right)));
    // What is not there was an error; and an error says where.
    found_is_right && (!errors.is_empty() || found.len() == right.len())
}

fn agrees_one(one: &Entry, other: &Entry, bytes_too: bool) -> bool {
    let key = |entry: &Entry| (entry.stat, entry.attributes.clone(), entry.parent);
    let len = |entry: &Entry| (entry.content.as_ref().map(Vec::len), entry.target.as_ref().map(Vec::len));
    key(one) == key(other)
        && len(one) == len(other)
        && (!bytes_too || (&one.content, &one.target) == (&other.content, &other.target))
}

/// Errors that tell of damage.
fn tells(error: &Error) -> bool {
    match error {
        Error::At { source, .. } => tells(source),
        Error::Damaged { .. } | Error::Journal(_) => true,
        _ => false,
    }
}

/// Mounts, reads, checks, changes and repairs what is in `bytes`.
fn examine(image: &Image, bytes: &[u8], way: Way, random: &mut Rng) -> Outcome {
    if random.u8(..8) == 0
        && let Ok(nova) = options().read_only(true).mount(mapping(bytes))
    {
        images::read(&nova);
        let _ = nova.fsck();
    }
    let Ok(nova) = options().mount(mapping(bytes)) else {
        if random.u8(..3) == 0 {
            care(image, bytes, way);
        }
        return Mounting;
    };
    let (found, errors) = images::read(&nova);
    let reported = !nova.mount_report().damage.is_empty();
    let checked = nova.fsck().is_ok_and(|report| report.is_clean());
    let untold = errors.iter().any(|error| !tells(error));
    let state = |bytes_too| {
        image.states.iter().position(|right| !untold && agrees(&found, &errors, right, bytes_too))
    };
    let outcome = match (state(true), state(false)) {
        (Some(_), _) if reported || !errors.is_empty() => Reading,
        (Some(_), _) if !checked => Check,
        (Some(0), _) => Harmless,
        (Some(_), _) => Earlier,
        (None, Some(_)) => Data,
        (None, None) if checked => Wrong,
        (None, None) => WrongFound,
    };
    let chance = if matches!(outcome, Harmless | Data) { 16 } else { 3 };
    if random.u8(..chance) == 0 {
        care(image, bytes, way);
    }
    change(&nova, random);
    images::read(&nova);
    let after = nova.fsck();
    if outcome == Harmless {
        let after = after.expect("nothing is damaged");
        assert!(after.is_clean(), "after changes: {after}");
    }
    outcome
}

/// Repairs a copy of its own: afterwards nothing is wrong, whatever the report does not name is as it was, and a second repair finds nothing to do.
fn care(image: &Image, bytes: &[u8], way: Way) {
    let (nova, report) = match options().repair(mapping(bytes)) {
        Ok(repaired) => repaired,
        Err(Error::NotAVolume { .. } | Error::Unsupported { .. } | Error::Truncated { .. }) => return,
        Err(Error::Damaged { what: "superblock", .. }) if way == Way::Forged => return,
        Err(error) => panic!("not repaired: {error}"),
    };
    assert!(report.left.is_empty(), "left: {report}");
    let whole = |nova: &Nova| {
        let (found, errors) = images::read(nova);
        assert!(errors.is_empty(), "after a repair: {errors:?}\n{report}");
        let again = nova.fsck().expect("a check");
        assert!(again.is_clean(), "after a repair: {again}\n{report}");
        found
    };
    let found = whole(&nova);
    if way != Way::Forged {
        let named: BTreeSet<u64> =
            report.problems.iter().chain(&report.lost).map(|problem| problem.ino).collect();
        let adopted = found.contains_key(&b"/lost+found"[..]);
        let keeps = |right: &Content| {
            let kept = |(path, entry): (&Vec<u8>, &Entry)| {
                let same = |found: &Entry| agrees_one(found, entry, false);
                named.contains(&entry.stat.ino)
                    || adopted && path.is_empty()
                    || entry.parent.is_some_and(|parent| named.contains(&parent))
                    || found.get(path).is_some_and(same)
            };
            right.iter().all(|entry| {
                report.lost.iter().any(|lost| lost.ino == 0)
                    || is_below(right, &named, entry.0)
                    || kept(entry)
            })
        };
        assert!(image.states.iter().any(keeps), "a repair lost more than it says\n{report}");
        if report.lost.is_empty() {
            assert!(
                image.states.iter().any(|right| agrees(&found, &[], right, false)),
                "a repair lost something, and says nothing\n{report}"
            );
        }
    }
    let (nova, second) = options().repair(nova.unmount().expect("nobody uses it")).expect("a second repair");
    assert!(
        second.is_clean() && second.repairs.is_empty() && second.lost.is_empty(),
        "{second}\nafter {report}"
    );
    let nova = options().mount(nova.unmount().expect("nobody uses it")).expect("a mount");
    assert!(whole(&nova) == found, "another content after a second repair\n{report}");
}

/// Whether a path leads through a directory that was damaged.
fn is_below(right: &Content, named: &BTreeSet<u64>, path: &[u8]) -> bool {
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    ends.into_iter().any(|end| right.get(&path[..end]).is_some_and(|dir| named.contains(&dir.stat.ino)))
}

/// Changes of every kind, which may be refused.
fn change(nova: &Nova, random: &mut Rng) {
    let _ = nova.create_dir("/new");
    let _ = nova.write_file("/new/file", &[1; 5000]);
    let _ = nova.open("/a/big").and_then(|file| file.write_at(random.u64(..70_000), &[2; 6000]));
    let _ = nova.open("/a/big").and_then(|file| file.append(&[2; 300]));
    let _ = nova.open("/d/big too").and_then(|file| file.set_len(random.u64(..70_000)));
    let _ = nova.rename_path("/a/b/c", "/d/c");
    let _ = nova.hard_link("/a/with a list", "/d/listed");
    let list = nova.read_dir("/d").unwrap_or_default();
    for entry in list.iter().take(5) {
        let _ = nova.unlink(nova.metadata("/d").map_or(0, |stat| stat.ino), &entry.name, &Credentials::ROOT);
    }
    let _ = nova.remove_file("/d/copy");
    let _ = nova.metadata("/a/big").and_then(|stat| {
        nova.set_attribute(stat.ino, b"user.parts", b"small", AttributeMode::Set, &Credentials::ROOT)
    });
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().expect("a number"))
}

#[derive(Default)]
struct Found {
    tables: BTreeMap<(usize, Structure), Counts>,
    largest: (u64, String),
    wrong: Option<String>,
    panicked: Vec<String>,
}

#[test]
fn whatever_is_damaged_ends_in_a_value_or_an_error_and_checksums_let_nothing_wrong_pass() {
    let (cases, first) = (number("NOVA_CORRUPTION_CASES", 20_400), number("NOVA_CORRUPTION_SEED", 0));
    let trace = std::env::var_os("NOVA_CORRUPTION_TRACE").is_some();
    println!("{cases} cases, seeds from {first}");
    let images = images::images();
    let anatomies: Vec<_> = images.iter().map(|image| Anatomy::of(&image.bytes)).collect();
    for image in &images {
        assert_eq!(
            examine(image, &image.bytes, Way::Random, &mut Rng::with_seed(0)),
            Harmless,
            "{}",
            image.name
        );
    }
    let (next, found) = (AtomicU64::new(first), Mutex::new(Found::default()));
    let work = || {
        let (end, ended) = mpsc::channel::<()>();
        let now = Mutex::new(String::new());
        std::thread::scope(|scope| {
            let now = &now;
            scope.spawn(move || end_if_stuck(&ended, now));
            let _end = end;
            loop {
                let seed = next.fetch_add(1, Relaxed);
                if seed >= first + cases {
                    break;
                }
                let mut random = Rng::with_seed(seed);
                let way = seed as usize % 3;
                let which = seed as usize / 3 % images.len();
                let image = &images[which];
                let mut bytes = image.bytes.clone();
                let (structure, done) =
                    damage::damage(&mut bytes, &anatomies[which], Way::ALL[way], &mut random);
                let case = format!(
                    "NOVA_CORRUPTION_SEED={seed} NOVA_CORRUPTION_CASES=1: {:?}, {}: {done}",
                    Way::ALL[way],
                    image.name
                );
                now.lock().unwrap().clone_from(&case);
                let examined =
                    || catch_unwind(AssertUnwindSafe(|| examine(image, &bytes, Way::ALL[way], &mut random)));
                let (outcome, memory) = memory::peak_of(examined);
                if trace {
                    eprintln!("{case}: {outcome:?}, {} KiB", memory >> 10);
                }
                let mut found = found.lock().unwrap();
                let Ok(outcome) = outcome else {
                    found.panicked.push(case);
                    continue;
                };
                if memory > found.largest.0 {
                    found.largest = (memory, case.clone());
                }
                found.tables.entry((way, structure)).or_default().0[outcome as usize] += 1;
                let allowed = Way::ALL[way] == Way::Forged
                    || structure == Structure::Data
                    || !matches!(outcome, Wrong | WrongFound | Data);
                if !allowed && found.wrong.is_none() {
                    found.wrong = Some(case);
                }
            }
        });
    };
    std::thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(work))));
    let found = found.into_inner().unwrap();
    for (way, title) in Way::ALL.iter().enumerate() {
        println!(
            "{:<14}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}",
            format!("{title:?}"),
            "mounting",
            "reading",
            "check",
            "harmless",
            "earlier",
            "data",
            "wrong,",
            "wrong"
        );
        println!(
            "{:<14}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}",
            "", "fails", "fails", "finds", "", "record", "differs", "found"
        );
        for ((_, structure), counts) in found.tables.iter().filter(|((of, _), _)| *of == way) {
            println!("{structure:<14}{counts}");
        }
    }
    println!("most memory: {} KiB: {}", found.largest.0 >> 10, found.largest.1);
    assert!(found.panicked.is_empty(), "panics: {:#?}", found.panicked);
    assert!(found.largest.0 <= 8 * LEN, "{} bytes: {}", found.largest.0, found.largest.1);
    assert_eq!(found.wrong, None, "the first wrong value where there is a checksum");
    let detected: u64 = found.tables.values().map(|counts| counts.0[..3].iter().sum::<u64>()).sum();
    assert!(cases < 1000 || detected > cases / 5, "{detected} detected");
}

/// Ends the process, and says why, if one case takes minutes.
fn end_if_stuck(ended: &mpsc::Receiver<()>, now: &Mutex<String>) {
    let mut last = String::new();
    while ended.recv_timeout(Duration::from_secs(60)) == Err(RecvTimeoutError::Timeout) {
        let now = now.lock().unwrap().clone();
        if now == last && !now.is_empty() {
            eprintln!("an endless loop: {now}");
            std::process::abort();
        }
        last = now;
    }
}
