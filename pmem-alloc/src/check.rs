//! The consistency check of an open pool.

use crate::{
    directory,
    format::Span,
    heap::Block,
    media::Media,
    scan::{Stretch, scan},
    transaction::Writer,
};
use std::{collections::HashMap, convert::Infallible, fmt};

/// What [`Pool::check`](crate::Pool::check) found. Printing it lists the problems.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct CheckReport {
    /// What cannot be right. Empty: nothing.
    pub problems: Vec<Problem>,
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
pub struct Problem {
    /// Where.
    pub offset: u64,
    /// What.
    pub what: String,
}

impl CheckReport {
    /// Whether nothing was found.
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty()
    }

    fn problem(&mut self, offset: u64, what: impl Into<String>) {
        self.problems.push(Problem { offset, what: what.into() });
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CheckReport { problems, runs, small_blocks, large_blocks, slabs, free_pages, objects } = self;
        write!(
            f,
            "{objects} objects, {small_blocks} blocks in {runs} runs, {large_blocks} large blocks, \
             {slabs} slabs, {free_pages} free pages, {} problems",
            problems.len()
        )?;
        problems.iter().try_for_each(|Problem { offset, what }| write!(f, "\n  at {offset}: {what}"))
    }
}

/// What is on media against itself, against what the writer believes, and the directory against the heap.
pub(crate) fn check(media: &Media, writer: &Writer) -> CheckReport {
    let (heap, geometry) = (&writer.heap, writer.heap.geometry());
    let mut report = CheckReport::default();
    let Ok(()) = scan::<Infallible>(
        geometry,
        |at| media.word(at),
        |stretch| {
            match stretch {
                Stretch::Fault(fault) => {
                    report
                        .problem(fault.offset, format!("expected {}, found {}", fault.expected, fault.found));
                }
                Stretch::Free { pages, .. } => report.free_pages += pages as u64,
                Stretch::Span { page, span: Span::Large { .. }, .. } => {
                    report.large_blocks += 1;
                    if heap.locate(geometry.page_at(page), 1).is_none() {
                        report.problem(
                            geometry.descriptor_at(page),
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
                        report.problem(geometry.bitmap_word_at(page, i), what);
                    }
                }
            }
            Ok(())
        },
    );
    let mut used: HashMap<u64, String> = HashMap::new();
    let walked = directory::walk(heap, media, |listed| {
        report.objects += 1;
        let uses = [(listed.at, "the entry of"), (listed.header, "the header of")];
        for (at, role) in uses {
            let Some(Block { start, .. }) = heap.locate(at, 1) else { continue }; // the walk reports that
            let role = format!("{role} {:?}", listed.name);
            if let Some(before) = used.insert(start, role.clone()) {
                report.problem(start, format!("one block is {before} and {role}"));
            }
        }
        Ok(())
    });
    if let Err(e) = walked {
        report.problem(geometry.state_start, format!("directory: {e}"));
    }
    report
}
