//! What a type is, as a pool records it: so that a program with another idea of the same name is told, and so that
//! blocks can be followed by a program that does not have the type.
//!
//! A [`Descriptor`] is a list of types that refer to each other by number; the first is what the object is. `Stored::describe`
//! and `Plain::FIELDS` make it; FORMAT.md has its bytes.

use crate::{Plain, Stored};
use rustc_hash::{FxHashMap, FxHashSet};
use std::{any::TypeId, fmt};

/// Number of a type in its list.
pub type TypeIndex = u32;

/// One field of a plain type; [`fields!`](crate::fields) makes them.
#[derive(Clone, Copy)]
pub struct PlainField {
    name: &'static str,
    offset: usize,
    of: fn(&mut Types) -> TypeIndex,
}

impl PlainField {
    /// The field `name`, a `T`, at byte `offset`.
    pub const fn new<T: Plain>(name: &'static str, offset: usize) -> PlainField {
        PlainField { name, offset, of: Types::add::<T> }
    }
}

impl fmt::Debug for PlainField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} @{}", self.name, self.offset)
    }
}

/// The fields of a plain struct, for [`Plain::FIELDS`](crate::Plain::FIELDS): every field with its type. That all are there, and that they
/// have these types, is checked when it is compiled.
///
/// ```
/// # use bytemuck::{Pod, Zeroable}; use pmem_alloc::{Plain, Ptr, fields};
/// #[derive(Clone, Copy, Pod, Zeroable)]
/// #[repr(C)]
/// struct Node { next: Ptr<Node>, value: u64 }
/// impl Plain for Node {
///     const NAME: &'static str = "list.Node";
///     const FIELDS: Option<&'static [pmem_alloc::PlainField]> = fields!(Node { next: Ptr<Node>, value: u64 });
/// }
/// ```
#[macro_export]
macro_rules! fields {
    ($type:ty { $($name:tt: $of:ty),* $(,)? }) => {{
        const _: () = assert!(
            0 $(+ ::core::mem::size_of::<$of>())* == ::core::mem::size_of::<$type>(),
            "fields! has to name every field"
        );
        const _: fn(&$type) = |_value| { $(let _: *const $of = &raw const _value.$name;)* };
        const FIELDS: &[$crate::PlainField] =
            &[$($crate::PlainField::new::<$of>(stringify!($name), ::core::mem::offset_of!($type, $name))),*];
        ::core::option::Option::Some(FIELDS)
    }};
}

/// What a type consists of. References to other types are numbers in the same list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Only the name is known. What it may refer to is not.
    Opaque,
    /// Plain data of `size` bytes. `None`: its fields are not known, and there may be references among them.
    Plain {
        /// Bytes.
        size: u64,
        /// Bytes.
        align: u32,
        /// Name, offset, type of each field. None: one value that refers to nothing.
        fields: Option<Vec<(String, u64, TypeIndex)>>,
    },
    /// `len` plain values side by side.
    Array {
        /// Type of an element.
        of: TypeIndex,
        /// How many.
        len: u64,
    },
    /// An offset of 8 bytes; 0 is null.
    Pointer {
        /// Type of what it refers to.
        to: TypeIndex,
    },
    /// An object with blocks of its own, which code of that kind follows.
    Object {
        /// What structure: `"PBTreeMap"`.
        kind: String,
        /// Key, value, ...: what it is made of, in the order of its name.
        args: Vec<TypeIndex>,
    },
    /// A value in a form of its own (`String`, tuples, ...), which holds no reference.
    Encoded {
        /// What it is made of.
        args: Vec<TypeIndex>,
    },
}

/// One type in a [`Descriptor`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeInfo {
    /// As [`Stored::type_name`] says.
    pub name: String,
    /// What it consists of.
    pub shape: Shape,
}

