//! What the compiler cannot see: overlap on damaged pools, forged references, leaks. Fit for Miri.
#![allow(missing_docs)]
use pmem_alloc::*;

mod cell;
use cell::Cell;

fn pool() -> Pool {
    Pool::anonymous(1 << 18).unwrap()
}

fn corrupt<T>(result: Result<T>) -> bool {
    matches!(result.err().expect("an error").kind(), ErrorKind::Corrupt { .. })
}

fn already_open<T>(result: Result<T>) -> bool {
    matches!(result.err().expect("an error").kind(), ErrorKind::AlreadyOpen { .. })
}

fn would_deadlock<T>(result: Result<T>) -> bool {
    matches!(result.err().expect("an error").kind(), ErrorKind::WouldDeadlock { .. })
}

#[test]
fn a_forged_reference_into_another_objects_changed_bytes_is_refused() -> Result<()> {
    pool().write(|tx| {
        let mut a = tx.open::<PHeap<u64>>("a")?;
        let mut b = tx.open::<PHeap<u64>>("b")?;
        let at = a.alloc(1u64)?;
        let held: &mut u64 = a.get_mut(at)?;
        assert!(corrupt(b.get(at)));
        assert!(corrupt(b.get_mut(at)));
        assert!(corrupt(b.free(at)));
        *held = 2;
        assert!(corrupt(b.get(at)));
        assert_eq!(*a.get(at)?, 2);
        Ok(())
    })
}

#[test]
fn two_objects_that_share_committed_bytes_never_alias() -> Result<()> {
    let pool = pool();
    let at = pool.write(|tx| tx.open::<PHeap<u64>>("a")?.alloc(1u64))?;
    pool.write(|tx| {
        let a = tx.open::<PHeap<u64>>("a")?;
        let mut b = tx.open::<PHeap<u64>>("b")?;
        let held: &u64 = a.get(at)?; // committed bytes
        *b.get_mut(at)? = 7; // b's shadow: a's reference stays what it was
        assert_eq!(*held, 1);
        assert!(corrupt(a.get(at)));
        Ok(())
    })
}

#[test]
fn freeing_what_another_object_refers_to_leaves_its_reference_alone() -> Result<()> {
    let pool = pool();
    let at = pool.write(|tx| tx.open::<PHeap<u64>>("a")?.alloc(1u64))?;
    pool.write(|tx| {
        let a = tx.open::<PHeap<u64>>("a")?;
        let mut b = tx.open::<PHeap<u64>>("b")?;
        let held: &u64 = a.get(at)?;
        b.free(at)?;
        for _ in 0..100 {
            let other = b.alloc(9u64)?;
            assert_ne!(other, at);
            *b.get_mut(other)? = 10;
        }
        assert_eq!(*held, 1);
        assert!(corrupt(a.get(at)));
        Ok(())
    })
}

#[test]
fn a_reference_into_a_partly_changed_block_sees_the_changes_and_stays() -> Result<()> {
    let pool = pool();
    let at = pool.write(|tx| tx.open::<PHeap<u64>>("a")?.alloc([1u64; 32]))?;
    pool.write(|tx| {
        let mut a = tx.open::<PHeap<u64>>("a")?;
        let third = Ptr::<u64>::from_offset(at.offset() + 24);
        *a.get_mut(third)? = 2; // one of four lines has a shadow now
        let all: &[u64; 32] = a.get(at)?;
        let last: &u64 = a.get(Ptr::from_offset(at.offset() + 31 * 8))?;
        assert_eq!((all.iter().sum::<u64>(), all[3], *last), (33, 2, 1));
        Ok(())
    })
}

#[test]
fn a_leaked_guard_costs_the_object_for_this_transaction_only() -> Result<()> {
    let pool = pool();
    pool.write(|tx| {
        std::mem::forget(tx.open::<Cell<u64>>("c")?);
        assert!(already_open(tx.open::<Cell<u64>>("c")));
        Ok(())
    })?;
    pool.write(|tx| tx.open::<Cell<u64>>("c")?.set(1))
}

#[test]
fn guards_dropped_after_the_transaction_moved_and_ended_are_harmless() -> Result<()> {
    let pool = pool();
    let tx = pool.begin()?;
    let mut c = tx.open::<Cell<u64>>("c")?;
    c.set(3)?;
    // `c` is over for the borrow checker, but its token is dropped here only after the commit over there:
    // the reason why the token's count is atomic.
    std::thread::scope(|s| s.spawn(move || tx.commit()).join().unwrap())?;
    assert_eq!(*pool.read()?.open::<Cell<u64>>("c")?.get()?, 3);
    Ok(())
}

