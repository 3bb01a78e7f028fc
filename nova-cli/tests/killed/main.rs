//! Who serves a mount is killed, again and again: what a system call said is done is there, and the check finds nothing wrong.
//!
//! `NOVA_KILLS` says how often (6); `NOVA_KILLS_SEED` repeats the choices of a run, not its timing.

mod repository;
mod tree;
mod volume;

use repository::Repository;
use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    time::Duration,
};
use tree::Tree;
use volume::{Volume, kills, random};

/// The content that a file has by its number.
fn content(number: usize) -> Vec<u8> {
    (0..number * 97 % 20_000).map(|at| ((at * number) >> 3) as u8).collect()
}

#[test]
fn what_a_system_call_said_is_done_outlives_the_daemon() {
    let Some(volume) = Volume::make("512M") else { return };
    let mut random = random();
    let mut done: Vec<usize> = Vec::new();
    let mut next = 0;
    for life in 0..kills() {
        let mut daemon = volume.serve(true);
        for number in &done {
            assert!(
                fs::read(volume.dir().join(format!("f{number}"))).unwrap() == content(*number),
                "file {number}, life {life}"
            );
        }
        let (acknowledged, until) = (AtomicUsize::new(0), random.usize(1..120));
        let started = next;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while acknowledged.load(SeqCst) < until {
                    std::hint::spin_loop();
                }
                daemon.kill().unwrap();
            });
            // A file counts when it has its name.
            for number in started.. {
                let (draft, path) = (volume.dir().join("draft"), volume.dir().join(format!("f{number}")));
                let made = fs::write(&draft, content(number)).and_then(|()| fs::rename(&draft, &path));
                next = number + 1;
                match made {
                    Ok(()) => {
                        done.push(number);
                        acknowledged.fetch_add(1, SeqCst);
                    }
                    Err(_) if acknowledged.load(SeqCst) >= until => break,
                    Err(error) => {
                        acknowledged.store(usize::MAX, SeqCst); // or the other thread waits for good
                        panic!("before the kill: {error}");
                    }
                }
            }
        });
        volume.bury(daemon);
    }
    println!("{} kills, {} files", kills(), done.len());
}

#[test]
fn trees_and_repositories_outlive_the_daemon() {
    let Some(volume) = Volume::make("256M") else { return };
    let mut random = random();
    let mut trees: Vec<Tree> = Vec::new();
    let mut repository = None;
    for life in 0..kills() {
        let mut daemon = volume.serve(life % 3 != 2);
        if life == 0 {
            for thread in 0..3 {
                trees.push(Tree::make(volume.dir().join(format!("tree {thread}")), random.fork()));
            }
            repository = Repository::make(volume.dir().join("repository"), random.fork());
        }
        trees.iter_mut().for_each(Tree::verify);
        if let Some(repository) = &mut repository {
            repository.verify();
        }
        let killed = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for tree in &mut trees {
                scope.spawn(|| tree.change_until(&killed));
            }
            if let Some(repository) = &mut repository {
                scope.spawn(|| repository.commit_until(&killed));
            }
            std::thread::sleep(Duration::from_micros(random.u64(1_000..500_000)));
            killed.store(true, SeqCst);
            daemon.kill().unwrap();
        });
        volume.bury(daemon);
    }
    let daemon = volume.serve(true);
    trees.iter_mut().for_each(Tree::verify);
    let changes: usize = trees.iter().map(Tree::changes).sum();
    let commits = repository.as_mut().map_or(0, |repository| {
        repository.verify();
        repository.commits()
    });
    volume.end(daemon);
    println!("{} kills, {changes} changes of trees, {commits} commits", kills());
}
