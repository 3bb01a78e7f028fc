//! The command as people use it.

mod command;

use command::{fails, nova, volume, works, write};
use std::{fs, path::Path};

#[test]
fn files_go_in_and_come_out_of_a_volume_that_is_not_mounted() {
    let folder = tempfile::tempdir().unwrap();
    let image = volume(&folder);
    let bytes: Vec<u8> = (0..3_000_000u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    let source = write(&folder, "source", &bytes);
    works(&["cp", source.to_str().unwrap(), &format!("{image}:/")]);
    assert!(works(&["ls", "-l", &image]).contains("source"));
    assert!(nova(&["cat", &format!("{image}:/source")]).stdout == bytes);
    let target = folder.path().join("target");
    works(&["cp", &format!("{image}:/source"), target.to_str().unwrap()]);
    assert!(fs::read(target).unwrap() == bytes);
    assert!(works(&["stat", &format!("{image}:/source")]).contains("3000000 bytes"));
    let info = works(&["info", "--json", &image]);
    assert!(info.contains("\"clean\": true") && info.contains("\"label\": \"test\""), "{info}");
    assert!(works(&["df", &image]).contains("MiB"));
    assert!(fails(&["cat", &format!("{image}:/missing")]).contains("ENOENT"));
}

#[test]
fn looking_at_a_volume_changes_no_byte_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let image = volume(&folder);
    let before = fs::read(&image).unwrap();
    works(&["info", &image]);
    works(&["ls", &image]);
    works(&["quota", &image]);
    assert!(fs::read(&image).unwrap() == before);
}

#[test]
fn a_check_finds_what_is_wrong_and_says_so_with_its_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let image = volume(&folder);
    assert!(works(&["fsck", &image]).contains("no problems"));
    // The replica of the superblock.
    let mut bytes = fs::read(&image).unwrap();
    let replica = bytes.len() - 4096;
    bytes[replica + 100] ^= 1;
    fs::write(&image, bytes).unwrap();
    let output = nova(&["fsck", &image]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("superblock"), "{said}");
    works(&["fsck", "--repair", &image]);
    assert!(works(&["fsck", &image]).contains("no problems"));
}

#[test]
fn a_new_volume_needs_a_size_and_what_is_no_volume_is_said_to_be_none() {
    let folder = tempfile::tempdir().unwrap();
    let foreign = write(&folder, "db", &[b"SQLite format 3\0".to_vec(), vec![0; 1 << 20]].concat());
    assert!(fails(&["info", foreign.to_str().unwrap()]).contains("no volume here"));
    assert!(fails(&["mkfs", folder.path().join("new").to_str().unwrap()]).contains("--size"));
}

#[test]
fn quotas_are_set_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let image = volume(&folder);
    works(&["quota", &image, "--user", "1000", "--space", "1M", "--files", "10"]);
    let shown = works(&["quota", &image]);
    assert!(shown.contains("1000") && shown.contains("1.0 MiB"), "{shown}");
}