#[test]
fn a_transaction_that_moved_is_its_new_threads() -> Result<()> {
    let pool = pool();
    let tx = pool.begin()?;
    std::thread::scope(|s| {
        let moved = s.spawn(|| {
            tx.open::<Cell<u64>>("c")?.set(1)?;
            assert!(would_deadlock(pool.begin()));
            tx.commit()
        });
        moved.join().unwrap()
    })?;
    pool.write(|tx| tx.open::<Cell<u64>>("c")?.set(2))
}

#[test]
fn two_guards_on_one_object_are_refused_until_the_first_is_dropped() -> Result<()> {
    pool().write(|tx| {
        let a = tx.open::<Cell<u64>>("c")?;
        assert!(already_open(tx.open::<Cell<u64>>("c")));
        drop(a);
        tx.open::<Cell<u64>>("c")?.set(1)
    })
}

#[test]
fn references_into_shadows_survive_many_more_shadows() -> Result<()> {
    pool().write(|tx| {
        let mut a = tx.open::<Cell<u64>>("a")?;
        let held = a.get_mut()?;
        let mut b = tx.open::<PHeap<u64>>("b")?;
        for i in 0..if cfg!(miri) { 50 } else { 1000u64 } {
            b.alloc(i)?;
            *held += 1;
        }
        assert_eq!(*a.get()?, if cfg!(miri) { 50 } else { 1000 });
        Ok(())
    })
}

#[test]
fn a_thread_never_waits_for_itself() -> Result<()> {
    let pool = pool();
    let tx = pool.read()?;
    assert!(would_deadlock(pool.write(|_| Ok(()))));
    assert!(would_deadlock(pool.stats()));
    drop(pool.read()?); // again is fine
    drop(tx);
    pool.write(|_| {
        assert!(would_deadlock(pool.write(|_| Ok(()))));
        assert!(would_deadlock(pool.reserve(8, 8)));
        Ok(())
    })?;
    let tx = pool.begin()?;
    tx.open::<Cell<u64>>("c")?.set(1)?;
    let reader = pool.read()?;
    assert!(would_deadlock(tx.commit()));
    assert!(reader.open::<Cell<u64>>("c").is_err()); // it was rolled back
    Ok(())
}

#[test]
fn a_panic_rolls_back() -> Result<()> {
    let pool = pool();
    pool.write(|tx| tx.open::<Cell<u64>>("c")?.set(1))?;
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = pool.write(|tx| -> Result<()> {
            tx.open::<Cell<u64>>("c")?.set(2)?;
            tx.open::<Cell<u64>>("d")?.set(2)?;
            panic!("on purpose")
        });
    }));
    assert!(panicked.is_err());
    pool.write(|tx| {
        assert_eq!(*tx.open::<Cell<u64>>("c")?.get()?, 1);
        assert_eq!(*tx.open::<Cell<u64>>("d")?.get()?, 0);
        Ok(())
    })
}

#[test]
fn garbage_is_an_error() -> Result<()> {
    let pool = pool();
    let check = |heap: &HeapGuard<'_, u64, Write>, b: Ptr<u8>| {
        assert!(corrupt(heap.get::<bool>(b.cast()))); // bits
        assert!(corrupt(heap.get::<u64>(Ptr::from_offset(b.offset() + 1)))); // alignment
        assert!(corrupt(heap.get::<[u64; 64]>(b.cast()))); // bounds
        assert!(corrupt(heap.bytes(b, u64::MAX)));
        for outside in [0, 8, 8192, u64::MAX, u64::MAX - 4096, (1 << 18) - 8, 1 << 18] {
            assert!(corrupt(heap.get::<u64>(Ptr::from_offset(outside))), "{outside}");
        }
    };
    let b = pool.write(|tx| {
        let mut heap = tx.open::<PHeap<u64>>("h")?;
        let b = heap.alloc(7u8)?;
        check(&heap, b);
        assert!(corrupt(heap.free(Ptr::<u8>::from_offset(b.offset() + 1))));
        Ok(b)
    })?;
    pool.write(|tx| {
        let mut heap = tx.open::<PHeap<u64>>("h")?;
        check(&heap, b);
        heap.free(b)?;
        assert!(corrupt(heap.free(b)));
        assert!(corrupt(heap.get(b)));
        Ok(())
    })?;
    let tx = pool.read()?;
    let heap = tx.open::<PHeap<u64>>("h")?;
    assert!(corrupt(heap.get(b)));
    for at in (0..1 << 18).step_by(8) {
        // Whatever is asked for is a live block, or an error.
        if heap.get::<u64>(Ptr::from_offset(at)).is_ok() {
            assert!(at > 1 << 16);
        }
    }
    Ok(())
}

