//! The volume's bytes: loads, checksums, stores past the caches. The only module that touches them, beside the journal.
//!
//! No reference to the bytes ever exists: they are copied in and out, as a kernel does. Who may store where is said by who owns a
//! block: free blocks are their allocator's caller's, a file's its inode's lock holder's, and metadata is stored by the journal alone.
//! A file that is mapped is at other addresses too; its bytes are only ever copied. A repair of content (`integrity`) stores what has to be there while others may
//! copy it out: what they copied they verify.

#![allow(unsafe_code)]

use crate::{
    Error, Result,
    alloc::Run,
    crc,
    format::{BLOCK, LINE, Structure},
    guard::{self, Guard, WriteProtection},
    integrity::replica::{Look, Replicas},
};
use bytemuck::{Pod, Zeroable};
use pmem_map::Region;
use std::{ops::Range, sync::Arc};

#[derive(Clone)]
pub(crate) struct Media {
    region: Arc<Region>,
    /// Bytes of the volume.
    len: u64,
    seed: u32,
    /// Blocks that metadata may name.
    blocks: Range<u64>,
    /// If stores take a window.
    guard: Option<Arc<Guard>>,
    /// If metadata has replicas.
    pub(crate) replicas: Option<Arc<Replicas>>,
    pub(crate) look: Look,
}

impl Media {
    /// `identity` is what checksums are seeded with.
    pub(crate) fn new(region: Arc<Region>, len: u64, identity: &[u8; 16]) -> Media {
        let (seed, blocks) = (crc32c::crc32c(identity), 0..len / BLOCK);
        Media { region, len, seed, blocks, guard: None, replicas: None, look: Look::default() }
    }

    /// The same, where metadata has replicas, if it has.
    pub(crate) fn replicated(self, replicas: Option<Arc<Replicas>>) -> Media {
        Media { replicas, ..self }
    }

    /// The same, whose metadata is read as `look` says.
    pub(crate) fn looking(&self, look: Look) -> Media {
        Media { look, ..self.clone() }
    }

    /// Blocks that a block of metadata takes.
    pub(crate) fn copies(&self) -> u64 {
        if self.replicas.is_some() { 2 } else { 1 }
    }

    /// All blocks of the block of metadata at `at`.
    pub(crate) fn run_of(&self, at: u64) -> Run {
        Run { start: at / BLOCK, blocks: self.copies() }
    }

    /// The same, with the blocks that metadata may name: those that can be owned.
    pub(crate) fn naming(self, blocks: Range<u64>) -> Media {
        Media { blocks, ..self }
    }

    /// The same, of bytes that are protected against stores.
    pub(crate) fn guarded_by(self, guard: Option<Arc<Guard>>) -> Media {
        Media { guard, ..self }
    }

    pub(crate) fn write_protection(&self) -> WriteProtection {
        guard::kind(&self.guard)
    }

    /// Whether metadata may name these blocks.
    pub(crate) fn has_blocks(&self, start: u64, count: u64) -> bool {
        self.blocks.contains(&start) && count <= self.blocks.end - start
    }

    pub(crate) fn region(&self) -> &Arc<Region> {
        &self.region
    }

    /// Bytes of the volume.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Copies bytes out.
    pub(crate) fn copy_out(&self, at: u64, into: &mut [u8], what: &'static str) -> Result<()> {
        if at.checked_add(into.len() as u64).is_none_or(|end| end > self.len) {
            return Error::damaged(what, at, "it is outside the volume");
        }
        guard::load(&self.guard);
        // A page that is gone is an error.
        self.region.guarded(|| {
            // SAFETY: in bounds. Who stores to these bytes is excluded by the locks that the module's head names; of a mapped file's
            // bytes a copy may be torn, and is only ever bytes.
            unsafe { self.region.load(at, into) };
        })?;
        Ok(())
    }

    /// A structure, whether or not its checksum is right.
    pub(crate) fn load<T: Structure>(&self, at: u64) -> Result<T> {
        if at % 8 != 0 {
            return Error::damaged(T::NAME, at, "misaligned");
        }
        let mut value = T::zeroed();
        self.copy_out(at, bytemuck::bytes_of_mut(&mut value), T::NAME)?;
        Ok(value)
    }

