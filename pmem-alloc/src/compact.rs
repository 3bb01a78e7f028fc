//! Copying all named objects into a new pool, packed: what nothing refers to stays behind, and the space is returned.
//!
//! Every object tells its blocks and the references in them ([`Object::trace`](crate::Object::trace)). The blocks get places in a heap that exists in
//! DRAM only, until all fit in the smallest pool; then they are copied, each reference is changed to where its target
//! has gone, checksums are computed anew, and the pool gets its magics, last as always. Nothing of it is a transaction: so
//! there is no limit by the log.

use crate::{
    ErrorKind, Pool, PoolOptions, Registry, Result, backup,
    census::{Census, Traced},
    directory,
    format::{Geometry, Header, MAX_SIZE, MIN_SIZE},
    heap::{Block, Heap, MAX_ALIGN, Words},
    making,
    pool::Inner,
    transaction::Writer,
};
use pmem_map::{MapOptions, Mapping, PAGE};
use rustc_hash::FxHashMap;
use std::{collections::BTreeMap, path::Path, sync::Arc};

/// What a compaction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compaction {
    /// Bytes of the pool before.
    pub before: u64,
    /// Bytes of the pool after.
    pub after: u64,
    /// Named objects.
    pub objects: u64,
    /// Blocks that were copied.
    pub blocks: u64,
    /// Bytes in them.
    pub bytes: u64,
}

/// Where everything goes.
struct Plan {
    geometry: Geometry,
    /// New offsets of blocks, by their old ones.
    moved: BTreeMap<u64, (Block, u64)>,
    /// New directory entries, in the order of the census.
    entries: Vec<Block>,
    /// Page table and bitmaps.
    words: Metadata,
    bytes: u64,
}

/// Metadata words of a pool that is not on media yet.
#[derive(Default)]
struct Metadata(FxHashMap<u64, u64>);

impl Words for Metadata {
    fn set_word(&mut self, at: u64, value: u64) {
        self.0.insert(at, value);
    }
}

/// Refuses what cannot be moved, with all reasons.
fn refuse_immovable(census: &Census) -> Result<()> {
    let mut reasons = Vec::new();
    for Traced { listed, found, error } in &census.objects {
        let name = &listed.name;
        let why = found.immovable.iter().chain(&found.not_traced).map(|why| format!("{name:?}: {why}"));
        reasons.extend(why);
        reasons.extend(error.iter().map(|error| format!("{name:?} is damaged: {error}")));
        reasons.extend(
            found.dangling.first().map(|(slot, _)| format!("{name:?} has a reference to nothing, at {slot}")),
        );
    }
    reasons.dedup();
    if reasons.is_empty() { Ok(()) } else { Err(ErrorKind::CannotCompact { reasons }.into()) }
}

impl Plan {
    /// For a pool of `size` bytes with the log of `old`, of which `room` bytes are free; `None` if not all fits.
    fn new(census: &Census, old: &Geometry, size: u64, room: u64) -> Result<Option<Plan>> {
        let geometry = Geometry::with_log(size, old.log_len)?;
        let mut heap = Heap::rebuild(&geometry, |_| 0)?;
        let mut plan = Plan {
            geometry,
            moved: BTreeMap::new(),
            entries: Vec::new(),
            words: Metadata::default(),
            bytes: 0,
        };
        for Traced { listed, found, .. } in &census.objects {
            let entry = directory::encode(0, 0, 0, &listed.about, &listed.name).len() as u64;
            for (block, len, align) in std::iter::once((None, entry, 8))
                .chain(found.blocks.iter().map(|block| (Some(*block), block.len, alignment(block))))
            {
                let new = match heap.allocate(len, align, &mut plan.words) {
                    Ok(new) => new,
                    Err(e) if matches!(e.kind(), ErrorKind::NoSpace { .. }) => return Ok(None),
                    Err(e) => return Err(e),
                };
                match block {
                    Some(old) => _ = plan.moved.insert(old.start, (old, new.start)),
                    None => plan.entries.push(new),
                }
                plan.bytes += len;
            }
        }
        Ok((heap.free_spans().pages() * PAGE >= room).then_some(plan))
    }

