//! Objects by name: a linked list of blocks on media, hash maps in DRAM.
//!
//! The list is read and checked once, at open. A new object is put at its head: one block and one word in the record
//! of the transaction that creates it.

use crate::{
    Descriptor, Error, ErrorKind, Result,
    format::Geometry,
    heap::{Block, Heap, Words},
    kind::Kind,
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
/// The longest descriptor, in bytes.
pub(crate) const MAX_DESCRIPTOR: usize = 64 << 10;

/// Owners of shadows: 0 is metadata, this one the directory's blocks, objects come after.
pub(crate) const DIRECTORY: u32 = 1;
const FIRST_OBJECT: u32 = 2;

/// One entry on media; the type's name, the object's name and the descriptor follow it.
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[repr(C)]
struct Entry {
    /// Offset of the next entry; 0 ends the list.
    next: u64,
    /// XXH3, seeded with the entry's offset, of the whole entry, names included, with 0 here.
    checksum: u64,
    /// Offset of the object's header, an allocated block.
    header: u64,
    /// The object's schema version, from 1.
    schema: u32,
    descriptor_len: u32,
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
    pub(crate) about: About,
    pub(crate) header: u64,
}

/// What is recorded of an object, besides its name and its place.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) type_name: Arc<str>,
    pub(crate) schema: u32,
    pub(crate) descriptor: Arc<Descriptor>,
}

impl About {
    pub(crate) fn new(kind: &Kind, schema: u32) -> About {
        let (type_name, descriptor) = (kind.type_name.as_str().into(), Arc::new(kind.descriptor.clone()));
        About { type_name, schema, descriptor }
    }

    /// Whether this is an object of schema `schema` and, if that is to be looked at, of the type `kind`.
    #[inline]
    fn check(&self, name: &str, schema: u32, kind: Option<&Kind>) -> Result<()> {
        if self.schema != schema {
            return Err(self.other_schema(name, schema));
        }
        kind.map_or(Ok(()), |kind| kind.check(name, &self.type_name, &self.descriptor))
    }

    #[cold]
    fn other_schema(&self, name: &str, wanted: u32) -> Error {
        let (name, found) = (name.into(), self.schema);
        if found > wanted {
            ErrorKind::NewerSchema { name, found, known: wanted }.into()
        } else {
            ErrorKind::OlderSchema { name, found, wanted }.into()
        }
    }
}

