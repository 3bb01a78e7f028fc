//! Replicas of metadata: a block of metadata is followed by its *copy*, of the same bytes.
//!
//! The journal stores every change to both ([`crate::commit`]), and what is stored without a record goes through [`Media::store_twice`]. Here is the other
//! half: reading a structure whichever of the two is right, and making the wrong one right again.
//!
//! | a structure is damaged | what comes of it |
//! |---|---|
//! | in its first block | whoever reads it gets what the copy has; and so does the medium, if the volume is mounted to write |
//! | in its copy | nobody meets it but a scrub, which repairs it, and `fsck`, which reports it, and repairs it if it is to |
//! | in both, but not the same structure | as each for itself: a line, or an entry of a log, at a time |
//! | in both | reported, as without replicas |
//!
//! # Beside operations
//!
//! A reader may meet a line while a record is being applied to it, and then neither the line nor its copy need be right. So nobody decides, or stores, but under
//! the *gate*: records pass it side by side, and a repair alone. It reads both again then. A check, which keeps records out by itself, neither takes the
//! gate nor stores: it says what it found.

use crate::{
    Damage, Error, Result,
    format::{BLOCK, Identity, LINE, SLOT, Status, Structure},
    media::Media,
};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

/// What a volume with replicas has in DRAM for them.
#[derive(Default)]
pub(crate) struct Replicas {
    gate: RwLock<()>,
    /// Whether repairs may be stored.
    may_store: AtomicBool,
    /// Structures that were made right.
    repaired: AtomicU64,
}

impl Replicas {
    /// Lets a record through, from before it is made until it is applied.
    pub(crate) fn pass(&self) -> RwLockReadGuard<'_, ()> {
        self.gate.read()
    }

    /// Whether repairs may be stored from here on.
    pub(crate) fn set_may_store(&self, may: bool) {
        self.may_store.store(may, Relaxed);
    }
}

/// How metadata with replicas is read.
#[derive(Clone, Default)]
pub(crate) enum Look {
    /// The copy where the first is wrong.
    #[default]
    AsNeeded,
    /// Both, whatever is in them; what is wrong is repaired.
    AtBoth,
    /// Both. Nothing is stored: what is wrong is gathered here. For who keeps records out.
    Report(Arc<Mutex<Vec<Damage>>>),
}

const FIRST_IS_WRONG: &str = "its checksum is wrong, and its copy's is right";
const COPY_IS_WRONG: &str = "this copy is not what it is a copy of";

/// A line, or an entry: how long, if that is known.
type Len = Option<usize>;

impl Media {
    /// The same, for a check.
    pub(crate) fn reporting(&self) -> Media {
        self.looking(Look::Report(Arc::default()))
    }

    /// What was found to be wrong, and not repaired, since this was asked last.
    pub(crate) fn take_found(&self) -> Vec<Damage> {
        match &self.look {
            Look::Report(found) => std::mem::take(&mut found.lock()),
            _ => Vec::new(),
        }
    }

    /// Structures that were made right.
    pub(crate) fn repaired(&self) -> u64 {
        self.replicas.as_ref().map_or(0, |replicas| replicas.repaired.load(Relaxed))
    }

    /// Copies a structure out; verified.
    pub(crate) fn read_into(&self, at: u64, into: &mut [u8], what: &'static str) -> Result<()> {
        let first = self.copy_out(at, into, what).and_then(|()| self.check(at, into, what));
        if self.is_settled(at, into, &first) {
            return first;
        }
        into.copy_from_slice(&self.settle(at, Some(into.len()), what)?);
        Ok(())
    }

    /// The entry of a log; verified.
    pub(crate) fn entry(&self, at: u64, what: &'static str) -> Result<Vec<u8>> {
        let first = self.whole(at, at, None, what);
        match first {
            Ok(bytes) if self.is_settled(at, &bytes, &Ok(())) => Ok(bytes),
            Err(error) if self.replicas.is_none() => Err(error),
            _ => self.settle(at, None, what),
        }
    }

    /// Makes a part of a log page, copied out, right: of the known length, or an entry. Where it ends.
    pub(crate) fn right_in(
        &self,
        page_at: u64,
        page: &mut [u8; BLOCK as usize],
        here: u64,
        len: Len,
        what: &'static str,
    ) -> Result<u64> {
        let at = page_at + here;
        let len_here = len.map_or_else(|| entry_len(at, page[here as usize + 5], what), Ok);
        let first = len_here.and_then(|len| {
            self.check(at, &page[here as usize..here as usize + len], what)?;
            Ok(len)
        });
        let found = *first.as_ref().unwrap_or(&0);
        let checked = first.map(drop);
        if self.is_settled(at, &page[here as usize..here as usize + found], &checked) {
            return checked.map(|()| here + found as u64);
        }
        let right = self.settle(at, len, what)?;
        page[here as usize..here as usize + right.len()].copy_from_slice(&right);
        Ok(here + right.len() as u64)
    }

