//! Snapshots and pools that are pushed to a folder, and pulled.

#![cfg(feature = "replica")]

mod command;

use command::{fails, json, nova, pattern, volume, works, write};
use std::{fs, path::Path, process::Command, time::Duration};
use tempfile::TempDir;

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// Puts a file into a volume.
fn put(folder: &TempDir, image: &str, name: &str, bytes: &[u8]) {
    let file = write(folder, "put", bytes);
    works(&["cp", &text(&file), &format!("{image}:/{name}")]);
}

fn get(image: &str, name: &str) -> Vec<u8> {
    nova(&["cat", &format!("{image}:/{name}")]).stdout
}

/// A volume with three snapshots, and a folder for objects.
fn three(folder: &TempDir) -> (String, String) {
    let (image, url) = (volume(folder), text(&folder.path().join("objects")));
    put(folder, &image, "large", &pattern(6 << 20));
    works(&["snapshot", "create", &image, "one"]);
    put(folder, &image, "small", b"second");
    works(&["snapshot", "create", &image, "two"]);
    put(folder, &image, "small", b"third");
    works(&["snapshot", "create", &image, "three"]);
    (image, url)
}

fn chunks(url: &str) -> Vec<std::path::PathBuf> {
    let folders = Path::new(url).join("chunks").read_dir().unwrap();
    let mut files: Vec<_> = folders
        .flat_map(|folder| folder.unwrap().path().read_dir().unwrap().map(|file| file.unwrap().path()))
        .collect();
    files.sort_by_key(|file| file.metadata().unwrap().len());
    files
}

#[test]
fn snapshots_are_pushed_as_increments_and_a_pull_takes_what_they_go_on_from() {
    let folder = tempfile::tempdir().unwrap();
    let (image, url) = three(&folder);
    let sent: Vec<u64> = ["one", "two", "three"]
        .map(|name| {
            json(&["snapshot", "push", &image, name, &format!("file://{url}"), "--json"])["sent"]
                .as_u64()
                .unwrap()
        })
        .into();
    assert!(sent[0] > 6 << 20 && sent[1] < 100_000 && sent[2] < 100_000, "{sent:?}");
    let listed = json(&["remote", "list", &url, "--json"]);
    let of = |what: &str| listed.as_array().unwrap().iter().map(|one| one[what].clone()).collect::<Vec<_>>();
    assert_eq!(of("name"), ["one", "two", "three"]);
    assert_eq!(of("parent"), [serde_json::Value::Null, of("version")[0].clone(), of("version")[1].clone()]);
    assert!(works(&["remote", "list", &url]).contains("three"));
    // Again: nothing is sent.
    assert!(works(&["snapshot", "push", &image, "two", &url]).contains(": 0 B sent"));

    let copy = text(&folder.path().join("copy.img"));
    assert!(fails(&["snapshot", "pull", &url, "three", &copy]).contains("nova mkfs"));
    works(&["mkfs", &copy, "--size", "24M"]);
    assert!(fails(&["snapshot", "pull", &url, "four", &copy]).contains("no snapshot \"four\""));
    works(&["snapshot", "pull", &url, "one", &copy]);
    assert!(get(&copy, "large") == pattern(6 << 20));
    let pulled = json(&["snapshot", "pull", &url, "three", &copy, "--json"]);
    assert_eq!(pulled["received"], serde_json::json!(["two", "three"]));
    assert!(pulled["bytes"].as_u64().unwrap() < 200_000, "the first is here: {pulled}");
    assert_eq!(
        (get(&copy, "small"), works(&["fsck", &copy]).contains("no problems")),
        (b"third".to_vec(), true)
    );
    assert_eq!(nova(&["cat", &format!("{copy}:/small"), "--snapshot", "two"]).stdout, b"second");
    assert!(works(&["snapshot", "pull", &url, "three", &copy]).contains("there already"));

    // The last one alone needs the two before it; as a whole it does not.
    assert_eq!(json(&["remote", "prune", &url, "--keep", "1", "--json"])["kept"], 3);
    works(&["snapshot", "push", &image, "three", &url, "--full"]);
    let pruned = json(&["remote", "prune", &url, "--keep", "1", "--json"]);
    assert_eq!((&pruned["kept"], pruned["removed"].as_array().unwrap().len()), (&1.into(), 2));
    let fresh = text(&folder.path().join("fresh.img"));
    works(&["mkfs", &fresh, "--size", "24M"]);
    works(&["snapshot", "pull", &url, "three", &fresh]);
    assert_eq!(get(&fresh, "small"), b"third");
}

