//! Content in a record: the lines that change, the block's line of checksums, and the lines of its parity that change with them.
//!
//! What is around the bytes, in their stripes, is verified first; a stripe that was absent is in the record whole.

use crate::{
    Result,
    commit::Batch,
    format::{BLOCK, LINE},
    integrity::{
        Protection, STRIPE, STRIPES,
        parity::{self, stripe, stripe_mut, sum_of, xor},
        sums::Line,
    },
    rules::Rule,
    volume::Volume,
};

/// Lines of a stripe.
const LINES: usize = (STRIPE / LINE) as usize;

/// Bytes that are to be in a record: where in the volume, what. Each of one block; the later of two counts.
#[derive(Default)]
pub(crate) struct Patches(Vec<(u64, Vec<u8>)>);

impl Patches {
    pub(crate) fn add(&mut self, at: u64, bytes: &[u8]) {
        self.0.push((at, bytes.to_vec()));
    }

    /// Puts them into a batch, with what protects them. Of blocks that are `fresh`, nothing else is content.
    pub(crate) fn put(
        mut self,
        volume: &Volume,
        batch: &mut Batch,
        fresh: impl Fn(u64) -> bool,
    ) -> Result<()> {
        let Some(protection) = &volume.protection else {
            return self.0.iter().try_for_each(|(at, bytes)| volume.patch(batch, *at, bytes));
        };
        self.0.sort_by_key(|(at, _)| at / BLOCK);
        for of_block in self.0.chunk_by(|one, next| one.0 / BLOCK == next.0 / BLOCK) {
            let block = of_block[0].0 / BLOCK;
            put_block(volume, protection, batch, block, of_block, fresh(block))?;
        }
        Ok(())
    }
}

fn put_block(
    volume: &Volume,
    protection: &Protection,
    batch: &mut Batch,
    block: u64,
    patches: &[(u64, Vec<u8>)],
    fresh: bool,
) -> Result<()> {
    let mark = protection.mark(block);
    let mut line = match fresh {
        true => Line::absent(mark),
        false => volume.line(protection, block)?,
    };
    // A bit for each line of the block that is in the record.
    let mut lines: u64 =
        patches.iter().fold(0, |lines: u64, (at, bytes)| lines | covered(at % BLOCK, bytes.len() as u64));
    let touched = lines;
    let of_stripe = |lines: u64, number: usize| (lines >> (number * LINES)) as u8;
    let mut columns = if fresh { u8::MAX } else { 0 };
    let mut content = [0; BLOCK as usize];
    let mut change = [0; STRIPE as usize];
    for number in (0..STRIPES).filter(|number| of_stripe(lines, *number) != 0) {
        columns |= of_stripe(lines, number);
        if line.is_absent(number, mark) {
            continue;
        }
        if !line.agrees(number, mark) {
            volume.heal(protection, block)?;
            line = volume.line(protection, block)?;
        }
        let at = block * BLOCK + number as u64 * STRIPE;
        volume.copy_verified(protection, at, stripe_mut(&mut content, number))?;
        xor(&mut change, stripe(&content, number));
    }
    for (at, bytes) in patches {
        let start = (at % BLOCK) as usize;
        content[start..start + bytes.len()].copy_from_slice(bytes);
    }
    for number in (0..STRIPES).filter(|number| of_stripe(touched, *number) != 0) {
        xor(&mut change, stripe(&content, number));
        // It was absent: the rest of its bytes is not known to be zeros.
        if line.is_absent(number, mark) {
            lines |= 0xff << (number * LINES);
        }
        line.set(number, sum_of(protection.place(block, number), &content, number));
    }
    put_lines(batch, block * BLOCK, &content, lines);
    let line_at = protection.layout.line_at(block);
    if volume.keeps(Rule::ChecksumsInRecord) {
        batch.data(line_at, LINE).copy_from_slice(bytemuck::bytes_of(&line));
    } else {
        volume.media.store(line_at, bytemuck::bytes_of(&line));
    }
    if let Some(at) = protection.layout.parity_at(block) {
        let mut parity: parity::Stripe = [0; STRIPE as usize];
        if !fresh {
            volume.media.copy_out(at, &mut parity, "parity")?;
        }
        xor(&mut parity, &change);
        put_lines(batch, at, &parity, u64::from(columns));
    }
    Ok(())
}

/// A bit for each line of a block that bytes touch, from `start` in it on.
fn covered(start: u64, len: u64) -> u64 {
    let (first, end) = (start / LINE, (start + len).div_ceil(LINE));
    let below = |line: u64| if line == 64 { u64::MAX } else { (1 << line) - 1 };
    below(end) & !below(first)
}

/// Puts the lines that have their bit, of `bytes`, which will be at `at`, into a batch.
fn put_lines(batch: &mut Batch, at: u64, bytes: &[u8], mut lines: u64) {
    while lines != 0 {
        let first = lines.trailing_zeros();
        let count = (lines >> first).trailing_ones();
        let (from, len) = (u64::from(first) * LINE, u64::from(count) * LINE);
        batch.data(at + from, len).copy_from_slice(&bytes[from as usize..(from + len) as usize]);
        let end = first + count;
        lines = if end == 64 { 0 } else { lines >> end << end };
    }
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
}