    /// Copies a page out, or the beginning of one, whose parts [`right_in`](Media::right_in) makes right: one that is gone is zeros then.
    pub(crate) fn copy_page_out(&self, at: u64, into: &mut [u8], what: &'static str) -> Result<()> {
        match self.copy_out(at, into, what) {
            Err(_) if self.replicas.is_some() => {
                into.fill(0);
                Ok(())
            }
            result => result,
        }
    }

    /// Whether there is nothing to decide: no replicas, or the first is right and nobody asks for more.
    fn is_settled(&self, at: u64, bytes: &[u8], first: &Result<()>) -> bool {
        match (&self.replicas, &self.look) {
            (None, _) => true,
            (Some(_), Look::AsNeeded) => first.is_ok(),
            (Some(_), _) => first.is_ok() && self.is_copied(at, bytes),
        }
    }

    /// Whether the copy of what is at `at` has these bytes.
    fn is_copied(&self, at: u64, bytes: &[u8]) -> bool {
        let mut copy = vec![0; bytes.len()];
        self.copy_out(at + BLOCK, &mut copy, "copy").is_ok() && copy == bytes
    }

    /// The structure at `at`, read `from` there or from its copy; if its checksum is right.
    fn whole(&self, from: u64, at: u64, len: Len, what: &'static str) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len.unwrap_or(LINE as usize)];
        self.copy_out(from, &mut bytes, what)?;
        if len.is_none() {
            bytes.resize(entry_len(at, bytes[5], what)?, 0);
            self.copy_out(from, &mut bytes, what)?;
        }
        self.check(at, &bytes, what)?;
        Ok(bytes)
    }

    /// Decides between a structure and its copy, and makes both the same.
    #[cold]
    fn settle(&self, at: u64, len: Len, what: &'static str) -> Result<Vec<u8>> {
        let _alone = self.alone();
        let (first, copy) = (self.whole(at, at, len, what), self.whole(at + BLOCK, at, len, what));
        match (first, copy) {
            (Ok(first), Ok(copy)) if first == copy => Ok(first),
            (Ok(first), copy) => {
                self.mend(at + BLOCK, &first, what, COPY_IS_WRONG, copy.err())?;
                Ok(first)
            }
            (Err(error), Ok(copy)) => {
                self.mend(at, &copy, what, FIRST_IS_WRONG, Some(error))?;
                Ok(copy)
            }
            (Err(error), Err(_)) => Err(error),
        }
    }

