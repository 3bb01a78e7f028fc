//! Sending a snapshot, or what changed from one to another, to another volume: a stream of frames.
//!
//! A whole snapshot is what changed from nothing. Frames ([`frame`](self::frame)) come in the order in which they can be applied: names that go, names that come, content,
//! then everything else that files have, with their times. Each part of content has at most 1 MiB; holes stay holes.
//!
//! *Which file is meant.* Inode numbers differ between volumes, and no map of them is kept: a file is named by its path. A path of the older tree is looked up in the receiver's
//! snapshot of that tree, and is a number there, which stays, whatever names the file has by now; a path of the newer tree is looked up in the live files, when all names are as they
//! are to be. Only what gets other names is in between without one: it is *held*, under the sender's number, in a directory of the root that is gone when the names are done.
//!
//! *Times* are the sender's, all four. (Of a file that an increment says nothing of, the access time is what reading it here has made of it.)
//!
//! *Going on.* A frame that is applied again, with all that follow, leads to the same tree: what goes is compared by number and generation with
//! what the base has there, what comes may be there already. So the memory of how far this has come ([`memory`](self::memory)) may lag behind, and a crash costs
//! at most some frames. It has a checksum of the checksums of all frames that were applied: another stream is not taken for the same one.

mod apply;
mod frame;
pub(crate) mod memory;
mod parts;
mod receive;
mod send;

pub(crate) use frame::Lines;

use super::SnapshotInfo;

/// What was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendReport {
    /// Frames, with the last one.
    pub frames: u64,
    /// Bytes of files' content.
    pub content: u64,
    /// Bytes of the stream.
    pub bytes: u64,
}

/// What was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiveReport {
    /// The snapshot that was made.
    pub snapshot: SnapshotInfo,
    /// Frames that were applied.
    pub applied: u64,
    /// Frames that had been applied before.
    pub skipped: u64,
    /// Bytes of the stream that were read.
    pub bytes: u64,
    /// The snapshot was there already, from the same stream: nothing was done.
    pub was_there: bool,
}
