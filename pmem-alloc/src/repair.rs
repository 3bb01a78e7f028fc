//! Repair: frees what leaked, and mends what follows from the rest.
//!
//! Only what can be proved is changed. A leak is one only if every object was followed to its end. Page table and bitmaps are
//! mended the way that opening would have to read them, if every object can be followed whole with that: so no block of
//! any object has gone with the bits that are cleared. The directory's beginning is found again by its entries, which check
//! themselves, if they make one list. What cannot be proved stays as it is, and is the error.
//!
//! Changes are committed by records as all others: a crash leaves some of them done, and the next repair does the rest.

use crate::{
    CheckReport, Error, ErrorKind, Object, Pool, PoolOptions, Result,
    census::{Census, Traced},
    check, directory,
    heap::Block,
    kind::{Kind, Kinds},
    pool::Inner,
    transaction::Writer,
};
use pmem_map::Mapping;
use std::{fmt, path::Path, sync::Arc};

/// Blocks that are freed by one record, and words that are mended by one: fits the smallest log.
const AT_ONCE: usize = 128;

/// The types that a program has, for what has to follow objects: see [`Pool::register`].
pub struct Registry<'a>(pub(crate) &'a Kinds);

impl Registry<'_> {
    /// The program has the type `O`.
    pub fn register<O: Object>(&mut self) -> &mut Self {
        self.0.register(Kind::of::<O>());
        self
    }
}

/// What a repair did. Printing it tells in words.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Repair {
    /// Leaked blocks that were freed.
    pub freed_blocks: u64,
    /// Bytes of these.
    pub freed_bytes: u64,
    /// Words of the page table and of the bitmaps that were corrected.
    pub mended_words: u64,
    /// The directory's beginning was found again.
    pub found_directory: bool,
    /// Blocks that belong to nothing that could be followed. They were left alone.
    pub untraced_blocks: u64,
    /// What is still wrong, in words. Empty: nothing.
    pub left: Vec<String>,
}

impl fmt::Display for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Repair { freed_blocks, freed_bytes, mended_words, found_directory, untraced_blocks, left } = self;
        write!(
            f,
            "freed {freed_blocks} leaked blocks of {freed_bytes} bytes, corrected {mended_words} words"
        )?;
        if *found_directory {
            write!(f, ", found the directory again")?;
        }
        if *untraced_blocks > 0 {
            write!(f, "; left {untraced_blocks} blocks alone, because not every object could be followed")?;
        }
        left.iter().try_for_each(|what| write!(f, "\n  still wrong: {what}"))
    }
}

/// What is on media and should be otherwise, in a pool that opening would refuse.
#[derive(Default)]
pub(crate) struct Mends {
    /// Words of page table and bitmaps, with what they should be.
    pub(crate) words: Vec<(u64, u64)>,
    /// Where the directory begins, if that was lost, and what opening says to that.
    pub(crate) head: Option<(u64, Error)>,
    /// What is wrong with page table and bitmaps.
    pub(crate) faults: Vec<Error>,
}

impl Pool {
    /// Writes a [`backup`](Pool::backup) to `backup`, then frees all leaks: see [`repair_in_place`](Pool::repair_in_place).
    ///
    /// # Errors
    ///
    /// Those of both.
    ///
    /// # Safety
    ///
    /// As for [`backup`](Pool::backup).
    #[expect(unsafe_code, reason = "mapping a file is the caller's promise that nobody else changes it")]
    pub unsafe fn repair(&self, backup: impl AsRef<Path>) -> Result<Repair> {
        // SAFETY: the caller's promise.
        unsafe { self.backup(backup) }?;
        self.repair_in_place()
    }

    /// Frees every leak, if all objects can be followed ([`check`](Pool::check) says how); reports what else is wrong. Some blocks at
    /// a time, one drain for each time; durable on return. Doing it again does nothing more. Waits for the transaction that is open, if any.
    ///
    /// (Damage that keeps a pool from being opened is for [`PoolOptions::repair`].)
    pub fn repair_in_place(&self) -> Result<Repair> {
        let inner = &self.inner;
        inner.with_writer("repair", |writer| {
            let mut repair = Repair::default();
            free_leaks(inner, writer, &mut repair)?;
            Ok(repair)
        })?
    }
}

/// Frees what no object has, if all were followed, and tells what remains wrong.
fn free_leaks(inner: &Arc<Inner>, writer: &mut Writer, repair: &mut Repair) -> Result<()> {
    let report: CheckReport = check::check(inner, writer);
    repair.untraced_blocks = report.untraced_blocks;
    repair.left =
        report.problems.iter().map(|problem| format!("at {}: {}", problem.offset, problem.what)).collect();
    // With two owners of a block, or a reference to nothing, it is not certain who has what.
    if !report.problems.is_empty() {
        return Ok(());
    }
    for leaks in report.leaks.chunks(AT_ONCE) {
        for leak in leaks {
            let Writer { heap, set, .. } = writer;
            let Block { len, .. } = heap.free(leak.offset, set).expect("a block that was found");
            repair.freed_bytes += len;
        }
        commit(inner, writer)?;
        repair.freed_blocks += leaks.len() as u64;
    }
    Ok(())
}

