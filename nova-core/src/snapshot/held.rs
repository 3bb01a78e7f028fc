//! Which blocks the past owns, by what is on media: for a mount after a crash, and for a check.

use super::{Snapshot, log::lines_in, sees};
use crate::{
    Result,
    alloc::Run,
    format::{Identity, LINE, Status},
    inode::{Body, Index},
    media::Media,
};
use std::collections::BTreeMap;

/// Blocks that no live file has, and snapshots from the epoch `birth` to the epoch `last` have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) run: Run,
    pub(crate) birth: u64,
    pub(crate) last: u64,
}

/// What snapshots own.
#[derive(Default)]
pub(crate) struct Claims {
    /// Their own blocks: nobody else has them.
    pub(crate) own: Vec<Run>,
    /// What files had: perhaps the live ones have it, too. By block: birth, and the last epoch in which it is known to have been there.
    pub(crate) files: BTreeMap<u64, (u64, u64)>,
}

/// All that these snapshots own.
pub(crate) fn claims(media: &Media, list: &[Snapshot]) -> Result<Claims> {
    let mut claims = Claims::default();
    (0..list.len()).try_for_each(|index| claims.add(media, list, index))?;
    Ok(claims)
}

/// Whether a snapshot that can be seen needs what is saved of an inode for this one. One that was deleted is read only for older ones that have nothing of it themselves.
fn is_needed(list: &[Snapshot], index: usize, slot: u64) -> bool {
    let older = list[..index].iter().rposition(|older| !older.is_deleted());
    !list[index].is_deleted()
        || older.is_some_and(|older| list[older..index].iter().all(|one| !one.inodes.contains_key(&slot)))
}

impl Claims {
    /// What one snapshot of the list, which is in order, owns, too.
    pub(crate) fn add(&mut self, media: &Media, list: &[Snapshot], index: usize) -> Result<()> {
        let snapshot = &list[index];
        self.own.extend(snapshot.own(media));
        for (slot, entry) in &snapshot.inodes {
            // Of an inode that none of them needs, the log may be gone.
            if !is_needed(list, index, *slot) {
                continue;
            }
            let lines = lines_in(media, *entry)?;
            let identity: Identity = bytemuck::pod_read_unaligned(&lines[..LINE as usize]);
            let status: Status = bytemuck::pod_read_unaligned(&lines[LINE as usize..]);
            if identity.mode == 0 {
                continue;
            }
            let index = Index::read(media, &identity, &status, snapshot.head.epoch)?;
            let mut runs = index.pages.born();
            if let Body::File(extents) = &index.body {
                runs.extend(extents.iter().map(|(_, mapped)| (mapped.run(), mapped.birth)));
            }
            for (run, birth) in runs {
                for block in run.range() {
                    let known = self.files.entry(block).or_insert((birth, 0));
                    *known = (known.0.min(birth), known.1.max(snapshot.head.epoch));
                }
            }
        }
        Ok(())
    }

    /// What of it is held: no live file has it (`is_live`), and a snapshot that can be seen does.
    pub(crate) fn held(&self, list: &[Snapshot], is_live: impl Fn(u64) -> bool) -> Vec<Held> {
        let mut all: Vec<Held> = Vec::new();
        for (block, (birth, last)) in &self.files {
            if is_live(*block) || !sees(list, *birth, *last) {
                continue;
            }
            match all.last_mut() {
                Some(held)
                    if held.run.start + held.run.blocks == *block
                        && (held.birth, held.last) == (*birth, *last) =>
                {
                    held.run.blocks += 1;
                }
                _ => all.push(Held { run: Run { start: *block, blocks: 1 }, birth: *birth, last: *last }),
            }
        }
        all
    }
}
