//! A pool in a file of a mounted volume, whose loads and stores go straight to the volume's image: past the kernel's pages, and past the
//! daemon that serves the mount.
//!
//! ```text
//! cargo run --release --example dax_over_fuse
//! ```
//!
//! One process makes a volume and serves it; another opens a pool by its path on the mount, as it would anywhere, and moves money. What it commits is in
//! the image at once, and the daemon has seen no write. The daemon says who has the file, and makes a snapshot of the volume in which no cent is missing. The client is killed in the middle of its work: its lease ends, the file's
//! checksums and parity come back, and the pool has all that was acknowledged. At the end the volume is checked.
//!
//! Needs root and `/dev/fuse`; says so where they are missing. In reading order: `client`, which is killed; `daemon`; `parent`, which looks on.

mod client;
mod daemon;
mod parent;

use pmem_collections::{Named, PBTreeMap, PCell};
use std::{path::Path, process::ExitCode};

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// Cents, by account.
const ACCOUNTS: Named<PBTreeMap<u64, i64>> = Named::new("accounts");
/// How many transfers were made.
const TRANSFERS: Named<PCell<u64>> = Named::new("transfers");
/// A number that is nowhere else, to be looked for in the image.
const MARK: Named<PCell<u64>> = Named::new("mark");
/// What each account begins with; there are a thousand.
const OPENING: i64 = 10_000;
const COUNT: u64 = 1000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => parent::run(),
        ["--daemon", image, dir] => daemon::run(Path::new(image), Path::new(dir)),
        ["--client", path, mark] => client::run(Path::new(path), mark.parse().unwrap_or(0)),
        _ => Err("usage: dax_over_fuse (it takes no arguments)".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dax_over_fuse: {error}");
            ExitCode::FAILURE
        }
    }
}
