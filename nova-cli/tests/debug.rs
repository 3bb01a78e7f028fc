//! Damage on purpose: exactly what it says is changed, and the check finds it.

mod command;

use command::{fails, json, nova, pattern, volume, works, write};
use std::fs;

/// A volume with a directory, two files and a link.
fn filled(folder: &tempfile::TempDir) -> String {
    let image = volume(folder);
    for (name, len) in [("one", 300_000), ("two", 5000)] {
        let source = write(folder, name, &pattern(len));
        works(&["cp", source.to_str().unwrap(), &format!("{image}:/")]);
    }
    image
}

#[test]
fn what_it_says_it_changed_is_all_that_changed() {
    let folder = tempfile::tempdir().unwrap();
    let image = filled(&folder);
    for (seed, much) in ["bit", "word", "line", "sector", "page"].iter().enumerate() {
        for structure in [
            "superblock",
            "replica",
            "state",
            "stripe:1",
            "journal",
            "table",
            "inode:/one",
            "log:/one",
            "data:/one",
            "any",
        ] {
            let before = fs::read(&image).unwrap();
            let arguments = [
                "debug",
                "corrupt",
                &image,
                structure,
                "--much",
                much,
                "--seed",
                &seed.to_string(),
                "--force",
                "--json",
            ];
            let said = json(&arguments);
            let after = fs::read(&image).unwrap();
            let at = said["offset"].as_u64().unwrap() as usize;
            let len = said["len"].as_u64().unwrap() as usize;
            assert_eq!(len, [1, 8, 64, 512, 4096][seed]);
            let differ = |range: std::ops::Range<usize>| before[range.clone()] != after[range];
            assert!(differ(at..at + len), "{structure} {much}");
            assert!(!differ(0..at) && !differ(at + len..before.len()), "{structure} {much}");
            let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
            assert_eq!(said["before"], hex(&before[at..at + len]));
            assert_eq!(said["after"], hex(&after[at..at + len]));
            let (start, whole) = (&said["structure_offset"], &said["structure_len"]);
            let (start, whole) = (start.as_u64().unwrap() as usize, whole.as_u64().unwrap() as usize);
            assert!(at < start + whole && start < at + len, "it is in the structure: {said}");
            fs::write(&image, &before).unwrap();
            // The same again.
            assert_eq!(json(&arguments), said);
            fs::write(&image, &before).unwrap();
        }
    }
}

#[test]
fn the_check_finds_damaged_metadata_and_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let image = filled(&folder);
    let whole = fs::read(&image).unwrap();
    for structure in ["superblock", "replica", "state", "inode:/one", "log:/one", "log:/", "inode:1"] {
        for seed in 0..8 {
            let said = json(&[
                "debug",
                "corrupt",
                &image,
                structure,
                "--seed",
                &seed.to_string(),
                "--force",
                "--json",
            ]);
            let output = nova(&["fsck", &image]);
            let found = String::from_utf8_lossy(&output.stdout);
            assert_eq!(output.status.code(), Some(4), "{structure} {seed}: {said}\n{found}");
            assert!(found.contains("problem"), "{structure} {seed}: {found}");
            fs::write(&image, &whole).unwrap();
        }
    }
}

#[test]
fn a_superblock_is_repaired_from_the_other_one() {
    let folder = tempfile::tempdir().unwrap();
    let image = filled(&folder);
    for structure in ["superblock", "replica"] {
        works(&["debug", "corrupt", &image, structure, "--force"]);
        assert_eq!(nova(&["fsck", &image]).status.code(), Some(4), "{structure}");
        works(&["fsck", "--repair", &image]);
        assert!(works(&["fsck", &image]).contains("no problems"), "{structure}");
        assert!(nova(&["cat", &format!("{image}:/one")]).stdout == pattern(300_000));
    }
}

#[test]
fn one_block_of_a_file_is_damaged_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let image = filled(&folder);
    works(&["debug", "corrupt", &image, "data:/one", "--block", "3", "--much", "page", "--force"]);
    let (right, found) = (pattern(300_000), nova(&["cat", &format!("{image}:/one")]).stdout);
    assert!(
        found != right && found[..3 * 4096] == right[..3 * 4096] && found[4 * 4096..] == right[4 * 4096..]
    );
}

