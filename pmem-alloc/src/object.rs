//! What a name can stand for.

use crate::{Body, Mode, Read, Result, Stored, Tracer, Write};
use pmem_map::Ptr;
use std::marker::PhantomData;

/// A kind of object that lives in a pool: a container, or a structure of your own.
///
/// The implementing type is only a name (`PBTreeMap<String, u64>`), never constructed; what a program
/// holds is its [`Guard`](Object::Guard), which borrows a transaction.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an object that can be opened in a transaction",
    label = "not an `Object`"
)]
pub trait Object: Stored {
    /// Access to one object during one transaction. `M` says what it may do: [`Read`] or [`Write`].
    type Guard<'t, M: Mode>;
    /// Makes an empty object; returns where its header is.
    fn create(body: &mut Body<'_, Write>) -> Result<Ptr<u8>>;
    /// Checks the header and makes a guard.
    fn attach<M: Mode>(body: Body<'_, M>, header: Ptr<u8>) -> Result<Self::Guard<'_, M>>;
    /// Frees all blocks of the object, those of objects in it, and last its header: what a container does with an object
    /// that it no longer holds. After an error, which only damage gives, the transaction must be rolled back.
    fn destroy(body: &mut Body<'_, Write>, header: Ptr<u8>) -> Result<()>;
    /// Tells `tracer` every block of the object whose header is at `header`, the header's own among them, and every
    /// reference in them: for [`Pool::check`](crate::Pool::check), repair and compaction, so that they know this object's blocks from leaks.
    /// [`Tracer`] has the vocabulary. Bounded, whatever is in the pool.
    ///
    /// Without it, the object's blocks are not traced: nothing of the pool is called a leak then, and it cannot be compacted.
    fn trace(body: &Body<'_, Read>, header: Ptr<u8>, tracer: &mut Tracer<'_>) -> Result<()> {
        _ = (body, header);
        tracer.not_traced(format!("{} does not tell its blocks (Object::trace)", Self::type_name()));
        tracer.immovable(format!("{} does not tell its blocks (Object::trace)", Self::type_name()));
        Ok(())
    }
}

/// A guard of either kind: `fn total<M: Mode>(accounts: &Guard<'_, Accounts, M>)` takes both.
pub type Guard<'t, O, M> = <O as Object>::Guard<'t, M>;
/// The guard a reader holds.
pub type Ref<'t, O> = <O as Object>::Guard<'t, Read>;
/// The guard a writer holds.
pub type Mut<'t, O> = <O as Object>::Guard<'t, Write>;

/// A name with the type of what it stands for: write it once, as a constant.
///
/// `const HITS: Named<PHeap<u64>> = Named::new("hits");` then `tx.open(HITS)?`.
pub struct Named<'n, O> {
    name: &'n str,
    schema: u32,
    object: PhantomData<fn() -> O>,
}

impl<'n, O> Named<'n, O> {
    /// `name` stands for an `O`, of schema version 1.
    pub const fn new(name: &'n str) -> Self {
        Named { name, schema: 1, object: PhantomData }
    }
    /// The same of schema version `version`, from 1 on: a number of yours for what the entries mean, recorded when
    /// the object is created. Opening an object of another version is an error that names both.
    ///
    /// `const ORDERS: Named<PBTreeMap<u64, Order>> = Named::new("orders").schema(2);`
    ///
    /// # Panics
    ///
    /// If `version` is 0: when it is compiled, for a constant.
    pub const fn schema(self, version: u32) -> Self {
        assert!(version > 0, "schema versions begin with 1");
        Named { schema: version, ..self }
    }
    /// The name.
    pub const fn name(&self) -> &'n str {
        self.name
    }
    /// The schema version.
    pub const fn version(&self) -> u32 {
        self.schema
    }
}

impl<O> Clone for Named<'_, O> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<O> Copy for Named<'_, O> {}

impl<O> std::fmt::Debug for Named<'_, O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Named").field("name", &self.name).field("schema", &self.schema).finish()
    }
}

impl<'n, O> From<&'n str> for Named<'n, O> {
    fn from(name: &'n str) -> Self {
        Named::new(name)
    }
}

impl<'n, O> From<&'n String> for Named<'n, O> {
    fn from(name: &'n String) -> Self {
        Named::new(name)
    }
}
