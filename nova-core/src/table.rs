//! The inode table: where an inode number's lines are, and which numbers are free.

use crate::{
    Code, Error, Result,
    alloc::{Purpose, Run},
    format::{BLOCK, LINE, SEGMENT_MAGIC, SLOT, STATE, SegmentHeader, StripeHead},
    media::Media,
    rules::Rule,
    volume::{Freed, Volume},
};
use bytemuck::Zeroable;
use parking_lot::RwLock;

/// A run of slots.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) at: u64,
    pub(crate) blocks: u64,
    pub(crate) first_slot: u64,
    pub(crate) slots: u64,
}

struct Stripe {
    segments: Vec<Segment>,
    /// Free slots; the last is taken next.
    free: Vec<u64>,
}

pub(crate) struct Table {
    stripes: Vec<RwLock<Stripe>>,
}

/// Slots of a segment.
pub(crate) fn slots(blocks: u64) -> u64 {
    (blocks * BLOCK - LINE) / SLOT
}

/// Where a stripe's line is.
pub(crate) fn stripe_line(stripe: u64) -> u64 {
    STATE + (1 + stripe) * LINE
}

impl Table {
    /// Reads the lists of segments. No slot counts as free yet.
    pub(crate) fn read(media: &Media, stripes: u32) -> Result<Table> {
        let most = media.len() / BLOCK;
        let read = |stripe: u64| {
            let head: StripeHead = media.read(stripe_line(stripe))?;
            let (mut next, mut segments, mut first_slot) = (head.segment, Vec::new(), 0);
            while next != 0 {
                let at = next;
                if at % BLOCK != 0 || !media.has_blocks(at / BLOCK, 1) || segments.len() as u64 > most {
                    return Error::damaged(
                        "inode table segment",
                        at,
                        "a reference that cannot be, or a circle",
                    );
                }
                let header: SegmentHeader = media.read(at)?;
                let blocks = u64::from(header.blocks);
                let right = header.magic == SEGMENT_MAGIC
                    && u64::from(header.stripe) == stripe
                    && header.first_slot == first_slot
                    && matches!(blocks, 1 | 4 | 16)
                    && media.has_blocks(at / BLOCK, blocks);
                if !right {
                    return Error::damaged("inode table segment", at, "it is not the next of its stripe");
                }
                segments.push(Segment { at, blocks, first_slot, slots: slots(blocks) });
                first_slot += slots(blocks);
                next = header.next;
            }
            Ok(RwLock::new(Stripe { segments, free: Vec::new() }))
        };
        Ok(Table { stripes: (0..u64::from(stripes)).map(read).collect::<Result<_>>()? })
    }

    pub(crate) fn stripes(&self) -> u64 {
        self.stripes.len() as u64
    }

    pub(crate) fn ino(&self, stripe: u64, slot: u64) -> u64 {
        1 + slot * self.stripes() + stripe
    }

    /// Where an inode's two lines are. `None`: there is no such number yet.
    pub(crate) fn locate(&self, ino: u64) -> Option<u64> {
        let number = ino.checked_sub(1)?;
        let (stripe, slot) = (number % self.stripes(), number / self.stripes());
        let stripe = self.stripes[stripe as usize].read();
        let index = stripe.segments.partition_point(|segment| segment.first_slot <= slot).checked_sub(1)?;
        let segment = stripe.segments[index];
        (slot - segment.first_slot < segment.slots)
            .then(|| segment.at + LINE + (slot - segment.first_slot) * SLOT)
    }

    /// All segments of a stripe.
    pub(crate) fn segments(&self, stripe: u64) -> Vec<Segment> {
        self.stripes[stripe as usize].read().segments.clone()
    }

    /// Says which slots are free: the last is taken first.
    pub(crate) fn set_free(&self, stripe: u64, free: Vec<u64>) {
        self.stripes[stripe as usize].write().free = free;
    }

    pub(crate) fn free_slots(&self, stripe: u64) -> Vec<u64> {
        self.stripes[stripe as usize].read().free.clone()
    }

