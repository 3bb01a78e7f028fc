//! Snapshots on media: their blocks, a list from the state line on, newest first; and their logs.

use super::{SavedBlock, Snapshot, copies};
use crate::{
    Error, Result,
    format::{
        BLOCK, LINE, SNAPSHOT_INO, SNAPSHOT_MAGIC, STATE, STATE_COPY, SnapshotHead, Structure as _,
        VolumeState,
    },
    log::{self, Entry, Found, Pages},
    media::Media,
};
use bytemuck::Zeroable as _;

/// Bytes of the longest name.
pub(crate) const MAX_NAME: usize = 255;

/// The state line, or its second copy: whose checkpoint does not count, for after damage everything is scanned.
pub(crate) fn read_state(media: &Media) -> Result<VolumeState> {
    let read = |at| {
        let state = media.read::<VolumeState>(at)?;
        // Numbers of epochs are counted up, and share a word with a mark.
        match (1..SNAPSHOT_INO - 1).contains(&state.epoch) {
            true => Ok(state),
            false => Error::damaged(VolumeState::NAME, at, "there is no such epoch"),
        }
    };
    read(STATE).or_else(|_| Ok(VolumeState { checkpoint: 0, ..read(STATE_COPY)? }))
}

/// What is before the name: checksum, and how many blocks were in use.
const NAME: usize = 16;

/// The bytes of a snapshot's block: head, then a checksum, how many blocks were in use, and the name.
pub(crate) fn block(media: &Media, at: u64, head: &SnapshotHead, used: u64, name: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; LINE as usize + 8];
    bytes.extend_from_slice(&used.to_le_bytes());
    bytes.extend_from_slice(name);
    bytes.resize((bytes.len() as u64).next_multiple_of(LINE) as usize, 0);
    bytes[..LINE as usize].copy_from_slice(bytemuck::bytes_of(&media.sealed(at, *head)));
    media.seal(at + LINE, &mut bytes[LINE as usize..]);
    bytes
}

/// All snapshots, oldest first, with what is saved for each. `first` is the newest one's block.
pub(crate) fn load(media: &Media, first: u64) -> Result<Vec<Snapshot>> {
    let (list, damage) = load_newest(media, first);
    damage.map_or(Ok(list), Err)
}

/// The same, as far as they can be read: those that are newer than the first damage, and what that is.
pub(crate) fn load_newest(media: &Media, first: u64) -> (Vec<Snapshot>, Option<Error>) {
    let (mut list, mut at, mut damage) = (Vec::new(), first, None);
    while at != 0 {
        match read_next(media, at, list.last()) {
            Ok(snapshot) => {
                at = snapshot.head.next;
                list.push(snapshot);
            }
            Err(error) => {
                damage = Some(error);
                break;
            }
        }
    }
    list.reverse();
    (list, damage)
}

fn read_next(media: &Media, at: u64, newer: Option<&Snapshot>) -> Result<Snapshot> {
    if at % BLOCK != 0 || !media.has_blocks(at / BLOCK, 1) {
        return Error::damaged(SnapshotHead::NAME, at, "a reference that cannot be");
    }
    let snapshot = read(media, at)?;
    if newer.is_some_and(|newer| newer.head.epoch <= snapshot.head.epoch) {
        return Error::damaged(SnapshotHead::NAME, at, "it is not older than the one before it");
    }
    Ok(snapshot)
}

fn read(media: &Media, at: u64) -> Result<Snapshot> {
    let head: SnapshotHead = media.read(at)?;
    let len = head.name_len as usize;
    if head.magic != SNAPSHOT_MAGIC || len > MAX_NAME || head.epoch == 0 || head.epoch >= SNAPSHOT_INO {
        return Error::damaged(SnapshotHead::NAME, at, "it is none");
    }
    let mut name = vec![0; (NAME + len).next_multiple_of(LINE as usize)];
    media.read_into(at + LINE, &mut name, "snapshot's name")?;
    let mut snapshot = Snapshot {
        at,
        head,
        name: name[NAME..NAME + len].to_vec(),
        used: u64::from_le_bytes(name[8..NAME].try_into().expect("eight bytes")),
        table: Vec::new(),
        copies: None,
        pages: Pages::default(),
        inodes: Default::default(),
        blocks: Default::default(),
        views: 0,
    };
    log::scan(media, SNAPSHOT_INO | head.epoch, head.log, head.tail, |found| take(&mut snapshot, found))?;
    let (table, saved) = copies::read(media, head.copies)?;
    snapshot.table = table;
    snapshot.blocks.extend(saved);
    Ok(snapshot)
}

fn take(snapshot: &mut Snapshot, found: Found<'_>) -> Result<()> {
    let (at, page, entry) = match found {
        Found::Page { run, birth } => {
            snapshot.pages.push(run, birth);
            return Ok(());
        }
        Found::Entry { at, page, entry } => (at, page, entry),
    };
    match entry {
        Entry::InodeBefore { head, .. } => {
            snapshot.inodes.insert(head.slot, at);
        }
        Entry::BlockBefore(before) => {
            snapshot.blocks.insert(before.block, SavedBlock::of(&before));
        }
        _ => return Error::damaged("log entry", at, "its kind is not one of a snapshot's log"),
    }
    snapshot.pages.add(page, 1);
    Ok(())
}

/// An inode's two lines as an entry has them; zeros if the slot was free.
pub(crate) fn lines_in(media: &Media, entry: u64) -> Result<[u8; 2 * LINE as usize]> {
    let bytes = media.entry(entry, "snapshot's inode")?;
    let mut lines = [0; 2 * LINE as usize];
    match log::decode(media, entry, &bytes)? {
        Entry::InodeBefore { lines: Some(found), .. } => lines.copy_from_slice(found),
        Entry::InodeBefore { lines: None, .. } => {}
        _ => return Error::damaged("snapshot's inode", entry, "it is another entry"),
    }
    Ok(lines)
}

impl SavedBlock {
    pub(crate) fn of(before: &crate::format::BlockBefore) -> SavedBlock {
        SavedBlock { copy: before.copy, birth: before.birth, ino: before.ino, file_block: before.file_block }
    }

    /// Its entry, for `block`; not sealed.
    pub(crate) fn entry(&self, block: u64) -> crate::format::BlockBefore {
        crate::format::BlockBefore {
            kind: crate::format::kind::BLOCK_BEFORE,
            lines: 1,
            block,
            copy: self.copy,
            birth: self.birth,
            ino: self.ino,
            file_block: self.file_block,
            ..crate::format::BlockBefore::zeroed()
        }
    }
}
