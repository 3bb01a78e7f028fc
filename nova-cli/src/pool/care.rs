//! Pools as a whole: making them, growing, packing, copying and mending them.

#![allow(unsafe_code)]

use super::{follow, look, open};
use crate::{Failure, Outcome, WRONG, image, progress, size::Size};
use clap::Args;
use pmem_alloc::{PoolOptions, Registry};
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

#[derive(Args)]
pub(crate) struct Create {
    /// The file; made if it is missing
    pool: PathBuf,
    /// Its size, as 64M or 1G; of a file that is there, its own
    #[arg(long)]
    size: Option<Size>,
    /// What it may grow to; otherwise it cannot
    #[arg(long)]
    max_size: Option<Size>,
    /// A name for what it holds, which programs may ask for
    #[arg(long, default_value = "")]
    layout: String,
    /// Even if something is there already
    #[arg(long)]
    force: bool,
}

pub(super) fn create(args: &Create) -> Outcome {
    let mut options = PoolOptions::new().layout(&args.layout);
    if let Some(Size(bytes)) = args.max_size {
        options = options.max_size(bytes);
    }
    let pool = if args.pool.exists() {
        image::refuse_content(&args.pool, args.force)?;
        let mapping = image::map(&args.pool, image::How::default())?;
        image::refuse_other_size(&args.pool, args.size, mapping.len())?;
        options.create_on(mapping)?
    } else {
        let Some(Size(bytes)) = args.size else { return Err("a new pool needs a --size, as 64M".into()) };
        // SAFETY: whoever runs the command says that nobody else writes the file; the lock keeps programs like this one out.
        unsafe { options.size(bytes).create(&args.pool) }?
    };
    let stats = pool.stats()?;
    pool.close()?;
    println!("{}: pool of {}, {} free", args.pool.display(), Size(stats.size), Size(stats.free));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn grow(path: &Path, Size(by): Size, max_size: Option<Size>) -> Outcome {
    let mut options = PoolOptions::new();
    if let Some(Size(bytes)) = max_size {
        options = options.max_size(bytes);
    }
    let pool = open(&options, path)?;
    let size = pool.grow(by)?;
    pool.close()?;
    println!("{}: {} now", path.display(), Size(size));
    Ok(ExitCode::SUCCESS)
}

/// What registers all objects of a pool that can be followed.
fn registrar(path: &Path) -> Result<impl FnOnce(&mut Registry<'_>), Failure> {
    let known = follow::followed(&look(path)?.check()?.named);
    Ok(move |registry: &mut Registry<'_>| follow::each(&known, |follow| follow.enroll(registry)))
}

pub(super) fn compact(path: &Path, Size(room): Size, as_json: bool) -> Outcome {
    let bar = progress::working("packing");
    let register = registrar(path)?;
    // SAFETY: as in `create`.
    let done = unsafe { PoolOptions::new().compact(path, room, register) }?;
    bar.finish_and_clear();
    if as_json {
        let said = json!({
            "before": done.before, "after": done.after, "objects": done.objects, "blocks": done.blocks, "bytes": done.bytes,
        });
        println!("{said:#}");
    } else {
        println!(
            "{}: {} from {}; {} objects, {} blocks",
            path.display(),
            Size(done.after),
            Size(done.before),
            done.objects,
            done.blocks
        );
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn backup(path: &Path, to: &Path) -> Outcome {
    // SAFETY: whoever runs the command says that nobody else writes the copy.
    unsafe { look(path)?.backup(to) }?;
    println!("copied to {}", to.display());
    Ok(ExitCode::SUCCESS)
}

pub(super) fn repair(path: &Path, backup: &Path, as_json: bool) -> Outcome {
    let bar = progress::working("checking and repairing");
    // A pool that cannot be looked into is repaired without knowing more of it.
    let known = look(path).and_then(|pool| pool.check()).map(|report| follow::followed(&report.named));
    let register = |registry: &mut Registry<'_>| {
        follow::each(&known.unwrap_or_default(), |follow| follow.enroll(registry));
    };
    // SAFETY: as in `create`, of both files.
    let (pool, repair) = unsafe { PoolOptions::new().repair(path, backup, register) }?;
    pool.close()?;
    bar.finish_and_clear();
    if as_json {
        let said = json!({
            "freed_blocks": repair.freed_blocks, "freed_bytes": repair.freed_bytes, "mended_words": repair.mended_words,
            "found_directory": repair.found_directory, "untraced_blocks": repair.untraced_blocks, "left": repair.left,
            "backup": backup,
        });
        println!("{said:#}");
    } else {
        println!("{repair}\nthe file as it was: {}", backup.display());
    }
    Ok(if repair.left.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(WRONG) })
}
