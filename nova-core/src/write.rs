//! Writing files: each write is all or nothing, however many blocks it touches.

use crate::{
    Code, Credentials, Error, File, Kind, Result,
    alloc::{Purpose, Run},
    edit::Edit,
    extents::Mapped,
    format::{BLOCK, Identity, MAX_SIZE, Status, flag},
    inode::{Inode, Lease, State},
    ordering::{Durable, Stored},
    permission::set_id_bits,
    rules::Rule,
    volume::Volume,
};
use std::ops::Range;

/// A part of a write: the first of its file blocks, and the blocks of the volume that get their content.
type Target = (u64, Run);

impl Volume {
    /// Writes `bytes` at `offset`. The caller holds the file's lock. 1 drain if the bytes fit a record, otherwise 2.
    pub(crate) fn write(
        &self,
        inode: &Inode,
        state: &mut State,
        offset: u64,
        bytes: &[u8],
        who: &Credentials,
    ) -> Result<()> {
        self.writable()?;
        if bytes.is_empty() {
            return Ok(());
        }
        let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= MAX_SIZE);
        let end = end.ok_or(Error::Posix(Code::FileTooLarge))?;
        if matches!(state.lease, Lease::Exclusive | Lease::Read(_)) {
            return Err(Error::Mapped);
        }
        let now = self.now();
        let size = state.status.size.max(end);
        let status = Status { size, modified: now, changed: now, ..state.status };
        let identity = without_set_id(state, who);
        if state.lease.is_written_in_place() || self.is_relaxed(state) {
            return self.write_in_place(inode, state, offset, bytes, status, identity);
        }
        if self.is_small(state, offset, end)? {
            return self.write_in_record(inode, state, offset, bytes, status, identity);
        }
        self.write_beside(inode, state, offset, bytes, status, identity)
    }

    /// Where the zeros between the old end of the file and a write begin that are in a block with content.
    fn gap(&self, state: &State, offset: u64) -> Result<Option<(Range<u64>, Mapped)>> {
        let size = state.status.size;
        if offset <= size || size % BLOCK == 0 {
            return Ok(None);
        }
        let last = state.extents()?.at(size / BLOCK).filter(|mapped| !mapped.unwritten);
        Ok(last.map(|mapped| (size..offset.min(size.next_multiple_of(BLOCK)), mapped)))
    }

    /// Whether a write can be a record alone: it is little, and every block it touches is the file's own and has content, or is the
    /// last one, and new.
    fn is_small(&self, state: &State, offset: u64, end: u64) -> Result<bool> {
        let start = offset.min(state.status.size.max(offset / BLOCK * BLOCK));
        if end - start > self.small() {
            return Ok(false);
        }
        let extents = state.extents()?;
        if self.gap(state, offset)?.is_some_and(|(_, mapped)| self.is_shared(first(mapped), mapped.birth)) {
            return Ok(false);
        }
        for block in offset / BLOCK..=(end - 1) / BLOCK {
            let own = match extents.at(block) {
                Some(mapped) => !mapped.unwritten && !self.is_shared(first(mapped), mapped.birth),
                // New: only what is written of it will ever be seen.
                None => block * BLOCK >= offset && end >= state.status.size,
            };
            if !own {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn write_in_record(
        &self,
        inode: &Inode,
        state: &mut State,
        offset: u64,
        bytes: &[u8],
        status: Status,
        identity: Option<Identity>,
    ) -> Result<()> {
        let mut edit = Edit::new(self, inode, state, Purpose::Ordinary);
        let mut start = offset;
        let mut content = std::borrow::Cow::Borrowed(bytes);
        if let Some((gap, mapped)) = self.gap(state, offset)? {
            if gap.end == offset && offset % BLOCK != 0 {
                // In the block of the write itself: one patch for both.
                let mut whole = vec![0; (gap.end - gap.start) as usize];
                whole.extend_from_slice(bytes);
                (start, content) = (gap.start, whole.into());
            } else {
                let zeros = vec![0; (gap.end - gap.start) as usize];
                edit.patch(mapped.block * BLOCK + gap.start % BLOCK, &zeros)?;
            }
        }
        let (mut goal, end) = (None, state.extents()?.end());
        let mut rest = &content[..];
        while !rest.is_empty() {
            let (block, within) = (start / BLOCK, start % BLOCK);
            let (now, later) = rest.split_at(rest.len().min((BLOCK - within) as usize));
            let at = match state.extents()?.at(block) {
                Some(mapped) => mapped.block,
                None => {
                    if block == end {
                        goal = state.extents()?.behind();
                    }
                    let runs = edit.allocate_at(goal, 1)?;
                    goal = Some(runs[0].start + 1);
                    let durable = crate::ordering::Durable::with_record(runs);
                    edit.link(state, &[(block, durable.runs()[0])], &durable)?;
                    durable.runs()[0].start
                }
            };
            edit.patch(at * BLOCK + within, now)?;
            start += now.len() as u64;
            rest = later;
        }
        edit.commit(inode, state, status, identity)
    }

    /// Copy on write: new blocks get the content, and a record links them.
    fn write_beside(
        &self,
        inode: &Inode,
        state: &mut State,
        offset: u64,
        bytes: &[u8],
        status: Status,
        identity: Option<Identity>,
    ) -> Result<()> {
        let mut edit = Edit::new(self, inode, state, Purpose::Ordinary);
        let end = offset + bytes.len() as u64;
        // The old end's block, if the write does not touch it. (Zeros in place could be undone by a record that is replayed.)
        if let Some((gap, mapped)) = self.gap(state, offset)?
            && gap.start / BLOCK != offset / BLOCK
        {
            if state.lease == Lease::None && self.keeps(Rule::ZerosInRecord) {
                edit.zero(gap);
            } else {
                // Who maps the file may store to the rest of the line: no record may have it, and its block stays.
                self.keep_for_snapshots(first(mapped))?;
                self.media.zero(mapped.block * BLOCK + gap.start % BLOCK, gap.end - gap.start);
                self.stored_in_place(inode.ino, gap.start / BLOCK..gap.end.div_ceil(BLOCK));
            }
        }
        let places = self.targets(&mut edit, state, offset / BLOCK..end.div_ceil(BLOCK))?;
        places.iter().try_for_each(|target| self.fill(state, *target, offset, bytes))?;
        let runs = places.iter().map(|(_, run)| *run).collect();
        let durable = match self.keeps(Rule::DataBeforeRecord) {
            true => Stored::new(runs).drain(&self.media)?,
            false => Durable::with_record(runs),
        };
        if !self.keeps(Rule::ProtectionBeforeRecord) {
            places.iter().try_for_each(|(_, run)| self.protect_again(*run))?;
        }
        edit.link(state, &places, &durable)?;
        edit.commit(inode, state, status, identity)
    }

    /// Blocks for new content of a range: those that the file has and that read as zeros, and new ones.
    fn targets(&self, edit: &mut Edit<'_>, state: &State, blocks: Range<u64>) -> Result<Vec<Target>> {
        let mut targets = Vec::with_capacity(1);
        let extents = state.extents()?;
        let end = extents.end();
        let mut new = |edit: &mut Edit<'_>, blocks: Range<u64>| -> Result<()> {
            let mut file_block = blocks.start;
            if blocks.is_empty() {
                return Ok(());
            }
            let count = blocks.end - blocks.start;
            let goal = extents.behind().filter(|_| blocks.start == end);
            let runs = edit.allocate_at(goal, count)?;
            for run in runs {
                targets.push((file_block, run));
                file_block += run.blocks;
            }
            Ok(())
        };
        let mut at = blocks.start;
        let reserved: Vec<(u64, Mapped)> = extents
            .within(blocks.clone())
            .filter(|(_, mapped)| mapped.unwritten && !self.is_shared(mapped.run(), mapped.birth))
            .collect();
        if !reserved.is_empty() {
            self.leave_to_stores(state)?;
        }
        let mut reused = Vec::new();
        for (file_block, mapped) in reserved {
            new(edit, at..file_block)?;
            reused.push((file_block, mapped.run()));
            at = file_block + mapped.count;
        }
        new(edit, at..blocks.end)?;
        if !reused.is_empty() {
            targets.extend(reused);
            targets.sort_by_key(|(file_block, _)| *file_block);
        }
        Ok(targets)
    }

    /// Stores the content of a target: of the write, and around it what was there.
    fn fill(&self, state: &State, (file_block, run): Target, offset: u64, bytes: &[u8]) -> Result<()> {
        let end = offset + bytes.len() as u64;
        let (start, stop) = (file_block * BLOCK, (file_block + run.blocks) * BLOCK);
        let place = |at: u64| run.start * BLOCK + (at - start);
        let (mut from, mut to) = (start.max(offset), stop.min(end));
        if from > start || from % BLOCK != 0 {
            // The first block, with what is before the write.
            let block = from / BLOCK * BLOCK;
            let until = (block + BLOCK).min(to);
            let mut content = vec![0; BLOCK as usize];
            let kept = self.copy_file(state, block, &mut content)?;
            content[kept..].fill(0);
            content[(from - block) as usize..(until - block) as usize]
                .copy_from_slice(&bytes[(from - offset) as usize..(until - offset) as usize]);
            self.store_data(place(block), &content);
            from = until;
        }
        if from < to && to % BLOCK != 0 {
            // The last block, with what is behind the write.
            let block = to / BLOCK * BLOCK;
            let mut content = vec![0; BLOCK as usize];
            let kept = self.copy_file(state, block, &mut content)?;
            content[kept..].fill(0);
            content[..(to - block) as usize].copy_from_slice(&bytes[(block - offset) as usize..]);
            self.store_data(place(block), &content);
            to = block;
        }
        if from < to {
            self.store_data(place(from), &bytes[(from - offset) as usize..(to - offset) as usize]);
        }
        Ok(())
    }

    /// Overwrites in place what has content and is the file's own; what has none gets new blocks. Durable on return, atomic for aligned words.
    fn write_in_place(
        &self,
        inode: &Inode,
        state: &mut State,
        offset: u64,
        bytes: &[u8],
        status: Status,
        identity: Option<Identity>,
    ) -> Result<()> {
        let end = offset + bytes.len() as u64;
        let is_mapped = state.lease.is_written_in_place();
        // Of what snapshots have of a mapped file, the old content is copied away instead.
        let own = |(_, mapped): &(u64, Mapped)| match is_mapped {
            _ if mapped.unwritten => false,
            true => !self.shares.any(mapped.run()),
            false => !self.is_shared(mapped.run(), mapped.birth),
        };
        let _pass = is_mapped.then(|| self.snapshots.pass());
        let parts: Vec<(u64, Mapped)> =
            state.extents()?.within(offset / BLOCK..end.div_ceil(BLOCK)).filter(own).collect();
        let covered: u64 = parts.iter().map(|(_, mapped)| mapped.count).sum();
        if covered < end.div_ceil(BLOCK) - offset / BLOCK || self.gap(state, offset)?.is_some() {
            if is_mapped {
                // Blocks of a mapped file stay where they are.
                let is_behind = offset / BLOCK * BLOCK >= state.status.size.next_multiple_of(BLOCK);
                if covered > 0 || !is_behind {
                    return Err(Error::Mapped);
                }
            }
            return self.write_beside(inode, state, offset, bytes, status, identity);
        }
        self.leave_to_stores(state)?;
        for (file_block, mapped) in parts {
            let from = (file_block * BLOCK).max(offset);
            let to = ((file_block + mapped.count) * BLOCK).min(end);
            let at = mapped.block * BLOCK + (from - file_block * BLOCK);
            let part = &bytes[(from - offset) as usize..(to - offset) as usize];
            if is_mapped {
                let run =
                    Run { start: at / BLOCK, blocks: (at + part.len() as u64).div_ceil(BLOCK) - at / BLOCK };
                self.keep_for_snapshots(run)?;
            }
            match state.lease {
                Lease::None => self.store_words(at, part)?,
                // What is around them may be stored by who maps the file.
                _ => {
                    self.media.store(at, part);
                    self.stored_in_place(inode.ino, from / BLOCK..to.div_ceil(BLOCK));
                }
            }
        }
        self.media.drain()?;
        Edit::new(self, inode, state, Purpose::Ordinary).commit(inode, state, status, identity)
    }
}

impl Volume {
    /// Stores bytes past the caches; of words that are only partly theirs, all of the word: so that no word is torn.
    fn store_words(&self, at: u64, bytes: &[u8]) -> Result<()> {
        let mut rest = bytes;
        let mut at = at;
        while !rest.is_empty() {
            let within = at % 8;
            let whole = rest.len() / 8 * 8;
            if within == 0 && whole > 0 {
                self.media.store(at, &rest[..whole]);
                (at, rest) = (at + whole as u64, &rest[whole..]);
                continue;
            }
            let mut word = [0; 8];
            self.media.copy_out(at - within, &mut word, "extent")?;
            let len = rest.len().min(8 - within as usize);
            word[within as usize..within as usize + len].copy_from_slice(&rest[..len]);
            self.media.store(at - within, &word);
            (at, rest) = (at + len as u64, &rest[len..]);
        }
        Ok(())
    }
}

/// The first block of an extent.
fn first(mapped: Mapped) -> Run {
    Run { start: mapped.block, blocks: 1 }
}

/// Who writes a file takes its set-id bits away, unless it is root: whoever has checked permissions.
pub(crate) fn without_set_id(state: &State, who: &Credentials) -> Option<Identity> {
    let bits = set_id_bits(state.identity.mode);
    let mode = state.identity.mode & !bits;
    (who.uid != 0 && bits != 0).then_some(Identity { mode, ..state.identity })
}

impl File {
    /// Writes all of `bytes` at `offset`, or nothing. What lies between the end of the file and `offset` reads as zeros. Durable on
    /// return: 1 drain if the bytes fit a record (up to 2,048, more on a disk, fewer with a journal of less than 16 KiB), otherwise 2.
    ///
    /// # Errors
    ///
    /// [`Code::NoSpace`], [`Code::QuotaExceeded`], [`Code::FileTooLarge`], [`Code::NotPermitted`] for immutable files and for those that may only
    /// be appended to; [`Error::Mapped`].
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.write_with(|_| offset, bytes).map(drop)
    }

    /// Writes all of `bytes` at the end of the file, or nothing: other appends come before or after. Where they are. Drains as of
    /// [`write_at`](File::write_at).
    pub fn append(&self, bytes: &[u8]) -> Result<u64> {
        self.write_with(|state| state.status.size, bytes)
    }

    fn write_with(&self, place: impl FnOnce(&State) -> u64, bytes: &[u8]) -> Result<u64> {
        let volume = self.volume();
        let mut state = volume.write_state(&self.inode)?;
        if state.kind() != Kind::File {
            return Err(if state.is_directory() { Code::IsADirectory } else { Code::Invalid }.into());
        }
        let offset = place(&state);
        state.permit_change(offset == state.status.size && state.has(flag::APPEND))?;
        volume.write(&self.inode, &mut state, offset, bytes, &self.who)?;
        Ok(offset)
    }
}
