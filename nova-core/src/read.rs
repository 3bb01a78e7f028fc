//! Reading files.

use crate::{
    AccessTimes, Code, Error, File, Kind, Result, Seek, clock,
    format::{BLOCK, Status, flag},
    inode::{Inode, State},
    volume::{Freed, Volume},
};

impl Volume {
    /// Copies bytes of a file, as far as it goes. How many.
    pub(crate) fn copy_file(&self, state: &State, offset: u64, into: &mut [u8]) -> Result<usize> {
        let size = state.status.size;
        if offset >= size {
            return Ok(0);
        }
        let len = (into.len() as u64).min(size - offset) as usize;
        let into = &mut into[..len];
        let end = offset + len as u64;
        let extents = state.extents()?;
        // All of it in one extent: most reads are.
        let within = offset % BLOCK;
        if let Some(mapped) = extents.at(offset / BLOCK).filter(|mapped| !mapped.unwritten)
            && within + len as u64 <= mapped.count * BLOCK
        {
            self.copy_content(state, mapped.block * BLOCK + within, into)?;
            return Ok(len);
        }
        let mut done = offset;
        for (file_block, mapped) in extents.within(offset / BLOCK..end.div_ceil(BLOCK)) {
            let from = (file_block * BLOCK).max(offset);
            let to = ((file_block + mapped.count) * BLOCK).min(end);
            into[(done - offset) as usize..(from - offset) as usize].fill(0);
            let part = &mut into[(from - offset) as usize..(to - offset) as usize];
            if mapped.unwritten {
                part.fill(0);
            } else {
                self.copy_content(state, mapped.block * BLOCK + (from - file_block * BLOCK), part)?;
            }
            done = to;
        }
        into[(done - offset) as usize..].fill(0);
        Ok(len)
    }

    /// Whether reading is to change the access time.
    pub(crate) fn is_access_due(&self, state: &State) -> bool {
        const DAY: i64 = 86_400_000_000_000;
        let Status { accessed, modified, changed, .. } = state.status;
        let due = match self.options.access_times {
            AccessTimes::Never => false,
            AccessTimes::Always => true,
            AccessTimes::Relative => {
                accessed <= modified || accessed <= changed || clock::coarse().saturating_sub(accessed) >= DAY
            }
        };
        due && !self.read_only && !state.gone && !state.has(flag::NO_ATIME)
    }

    /// Notes that a file was read, if its access time is still to change.
    pub(crate) fn note_access(&self, inode: &Inode) -> Result<()> {
        let mut state = inode.state.write();
        if !self.is_access_due(&state) {
            return Ok(());
        }
        let now = self.now();
        let mut status = Status { accessed: now, ..state.status };
        let mut batch = self.batch();
        self.put(&mut batch, inode.at, None, &mut status);
        match self.commit(&batch, Freed::default()) {
            // A snapshot has to keep what the time was, and there is no space for that.
            Err(Error::Posix(Code::NoSpace)) => Ok(()),
            committed => {
                committed?;
                state.status = status;
                Ok(())
            }
        }
    }
}

impl File {
    /// Reads at `offset` into `into`, as far as the file goes; holes are zeros. How many bytes. A drain if the access time changes.
    pub fn read_at(&self, offset: u64, into: &mut [u8]) -> Result<usize> {
        let volume = self.volume();
        let (read, notes) = {
            let state = volume.read_state(&self.inode)?;
            if state.kind() != Kind::File {
                return Err(if state.is_directory() { Code::IsADirectory } else { Code::Invalid }.into());
            }
            let read = volume.copy_file(&state, offset, into)?;
            (read, !into.is_empty() && volume.is_access_due(&state))
        };
        if notes {
            volume.note_access(&self.inode)?;
        }
        Ok(read)
    }

    /// All bytes.
    pub fn read_to_end(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let mut part = vec![0; 1 << 16];
        loop {
            let read = self.read_at(bytes.len() as u64, &mut part)?;
            if read == 0 {
                return Ok(bytes);
            }
            bytes.extend_from_slice(&part[..read]);
        }
    }

    /// The next data, or the next hole, at or behind `offset`. The end of the file is a hole; blocks that were only
    /// allocated are holes, too.
    ///
    /// # Errors
    ///
    /// [`Code::NoSuchPosition`] behind the end, and for data if there is none.
    pub fn seek(&self, offset: u64, what: Seek) -> Result<u64> {
        let volume = self.volume();
        let state = volume.read_state(&self.inode)?;
        let extents = state.extents()?;
        let size = state.status.size;
        if offset >= size {
            return Err(Code::NoSuchPosition.into());
        }
        let mut at = offset;
        for (file_block, mapped) in extents.within(offset / BLOCK..size.div_ceil(BLOCK)) {
            if mapped.unwritten {
                continue;
            }
            let (start, end) = (file_block * BLOCK, (file_block + mapped.count) * BLOCK);
            match what {
                Seek::Data => return Ok(start.max(offset)),
                Seek::Hole if start > at => return Ok(at),
                Seek::Hole => at = end,
            }
        }
        match what {
            Seek::Data => Err(Error::Posix(Code::NoSuchPosition)),
            Seek::Hole => Ok(at.min(size)),
        }
    }
}
