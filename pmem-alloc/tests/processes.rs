//! One pool, several processes: who may open it, and what is left of one that was killed.
#![allow(missing_docs)]
use pmem_alloc::*;
use std::{
    os::unix::{
        fs::PermissionsExt,
        process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Command, Output},
};

mod cell;
use cell::Cell;

const SIZE: u64 = 1 << 20;
/// Tells a child which file it is about.
const PART: &str = "PMEM_ALLOC_TEST_PART";

fn folder() -> tempfile::TempDir {
    let parent = std::env::var_os("PMEM_TEST_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    tempfile::tempdir_in(parent).unwrap()
}

fn part() -> Option<PathBuf> {
    std::env::var_os(PART).map(PathBuf::from)
}

/// This test again, in a process of its own.
fn child(name: &str, path: &Path) -> Command {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", name, "--nocapture", "--test-threads=1"]).env(PART, path);
    child
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn open(path: &Path) -> Result<Pool> {
    // SAFETY: files that only these tests and their children know.
    unsafe { Pool::open(path) }
}

fn create(path: &Path) -> Result<Pool> {
    // SAFETY: as above.
    unsafe { Pool::create(path, SIZE) }
}

fn open_or_create(path: &Path) -> Result<Pool> {
    // SAFETY: as above.
    unsafe { PoolOptions::new().size(SIZE).open_or_create(path) }
}

fn set(pool: &Pool, value: u64) -> Result<()> {
    pool.write(|tx| tx.open::<Cell<u64>>("c")?.set(value))
}

fn value(pool: &Pool) -> u64 {
    *pool.read().unwrap().open::<Cell<u64>>("c").unwrap().get().unwrap()
}

// PMDK scenario 11.
#[test]
fn a_second_process_is_told_who_has_the_pool_and_changes_nothing_until_it_is_closed() {
    // PMDK scenario 11
    if let Some(path) = part() {
        for way in [open, create, open_or_create] {
            match way(&path) {
                Err(error) => println!("{error}"),
                Ok(pool) => println!("opened, and it is {}", value(&pool)),
            }
        }
        return;
    }
    const NAME: &str = "a_second_process_is_told_who_has_the_pool_and_changes_nothing_until_it_is_closed";
    let folder = folder();
    let path = folder.path().join("pool");
    let pool = create(&path).unwrap();
    set(&pool, 7).unwrap();
    let before = std::fs::read(&path).unwrap();
    let told = said(&child(NAME, &path).output().unwrap());
    let holder = format!("is in use by process {}", std::process::id());
    assert_eq!(told.matches(&holder).count(), 2, "{told}"); // that creates, finds that it exists
    assert!(std::fs::read(&path).unwrap() == before);
    set(&pool, 8).unwrap();
    pool.close().unwrap();
    let told = said(&child(NAME, &path).output().unwrap());
    assert_eq!(told.matches("opened, and it is 8").count(), 2, "{told}");
}

// PMDK scenarios 40, 41 and 42.
#[test]
fn a_process_killed_inside_a_transaction_leaves_what_it_had_committed_and_no_lock() {
    if let Some(path) = part() {
        let pool = create(&path).unwrap();
        set(&pool, 7).unwrap();
        _ = pool.write(|tx| {
            tx.open::<Cell<u64>>("c")?.set(8)?;
            tx.open::<PHeap<u64>>("heap")?.alloc([1u64; 512])?;
            std::process::abort();
            #[expect(unreachable_code, reason = "says what the closure would return")]
            Ok(())
        });
        return;
    }
    let folder = folder();
    let path = folder.path().join("pool");
    let killed =
        child("a_process_killed_inside_a_transaction_leaves_what_it_had_committed_and_no_lock", &path)
            .output()
            .unwrap();
    assert!(killed.status.signal().is_some(), "{}", said(&killed));
    let pool = open(&path).unwrap();
    assert!(pool.opening().replayed > 0);
    assert_eq!((value(&pool), pool.stats().unwrap().objects), (7, 1));
    assert!(pool.check().unwrap().is_ok());
    set(&pool, 9).unwrap();
}

#[test]
fn a_pool_without_permission_is_refused_by_name_and_left_as_it_is() {
    // PMDK scenario 7
    if let Some(folder) = part() {
        let (closed, read_only) = (folder.join("closed"), folder.join("read-only"));
        let new = folder.join("new");
        let results = [
            open(&closed),
            open_or_create(&closed),
            open(&read_only),
            open_or_create(&read_only),
            create(&new),
            open_or_create(&new),
        ];
        for result in results {
            let error = result.expect_err("nobody may");
            let ErrorKind::Map(pmem_map::Error::Io { path, source, .. }) = error.kind() else {
                panic!("{error}")
            };
            assert_eq!(source.kind(), std::io::ErrorKind::PermissionDenied, "{error}");
            assert!(path.starts_with(&folder) && error.to_string().contains("denied"), "{error}");
        }
        return println!("refused");
    }
    let folder = folder();
    let mode = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    let paths = [("closed", 0o000), ("read-only", 0o444)].map(|(name, bits)| {
        let path = folder.path().join(name);
        set(&create(&path).unwrap(), 7).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        mode(&path, bits);
        (path, bytes)
    });
    mode(folder.path(), 0o555);
    let mut other = child("a_pool_without_permission_is_refused_by_name_and_left_as_it_is", folder.path());
    // SAFETY: a system call without arguments.
    if unsafe { libc::geteuid() } == 0 {
        other.uid(65534).gid(65534); // root is permitted everything
    }
    let output = other.output();
    mode(folder.path(), 0o755);
    let output = match output {
        Ok(output) => output,
        Err(error) => return println!("skipped: no process of another user can be started here: {error}"),
    };
    assert!(output.status.success() && said(&output).contains("refused"), "{}", said(&output));
    assert!(!folder.path().join("new").exists());
    for (path, bytes) in paths {
        mode(&path, 0o644);
        assert!(std::fs::read(&path).unwrap() == bytes);
        assert_eq!(value(&open(&path).unwrap()), 7);
    }
}

// PMDK scenario 12.
#[test]
fn pools_of_many_threads_open_and_close_beside_each_other() {
    // PMDK scenario 12
    let folder = folder();
    std::thread::scope(|scope| {
        for n in 0..32 {
            let path = folder.path().join(n.to_string());
            scope.spawn(move || {
                set(&create(&path).unwrap(), n).unwrap();
                for _ in 0..3 {
                    assert_eq!(value(&open(&path).unwrap()), n);
                }
            });
        }
    });
}
