//! What a repair keeps, and that one which is interrupted can be run again.

use crate::{
    anatomy::{Anatomy, Structure},
    found::{image, ino},
    images::{self, Image, mapping, options},
};
use nova_core::*;
use pmem_crash::Exploration;
use std::ops::Range;

/// The bytes of an inode's two lines.
fn lines(bytes: &[u8], number: u64) -> Range<usize> {
    let anatomy = Anatomy::of(bytes);
    let is = |field: &&crate::anatomy::Field| {
        field.structure == Structure::Identity
            && crate::anatomy::number(bytes, field.unit.start + 8, 8) == number
    };
    let at = anatomy.fields.iter().find(is).expect("it has lines").unit.start as usize;
    at..at + 128
}

/// The entry of a name.
fn entry(bytes: &[u8], name: &[u8]) -> Range<usize> {
    let anatomy = Anatomy::of(bytes);
    let is = |field: &&crate::anatomy::Field| {
        let start = field.unit.start as usize;
        field.structure == Structure::Name
            && bytes[start + 32] == 0
            && usize::from(bytes[start + 6]) == name.len()
            && bytes[start + 40..].starts_with(name)
    };
    let unit = anatomy.fields.iter().find(is).expect("it has an entry").unit.clone();
    unit.start as usize..unit.end as usize
}

/// Mounts read-only because of damage, and is repaired from there.
fn repaired(image: &Image) -> (Nova, FsckReport) {
    let mut bytes = image.bytes.clone();
    bytes[4096 + 16..4096 + 24].fill(0); // no checkpoint: everything is scanned
    let nova = options().mount(mapping(&bytes)).expect("it can be read");
    assert!(nova.is_read_only() && !nova.mount_report().damage.is_empty());
    assert_eq!(nova.create_dir("/no").expect_err("read-only").code(), Some(Code::ReadOnly));
    let (nova, report) = options().repair(nova.unmount().expect("nobody uses it")).expect("a repair");
    assert!(report.left.is_empty() && !report.is_clean() && !nova.is_read_only(), "{report}");
    let again = nova.fsck().expect("a check");
    assert!(again.is_clean(), "{again}");
    nova.create_dir("/yes").expect("it can be written");
    (nova, report)
}

#[test]
fn a_file_whose_name_is_damaged_is_found_by_its_number() {
    let mut image = image("1 stripes, unmounted");
    let number = ino(&image, "/d/file 3");
    let at = entry(&image.bytes, b"file 3").start;
    image.bytes[at + 40] ^= 1;
    let (nova, report) = repaired(&image);
    let found = nova.read_file(format!("/lost+found/#{number}")).expect("it is there");
    assert!(Some(&found) == image.states[0][&b"/d/file 3"[..]].content.as_ref());
    // All other names of the directory, before and behind it, are there.
    let names = image.states[0].keys().filter(|path| path.starts_with(b"/d/") && !path.ends_with(b"/file 3"));
    for path in names.map(|path| String::from_utf8_lossy(path).into_owned()) {
        assert!(nova.symlink_metadata(&path).is_ok(), "{path}");
    }
    assert_eq!(report.lost.len(), 1, "{report}");
}

#[test]
fn what_was_below_a_directory_that_is_gone_is_found_with_its_names_as_far_as_they_are() {
    let mut image = image("1 stripes, unmounted");
    let (number, below) = (ino(&image, "/a/b"), ino(&image, "/a/b/c"));
    let lines = lines(&image.bytes, number);
    image.bytes[lines.start + 50] ^= 1;
    let (nova, report) = repaired(&image);
    assert!(report.lost.iter().any(|lost| lost.ino == number), "{report}");
    assert!(!nova.exists("/a/b"));
    for (path, entry) in image.states[0].iter().filter(|(path, _)| path.starts_with(b"/a/b/")) {
        let path = String::from_utf8_lossy(path);
        let new = match path.strip_prefix("/a/b/c/") {
            Some(rest) => format!("/lost+found/#{below}/{rest}"),
            None => format!("/lost+found/#{}", entry.stat.ino),
        };
        assert_eq!(nova.metadata(&new).map(|stat| stat.ino).ok(), Some(entry.stat.ino), "{new}");
        if let Some(content) = &entry.content {
            assert!(nova.read_file(&new).is_ok_and(|found| found == *content), "{new}");
        }
    }
}

#[test]
fn a_file_whose_state_is_damaged_keeps_its_name_and_its_blocks() {
    let mut image = image("1 stripes, unmounted");
    let right = image.states[0][&b"/d/file 3"[..]].content.clone().expect("a file");
    let lines = lines(&image.bytes, ino(&image, "/d/file 3"));
    image.bytes[lines.start + 64 + 20] ^= 1;
    let (nova, report) = repaired(&image);
    let found = nova.read_file("/d/file 3").expect("it is there");
    assert!(found.starts_with(&right), "{} bytes of {}", found.len(), right.len());
    assert!(found[right.len()..].iter().all(|byte| *byte == 0));
    assert_eq!(report.lost.len(), 1, "{report}");
}

