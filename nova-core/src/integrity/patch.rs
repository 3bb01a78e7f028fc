//! Content in a record: the lines that change, the block's line of checksums, and the lines of its parity that change with them.
//!
//! What is around the bytes, in their stripes, is verified first; so is what they replace, where parity depends on it. A stripe that was absent is in the record
//! whole.
//!
//! (The checksum of a stripe of which a part changes follows from the old one, the part's old bytes and its new ones: CRCs are linear. But old bytes that are damaged
//! would go into the new checksum, and with them into what parity restores; to know that they are right takes all of the stripe.)

use crate::{
    Result,
    commit::Batch,
    format::{BLOCK, LINE},
    integrity::{
        Protection, STRIPE, STRIPES,
        parity::{Stripe, stripe, xor},
        sums::{self, Line},
    },
    rules::Rule,
    volume::Volume,
};
use std::ops::Range;

/// Lines of a stripe.
const LINES: usize = (STRIPE / LINE) as usize;

/// Bytes that are to be in a record: where in the volume, what. Each of one block; the later of two counts.
#[derive(Default)]
pub(crate) struct Patches {
    patches: Vec<Patch>,
    /// Of all of them.
    bytes: Vec<u8>,
}

struct Patch {
    /// Where in the volume.
    at: u64,
    /// Which of the bytes.
    bytes: Range<usize>,
}

impl Patches {
    pub(crate) fn add(&mut self, at: u64, bytes: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.patches.push(Patch { at, bytes: start..self.bytes.len() });
    }

    /// Puts them into a batch, with what protects them. Of blocks that are `fresh`, nothing else is content.
    pub(crate) fn put(
        mut self,
        volume: &Volume,
        batch: &mut Batch,
        fresh: impl Fn(u64) -> bool,
    ) -> Result<()> {
        let Some(protection) = &volume.protection else {
            return self
                .patches
                .iter()
                .try_for_each(|patch| volume.patch(batch, patch.at, &self.bytes[patch.bytes.clone()]));
        };
        self.patches.sort_by_key(|patch| patch.at / BLOCK);
        for patches in self.patches.chunk_by(|one, next| one.at / BLOCK == next.at / BLOCK) {
            let block = patches[0].at / BLOCK;
            let of_block = OfBlock { volume, protection, block, patches, bytes: &self.bytes };
            of_block.put(batch, fresh(block))?;
        }
        Ok(())
    }
}

/// The patches of one block.
struct OfBlock<'a> {
    volume: &'a Volume,
    protection: &'a Protection,
    block: u64,
    patches: &'a [Patch],
    bytes: &'a [u8],
}

