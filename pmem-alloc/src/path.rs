//! Pools in files.
#![expect(unsafe_code, reason = "mapping a file is the caller's promise that nobody else changes it")]

use crate::{
    ErrorKind, Pool, PoolOptions, Result,
    format::{self, Geometry, MAX_SIZE},
    growth::checked_max_size,
};
use pmem_map::{MapOptions, Mapping, PAGE};
use std::{fs::File, io::Read, os::unix::fs::OpenOptionsExt, path::Path};

impl PoolOptions {
    /// How the file is mapped: `emulate_pmem`, an observer, ... Its length and whether it is made are this value's
    /// business: see [`size`](PoolOptions::size).
    pub fn mapping(mut self, options: MapOptions) -> Self {
        self.mapping = options;
        self
    }

    /// Makes a pool in a new file. The file, its name and the pool are durable on return; a crash before leaves no
    /// pool, or all of it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AlreadyExists`]; [`ErrorKind::TooSmall`] and [`ErrorKind::TooLarge`], before there is a file;
    /// what the system refuses.
    ///
    /// # Safety
    ///
    /// No other process, and nobody else in this one, may write or truncate the file while the pool is open. Pools take
    /// an exclusive lock, so this holds unless something that is not a pool touches the file.
    pub unsafe fn create(&self, path: impl AsRef<Path>) -> Result<Pool> {
        let path = path.as_ref();
        self.check_sizes()?;
        if path.symlink_metadata().is_ok() {
            return Err(ErrorKind::AlreadyExists { path: path.into() }.into());
        }
        // SAFETY: the caller's promise.
        let mapping = unsafe { self.map_new(path) }?;
        match is_unfinished(&mapping)? {
            true => self.create_on(mapping),
            // Somebody was faster.
            false => Err(ErrorKind::AlreadyExists { path: path.into() }.into()),
        }
    }

    /// Opens the pool in the file at `path`; see [`open_on`](PoolOptions::open_on).
    ///
    /// # Errors
    ///
    /// Those of [`open_on`](PoolOptions::open_on); [`Locked`](pmem_map::Error::Locked) if another process, or another
    /// handle in this one, has the file; what the system refuses.
    ///
    /// # Safety
    ///
    /// As for [`create`](PoolOptions::create).
    pub unsafe fn open(&self, path: impl AsRef<Path>) -> Result<Pool> {
        // SAFETY: the caller's promise.
        let mapping = unsafe { self.reserving(path.as_ref()).create(false).open(path) }?;
        self.open_on(mapping)
    }

    /// Opens the pool at `path`, or makes it if there is no file, or one whose creation was cut short by a crash. Any
    /// other file is left as it is.
    ///
    /// # Errors
    ///
    /// Those of [`open`](PoolOptions::open) and [`create`](PoolOptions::create).
    ///
    /// # Safety
    ///
    /// As for [`create`](PoolOptions::create).
    pub unsafe fn open_or_create(&self, path: impl AsRef<Path>) -> Result<Pool> {
        self.check_sizes()?;
        // SAFETY: the caller's promise.
        let mapping = unsafe { self.map_new(path.as_ref()) }?;
        if is_unfinished(&mapping)? { self.create_on(mapping) } else { self.open_on(mapping) }
    }

    /// Before there is a file to regret.
    fn check_sizes(&self) -> Result<()> {
        Geometry::for_size(self.size)?;
        checked_max_size(self.max_size).map(drop)
    }

    /// Maps the file, which is made if it is missing.
    unsafe fn map_new(&self, path: &Path) -> Result<Mapping> {
        // SAFETY: the caller's promise.
        Ok(unsafe { self.reserving(path).len(self.size).create(true).open(path) }?)
    }

    /// With addresses for all that the pool may grow to: what was asked for, or what a pool that is there says. (The
    /// latter is looked up before the file is locked. If it becomes wrong, the pool can grow less until it is opened
    /// again.)
    fn reserving(&self, path: &Path) -> MapOptions {
        let mut pages = Vec::new();
        let file = File::options().read(true).custom_flags(libc::O_NONBLOCK).open(path);
        if let Ok(file) = file
            && file.metadata().is_ok_and(|metadata| metadata.is_file())
        {
            _ = file.take(2 * PAGE).read_to_end(&mut pages);
        }
        self.mapping.clone().max_len(self.max_size.min(MAX_SIZE).max(format::hint_of_max_size(&pages)))
    }
}

/// Whether a pool is to be made in this file: a new one, or one of which the creation was cut short.
fn is_unfinished(mapping: &Mapping) -> Result<bool> {
    Ok(mapping.guarded(|| {
        let bytes = mapping.as_slice();
        format::read(bytes).is_err_and(|e| format::is_unfinished(bytes, &e))
    })?)
}

impl Pool {
    /// Opens the pool in the file at `path`: [`PoolOptions::open`] with no layout asked for.
    ///
    /// # Safety
    ///
    /// As for [`PoolOptions::create`].
    pub unsafe fn open(path: impl AsRef<Path>) -> Result<Pool> {
        // SAFETY: the caller's promise.
        unsafe { PoolOptions::new().open(path) }
    }

    /// Makes a pool of `size` bytes in a new file: [`PoolOptions::create`] with no layout name.
    ///
    /// # Safety
    ///
    /// As for [`PoolOptions::create`].
    pub unsafe fn create(path: impl AsRef<Path>, size: u64) -> Result<Pool> {
        // SAFETY: the caller's promise.
        unsafe { PoolOptions::new().size(size).create(path) }
    }
}
