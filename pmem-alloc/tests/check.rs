//! What the check finds: leaks, blocks that are used twice, references to nothing; and what it does not call a leak.
#![allow(missing_docs)]

use bytemuck::{Pod, Zeroable};
use pmem_alloc::*;

#[derive(Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
struct Node {
    value: u64,
    next: Ptr<Node>,
}
impl Plain for Node {
    const NAME: &'static str = "check.Node";
    const FIELDS: Option<&'static [PlainField]> = fields!(Node { value: u64, next: Ptr<Node> });
}
type List = PHeap<Ptr<Node>>;

/// As `Node`, but nobody says where its references are.
#[derive(Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
struct Secretive(u64, u64);
impl Plain for Secretive {
    const NAME: &'static str = "check.Secretive";
}

fn push(list: &mut Mut<'_, List>, value: u64) -> Result<Ptr<Node>> {
    let next = *list.root()?;
    let node = list.alloc(Node { value, next })?;
    *list.root_mut()? = node;
    Ok(node)
}

fn with_list(name: &str, len: u64) -> Result<Pool> {
    let pool = Pool::anonymous(1 << 20)?;
    pool.write(|tx| (0..len).try_for_each(|i| push(&mut tx.open::<List>(name)?, i).map(drop)))?;
    Ok(pool)
}

fn kinds(report: &CheckReport) -> Vec<ProblemKind> {
    report.problems.iter().map(|problem| problem.kind).collect()
}

#[test]
fn a_block_that_nothing_refers_to_is_a_leak_and_one_that_is_linked_is_not() -> Result<()> {
    let pool = with_list("list", 100)?;
    assert!(pool.check()?.is_ok());
    let (leak, node) = pool.write(|tx| {
        let mut list = tx.open::<List>("list")?;
        Ok((list.alloc(Node::default())?, list.alloc_aligned(5000, 8)?))
    })?;
    let report = pool.check()?;
    assert!(!report.is_ok() && report.problems.is_empty());
    let found: Vec<_> = report.leaks.iter().map(|leak| leak.offset).collect();
    assert_eq!(found, {
        let mut expected = [leak.offset(), node.offset()];
        expected.sort_unstable();
        expected
    });
    assert!(report.to_string().contains("a leak"), "{report}");
    assert_eq!(report.named[0].bytes, 8 + 100 * 16);
    Ok(())
}

#[test]
fn an_array_behind_a_reference_is_followed_to_its_last_element() -> Result<()> {
    let pool = with_list("list", 0)?;
    pool.write(|tx| {
        let mut list = tx.open::<List>("list")?;
        let array = list.alloc_aligned(10 * 16, 8)?.cast::<Node>();
        *list.root_mut()? = array;
        let last = list.alloc(Node { value: 9, next: Ptr::NULL })?;
        list.get_mut::<[Node; 10]>(array.cast())?[9].next = last;
        Ok(())
    })?;
    let report = pool.check()?;
    assert!(report.is_ok(), "{report}");
    Ok(())
}

#[test]
fn nodes_in_a_circle_and_shared_ones_are_followed_once() -> Result<()> {
    let pool = with_list("list", 3)?;
    pool.write(|tx| {
        let mut list = tx.open::<List>("list")?;
        let first = *list.root()?;
        let second = list.get(first)?.next;
        let third = list.get(second)?.next;
        list.get_mut(third)?.next = second;
        Ok(())
    })?;
    let report = pool.check()?;
    assert!(report.is_ok(), "{report}");
    Ok(())
}

#[test]
fn blocks_under_a_type_that_does_not_tell_are_not_traced_and_never_leaks() -> Result<()> {
    let pool = with_list("list", 3)?;
    pool.write(|tx| {
        let mut secretive = tx.open::<PHeap<Secretive>>("secretive")?;
        let hidden = secretive.alloc(Node::default())?;
        secretive.root_mut()?.1 = hidden.offset() << 1;
        Ok(())
    })?;
    let report = pool.check()?;
    assert!(report.is_ok(), "{report}");
    assert_eq!(report.untraced_blocks, 1);
    let secretive = report.named.iter().find(|object| object.name == "secretive").unwrap();
    assert!(secretive.not_traced[0].contains("check.Secretive"), "{report}");
    assert!(report.to_string().contains("not traced"), "{report}");
    Ok(())
}

