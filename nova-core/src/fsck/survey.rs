//! Reads all of a volume's metadata from media: the inode table, every inode and its log, and who owns which block.
//!
//! Nothing in DRAM is believed but the superblock. Damage ends the reading of one structure, never of the volume: of a log, what is before
//! its first damage is there.

use super::{owners::Owners, report::Problems};
use crate::{
    Damage, Error, Kind, Result,
    alloc::Run,
    attributes::INTERNAL,
    extents::Mapped,
    format::{
        BLOCK, Identity, LINE, ROOT, SEGMENT_MAGIC, SNAPSHOT_INO, STATE, STATE_COPY, SegmentHeader, Status,
        StripeHead, Structure as _, Superblock, VolumeState,
    },
    inode::{Body, Index},
    integrity::{bad, replica::Look},
    log::{self, Entry, Found},
    media::Media,
    snapshot::{self, Claims, Held, Snapshot},
    table::{self, Segment},
    volume::data_blocks,
};
use std::collections::{BTreeMap, BTreeSet};

/// An inode in use, and what could be read of its log.
pub(crate) struct Node {
    pub(crate) at: u64,
    pub(crate) identity: Identity,
    pub(crate) status: Status,
    pub(crate) index: Index,
    /// Its log is damaged, or has blocks that are another's.
    pub(crate) is_damaged: bool,
}

impl Node {
    pub(crate) fn kind(&self) -> Kind {
        Kind::of_mode(self.identity.mode)
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.kind() == Kind::Directory
    }

    /// Names of a directory.
    pub(crate) fn names(&self) -> u64 {
        match &self.index.body {
            Body::Directory(names) => names.len() as u64,
            _ => 0,
        }
    }
}

/// What is on media.
pub(crate) struct Survey {
    /// Segments of each stripe.
    pub(crate) segments: Vec<Vec<Segment>>,
    /// Free slots of each stripe, in order.
    pub(crate) free_slots: Vec<Vec<u64>>,
    /// Inodes in use that have both lines.
    pub(crate) nodes: BTreeMap<u64, Node>,
    /// Inodes whose lines are damaged.
    pub(crate) damaged: BTreeSet<u64>,
    pub(crate) owners: Owners,
    /// Snapshots that can be read, oldest first; from the newest on those before the first damage.
    pub(crate) snapshots: Vec<Snapshot>,
    /// Blocks that only snapshots have.
    pub(crate) held: Vec<Held>,
    pub(crate) problems: Problems,
}

impl Survey {
    /// Reads everything, copies of metadata too: where they are not the same, that is a problem.
    pub(crate) fn take(media: &Media, superblock: &Superblock) -> Survey {
        Survey::with(&media.reporting(), superblock)
    }

    /// The same, which repairs what can be repaired from copies.
    pub(crate) fn repairing(media: &Media, superblock: &Superblock) -> Survey {
        Survey::with(&media.looking(Look::AtBoth), superblock)
    }

    fn with(media: &Media, superblock: &Superblock) -> Survey {
        let stripes = u64::from(superblock.stripes);
        let mut survey = Survey {
            segments: Vec::new(),
            free_slots: vec![Vec::new(); stripes as usize],
            nodes: BTreeMap::new(),
            damaged: BTreeSet::new(),
            owners: Owners::new(data_blocks(superblock)),
            snapshots: Vec::new(),
            held: Vec::new(),
            problems: Problems::default(),
        };
        for at in [STATE, STATE_COPY] {
            if let Err(error) = media.read::<VolumeState>(at) {
                survey.problems.error(0, error);
            }
        }
        for stripe in 0..stripes {
            let segments = survey.stripe(media, stripe);
            survey.segments.push(segments);
        }
        survey.copies(media, 0);
        for stripe in 0..stripes {
            for segment in survey.segments[stripe as usize].clone() {
                for slot in 0..segment.slots {
                    let number = segment.first_slot + slot;
                    let ino = 1 + number * stripes + stripe;
                    survey.slot(media, stripe, number, ino, segment.place(slot));
                    survey.copies(media, ino);
                }
            }
        }
        survey.claim();
        survey.past(media);
        survey.retire();
        survey.copies(media, 0);
        survey
    }

    /// What of an inode is not what its copy is.
    fn copies(&mut self, media: &Media, ino: u64) {
        self.problems.0.extend(media.take_found().into_iter().map(|found| Damage { ino, ..found }));
    }