impl OfBlock<'_> {
    fn put(&self, batch: &mut Batch, fresh: bool) -> Result<()> {
        let OfBlock { volume, protection, block, .. } = *self;
        let mark = protection.mark(block);
        let parity_at = protection.layout.parity_at(block);
        // A bit for each line that is touched.
        let touched = self
            .patches
            .iter()
            .fold(0, |lines: u64, patch| lines | covered(patch.at % BLOCK, patch.bytes.len() as u64));
        let numbers = || (0..STRIPES).filter(move |number| of_stripe(touched, *number) != 0);
        let is_needed = |number: usize| parity_at.is_some() || !self.replaces(number);
        let mut line = match fresh {
            true => Line::absent(mark),
            false => volume.line(protection, block)?,
        };
        if !fresh && numbers().any(|number| is_needed(number) && !line.agrees(number, mark)) {
            volume.heal(protection, block)?;
            line = volume.line(protection, block)?;
        }
        // Of one that was absent, the rest of its bytes is not known to be zeros.
        let lines = numbers()
            .filter(|number| line.is_absent(*number, mark))
            .fold(touched, |lines, number| lines | 0xff << (number * LINES));
        let (mut right, mut change): (Line, Stripe) = (line, [0; STRIPE as usize]);
        for run in runs(lines) {
            let into = batch.data(block * BLOCK + run.start * LINE, (run.end - run.start) * LINE);
            for number in (run.start as usize / LINES)..(run.end as usize).div_ceil(LINES) {
                let mut content: Stripe = [0; STRIPE as usize];
                if is_needed(number) && !line.is_absent(number, mark) {
                    volume.copy_stripe(protection, block, number, &line, &mut content)?;
                }
                // A stripe may be of several runs: it changes once.
                let first = (number * LINES) as u64;
                let is_first = runs(lines).find(|run| run.end > first).is_some_and(|one| one == run);
                if is_first && parity_at.is_some() {
                    xor(&mut change, &content);
                }
                self.apply(number, &mut content);
                if is_first {
                    right.set(number, sums::sum(protection.place(block, number), &content));
                }
                if is_first && parity_at.is_some() {
                    xor(&mut change, &content);
                }
                let here = run.start.max(first)..run.end.min(first + LINES as u64);
                bytes_of(into, &here, run.start).copy_from_slice(bytes_of(&mut content, &here, first));
            }
        }
        self.put_line(batch, &right);
        let Some(at) = parity_at else { return Ok(()) };
        let changed = (0..STRIPES).fold(0, |columns, number| columns | of_stripe(touched, number));
        for run in runs(if fresh { 0xff } else { u64::from(changed) }) {
            let into = batch.data(at + run.start * LINE, (run.end - run.start) * LINE);
            if !fresh {
                volume.media.copy_out(at + run.start * LINE, into, "parity")?;
            }
            xor(into, bytes_of(&mut change, &run, 0));
        }
        Ok(())
    }

    fn put_line(&self, batch: &mut Batch, line: &Line) {
        let at = self.protection.layout.line_at(self.block);
        if self.volume.keeps(Rule::ChecksumsInRecord) {
            batch.data(at, LINE).copy_from_slice(bytemuck::bytes_of(line));
        } else {
            self.volume.media.store(at, bytemuck::bytes_of(line));
        }
    }

    /// Where a patch is in its block.
    fn within(patch: &Patch) -> Range<usize> {
        let start = (patch.at % BLOCK) as usize;
        start..start + patch.bytes.len()
    }

    /// Whether one patch has all bytes of a stripe.
    fn replaces(&self, number: usize) -> bool {
        let (start, end) = (number * STRIPE as usize, (number + 1) * STRIPE as usize);
        self.patches.iter().map(Self::within).any(|patch| patch.start <= start && patch.end >= end)
    }

    /// The bytes that patches have of a stripe.
    fn apply(&self, number: usize, content: &mut Stripe) {
        let (start, end) = (number * STRIPE as usize, (number + 1) * STRIPE as usize);
        for patch in self.patches {
            let within = Self::within(patch);
            let (from, until) = (within.start.max(start), within.end.min(end));
            if from < until {
                let bytes = &self.bytes[patch.bytes.clone()];
                content[from - start..until - start]
                    .copy_from_slice(&bytes[from - within.start..until - within.start]);
            }
        }
    }
}

impl Volume {
    /// Copies out a stripe that is there, and that `line` is right about; repaired, if it has to be.
    fn copy_stripe(
        &self,
        protection: &Protection,
        block: u64,
        number: usize,
        line: &Line,
        into: &mut Stripe,
    ) -> Result<()> {
        self.media.copy_out(block * BLOCK + number as u64 * STRIPE, into, "extent")?;
        if !line.is(number, sums::sum(protection.place(block, number), into)) {
            *into = *stripe(&*self.heal(protection, block)?, number);
        }
        Ok(())
    }
}

/// The bits of a stripe's lines.
fn of_stripe(lines: u64, number: usize) -> u8 {
    (lines >> (number * LINES)) as u8
}

