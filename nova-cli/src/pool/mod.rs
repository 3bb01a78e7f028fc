//! Pools of `pmem-alloc`: what is in them, and care for them.

mod care;
mod data;
mod entries;
mod erased;
mod follow;
mod info;
mod scalar;

pub(crate) use info::{check_json, checked};

use crate::{Outcome, size::Size};
use clap::Subcommand;
use pmem_alloc::{Pool, PoolOptions};
use std::path::{Path, PathBuf};

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Makes a pool
    Create(care::Create),
    /// Says what a pool holds, and what opening it would have to recover
    Info {
        /// The pool
        pool: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Lists named objects with their types
    Ls {
        /// The pool
        pool: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Compares page table, bitmaps, directory and objects with each other
    Check {
        /// The pool
        pool: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Draws what is where
    Map {
        /// The pool
        pool: PathBuf,
        /// Write the picture to this file, as SVG
        #[arg(long, value_name = "OUT")]
        svg: Option<PathBuf>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Prints all objects: their types, and the entries of maps and sets
    Dump(data::Dump),
    /// Prints the value of a key
    Get(data::Get),
    /// Sets the value of a key
    Put(data::Put),
    /// Prints entries, of a map in order from a key on
    Scan(data::Scan),
    /// Makes a pool larger
    Grow {
        /// The pool
        pool: PathBuf,
        /// By so many bytes at least, as 64M
        by: Size,
        /// Raise what it may grow to, first
        #[arg(long)]
        max_size: Option<Size>,
    },
    /// Packs a pool into a smaller file, which takes its place
    Compact {
        /// The pool
        pool: PathBuf,
        /// Bytes that are to be free in it
        #[arg(long, default_value = "0")]
        room: Size,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Copies a pool that is not open
    Backup {
        /// The pool
        pool: PathBuf,
        /// The copy, which must not be there
        to: PathBuf,
    },
    /// Pushes a pool to a folder or a bucket: what earlier copies there do not have
    #[cfg(feature = "replica")]
    Push(crate::remote::PoolPush),
    /// Pulls a pool, to a new file; a pull that broke off goes on when it is done again
    #[cfg(feature = "replica")]
    Pull(crate::remote::PoolPull),
    /// Mends what can be proved wrong, after a copy of the file as it is
    Repair {
        /// The pool
        pool: PathBuf,
        /// The copy, which must not be there
        #[arg(long)]
        backup: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

pub(crate) fn run(command: &Command) -> Outcome {
    match command {
        Command::Create(args) => care::create(args),
        Command::Info { pool, json } => info::info(pool, *json),
        Command::Ls { pool, json } => info::ls(pool, *json),
        Command::Check { pool, json } => info::check(pool, *json),
        Command::Map { pool, svg, json } => info::map(pool, svg.as_deref(), *json),
        Command::Dump(args) => data::dump(args),
        Command::Get(args) => data::get(args),
        Command::Put(args) => data::put(args),
        Command::Scan(args) => data::scan(args),
        Command::Grow { pool, by, max_size } => care::grow(pool, *by, *max_size),
        Command::Compact { pool, room, json } => care::compact(pool, *room, *json),
        Command::Backup { pool, to } => care::backup(pool, to),
        #[cfg(feature = "replica")]
        Command::Push(args) => crate::remote::push_pool(args),
        #[cfg(feature = "replica")]
        Command::Pull(args) => crate::remote::pull_pool(args),
        Command::Repair { pool, backup, json } => care::repair(pool, backup, *json),
    }
}

/// A pool in a private view: the file stays as it is, and a recovery happens in the view.
#[allow(unsafe_code)]
pub(crate) fn look(path: &Path) -> Result<Pool, pmem_alloc::Error> {
    // SAFETY: whoever runs the command says that nobody else writes the file; the lock keeps programs like this one out.
    unsafe { PoolOptions::new().open_private(path) }
}

/// A pool, to change it.
#[allow(unsafe_code)]
fn open(options: &PoolOptions, path: &Path) -> Result<Pool, pmem_alloc::Error> {
    // SAFETY: as in `look`.
    unsafe { options.open(path) }
}