    /// A stripe's segments, as far as their list is right.
    fn stripe(&mut self, media: &Media, stripe: u64) -> Vec<Segment> {
        let mut segments: Vec<Segment> = Vec::new();
        let line = table::stripe_line(stripe);
        let head = match media.read::<StripeHead>(line) {
            Ok(head) => head,
            Err(error) => {
                self.problems.error(0, error);
                return segments;
            }
        };
        if u64::from(head.stripe) != stripe {
            self.problems.add(
                StripeHead::NAME,
                line,
                0,
                format!("it is stripe {}'s, not {stripe}'s", head.stripe),
            );
        }
        let (mut at, mut first_slot) = (head.segment, 0);
        while at != 0 {
            match read_segment(media, stripe, at, first_slot) {
                Ok((segment, next)) => {
                    let run = Run { start: at / BLOCK, blocks: segment.blocks };
                    if let Err(block) = self.owners.take(run, false) {
                        let why =
                            format!("block {block} is another structure's, or not one that can be owned");
                        self.problems.add(SegmentHeader::NAME, at, 0, why);
                        return segments;
                    }
                    segments.push(segment);
                    first_slot += segment.slots;
                    at = next;
                }
                Err(error) => {
                    self.problems.error(0, error);
                    return segments;
                }
            }
        }
        segments
    }

    fn slot(&mut self, media: &Media, stripe: u64, slot: u64, ino: u64, at: u64) {
        match read_slot(media, ino, at) {
            Ok(None) => self.free_slots[stripe as usize].push(slot),
            Ok(Some((identity, status))) => {
                let node = self.log(media, ino, at, identity, status);
                self.nodes.insert(ino, node);
            }
            Err(error) => {
                self.problems.error(ino, error);
                self.damaged.insert(ino);
            }
        }
    }

    /// Reads an inode's log, as far as it is right.
    fn log(&mut self, media: &Media, ino: u64, at: u64, identity: Identity, status: Status) -> Node {
        let (index, end, result) = read_log(media, &identity, status.tail);
        let is_damaged = result.is_err();
        if let Err(error) = result {
            self.problems.error(ino, error);
            if identity.log != 0 {
                let why =
                    format!("its log is right up to offset {end}; what it said after that is not known");
                self.problems.add("inode", at, ino, why);
            }
        }
        Node { at, identity, status, index, is_damaged }
    }

    /// Blocks that are bad, and that nobody owns, nobody can own.
    fn retire(&mut self) {
        let key = (INTERNAL, bad::NAME.to_vec());
        let value = self.nodes.get(&ROOT).and_then(|root| root.index.attributes.get(&key));
        let blocks = value.and_then(|value| bad::decode(value).ok()).unwrap_or_default();
        for block in blocks {
            let _ = self.owners.take(Run { start: block, blocks: 1 }, false);
        }
    }

    /// Gives each inode its blocks: log pages first, which can have one owner only.
    fn claim(&mut self) {
        let Survey { nodes, owners, problems, .. } = self;
        for (ino, node) in nodes.iter_mut() {
            for run in node.index.pages.runs() {
                if let Err(block) = owners.take(run, false) {
                    let why = "it is another structure's too, or where no log page can be";
                    problems.add("log page", block.saturating_mul(BLOCK), *ino, why);
                    node.is_damaged = true;
                }
            }
        }
        for (ino, node) in nodes.iter_mut() {
            for (file_block, mapped) in extents(&node.index) {
                if let Err(block) = owners.take(mapped.run(), true) {
                    let why = format!(
                        "block {block}, of file block {file_block} on, is metadata, or no block of the volume"
                    );
                    problems.add("extent", block.saturating_mul(BLOCK), *ino, why);
                    node.is_damaged = true;
                }
            }
        }
    }
}

