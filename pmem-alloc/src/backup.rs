//! Copies of an open pool, while it is used.
//!
//! The copy is taken in pieces. For each the writer's turn is taken, so that no commit is under way, and given back; what
//! is committed in between is noted page by page, and copied again. The last pieces are copied in one turn: the copy is
//! the pool as it was then. Readers are not disturbed, writers wait for a piece at most (and once for the last).
//!
//! The log is not copied. A checkpoint before each piece sees to it that nothing in it is needed, and the copy gets an
//! identity and a log of its own, so that no record of the original can count in it.

use crate::{
    ErrorKind, Opening, Pool, PoolOptions, Result,
    directory::Objects,
    format::{self, COPIES},
    growth::Growth,
    heap::Heap,
    making::{self, Birth},
    media::Media,
    pool::Inner,
    replicate::{POSITION, Position, Replication},
    transaction::Writer,
};
use parking_lot::Mutex;
use pmem_map::{MapOptions, Mapping, PAGE};
use pmem_tx::{Committed, Subscriber};
use std::{collections::BTreeSet, ops::Range, sync::Arc};

/// Pages that are copied in one turn of the writer.
const PIECE: usize = 256;
/// Times that pages are copied again before the rest is copied in one turn, however much it is.
const ROUNDS: usize = 4;

/// Notes what is committed while a copy is taken, and tells the pool's subscriber.
pub(crate) struct Watch {
    pages: Mutex<BTreeSet<u64>>,
    pub(crate) next: Mutex<Option<Arc<dyn Subscriber>>>,
}

impl Subscriber for Watch {
    fn committed(&self, record: &Committed<'_>) {
        {
            let mut pages = self.pages.lock();
            record.for_each(|at, bytes| {
                pages.extend(at / PAGE..(at + bytes.len() as u64).div_ceil(PAGE));
            });
        }
        let next = self.next.lock().clone();
        if let Some(next) = next {
            next.committed(record);
        }
    }
}

/// A watch that is on; taken off when dropped, whatever happens.
struct Watching<'p> {
    inner: &'p Inner,
    watch: Arc<Watch>,
    over: bool,
}

impl<'p> Watching<'p> {
    fn begin(inner: &'p Inner) -> Result<Watching<'p>> {
        let watch = Arc::new(Watch { pages: Mutex::default(), next: Mutex::new(None) });
        inner.with_writer("back up", |writer| {
            *watch.next.lock() = writer.log.subscribe(watch.clone());
            *inner.watch.lock() = Some(watch.clone());
        })?;
        Ok(Watching { inner, watch, over: false })
    }

    fn end(&mut self, writer: &mut Writer) {
        self.over = true;
        *self.inner.watch.lock() = None;
        writer.log.unsubscribe();
        if let Some(next) = self.watch.next.lock().take() {
            writer.log.subscribe(next);
        }
    }
}

impl Drop for Watching<'_> {
    fn drop(&mut self) {
        if !self.over {
            let inner = self.inner;
            // If the turn cannot be had, nothing can be committed either, and a watch that stays on costs a little.
            _ = inner.with_writer("end a backup", |writer| self.end(writer));
        }
    }
}

impl Pool {
    /// Writes a copy of the pool to a new file, while readers go on, and writers between pieces of a MiB. The copy is the
    /// pool as it was at one moment before this returns: every transaction is in it as a whole, or not at all. It is
    /// a pool of its own that can be opened beside this one; of a pool with a [`Replicator`](crate::Replicator), or that follows another,
    /// it is a follower. Durable on return; a crash before leaves no pool at `path`.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::AlreadyExists`]; [`ErrorKind::WouldDeadlock`] inside an own transaction; [`ErrorKind::HasSlabs`] if there are
    /// concurrent containers; [`ErrorKind::Busy`] if another backup is under way, or the pool grew; what the system
    /// refuses. No file is left then.
    ///
    /// # Safety
    ///
    /// Nobody else may write or truncate the file meanwhile, as for [`PoolOptions::create`].
    #[expect(unsafe_code, reason = "mapping a file is the caller's promise that nobody else changes it")]
    pub unsafe fn backup(&self, path: impl AsRef<std::path::Path>) -> Result<()> {
        let path = path.as_ref();
        if path.symlink_metadata().is_ok() {
            return Err(ErrorKind::AlreadyExists { path: path.into() }.into());
        }
        let options = MapOptions::new().len(self.inner.geometry.size()).create(true);
        // SAFETY: the caller's promise.
        let mapping = unsafe { options.open(path) }?;
        let copy = self.backup_on(mapping).and_then(Pool::close);
        copy.inspect_err(|_| _ = std::fs::remove_file(path))
    }

    /// As [`backup`](Pool::backup), to a mapping at least as long as the pool, whatever it holds now. Returns the copy.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::TooSmall`] if the mapping is too short: it is as it was. [`ErrorKind::WouldDeadlock`], errors of draining.
    pub fn backup_on(&self, mapping: Mapping) -> Result<Pool> {
        self.backup_with(&PoolOptions::new(), mapping)
    }

