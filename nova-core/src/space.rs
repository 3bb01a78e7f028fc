//! Size and allocation: truncate, and the modes of `fallocate`.

use crate::{
    Allocate, Code, Credentials, Error, File, Result,
    alloc::{Purpose, Run, STRETCH},
    edit::Edit,
    extents::Mapped,
    format::{BLOCK, Identity, MAX_SIZE, Status, flag},
    inode::{Inode, Lease, State},
    volume::Volume,
};
use std::ops::Range;

/// The end of the largest file, in blocks.
const END: u64 = 1 << 52;

impl Volume {
    /// Cuts a file off, or makes it longer by a hole; with other changes of its lines. The caller holds the file's lock. 1 drain.
    pub(crate) fn set_size(
        &self,
        inode: &Inode,
        state: &mut State,
        size: u64,
        status: Status,
        identity: Option<Identity>,
    ) -> Result<()> {
        if size > MAX_SIZE {
            return Err(Code::FileTooLarge.into());
        }
        if state.lease != Lease::None {
            return Err(Error::Mapped);
        }
        let purpose = if size < state.status.size { Purpose::Freeing } else { Purpose::Ordinary };
        let mut edit = Edit::new(self, inode, state, purpose);
        edit.zero_behind_end(state, size);
        let kept = size.div_ceil(BLOCK);
        if size < state.status.size && state.extents()?.within(kept..END).next().is_some() {
            edit.unmap(kept..END)?;
        }
        edit.commit(inode, state, Status { size, ..status }, identity)
    }

    fn allocate_range(
        &self,
        inode: &Inode,
        state: &mut State,
        range: Range<u64>,
        how: Allocate,
        who: &Credentials,
    ) -> Result<()> {
        if state.lease != Lease::None && how != Allocate::KeepSize {
            return Err(Error::Mapped);
        }
        let now = self.now();
        let mut status = Status { changed: now, ..state.status };
        let freeing = matches!(how, Allocate::PunchHole | Allocate::Collapse);
        let purpose = if freeing { Purpose::Freeing } else { Purpose::Ordinary };
        let mut edit = Edit::new(self, inode, state, purpose);
        if matches!(how, Allocate::Grow | Allocate::Zero) && range.end > status.size {
            edit.zero_behind_end(state, range.end);
            status.size = range.end;
            status.modified = now;
        }
        match how {
            Allocate::Grow | Allocate::KeepSize => {
                self.fill_holes(&mut edit, state, range.start / BLOCK..range.end.div_ceil(BLOCK))?;
            }
            Allocate::PunchHole => {
                status.modified = now;
                let whole = self.zero_edges(&mut edit, state, &range);
                if state.extents()?.within(whole.clone()).next().is_some() {
                    edit.unmap(whole)?;
                }
            }
            Allocate::Zero | Allocate::ZeroKeepSize => {
                status.modified = now;
                let whole = self.zero_edges(&mut edit, state, &range);
                let own: Vec<(u64, Mapped)> = state.extents()?.within(whole.clone()).collect();
                for (file_block, mapped) in own {
                    if self.is_shared(mapped.run(), mapped.birth) {
                        let mut at = file_block;
                        for run in edit.allocate(mapped.count)? {
                            edit.reserve(state, at, run)?;
                            at += run.blocks;
                        }
                    } else if !mapped.unwritten {
                        edit.reserve(state, file_block, mapped.run())?;
                    }
                }
                self.fill_holes(&mut edit, state, range.start / BLOCK..range.end.div_ceil(BLOCK))?;
            }
            Allocate::Collapse => {
                status.modified = now;
                if range.start % BLOCK != 0 || range.end % BLOCK != 0 || range.end >= status.size {
                    return Err(Code::Invalid.into());
                }
                let (from, to) = (range.start / BLOCK, range.end / BLOCK);
                edit.unmap(from..to)?;
                edit.shift(to, -((to - from) as i64))?;
                status.size -= range.end - range.start;
            }
            Allocate::Insert => {
                status.modified = now;
                if range.start % BLOCK != 0 || range.end % BLOCK != 0 || range.start >= status.size {
                    return Err(Code::Invalid.into());
                }
                let len = range.end - range.start;
                if len > MAX_SIZE - status.size || state.extents()?.end() + len / BLOCK > END {
                    return Err(Code::FileTooLarge.into());
                }
                edit.shift(range.start / BLOCK, (len / BLOCK) as i64)?;
                status.size += len;
            }
        }
        let identity = crate::write::without_set_id(state, who);
        edit.commit(inode, state, status, identity)
    }

