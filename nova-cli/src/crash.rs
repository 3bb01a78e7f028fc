//! `nova crash replay`: opens images that `pmem-crash` wrote of failures (`PMEM_CRASH_DUMP`), and says what is in them.
//!
//! An image is `NAME.left`, what the power failure left; beside it are `NAME.stored`, what had been stored by then, and `NAME.txt`, the account of
//! the failure. Nothing of it is changed: recovery happens in a copy in memory.

use crate::{Failure, Outcome, WRONG, check, pool, size::Size};
use clap::{Args, Subcommand};
use nova_core::{Error, MountOptions, Nova};
use pmem_alloc::{ErrorKind, PoolOptions};
use pmem_map::Mapping;
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

#[derive(Subcommand)]
pub(crate) enum Crash {
    /// Recovers and checks images that a crash exploration wrote
    Replay(Replay),
}

#[derive(Args)]
pub(crate) struct Replay {
    /// An image (or any volume or pool), a folder of them, or what an exploration calls an image (NAME#1/4+0:0), of which the file is
    /// in --dumps
    images: Vec<String>,
    /// Where PMEM_CRASH_DUMP was
    #[arg(long, env = "PMEM_CRASH_DUMP")]
    dumps: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What came of an image.
struct Replayed {
    /// Whether nothing is wrong, as far as it can be seen.
    is_right: bool,
    said: Value,
    lines: Vec<(&'static str, String)>,
}

pub(crate) fn run(command: &Crash) -> Outcome {
    let Crash::Replay(args) = command;
    let images = find(args)?;
    let (mut all_right, mut all) = (true, Vec::new());
    for image in &images {
        let Replayed { is_right, mut said, lines } = replay(image)?;
        all_right &= is_right;
        if args.json {
            said["image"] = json!(image);
            said["right"] = json!(is_right);
            all.push(said);
            continue;
        }
        println!("{}", image.display());
        for (about, what) in lines {
            let mut what = what.lines();
            println!("  {about:<10} {}", what.next().unwrap_or_default());
            what.for_each(|line| println!("  {:<10} {line}", ""));
        }
    }
    if args.json {
        println!("{:#}", json!(all));
    }
    Ok(if all_right { ExitCode::SUCCESS } else { ExitCode::from(WRONG) })
}

/// The files that are meant.
fn find(args: &Replay) -> Result<Vec<PathBuf>, Failure> {
    let all_in = |folder: &Path| -> Result<Vec<PathBuf>, Failure> {
        let failed = |error| format!("{}: {error}", folder.display());
        let entries = fs::read_dir(folder).map_err(failed)?;
        let mut found: Vec<PathBuf> =
            entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>().map_err(failed)?;
        found.retain(|path| path.extension().is_some_and(|extension| extension == "left"));
        found.sort();
        Ok(found)
    };
    let mut found = Vec::new();
    for image in &args.images {
        let path = Path::new(image);
        match (path.is_dir(), path.exists(), &args.dumps) {
            (true, ..) => found.extend(all_in(path)?),
            (_, true, _) => found.push(path.into()),
            (_, _, Some(dumps)) if image.contains('#') => {
                // Its account has the command that repeats it.
                let repeats = |left: &PathBuf| {
                    let account = fs::read_to_string(left.with_extension("txt")).unwrap_or_default();
                    account.contains(&format!("PMEM_CRASH_IMAGE='{image}'"))
                };
                let Some(left) = all_in(dumps)?.into_iter().find(repeats) else {
                    let how = "run its test with PMEM_CRASH_DUMP=FOLDER, and name the folder by --dumps";
                    return Err(format!("{image} is not in {}: {how}", dumps.display()).into());
                };
                found.push(left);
            }
            _ => return Err(format!("{image} is no file; the name of an image needs --dumps FOLDER").into()),
        }
    }
    if let (true, Some(dumps)) = (args.images.is_empty(), &args.dumps) {
        found = all_in(dumps)?;
    }
    if found.is_empty() { Err("no images: name files or folders of *.left".into()) } else { Ok(found) }
}

fn replay(image: &Path) -> Result<Replayed, Failure> {
    let bytes = fs::read(image).map_err(|error| format!("{}: {error}", image.display()))?;
    let mut replayed = match volume(&bytes)? {
        Some(replayed) => replayed,
        None => match a_pool(&bytes)? {
            Some(replayed) => replayed,
            None => Replayed {
                is_right: true,
                said: json!({"kind": "none"}),
                lines: vec![(
                    "kind",
                    "no volume and no pool: a power failure while one is made leaves none".into(),
                )],
            },
        },
    };
    replayed.lines.insert(0, ("image", Size(bytes.len() as u64).to_string()));
    if let Ok(stored) = fs::read(image.with_extension("stored")) {
        let lost = lost(&bytes, &stored);
        replayed.lines.insert(1, ("lost", described(&lost)));
        replayed.said["lost"] =
            json!(lost.iter().map(|(line, count)| json!({"offset": line, "len": count})).collect::<Vec<_>>());
    }
    if let Ok(account) = fs::read_to_string(image.with_extension("txt")) {
        replayed.said["account"] = json!(account);
        replayed.lines.push(("account", account));
    }
    Ok(replayed)
}

fn copy(bytes: &[u8]) -> Result<Mapping, Failure> {
    let mut mapping = Mapping::memfd(bytes.len().max(1) as u64)?;
    mapping.write(0, bytes)?;
    Ok(mapping)
}

fn volume(bytes: &[u8]) -> Result<Option<Replayed>, Failure> {
    let nova = match MountOptions::new().mount(copy(bytes)?) {
        Ok(nova) => nova,
        Err(Error::NotAVolume { .. }) => return Ok(None),
        Err(error) => {
            return Ok(Some(Replayed {
                is_right: false,
                said: json!({"kind": "volume", "error": error.to_string()}),
                lines: vec![("kind", "a volume".into()), ("recovery", format!("FAILS: {error}"))],
            }));
        }
    };
    let (mount, report) = (nova.mount_report(), nova.fsck()?);
    let again = match nova.unmount().and_then(Nova::mount) {
        Ok(nova) => {
            let again = nova.fsck()?;
            if nova.mount_report().clean || !mount.damage.is_empty() {
                again.problems.len()
            } else {
                usize::MAX
            }
        }
        Err(_) => usize::MAX,
    };
    let damage: Vec<String> = mount.damage.iter().map(ToString::to_string).collect();
    let recovery = format!(
        "{} records replayed, {} inodes scanned, {} orphans ended{}",
        mount.replayed,
        mount.scanned,
        mount.orphans,
        if mount.repaired_superblock { ", a superblock mended" } else { "" }
    );
    let mut lines = vec![("kind", "a volume".to_owned()), ("recovery", recovery)];
    lines.extend(damage.iter().map(|damage| ("damage", damage.clone())));
    lines.push(("check", report.to_string()));
    let again_says = match again {
        0 => "unmounted and mounted again: no problems".to_owned(),
        usize::MAX => "unmounted, it does not mount as it should".to_owned(),
        many => format!("unmounted and mounted again: {many} problems"),
    };
    lines.push(("again", again_says));
    Ok(Some(Replayed {
        is_right: damage.is_empty() && report.is_clean() && again == 0,
        said: json!({
            "kind": "volume", "replayed": mount.replayed, "scanned": mount.scanned, "orphans": mount.orphans, "damage": damage,
            "check": check::as_json(&report), "again_right": again == 0,
        }),
        lines,
    }))
}

fn a_pool(bytes: &[u8]) -> Result<Option<Replayed>, Failure> {
    let pool = match PoolOptions::new().open_on(copy(bytes)?) {
        Ok(pool) => pool,
        Err(error) if matches!(error.kind(), ErrorKind::NotAPool { .. }) => return Ok(None),
        Err(error) => {
            return Ok(Some(Replayed {
                is_right: false,
                said: json!({"kind": "pool", "error": error.to_string()}),
                lines: vec![("kind", "a pool".into()), ("recovery", format!("FAILS: {error}"))],
            }));
        }
    };
    let (opening, report) = (pool.opening(), pool::checked(&pool)?);
    let recovery = format!("{} commits replayed, {} lines", opening.replayed, opening.replayed_lines);
    Ok(Some(Replayed {
        is_right: report.is_ok(),
        said: json!({"kind": "pool", "replayed": opening.replayed, "check": pool::check_json(&report)}),
        lines: vec![("kind", "a pool".into()), ("recovery", recovery), ("check", report.to_string())],
    }))
}

/// Bytes of a line.
const LINE: usize = 64;

/// Lines of what was stored that the failure took: where they begin, and bytes of lines side by side.
fn lost(left: &[u8], stored: &[u8]) -> Vec<(usize, usize)> {
    let mut lost: Vec<(usize, usize)> = Vec::new();
    let lines = left.chunks(LINE).zip(stored.chunks(LINE)).enumerate();
    for (line, _) in lines.filter(|(_, (left, stored))| left != stored) {
        match lost.last_mut() {
            Some((at, len)) if *at + *len == line * LINE => *len += LINE,
            _ => lost.push((line * LINE, LINE)),
        }
    }
    lost
}

fn described(lost: &[(usize, usize)]) -> String {
    const NAMED: usize = 8;
    let lines: usize = lost.iter().map(|(_, len)| len / LINE).sum();
    let places: Vec<String> =
        lost.iter().take(NAMED).map(|(at, len)| format!("{at}..{}", at + len)).collect();
    let more = if lost.len() > NAMED { ", ..." } else { "" };
    match lines {
        0 => "nothing of what was stored".into(),
        _ => format!("{lines} lines of what was stored: {}{more}", places.join(", ")),
    }
}
