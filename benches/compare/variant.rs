//! Ways of making a change durable, and what each leaves after a crash.

use serde::{Deserialize, Serialize};

/// How a row makes its changes durable, if at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// Containers in DRAM: std's, dashmap.
    Dram,
    /// A raw mapping, stored to and nothing else.
    Unordered,
    /// A raw mapping, flushed and drained by hand.
    HandOrdered,
    /// A raw mapping of copies that say themselves whether they are whole.
    Slot,
    /// Transactions that save the old bytes first.
    Undo,
    /// Transactions that log the new bytes first.
    Redo,
    /// Redo, where threads share a drain.
    RedoGroup,
    /// Containers for many threads, each operation durable by itself.
    Concurrent,
    /// A volume of `nova-core`, in this process.
    Volume,
    /// A filesystem of the kernel's, by system call.
    Calls,
    /// Another store.
    Peer,
}

impl Variant {
    /// All, in the order of tables and legends.
    pub const ALL: [Variant; 11] = [
        Variant::Dram,
        Variant::Unordered,
        Variant::HandOrdered,
        Variant::Slot,
        Variant::Undo,
        Variant::Redo,
        Variant::RedoGroup,
        Variant::Concurrent,
        Variant::Volume,
        Variant::Calls,
        Variant::Peer,
    ];

    /// As tables call it.
    pub fn name(self) -> &'static str {
        match self {
            Variant::Dram => "DRAM",
            Variant::Unordered => "raw, unordered",
            Variant::HandOrdered => "raw, by hand",
            Variant::Slot => "raw, slot",
            Variant::Undo => "undo",
            Variant::Redo => "redo",
            Variant::RedoGroup => "redo, group",
            Variant::Concurrent => "concurrent",
            Variant::Volume => "volume",
            Variant::Calls => "system calls",
            Variant::Peer => "peer",
        }
    }

    /// What it promises, apart from what a row says of itself.
    pub fn promise(self) -> &'static str {
        match self {
            Variant::Dram => "nothing survives: the ceiling",
            Variant::Unordered => "not crash-safe: any bytes may be old or new; the ceiling of mapped files",
            Variant::HandOrdered => "what was drained is there; an update in place can be torn",
            Variant::Slot => "old or new, of one record that is alone in its slot",
            Variant::Undo | Variant::Redo => "all or nothing, of whatever was changed",
            Variant::RedoGroup => "all or nothing; threads that commit together share a drain",
            Variant::Concurrent => "each operation all or nothing, and durable on return",
            Variant::Volume => "each operation all or nothing, and durable on return",
            Variant::Calls => "as the row says",
            Variant::Peer => "each operation all or nothing, as durable as its settings say",
        }
    }

    /// The class of its marks in the report's style sheet.
    pub fn class(self) -> &'static str {
        match self {
            Variant::Dram => "dram",
            Variant::Unordered => "unordered",
            Variant::HandOrdered => "by-hand",
            Variant::Slot => "slot",
            Variant::Undo => "undo",
            Variant::Redo => "redo",
            Variant::RedoGroup => "redo-group",
            Variant::Concurrent => "concurrent",
            Variant::Volume => "volume",
            Variant::Calls => "calls",
            Variant::Peer => "peer",
        }
    }
}
