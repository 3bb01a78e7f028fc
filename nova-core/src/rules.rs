//! Rules of the protocol, each with a switch that breaks it: for tests that prove that the crash exploration finds what they are for. Never
//! set outside tests.

/// A rule that is left out.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Content beside the record is durable before the record links it.
    DataBeforeRecord,
    /// Freed blocks are handed out again when no record's window reaches the one that freed them.
    FreedBlocksWait,
    /// New log lines are logged whole, whatever is visible there.
    NewLinesWhole,
    /// Content is logged whole, whatever is visible there.
    DataWhole,
    /// A mount after a crash ends files without names.
    OrphansEnd,
    /// A mount voids the checkpoint before anything is changed.
    CheckpointVoid,
    /// A checkpoint is durable before the state line leads to it.
    CheckpointBeforeRecord,
    /// Slots of a new segment are zero, durably, before records compare with them.
    SegmentZeroed,
    /// A log that is written anew is durable before the record switches to it.
    RewriteBeforeRecord,
    /// Stores without a record wait until no record's window names their bytes.
    StoresAfterPatches,
    /// The magic of a superblock is stored when everything else is durable.
    MagicLast,
    /// A volume's old superblocks are void before a new one is written over it.
    MagicsAway,
    /// Zeros behind a file's end that becomes content are part of the record.
    ZerosInRecord,
    /// A block that a snapshot has is not stored to in place.
    SnapshotsShare,
    /// An inode's lines are saved for the newest snapshot by the record that changes them first.
    LinesSaved,
    /// Blocks that a snapshot has are not handed out again.
    SnapshotsHold,
    /// A snapshot's block is durable before the state line leads to it.
    SnapshotBeforeRecord,
    /// Mapped files are protected at one moment.
    MappingsAtOnce,
    /// What mapped files were stored to before a snapshot is drained before its record.
    StoresBeforeRecord,
    /// A copy of a mapped page is durable before the page is stored to.
    CopiesBeforeStores,
    /// What an `msync` of an atomic mapping links is linked by one record.
    MsyncInOneRecord,
    /// Checksums and parity of content beside the record are durable before the record links it.
    ProtectionBeforeRecord,
    /// Checksums of content in the record are in the record.
    ChecksumsInRecord,
    /// A file is marked as mapped, durably, before it can be stored to.
    MappedBeforeStores,
    /// What protects a file that was mapped is durable before its mark is taken away.
    ProtectionBeforeUnmapped,
    /// What protects a page that a mapping stored to is computed anew when the last mapping ends.
    StoredPagesProtected,
    /// A mount finishes a roll back that a crash cut short.
    RollbackFinished,
    /// Metadata that has replicas is changed in both places by one record.
    CopiesInRecord,
    /// A roll back copies blocks that later snapshots do not have: a block's owners are those from its birth to its end.
    RollbackCopies,
}
