//! Every structure, damaged in its first block, in its copy, in both: repaired, or reported, and never silent.

use crate::volume::{BLOCK, DIR, FILE, LINK, Memory, filled, mapped, options, read_all};
use nova_core::{Error, MountOptions, Nova, ROOT, ScrubOptions};
use pmem_map::Mapping;

/// What is damaged. Where it is, of a volume that is not mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Structure {
    StateLine,
    StripeLine,
    Segment,
    Identity,
    Status,
    RootsIdentity,
    FilesPage,
    /// Extents, and an attribute.
    FilesEntries,
    DirectorysPage,
    Names,
    Target,
    Snapshot,
    SnapshotsName,
    SnapshotsPage,
    SnapshotsEntries,
}

use Structure::*;

pub(crate) const STRUCTURES: [Structure; 15] = [
    StateLine,
    StripeLine,
    Segment,
    Identity,
    Status,
    RootsIdentity,
    FilesPage,
    FilesEntries,
    DirectorysPage,
    Names,
    Target,
    Snapshot,
    SnapshotsName,
    SnapshotsPage,
    SnapshotsEntries,
];

/// One bit, and so many bytes.
const SIZES: [u64; 5] = [0, 8, 64, 512, 4096];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    First,
    Copy,
    Both,
}

/// Where each structure begins.
pub(crate) struct Places(Vec<(Structure, u64)>);

impl Places {
    pub(crate) fn of(nova: &Nova, memory: &Memory) -> Places {
        let anatomy = |ino: u64| nova.file_anatomy(ino).unwrap();
        let of = |path: &str| anatomy(nova.symlink_metadata(path).unwrap().ino);
        let (file, dir, link, root) = (of(FILE), of(DIR), of(LINK), anatomy(ROOT));
        let snapshot = memory.find(b"SNAP");
        let log = memory.word(snapshot + 24);
        Places(vec![
            (StateLine, BLOCK),
            (StripeLine, nova.stripe_line(0).start),
            (Segment, root.identity.start / BLOCK * BLOCK),
            (Identity, file.identity.start),
            (Status, file.state.start),
            (RootsIdentity, root.identity.start),
            (FilesPage, file.log[0].start),
            (FilesEntries, file.log[0].start + 64),
            (DirectorysPage, dir.log[0].start),
            (Names, root.log[0].start + 64),
            (Target, link.log[0].start + 64),
            (Snapshot, snapshot),
            (SnapshotsName, snapshot + 64),
            (SnapshotsPage, log),
            (SnapshotsEntries, log + 64),
        ])
    }

    pub(crate) fn at(&self, structure: Structure) -> u64 {
        self.0.iter().find(|(one, _)| *one == structure).unwrap().1
    }
}

/// Damages a bit (0), or so many bytes, aligned: all of them different.
pub(crate) fn damage(memory: &Memory, at: u64, size: u64, random: &mut fastrand::Rng) {
    if size == 0 {
        let byte = memory.read(at + 9..at + 10)[0];
        memory.write(at + 9, &[byte ^ 1 << random.u8(..8)]);
        return;
    }
    let at = at / size * size;
    let mut bytes = memory.read(at..at + size);
    bytes.iter_mut().for_each(|byte| *byte ^= random.u8(1..));
    memory.write(at, &bytes);
}

/// The volume, unmounted; and its places.
pub(crate) fn prepared() -> (Vec<u8>, Places) {
    let (_, nova) = filled();
    let bytes = nova.unmount().unwrap().as_slice().to_vec();
    let (memory, mapping) = mapped(&bytes);
    let nova = options().mount(mapping).unwrap();
    let places = Places::of(&nova, &memory);
    (nova.unmount().unwrap().as_slice().to_vec(), places)
}

/// Everything that can be known of the volume: `Err`, if somebody says that it is damaged.
fn used(mapping: Mapping, options: &MountOptions) -> Result<Nova, String> {
    let nova = options.mount(mapping).map_err(|error| error.to_string())?;
    if !nova.mount_report().damage.is_empty() {
        return Err(format!("{:?}", nova.mount_report().damage));
    }
    match read_all(&nova) {
        Ok(()) => Ok(nova),
        Err(error) if is_damage(&error) => Err(error.to_string()),
        Err(error) => panic!("{error}"),
    }
}

fn is_damage(error: &Error) -> bool {
    match error {
        Error::Damaged { .. } => true,
        Error::At { source, .. } => is_damage(source),
        _ => false,
    }
}

#[test]
fn damage_of_metadata_is_repaired_or_reported_and_never_silent() {
    let (bytes, places) = prepared();
    let mut random = fastrand::Rng::with_seed(11);
    for structure in STRUCTURES {
        for where_ in [Where::First, Where::Copy, Where::Both] {
            for size in SIZES {
                // A mount that reads everything, and one that reads what it needs.
                for clean in [true, false] {
                    one(&bytes, &places, structure, where_, size, clean, &mut random);
                }
            }
        }
    }
}

