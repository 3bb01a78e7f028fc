//! What is where in a pool: a map of its data pages.

use crate::{PoolStats, classes, format::Span, stats, transaction::Writer};
use pmem_map::PAGE;
use std::fmt;

/// What is where in a pool. Printing it draws a map and a table of sizes.
///
/// In the map each character is a stretch of pages, all of one length, from the first data page on: `.` is free, `#` is large
/// blocks, `0` to `9` is runs of small blocks, of which so many tenths are allocated.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Occupancy {
    /// Every stretch of the data pages, in order; without gaps but those between the parts by which the pool grew.
    pub stretches: Vec<Stretch>,
    /// The numbers.
    pub stats: PoolStats,
}

/// Pages side by side that are one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stretch {
    /// Where it begins.
    pub offset: u64,
    /// Bytes.
    pub len: u64,
    /// What it is.
    pub holds: Holds,
}

/// What a stretch of pages is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Holds {
    /// Nothing.
    Free,
    /// A large block; `false`: one that is only reserved.
    Large(bool),
    /// A slab of a concurrent container.
    Slab,
    /// Blocks of `size` bytes: how many there are, and how many are allocated.
    Run {
        /// Bytes of a block.
        size: u64,
        /// Blocks.
        blocks: u32,
        /// Allocated ones among them.
        used: u32,
    },
}

pub(crate) fn occupancy(writer: &Writer) -> Occupancy {
    let geometry = writer.heap.geometry();
    let mut stretches: Vec<Stretch> = Vec::new();
    let free = |from: u32, to: u32| Stretch {
        offset: geometry.page_at(from),
        len: (to - from) as u64 * PAGE,
        holds: Holds::Free,
    };
    for pages in geometry.stretches() {
        let mut page = pages.start;
        for (first, span, live, _) in writer.heap.each_span().filter(|span| pages.contains(&span.0)) {
            if page < first {
                stretches.push(free(page, first));
            }
            page = first + span.pages();
            let holds = match span {
                Span::Large { .. } => Holds::Large(live > 0),
                Span::Slab { .. } => Holds::Slab,
                Span::Run { class, pages } => Holds::Run {
                    size: classes::size(class),
                    blocks: classes::slots(class, pages),
                    used: live,
                },
            };
            stretches.push(Stretch {
                offset: geometry.page_at(first),
                len: span.pages() as u64 * PAGE,
                holds,
            });
        }
        if page < pages.end {
            stretches.push(free(page, pages.end));
        }
    }
    Occupancy { stretches, stats: stats::stats(writer) }
}

/// Characters in a line of the map, and lines.
const WIDTH: usize = 64;
const LINES: u64 = 16;

impl Occupancy {
    /// How many pages a character of the map stands for, so that it has at most 16 lines of 64.
    fn pages_per_character(&self) -> u64 {
        (self.stats.capacity / PAGE).div_ceil(WIDTH as u64 * LINES).max(1)
    }

    /// The map, without line breaks.
    pub fn map(&self) -> String {
        let per = self.pages_per_character();
        let mut map = String::new();
        // Of each character's pages: free ones, large ones, those of runs and how full these are.
        let (mut pages, mut large, mut in_runs, mut full) = (0, 0, 0, 0.0);
        let mut each_page =
            self.stretches.iter().flat_map(|s| (0..s.len / PAGE).map(move |_| s.holds)).peekable();
        while let Some(holds) = each_page.next() {
            pages += 1;
            match holds {
                Holds::Free => {}
                Holds::Large(_) | Holds::Slab => large += 1,
                Holds::Run { blocks, used, .. } => {
                    in_runs += 1;
                    full += f64::from(used) / f64::from(blocks);
                }
            }
            if pages < per && each_page.peek().is_some() {
                continue;
            }
            map.push(match (large, in_runs) {
                (0, 0) => '.',
                _ if large >= in_runs => '#',
                _ => char::from(b'0' + (full / in_runs as f64 * 9.99) as u8),
            });
            (pages, large, in_runs, full) = (0, 0, 0, 0.0);
        }
        map
    }
}

impl fmt::Display for Occupancy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PoolStats { capacity, used, free, longest_free, large_blocks, .. } = self.stats;
        writeln!(
            f,
            "{used} of {capacity} bytes used, {free} free (the longest stretch {longest_free}, fragmentation {:.2}); each \
             character is {} KiB: . free, # large, 0 to 9 runs by tenths",
            self.stats.fragmentation(),
            self.pages_per_character() * PAGE / 1024
        )?;
        let map = self.map();
        for line in map.as_bytes().chunks(WIDTH) {
            writeln!(f, "  {}", String::from_utf8_lossy(line))?;
        }
        write!(f, "  {:>8} {:>8} {:>10} {:>10}", "size", "runs", "allocated", "free")?;
        for class in &self.stats.classes {
            write!(f, "\n  {:>8} {:>8} {:>10} {:>10}", class.size, class.runs, class.blocks, class.free)?;
        }
        write!(f, "\n  {:>8} {:>8} {:>10} {:>10}", "large", "", large_blocks, "")
    }
}
