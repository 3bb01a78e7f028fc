//! What operations of `nova-core` cost, beside the same by system call: `cargo bench -p benches --bench fs`.
//!
//! In reading order: `benches::systems`, one set of operations over three filesystems (a volume in this process, tmpfs, the disk's own);
//! [`operations`], the table with lines, drains and goals; [`threads`], one thread and two; [`life`], log collection and mounting; [`pages`],
//! a volume in an ordinary file, with real device flushes; [`mounted`], what callers wait for, through a mount too.
//!
//! Arguments choose sections: `operations`, `threads`, `collection`, `mount`, `pages`, `mounted`; without, all of them. The disk is that of
//! `PMEM_TEST_DIR`, or of the temporary folder.

mod life;
mod mounted;
mod operations;
mod pages;
mod threads;

use benches::{cpu_time, place, systems};

/// How much is done: everything, or each row once, to see that it is right.
#[derive(Clone, Copy)]
struct Scale {
    rounds: usize,
    /// Operations of a kind in a round.
    operations: usize,
    /// Of the volume to mount.
    files: usize,
}

fn main() {
    if mounted::served() {
        return;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    if has("--list") {
        return;
    }
    let measuring = has("--bench");
    let scale = if measuring {
        Scale { rounds: 9, operations: 4000, files: 100_000 }
    } else {
        Scale { rounds: 1, operations: 64, files: 500 }
    };
    let chosen: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let is_chosen = |name: &str| chosen.is_empty() || chosen.iter().any(|chosen| *chosen == name);
    println!("volumes in {}, the disk's folder is {}", place::folder().display(), systems::disk().display());
    // Two threads need two CPUs: before this thread is kept on one.
    if is_chosen("threads") {
        threads::run(scale);
    }
    if is_chosen("mount") {
        life::mounting(scale);
    }
    cpu_time::pin();
    if is_chosen("operations") {
        operations::run(scale);
    }
    if is_chosen("collection") {
        life::collection(scale);
    }
    if is_chosen("pages") {
        pages::run(scale);
    }
    if is_chosen("mounted") {
        mounted::run(scale);
    }
}
