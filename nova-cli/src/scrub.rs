//! `nova scrub`.

use crate::{Outcome, WRONG, image, progress, size::Size};
use clap::Args;
use nova_core::{BLOCK, MountOptions, ScrubOptions, ScrubReport};
use serde_json::{Value, json};
use std::{path::PathBuf, process::ExitCode, time::Duration};

#[derive(Args)]
pub(crate) struct Scrub {
    /// The volume, not mounted
    image: PathBuf,
    /// At most so many bytes of content in a second
    #[arg(long)]
    rate: Option<Size>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Scrub) -> Outcome {
    let options = match args.rate {
        Some(Size(bytes)) => ScrubOptions::new().rate(bytes),
        None => ScrubOptions::new(),
    };
    let nova = MountOptions::new().mount(image::map(&args.image, image::How::default())?)?;
    let bar = progress::working("scrubbing");
    let scrub = nova.scrub_in_background(&options);
    while !scrub.is_done() {
        let at = scrub.progress();
        bar.set_message(format!("scrubbing: {} of {} inodes, {}", at.slots, at.all_slots, Size(at.bytes)));
        std::thread::sleep(Duration::from_millis(20));
    }
    let report = scrub.wait()?;
    bar.finish_and_clear();
    nova.unmount()?;
    if args.json {
        println!("{:#}", as_json(&report));
    } else {
        print(&report);
    }
    Ok(if report.damage.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(WRONG) })
}

fn as_json(report: &ScrubReport) -> Value {
    let damage = report
        .damage
        .iter()
        .map(|one| json!({"what": one.what, "offset": one.offset, "inode": one.ino, "why": one.why}));
    json!({
        "inodes": report.inodes, "blocks": report.blocks, "unprotected": report.unprotected, "moved": report.moved,
        "repaired": {"stripes": report.repairs.data, "checksums": report.repairs.checksums, "parity": report.repairs.parity,
            "metadata": report.repairs.metadata, "superblocks": report.superblocks},
        "damage": damage.collect::<Vec<_>>(),
    })
}

fn print(report: &ScrubReport) {
    println!(
        "{} inodes; {} of content verified, {} without protection",
        report.inodes,
        Size(report.blocks * BLOCK),
        Size(report.unprotected * BLOCK)
    );
    let repairs = report.repairs;
    for (count, what) in [
        (repairs.data, "stripes of 512 bytes, from parity"),
        (repairs.checksums, "lines of checksums"),
        (repairs.parity, "blocks' parity"),
        (repairs.metadata, "structures of metadata, from the other copy"),
        (report.superblocks, "superblocks, from the other one"),
    ] {
        if count > 0 {
            println!("repaired: {count} {what}");
        }
    }
    if report.moved > 0 {
        println!("moved: {} away from bad blocks", Size(report.moved * BLOCK));
    }
    for one in &report.damage {
        println!("damage: {} at offset {} (inode {}): {}", one.what, one.offset, one.ino, one.why);
    }
    match report.damage.len() {
        0 => println!("no damage is left"),
        1 => println!("1 place is damaged, and stays so"),
        many => println!("{many} places are damaged, and stay so"),
    }
}
