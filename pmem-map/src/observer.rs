//! Every store, flush and drain of a region, told to whoever asked, who may also forbid it.
//!
//! A run-time hook, never a cargo feature: feature unification would switch it on for everybody. Absent, it
//! costs one load of a null pointer per operation; whatever is done for an observer is out of line.

use crate::Region;
use std::panic::Location;

/// What happened, in the order in which the calling thread did it.
///
/// Offsets and lengths are bytes. Events of one thread arrive on that thread, synchronously, after the
/// store and before the operation returns; `std::thread::current()` says which it is.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Bytes were stored by ordinary instructions. A copy is not one store: its aligned 8-byte words are
    /// each atomic, in no promised order. An 8-byte aligned `bytes` is a single store.
    Store {
        /// First byte.
        offset: u64,
        /// What was stored.
        bytes: &'a [u8],
        /// Who called.
        caller: &'static Location<'static>,
    },
    /// Bytes were stored past the caches: unordered until this thread drains, flushed already.
    StoreNontemporal {
        /// First byte.
        offset: u64,
        /// What was stored.
        bytes: &'a [u8],
        /// Who called.
        caller: &'static Location<'static>,
    },
    /// The lines of a range were flushed: this thread's next drain makes their present content durable.
    Flush {
        /// First byte.
        offset: u64,
        /// Length; every line it touches was flushed.
        len: u64,
        /// Who called.
        caller: &'static Location<'static>,
    },
    /// A drain is about to begin. The states that a crash *before* it could leave are those of now.
    BeforeDrain {
        /// Who called.
        caller: &'static Location<'static>,
    },
    /// What this thread flushed or stored past the caches is in the persistence domain.
    Drain {
        /// Who called.
        caller: &'static Location<'static>,
    },
    /// The file behind the mapping got another length. Not durable before [`Event::FileSync`].
    Resize {
        /// Length before.
        from: u64,
        /// Length after.
        to: u64,
    },
    /// The file's length and content were synced (`fsync`).
    FileSync,
    /// The file's name was created or changed. Not durable before [`Event::DirectorySync`].
    NameCreated,
    /// The directory that holds the file's name was synced.
    DirectorySync,
    /// The owner of these bytes says that a durable record holds their present content, and that whoever opens the
    /// mapping next stores it again: until the next drain they need not be flushed.
    Covered {
        /// First byte.
        offset: u64,
        /// Length.
        len: u64,
    },
}

/// What is to become of an operation that an observer was asked about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Decision {
    /// It is done, and told.
    #[default]
    Perform,
    /// It is neither done nor told, and its caller sees a success: a program with this line taken out.
    Skip,
    /// A drain fails as a write-back does: the region is poisoned. Other operations cannot fail, and are done.
    Fail,
}

/// Sees the events of a region. Called on the thread that causes them; it must not store to the region.
pub trait Observer: Send + Sync + 'static {
    /// `event` happened on `region`.
    fn event(&self, region: &Region, event: Event<'_>);

    /// `event`, a store, a flush, or a drain, is about to happen. For tools that take the program under test apart.
    fn decide(&self, region: &Region, event: &Event<'_>) -> Decision {
        let _ = (region, event);
        Decision::Perform
    }

    /// From now on, until [`detached`](Observer::detached), it is told of `region`'s events. What happened while it was
    /// opened is told after this.
    fn attached(&self, region: &Region) {
        let _ = region;
    }

    /// `region` is about to be unmapped. Not told in a forked child.
    fn detached(&self, region: &Region) {
        let _ = region;
    }
}
