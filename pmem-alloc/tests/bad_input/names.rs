//! Names, types, layouts.

use crate::cell::Cell;
use crate::pools::*;
use pmem_alloc::*;

#[test]
fn the_wrong_type_is_refused_by_name_in_every_way_of_opening() {
    let bytes = sample();
    let pool = on(&bytes).unwrap();
    let message =
        assert_kind!(pool.write(|tx| tx.open::<Cell<u32>>("c").map(drop)), ErrorKind::WrongType { .. });
    assert!(message.contains("Cell<u64>") && message.contains("Cell<u32>"), "{message}");
    assert_kind!(pool.read().unwrap().open::<PHeap<u64>>("c").map(drop), ErrorKind::WrongType { .. });
    assert_kind!(pool.read().unwrap().open::<Cell<u64>>("d").map(drop), ErrorKind::NotFound { .. });
    // The right one is not taken for the wrong one's sake, before and after.
    assert_eq!(value(&pool), 7);
    assert_kind!(pool.read().unwrap().open::<Cell<u32>>("c").map(drop), ErrorKind::WrongType { .. });
    pool.write(|tx| tx.open::<Cell<u64>>("c")?.set(8)).unwrap();
    assert_kind!(pool.write(|tx| tx.open::<Cell<u32>>("c").map(drop)), ErrorKind::WrongType { .. });
}

// PMDK scenario 9.
#[test]
fn another_layout_is_refused() {
    // PMDK scenarios 8 and 9
    let folder = folder();
    let path = folder.path().join("pool");
    let with = |name: &str| PoolOptions::new().size(SIZE).layout(name);
    // SAFETY: a file of this test alone.
    drop(unsafe { with("bank").create(&path) }.unwrap());
    // SAFETY: as above.
    let message = assert_kind!(unsafe { with("blog").open(&path) }, ErrorKind::WrongLayout { .. });
    assert!(message.contains("bank") && message.contains("blog"));
    // SAFETY: as above.
    drop(unsafe { with("bank").open(&path) }.unwrap());
    drop(open(&path).unwrap());
    let long = "x".repeat(113);
    assert_kind!(
        with(&long).create_on(Mapping::anonymous(SIZE).unwrap()),
        ErrorKind::TooLarge { what: "layout name", .. }
    );
}

// PMDK scenario 21.
#[test]
fn an_object_that_cannot_be_created_leaves_no_block_behind() {
    type Wide = PHeap<Big>;
    #[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
    #[repr(C)]
    struct Big([u64; 8192]);
    impl Plain for Big {
        const NAME: &'static str = "Big";
    }
    impl Default for Big {
        fn default() -> Big {
            bytemuck::Zeroable::zeroed()
        }
    }
    let pool = Pool::anonymous(128 << 10).unwrap();
    pool.write(|tx| tx.open::<Cell<u64>>("c").map(drop)).unwrap();
    let before = pool.stats().unwrap();
    pool.write(|tx| {
        assert_kind!(tx.open::<Wide>("wide").map(drop), ErrorKind::NoSpace { .. });
        tx.open::<Cell<u64>>("c")?.set(3)
    })
    .unwrap();
    let after = pool.stats().unwrap();
    assert_eq!((after.blocks, after.objects, after.free), (before.blocks, before.objects, before.free));
    assert_kind!(pool.read().unwrap().open::<Wide>("wide").map(drop), ErrorKind::NotFound { .. });
    assert!(pool.check().unwrap().is_ok());
    pool.write(|tx| tx.open::<Cell<u64>>("wide").map(drop)).unwrap();
}