fn one(
    bytes: &[u8],
    places: &Places,
    structure: Structure,
    where_: Where,
    size: u64,
    clean: bool,
    random: &mut fastrand::Rng,
) {
    let name = format!("{structure:?}, {where_:?}, {size} bytes (0: a bit), clean: {clean}");
    let (memory, mapping) = match clean {
        true => mapped(bytes),
        false => {
            let (memory, mapping) = mapped(bytes);
            let nova = options().mount(mapping).unwrap();
            nova.sync().unwrap();
            mapped(&memory.all())
        }
    };
    let at = places.at(structure);
    if where_ != Where::Copy {
        damage(&memory, at, size, random);
    }
    if where_ != Where::First {
        damage(&memory, at + BLOCK, size, random);
    }
    // The state line is there twice in each block; behind the first is the line of a stripe, which is not.
    let is_fourfold = structure == StateLine && size <= 64;
    match used(mapping, &options()) {
        Ok(nova) => {
            let silent = where_ == Where::Both && !is_fourfold && nova.fsck().unwrap().is_clean();
            assert!(!silent, "{name}: nobody noticed");
            if where_ == Where::Both && !is_fourfold {
                println!("damage | {name} | reported by the check");
                return;
            }
            let report = nova.scrub(&ScrubOptions::new()).unwrap();
            assert!(report.damage.is_empty(), "{name}: {report:?}");
            // One that is changed by mounting is right already.
            let changed_anyway = matches!(structure, StateLine);
            assert!(nova.repairs().metadata > 0 || changed_anyway, "{name}: {:?}", nova.repairs());
            let found = nova.fsck().unwrap();
            assert!(found.is_clean(), "{name}: {found}");
            let again = nova.scrub(&ScrubOptions::new()).unwrap();
            assert_eq!(again.repairs, Default::default(), "{name}");
            println!("damage | {name} | repaired: {}", nova.repairs().metadata);
        }
        Err(said) => {
            assert!(where_ == Where::Both && !is_fourfold, "{name}: {said}");
            println!("damage | {name} | reported: {said}");
        }
    }
}

#[test]
fn who_reads_repairs_and_a_check_changes_nothing() {
    let (bytes, places) = prepared();
    let mut random = fastrand::Rng::with_seed(12);
    for structure in [Identity, FilesPage, FilesEntries, Names, Target, SnapshotsEntries, Segment] {
        let (memory, mapping) = mapped(&bytes);
        let at = places.at(structure);
        let nova = options().mount(mapping).unwrap();
        nova.sync().unwrap();
        damage(&memory, at, 64, &mut random);
        damage(&memory, places.at(DirectorysPage) + BLOCK, 64, &mut random);
        let before = memory.all();
        let found = nova.fsck().unwrap();
        assert!(memory.all() == before, "{structure:?}: a check stores nothing");
        for wrong in [at, places.at(DirectorysPage) + BLOCK] {
            assert!(found.problems.iter().any(|damage| damage.offset == wrong), "{structure:?}: {found}");
        }
        // Not read before.
        if !matches!(structure, Segment | SnapshotsEntries | Names) {
            read_all(&nova).unwrap();
            assert!(memory.read(at..at + 64) == memory.read(at + BLOCK..at + BLOCK + 64), "{structure:?}");
        }
        nova.scrub(&ScrubOptions::new()).unwrap();
        assert!(nova.fsck().unwrap().is_clean(), "{structure:?}");
    }
}

#[test]
fn what_is_mounted_read_only_is_read_from_copies_and_stays_as_it_is() {
    let (bytes, places) = prepared();
    let mut random = fastrand::Rng::with_seed(13);
    for structure in STRUCTURES.into_iter().filter(|structure| *structure != StateLine) {
        let (memory, mapping) = mapped(&bytes);
        damage(&memory, places.at(structure), 64, &mut random);
        let before = memory.all();
        let nova = used(mapping, &options().read_only(true)).unwrap();
        assert!(memory.all() == before, "{structure:?}");
        drop(nova);
    }
}

#[test]
fn a_repair_mends_first_blocks_and_copies() {
    let (bytes, places) = prepared();
    let mut random = fastrand::Rng::with_seed(14);
    for structure in STRUCTURES {
        for copy in [0, BLOCK] {
            let (memory, mapping) = mapped(&bytes);
            damage(&memory, places.at(structure) + copy, 512, &mut random);
            let (nova, report) = options().repair(mapping).unwrap();
            assert!(report.lost.is_empty() && report.left.is_empty(), "{structure:?}, {copy}: {report}");
            assert!(!report.problems.is_empty(), "{structure:?}, {copy}: {report}");
            assert!(!report.repairs.is_empty(), "{structure:?}, {copy}: {report}");
            read_all(&nova).unwrap();
            assert!(nova.fsck().unwrap().is_clean());
        }
    }
}

#[test]
fn first_block_and_copy_damaged_in_different_places_are_both_repaired() {
    let (bytes, places) = prepared();
    let mut random = fastrand::Rng::with_seed(15);
    let (memory, mapping) = mapped(&bytes);
    damage(&memory, places.at(FilesPage), 64, &mut random);
    damage(&memory, places.at(FilesEntries) + BLOCK, 64, &mut random);
    damage(&memory, places.at(Identity), 64, &mut random);
    damage(&memory, places.at(Status) + BLOCK, 64, &mut random);
    let nova = used(mapping, &options()).unwrap();
    let report = nova.scrub(&ScrubOptions::new()).unwrap();
    assert!(report.damage.is_empty() && nova.repairs().metadata == 4, "{:?}", nova.repairs());
    assert!(nova.fsck().unwrap().is_clean());
}

#[test]
fn what_does_not_know_replicas_refuses_and_without_them_nothing_is_different() {
    let (memory, mapping) = mapped(&[]);
    let nova = nova_core::FormatOptions::new().stripes(1).replicas(true).format(mapping, options()).unwrap();
    assert!(nova.has_replicas());
    assert_eq!((memory.word(32), memory.word(72)), (1, 3 * BLOCK), "an incompatible feature");
    let (memory, mapping) = mapped(&[]);
    let nova = nova_core::FormatOptions::new().stripes(1).format(mapping, options()).unwrap();
    assert!(!nova.has_replicas());
    assert_eq!((memory.word(32), memory.word(72)), (0, 2 * BLOCK));
}
