//! What is different between a snapshot and another one, or the live files.
//!
//! Only inodes that were changed in between are looked at, and of their content only which blocks it is in: what a snapshot has stays where it is, so
//! the same block is the same content, unless a copy of it was saved. Names are those of directories that were changed. A file does not
//! know its names: to say where a changed file is, directories are walked until all of them are found.

use super::{Change, Changed, ChangedAttributes, ChangedRange, touched::Touched};
use crate::{
    Code, Error, Kind, Nova, Result,
    attributes::{Attributes, full_name},
    extents::Extents,
    format::{BLOCK, Identity, ROOT, Status, flag},
    inode::Body,
};
use rustc_hash::{FxHashMap, FxHashSet};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet, VecDeque},
};

/// A file: its number and its generation.
type Id = (u64, u32);
/// A name: the directory's number, and the name in it.
type Place = (u64, Vec<u8>);

impl Nova {
    /// What is different in the snapshot `to` (`None`: in the live files) from the snapshot `from`. Either may be the older one.
    ///
    /// Made to the tree of `from` in their order, names that go first, the changes yield the tree of `to`; [`Change`] says how to read them. What it costs follows what was
    /// changed, and how many directories there are if a file's content or attributes were. Live files that are changed
    /// meanwhile count as they are when they are looked at.
    ///
    /// # Errors
    ///
    /// [`Code::NotFound`] for a name that no snapshot has; [`Code::NotSupported`] of a snapshot; [`Error::Damaged`].
    pub fn diff(&self, from: &str, to: Option<&str>) -> Result<Vec<Change>> {
        let older = self.mount_snapshot(from)?;
        let newer = to.map_or_else(|| Ok(self.clone()), |name| self.mount_snapshot(name))?;
        let epoch = |nova: &Nova| nova.volume().view.as_ref().map_or(u64::MAX, |view| view.epoch);
        let (one, other) = (epoch(&older), epoch(&newer));
        let touched = self.volume().touched(one.min(other)..one.max(other));
        let (older, newer) = (Side::new(&older), Side::new(&newer));
        Diff { older, newer, touched, changes: Vec::new() }.run()
    }

    /// Files of the snapshot `to` that were changed in any way since the snapshot `from`, access times included, and those in `also`: each once, with a path.
    pub(crate) fn touched_files(
        &self,
        from: &str,
        to: &str,
        also: BTreeSet<u64>,
    ) -> Result<Vec<(Vec<u8>, u64)>> {
        let (one, other) = (self.snapshot(from)?.epoch, self.snapshot(to)?.epoch);
        let newer = self.mount_snapshot(to)?;
        let (side, mut wanted) = (Side::new(&newer), FxHashMap::default());
        let touched = self.volume().touched(one.min(other)..one.max(other)).inodes;
        for ino in touched.into_iter().chain(also) {
            if let Some(looked) = side.look(ino)? {
                let names = if looked.kind() == Kind::Directory { 1 } else { looked.status.links };
                wanted.insert(ino, names);
            }
        }
        let mut found: Vec<_> = side.find(wanted)?.into_iter().map(|(ino, path)| (path, ino)).collect();
        found.sort_unstable();
        Ok(found)
    }
}

/// An inode, as one side has it.
struct Looked {
    identity: Identity,
    status: Status,
    names: BTreeMap<Vec<u8>, u64>,
    extents: Extents,
    attributes: Attributes,
}

impl Looked {
    fn id(&self) -> Id {
        (self.identity.ino, self.identity.generation)
    }

    fn kind(&self) -> Kind {
        Kind::of_mode(self.identity.mode)
    }
}

/// One of the two trees.
struct Side<'n> {
    nova: &'n Nova,
    /// Of directories that were asked for.
    paths: RefCell<FxHashMap<u64, Vec<u8>>>,
}

