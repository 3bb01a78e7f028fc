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
    /// Offset of the next entry.
    next: u64,
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

/// Reads the entry at `at`, all of it checked.
fn decode(at: u64, heap: &Heap, media: &Media) -> Result<Listed> {
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
    Ok(Listed { at, name, about, header: entry.header, next: entry.next })
}

/// Walks the list, which begins where the state line says or at `head`, telling `visit` each entry, and none twice. Returns
/// where it begins. Stops at damage, a cycle, or an error of `visit`.
pub(crate) fn walk(
    head: Option<u64>,
    heap: &Heap,
    media: &Media,
    mut visit: impl FnMut(Listed) -> Result<()>,
) -> Result<u64> {
    let head = match head {
        Some(head) => head,
        None => read_head(heap.geometry(), media)?,
    };
    let mut visited = FxHashSet::default();
    let mut at = head;
    while at != 0 {
        if !visited.insert(at) {
            return Err(Error::corrupt(at, "a directory that ends", "a cycle"));
        }
        let listed = decode(at, heap, media)?;
        at = listed.next;
        visit(listed)?;
    }
    Ok(head)
}

/// Where the directory begins, if the word that says so is damaged, and the entries leave no doubt: they check themselves,
/// and each that is found has to be in one list. `None`: the word is right.
pub(crate) fn find_head(heap: &Heap, media: &Media) -> Result<Option<(u64, Error)>> {
    let Err(lost) = read_head(heap.geometry(), media) else { return Ok(None) };
    let entries: FxHashMap<u64, u64> = heap
        .each_block(&[])
        .filter_map(|block| decode(block.start, heap, media).ok())
        .map(|listed| (listed.at, listed.next))
        .collect();
    let mut first: FxHashSet<u64> = entries.keys().copied().collect();
    entries.values().for_each(|next| _ = first.remove(next));
    let head = match first.iter().next() {
        Some(&head) if first.len() == 1 => head,
        None if entries.is_empty() && heap.each_block(&[]).next().is_none() => 0,
        _ => return Err(lost),
    };
    let mut found = 0;
    match walk(Some(head), heap, media, |_| {
        found += 1;
        Ok(())
    }) {
        Ok(_) if found == entries.len() => Ok(Some((head, lost))),
        _ => Err(lost),
    }
}

/// What readers know of an object.
struct Published {
    about: About,
    header: u64,
    /// The Rust type that was found to have that name.
    checked: OnceLock<TypeId>,
}

/// What readers are told of a name: which object it stands for now, if any.
pub(crate) struct Publication {
    name: Box<str>,
    object: Option<Published>,
}

/// The committed directory, for readers. Changed while the gate keeps them out.
#[derive(Default)]
pub(crate) struct Names(RwLock<FxHashMap<Box<str>, Published>>);

impl Names {
    /// Tells readers what became of an object, if it is still there; the gate keeps them out.
    pub(crate) fn publish(&self, Publication { name, object }: Publication) {
        let mut names = self.0.write();
        match object {
            Some(object) => _ = names.insert(name, object),
            None => _ = names.remove(&name),
        }
    }

    /// Readers find these from now on; the gate keeps them out.
    pub(crate) fn replace(&self, names: Names) {
        *self.0.write() = names.0.into_inner();
    }

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
    /// Offset of the entry, and of the next one.
    at: u64,
    next: u64,
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
    changes: usize,
    head: u64,
}

/// What the open transaction changed here, with what was before.
enum Change {
    Object { index: u32, name: Box<str>, at: u64, next: u64, about: Option<About>, header: u64 },
    ByName { name: Box<str>, index: Option<u32> },
}

/// What is to be done to the entries on media.
pub(crate) enum Edit {
    /// Fills a new block.
    New(Block, Vec<u8>),
    /// Replaces the content of the entry at an offset.
    Changed(u64, Vec<u8>),
    /// Frees the entry at an offset.
    Gone(u64),
}

/// The directory as the open transaction sees it.
pub(crate) struct Objects {
    geometry: Geometry,
    by_name: FxHashMap<Box<str>, u32>,
    objects: Vec<Object>,
    /// The object that was opened last, by its name; none, if `by_name` was changed since.
    last: Option<u32>,
    head: u64,
    committed_head: u64,
    /// Objects of which the open transaction gave out a token.
    opened: Vec<u32>,
    changes: Vec<Change>,
}

impl Objects {
    /// Reads the directory.
    pub(crate) fn read(heap: &Heap, media: &Media) -> Result<(Objects, Names)> {
        Objects::read_from(None, heap, media)
    }

