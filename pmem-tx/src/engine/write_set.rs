//! What a transaction has changed and not committed: shadows of blocks, in DRAM.
//!
//! A *block* is a range of the mapping that is shadowed as a whole: an allocated block of a pool, a line of its
//! metadata, a page of a bare mapping. Whoever uses a write set says which block a byte belongs to, and always says
//! the same; blocks do not overlap. So shadows never have to be merged, and never move: an address that was given
//! out is good until [`WriteSet::clear`], or until a [rollback](WriteSet::rollback_to) to before it was.
//!
//! A shadow's buffer is reserved at once and copied lazily, a line at a time, as lines are asked for. Only lines
//! asked for by [`write`](WriteSet::write) are compared with the mapping at commit, and of those only the words that
//! differ are logged. (A word that is equal needs no logging: every store to it came through a record, so a replay
//! of the window gives it the value it has now.) Lines of a fresh block are logged whole: what the mapping holds
//! there may not be durable.
//!
//! Below the shadows is what was committed: the mapping, and over it the [overlay](super::overlay), lines that pending
//! records have changed and that are not in place yet. Everything above that says "the mapping" means the two.
//!
//! A shadow has one owner. On a damaged pool two objects may refer to the same block; the second one gets
//! [`Conflict`], never the other's bytes, so that safe code cannot hold `&T` and `&mut T` to one place.

mod savepoint;

pub use savepoint::{ForeignMark, Mark};

use super::{arena::Arena, overlay::Overlay, record::Builder};
use pmem_map::{LINE, Region};
use savepoint::Savepoints;
use std::{
    ops::{Range, RangeInclusive},
    ptr::NonNull,
    sync::Arc,
};

/// The block's shadow belongs to another owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conflict;

/// Where the bytes that a reader asks for are.
#[derive(Clone, Copy, Debug)]
pub enum Found {
    /// In the mapping: nothing of them is changed.
    Mapping,
    /// At this address, all of them: changed, or of a record that is not in place yet.
    Shadow(NonNull<u8>),
    /// Partly here, partly there: [`WriteSet::fill`] brings them together.
    Mixed,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// The block exists; changed words are logged.
    Changed,
    /// The block was allocated by this transaction.
    Fresh,
    /// The block exists, and gets new content: logged whole, never written in place.
    Replaced,
    /// The block was freed by this transaction.
    Discarded,
}

/// The shadow of one block. Plain, so that forgetting a transaction is forgetting a vector.
#[derive(Clone, Copy)]
struct Shadow {
    start: u64,
    end: u64,
    bytes: NonNull<u8>,
    /// Lines that were copied from the mapping, one bit each; of a block of more than 64 lines, see `wide`.
    valid: u64,
    /// Lines that may have been changed. Unused in a fresh block.
    marked: u64,
    /// Where in [`WriteSet::wide`] the bits of a block of more than 64 lines are; [`NARROW`] for others.
    wide: u32,
    owner: u32,
    state: State,
}

const NARROW: u32 = u32::MAX;

// SAFETY: `bytes` is an address in the write set's arena; it is dereferenced by functions of the write set only, to
// read through `&WriteSet` and to change through `&mut WriteSet`.
unsafe impl Send for Shadow {}
// SAFETY: as above.
unsafe impl Sync for Shadow {}

impl State {
    /// The buffer has the whole block; nothing of it is copied from below.
    #[inline]
    fn is_whole(self) -> bool {
        matches!(self, State::Fresh | State::Replaced)
    }
}

impl Shadow {
    /// Panics unless a range is inside the block.
    #[inline]
    fn check(&self, at: u64, len: u64) {
        check_inside(self.start, self.end, at, len);
    }

    #[inline]
    fn first_line(&self) -> u64 {
        self.start / LINE
    }

    fn line_count(&self) -> usize {
        (self.end.div_ceil(LINE) - self.start / LINE) as usize
    }