#[test]
fn what_is_damaged_missing_or_taken_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (image, url) = three(&folder);
    // Who reads makes no folder.
    for command in [
        &["remote", "list", &url][..],
        &["remote", "prune", &url, "--keep", "1"],
        &["pool", "pull", &url, "x"],
    ] {
        assert!(fails(command).contains("is no folder") && !Path::new(&url).exists(), "{command:?}");
    }
    works(&["snapshot", "push", &image, "one", &url]);
    // Another volume's snapshot of the same name.
    let other = tempfile::tempdir().unwrap();
    let (other_image, _) = three(&other);
    assert!(fails(&["snapshot", "push", &other_image, "one", &url]).contains("another snapshot \"one\""));
    assert!(fails(&["snapshot", "push", &image, "none", &url]).contains("no snapshot \"none\""));
    assert!(fails(&["snapshot", "push", &image, "one", "http://host/x"]).contains("its scheme is not known"));
    // A pull that meets a chunk that is not right goes on when it is.
    let copy = text(&folder.path().join("copy.img"));
    works(&["mkfs", &copy, "--size", "24M"]);
    let last = chunks(&url).remove(0);
    let sound = fs::read(&last).unwrap();
    let mut damaged = sound.clone();
    damaged[77] ^= 4;
    fs::write(&last, damaged).unwrap();
    let name = text(Path::new(last.file_name().unwrap()));
    let said = fails(&["snapshot", "pull", &url, "one", &copy]);
    assert!(said.contains("is damaged") && said.contains(&name), "{said}");
    fs::remove_file(&last).unwrap();
    let said = fails(&["snapshot", "pull", &url, "one", &copy]);
    assert!(said.contains("is missing") && said.contains(&name), "{said}");
    assert!(works(&["snapshot", "push", &image, "one", &url]).contains("were there"));
    assert!(fs::read(&last).unwrap() == sound);
    works(&["snapshot", "pull", &url, "one", &copy]);
    assert!(get(&copy, "large") == pattern(6 << 20));
    // A manifest that something else wrote.
    let volumes = Path::new(&url).join("snapshots").read_dir().unwrap().next().unwrap().unwrap().path();
    fs::write(volumes.join("00000000000000000099.manifest"), "<html>").unwrap();
    let listed = nova(&["remote", "list", &url]);
    let said = String::from_utf8_lossy(&listed.stderr).into_owned();
    assert!(listed.status.code() == Some(4) && said.contains("is no manifest of this kind"), "{said}");
    assert!(fails(&["remote", "prune", &url, "--keep", "0"]).contains("is no manifest"));
}

#[test]
fn a_push_that_is_killed_is_not_seen_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (image, _) = three(&folder);
    let run = |url: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nova"));
        command.args(["snapshot", "push", &image, "one", url]).stdout(std::process::Stdio::null());
        command.spawn().unwrap()
    };
    let started = std::time::Instant::now();
    assert!(run(&text(&folder.path().join("whole"))).wait().unwrap().success());
    let took = started.elapsed();
    let mut rng = fastrand::Rng::new();
    println!("seed {}", rng.get_seed());
    let mut unseen = 0;
    for round in 0..4 {
        let url = text(&folder.path().join(format!("killed{round}")));
        fs::create_dir(&url).unwrap();
        for _ in 0..5 {
            let mut child = run(&url);
            std::thread::sleep(Duration::from_nanos(rng.u64(0..took.as_nanos() as u64 + 1)));
            child.kill().unwrap();
            child.wait().unwrap();
            let listed = json(&["remote", "list", &url, "--json"]);
            unseen += u32::from(listed.as_array().unwrap().is_empty());
        }
        works(&["snapshot", "push", &image, "one", &url]);
        assert_eq!(json(&["remote", "prune", &url, "--keep", "1", "--json"])["chunks"], 0);
        let copy = text(&folder.path().join(format!("copy{round}.img")));
        works(&["mkfs", &copy, "--size", "16M"]);
        works(&["snapshot", "pull", &url, "one", &copy]);
        assert!(get(&copy, "large") == pattern(6 << 20));
    }
    println!("20 kills, {unseen} left nothing to be seen");
}

#[test]
fn pools_are_pushed_in_what_changed_and_pulled_in_any_version() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| text(&folder.path().join(name));
    let (pool, url) = (path("bank.pool"), path("objects"));
    works(&["pool", "create", &pool, "--size", "8M", "--max-size", "16M"]);
    let first = json(&["pool", "push", &pool, &url, "--json"]);
    assert_eq!((&first["bytes"], &first["name"]), (&(8 << 20).into(), &"bank.pool".into()));
    works(&["pool", "grow", &pool, "1M"]);
    let second = json(&["pool", "push", &pool, &url, "--json"]);
    assert!(second["found"].as_u64().unwrap() >= 6 << 20, "{second}");
    let back = path("back.pool");
    works(&["pool", "pull", &url, &back]);
    assert!(fs::read(&back).unwrap() == fs::read(&pool).unwrap());
    works(&["pool", "check", &back]);
    assert!(fails(&["pool", "pull", &url, &back]).contains("is there already"));
    let older = path("older.pool");
    let version = first["version"].to_string();
    let pulled = json(&["pool", "pull", &url, &older, "--name", "bank.pool", "--at", &version, "--json"]);
    assert_eq!(pulled["version"], first["version"]);
    assert!(fails(&["pool", "pull", &url, &path("x"), "--name", "other"]).contains("no pool \"other\""));
    assert!(fails(&["pool", "pull", &url, &path("x"), "--at", "5"]).contains("no version \"5\""));
    assert_eq!(json(&["remote", "prune", &url, "--keep", "1", "--json"])["kept"], 1);
    assert!(fails(&["pool", "push", &path("missing"), &url]).contains("missing"));
}