    /// The same, if it begins elsewhere than the state line says.
    pub(crate) fn read_from(head: Option<u64>, heap: &Heap, media: &Media) -> Result<(Objects, Names)> {
        let mut objects = Objects {
            geometry: heap.geometry().clone(),
            by_name: FxHashMap::default(),
            objects: Vec::new(),
            last: None,
            head: 0,
            committed_head: 0,
            opened: Vec::new(),
            changes: Vec::new(),
        };
        let head = walk(head, heap, media, |listed| {
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
                        at: listed.at,
                        next: listed.next,
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
        objects.objects.iter().for_each(|object| names.publish(object.published()));
        Ok((objects, names))
    }

    /// Offsets of the entries, ascending.
    pub(crate) fn entries(&self) -> Vec<u64> {
        let mut entries: Vec<u64> = self.objects.iter().map(|object| object.at).collect();
        entries.sort_unstable();
        entries
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
        let index = match self.last {
            Some(last) if *self.objects[last as usize].name == *name => last,
            _ => self.find(name)?,
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

    /// The index of a name; a new one, if need be.
    fn find(&mut self, name: &str) -> Result<u32> {
        let index = match self.by_name.get(name) {
            Some(&index) => index,
            None => self.enter(name)?,
        };
        self.last = Some(index);
        Ok(index)
    }

    #[cold]
    fn enter(&mut self, name: &str) -> Result<u32> {
        too_long("name", name.len(), MAX_NAME)?;
        let index = self.objects.len() as u32;
        self.objects.push(Object {
            name: name.into(),
            at: 0,
            next: 0,
            about: None,
            header: 0,
            checked: None,
            token: Arc::new(()),
        });
        self.by_name.insert(name.into(), index);
        Ok(index)
    }

    /// Bytes of the entry of the object `index`, which is to be created.
    #[cold]
    pub(crate) fn new_entry_len(&self, index: u32, kind: &Kind) -> Result<u64> {
        let (type_len, descriptor_len) = (kind.type_name.len(), kind.descriptor.encode().len());
        too_long("type name", type_len, MAX_TYPE)?;
        too_long("descriptor", descriptor_len, MAX_DESCRIPTOR)?;
        Ok((ENTRY + type_len + self.objects[index as usize].name.len() + descriptor_len) as u64)
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
        self.objects[index as usize].checked = Some(kind.rust_type);
        self.add(index, header, About::new(kind, schema), entry, set)
    }

    /// Puts an object at the front of the list. Returns what to write to `entry`.
    fn add(&mut self, index: u32, header: u64, about: About, entry: Block, set: &mut WriteSet) -> Vec<u8> {
        self.note(index);
        let object = &mut self.objects[index as usize];
        let bytes = encode(entry.start, self.head, header, &about, &object.name);
        (object.at, object.next) = (entry.start, self.head);
        (object.header, object.about) = (header, Some(about));
        self.set_head(entry.start, set);
        bytes
    }

    fn set_head(&mut self, head: u64, set: &mut WriteSet) {
        let state = self.geometry.state_start;
        set.set_word(state, head);
        set.set_word(state + 8, head_checksum(&self.geometry, head));
        self.head = head;
    }

    /// Remembers an object that is about to be changed.
    fn note(&mut self, index: u32) {
        let Object { name, at, next, about, header, .. } = &self.objects[index as usize];
        let (name, about) = (name.clone(), about.clone());
        self.changes.push(Change::Object { index, name, at: *at, next: *next, about, header: *header });
    }

    fn map(&mut self, name: &str, index: Option<u32>) {
        self.last = None;
        let before = match index {
            Some(index) => self.by_name.insert(name.into(), index),
            None => self.by_name.remove(name),
        };
        self.changes.push(Change::ByName { name: name.into(), index: before });
    }

    fn live(&self, name: &str) -> Option<(u32, &Object)> {
        let &index = self.by_name.get(name)?;
        Some((index, &self.objects[index as usize])).filter(|(_, object)| object.header != 0)
    }

    /// Schema version of the object `name`, if there is one.
    pub(crate) fn version(&self, name: &str) -> Option<u32> {
        self.live(name).and_then(|(_, object)| object.about.as_ref()).map(|about| about.schema)
    }

    /// Owner number and header of the object `name`, if there is one.
    pub(crate) fn place(&self, name: &str) -> Option<(u32, u64)> {
        self.live(name).map(|(index, object)| (index + FIRST_OBJECT, object.header))
    }

    /// Bytes of the entry of the object `name`, were it called `new_name`.
    pub(crate) fn entry_len(&self, name: &str, new_name: &str) -> u64 {
        let (_, object) = self.live(name).expect("an object that is there");
        encode(0, 0, 0, object.about.as_ref().expect("an object that is there"), new_name).len() as u64
    }

    /// Takes the object `name` out of the list. Its blocks are another's business.
    pub(crate) fn remove(&mut self, name: &str, set: &mut WriteSet) -> Vec<Edit> {
        let Some((index, &Object { at, next, .. })) = self.live(name) else { return Vec::new() };
        let mut edits = vec![Edit::Gone(at)];
        if self.head == at {
            self.set_head(next, set);
        } else {
            let before = self.objects.iter().position(|object| object.header != 0 && object.next == at);
            let before = before.expect("an entry that is not the first follows another") as u32;
            self.note(before);
            let object = &mut self.objects[before as usize];
            object.next = next;
            let about = object.about.as_ref().expect("an object that is there");
            edits.push(Edit::Changed(object.at, encode(object.at, next, object.header, about, &object.name)));
        }
        self.note(index);
        self.objects[index as usize].header = 0;
        edits
    }

    /// The object `name`, which was just taken out of the list, is in it again as `new_name`.
    pub(crate) fn add_again(&mut self, name: &str, new_name: &str, entry: Block, set: &mut WriteSet) -> Edit {
        let index = self.by_name[name];
        let Some(Change::Object { header, .. }) = self.changes.last() else {
            unreachable!("taken out just now")
        };
        let header = *header;
        self.map(name, None);
        self.map(new_name, Some(index));
        self.note(index);
        let object = &mut self.objects[index as usize];
        object.name = new_name.into();
        let about = object.about.clone().expect("an object that was there");
        let content = self.add(index, header, about, entry, set);
        Edit::New(entry, content)
    }

    /// What the transaction created and removed, for readers to be told of.
    pub(crate) fn changed(&self) -> impl Iterator<Item = Publication> {
        self.changes.iter().map(|change| {
            let (Change::Object { name, .. } | Change::ByName { name, .. }) = change;
            match self.live(name) {
                Some((_, object)) => object.published(),
                None => Publication { name: name.clone(), object: None },
            }
        })
    }

    /// The transaction is durable, or on its way.
    pub(crate) fn commit(&mut self) {
        self.changes.clear();
        self.committed_head = self.head;
    }

    /// The transaction never was.
    pub(crate) fn abort(&mut self) {
        self.rollback_to(Progress { changes: 0, head: self.committed_head });
    }

    /// How far the transaction has come.
    pub(crate) fn progress(&self) -> Progress {
        Progress { changes: self.changes.len(), head: self.head }
    }

    /// What the transaction created since `to` was never there, what it removed is. Owner numbers stay: an object that is
    /// created again has the same one.
    pub(crate) fn rollback_to(&mut self, to: Progress) {
        self.last = None;
        for change in self.changes.drain(to.changes..).rev() {
            match change {
                Change::Object { index, name, at, next, about, header } => {
                    let object = &mut self.objects[index as usize];
                    (object.name, object.about) = (name, about);
                    (object.at, object.next, object.header) = (at, next, header);
                }
                Change::ByName { name, index: Some(index) } => _ = self.by_name.insert(name, index),
                Change::ByName { name, index: None } => _ = self.by_name.remove(&name),
            }
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
    fn published(&self) -> Publication {
        let about = self.about.clone().expect("an object that is there");
        let object = Published { about, header: self.header, checked: OnceLock::new() };
        Publication { name: self.name.clone(), object: Some(object) }
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
        walk(None, &writer.heap, &inner.media, &mut visit).unwrap();
        let [_, second, last] = &entries[..] else { panic!("{entries:?}") };
        // The last one goes on with the second, under a right checksum.
        inner.media.store(last.at, &encode(last.at, second.at, last.header, &last.about, &last.name));
        let mut visited = Vec::new();
        let mut visit = |listed: Listed| {
            visited.push(listed.at);
            Ok(())
        };
        let error = walk(None, &writer.heap, &inner.media, &mut visit).unwrap_err();
        assert!(error.to_string().contains("a cycle"), "{error}");
        assert_eq!(visited, entries.iter().map(|listed| listed.at).collect::<Vec<_>>());
        inner.turn.give(writer);
    }
}