    /// Of a block of more than 64 lines: which words of [`WriteSet::wide`] say which lines are valid. As many behind them say
    /// which are marked.
    #[inline]
    fn wide_valid(&self) -> Range<usize> {
        let first = self.wide as usize;
        first..first + self.line_count().div_ceil(64)
    }

    /// Which say which lines are marked.
    #[inline]
    fn wide_marked(&self) -> Range<usize> {
        let Range { start, end } = self.wide_valid();
        end..end + (end - start)
    }

    /// Numbers, within the block, of the lines that `at..at + len` touches: at least one.
    #[inline]
    fn lines(&self, at: u64, len: u64) -> RangeInclusive<usize> {
        let (first, last) = (at, if len == 0 { at } else { at + len - 1 });
        (first / LINE - self.first_line()) as usize..=(last / LINE - self.first_line()) as usize
    }

    /// Those lines as bits of a block of at most 64.
    #[inline]
    fn line_bits(&self, at: u64, len: u64) -> u64 {
        let lines = self.lines(at, len);
        u64::MAX >> (63 - (lines.end() - lines.start())) << lines.start()
    }

    #[inline]
    fn address(&self, at: u64) -> NonNull<u8> {
        debug_assert!(at >= self.start && at <= self.end);
        // SAFETY: `at` is inside the block (callers check), and the buffer is as long as the block.
        unsafe { self.bytes.add((at - self.start) as usize) }
    }

    /// The part of line `line` (a number within the block) that belongs to the block.
    #[inline]
    fn line_range(&self, line: usize) -> Range<u64> {
        let start = (self.first_line() + line as u64) * LINE;
        start.max(self.start)..(start + LINE).min(self.end)
    }

    /// Copies a line of what is committed. Nobody may have been given an address inside this line of the buffer yet, or
    /// not since a rollback took the line out.
    #[inline]
    fn copy_line(&self, region: &Region, overlay: &Overlay, line: usize) {
        let part = self.line_range(line);
        // SAFETY: the part is inside the block, hence inside the mapping and the buffer; committed bytes stand still
        // while a transaction is open (the contract of `Log`); nobody has a reference to this line of the buffer.
        unsafe {
            let (from, to) = (committed(region, overlay, part.start), self.address(part.start));
            if part.end - part.start == LINE {
                to.cast::<[u64; 8]>().write(from.cast::<[u64; 8]>().read());
            } else {
                from.copy_to_nonoverlapping(to, (part.end - part.start) as usize);
            }
        }
    }
}

/// Panics unless `len` bytes at `at` are inside a block.
#[inline]
fn check_inside(start: u64, end: u64, at: u64, len: u64) {
    if len > end || at < start || at > end - len {
        outside(start, end, at, len);
    }
}

/// As [`outside`].
#[cold]
#[inline(never)]
fn no_block(start: u64, end: u64, all: u64) -> ! {
    panic!("block {start}..{end} of a mapping of {all} bytes")
}

/// By value: an assertion's message would keep all of it in memory, however it turns out.
#[cold]
#[inline(never)]
fn outside(start: u64, end: u64, at: u64, len: u64) -> ! {
    panic!("{len} bytes at {at} of {start}..{end}")
}

/// Address of what is committed at `at`, as far as its line goes. `at` is inside the mapping.
#[inline(always)]
fn committed(region: &Region, overlay: &Overlay, at: u64) -> NonNull<u8> {
    if !overlay.is_empty()
        && let Some(pending) = pending(overlay, at)
    {
        return pending;
    }
    // SAFETY: inside the mapping (callers).
    unsafe { region.base().add(at as usize) }
}

#[cold]
#[inline(never)]
fn pending(overlay: &Overlay, at: u64) -> Option<NonNull<u8>> {
    // SAFETY: inside the line's buffer.
    overlay.line(at / LINE).map(|line| unsafe { line.add((at % LINE) as usize) })
}

fn has(bits: &[u64], line: usize) -> bool {
    bits[line / 64] >> (line % 64) & 1 == 1
}

fn set(bits: &mut [u64], line: usize) {
    bits[line / 64] |= 1 << (line % 64);
}

