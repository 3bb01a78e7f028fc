//! The inode table put together again: lists of segments that are damaged, from segments that are found.
//!
//! A segment's header is sealed for its place, and segments are never given up: one that is found anywhere on the volume is one. One whose own
//! header is damaged is known by its place in the list, and by its inodes, which are sealed too and say their numbers.

use super::report::Problems;
use crate::{
    Kind, Result,
    alloc::Run,
    commit::{Batch, Journal},
    format::{BLOCK, Identity, SEGMENT_MAGIC, SegmentHeader, StripeHead, Superblock},
    media::Media,
    table,
    volume::data_blocks,
};
use bytemuck::Zeroable;
use std::collections::BTreeMap;

/// A segment that is known: place and blocks.
type Place = (u64, u64);

struct Search<'m> {
    media: &'m Media,
    superblock: &'m Superblock,
    /// By stripe and first slot.
    found: BTreeMap<(u64, u64), Place>,
}

/// Writes all lists of segments anew, as far as they are not right. One drain.
pub(crate) fn rebuild(
    media: &Media,
    journal: &Journal,
    superblock: &Superblock,
    repairs: &mut Vec<String>,
    lost: &mut Problems,
) -> Result<()> {
    // Of blocks of which nobody knows what they are, nothing is repaired from what is behind them.
    let media = &media.reporting();
    let search = Search { media, superblock, found: find_all(media, superblock) };
    for stripe in 0..u64::from(superblock.stripes) {
        let (segments, missing) = search.list(stripe);
        if let Some(slot) = missing {
            let why = format!("inodes from slot {slot} of stripe {stripe} on are not found");
            lost.add("inode table segment", table::stripe_line(stripe), 0, why);
        }
        let mut batch = Batch::new(1, None);
        let line = table::stripe_line(stripe);
        let first = segments.first().map_or(0, |(at, _)| *at);
        let head = StripeHead { stripe: stripe as u32, segment: first, ..StripeHead::zeroed() };
        let mut changes = put(media, &mut batch, line, media.sealed(line, head));
        let mut slot = 0;
        for (index, (at, blocks)) in segments.iter().enumerate() {
            let next = segments.get(index + 1).map_or(0, |(at, _)| *at);
            changes |= put(media, &mut batch, *at, table::header(media, *at, stripe, *blocks, slot, next));
            slot += table::slots(media, *blocks);
        }
        if changes {
            journal.commit(&[&batch], None)?;
            repairs.push(format!(
                "stripe {stripe} of the inode table: {} segments, {slot} inodes",
                segments.len()
            ));
        }
    }
    Ok(())
}

/// Puts a line into a batch, unless it is there. Whether it was not.
fn put<T: crate::format::Structure + PartialEq>(media: &Media, batch: &mut Batch, at: u64, line: T) -> bool {
    let differs = media.load::<T>(at).is_ok_and(|found| found != line);
    if differs {
        batch.line(at, bytemuck::bytes_of(&line));
    }
    differs
}

/// Every segment whose header is right.
fn find_all(media: &Media, superblock: &Superblock) -> BTreeMap<(u64, u64), Place> {
    let blocks = data_blocks(superblock);
    let mut found = BTreeMap::new();
    for block in blocks.clone() {
        let at = block * BLOCK;
        let may_be = |header: SegmentHeader| header.magic == SEGMENT_MAGIC;
        if media.copies() == 1 && !media.load(at).is_ok_and(may_be) {
            continue;
        }
        let Ok(header) = media.read::<SegmentHeader>(at) else { continue };
        let count = u64::from(header.blocks);
        if header.magic == SEGMENT_MAGIC
            && header.stripe < superblock.stripes
            && table::sizes(media).contains(&count)
            && count <= blocks.end - block
            && !lies(media, superblock, at, &header)
        {
            found.insert((u64::from(header.stripe), header.first_slot), (at, count));
        }
    }
    found
}

/// An inode in use, if a line is one. (Other lines are sealed in the same way, and have a number there.)
fn inode(media: &Media, at: u64) -> Option<Identity> {
    let inode: Identity = media.read(at).ok()?;
    let is_type = Kind::of_mode(inode.mode).mode_bits() == inode.mode & libc::S_IFMT;
    (is_type && inode.mode & !(libc::S_IFMT | 0o7777) == 0 && inode.generation != 0).then_some(inode)
}

