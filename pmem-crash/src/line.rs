//! One cache line: the stores that are not yet durable, and all contents a power failure could leave it with.

use crate::{Tear, trace::Code};
use pmem_map::LINE;
use rustc_hash::FxHashMap;
use std::panic::Location;

/// The content of a line.
pub(crate) type Content = [u8; LINE as usize];

/// The largest part of a store that is failure-atomic: bytes of one aligned 8-byte word.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    /// Which word of the line.
    word: u8,
    /// Which bytes of the word, bit 0 for the first.
    mask: u8,
    bytes: [u8; 8],
}

impl Piece {
    fn apply(&self, content: &mut Content) {
        let word = &mut content[usize::from(self.word) * 8..][..8];
        for (byte, (to, from)) in word.iter_mut().zip(self.bytes).enumerate() {
            if self.mask >> byte & 1 == 1 {
                *to = from;
            }
        }
    }

    /// First byte within the line, and length, of what it covers (holes included).
    pub(crate) fn span(&self) -> (u64, u64) {
        let first = self.mask.trailing_zeros();
        let end = 8 - self.mask.leading_zeros();
        (u64::from(self.word) * 8 + u64::from(first), u64::from(end - first))
    }
}

/// Cuts a store into naturally aligned pieces of 8, 4, 2 or 1 bytes: what one instruction can do at once. `at`
/// is the first byte within the line; the store ends in the line.
pub(crate) fn pieces(mut at: usize, mut bytes: &[u8]) -> Vec<Piece> {
    let mut pieces = Vec::with_capacity(bytes.len().div_ceil(8));
    while !bytes.is_empty() {
        let aligned = 1 << at.trailing_zeros().min(3);
        let size = if aligned <= bytes.len() { aligned } else { 1 << bytes.len().ilog2() };
        let (now, rest) = bytes.split_at(size);
        let mut piece = Piece { word: (at / 8) as u8, mask: 0, bytes: [0; 8] };
        for (byte, value) in (at % 8..).zip(now) {
            piece.mask |= 1 << byte;
            piece.bytes[byte] = *value;
        }
        pieces.push(piece);
        (at, bytes) = (at + size, rest);
    }
    pieces
}

/// The words in which `now` differs from `before`, one piece each.
pub(crate) fn difference(before: &Content, now: &Content) -> Vec<Piece> {
    let words = before.chunks_exact(8).zip(now.chunks_exact(8)).enumerate();
    words
        .filter(|(_, (before, now))| before != now)
        .map(|(word, (before, now))| {
            let mut piece = Piece { word: word as u8, mask: 0, bytes: [0; 8] };
            for byte in (0..8).filter(|&byte| before[byte] != now[byte]) {
                piece.mask |= 1 << byte;
                piece.bytes[byte] = now[byte];
            }
            piece
        })
        .collect()
}

/// How bytes came to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// By a store of the region: ordered after every earlier store to the line.
    Store,
    /// Past the caches, by this thread: ordered with nothing but stores to the same word.
    Nontemporal(usize),
    /// Unknown; found by comparing. `caller` is who called when it was found.
    Raw,
    /// By a process before, in an unknown order.
    Before,
}

impl How {
    /// Whether it was through the caches.
    pub(crate) fn is_cached(self) -> bool {
        !matches!(self, How::Nontemporal(_))
    }
}

/// The pieces of one store that lie in one line: in no promised order among themselves.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// Position in the order of all stores.
    pub(crate) sequence: u64,
    pub(crate) how: How,
    pub(crate) caller: &'static Location<'static>,
    /// Which code stored, if that was traced and is not what `caller` called.
    pub(crate) code: Option<Code>,
    pub(crate) pieces: Vec<Piece>,
}

/// The stores to a line that are not durable for certain, oldest first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pending {
    pub(crate) groups: Vec<Group>,
}

impl Pending {
    /// Takes out the groups that became durable and applies them to the durable content.
    pub(crate) fn retire(&mut self, durable: &mut Content, is_durable: impl Fn(&Group) -> bool) {
        let mut at = 0;
        while at < self.groups.len() {
            if !is_durable(&self.groups[at]) {
                at += 1;
                continue;
            }
            let group = self.groups.remove(at);
            for piece in &group.pieces {
                piece.apply(durable);
                // What remains of older stores to the same bytes can no longer win.
                for older in self.groups[..at].iter_mut().flat_map(|group| &mut group.pieces) {
                    if older.word == piece.word {
                        older.mask &= !piece.mask;
                    }
                }
            }
        }
        for group in &mut self.groups {
            group.pieces.retain(|piece| piece.mask != 0);
        }
        self.groups.retain(|group| !group.pieces.is_empty());
    }

    /// Position of the newest store in the order of all.
    pub(crate) fn last(&self) -> Option<u64> {
        self.groups.last().map(|group| group.sequence)
    }

    fn flat(&self) -> impl Iterator<Item = (&Group, &Piece)> {
        self.groups.iter().flat_map(|group| group.pieces.iter().map(move |piece| (group, piece)))
    }