/// The ones of a word, from the lowest.
#[inline]
fn ones(mut bits: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let one = bits.trailing_zeros() as usize;
        let more = bits != 0;
        bits &= bits.wrapping_sub(1);
        more.then_some(one)
    })
}

/// Shadows of blocks, by the offset of the block's first byte.
pub struct WriteSet {
    region: Arc<Region>,
    shadows: Vec<Shadow>,
    /// Bits of the lines of blocks that have more than 64: those that are valid, then those that are marked, block by block.
    wide: Vec<u64>,
    arena: Arena,
    /// Open addressing: (round, index into `shadows`); an entry of another round is free.
    table: Box<[(u32, u32)]>,
    round: u32,
    /// One bit for each of 64 classes of block starts: most look-ups of unchanged blocks end here.
    filter: u64,
    fresh_bytes: u64,
    /// A fresh block must be written in place.
    must_place: bool,
    savepoints: Savepoints,
    /// What pending records say. Changed by the log, between transactions.
    pub(super) overlay: Overlay,
}

#[inline]
fn hash(block: u64) -> u64 {
    (block >> 3).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

impl WriteSet {
    pub(super) fn new(region: Arc<Region>) -> WriteSet {
        WriteSet {
            region,
            shadows: Vec::with_capacity(64),
            wide: Vec::new(),
            arena: Arena::new(),
            table: vec![(0, 0); 256].into(),
            round: 1,
            filter: 0,
            fresh_bytes: 0,
            must_place: false,
            savepoints: Savepoints::new(),
            overlay: Overlay::new(),
        }
    }

    /// Whether this is a write set over `region`.
    pub(super) fn is_of(&self, region: &Arc<Region>) -> bool {
        Arc::ptr_eq(&self.region, region)
    }

    /// Whether everything is as it is in the mapping.
    #[inline]
    pub(crate) fn is_transparent(&self) -> bool {
        self.shadows.is_empty() && self.overlay.is_empty()
    }

    /// Where bytes are that have no shadow. At least one byte.
    #[inline]
    fn below(&self, at: u64, len: u64) -> Found {
        if self.overlay.is_empty() { Found::Mapping } else { self.overlay.find(at, len) }
    }

    /// Whether nothing was changed, allocated or freed.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.shadows.is_empty()
    }

    /// Whether `owner` has changed, allocated or freed anything.
    pub fn has_changes_of(&self, owner: u32) -> bool {
        self.shadows.iter().any(|shadow| shadow.owner == owner)
    }

    /// Bytes of blocks allocated by this transaction.
    pub fn fresh_bytes(&self) -> u64 {
        self.fresh_bytes
    }

    /// Forgets everything; marks are void. References into shadows must be gone: `&mut self` is how users prove it.
    #[inline(always)]
    pub fn clear(&mut self) {
        if !self.savepoints.is_empty() {
            self.savepoints.clear();
        }
        if self.shadows.is_empty() {
            return;
        }
        self.shadows.clear();
        self.wide.clear();
        self.arena.reset();
        self.filter = 0;
        self.fresh_bytes = 0;
        self.must_place = false;
        self.round = self.round.wrapping_add(1);
        if self.round == 0 {
            self.table.fill((0, 0));
            self.round = 1;
        }
    }

    #[inline]
    fn find(&self, block: u64) -> Option<usize> {
        let hash = hash(block);
        if self.filter >> (hash >> 58) & 1 == 0 {
            return None;
        }
        let mask = self.table.len() - 1;
        let mut at = (hash >> 32) as usize & mask;
        loop {
            let (round, index) = self.table[at];
            if round != self.round {
                return None;
            }
            if self.shadows[index as usize].start == block {
                return Some(index as usize);
            }
            at = (at + 1) & mask;
        }
    }

    #[inline]
    fn enter(&mut self, block: u64, index: usize) {
        let mask = self.table.len() - 1;
        let hash = hash(block);
        let mut at = (hash >> 32) as usize & mask;
        while self.table[at].0 == self.round {
            at = (at + 1) & mask;
        }
        self.table[at] = (self.round, index as u32);
        self.filter |= 1 << (hash >> 58);
    }

    #[cold]
    #[inline(never)]
    fn enlarge_table(&mut self) {
        self.table = vec![(0, 0); self.table.len() * 2].into();
        self.round = 1;
        for i in 0..self.shadows.len() {
            self.enter(self.shadows[i].start, i);
        }
    }

    #[inline]
    fn add(&mut self, block: Range<u64>, owner: u32, state: State) -> usize {
        if self.shadows.len() * 2 >= self.table.len() {
            self.enlarge_table();
        }
        let index = self.shadows.len();
        self.enter(block.start, index);
        let bytes = self.arena.take((block.end - block.start) as usize, block.start);
        let mut shadow = Shadow {
            start: block.start,
            end: block.end,
            bytes,
            valid: 0,
            marked: 0,
            wide: NARROW,
            owner,
            state,
        };
        let lines = shadow.line_count();
        if lines > 64 {
            shadow.wide = self.wide.len() as u32;
            self.wide.resize(self.wide.len() + 2 * lines.div_ceil(64), 0);
        }
        self.shadows.push(shadow);
        index
    }

    /// Copies the lines of a range into the shadow, and marks them as changed if they are to be.
    #[inline(never)]
    fn prepare(&mut self, index: usize, at: u64, len: u64, marking: bool) {
        let shadow = &mut self.shadows[index];
        if shadow.wide == NARROW {
            let bits = shadow.line_bits(at, len);
            for line in ones(bits & !shadow.valid) {
                shadow.copy_line(&self.region, &self.overlay, line);
            }
            shadow.valid |= bits;
            if marking {
                shadow.marked |= bits;
            }
            return;
        }
        let words = shadow.wide_valid();
        let (valid, marked) = self.wide[words.start..shadow.wide_marked().end].split_at_mut(words.len());
        for line in shadow.lines(at, len) {
            if !has(valid, line) {
                shadow.copy_line(&self.region, &self.overlay, line);
                set(valid, line);
            }
            if marking {
                set(marked, line);
            }
        }
    }

    fn owned(&self, index: usize, owner: u32) -> Result<&Shadow, Conflict> {
        let shadow = &self.shadows[index];
        if shadow.owner == owner { Ok(shadow) } else { Err(Conflict) }
    }

    /// Whether `block_start` was allocated (`Some(true)`), changed (`Some(false)`) or freed (`Some(false)`) by this
    /// transaction; `None` if it was not touched.
    pub fn is_fresh(&self, block_start: u64) -> Option<bool> {
        self.find(block_start).map(|i| self.shadows[i].state == State::Fresh)
    }

    /// Where `owner` reads `len` bytes at `at` of the block that starts at `block_start`. The range must be inside
    /// the block.
    #[inline]
    pub fn read(&self, block_start: u64, at: u64, len: u64, owner: u32) -> Result<Found, Conflict> {
        let Some(index) = self.find(block_start) else { return Ok(self.below(at, len)) };
        let shadow = self.owned(index, owner)?;
        shadow.check(at, len);
        if shadow.state.is_whole() {
            return Ok(Found::Shadow(shadow.address(at)));
        }
        let (here, all) = if shadow.wide == NARROW {
            let bits = shadow.line_bits(at, len);
            (shadow.valid & bits != 0, shadow.valid & bits == bits)
        } else {
            let valid = &self.wide[shadow.wide_valid()];
            (shadow.lines(at, len).any(|l| has(valid, l)), shadow.lines(at, len).all(|l| has(valid, l)))
        };
        Ok(match (here, all) {
            (_, true) => Found::Shadow(shadow.address(at)),
            (false, _) => self.below(at, len),
            (true, false) => Found::Mixed,
        })
    }

    /// As [`read`](WriteSet::read), in one piece: in a shadow of `block`, into which lines are copied that it does not
    /// have.
    pub fn fill(
        &mut self,
        block: Range<u64>,
        at: u64,
        len: u64,
        owner: u32,
    ) -> Result<NonNull<u8>, Conflict> {
        let index = match self.find(block.start) {
            Some(index) => {
                self.owned(index, owner)?;
                index
            }
            None => {
                self.check_block(&block);
                self.add(block, owner, State::Changed)
            }
        };
        let shadow = self.shadows[index];
        shadow.check(at, len);
        if !shadow.state.is_whole() {
            self.prepare(index, at, len, false);
        }
        Ok(shadow.address(at))
    }

    /// Where `owner` changes `len` bytes at `at` of `block`. The lines touched are compared and logged at commit.
    ///
    /// # Panics
    ///
    /// The range is outside the block, or the block is outside the mapping or not made of words.
    #[inline]
    pub fn write(
        &mut self,
        block: Range<u64>,
        at: u64,
        len: u64,
        owner: u32,
    ) -> Result<NonNull<u8>, Conflict> {
        let index = match self.find(block.start) {
            Some(index) => {
                self.owned(index, owner)?.check(at, len);
                if !self.savepoints.is_empty() {
                    self.copy_aside(index);
                }
                index
            }
            None => {
                check_inside(block.start, block.end, at, len);
                self.check_block(&block);
                self.add(block, owner, State::Changed)
            }
        };
        let shadow = &mut self.shadows[index];
        let address = shadow.address(at);
        if shadow.state.is_whole() {
            return Ok(address);
        }
        if shadow.wide != NARROW {
            self.prepare(index, at, len, true);
            return Ok(address);
        }
        let bits = shadow.line_bits(at, len);
        let mut missing = bits & !shadow.valid;
        while missing != 0 {
            shadow.copy_line(&self.region, &self.overlay, missing.trailing_zeros() as usize);
            missing &= missing - 1;
        }
        shadow.valid |= bits;
        shadow.marked |= bits;
        Ok(address)
    }

    #[inline]
    fn check_block(&self, block: &Range<u64>) {
        let Range { start, end } = *block;
        if (start | end) % 8 != 0 || start >= end || end > self.region.len() {
            no_block(start, end, self.region.len());
        }
    }

    /// A block that this transaction allocated: zeroed; all of it is logged, or written in place.
    ///
    /// A block that this transaction freed may not be allocated again by it: [`Conflict`].
    pub fn fresh(&mut self, block: Range<u64>, owner: u32) -> Result<(), Conflict> {
        let len = block.end - block.start;
        self.zeroed(block, owner, State::Fresh)?;
        self.fresh_bytes += len;
        Ok(())
    }

    /// The same with this content, as long as the block.
    pub fn fresh_with(&mut self, block: Range<u64>, owner: u32, content: &[u8]) -> Result<(), Conflict> {
        assert!(content.len() as u64 == block.end - block.start, "{} bytes for {block:?}", content.len());
        let start = block.start;
        self.fresh(block, owner)?;
        let index = self.find(start).expect("just added");
        // SAFETY: the buffer is as long as the block, and nobody else knows it yet.
        unsafe {
            self.shadows[index].bytes.copy_from_nonoverlapping(NonNull::from(content).cast(), content.len())
        };
        Ok(())
    }

    /// A block that exists, and all of whose bytes this transaction replaces: zeroed, to be filled by
    /// [`write`](WriteSet::write). All of it is logged, whatever the mapping holds, and none of it is written in place. For bytes that
    /// are stored to outside transactions, too: what of these is visible need not be durable, so that words that are equal prove nothing.
    pub fn replace(&mut self, block: Range<u64>, owner: u32) -> Result<(), Conflict> {
        self.zeroed(block, owner, State::Replaced)
    }

    fn zeroed(&mut self, block: Range<u64>, owner: u32, state: State) -> Result<(), Conflict> {
        self.check_block(&block);
        if self.find(block.start).is_some() {
            return Err(Conflict);
        }
        let len = block.end - block.start;
        let index = self.add(block, owner, state);
        // SAFETY: the buffer has `len` bytes, and nobody knows it yet.
        unsafe { self.shadows[index].bytes.write_bytes(0, len as usize) };
        Ok(())
    }

    /// As [`fresh`](WriteSet::fresh), for a block of which no record may have a byte, because it will be stored to outside
    /// transactions: it is written in place, whatever the log has room for. Whole lines, at least 256 bytes.
    pub fn fresh_in_place(&mut self, block: Range<u64>, owner: u32) -> Result<(), Conflict> {
        let start = block.start;
        self.fresh(block, owner)?;
        let index = self.find(start).expect("just added");
        assert!(self.shadows[index].is_placeable(), "a block that can be written in place");
        self.must_place = true;
        Ok(())
    }

    /// Whether fresh blocks have to be written in place.
    pub(super) fn must_place(&self) -> bool {
        self.must_place
    }

    /// The block was freed by `owner`: its changes will not be logged. Its shadow stays, for references may live.
    pub fn discard(&mut self, block: Range<u64>, owner: u32) -> Result<(), Conflict> {
        match self.find(block.start) {
            Some(index) => {
                self.owned(index, owner)?;
                if !self.savepoints.is_empty() {
                    self.copy_aside(index);
                }
                let shadow = &mut self.shadows[index];
                if shadow.state.is_whole() {
                    if shadow.state == State::Fresh {
                        self.fresh_bytes -= shadow.end - shadow.start;
                    }
                    // All lines are valid: later reads of stale references find them.
                    shadow.valid = u64::MAX;
                    if shadow.wide != NARROW {
                        self.wide[shadow.wide_valid()].fill(u64::MAX);
                    }
                }
                shadow.state = State::Discarded;
            }
            None => {
                self.check_block(&block);
                self.add(block, owner, State::Discarded);
            }
        }
        Ok(())
    }

    /// The owner of metadata words, which are shadowed by line.
    const METADATA: u32 = 0;

    /// A metadata word, with this transaction's changes.
    ///
    /// # Panics
    ///
    /// `at` is no multiple of 8, or outside the mapping, or in a block that an owner other than 0 has changed.
    #[inline]
    pub fn word(&self, at: u64) -> u64 {
        assert!(at % 8 == 0, "word at {at}");
        match self.read(at & !(LINE - 1), at, 8, Self::METADATA).expect("metadata has one owner") {
            // SAFETY: committed bytes stand still while a transaction is open (the contract of `Log`).
            Found::Mapping => unsafe { self.region.load_word(at) },
            // SAFETY: 8 valid bytes of a shadow, aligned as `at` is; no reference to them exists, for metadata
            // is reached through this function and the next only.
            Found::Shadow(word) => u64::from_le(unsafe { word.cast::<u64>().read() }),
            Found::Mixed => unreachable!("a word is in one line"),
        }
    }

    /// Changes a metadata word.
    ///
    /// # Panics
    ///
    /// As [`word`](WriteSet::word).
    #[inline]
    pub fn set_word(&mut self, at: u64, value: u64) {
        assert!(at % 8 == 0, "word at {at}");
        let line = at & !(LINE - 1);
        let word = self.write(line..line + LINE, at, 8, Self::METADATA).expect("metadata has one owner");
        // SAFETY: as in `word`.
        unsafe { word.cast::<u64>().write(value.to_le()) };
    }

    /// Fresh blocks that are whole lines and at least this long may be written in place instead of logged.
    const PLACEABLE: u64 = 256;

    /// The fresh blocks to write in place before the record.
    pub(super) fn placeable(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.shadows.iter().filter(|shadow| shadow.is_placeable()).map(|shadow| {
            let len = (shadow.end - shadow.start) as usize;
            // SAFETY: a fresh block's buffer is initialised, `len` long, and committed by a caller that holds the
            // write set exclusively or through a transaction that is consumed: no `&mut` into it is alive.
            (shadow.start, unsafe { std::slice::from_raw_parts(shadow.bytes.as_ptr(), len) })
        })
    }

    /// Appends what changed to a record. `placed`: placeable blocks were written in place.
    pub(super) fn encode(&self, record: &mut Builder, placed: bool) {
        for shadow in &self.shadows {
            match shadow.state {
                State::Discarded => {}
                State::Changed => self.encode_changed(shadow, record),
                State::Fresh if placed && shadow.is_placeable() => {
                    (shadow.start / LINE..shadow.end / LINE).for_each(|line| record.placed(line));
                }
                State::Fresh | State::Replaced => encode_fresh(shadow, record),
            }
        }
    }

    #[inline]
    fn encode_changed(&self, shadow: &Shadow, record: &mut Builder) {
        if shadow.wide == NARROW {
            return self.encode_lines(shadow, 0, shadow.marked, record);
        }
        for (i, &bits) in self.wide[shadow.wide_marked()].iter().enumerate() {
            self.encode_lines(shadow, i * 64, bits, record);
        }
    }

    /// What changed in the lines that `bits` names, counted from line `first` of the block.
    #[inline(always)]
    fn encode_lines(&self, shadow: &Shadow, first: usize, bits: u64, record: &mut Builder) {
        let mut rest = bits;
        while rest != 0 {
            let part = shadow.line_range(first + rest.trailing_zeros() as usize);
            rest &= rest - 1;
            // The part is inside the mapping; committed bytes stand still (the contract of `Log`).
            let committed = committed(&self.region, &self.overlay, part.start);
            let address = shadow.address(part.start);
            if part.end - part.start == LINE {
                // SAFETY: both are readable for the part, which is a whole line, aligned to 8; nobody has a `&mut` to a shadow
                // of a transaction that is committed, and both stand still.
                let (new, old) =
                    unsafe { (address.cast::<[u64; 8]>().as_ref(), committed.cast::<[u64; 8]>().as_ref()) };
                let mask = differing(new, old);
                if mask != 0 {
                    record.words(part.start / LINE, mask, new);
                }
            } else {
                let (new, covered) = line_words(address, &part);
                let (old, _) = line_words(committed, &part);
                let mask = differing(&new, &old) & covered;
                if mask != 0 {
                    record.words(part.start / LINE, mask, &new);
                }
            }
        }
    }
}

