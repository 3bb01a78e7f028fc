//! Free blocks, in DRAM: bitmaps of 2 MiB each, in stripes.
//!
//! Nothing of it is on media while a volume is mounted: who owns a block is said by the inodes' logs. A clean unmount saves
//! what is free, a mount after a crash finds it by scanning.
//!
//! Small allocations come from *broken* stretches of 2 MiB, as long as there are any, and whole stretches are broken last: so that log
//! pages and small writes leave stretches for files that will be mapped (WineFS: Kadekodi et al., SOSP 2021). Each stripe does so for itself
//! while a third of the volume is free; after that a whole stretch is broken only when no stripe has a broken one. Large allocations take
//! the whole stretches of all stripes before they take a part of one.

use parking_lot::{Mutex, RwLock};
use std::{
    collections::BTreeSet,
    ops::Range,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

/// Blocks of a stretch.
pub(crate) const STRETCH: u64 = 512;

/// Blocks side by side: first, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Run {
    pub(crate) start: u64,
    pub(crate) blocks: u64,
}

impl Run {
    pub(crate) fn range(self) -> Range<u64> {
        self.start..self.start + self.blocks
    }
}

/// A bit for each block: set if it is free.
type Bits = [u64; 8];

struct Stripe {
    /// Number of the first stretch, which may be another stripe's too; bits of blocks of others are never set here.
    first: u64,
    stretches: Vec<(Bits, u16)>,
    /// Stretches that are free from end to end.
    whole: BTreeSet<u64>,
    /// Stretches of which a part is free.
    broken: BTreeSet<u64>,
    /// Where the last small allocation was.
    cursor: u64,
    /// Free blocks that make a stretch whole.
    full: u16,
}

/// Who owns no block: nobody.
pub(crate) struct Allocator {
    stripes: Vec<Mutex<Stripe>>,
    per_stripe: u64,
    first: u64,
    free: AtomicU64,
    total: u64,
    /// Blocks that only operations that free something may take.
    reserve: u64,
    /// Blocks that are not handed out any more.
    bad: RwLock<BTreeSet<u64>>,
    has_bad: AtomicBool,
}

/// Which stretches to take from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// Whole ones, as wholes: not for less.
    Whole,
    Broken,
    Any,
}

/// What an allocation is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Ordinary,
    /// It leads to more free space: it may take the reserve.
    Freeing,
}

impl Allocator {
    /// All of `blocks` is in use.
    pub(crate) fn new(blocks: Range<u64>, stripes: u32) -> Allocator {
        let total = blocks.end - blocks.start;
        // Large stripes begin with a stretch.
        let is_large = total > 4 * STRETCH * u64::from(stripes);
        let first = if is_large { blocks.start / STRETCH * STRETCH } else { blocks.start };
        let per_stripe = (blocks.end - first).div_ceil(u64::from(stripes)).max(1);
        let per_stripe = if is_large { per_stripe.next_multiple_of(STRETCH) } else { per_stripe };
        let stripe = |n: u64| {
            let start = first + n * per_stripe;
            let end = start + per_stripe;
            let stretches = start / STRETCH..end.div_ceil(STRETCH);
            Mutex::new(Stripe {
                first: stretches.start,
                stretches: vec![([0; 8], 0); (stretches.end - stretches.start) as usize],
                whole: BTreeSet::new(),
                broken: BTreeSet::new(),
                cursor: stretches.start,
                full: STRETCH as u16,
            })
        };
        let stripes = (0..u64::from(stripes)).map(stripe).collect();
        let reserve = (total / 128).clamp(4, 1024);
        Allocator {
            stripes,
            per_stripe,
            first,
            free: AtomicU64::new(0),
            total,
            reserve,
            bad: RwLock::default(),
            has_bad: AtomicBool::new(false),
        }
    }

    fn stripe_of(&self, block: u64) -> usize {
        (((block - self.first) / self.per_stripe) as usize).min(self.stripes.len() - 1)
    }

    /// Free blocks.
    pub(crate) fn free_blocks(&self) -> u64 {
        self.free.load(Relaxed)
    }

    /// Blocks that ordinary allocations leave.
    pub(crate) fn reserve(&self) -> u64 {
        self.reserve
    }

    /// `blocks` blocks, in runs, of stripe `near` if it has them; `None` if there are not as many.
    pub(crate) fn allocate(&self, near: usize, blocks: u64, purpose: Purpose) -> Option<Vec<Run>> {
        self.allocate_at(None, near, blocks, purpose)
    }

