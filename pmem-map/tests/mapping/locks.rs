//! One that writes, or any number that read; across processes and inside one.

use crate::{
    children::{part, play},
    folder::folder,
};
use pmem_map::{Durability, Error, Lock, MapOptions, Mapping, Medium, PAGE};
use std::path::{Path, PathBuf};

fn open(path: &Path, lock: Lock) -> Result<Mapping, Error> {
    // SAFETY: files of this test's own folder, which only its own child knows.
    unsafe { MapOptions::new().lock(lock).open(path) }
}

fn create(path: &Path) -> Mapping {
    // SAFETY: as above.
    unsafe { Mapping::open(path, PAGE) }.unwrap()
}

#[test]
fn a_second_process_is_told_who_holds_the_file() {
    if let Some(path) = part() {
        match open(Path::new(&path), Lock::Exclusive) {
            Err(error @ Error::Locked { .. }) => return println!("refused: {error}"),
            other => panic!("{other:?}"),
        }
    }
    let folder = folder();
    let path = folder.path().join("file");
    let mapping = create(&path);
    let child = play("locks::a_second_process_is_told_who_holds_the_file", path.to_str().unwrap());
    let said = String::from_utf8_lossy(&child.stdout);
    let expected = format!("{} is in use by process {}", path.display(), std::process::id());
    assert!(child.status.success() && said.contains(&expected), "{said}");
    drop(mapping);
    open(&path, Lock::Exclusive).unwrap();
}

#[test]
fn the_holder_of_this_file_is_named_and_not_that_of_another() {
    const NAME: &str = "locks::the_holder_of_this_file_is_named_and_not_that_of_another";
    let folder = folder();
    let path = folder.path().join("file");
    let _mapping = create(&path);
    if part().is_none() {
        // The child has a lock of its own, beside ours.
        let child = play(NAME, "child");
        assert!(child.status.success(), "{child:?}");
        return;
    }
    match open(&path, Lock::Exclusive) {
        Err(Error::Locked { pid, .. }) => assert_eq!(pid, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_lock_of_a_process_that_ends_without_a_word_is_gone() {
    if let Some(path) = part() {
        let _mapping = open(Path::new(&path), Lock::Exclusive).unwrap();
        std::process::abort();
    }
    let folder = folder();
    let path = folder.path().join("file");
    drop(create(&path));
    let child = play("locks::the_lock_of_a_process_that_ends_without_a_word_is_gone", path.to_str().unwrap());
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.status), Some(libc::SIGABRT));
    open(&path, Lock::Exclusive).unwrap();
}

#[test]
fn a_second_mapping_in_the_same_process_is_refused_whatever_its_lock() {
    let folder = folder();
    let path = folder.path().join("file");
    let _mapping = create(&path);
    let link: PathBuf = folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for path in [&path, &link] {
        for lock in [Lock::Exclusive, Lock::Shared] {
            match open(path, lock) {
                Err(Error::Locked { pid, path: found }) => {
                    assert_eq!((pid, &found), (Some(std::process::id()), path));
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn closing_another_descriptor_of_the_file_does_not_drop_the_lock() {
    let folder = folder();
    let path = folder.path().join("file");
    let _mapping = create(&path);
    drop(std::fs::File::open(&path).unwrap());
    assert!(matches!(open(&path, Lock::Exclusive), Err(Error::Locked { .. })));
}

#[test]
fn any_number_may_share_a_view_and_nobody_may_write_meanwhile() {
    let folder = folder();
    let path = folder.path().join("file");
    let mut mapping = create(&path);
    mapping.write(0, b"original").unwrap();
    mapping.persist(0..8).unwrap();
    drop(mapping);
    let (one, other) = (open(&path, Lock::Shared).unwrap(), open(&path, Lock::Shared).unwrap());
    assert!(matches!(open(&path, Lock::Exclusive), Err(Error::Locked { .. })));
    assert_eq!((&one.as_slice()[..8], &other.as_slice()[..8]), (&b"original"[..], &b"original"[..]));
    drop((one, other));
    open(&path, Lock::Exclusive).unwrap();
}

#[test]
fn processes_share_views_of_a_file_and_a_writer_waits_outside() {
    const NAME: &str = "locks::processes_share_views_of_a_file_and_a_writer_waits_outside";
    if let Some(path) = part() {
        let path = Path::new(&path);
        return match open(path, Lock::Shared) {
            Ok(view) => {
                println!("saw {}, writer {:?}", view.as_slice()[0], open(path, Lock::Exclusive).is_ok())
            }
            Err(error) => println!("refused: {error}"),
        };
    }
    let folder = folder();
    let path = folder.path().join("file");
    let mut writer = create(&path);
    writer.write(0, &[7]).unwrap();
    let ask = || String::from_utf8(play(NAME, path.to_str().unwrap()).stdout).unwrap();
    // Beside a writer there are no readers: they would see its bytes change under their references.
    assert!(ask().contains(&format!("is in use by process {}", std::process::id())));
    drop(writer);
    let view = open(&path, Lock::Shared).unwrap();
    assert!(ask().contains("saw 7, writer false"));
    drop(view);
    assert!(ask().contains("saw 7, writer false"), "the view of that process itself");
}

#[test]
fn stores_to_a_shared_view_stay_in_it() {
    let folder = folder();
    let path = folder.path().join("file");
    drop(create(&path));
    let (mut one, other) = (open(&path, Lock::Shared).unwrap(), open(&path, Lock::Shared).unwrap());
    assert!(matches!(one.medium(), Medium::PrivateView(_)));
    assert_eq!(one.durability(), Durability::Process);
    one.write(0, b"mine").unwrap();
    one.persist(0..4).unwrap();
    assert_eq!((&one.as_slice()[..4], &other.as_slice()[..4]), (&b"mine"[..], &[0; 4][..]));
    assert!(std::fs::read(&path).unwrap().iter().all(|byte| *byte == 0));
    assert!(matches!(one.grow(2 * PAGE), Err(Error::CannotGrow { .. })));
}

#[test]
fn a_shared_view_of_a_missing_file_cannot_be_made() {
    let folder = folder();
    let path = folder.path().join("file");
    // SAFETY: a file of this test's own folder.
    let result = unsafe { MapOptions::new().lock(Lock::Shared).len(PAGE).create(true).open(&path) };
    assert!(matches!(result, Err(Error::Io { action: "create", .. })) && !path.exists());
}
