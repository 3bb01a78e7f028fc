//! Many threads at once: what each does stays right, nobody waits for ever, and what is left is a sound volume.

#![allow(unreachable_pub, reason = "modules of a test are its own")]

mod files;
#[path = "../image/mod.rs"]
mod image;
mod names;

use image::*;
use nova_core::*;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

/// Runs `work` in so many threads, each with its number and a random source; the test process ends if they make no progress at all.
pub fn threads(count: u64, work: impl Fn(u64, &mut fastrand::Rng, &AtomicU64) + Sync) {
    let (progress, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let watchdog = {
        let (progress, over) = (progress.clone(), over.clone());
        std::thread::spawn(move || {
            let mut last = 0;
            while !over.load(Relaxed) {
                std::thread::park_timeout(Duration::from_secs(60));
                let now = progress.load(Relaxed);
                if now == last && !over.load(Relaxed) {
                    eprintln!("no thread has finished an operation for a minute: they wait for each other");
                    std::process::abort();
                }
                last = now;
            }
        })
    };
    std::thread::scope(|scope| {
        for number in 0..count {
            let (work, progress) = (&work, &*progress);
            scope.spawn(move || work(number, &mut fastrand::Rng::with_seed(number), progress));
        }
    });
    over.store(true, Relaxed);
    watchdog.thread().unpark();
    watchdog.join().unwrap();
    assert!(progress.load(Relaxed) > 0);
}

/// What is there is the same after a remount, and after a crash; and no block is lost.
pub fn check(image: &Image, nova: Nova) -> Everything {
    let (before, full, quotas) = (everything(&nova), nova.statfs(), nova.quotas());
    let crashed = after_crash(&image.bytes());
    assert_same(&before, &everything(&crashed), "a crash");
    assert_eq!((full, &quotas), (crashed.statfs(), &crashed.quotas()));
    drop(nova.unmount().unwrap());
    let nova = image.mount();
    assert!(nova.mount_report().clean);
    assert_same(&before, &everything(&nova), "a remount");
    assert_eq!((full, quotas), (nova.statfs(), nova.quotas()));
    let mut links = std::collections::BTreeMap::new();
    for seen in before.values() {
        let Seen { stat, names, .. } = seen;
        let is_dir = stat.kind() == Kind::Directory;
        *links.entry(stat.ino).or_insert(0) += if is_dir { 2 } else { 1 };
        if is_dir {
            let dirs = names.iter().skip(2).filter(|entry| entry.kind == Kind::Directory).count();
            *links.get_mut(&stat.ino).unwrap() += dirs as u32;
        }
    }
    for seen in before.values() {
        assert_eq!(seen.stat.links, links[&seen.stat.ino], "{:?}", seen.stat);
        if let [dot, up, entries @ ..] = &seen.names[..] {
            assert_eq!(dot.ino, seen.stat.ino);
            for entry in entries.iter().filter(|entry| entry.kind == Kind::Directory) {
                let below = nova.readdir(entry.ino, 1, 1, ROOT_USER).unwrap();
                assert_eq!(below[0].ino, seen.stat.ino, "`..` of {entry:?}");
            }
            assert!(up.ino > 0);
        }
    }
    before
}
