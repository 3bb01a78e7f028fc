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