    /// For the smallest pool.
    fn smallest(census: &Census, old: &Geometry, room: u64) -> Result<Plan> {
        let used: u64 = census.objects.iter().map(|object| object.found.bytes).sum();
        let mut size = used.saturating_add(old.log_len).saturating_add(room).clamp(MIN_SIZE, MAX_SIZE);
        loop {
            match Plan::new(census, old, size, room) {
                Ok(Some(plan)) => return Ok(plan),
                Err(e) if !matches!(e.kind(), ErrorKind::TooSmall { .. }) => return Err(e),
                _ if size == MAX_SIZE => return Err(ErrorKind::NoSpace { needed: size }.into()),
                _ => size = (size + (size / 16).max(4 * PAGE)).next_multiple_of(PAGE).min(MAX_SIZE),
            }
        }
    }

    /// Where something has gone.
    fn place(&self, at: u64) -> Option<u64> {
        let (_, &(old, new)) = self.moved.range(..=at).next_back()?;
        (at - old.start < old.len).then(|| new + (at - old.start))
    }

    /// Writes all but headers and log, and flushes it.
    fn carry_out(&self, census: &Census, inner: &Inner, mapping: &mut Mapping) -> Result<()> {
        let geometry = &self.geometry;
        making::clear_magics(mapping)?;
        making::zero(mapping, geometry.metadata())?;
        for (&at, &word) in &self.words.0 {
            put(mapping, at, &word.to_le_bytes())?;
        }
        let mut head = 0;
        for (Traced { listed, found, .. }, entry) in census.objects.iter().zip(&self.entries) {
            for block in &found.blocks {
                let new = self.moved[&block.start].1;
                put(mapping, new, &inner.media.copy(block.start, block.len))?;
            }
            for reference in &found.references {
                let places = (self.place(reference.slot), self.place(reference.target));
                let (Some(slot), Some(target)) = places else {
                    let why = format!(
                        "{:?} refers to a block that no object has, at {}",
                        listed.name, reference.slot
                    );
                    return Err(ErrorKind::CannotCompact { reasons: vec![why] }.into());
                };
                let word = inner.media.copy(reference.slot, 8);
                let tag = u64::from_le_bytes(word.try_into().expect("eight bytes")) & reference.tag;
                put(mapping, slot, &(target | tag).to_le_bytes())?;
            }
            for &(block, seal) in &found.seals {
                let &(old, new) = &self.moved[&block];
                let mut bytes = mapping.as_slice()[new as usize..(new + old.len) as usize].to_vec();
                seal(&mut bytes, new);
                put(mapping, new, &bytes)?;
            }
            let header = self.place(listed.header).expect("an object that was traced");
            put(
                mapping,
                entry.start,
                &directory::encode(entry.start, head, header, &listed.about, &listed.name),
            )?;
            head = entry.start;
        }
        put(mapping, geometry.state_start, &head.to_le_bytes())?;
        put(mapping, geometry.state_start + 8, &directory::head_checksum(geometry, head).to_le_bytes())
    }
}

/// What the block's place was a multiple of, as far as somebody may have asked for that.
fn alignment(block: &Block) -> u64 {
    let natural = 1 << block.start.trailing_zeros().min(MAX_ALIGN.trailing_zeros());
    // A block in a run has the alignment of its size wherever it is.
    let by_size = 1 << block.len.trailing_zeros();
    if block.len.is_multiple_of(PAGE) { natural.min(by_size).max(8) } else { 8 }
}

fn put(mapping: &mut Mapping, at: u64, bytes: &[u8]) -> Result<()> {
    mapping.write(at, bytes)?;
    Ok(mapping.flush(at..at + bytes.len() as u64)?)
}