    /// As [`allocate`](Self::allocate), from block `goal` on if those are free: so that a file that grows stays in one piece, whichever
    /// threads write it. (Not into the next stretch, which may be a whole one.)
    pub(crate) fn allocate_at(
        &self,
        goal: Option<u64>,
        near: usize,
        blocks: u64,
        purpose: Purpose,
    ) -> Option<Vec<Run>> {
        self.claim(blocks, purpose)?;
        let mut found: Vec<Run> = Vec::with_capacity(1);
        if let Some(goal) = goal.filter(|goal| goal % STRETCH != 0) {
            found.extend(self.stripes[self.stripe_of(goal)].lock().take_at(goal, blocks));
        }
        let mut missing = blocks - found.first().map_or(0, |run| run.blocks);
        if missing == 0 && blocks > 0 {
            return Some(found);
        }
        for from in [From::Whole, From::Broken, From::Any] {
            // Where space is plenty, what is near counts for more than what stays whole.
            let is_due = match from {
                From::Whole => blocks >= STRETCH,
                From::Broken => self.is_scarce(),
                From::Any => true,
            };
            for turn in 0..if is_due { self.stripes.len() } else { 0 } {
                let mut stripe = self.stripes[(near + turn) % self.stripes.len()].lock();
                while missing > 0 {
                    let Some(run) = stripe.take(missing, from) else { break };
                    missing -= run.blocks;
                    match found.last_mut() {
                        Some(last) if last.start + last.blocks == run.start => last.blocks += run.blocks,
                        _ => found.push(run),
                    }
                }
                if missing == 0 {
                    return Some(found);
                }
            }
        }
        // Others hold what they claimed and have not taken yet: rare, and like no space.
        self.free.fetch_add(missing, Relaxed);
        found.into_iter().for_each(|run| self.free(run));
        None
    }

    /// `blocks` blocks side by side, at a multiple of `align` blocks.
    pub(crate) fn allocate_run(&self, near: usize, blocks: u64, align: u64, purpose: Purpose) -> Option<Run> {
        self.claim(blocks, purpose)?;
        for turn in 0..self.stripes.len() {
            let mut stripe = self.stripes[(near + turn) % self.stripes.len()].lock();
            if let Some(run) = stripe.take_run(blocks, align) {
                return Some(run);
            }
        }
        self.free.fetch_add(blocks, Relaxed);
        None
    }

    /// Whether to save whole stretches at the price of going to other stripes.
    fn is_scarce(&self) -> bool {
        self.free.load(Relaxed) < self.total / 3
    }

    fn claim(&self, blocks: u64, purpose: Purpose) -> Option<()> {
        let kept = if purpose == Purpose::Ordinary { self.reserve } else { 0 };
        self.free
            .fetch_update(Relaxed, Relaxed, |free| {
                free.checked_sub(blocks).filter(|left| *left >= kept || blocks == 0)
            })
            .ok()
            .map(drop)
    }

    /// These blocks are nobody's from now on. Those that were nobody's already (two files had them, which only damage can bring about) stay so.
    pub(crate) fn free(&self, run: Run) {
        if !self.has_bad.load(Relaxed) {
            return self.free_good(run);
        }
        let mut start = run.start;
        for bad in self.bad.read().range(run.range()) {
            self.free_good(Run { start, blocks: bad - start });
            start = bad + 1;
        }
        self.free_good(Run { start, blocks: run.start + run.blocks - start });
    }

    /// This block is not handed out from now on: if it is free it is so no longer, and if it is not it will never be.
    pub(crate) fn retire(&self, block: u64) {
        self.bad.write().insert(block);
        self.has_bad.store(true, Relaxed);
        // Counted as taken before it is: whoever allocates must not count on it.
        if self.claim(1, Purpose::Freeing).is_some() {
            let was_free = self.stripes[self.stripe_of(block)].lock().take_block(block);
            self.free.fetch_add(u64::from(!was_free), Relaxed);
        }
    }

    /// Blocks that are not handed out any more.
    pub(crate) fn bad(&self) -> BTreeSet<u64> {
        if self.has_bad.load(Relaxed) { self.bad.read().clone() } else { BTreeSet::new() }
    }

