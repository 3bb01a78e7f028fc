//! Maps and sets of a pool, whatever their types: entries as bytes.

use super::{
    erased::{self, OfKey, OfValue, Raw, VARIABLE},
    follow::{Follow, Of, form},
};
use crate::Failure;
use pmem_alloc::{Named, ObjectReport, ReadTx, Result, Shape, TypeIndex, WriteTx};
use pmem_collections::{PBTreeMap, PBTreeSet, PHashMap, PHashSet};

/// What a visitor is shown of each entry: key and value. `false`: enough.
pub(crate) type Visit<'v> = dyn FnMut(&[u8], &[u8]) -> bool + 'v;

/// A type of containers, opened by name. Of a set, values are empty.
pub(crate) trait Entries: Follow {
    /// The value of a key.
    fn get(&self, tx: &ReadTx<'_>, name: Named<'_, ()>, key: &[u8]) -> Result<Option<Vec<u8>>>;
    /// All entries in the container's order.
    fn visit(&self, tx: &ReadTx<'_>, name: Named<'_, ()>, visit: &mut Visit<'_>) -> Result<()>;
    /// Those from a key on, of a container that has an order.
    fn visit_from(
        &self,
        tx: &ReadTx<'_>,
        name: Named<'_, ()>,
        from: &[u8],
        visit: &mut Visit<'_>,
    ) -> Result<()>;
}

/// The same, to change it.
pub(crate) trait Change {
    /// Whether the key was there.
    fn put(&self, tx: &mut WriteTx<'_>, name: Named<'_, ()>, key: &[u8], value: &[u8]) -> Result<bool>;
}

/// The same name, of another type.
fn named<'n, O>(name: &Named<'n, ()>) -> Named<'n, O> {
    Named::new(name.name()).schema(name.version())
}

macro_rules! entries {
    ($Container:ident, $order:ident map) => {
        impl<const KS: usize, const KA: usize, const VS: usize, const VA: usize> Entries
            for Of<$Container<Raw<OfKey, KS, KA>, Raw<OfValue, VS, VA>>>
        {
            fn get(&self, tx: &ReadTx<'_>, name: Named<'_, ()>, key: &[u8]) -> Result<Option<Vec<u8>>> {
                let map = tx.open::<$Container<Raw<OfKey, KS, KA>, Raw<OfValue, VS, VA>>>(named(&name))?;
                Ok(map.get(key)?.map(<[u8]>::to_vec))
            }

            fn visit(&self, tx: &ReadTx<'_>, name: Named<'_, ()>, visit: &mut Visit<'_>) -> Result<()> {
                let map = tx.open::<$Container<Raw<OfKey, KS, KA>, Raw<OfValue, VS, VA>>>(named(&name))?;
                for entry in map.iter() {
                    let (key, value) = entry?;
                    if !visit(key, value) {
                        break;
                    }
                }
                Ok(())
            }

            entries!(from $order map $Container<Raw<OfKey, KS, KA>, Raw<OfValue, VS, VA>>);
        }

        impl<const KS: usize, const KA: usize, const VS: usize, const VA: usize> Change
            for Of<$Container<Raw<OfKey, KS, KA>, Raw<OfValue, VS, VA>>>
        {
            fn put(&self, tx: &mut WriteTx<'_>, name: Named<'_, ()>, key: &[u8], value: &[u8]) -> Result<bool> {
                let mut map = tx.open::<$Container<Raw<OfKey, KS, KA>, Raw<OfValue, VS, VA>>>(named(&name))?;
                Ok(map.insert(key, value)?.is_some())
            }
        }
    };
    ($Container:ident, $order:ident set) => {
        impl<const KS: usize, const KA: usize> Entries for Of<$Container<Raw<OfKey, KS, KA>>> {
            fn get(&self, tx: &ReadTx<'_>, name: Named<'_, ()>, key: &[u8]) -> Result<Option<Vec<u8>>> {
                let set = tx.open::<$Container<Raw<OfKey, KS, KA>>>(named(&name))?;
                Ok(set.contains(key)?.then(Vec::new))
            }

            fn visit(&self, tx: &ReadTx<'_>, name: Named<'_, ()>, visit: &mut Visit<'_>) -> Result<()> {
                let set = tx.open::<$Container<Raw<OfKey, KS, KA>>>(named(&name))?;
                for key in set.iter() {
                    if !visit(key?, &[]) {
                        break;
                    }
                }
                Ok(())
            }

            entries!(from $order set $Container<Raw<OfKey, KS, KA>>);
        }

        impl<const KS: usize, const KA: usize> Change for Of<$Container<Raw<OfKey, KS, KA>>> {
            fn put(&self, tx: &mut WriteTx<'_>, name: Named<'_, ()>, key: &[u8], _: &[u8]) -> Result<bool> {
                Ok(!tx.open::<$Container<Raw<OfKey, KS, KA>>>(named(&name))?.insert(key)?)
            }
        }
    };
    (from unordered $kind:ident $Type:ty) => {
        fn visit_from(&self, _: &ReadTx<'_>, _: Named<'_, ()>, _: &[u8], _: &mut Visit<'_>) -> Result<()> {
            unreachable!("asked of what has an order")
        }
    };
    (from ordered map $Type:ty) => {
        fn visit_from(&self, tx: &ReadTx<'_>, name: Named<'_, ()>, from: &[u8], visit: &mut Visit<'_>) -> Result<()> {
            let map = tx.open::<$Type>(named(&name))?;
            for entry in map.range(from..)? {
                let (key, value) = entry?;
                if !visit(key, value) {
                    break;
                }
            }
            Ok(())
        }
    };
    (from ordered set $Type:ty) => {
        fn visit_from(&self, tx: &ReadTx<'_>, name: Named<'_, ()>, from: &[u8], visit: &mut Visit<'_>) -> Result<()> {
            let set = tx.open::<$Type>(named(&name))?;
            for key in set.range(from..)? {
                if !visit(key?, &[]) {
                    break;
                }
            }
            Ok(())
        }
    };
}

