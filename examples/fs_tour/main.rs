//! A filesystem in a file, and in one of its files a map: killed again and again, both are as they were acknowledged.
//!
//! ```text
//! cargo run --release --example fs_tour
//! ```
//!
//! A volume is formatted in an image file. A process mounts it and works: directories, files, links, renames, attributes, copies that
//! share their blocks, holes; and beside each step it inserts into a `PBTreeMap`, in a pool in a mapped file of the volume. It says what is
//! done, and is killed in the middle. What is mounted then must be what it said, or one step more.
//!
//! In reading order: `tree`, the steps, and what they lead to; `worker`, the process that is killed; `parent`, which kills it and looks.

mod parent;
mod tree;
mod worker;

use nova_core::{MountOptions, Nova};
use pmem_collections::{Named, PBTreeMap, Pool};
use pmem_map::MapOptions;
use std::{path::Path, process::ExitCode};

type Result<T, E = Box<dyn std::error::Error>> = std::result::Result<T, E>;

/// Squares, by their roots.
const SQUARES: Named<PBTreeMap<u64, u64>> = Named::new("squares");
/// The file that the map's pool is in.
const POOL: &str = "/squares.pool";

/// Mounts the volume in a file.
fn mount(image: &Path) -> Result<Nova> {
    // SAFETY: a file of this program's own; the lock excludes a worker that is still there.
    let mapping = unsafe { MapOptions::new().emulate_pmem(true).open(image) }?;
    Ok(MountOptions::new().mount(mapping)?)
}

/// Maps the file that has the pool, and opens it.
fn open_pool(nova: &Nova) -> Result<Pool> {
    Ok(Pool::on(nova.open(POOL)?.map()?)?)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => parent::run(),
        ["--worker", image, step] => worker::run(Path::new(image), step),
        _ => Err("usage: fs_tour (it takes no arguments)".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fs_tour: {error}");
            ExitCode::FAILURE
        }
    }
}
