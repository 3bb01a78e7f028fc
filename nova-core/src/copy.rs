//! Copies that share blocks: reflinks, and `copy_file_range`.

use crate::{
    Code, Credentials, Error, File, Kind, Result,
    alloc::Purpose,
    edit::Edit,
    format::{BLOCK, MAX_SIZE, Status},
    inode::{Inode, Lease, State},
    volume::Volume,
};
use std::sync::Arc;

impl Volume {
    /// Lets `to` have blocks of `from`, both locked.
    #[expect(clippy::too_many_arguments, reason = "two files, two places, a length, and who asks")]
    fn share_range(
        &self,
        from: &State,
        offset: u64,
        to_inode: &Inode,
        to: &mut State,
        to_offset: u64,
        len: u64,
        who: &Credentials,
    ) -> Result<()> {
        let mut edit = Edit::new(self, to_inode, to, Purpose::Ordinary);
        edit.zero_behind_end(to, to_offset);
        let blocks = offset / BLOCK..(offset + len).div_ceil(BLOCK);
        let place = |block: u64| block - blocks.start + to_offset / BLOCK;
        let mut at = blocks.start;
        for (block, mapped) in from.extents()?.within(blocks.clone()) {
            if at < block {
                edit.unmap(place(at)..place(block))?;
            }
            edit.share(place(block), mapped)?;
            at = block + mapped.count;
        }
        if at < blocks.end {
            edit.unmap(place(at)..place(blocks.end))?;
        }
        let now = self.now();
        let size = to.status.size.max(to_offset + len);
        let status = Status { size, modified: now, changed: now, ..to.status };
        edit.commit(to_inode, to, status, crate::write::without_set_id(to, who))?;
        // The blocks may be this file's alone, one day.
        to.patched = to.patched.max(from.patched);
        Ok(())
    }
}

impl File {
    /// Makes `len` bytes at `to_offset` of this file the same blocks as those at `offset` of `from`: copy on write from then on.
    /// All or nothing; 1 drain, whatever the length. The end of `from` need not be the end of a block, if it becomes the end of this
    /// file.
    ///
    /// # Errors
    ///
    /// [`Code::Invalid`] for what is not made of whole blocks, for ranges of one file that overlap, and behind the end of `from`;
    /// [`Code::CrossDevice`]; [`Error::Mapped`].
    pub fn clone_range(&self, from: &File, offset: u64, to_offset: u64, len: u64) -> Result<()> {
        let volume = self.volume();
        volume.writable()?;
        if !std::ptr::eq(volume, from.volume()) {
            return Err(Code::CrossDevice.into());
        }
        let invalid = Err(Error::Posix(Code::Invalid));
        let (Some(end), Some(to_end)) = (offset.checked_add(len), to_offset.checked_add(len)) else {
            return invalid;
        };
        if to_end > MAX_SIZE {
            return Err(Code::FileTooLarge.into());
        }
        if offset % BLOCK != 0 || to_offset % BLOCK != 0 {
            return invalid;
        }
        if len == 0 {
            return Ok(());
        }
        let check = |source: &State, target: &State| -> Result<()> {
            if source.kind() != Kind::File || target.kind() != Kind::File {
                return Err(Code::Invalid.into());
            }
            let ends = end == source.status.size && to_end >= target.status.size;
            if end > source.status.size || len % BLOCK != 0 && !ends {
                return Err(Code::Invalid.into());
            }
            if source.lease != Lease::None || target.lease != Lease::None {
                return Err(Error::Mapped);
            }
            target.permit_change(false)
        };
        if Arc::ptr_eq(&self.inode, &from.inode) {
            let mut state = volume.write_state(&self.inode)?;
            if offset < to_end && to_offset < end {
                return invalid;
            }
            check(&state, &state)?;
            // The index changes while the source is read: read it first.
            let source = State {
                body: crate::inode::Body::File(state.extents()?.clone()),
                ..State::new(state.identity, state.status)
            };
            return volume.share_range(&source, offset, &self.inode, &mut state, to_offset, len, &self.who);
        }
        let (source, mut target);
        if self.inode.ino < from.inode.ino {
            target = volume.write_state(&self.inode)?;
            source = volume.write_state(&from.inode)?;
        } else {
            source = volume.write_state(&from.inode)?;
            target = volume.write_state(&self.inode)?;
        }
        check(&source, &target)?;
        volume.share_range(&source, offset, &self.inode, &mut target, to_offset, len, &self.who)
    }

    /// Copies up to `len` bytes at `offset` of `from` to `to_offset` of this file; whole blocks are shared, where both places
    /// allow it. How many bytes, which is fewer at the end of `from`. Not all or nothing.
    pub fn copy_from(&self, from: &File, offset: u64, to_offset: u64, len: u64) -> Result<u64> {
        let size = from.stat()?.size;
        let len = len.min(size.saturating_sub(offset));
        let same = Arc::ptr_eq(&self.inode, &from.inode);
        let (end, to_end) = (offset.saturating_add(len), to_offset.saturating_add(len));
        if same && offset < to_end && to_offset < end {
            return Err(Code::Invalid.into());
        }
        let mut done = 0;
        let whole = len / BLOCK * BLOCK;
        if whole > 0 && offset % BLOCK == 0 && to_offset % BLOCK == 0 {
            match self.clone_range(from, offset, to_offset, whole) {
                Ok(()) => done = whole,
                Err(Error::Posix(Code::Invalid) | Error::Mapped) => {} // it changed meanwhile, or cannot be shared
                Err(error) => return Err(error),
            }
        }
        let mut part = vec![0; 1 << 16];
        while done < len {
            let wanted = (len - done).min(part.len() as u64) as usize;
            let read = from.read_at(offset + done, &mut part[..wanted])?;
            if read == 0 {
                break;
            }
            self.write_at(to_offset + done, &part[..read])?;
            done += read as u64;
        }
        Ok(done)
    }
}
