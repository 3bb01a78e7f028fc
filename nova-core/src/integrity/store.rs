//! Content that is stored past the caches, with its checksums and its parity: one drain makes all of it durable.

use crate::{
    Result,
    alloc::Run,
    format::{BLOCK, LINE},
    integrity::{
        Protection, STRIPE, STRIPES,
        parity::{self, Block},
        sums::{self, Line},
    },
    media::Media,
    rules::Rule,
    volume::Volume,
};

/// Blocks whose lines and parity are stored together.
const TOGETHER: usize = 16;

impl Protection {
    /// The line of a block of which `bytes` are content (zeros make their last stripe whole). Its parity, if
    /// it has any, goes to `parity`, which is zeros.
    fn compute(&self, block: u64, bytes: &[u8], parity: &mut parity::Stripe) -> Line {
        let mut line = Line::absent(self.mark(block));
        let (stripes, rest) = bytes.as_chunks::<{ STRIPE as usize }>();
        let count = stripes.len();
        if self.layout.parity_at(block).is_some() {
            stripes.iter().for_each(|stripe| parity::xor(parity, stripe));
        }
        let sums = self.sums(block, 0, stripes);
        (0..count).for_each(|number| line.set(number, sums[number]));
        if !rest.is_empty() {
            let mut whole = [0; STRIPE as usize];
            whole[..rest.len()].copy_from_slice(rest);
            line.set(count, sums::sum(self.place(block, count), &whole));
            parity::xor(parity, &whole);
        }
        line
    }

    /// Stores lines and parity of content that begins with `block`.
    pub(crate) fn protect(&self, media: &Media, mut block: u64, bytes: &[u8]) {
        for some in bytes.chunks(TOGETHER * BLOCK as usize) {
            let mut lines = [[0; LINE as usize]; TOGETHER];
            let mut parities = [[0; STRIPE as usize]; TOGETHER];
            let mut count = 0;
            for bytes in some.chunks(BLOCK as usize) {
                lines[count] =
                    bytemuck::cast(self.compute(block + count as u64, bytes, &mut parities[count]));
                count += 1;
            }
            media.store(self.layout.line_at(block), lines[..count].as_flattened());
            if let Some(at) = self.layout.parity_at(block) {
                media.store(at, parities[..count].as_flattened());
            }
            block += count as u64;
        }
    }
}

impl Volume {
    /// Stores content past the caches, from the beginning of a block that is the caller's, and what protects it. Durable after this thread's
    /// next drain.
    pub(crate) fn store_data(&self, at: u64, bytes: &[u8]) {
        debug_assert!(at % BLOCK == 0);
        self.media.store(at, bytes);
        if let Some(protection) = &self.protection {
            let end = at + bytes.len() as u64;
            self.media.zero(end, end.next_multiple_of(STRIPE) - end);
            if self.keeps(Rule::ProtectionBeforeRecord) {
                protection.protect(&self.media, at / BLOCK, bytes);
            }
        }
    }

    /// As [`store_data`](Volume::store_data): blocks of zeros.
    pub(crate) fn zero_data(&self, run: Run) {
        self.media.zero(run.start * BLOCK, run.blocks * BLOCK);
        if let Some(protection) = &self.protection {
            let zeros: &Block = &[0; BLOCK as usize];
            run.range().for_each(|block| protection.protect(&self.media, block, zeros));
        }
    }

    /// Stores what protects blocks, by what is in them now, whatever it was: content that was stored behind the volume's back. Durable after this
    /// thread's next drain.
    pub(crate) fn protect_again(&self, run: Run) -> Result<()> {
        let Some(protection) = &self.protection else { return Ok(()) };
        let mut content = vec![0; TOGETHER * BLOCK as usize];
        let mut at = run.start;
        while at < run.start + run.blocks {
            let count = (run.start + run.blocks - at).min(TOGETHER as u64);
            let content = &mut content[..(count * BLOCK) as usize];
            self.media.copy_out(at * BLOCK, content, "extent")?;
            protection.protect(&self.media, at, content);
            at += count;
        }
        Ok(())
    }
}

const _: () = assert!(STRIPES * STRIPE as usize == BLOCK as usize);