#[test]
fn an_attribute_of_which_a_part_is_damaged_is_lost_and_the_file_and_its_other_attributes_are_not() {
    let mut image = image("1 stripes, unmounted");
    let anatomy = Anatomy::of(&image.bytes);
    let part = anatomy.fields.iter().find(|field| {
        let start = field.unit.start as usize;
        field.structure == Structure::Attribute
            && image.bytes[start + 10] == 2
            && image.bytes[start + 32] == 0
    });
    let at = part.expect("a value in two parts").unit.start as usize;
    image.bytes[at + 100] ^= 1;
    let (nova, _) = repaired(&image);
    let big = nova.metadata("/a/big").expect("it is there").ino;
    let who = &Credentials::ROOT;
    assert_eq!(
        nova.attribute(big, b"user.parts", who).expect_err("it is lost").code(),
        Some(Code::NoAttribute)
    );
    assert_eq!(nova.attribute(big, b"trusted.small", who).expect("it is not"), b"value");
    assert_eq!(nova.metadata("/a/big").expect("it is there").links, 2);
}

#[test]
fn a_root_that_is_gone_is_a_new_one_and_everything_is_found_below_it() {
    let mut image = image("1 stripes, unmounted");
    let lines = lines(&image.bytes, ROOT);
    image.bytes[lines.start + 20] ^= 0xff;
    let (nova, report) = options().repair(mapping(&image.bytes)).expect("a repair");
    assert!(report.left.is_empty(), "{report}");
    for (path, entry) in image.states[0].iter().filter(|(path, _)| path.starts_with(b"/a/")) {
        let below = String::from_utf8_lossy(&path[2..]).into_owned();
        let new = format!("/lost+found/#{}{below}", ino(&image, "/a"));
        assert_eq!(nova.symlink_metadata(&new).map(|stat| stat.ino).ok(), Some(entry.stat.ino), "{new}");
    }
}

#[test]
fn both_tables_and_a_journal_that_cannot_be_read_lose_no_file() {
    for name in ["1 stripes, unmounted", "3 stripes, unmounted"] {
        let mut image = image(name);
        image.bytes[4096..8192].fill(0x77); // the state line, and every stripe's
        image.bytes[8192 + 128..8192 + 136].fill(0x77); // the journal's generation
        let (nova, report) = options().repair(mapping(&image.bytes)).expect("a repair");
        assert!(report.left.is_empty(), "{report}");
        assert!(images::read(&nova).0 == image.states[0], "{report}");
    }
}

/// A repair of several damages, interrupted at every drain and in its own repair: run again, it ends as one that was not.
#[test]
fn a_repair_that_is_interrupted_anywhere_can_be_run_again() {
    let mut image = image("3 stripes, crashed");
    let name = entry(&image.bytes, b"file 3").start;
    let gone = lines(&image.bytes, ino(&image, "/a/b")).start;
    let state = lines(&image.bytes, ino(&image, "/d/file 7")).start;
    image.bytes[name + 40] ^= 1;
    image.bytes[gone + 50] ^= 1;
    image.bytes[state + 64 + 20] ^= 1;
    image.bytes[4096 + 64 + 9] ^= 1; // a stripe's line
    image.bytes[100] ^= 1; // the primary superblock
    let (nova, report) = options().repair(mapping(&image.bytes)).expect("a repair");
    assert!(report.left.is_empty() && report.repairs.len() > 5, "{report}");
    let right: Vec<(u64, Option<Vec<u8>>)> = numbers(&nova);
    drop(nova);
    let report = Exploration::new("a repair of five damages")
        .configure(|config| config.bound(4).samples(4).nested(6).depth(1))
        .start(pmem_crash::Image::new(image.bytes.clone()))
        .run(
            |mapping, ops| ops.run("repair", || options().repair(mapping).map(drop)),
            |mapping| options().repair(mapping),
            |(nova, report), _| {
                if !report.left.is_empty() {
                    return Err(report.to_string());
                }
                let checked = nova.fsck().map_err(|error| error.to_string())?;
                if !checked.is_clean() {
                    return Err(checked.to_string());
                }
                if numbers(&nova) != right {
                    return Err("other files are left".into());
                }
                nova.write_file("/written", b"and it can be written").map_err(|error| error.to_string())
            },
        );
    println!("{report}");
    report.assert_ok();
}

/// Files that there are, by number, and what is in them.
fn numbers(nova: &Nova) -> Vec<(u64, Option<Vec<u8>>)> {
    let (content, errors) = images::read(nova);
    assert!(errors.is_empty(), "{errors:?}");
    let mut numbers: Vec<_> = content.into_values().map(|entry| (entry.stat.ino, entry.content)).collect();
    numbers.sort();
    numbers.dedup();
    numbers.retain(|(_, content)| content.is_some());
    numbers
}