impl<'n> Side<'n> {
    fn new(nova: &'n Nova) -> Side<'n> {
        Side { nova, paths: RefCell::new([(ROOT, Vec::new())].into_iter().collect()) }
    }

    /// The inode; `None` if there is none of this number, or none that has a name.
    fn look(&self, ino: u64) -> Result<Option<Looked>> {
        let volume = self.nova.volume();
        let inode = match volume.inode(ino) {
            Err(Error::Posix(Code::NotFound)) => return Ok(None),
            found => found?,
        };
        let mut state = inode.state.write();
        if state.alive().is_err() || state.status.links == 0 {
            return Ok(None);
        }
        volume.read_log(&inode, &mut state)?;
        let (mut names, mut extents) = (BTreeMap::new(), Extents::default());
        match &state.body {
            Body::Directory(found) => {
                names = found.iter().map(|(name, at)| (name.to_vec(), at.ino)).collect()
            }
            Body::File(found) => extents = found.clone(),
            _ => {}
        }
        let (identity, status, attributes) = (state.identity, state.status, state.attributes.clone());
        Ok(Some(Looked { identity, status, names, extents, attributes }))
    }

    fn id(&self, ino: u64) -> Result<Id> {
        let lines = self.nova.volume().lines(ino)?;
        Ok((ino, lines.map_or(0, |(identity, ..)| identity.generation)))
    }

    /// The path of a directory; empty for the root.
    fn directory(&self, ino: u64) -> Result<Vec<u8>> {
        if let Some(path) = self.paths.borrow().get(&ino) {
            return Ok(path.clone());
        }
        let parent = self.look(ino)?.ok_or(Error::Posix(Code::NotFound))?.identity.parent;
        let above = self.look(parent)?.ok_or(Error::Posix(Code::NotFound))?;
        let name =
            above.names.into_iter().find(|(_, child)| *child == ino).ok_or(Error::Posix(Code::NotFound))?;
        let path = [&self.directory(parent)?[..], b"/", &name.0].concat();
        self.paths.borrow_mut().insert(ino, path.clone());
        Ok(path)
    }

    fn path(&self, (directory, name): &Place) -> Result<Vec<u8>> {
        Ok([&self.directory(*directory)?[..], b"/", name].concat())
    }

    /// The first name of each of these files. What has none is not there.
    fn find(&self, mut wanted: FxHashMap<u64, u32>) -> Result<FxHashMap<u64, Vec<u8>>> {
        let mut found: FxHashMap<u64, Vec<u8>> = FxHashMap::default();
        let mut todo = VecDeque::from([(ROOT, Vec::new())]);
        if wanted.remove(&ROOT).is_some() {
            found.insert(ROOT, b"/".to_vec());
        }
        while let Some((directory, path)) = todo.pop_front().filter(|_| !wanted.is_empty()) {
            let Some(looked) = self.look(directory)? else { continue };
            for (name, ino) in looked.names {
                let path = [&path[..], b"/", &name].concat();
                if let Some(left) = wanted.get_mut(&ino) {
                    let first = found.entry(ino).or_insert_with(|| path.clone());
                    if path < *first {
                        first.clone_from(&path);
                    }
                    *left -= 1;
                    if *left == 0 {
                        wanted.remove(&ino);
                    }
                }
                let lines = self.nova.volume().lines(ino)?;
                if lines.is_some_and(|(identity, ..)| Kind::of_mode(identity.mode) == Kind::Directory) {
                    todo.push_back((ino, path));
                }
            }
        }
        Ok(found)
    }
}

struct Diff<'n> {
    older: Side<'n>,
    newer: Side<'n>,
    touched: Touched,
    changes: Vec<Change>,
}