#[test]
fn a_volume_is_mounted_in_the_background_and_unmounted() {
    if !Path::new("/dev/fuse").exists() {
        println!("skipped: there is no /dev/fuse");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = volume(&folder);
    let dir = folder.path().join("mnt");
    fs::create_dir(&dir).unwrap();
    let output = nova(&["mount", "--background", &image, dir.to_str().unwrap()]);
    if !output.status.success() {
        println!("skipped: {}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    fs::write(dir.join("through the mount"), b"hello").unwrap();
    assert!(fails(&["info", &image]).contains("process"), "the image is locked by who serves it");
    works(&["umount", dir.to_str().unwrap()]);
    // It returns when the volume is closed.
    assert_eq!(nova(&["cat", &format!("{image}:/through the mount")]).stdout, b"hello");
    assert!(works(&["info", &image]).contains("unmounted in order"));
}

#[test]
fn snapshots_are_made_listed_read_and_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let image = volume(&folder);
    let put = |bytes: &[u8]| {
        let source = write(&folder, "f", bytes);
        works(&["cp", source.to_str().unwrap(), &format!("{image}:/")]);
    };
    put(b"old");
    assert!(works(&["snapshot", "create", &image, "monday"]).contains("monday"));
    assert!(fails(&["snapshot", "create", &image, "monday"]).contains("another name"));
    assert!(fails(&["snapshot", "create", &image, "a/b"]).contains("1 to 255 bytes"));
    put(&[7; 50_000]);
    let inside = format!("{image}:/f");
    assert_eq!(nova(&["cat", "--snapshot", "monday", &inside]).stdout, b"old");
    assert_eq!(nova(&["cat", &inside]).stdout, [7; 50_000]);
    assert!(works(&["ls", "-l", "--snapshot", "monday", &image]).contains("3 B f"));
    let out = folder.path().join("out").to_str().unwrap().to_owned();
    works(&["cp", "--snapshot", "monday", &inside, &out]);
    assert_eq!(fs::read(&out).unwrap(), b"old");
    assert!(fails(&["cp", "--snapshot", "monday", &out, &inside]).contains("stays as it is"));
    assert!(fails(&["ls", "--snapshot", "tuesday", &image]).contains("no snapshot \"tuesday\""));
    let listed = works(&["snapshot", "list", "--json", &image]);
    assert!(listed.contains("\"name\": \"monday\"") && listed.contains("\"unique\": 4096"), "{listed}");
    assert!(works(&["snapshot", "list", &image]).contains("monday"));
    let changes = works(&["snapshot", "diff", &image, "monday"]);
    assert!(changes.starts_with("M /f (48.8 KiB of 48.8 KiB: 0..50000)\nA "), "{changes}");
    assert!(works(&["snapshot", "diff", "--json", &image, "monday"]).contains("\"kind\": \"content\""));
    assert!(fails(&["snapshot", "diff", &image, "monday", "tuesday"]).contains("no snapshot"));
    assert!(fails(&["snapshot", "rollback", &image, "monday"]).contains("2 changes since \"monday\""));
    assert_eq!(nova(&["cat", &inside]).stdout, [7; 50_000]);
    assert!(fails(&["snapshot", "rollback", &image, "tuesday", "--force"]).contains("no snapshot"));
    works(&["snapshot", "rollback", &image, "monday", "--force"]);
    assert_eq!(nova(&["cat", &inside]).stdout, b"old");
    works(&["snapshot", "delete", &image, "monday"]);
    assert!(fails(&["snapshot", "delete", &image, "monday"]).contains("no snapshot"));
    assert_eq!(works(&["snapshot", "list", "--json", &image]).trim(), "[]");
    assert!(works(&["fsck", &image]).contains("no problems"));
}

#[test]
fn snapshots_are_sent_to_other_volumes() {
    let folder = tempfile::tempdir().unwrap();
    let image = volume(&folder);
    let other = folder.path().join("other.img").to_str().unwrap().to_owned();
    works(&["mkfs", &other, "--size", "8M"]);
    let put = |bytes: &[u8], name: &str| {
        let source = write(&folder, "f", bytes);
        works(&["cp", source.to_str().unwrap(), &format!("{image}:/")]);
        works(&["snapshot", "create", &image, name]);
    };
    let inside = format!("{other}:/f");
    put(&command::pattern(300_000), "monday");
    put(b"new", "tuesday");
    let [whole, more] = ["whole", "more"].map(|name| folder.path().join(name).to_str().unwrap().to_owned());
    assert!(works(&["snapshot", "send", &image, "monday", "-o", &whole]).contains("frames"));
    assert!(fails(&["snapshot", "send", &image, "monday", "-o", &whole]).contains("another name"));
    let sent = nova(&["snapshot", "send", &image, "tuesday", "--from", "monday"]);
    assert!(sent.status.success());
    fs::write(&more, &sent.stdout).unwrap();
    assert!(fails(&["snapshot", "send", &image, "friday"]).contains("no snapshot \"friday\""));
    assert!(fails(&["snapshot", "receive", &other, &more]).contains("receive that one first"));
    // What is damaged is not received, and the rest follows.
    let mut bytes = fs::read(&whole).unwrap();
    bytes[150_000] ^= 1;
    let damaged = write(&folder, "damaged", &bytes);
    assert!(fails(&["snapshot", "receive", &other, damaged.to_str().unwrap()]).contains("checksum is wrong"));
    assert!(works(&["snapshot", "receive", &other, &whole]).contains("snapshot \"monday\""));
    assert!(nova(&["cat", &inside]).stdout == command::pattern(300_000));
    assert!(works(&["snapshot", "receive", &other, &whole]).contains("is there already"));
    works(&["snapshot", "receive", &other, &more]);
    assert_eq!(nova(&["cat", &inside]).stdout, b"new");
    assert!(nova(&["cat", "--snapshot", "monday", &inside]).stdout == command::pattern(300_000));
    assert!(
        fails(&["snapshot", "receive", &other]).contains("ends at byte 0"),
        "there is nothing on its input"
    );
    assert!(works(&["fsck", &other]).contains("no problems"));
}

#[test]
fn a_snapshot_is_mounted_while_others_read_the_image() {
    if !Path::new("/dev/fuse").exists() {
        println!("skipped: there is no /dev/fuse");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let image = volume(&folder);
    let source = write(&folder, "f", b"old");
    let source = source.to_str().unwrap();
    works(&["cp", source, &format!("{image}:/")]);
    works(&["snapshot", "create", &image, "s"]);
    write(&folder, "f", b"new");
    works(&["cp", source, &format!("{image}:/")]);
    let dir = folder.path().join("mnt");
    fs::create_dir(&dir).unwrap();
    let output = nova(&["mount", "--background", "--snapshot", "s", &image, dir.to_str().unwrap()]);
    if !output.status.success() {
        println!("skipped: {}", String::from_utf8_lossy(&output.stderr));
        return;
    }
    assert_eq!(fs::read(dir.join("f")).unwrap(), b"old");
    assert!(fs::write(dir.join("g"), b"no").is_err());
    assert_eq!(nova(&["cat", &format!("{image}:/f")]).stdout, b"new");
    assert!(fails(&["snapshot", "delete", &image, "s"]).contains("process"), "who reads it has it locked");
    works(&["umount", dir.to_str().unwrap()]);
    // An unmount of what was shared with readers has closed it when it returns.
    works(&["snapshot", "delete", &image, "s"]);
}

#[test]
fn a_pool_is_looked_into() {
    use pmem_collections::{PBTreeMap, PoolOptions};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scores.pool");
    // SAFETY: a file of this test alone.
    let pool = unsafe { PoolOptions::new().size(1 << 20).create(&path) }.unwrap();
    pool.write(|tx| tx.open::<PBTreeMap<u64, u64>>("scores")?.insert(1, 2).map(drop)).unwrap();
    pool.close().unwrap();
    let path = path.to_str().unwrap();
    assert!(works(&["pool", "ls", path]).contains("scores"));
    assert!(works(&["pool", "info", path]).contains("objects    1"));
    works(&["pool", "check", path]);
    works(&["pool", "map", path]);
    let copy = format!("{path}.copy");
    works(&["pool", "backup", path, &copy]);
    assert!(works(&["pool", "ls", "--json", &copy]).contains("scores"));
    assert!(fails(&["pool", "backup", path, &copy]).contains("copy"));
}
