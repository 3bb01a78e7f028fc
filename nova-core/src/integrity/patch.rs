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
    // For each stripe, its lines that are in the record.
    let mut lines = [0u8; STRIPES];
    let mut content = [0; BLOCK as usize];
    for (at, bytes) in patches {
        let start = (at % BLOCK) as usize;
        for number in start / LINE as usize..(start + bytes.len()).div_ceil(LINE as usize) {
            lines[number / LINES] |= 1 << (number % LINES);
        }
    }
    for number in (0..STRIPES).filter(|number| lines[*number] != 0) {
        if !line.is_absent(number, mark) {
            if !line.agrees(number, mark) {
                volume.heal(protection, block)?;
                line = volume.line(protection, block)?;
            }
            let at = block * BLOCK + number as u64 * STRIPE;
            volume.copy_verified(protection, at, stripe_mut(&mut content, number))?;
        }
    }
    let before = content;
    for (at, bytes) in patches {
        let start = (at % BLOCK) as usize;
        content[start..start + bytes.len()].copy_from_slice(bytes);
    }
    let mut columns = if fresh { u8::MAX } else { 0 };
    let mut change = [0; STRIPE as usize];
    for (number, lines) in lines.iter_mut().enumerate().filter(|(_, lines)| **lines != 0) {
        columns |= *lines;
        xor(&mut change, stripe(&before, number));
        xor(&mut change, stripe(&content, number));
        // It was absent, or zeros: the rest of its bytes is not known to be zeros.
        if line.is_absent(number, mark) {
            *lines = u8::MAX;
        }
        line.set(number, sum_of(protection.place(block, number), &content, number));
    }
    let all: Vec<bool> =
        (0..STRIPES * LINES).map(|number| lines[number / LINES] >> (number % LINES) & 1 == 1).collect();
    put_lines(batch, block * BLOCK, &content, &all);
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
        let columns: Vec<bool> = (0..LINES).map(|number| columns >> number & 1 == 1).collect();
        put_lines(batch, at, &parity, &columns);
    }
    Ok(())
}

/// Puts the chosen lines of `bytes`, which will be at `at`, into a batch.
fn put_lines(batch: &mut Batch, at: u64, bytes: &[u8], chosen: &[bool]) {
    let mut from = 0;
    for run in chosen.chunk_by(|one, next| one == next) {
        let len = run.len() * LINE as usize;
        if run[0] {
            batch.data(at + from as u64, len as u64).copy_from_slice(&bytes[from..from + len]);
        }
        from += len;
    }
}
