//! The engine room: a log and a write set, for authors of pools and filesystems.
//!
//! [`Log`] is one lane's ring of records with its commit, checkpoint and recovery; [`WriteSet`] holds what a
//! transaction has changed. Neither takes a lock. [`Pipeline`] takes records from the writer that are to become durable
//! later, or together, by whichever thread waits for that. [`crate::Journal`] is the plainest user of all three.
//!
//! The media format and the protocol, with what each crash point leaves, are in this crate's FORMAT.md.

mod arena;
mod dirty;
mod evidence;
mod format;
mod log;
mod overlay;
mod pipeline;
mod ranges;
mod record;
mod recovery;
mod ring;
mod shortcut;
mod write_set;

pub(crate) use format::{check_area, is_blank};
pub use log::{Filling, Lines, Log, LogOptions, LogStats, UndoMark, UndoSet};
pub(crate) use pipeline::this_thread;
pub use pipeline::{Pipeline, Ticket};
pub use record::{Change, Entries};
pub use recovery::Recovery;
#[doc(hidden)]
pub use shortcut::{Shortcut, Shortcuts};
pub use write_set::{Conflict, ForeignMark, Found, Mark, WriteSet};
