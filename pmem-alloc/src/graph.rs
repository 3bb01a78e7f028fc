//! Follows plain nodes that refer to each other by [`Ptr`], as a descriptor says: a [`PHeap`](crate::PHeap).
//!
//! Declared references are followed first. Then every other aligned word is looked at: if it is the offset of an allocated block, it
//! may well be a reference that somebody keeps as a number, so that block is not a leak; but it cannot be moved, because the
//! word may as well be a number. (Boehm's conservative collector.)

use crate::{
    Descriptor, Error, Result, Tracer,
    describe::{Pointers, TypeIndex},
    trace::Visited,
};
use pmem_map::Ptr;
use rustc_hash::FxHashMap;

/// Traces the heap whose root is at `header`.
pub(crate) fn trace(descriptor: &Descriptor, header: Ptr<u8>, tracer: &mut Tracer<'_>) -> Result<()> {
    let Some(root) = descriptor.arg(0) else {
        tracer.not_traced("the type of its root is not recorded");
        return Ok(());
    };
    let mut walk =
        Walk { descriptor, types: FxHashMap::default(), visited: Visited::default(), open: Vec::new() };
    walk.reach(header.offset(), root, tracer)?;
    while let Some(node) = walk.open.pop() {
        walk.follow(node, tracer)?;
    }
    Ok(())
}

/// Looks at all words of the blocks that heaps have, when every object was followed: a word that is the offset of a block
/// which nobody has keeps that block from being a leak.
pub(crate) fn scan_words(tracer: &mut Tracer<'_>) {
    while let Some(block) = tracer.found.to_scan.pop() {
        for slot in block.range().step_by(8) {
            let at = tracer.media.word(slot);
            let Some(found) = tracer.heap.locate(at, 1).filter(|found| found.start == at) else { continue };
            if !tracer.is_reached(found) && tracer.block(Ptr::from_offset(at), found.len).is_ok() {
                tracer.found.to_scan.push(found);
                tracer.immovable("it keeps offsets in fields that are not declared as references (Ptr)");
            }
        }
    }
}

/// Nodes of one type, side by side in one block.
struct Nodes {
    block: u64,
    len: u64,
    /// Where in the block one of them begins.
    inside: u64,
    of: TypeIndex,
}

struct Walk<'d> {
    descriptor: &'d Descriptor,
    types: FxHashMap<TypeIndex, Option<Pointers>>,
    visited: Visited,
    open: Vec<Nodes>,
}

impl Walk<'_> {
    /// Something of type `of` is at `at`.
    fn reach(&mut self, at: u64, of: TypeIndex, tracer: &mut Tracer<'_>) -> Result<()> {
        let Some(block) = tracer.heap.locate(at, 1) else { return Ok(()) }; // the reference was noted
        if self.visited.insert(block.start) {
            tracer.block(Ptr::from_offset(block.start), block.len)?;
            tracer.found.to_scan.push(block);
            self.open.push(Nodes { block: block.start, len: block.len, inside: at - block.start, of });
        }
        Ok(())
    }

    /// The references of some nodes.
    fn follow(&mut self, nodes: Nodes, tracer: &mut Tracer<'_>) -> Result<()> {
        let descriptor = self.descriptor;
        let pointers = self.types.entry(nodes.of).or_insert_with(|| descriptor.pointers(nodes.of)).clone();
        let Some(pointers) = pointers else {
            tracer.not_traced("it has nodes that are not plain data");
            return Ok(());
        };
        if let Some(name) = &pointers.unknown {
            tracer.not_traced(format!("the fields of {name} are not known (Plain::FIELDS)"));
            tracer.immovable(format!("the fields of {name} are not known (Plain::FIELDS)"));
        }
        if pointers.at.is_empty() || pointers.size == 0 {
            return Ok(());
        }
        if nodes.inside + pointers.size > nodes.len {
            let expected = format!("a node of {} bytes inside its block", pointers.size);
            return Err(Error::corrupt(nodes.block + nodes.inside, expected, format!("{} bytes", nodes.len)));
        }
        // A block with room for several is an array: those that nobody made are zeros.
        let first = nodes.inside % pointers.size;
        for node in (first..=nodes.len - pointers.size).step_by(pointers.size as usize) {
            for &(inside, to) in &pointers.at {
                let slot = nodes.block + node + inside;
                let target = tracer.pointer_at(slot)?;
                if target != 0 {
                    self.reach(target, to, tracer)?;
                }
            }
        }
        Ok(())
    }
}