/// The bytes of lines, of bytes that begin with the line `first`.
fn bytes_of<'b>(bytes: &'b mut [u8], lines: &Range<u64>, first: u64) -> &'b mut [u8] {
    &mut bytes[((lines.start - first) * LINE) as usize..((lines.end - first) * LINE) as usize]
}

/// A bit for each line of a block that bytes touch, from `start` in it on.
fn covered(start: u64, len: u64) -> u64 {
    let (first, end) = (start / LINE, (start + len).div_ceil(LINE));
    let below = |line: u64| if line == 64 { u64::MAX } else { (1 << line) - 1 };
    below(end) & !below(first)
}

/// The runs of ones.
fn runs(mut lines: u64) -> impl Iterator<Item = Range<u64>> {
    std::iter::from_fn(move || {
        let start = (lines != 0).then(|| lines.trailing_zeros())?;
        let end = start + (lines >> start).trailing_ones();
        lines = if end == 64 { 0 } else { lines >> end << end };
        Some(u64::from(start)..u64::from(end))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_those_that_bytes_touch() {
        assert_eq!(covered(0, 1), 1);
        assert_eq!(covered(63, 2), 3);
        assert_eq!(covered(64, 64), 2);
        assert_eq!(covered(0, 4096), u64::MAX);
        assert_eq!(covered(4095, 1), 1 << 63);
    }

    #[test]
    fn runs_are_those_of_the_bits() {
        let of = |lines| runs(lines).collect::<Vec<_>>();
        assert_eq!(of(0), []);
        assert_eq!(of(u64::MAX ^ 1 << 7), [0..7, 8..64]);
        assert_eq!(of(0b0110_1101 | 1 << 63), [0..1, 2..4, 5..7, 63..64]);
    }

    #[test]
    fn patches_anywhere_in_a_block_leave_it_protected() {
        use crate::{FormatOptions, MountOptions, volume::Freed};
        let mut random = fastrand::Rng::with_seed(9);
        for parity in [false, true] {
            let mapping = pmem_map::Mapping::memfd(8 << 20).expect("memory");
            let options = FormatOptions::new().checksums(true).parity(parity);
            let nova = options.format(mapping, MountOptions::new()).expect("a volume");
            let file = nova.create_file("/file").expect("a file");
            // A block of which stripes are absent, and one that is full.
            let mut content = vec![7; BLOCK as usize + 700];
            file.write_at(0, &content).expect("space");
            content.resize(2 * BLOCK as usize, 0);
            let volume = nova.volume();
            let block = |number: u64| {
                let state = file.inode.state.read();
                state.extents().expect("a file").at(number).expect("it is mapped").block
            };
            for _ in 0..200 {
                let (mut patches, mut batch) = (Patches::default(), volume.batch());
                // Of one block, each behind the other, with lines between them or none: often several of one stripe.
                let number = random.u64(0..2);
                let most = if number == 0 { BLOCK } else { 700 };
                let mut at = random.u64(0..most);
                while at < most {
                    let len = random.u64(1..1200).min(most - at);
                    let bytes = vec![random.u8(..); len as usize];
                    patches.add(block(number) * BLOCK + at, &bytes);
                    let start = (number * BLOCK + at) as usize;
                    content[start..start + len as usize].copy_from_slice(&bytes);
                    at = (at + len).next_multiple_of(LINE) + random.u64(0..3) * random.u64(0..200);
                }
                patches.put(volume, &mut batch, |_| false).expect("nothing is damaged");
                volume.commit(&batch, Freed::default()).expect("committed");
                let mut found = vec![0; content.len()];
                let len = file.read_at(0, &mut found).expect("what was written");
                assert_eq!(found[..len], content[..len]);
            }
            let protection = volume.protection.as_ref().expect("it is protected");
            (0..2).for_each(|number| volume.scrub_block(protection, block(number)).expect("it is right"));
            assert_eq!(nova.repairs(), crate::Repairs::default(), "parity and both copies are right");
        }
    }
}
