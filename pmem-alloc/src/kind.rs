//! What a program knows of a type of objects, and of which ones it knows something.

use crate::{Descriptor, ErrorKind, Object, Result, Stored, trace::TraceFn};
use parking_lot::RwLock;
use rustc_hash::FxHashMap;
use std::{any::TypeId, sync::Arc};

/// A type of objects, in a form without type parameters.
pub(crate) struct Kind {
    pub(crate) rust_type: TypeId,
    pub(crate) type_name: String,
    pub(crate) descriptor: Descriptor,
    pub(crate) trace: TraceFn,
}

impl Kind {
    /// Runs code of a caller: hold no lock.
    pub(crate) fn of<O: Object>() -> Kind {
        Kind {
            rust_type: TypeId::of::<O>(),
            type_name: <O as Stored>::type_name(),
            descriptor: Descriptor::of::<O>(),
            trace: O::trace,
        }
    }

    /// Whether the object `name`, recorded as `type_name` and `descriptor`, is one of these.
    pub(crate) fn check(&self, name: &str, type_name: &str, descriptor: &Descriptor) -> Result<()> {
        let (expected, found) = if self.type_name == type_name {
            match self.descriptor.mismatch(descriptor) {
                None => return Ok(()),
                Some(mismatch) => (mismatch.expected, mismatch.found),
            }
        } else {
            (self.type_name.clone(), type_name.into())
        };
        Err(ErrorKind::WrongType { name: name.into(), expected, found }.into())
    }
}

/// Types that this program has registered, or has opened an object of: by their names.
#[derive(Default)]
pub(crate) struct Kinds(RwLock<FxHashMap<String, Arc<Kind>>>);

impl Kinds {
    pub(crate) fn register(&self, kind: Kind) {
        let mut kinds = self.0.write();
        if !kinds.contains_key(&kind.type_name) {
            kinds.insert(kind.type_name.clone(), Arc::new(kind));
        }
    }

    /// Those of another pool of this program.
    pub(crate) fn register_all(&self, others: &Kinds) {
        let others: Vec<_> = others.0.read().values().cloned().collect();
        self.0.write().extend(others.into_iter().map(|kind| (kind.type_name.clone(), kind)));
    }

    pub(crate) fn find(&self, type_name: &str) -> Option<Arc<Kind>> {
        self.0.read().get(type_name).cloned()
    }
}
