//! A linked list in a heap of its own, of which the pool knows where the references are.
#![allow(dead_code, reason = "not every test uses all of it")]

use bytemuck::{Pod, Zeroable};
use pmem_alloc::*;

#[derive(Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
pub(crate) struct Node {
    pub(crate) value: u64,
    pub(crate) next: Ptr<Node>,
    pub(crate) large: Ptr<u8>,
}

impl Plain for Node {
    const NAME: &'static str = "list.Node";
    const FIELDS: Option<&'static [PlainField]> =
        fields!(Node { value: u64, next: Ptr<Node>, large: Ptr<u8> });
}

pub(crate) type List = PHeap<Ptr<Node>>;

pub(crate) fn push(list: &mut Mut<'_, List>, value: u64) -> Result<()> {
    let next = *list.root()?;
    *list.root_mut()? = list.alloc(Node { value, next, large: Ptr::NULL })?;
    Ok(())
}

pub(crate) fn pop(list: &mut Mut<'_, List>) -> Result<Option<u64>> {
    let first = *list.root()?;
    let Some(&Node { value, next, .. }) = list.follow(first)? else { return Ok(None) };
    *list.root_mut()? = next;
    list.free(first)?;
    Ok(Some(value))
}

pub(crate) fn values(pool: &Pool, name: &str) -> Result<Vec<u64>> {
    values_in(&pool.read()?, name)
}

pub(crate) fn values_in(tx: &ReadTx<'_>, name: &str) -> Result<Vec<u64>> {
    let list = tx.open::<List>(name)?;
    let (mut values, mut at) = (Vec::new(), *list.root()?);
    while let Some(node) = list.follow(at)? {
        values.push(node.value);
        at = node.next;
    }
    Ok(values)
}

pub(crate) fn check(pool: &Pool) {
    let report = pool.check().unwrap();
    assert!(report.is_ok() && report.untraced_blocks == 0, "{report}");
}

/// All bytes of a pool, after a checkpoint.
pub(crate) fn image_of(pool: &Pool) -> Vec<u8> {
    pool.checkpoint().unwrap();
    let mut bytes = vec![0; pool.region().len() as usize];
    // SAFETY: this thread is the only one, and no transaction is open: nobody stores.
    unsafe { pool.region().load(0, &mut bytes) };
    bytes
}

/// The pool in these bytes.
pub(crate) fn on(bytes: &[u8]) -> Result<Pool> {
    let mut mapping = Mapping::anonymous(bytes.len() as u64)?;
    mapping.as_mut_slice()[..bytes.len()].copy_from_slice(bytes);
    Pool::on(mapping)
}

pub(crate) fn folder() -> tempfile::TempDir {
    let parent = std::env::var_os("PMEM_TEST_DIR").map_or_else(std::env::temp_dir, std::path::PathBuf::from);
    tempfile::tempdir_in(parent).unwrap()
}
