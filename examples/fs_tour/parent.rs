//! Formats the volume, kills who works on it, and looks at what is left.

use crate::{
    POOL, Result, SQUARES, mount, open_pool,
    tree::{self, Tree},
};
use nova_core::{FormatOptions, MountOptions, Nova};
use pmem_collections::{Pool, PoolOptions};
use pmem_map::MapOptions;
use std::{
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};
use tempfile::TempDir;

const KILLS: u32 = 5;
const VOLUME: u64 = 64 << 20;

/// How far the work has come: steps in the tree, entries of the map.
#[derive(Clone, Copy, Default)]
struct Progress {
    steps: u64,
    entries: u64,
}

pub(crate) fn run() -> Result<()> {
    let start = Instant::now();
    let folder =
        TempDir::with_prefix_in("fs-tour-", "/dev/shm").or_else(|_| TempDir::with_prefix("fs-tour-"))?;
    let image = folder.path().join("image");
    format(&image)?;
    println!("formatted  {} MiB in {}", VOLUME >> 20, image.display());
    let (mut random, mut known) = (fastrand::Rng::new(), Progress::default());
    let mut expected = Tree::new();
    for kill in 1..=KILLS {
        let heard = life(&image, known, random.u64(100..1500))?;
        let nova = mount(&image)?;
        let report = nova.mount_report();
        if report.clean || !report.damage.is_empty() {
            return Err(format!("a volume that was not unmounted is mounted with {report:?}").into());
        }
        let found = look(&nova, &mut expected, known.steps, heard)?;
        println!(
            "kill {kill}     {} steps and {} entries acknowledged; found {} paths and {} entries, and {} more of what was on its way",
            heard.steps,
            heard.entries,
            expected.len(),
            found.entries,
            found.steps - heard.steps + found.entries - heard.entries,
        );
        println!(
            "           mounted in {:.1} ms: {} records replayed, {} inodes scanned",
            report.took.as_secs_f64() * 1e3,
            report.replayed,
            report.scanned,
        );
        known = found;
        if kill % 2 == 0 {
            // In order, for once: the next mount scans nothing.
            let nova = MountOptions::new().mount(nova.unmount()?)?;
            let report = nova.mount_report();
            if !report.clean {
                return Err("a volume that was unmounted is scanned".into());
            }
            look(&nova, &mut expected, known.steps, known)?;
            println!("unmounted, and mounted in {:.1} ms: nothing scanned", report.took.as_secs_f64() * 1e3);
        }
    }
    println!(
        "nothing that was acknowledged is lost, and nothing is there by half; {:.1} s",
        start.elapsed().as_secs_f64()
    );
    Ok(())
}

/// A new volume, and in it a mapped file with a pool.
fn format(image: &Path) -> Result<()> {
    let options = MapOptions::new().len(VOLUME).create(true).emulate_pmem(true);
    // SAFETY: a new file in a folder of this program's own.
    let mapping = unsafe { options.open(image) }?;
    let nova = FormatOptions::new().label("fs_tour").format(mapping, MountOptions::new())?;
    let file = nova.create_file(POOL)?;
    file.set_len(2 << 20)?;
    let pool = PoolOptions::new().create_on(file.map()?)?;
    pool.write(|tx| tx.open(SQUARES).map(drop))?;
    pool.close()?;
    drop(file);
    nova.unmount()?;
    Ok(())
}

/// A worker from its start to its end: it is killed when it has said `lines` lines. What it said.
fn life(image: &Path, from: Progress, lines: u64) -> Result<Progress> {
    let mut process = Command::new(std::env::current_exe()?)
        .arg("--worker")
        .arg(image)
        .arg(from.steps.to_string())
        .stdin(Stdio::piped()) // open as long as it lives: it waits when it has nothing left to do
        .stdout(Stdio::piped())
        .spawn()?;
    let stdout = process.stdout.take().ok_or("a worker without a pipe")?;
    let mut heard = from;
    for (number, line) in (1..).zip(BufReader::new(stdout).lines()) {
        let line = line?;
        match line.split_once(' ') {
            Some(("tree", steps)) => heard.steps = steps.parse()?,
            Some(("map", entries)) => heard.entries = entries.parse()?,
            _ => return Err(format!("a worker said {line:?}").into()),
        }
        // What it said before it died is still to be read.
        if number == lines {
            process.kill()?;
        }
    }
    let status = process.wait()?;
    if status.signal() == Some(9) {
        Ok(heard)
    } else {
        Err(format!("a worker ended unasked: {status}").into())
    }
}

/// Compares the volume with what must be there: what was heard, or one step more. `tree` is that of `known` steps.
fn look(nova: &Nova, tree: &mut Tree, known: u64, heard: Progress) -> Result<Progress> {
    (known..heard.steps).for_each(|step| tree::apply(tree, step));
    let found = tree::read(nova)?;
    let mut steps = heard.steps;
    if found != *tree {
        tree::apply(tree, steps);
        steps += 1;
    }
    if found != *tree {
        let differs = |path: &&String| found.get(*path) != tree.get(*path);
        let path = found.keys().chain(tree.keys()).find(differs);
        return Err(format!("after {steps} steps {path:?} is neither as before nor as after a step").into());
    }
    let pool: Pool = open_pool(nova)?;
    let report = pool.check()?;
    let tx = pool.read()?;
    let squares = tx.open(SQUARES)?;
    let entries = squares.len() as u64;
    let right = squares.iter().enumerate().all(|(n, entry)| {
        let root = n as u64;
        matches!(entry, Ok((key, square)) if (*key, *square) == (root, root * root))
    });
    if !report.is_ok() || !right || !(heard.entries..=heard.entries + 1).contains(&entries) {
        return Err(format!(
            "{} entries were acknowledged, and {entries} are there; {report}",
            heard.entries
        )
        .into());
    }
    Ok(Progress { steps, entries })
}