/// A list of types that is being made; each type is in it once, so that it may refer to itself.
#[derive(Debug, Default)]
pub struct Types {
    list: Vec<TypeInfo>,
    known: FxHashMap<TypeId, TypeIndex>,
}

impl Types {
    /// The number of `T`, which is described if it is new.
    pub fn add<T: Stored>(&mut self) -> TypeIndex {
        if let Some(&index) = self.known.get(&TypeId::of::<T>()) {
            return index;
        }
        let index = self.list.len() as TypeIndex;
        self.known.insert(TypeId::of::<T>(), index);
        self.list.push(TypeInfo { name: T::type_name(), shape: Shape::Opaque });
        let shape = T::describe(self);
        self.list[index as usize].shape = shape;
        index
    }

    /// The shape of an object: `types.object("PBTreeMap", |types| vec![types.add::<K>(), types.add::<V>()])`.
    pub fn object(&mut self, kind: &str, args: impl FnOnce(&mut Types) -> Vec<TypeIndex>) -> Shape {
        Shape::Object { kind: kind.into(), args: args(self) }
    }

    /// The shape of a plain type with these fields.
    pub(crate) fn plain<T: Plain>(&mut self) -> Shape {
        let fields = T::FIELDS.map(|fields| {
            fields.iter().map(|field| (field.name.into(), field.offset as u64, (field.of)(self))).collect()
        });
        Shape::Plain { size: size_of::<T>() as u64, align: align_of::<T>() as u32, fields }
    }
}

/// What an object is. The first type is the object's; there is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    types: Vec<TypeInfo>,
}

/// Two descriptors of one name that cannot both be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mismatch {
    pub(crate) expected: String,
    pub(crate) found: String,
}

/// Where the references of a plain type are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pointers {
    /// Bytes of the type.
    pub(crate) size: u64,
    /// Offset of each, and the type of what it refers to.
    pub(crate) at: Vec<(u64, TypeIndex)>,
    /// Of which type the fields are not known, if of any.
    pub(crate) unknown: Option<String>,
}

const VERSION: u16 = 1;
/// Types in a list, and references in a type, beyond which nothing is believed.
const MOST: usize = 1 << 16;
const DEPTH: u32 = 32;

impl Descriptor {
    /// Of a type.
    pub fn of<T: Stored>() -> Descriptor {
        let mut types = Types::default();
        types.add::<T>();
        Descriptor { types: types.list }
    }

    /// All types; the first is the object's.
    pub fn types(&self) -> &[TypeInfo] {
        &self.types
    }

    /// What structure the object is, if it says so: `"PBTreeMap"`.
    pub fn kind(&self) -> Option<&str> {
        match &self.types[0].shape {
            Shape::Object { kind, .. } => Some(kind),
            _ => None,
        }
    }

    /// Number of the object's argument `n`: its key, value, ...
    pub(crate) fn arg(&self, n: usize) -> Option<TypeIndex> {
        match &self.types[0].shape {
            Shape::Object { args, .. } => args.get(n).copied(),
            _ => None,
        }
    }

    /// Where the references of type `index` are, if it is plain.
    pub(crate) fn pointers(&self, index: TypeIndex) -> Option<Pointers> {
        let mut pointers = Pointers { size: self.size(index, 0)?, ..Pointers::default() };
        self.collect(index, 0, 0, &mut pointers)?;
        Some(pointers)
    }

    fn size(&self, index: TypeIndex, depth: u32) -> Option<u64> {
        match &self.types.get(index as usize)?.shape {
            Shape::Plain { size, .. } => Some(*size),
            Shape::Array { of, len } if depth < DEPTH => self.size(*of, depth + 1)?.checked_mul(*len),
            Shape::Pointer { .. } => Some(8),
            _ => None,
        }
    }