impl Survey {
    /// Gives snapshots what they own.
    fn past(&mut self, media: &Media) {
        let Ok(state) = snapshot::read_state(media) else { return };
        let (mut list, damage) = snapshot::load_newest(media, state.snapshots);
        if let Some(error) = damage {
            self.problems.error(0, error);
        }
        let mut claims = Claims::default();
        // Newer ones need nothing of older ones.
        for index in (0..list.len()).rev() {
            if let Err(error) = claims.add(media, &list, index) {
                self.problems.error(0, error);
                list.drain(..=index);
                break;
            }
        }
        for run in claims.own.iter() {
            if let Err(block) = self.owners.take(*run, false) {
                let why = "it is another structure's, too";
                self.problems.add("snapshot", block.saturating_mul(BLOCK), 0, why);
            }
        }
        let held = claims.held(&list, |block| self.owners.has(block));
        for held in &held {
            if let Err(block) = self.owners.take(held.run, false) {
                let why = "a snapshot has it, and it is no block of the volume";
                self.problems.add("snapshot", block.saturating_mul(BLOCK), 0, why);
            }
        }
        (self.snapshots, self.held) = (list, held);
    }

    /// The last epoch that anything was allocated in.
    pub(crate) fn last_epoch(&self) -> u64 {
        let births = self.nodes.values().flat_map(|node| {
            let pages = node.index.pages.born().into_iter().map(|(_, birth)| birth);
            pages.chain(extents(&node.index).into_iter().map(|(_, mapped)| mapped.birth))
        });
        births.filter(|birth| *birth < SNAPSHOT_INO - 2).chain([1]).max().expect("there is one")
    }
}

/// A file's extents; none of what is no file.
pub(crate) fn extents(index: &Index) -> Vec<(u64, Mapped)> {
    match &index.body {
        Body::File(extents) => extents.iter().collect(),
        _ => Vec::new(),
    }
}

/// A segment, and where the next one is.
fn read_segment(media: &Media, stripe: u64, at: u64, first_slot: u64) -> Result<(Segment, u64)> {
    if at % BLOCK != 0 {
        return Error::damaged(SegmentHeader::NAME, at, "no segment can be there");
    }
    let header: SegmentHeader = media.read(at)?;
    let blocks = u64::from(header.blocks);
    let right = header.magic == SEGMENT_MAGIC
        && u64::from(header.stripe) == stripe
        && header.first_slot == first_slot
        && table::sizes(media).contains(&blocks);
    if !right {
        return Error::damaged(SegmentHeader::NAME, at, "it is not the next of its stripe");
    }
    Ok((Segment::new(media, at, blocks, first_slot), header.next))
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// The two lines of a slot; `None` if it is free.
fn read_slot(media: &Media, ino: u64, at: u64) -> Result<Option<(Identity, Status)>> {
    let (identity, status) = media.inode_lines(at)?;
    if is_zero(bytemuck::bytes_of(&identity)) {
        return if is_zero(bytemuck::bytes_of(&status)) {
            Ok(None)
        } else {
            Error::damaged("inode", at, "it was never used, and has a state")
        };
    }
    media.check(at, bytemuck::bytes_of(&identity), "inode")?;
    if identity.ino != ino {
        return Error::damaged("inode", at, "it is another number's");
    }
    media.check(at + LINE, bytemuck::bytes_of(&status), "inode state")?;
    if identity.mode == 0 {
        let free = status.links == 0 && status.size == 0 && status.tail == 0 && status.blocks == 0;
        return if free {
            Ok(None)
        } else {
            Error::damaged("inode state", at + LINE, "the slot is free, and has a state")
        };
    }
    Ok(Some((identity, status)))
}

/// Reads a log up to `tail`, or its first damage: what it says, where that ends, and what is wrong there.
pub(crate) fn read_log(media: &Media, identity: &Identity, tail: u64) -> (Index, u64, Result<()>) {
    let mut index = Index::empty(identity);
    let mut end = identity.log;
    let result = log::scan(media, identity.ino, identity.log, tail, |found| {
        let next = match &found {
            Found::Page { run, .. } => run.start * BLOCK + LINE,
            Found::Entry { at, entry, .. } => at + LINE * lines(entry),
        };
        index.take(found)?;
        end = next;
        Ok(())
    });
    (index, end, result)
}

fn lines(entry: &Entry<'_>) -> u64 {
    match entry {
        Entry::Extent(_) | Entry::Hole { .. } | Entry::Shift { .. } => 1,
        Entry::Name { head, .. } => u64::from(head.lines),
        Entry::Attribute { head, .. } => u64::from(head.lines),
        Entry::InodeBefore { head, .. } => u64::from(head.lines),
        Entry::BlockBefore(_) => 1,
    }
}
