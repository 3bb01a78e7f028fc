//! The object: what a name in the pool stands for, and the guard that a program holds.

use super::node::{Header, Node};
use pmem_alloc::{Body, Form, Shape, Tracer, Types};
use pmem_collections::*;

/// Intervals with a number each. Only a name of a type: open it for a [`Tree`].
pub struct IntervalTree;

/// An [`IntervalTree`] during a transaction.
pub struct Tree<'t, M: Mode> {
    pub(super) body: Body<'t, M>,
    pub(super) header: Ptr<Header>,
}

impl Stored for IntervalTree {
    const FORM: Form = Form::object::<Self>();
    fn type_name() -> String {
        "own_structure.IntervalTree".into()
    }
    fn describe(types: &mut Types) -> Shape {
        types.object("own_structure.IntervalTree", |types| vec![types.add::<Header>(), types.add::<Node>()])
    }
}

impl Object for IntervalTree {
    type Guard<'t, M: Mode> = Tree<'t, M>;

    fn create(body: &mut Body<'_, Write>) -> Result<Ptr<u8>> {
        Ok(body.alloc(Header { root: Ptr::NULL, len: 0 })?.cast())
    }

    fn attach<M: Mode>(body: Body<'_, M>, header: Ptr<u8>) -> Result<Tree<'_, M>> {
        body.get::<Header>(header.cast())?; // an error here, if there is no header
        Ok(Tree { body, header: header.cast() })
    }

    fn destroy(body: &mut Body<'_, Write>, header: Ptr<u8>) -> Result<()> {
        let mut open = vec![body.get::<Header>(header.cast())?.root];
        while let Some(at) = open.pop() {
            if !at.is_null() {
                let node = *body.get(at)?; // an error, if it was freed a moment ago: so this ends
                open.extend([node.left, node.right]);
                body.free(at)?;
            }
        }
        body.free(header)
    }

    fn trace(body: &Body<'_, Read>, header: Ptr<u8>, tracer: &mut Tracer<'_>) -> Result<()> {
        tracer.block(header, size_of::<Header>() as u64)?;
        tracer.plain::<Header>(header.offset())?;
        let mut open = vec![body.get::<Header>(header.cast())?.root];
        while let Some(at) = open.pop() {
            if !at.is_null() {
                tracer.block(at.cast(), size_of::<Node>() as u64)?; // an error the second time: so this ends
                tracer.plain::<Node>(at.offset())?;
                let node = body.get(at)?;
                open.extend([node.left, node.right]);
            }
        }
        Ok(())
    }
}
