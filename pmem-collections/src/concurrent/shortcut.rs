//! Shortcuts through the protocol of the cells, each of them wrong: switches for the tests that prove that the crash
//! exploration finds what they break. Never set outside tests.

/// One way to get the protocol wrong.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shortcut {
    /// An entry is published and acknowledged before its cell is drained.
    PutNotDrained,
    /// A removal is acknowledged before it is drained.
    RemoveNotDrained,
    /// A removal does not care whether an older cell of the key may still be valid.
    OlderNotDrained,
    /// A superseded cell is used again although its 0 may not be durable.
    SupersededReused,
    /// The 0 of a superseded cell is never stored.
    SupersededLeft,
    /// Opening begins no new life: seqs come again.
    NoNewLife,
    /// Opening believes cells whose checksum is wrong.
    NoChecksum,
    /// Opening takes any cell of a key, not the newest.
    AnyVersion,
    /// An append is acknowledged although an earlier one is not durable.
    NotInOrder,
    /// Opening leaves the torn record where the next one goes.
    TornLeft,
}
