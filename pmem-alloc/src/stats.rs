//! What a pool holds.

use crate::{classes, format::Span, transaction::Writer};
use pmem_map::PAGE;
use pmem_tx::engine::LogStats;

/// What a pool holds. Bytes, unless said otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStats {
    /// All of the pool, with header, log and tables.
    pub size: u64,
    /// What it may grow to.
    pub max_size: u64,
    /// What blocks can be in.
    pub capacity: u64,
    /// Allocated blocks, rounded up to their classes.
    pub used: u64,
    /// What can be allocated still, though not all of it for every size.
    pub free: u64,
    /// Free pages that are in no run.
    pub free_pages: u64,
    /// Stretches of free pages.
    pub free_spans: usize,
    /// The longest stretch of free pages.
    pub longest_free: u64,
    /// Allocated blocks.
    pub blocks: u64,
    /// Large blocks among them, which have pages of their own.
    pub large_blocks: u64,
    /// Blocks that are reserved and not published.
    pub reserved_blocks: u64,
    /// Named objects.
    pub objects: usize,
    /// Small blocks by size.
    pub classes: Vec<ClassStats>,
    /// The log.
    pub log: LogStats,
}

impl PoolStats {
    /// How much of the free pages is *not* in the longest stretch: 0.0 is none.
    pub fn fragmentation(&self) -> f64 {
        if self.free_pages == 0 {
            return 0.0;
        }
        1.0 - self.longest_free as f64 / (self.free_pages * PAGE) as f64
    }
}

/// Small blocks of one size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClassStats {
    /// Bytes of a block.
    pub size: u64,
    /// Runs of pages.
    pub runs: u64,
    /// Allocated blocks.
    pub blocks: u64,
    /// Blocks that its runs have left.
    pub free: u64,
}

pub(crate) fn stats(writer: &Writer) -> PoolStats {
    let geometry = writer.heap.geometry();
    let spans = writer.heap.free_spans();
    let mut by_class = [ClassStats::default(); classes::COUNT];
    let mut stats = PoolStats {
        size: geometry.size(),
        max_size: writer.growth.max_size(),
        capacity: geometry.data_pages() * PAGE,
        used: 0,
        free: spans.pages() * PAGE,
        free_pages: spans.pages(),
        free_spans: spans.count(),
        longest_free: spans.longest() as u64 * PAGE,
        blocks: 0,
        large_blocks: 0,
        reserved_blocks: 0,
        objects: writer.objects.len(),
        classes: Vec::new(),
        log: writer.log.stats(),
    };
    for (_, span, live, taken) in writer.heap.each_span() {
        stats.blocks += live as u64;
        stats.reserved_blocks += (taken - live) as u64;
        match span {
            Span::Large { pages } | Span::Slab { pages } => {
                stats.large_blocks += live as u64;
                stats.used += live as u64 * pages as u64 * PAGE;
            }
            Span::Run { class, pages } => {
                let size = classes::size(class);
                let left = classes::slots(class, pages) - taken;
                stats.used += live as u64 * size;
                // The pages of a run without blocks are free for anything.
                stats.free += if taken == 0 { pages as u64 * PAGE } else { left as u64 * size };
                let of_class = &mut by_class[class as usize];
                of_class.size = size;
                of_class.runs += 1;
                of_class.blocks += live as u64;
                of_class.free += left as u64;
            }
        }
    }
    stats.reserved_blocks -= writer.heap.waiting() as u64;
    stats.classes = by_class.into_iter().filter(|class| class.runs > 0).collect();
    stats
}