    /// A structure with the right checksum.
    pub(crate) fn read<T: Structure>(&self, at: u64) -> Result<T> {
        if at % 8 != 0 {
            return Error::damaged(T::NAME, at, "misaligned");
        }
        let mut value = T::zeroed();
        self.read_into(at, bytemuck::bytes_of_mut(&mut value), T::NAME)?;
        Ok(value)
    }

    /// Whether `bytes`, at `at`, begin with the right checksum.
    pub(crate) fn check(&self, at: u64, bytes: &[u8], what: &'static str) -> Result<()> {
        if self.checksum(at, bytes) == u32::from_le_bytes(bytes[..4].try_into().expect("four bytes")) {
            Ok(())
        } else {
            Error::damaged(what, at, "its checksum is wrong")
        }
    }

    /// The checksum of a structure that will be at `at`.
    pub(crate) fn checksum(&self, at: u64, bytes: &[u8]) -> u32 {
        crc::of_structure(self.seed, &bytes[4..], at)
    }

    /// Writes its checksum into a structure that will be at `at`.
    pub(crate) fn seal(&self, at: u64, bytes: &mut [u8]) {
        let sum = self.checksum(at, bytes);
        bytes[..4].copy_from_slice(&sum.to_le_bytes());
    }

    /// The structure with its checksum, for `at`.
    pub(crate) fn sealed<T: Pod + Zeroable>(&self, at: u64, mut value: T) -> T {
        self.seal(at, bytemuck::bytes_of_mut(&mut value));
        value
    }

    /// Stores past the caches: durable after this thread's next drain. To bytes that are the caller's by the module's head.
    pub(crate) fn store(&self, at: u64, bytes: &[u8]) {
        assert!(at >= BLOCK && at + bytes.len() as u64 <= self.len - BLOCK, "a store to a superblock");
        let _window = guard::window(&self.guard);
        // Of a page that is gone the drain tells, as of all that follow.
        let _ = self.region.guarded(|| {
            // SAFETY: in bounds; no reference to these bytes exists, and nobody else loads or stores them (the module's head).
            unsafe { self.region.store_nontemporal(at, bytes) };
        });
    }

    /// As [`store`](Media::store), metadata of one block: to its copy, too, if it has one.
    pub(crate) fn store_twice(&self, at: u64, bytes: &[u8]) {
        debug_assert!(at % BLOCK + bytes.len() as u64 <= BLOCK);
        (0..self.copies()).for_each(|copy| self.store(at + copy * BLOCK, bytes));
    }

    /// As [`store`](Media::store), zeros.
    pub(crate) fn zero(&self, at: u64, len: u64) {
        assert!(at >= BLOCK && at + len <= self.len - BLOCK, "a store to a superblock");
        if len > 0 {
            let _window = guard::window(&self.guard);
            let _ = self.region.guarded(|| {
                // SAFETY: as in `store`.
                unsafe { self.region.fill_nontemporal(at, 0, len) };
            });
        }
    }

    /// Has what mappings of files stored to these bytes on its way: durable after this thread's next drain.
    pub(crate) fn flush(&self, bytes: Range<u64>) -> pmem_map::Result<()> {
        guard::load(&self.guard); // a flush is a load, to who asks whether it may be
        self.region.flush(bytes)
    }

    /// What this thread has stored is durable on return.
    pub(crate) fn drain(&self) -> Result<()> {
        Ok(self.region.drain()?)
    }
}

/// Superblocks: stored by format, and by a mount that mends one; nobody else knows the volume then.
impl Media {
    pub(crate) fn store_superblock(&self, at: u64, bytes: &[u8]) -> Result<()> {
        let _window = guard::window(&self.guard);
        // SAFETY: as the head of this `impl` says.
        unsafe { self.region.store(at, bytes) };
        Ok(self.region.flush(at..at + bytes.len() as u64)?)
    }

    pub(crate) fn store_magic(&self, at: u64, magic: u64) -> Result<()> {
        let _window = guard::window(&self.guard);
        // SAFETY: as the head of this `impl` says.
        unsafe { self.region.store_word(at, magic) };
        Ok(self.region.persist(at / LINE * LINE..at / LINE * LINE + LINE)?)
    }
}
