//! Which inodes differ between two epochs: those that snapshots in between have something saved of.

use crate::{
    table::{Segment, Table},
    volume::Volume,
};
use rustc_hash::FxHashSet;
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

/// What was changed in some epochs.
#[derive(Default)]
pub(crate) struct Touched {
    /// Inode numbers.
    pub(crate) inodes: BTreeSet<u64>,
    /// Blocks of the volume whose content was changed where it is.
    pub(crate) blocks: FxHashSet<u64>,
}

impl Volume {
    /// What was changed after the end of the epoch `epochs.start`, and before the end of `epochs.end`; of the live volume: `u64::MAX`.
    pub(crate) fn touched(&self, epochs: Range<u64>) -> Touched {
        let (mut touched, mut slots) = (Touched::default(), Vec::new());
        let history = self.snapshots.history();
        for snapshot in history.list.iter().filter(|snapshot| epochs.contains(&snapshot.head.epoch)) {
            slots.extend(snapshot.inodes.keys().copied());
            touched.inodes.extend(snapshot.blocks.values().map(|saved| saved.ino));
            touched.blocks.extend(snapshot.blocks.keys());
            // Of files that are mapped.
            for (block, saved) in snapshot.copies.iter().flat_map(|copies| copies.saved()) {
                touched.inodes.insert(saved.ino);
                touched.blocks.insert(block);
            }
        }
        drop(history);
        let places = Places::new(&self.table);
        touched.inodes.extend(slots.into_iter().filter_map(|slot| places.ino(slot)));
        touched
    }
}

/// Inode numbers by the place of their lines.
struct Places<'t> {
    table: &'t Table,
    segments: BTreeMap<u64, (u64, Segment)>,
}

impl Places<'_> {
    fn new(table: &Table) -> Places<'_> {
        let of =
            |stripe| table.segments(stripe).into_iter().map(move |segment| (segment.at, (stripe, segment)));
        Places { table, segments: (0..table.stripes()).flat_map(of).collect() }
    }

    fn ino(&self, at: u64) -> Option<u64> {
        let (_, (stripe, segment)) = self.segments.range(..at).next_back()?;
        let slot = segment.index_of(at)?;
        Some(self.table.ino(*stripe, segment.first_slot + slot))
    }
}
