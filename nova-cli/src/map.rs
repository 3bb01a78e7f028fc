//! `nova map`: what is where in a volume, and where one file is.

use crate::{
    Failure, Outcome,
    files::Place,
    image,
    picture::{Part, Picture, Sort},
    size::Size,
};
use anstyle::AnsiColor;
use clap::Args;
use nova_core::{Anatomy, BLOCK, FileAnatomy, Holds, Nova};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

#[derive(Args)]
pub(crate) struct Map {
    /// IMAGE, or IMAGE:/PATH for where one file is
    place: Place,
    /// Write the picture to this file, as SVG
    #[arg(long, value_name = "OUT")]
    svg: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What a huge page has.
pub(crate) const HUGE: u64 = 2 << 20;

/// In the order of [`number`]; and last a file that was asked for.
const SORTS: [Sort; 10] = [
    Sort { name: "free", letter: '.', fill: "#eeeeee", ansi: AnsiColor::BrightBlack },
    Sort { name: "superblocks, state", letter: 'S', fill: "#000000", ansi: AnsiColor::White },
    Sort { name: "journal", letter: 'J', fill: "#cc79a7", ansi: AnsiColor::Magenta },
    Sort { name: "inodes, other metadata", letter: 'I', fill: "#d55e00", ansi: AnsiColor::Red },
    Sort { name: "logs", letter: 'L', fill: "#e69f00", ansi: AnsiColor::Yellow },
    Sort { name: "data", letter: 'D', fill: "#0072b2", ansi: AnsiColor::Blue },
    Sort { name: "data that files share", letter: 'H', fill: "#56b4e9", ansi: AnsiColor::Cyan },
    Sort { name: "what snapshots keep", letter: 'P', fill: "#999933", ansi: AnsiColor::BrightYellow },
    Sort { name: "checksums, parity", letter: 'C', fill: "#882255", ansi: AnsiColor::BrightMagenta },
    Sort { name: "this file", letter: 'F', fill: "#009e73", ansi: AnsiColor::Green },
];
const THIS_FILE: usize = SORTS.len() - 1;

fn number(holds: Holds) -> usize {
    match holds {
        Holds::Free => 0,
        Holds::Superblock | Holds::State => 1,
        Holds::Journal => 2,
        Holds::Log => 4,
        Holds::Data => 5,
        Holds::Shared => 6,
        Holds::Snapshot => 7,
        Holds::Protection => 8,
        _ => 3,
    }
}

/// What it is called in JSON.
fn name(holds: Holds) -> &'static str {
    match holds {
        Holds::Free => "free",
        Holds::Superblock => "superblock",
        Holds::State => "state",
        Holds::Journal => "journal",
        Holds::InodeTable => "inodes",
        Holds::Log => "log",
        Holds::Data => "data",
        Holds::Shared => "shared",
        Holds::Snapshot => "snapshot",
        Holds::Protection => "protection",
        _ => "other",
    }
}

pub(crate) fn run(args: &Map) -> Outcome {
    let (image, path) = args.place.inside();
    let nova = image::read(image)?;
    let anatomy = nova.anatomy()?;
    let file = match &args.place {
        Place::Here(_) => None,
        Place::Inside { .. } => Some(nova.file_anatomy(nova.symlink_metadata(path)?.ino)?),
    };
    let title = match file {
        None => image.display().to_string(),
        Some(_) => format!("{}:{}", image.display(), path.display()),
    };
    let picture = picture(title, &anatomy, file.as_ref());
    let notes = match &file {
        None => figures(&anatomy),
        Some(file) => file_figures(file),
    };
    if let Some(out) = &args.svg {
        std::fs::write(out, picture.svg(&notes)).map_err(|error| format!("{}: {error}", out.display()))?;
    }
    if args.json {
        let said = match &file {
            None => volume_json(&anatomy),
            Some(file) => file_json(file, path),
        };
        println!("{said:#}");
        return Ok(ExitCode::SUCCESS);
    }
    anstream::print!("{}", picture.text());
    notes.iter().for_each(|note| println!("{note}"));
    if let Some(file) = &file {
        print_extents(file);
    }
    warn_of_damage(&nova);
    Ok::<ExitCode, Failure>(ExitCode::SUCCESS)
}

fn warn_of_damage(nova: &Nova) {
    let damage = nova.mount_report().damage;
    if !damage.is_empty() {
        println!("{} structures are damaged, and not followed: see nova fsck", damage.len());
    }
}

fn picture(title: String, anatomy: &Anatomy, file: Option<&FileAnatomy>) -> Picture {
    let mut blocks: Vec<u8> = Vec::new();
    for stretch in &anatomy.stretches {
        blocks.extend(std::iter::repeat_n(number(stretch.holds) as u8, (stretch.len / BLOCK) as usize));
    }
    if let Some(file) = file {
        let log = file.log.iter().map(|page| (page.start / BLOCK, 1));
        let data = file.extents.iter().map(|part| (part.offset / BLOCK, part.len / BLOCK));
        for (first, count) in log.chain(data) {
            blocks[first as usize..(first + count) as usize].fill(THIS_FILE as u8);
        }
    }
    let runs = blocks.chunk_by(|one, other| one == other);
    let parts = runs.map(|run| Part { len: run.len() as u64 * BLOCK, sort: run[0].into() }).collect();
    Picture { title, sorts: SORTS.to_vec(), parts, unit: BLOCK }
}