#[test]
fn nothing_is_damaged_unasked() {
    let folder = tempfile::tempdir().unwrap();
    let image = filled(&folder);
    let before = fs::read(&image).unwrap();
    assert!(fails(&["debug", "corrupt", &image, "superblock"]).contains("--force"));
    assert!(fails(&["debug", "corrupt", &image, "data:/missing", "--force"]).contains("ENOENT"));
    assert!(
        fails(&["debug", "corrupt", &image, "data:/one", "--block", "99", "--force"])
            .contains("no such part")
    );
    assert!(fails(&["debug", "corrupt", &image, "log:/one", "--block", "99", "--force"]).contains("it has"));
    assert!(fails(&["debug", "corrupt", &image, "stripe:60", "--force"]).contains("no stripe"));
    assert_eq!(nova(&["debug", "corrupt", &image, "nonsense", "--force"]).status.code(), Some(2));
    assert!(fs::read(&image).unwrap() == before);
}

#[test]
fn a_scrub_repairs_content_from_parity() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("vol.img").to_str().unwrap().to_owned();
    works(&["mkfs", &image, "--size", "16M", "--parity"]);
    let content = pattern(100_000);
    let source = write(&folder, "one", &content);
    works(&["cp", source.to_str().unwrap(), &format!("{image}:/")]);
    for (seed, much) in ["bit", "word", "line", "sector"].iter().enumerate() {
        let seed = seed.to_string();
        works(&["debug", "corrupt", &image, "data:/one", "--much", much, "--seed", &seed, "--force"]);
        let found = json(&["scrub", "--json", &image]);
        assert!(found["repaired"]["stripes"].as_u64().unwrap() >= 1, "{much}: {found}");
        assert_eq!(found["damage"].as_array().unwrap().len(), 0, "{much}: {found}");
        assert_eq!(nova(&["cat", &format!("{image}:/one")]).stdout, content, "{much}");
    }
    assert!(works(&["scrub", &image]).contains("no damage is left"));
    assert!(works(&["fsck", &image]).contains("no problems"));
    // Without parity it is found, and said: never silent.
    works(&["mkfs", &image, "--checksums", "--force"]);
    works(&["cp", source.to_str().unwrap(), &format!("{image}:/")]);
    // (A block in the middle: what lies behind the end of the file no reader ever sees, only a scrub.)
    works(&["debug", "corrupt", &image, "data:/one", "--block", "3", "--much", "bit", "--force"]);
    assert_eq!(nova(&["scrub", &image]).status.code(), Some(4));
    fails(&["cat", &format!("{image}:/one")]);
}

#[test]
fn metadata_is_repaired_from_either_copy() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("vol.img").to_str().unwrap().to_owned();
    works(&["mkfs", &image, "--size", "16M", "--replicas"]);
    assert!(works(&["info", &image]).contains("metadata by checksums and replicas"));
    let content = pattern(100_000);
    let source = write(&folder, "one", &content);
    works(&["cp", source.to_str().unwrap(), &format!("{image}:/")]);
    for structure in ["state", "inode:/one", "log:/one", "inode:1", "log:/"] {
        for copy in [&[][..], &["--copy"]] {
            let arguments = ["debug", "corrupt", &image, structure, "--force"];
            works(&[&arguments[..], copy].concat());
            assert_eq!(nova(&["fsck", &image]).status.code(), Some(4), "{structure} {copy:?}");
            assert_eq!(nova(&["cat", &format!("{image}:/one")]).stdout, content, "{structure} {copy:?}");
            let found = json(&["scrub", "--json", &image]);
            assert_eq!(found["damage"].as_array().unwrap().len(), 0, "{structure} {copy:?}: {found}");
            assert!(works(&["fsck", &image]).contains("no problems"), "{structure} {copy:?}");
            works(&[&arguments[..], copy].concat());
            works(&["fsck", "--repair", &image]);
            assert!(works(&["fsck", &image]).contains("no problems"), "{structure} {copy:?}");
        }
    }
    assert!(fails(&["debug", "corrupt", &image, "journal", "--copy", "--force"]).contains("no copy"));
    let other = tempfile::tempdir().unwrap();
    let plain = filled(&other);
    assert!(
        fails(&["debug", "corrupt", &plain, "inode:/one", "--copy", "--force"]).contains("mkfs --replicas")
    );
}
