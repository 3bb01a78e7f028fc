//! What a pool holds: figures, objects, a picture, and whether it is right.

use super::{follow, look};
use crate::{
    Failure, Outcome, WRONG,
    picture::{Part, Picture, Sort},
    progress,
    size::Size,
};
use anstyle::AnsiColor;
use pmem_alloc::{CheckReport, Holds, Occupancy, Pool};
use serde_json::{Value, json};
use std::{path::Path, process::ExitCode};

pub(super) fn info(path: &Path, as_json: bool) -> Outcome {
    let pool = look(path)?;
    let (stats, opening) = (pool.stats()?, pool.opening());
    let log = &stats.log;
    if as_json {
        let classes: Vec<_> = stats
            .classes
            .iter()
            .map(|class| json!({"size": class.size, "runs": class.runs, "blocks": class.blocks, "free": class.free}))
            .collect();
        let info = json!({
            "size": stats.size, "max_size": stats.max_size, "capacity": stats.capacity, "used": stats.used,
            "free": stats.free, "free_pages": stats.free_pages, "free_spans": stats.free_spans, "longest_free": stats.longest_free,
            "blocks": stats.blocks, "large_blocks": stats.large_blocks, "objects": stats.objects,
            "fragmentation": stats.fragmentation(), "generation": log.generation, "classes": classes,
            "log": {
                "capacity": log.capacity, "max_record": log.max_record, "replayed": opening.replayed,
                "replayed_lines": opening.replayed_lines, "repaired_log": opening.repaired_log,
                "repaired_header": opening.repaired_header,
            },
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
    println!(
        "free       {}, whole pages in {} stretches, the longest {}; {:.0}% of them outside of that",
        Size(stats.free),
        stats.free_spans,
        Size(stats.longest_free),
        stats.fragmentation() * 100.0
    );
    println!("objects    {}", stats.objects);
    println!("opened     {} times", log.generation);
    println!("log        {}, records of up to {}", Size(log.capacity), Size(log.max_record));
    match opening.replayed {
        0 => println!("           nothing to replay"),
        many => println!("           {many} commits to replay, {} lines", opening.replayed_lines),
    }
    if opening.repaired_log || opening.repaired_header.is_some() {
        println!("           a damaged copy of a header has a good one: opening the pool mends it");
    }
    if !stats.classes.is_empty() {
        println!("{:>10} {:>8} {:>10} {:>10} {:>6}", "blocks of", "runs", "allocated", "free", "full");
    }
    for class in &stats.classes {
        let full = class.blocks as f64 * 100.0 / (class.blocks + class.free).max(1) as f64;
        println!("{:>10} {:>8} {:>10} {:>10} {full:>5.0}%", class.size, class.runs, class.blocks, class.free);
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn ls(path: &Path, as_json: bool) -> Outcome {
    let report = checked(&look(path)?)?;
    if as_json {
        println!("{:#}", objects_json(&report));
        return Ok(ExitCode::SUCCESS);
    }
    for object in &report.named {
        let (name, type_name, bytes) = (&object.name, &object.type_name, Size(object.bytes).to_string());
        println!("{name:<24} {bytes:>10} {type_name} (schema {})", object.schema);
    }
    Ok(ExitCode::SUCCESS)
}

fn objects_json(report: &CheckReport) -> Value {
    let objects = report.named.iter().map(|object| {
        json!({
            "name": object.name, "type": object.type_name, "schema": object.schema, "bytes": object.bytes,
            "not_traced": object.not_traced,
        })
    });
    objects.collect()
}

/// A check that follows what this program lacks the types of, too.
pub(crate) fn checked(pool: &Pool) -> Result<CheckReport, Failure> {
    let report = pool.check()?;
    let known = follow::followed(&report.named);
    if known.is_empty() {
        return Ok(report);
    }
    follow::each(&known, |follow| follow.register(pool));
    Ok(pool.check()?)
}

/// What a check found, as JSON.
pub(crate) fn check_json(report: &CheckReport) -> Value {
    let problems: Vec<Value> = report
        .problems
        .iter()
        .map(|problem| json!({"offset": problem.offset, "kind": format!("{:?}", problem.kind), "what": problem.what}))
        .collect();
    let leaks: Vec<Value> =
        report.leaks.iter().map(|leak| json!({"offset": leak.offset, "len": leak.len})).collect();
    json!({
        "ok": report.is_ok(), "problems": problems, "leaks": leaks, "objects": objects_json(report),
        "untraced_blocks": report.untraced_blocks, "runs": report.runs, "small_blocks": report.small_blocks,
        "large_blocks": report.large_blocks, "slabs": report.slabs, "free_pages": report.free_pages,
    })
}

pub(super) fn check(path: &Path, as_json: bool) -> Outcome {
    let bar = progress::working("checking");
    let report = checked(&look(path)?)?;
    bar.finish_and_clear();
    if as_json {
        println!("{:#}", check_json(&report));
    } else {
        println!("{report}");
    }
    Ok(if report.is_ok() { ExitCode::SUCCESS } else { ExitCode::from(WRONG) })
}

const SORTS: [Sort; 6] = [
    Sort { name: "free", letter: '.', fill: "#eeeeee", ansi: AnsiColor::BrightBlack },
    Sort { name: "small blocks, most free", letter: 'o', fill: "#f0e442", ansi: AnsiColor::Yellow },
    Sort { name: "small blocks, most in use", letter: 'O', fill: "#e69f00", ansi: AnsiColor::Red },
    Sort { name: "large blocks", letter: '#', fill: "#0072b2", ansi: AnsiColor::Blue },
    Sort { name: "reserved", letter: 'r', fill: "#56b4e9", ansi: AnsiColor::Cyan },
    Sort { name: "slabs (concurrent)", letter: 'S', fill: "#009e73", ansi: AnsiColor::Green },
];

fn sort(holds: &Holds) -> usize {
    match holds {
        Holds::Free => 0,
        Holds::Run { blocks, used, .. } if u64::from(*used) * 2 < u64::from(*blocks) => 1,
        Holds::Run { .. } => 2,
        Holds::Large(false) => 4,
        Holds::Slab => 5,
        _ => 3,
    }
}

pub(super) fn map(path: &Path, svg: Option<&Path>, as_json: bool) -> Outcome {
    let occupancy = look(path)?.occupancy()?;
    let parts =
        occupancy.stretches.iter().map(|stretch| Part { len: stretch.len, sort: sort(&stretch.holds) });
    let picture = Picture {
        title: path.display().to_string(),
        sorts: SORTS.to_vec(),
        parts: parts.collect(),
        unit: pmem_map::PAGE,
    };
    let stats = &occupancy.stats;
    let notes = vec![
        format!("used       {} of {} in {} blocks", Size(stats.used), Size(stats.capacity), stats.blocks),
        format!(
            "free       whole pages in {} stretches, the longest {}; {:.1}% of them outside of that",
            stats.free_spans,
            Size(stats.longest_free),
            stats.fragmentation() * 100.0
        ),
    ];
    if let Some(out) = svg {
        std::fs::write(out, picture.svg(&notes)).map_err(|error| format!("{}: {error}", out.display()))?;
    }
    if as_json {
        println!("{:#}", map_json(&occupancy));
        return Ok(ExitCode::SUCCESS);
    }
    anstream::print!("{}", picture.text());
    notes.iter().for_each(|note| println!("{note}"));
    Ok(ExitCode::SUCCESS)
}

fn map_json(occupancy: &Occupancy) -> Value {
    let stretches = occupancy.stretches.iter().map(|stretch| {
        let (offset, len) = (stretch.offset, stretch.len);
        match stretch.holds {
            Holds::Free => json!({"offset": offset, "len": len, "holds": "free"}),
            Holds::Large(published) => json!({"offset": offset, "len": len, "holds": "large", "published": published}),
            Holds::Slab => json!({"offset": offset, "len": len, "holds": "slab"}),
            Holds::Run { size, blocks, used } => {
                json!({"offset": offset, "len": len, "holds": "run", "size": size, "blocks": blocks, "used": used})
            }
            _ => json!({"offset": offset, "len": len, "holds": "other"}),
        }
    });
    json!({"stretches": stretches.collect::<Vec<_>>(), "fragmentation": occupancy.stats.fragmentation()})
}
