//! Files in very many pieces, made contiguous before they are mapped: each piece is a kernel mapping, and a process has room for about
//! 65,000 of them.

use crate::{
    Code, Error, File, Result,
    alloc::Purpose,
    edit::Edit,
    format::{BLOCK, Status},
    inode::State,
    map::bytes,
    ordering::Stored,
};
use pmem_map::Extent;
use std::{ops::Range, sync::Arc};

/// Most pieces of a mapping.
pub(crate) const MOST_PIECES: usize = 16_384;

/// Bytes that are copied at once.
const PART: u64 = 1 << 20;

/// How many pieces these ranges are, side by side.
pub(crate) fn pieces(ranges: &[Range<u64>]) -> usize {
    let apart = ranges.windows(2).filter(|pair| pair[0].end != pair[1].start).count();
    apart + usize::from(!ranges.is_empty())
}

/// [`Error::TooManyExtents`], if these are too many kernel mappings.
pub(crate) fn check(extents: &[Extent]) -> Result<()> {
    let is_apart = |pair: &&[Extent]| {
        !Arc::ptr_eq(&pair[0].file, &pair[1].file) || pair[0].offset + pair[0].len != pair[1].offset
    };
    let pieces = extents.windows(2).filter(is_apart).count() + 1;
    if pieces > MOST_PIECES { Err(too_many(pieces)) } else { Ok(()) }
}

fn too_many(pieces: usize) -> Error {
    Error::TooManyExtents { extents: pieces as u64, limit: MOST_PIECES as u64 }
}

impl File {
    /// Copies the file's content to few runs of new blocks, if it is in more pieces than can be mapped: all of it by one record. Every byte has a
    /// block of the file's own, and nobody maps the file. 2 drains, if there is something to do.
    pub(crate) fn make_contiguous(&self, state: &mut State) -> Result<()> {
        let blocks = state.status.size.div_ceil(BLOCK);
        let found = pieces(&bytes(&self.blocks(state, 0..blocks)?));
        if found <= MOST_PIECES {
            return Ok(());
        }
        self.copy_together(state, blocks).map_err(|error| match error {
            Error::Posix(Code::NoSpace) => too_many(found),
            error => error,
        })
    }

    fn copy_together(&self, state: &mut State, blocks: u64) -> Result<()> {
        let volume = self.volume();
        let mut edit = Edit::new(volume, &self.inode, state, Purpose::Ordinary);
        let runs = edit.allocate(blocks)?;
        if runs.len() > MOST_PIECES {
            return Err(Code::NoSpace.into());
        }
        let mut places = Vec::with_capacity(runs.len());
        let mut to = 0;
        for run in &runs {
            let (from, len) = (to * BLOCK, run.blocks * BLOCK);
            for at in (0..len).step_by(PART as usize) {
                let mut content = vec![0; PART.min(len - at) as usize];
                volume.copy_file(state, from + at, &mut content)?;
                volume.store_data(run.start * BLOCK + at, &content);
            }
            places.push((to, *run));
            to += run.blocks;
        }
        let durable = Stored::new(runs).drain(&volume.media)?;
        edit.link(state, &places, &durable)?;
        let status = Status { changed: volume.now(), ..state.status };
        edit.commit(&self.inode, state, status, None)
    }
}

#[cfg(test)]
mod tests {
    use super::pieces;

    #[test]
    fn neighbours_are_one_piece() {
        assert_eq!(pieces(&[]), 0);
        assert_eq!(pieces(&[0..4096, 4096..8192, 20_480..24_576, 8192..12_288]), 3);
    }
}
