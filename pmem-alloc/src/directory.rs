//! Objects by name: a linked list of blocks on media, hash maps in DRAM.
//!
//! The list is read and checked once, at open. A new object is put at its head: one block and one word in the record
//! of the transaction that creates it.

use crate::{
    Error, ErrorKind, Result,
    format::Geometry,
    heap::{Block, Heap, Words},
    media::Media,
};
use bytemuck::{Pod, Zeroable};
use parking_lot::RwLock;
use pmem_tx::engine::WriteSet;
use rustc_hash::{FxHashMap, FxHashSet};
use std::{
    any::TypeId,
    collections::hash_map::Entry as Place,
    ops::Range,
    sync::{Arc, OnceLock},
};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The longest name of an object, in bytes.
pub(crate) const MAX_NAME: usize = 1 << 10;
/// The longest name of a type, in bytes.
pub(crate) const MAX_TYPE: usize = 16 << 10;

/// Owners of shadows: 0 is metadata, this one the directory's blocks, objects come after.
pub(crate) const DIRECTORY: u32 = 1;
const FIRST_OBJECT: u32 = 2;

/// One entry on media; the type's name and the object's name follow it.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Entry {
    /// Offset of the next entry; 0 ends the list.
    next: u64,
    /// XXH3, seeded with the entry's offset, of the whole entry, names included, with 0 here.
    checksum: u64,
    /// Offset of the object's header, an allocated block.
    header: u64,
    flags: u64,
    type_len: u32,
    name_len: u32,
}
const ENTRY: usize = size_of::<Entry>();
const _: () = assert!(ENTRY == 40);
const CHECKSUM: Range<usize> = 8..16;

/// What the state line holds beside the offset of the newest entry, so that no other word is taken for it: an empty
/// directory, or one that begins at an older entry, would look like one that lost objects.
pub(crate) fn head_checksum(geometry: &Geometry, head: u64) -> u64 {
    xxh3_64_with_seed(&head.to_le_bytes(), geometry.state_start)
}

/// Offset of the newest entry; 0: there is none.
pub(crate) fn read_head(geometry: &Geometry, media: &Media) -> Result<u64> {
    let [head, found] = [0, 8].map(|at| media.word(geometry.state_start + at));
    let expected = head_checksum(geometry, head);
    if found == expected {
        return Ok(head);
    }
    let (expected, found) =
        (format!("checksum {expected:#x} of the directory's offset"), format!("{found:#x}"));
    Err(Error::corrupt(geometry.state_start + 8, expected, found))
}

/// One named object, as it is on media.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    /// Offset of the entry.
    pub(crate) at: u64,
    pub(crate) name: Box<str>,
    pub(crate) type_name: Arc<str>,
    pub(crate) header: u64,
}

