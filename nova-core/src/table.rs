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
    /// Each second block is a copy of the one before it.
    has_copies: bool,
}

impl Segment {
    pub(crate) fn new(media: &Media, at: u64, blocks: u64, first_slot: u64) -> Segment {
        let has_copies = media.copies() > 1;
        Segment { at, blocks, first_slot, slots: slots(media, blocks), has_copies }
    }

    /// Where the lines of one of its slots are.
    pub(crate) fn place(&self, index: u64) -> u64 {
        slot_at(self.has_copies, self.at, index)
    }

    /// Whose lines are at `at`.
    pub(crate) fn index_of(&self, at: u64) -> Option<u64> {
        let index = match (self.has_copies, at.checked_sub(self.at)?) {
            (false, within) => within.checked_sub(LINE)? / SLOT,
            (true, within) => {
                within / (2 * BLOCK) * SLOTS_BESIDE_COPY + (within % (2 * BLOCK)).checked_sub(LINE)? / SLOT
            }
        };
        (index < self.slots).then_some(index)
    }
}

/// Beside no other one in a cache: each is changed by its own threads.
#[repr(align(128))]
struct Stripe {
    segments: Vec<Segment>,
    /// Free slots; the last is taken next.
    free: Vec<u64>,
}

impl Stripe {
    /// Where the lines of a slot are.
    fn locate(&self, slot: u64) -> Option<u64> {
        let index = self.segments.partition_point(|segment| segment.first_slot <= slot).checked_sub(1)?;
        let segment = &self.segments[index];
        (slot - segment.first_slot < segment.slots).then(|| segment.place(slot - segment.first_slot))
    }
}

pub(crate) struct Table {
    stripes: Vec<RwLock<Stripe>>,
}

/// Slots of a block that has a copy: none of them goes on in the next.
const SLOTS_BESIDE_COPY: u64 = (BLOCK - LINE) / SLOT;

/// How many blocks a segment can have.
pub(crate) fn sizes(media: &Media) -> [u64; 3] {
    [1, 4, 16].map(|blocks| blocks * media.copies())
}

/// Slots of a segment.
pub(crate) fn slots(media: &Media, blocks: u64) -> u64 {
    if media.copies() > 1 { blocks / 2 * SLOTS_BESIDE_COPY } else { (blocks * BLOCK - LINE) / SLOT }
}

/// Where the lines of a slot are, of a segment at `at`.
pub(crate) fn place(media: &Media, at: u64, index: u64) -> u64 {
    slot_at(media.copies() > 1, at, index)
}

fn slot_at(has_copies: bool, at: u64, index: u64) -> u64 {
    match has_copies {
        false => at + LINE + index * SLOT,
        true => at + index / SLOTS_BESIDE_COPY * 2 * BLOCK + LINE + index % SLOTS_BESIDE_COPY * SLOT,
    }
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
                    && sizes(media).contains(&blocks)
                    && media.has_blocks(at / BLOCK, blocks);
                if !right {
                    return Error::damaged("inode table segment", at, "it is not the next of its stripe");
                }
                segments.push(Segment::new(media, at, blocks, first_slot));
                first_slot += slots(media, blocks);
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
        self.stripes[stripe as usize].read().locate(slot)
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
            return Ok((self.ino(index as u64, slot), stripe.locate(slot).expect("it has a slot")));
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
    let sizes = sizes(&volume.media);
    let run = sizes[..if large { 3 } else { 2 }]
        .iter()
        .rev()
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
    let segment = Segment::new(media, at, run.blocks, first_slot);
    stripe.segments.push(segment);
    stripe.free.extend((first_slot..first_slot + segment.slots).rev());
    Ok(())
}