/// The bytes of an entry at `at`.
pub(crate) fn encode(at: u64, next: u64, header: u64, about: &About, name: &str) -> Vec<u8> {
    let About { type_name, schema, descriptor } = about;
    let descriptor = descriptor.encode();
    let [descriptor_len, type_len, name_len] =
        [descriptor.len(), type_name.len(), name.len()].map(|len| len as u32);
    let entry = Entry { next, checksum: 0, header, schema: *schema, descriptor_len, type_len, name_len };
    let mut bytes = bytemuck::bytes_of(&entry).to_vec();
    bytes.extend_from_slice(type_name.as_bytes());
    bytes.extend_from_slice(name.as_bytes());
    bytes.extend_from_slice(&descriptor);
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
    let [type_len, name_len, descriptor_len] =
        [entry.type_len, entry.name_len, entry.descriptor_len].map(|len| len as usize);
    let len = (ENTRY + type_len + name_len + descriptor_len) as u64;
    let too_long = type_len > MAX_TYPE || name_len > MAX_NAME || descriptor_len > MAX_DESCRIPTOR;
    if too_long || in_block(len).is_none() {
        let found = format!("lengths {type_len}, {name_len} and {descriptor_len}");
        return Err(Error::corrupt(at, "a directory entry inside its block", found));
    }
    let mut bytes = media.copy(at, len);
    bytes[CHECKSUM].fill(0);
    let checksum = xxh3_64_with_seed(&bytes, at);
    if checksum != entry.checksum {
        let (expected, found) = (format!("checksum {checksum:#x}"), format!("{:#x}", entry.checksum));
        return Err(Error::corrupt(at, expected, found));
    }
    if entry.schema == 0 {
        return Err(Error::corrupt(at, "a schema version from 1", "0"));
    }
    let text = |from: usize, len: usize| {
        str::from_utf8(&bytes[from..from + len])
            .map_err(|_| Error::corrupt(at + from as u64, "a name in UTF-8", "other bytes"))
    };
    let type_name = text(ENTRY, type_len)?.into();
    let name = text(ENTRY + type_len, name_len)?.into();
    let descriptor_at = ENTRY + type_len + name_len;
    let descriptor = Descriptor::decode(&bytes[descriptor_at..])
        .ok_or_else(|| Error::corrupt(at + descriptor_at as u64, "a descriptor", "other bytes"))?;
    if heap.locate(entry.header, 1).is_none() {
        let expected = format!("an allocated block, the object {name:?}");
        return Err(Error::corrupt(entry.header, expected, "none"));
    }
    let about = About { type_name, schema: entry.schema, descriptor: Arc::new(descriptor) };
    Ok((Listed { at, name, about, header: entry.header }, entry.next))
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

/// What readers know of an object.
struct Published {
    about: About,
    header: u64,
    /// The Rust type that was found to have that name.
    checked: OnceLock<TypeId>,
}

/// The committed directory, for readers. Changed while the gate keeps them out.
#[derive(Default)]
pub(crate) struct Names(RwLock<FxHashMap<Box<str>, Published>>);

impl Names {
    /// Where the header of the object `name` is, if it is one of this schema and of Rust type `rust_type`. `None`: that
    /// needs to be checked against what the type is, so give `kind`.
    pub(crate) fn find(
        &self,
        name: &str,
        schema: u32,
        rust_type: TypeId,
        kind: Option<&Kind>,
    ) -> Result<Option<u64>> {
        let names = self.0.read();
        let Some(object) = names.get(name) else {
            return Err(ErrorKind::NotFound { name: name.into() }.into());
        };
        object.about.check(name, schema, None)?;
        if object.checked.get() != Some(&rust_type) {
            let Some(kind) = kind else { return Ok(None) };
            object.about.check(name, schema, Some(kind))?;
            _ = object.checked.set(rust_type); // a second type of that name is compared each time
        }
        Ok(Some(object.header))
    }
}

/// What the writer knows of an object.
struct Object {
    name: Box<str>,
    /// What is recorded, if there is such an object.
    about: Option<About>,
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
                        about: Some(listed.about),
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
        names.0.write().extend(objects.objects.iter().map(Object::published));
        Ok((objects, names))
    }

    /// Number of objects.
    pub(crate) fn len(&self) -> usize {
        self.objects.iter().filter(|object| object.header != 0).count()
    }

    /// Opens `name` as an object of this schema and of Rust type `rust_type`. `None`: that needs to be checked against
    /// what the type is, so give `kind`.
    #[inline]
    pub(crate) fn open(
        &mut self,
        name: &str,
        schema: u32,
        rust_type: TypeId,
        kind: Option<&Kind>,
    ) -> Result<Option<Opened>> {
        let index = match self.by_name.get(name) {
            Some(&index) => index,
            None => self.enter(name)?,
        };
        let object = &mut self.objects[index as usize];
        if let Some(about) = object.about.as_ref().filter(|_| object.header != 0) {
            about.check(name, schema, None)?;
            if object.checked != Some(rust_type) {
                let Some(kind) = kind else { return Ok(None) };
                about.check(name, schema, Some(kind))?;
                object.checked = Some(rust_type);
            }
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
            about: None,
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
        kind: &Kind,
        heap: &mut Heap,
        set: &mut WriteSet,
    ) -> Result<Block> {
        let (type_len, descriptor_len) = (kind.type_name.len(), kind.descriptor.encode().len());
        too_long("type name", type_len, MAX_TYPE)?;
        too_long("descriptor", descriptor_len, MAX_DESCRIPTOR)?;
        let len = ENTRY + type_len + self.objects[index as usize].name.len() + descriptor_len;
        heap.allocate(len as u64, 8, set)
    }

    /// The object `index` has its header at `header`. Returns what to write to `entry`.
    #[cold]
    pub(crate) fn create(
        &mut self,
        index: u32,
        header: u64,
        (kind, schema): (&Kind, u32),
        entry: Block,
        set: &mut WriteSet,
    ) -> Vec<u8> {
        let object = &mut self.objects[index as usize];
        let about = About::new(kind, schema);
        let bytes = encode(entry.start, self.head, header, &about, &object.name);
        let state = self.geometry.state_start;
        set.set_word(state, entry.start);
        set.set_word(state + 8, head_checksum(&self.geometry, entry.start));
        self.head = entry.start;
        object.header = header;
        object.about = Some(about);
        object.checked = Some(kind.rust_type);
        self.created.push(index);
        bytes
    }

    /// Tells readers what the transaction created; the gate keeps them out.
    pub(crate) fn publish(&self, names: &Names) {
        if !self.created.is_empty() {
            let created = self.created.iter().map(|&index| self.objects[index as usize].published());
            names.0.write().extend(created);
        }
    }

    /// The transaction is durable.
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
    fn published(&self) -> (Box<str>, Published) {
        let about = self.about.clone().expect("an object that is there");
        (self.name.clone(), Published { about, header: self.header, checked: OnceLock::new() })
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
        inner.media.store(last.at, &encode(last.at, second.at, last.header, &last.about, &last.name));
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
