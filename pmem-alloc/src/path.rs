//! Pools in files.
#![expect(unsafe_code, reason = "mapping a file is the caller's promise that nobody else changes it")]

use crate::{
    ErrorKind, Pool, PoolOptions, Result,
    format::{self, Geometry},
};
use pmem_map::{MapOptions, Mapping};
use std::path::Path;

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
        Geometry::for_size(self.size)?;
        if path.symlink_metadata().is_ok() {
            return Err(ErrorKind::AlreadyExists { path: path.into() }.into());
        }
        // SAFETY: the caller's promise.
        let mapping = unsafe { self.map_new(path) }?;
        match format::read(mapping.as_slice()) {
            Err(e) if format::is_unfinished(mapping.as_slice(), &e) => self.create_on(mapping),
            // Somebody was faster.
            _ => Err(ErrorKind::AlreadyExists { path: path.into() }.into()),
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
        let mapping = unsafe { self.mapping.clone().create(false).open(path) }?;
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
        Geometry::for_size(self.size)?;
        // SAFETY: the caller's promise.
        let mapping = unsafe { self.map_new(path.as_ref()) }?;
        match format::read(mapping.as_slice()) {
            Err(e) if format::is_unfinished(mapping.as_slice(), &e) => self.create_on(mapping),
            _ => self.open_on(mapping),
        }
    }

    /// Maps the file, which is made if it is missing.
    unsafe fn map_new(&self, path: &Path) -> Result<Mapping> {
        // SAFETY: the caller's promise.
        Ok(unsafe { self.mapping.clone().len(self.size).create(true).open(path) }?)
    }
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
