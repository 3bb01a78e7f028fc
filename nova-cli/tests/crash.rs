//! Images of failures, written by real explorations, replayed by the command.

mod command;

use command::{fails, json, nova, works};
use nova_core::{FormatOptions, MountOptions, Nova};
use pmem_collections::{Mapping, PBTreeMap, Pool, PoolOptions};
use pmem_crash::{Exploration, Image};
use std::{fs, path::Path, process::Command};

/// Runs a test of this file in a process of its own that dumps into `folder`: what fails in it is meant to.
fn dump(folder: &Path, test: &str) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env("PMEM_CRASH_DUMP", folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let failed = said.lines().find_map(|line| line.strip_prefix("image ")).map(str::to_owned);
    failed.unwrap_or_else(|| panic!("{said}\n{}", String::from_utf8_lossy(&output.stderr)))
}

fn dumps() -> bool {
    std::env::var_os("PMEM_CRASH_DUMP").is_some()
}

/// Prints the name of the image of a failure.
fn print_image(report: &pmem_crash::Report) {
    report.expect_failure();
    let command = report.first_failure.as_ref().unwrap().command();
    let image = command.split("PMEM_CRASH_IMAGE='").nth(1).unwrap().split('\'').next().unwrap();
    println!("\nimage {image}");
}

#[test]
fn for_others_a_volume_of_which_more_is_expected_than_it_promises() {
    if !dumps() {
        return; // nothing by itself
    }
    let nova = FormatOptions::new()
        .stripes(1)
        .format(Mapping::memfd(256 << 10).unwrap(), MountOptions::new())
        .unwrap();
    let start = nova.unmount().unwrap().as_slice().to_vec();
    let report = Exploration::new("volume").start(Image::new(start)).run(
        |mapping, ops| -> nova_core::Result<()> {
            let nova = Nova::mount(mapping)?;
            ops.run("create", || nova.write_file("/file", b"hello"))
        },
        Nova::mount,
        // Before the call returned, too: which nobody promises of what was stored and is lost.
        |nova, point| match nova.exists("/file") || point.image().bytes() == point.killed().bytes() {
            true => Ok(()),
            false => Err("there is no /file".to_owned()),
        },
    );
    print_image(&report);
}

#[test]
fn for_others_a_pool_of_which_more_is_expected_than_it_promises() {
    if !dumps() {
        return; // nothing by itself
    }
    let mut bytes = vec![0; 256 << 10];
    let mut mapping = Mapping::memfd(bytes.len() as u64).unwrap();
    mapping.write(0, &bytes).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pool");
    // SAFETY: a file of this test alone.
    unsafe { PoolOptions::new().size(bytes.len() as u64).create(&path) }.unwrap().close().unwrap();
    bytes = fs::read(&path).unwrap();
    let report = Exploration::new("pool").start(Image::new(bytes)).run(
        |mapping, ops| -> pmem_alloc::Result<()> {
            let pool = Pool::on(mapping)?;
            ops.run("insert", || {
                pool.write(|tx| tx.open::<PBTreeMap<u64, u64>>("map")?.insert(1, 2).map(drop))
            })
        },
        Pool::on,
        |pool, _| match pool.read().and_then(|tx| Ok(tx.open::<PBTreeMap<u64, u64>>("map")?.len())) {
            Ok(1) => Ok(()),
            _ => Err("the map is not there".to_owned()),
        },
    );
    print_image(&report);
}

#[test]
fn an_image_of_a_volume_is_recovered_checked_and_explained() {
    let folder = tempfile::tempdir().unwrap();
    let name = dump(folder.path(), "for_others_a_volume_of_which_more_is_expected_than_it_promises");
    let dumps = folder.path().to_str().unwrap();
    let said = works(&["crash", "replay", dumps]);
    for part in [
        "a volume",
        "recovery",
        "no problems",
        "mounted again: no problems",
        "there is no /file",
        "PMEM_CRASH_IMAGE=",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // By its name, and by its file.
    assert_eq!(works(&["crash", "replay", &name, "--dumps", dumps]), said);
    let replayed = &json(&["crash", "replay", "--json", dumps])[0];
    let file = replayed["image"].as_str().unwrap();
    let before = fs::read(file).unwrap();
    assert_eq!(works(&["crash", "replay", file]), said);
    assert!(fs::read(file).unwrap() == before, "the image stays as it is");
    assert_eq!((&replayed["kind"], &replayed["right"]), (&"volume".into(), &true.into()));
    assert!(!replayed["lost"].as_array().unwrap().is_empty(), "{replayed}");

    // One that does not check is said to be wrong.
    works(&["debug", "corrupt", file, "inode:1", "--force"]);
    let output = nova(&["crash", "replay", file]);
    assert_eq!(output.status.code(), Some(4));
    assert!(String::from_utf8_lossy(&output.stdout).contains("damage"), "{output:?}");
}

#[test]
fn an_image_of_a_pool_is_recovered_checked_and_explained() {
    let folder = tempfile::tempdir().unwrap();
    dump(folder.path(), "for_others_a_pool_of_which_more_is_expected_than_it_promises");
    let said = works(&["crash", "replay", folder.path().to_str().unwrap()]);
    for part in ["a pool", "commits replayed", "0 problems, 0 leaks", "the map is not there"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn what_is_no_image_is_said_to_be_none() {
    let folder = tempfile::tempdir().unwrap();
    let blank = command::write(&folder, "blank.left", &[0; 4096]);
    assert!(works(&["crash", "replay", blank.to_str().unwrap()]).contains("no volume and no pool"));
    assert!(fails(&["crash", "replay", "missing"]).contains("is no file"));
    let dumps = folder.path().to_str().unwrap();
    assert!(fails(&["crash", "replay", "test#1/1+", "--dumps", dumps]).contains("PMEM_CRASH_DUMP"));
    assert!(fails(&["crash", "replay"]).contains("no images"));
}
