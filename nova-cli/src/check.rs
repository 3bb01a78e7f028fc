//! `nova fsck`.

use crate::{Outcome, WRONG, image, progress};
use anstyle::{AnsiColor, Style};
use clap::Args;
use nova_core::{Damage, FsckReport, MountOptions};
use serde_json::{Value, json};
use std::{path::PathBuf, process::ExitCode};

#[derive(Args)]
pub(crate) struct Fsck {
    /// The volume. It stays as it is, unless it is repaired
    image: PathBuf,
    /// Mend what can be proved wrong; what no path leads to goes to /lost+found
    #[arg(long)]
    repair: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Fsck) -> Outcome {
    let (report, is_right) = if args.repair {
        let mapping = image::map(&args.image, image::How::default())?;
        let bar = progress::working("checking and repairing");
        let (nova, report) = MountOptions::new().repair(mapping)?;
        nova.unmount()?;
        bar.finish_and_clear();
        let is_right = report.left.is_empty();
        (report, is_right)
    } else {
        let bar = progress::working("checking");
        // In a private view: a volume that was not unmounted is recovered there first.
        let report = image::read(&args.image)?.fsck()?;
        bar.finish_and_clear();
        let is_clean = report.is_clean();
        (report, is_clean)
    };
    if args.json {
        println!("{:#}", as_json(&report));
    } else {
        print(&report);
    }
    Ok(if is_right { ExitCode::SUCCESS } else { ExitCode::from(WRONG) })
}

/// What a check found, as JSON.
pub(crate) fn as_json(report: &FsckReport) -> Value {
    let list = |damage: &[Damage]| -> Vec<Value> {
        let one = |Damage { what, offset, ino, why }: &Damage| json!({"what": what, "offset": offset, "inode": ino, "why": why});
        damage.iter().map(one).collect()
    };
    json!({
        "clean": report.is_clean(), "problems": list(&report.problems), "repairs": report.repairs, "lost": list(&report.lost),
        "left": list(&report.left), "inodes": report.inodes, "directories": report.directories, "names": report.names,
        "orphans": report.orphans, "data_blocks": report.data_blocks, "shared_blocks": report.shared_blocks,
        "metadata_blocks": report.metadata_blocks, "free_blocks": report.free_blocks,
    })
}

/// Prints a report, in colours on a terminal.
pub(crate) fn print(report: &FsckReport) {
    let colour = |colour: AnsiColor| Style::new().fg_color(Some(colour.into())).bold();
    for line in report.to_string().lines() {
        let style = match line.split_once(':') {
            Some(("problem" | "lost" | "left", _)) => colour(AnsiColor::Red),
            Some(("repaired", _)) => colour(AnsiColor::Yellow),
            _ if line == "no problems" => colour(AnsiColor::Green),
            _ => Style::new(),
        };
        let (head, rest) = line.split_once(':').map_or((line, ""), |(head, _)| line.split_at(head.len()));
        anstream::println!("{style}{head}{style:#}{rest}");
    }
}