fn encode(at: u64, next: u64, header: u64, type_name: &str, name: &str) -> Vec<u8> {
    let (type_len, name_len) = (type_name.len() as u32, name.len() as u32);
    let mut bytes =
        bytemuck::bytes_of(&Entry { next, checksum: 0, header, flags: 0, type_len, name_len }).to_vec();
    bytes.extend_from_slice(type_name.as_bytes());
    bytes.extend_from_slice(name.as_bytes());
    let checksum = xxh3_64_with_seed(&bytes, at);
    bytes[CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Reads the entry at `at`, all of it checked; returns it and the offset of the next.
fn decode(at: u64, heap: &Heap, media: &Media) -> Result<(Listed, u64)> {
    let in_block = |len| heap.locate(at, len).filter(|block| block.start == at);
    if in_block(ENTRY as u64).is_none() {
        return Err(Error::corrupt(at, "an allocated block with a directory entry", "none"));
    }
    let entry: Entry = bytemuck::pod_read_unaligned(&media.copy(at, ENTRY as u64));
    let (type_len, name_len) = (entry.type_len as usize, entry.name_len as usize);
    let len = (ENTRY + type_len + name_len) as u64;
    if type_len > MAX_TYPE || name_len > MAX_NAME || in_block(len).is_none() {
        let found = format!("lengths {type_len} and {name_len}");
        return Err(Error::corrupt(at, "a directory entry inside its block", found));
    }
    let mut bytes = media.copy(at, len);
    bytes[CHECKSUM].fill(0);
    let checksum = xxh3_64_with_seed(&bytes, at);
    if checksum != entry.checksum {
        let (expected, found) = (format!("checksum {checksum:#x}"), format!("{:#x}", entry.checksum));
        return Err(Error::corrupt(at, expected, found));
    }
    if entry.flags != 0 {
        return Err(Error::corrupt(at, "a directory entry without flags", format!("{:#x}", entry.flags)));
    }
    let text = |from: usize, len: usize| {
        str::from_utf8(&bytes[from..from + len])
            .map_err(|_| Error::corrupt(at + from as u64, "a name in UTF-8", "other bytes"))
    };
    let type_name = text(ENTRY, type_len)?.into();
    let name = text(ENTRY + type_len, name_len)?.into();
    if heap.locate(entry.header, 1).is_none() {
        let expected = format!("an allocated block, the object {name:?}");
        return Err(Error::corrupt(entry.header, expected, "none"));
    }
    Ok((Listed { at, name, type_name, header: entry.header }, entry.next))
}

/// Walks the list, telling `visit` each entry, and none twice; returns where it begins. Stops at damage, a cycle, or an
/// error of `visit`.
pub(crate) fn walk(heap: &Heap, media: &Media, mut visit: impl FnMut(Listed) -> Result<()>) -> Result<u64> {
    let head = read_head(heap.geometry(), media)?;
    let mut visited = FxHashSet::default();
    let mut at = head;
    while at != 0 {
        if !visited.insert(at) {
            return Err(Error::corrupt(at, "a directory that ends", "a cycle"));
        }
        let (listed, next) = decode(at, heap, media)?;
        visit(listed)?;
        at = next;
    }
    Ok(head)
}

fn check_type(name: &str, found: &str, expected: &str) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    let (name, expected, found) = (name.into(), expected.into(), found.into());
    Err(ErrorKind::WrongType { name, expected, found }.into())
}

/// What readers know of an object.
pub(crate) struct Published {
    name: Box<str>,
    known: Known,
}

struct Known {
    type_name: Arc<str>,
    header: u64,
    /// The Rust type that was found to have that name.
    checked: OnceLock<TypeId>,
}

/// The committed directory, for readers. Changed while the gate keeps them out.
#[derive(Default)]
pub(crate) struct Names(RwLock<FxHashMap<Box<str>, Known>>);

impl Names {
    /// Tells readers of an object; the gate keeps them out.
    pub(crate) fn publish(&self, object: Published) {
        self.0.write().insert(object.name, object.known);
    }

    /// Where the header of the object `name` is, if it is one of Rust type `rust_type`. `None`: that needs to be checked
    /// against what the type is called, so give `type_name`.
    pub(crate) fn find(&self, name: &str, rust_type: TypeId, type_name: Option<&str>) -> Result<Option<u64>> {
        let names = self.0.read();
        let Some(object) = names.get(name) else {
            return Err(ErrorKind::NotFound { name: name.into() }.into());
        };
        if object.checked.get() != Some(&rust_type) {
            let Some(type_name) = type_name else { return Ok(None) };
            check_type(name, &object.type_name, type_name)?;
            _ = object.checked.set(rust_type); // a second type of that name is compared each time
        }
        Ok(Some(object.header))
    }
}

/// What the writer knows of an object.
struct Object {
    name: Box<str>,
    type_name: Arc<str>,
    /// Offset of the header; 0: no such object (its creation was rolled back).
    header: u64,
    checked: Option<TypeId>,
    /// Shared with the guard that is open.
    token: Arc<()>,
}

/// An object that a transaction opens.
pub(crate) struct Opened {
    /// Index among the objects.
    pub(crate) index: u32,
    /// Whose shadows it has.
    pub(crate) owner: u32,
    pub(crate) token: Arc<()>,
    /// `None`: to be created.
    pub(crate) header: Option<u64>,
}

/// How far the open transaction has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    created: usize,
    head: u64,
}