    fn free_good(&self, run: Run) {
        let mut start = run.start;
        let end = run.start + run.blocks;
        while start < end {
            let index = self.stripe_of(start);
            let stripe_end = self.first + (index as u64 + 1) * self.per_stripe;
            let until = if index + 1 == self.stripes.len() { end } else { end.min(stripe_end) };
            let given = self.stripes[index].lock().give(start..until);
            self.free.fetch_add(given, Relaxed);
            start = until;
        }
    }

    /// All free runs, in order.
    pub(crate) fn runs(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for stripe in &self.stripes {
            let stripe = stripe.lock();
            for (index, (bits, free)) in stripe.stretches.iter().enumerate() {
                let base = (stripe.first + index as u64) * STRETCH;
                let mut at = 0;
                while *free > 0
                    && let Some((start, blocks)) = next_run(bits, at, STRETCH)
                {
                    at = start + blocks;
                    match runs.last_mut() {
                        Some(last) if last.start + last.blocks == base + start => last.blocks += blocks,
                        _ => runs.push(Run { start: base + start, blocks }),
                    }
                }
            }
        }
        runs.sort_unstable();
        runs
    }
}

impl Stripe {
    /// Up to `blocks` blocks side by side.
    fn take(&mut self, blocks: u64, from: From) -> Option<Run> {
        let small = blocks < STRETCH;
        let from_broken =
            |stripe: &Stripe| stripe.broken.range(stripe.cursor..).next().or(stripe.broken.first()).copied();
        let from_whole = |stripe: &Stripe| stripe.whole.first().copied();
        let stretch = match from {
            From::Whole if small => None,
            From::Whole => from_whole(self),
            From::Broken => from_broken(self),
            From::Any if small => from_broken(self).or_else(|| from_whole(self)),
            From::Any => from_whole(self).or_else(|| from_broken(self)),
        }?;
        self.cursor = stretch;
        let bits = &self.stretches[(stretch - self.first) as usize].0;
        let (start, found) = next_run(bits, 0, blocks.min(STRETCH)).expect("a part of it is free");
        self.mark(stretch, start, found, false);
        Some(Run { start: stretch * STRETCH + start, blocks: found })
    }

    /// Up to `blocks` blocks of one stretch, the first of which is this one.
    fn take_at(&mut self, block: u64, blocks: u64) -> Option<Run> {
        let (stretch, at) = (block / STRETCH, block % STRETCH);
        let bits = &self.stretches[(stretch - self.first) as usize].0;
        let (start, found) = next_run(bits, at, blocks)?;
        (start == at).then(|| {
            self.mark(stretch, start, found, false);
            Run { start: block, blocks: found }
        })
    }

    /// Exactly this block, if it is free.
    fn take_block(&mut self, block: u64) -> bool {
        let (stretch, at) = (block / STRETCH, block % STRETCH);
        let bits = &self.stretches[(stretch - self.first) as usize].0;
        let is_free = bits[(at / 64) as usize] >> (at % 64) & 1 == 1;
        if is_free {
            self.mark(stretch, at, 1, false);
        }
        is_free
    }

    /// Exactly `blocks` blocks side by side.
    fn take_run(&mut self, blocks: u64, align: u64) -> Option<Run> {
        if blocks < STRETCH {
            let fits = |stripe: &Stripe, stretch: &u64| -> Option<Run> {
                let bits = &stripe.stretches[(stretch - stripe.first) as usize].0;
                let mut at = 0;
                while let Some((start, found)) = next_run(bits, at, STRETCH) {
                    let aligned = start.next_multiple_of(align);
                    if aligned + blocks <= start + found {
                        return Some(Run { start: stretch * STRETCH + aligned, blocks });
                    }
                    at = start + found;
                }
                None
            };
            let run = self
                .broken
                .iter()
                .find_map(|stretch| fits(self, stretch))
                .or_else(|| self.whole.iter().find_map(|stretch| fits(self, stretch)))?;
            self.mark(run.start / STRETCH, run.start % STRETCH, blocks, false);
            return Some(run);
        }
        // Whole stretches side by side.
        let count = blocks.div_ceil(STRETCH);
        let mut start = *self.whole.first()?;
        let mut have = 0;
        for &stretch in &self.whole {
            if stretch != start + have {
                (start, have) = (stretch, 0);
            }
            have += 1;
            if have == count {
                break;
            }
        }
        if have < count {
            return None;
        }
        for stretch in start..start + count {
            let part = (blocks - (stretch - start) * STRETCH).min(STRETCH);
            self.mark(stretch, 0, part, false);
        }
        Some(Run { start: start * STRETCH, blocks })
    }

