//! What is damaged, gone or somebody else's is named.

use crate::{Folder, bytes, label, push, read};
use pmem_replica::objects::{Error, Keep, Kind, Manifest, chain};
use std::{fs, path::PathBuf};

const MIB: usize = 1 << 20;

/// What an error of reading is.
fn why(error: &std::io::Error) -> &Error {
    error.get_ref().and_then(|inner| inner.downcast_ref()).unwrap_or_else(|| panic!("{error}"))
}

fn chunk(folder: &Folder, manifest: &Manifest, number: usize) -> PathBuf {
    let sum = &manifest.chunks[number].sha256;
    folder.path().join("chunks").join(&sum[..2]).join(sum)
}

#[test]
fn a_chunk_that_is_damaged_cut_off_or_gone_is_named_and_a_push_heals_what_is_gone_or_short() {
    let folder = Folder::new();
    let store = folder.store();
    let content = bytes(9, 4 * MIB);
    let manifest = push(&store, label(Kind::Pool, 1, None), &content).manifest;
    let path = chunk(&folder, &manifest, 2);
    let sound = fs::read(&path).unwrap();
    let mut rng = fastrand::Rng::with_seed(4);
    for _ in 0..20 {
        let mut damaged = sound.clone();
        damaged[rng.usize(..MIB)] ^= 1 << rng.u8(..8);
        fs::write(&path, damaged).unwrap();
        let error = read(&store, &manifest).unwrap_err();
        let Error::DamagedChunk { name, number: 2, path, .. } = why(&error) else { panic!("{error}") };
        assert!(name == "v1" && path.ends_with(&manifest.chunks[2].sha256), "{error}");
    }
    for len in [0, 1, MIB - 1, MIB + 1] {
        let mut other = sound.clone();
        other.resize(len, 0);
        fs::write(&path, other).unwrap();
        let error = read(&store, &manifest).unwrap_err();
        assert!(matches!(why(&error), Error::DamagedChunk { number: 2, .. }), "{error}");
        assert_eq!(push(&store, label(Kind::Pool, 1, None), &content).sent, MIB as u64);
        assert!(read(&store, &manifest).unwrap() == content);
    }
    fs::remove_file(&path).unwrap();
    let error = read(&store, &manifest).unwrap_err();
    assert!(matches!(why(&error), Error::MissingChunk { number: 2, .. }), "{error}");
    assert!(error.to_string().contains("push \"v1\" again"), "{error}");
    push(&store, label(Kind::Pool, 1, None), &content);
    assert!(read(&store, &manifest).unwrap() == content);
}

#[test]
fn manifests_that_are_foreign_newer_or_damaged_are_said_to_be_and_nothing_is_pruned_then() {
    let folder = Folder::new();
    let store = folder.store();
    for number in 1..=3 {
        push(&store, label(Kind::Pool, number, None), &bytes(number, MIB));
    }
    let path = folder.path().join("pools/00c0ffee/00000000000000000002.manifest");
    let sound = fs::read_to_string(&path).unwrap();
    let is_foreign: fn(&Error) -> bool = |error| matches!(error, Error::Foreign { .. });
    let is_newer: fn(&Error) -> bool = |error| matches!(error, Error::Newer { version: 7, .. });
    let is_damaged: fn(&Error) -> bool = |error| matches!(error, Error::DamagedManifest { .. });
    for (content, is_right) in [
        ("<html>".to_owned(), is_foreign),
        (sound.replacen("manifest 1", "manifest 7", 1), is_newer),
        (sound.replacen("\"v2\"", "\"v9\"", 1), is_damaged),
        (sound[..sound.len() - 1].to_owned(), is_damaged),
        (String::new(), is_damaged),
    ] {
        fs::write(&path, content).unwrap();
        let listed = store.list().unwrap();
        assert_eq!((listed.manifests.len(), listed.unreadable.len()), (2, 1));
        assert!(is_right(&listed.unreadable[0]), "{:?}", listed.unreadable);
        let refused = store.prune(Keep { newest: 1, force: false }).unwrap_err();
        assert!(is_right(&refused), "{refused}");
        assert_eq!((folder.files("chunks").len(), folder.files("pools").len()), (3, 3));
        assert!(folder.files("marks").is_empty());
    }
    // What is no manifest by its name is none of ours.
    fs::write(&path, sound).unwrap();
    fs::write(folder.path().join("pools/README"), "ours").unwrap();
    let listed = store.list().unwrap();
    assert_eq!((listed.manifests.len(), listed.unreadable.len()), (3, 0));
}

#[test]
fn an_increment_whose_parent_is_gone_says_so() {
    let folder = Folder::new();
    let store = folder.store();
    for (number, parent) in [(1, None), (2, Some(1)), (3, Some(2))] {
        push(&store, label(Kind::Snapshot, number, parent), &bytes(number, 100));
    }
    fs::remove_file(folder.path().join("snapshots/00c0ffee/00000000000000000002.manifest")).unwrap();
    let all = store.list().unwrap().manifests;
    let error = chain(&all, &all[1]).unwrap_err();
    assert!(matches!(&error, Error::MissingParent { name, parent: 2 } if name == "v3"), "{error}");
}
