//! Blocks of a pool, allocated and published by a reference in one transaction: the nodes of a list.

use crate::operations::{Operation, Work, memory, repeat};
use bytemuck::{Pod, Zeroable};
use pmem_collections::{PHeap, Plain, PlainField, Pool, PoolOptions, Ptr, Result, fields};

pub(crate) const OPERATIONS: &[Operation] = &[
    Operation { name: "allocate 64 B and publish", start: || list(allocate) },
    Operation { name: "reserve 64 B, fill and publish", start: || list(reserve) },
    Operation { name: "free 64 B", start: free },
];

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Node {
    next: Ptr<Node>,
    content: [u64; 7],
}

impl Plain for Node {
    const NAME: &'static str = "count.Node";
    const FIELDS: Option<&'static [PlainField]> = fields!(Node { next: Ptr<Node>, content: [u64; 7] });
}

/// The root is the first node.
type List = PHeap<Ptr<Node>>;

/// A pool of the same bytes each time.
pub(crate) fn pool(len: u64) -> Pool {
    PoolOptions::new().identity(7).create_on(memory(len)).expect("a pool")
}

fn allocate(pool: &Pool, number: u64) -> Result<()> {
    pool.write(|tx| {
        let mut list = tx.open::<List>("list")?;
        let node = Node { next: *list.root()?, content: [number; 7] };
        *list.root_mut()? = list.alloc(node)?;
        Ok(())
    })
}

fn reserve(pool: &Pool, number: u64) -> Result<()> {
    let mut reservation = pool.reserve(size_of::<Node>() as u64, align_of::<Node>() as u64)?;
    let first = *pool.read()?.open::<List>("list")?.root()?;
    reservation.copy_from_slice(bytemuck::bytes_of(&Node { next: first, content: [number; 7] }));
    pool.write(|tx| {
        let mut list = tx.open::<List>("list")?;
        *list.root_mut()? = list.publish(reservation)?.cast();
        Ok(())
    })
}

fn pop(pool: &Pool) -> Result<Option<u64>> {
    pool.write(|tx| {
        let mut list = tx.open::<List>("list")?;
        let first = *list.root()?;
        let Some(&Node { next, content }) = list.follow(first)? else { return Ok(None) };
        *list.root_mut()? = next;
        list.free(first)?;
        Ok(Some(content[0]))
    })
}

/// A pool with an empty list.
fn empty() -> Pool {
    let pool = pool(8 << 20);
    pool.write(|tx| tx.open::<List>("list").map(drop)).expect("a list");
    pool
}

fn check(pool: &Pool) {
    let report = pool.check().expect("checked");
    assert!(report.problems.is_empty(), "{report:?}");
}

fn list(push: fn(&Pool, u64) -> Result<()>) -> Box<dyn Work> {
    let step = move |pool: &mut Pool, number| push(pool, number).expect("published");
    let verify = |pool: Pool, count| {
        check(&pool);
        for number in (0..count).rev() {
            assert_eq!(pop(&pool).expect("read"), Some(number));
        }
        assert_eq!(pop(&pool).expect("read"), None);
    };
    repeat(empty(), step, verify)
}

fn free() -> Box<dyn Work> {
    let pool = empty();
    let nodes = crate::WARM_UP + crate::OPERATIONS;
    (0..nodes).for_each(|number| allocate(&pool, number).expect("allocated"));
    let step = move |pool: &mut Pool, number: u64| {
        assert_eq!(pop(pool).expect("freed"), Some(nodes - 1 - number));
    };
    repeat(pool, step, |pool, _| check(&pool))
}
