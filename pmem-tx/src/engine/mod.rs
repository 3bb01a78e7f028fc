//! The engine room: a log and a write set, for authors of pools and filesystems.
//!
//! [`Log`] is one lane's ring of records with its commit, checkpoint and recovery; [`WriteSet`] holds what a
//! transaction has changed. Neither takes a lock; [`crate::Journal`] is the plainest user of both.
//!
//! The media format and the protocol, with what each crash point leaves, are in this crate's FORMAT.md.

mod arena;
mod evidence;
mod format;
mod log;
mod ranges;
mod record;
mod recovery;
mod ring;
mod shortcut;
mod write_set;

pub(crate) use format::{check_area, is_blank};
pub use log::{Log, LogOptions, LogStats, UndoMark, UndoSet};
pub use record::{Change, Entries};
pub use recovery::Recovery;
#[doc(hidden)]
pub use shortcut::{Shortcut, Shortcuts};
pub use write_set::{Conflict, ForeignMark, Found, Mark, WriteSet};
