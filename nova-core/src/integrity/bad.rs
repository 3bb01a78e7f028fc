//! Blocks that are bad: the medium does not keep what is stored there. They are *retired*: never handed out again, now and after every mount.
//!
//! Who mounts says which ones they are ([`MountOptions::bad_blocks`]): the operating system's list, or what [`pmem_map::Error::PageLost`] named. The
//! root directory keeps the list, as an attribute. Content that is in such a block already stays there until a scrub moves it, or its file
//! gives it up; what of it can be read is verified, as any other.

use crate::{
    Damage, Error, MountOptions, Result,
    alloc::{Purpose, Run},
    attributes::INTERNAL,
    edit::Edit,
    extents::Mapped,
    format::{BLOCK, ROOT},
    inode::{Inode, Lease, State},
    volume::Volume,
};
use std::collections::BTreeSet;

/// The attribute's name.
pub(crate) const NAME: &[u8] = b"bad";
/// Blocks that the list has room for.
const MOST: usize = crate::format::MAX_ATTRIBUTE / 8;

impl MountOptions {
    /// Blocks of 4,096 bytes of the volume that are bad, by number (offset / 4,096): they are not used any more, from now on, and this is durable when the
    /// volume is mounted. Those that were told at earlier mounts need not be told again. [`scrub`](crate::Nova::scrub) moves content away from them.
    ///
    /// Bad blocks of what cannot be elsewhere (superblocks, journal, checksums and parity, the inode table) are [damage](crate::MountReport::damage):
    /// the volume is mounted read-only, to be copied to another. Log pages stay, and are read as long as their checksums are right, until their log is written anew.
    pub fn bad_blocks(mut self, blocks: impl IntoIterator<Item = u64>) -> MountOptions {
        self.bad_blocks.extend(blocks);
        self
    }
}

/// The list that an attribute's value is; or what is wrong with it.
pub(crate) fn decode(value: &[u8]) -> Result<BTreeSet<u64>, &'static str> {
    match value.len() % 8 {
        0 => Ok(value
            .chunks_exact(8)
            .map(|word| u64::from_le_bytes(word.try_into().expect("eight bytes")))
            .collect()),
        _ => Err("a part of a block's number"),
    }
}

fn encode(blocks: &BTreeSet<u64>) -> Vec<u8> {
    blocks.iter().flat_map(|block| block.to_le_bytes()).collect()
}

/// Retires what the root directory and the options say, in DRAM: before anything is allocated. Damage of what cannot be moved.
pub(crate) fn retire(volume: &Volume) -> Result<Vec<Damage>> {
    let root = volume.inode(ROOT)?;
    let mut state = root.state.write();
    volume.read_log(&root, &mut state)?;
    let known = state.attributes.get(&(INTERNAL, NAME.to_vec())).map(decode);
    let known = known.and_then(Result::ok).unwrap_or_default();
    let told = volume.options.bad_blocks.iter().copied();
    let mut damage = Vec::new();
    let segments: Vec<Run> = (0..volume.table.stripes())
        .flat_map(|stripe| volume.table.segments(stripe))
        .map(|segment| Run { start: segment.at / BLOCK, blocks: segment.blocks })
        .collect();
    let is_fixed = |block: u64| {
        !volume.blocks().contains(&block) || segments.iter().any(|run| run.range().contains(&block))
    };
    for block in known.into_iter().chain(told).collect::<BTreeSet<u64>>() {
        if !is_fixed(block) {
            volume.allocator.retire(block);
        } else if block < volume.media.len() / BLOCK {
            let why = "this block is bad, and what is in it cannot be elsewhere".into();
            damage.push(Damage { what: "bad block", offset: block * BLOCK, ino: 0, why });
        }
    }
    Ok(damage)
}

/// Makes the list durable, if it has become longer. One drain.
pub(crate) fn record(volume: &Volume) -> Result<()> {
    let bad = volume.allocator.bad();
    if bad.is_empty() {
        return Ok(());
    }
    if bad.len() > MOST {
        let why = "more than 8,192 blocks are bad: copy its files to another volume";
        return Error::damaged("bad block", 0, why);
    }
    let root = volume.inode(ROOT)?;
    let mut state = volume.write_state(&root)?;
    let (key, value) = ((INTERNAL, NAME.to_vec()), encode(&bad));
    if state.attributes.get(&key) == Some(&value[..]) {
        return Ok(());
    }
    let (identity, status) = (state.identity, state.status);
    volume.put_attribute(&root, &mut state, key, Some(&value), identity, status)
}

impl Volume {
    /// Moves a file's content away from bad blocks. How many blocks. What cannot be read, and what is mapped, stays where it is.
    pub(crate) fn leave_bad_blocks(&self, inode: &Inode) -> Result<u64> {
        let bad = self.allocator.bad();
        if bad.is_empty() || self.read_only {
            return Ok(0);
        }
        let mut state = self.write_state(inode)?;
        if state.lease != Lease::None {
            return Ok(0);
        }
        let on_bad = |(start, mapped): (u64, Mapped)| {
            let blocks: Vec<u64> = bad.range(mapped.block..mapped.block + mapped.count).copied().collect();
            blocks
                .into_iter()
                .map(move |block| (start + (block - mapped.block), Mapped { block, count: 1, ..mapped }))
        };
        let places: Vec<(u64, Mapped)> = state.extents()?.iter().flat_map(on_bad).collect();
        let mut moved = 0;
        for (file_block, mapped) in places {
            match self.leave(inode, &mut state, file_block, mapped) {
                Ok(()) => moved += 1,
                // The scrub has met it, and says so.
                Err(Error::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(moved)
    }

    fn leave(&self, inode: &Inode, state: &mut State, file_block: u64, mapped: Mapped) -> Result<()> {
        let mut edit = Edit::new(self, inode, state, Purpose::Ordinary);
        if mapped.unwritten {
            let run: Run = edit.allocate(1)?[0];
            edit.reserve(state, file_block, run)?;
        } else {
            let mut content = vec![0; BLOCK as usize];
            self.copy_data(state, mapped.block * BLOCK, &mut content)?;
            edit.replace(file_block, &content)?;
        }
        let status = state.status;
        edit.commit(inode, state, status, None)
    }
}
