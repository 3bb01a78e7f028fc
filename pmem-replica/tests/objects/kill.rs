//! A push that is killed, at any moment, is not seen; done again, it sends the rest.

use crate::{Folder, bytes, label, open, push, read};
use pmem_replica::objects::{Keep, Kind};
use std::{
    io::Write,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const URL: &str = "OBJECTS_TEST_URL";
const LEN: usize = 24 << 20;

/// No test of its own: what is killed.
#[test]
fn child_process() {
    let Ok(url) = std::env::var(URL) else { return };
    let store = open(&url);
    let mut push = store.push(label(Kind::Pool, 1, None)).unwrap();
    bytes(1, LEN).chunks(1 << 20).for_each(|chunk| push.write_all(chunk).unwrap());
    push.finish().unwrap();
}

fn child(folder: &Folder) -> std::process::Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::child_process"])
        .env(URL, folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_push_that_is_killed_at_any_moment_is_seen_as_a_whole_or_not_at_all_and_goes_on() {
    let whole = Folder::new();
    let started = Instant::now();
    assert!(child(&whole).wait().unwrap().success());
    let took = started.elapsed();
    let seed = fastrand::u64(..);
    println!("seed {seed}, a push takes {took:?}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let (mut unseen, mut gone_on) = (0, 0);
    for _ in 0..5 {
        let folder = Folder::new();
        for _ in 0..6 {
            let mut child = child(&folder);
            std::thread::sleep(Duration::from_nanos(rng.u64(0..took.as_nanos() as u64 + 1)));
            child.kill().unwrap();
            child.wait().unwrap();
            let store = folder.store();
            let listed = store.list().unwrap();
            assert!(listed.unreadable.is_empty(), "{:?}", listed.unreadable);
            match listed.manifests.first() {
                Some(manifest) => assert!(read(&store, manifest).unwrap() == bytes(1, LEN)),
                None => unseen += 1,
            }
            // Every chunk that has its name is whole.
            for chunk in folder.files("chunks") {
                assert_eq!(chunk.metadata().unwrap().len(), 1 << 20, "{chunk:?}");
            }
        }
        let there = folder.files("chunks").len() as u64;
        let store = folder.store();
        let pushed = push(&store, label(Kind::Pool, 1, None), &bytes(1, LEN));
        assert_eq!((pushed.found, pushed.sent), (there << 20, LEN as u64 - (there << 20)));
        gone_on += there;
        assert!(read(&store, &pushed.manifest).unwrap() == bytes(1, LEN));
        // And nothing is left of those that were killed.
        let pruned = store.prune(Keep { newest: 1, force: false }).unwrap();
        assert_eq!((pruned.kept, pruned.chunks), (1, 0));
        assert!(folder.files(".partial").is_empty() && folder.files("marks").is_empty());
    }
    println!("30 kills, {unseen} left nothing to be seen; {gone_on} chunks were not sent again");
}
