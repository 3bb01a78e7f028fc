//! Pools of `pmem-alloc`: what is in them, and care for them.

#![allow(unsafe_code)]

use crate::{Outcome, WRONG, args::Pool as Command, size::Size};
use pmem_alloc::{Pool, PoolOptions};
use serde_json::json;
use std::{path::Path, process::ExitCode};

pub(crate) fn run(command: &Command) -> Outcome {
    match command {
        Command::Info { pool, json } => info(pool, *json),
        Command::Ls { pool, json } => ls(pool, *json),
        Command::Check { pool } => check(pool),
        Command::Map { pool } => {
            println!("{}", look(pool)?.occupancy()?);
            Ok(ExitCode::SUCCESS)
        }
        Command::Backup { pool, to } => {
            // SAFETY: whoever runs the command says that nobody else writes the copy.
            unsafe { look(pool)?.backup(to) }?;
            println!("copied to {}", to.display());
            Ok(ExitCode::SUCCESS)
        }
        Command::Repair { pool, backup } => {
            // SAFETY: as above, of both files; the lock keeps programs like this one out.
            let (pool, repair) = unsafe { PoolOptions::new().repair(pool, backup, |_| ()) }?;
            pool.close()?;
            println!("{repair}\nthe file as it was: {}", backup.display());
            Ok(if repair.left.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(WRONG) })
        }
    }
}

/// A pool in a private view: the file stays as it is, and a recovery happens in the view.
fn look(path: &Path) -> Result<Pool, pmem_alloc::Error> {
    // SAFETY: whoever runs the command says that nobody else writes the file; the lock keeps programs like this one out.
    unsafe { PoolOptions::new().open_private(path) }
}

fn info(path: &Path, as_json: bool) -> Outcome {
    let stats = look(path)?.stats()?;
    if as_json {
        let classes: Vec<_> = stats
            .classes
            .iter()
            .map(|class| json!({"size": class.size, "runs": class.runs, "blocks": class.blocks}))
            .collect();
        let info = json!({
            "size": stats.size, "max_size": stats.max_size, "capacity": stats.capacity, "used": stats.used,
            "free": stats.free, "blocks": stats.blocks, "large_blocks": stats.large_blocks, "objects": stats.objects,
            "fragmentation": stats.fragmentation(), "generation": stats.log.generation, "classes": classes,
        });
        println!("{info:#}");
        return Ok(ExitCode::SUCCESS);
    }
    println!("size       {} (may grow to {})", Size(stats.size), Size(stats.max_size));
    println!(
        "used       {} in {} blocks, {} of them large",
        Size(stats.used),
        stats.blocks,
        stats.large_blocks
    );
    println!("free       {}, {:.0}% of it scattered", Size(stats.free), stats.fragmentation() * 100.0);
    println!("objects    {}", stats.objects);
    println!("opened     {} times", stats.log.generation);
    for class in stats.classes.iter().filter(|class| class.blocks > 0) {
        println!("  {:>8} x {}", Size(class.size).to_string(), class.blocks);
    }
    Ok(ExitCode::SUCCESS)
}

fn ls(path: &Path, as_json: bool) -> Outcome {
    let report = look(path)?.check()?;
    if as_json {
        let objects: Vec<_> = report
            .named
            .iter()
            .map(|object| json!({"name": object.name, "type": object.type_name, "schema": object.schema}))
            .collect();
        println!("{:#}", json!(objects));
        return Ok(ExitCode::SUCCESS);
    }
    for object in &report.named {
        println!("{:<24} {} (schema {})", object.name, object.type_name, object.schema);
    }
    Ok(ExitCode::SUCCESS)
}

fn check(path: &Path) -> Outcome {
    let report = look(path)?.check()?;
    println!("{report}");
    Ok(if report.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(WRONG) })
}
