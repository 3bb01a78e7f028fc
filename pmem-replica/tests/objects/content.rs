//! What is pushed comes back.

use crate::{Folder, bytes, label, push, read};
use pmem_replica::objects::{Error, Kind};
use std::io::Write;

const MIB: usize = 1 << 20;

#[test]
fn what_is_pushed_is_listed_and_comes_back_whatever_its_length() {
    let folder = Folder::new();
    let store = folder.store();
    let lengths = [0, 1, MIB - 1, MIB, MIB + 1, 3 * MIB + 5];
    for (number, len) in lengths.into_iter().enumerate() {
        let pushed = push(&store, label(Kind::Pool, number as u64, None), &bytes(number as u64, len));
        assert_eq!((pushed.sent, pushed.found), (len as u64, 0));
    }
    push(&store, label(Kind::Snapshot, 3, None), b"a stream");
    let listed = folder.store().list().unwrap();
    assert!(listed.unreadable.is_empty());
    let kinds: Vec<Kind> = listed.manifests.iter().map(|one| one.label.kind).collect();
    assert_eq!(kinds, [&[Kind::Snapshot][..], &[Kind::Pool; 6]].concat());
    for (manifest, (number, len)) in listed.manifests[1..].iter().zip(lengths.into_iter().enumerate()) {
        assert_eq!(manifest.label, label(Kind::Pool, number as u64, None));
        assert!(read(&store, manifest).unwrap() == bytes(number as u64, len), "{len} bytes");
    }
    let found = store.find(&listed.manifests, Kind::Pool, None).unwrap();
    assert_eq!(found.label.version.number, 5, "the newest");
    let missing = store.find(&listed.manifests, Kind::Snapshot, Some("other"));
    assert!(matches!(missing, Err(Error::NotFound { .. })), "{missing:?}");
    assert!(folder.files("marks").is_empty() && folder.files(".partial").is_empty());
}

#[test]
fn what_is_there_is_not_sent_again() {
    let folder = Folder::new();
    let store = folder.store();
    let mut content = bytes(1, 8 * MIB);
    push(&store, label(Kind::Pool, 1, None), &content);
    content[5 * MIB + 100] ^= 1;
    let pushed = push(&store, label(Kind::Pool, 2, None), &content);
    assert_eq!((pushed.sent, pushed.found), (MIB as u64, 7 * MIB as u64), "one chunk was changed");
    // Zeros are one chunk, however many there are.
    let pushed = push(&store, label(Kind::Pool, 3, None), &vec![0; 20 * MIB]);
    assert_eq!(pushed.sent, MIB as u64);
    // Again, as after a kill before the manifest.
    std::fs::remove_file(folder.path().join("pools/00c0ffee/00000000000000000002.manifest")).unwrap();
    let pushed = push(&store, label(Kind::Pool, 2, None), &content);
    assert_eq!(pushed.sent, 0);
    assert!(read(&store, &pushed.manifest).unwrap() == content);
}

#[test]
fn until_it_is_finished_nobody_sees_it_and_given_up_it_leaves_no_mark() {
    let folder = Folder::new();
    let store = folder.store();
    let mut push = store.push(label(Kind::Pool, 1, None)).unwrap();
    push.write_all(&bytes(1, 3 * MIB)).unwrap();
    assert!(folder.store().list().unwrap().manifests.is_empty());
    assert_eq!((folder.files("chunks").len(), folder.files("marks").len()), (3, 1));
    drop(push);
    assert!(folder.files("marks").is_empty() && store.list().unwrap().manifests.is_empty());
}

#[test]
fn a_file_is_pulled_as_a_whole_and_what_was_fetched_before_a_kill_is_not_fetched_again() {
    let folder = Folder::new();
    let store = folder.store();
    let content = bytes(1, 5 * MIB + 77);
    let manifest = push(&store, label(Kind::Pool, 1, None), &content).manifest;
    let path = folder.0.path().join("pulled");
    // A pull that ends early: the fourth chunk is away.
    let (chunk, away) = (folder.path().join("chunks"), folder.0.path().join("away"));
    let fourth = chunk.join(&manifest.chunks[3].sha256[..2]).join(&manifest.chunks[3].sha256);
    std::fs::rename(&fourth, &away).unwrap();
    let cut = store.pull_file(&manifest, &path, |_| {});
    assert!(matches!(cut, Err(Error::MissingChunk { number: 3, .. })), "{cut:?}");
    assert!(!path.exists());
    std::fs::rename(&away, &fourth).unwrap();
    let mut done = 0;
    let pulled = store.pull_file(&manifest, &path, |bytes| done += bytes).unwrap();
    assert_eq!((pulled.kept, pulled.fetched, done), (3 * MIB as u64, 2 * MIB as u64 + 77, manifest.length));
    assert!(std::fs::read(&path).unwrap() == content);
    assert!(!folder.0.path().join("pulled.pulling").exists());
    let again = store.pull_file(&manifest, &path, |_| {});
    assert!(matches!(again, Err(Error::AlreadyThere { .. })), "{again:?}");
}

#[test]
fn a_pull_that_was_killed_between_two_names_of_its_file_leaves_the_file_alone() {
    let folder = Folder::new();
    let store = folder.store();
    let manifest = push(&store, label(Kind::Pool, 1, None), &bytes(1, MIB)).manifest;
    let [path, moved, partial] =
        ["pulled", "in-use", "pulled.pulling"].map(|name| folder.0.path().join(name));
    store.pull_file(&manifest, &path, |_| {}).unwrap();
    std::fs::hard_link(&path, &partial).unwrap(); // as the kill leaves it
    std::fs::rename(&path, &moved).unwrap();
    std::fs::write(&moved, b"changed since").unwrap();
    store.pull_file(&manifest, &path, |_| {}).unwrap();
    assert_eq!(std::fs::read(&moved).unwrap(), b"changed since");
    assert!(std::fs::read(&path).unwrap() == bytes(1, MIB));
}