#[test]
fn a_reader_does_not_reach_what_a_writer_has_allocated_but_not_committed() -> Result<()> {
    let pool = pool();
    pool.write(|tx| tx.open::<PHeap<u64>>("h").map(drop))?;
    let tx = pool.begin()?;
    let mut heap = tx.open::<PHeap<u64>>("h")?;
    let small = heap.alloc(7u64)?;
    let large = heap.alloc([7u64; 8192])?;
    std::thread::scope(|s| {
        s.spawn(|| -> Result<()> {
            let tx = pool.read()?;
            let heap = tx.open::<PHeap<u64>>("h")?;
            assert!(corrupt(heap.get(small)));
            assert!(corrupt(heap.get(large)));
            Ok(())
        })
        .join()
        .unwrap()
    })?;
    tx.commit()?;
    let tx = pool.read()?;
    let heap = tx.open::<PHeap<u64>>("h")?;
    assert_eq!((*heap.get(small)?, heap.get(large)?[8191]), (7, 7));
    Ok(())
}

#[test]
fn no_bytes_are_anywhere_in_the_mapping() -> Result<()> {
    let pool = pool();
    let at = pool.write(|tx| {
        let mut heap = tx.open::<PHeap<u64>>("h")?;
        let at = heap.alloc([1u64; 8])?;
        let end = Ptr::<[u64; 0]>::from_offset(at.offset() + 64);
        assert!(heap.get(end)?.is_empty() && heap.get_mut(end)?.is_empty());
        assert!(heap.get::<[u64; 0]>(Ptr::from_offset(at.offset() + 63)).is_err());
        assert!(heap.bytes(Ptr::from_offset(u64::MAX), 0).is_err());
        Ok(at)
    })?;
    let tx = pool.read()?;
    assert!(tx.open::<PHeap<u64>>("h")?.bytes(Ptr::from_offset(at.offset() + 64), 0)?.is_empty());
    Ok(())
}

fn foreign<T>(result: Result<T>) -> bool {
    matches!(result.err().expect("an error").kind(), ErrorKind::ForeignSavepoint)
}

#[test]
fn a_rollback_takes_contents_objects_and_space_back() -> Result<()> {
    let pool = pool();
    let kept = pool.write(|tx| tx.open::<PHeap<u64>>("h")?.alloc([1u64; 32]))?;
    pool.write(|tx| {
        let mut heap = tx.open::<PHeap<u64>>("h")?;
        heap.get_mut(kept)?[0] = 2;
        let before = heap.alloc(3u64)?;
        let savepoint = tx.savepoint();
        for round in 0..3 {
            let mut heap = tx.open::<PHeap<u64>>("h")?;
            heap.get_mut(kept)?.fill(9);
            *heap.get_mut(before)? = 9;
            let after = heap.alloc([9u64; 100])?;
            if round > 0 {
                heap.free(kept)?;
                heap.free(before)?;
                assert!(corrupt(heap.get(kept)));
            }
            // A name may stand for something else each time.
            match round {
                0 => tx.open::<Cell<u64>>("new")?.set(9)?,
                _ => drop(tx.open::<PHeap<u64>>("new")?.alloc(9u64)?),
            }
            tx.rollback_to(&savepoint)?;
            let heap = tx.open::<PHeap<u64>>("h")?;
            let all = heap.get(kept)?;
            assert_eq!((all[0], &all[1..], *heap.get(before)?), (2, &[1; 31][..], 3));
            assert!(corrupt(heap.get(after)));
        }
        Ok(())
    })?;
    let tx = pool.read()?;
    assert_eq!(tx.open::<PHeap<u64>>("h")?.get(kept)?[..2], [2, 1]);
    assert!(tx.open::<Cell<u64>>("new").is_err());
    drop(tx);
    assert_eq!(pool.stats()?.blocks, 4); // root, entry, and two
    let report = pool.check()?;
    assert_eq!((report.problems.len(), report.leaks.len()), (0, 2)); // nothing in the pool refers to the two
    Ok(())
}

