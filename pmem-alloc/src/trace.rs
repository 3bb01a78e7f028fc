//! Following objects through their blocks: for the check, for repair, and for compaction.
//!
//! A container tells its [`Tracer`] which blocks it has and where in them it keeps references; what is done with that is
//! the tracer's business. The check needs the blocks, compaction the references too.

use crate::{
    Body, Descriptor, Error, Object, Read, Result, Shape, Slab, Stored, TypeInfo,
    describe::Pointers,
    graph,
    heap::{Block, Heap},
    media::Media,
};
use pmem_map::Ptr;
use rustc_hash::{FxHashMap, FxHashSet};
use std::{any::TypeId, collections::BTreeSet, rc::Rc};

/// What [`Object::trace`] is given: it is told every block of an object, and every reference in them.
///
/// | what the container has | what it says |
/// |---|---|
/// | a block of `len` bytes that it uses | [`block`](Tracer::block) |
/// | a word that holds an offset | [`pointer`](Tracer::pointer), [`tagged_pointer`](Tracer::tagged_pointer) |
/// | both: a word that refers to a block of its own | [`owned`](Tracer::owned) |
/// | a key or a value of a plain type | [`plain`](Tracer::plain) |
/// | a nested object, and the word that refers to its header | [`object`](Tracer::object) |
/// | a checksum that covers references, or is seeded with its place | [`sealed`](Tracer::sealed) |
/// | a slab | [`slab`](Tracer::slab) |
/// | something that only works where it is | [`immovable`](Tracer::immovable) |
/// | blocks that it cannot tell | [`not_traced`](Tracer::not_traced) |
///
/// Containers check what they read, as always: the pool may be damaged. An error ends the tracing of this object;
/// the rest of its blocks then counts as not traced.
pub struct Tracer<'a> {
    pub(crate) heap: &'a Heap,
    pub(crate) media: &'a Media,
    pub(crate) reached: &'a mut Reached,
    pub(crate) found: Found,
    plans: FxHashMap<TypeId, Rc<Plan>>,
    want_references: bool,
}

/// A word that holds the offset of something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reference {
    /// Where the word is.
    pub(crate) slot: u64,
    /// What it refers to: the start of a block, or a place inside one.
    pub(crate) target: u64,
    /// Bits of the word that are no part of the offset.
    pub(crate) tag: u64,
}

/// Computes the checksums in a block that was moved: given its bytes, which have the new references, and its new offset.
pub type Seal = fn(&mut [u8], u64);

/// What one object told.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) blocks: Vec<Block>,
    pub(crate) bytes: u64,
    pub(crate) references: Vec<Reference>,
    pub(crate) seals: Vec<(u64, Seal)>,
    /// Blocks of which every word is to be looked at.
    pub(crate) to_scan: Vec<Block>,
    /// References to nothing: where, to what.
    pub(crate) dangling: Vec<(u64, u64)>,
    /// Blocks that were reached before.
    pub(crate) twice: Vec<u64>,
    pub(crate) not_traced: BTreeSet<String>,
    pub(crate) immovable: BTreeSet<String>,
}

/// What to do with values of a type.
enum Plan {
    Pointers(Pointers),
    NoPointers,
}

/// Blocks that were reached, of all objects: a bit each.
pub(crate) struct Reached {
    bits: Vec<u64>,
}

impl Reached {
    pub(crate) fn new(heap: &Heap) -> Reached {
        Reached { bits: vec![0; heap.block_numbers().div_ceil(64)] }
    }

    /// Whether this is the first time.
    pub(crate) fn enter(&mut self, number: usize) -> bool {
        let (word, bit) = (&mut self.bits[number / 64], 1 << (number % 64));
        let first = *word & bit == 0;
        *word |= bit;
        first
    }

    /// The bits of all block numbers.
    pub(crate) fn bits(&self) -> &[u64] {
        &self.bits
    }

    pub(crate) fn contains(&self, number: usize) -> bool {
        self.bits[number / 64] >> (number % 64) & 1 == 1
    }
}

