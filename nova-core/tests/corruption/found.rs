//! Damage that was once not met with an error, each by itself.

use crate::{
    anatomy::{self, Anatomy, Field, Structure},
    images::{self, Image, mapping, options},
};
use nova_core::*;

pub(crate) fn image(name: &str) -> Image {
    images::images().into_iter().find(|image| image.name == name).expect("it is one of them")
}

/// Gives a field of the structure for which `which` holds another value, and the structure its right checksum.
fn forge(
    bytes: &mut [u8],
    structure: Structure,
    name: &str,
    value: u64,
    which: impl Fn(&[u8], &Field) -> bool,
) -> Field {
    let anatomy = Anatomy::of(bytes);
    let mut fields = anatomy.fields.iter().filter(|field| field.structure == structure && field.name == name);
    let field = fields.find(|field| which(bytes, field)).expect("there is one").clone();
    anatomy::put(bytes, field.at, field.width, value);
    anatomy.recompute(bytes, &field);
    field
}

/// Whether a field is of the directory `/d` (or of a file, by its number), by its inode's identity line.
fn of_inode(ino: u64) -> impl Fn(&[u8], &Field) -> bool {
    move |bytes, field| {
        let identity =
            if field.structure == Structure::Status { field.unit.start - 64 } else { field.unit.start };
        anatomy::number(bytes, identity + 8, 8) == ino
    }
}

pub(crate) fn ino(image: &Image, path: &str) -> u64 {
    image.states[0][path.as_bytes()].stat.ino
}

fn is_damage(error: &Error) -> bool {
    match error {
        Error::At { source, .. } => is_damage(source),
        error => matches!(error, Error::Damaged { .. }),
    }
}

#[test]
fn the_last_number_of_mounts_is_followed_by_the_first() {
    let mut image = image("1 stripes, unmounted");
    forge(&mut image.bytes, Structure::StateLine, "mounts", u64::MAX, |_, _| true);
    assert!(!options().mount(mapping(&image.bytes)).expect("it can be mounted").is_read_only());
}

#[test]
fn sizes_and_blocks_that_no_file_has_are_damage_for_who_asks_for_attributes() {
    for (path, field, value) in [
        ("/d", "size", u64::MAX),
        ("/d", "size", 1 << 60),
        ("/d/file 3", "blocks", u64::MAX / 2),
        ("/d/file 3", "size", u64::MAX),
    ] {
        let mut image = image("1 stripes, unmounted");
        let number = ino(&image, path);
        forge(&mut image.bytes, Structure::Status, field, value, of_inode(number));
        let nova = options().mount(mapping(&image.bytes)).expect("a checkpoint: nothing is scanned");
        let error = nova.metadata(path).expect_err("no file is like this");
        assert!(is_damage(&error) && error.errno() == libc::EUCLEAN, "{path}, {field}: {error}");
    }
}

#[test]
fn entries_whose_lines_are_not_those_of_their_names_are_damage() {
    // Removing such a name sealed fewer lines than a reader checks.
    let mut image = image("1 stripes, unmounted");
    let dir = ino(&image, "/d");
    forge(&mut image.bytes, Structure::Name, "name length", 1, |bytes, field| {
        let unit = &field.unit;
        unit.end - unit.start > 64 && bytes[unit.start as usize + 32] == 0
    });
    let nova = options().mount(mapping(&image.bytes)).expect("nothing is scanned");
    let (found, errors) = images::read(&nova);
    assert!(errors.iter().any(is_damage), "{errors:?}");
    assert!(found.len() < image.states[0].len() && dir > 0);
    assert!(!nova.fsck().expect("a check").is_clean());
}

#[test]
fn a_name_that_stands_for_a_free_inode_is_damage_and_not_a_name_that_is_not_there() {
    let mut image = image("1 stripes, unmounted");
    let number = ino(&image, "/d/file 3");
    let anatomy = Anatomy::of(&image.bytes);
    let line = anatomy
        .fields
        .iter()
        .find(|field| field.structure == Structure::Identity && of_inode(number)(&image.bytes, field));
    let at = line.expect("it has one").unit.start as usize;
    image.bytes[at..at + 128].fill(0);
    let nova = options().mount(mapping(&image.bytes)).expect("nothing is scanned");
    for error in [
        nova.metadata("/d/file 3").map(drop).expect_err("it is gone"),
        nova.read_file("/d/file 3").map(drop).expect_err("it is gone"),
    ] {
        assert!(is_damage(&error), "{error}");
    }
    let (nova, report) = options().repair(nova.unmount().expect("nobody uses it")).expect("a repair");
    assert!(report.left.is_empty() && report.lost.len() == 1, "{report}");
    assert_eq!(nova.metadata("/d/file 3").expect_err("its name is removed").code(), Some(Code::NotFound));
}