/// Whether most inodes in a segment say that its header is wrong about it.
fn lies(media: &Media, superblock: &Superblock, at: u64, header: &SegmentHeader) -> bool {
    let (mut right, mut wrong) = (0, 0);
    for index in 0..table::slots(media, u64::from(header.blocks)) {
        if let Some(inode) = inode(media, table::place(media, at, index)) {
            let agrees = Some(inode.ino) == number(superblock, header, index);
            (right, wrong) = (right + u64::from(agrees), wrong + u64::from(!agrees));
        }
    }
    wrong > right
}

/// The inode number of a slot of a segment, by its header; `None` if there is no such number.
fn number(superblock: &Superblock, header: &SegmentHeader, index: u64) -> Option<u64> {
    let slot = header.first_slot.checked_add(index)?;
    slot.checked_mul(u64::from(superblock.stripes))?.checked_add(1 + u64::from(header.stripe))
}

impl Search<'_> {
    /// A stripe's segments; and the slot from which on none is found, though there are some.
    fn list(&self, stripe: u64) -> (Vec<Place>, Option<u64>) {
        let mut segments: Vec<Place> = Vec::new();
        let mut slot = 0;
        // What refers to the next one, if that is known.
        let mut next =
            self.media.read::<StripeHead>(table::stripe_line(stripe)).ok().map(|head| head.segment);
        loop {
            let later = self.found.range((stripe, slot)..(stripe + 1, 0)).next().is_some();
            if next == Some(0) && !later {
                return (segments, None);
            }
            let place = self.found.get(&(stripe, slot)).copied();
            let place = place.or_else(|| self.nameless(stripe, slot, next.unwrap_or(0), &segments));
            let Some((at, blocks)) = place else {
                return (segments, later.then_some(slot));
            };
            segments.push((at, blocks));
            slot += table::slots(self.media, blocks);
            next = self.media.read::<SegmentHeader>(at).ok().map(|header| header.next);
        }
    }

    /// The segment of these slots whose header is damaged: at `next`, if that can be, or where its inodes are.
    fn nameless(&self, stripe: u64, slot: u64, next: u64, before: &[Place]) -> Option<Place> {
        let later =
            self.found.range((stripe, slot + 1)..(stripe + 1, 0)).next().map(|((_, first), _)| first - slot);
        let of_later = self.sizes().find(|blocks| Some(table::slots(self.media, *blocks)) == later);
        let blocks = data_blocks(self.superblock);
        let is_free = |at: u64, len: u64| {
            let run = Run { start: at / BLOCK, blocks: len };
            // One whose header says other slots is no other.
            let apart = |(other, count): &Place| {
                let other = other / BLOCK;
                other == run.start || other + count <= run.start || run.start + run.blocks <= other
            };
            at % BLOCK == 0
                && blocks.contains(&run.start)
                && len <= blocks.end - run.start
                && before.iter().chain(self.found.values()).all(apart)
        };
        if let Some(len) = of_later.filter(|len| is_free(next, *len)) {
            return Some((next, len));
        }
        let by_inodes = |at: u64| {
            let len = self.blocks_with_inodes(stripe, slot, at)?;
            is_free(at, len).then_some((at, of_later.filter(|len| is_free(at, *len)).unwrap_or(len)))
        };
        by_inodes(next).or_else(|| blocks.clone().find_map(|block| by_inodes(block * BLOCK)))
    }

    /// How many blocks a segment at `at` has, by the inodes in it that have the right numbers; `None` if there is none.
    fn blocks_with_inodes(&self, stripe: u64, first_slot: u64, at: u64) -> Option<u64> {
        let stripes = u64::from(self.superblock.stripes);
        let is_right = |index: &u64| {
            let inode = inode(self.media, table::place(self.media, at, *index));
            inode.is_some_and(|inode| inode.ino == 1 + (first_slot + index) * stripes + stripe)
        };
        if at < BLOCK || at >= self.media.len() {
            return None;
        }
        let largest = self.sizes().last()?;
        let last = (0..table::slots(self.media, largest)).rev().find(is_right)?;
        self.sizes().find(|blocks| last < table::slots(self.media, *blocks))
    }

    fn sizes(&self) -> impl Iterator<Item = u64> + use<> {
        table::sizes(self.media).into_iter()
    }
}