impl<'a> Tracer<'a> {
    pub(crate) fn new(
        heap: &'a Heap,
        media: &'a Media,
        reached: &'a mut Reached,
        want_references: bool,
    ) -> Tracer<'a> {
        Tracer { heap, media, reached, found: Found::default(), plans: FxHashMap::default(), want_references }
    }

    /// The block that begins at `at` is this object's, which uses `len` bytes of it.
    ///
    /// # Errors
    ///
    /// `Corrupt` if no such block is allocated, or if it was told before, by this object or another: so a walk
    /// of a damaged structure ends.
    pub fn block(&mut self, at: Ptr<u8>, len: u64) -> Result<()> {
        let at = at.offset();
        let block = self.heap.locate(at, len).filter(|block| block.start == at);
        let block = block.ok_or_else(|| {
            let found = match self.heap.locate(at, 0) {
                Some(block) => format!("a block of {} bytes from {} on", block.len, block.start),
                None => "none".into(),
            };
            Error::corrupt(at, format!("an allocated block of {len} bytes"), found)
        })?;
        if !self.reached.enter(self.heap.block_number(block)) {
            self.found.twice.push(at);
            return Err(Error::corrupt(at, "a block that is used once", "one that is used already"));
        }
        self.found.bytes += block.len;
        if self.want_references {
            self.found.blocks.push(block);
        }
        Ok(())
    }

    /// The word at `slot` holds the offset `target`, which may be null, and may be one in a block of another object.
    ///
    /// # Errors
    ///
    /// `Corrupt` if it does not. A reference to what is not allocated is noted, and is no error.
    pub fn pointer(&mut self, slot: u64, target: Ptr<u8>) -> Result<()> {
        self.tagged_pointer(slot, target, 0)
    }

    /// As [`pointer`](Tracer::pointer), of a word in which the bits of `tag` are no part of the offset.
    pub fn tagged_pointer(&mut self, slot: u64, target: Ptr<u8>, tag: u64) -> Result<()> {
        let target = target.offset();
        let word = self.word(slot)?;
        if word & !tag != target {
            return Err(Error::corrupt(slot, format!("a reference to {target}"), format!("{word:#x}")));
        }
        if target == 0 {
            return Ok(());
        }
        if self.heap.locate(target, 1).is_none() {
            self.found.dangling.push((slot, target));
        } else if self.want_references {
            self.found.references.push(Reference { slot, target, tag });
        }
        Ok(())
    }

    /// As [`pointer`](Tracer::pointer), of whatever the word holds; returns that.
    pub(crate) fn pointer_at(&mut self, slot: u64) -> Result<u64> {
        let target = self.word(slot)?;
        self.pointer(slot, Ptr::from_offset(target))?;
        Ok(target)
    }

    /// Whether some object has told this block.
    pub(crate) fn is_reached(&self, block: Block) -> bool {
        self.reached.contains(self.heap.block_number(block))
    }

    fn word(&self, slot: u64) -> Result<u64> {
        if self.heap.locate(slot, 8).is_none() {
            return Err(Error::corrupt(slot, "a word inside an allocated block", "none"));
        }
        Ok(match slot % 8 {
            0 => self.media.word(slot),
            _ => u64::from_le_bytes(self.media.copy(slot, 8).try_into().expect("eight bytes")),
        })
    }

    /// The word at `slot` refers to a block of this object, of which it uses `len` bytes from `target` on:
    /// [`pointer`](Tracer::pointer) and [`block`](Tracer::block).
    pub fn owned(&mut self, slot: u64, target: Ptr<u8>, len: u64) -> Result<()> {
        self.pointer(slot, target)?;
        self.block(target, len)
    }

    /// At `at`, in a block that was told, is a stored value of type `T`: a key, a value, a node. References among its fields
    /// are followed to where they lead, not what is there: containers do not own what their values refer to.
    pub fn plain<T: Stored>(&mut self, at: u64) -> Result<()> {
        let plan = match self.plans.get(&TypeId::of::<T>()) {
            Some(plan) => plan.clone(),
            None => self.plan::<T>(),
        };
        let Plan::Pointers(pointers) = &*plan else { return Ok(()) };
        for &(inside, _) in &pointers.at {
            self.pointer_at(at + inside)?;
        }
        Ok(())
    }

    /// Whether values of type `T` have references: if not, [`plain`](Tracer::plain) has nothing to do for them.
    pub fn has_references<T: Stored>(&mut self) -> bool {
        matches!(&*self.plan::<T>(), Plan::Pointers(_))
    }

    fn plan<T: Stored>(&mut self) -> Rc<Plan> {
        if let Some(plan) = self.plans.get(&TypeId::of::<T>()) {
            return plan.clone();
        }
        let descriptor = Descriptor::of::<T>();
        let plan = match descriptor.pointers(0) {
            Some(pointers) if pointers.unknown.is_some() => {
                let name = pointers.unknown.as_deref().unwrap_or_default();
                self.immovable(format!("the fields of {name} are not known (Plain::FIELDS)"));
                Plan::NoPointers
            }
            Some(pointers) if !pointers.at.is_empty() => Plan::Pointers(pointers),
            Some(_) => Plan::NoPointers,
            None => {
                let hides = |info: &TypeInfo| {
                    matches!(
                        info.shape,
                        Shape::Opaque | Shape::Pointer { .. } | Shape::Plain { fields: None, .. }
                    )
                };
                // What is encoded is not looked into.
                if let Some(hidden) = descriptor.types().iter().find(|info| hides(info)) {
                    self.immovable(format!("{} may hide references in {}", hidden.name, T::type_name()));
                }
                Plan::NoPointers
            }
        };
        let plan = Rc::new(plan);
        self.plans.insert(TypeId::of::<T>(), plan.clone());
        plan
    }

    /// The word at `slot` refers to the header of a nested object of type `O`, which is traced.
    pub fn object<O: Object>(&mut self, body: &Body<'_, Read>, slot: u64, header: Ptr<u8>) -> Result<()> {
        self.pointer(slot, header)?;
        O::trace(body, header, self)
    }

    /// The block that begins at `at`, which was told, has checksums that must be computed anew when it, or something it
    /// refers to, is moved.
    pub fn sealed(&mut self, at: Ptr<u8>, seal: Seal) {
        if self.want_references {
            self.found.seals.push((at.offset(), seal));
        }
    }

    /// This object has blocks that it cannot tell: nothing in the pool is called a leak.
    pub fn not_traced(&mut self, why: impl Into<String>) {
        self.found.not_traced.insert(why.into());
    }

    /// The slab that begins at `at` is this object's.
    ///
    /// # Errors
    ///
    /// `Corrupt` if no slab begins there.
    pub fn slab(&mut self, at: Ptr<Slab>) -> Result<()> {
        match self.heap.is_slab(at.offset()) {
            true => Ok(()),
            false => Err(Error::corrupt(at.offset(), "a slab", "none")),
        }
    }

    /// This object cannot be copied to other offsets.
    pub fn immovable(&mut self, why: impl Into<String>) {
        self.found.immovable.insert(why.into());
    }
}

/// How a program that has the type follows an object.
pub(crate) type TraceFn = fn(&Body<'_, Read>, Ptr<u8>, &mut Tracer<'_>) -> Result<()>;

/// Follows an object whose type the program does not have by its descriptor, if that says enough.
pub(crate) fn trace_described(
    descriptor: &Descriptor,
    header: Ptr<u8>,
    tracer: &mut Tracer<'_>,
) -> Result<()> {
    match descriptor.kind() {
        Some("PHeap") => graph::trace(descriptor, header, tracer),
        _ => {
            tracer.not_traced("its type is not known to this program");
            tracer.immovable("its type is not known to this program");
            Ok(())
        }
    }
}

/// The blocks that one walk has reached, for structures in which a block may be reached twice.
pub(crate) type Visited = FxHashSet<u64>;
