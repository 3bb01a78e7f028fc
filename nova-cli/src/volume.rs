//! Whole volumes: making them, what they are, how full they are.

use crate::{
    Failure, Outcome, args, control, image, progress,
    size::{Size, hex},
};
use nova_core::{BLOCK, FormatOptions, MountOptions, Nova};
use nova_fuse::control::{Answer, Limit, Request, Who, set_quota};
use serde_json::json;
use std::{path::Path, process::ExitCode};

pub(crate) fn mkfs(args: &args::Mkfs) -> Outcome {
    let there = args.image.exists();
    if there {
        image::refuse_content(&args.image, args.force)?;
    }
    let mapping = match (there, args.size) {
        (true, size) => {
            let mapping = image::map(&args.image, image::How::default())?;
            image::refuse_other_size(&args.image, size, mapping.len())?;
            mapping
        }
        (false, Some(Size(bytes))) => image::make(&args.image, bytes)?,
        (false, None) => return Err("a new volume needs a --size, as 64M".into()),
    };
    let options = FormatOptions::new().label(args.label.clone());
    let options = options.checksums(args.checksums || args.parity).parity(args.parity);
    let mut options = options.replicas(args.replicas);
    if let Some(stripes) = args.stripes {
        options = options.stripes(stripes);
    }
    if let Some(Size(bytes)) = args.journal {
        options = options.journal(bytes);
    }
    let bar = progress::working("formatting");
    let nova = options.format(mapping, MountOptions::new())?;
    bar.finish_and_clear();
    if args.json {
        let space = nova.statfs();
        let said = json!({
            "image": args.image, "identity": hex(&nova.identity()), "label": nova.label(), "bytes": nova.size(),
            "stripes": nova.stripes(), "available": space.available * BLOCK,
        });
        println!("{said:#}");
    } else {
        println!("{}: {}", args.image.display(), summary(&nova));
    }
    nova.unmount()?;
    Ok(ExitCode::SUCCESS)
}

/// What damage is found by, and repaired from.
fn protected(nova: &Nova) -> String {
    let content = match nova.protection() {
        (_, true) => "content by checksums and parity",
        (true, false) => "content by checksums",
        (false, false) => "content not",
    };
    let metadata = if nova.has_replicas() { "checksums and replicas" } else { "checksums" };
    format!("{content}, metadata by {metadata}")
}

fn summary(nova: &Nova) -> String {
    let space = nova.statfs();
    format!(
        "volume {} of {}, {} stripes, {} free",
        hex(&nova.identity()[..4]),
        Size(nova.size()),
        nova.stripes(),
        Size(space.available * BLOCK)
    )
}

pub(crate) fn info(path: &Path, as_json: bool) -> Outcome {
    let nova = image::read(path)?;
    let (report, space) = (nova.mount_report(), nova.statfs());
    let damage: Vec<_> = report
        .damage
        .iter()
        .map(|damage| json!({"what": damage.what, "offset": damage.offset, "inode": damage.ino, "why": damage.why}))
        .collect();
    if as_json {
        let info = json!({
            "identity": hex(&nova.identity()),
            "label": nova.label(),
            "stripes": nova.stripes(),
            "bytes": nova.size(),
            "free": space.free * BLOCK,
            "inodes": space.inodes,
            "checksums": nova.protection().0,
            "parity": nova.protection().1,
            "replicas": nova.has_replicas(),
            "clean": report.clean,
            "replayed": report.replayed,
            "scanned": report.scanned,
            "damage": damage,
        });
        println!("{info:#}");
        return Ok(ExitCode::SUCCESS);
    }
    println!("identity  {}", hex(&nova.identity()));
    println!("label     {}", if nova.label().is_empty() { "(none)".into() } else { nova.label() });
    println!("size      {} in {} stripes", Size(nova.size()), nova.stripes());
    println!("free      {}", Size(space.free * BLOCK));
    println!("protected {}", protected(&nova));
    if report.clean {
        println!("state     unmounted in order");
    } else {
        println!(
            "state     not unmounted: {} records to replay, {} inodes scanned in {:.1?}",
            report.replayed, report.scanned, report.took
        );
    }
    for damage in &report.damage {
        println!("damage    {} at {} (inode {}): {}", damage.what, damage.offset, damage.ino, damage.why);
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn df(path: &Path, as_json: bool) -> Outcome {
    let space = image::read(path)?.statfs();
    let used = space.blocks - space.free;
    if as_json {
        let (size, used) = (space.blocks * BLOCK, used * BLOCK);
        let available = space.available * BLOCK;
        println!(
            "{:#}",
            json!({"size": size, "used": used, "available": available, "inodes_free": space.free_inodes})
        );
        return Ok(ExitCode::SUCCESS);
    }
    println!("{:>12} {:>12} {:>12} {:>5}", "size", "used", "available", "use%");
    println!(
        "{:>12} {:>12} {:>12} {:>4.0}%",
        Size(space.blocks * BLOCK).to_string(),
        Size(used * BLOCK).to_string(),
        Size(space.available * BLOCK).to_string(),
        used as f64 * 100.0 / space.blocks as f64
    );
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn quota(args: &args::Quota) -> Outcome {
    let who = args.user.map(Who::User).or(args.group.map(Who::Group));
    if args.space.is_some() || args.files.is_some() {
        let who = who.ok_or("whose limit? give --user or --group")?;
        limit(&args.image, who, args.space.map(|Size(bytes)| bytes), args.files)?;
    }
    let rows = limits(&args.image)?.into_iter().filter(|row| who.is_none_or(|who| who == row.who));
    let name = |who: Who| match who {
        Who::User(id) => ("user", id),
        Who::Group(id) => ("group", id),
    };
    if args.json {
        let rows: Vec<_> = rows
            .map(|row| {
                json!({
                    "kind": name(row.who).0, "id": name(row.who).1, "bytes": row.bytes, "files": row.files,
                    "byte_limit": row.byte_limit, "file_limit": row.file_limit,
                })
            })
            .collect();
        println!("{:#}", json!(rows));
        return Ok(ExitCode::SUCCESS);
    }
    let limit = |limit: u64, shown: String| if limit == 0 { "-".into() } else { shown };
    println!("{:<6} {:>8} {:>12} {:>12} {:>8} {:>8}", "", "id", "space", "limit", "files", "limit");
    for row in rows {
        let (kind, id) = name(row.who);
        println!(
            "{kind:<6} {id:>8} {:>12} {:>12} {:>8} {:>8}",
            Size(row.bytes).to_string(),
            limit(row.byte_limit, Size(row.byte_limit).to_string()),
            row.files,
            limit(row.file_limit, row.file_limit.to_string())
        );
    }
    Ok::<ExitCode, Failure>(ExitCode::SUCCESS)
}

/// Sets a limit in a volume, mounted or not.
fn limit(image: &Path, who: Who, bytes: Option<u64>, files: Option<u64>) -> Result<(), Failure> {
    if image.is_dir() {
        control::ask(image, &Request::SetQuota { who, bytes, files })??;
        return Ok(());
    }
    let nova = image::write(image)?;
    let done = set_quota(&nova, who, bytes, files);
    nova.unmount()?;
    Ok(done?)
}

/// What users and groups of a volume, mounted or not, use and may.
fn limits(image: &Path) -> Result<Vec<Limit>, Failure> {
    if image.is_dir() {
        return control::all(
            image,
            |skip| Request::Quotas { skip },
            |answer| match answer {
                Answer::Quotas(some) => Some(some),
                _ => None,
            },
        );
    }
    Ok(image::read(image)?.quotas().into_iter().map(Limit::from).collect())
}