    fn collect(&self, index: TypeIndex, at: u64, depth: u32, out: &mut Pointers) -> Option<()> {
        if depth > DEPTH || out.at.len() > MOST {
            return None;
        }
        let TypeInfo { name, shape } = self.types.get(index as usize)?;
        match shape {
            Shape::Plain { fields: Some(fields), .. } => fields
                .iter()
                .try_for_each(|(_, offset, of)| self.collect(*of, at.checked_add(*offset)?, depth + 1, out)),
            Shape::Plain { fields: None, .. } => {
                out.unknown.get_or_insert_with(|| name.clone());
                Some(())
            }
            Shape::Array { of, len } => {
                let mut one = Pointers::default();
                self.collect(*of, 0, depth + 1, &mut one)?;
                if one.unknown.is_some() {
                    out.unknown = one.unknown;
                }
                let size = self.size(*of, depth)?;
                if one.at.len() as u64 * len > MOST as u64 {
                    return None;
                }
                let each = if one.at.is_empty() { 0 } else { *len };
                for i in 0..each {
                    out.at.extend(one.at.iter().map(|&(inside, to)| (at + i * size + inside, to)));
                }
                Some(())
            }
            Shape::Pointer { to } => {
                out.at.push((at, *to));
                Some(())
            }
            _ => None,
        }
    }

    /// The first thing in which `found` cannot be what `self` is. What is not described on one side fits anything of the
    /// same name.
    pub(crate) fn mismatch(&self, found: &Descriptor) -> Option<Mismatch> {
        let mut seen = FxHashSet::default();
        let mut open = vec![(0, 0)];
        while let Some(pair) = open.pop() {
            if !seen.insert(pair) {
                continue;
            }
            let (a, b) = (&self.types[pair.0 as usize], &found.types[pair.1 as usize]);
            let fits = a.name == b.name
                && match (&a.shape, &b.shape) {
                    (Shape::Opaque, _) | (_, Shape::Opaque) => true,
                    (
                        Shape::Plain { size, align, fields },
                        Shape::Plain { size: found_size, align: found_align, fields: found_fields },
                    ) => {
                        (size, align) == (found_size, found_align)
                            && match (fields, found_fields) {
                                (Some(a), Some(b)) => {
                                    open.extend(a.iter().zip(b).map(|(a, b)| (a.2, b.2)));
                                    a.len() == b.len()
                                        && a.iter().zip(b).all(|(a, b)| (&a.0, a.1) == (&b.0, b.1))
                                }
                                _ => true,
                            }
                    }
                    (Shape::Array { of, len }, Shape::Array { of: found_of, len: found_len }) => {
                        open.push((*of, *found_of));
                        len == found_len
                    }
                    (Shape::Pointer { to }, Shape::Pointer { to: found_to }) => {
                        open.push((*to, *found_to));
                        true
                    }
                    (Shape::Object { kind, args }, Shape::Object { kind: found_kind, args: found_args }) => {
                        open.extend(args.iter().copied().zip(found_args.iter().copied()));
                        kind == found_kind && args.len() == found_args.len()
                    }
                    (Shape::Encoded { args }, Shape::Encoded { args: found_args }) => {
                        open.extend(args.iter().copied().zip(found_args.iter().copied()));
                        args.len() == found_args.len()
                    }
                    _ => false,
                };
            if !fits {
                return Some(Mismatch { expected: self.text(pair.0), found: found.text(pair.1) });
            }
        }
        None
    }

    /// A type in words, one level deep.
    fn text(&self, index: TypeIndex) -> String {
        let TypeInfo { name, shape } = &self.types[index as usize];
        let named = |index: &TypeIndex| self.types[*index as usize].name.as_str();
        match shape {
            Shape::Plain { fields: Some(fields), .. } if !fields.is_empty() => {
                let fields: Vec<_> =
                    fields.iter().map(|(field, at, of)| format!("{field}: {} @{at}", named(of))).collect();
                format!("{name} {{ {} }}", fields.join(", "))
            }
            Shape::Pointer { to } => format!("{name} to {}", named(to)),
            _ => name.clone(),
        }
    }

