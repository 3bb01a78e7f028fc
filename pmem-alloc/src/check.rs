//! The consistency check of an open pool.

use crate::{
    Descriptor, Error,
    census::{Census, Traced},
    format::Span,
    heap::Block,
    media::Media,
    pool::Inner,
    scan::{Stretch, scan},
    transaction::Writer,
};
use std::{convert::Infallible, fmt, sync::Arc};

/// What [`Pool::check`](crate::Pool::check) found. Printing it lists objects, problems and leaks.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CheckReport {
    /// What cannot be right. Empty: nothing.
    pub problems: Vec<Problem>,
    /// Blocks that are allocated and belong to no object, in the order of offsets. Only if every object was followed.
    pub leaks: Vec<Leak>,
    /// Blocks that belong to no object that was followed, while there are objects that were not.
    pub untraced_blocks: u64,
    /// Every named object.
    pub named: Vec<ObjectReport>,
    /// Runs of small blocks.
    pub runs: u64,
    /// Allocated blocks in runs.
    pub small_blocks: u64,
    /// Large blocks.
    pub large_blocks: u64,
    /// Slabs: pages of concurrent containers.
    pub slabs: u64,
    /// Free pages.
    pub free_pages: u64,
    /// Named objects.
    pub objects: u64,
}

/// One thing that cannot be right.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// Where.
    pub offset: u64,
    /// What sort of thing.
    pub kind: ProblemKind,
    /// What, in words.
    pub what: String,
}

/// Sorts of problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProblemKind {
    /// The page table and the bitmaps contradict each other, or what the program believes of them.
    Allocation,
    /// The directory of named objects is damaged.
    Directory,
    /// An object is damaged: what it has in its blocks cannot be right.
    Object,
    /// A block belongs to two objects, or to two places of one.
    UsedTwice,
    /// A reference to something that is not allocated.
    Dangling,
}

/// A block that is allocated and belongs to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Leak {
    /// Where it begins.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
}

/// One named object, as far as it was followed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ObjectReport {
    /// Its name.
    pub name: String,
    /// The name of its type.
    pub type_name: String,
    /// Its schema version.
    pub schema: u32,
    /// What its type consists of, as far as that is recorded.
    pub descriptor: Descriptor,
    /// Bytes of the blocks that it is known to have.
    pub bytes: u64,
    /// Why not all its blocks are known. Empty: all are.
    pub not_traced: Vec<String>,
}

impl CheckReport {
    /// Whether nothing was found: no problems, no leaks. (Objects that could not be followed are neither.)
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty() && self.leaks.is_empty()
    }

    fn problem(&mut self, offset: u64, kind: ProblemKind, what: impl Into<String>) {
        self.problems.push(Problem { offset, kind, what: what.into() });
    }
}

/// Blocks that are used twice of which all owners are named.
const NAMED: usize = 16;
/// Leaks and problems of which a line each is printed.
const PRINTED: usize = 100;

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CheckReport { problems, runs, small_blocks, large_blocks, slabs, free_pages, .. } = self;
        let CheckReport { objects, leaks, .. } = self;
        write!(
            f,
            "{objects} objects, {small_blocks} blocks in {runs} runs, {large_blocks} large blocks, \
             {slabs} slabs, {free_pages} free pages, {} problems, {} leaks",
            problems.len(),
            leaks.len(),
        )?;
        for ObjectReport { name, type_name, schema, bytes, not_traced, .. } in &self.named {
            write!(f, "\n  {name:?}: {type_name}, schema {schema}, {bytes} bytes")?;
            not_traced.iter().try_for_each(|why| write!(f, "; not traced: {why}"))?;
        }
        if self.untraced_blocks > 0 {
            let blocks = self.untraced_blocks;
            write!(
                f,
                "\n  {blocks} blocks belong to nothing that was traced: they may be those objects' own"
            )?;
        }
        for Problem { offset, what, .. } in problems.iter().take(PRINTED) {
            write!(f, "\n  at {offset}: {what}")?;
        }
        for Leak { offset, len } in leaks.iter().take(PRINTED) {
            write!(f, "\n  at {offset}: {len} bytes are allocated and belong to nothing (a leak)")?;
        }
        let more = problems.len().saturating_sub(PRINTED) + leaks.len().saturating_sub(PRINTED);
        if more > 0 { write!(f, "\n  and {more} more") } else { Ok(()) }
    }
}