    fn alone(&self) -> Option<parking_lot::RwLockWriteGuard<'_, ()>> {
        match &self.look {
            Look::Report(_) => None,
            _ => self.replicas.as_ref().map(|replicas| replicas.gate.write()),
        }
    }

    /// Stores what is right, or says that it is not there. What cannot even be read is left alone.
    fn mend(&self, at: u64, right: &[u8], what: &'static str, why: &str, error: Option<Error>) -> Result<()> {
        let Some(replicas) = &self.replicas else { return Ok(()) };
        if let Look::Report(found) = &self.look {
            found.lock().push(Damage { what, offset: at, ino: 0, why: why.into() });
        } else if replicas.may_store.load(Relaxed) && matches!(error, None | Some(Error::Damaged { .. })) {
            self.store(at, right);
            self.drain()?;
            replicas.repaired.fetch_add(1, Relaxed);
        }
        Ok(())
    }

    /// The two lines of an inode's slot: each is right, or nothing is known of it; zeros, if it was never used.
    pub(crate) fn slot(&self, at: u64) -> Result<[u8; SLOT as usize]> {
        let mut lines = [0; SLOT as usize];
        let Some(_) = &self.replicas else {
            self.copy_out(at, &mut lines, "inode")?;
            return Ok(lines);
        };
        let first = self.copy_out(at, &mut lines, "inode");
        let right = |line: usize| self.line_is_right(at, &lines, line);
        let is_plain = first.is_ok() && right(0) && right(1);
        if is_plain && (matches!(self.look, Look::AsNeeded) || self.is_copied(at, &lines)) {
            return Ok(lines);
        }
        // Never used, most of them.
        if first.is_ok() && is_zero(&lines) && self.is_copied(at, &lines) {
            return Ok(lines);
        }
        self.settle_slot(at)
    }

    /// The same, as what they are.
    pub(crate) fn inode_lines(&self, at: u64) -> Result<(Identity, Status)> {
        let lines = self.slot(at)?;
        let (identity, status) = lines.split_at(LINE as usize);
        Ok((bytemuck::pod_read_unaligned(identity), bytemuck::pod_read_unaligned(status)))
    }

    fn line_is_right(&self, at: u64, lines: &[u8; SLOT as usize], line: usize) -> bool {
        let start = line * LINE as usize;
        self.check(at + start as u64, &lines[start..start + LINE as usize], "inode").is_ok()
    }

    #[cold]
    fn settle_slot(&self, at: u64) -> Result<[u8; SLOT as usize]> {
        let _alone = self.alone();
        let read = |from: u64| {
            let mut lines = [0; SLOT as usize];
            self.copy_out(from, &mut lines, "inode").map(|()| lines)
        };
        let (first, copy) = (read(at), read(at + BLOCK));
        let known = |lines: &Result<[u8; SLOT as usize]>| {
            lines.as_ref().is_ok_and(|lines| (0..2).any(|line| self.line_is_right(at, lines, line)))
        };
        let was_used =
            |lines: &Result<[u8; SLOT as usize]>| !lines.as_ref().is_ok_and(|lines| is_zero(lines));
        if !known(&first) && !known(&copy) {
            // Zeros on one side, and nothing that can be said of the other: it was never used.
            match (was_used(&first), was_used(&copy)) {
                (true, true) => return first,
                (false, true) => {
                    self.mend(at + BLOCK, &[0; SLOT as usize], "inode", COPY_IS_WRONG, copy.err())?;
                }
                (true, false) => {
                    let why = "it is not zero, as its copy is";
                    self.mend(at, &[0; SLOT as usize], "inode", why, first.err())?;
                }
                (false, false) => {}
            }
            return Ok([0; SLOT as usize]);
        }
        let mut lines = *first.as_ref().or(copy.as_ref()).expect("one of them is known");
        for line in 0..2 {
            let start = line * LINE as usize;
            let at_line = at + start as u64;
            let what = if line == 0 { "inode" } else { "inode state" };
            match self.whole(at_line, at_line, Some(LINE as usize), what) {
                Ok(right) => {
                    if !self.is_copied(at_line, &right) {
                        let error = read(at + BLOCK).err();
                        self.mend(at_line + BLOCK, &right, what, COPY_IS_WRONG, error)?;
                    }
                    lines[start..start + LINE as usize].copy_from_slice(&right);
                }
                Err(error) => {
                    if let Ok(right) = self.whole(at_line + BLOCK, at_line, Some(LINE as usize), what) {
                        self.mend(at_line, &right, what, FIRST_IS_WRONG, Some(error))?;
                        lines[start..start + LINE as usize].copy_from_slice(&right);
                    }
                }
            }
        }
        Ok(lines)
    }

    /// A line of a table, which is a structure if its checksum is right, and otherwise nothing. (Lines are stored without a record: while one is, it may be
    /// in the first block only, and that is no damage.)
    pub(crate) fn line_of_table<T: Structure>(&self, at: u64) -> Result<Option<T>> {
        let value = self.load::<T>(at)?;
        let is_right = self.check(at, bytemuck::bytes_of(&value), T::NAME).is_ok();
        let quiet = matches!(self.look, Look::Report(_)) || self.replicas.is_none();
        if is_right && (quiet || self.is_settled(at, bytemuck::bytes_of(&value), &Ok(()))) {
            return Ok(Some(value));
        }
        if self.replicas.is_none()
            || is_zero(bytemuck::bytes_of(&value)) && self.is_copied(at, bytemuck::bytes_of(&value))
        {
            return Ok(None);
        }
        let right = match quiet {
            true => self.whole(at + BLOCK, at, Some(size_of::<T>()), T::NAME),
            false => self.settle(at, Some(size_of::<T>()), T::NAME),
        };
        Ok(right.ok().map(|bytes| bytemuck::pod_read_unaligned(&bytes)))
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

/// How long the entry at `at` is, by its sixth byte.
fn entry_len(at: u64, lines: u8, what: &'static str) -> Result<usize> {
    let len = u64::from(lines) * LINE;
    match len == 0 || len > BLOCK - at % BLOCK {
        true => Error::damaged(what, at, "it does not fit its page"),
        false => Ok(len as usize),
    }
}
