//! What the commands do with volumes that are mounted.

mod command;

use command::{fails, json, volume, works};
use pmem_map::MapOptions;
use serde_json::Value;
use std::{fs, path::Path};

/// Runs a test at a mount; says so where nothing can be mounted. Then the volume must be whole.
fn mounted(test: impl FnOnce(&str)) {
    if !Path::new("/dev/fuse").exists() {
        println!("skipped: there is no /dev/fuse");
        return;
    }
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let image = volume(&folder);
    let dir = folder.path().join("mnt");
    fs::create_dir(&dir).unwrap();
    let dir = dir.to_str().unwrap();
    let output = command::nova(&["mount", "--background", &image, dir]);
    if !output.status.success() {
        println!("skipped: {}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    let tested = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(dir)));
    works(&["umount", dir]);
    if let Err(panic) = tested {
        std::panic::resume_unwind(panic);
    }
    works(&["fsck", &image]);
}

#[test]
fn stat_of_a_mounted_file_says_who_has_it_mapped() {
    mounted(|dir| {
        let path = format!("{dir}/file");
        fs::write(&path, vec![1; 100_000]).unwrap();
        let said = json(&["stat", "--json", &path]);
        assert_eq!((&said["size"], &said["leases"]), (&100_000.into(), &Value::Array(vec![])), "{said}");
        // SAFETY: a file of this test's own.
        let mapping = unsafe { MapOptions::new().open(&path) }.unwrap();
        let said = json(&["stat", "--json", &path]);
        let lease = &said["leases"][0];
        assert_eq!((&lease["pid"], &lease["bytes"]), (&std::process::id().into(), &100_000.into()), "{said}");
        let said = works(&["stat", &path]);
        assert!(said.contains(&format!("mapped by process {} of user", std::process::id())), "{said}");
        drop(mapping);
        assert!(!works(&["stat", &path]).lines().any(|line| line.starts_with("lease")));
    });
}

#[test]
fn snapshots_are_made_listed_and_deleted_while_the_volume_is_mounted() {
    mounted(|dir| {
        let path = format!("{dir}/file");
        fs::write(&path, vec![1; 100_000]).unwrap();
        // SAFETY: a file of this test's own.
        let mut mapping = unsafe { MapOptions::new().open(&path) }.unwrap();
        // More than one message has room for.
        for n in 0..20 {
            works(&["snapshot", "create", dir, &format!("s{n}")]);
            mapping.write(n * 4096, b"stored").unwrap();
        }
        let names = |said: &Value| -> Vec<String> {
            said.as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
        };
        let said = json(&["snapshot", "list", "--json", dir]);
        assert_eq!(names(&said), (0..20).map(|n| format!("s{n}")).collect::<Vec<_>>());
        works(&["snapshot", "delete", dir, "s7"]);
        assert!(!names(&json(&["snapshot", "list", "--json", dir])).contains(&"s7".to_owned()));
        assert!(fails(&["snapshot", "create", dir, "s8"]).contains("take another name"));
        assert!(fails(&["snapshot", "delete", dir, "s7"]).contains("there is no snapshot"));
        assert!(fails(&["snapshot", "create", dir, "a/b"]).contains("a snapshot's name has"));
    });
}

#[test]
fn quotas_are_set_and_shown_while_the_volume_is_mounted() {
    mounted(|dir| {
        fs::write(format!("{dir}/file"), vec![1; 100_000]).unwrap();
        let row = |arguments: &[&str]| json(arguments)[0].clone();
        let set = row(&["quota", dir, "--user", "1000", "--space", "1M", "--files", "3", "--json"]);
        assert_eq!((&set["byte_limit"], &set["file_limit"]), (&(1 << 20).into(), &3.into()), "{set}");
        let kept = row(&["quota", dir, "--user", "1000", "--files", "4", "--json"]);
        assert_eq!((&kept["byte_limit"], &kept["file_limit"]), (&(1 << 20).into(), &4.into()), "{kept}");
        let own = row(&["quota", dir, "--user", "0", "--json"]);
        assert!(own["bytes"].as_u64().unwrap() >= 100_000, "{own}");
    });
}

#[test]
fn a_directory_that_is_no_mount_is_an_error_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    for arguments in [&["snapshot", "create", dir, "x"][..], &["snapshot", "list", dir], &["quota", dir]] {
        let said = fails(arguments);
        assert!(said.contains("no volume of nova is mounted there"), "{said}");
    }
}

#[test]
fn blocks_are_taken_out_of_a_mounted_file_and_put_in() {
    mounted(|dir| {
        let path = format!("{dir}/file");
        let block = |byte: u8| vec![byte; 4096];
        fs::write(&path, [block(1), block(2), block(3)].concat()).unwrap();
        works(&["range", "collapse", &path, "4096", "4K"]);
        assert!(fs::read(&path).unwrap() == [block(1), block(3)].concat());
        assert_eq!(fs::metadata(&path).unwrap().len(), 8192, "the kernel knows the new length at once");
        works(&["range", "insert", &path, "0", "4096"]);
        assert!(fs::read(&path).unwrap() == [block(0), block(1), block(3)].concat());
        for (what, offset) in [("collapse", "100"), ("collapse", "12288"), ("insert", "16K")] {
            assert!(
                fails(&["range", what, &path, offset, "4096"]).contains("whole blocks"),
                "{what} {offset}"
            );
        }
        assert!(fs::read(&path).unwrap() == [block(0), block(1), block(3)].concat());
        assert!(fails(&["range", "insert", dir, "0", "4096"]).contains("directory"));
    });
}

#[test]
fn blocks_are_taken_out_of_a_file_of_an_image() {
    let folder = tempfile::tempdir().unwrap();
    let image = volume(&folder);
    let source = command::write(&folder, "file", &[vec![1; 4096], vec![2; 5000]].concat());
    works(&["cp", source.to_str().unwrap(), &format!("{image}:/")]);
    let file = format!("{image}:/file");
    works(&["range", "collapse", &file, "0", "4096"]);
    assert!(command::nova(&["cat", &file]).stdout == vec![2; 5000]);
    works(&["range", "insert", &file, "4096", "8192"]);
    let expected = [vec![2; 4096], vec![0; 8192], vec![2; 904]].concat();
    assert!(command::nova(&["cat", &file]).stdout == expected);
    works(&["fsck", &image]);
}
