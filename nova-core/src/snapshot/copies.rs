//! Pages of mapped files, copied away before they are stored to: for the newest snapshot.
//!
//! A program that maps a file stores to blocks that a snapshot has, without a call. The first store to each page waits (`pmem_map::FirstStores`) until the
//! page's content is in a block of its own, and an entry of the snapshot's *table of copies* leads to it: both durable. The live page
//! stays where it is.
//!
//! Who does that serves a thread that waits and may hold any lock, of the allocator even. So it allocates nothing, takes no lock that somebody holds who touches
//! mapped pages, and makes no record: blocks for all pages that may be copied, and lines of the table for all entries, are
//! taken and zeroed before the snapshot is made, and an entry counts if its checksum is right. (No space is an error of making the snapshot, and never
//! one of a store.) What was not needed comes back with the next snapshot, or when no file is mapped any more.

use super::SavedBlock;
use crate::{
    Error, Result,
    alloc::Run,
    format::{BLOCK, BlockBefore, COPIES_MAGIC, CopiesHead, LINE, kind},
    media::Media,
};
use bytemuck::Zeroable as _;
use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::SeqCst},
};

/// Entries of a table's block.
pub(crate) const ENTRIES: u64 = BLOCK / LINE - 1;
/// In place of a copy: it could not be made.
const FAILED: u64 = u64::MAX;

/// Blocks of a mapped file, side by side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Piece {
    pub(crate) run: Run,
    pub(crate) birth: u64,
    pub(crate) ino: u64,
    pub(crate) file_block: u64,
}

/// What a snapshot needs of the files that were mapped when it was made.
pub(crate) struct Copies {
    media: Media,
    /// In the order of their blocks, each with the number of its first.
    pieces: Vec<(u64, Piece)>,
    /// For each block: where its content is; 0: in its place.
    copies: Box<[AtomicU64]>,
    /// Blocks for copies.
    spare: Vec<Run>,
    /// Blocks of the table.
    table: Vec<u64>,
    used: Mutex<Used>,
    /// Whether a copy is durable before its page is stored to: it is, outside of tests.
    waits: bool,
}

/// How far the spare blocks and the table's lines are used.
#[derive(Default)]
struct Used {
    run: usize,
    blocks: u64,
    entries: u64,
}

impl Copies {
    /// Room for a copy of every block of `pieces`: as many blocks in `spare`, as many lines in `table`. Stores the table, zeroed; durable with the next
    /// drain.
    pub(crate) fn new(
        media: Media,
        mut pieces: Vec<Piece>,
        spare: Vec<Run>,
        table: Vec<u64>,
        waits: bool,
    ) -> Copies {
        pieces.sort_unstable_by_key(|piece| piece.run.start);
        let mut count = 0;
        let numbered = pieces.into_iter().map(|piece| {
            count += piece.run.blocks;
            (count - piece.run.blocks, piece)
        });
        let pieces: Vec<_> = numbered.collect();
        for (index, at) in table.iter().enumerate() {
            let next = table.get(index + 1).copied().unwrap_or(0);
            let head = CopiesHead { magic: COPIES_MAGIC, next, ..CopiesHead::zeroed() };
            media.store_twice(*at, bytemuck::bytes_of(&media.sealed(*at, head)));
            (0..media.copies()).for_each(|copy| media.zero(at + copy * BLOCK + LINE, BLOCK - LINE));
        }
        let copies = (0..count).map(|_| AtomicU64::new(0)).collect();
        Copies { media, pieces, copies, spare, table, used: Mutex::default(), waits }
    }

    /// The first block of the table; 0: there is none.
    pub(crate) fn first(&self) -> u64 {
        self.table.first().copied().unwrap_or(0)
    }

    pub(crate) fn table(&self) -> &[u64] {
        &self.table
    }

    fn find(&self, block: u64) -> Option<(usize, Piece)> {
        let index = self.pieces.partition_point(|(_, piece)| piece.run.start <= block).checked_sub(1)?;
        let (number, piece) = self.pieces[index];
        let within = block - piece.run.start;
        (within < piece.run.blocks).then(|| ((number + within) as usize, piece))
    }

    /// Where a block's content is, if it was copied.
    pub(crate) fn copy_of(&self, block: u64) -> Result<Option<u64>> {
        match self.find(block).map(|(number, _)| self.copies[number].load(SeqCst)) {
            None | Some(0) => Ok(None),
            Some(FAILED) => Error::damaged("snapshot's block", block * BLOCK, "its copy could not be stored"),
            Some(copy) => Ok(Some(copy)),
        }
    }

    /// Copies a block away that is about to be stored to, unless that was done, or it is none of these. Durable on return: 2 drains. Allocates nothing.
    pub(crate) fn keep(&self, block: u64) -> Result<()> {
        let Some((number, piece)) = self.find(block) else { return Ok(()) };
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if self.copies[number].load(SeqCst) != 0 {
            return Ok(());
        }
        let kept = self.copy(&mut used, block, piece);
        self.copies[number].store(*kept.as_ref().unwrap_or(&FAILED), SeqCst);
        kept.map(drop)
    }

