//! Shortcuts through the protocol, each of them wrong: switches for the tests that prove the crash exploration
//! finds what they break. Never set outside tests.

/// One way to get the protocol wrong.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Shortcut {
    /// Checkpoint: the horizon is stored under the drain of the applied lines.
    CheckpointOneDrain,
    /// Applied lines are never flushed.
    AppliedNeverFlushed,
    /// Applied lines are flushed by the thread that applies, drained by whoever commits next.
    FlushAtApply,
    /// Every record goes to the ring's first slot.
    OneSlot,
    /// Slots are overwritten without asking whether their record is still needed.
    NoSpaceCheck,
    /// Recovery: the new generation is stored under the replay's drain.
    GenerationUnderReplayDrain,
    /// Recovery: seq restarts at 1 in the old generation.
    NoNewGeneration,
    /// Recovery: the replay is not drained before the first commit.
    ReplayNotDrained,
    /// Recovery: every valid record is replayed, not just the window.
    ReplayAllValid,
    /// Recovery: the newest valid record is the newest commit, whatever its window says.
    NewestValidIsCommit,
    /// Fresh blocks written in place are not drained before the record.
    PlacedNotDrained,
    /// Fresh blocks are written in place although the window still covers them.
    PlacedWithoutFlush,
    /// A transaction is rolled back after its record was written; its seq is used again.
    AbortAfterRecord,
    /// A transaction is acknowledged before the drain.
    AcknowledgeBeforeDrain,
    /// Values are applied before the record is drained.
    ApplyBeforeDrain,
    /// The record's checksum is not verified.
    NoChecksum,
    /// Recovery: a record is applied that was only visible, not durable.
    ReplayUndrained,
    /// Undo: a place is changed before its old bytes are drained.
    UndoChangeBeforeDrain,
    /// Undo: the first snapshot does not flush the lines of records applied before.
    UndoEarlierNotSettled,
    /// Undo: the seal is written under the drain of the data.
    UndoSealUnderDataDrain,
    /// Undo: the seal is not drained before the commit is acknowledged.
    UndoSealNotDrained,
    /// Undo: an abort seals without draining what it put back.
    UndoAbortNotDrained,
    /// Undo: an abort puts back, and does not seal.
    UndoAbortNotSealed,
    /// Undo: the window of a snapshot begins with itself, not with the transaction's first one.
    UndoWindowOfOne,
    /// Undo: slots of the open transaction's snapshots are given up.
    UndoSlotsGivenUp,
    /// Undo: a commit that wrote fresh memory only writes no seal.
    UndoFreshWithoutSeal,
    /// Undo: what is logged already is logged again with what it holds now. Not wrong, but a second reading of a place.
    UndoLoggedTwice,
    /// Recovery: an undo transaction that no seal ended is taken for ended.
    UndoNotRolledBack,
    /// Recovery: snapshots are put back oldest first, in a log where a place is logged twice.
    UndoRolledBackForward,
    /// An unlogged store does not ask what the window covers.
    LineCovered,
    /// An unlogged store asks for the newest record's lines only.
    LineCoveredByNewestOnly,
    /// An unlogged store is acknowledged before its drain.
    LineNotDrained,
    /// Extensions are given back as soon as the commit is durable.
    ExtensionReusedEarly,
    /// An extension is placed in memory that a record of the window covers.
    ExtensionInCoveredMemory,
    /// The checksum of an extension is not verified.
    ExtensionUnchecked,
    /// Two journals in one mapping may have the same home.
    HomesOverlap,
    /// Pending records are not in the overlay: the next writer reads and compares with the mapping.
    NoOverlay,
    /// The overlay's lines are dropped at the next transaction, whether they were applied or not.
    OverlayDroppedEarly,
    /// Pending records are applied when they are written: readers see what may not survive.
    ApplyBeforeDurable,
    /// Records are written past the caches by their writers, and the leader flushes none of them.
    LeaderDoesNotFlush,
    /// The leader acknowledges its batch and leaves the drain to the next one.
    GroupAcknowledgesBeforeDrain,
    /// A record's slots are free when the next record is written, durable or not.
    ReleaseAtWritten,
    /// A freed block is handed out again when the record that frees it is written, and not applied.
    FreedBeforeApplied,
    /// On a disk, a record's write is taken for a drain of the applied pages.
    RecordSettlesPages,
}

/// A set of [`Shortcut`]s, normally empty.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shortcuts(u64);

impl Shortcuts {
    /// One shortcut.
    pub const fn one(shortcut: Shortcut) -> Shortcuts {
        Shortcuts(1 << shortcut as u64)
    }
    /// This one too.
    pub const fn and(self, shortcut: Shortcut) -> Shortcuts {
        Shortcuts(self.0 | 1 << shortcut as u64)
    }
    #[inline]
    pub(crate) fn has(self, shortcut: Shortcut) -> bool {
        self.0 != 0 && self.0 >> shortcut as u64 & 1 == 1
    }
}