#[test]
fn a_journal_that_is_made_anew_does_not_replay_records_of_the_one_before() {
    let mut image = image("1 stripes, crashed");
    // The generation word, and both headers stay: what is in the ring is of generation 1, as a new journal's records are.
    image.bytes[8192 + 128..8192 + 136].fill(0x5a);
    let (nova, report) = options().repair(mapping(&image.bytes)).expect("a repair");
    assert_eq!(report.lost.len(), 1, "{report}");
    let (before, errors) = images::read(&nova);
    assert!(errors.is_empty() && image.states.contains(&before));
    let (nova, second) = options().repair(nova.unmount().expect("nobody uses it")).expect("a repair");
    assert!(second.is_clean() && second.repairs.is_empty(), "{second}");
    assert!(images::read(&nova).0 == before);
}

#[test]
fn a_superblock_of_another_volume_is_refused_by_a_repair_which_would_find_nothing_right() {
    let mut image = image("1 stripes, unmounted");
    for at in [0, images::LEN - anatomy::BLOCK] {
        forge(&mut image.bytes, Structure::Superblock, "identity", 7, |_, field| field.unit.start == at);
    }
    let error = options().repair(mapping(&image.bytes)).map(drop).expect_err("a refusal");
    assert!(is_damage(&error) || matches!(error, Error::Journal(_)), "{error}");
}

#[test]
fn a_cookie_after_which_there_is_no_other_is_damage_and_not_the_last_name_of_its_directory() {
    let mut image = image("1 stripes, unmounted");
    let dir = ino(&image, "/a/b/c");
    let log = {
        let anatomy = Anatomy::of(&image.bytes);
        let identity = anatomy
            .fields
            .iter()
            .find(|field| field.structure == Structure::Identity && of_inode(dir)(&image.bytes, field));
        anatomy::number(&image.bytes, identity.expect("it has one").unit.start + 48, 8)
    };
    forge(&mut image.bytes, Structure::Name, "cookie", u64::MAX, |_, field| field.unit.start == log + 64);
    let nova = options().mount(mapping(&image.bytes)).expect("nothing is scanned");
    assert!(is_damage(&nova.create_file("/a/b/c/next").expect_err("its log is damaged")));
    let (nova, report) = options().repair(nova.unmount().expect("nobody uses it")).expect("a repair");
    assert!(report.left.is_empty(), "{report}");
    nova.create_file("/a/b/c/next").expect("names can be added again");
}

#[test]
fn a_block_that_two_files_say_they_own_can_be_freed_by_both() {
    let mut image = image("1 stripes, unmounted");
    let (mut blocks, mut last) = (Vec::new(), 0);
    for field in Anatomy::of(&image.bytes).fields {
        if field.structure == Structure::Extent
            && field.name == "block"
            && image.bytes[field.unit.start as usize + 4] == 1
        {
            blocks.push(anatomy::number(&image.bytes, field.at, 8));
            last = field.at;
        }
    }
    let other = *blocks.iter().find(|block| **block != blocks[blocks.len() - 1]).expect("another file's");
    forge(&mut image.bytes, Structure::Extent, "block", other, |_, field| field.at == last);
    let nova = options().mount(mapping(&image.bytes)).expect("nothing is scanned");
    assert!(!nova.fsck().expect("a check").is_clean());
    for path in image.states[0].keys().filter(|path| !path.is_empty()) {
        let path = String::from_utf8_lossy(path).into_owned();
        let _ = nova.remove_file(&path);
    }
    let _ = nova.sync();
}

#[test]
fn metadata_does_not_lead_into_the_journal() {
    let mut image = image("1 stripes, unmounted");
    let field = forge(&mut image.bytes, Structure::Extent, "block", 3, |bytes, field| {
        bytes[field.unit.start as usize + 4] == 1
    });
    let nova = options().mount(mapping(&image.bytes)).expect("nothing is scanned");
    let (_, errors) = images::read(&nova);
    let is_there =
        |error: &Error| matches!(error, Error::Damaged { offset, .. } if *offset == field.unit.start);
    assert!(errors.iter().any(is_there), "{errors:?}");
}

#[test]
fn removing_an_entry_keeps_what_else_is_in_it() {
    // An epoch that this program would not have written, in a name of several lines.
    let mut image = image("1 stripes, unmounted");
    let field = forge(&mut image.bytes, Structure::Name, "epoch", 9, |bytes, field| {
        field.unit.end - field.unit.start > 128 && bytes[field.unit.start as usize + 32] == 0
    });
    let nova = options().mount(mapping(&image.bytes)).expect("nothing is scanned");
    let len = usize::from(image.bytes[field.unit.start as usize + 6]);
    let name = &image.bytes[field.unit.start as usize + 40..][..len];
    let dir = image.states[0].iter().find(|(path, _)| path.ends_with(name)).map(|(_, entry)| entry.parent);
    nova.unlink(dir.flatten().expect("it is there"), name, &Credentials::ROOT).expect("it can be removed");
    let report = nova.fsck().expect("a check");
    assert!(report.is_clean(), "{report}");
}

#[test]
fn lines_of_logs_are_not_taken_for_inodes_of_a_stripe_that_has_none() {
    // Names are sealed as inodes are, and have a number at the same place.
    for name in ["3 stripes, unmounted", "3 stripes, crashed"] {
        let image = image(name);
        let (nova, report) = options().repair(mapping(&image.bytes)).expect("a repair");
        assert!(report.is_clean() && report.repairs.is_empty(), "{report}");
        assert!(images::read(&nova).0 == image.states[0]);
    }
}