/// All of it: what is on media against itself, against what the writer believes, and the objects against the heap.
pub(crate) fn check(inner: &Arc<Inner>, writer: &Writer) -> CheckReport {
    let mut report = CheckReport::default();
    allocation(&mut report, &inner.media, writer);
    match Census::take(inner, writer, false) {
        Ok(census) => objects(&mut report, &census, inner, writer),
        Err(e) => {
            let state = writer.heap.geometry().state_start;
            report.problem(state, ProblemKind::Directory, format!("directory: {e}"));
            report.untraced_blocks = writer.heap.each_block(&[]).count() as u64;
        }
    }
    report
}

/// Page table and bitmaps.
fn allocation(report: &mut CheckReport, media: &Media, writer: &Writer) {
    let (heap, geometry) = (&writer.heap, writer.heap.geometry());
    let kind = ProblemKind::Allocation;
    let Ok(()) = scan::<Infallible>(
        geometry,
        |at| media.word(at),
        |stretch| {
            match stretch {
                Stretch::Fault(fault) => {
                    report.problem(
                        fault.offset,
                        kind,
                        format!("expected {}, found {}", fault.expected, fault.found),
                    );
                }
                Stretch::Free { pages, .. } => report.free_pages += pages as u64,
                Stretch::Span { page, span: Span::Large { .. }, .. } => {
                    report.large_blocks += 1;
                    if heap.locate(geometry.page_at(page), 1).is_none() {
                        report.problem(
                            geometry.descriptor_at(page),
                            kind,
                            "a large block that memory takes for free",
                        );
                    }
                }
                Stretch::Span { span: Span::Slab { .. }, .. } => report.slabs += 1,
                Stretch::Span { page, bitmap, .. } => {
                    report.runs += 1;
                    report.small_blocks += bitmap.iter().map(|word| word.count_ones() as u64).sum::<u64>();
                    let believed = heap.bitmap(page, bitmap.len());
                    if let Some(i) = (0..bitmap.len()).find(|&i| bitmap[i] != believed[i]) {
                        let what = format!("bitmap {:#x}, in memory {:#x}", bitmap[i], believed[i]);
                        report.problem(geometry.bitmap_word_at(page, i), kind, what);
                    }
                }
            }
            Ok(())
        },
    );
}

/// What following the objects found.
fn objects(report: &mut CheckReport, census: &Census, inner: &Arc<Inner>, writer: &Writer) {
    for Traced { listed, found, error } in &census.objects {
        report.objects += 1;
        let name = &listed.name;
        let mut not_traced: Vec<String> = found.not_traced.iter().cloned().collect();
        for &at in &found.twice {
            // Each is followed once more to find that out: not for every block of a pool full of garbage.
            let few = report.problems.len() < NAMED;
            let owners =
                if few { census.owners(inner, writer, at).join(", ") } else { "not looked for".into() };
            let what = format!(
                "a block is used twice, the second time by {name:?} (objects that have it: {owners})"
            );
            report.problem(at, ProblemKind::UsedTwice, what);
        }
        for &(slot, target) in &found.dangling {
            let what = format!("{name:?} refers to {target}, which is not allocated");
            report.problem(slot, ProblemKind::Dangling, what);
        }
        if let Some(error) = error {
            not_traced.push(format!("it is damaged: {error}"));
            if found.twice.is_empty() {
                report.problem(
                    place(error, listed.header),
                    ProblemKind::Object,
                    format!("{name:?}: {error}"),
                );
            }
        }
        report.named.push(ObjectReport {
            name: name.to_string(),
            type_name: listed.about.type_name.to_string(),
            schema: listed.about.schema,
            descriptor: Descriptor::clone(&listed.about.descriptor),
            bytes: found.bytes,
            not_traced,
        });
    }
    let unreached = census.unreached(&writer.heap);
    if census.is_complete() {
        report.leaks = unreached.map(|Block { start, len }| Leak { offset: start, len }).collect();
    } else {
        report.untraced_blocks = unreached.count() as u64;
    }
    report.named.sort_by(|a, b| a.name.cmp(&b.name));
}

fn place(error: &Error, otherwise: u64) -> u64 {
    match error.kind() {
        crate::ErrorKind::Corrupt { offset, .. } => *offset,
        _ => otherwise,
    }
}
