//! The hash table behind [`PHashMap`](crate::PHashMap) and [`PHashSet`](crate::PHashSet).
//!
//! Extendible hashing (Fagin et al., TODS 1979) with segments of 8 KiB, much as CCEH (FAST'19) has them, and buckets of 256 bytes
//! with fingerprints, as in Dash (VLDB'20). What is different: a bucket's first word says which hashes it holds, so that no
//! look-up needs another line to trust what it found; the directory is a tree, which never doubles; homes
//! count their entries elsewhere, so that a miss ends at the home bucket, after removals too.
//!
//! A split keeps each entry's bucket and slot: so it is one pass, and always succeeds.
//!
//! A table treats keys and values as the slots that [`stored`](crate::stored) makes of them, and moves these as they are.
//!
//! Two rules keep a failed operation from leaving a half-changed table: everything that can fail for an ordinary reason
//! (no space, equal hashes) comes before the first change; and every bucket is checked when it is read, before
//! anything of it is changed.
//!
//! Reading order: [`layout`], [`header`], [`bucket`], [`directory`]; [`find`], [`insert`], [`split`], [`remove`], [`walk`],
//! [`check`].

mod bucket;
mod check;
mod directory;
mod find;
mod header;
mod insert;
mod layout;
mod remove;
mod salvage;
mod split;
#[cfg(test)]
mod tests;
mod trace;
mod walk;

pub(crate) use bucket::{Bucket, Slots};
pub(crate) use find::{Place, SlotAt};
pub(crate) use remove::Gone;
pub(crate) use walk::{Blocks, SegmentView};
pub use {check::TableSummary, header::EntryTooLarge, insert::TooManyEqualHashes};

use header::{Header, LEN, ROOT};
use layout::{LINE, Layout};
use pmem_alloc::{Body, Key, Mode, Ptr, Result, Stored, Write};
use siphasher::sip::SipHasher13;
use std::marker::PhantomData;

/// A table, during a transaction. `K` and `V` are what its buckets hold.
pub(crate) struct Table<'t, K, V, M: Mode> {
    pub(crate) body: Body<'t, M>,
    at: u64,
    /// The checked header's, kept up to date.
    root: u64,
    /// The references of the chunk that is the root, if it is one and nothing can change it: so that a look-up need not ask for
    /// them.
    top: Option<&'t [u64]>,
    len: u64,
    hasher: SipHasher13,
    types: PhantomData<fn() -> (K, V)>,
}

/// Makes an empty table: one block of 64 bytes.
pub(crate) fn create<K: Key, V: Stored>(body: &mut Body<'_, Write>) -> Result<Ptr<u8>> {
    let at = body.alloc(Header::new::<K, V>([0; 2])?)?;
    let key = header::hash_key(body.pool_identity(), at.offset());
    body.get_mut(at)?.hash_key = key;
    Ok(at.cast())
}

impl<'t, K: Key, V: Stored, M: Mode> Table<'t, K, V, M> {
    const LAYOUT: Layout = bucket::bucket_layout::<K, V>();

    /// Checks the header.
    pub(crate) fn attach(body: Body<'t, M>, at: Ptr<u8>) -> Result<Self> {
        let header = *body.get::<Header>(at.cast())?;
        header.check::<K, V>(at.offset())?;
        let Header { root, len, hash_key, .. } = header;
        let hasher = SipHasher13::new_with_keys(hash_key[0], hash_key[1]);
        let top = directory::steady_references(&body, root);
        Ok(Table { body, at: at.offset(), root, top, len, hasher, types: PhantomData })
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The hash of a key, in its stored form.
    #[inline]
    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        let hash = self.hasher.hash(key);
        #[cfg(test)]
        let hash = tests::weaken(hash);
        hash
    }

    /// Damage that only the table as a whole shows.
    #[cold]
    pub(crate) fn wrong(&self, expected: impl Into<String>, found: impl Into<String>) -> pmem_alloc::Error {
        crate::damage::corrupt(self.at, expected, found)
    }
}

// ---- the smallest changes --------------------------------------------------------------------

impl<K: Key, V: Stored> Table<'_, K, V, Write> {
    fn set_root(&mut self, root: u64) -> Result<()> {
        *self.body.get_mut::<u64>(Ptr::from_offset(self.at + ROOT))? = root;
        self.root = root;
        Ok(())
    }

    fn set_len(&mut self, len: u64) -> Result<()> {
        *self.body.get_mut::<u64>(Ptr::from_offset(self.at + LEN))? = len;
        self.len = len;
        Ok(())
    }

    fn bytes_mut(&mut self, at: u64, len: usize) -> Result<&mut [u8]> {
        if len == 0 { Ok(&mut []) } else { self.body.bytes_mut(Ptr::from_offset(at), len as u64) }
    }

    fn alloc(&mut self, len: usize) -> Result<u64> {
        self.body.alloc_aligned(len as u64, LINE as u64).map(Ptr::offset)
    }

    pub(crate) fn free(&mut self, block: u64) -> Result<()> {
        self.body.free(Ptr::<u8>::from_offset(block))
    }
}
