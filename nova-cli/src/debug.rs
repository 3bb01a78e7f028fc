//! `nova debug`: damage on purpose, to see that it is found.

use crate::{Failure, Outcome, image, size::hex};
use clap::{Args, Subcommand, ValueEnum};
use nova_core::{BLOCK, Credentials, Holds, Nova, ROOT};
use serde_json::json;
use std::{
    ops::Range,
    path::{Path, PathBuf},
    process::ExitCode,
    str::FromStr,
};

#[derive(Subcommand)]
pub(crate) enum Debug {
    /// Damages a volume, so that one can see who finds it
    Corrupt(Corrupt),
}

#[derive(Args)]
pub(crate) struct Corrupt {
    /// The volume, which nobody has mounted
    image: PathBuf,
    /// What of it: superblock, replica, state, stripe:N, journal, table, inode:FILE, log:FILE, data:FILE or any (whatever is in
    /// use); FILE is a path (/a/b) or an inode number
    structure: Structure,
    /// How much of it
    #[arg(long, value_enum, default_value_t = Much::Line)]
    much: Much,
    /// Of data and logs: in which block of the file, or page of the log, counted from 0; otherwise any
    #[arg(long)]
    block: Option<u64>,
    /// The copy of it instead: of state, stripe:N, table, inode:FILE and log:FILE, where metadata has replicas
    #[arg(long)]
    copy: bool,
    /// Where, and what is stored there, is random: the same for the same seed
    #[arg(long)]
    seed: Option<u64>,
    /// Yes, damage it
    #[arg(long)]
    force: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// How much is damaged.
#[derive(Clone, Copy, ValueEnum)]
enum Much {
    /// One bit
    Bit,
    /// 8 bytes
    Word,
    /// 64 bytes
    Line,
    /// 512 bytes
    Sector,
    /// 4096 bytes
    Page,
}

impl Much {
    /// Bytes that are stored, at a multiple of as many.
    fn bytes(self) -> u64 {
        match self {
            Much::Bit => 1,
            Much::Word => 8,
            Much::Line => 64,
            Much::Sector => 512,
            Much::Page => BLOCK,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Structure {
    Superblock,
    Replica,
    State,
    Stripe(u32),
    Journal,
    Table,
    Inode(Who),
    Log(Who),
    Data(Who),
    Any,
}

/// A file, by path or by number.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Who {
    Path(PathBuf),
    Number(u64),
}

impl FromStr for Structure {
    type Err = String;

    fn from_str(text: &str) -> Result<Structure, String> {
        let (kind, of) = text.split_once(':').unwrap_or((text, ""));
        let who = || match (of.starts_with('/'), of.parse()) {
            (true, _) => Ok(Who::Path(of.into())),
            (false, Ok(ino)) => Ok(Who::Number(ino)),
            _ => Err(format!("`{text}`: of which file? Write {kind}:/PATH or {kind}:INODE")),
        };
        match kind {
            "inode" => Ok(Structure::Inode(who()?)),
            "log" => Ok(Structure::Log(who()?)),
            "data" => Ok(Structure::Data(who()?)),
            "stripe" => of.parse().map(Structure::Stripe).map_err(|_| format!("`{text}`: write stripe:0")),
            "superblock" => Ok(Structure::Superblock),
            "replica" => Ok(Structure::Replica),
            "state" => Ok(Structure::State),
            "journal" => Ok(Structure::Journal),
            "table" => Ok(Structure::Table),
            "any" => Ok(Structure::Any),
            _ => Err(format!("there is no structure `{kind}`")),
        }
    }
}

pub(crate) fn run(command: &Debug) -> Outcome {
    let Debug::Corrupt(args) = command;
    corrupt(args)
}

fn corrupt(args: &Corrupt) -> Outcome {
    if !args.force {
        return Err(format!("this damages {}: say --force if you mean it", args.image.display()).into());
    }
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..1 << 32));
    let mut random = fastrand::Rng::with_seed(seed);
    // In a private view, where a recovery may happen.
    let nova = image::read(&args.image)?;
    let mut places = places(&nova, &args.structure, args.block)?;
    if args.copy {
        places = copies(&nova, &args.structure, places)?;
    }
    let (size, clean) = (nova.size(), nova.mount_report().clean);
    drop(nova);
    let place = choose(&places, &mut random);
    let start = place / args.much.bytes() * args.much.bytes();
    let bytes = start..(start + args.much.bytes()).min(size);
    let mut mapping = image::map(&args.image, image::How::default())?;
    let before = mapping.as_slice()[bytes.start as usize..bytes.end as usize].to_vec();
    let after = damaged(&before, args.much, &mut random);
    mapping.write(bytes.start, &after)?;
    mapping.persist(bytes.clone())?;
    let inside = places.iter().find(|range| range.contains(&place)).expect("it was chosen from these");
    if args.json {
        let said = json!({
            "image": args.image, "structure": args.structure.to_string(), "structure_offset": inside.start,
            "structure_len": inside.end - inside.start, "offset": bytes.start, "len": bytes.end - bytes.start,
            "before": hex(&before), "after": hex(&after), "seed": seed, "was_clean": clean,
        });
        println!("{said:#}");
        return Ok(ExitCode::SUCCESS);
    }
    println!("structure {}, at {}..{}", args.structure, inside.start, inside.end);
    println!("changed   {} bytes at {}..{} (seed {seed})", before.len(), bytes.start, bytes.end);
    print_change(bytes.start, &before, &after);
    if !clean {
        println!("note      it was not unmounted: recovery may store over this");
    }
    Ok(ExitCode::SUCCESS)
}

/// Where a structure is: every part of it.
fn places(nova: &Nova, structure: &Structure, block: Option<u64>) -> Result<Vec<Range<u64>>, Failure> {
    let stretches = |wanted: &dyn Fn(Holds) -> bool| -> Result<Vec<Range<u64>>, Failure> {
        let stretches = nova.anatomy()?.stretches.into_iter().filter(|stretch| wanted(stretch.holds));
        Ok(stretches.map(|stretch| stretch.offset..stretch.offset + stretch.len).collect())
    };
    let file = |who: &Who| -> Result<_, Failure> { Ok(nova.file_anatomy(number(nova, who)?)?) };
    let last = nova.size() - BLOCK;
    let places: Vec<Range<u64>> = match structure {
        // What a superblock has is in 256 bytes.
        Structure::Superblock => std::iter::once(0..256).collect(),
        Structure::Replica => std::iter::once(last..last + 256).collect(),
        Structure::State => std::iter::once(BLOCK..BLOCK + 64).collect(),
        Structure::Stripe(stripe) if *stripe < nova.stripes() => vec![nova.stripe_line(*stripe)],
        Structure::Stripe(stripe) => return Err(format!("there is no stripe {stripe}").into()),
        Structure::Journal => stretches(&|holds| holds == Holds::Journal)?,
        // With replicas, each second block is a copy.
        Structure::Table if nova.has_replicas() => stretches(&|holds| holds == Holds::InodeTable)?
            .into_iter()
            .flat_map(|stretch| stretch.step_by(2 * BLOCK as usize).map(|at| at..at + BLOCK))
            .collect(),
        Structure::Table => stretches(&|holds| holds == Holds::InodeTable)?,
        Structure::Any => stretches(&|holds| holds != Holds::Free)?,
        Structure::Inode(who) => {
            let file = file(who)?;
            vec![file.identity, file.state]
        }
        Structure::Log(who) => chosen(file(who)?.log, block, "page of its log")?,
        Structure::Data(who) => {
            let parts = file(who)?.extents.into_iter().filter(|part| !part.unwritten);
            let blocks = parts.flat_map(|part| {
                let first = part.file_offset / BLOCK;
                (0..part.len / BLOCK).map(move |n| (first + n, part.offset + n * BLOCK))
            });
            let blocks = blocks.filter(|(number, _)| block.is_none_or(|block| block == *number));
            blocks.map(|(_, at)| at..at + BLOCK).collect()
        }
    };
    if places.is_empty() {
        return Err(format!("{structure}: there is no such part").into());
    }
    Ok(places)
}

/// Where the copies of these places are: each a block behind.
fn copies(nova: &Nova, structure: &Structure, places: Vec<Range<u64>>) -> Result<Vec<Range<u64>>, Failure> {
    use Structure::*;
    if !nova.has_replicas() {
        return Err("the volume has no replicas: `nova mkfs --replicas` makes one that has".into());
    }
    if !matches!(structure, State | Stripe(_) | Table | Inode(_) | Log(_)) {
        return Err(
            format!("{structure} has no copy: say state, stripe:N, table, inode:FILE or log:FILE").into()
        );
    }
    Ok(places.into_iter().map(|place| place.start + BLOCK..place.end + BLOCK).collect())
}

fn chosen(all: Vec<Range<u64>>, number: Option<u64>, what: &str) -> Result<Vec<Range<u64>>, Failure> {
    let Some(number) = number else { return Ok(all) };
    match all.get(number as usize) {
        Some(range) => Ok(vec![range.clone()]),
        None => Err(format!("there is no {what} {number}: it has {}", all.len()).into()),
    }
}

fn number(nova: &Nova, who: &Who) -> Result<u64, Failure> {
    let path: &Path = match who {
        Who::Number(ino) => return Ok(*ino),
        Who::Path(path) => path,
    };
    // Name by name, and not by what the files on the way say of themselves: some may be damaged.
    use std::os::unix::ffi::OsStrExt;
    path.components()
        .skip(1)
        .try_fold(ROOT, |at, name| Ok(nova.lookup(at, name.as_os_str().as_bytes(), &Credentials::ROOT)?.ino))
}

/// Any byte of some ranges, each as likely.
fn choose(places: &[Range<u64>], random: &mut fastrand::Rng) -> u64 {
    let total: u64 = places.iter().map(|place| place.end - place.start).sum();
    let mut nth = random.u64(..total);
    for place in places {
        if nth < place.end - place.start {
            return place.start + nth;
        }
        nth -= place.end - place.start;
    }
    unreachable!("fewer than there are")
}

/// Other bytes than these.
fn damaged(before: &[u8], much: Much, random: &mut fastrand::Rng) -> Vec<u8> {
    let mut after = before.to_vec();
    if let Much::Bit = much {
        after[0] ^= 1 << random.u32(..8);
        return after;
    }
    while after == before {
        random.fill(&mut after);
    }
    after
}

/// Bytes that changed, in lines of 16; of many the first lines.
fn print_change(offset: u64, before: &[u8], after: &[u8]) {
    const LINES: usize = 4;
    let lines = before.chunks(16).zip(after.chunks(16)).enumerate();
    for (line, (before, after)) in lines.take(LINES) {
        println!("{:>12}  was {}", offset + line as u64 * 16, hex(before));
        println!("{:>12}  is  {}", "", hex(after));
    }
    if before.len() > 16 * LINES {
        println!("{:>12}  and so on: {} bytes more (all with --json)", "", before.len() - 16 * LINES);
    }
}

impl std::fmt::Display for Structure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Structure::Superblock => write!(f, "superblock"),
            Structure::Replica => write!(f, "replica"),
            Structure::State => write!(f, "state"),
            Structure::Stripe(stripe) => write!(f, "stripe:{stripe}"),
            Structure::Journal => write!(f, "journal"),
            Structure::Table => write!(f, "table"),
            Structure::Inode(who) => write!(f, "inode:{who}"),
            Structure::Log(who) => write!(f, "log:{who}"),
            Structure::Data(who) => write!(f, "data:{who}"),
            Structure::Any => write!(f, "any"),
        }
    }
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Who::Path(path) => write!(f, "{}", path.display()),
            Who::Number(ino) => write!(f, "{ino}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_are_read_as_they_are_written() {
        for text in [
            "superblock",
            "replica",
            "state",
            "stripe:3",
            "journal",
            "table",
            "inode:7",
            "log:/a b",
            "data:/a:b",
            "any",
        ] {
            assert_eq!(text.parse::<Structure>().unwrap().to_string(), text);
        }
        for text in ["", "inode", "inode:", "data:x", "stripe:", "bit"] {
            assert!(text.parse::<Structure>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_place_can_be_chosen() {
        let mut random = fastrand::Rng::with_seed(1);
        let places = [3..5, 10..11];
        let chosen: std::collections::BTreeSet<u64> =
            (0..100).map(|_| choose(&places, &mut random)).collect();
        assert_eq!(chosen, [3, 4, 10].into());
    }
}