    /// What may be lost independently of each other.
    fn axes(&self, tear: Tear) -> Vec<Axis> {
        let mut ordered: Vec<Vec<usize>> = Vec::new();
        let mut words: [Vec<usize>; 8] = Default::default();
        let mut last = None;
        for (index, (group, piece)) in self.flat().enumerate() {
            if tear == Tear::EightBytes || matches!(group.how, How::Nontemporal(_)) {
                words[usize::from(piece.word)].push(index);
            } else if last == Some(group.sequence) {
                ordered.last_mut().expect("a group of this number").push(index);
            } else {
                last = Some(group.sequence);
                ordered.push(vec![index]);
            }
        }
        let words = words.into_iter().filter(|word| !word.is_empty()).map(Axis::Word);
        Some(ordered)
            .filter(|groups| !groups.is_empty())
            .map(Axis::Ordered)
            .into_iter()
            .chain(words)
            .collect()
    }

    /// Which pieces a state keeps.
    fn kept(&self, axes: &[Axis], mut state: u128) -> Vec<bool> {
        let mut kept = vec![false; self.groups.iter().map(|group| group.pieces.len()).sum()];
        for axis in axes {
            let count = axis.states();
            axis.keep(state % count, &mut kept);
            state /= count;
        }
        kept
    }
}

/// An order of pieces of which a prefix is kept.
enum Axis {
    /// Groups: some are kept whole, and then any subset of the next one's pieces.
    Ordered(Vec<Vec<usize>>),
    /// Pieces of one word, each replacing the one before.
    Word(Vec<usize>),
}

impl Axis {
    fn states(&self) -> u128 {
        match self {
            Axis::Ordered(groups) => 1 + groups.iter().map(|group| (1u128 << group.len()) - 1).sum::<u128>(),
            Axis::Word(pieces) => 1 + pieces.len() as u128,
        }
    }

    /// State 0 keeps nothing, the last one everything.
    fn keep(&self, mut state: u128, kept: &mut [bool]) {
        match self {
            Axis::Ordered(groups) => {
                for group in groups {
                    let subsets = (1u128 << group.len()) - 1;
                    let subset = state.min(subsets);
                    for (bit, &piece) in group.iter().enumerate() {
                        kept[piece] = subset >> bit & 1 == 1;
                    }
                    if state < subsets {
                        return;
                    }
                    state -= subsets;
                }
            }
            Axis::Word(pieces) => pieces[..state as usize].iter().for_each(|&piece| kept[piece] = true),
        }
    }
}

/// A line lost something: one of its stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) how: How,
    pub(crate) caller: &'static Location<'static>,
    pub(crate) code: Option<Code>,
    /// First byte within the line, and length.
    pub(crate) span: (u64, u64),
}

/// All distinct contents a power failure could leave one line with.
pub(crate) struct Contents {
    /// The first is the durable one.
    pub(crate) contents: Vec<Content>,
    /// A state of the line that gives each content.
    states: Vec<u128>,
    /// Index of the content with nothing lost.
    pub(crate) everything: usize,
    /// Whether these are all, rather than a sample.
    pub(crate) complete: bool,
}

impl Contents {
    /// All contents, or a sample if the line has more than `limit` states.
    pub(crate) fn of(
        pending: &Pending,
        durable: &Content,
        tear: Tear,
        limit: u64,
        random: &mut fastrand::Rng,
    ) -> Contents {
        let axes = pending.axes(tear);
        let count = axes.iter().map(Axis::states).fold(1, u128::saturating_mul);
        let complete = count <= u128::from(limit);
        let mut found = Contents { contents: vec![*durable], states: vec![0], everything: 0, complete };
        let mut index = FxHashMap::default();
        index.insert(*durable, 0);
        let mut add = |state: u128| {
            let mut content = *durable;
            for ((_, piece), _) in pending.flat().zip(pending.kept(&axes, state)).filter(|(_, kept)| *kept) {
                piece.apply(&mut content);
            }
            *index.entry(content).or_insert_with(|| {
                found.contents.push(content);
                found.states.push(state);
                found.contents.len() - 1
            })
        };
        if complete {
            for state in 1..count.saturating_sub(1) {
                add(state);
            }
        } else {
            for _ in 0..limit.min(1024) {
                add(random.u128(0..count));
            }
        }
        let everything = add(count - 1);
        Contents { everything, ..found }
    }

    /// The content with nothing lost.
    pub(crate) fn with_everything(&self) -> Content {
        self.contents[self.everything]
    }

    /// What a content lost.
    pub(crate) fn lost(&self, index: usize, pending: &Pending, tear: Tear) -> Vec<Lost> {
        if index == self.everything {
            return Vec::new();
        }
        let kept = pending.kept(&pending.axes(tear), self.states[index]);
        let lost = pending.flat().zip(kept).filter(|(_, kept)| !kept);
        let mut stores: Vec<(u64, Lost)> = Vec::new();
        for ((group, piece), _) in lost {
            let (at, len) = piece.span();
            match stores.last_mut() {
                Some((sequence, store))
                    if *sequence == group.sequence && store.span.0 + store.span.1 == at =>
                {
                    store.span.1 += len;
                }
                _ => {
                    let lost =
                        Lost { how: group.how, caller: group.caller, code: group.code, span: (at, len) };
                    stores.push((group.sequence, lost));
                }
            }
        }
        stores.into_iter().map(|(_, lost)| lost).collect()
    }
}
