//! Pools that are only read, and pools of which the changes go nowhere: private views of a file that stays as it is.
#![expect(unsafe_code, reason = "mapping a file is the caller's promise that nobody else changes it")]

use crate::{CheckReport, ErrorKind, Opening, Pool, PoolOptions, PoolStats, ReadTx, Result};
use pmem_map::{Lock, Region};
use std::path::Path;

/// A pool that can only be read. Cheap to clone; `Send + Sync`; closed when the last clone is dropped.
///
/// A private view of the file, in which a pool that was not closed is recovered: the file stays byte for byte as it is.
/// Any number of processes may read a pool beside each other, and none may write it meanwhile.
///
/// ```
/// # use pmem_alloc::*;
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("pool");
/// # // SAFETY: nobody else knows this file.
/// # drop(unsafe { Pool::create(&path, 1 << 20) }?.write(|tx| {
/// #     *tx.open::<PHeap<u64>>("answer")?.root_mut()? = 42;
/// #     Ok(())
/// # })?);
/// // SAFETY: no other program writes or truncates this file.
/// let pool = unsafe { ReadPool::open(&path) }?;
/// assert_eq!(*pool.read()?.open::<PHeap<u64>>("answer")?.root()?, 42);
/// # Ok::<(), Error>(())
/// ```
///
/// There is no way to write:
///
/// ```compile_fail
/// # fn of(pool: &pmem_alloc::ReadPool) -> pmem_alloc::Result<()> {
/// pool.write(|tx| Ok(()))
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ReadPool(Pool);

impl ReadPool {
    /// Opens the pool in the file at `path`: [`PoolOptions::open_read_only`] with no layout asked for.
    ///
    /// # Safety
    ///
    /// As for [`PoolOptions::create`].
    pub unsafe fn open(path: impl AsRef<Path>) -> Result<ReadPool> {
        // SAFETY: the caller's promise.
        unsafe { PoolOptions::new().open_read_only(path) }
    }

    /// Begins to read. Waits for nobody.
    pub fn read(&self) -> Result<ReadTx<'_>> {
        self.0.read()
    }

    /// Compares bitmaps, descriptors and directory with each other.
    pub fn check(&self) -> Result<CheckReport> {
        self.0.check()
    }

    /// What the pool holds.
    pub fn stats(&self) -> Result<PoolStats> {
        self.0.stats()
    }

    /// What opening it found, and did in the private view: whoever opens the pool to write does it again.
    pub fn opening(&self) -> Opening {
        self.0.opening()
    }

    /// The bytes below.
    pub fn region(&self) -> &Region {
        self.0.region()
    }
}

impl PoolOptions {
    /// Whether [`open_read_only`](PoolOptions::open_read_only) refuses a pool that was not closed, instead of recovering
    /// it in its private view.
    pub fn require_clean(mut self, require: bool) -> Self {
        self.require_clean = require;
        self
    }

    /// Opens the pool in the file at `path` to read it. Writes nothing: needs permission to read the file and no more.
    ///
    /// What has to be replayed is replayed in memory that this process has for itself, a page for each that changes; so
    /// has what opening repairs. No drain of the medium.
    ///
    /// # Errors
    ///
    /// Those of [`open`](PoolOptions::open); [`Locked`](pmem_map::Error::Locked) if somebody has the pool open to write;
    /// [`ErrorKind::NeedsRecovery`], if [`require_clean`](PoolOptions::require_clean) asks for it.
    ///
    /// # Safety
    ///
    /// As for [`create`](PoolOptions::create).
    pub unsafe fn open_read_only(&self, path: impl AsRef<Path>) -> Result<ReadPool> {
        // SAFETY: the caller's promise.
        let pool = unsafe { self.open_private(path) }?;
        match pool.opening().replayed {
            records @ 1.. if self.require_clean => Err(ErrorKind::NeedsRecovery { records }.into()),
            _ => Ok(ReadPool(pool)),
        }
    }

    /// Opens the pool in the file at `path` to try something: it can be read and written, and nothing of that reaches the
    /// file. Changes are gone when the pool is closed. It cannot grow.
    ///
    /// Others may read the pool, or have private views of their own, meanwhile; nobody may write it.
    ///
    /// # Errors
    ///
    /// As for [`open_read_only`](PoolOptions::open_read_only).
    ///
    /// # Safety
    ///
    /// As for [`create`](PoolOptions::create).
    pub unsafe fn open_private(&self, path: impl AsRef<Path>) -> Result<Pool> {
        let mut options = self.clone();
        options.max_size = 0; // nothing to grow into, and nothing to record
        // SAFETY: the caller's promise.
        let mapping = unsafe { options.mapping.clone().create(false).lock(Lock::Shared).open(path) }?;
        options.open_on(mapping)
    }
}
