//! A volume whose file is cut off beneath it: what is gone is an error, and the process lives.
#![allow(missing_docs)]

use nova_core::*;
use pmem_map::MapOptions;
use std::{fs::OpenOptions, path::Path};

const LEN: u64 = 1 << 20;

/// A volume in a file, with a file in its second half.
fn volume(path: &Path) -> Nova {
    // SAFETY: the file is this test's alone, and what becomes of it is what the test is about.
    let mapping = unsafe { MapOptions::new().create(true).len(LEN).emulate_pmem(true).open(path) };
    let format = FormatOptions::new().stripes(1).format(mapping.expect("a file"), MountOptions::new());
    let nova = format.expect("a volume");
    nova.write_file("/low", &[1; 4096]).expect("there is room");
    nova.write_file("/high", &vec![2; 700_000]).expect("there is room");
    nova
}

fn cut(path: &Path, len: u64) {
    OpenOptions::new().write(true).open(path).expect("it is there").set_len(len).expect("it can be cut off");
}

fn is_lost(error: &Error) -> bool {
    match error {
        Error::At { source, .. } => is_lost(source),
        Error::Map(pmem_map::Error::PageLost { .. }) => error.errno() == libc::EIO,
        _ => false,
    }
}

#[test]
fn reading_bytes_that_are_gone_is_an_error_and_so_is_everything_after_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("volume");
    let nova = volume(&path);
    cut(&path, LEN / 2);
    let error = nova.read_file("/high").expect_err("its bytes are gone");
    assert!(is_lost(&error), "{error:?}");
    // What was read as zeros could be anybody's: nothing is told or stored any more.
    assert!(nova.read_file("/low").is_err());
    assert!(nova.create_dir("/dir").is_err());
    assert!(nova.unmount().is_err());
}

#[test]
fn writing_where_bytes_are_gone_is_an_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("volume");
    let nova = volume(&path);
    let high = nova.open("/high").expect("it is there");
    cut(&path, LEN / 2);
    let error = high.write_at(0, &vec![3; 200_000]).expect_err("there is nothing to store to");
    println!("{error}");
    assert_eq!(error.errno(), libc::EIO);
    assert!(nova.create_dir("/dir").is_err());
}

#[test]
fn a_record_that_meets_a_page_that_is_gone_is_an_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("volume");
    let nova = volume(&path);
    cut(&path, 4096);
    let error = nova.create_dir("/dir").expect_err("the journal is gone");
    assert_eq!(error.errno(), libc::EIO, "{error}");
    assert!(nova.fsck().is_err() || !nova.fsck().expect("one of both").is_clean());
}