    /// Zeroes what a range has of blocks that are not all in it; returns those that are.
    fn zero_edges(&self, edit: &mut Edit<'_>, state: &State, range: &Range<u64>) -> Range<u64> {
        let (first, last) = (range.start.div_ceil(BLOCK), range.end / BLOCK);
        if first > last {
            edit.zero(range.start..range.end.min(state.status.size).max(range.start));
            return first..first;
        }
        if range.start % BLOCK != 0 {
            edit.zero(range.start..first * BLOCK);
        }
        // Behind the end nothing is to be zeroed, and its block may be zeroed already.
        let end = range.end.min(state.status.size);
        if end > last * BLOCK {
            edit.zero(last * BLOCK..end);
        }
        first..last
    }

    /// Blocks for what has none: side by side and aligned, if it is much.
    fn fill_holes(&self, edit: &mut Edit<'_>, state: &State, blocks: Range<u64>) -> Result<()> {
        let mut holes = Vec::new();
        let mut at = blocks.start;
        for (file_block, mapped) in state.extents()?.within(blocks.clone()) {
            holes.push(at..file_block);
            at = file_block + mapped.count;
        }
        holes.push(at..blocks.end);
        for hole in holes.into_iter().filter(|hole| !hole.is_empty()) {
            let count = hole.end - hole.start;
            let aligned = count >= STRETCH || state.has(flag::ALIGNED);
            let whole = aligned
                .then(|| edit.allocate_aligned(count, STRETCH.min(count.next_power_of_two())))
                .flatten();
            let runs: Vec<Run> = match whole {
                Some(run) => vec![run],
                None => edit.allocate(count)?,
            };
            let mut at = hole.start;
            for run in runs {
                edit.reserve(state, at, run)?;
                at += run.blocks;
            }
        }
        Ok(())
    }
}

impl File {
    /// Cuts the file off at `size` bytes, or makes it longer by a hole. 1 drain.
    pub fn set_len(&self, size: u64) -> Result<()> {
        let volume = self.volume();
        volume.writable()?;
        let mut state = volume.write_state(&self.inode)?;
        state.extents()?;
        state.permit_change(false)?;
        let now = volume.now();
        let status = Status { modified: now, changed: now, ..state.status };
        let identity = crate::write::without_set_id(&state, &self.who);
        volume.set_size(&self.inode, &mut state, size, status, identity)
    }

    /// Changes what blocks are behind `len` bytes at `offset`. 1 drain.
    ///
    /// # Errors
    ///
    /// [`Code::Invalid`] for an empty range, and for one that has to be of whole blocks inside the file and is not;
    /// [`Code::NoSpace`]; [`Error::Mapped`].
    pub fn allocate(&self, offset: u64, len: u64, how: Allocate) -> Result<()> {
        let volume = self.volume();
        volume.writable()?;
        if len == 0 {
            return Err(Code::Invalid.into());
        }
        let end =
            offset.checked_add(len).filter(|end| *end <= MAX_SIZE).ok_or(Error::Posix(Code::FileTooLarge))?;
        let mut state = volume.write_state(&self.inode)?;
        state.extents()?;
        state.permit_change(matches!(how, Allocate::Grow | Allocate::KeepSize))?;
        volume.allocate_range(&self.inode, &mut state, offset..end, how, &self.who)
    }
}
