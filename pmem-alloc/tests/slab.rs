//! Slabs: allocated with a transaction, out of every object's reach, and not taken back by a replay.

use pmem_alloc::{
    Body, ErrorKind, Form, MIN_SLAB, Mapping, Mode, Object, PHeap, Pool, PoolOptions, Ptr, Result, Slab,
    Stored, Write,
};
use pmem_map::{Granularity, MapOptions};

/// An object that is one slab.
struct Words;

impl Stored for Words {
    const FORM: Form = Form::object::<Self>();
    fn type_name() -> String {
        "Words".into()
    }
}

impl Object for Words {
    type Guard<'t, M: Mode> = (Body<'t, M>, Ptr<Slab>);
    fn create(body: &mut Body<'_, Write>) -> Result<Ptr<u8>> {
        let slab = body.alloc_slab(1)?;
        Ok(body.alloc(slab)?.cast())
    }
    fn attach<M: Mode>(body: Body<'_, M>, header: Ptr<u8>) -> Result<(Body<'_, M>, Ptr<Slab>)> {
        let slab = *body.get::<Ptr<Slab>>(header.cast())?;
        Ok((body, slab))
    }
    /// Its slab stays: slabs are never freed.
    fn destroy(body: &mut Body<'_, Write>, header: Ptr<u8>) -> Result<()> {
        body.free(header)
    }
}

fn words(pool: &Pool) -> Slab {
    let at = pool.write(|tx| Ok(tx.open::<Words>("words")?.1)).unwrap();
    pool.slab(at).unwrap()
}

#[test]
fn a_slab_is_zeroed_and_keeps_what_is_stored_and_its_allocation_costs_one_drain_more() {
    let pool = PoolOptions::new().create_on(Mapping::anonymous(1 << 20).unwrap()).unwrap();
    let before = pool.region().counters();
    let slab = words(&pool);
    assert_eq!((pool.region().counters() - before).drains, 2);
    assert_eq!(slab.len(), MIN_SLAB);
    assert!((0..MIN_SLAB).step_by(8).all(|at| slab.load(at) == 0));
    slab.store(MIN_SLAB - 8, 7);
    slab.flush(MIN_SLAB - 8..MIN_SLAB).unwrap();
    slab.drain().unwrap();
    assert_eq!(words(&pool).load(MIN_SLAB - 8), 7);
    assert_eq!(pool.check().unwrap().slabs, 1);
    assert!(pool.check().unwrap().is_ok());
}

#[test]
fn no_object_gets_an_address_in_a_slab_or_frees_it() {
    let pool = Pool::anonymous(1 << 20).unwrap();
    let at = words(&pool).offset();
    pool.write(|tx| {
        let mut heap = tx.open::<PHeap<u64>>("heap")?;
        for forged in [at, at + 4096] {
            let corrupt = |e: &pmem_alloc::Error| matches!(e.kind(), ErrorKind::Corrupt { .. });
            assert!(heap.get(Ptr::<u64>::from_offset(forged)).is_err_and(|e| corrupt(&e)));
            assert!(heap.get_mut(Ptr::<u64>::from_offset(forged)).is_err_and(|e| corrupt(&e)));
            assert!(heap.free(Ptr::<u64>::from_offset(forged)).is_err_and(|e| corrupt(&e)));
        }
        Ok(())
    })
    .unwrap();
    let tx = pool.read().unwrap();
    let heap = tx.open::<PHeap<u64>>("heap").unwrap();
    assert!(heap.get(Ptr::<u64>::from_offset(at)).is_err());
}

#[test]
fn a_slab_exists_when_its_transaction_is_committed_and_not_before() {
    let pool = Pool::anonymous(1 << 20).unwrap();
    let tx = pool.begin().unwrap();
    let at = tx.open::<Words>("words").unwrap().1;
    let refused = std::thread::scope(|s| s.spawn(|| pool.slab(at).is_err()).join().unwrap());
    assert!(refused);
    drop(tx);
    assert!(pool.slab(at).is_err());
    let free = pool.stats().unwrap().free;
    let slab = words(&pool);
    assert!(pool.stats().unwrap().free < free);
    for wrong in [0, 8, slab.offset() + 8, slab.offset() + 4096, slab.offset() - 4096, 1 << 40, u64::MAX] {
        assert!(pool.slab(Ptr::from_offset(wrong)).is_err(), "{wrong}");
    }
}

/// On pages the log has room for a small slab's zeros, and keeps the record until the next checkpoint.
#[test]
fn on_a_disk_the_zeros_of_a_slab_are_not_replayed_over_what_was_stored_after_them() {
    let mapping = MapOptions::new().len(4 << 20).granularity(Granularity::Page).anonymous().unwrap();
    let pool = PoolOptions::new().create_on(mapping).unwrap();
    let slab = words(&pool);
    for at in (0..slab.len()).step_by(8) {
        slab.store(at, at + 1);
    }
    slab.flush(0..slab.len()).unwrap();
    slab.drain().unwrap();
    let again = PoolOptions::new().open_on(copy(&pool)).unwrap();
    assert!(again.opening().replayed > 0);
    let slab = again.slab(Ptr::from_offset(slab.offset())).unwrap();
    assert!((0..slab.len()).step_by(8).all(|at| slab.load(at) == at + 1));
}

/// The pool's bytes, as a kill would leave them.
fn copy(pool: &Pool) -> Mapping {
    let mut bytes = vec![0; pool.region().len() as usize];
    // SAFETY: nobody stores meanwhile: this is the only thread.
    unsafe { pool.region().load(0, &mut bytes) };
    let mut copy = Mapping::anonymous(bytes.len() as u64).unwrap();
    copy.write(0, &bytes).unwrap();
    copy
}

#[test]
fn what_is_stored_in_a_slab_is_not_taken_back_by_the_replay_of_earlier_records() {
    // A large object is written and freed; its pages become a slab; the pool is not closed, so the log is replayed.
    let mapping = Mapping::anonymous(1 << 20).unwrap();
    let pool = PoolOptions::new().flush_interval(100).create_on(mapping).unwrap();
    for round in 0..40u64 {
        pool.write(|tx| {
            let mut heap = tx.open::<PHeap<Ptr<u8>>>("heap")?;
            let old = *heap.root()?;
            if !old.is_null() {
                heap.free(old)?;
            }
            let new = heap.alloc_aligned(400 << 10, 4096)?;
            heap.bytes_mut(new, 400 << 10)?[..100].fill(round as u8 + 1);
            *heap.root_mut()? = new;
            Ok(())
        })
        .unwrap();
    }
    pool.write(|tx| {
        let mut heap = tx.open::<PHeap<Ptr<u8>>>("heap")?;
        let old = std::mem::take(heap.root_mut()?);
        heap.free(old)
    })
    .unwrap();
    let slab = words(&pool);
    for at in (0..slab.len()).step_by(8) {
        slab.store(at, at + 1);
    }
    slab.flush(0..slab.len()).unwrap();
    slab.drain().unwrap();
    let again = PoolOptions::new().open_on(copy(&pool)).unwrap();
    assert!(again.opening().replayed > 0);
    let slab = again.slab(Ptr::from_offset(slab.offset())).unwrap();
    assert!((0..slab.len()).step_by(8).all(|at| slab.load(at) == at + 1));
}