    /// The bytes on media.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(VERSION.to_le_bytes());
        out.extend((self.types.len() as u16).to_le_bytes());
        let text = |out: &mut Vec<u8>, text: &str| {
            out.extend((text.len() as u16).to_le_bytes());
            out.extend(text.as_bytes());
        };
        let list = |out: &mut Vec<u8>, list: &[TypeIndex]| {
            out.extend((list.len() as u16).to_le_bytes());
            list.iter().for_each(|index| out.extend((*index as u16).to_le_bytes()));
        };
        for TypeInfo { name, shape } in &self.types {
            text(&mut out, name);
            match shape {
                Shape::Opaque => out.push(0),
                Shape::Plain { size, align, fields } => {
                    out.push(if fields.is_some() { 1 } else { 2 });
                    out.extend(size.to_le_bytes());
                    out.extend(align.to_le_bytes());
                    if let Some(fields) = fields {
                        out.extend((fields.len() as u16).to_le_bytes());
                        for (name, at, of) in fields {
                            text(&mut out, name);
                            out.extend(at.to_le_bytes());
                            out.extend((*of as u16).to_le_bytes());
                        }
                    }
                }
                Shape::Array { of, len } => {
                    out.push(3);
                    out.extend((*of as u16).to_le_bytes());
                    out.extend(len.to_le_bytes());
                }
                Shape::Pointer { to } => {
                    out.push(4);
                    out.extend((*to as u16).to_le_bytes());
                }
                Shape::Object { kind, args } => {
                    out.push(5);
                    text(&mut out, kind);
                    list(&mut out, args);
                }
                Shape::Encoded { args } => {
                    out.push(6);
                    list(&mut out, args);
                }
            }
        }
        out
    }

    /// What [`encode`](Descriptor::encode) made; `None` for anything else. Bounded by the length of `bytes`.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Descriptor> {
        let mut input = Input(bytes);
        if u16::from_le_bytes(input.take()?) != VERSION {
            return None;
        }
        let count = input.short()?;
        let mut types = Vec::new();
        for _ in 0..count {
            let name = input.text()?;
            let shape = match input.take::<1>()?[0] {
                0 => Shape::Opaque,
                tag @ (1 | 2) => {
                    let (size, align) =
                        (u64::from_le_bytes(input.take()?), u32::from_le_bytes(input.take()?));
                    let mut fields = None;
                    if tag == 1 {
                        let count = input.short()?;
                        fields = Some(
                            (0..count)
                                .map(|_| {
                                    Some((input.text()?, u64::from_le_bytes(input.take()?), input.short()?))
                                })
                                .collect::<Option<Vec<_>>>()?,
                        );
                    }
                    Shape::Plain { size, align, fields }
                }
                3 => Shape::Array { of: input.short()?, len: u64::from_le_bytes(input.take()?) },
                4 => Shape::Pointer { to: input.short()? },
                5 => Shape::Object { kind: input.text()?, args: input.list()? },
                6 => Shape::Encoded { args: input.list()? },
                _ => return None,
            };
            types.push(TypeInfo { name, shape });
        }
        let refers_inside = |index: &TypeIndex| *index < count;
        let fits = types.iter().all(|info| match &info.shape {
            Shape::Opaque => true,
            Shape::Plain { fields, size, .. } => {
                fields.iter().flatten().all(|(_, at, of)| at <= size && refers_inside(of))
            }
            Shape::Array { of: index, .. } | Shape::Pointer { to: index } => refers_inside(index),
            Shape::Object { args, .. } | Shape::Encoded { args } => args.iter().all(refers_inside),
        });
        (input.0.is_empty() && count > 0 && fits).then_some(Descriptor { types })
    }
}

