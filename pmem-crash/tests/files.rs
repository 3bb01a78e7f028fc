//! A file's name and length are durable only when synced.

use pmem_crash::{Exploration, Ops, Report};
use pmem_map::{Error, Event, Mapping};
use std::{fs, io, path::Path};

const LEN: u64 = 8192;

/// What creating a file does, in its order.
#[derive(Clone, Copy, PartialEq)]
enum Step {
    Name,
    Length,
    Content,
    SyncFile,
    SyncFolder,
}
use Step::{Content, Length, Name, SyncFile, SyncFolder};

/// Tells the events of creating a file, on memory that stands for it.
fn create(ops: &Ops, steps: &[Step]) -> Result<(), Error> {
    let mut mapping = Mapping::memfd(LEN)?;
    let observer = ops.observer();
    assert!(mapping.observe(ops.observer()).is_ok());
    for step in steps {
        match step {
            Name => observer.event(&mapping, Event::NameCreated),
            Length => observer.event(&mapping, Event::Resize { from: 0, to: LEN }),
            Content => {
                mapping.write(4096, &7u64.to_le_bytes())?;
                mapping.persist(4096..4104)?;
            }
            SyncFile => observer.event(&mapping, Event::FileSync),
            SyncFolder => observer.event(&mapping, Event::DirectorySync),
        }
    }
    Ok(())
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

fn explore(name: &str, steps: &[Step]) -> Report {
    let report = Exploration::new(name).run_files(
        |_, ops| ops.run("create", || create(ops, steps)),
        |path, _| read(path),
        |file, point| match file {
            _ if point.acknowledged == 0 => Ok(()),
            None => Err("the file is gone".to_owned()),
            Some(bytes) if bytes.len() as u64 != LEN => Err(format!("the file has {} bytes", bytes.len())),
            Some(bytes) if bytes[4096] != 7 => Err("the content is lost".to_owned()),
            Some(_) => Ok(()),
        },
    );
    println!("{report}");
    report
}

#[test]
fn a_file_whose_name_length_and_content_were_synced_is_there() {
    let report = explore("create", &[Name, Length, Content, SyncFile, SyncFolder]);
    report.assert_ok();
    // Before: no file; a file of 0 bytes, of zeros, of the content. After: the content.
    assert_eq!(report.images, 4 + 1);
}

#[test]
fn a_length_that_was_not_synced_is_found() {
    let report = explore("length not synced", &[Name, Length, Content, SyncFolder]);
    assert_eq!(report.first_failure.expect("found").message, "the file has 0 bytes");
}

#[test]
fn a_name_that_was_not_synced_is_found() {
    let report = explore("name not synced", &[Name, Length, Content, SyncFile]);
    let failure = report.first_failure.expect("found");
    assert_eq!(failure.message, "the file is gone");
    assert!(failure.crashes[0].lost_name);
}

#[test]
fn a_file_nobody_told_of_has_no_durable_name_and_length() {
    explore("not told", &[Content, SyncFile]).expect_failure();
    explore("not told", &[Content, SyncFolder]).expect_failure();
    explore("not told", &[Content, SyncFile, SyncFolder]).assert_ok();
}

#[test]
fn growth_of_an_existing_file_may_be_lost() {
    let grow = |synced: bool| {
        Exploration::new("grow").len(4096).run_files(
            |_, ops| {
                let mapping = Mapping::memfd(LEN)?;
                assert!(mapping.observe(ops.observer()).is_ok());
                ops.run("grow", || {
                    ops.observer().event(&mapping, Event::Resize { from: 4096, to: LEN });
                    if synced {
                        ops.observer().event(&mapping, Event::FileSync);
                    }
                    Ok::<(), Error>(())
                })
            },
            |path, _| read(path),
            |file, point| match file.map(|bytes| bytes.len() as u64) {
                Some(LEN) => Ok(()),
                Some(4096) if point.acknowledged == 0 => Ok(()),
                other => Err(format!("length {other:?}")),
            },
        )
    };
    grow(true).assert_ok();
    let failure = grow(false).first_failure.expect("found");
    assert_eq!(failure.crashes[0].lost_length, Some(4096));
}

#[test]
fn crashes_inside_a_recovery_by_path_are_explored_too() {
    // The recovery counts how often it ran, which is wrong when it is interrupted.
    let report = Exploration::new("recovery by path").len(4096).run_files(
        |_, _| Ok::<(), Error>(()),
        |path, observer| {
            let bytes = fs::read(path).map_err(|error| error.to_string())?;
            let mut mapping = Mapping::memfd(4096).map_err(|error| error.to_string())?;
            mapping.as_mut_slice().copy_from_slice(&bytes);
            assert!(mapping.observe(observer).is_ok());
            let runs = bytes[0] + 1;
            mapping
                .write(0, &[runs])
                .and_then(|()| mapping.persist(0..1))
                .map_err(|error| error.to_string())?;
            Ok::<u8, String>(runs)
        },
        |runs, _| if runs < 3 { Ok(()) } else { Err(format!("ran {runs} times")) },
    );
    assert_eq!(report.first_failure.expect("found").depth, 2);
}

#[test]
fn right_before_a_sync_what_it_makes_durable_may_still_be_lost() {
    let report = Exploration::new("relies on growth").len(4096).run_files(
        |_, ops| {
            let mapping = Mapping::memfd(LEN)?;
            assert!(mapping.observe(ops.observer()).is_ok());
            ops.observer().event(&mapping, Event::Resize { from: 4096, to: LEN });
            ops.observer().event(&mapping, Event::FileSync);
            mapping.drain()
        },
        |path, _| read(path),
        |file, _| match file.map(|bytes| bytes.len() as u64) {
            Some(LEN) => Ok(()),
            other => Err(format!("length {other:?}")),
        },
    );
    let failure = report.first_failure.expect("found");
    assert!(failure.crashes[0].moment.contains("before the file or its folder is synced"), "{failure}");
}

#[test]
fn length_and_content_are_lost_independently() {
    let report = Exploration::new("length and content").len(4096).run_files(
        |_, ops| {
            let mut mapping = Mapping::memfd(LEN)?;
            assert!(mapping.observe(ops.observer()).is_ok());
            ops.observer().event(&mapping, Event::Resize { from: 4096, to: LEN });
            mapping.write(0, &[1])?; // in the old part
            mapping.write(4096, &[1]) // in the new part, and gone with it
        },
        |path, _| read(path),
        |_, _| Ok(()),
    );
    assert_eq!(report.images, 2 + 4);
}

#[test]
fn images_that_differ_in_their_length_only_are_both_tried() {
    let report = Exploration::new("zeros").len(4096).run_files(
        |_, ops| {
            let mapping = Mapping::memfd(LEN)?;
            assert!(mapping.observe(ops.observer()).is_ok());
            ops.observer().event(&mapping, Event::NameCreated); // already there: not durable under its new name
            ops.observer().event(&mapping, Event::DirectorySync);
            ops.observer().event(&mapping, Event::Resize { from: 4096, to: LEN });
            ops.observer().event(&mapping, Event::FileSync);
            Ok::<(), Error>(())
        },
        |path, _| read(path),
        |_, _| Ok(()),
    );
    assert_eq!(report.images, 3, "no file, 4096 zeros, 8192 zeros");
}