/// Commits what was done to words, outside any transaction of a user.
fn commit(inner: &Inner, writer: &mut Writer) -> Result<()> {
    let Writer { log, set, heap, .. } = writer;
    match log.commit(set, || inner.gate.write()) {
        Ok(_) => {
            heap.commit();
            Ok(())
        }
        Err(e) => {
            heap.abort();
            set.clear();
            Err(e.into())
        }
    }
}

impl PoolOptions {
    /// Repairs the pool in the file at `path`, which may be too damaged to be opened, after a copy of the file, as it is, was
    /// written to `backup`: see [`repair_on`](PoolOptions::repair_on).
    ///
    /// # Errors
    ///
    /// Those of [`repair_on`](PoolOptions::repair_on); [`ErrorKind::AlreadyExists`] if there is something at `backup`: nothing was changed then.
    ///
    /// # Safety
    ///
    /// As for [`create`](PoolOptions::create), of both files.
    #[expect(unsafe_code, reason = "mapping a file is the caller's promise that nobody else changes it")]
    pub unsafe fn repair(
        &self,
        path: impl AsRef<Path>,
        backup: impl AsRef<Path>,
        register: impl FnOnce(&mut Registry<'_>),
    ) -> Result<(Pool, Repair)> {
        let (path, backup) = (path.as_ref(), backup.as_ref());
        if backup.symlink_metadata().is_ok() {
            return Err(ErrorKind::AlreadyExists { path: backup.into() }.into());
        }
        // SAFETY: the caller's promise. Mapped before it is copied, so that nobody else has it open meanwhile.
        let mapping = unsafe { self.mapping.clone().create(false).open(path) }?;
        let copied = std::fs::copy(path, backup).and_then(|_| std::fs::File::open(backup)?.sync_all());
        copied.map_err(|source| pmem_map::Error::Io { action: "copy", path: backup.into(), source })?;
        self.repair_on(mapping, register)
    }

    /// As [`repair`](PoolOptions::repair), without a copy first.
    ///
    /// # Safety
    ///
    /// As for [`create`](PoolOptions::create).
    #[expect(unsafe_code, reason = "mapping a file is the caller's promise that nobody else changes it")]
    pub unsafe fn repair_in_place(
        &self,
        path: impl AsRef<Path>,
        register: impl FnOnce(&mut Registry<'_>),
    ) -> Result<(Pool, Repair)> {
        // SAFETY: the caller's promise.
        let mapping = unsafe { self.mapping.clone().create(false).open(path) }?;
        self.repair_on(mapping, register)
    }

    /// Opens a pool that may be too damaged for [`open_on`](PoolOptions::open_on), and repairs it. `register` tells the types that the program has.
    ///
    /// What is mended: a lost beginning of the directory, if its entries make one list and all blocks belong to it; page table and bitmaps, if every object can
    /// be followed with what is left of them; leaks are freed, if every object can be followed. Durable on return; a crash in
    /// between leaves a pool that repairs as before.
    ///
    /// # Errors
    ///
    /// Those of [`open_on`](PoolOptions::open_on), for what cannot be mended; nothing was changed then, but what every opening changes.
    pub fn repair_on(
        &self,
        mapping: Mapping,
        register: impl FnOnce(&mut Registry<'_>),
    ) -> Result<(Pool, Repair)> {
        let mut mends = Mends::default();
        let pool = self.open_mapping(mapping, Some(&mut mends))?;
        let inner = &pool.inner;
        register(&mut Registry(&inner.kinds));
        let repair = inner.with_writer("repair", |writer| {
            let mut repair = Repair::default();
            mend(inner, writer, mends, &mut repair)?;
            free_leaks(inner, writer, &mut repair)?;
            Ok::<_, Error>(repair)
        })??;
        Ok((pool, repair))
    }
}

/// Writes what the writer believes already, if that is proved.
fn mend(inner: &Arc<Inner>, writer: &mut Writer, mends: Mends, repair: &mut Repair) -> Result<()> {
    let Mends { words, head, faults } = mends;
    if let Some(fault) = faults.into_iter().next() {
        let census = Census::take_from(head.as_ref().map(|(head, _)| *head), inner, writer, false)?;
        let is_whole = |object: &Traced| {
            object.is_complete() && object.found.twice.is_empty() && object.found.dangling.is_empty()
        };
        if !census.objects.iter().all(is_whole) {
            return Err(fault);
        }
    }
    if let Some((head, lost)) = head {
        // Were the first entry damaged too, its object's blocks would belong to nothing.
        let census = Census::take_from(Some(head), inner, writer, false)?;
        if !census.is_complete() || census.unreached(&writer.heap).next().is_some() {
            return Err(lost);
        }
        let geometry = writer.heap.geometry().clone();
        writer.set.set_word(geometry.state_start, head);
        writer.set.set_word(geometry.state_start + 8, directory::head_checksum(&geometry, head));
        commit(inner, writer)?;
        repair.found_directory = true;
    }
    for some in words.chunks(AT_ONCE) {
        some.iter().for_each(|&(at, word)| writer.set.set_word(at, word));
        commit(inner, writer)?;
    }
    repair.mended_words = words.len() as u64;
    Ok(())
}
