//! Reading content: verified, and repaired if it has to be and can be.
//!
//! Repairs are in place, and no record's business: what is stored is what the block's other stripes, parity and checksums say, which stay as they are.
//! A repair that a crash cuts off, at any store, leaves a block of which a part of the damage is gone: it is repaired again. A record
//! that is replayed has the block's newest content or is followed by one that has, together with what protects it.

use crate::{
    Error, Result,
    format::{BLOCK, LINE},
    inode::State,
    integrity::{
        Protection, STRIPE, STRIPES,
        parity::{self, Block, stripe, sum_of},
        sums::{self, Line, Verdict},
    },
    volume::Volume,
};
use bytemuck::Zeroable;
use std::sync::atomic::Ordering::Relaxed;

/// Blocks that are copied together, and then verified.
const TOGETHER: usize = 4;

impl Volume {
    /// Copies out content of a file, at a place in the volume; verified, if it is protected now.
    pub(crate) fn copy_data(&self, state: &State, at: u64, into: &mut [u8]) -> Result<()> {
        match &self.protection {
            Some(protection) if !state.is_unprotected() => self.copy_verified(protection, at, into),
            _ => self.media.copy_out(at, into, "extent"),
        }
    }

    /// Copies out content that is protected.
    pub(crate) fn copy_verified(&self, protection: &Protection, at: u64, into: &mut [u8]) -> Result<()> {
        let end = at + into.len() as u64;
        let mut from = at;
        while from < end {
            let until = end.min((from / BLOCK + TOGETHER as u64) * BLOCK);
            self.copy_some(protection, from, &mut into[(from - at) as usize..(until - at) as usize])?;
            from = until;
        }
        Ok(())
    }

    /// The same, of a few blocks: so few that they are in the cache when they are verified.
    fn copy_some(&self, protection: &Protection, at: u64, into: &mut [u8]) -> Result<()> {
        let end = at + into.len() as u64;
        let blocks = at / BLOCK..end.div_ceil(BLOCK);
        let mut lines = [Line::zeroed(); TOGETHER];
        let lines = &mut lines[..(blocks.end - blocks.start) as usize];
        self.media.copy_out(
            protection.layout.line_at(blocks.start),
            bytemuck::cast_slice_mut(lines),
            "checksums",
        )?;
        let whole = at.next_multiple_of(STRIPE)..end / STRIPE * STRIPE;
        if whole.start < whole.end {
            let whole = (whole.start - at) as usize..(whole.end - at) as usize;
            self.media.copy_out(at + whole.start as u64, &mut into[whole], "extent")?;
        }
        for (block, line) in blocks.zip(lines) {
            let (from, until) = (at.max(block * BLOCK), end.min((block + 1) * BLOCK));
            let part = &mut into[(from - at) as usize..(until - at) as usize];
            if !self.verify_part(protection, block, line, from, part)? {
                let content = self.heal(protection, block)?;
                let start = (from - block * BLOCK) as usize;
                part.copy_from_slice(&content[start..start + part.len()]);
            }
        }
        Ok(())
    }