impl Diff<'_> {
    fn run(mut self) -> Result<Vec<Change>> {
        let (mut gone, mut come) =
            (BTreeMap::<Id, BTreeSet<Place>>::new(), BTreeMap::<Id, BTreeSet<Place>>::new());
        let mut stayed: Vec<(u64, u32, Changed)> = Vec::new();
        for ino in self.touched.inodes.clone() {
            let (old, new) = (self.older.look(ino)?, self.newer.look(ino)?);
            self.names(ino, &old, &new, &mut gone, &mut come)?;
            if let (Some(old), Some(new)) = (&old, &new)
                && old.id() == new.id()
            {
                // A directory's links are not names.
                let names = if new.kind() == Kind::Directory { 1 } else { new.status.links };
                let different = self.content(old, new).into_iter().chain(attributes(old, new));
                stayed.extend(different.map(|what| (ino, names, what)));
            }
        }
        self.pair(gone, come)?;
        let wanted = stayed.iter().map(|(ino, names, _)| (*ino, *names)).collect();
        let paths = self.newer.find(wanted)?;
        for (ino, _, what) in stayed {
            if let Some(path) = paths.get(&ino).cloned() {
                self.changes.push(Change { path, ino, what });
            }
        }
        self.changes.sort_by(|one, other| {
            let order = one.path.cmp(&other.path);
            // What is in a directory goes before it, and comes after it.
            let order = if one.what == Changed::Removed { order.reverse() } else { order };
            one.what.turn().cmp(&other.what.turn()).then(order)
        });
        Ok(self.changes)
    }

    /// Names that one directory has no more, and has now.
    fn names(
        &self,
        ino: u64,
        old: &Option<Looked>,
        new: &Option<Looked>,
        gone: &mut BTreeMap<Id, BTreeSet<Place>>,
        come: &mut BTreeMap<Id, BTreeSet<Place>>,
    ) -> Result<()> {
        let ids = |side: &Side<'_>, looked: &Option<Looked>| -> Result<BTreeMap<Vec<u8>, Id>> {
            let names = looked.iter().flat_map(|looked| &looked.names);
            names.map(|(name, ino)| Ok((name.clone(), side.id(*ino)?))).collect()
        };
        let same = matches!((old, new), (Some(old), Some(new)) if old.id() == new.id());
        let (old, new) = (ids(&self.older, old)?, ids(&self.newer, new)?);
        for (name, id) in &old {
            if !same || new.get(name) != Some(id) {
                gone.entry(*id).or_default().insert((ino, name.clone()));
            }
        }
        for (name, id) in &new {
            if !same || old.get(name) != Some(id) {
                come.entry(*id).or_default().insert((ino, name.clone()));
            }
        }
        Ok(())
    }

    /// A name that a file has no more, and one that it has now: it was moved.
    fn pair(
        &mut self,
        gone: BTreeMap<Id, BTreeSet<Place>>,
        mut come: BTreeMap<Id, BTreeSet<Place>>,
    ) -> Result<()> {
        for (id, gone) in gone {
            let mut come = come.remove(&id).unwrap_or_default().into_iter();
            let is_there = self.newer.look(id.0)?.is_some_and(|looked| looked.id() == id);
            let mut first = None;
            for place in &gone {
                let from = self.older.path(place)?;
                first.get_or_insert_with(|| from.clone());
                let (path, what) = match come.next() {
                    Some(to) if is_there => (self.newer.path(&to)?, Changed::Moved { from }),
                    _ => (from, Changed::Removed),
                };
                self.changes.push(Change { path, ino: id.0, what });
            }
            for place in come {
                let existing = first.clone().expect("a name has gone");
                let path = self.newer.path(&place)?;
                self.changes.push(Change { path, ino: id.0, what: Changed::Linked { existing } });
            }
        }
        let old: FxHashMap<Id, u32> = come
            .keys()
            .filter_map(|id| match self.older.look(id.0) {
                Ok(looked) => {
                    looked.filter(|looked| looked.id() == *id).map(|looked| Ok((*id, looked.status.links)))
                }
                Err(error) => Some(Err(error)),
            })
            .collect::<Result<_>>()?;
        let existing = self.older.find(old.iter().map(|((ino, _), links)| (*ino, *links)).collect())?;
        for (id, places) in come {
            for place in places {
                let what = match old.contains_key(&id) {
                    true => Changed::Linked { existing: existing.get(&id.0).cloned().unwrap_or_default() },
                    false => Changed::Added,
                };
                self.changes.push(Change { path: self.newer.path(&place)?, ino: id.0, what });
            }
        }
        Ok(())
    }

    fn content(&self, old: &Looked, new: &Looked) -> Option<Changed> {
        let size = new.status.size;
        if new.kind() != Kind::File {
            return None;
        }
        let mut ranges = compare(&old.extents, &new.extents, &self.touched.blocks);
        // Of a block that is the same in both, one may have less than the other: what is behind a file's end is still there.
        let end = old.status.size / BLOCK;
        let has_data = new.extents.at(end).is_some_and(|mapped| !mapped.unwritten);
        if size > old.status.size && has_data && !ranges.iter().any(|range| range.bytes.contains(&end)) {
            let at = ranges.partition_point(|range| range.bytes.start < end);
            ranges.insert(at, ChangedRange { bytes: end..end + 1, is_data: true });
        }
        let bytes = |range: ChangedRange| {
            let bytes = range.bytes.start * BLOCK..(range.bytes.end * BLOCK).min(size);
            (bytes.start < bytes.end).then_some(ChangedRange { bytes, ..range })
        };
        let ranges: Vec<ChangedRange> = ranges.into_iter().filter_map(bytes).collect();
        (!ranges.is_empty() || size != old.status.size).then_some(Changed::Content { size, ranges })
    }
}

/// File blocks whose content is in another block, or in one of `changed`.
fn compare(old: &Extents, new: &Extents, changed: &FxHashSet<u64>) -> Vec<ChangedRange> {
    let ends = |extents: &Extents| {
        extents.iter().flat_map(|(start, mapped)| [start, start + mapped.count]).collect::<Vec<_>>()
    };
    let mut points = [ends(old), ends(new)].concat();
    points.sort_unstable();
    points.dedup();
    let mut ranges: Vec<ChangedRange> = Vec::new();
    let mut add = |start: u64, end: u64, is_data: bool| match ranges.last_mut() {
        Some(last) if last.bytes.end == start && last.is_data == is_data => last.bytes.end = end,
        _ => ranges.push(ChangedRange { bytes: start..end, is_data }),
    };
    for pair in points.windows(2) {
        let (start, end) = (pair[0], pair[1]);
        let block = |extents: &Extents| {
            extents.at(start).filter(|mapped| !mapped.unwritten).map(|mapped| mapped.block)
        };
        match (block(old), block(new)) {
            (one, other) if one != other => add(start, end, other.is_some()),
            (Some(block), _) if !changed.is_empty() => {
                let different = (0..end - start).filter(|skipped| changed.contains(&(block + skipped)));
                different.for_each(|skipped| add(start + skipped, start + skipped + 1, true));
            }
            _ => {}
        }
    }
    ranges
}

fn attributes(old: &Looked, new: &Looked) -> Option<Changed> {
    let keys: BTreeSet<_> = old.attributes.keys().chain(new.attributes.keys()).collect();
    let different = keys.into_iter().filter(|key| old.attributes.get(key) != new.attributes.get(key));
    let (one, other) = (&old.identity, &new.identity);
    let changed = ChangedAttributes {
        mode: one.mode != other.mode,
        owner: (one.uid, one.gid) != (other.uid, other.gid),
        flags: (one.flags ^ other.flags) & flag::SETTABLE != 0,
        modified: old.status.modified != new.status.modified,
        extended: different.filter_map(full_name).collect(),
    };
    changed.any().then_some(Changed::Attributes(changed))
}