#[test]
fn what_a_rollback_gave_back_another_object_may_have() -> Result<()> {
    let pool = pool();
    pool.write(|tx| {
        let savepoint = tx.savepoint();
        let first = tx.open::<PHeap<u64>>("a")?.alloc(1u64)?;
        tx.rollback_to(&savepoint)?;
        let mut b = tx.open::<PHeap<u64>>("b")?;
        let mut all = Vec::new();
        while all.last() != Some(&first) {
            all.push(b.alloc(2u64)?);
            assert!(all.len() < 100, "the block is lost");
        }
        let held: &mut u64 = b.get_mut(first)?;
        let a = tx.open::<PHeap<u64>>("a")?;
        assert!(corrupt(a.get(first)));
        *held += 1;
        assert_eq!(*b.get(first)?, 3);
        Ok(())
    })
}

#[test]
fn a_reference_taken_before_another_objects_copy_is_kept_stays_what_it_was() -> Result<()> {
    let pool = pool();
    pool.write(|tx| {
        let mut a = tx.open::<PHeap<u64>>("a")?;
        let (one, two) = (a.alloc([1u64; 8])?, a.alloc([1u64; 8])?);
        let mut b = tx.open::<Cell<u64>>("b")?;
        b.set(1)?;
        let savepoint = tx.savepoint();
        let mut a = tx.open::<PHeap<u64>>("a")?;
        let mut b = tx.open::<Cell<u64>>("b")?;
        let held: &mut [u64; 8] = a.get_mut(one)?; // the block is copied here
        b.set(2)?; // and others here
        tx.open::<Cell<u64>>("c")?.set(1)?;
        held[0] = 2;
        let shared: &[u64; 8] = a.get(two)?;
        b.set(3)?;
        assert_eq!((shared[0], a.get(one)?[0]), (1, 2));
        tx.rollback_to(&savepoint)?;
        let a = tx.open::<PHeap<u64>>("a")?;
        assert_eq!((a.get(one)?[0], *tx.open::<Cell<u64>>("b")?.get()?), (1, 1));
        Ok(())
    })
}

#[test]
fn guards_that_are_over_do_not_keep_an_object_from_being_opened() -> Result<()> {
    pool().write(|tx| {
        let _over = tx.open::<Cell<u64>>("c")?;
        std::mem::forget(tx.open::<Cell<u64>>("d")?);
        let savepoint = tx.savepoint();
        tx.open::<Cell<u64>>("c")?.set(1)?;
        let _over = tx.open::<Cell<u64>>("c")?;
        assert!(already_open(tx.open::<Cell<u64>>("c")));
        tx.rollback_to(&savepoint)?;
        let _over = (tx.open::<Cell<u64>>("c")?, tx.open::<Cell<u64>>("d")?);
        tx.nested(|tx| {
            std::mem::forget(tx.open::<Cell<u64>>("d")?);
            tx.open::<Cell<u64>>("c")?.set(2)
        })?;
        let (c, _d) = (tx.open::<Cell<u64>>("c")?, tx.open::<Cell<u64>>("d")?);
        assert_eq!(*c.get()?, 2);
        assert!(already_open(tx.open::<Cell<u64>>("c")));
        Ok(())
    })
}

#[test]
fn a_savepoint_means_nothing_elsewhere() -> Result<()> {
    let (pool, other) = (pool(), pool());
    let mut tx = pool.begin()?;
    let outer = tx.savepoint();
    tx.open::<Cell<u64>>("c")?.set(1)?;
    let inner = tx.savepoint();
    tx.rollback_to(&inner)?;
    tx.rollback_to(&outer)?;
    assert!(foreign(tx.rollback_to(&inner))); // a future that was discarded
    tx.open::<Cell<u64>>("c")?.set(2)?;
    let again = tx.savepoint();
    assert!(foreign(tx.rollback_to(&inner)));
    let mut kept = None;
    tx.nested(|tx| {
        kept = Some(tx.savepoint());
        tx.rollback_to(&again) // a savepoint of an outer part may be used in an inner one
    })?;
    assert!(foreign(tx.rollback_to(&kept.unwrap())));
    other.write(|tx| {
        tx.savepoint();
        assert!(foreign(tx.rollback_to(&outer)));
        Ok(())
    })?;
    assert_eq!(*tx.open::<Cell<u64>>("c")?.get()?, 2);
    tx.commit()?;
    let mut tx = pool.begin()?;
    let _new = (tx.savepoint(), tx.savepoint());
    for old in [&outer, &inner, &again] {
        assert!(foreign(tx.rollback_to(old)));
    }
    Ok(())
}