    /// How many of the blocks were not free.
    fn give(&mut self, blocks: Range<u64>) -> u64 {
        let (mut start, mut given) = (blocks.start, 0);
        while start < blocks.end {
            let stretch = start / STRETCH;
            let until = blocks.end.min((stretch + 1) * STRETCH);
            given += self.mark(stretch, start % STRETCH, until - start, true);
            start = until;
        }
        given
    }

    /// How many of the blocks were marked otherwise.
    fn mark(&mut self, stretch: u64, start: u64, blocks: u64, free: bool) -> u64 {
        let (bits, count) = &mut self.stretches[(stretch - self.first) as usize];
        let (mut changed, before) = (0, *count);
        let (mut at, end) = (start, start + blocks);
        while at < end {
            // All bits of a word at once.
            let until = end.min((at / 64 + 1) * 64);
            let mask = u64::MAX >> (64 - (until - at)) << (at % 64);
            let word = &mut bits[(at / 64) as usize];
            let others = if free { !*word & mask } else { *word & mask };
            debug_assert!(
                others == mask || free,
                "a block from {} on was handed out twice",
                stretch * STRETCH + at
            );
            changed += others.count_ones() as u16;
            *word ^= others;
            at = until;
        }
        let now = if free { before + changed } else { before - changed };
        *count = now;
        self.list(stretch, before, now);
        u64::from(changed)
    }

    /// So many blocks of a stretch are free now: notes where it is to be found, if that is elsewhere than before.
    fn list(&mut self, stretch: u64, before: u16, now: u16) {
        let (was_whole, is_whole) = (before == self.full, now == self.full);
        let (was_broken, is_broken) = (before > 0 && !was_whole, now > 0 && !is_whole);
        if was_whole && !is_whole {
            self.whole.remove(&stretch);
        }
        if was_broken && !is_broken {
            self.broken.remove(&stretch);
        }
        if is_whole && !was_whole {
            self.whole.insert(stretch);
        }
        if is_broken && !was_broken {
            self.broken.insert(stretch);
        }
    }
}