/// Which words are not the same.
#[inline(always)]
fn differing(new: &[u64; 8], old: &[u64; 8]) -> u8 {
    (0..8).fold(0, |mask, word| mask | u8::from(new[word] != old[word]) << word)
}

fn encode_fresh(shadow: &Shadow, record: &mut Builder) {
    for line in 0..shadow.line_count() {
        let part = shadow.line_range(line);
        let (words, covered) = line_words(shadow.address(part.start), &part);
        if covered != 0xff {
            record.words(part.start / LINE, covered, &words);
        } else if words == [0; 8] {
            record.zeros(part.start / LINE);
        } else {
            record.line(part.start / LINE, &words);
        }
    }
}

impl Shadow {
    fn is_placeable(&self) -> bool {
        self.state == State::Fresh
            && self.start % LINE == 0
            && self.end % LINE == 0
            && self.end - self.start >= WriteSet::PLACEABLE
    }
}

/// The words of one line of which `part` is at `from`, each at its place in the line; and which those are.
#[inline]
fn line_words(from: NonNull<u8>, part: &Range<u64>) -> ([u64; 8], u8) {
    let mut words = [0u64; 8];
    let (first, len) = ((part.start % LINE) as usize, (part.end - part.start) as usize);
    debug_assert!(first + len <= 64 && first % 8 == 0 && len % 8 == 0);
    if len == 64 {
        // SAFETY: `from` is readable for the part (both callers), which is the whole line, and aligned to 8.
        words = unsafe { from.cast::<[u64; 8]>().read() };
        return (words, 0xff);
    }
    // SAFETY: as above for `len` bytes, and `first + len` is at most 64.
    unsafe {
        let to = words.as_mut_ptr().cast::<u8>().add(first);
        from.as_ptr().copy_to_nonoverlapping(to, len);
    }
    (words, (((1u16 << (len / 8)) - 1) << (first / 8)) as u8)
}