/// The directory as the open transaction sees it.
pub(crate) struct Objects {
    geometry: Geometry,
    by_name: FxHashMap<Box<str>, u32>,
    objects: Vec<Object>,
    head: u64,
    committed_head: u64,
    /// Objects of which the open transaction gave out a token.
    opened: Vec<u32>,
    /// Objects that the open transaction created.
    created: Vec<u32>,
}

impl Objects {
    /// Reads the directory.
    pub(crate) fn read(heap: &Heap, media: &Media) -> Result<(Objects, Names)> {
        let mut objects = Objects {
            geometry: *heap.geometry(),
            by_name: FxHashMap::default(),
            objects: Vec::new(),
            head: 0,
            committed_head: 0,
            opened: Vec::new(),
            created: Vec::new(),
        };
        let head = walk(heap, media, |listed| {
            let index = objects.objects.len() as u32;
            match objects.by_name.entry(listed.name.clone()) {
                Place::Occupied(_) => {
                    let found = format!("{:?} again", listed.name);
                    return Err(Error::corrupt(listed.at, "each name once", found));
                }
                Place::Vacant(vacant) => {
                    vacant.insert(index);
                    objects.objects.push(Object {
                        name: listed.name,
                        type_name: listed.type_name,
                        header: listed.header,
                        checked: None,
                        token: Arc::new(()),
                    });
                }
            }
            Ok(())
        })?;
        (objects.head, objects.committed_head) = (head, head);
        let names = Names::default();
        objects.objects.iter().for_each(|object| names.publish(object.published()));
        Ok((objects, names))
    }

    /// Number of objects.
    pub(crate) fn len(&self) -> usize {
        self.objects.iter().filter(|object| object.header != 0).count()
    }

    /// Opens `name` as an object of Rust type `rust_type`. `None`: that needs to be checked against what the type is
    /// called, so give `type_name`.
    #[inline]
    pub(crate) fn open(
        &mut self,
        name: &str,
        rust_type: TypeId,
        type_name: Option<&str>,
    ) -> Result<Option<Opened>> {
        let index = match self.by_name.get(name) {
            Some(&index) => index,
            None => self.enter(name)?,
        };
        let object = &mut self.objects[index as usize];
        if object.header != 0 && object.checked != Some(rust_type) {
            let Some(type_name) = type_name else { return Ok(None) };
            check_type(name, &object.type_name, type_name)?;
            object.checked = Some(rust_type);
        }
        if Arc::strong_count(&object.token) > 1 {
            return Err(ErrorKind::AlreadyOpen { name: name.into() }.into());
        }
        self.opened.push(index);
        let header = Some(object.header).filter(|&header| header != 0);
        Ok(Some(Opened { index, owner: index + FIRST_OBJECT, token: object.token.clone(), header }))
    }

    #[cold]
    fn enter(&mut self, name: &str) -> Result<u32> {
        too_long("name", name.len(), MAX_NAME)?;
        let index = self.objects.len() as u32;
        self.objects.push(Object {
            name: name.into(),
            type_name: "".into(),
            header: 0,
            checked: None,
            token: Arc::new(()),
        });
        self.by_name.insert(name.into(), index);
        Ok(index)
    }

    /// A block for the entry of the object `index`, which is to be created.
    #[cold]
    pub(crate) fn allocate_entry(
        &self,
        index: u32,
        type_name: &str,
        heap: &mut Heap,
        set: &mut WriteSet,
    ) -> Result<Block> {
        too_long("type name", type_name.len(), MAX_TYPE)?;
        let len = ENTRY + type_name.len() + self.objects[index as usize].name.len();
        heap.allocate(len as u64, 8, set)
    }