/// The first run of ones at or after `from`, of at most `most`: where, and how many.
fn next_run(bits: &Bits, from: u64, most: u64) -> Option<(u64, u64)> {
    let start = (from / 64..8).find_map(|word| {
        let skipped = if word == from / 64 { from % 64 } else { 0 };
        let ones = bits[word as usize] >> skipped << skipped;
        (ones != 0).then(|| word * 64 + u64::from(ones.trailing_zeros()))
    })?;
    let mut end = start;
    while end < STRETCH && end - start < most {
        let zeros = !bits[(end / 64) as usize] >> (end % 64);
        let ones = if zeros == 0 { 64 - end % 64 } else { u64::from(zeros.trailing_zeros()) };
        let ones = ones.min(64 - end % 64);
        end += ones;
        if ones == 0 || end % 64 != 0 {
            break;
        }
    }
    Some((start, (end - start).min(most)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn filled(blocks: Range<u64>, stripes: u32) -> Allocator {
        let allocator = Allocator::new(blocks.clone(), stripes);
        allocator.free(Run { start: blocks.start, blocks: blocks.end - blocks.start });
        allocator
    }

    #[test]
    fn every_block_is_handed_out_once_and_comes_back() {
        for (blocks, stripes) in [(7..300, 1), (7..300, 4), (20..9000, 3), (513..20_000, 5)] {
            let allocator = filled(blocks.clone(), stripes);
            let total = blocks.end - blocks.start;
            let mut random = fastrand::Rng::with_seed(total);
            let mut mine: Vec<Run> = Vec::new();
            let mut owned = HashSet::new();
            for _ in 0..3000 {
                if random.bool() {
                    let wanted = random.u64(1..40);
                    let got = match random.u8(0..4) {
                        0 => allocator
                            .allocate_run(random.usize(0..9), wanted, 1, Purpose::Ordinary)
                            .map(|r| vec![r]),
                        1 => {
                            let goal = Some(random.u64(blocks.start..=blocks.end));
                            allocator.allocate_at(goal, random.usize(0..9), wanted, Purpose::Ordinary)
                        }
                        _ => allocator.allocate(random.usize(0..9), wanted, Purpose::Ordinary),
                    };
                    let Some(got) = got else { continue };
                    assert_eq!(got.iter().map(|run| run.blocks).sum::<u64>(), wanted);
                    for run in got {
                        for block in run.range() {
                            assert!(blocks.contains(&block) && owned.insert(block), "{block}");
                        }
                        mine.push(run);
                    }
                } else if !mine.is_empty() {
                    let run = mine.swap_remove(random.usize(..mine.len()));
                    run.range().for_each(|block| assert!(owned.remove(&block)));
                    allocator.free(run);
                }
                assert_eq!(allocator.free_blocks(), total - owned.len() as u64);
            }
            mine.into_iter().for_each(|run| allocator.free(run));
            assert_eq!(allocator.runs().iter().map(|run| run.blocks).sum::<u64>(), total);
        }
    }

    #[test]
    fn what_grows_stays_in_one_piece_whoever_asks() {
        let allocator = filled(100..100 + 64 * STRETCH, 4);
        let mut runs = allocator.allocate(0, 1, Purpose::Ordinary).unwrap();
        let mut random = fastrand::Rng::with_seed(1);
        for turn in 0..300 {
            // Others allocate in between, in the stripe that is near to who asks.
            allocator.allocate(1 + turn % 3, 1, Purpose::Ordinary).unwrap();
            let last = runs.last_mut().unwrap();
            let goal = last.start + last.blocks;
            let new =
                allocator.allocate_at(Some(goal), turn % 4, random.u64(1..5), Purpose::Ordinary).unwrap();
            for run in new {
                match runs.last_mut() {
                    Some(last) if last.start + last.blocks == run.start => last.blocks += run.blocks,
                    _ => runs.push(run),
                }
            }
        }
        assert!(runs.len() <= 3, "it is broken where a stretch ends: {runs:?}");
    }

    #[test]
    fn small_allocations_leave_whole_stretches_to_files_that_will_be_mapped() {
        let allocator = filled(100..100 + 64 * STRETCH, 1);
        let mut small = Vec::new();
        for _ in 0..3000 {
            small.extend(allocator.allocate(0, 1, Purpose::Ordinary).unwrap());
        }
        let run =
            allocator.allocate_run(0, 50 * STRETCH, STRETCH, Purpose::Ordinary).expect("whole stretches");
        assert_eq!(run.start % STRETCH, 0);
    }

    #[test]
    fn whole_stretches_of_other_stripes_come_before_parts_of_the_near_one() {
        let allocator = filled(0..64 * STRETCH, 4);
        // The first stripe has only parts left.
        for _ in 0..16 {
            let run = allocator.allocate_run(0, STRETCH, STRETCH, Purpose::Ordinary).unwrap();
            assert!(run.start < 16 * STRETCH);
            allocator.free(Run { start: run.start + 1, blocks: STRETCH / 2 });
        }
        let runs = allocator.allocate(0, 40 * STRETCH, Purpose::Ordinary).unwrap();
        assert!(runs.iter().all(|run| run.start % STRETCH == 0 && run.blocks % STRETCH == 0), "{runs:?}");
    }

    #[test]
    fn where_space_is_scarce_no_stripe_breaks_a_stretch_while_another_has_a_broken_one() {
        let allocator = filled(0..64 * STRETCH, 4);
        let small = allocator.allocate(3, 10, Purpose::Ordinary).unwrap(); // breaks one of the last stripe
        let kept = allocator.allocate(0, 46 * STRETCH, Purpose::Ordinary).unwrap();
        assert!(allocator.free_blocks() < 64 * STRETCH / 3);
        let near = kept.iter().find(|run| run.start < 16 * STRETCH).unwrap();
        allocator.free(Run { start: near.start, blocks: STRETCH }); // whole, in the first stripe
        for _ in 0..100 {
            let runs = allocator.allocate(0, 3, Purpose::Ordinary).unwrap();
            assert_eq!(runs[0].start / STRETCH, small[0].start / STRETCH, "{runs:?}");
        }
    }

    #[test]
    fn the_reserve_is_for_who_frees() {
        let allocator = filled(0..100, 1);
        let reserve = allocator.reserve();
        assert!(allocator.allocate(0, 100 - reserve, Purpose::Ordinary).is_some());
        assert!(allocator.allocate(0, 1, Purpose::Ordinary).is_none());
        assert!(allocator.allocate(0, 1, Purpose::Freeing).is_some());
    }
}