    /// All segments of a stripe, and its free slots. `None` while somebody takes a slot: they may be about to commit, and who asks may keep records out.
    pub(crate) fn try_stripe(&self, stripe: u64) -> Option<(Vec<Segment>, Vec<u64>)> {
        let stripe = self.stripes[stripe as usize].try_read()?;
        Some((stripe.segments.clone(), stripe.free.clone()))
    }

    /// Slots, and free ones.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let count = |stripe: &RwLock<Stripe>| {
            let stripe = stripe.read();
            (stripe.segments.iter().map(|segment| segment.slots).sum::<u64>(), stripe.free.len() as u64)
        };
        self.stripes.iter().map(count).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    }

    /// A free number, of a stripe near `near`, and where its lines are. Adds a segment if there is none: a commit of its own.
    pub(crate) fn take(&self, volume: &Volume, near: usize) -> Result<(u64, u64)> {
        for turn in 0..self.stripes.len() {
            let index = (near + turn) % self.stripes.len();
            let mut stripe = self.stripes[index].write();
            if stripe.free.is_empty() {
                match add_segment(volume, index as u64, &mut stripe) {
                    Ok(()) => {}
                    // Another stripe may have free slots.
                    Err(Error::Posix(Code::NoSpace)) => continue,
                    Err(error) => return Err(error),
                }
            }
            let slot = stripe.free.pop().expect("a segment has slots");
            drop(stripe);
            let ino = self.ino(index as u64, slot);
            return Ok((ino, self.locate(ino).expect("it has a slot")));
        }
        Err(Code::NoSpace.into())
    }

    /// The number is free again.
    pub(crate) fn give_back(&self, ino: u64) {
        let number = ino - 1;
        let stripe = &self.stripes[(number % self.stripes()) as usize];
        stripe.write().free.push(number / self.stripes());
    }
}

/// The first segment of a stripe, for format: what is to be stored where, and its header.
pub(crate) fn header(
    media: &Media,
    at: u64,
    stripe: u64,
    blocks: u64,
    first_slot: u64,
    next: u64,
) -> SegmentHeader {
    let header = SegmentHeader {
        magic: SEGMENT_MAGIC,
        stripe: stripe as u32,
        blocks: blocks as u32,
        first_slot,
        next,
        ..SegmentHeader::zeroed()
    };
    media.sealed(at, header)
}

fn add_segment(volume: &Volume, number: u64, stripe: &mut Stripe) -> Result<()> {
    let large = volume.media.len() > 64 << 20;
    let sizes: &[u64] = if large { &[16, 4, 1] } else { &[4, 1] };
    let run = sizes
        .iter()
        .find_map(|blocks| volume.allocate_run(number as usize, *blocks, 1, Purpose::Ordinary).ok())
        .ok_or(Error::Posix(Code::NoSpace))?;
    let result = link_segment(volume, number, stripe, run);
    if result.is_err() {
        volume.allocator.free(run);
    }
    result
}

fn link_segment(volume: &Volume, number: u64, stripe: &mut Stripe, run: Run) -> Result<()> {
    let media = &volume.media;
    let at = run.start * BLOCK;
    // Slots are changed by records that compare: what they compare with has to be durable.
    media.zero(at + LINE, run.blocks * BLOCK - LINE);
    if volume.keeps(Rule::SegmentZeroed) {
        media.drain()?;
    }
    let first_slot = stripe.segments.last().map_or(0, |last| last.first_slot + last.slots);
    let mut batch = volume.batch();
    batch.new_lines(at, bytemuck::bytes_of(&header(media, at, number, run.blocks, first_slot, 0)));
    match stripe.segments.last() {
        Some(last) => {
            let linked = header(media, last.at, number, last.blocks, last.first_slot, at);
            batch.line(last.at, bytemuck::bytes_of(&linked));
        }
        None => {
            let line = stripe_line(number);
            let head = StripeHead { stripe: number as u32, segment: at, ..StripeHead::zeroed() };
            batch.line(line, bytemuck::bytes_of(&media.sealed(line, head)));
        }
    }
    volume.commit(&batch, Freed::default())?;
    let slots = slots(run.blocks);
    stripe.segments.push(Segment { at, blocks: run.blocks, first_slot, slots });
    stripe.free.extend((first_slot..first_slot + slots).rev());
    Ok(())
}