    /// As [`backup_on`](Pool::backup_on), of which `options` say the identity.
    #[doc(hidden)]
    pub fn backup_with(&self, options: &PoolOptions, mut mapping: Mapping) -> Result<Pool> {
        let inner = &*self.inner;
        let (geometry, size) = (&inner.geometry, inner.geometry.size());
        if mapping.len() < size {
            return Err(ErrorKind::TooSmall { size: mapping.len(), minimum: size }.into());
        }
        let _one_at_a_time = inner.backing_up.try_lock().ok_or(ErrorKind::Busy { what: "a backup" })?;
        let mut watching = Watching::begin(inner)?;
        making::clear_magics(&mut mapping)?;
        let mut pages: Vec<u64> = (geometry.state_start / PAGE..geometry.data_end() / PAGE).collect();
        for _ in 0..=ROUNDS {
            for piece in pages.chunks(PIECE) {
                let content = inner.with_writer("back up", |writer| {
                    inner.readers.checkpoint(writer)?;
                    still(writer, size)?;
                    Ok::<_, crate::Error>(read(inner, piece))
                })??;
                write(&mut mapping, &content)?;
            }
            pages = std::mem::take(&mut *watching.watch.pages.lock()).into_iter().collect();
            if pages.len() <= PIECE {
                break;
            }
        }
        let mut position = None;
        let last = inner.with_writer("back up", |writer| {
            inner.readers.checkpoint(writer)?;
            still(writer, size)?;
            pages.extend(std::mem::take(&mut *watching.watch.pages.lock()));
            watching.end(writer);
            // Everything that was committed is told, and in the copy: this is where it goes on as a follower.
            position = inner.replication.0.as_ref().map(|replicator| replicator.position());
            pages.chunks(PIECE).try_for_each(|piece| write(&mut mapping, &read(inner, piece)))?;
            Ok::<_, crate::Error>(writer.growth.header().to_vec())
        })?;
        let header = last?;
        drop(watching);
        if let Some(position) = position {
            let at = geometry.state_start + POSITION.start;
            let words = position.words(geometry).map(u64::to_le);
            mapping.write(at, bytemuck::bytes_of(&words))?;
            mapping.flush(at..at + POSITION.end - POSITION.start)?;
        }
        seal(options, &header, inner, mapping)
    }
}

/// Refuses a pool that has grown since it had `size` bytes, and one of which the bytes never stand still.
fn still(writer: &Writer, size: u64) -> Result<()> {
    if writer.heap.has_slabs() {
        return Err(ErrorKind::HasSlabs.into());
    }
    match writer.heap.geometry().size() == size {
        true => Ok(()),
        false => Err(ErrorKind::Busy { what: "growth" }.into()),
    }
}

/// Content of pages that are in use, and where it is.
fn read(inner: &Inner, pages: &[u64]) -> Vec<(u64, Vec<u8>)> {
    let geometry = &inner.geometry;
    let in_use = |&&page: &&u64| {
        let number = (page * PAGE).checked_sub(geometry.data_start).map(|inside| (inside / PAGE) as u32);
        let is_data = number.is_some_and(|number| geometry.pages_from(number).is_some());
        !is_data || inner.pages.is_in_use(page * PAGE)
    };
    pages.iter().filter(in_use).map(|&page| (page * PAGE, inner.media.copy(page * PAGE, PAGE))).collect()
}

/// Stores pages, and flushes them.
fn write(mapping: &mut Mapping, pages: &[(u64, Vec<u8>)]) -> Result<()> {
    for (at, content) in pages {
        let range: Range<usize> = *at as usize..*at as usize + content.len();
        if mapping.as_slice()[range] != content[..] {
            mapping.write(*at, content)?;
        }
        mapping.flush(*at..*at + PAGE)?; // what is there already may not be durable
    }
    Ok(())
}

/// Makes a pool of a mapping that has all of one but headers and log; drains what was flushed. The layout, and the types
/// that the program has, are those of the original. `header`: what the header holds, but for the identity.
pub(crate) fn seal(
    options: &PoolOptions,
    header: &[u8],
    original: &Inner,
    mut mapping: Mapping,
) -> Result<Pool> {
    let Birth { identity, created } = Birth::new(options.identity);
    let header = format::reborn(header, identity, created);
    mapping.drain()?; // before the headers: a file that has them and no content looks like a creation cut short
    making::write_headers(&mut mapping, &header)?;
    let (geometry, max_size) = format::in_header(&header, mapping.len())?;
    let media = Media::new(mapping);
    let log = making::finish(&media, &geometry, identity, options.log.clone())?;
    let heap = Heap::rebuild(&geometry, |at| media.word(at))?;
    let (objects, names) = Objects::read(&heap, &media)?;
    let content = media.copy(COPIES[0], header.len() as u64);
    let writer = Writer::new(log, heap, objects, Growth::new(content, max_size, options.growth));
    let about = (original.layout.clone(), Opening::default(), options.group);
    let following = Position::read(&geometry, |at| media.word(at))?;
    let pool = Pool::new(media, geometry, writer, names, about, (following, Replication::default()));
    pool.inner.kinds.register_all(&original.kinds);
    Ok(pool)
}