entries!(PBTreeMap, ordered map);
entries!(PHashMap, unordered map);
entries!(PBTreeSet, ordered set);
entries!(PHashSet, unordered set);

/// A map or a set that can be opened here.
pub(crate) struct Known {
    pub(crate) entries: Box<dyn Entries>,
    /// If it can be changed here.
    pub(crate) change: Option<Box<dyn Change>>,
    pub(crate) key: String,
    /// Of a set, `()`.
    pub(crate) value: String,
}

/// How an object can be opened.
///
/// # Errors
///
/// Why it cannot: it is no map and no set, or holds references, or has types of a form that no instance is compiled for.
pub(crate) fn known(object: &ObjectReport) -> Result<Known, Failure> {
    let descriptor = &object.descriptor;
    let refused = |why: String| Failure::from(format!("{:?} is a {}: {why}", object.name, object.type_name));
    let Shape::Object { kind, args } = &descriptor.types()[0].shape else {
        return Err(refused("its types are not recorded".into()));
    };
    let (key, value) = match (kind.as_str(), args.as_slice()) {
        ("PBTreeMap" | "PHashMap", [key, value]) => (*key, Some(*value)),
        ("PBTreeSet" | "PHashSet", [key]) => (*key, None),
        _ => return Err(refused("only maps and sets are looked into".into())),
    };
    let name = |index: TypeIndex| descriptor.types()[index as usize].name.clone();
    let form_of = |index: TypeIndex| {
        form(descriptor, index)
            .ok_or_else(|| refused(format!("a {} may have references, or is an object", name(index))))
    };
    let key_form = form_of(key)?;
    let value_form = value.map_or(Ok((0, 1)), form_of)?;
    let forms = (key_form, value_form);
    let entries = instance(kind, forms)
        .ok_or_else(|| refused("types of this size and alignment are not looked into".into()))?;
    let change = changing(kind, forms);
    Ok(Known { entries, change, key: name(key), value: value.map_or("()".into(), name) })
}

impl Known {
    /// Says what its types are: before it is opened.
    pub(crate) fn mean(&self) {
        erased::mean(&self.key, &self.value);
    }
}

/// Finds the instance for the forms of key and value, among those of these forms, as one of these traits.
macro_rules! instance {
    ($Trait:ident, $kind:expr, $key:expr, $value:expr; $keys:tt $values:tt) => {
        instance!(@keys $Trait, $kind, $key, $value; $keys $values)
    };
    (@keys $Trait:ident, $kind:expr, $key:expr, $value:expr; [$(($ks:expr, $ka:expr)),*] $values:tt) => {
        $(if $key == ($ks, $ka) {
            type K = Raw<OfKey, { $ks }, $ka>;
            match $kind {
                "PBTreeSet" => return Some(Box::new(Of::<PBTreeSet<K>>::new()) as Box<dyn $Trait>),
                "PHashSet" => return Some(Box::new(Of::<PHashSet<K>>::new())),
                _ => {
                    instance!(@values $Trait, $kind, $value; $values);
                }
            }
        })*
    };
    (@values $Trait:ident, $kind:expr, $value:expr; [$(($vs:expr, $va:expr)),*]) => {
        $(if $value == ($vs, $va) {
            type V = Raw<OfValue, { $vs }, $va>;
            return Some(match $kind {
                "PBTreeMap" => Box::new(Of::<PBTreeMap<K, V>>::new()) as Box<dyn $Trait>,
                _ => Box::new(Of::<PHashMap<K, V>>::new()),
            });
        })*
    };
}

/// Size and alignment; each pair of a key's and a value's is a container's code once more.
type Forms = ((usize, usize), (usize, usize));

/// The container of this kind for these forms.
fn instance(kind: &str, (key, value): Forms) -> Option<Box<dyn Entries>> {
    instance!(Entries, kind, key, value;
        [(1, 1), (2, 2), (4, 4), (8, 8), (16, 1), (VARIABLE, 1)]
        [(0, 1), (1, 1), (2, 2), (4, 4), (8, 8), (16, 8), (24, 8), (32, 8), (VARIABLE, 1)]
    );
    None
}

/// The same, to change it.
fn changing(kind: &str, (key, value): Forms) -> Option<Box<dyn Change>> {
    instance!(Change, kind, key, value;
        [(4, 4), (8, 8), (VARIABLE, 1)]
        [(1, 1), (4, 4), (8, 8), (VARIABLE, 1)]
    );
    None
}