#[test]
fn an_offset_that_is_kept_as_a_number_keeps_its_block_from_being_a_leak() -> Result<()> {
    let pool = Pool::anonymous(1 << 20)?;
    pool.write(|tx| {
        let mut heap = tx.open::<PHeap<u64>>("heap")?;
        let inner = heap.alloc(7u64)?.offset();
        let outer = heap.alloc([0, inner])?.offset();
        *heap.root_mut()? = outer;
        Ok(())
    })?;
    let report = pool.check()?;
    assert!(report.is_ok() && report.untraced_blocks == 0, "{report}");
    Ok(())
}

#[test]
fn a_heap_is_followed_by_a_program_that_does_not_have_its_types() -> Result<()> {
    let pool = with_list("list", 50)?;
    pool.write(|tx| tx.open::<List>("list")?.alloc(1u64).map(drop))?;
    let mut bytes = vec![0; pool.region().len() as usize];
    pool.checkpoint()?;
    // SAFETY: this thread is the only one, and no transaction is open.
    #[allow(unsafe_code)]
    unsafe {
        pool.region().load(0, &mut bytes)
    };
    let mut mapping = Mapping::anonymous(bytes.len() as u64)?;
    mapping.as_mut_slice().copy_from_slice(&bytes);
    let report = Pool::on(mapping)?.check()?; // nothing was registered, nothing was opened
    assert_eq!((report.problems.len(), report.leaks.len(), report.untraced_blocks), (0, 1, 0), "{report}");
    Ok(())
}

#[test]
fn a_block_of_two_objects_and_a_reference_to_nothing_are_problems_that_name_the_objects() -> Result<()> {
    let pool = with_list("one", 3)?;
    pool.write(|tx| {
        let shared = *tx.open::<List>("one")?.root()?;
        let mut two = tx.open::<List>("two")?;
        *two.root_mut()? = shared;
        Ok(())
    })?;
    let report = pool.check()?;
    assert_eq!(kinds(&report), [ProblemKind::UsedTwice], "{report}");
    assert!(
        report.problems[0].what.contains("one, two") || report.problems[0].what.contains("two, one"),
        "{report}"
    );

    let pool = with_list("list", 3)?;
    let first = pool.write(|tx| {
        let mut list = tx.open::<List>("list")?;
        let first = *list.root()?;
        let second = list.get(first)?.next;
        list.free(second)?;
        Ok(first)
    })?;
    let report = pool.check()?;
    assert_eq!(kinds(&report), [ProblemKind::Dangling], "{report}");
    assert_eq!(report.problems[0].offset, first.offset() + 8);
    Ok(())
}

#[derive(Clone, Copy, Default, Pod, Zeroable)]
#[repr(C)]
struct Swapped {
    next: Ptr<Swapped>,
    value: u64,
}
impl Plain for Swapped {
    const NAME: &'static str = "check.Node";
    const FIELDS: Option<&'static [PlainField]> = fields!(Swapped { next: Ptr<Swapped>, value: u64 });
}

#[test]
fn fields_that_change_places_under_one_name_are_refused_as_another_type() -> Result<()> {
    let pool = with_list("list", 1)?;
    let tx = pool.read()?;
    let error = tx.open::<PHeap<Ptr<Swapped>>>("list").map(drop).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::WrongType { .. }), "{error}");
    let words = ["value: u64 @0", "value: u64 @8"];
    assert!(words.iter().all(|word| error.to_string().contains(word)), "{error}");
    drop(tx);
    assert!(pool.write(|tx| tx.open::<PHeap<Ptr<Swapped>>>("list").map(drop)).is_err());
    Ok(())
}

#[test]
fn another_schema_version_is_an_error_that_names_both() -> Result<()> {
    const SECOND: Named<List> = Named::new("list").schema(2);
    let pool = with_list("list", 1)?;
    let error = pool.read()?.open(SECOND).map(drop).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::OlderSchema { found: 1, wanted: 2, .. }), "{error}");
    assert!(error.to_string().contains("version 1, this program wants 2"), "{error}");
    let error = pool.write(|tx| tx.open(SECOND).map(drop)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::OlderSchema { .. }), "{error}");
    pool.write(|tx| tx.open(Named::<List>::new("newer").schema(7)).map(drop))?;
    let error = pool.write(|tx| tx.open::<List>("newer").map(drop)).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::NewerSchema { found: 7, known: 1, .. }), "{error}");
    Ok(())
}