    /// Whether the stripes are right that a part of a block touches. Whole ones were copied out; of others, the part's bytes are copied out here.
    fn verify_part(
        &self,
        protection: &Protection,
        block: u64,
        line: &Line,
        at: u64,
        part: &mut [u8],
    ) -> Result<bool> {
        let end = at + part.len() as u64;
        let mut from = at;
        while from < end {
            let number = (from % BLOCK / STRIPE) as usize;
            let start = from / STRIPE * STRIPE;
            let (stripes, _) = part[(from - at) as usize..].as_chunks();
            let right = if from == start && !stripes.is_empty() {
                from += stripes.len() as u64 * STRIPE;
                line.are(number, &protection.sums(block, number, stripes)[..stripes.len()])
            } else {
                let until = end.min(start + STRIPE);
                let mut whole = [0; STRIPE as usize];
                self.media.copy_out(start, &mut whole, "extent")?;
                part[(from - at) as usize..(until - at) as usize]
                    .copy_from_slice(&whole[(from - start) as usize..(until - start) as usize]);
                from = until;
                line.is(number, sums::sum(protection.place(block, number), &whole))
            };
            if !right {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The line of a block, whatever it says.
    pub(crate) fn line(&self, protection: &Protection, block: u64) -> Result<Line> {
        let mut bytes = [0; LINE as usize];
        self.media.copy_out(protection.layout.line_at(block), &mut bytes, "checksums")?;
        Ok(bytemuck::cast(bytes))
    }

    /// What a block has to be, with zeros for what is absent; and the medium says so afterwards, if the volume may be written to. Content that cannot be
    /// made right is [`Error::Damaged`].
    #[cold]
    pub(crate) fn heal(&self, protection: &Protection, block: u64) -> Result<Box<Block>> {
        let _alone = protection.repairing.lock();
        let (mut content, line, parity) = self.load_block(protection, block)?;
        let healed = protection.diagnose(block, &mut content, line, parity.as_ref());
        let Some((stripes, right)) = healed else {
            protection.counts.damaged.fetch_add(1, Relaxed);
            let why = "its bytes and their checksum disagree, and they cannot be computed from parity";
            return Error::damaged("content", block * BLOCK, why);
        };
        if protection.may_store(self) {
            for number in &stripes {
                self.media.store(block * BLOCK + *number as u64 * STRIPE, stripe(&content, *number));
            }
            if right != line {
                self.media.store(protection.layout.line_at(block), bytemuck::bytes_of(&right));
            }
            if !stripes.is_empty() || right != line {
                self.media.drain()?;
            }
        }
        protection.counts.data.fetch_add(stripes.len() as u64, Relaxed);
        protection.counts.checksums.fetch_add(u64::from(right != line), Relaxed);
        Ok(content)
    }

    /// Verifies a block whole: content, both copies of its checksums, and its parity; and repairs them.
    pub(crate) fn scrub_block(&self, protection: &Protection, block: u64) -> Result<()> {
        let content = self.heal(protection, block)?;
        let _alone = protection.repairing.lock();
        if let Some(at) = protection.layout.parity_at(block) {
            let mut found = [0; STRIPE as usize];
            self.media.copy_out(at, &mut found, "parity")?;
            let right = parity::of(&content);
            if found != right {
                if protection.may_store(self) {
                    self.media.store(at, &right);
                    self.media.drain()?;
                }
                protection.counts.parity.fetch_add(1, Relaxed);
            }
        }
        Ok(())
    }

    fn load_block(
        &self,
        protection: &Protection,
        block: u64,
    ) -> Result<(Box<Block>, Line, Option<parity::Stripe>)> {
        let mut content = Box::new([0; BLOCK as usize]);
        self.media.copy_out(block * BLOCK, &mut content[..], "extent")?;
        let parity = match protection.layout.parity_at(block) {
            None => None,
            Some(at) => {
                let mut parity = [0; STRIPE as usize];
                self.media.copy_out(at, &mut parity, "parity")?;
                Some(parity)
            }
        };
        Ok((content, self.line(protection, block)?, parity))
    }
}

impl Protection {
    /// Whether a repair may be stored. Asked under the lock of repairs.
    fn may_store(&self, volume: &Volume) -> bool {
        !volume.read_only && self.lent.load(Relaxed) == 0
    }

    /// Makes a block right, in DRAM: which stripes were wrong, and what its line is to be. `None` if it cannot be made right.
    fn diagnose(
        &self,
        block: u64,
        content: &mut Block,
        line: Line,
        parity: Option<&parity::Stripe>,
    ) -> Option<(Vec<usize>, Line)> {
        let mark = self.mark(block);
        let sum = |content: &Block, number: usize| sum_of(self.place(block, number), content, number);
        let mut wrong = Vec::new();
        let mut verdicts = [Verdict::Right; STRIPES];
        for (number, verdict) in verdicts.iter_mut().enumerate() {
            *verdict = match line.is_absent(number, mark) {
                true => Verdict::Absent,
                false => line.verdict(number, sum(content, number), mark),
            };
            match verdict {
                Verdict::Absent => parity::stripe_mut(content, number).fill(0),
                Verdict::Right => {}
                Verdict::Wrong | Verdict::Unknown => wrong.push(number),
            }
        }
        let mut absent: [bool; STRIPES] = verdicts.map(|verdict| verdict == Verdict::Absent);
        if !wrong.is_empty() {
            let parity = parity?;
            let matches = |number: usize, bytes: &parity::Stripe| {
                line.matches(number, sums::sum(self.place(block, number), bytes))
            };
            if !parity::restore(content, parity, &wrong, matches) {
                // The line, then: if its copies contradict each other wherever it disagrees, and all of the block agrees with its parity.
                if wrong.iter().any(|number| verdicts[*number] == Verdict::Wrong) {
                    return None;
                }
                absent = agreeing(content, parity, &wrong, absent)?;
                wrong.clear();
            }
        }
        let mut right = line;
        for (number, absent) in absent.into_iter().enumerate() {
            if !line.agrees(number, mark) || verdicts[number] == Verdict::Unknown {
                match absent {
                    true => right.set_absent(number, mark),
                    false => right.set(number, sum(content, number)),
                }
            }
        }
        Some((wrong, right))
    }
}

/// Which stripes are absent, of a block with some of which nothing is known, so that it agrees with its parity. Those that are absent follow
/// those that are not: blocks are filled from their beginning.
fn agreeing(
    content: &mut Block,
    parity: &parity::Stripe,
    unknown: &[usize],
    absent: [bool; STRIPES],
) -> Option<[bool; STRIPES]> {
    (0..=unknown.len()).find_map(|gone| {
        let mut content_then = *content;
        let mut absent = absent;
        for number in &unknown[unknown.len() - gone..] {
            parity::stripe_mut(&mut content_then, *number).fill(0);
            absent[*number] = true;
        }
        (parity::of(&content_then) == *parity).then(|| {
            *content = content_then;
            absent
        })
    })
}