    /// The object `index` has its header at `header`. Returns what to write to `entry`.
    #[cold]
    pub(crate) fn create(
        &mut self,
        index: u32,
        header: u64,
        (rust_type, type_name): (TypeId, &str),
        entry: Block,
        set: &mut WriteSet,
    ) -> Vec<u8> {
        let object = &mut self.objects[index as usize];
        let bytes = encode(entry.start, self.head, header, type_name, &object.name);
        let state = self.geometry.state_start;
        set.set_word(state, entry.start);
        set.set_word(state + 8, head_checksum(&self.geometry, entry.start));
        self.head = entry.start;
        object.header = header;
        object.type_name = type_name.into();
        object.checked = Some(rust_type);
        self.created.push(index);
        bytes
    }

    /// What the transaction created, for readers to be told of.
    pub(crate) fn created(&self) -> impl Iterator<Item = Published> {
        self.created.iter().map(|&index| self.objects[index as usize].published())
    }

    /// The transaction is durable, or on its way.
    pub(crate) fn commit(&mut self) {
        self.created.clear();
        self.committed_head = self.head;
    }

    /// The transaction never was.
    pub(crate) fn abort(&mut self) {
        self.rollback_to(Progress { created: 0, head: self.committed_head });
    }

    /// How far the transaction has come.
    pub(crate) fn progress(&self) -> Progress {
        Progress { created: self.created.len(), head: self.head }
    }

    /// What the transaction created since `to` was never there. Owner numbers stay: an object that is created again has
    /// the same one.
    pub(crate) fn rollback_to(&mut self, to: Progress) {
        for index in self.created.drain(to.created..) {
            self.objects[index as usize].header = 0;
        }
        self.head = to.head;
    }

    /// Forgets which guards are open: none can be used any more. A token that a dead or leaked guard still holds is
    /// replaced. Owner numbers stay.
    #[inline]
    pub(crate) fn close_all(&mut self) {
        for index in self.opened.drain(..) {
            let token = &mut self.objects[index as usize].token;
            if Arc::strong_count(token) > 1 {
                *token = Arc::new(());
            }
        }
    }
}

impl Object {
    fn published(&self) -> Published {
        let known =
            Known { type_name: self.type_name.clone(), header: self.header, checked: OnceLock::new() };
        Published { name: self.name.clone(), known }
    }
}

fn too_long(what: &'static str, len: usize, maximum: usize) -> Result<()> {
    if len <= maximum {
        return Ok(());
    }
    Err(ErrorKind::TooLarge { what, size: len as u64, maximum: maximum as u64 }.into())
}

impl Words for WriteSet {
    #[inline]
    fn set_word(&mut self, at: u64, value: u64) {
        WriteSet::set_word(self, at, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PHeap, Pool};

    #[test]
    fn a_walk_of_a_cycle_visits_each_entry_once() {
        let pool = Pool::anonymous(1 << 20).unwrap();
        for name in ["a", "b", "c"] {
            pool.write(|tx| tx.open::<PHeap<u64>>(name).map(drop)).unwrap();
        }
        let inner = &pool.inner;
        let writer = inner.take_writer("look").unwrap();
        let mut entries = Vec::new();
        let mut visit = |listed: Listed| {
            entries.push(listed);
            Ok(())
        };
        walk(&writer.heap, &inner.media, &mut visit).unwrap();
        let [_, second, last] = &entries[..] else { panic!("{entries:?}") };
        // The last one goes on with the second, under a right checksum.
        inner.media.store(last.at, &encode(last.at, second.at, last.header, &last.type_name, &last.name));
        let mut visited = Vec::new();
        let mut visit = |listed: Listed| {
            visited.push(listed.at);
            Ok(())
        };
        let error = walk(&writer.heap, &inner.media, &mut visit).unwrap_err();
        assert!(error.to_string().contains("a cycle"), "{error}");
        assert_eq!(visited, entries.iter().map(|listed| listed.at).collect::<Vec<_>>());
        inner.turn.give(writer);
    }
}