#[test]
fn a_part_that_goes_back_beyond_its_own_beginning_and_fails_says_so_and_the_transaction_goes_on() -> Result<()>
{
    let pool = pool();
    pool.write(|tx| {
        let start = tx.savepoint();
        tx.open::<Cell<u64>>("c")?.set(1)?;
        let failed: Result<()> = tx.nested(|tx| {
            tx.rollback_to(&start)?;
            tx.open::<Cell<u64>>("c")?.set(2)?;
            Err(Error::abort("on purpose"))
        });
        assert!(foreign(failed));
        tx.rollback_to(&start)?;
        tx.open::<Cell<u64>>("d")?.set(3)
    })?;
    let tx = pool.read()?;
    assert!(tx.open::<Cell<u64>>("c").is_err());
    assert_eq!(*tx.open::<Cell<u64>>("d")?.get()?, 3);
    Ok(())
}

#[test]
fn parts_of_parts_fail_or_stay_on_their_own() -> Result<()> {
    let pool = pool();
    pool.write(|tx| {
        tx.open::<Cell<[u64; 4]>>("c")?.set([1, 0, 0, 0])?;
        tx.nested(|tx| {
            tx.open::<Cell<[u64; 4]>>("c")?.get_mut()?[1] = 1;
            let failed = tx.nested(|tx| -> Result<()> {
                tx.open::<Cell<[u64; 4]>>("c")?.get_mut()?[2] = 1;
                tx.nested(|tx| {
                    tx.open::<Cell<[u64; 4]>>("c")?.get_mut()?[3] = 1;
                    Ok(())
                })?;
                Err(Error::abort("with what succeeded inside"))
            });
            assert!(failed.is_err());
            Ok(())
        })
    })?;
    assert_eq!(*pool.read()?.open::<Cell<[u64; 4]>>("c")?.get()?, [1, 1, 0, 0]);
    Ok(())
}

#[test]
fn a_panic_in_a_part_undoes_the_part() -> Result<()> {
    let pool = pool();
    pool.write(|tx| {
        tx.open::<Cell<u64>>("c")?.set(1)?;
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _ = tx.nested(|tx| -> Result<()> {
                tx.open::<Cell<u64>>("c")?.set(2)?;
                tx.open::<Cell<u64>>("d")?.set(2)?;
                panic!("on purpose")
            });
        }));
        assert!(panicked.is_err());
        assert_eq!(*tx.open::<Cell<u64>>("c")?.get()?, 1);
        Ok(())
    })?;
    assert!(pool.read()?.open::<Cell<u64>>("d").is_err());
    Ok(())
}

#[test]
fn a_part_that_puts_another_transaction_in_its_place_harms_neither() -> Result<()> {
    let (pool, other): (Pool, &'static Pool) = (pool(), Box::leak(Box::new(pool())));
    let mut tx = pool.begin()?;
    tx.open::<Cell<u64>>("c")?.set(1)?;
    let swapped: Result<()> = tx.nested(|tx| {
        *tx = other.begin()?; // the first one is rolled back
        tx.open::<Cell<u64>>("c")?.set(2)?;
        Err(Error::abort("on purpose"))
    });
    assert!(foreign(swapped));
    assert_eq!(*tx.open::<Cell<u64>>("c")?.get()?, 2);
    tx.commit()?;
    assert!(pool.read()?.open::<Cell<u64>>("c").is_err());
    assert_eq!(*other.read()?.open::<Cell<u64>>("c")?.get()?, 2);
    Ok(())
}

#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(128))]
struct Wide([u64; 16]);

impl Plain for Wide {
    const NAME: &'static str = "Wide";
}

#[test]
fn a_value_aligned_to_128_can_be_used_in_the_transaction_that_made_it() -> Result<()> {
    let pool = pool();
    let made = pool.write(|tx| {
        let mut heap = tx.open::<PHeap<u64>>("wide")?;
        let made = (0..4).map(|_| heap.alloc(Wide([7; 16]))).collect::<Result<Vec<_>>>()?;
        made.iter().try_for_each(|at| {
            heap.get_mut(*at)?.0[0] += 1;
            Ok::<_, Error>(())
        })?;
        Ok(made)
    })?;
    pool.write(|tx| {
        let mut heap = tx.open::<PHeap<u64>>("wide")?;
        *heap.root_mut()? += 1;
        made.iter().try_for_each(|at| {
            heap.get_mut(*at)?.0[0] += 1;
            Ok(())
        })
    })?;
    let tx = pool.read()?;
    let heap = tx.open::<PHeap<u64>>("wide")?;
    for at in made {
        assert_eq!(heap.get(at)?.0[..2], [9, 7]);
    }
    Ok(())
}
