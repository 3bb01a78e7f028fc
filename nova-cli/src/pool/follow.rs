//! Objects that the pool can follow although this program lacks their types: what it needs to know is where they have references, and
//! the types that are opened here have none.

use super::{
    entries,
    erased::{self, OfValue, Raw, VARIABLE},
};
use pmem_alloc::{Descriptor, Object, ObjectReport, Pool, Registry, Shape, TypeIndex};
use pmem_collections::{PArt, PBox, PBytes, PDeque, PLinkedList, PLog, PString, PVec};
use std::marker::PhantomData;

/// A type of objects, known by what it can do.
pub(crate) struct Of<O>(PhantomData<O>);

impl<O> Of<O> {
    pub(crate) fn new() -> Of<O> {
        Of(PhantomData)
    }
}

/// A type of objects, to be registered: the pool can follow its objects then.
pub(crate) trait Follow {
    fn register(&self, pool: &Pool);
    /// With a pool that is about to be repaired or compacted.
    fn enroll(&self, registry: &mut Registry<'_>);
}

impl<O: Object> Follow for Of<O> {
    fn register(&self, pool: &Pool) {
        pool.register::<O>();
    }

    fn enroll(&self, registry: &mut Registry<'_>) {
        registry.register::<O>();
    }
}

/// An object's type that can be registered, and what it is made of.
pub(crate) struct Followed {
    follow: Box<dyn Follow>,
    key: String,
    value: String,
}

/// Those of these objects that can be followed.
pub(crate) fn followed(objects: &[ObjectReport]) -> Vec<Followed> {
    objects.iter().filter_map(one).collect()
}

fn one(object: &ObjectReport) -> Option<Followed> {
    if let Ok(known) = entries::known(object) {
        return Some(Followed { follow: known.entries, key: known.key, value: known.value });
    }
    let descriptor = &object.descriptor;
    let Shape::Object { kind, args } = &descriptor.types()[0].shape else { return None };
    let value = args.first().map_or_else(String::new, |arg| descriptor.types()[*arg as usize].name.clone());
    let follow: Box<dyn Follow> = match (kind.as_str(), args.as_slice()) {
        ("PLog", []) => Box::new(Of::<PLog>::new()),
        ("PString", []) => Box::new(Of::<PString>::new()),
        ("PBytes", []) => Box::new(Of::<PBytes>::new()),
        (kind, [element]) => sequence(kind, form(descriptor, *element)?)?,
        _ => return None,
    };
    Some(Followed { follow, key: String::new(), value })
}

/// Registers them, one after the other.
pub(crate) fn each(all: &[Followed], mut register: impl FnMut(&dyn Follow)) {
    for Followed { follow, key, value } in all {
        erased::mean(key, value);
        register(&**follow);
    }
    erased::mean_nothing();
}

macro_rules! sequences {
    ($kind:expr, $form:expr; $(($size:expr, $align:expr)),*) => {
        $(if $form == ($size, $align) {
            type T = Raw<OfValue, { $size }, $align>;
            return Some(match $kind {
                "PVec" => Box::new(Of::<PVec<T>>::new()) as Box<dyn Follow>,
                "PDeque" => Box::new(Of::<PDeque<T>>::new()),
                "PLinkedList" => Box::new(Of::<PLinkedList<T>>::new()),
                "PArt" => Box::new(Of::<PArt<T>>::new()),
                "PBox" => Box::new(Of::<PBox<T>>::new()),
                _ => return None,
            });
        })*
    };
}

/// What holds elements of this size and alignment.
fn sequence(kind: &str, form: (usize, usize)) -> Option<Box<dyn Follow>> {
    sequences!(kind, form; (0, 1), (1, 1), (2, 2), (4, 4), (8, 8), (16, 8), (24, 8), (32, 8), (VARIABLE, 1));
    None
}

/// Size (or [`VARIABLE`]) and alignment of a type without references.
pub(crate) fn form(descriptor: &Descriptor, index: TypeIndex) -> Option<(usize, usize)> {
    match &descriptor.types()[index as usize].shape {
        Shape::Encoded { args } => {
            match (args.as_slice(), descriptor.types()[index as usize].name.as_bytes()) {
                // Of a slice's elements.
                ([element], [b'[', ..]) => Some((VARIABLE, plain(descriptor, *element, 0)?.1)),
                _ => Some((VARIABLE, 1)),
            }
        }
        _ => plain(descriptor, index, 0),
    }
}

/// Nobody's structs are nested deeper.
const DEPTH: u32 = 16;

fn plain(descriptor: &Descriptor, index: TypeIndex, depth: u32) -> Option<(usize, usize)> {
    match &descriptor.types().get(index as usize)?.shape {
        Shape::Plain { size, align, fields: Some(fields) } if depth < DEPTH => {
            fields.iter().try_for_each(|(_, _, of)| plain(descriptor, *of, depth + 1).map(drop))?;
            Some((usize::try_from(*size).ok()?, *align as usize))
        }
        Shape::Array { of, len } if depth < DEPTH => {
            let (size, align) = plain(descriptor, *of, depth + 1)?;
            Some((size.checked_mul(usize::try_from(*len).ok()?)?, align))
        }
        _ => None,
    }
}
