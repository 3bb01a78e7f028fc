//! What is durable, as types: a file's metadata can only refer to blocks whose content is.
//!
//! ```text
//!   Stored  --drain-->  Durable  --Append::extent-->  linked by the next record
//! ```
//!
//! [`Stored`] blocks were written past the caches and may still be on their way. Only a drain makes them
//! [`Durable`], and only `Durable` blocks can be linked: forgetting the drain does not compile. (SquirrelFS: LeBlanc et al., OSDI 2024.)
//! Blocks whose content is in the record itself need no drain before it: they are `Durable` from the start.

use crate::{Result, alloc::Run, media::Media};

/// New blocks whose content was stored, and is not known to be durable.
#[must_use = "blocks that were stored are to be drained and linked"]
pub struct Stored(Vec<Run>);

/// New blocks whose content is durable, or will be with the record that links them.
#[must_use = "durable blocks are to be linked"]
pub struct Durable(Vec<Run>);

impl Stored {
    pub(crate) fn new(runs: Vec<Run>) -> Stored {
        Stored(runs)
    }

    /// Waits until everything this thread has stored is durable. One drain.
    pub(crate) fn drain(self, media: &Media) -> Result<Durable> {
        media.drain()?;
        Ok(Durable(self.0))
    }
}

impl Durable {
    /// Blocks that are stored by the record that links them, or that read as zeros.
    pub(crate) fn with_record(runs: Vec<Run>) -> Durable {
        Durable(runs)
    }

    pub(crate) fn runs(&self) -> &[Run] {
        &self.0
    }
}

#[cfg(doctest)]
/// What was stored and not drained cannot be linked:
///
/// ```compile_fail,E0308
/// fn link(_: nova_core::ordering::Durable) {}
/// fn forget_the_drain(stored: nova_core::ordering::Stored) {
///     link(stored)
/// }
/// ```
///
/// Nor can anybody make durable blocks out of nothing:
///
/// ```compile_fail,E0423
/// let durable = nova_core::ordering::Durable(Vec::new());
/// ```
pub struct CompileFail;