impl Pool {
    /// Follows all objects, finds the smallest pool that takes them with `room` bytes free (or one of `size` bytes),
    /// and writes all of it but headers and log to what `map` maps. In one turn of the writer: what is copied stands still.
    fn copy_packed(
        &self,
        room: u64,
        size: Option<u64>,
        map: impl FnOnce(u64) -> Result<Mapping>,
    ) -> Result<(Mapping, Vec<u8>, Compaction)> {
        let inner: &Arc<Inner> = &self.inner;
        inner.with_writer("compact", |writer: &mut Writer| {
            writer.log.checkpoint()?;
            let census = Census::take(inner, writer, true)?;
            refuse_immovable(&census)?;
            if writer.heap.has_slabs() {
                return Err(ErrorKind::HasSlabs.into());
            }
            let plan = match size {
                Some(size) => Plan::new(&census, &inner.geometry, size, room)?
                    .ok_or(ErrorKind::NoSpace { needed: size })?,
                None => Plan::smallest(&census, &inner.geometry, room)?,
            };
            let mut mapping = map(plan.geometry.size())?;
            plan.carry_out(&census, inner, &mut mapping)?;
            let compaction = Compaction {
                before: inner.geometry.size(),
                after: plan.geometry.size(),
                objects: census.objects.len() as u64,
                blocks: plan.moved.len() as u64,
                bytes: plan.bytes,
            };
            let max_size = writer.growth.max_size();
            let header = Header::new(&plan.geometry, max_size, 1, 0, &inner.layout)?;
            Ok((mapping, bytemuck::bytes_of(&header).to_vec(), compaction))
        })?
    }

    /// Copies all named objects into a new pool on `mapping`, packed, whatever it holds now; returns the new pool. This one
    /// is as it was. The copy has an identity of its own, the same layout, and a log of the same length. Durable
    /// on return; a crash before leaves no pool on `mapping`.
    ///
    /// Writers wait for it, readers go on.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::CannotCompact`] if there is an object that cannot be followed or moved, with the names: register its type, or describe
    /// it. [`ErrorKind::NoSpace`] if `mapping` is too small. [`ErrorKind::WouldDeadlock`]; errors of draining.
    pub fn compact_on(&self, mapping: Mapping) -> Result<Pool> {
        self.compact_with(&PoolOptions::new(), mapping)
    }

    /// As [`compact_on`](Pool::compact_on), of which `options` say the identity.
    #[doc(hidden)]
    pub fn compact_with(&self, options: &PoolOptions, mapping: Mapping) -> Result<Pool> {
        let mut mapping = Some(mapping);
        let len = mapping.as_ref().map(|mapping| mapping.len());
        let take = |_| Ok(mapping.take().expect("asked for once"));
        let (mapping, header, _) = self.copy_packed(0, len, take)?;
        backup::seal(options, &header, &self.inner, mapping)
    }
}

impl PoolOptions {
    /// Compacts the pool in the file at `path`: copies all named objects, packed, to a new and smaller file beside it, and
    /// puts that in its place. `room` bytes at least are free in it. `register` tells the types that
    /// are in the pool.
    ///
    /// Durable on return. A crash before leaves the old pool or the new one at `path`, and perhaps a file `PATH.compact`, which the next
    /// compaction replaces.
    ///
    /// # Errors
    ///
    /// Those of [`open`](PoolOptions::open) and [`compact_on`](Pool::compact_on), and what the system refuses: the pool is as it was.
    ///
    /// # Safety
    ///
    /// As for [`create`](PoolOptions::create), of both files.
    #[expect(unsafe_code, reason = "mapping a file is the caller's promise that nobody else changes it")]
    pub unsafe fn compact(
        &self,
        path: impl AsRef<Path>,
        room: u64,
        register: impl FnOnce(&mut Registry<'_>),
    ) -> Result<Compaction> {
        let path = path.as_ref();
        // SAFETY: the caller's promise.
        let pool = unsafe { self.open(path) }?;
        register(&mut Registry(&pool.inner.kinds));
        let beside = path.with_added_extension("compact");
        let failed = |action: &'static str, path: &Path| {
            let path = path.to_path_buf();
            move |source| pmem_map::Error::Io { action, path, source }
        };
        match std::fs::remove_file(&beside) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed("remove", &beside)(e).into());
            }
            _ => {}
        }
        let map = |size| {
            let options: MapOptions = self.mapping.clone().len(size).create(true);
            // SAFETY: the caller's promise.
            Ok(unsafe { options.open(&beside) }?)
        };
        let made = pool.copy_packed(room, None, map).and_then(|(mapping, header, compaction)| {
            backup::seal(self, &header, &pool.inner, mapping)?.close()?;
            std::fs::rename(&beside, path).map_err(failed("rename", &beside))?;
            Ok(compaction)
        });
        let compaction = made.inspect_err(|_| _ = std::fs::remove_file(&beside))?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // The new name, durable.
        let synced = std::fs::File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(failed("sync", folder))?;
        Ok(compaction)
    }
}