/// Bytes that are left to decode.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }
    fn short(&mut self) -> Option<TypeIndex> {
        Some(u16::from_le_bytes(self.take()?).into())
    }
    fn text(&mut self) -> Option<String> {
        let len = self.short()? as usize;
        let (text, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(str::from_utf8(text).ok()?.into())
    }
    fn list(&mut self) -> Option<Vec<TypeIndex>> {
        let len = self.short()?;
        (0..len).map(|_| self.short()).collect()
    }
}

/// In words, one type a line.
impl fmt::Display for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (0..self.types.len()).try_for_each(|i| {
            let end = if i == 0 { "" } else { "\n  " };
            write!(f, "{end}{}", self.text(i as TypeIndex))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PHeap, Ptr};
    use bytemuck::{Pod, Zeroable};

    #[derive(Clone, Copy, Default, Pod, Zeroable)]
    #[repr(C)]
    struct Node {
        value: u64,
        next: [Ptr<Node>; 2],
    }
    impl Plain for Node {
        const NAME: &'static str = "test.Node";
        const FIELDS: Option<&'static [PlainField]> = fields!(Node { value: u64, next: [Ptr<Node>; 2] });
    }
    #[derive(Clone, Copy, Default, Pod, Zeroable)]
    #[repr(C)]
    struct Swapped {
        next: [Ptr<Swapped>; 2],
        value: u64,
    }
    impl Plain for Swapped {
        const NAME: &'static str = "test.Node";
        const FIELDS: Option<&'static [PlainField]> =
            fields!(Swapped { next: [Ptr<Swapped>; 2], value: u64 });
    }
    #[derive(Clone, Copy, Default, Pod, Zeroable)]
    #[repr(C)]
    struct Undescribed([u64; 3]);
    impl Plain for Undescribed {
        const NAME: &'static str = "test.Node";
    }

    #[test]
    fn a_descriptor_is_what_was_encoded_and_other_bytes_are_none() {
        let descriptor = Descriptor::of::<PHeap<Node>>();
        let bytes = descriptor.encode();
        assert_eq!(Descriptor::decode(&bytes), Some(descriptor));
        for cut in 0..bytes.len() {
            assert_eq!(Descriptor::decode(&bytes[..cut]), None);
        }
        let mut rng = fastrand::Rng::with_seed(3);
        for _ in 0..20_000 {
            let mut damaged = bytes.clone();
            for _ in 0..rng.usize(1..4) {
                let at = rng.usize(..damaged.len());
                damaged[at] = rng.u8(..);
            }
            if let Some(found) = Descriptor::decode(&damaged) {
                (0..found.types.len()).for_each(|i| drop(found.pointers(i as u32)));
                _ = (found.to_string(), found.mismatch(&found));
            }
        }
    }

    #[test]
    fn a_type_that_refers_to_itself_knows_where() {
        let descriptor = Descriptor::of::<PHeap<Node>>();
        let node = descriptor.arg(0).unwrap();
        let pointers = descriptor.pointers(node).unwrap();
        assert_eq!((pointers.size, pointers.at, pointers.unknown), (24, vec![(8, node), (16, node)], None));
        assert_eq!(descriptor.kind(), Some("PHeap"));
    }

    #[test]
    fn fields_in_another_order_under_one_name_do_not_fit_and_undescribed_ones_do() {
        let [node, swapped, undescribed] =
            [Descriptor::of::<Node>(), Descriptor::of::<Swapped>(), Descriptor::of::<Undescribed>()];
        let mismatch = node.mismatch(&swapped).unwrap();
        assert!(mismatch.expected.contains("value: u64 @0"), "{mismatch:?}");
        assert!(mismatch.found.contains("value: u64 @16"), "{mismatch:?}");
        assert_eq!(node.mismatch(&node), None);
        assert_eq!(node.mismatch(&undescribed), None);
        assert_eq!(undescribed.mismatch(&node), None);
        assert_eq!(undescribed.pointers(0).unwrap().unknown.as_deref(), Some("test.Node#24/8"));
    }
}
