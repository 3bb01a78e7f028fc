//! A linked list of one's own: nodes that refer to each other by [`Ptr`], in a [`PHeap`].
//!
//! A `Ptr` is an offset, checked whenever it is followed: a stale one is an error, never undefined behaviour.

use bytemuck::{Pod, Zeroable};
use pmem_collections::*;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Node {
    value: u64,
    next: Ptr<Node>,
}

/// With the fields, the pool knows where the references are: it can tell the list's nodes from leaks.
impl Plain for Node {
    const NAME: &'static str = "linked_list.Node";
    const FIELDS: Option<&'static [PlainField]> = fields!(Node { value: u64, next: Ptr<Node> });
}

/// The root is the first node.
type List = PHeap<Ptr<Node>>;

fn push(list: &mut Mut<List>, value: u64) -> Result<()> {
    let node = Node { value, next: *list.root()? };
    *list.root_mut()? = list.alloc(node)?;
    Ok(())
}

fn pop(list: &mut Mut<List>) -> Result<Option<u64>> {
    let first = *list.root()?;
    let Some(&Node { value, next }) = list.follow(first)? else { return Ok(None) };
    *list.root_mut()? = next;
    list.free(first)?;
    Ok(Some(value))
}

/// Takes the guard of a reader and that of a writer.
fn sum(list: &Guard<List, impl Mode>) -> Result<u64> {
    let (mut sum, mut at) = (0, *list.root()?);
    while let Some(node) = list.follow(at)? {
        sum += node.value;
        at = node.next;
    }
    Ok(sum)
}

fn main() -> Result<()> {
    let pool = Pool::anonymous(1 << 20)?;
    pool.write(|tx| {
        let mut list = tx.open::<List>("list")?;
        (1..=10).try_for_each(|value| push(&mut list, value))
    })?;
    let popped = pool.write(|tx| pop(&mut tx.open::<List>("list")?))?;
    let rest = sum(&pool.read()?.open::<List>("list")?)?;
    println!("took {popped:?}, the rest adds up to {rest}");
    assert_eq!((popped, rest), (Some(10), 45));
    Ok(())
}