/// Whole stretches of 2 MiB at multiples of 2 MiB that are free.
fn free_huge(anatomy: &Anatomy) -> u64 {
    let free = anatomy.stretches.iter().filter(|stretch| stretch.holds == Holds::Free);
    free.map(|stretch| ((stretch.offset + stretch.len) / HUGE).saturating_sub(stretch.offset.div_ceil(HUGE)))
        .sum()
}

fn figures(anatomy: &Anatomy) -> Vec<String> {
    let (count, longest) = anatomy.free_stretches();
    let per_file = anatomy.extents as f64 / anatomy.files.max(1) as f64;
    vec![
        format!(
            "files      {} with data, in {} extents ({per_file:.2} for each)",
            anatomy.files, anatomy.extents
        ),
        format!(
            "free       {} in {count} stretches, the longest {}; {:.1}% of it outside of that",
            Size(anatomy.bytes(Holds::Free)),
            Size(longest),
            scattered(anatomy) * 100.0
        ),
        format!("2 MiB      {} aligned stretches are free", free_huge(anatomy)),
    ]
}

/// How much of the free blocks is not in the longest stretch.
fn scattered(anatomy: &Anatomy) -> f64 {
    let (free, (_, longest)) = (anatomy.bytes(Holds::Free), anatomy.free_stretches());
    if free == 0 { 0.0 } else { 1.0 - longest as f64 / free as f64 }
}

fn volume_json(anatomy: &Anatomy) -> Value {
    let (count, longest) = anatomy.free_stretches();
    let stretches: Vec<Value> = anatomy
        .stretches
        .iter()
        .map(|stretch| json!({"offset": stretch.offset, "len": stretch.len, "holds": name(stretch.holds)}))
        .collect();
    json!({
        "stretches": stretches, "files": anatomy.files, "extents": anatomy.extents, "free": anatomy.bytes(Holds::Free),
        "free_stretches": count, "longest_free": longest, "fragmentation": scattered(anatomy), "free_2m": free_huge(anatomy),
    })
}

/// Bytes of a file that pages of 2 MiB can map: whole ones, at the same place in the file as in the volume.
pub(crate) fn huge_bytes(file: &FileAnatomy) -> u64 {
    let fits = file.extents.iter().filter(|part| part.offset % HUGE == part.file_offset % HUGE);
    fits.map(|part| ((part.offset + part.len) / HUGE).saturating_sub(part.offset.div_ceil(HUGE)) * HUGE).sum()
}

fn file_figures(file: &FileAnatomy) -> Vec<String> {
    let bytes: u64 = file.extents.iter().map(|part| part.len).sum();
    let used: u64 = file.log.iter().map(|page| page.end - page.start).sum();
    vec![
        format!("data       {} in {} extents", Size(bytes), file.extents.len()),
        format!("2 MiB      {} can be mapped by pages of 2 MiB", Size(huge_bytes(file))),
        format!("log        {} pages, {} of them used", file.log.len(), Size(used)),
    ]
}

pub(crate) fn file_json(file: &FileAnatomy, path: &Path) -> Value {
    let extents: Vec<Value> = file
        .extents
        .iter()
        .map(|part| {
            json!({
                "file_offset": part.file_offset, "offset": part.offset, "len": part.len, "unwritten": part.unwritten,
                "shared": part.shared, "alignment": 1u64 << part.offset.trailing_zeros().min(63),
            })
        })
        .collect();
    let log: Vec<Value> =
        file.log.iter().map(|page| json!({"offset": page.start, "used": page.end - page.start})).collect();
    json!({"path": path, "extents": extents, "log": log, "mappable_2m": huge_bytes(file), "inode_offset": file.identity.start})
}

fn print_extents(file: &FileAnatomy) {
    println!("{:>16} {:>16} {:>12} {:>9}", "in the file", "in the volume", "bytes", "aligned");
    for part in &file.extents {
        let aligned = Size(1 << part.offset.trailing_zeros().min(63)).to_string();
        let aligned = aligned.replace(".0 ", " ");
        let notes = [(part.unwritten, "reads as zeros"), (part.shared, "shared")];
        let notes: Vec<&str> = notes.iter().filter(|(is, _)| *is).map(|(_, note)| *note).collect();
        let (file_offset, offset, notes) = (part.file_offset, part.offset, notes.join(", "));
        let line = format!("{file_offset:>16} {offset:>16} {:>12} {aligned:>9}  {notes}", part.len);
        println!("{}", line.trim_end());
    }
}