    fn copy(&self, used: &mut Used, block: u64, piece: Piece) -> Result<u64> {
        let run = self.spare[used.run];
        let copy = run.start + used.blocks;
        let mut content = [0; BLOCK as usize];
        self.media.copy_out(block * BLOCK, &mut content, "block")?;
        self.media.store(copy * BLOCK, &content);
        self.drain()?;
        self.enter(used, block, copy, piece);
        self.drain()?;
        used.blocks += 1;
        if used.blocks == run.blocks {
            (used.run, used.blocks) = (used.run + 1, 0);
        }
        Ok(copy)
    }

    /// An entry of the table: this block was copied there. Durable with this thread's next drain.
    fn enter(&self, used: &mut Used, block: u64, copy: u64, piece: Piece) {
        let at = self.table[(used.entries / ENTRIES) as usize] + (1 + used.entries % ENTRIES) * LINE;
        let entry = BlockBefore {
            kind: kind::BLOCK_BEFORE,
            lines: 1,
            block,
            copy,
            birth: piece.birth,
            ino: piece.ino,
            file_block: piece.file_block + (block - piece.run.start),
            ..BlockBefore::zeroed()
        };
        self.media.store_twice(at, bytemuck::bytes_of(&self.media.sealed(at, entry)));
        used.entries += 1;
    }

    fn drain(&self) -> Result<()> {
        if self.waits { self.media.drain() } else { Ok(()) }
    }

    /// Takes over what was copied for a snapshot that was not made after all: pages that were first stored to since its moment. From `switch` on, pages are
    /// copied here again; none is while this takes over. Returns blocks of the other's that are this one's now. `switch` allocates nothing: with the lock, which who copies
    /// waits for, this does not, either.
    pub(crate) fn adopt(&self, other: &Copies, switch: impl FnOnce()) -> Vec<u64> {
        let mut adopted = Vec::with_capacity(other.copies.len());
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        switch();
        for (number, block) in other.blocks() {
            let copy = other.copies[number].load(SeqCst);
            let Some((mine, piece)) = self.find(block).filter(|_| copy != 0) else { continue };
            if self.copies[mine].load(SeqCst) != 0 {
                continue; // it was stored to before that moment, too
            }
            if copy != FAILED {
                adopted.push(copy);
                self.enter(&mut used, block, copy, piece);
            }
            self.copies[mine].store(copy, SeqCst);
        }
        drop(used);
        // The volume may be poisoned. Who reads the snapshot now finds the copies all the same.
        let _ = self.media.drain();
        adopted
    }

    /// All blocks, each with its number.
    fn blocks(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        let of = |(number, piece): &(u64, Piece)| (*number as usize..).zip(piece.run.range());
        self.pieces.iter().flat_map(of)
    }

    /// Blocks that were copied so far, with where to.
    pub(crate) fn saved(&self) -> Vec<(u64, SavedBlock)> {
        let blocks = self.pieces.iter().flat_map(|(number, piece)| {
            (0..piece.run.blocks)
                .map(move |within| (number + within, piece.run.start + within, piece, within))
        });
        let saved = blocks.filter_map(|(number, block, piece, within)| {
            let copy = self.copies[number as usize].load(SeqCst);
            let saved = SavedBlock {
                copy,
                birth: piece.birth,
                ino: piece.ino,
                file_block: piece.file_block + within,
            };
            (copy != 0 && copy != FAILED).then_some((block, saved))
        });
        saved.collect()
    }

    /// All blocks for copies.
    pub(crate) fn spare(&self) -> Vec<Run> {
        self.spare.clone()
    }

    /// Blocks that no copy is in.
    pub(crate) fn unused(&self) -> Vec<Run> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let rest = self
            .spare
            .get(used.run)
            .map(|run| Run { start: run.start + used.blocks, blocks: run.blocks - used.blocks });
        rest.into_iter().chain(self.spare.iter().skip(used.run + 1).copied()).collect()
    }
}

/// A block that was copied, and where to.
pub(crate) type Saved = (u64, SavedBlock);

/// Reads a table of copies: its blocks, and each block that was copied.
pub(crate) fn read(media: &Media, first: u64) -> Result<(Vec<u64>, Vec<Saved>)> {
    let (mut table, mut saved, mut at) = (Vec::new(), Vec::new(), first);
    while at != 0 {
        let cannot_be = at % BLOCK != 0 || !media.has_blocks(at / BLOCK, 1);
        if cannot_be || table.len() as u64 > media.len() / BLOCK {
            return Error::damaged("table of copies", at, "a reference that cannot be, or a circle");
        }
        let head: CopiesHead = media.read(at)?;
        if head.magic != COPIES_MAGIC {
            return Error::damaged("table of copies", at, "it is none");
        }
        table.push(at);
        for line in 1..=ENTRIES {
            // One that is not whole was being stored, and the store that it is of did not happen.
            let Some(entry) = media.line_of_table::<BlockBefore>(at + line * LINE)? else { continue };
            let there = media.has_blocks(entry.block, 1) && media.has_blocks(entry.copy, 1);
            if there && entry.kind == kind::BLOCK_BEFORE {
                saved.push((entry.block, SavedBlock::of(&entry)));
            }
        }
        at = head.next;
    }
    Ok((table, saved))
}
