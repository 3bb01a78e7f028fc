//! The B+tree behind [`PBTreeMap`](crate::PBTreeMap).
//!
//! Unsorted leaves with a bitmap and one-byte fingerprints, as in FPTree (SIGMOD'16), so that an insert changes
//! four lines and not half a node; sorted inner nodes with a search without branches. No sibling links: an iterator keeps its
//! path. Leaves are merged late (when two siblings fill less than 3/4 of one), so that few removes touch more
//! than two lines.
//!
//! A tree treats keys and values as the slots that [`stored`](crate::stored) makes of them, and moves these as they are. A key
//! is looked for in its stored form. What refers to a block is freed when its entry goes; separators of keys that vary in
//! length are as short as they can be, and have blocks of their own if they must.
//!
//! Two rules keep a failed operation from leaving a half-changed tree: everything that can fail for an ordinary
//! reason (no space) and everything that runs foreign code (`Ord` of the key) comes before the first change; and every node is
//! checked when it is read, before anything of it is changed.
//!
//! Reading order: [`layout`], [`header`], [`node`]; [`path`] (descents), [`change`], [`insert`], [`bulk`],
//! [`remove`], [`retain`], [`check`], [`salvage`], [`trace`].

mod bulk;
mod change;
mod check;
mod header;
mod insert;
mod layout;
mod node;
mod path;
mod remove;
mod retain;
mod salvage;
mod trace;

pub(crate) use bulk::sort;
pub(crate) use node::{Leaf, equal_bytes};
pub(crate) use path::{Aim, Direction, Path};
pub use {check::TreeSummary, header::EntryTooLarge};

use crate::damage::corrupt;
use header::Header;
use node::Inner;
use pmem_alloc::{Body, Mode, OrdKey, Ptr, Result, Stored, Write};
use std::marker::PhantomData;

/// A tree, during a transaction. `K` and `V` are what its nodes hold.
pub(crate) struct Tree<'t, K, V, M: Mode> {
    pub(crate) body: Body<'t, M>,
    at: u64,
    /// The checked header's, kept up to date.
    root: u64,
    height: u32,
    len: u64,
    types: PhantomData<fn() -> (K, V)>,
}

/// Where an entry is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlotAt {
    pub(crate) leaf: u64,
    pub(crate) slot: usize,
}

/// Where a key is, or could be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// There.
    Taken(SlotAt),
    /// It is not in the tree; this slot of its leaf is free.
    Free(SlotAt),
    /// It is not in the tree, and there is no free slot where it belongs.
    Full,
}

/// Makes an empty tree: one block of 64 bytes.
pub(crate) fn create<K: Stored, V: Stored>(body: &mut Body<'_, Write>) -> Result<Ptr<u8>> {
    Ok(body.alloc(Header::new::<K, V>()?)?.cast())
}

impl<'t, K: OrdKey, V: Stored, M: Mode> Tree<'t, K, V, M> {
    /// Checks the header.
    pub(crate) fn attach(body: Body<'t, M>, at: Ptr<u8>) -> Result<Self> {
        let header = *body.get::<Header>(at.cast())?;
        header.check::<K, V>(at.offset())?;
        let Header { root, height, len, .. } = header;
        Ok(Tree { body, at: at.offset(), root, height, len, types: PhantomData })
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The leaf at `at`: every leaf that is read is read here, once its offset is known.
    pub(crate) fn leaf(&self, at: u64) -> Result<Leaf<'_, K, V, M>> {
        Leaf::read(&self.body, at)
    }

    /// The inner node at `at`.
    fn inner(&self, at: u64, level: u32) -> Result<Inner<'_, K, M>> {
        Inner::read(&self.body, at, level)
    }

    /// Damage that only the tree as a whole shows.
    #[cold]
    pub(crate) fn wrong(&self, expected: impl Into<String>, found: impl Into<String>) -> pmem_alloc::Error {
        corrupt(self.at, expected, found)
    }
}
